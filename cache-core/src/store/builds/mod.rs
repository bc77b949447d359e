//! Records of builds: what was called for, and what became of it.
//!
//! Counters say how often something happened; a record says to what, so that "why was this compiled
//! again?" has an answer after the build, also if all of it was served. Each process that asks for units
//! (cargo) has a file of lines, of which each unit that it asked for appends one:
//!
//! ```text
//! <dir>/v1/builds/<build>   build = the id of cargo's process "-" when it was started
//!
//! line  = check ' ' entry '\n'
//! check = 8 hexadecimal digits: the start of the BLAKE3 hash of the entry
//! entry = a JSON object, see `UnitRecord`; or, of a unit that could have been served ahead and was
//!         not, `LeftUnit`: if cargo asks for that unit, another line says what it came to
//! ```
//! A line is appended with one write, so lines of several processes do not mix.
//!
//! Of a unit that nothing is known of yet, the parts of its key are noted by name and short
//! digest. Whoever reads the records compares them with those of earlier entries of the unit: the
//! parts that differ are why it was not known. Of every unit it is noted how to make its [`call`] again.
//!
//! The process that begins a file removes the oldest ones beyond a bound. So their number and size
//! are bounded without a collection, which removes them by age.
//!
//! What can go wrong:
//! - A full disk cuts a line, or something damages one: its check tells, and readers skip it.
//! - Two processes begin files at the same moment and remove the same ones: they are gone all the same.
//! - A file is removed while its build goes on (200 newer ones have begun meanwhile): the rest is in a
//!   new file of that name.
//! - Process ids and times repeat, after the machine was started again: the lines of both builds are in
//!   one file, as if they were one.
//!
//! Nothing but an explanation is lost, so writing never reports an error.

mod call;
mod differences;
mod entry;
mod needs;
mod read;

use std::time::SystemTime;

use crate::formats::digest::Digest;
use crate::store::Store;

pub(crate) use call::{Call, Caller, Filled};
pub use differences::KeyDifference;
pub(crate) use entry::{AheadUnit, LeftUnit, Noted};
pub use entry::{RecordedChange, RecordedOutcome, RecordedReason, UnitKind, UnitRecord};
pub use read::Build;

/// The directory of records.
pub(crate) const DIR: &str = "builds";

/// More files than these, or larger ones together, are not kept, bytes.
const MOST: usize = 200;
const MOST_BYTES: u64 = 32 << 20;

/// What follows in a file that is longer than this, bytes, is not noted. A line has 1 to 5 KB; the
/// records of everyday edits are a few lines long.
const LONGEST: u64 = 8 << 20;

impl Store {
    /// The record of what one process has asked for so far.
    pub(crate) fn record_of(&self, build: &str) -> Vec<u8> {
        let text = self.read_plain(&self.layout().part(DIR).join(build));
        text.unwrap_or_default()
    }

    /// Notes a unit. It is never worth a failure.
    pub(crate) fn note_unit(&self, noted: Noted<'_>) {
        if self.is_read_only() || !self.is_dir(self.layout().format_dir()) {
            return;
        }
        let caller = Caller::known();
        let path = self.layout().part(DIR).join(&caller.build);
        let Ok(json) = serde_json::to_string(&noted.record(caller)) else {
            return;
        };
        let line = line(&json);
        match self.append(&path, line.as_bytes(), LONGEST) {
            Ok(len) if len == line.len() as u64 => self.bound_records(),
            Err(e) if e.is_not_found() => {
                let made = self.make_dir(&self.layout().part(DIR));
                if made.is_ok() && self.append(&path, line.as_bytes(), LONGEST).is_ok() {
                    self.bound_records();
                }
            }
            Err(e) if e.is_no_file() => self.discard(&path),
            _ => {}
        }
    }

    /// Notes units that were placed before cargo asked for them, and those that were not, with one write.
    pub(crate) fn note_ahead<'a>(
        &self,
        build: &str,
        placed: impl Iterator<Item = AheadUnit<'a>>,
        left: impl Iterator<Item = LeftUnit>,
    ) {
        let placed = placed.map(|unit| serde_json::to_string(&unit.record()));
        let left = left.map(|unit| serde_json::to_string(&unit));
        let lines: String = placed
            .chain(left)
            .flatten()
            .map(|json| line(&json))
            .collect();
        if !self.is_read_only() && !lines.is_empty() {
            let dir = self.layout().part(DIR);
            let _ = self.append(&dir.join(build), lines.as_bytes(), LONGEST);
        }
    }

    fn bound_records(&self) {
        self.keep_newest(&self.layout().part(DIR), MOST, MOST_BYTES);
    }
}

/// Microseconds since the epoch.
pub(crate) fn micros(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

/// Whether a file may have this name.
pub(crate) fn is_name(name: &str) -> bool {
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    name.split('-').all(is_number) && name.len() < 50
}

/// The units of a record, with their calls.
pub(crate) fn units_of(record: &[u8]) -> Vec<UnitRecord> {
    record.split(|&b| b == b'\n').filter_map(parse).collect()
}

/// Whether every line of a file proves itself.
pub(crate) fn is_sound(text: &[u8]) -> bool {
    let mut lines = text.split_inclusive(|&b| b == b'\n');
    lines.all(|line| {
        let line = line.strip_suffix(b"\n");
        line.is_some_and(|line| parse(line).is_some() || parse_left(line).is_some())
    })
}

/// The line of an entry.
pub(crate) fn line(json: &str) -> String {
    format!("{} {json}\n", check(json.as_bytes()))
}

fn parse(line: &[u8]) -> Option<UnitRecord> {
    serde_json::from_slice(proven(line)?).ok()
}

fn parse_left(line: &[u8]) -> Option<LeftUnit> {
    serde_json::from_slice(proven(line)?).ok()
}

/// The entry of a line whose check is right.
fn proven(line: &[u8]) -> Option<&[u8]> {
    let (given, json) = line.split_at_checked(CHECK + 1)?;
    let proven = given.strip_suffix(b" ") == Some(check(json).as_bytes());
    proven.then_some(json)
}

/// Digits of a check.
const CHECK: usize = 8;

fn check(json: &[u8]) -> String {
    let mut hex = Digest::of(json).to_hex();
    hex.truncate(CHECK);
    hex
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use super::*;
    use crate::config::Config;
    use crate::formats::key::KeyParts;
    use crate::os::env::Environment;
    use crate::os::fs;
    use crate::outcome::{BypassReason, MissReason, NotStored};
    use crate::request::Request;
    use crate::roots::Roots;
    use crate::run::SystemRunner;

    pub(super) fn store(dir: &Path) -> Store {
        let store = Store::new(dir, false);
        store.prepare().unwrap();
        store
    }

    fn note_outcome(store: &Store, unit: &str, outcome: RecordedOutcome, parts: KeyParts) {
        let (env, config) = (Environment::default(), Config::new(store.layout().dir()));
        store.note_unit(Noted {
            request: &Request::new(&[], &env, Path::new("/w"), &config, &SystemRunner),
            kind: UnitKind::Compilation,
            unit,
            roots: &Roots::default(),
            outcome,
            started: SystemTime::now(),
            ended: None,
            waited_us: 0,
            ran_us: 0,
            saved_us: 7,
            bytes: 0,
            manifest: None,
            result: None,
            parts,
        });
    }

    pub(super) fn note(store: &Store, unit: &str) {
        let outcome = RecordedOutcome::bypass(&BypassReason::Help.of("--help"));
        note_outcome(store, unit, outcome, KeyParts::new());
    }

    /// The record of this process's parent.
    fn file(store: &Store) -> PathBuf {
        store.layout().part(DIR).join(&Caller::known().build)
    }

    #[test]
    fn what_is_noted_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let refusal = NotStored::Changed.of("x.rs");
        let outcome = RecordedOutcome::miss(&MissReason::NoEntry, Some(&refusal));
        note_outcome(&store, "a (lib)", outcome, KeyParts::new());
        note(&store, "b (bin)");
        note_outcome(&store, "c (lib)", RecordedOutcome::Hit, KeyParts::new());
        let [miss, bypass, hit] = &store.records().unwrap()[..] else {
            panic!("three entries");
        };
        assert_eq!((miss.unit.as_str(), miss.dir.as_str()), ("a (lib)", "/w"));
        assert!(
            miss.outcome
                .to_string()
                .ends_with("; not stored: changed: x.rs")
        );
        assert_eq!(bypass.outcome.to_string(), "bypassed: help: --help");
        assert_eq!((&hit.outcome, hit.saved_us), (&RecordedOutcome::Hit, 7));
        assert!(is_name(&miss.build) && miss.build == bypass.build);
        assert!(miss.started_us / 1_000_000 <= miss.time);
    }

    #[test]
    fn what_differs_from_the_most_similar_time_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let note = |unit: &str, parts: &[(&str, &str)]| {
            let outcome = RecordedOutcome::miss(&MissReason::NoEntry, None);
            let parts = parts
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            note_outcome(&store, unit, outcome, parts.collect());
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
            .records()
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
        note(&store, "a");
        let append = |text: &[u8]| store.append(&file(&store), text, u64::MAX).unwrap();
        append(b"{\"time\":1,\"bui\n\xff\n{}\n");
        note(&store, "b");
        append(b"{\"time\":");
        assert_eq!(store.records().unwrap().len(), 2);
        for strange in ["x", "1-2-", "journal"] {
            let path = store.layout().part(DIR).join(strange);
            std::fs::write(&path, line("{}")).unwrap();
            assert!(!is_name(strange));
        }
        assert_eq!(store.records().unwrap().len(), 2);
    }

    #[test]
    fn a_line_proves_itself() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        note(&store, "a");
        let sound = fs::read(&file(&store)).unwrap();
        assert!(is_sound(&sound) && is_sound(b""));
        for i in 0..sound.len() {
            let mut flipped = sound.clone();
            flipped[i] ^= 1;
            assert!(!is_sound(&flipped), "byte {i}");
            assert_eq!(is_sound(&sound[..i]), i == 0, "cut at {i}");
        }
    }

    #[test]
    fn the_oldest_go_beyond_the_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let builds = store.layout().part(DIR);
        store.make_dir(&builds).unwrap();
        let write = |n: u64| {
            let path = builds.join(format!("{n}-1"));
            std::fs::write(&path, [b'\n'; 100]).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 + n);
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(time).unwrap();
        };
        let left = || {
            let mut names: Vec<_> = store.list(&builds).unwrap();
            names.sort_by(|a, b| a.name.cmp(&b.name));
            let names = names.into_iter().map(|n| n.name.into_string().unwrap());
            names.collect::<Vec<_>>()
        };
        (1..=5).for_each(write);
        store.keep_newest(&builds, 4, 1000);
        assert_eq!(left(), ["2-1", "3-1", "4-1", "5-1"]);
        store.keep_newest(&builds, 4, 250);
        assert_eq!(left(), ["4-1", "5-1"]);
        store.keep_newest(&builds, 0, 0);
        assert_eq!(left(), ["5-1"], "the newest is being written");
    }

    #[test]
    fn a_record_that_is_long_enough_grows_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        note(&store, "a");
        let len = fs::read(&file(&store)).unwrap().len() as u64;
        let appended = store.append(&file(&store), b"more", len - 1).unwrap();
        assert_eq!(appended, len);
        assert_eq!(store.append(&file(&store), b"more", len).unwrap(), len + 4);
    }

    #[test]
    fn nothing_is_written_where_nothing_may_be() {
        let dir = tempfile::tempdir().unwrap();
        store(dir.path());
        note(&Store::new(dir.path(), true), "a");
        let missing = Store::new(dir.path().join("missing"), false);
        note(&missing, "a");
        assert!(store(dir.path()).records().unwrap().is_empty());
        assert!(missing.records().unwrap().is_empty());
    }
}
