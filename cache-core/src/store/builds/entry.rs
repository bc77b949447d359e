//! What is noted of one unit.

use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::call::{Call, Caller};
use super::differences::KeyDifference;
use super::micros;
use crate::formats::digest::{Digest, ManifestKey, ResultKey};
use crate::formats::key::KeyParts;
use crate::outcome::{Bypass, Change, Left, MissReason, Refusal};
use crate::request::Request;
use crate::roots::Roots;

/// Values are cut to this length, bytes: a write should stay small enough to be one.
const LONGEST_VALUE: usize = 400;

/// No more parts of a key are noted.
const MOST_PARTS: usize = 128;

/// A unit, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UnitRecord {
    /// When it had ended, seconds since the epoch.
    pub time: u64,
    /// When it was asked for, microseconds since the epoch.
    pub started_us: u64,
    /// How long it took, with looking for it, microseconds.
    pub took_us: u64,
    /// For how long of that it waited for another process that was making the same, microseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub waited_us: u64,
    /// For how long of that its own process ran, if it was run, microseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ran_us: u64,
    /// Which process asked for it (cargo): its id and when it was started. In the file it is that
    /// file's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub build: String,
    /// The directory it was asked for in.
    pub dir: String,
    /// The unit, as the log calls it.
    pub unit: String,
    /// The package and its version, if cargo said them. In the file they are a part of the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// What kind of unit it is.
    pub kind: UnitKind,
    /// What became of it.
    pub outcome: RecordedOutcome,
    /// How long the process took that need not run, microseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub saved_us: u64,
    /// How long its outputs are, if they were served or stored, bytes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bytes: u64,
    /// The key of its manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// The key of its result, if that is in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// If it had not been compiled like this before: in which variables, arguments and other
    /// parts of its key it differs from the most similar earlier time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<String>,
    /// The same with short digests of what they were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<KeyDifference>,
    /// Why it was not served before cargo asked for it, where an earlier build's units were. In the file
    /// that is a line of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ahead: Option<RecordedReason>,
    /// The parts of its key, in the file only.
    #[serde(default, skip_serializing_if = "KeyParts::is_empty")]
    pub(super) parts: KeyParts,
    /// How to ask for it again, in the file only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) call: Option<Call>,
}

/// Kinds of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum UnitKind {
    /// A compilation.
    Compilation,
    /// A question to the compiler.
    Query,
    /// A run of a build script.
    BuildScript,
    /// A run of a tool of an embedder's.
    Tool,
}

impl UnitKind {
    /// A word for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compilation => "compilation",
            Self::Query => "query",
            Self::BuildScript => "build-script",
            Self::Tool => "tool",
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What there is to note of a unit.
pub(crate) struct Noted<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(crate) kind: UnitKind,
    pub(crate) unit: &'a str,
    pub(crate) roots: &'a Roots,
    pub(crate) outcome: RecordedOutcome,
    pub(crate) started: SystemTime,
    /// When it ended, if that is not now.
    pub(crate) ended: Option<SystemTime>,
    pub(crate) waited_us: u64,
    pub(crate) ran_us: u64,
    pub(crate) saved_us: u64,
    pub(crate) bytes: u64,
    pub(crate) manifest: Option<ManifestKey>,
    pub(crate) result: Option<ResultKey>,
    pub(crate) parts: KeyParts,
}

/// A unit that was placed before cargo asked for it.
pub(crate) struct AheadUnit<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: UnitKind,
    pub(crate) started_us: u64,
    pub(crate) took_us: u64,
    pub(crate) saved_us: u64,
    pub(crate) bytes: u64,
    pub(crate) result: Digest,
}

impl AheadUnit<'_> {
    pub(super) fn record(&self) -> UnitRecord {
        UnitRecord {
            time: self.started_us.saturating_add(self.took_us) / 1_000_000,
            started_us: self.started_us,
            took_us: self.took_us,
            waited_us: 0,
            ran_us: 0,
            build: String::new(),
            dir: String::new(),
            unit: self.name.to_owned(),
            package: None,
            kind: self.kind,
            outcome: RecordedOutcome::Ahead,
            saved_us: self.saved_us,
            bytes: self.bytes,
            manifest: None,
            result: Some(self.result.to_hex()),
            differs: Vec::new(),
            differences: Vec::new(),
            not_ahead: None,
            parts: KeyParts::new(),
            call: None,
        }
    }
}

/// A unit that could have been placed before cargo asked for it, and was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeftUnit {
    pub(super) unit: String,
    pub(super) package: Option<String>,
    pub(super) not_ahead: RecordedReason,
}

impl LeftUnit {
    pub(crate) fn new(name: &str, call: &Call, left: &Left) -> Self {
        Self {
            unit: name.to_owned(),
            package: call.package(),
            not_ahead: RecordedReason {
                reason: left.why.name().to_owned(),
                about: shortened(&left.what),
            },
        }
    }

    /// Whether a unit that cargo asked for is this one, as far as names tell.
    pub(super) fn is(&self, unit: &UnitRecord) -> bool {
        unit.unit == self.unit
            && unit.package == self.package
            && unit.kind != UnitKind::Query
            && unit.outcome != RecordedOutcome::Ahead
            && unit.not_ahead.is_none()
    }
}

/// A reason, and what it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedReason {
    /// The name of the reason.
    pub reason: String,
    /// A path, a variable, another unit, or an error.
    pub about: String,
}

impl fmt::Display for RecordedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.about)
    }
}

impl Noted<'_> {
    pub(super) fn record(self, caller: &Caller) -> UnitRecord {
        let ended = micros(self.ended.unwrap_or_else(SystemTime::now));
        let started_us = micros(self.started);
        // Questions are asked anew in each build.
        let is_asked = self.kind == UnitKind::Query;
        let call = (!is_asked).then(|| Call::of(self.request, self.roots, caller));
        UnitRecord {
            time: ended / 1_000_000,
            started_us,
            took_us: ended.saturating_sub(started_us),
            waited_us: self.waited_us,
            ran_us: self.ran_us,
            build: String::new(),
            dir: self.request.cwd.to_string_lossy().into_owned(),
            unit: shortened(self.unit),
            package: None,
            kind: self.kind,
            outcome: self.outcome,
            saved_us: self.saved_us,
            bytes: self.bytes,
            manifest: self.manifest.map(|key| key.0.to_hex()),
            result: self.result.map(|key| key.0.to_hex()),
            differs: Vec::new(),
            differences: Vec::new(),
            not_ahead: None,
            parts: self.parts.into_iter().take(MOST_PARTS).collect(),
            call: call.flatten(),
        }
    }
}

/// What became of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum RecordedOutcome {
    /// It was served from the cache.
    Hit,
    /// It was served before cargo asked for it.
    Ahead,
    /// It was not for the cache.
    Bypass {
        /// The name that counters use.
        reason: String,
        /// What that is about: an argument, a path, a variable.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        about: Option<String>,
    },
    /// It was run.
    Miss {
        /// The name that counters use.
        reason: String,
        /// The same for people.
        #[serde(default)]
        said: String,
        /// The input that differed from the newest recorded set.
        change: Option<RecordedChange>,
        /// Why the outcome was not stored, if it was not; the name that counters use.
        not_stored: Option<String>,
        /// What that is about: a path, or what was missed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        about: Option<String>,
    },
}

/// An input that differed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedChange {
    /// A path, or the name of a variable.
    pub what: String,
    /// What was recorded.
    pub old: String,
    /// What was there.
    pub new: String,
}

impl RecordedOutcome {
    pub(crate) fn bypass(bypass: &Bypass) -> Self {
        Self::Bypass {
            reason: bypass.why.name().to_owned(),
            about: Some(shortened(&bypass.what)),
        }
    }

    pub(crate) fn miss(reason: &MissReason, not_stored: Option<&Refusal>) -> Self {
        let change = match reason {
            MissReason::Changed(change) => Some(change),
            _ => None,
        };
        Self::Miss {
            reason: reason.name().to_owned(),
            said: match change {
                Some(_) => String::new(),
                None => shortened(&reason.to_string()),
            },
            change: change.map(RecordedChange::new),
            not_stored: not_stored.map(|refusal| refusal.why.name().to_owned()),
            about: not_stored.map(|refusal| shortened(&refusal.what)),
        }
    }
}

impl fmt::Display for RecordedOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let because = |f: &mut fmt::Formatter<'_>, why: &str, about: &Option<String>| {
            let about = about.as_deref();
            write!(
                f,
                ": {why}{}{}",
                about.map_or("", |_| ": "),
                about.unwrap_or("")
            )
        };
        match self {
            Self::Hit => f.write_str("served"),
            Self::Ahead => f.write_str("served ahead"),
            Self::Bypass { reason, about } => {
                f.write_str("bypassed")?;
                because(f, reason, about)
            }
            Self::Miss {
                reason,
                said,
                change,
                not_stored,
                about,
            } => {
                match change {
                    Some(RecordedChange { what, old, new }) => {
                        write!(f, "{reason}: {what}: was {old}, is {new}")?;
                    }
                    None => f.write_str(if said.is_empty() { reason } else { said })?,
                }
                match not_stored {
                    None => Ok(()),
                    Some(why) => {
                        f.write_str("; not stored")?;
                        because(f, why, about)
                    }
                }
            }
        }
    }
}

impl RecordedChange {
    fn new(change: &Change) -> Self {
        Self {
            what: shortened(&change.what),
            old: shortened(&change.old),
            new: shortened(&change.new),
        }
    }
}

fn shortened(text: &str) -> String {
    if text.len() <= LONGEST_VALUE {
        return text.to_owned();
    }
    let mut cut = (0..=LONGEST_VALUE).rev();
    let start = cut.find_map(|end| text.get(..end));
    format!("{}…", start.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut_between_letters() {
        let change = Change {
            kind: "env",
            what: "NAME".to_owned(),
            old: "not set".to_owned(),
            new: "ä".repeat(500),
        };
        let outcome = RecordedOutcome::miss(&MissReason::Changed(change), None);
        let RecordedOutcome::Miss {
            reason,
            change: Some(change),
            ..
        } = outcome
        else {
            panic!("{outcome:?}");
        };
        assert_eq!((reason.as_str(), change.what.as_str()), ("env", "NAME"));
        assert!(change.new.starts_with("äää") && change.new.ends_with('…'));
    }
}
