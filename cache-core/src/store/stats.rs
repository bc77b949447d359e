//! Counters: how often what happened, exact across any number of processes.
//!
//! # Names
//!
//! ```text
//! name   = event ["." detail]
//! event  = hit | miss | bypass          units, and what became of them
//!        | not_stored                   misses whose outcome was not kept
//!        | saved_us | compile_us        microseconds of compiling, avoided and done
//!        | stored_bytes                 bytes written to the store, in whole blocks as the
//!                                       GC counts them, never decreasing
//!        | script_hit | script_miss | script_bypass | script_not_stored
//!        | script_saved_us | script_us  the same of runs of build scripts
//!        | tool_hit | tool_miss | tool_bypass | tool_not_stored
//!        | tool_saved_us | tool_us      the same of tools that embedders run
//!        | fault | corrupt              errors of ours; damaged files met
//!        | seed                         `seed.used`: builds of which something was served ahead;
//!                                       `seed.units`: units so served, which count as hits of their
//!                                       kinds too; `seed.left`: units that could not be
//! detail = lowercase words joined by "-", a reason: `miss.no-entry`
//! ```
//! A unit that misses counts once as `miss` and once as `miss.<reason>`; `bypass` and
//! `not_stored` likewise. `hit.query` and `miss.query` are those of the hits and misses
//! that were questions to the compiler (`-vV`, `--print`) rather than compilations, and
//! `hit.waited` those of the hits whose result another process was just making.
//! Names are free text to this module: a counter exists once it was counted.
//!
//! # How it works
//!
//! The counters lie in shards, files of which each holds a part of every sum:
//!
//! ```text
//! <dir>/v1/stats/<n>      n = 0, 1, 2, …
//! <dir>/v1/stats/zero     the sums at the last reset
//! file = frame 'S' version 1 (see codec), body = map from name to u64
//! ```
//! Version history: 1, the first.
//!
//! To count, a process locks one shard, reads it, adds, and writes it back with one
//! `pwrite` of less than a page. It starts at a shard that its process id chooses and
//! moves on to the next one where a lock is held, so nobody ever waits, not even for a
//! process that was stopped while counting; and no count is lost, because a shard
//! changes only under its lock. Resetting writes down the present sums, to be
//! subtracted from then on: it needs no locks and loses no count made meanwhile.
//!
//! What can go wrong:
//! - A shard is damaged (a power cut, a flipped bit): it is started anew, and what it
//!   held is lost. A sum that falls below its value at the last reset shows as zero.
//! - A shard was written by another release: it is left alone and not counted in.
//! - The file system has no locks: counting goes on without, and may lose counts.
//! - The store is read-only: nothing is recorded.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::error::{PathContext as _, PathError};
use crate::formats::codec::{self, DecodeError, Kind};
use crate::os::dir::NameKind;
use crate::os::lock;
use crate::store::{Store, StoreError, UnitKind};

/// Units served from the store.
pub const HIT: &str = "hit";
/// Units that were compiled.
pub const MISS: &str = "miss";
/// Units that were left to the compiler untouched.
pub const BYPASS: &str = "bypass";
/// Misses whose outcome was not kept.
pub const NOT_STORED: &str = "not_stored";
/// Compile time avoided by hits, microseconds.
pub const SAVED_US: &str = "saved_us";
/// Compile time spent in misses, microseconds.
pub const COMPILE_US: &str = "compile_us";
/// Runs of build scripts served from the store.
pub const SCRIPT_HIT: &str = "script_hit";
/// Build scripts that were run.
pub const SCRIPT_MISS: &str = "script_miss";
/// Build scripts that were run without looking for their results.
pub const SCRIPT_BYPASS: &str = "script_bypass";
/// Runs of build scripts whose outcome was not kept.
pub const SCRIPT_NOT_STORED: &str = "script_not_stored";
/// Time of build scripts avoided by hits, microseconds.
pub const SCRIPT_SAVED_US: &str = "script_saved_us";
/// Time of build scripts spent in misses, microseconds.
pub const SCRIPT_US: &str = "script_us";
/// Bytes written to the store, in whole blocks.
pub const STORED_BYTES: &str = "stored_bytes";
/// Errors of the cache that a build went on without.
pub const FAULT: &str = "fault";
/// Builds of which something was served ahead.
pub const SEED_USED: &str = "seed.used";
/// Units that were served before cargo asked for them; they count as hits too.
pub const SEED_UNITS: &str = "seed.units";
/// Units of seeds that could not be served ahead.
pub const SEED_LEFT: &str = "seed.left";
/// Damaged files met.
pub const CORRUPT: &str = "corrupt";

/// A kind of units, and what its events are called.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Events {
    /// The kind.
    pub kind: UnitKind,
    /// Units served from the store.
    pub hit: &'static str,
    /// Units that ran.
    pub miss: &'static str,
    /// Units that ran without being looked for.
    pub bypass: &'static str,
    /// Misses whose outcome was not kept.
    pub not_stored: &'static str,
    /// Time avoided by hits, microseconds.
    pub saved_us: &'static str,
    /// Time spent in misses, microseconds.
    pub took_us: &'static str,
}

/// All kinds.
pub const KINDS: [Events; 3] = [COMPILATIONS, SCRIPT_RUNS, TOOL_RUNS];

/// Compilations, and questions to the compiler.
pub const COMPILATIONS: Events = Events {
    kind: UnitKind::Compilation,
    hit: HIT,
    miss: MISS,
    bypass: BYPASS,
    not_stored: NOT_STORED,
    saved_us: SAVED_US,
    took_us: COMPILE_US,
};

/// Runs of build scripts.
pub const SCRIPT_RUNS: Events = Events {
    kind: UnitKind::BuildScript,
    hit: SCRIPT_HIT,
    miss: SCRIPT_MISS,
    bypass: SCRIPT_BYPASS,
    not_stored: SCRIPT_NOT_STORED,
    saved_us: SCRIPT_SAVED_US,
    took_us: SCRIPT_US,
};

/// Runs of tools of embedders.
pub const TOOL_RUNS: Events = Events {
    kind: UnitKind::Tool,
    hit: "tool_hit",
    miss: "tool_miss",
    bypass: "tool_bypass",
    not_stored: "tool_not_stored",
    saved_us: "tool_saved_us",
    took_us: "tool_us",
};

pub(crate) const KIND: Kind = Kind {
    tag: b'S',
    version: 1,
};

/// Shards that counting starts at, so that busy processes seldom meet.
const FIRST_CHOICES: u32 = 16;
/// Shards tried before giving up; reached only if that many processes hold locks.
const CHOICES: u32 = 1024;

type Counters = BTreeMap<String, u64>;

impl Store {
    /// Adds to counters; those of one call are added together or not at all.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// use cache_core::Store;
    /// use cache_core::store::stats;
    /// let store = Store::new(dir.path(), false);
    /// store.count(&[(stats::HIT, 1), (stats::SAVED_US, 1500)])?;
    /// store.count(&[(stats::HIT, 1)])?;
    /// assert_eq!(store.counters()?["hit"], 2);
    /// # Ok::<(), cache_core::StoreError>(())
    /// ```
    pub fn count(&self, amounts: &[(&str, u64)]) -> Result<(), StoreError> {
        if self.is_read_only() || amounts.is_empty() {
            return Ok(());
        }
        let dir = self.layout().part("stats");
        let first = std::process::id() % FIRST_CHOICES;
        let mut last_error = None;
        for n in first..first + CHOICES {
            let path = dir.join(n.to_string());
            match self.count_in(&path, amounts) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                // Another user's shard, or no file at all; there may be one of ours
                // further on.
                Err(StoreError::Path(e)) if e.is_refusal() => last_error = Some(e),
                Err(e) => return Err(e),
            }
        }
        let busy = || PathError::new("lock", dir, std::io::ErrorKind::WouldBlock.into());
        Err(last_error.unwrap_or_else(busy).into())
    }

    /// Adds to one shard; `false` if it is in use or not ours to change.
    fn count_in(&self, path: &Path, amounts: &[(&str, u64)]) -> Result<bool, StoreError> {
        let file = match self.open_file(path) {
            Err(e) if e.is_not_found() => {
                self.prepare()?;
                self.make_dir(&self.layout().part("stats"))?;
                self.open_file(path)?
            }
            opened => opened?,
        };
        if matches!(lock::try_exclusive(&file), Ok(false)) {
            return Ok(false);
        }
        let old = read_all(&file).context("read", path)?;
        let mut counters = match codec::decode::<Counters>(KIND, &old) {
            Ok(counters) => counters,
            Err(DecodeError::Corrupt) => Counters::new(),
            Err(DecodeError::UnknownVersion { .. }) => return Ok(false),
        };
        for &(name, amount) in amounts {
            let sum = counters.entry(name.to_owned()).or_default();
            *sum = sum.saturating_add(amount);
        }
        let new = codec::encode(KIND, &counters)?;
        file.write_all_at(&new, 0).context("write", path)?;
        if new.len() < old.len() {
            file.set_len(new.len() as u64).context("cut", path)?;
        }
        Ok(true)
    }

    /// The counters since the last reset.
    pub fn counters(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let mut sums = self.counters_ever()?;
        for (name, before) in self.read_shard(&self.zero())? {
            if let Some(sum) = sums.get_mut(&name) {
                *sum = sum.saturating_sub(before);
            }
        }
        sums.retain(|_, sum| *sum > 0);
        Ok(sums)
    }

    /// Lets all counters begin at zero again.
    pub fn reset_counters(&self) -> Result<(), StoreError> {
        let bytes = codec::encode(KIND, &self.counters_ever()?)?;
        self.replace_own(&self.zero(), "counters", &bytes)
    }

    /// The counters since the store was made; resets do not show.
    pub fn counters_ever(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let mut sums = Counters::new();
        for path in self.shards()? {
            for (name, amount) in self.read_shard(&path)? {
                let sum = sums.entry(name).or_default();
                *sum = sum.saturating_add(amount);
            }
        }
        Ok(sums)
    }

    fn zero(&self) -> PathBuf {
        self.layout().part("stats").join("zero")
    }

    fn shards(&self) -> Result<Vec<PathBuf>, PathError> {
        let entries = self.list(&self.layout().part("stats"))?;
        let numbered = |name: &std::ffi::OsString| {
            let name = name.to_str().unwrap_or_default();
            name.parse::<u32>().is_ok()
        };
        Ok(entries
            .into_iter()
            .filter(|entry| entry.kind == NameKind::File && numbered(&entry.name))
            .map(|entry| entry.path)
            .collect())
    }

    /// What a shard holds; nothing if it is damaged, foreign or gone.
    ///
    /// A shard may be read in the middle of being written, and then looks damaged; it is
    /// read again before that is believed.
    fn read_shard(&self, path: &Path) -> Result<Counters, StoreError> {
        for _ in 0..50 {
            let bytes = match self.read_plain(path) {
                Ok(bytes) => bytes,
                Err(e) if e.is_not_found() || e.is_no_file() => return Ok(Counters::new()),
                Err(e) => return Err(e.into()),
            };
            match codec::decode(KIND, &bytes) {
                Ok(counters) => return Ok(counters),
                Err(DecodeError::UnknownVersion { .. }) => break,
                // Created by a process that has not written it yet.
                Err(DecodeError::Corrupt) if bytes.is_empty() => break,
                Err(DecodeError::Corrupt) => std::thread::yield_now(),
            }
        }
        Ok(Counters::new())
    }
}

/// Reads from the start without moving a cursor.
fn read_all(file: &File) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4096];
    let mut len = 0;
    loop {
        if len == bytes.len() {
            bytes.resize(len * 2, 0);
        }
        let rest = bytes.get_mut(len..).unwrap_or_default();
        match file.read_at(rest, len as u64) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::fs;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("cache"), false);
        (dir, store)
    }

    fn shard_files(store: &Store) -> Vec<PathBuf> {
        store.shards().unwrap()
    }

    #[test]
    fn the_format_has_not_changed() {
        let counters: Counters = [("hit".to_owned(), 300)].into();
        let bytes = codec::encode(KIND, &counters).unwrap();
        assert_eq!(
            &bytes[..bytes.len() - 32],
            b"cwrpS\x01\0\0\x08\0\0\0\0\0\0\0\x01\x03hit\xfb\x2c\x01"
        );
    }

    #[test]
    fn a_new_store_has_no_counters() {
        let (_dir, store) = store();
        assert!(store.counters().unwrap().is_empty());
        assert!(!store.layout().dir().exists());
    }

    #[test]
    fn counting_is_exact_across_threads() {
        let (_dir, store) = store();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for i in 0..100 {
                        store.count(&[(HIT, 1), (SAVED_US, i)]).unwrap();
                    }
                });
            }
        });
        let counters = store.counters().unwrap();
        assert_eq!(counters[HIT], 800);
        assert_eq!(counters[SAVED_US], 8 * 4950);
    }

    #[test]
    fn reading_while_counting_never_sees_a_sum_fall() {
        let (_dir, store) = store();
        std::thread::scope(|scope| {
            let counting = scope.spawn(|| {
                for _ in 0..2000 {
                    store.count(&[(HIT, 1)]).unwrap();
                }
            });
            let mut last = 0;
            while !counting.is_finished() {
                let now = store.counters().unwrap().get(HIT).copied().unwrap_or(0);
                assert!(now >= last, "{now} after {last}");
                last = now;
            }
        });
    }

    #[test]
    fn a_held_shard_blocks_nobody() {
        let (_dir, store) = store();
        store.count(&[(HIT, 1)]).unwrap();
        let held = fs::open(&shard_files(&store)[0]).unwrap();
        assert!(lock::try_exclusive(&held).unwrap());
        store.count(&[(HIT, 1)]).unwrap();
        assert_eq!(shard_files(&store).len(), 2);
        assert_eq!(store.counters().unwrap()[HIT], 2);
    }

    #[test]
    fn resetting_starts_at_zero_and_keeps_what_collection_needs() {
        let (_dir, store) = store();
        store.count(&[(HIT, 5), (MISS, 1)]).unwrap();
        store.reset_counters().unwrap();
        assert!(store.counters().unwrap().is_empty());
        store.count(&[(HIT, 2)]).unwrap();
        assert_eq!(store.counters().unwrap(), [(HIT.to_owned(), 2)].into());
        assert_eq!(store.counters_ever().unwrap()[HIT], 7);
    }

    #[test]
    fn a_damaged_shard_starts_anew() {
        let (_dir, store) = store();
        store
            .count(&[("a_rather_long_name_of_a_counter", 5)])
            .unwrap();
        let shard = &shard_files(&store)[0];
        let mut bytes = fs::read(shard).unwrap();
        bytes[20] ^= 1;
        std::fs::write(shard, &bytes).unwrap();
        assert!(store.counters().unwrap().is_empty());
        store.count(&[(HIT, 1)]).unwrap();
        assert_eq!(store.counters().unwrap(), [(HIT.to_owned(), 1)].into());
    }

    #[test]
    fn a_shard_of_another_release_is_left_alone() {
        let (_dir, store) = store();
        store.count(&[(HIT, 1)]).unwrap();
        let shard = &shard_files(&store)[0];
        let newer = Kind { version: 9, ..KIND };
        let foreign = codec::encode(newer, &"whatever").unwrap();
        std::fs::write(shard, &foreign).unwrap();
        store.count(&[(HIT, 1)]).unwrap();
        assert_eq!(fs::read(shard).unwrap(), foreign);
        assert_eq!(store.counters().unwrap()[HIT], 1);
    }

    #[test]
    fn a_directory_in_a_shards_place_is_passed_over() {
        let (_dir, store) = store();
        store.count(&[(HIT, 1)]).unwrap();
        let shard = &shard_files(&store)[0];
        fs::remove_file(shard).unwrap();
        fs::create_dir_all(shard).unwrap();
        store.count(&[(HIT, 1)]).unwrap();
        assert_eq!(store.counters().unwrap()[HIT], 1);
    }

    #[test]
    fn a_read_only_store_records_nothing() {
        let (dir, _) = store();
        let store = Store::new(dir.path().join("cache"), true);
        store.count(&[(HIT, 1)]).unwrap();
        assert!(!store.layout().dir().exists());
    }
}
