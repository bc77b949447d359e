//! The journal: which units were not served, and why.
//!
//! Counters say how often something happened; the journal says to what, so that "why was
//! this compiled again?" has an answer after the build. It is one file of lines:
//!
//! ```text
//! <dir>/v1/journal         one for each unit that missed or was bypassed
//! <dir>/v1/journal.old     what was `journal` before it outgrew `LIMIT`
//!
//! line  = check ' ' entry '\n'
//! check = 8 hexadecimal digits: the start of the BLAKE3 hash of the entry
//! entry = a JSON object, see `JournalEntry`
//! ```
//! A line is appended with one write, so lines of several processes do not mix. A hit
//! writes nothing.
//!
//! Of a unit that nothing is known of yet, the parts of its key are noted by name and short
//! digest. Whoever reads the journal compares them with those of earlier entries of the unit: the
//! parts that differ are why it was not known.
//!
//! What can go wrong: a full disk cuts a line, or something damages one, which its check
//! tells and readers skip; of two processes that
//! find the file too long at the same moment, the second might put a file of a few lines
//! in the place of the old one, and the rest is forgotten. Nothing but an explanation is lost,
//! so writing never reports an error.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::error::PathError;
use crate::formats::digest::Digest;
use crate::formats::key::KeyParts;
use crate::kinds::rustc::key;
use crate::os::proc;
use crate::outcome::{Bypass, Change, MissReason, Refusal};
use crate::store::Store;

/// From this length on, bytes, a new file is begun. With lines of some 250 bytes both
/// files together know about the last 4,000 to 8,000 units.
const LIMIT: u64 = 1 << 20;

/// Values are cut to this length, bytes: a write should stay small enough to be one.
const LONGEST_VALUE: usize = 400;

/// No more parts of a key are noted.
const MOST_PARTS: usize = 128;

/// A unit that was not served from the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// When it had ended, seconds since the epoch.
    pub time: u64,
    /// Which process asked for it (cargo): its id and when it was started.
    pub build: String,
    /// The directory it was asked for in.
    pub dir: String,
    /// The unit, as the log calls it.
    pub unit: String,
    /// What became of it.
    pub outcome: JournalOutcome,
    /// If it had not been compiled like this before: in which variables, arguments and other
    /// parts of its key it differs from the most similar earlier time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<String>,
    /// The same with short digests of what they were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<KeyDifference>,
    /// The parts of its key, in the file only.
    #[serde(default, skip_serializing_if = "KeyParts::is_empty")]
    key: KeyParts,
}

/// A part of a key that differs between two calls of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyDifference {
    /// A variable, an argument, or what else people call it.
    pub name: String,
    /// A short digest of what it was; `None` if it was not there.
    pub old: Option<String>,
    /// The same of what it is now.
    pub new: Option<String>,
}

/// What became of a unit that was not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum JournalOutcome {
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
        change: Option<JournalChange>,
        /// Why the outcome was not stored, if it was not; the name that counters use.
        not_stored: Option<String>,
        /// What that is about: a path, or what was missed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        about: Option<String>,
    },
}

/// An input that differed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalChange {
    /// A path, or the name of a variable.
    pub what: String,
    /// What was recorded.
    pub old: String,
    /// What was there.
    pub new: String,
}

impl JournalOutcome {
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
            change: change.map(JournalChange::new),
            not_stored: not_stored.map(|refusal| refusal.why.name().to_owned()),
            about: not_stored.map(|refusal| shortened(&refusal.what)),
        }
    }
}

impl fmt::Display for JournalOutcome {
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
                    Some(JournalChange { what, old, new }) => {
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

impl JournalChange {
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

impl Store {
    /// The units that were not served lately, the oldest first.
    pub fn journal(&self) -> Result<Vec<JournalEntry>, PathError> {
        let mut entries = Vec::new();
        for name in [OLD, CURRENT] {
            let text = match self.read_plain(&self.layout().part(name)) {
                Ok(text) => text,
                Err(e) if e.is_not_found() || e.is_no_file() => continue,
                Err(e) => return Err(e),
            };
            let lines = text.split(|&b| b == b'\n');
            entries.extend(lines.filter_map(parse));
        }
        tell_differences(&mut entries);
        Ok(entries)
    }

    /// Notes a unit. It is never worth a failure.
    pub(crate) fn note_in_journal(
        &self,
        unit: &str,
        dir: &Path,
        outcome: JournalOutcome,
        key: KeyParts,
    ) {
        if self.is_read_only() || !self.is_dir(self.layout().format_dir()) {
            return;
        }
        let entry = JournalEntry {
            time: SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_secs()),
            build: proc::parent().to_owned(),
            dir: dir.to_string_lossy().into_owned(),
            unit: shortened(unit),
            outcome,
            differs: Vec::new(),
            differences: Vec::new(),
            key: key.into_iter().take(MOST_PARTS).collect(),
        };
        let Ok(json) = serde_json::to_string(&entry) else {
            return;
        };
        let line = line(&json);
        let current = self.layout().part(CURRENT);
        match self.append(&current, line.as_bytes()) {
            Ok(len) if len > LIMIT => {
                let _ = self.rename(&current, &self.layout().part(OLD));
            }
            Err(e) if e.is_no_file() => self.discard(&current),
            _ => {}
        }
    }
}

/// The parts of a key that differ between units of the same name: every package's build script
/// is called alike.
const SUBJECT: [&str; 2] = [key::SOURCE, "CARGO_PKG_NAME"];

/// Says of each entry with a key in what it differs from earlier ones of the unit, and takes
/// the keys out.
fn tell_differences(entries: &mut [JournalEntry]) {
    let mut earlier: HashMap<String, Vec<KeyParts>> = HashMap::new();
    for entry in entries {
        let key = std::mem::take(&mut entry.key);
        if key.is_empty() {
            continue;
        }
        let known = earlier.entry(entry.unit.clone()).or_default();
        let same = |known: &&KeyParts| {
            SUBJECT
                .iter()
                .all(|part| known.get(*part) == key.get(*part))
        };
        let known_ones = known.iter().rev().filter(same);
        let differences = known_ones.map(|known| differences(known, &key));
        entry.differences = differences.min_by_key(Vec::len).unwrap_or_default();
        let names = entry.differences.iter().map(|part| part.name.clone());
        entry.differs = names.collect();
        known.push(key);
    }
}

fn differences(old: &KeyParts, new: &KeyParts) -> Vec<KeyDifference> {
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    let names = new.keys().chain(gone);
    let changed = names.filter(|name| old.get(*name) != new.get(*name));
    changed
        .map(|name| KeyDifference {
            name: name.clone(),
            old: old.get(name).cloned(),
            new: new.get(name).cloned(),
        })
        .collect()
}

/// Whether every line of a file proves itself.
pub(crate) fn is_sound(text: &[u8]) -> bool {
    let mut lines = text.split_inclusive(|&b| b == b'\n');
    lines.all(|line| line.strip_suffix(b"\n").and_then(parse).is_some())
}

/// The line of an entry.
pub(crate) fn line(json: &str) -> String {
    format!("{} {json}\n", check(json.as_bytes()))
}

fn parse(line: &[u8]) -> Option<JournalEntry> {
    let (given, json) = line.split_at_checked(CHECK + 1)?;
    let proven = given.strip_suffix(b" ") == Some(check(json).as_bytes());
    serde_json::from_slice(json).ok().filter(|_| proven)
}

/// Digits of a check.
const CHECK: usize = 8;

fn check(json: &[u8]) -> String {
    let mut hex = Digest::of(json).to_hex();
    hex.truncate(CHECK);
    hex
}

pub(crate) const CURRENT: &str = "journal";
pub(crate) const OLD: &str = "journal.old";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::fs;
    use crate::outcome::{BypassReason, NotStored};

    fn store(dir: &Path) -> Store {
        let store = Store::new(dir, false);
        store.prepare().unwrap();
        store
    }

    fn note(store: &Store, unit: &str) {
        let outcome = JournalOutcome::bypass(&BypassReason::Help.of("--help"));
        store.note_in_journal(unit, Path::new("/w"), outcome, KeyParts::new());
    }

    #[test]
    fn what_is_noted_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let change = Change {
            kind: "env",
            what: "NAME".to_owned(),
            old: "not set".to_owned(),
            new: "ä".repeat(500),
        };
        let reason = MissReason::Changed(change);
        let outcome = JournalOutcome::miss(&reason, Some(&NotStored::Changed.of("x.rs")));
        store.note_in_journal("a (lib)", Path::new("/w"), outcome, KeyParts::new());
        note(&store, "b (bin)");
        let [miss, bypass] = &store.journal().unwrap()[..] else {
            panic!("two entries");
        };
        assert_eq!((miss.unit.as_str(), miss.dir.as_str()), ("a (lib)", "/w"));
        let JournalOutcome::Miss {
            reason,
            change: Some(change),
            not_stored,
            about,
            ..
        } = &miss.outcome
        else {
            panic!("{miss:?}");
        };
        assert_eq!((reason.as_str(), change.what.as_str()), ("env", "NAME"));
        assert!(change.new.starts_with("äää") && change.new.ends_with('…'));
        assert_eq!(not_stored.as_deref(), Some("changed"));
        assert_eq!(about.as_deref(), Some("x.rs"));
        assert_eq!(bypass.outcome.to_string(), "bypassed: help: --help");
        assert_eq!(miss.build, bypass.build);
    }

    #[test]
    fn what_differs_from_the_most_similar_time_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let note = |unit: &str, parts: &[(&str, &str)]| {
            let outcome = JournalOutcome::miss(&MissReason::NoEntry, None);
            let parts = parts
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            store.note_in_journal(unit, Path::new("/w"), outcome, parts.collect());
        };
        note("a", &[("CC", "1"), ("--cfg", "1"), ("VERSION", "1")]);
        note("b", &[("CC", "2")]);
        note(
            "a",
            &[("CC", "1"), ("--cfg", "2"), ("VERSION", "2"), ("X", "1")],
        );
        note("a", &[("--cfg", "1"), ("VERSION", "1")]);
        note("a", &[("CC", "1"), ("--cfg", "1"), ("VERSION", "1")]);
        let told: Vec<Vec<String>> = store
            .journal()
            .unwrap()
            .into_iter()
            .map(|e| e.differs)
            .collect();
        let same: &[&str] = &[];
        assert_eq!(
            told,
            [same, same, &["--cfg", "VERSION", "X"], &["CC"], same]
        );
    }

    #[test]
    fn cut_and_foreign_lines_are_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let path = store.layout().part(CURRENT);
        store
            .append(&path, b"{\"time\":1,\"bui\n\xff\n{}\n")
            .unwrap();
        note(&store, "a");
        store.append(&path, b"{\"time\":").unwrap();
        assert_eq!(store.journal().unwrap().len(), 1);
    }

    #[test]
    fn a_line_proves_itself() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        note(&store, "a");
        let sound = fs::read(&store.layout().part(CURRENT)).unwrap();
        assert!(is_sound(&sound) && is_sound(b""));
        for i in 0..sound.len() {
            let mut flipped = sound.clone();
            flipped[i] ^= 1;
            assert!(!is_sound(&flipped), "byte {i}");
            assert_eq!(is_sound(&sound[..i]), i == 0, "cut at {i}");
        }
    }

    #[test]
    fn it_does_not_grow_without_bound() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let full = vec![b'\n'; usize::try_from(LIMIT).unwrap()];
        store.append(&store.layout().part(CURRENT), &full).unwrap();
        note(&store, "first");
        assert!(!fs::exists(&store.layout().part(CURRENT)));
        note(&store, "second");
        let units = store.journal().unwrap();
        let units: Vec<&str> = units.iter().map(|e| e.unit.as_str()).collect();
        assert_eq!(units, ["first", "second"]);
    }

    #[test]
    fn nothing_is_written_where_nothing_may_be() {
        let dir = tempfile::tempdir().unwrap();
        store(dir.path());
        note(&Store::new(dir.path(), true), "a");
        let missing = Store::new(dir.path().join("missing"), false);
        note(&missing, "a");
        assert!(store(dir.path()).journal().unwrap().is_empty());
        assert!(missing.journal().unwrap().is_empty());
    }
}
