//! Collection: keeping the store within its bound and free of what nothing names.
//!
//! [`Store::collect`] scans, asks [`retention`](super::retention) for a plan and
//! carries it out. It may be killed at any moment, because every step leaves a store
//! that is whole: results go before the blobs they name, a compressed blob is in place
//! before the raw one goes, and what a killed collection left is found by the next.
//!
//! A collection holds `v1/lock`, so two never run at once; who finds it held goes away.
//! Nobody else takes that lock, so builds go on meanwhile. They may lose a race: a
//! result stored while the last entry that named the same blob is evicted finds its
//! blob gone. Storing an existing blob renews its time, and a blob whose time is newer
//! than the scan is spared, so the window is a few microseconds, and the price of
//! falling into it one compile.
//!
//! Besides entries, these go:
//! - files in `tmp/` and `running/` older than `TMP_AGE`, left by processes that were
//!   killed;
//! - manifests of which no set names a result that exists;
//! - memoised toolchains and names not written for `MEMO_AGE`; they are made again
//!   when needed;
//! - results that cannot be decoded.
//!
//! # When
//!
//! Asking whether the store is too large must not need a scan, so a collection records
//! what it left:
//!
//! ```text
//! <dir>/v1/gc
//! file = frame 'G' version 1 (see codec)
//! body = finished:     u64   seconds since the epoch
//!        size:         u64   bytes, in whole blocks
//!        stored_bytes: u64   the counter of that name when the collection began
//! ```
//! Version history: 1, the first.
//!
//! The size now is about `size` plus what the counter has grown since. A record that is
//! missing counts as zeros; a counter that fell (a damaged shard) calls for a
//! collection, which makes the record anew.
//!
//! Besides, a collection is due when less is free on the file system than should be, which the
//! system is asked only if that is set; and where entries go by age, once a day.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::collection::{Collection, GcReport};
use super::progress::Progress;
use super::retention::{self, Policy};
use super::scan::{MEMO_AGE, TMP_AGE, is_stale};
use super::{Store, StoreError};
use crate::config::Config;
use crate::error::{PathContext as _, PathError};
use crate::formats::codec::{self, Kind};
use crate::os::file_system::free_space;
use crate::os::lock;
use crate::store::stats::STORED_BYTES;

/// A store over its bound is not collected again sooner than this unless it has grown
/// by a fiftieth of the bound: what is spared the first time is spared the second.
const PAUSE: Duration = Duration::from_secs(60);

/// Where entries go by age, a store is collected as often as this, or as the age is long.
const DAY: Duration = Duration::from_secs(24 * 3600);

const KIND: Kind = Kind {
    tag: b'G',
    version: 1,
};

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Record {
    finished: u64,
    size: u64,
    stored_bytes: u64,
}

/// What the last collection left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastCollection {
    /// When it ended.
    pub finished: SystemTime,
    /// The store's size then, bytes in whole blocks.
    pub size: u64,
}

/// How to collect.
#[derive(Clone, Debug, Default)]
pub struct CollectOptions {
    /// What is to be kept.
    pub policy: Policy,
    /// Find out what would be done, and do nothing.
    pub dry_run: bool,
    /// Threads to use; 0 for as many as there are processors.
    pub threads: usize,
}

/// How a collection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collected {
    /// It ran.
    Done(GcReport),
    /// Another process is at it.
    Busy,
    /// The store is read-only.
    ReadOnly,
}

/// Collects as the settings say: the form for a process in the background.
///
/// Uses one thread. `now` is the current time.
pub fn run_gc(store: &Store, config: &Config, now: SystemTime) -> Result<Collected, StoreError> {
    let options = CollectOptions {
        policy: Policy::configured(config).with_slack(),
        dry_run: false,
        threads: 1,
    };
    store.collect(&options, now, &|_| {})
}

impl Store {
    /// Whether a process that has just stored something should start a collection.
    ///
    /// Reads the counters and one small file, and looks whether a collection is running;
    /// tens of microseconds, whatever the size of the store. Any doubt or error says no:
    /// the next one to store asks again.
    pub fn should_gc(&self, config: &Config, now: SystemTime) -> bool {
        *config.gc
            && !self.read_only
            && self.is_due(config, now).unwrap_or(false)
            && matches!(self.gc_lock(), Ok(Some(_)))
    }

    fn is_due(&self, config: &Config, now: SystemTime) -> Result<bool, StoreError> {
        let max_size = *config.max_size;
        let record = self.gc_record();
        let stored = self.stored_bytes()?;
        let Some(grown) = stored.checked_sub(record.stored_bytes) else {
            return Ok(true);
        };
        let age = seconds(now).saturating_sub(record.finished);
        let due = age >= PAUSE.as_secs() || grown >= max_size / 50;
        let over = record.size.saturating_add(grown) > max_size;
        Ok(due && (over || self.lacks_space(config)) || age >= config.by_age().as_secs())
    }

    fn lacks_space(&self, config: &Config) -> bool {
        let free = || free_space(self.layout.dir());
        config
            .keep_free_space
            .is_some_and(|keep| free().is_some_and(|free| free < keep))
    }

    fn stored_bytes(&self) -> Result<u64, StoreError> {
        Ok(*self.counters_ever()?.get(STORED_BYTES).unwrap_or(&0))
    }

    fn gc_record(&self) -> Record {
        let read = || codec::decode(KIND, &self.read_plain(&self.layout.part("gc")).ok()?).ok();
        read().unwrap_or_default()
    }

    /// The last collection; `None` before the first one.
    pub fn last_collection(&self) -> Option<LastCollection> {
        let Record { finished, size, .. } = self.gc_record();
        let finished = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(finished))?;
        (finished > SystemTime::UNIX_EPOCH).then_some(LastCollection { finished, size })
    }

    /// The lock that a collection holds; `None` if it is held.
    pub(crate) fn gc_lock(&self) -> Result<Option<std::fs::File>, PathError> {
        let path = self.layout.part("lock");
        let file = self.open_file(&path)?;
        let free = lock::try_exclusive(&file).context("lock", &path)?;
        Ok(free.then_some(file))
    }

    /// Removes and compresses what the policy says, and what nothing names.
    ///
    /// A dry run takes no lock and changes nothing. `progress` may be called from several
    /// threads.
    pub fn collect(
        &self,
        options: &CollectOptions,
        now: SystemTime,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Collected, StoreError> {
        if !self.is_dir(self.layout.format_dir()) {
            return Ok(Collected::Done(GcReport::default()));
        }
        let in_pool = |work: &(dyn Fn() -> Result<Collected, StoreError> + Sync)| {
            // Without a pool of its own the work is done all the same.
            let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads);
            match pool.build() {
                Ok(pool) => pool.install(work),
                Err(_) => work(),
            }
        };
        if options.dry_run {
            let preview = || Ok(Collected::Done(self.preview(options, now)?));
            return in_pool(&preview);
        }
        if self.read_only {
            return Ok(Collected::ReadOnly);
        }
        let Some(_lock) = self.gc_lock()? else {
            return Ok(Collected::Busy);
        };
        in_pool(&|| {
            let stored_bytes = self.stored_bytes()?;
            let _ = self.write_tag();
            let report = Collection::new(self, now, progress)?.run(&options.policy);
            let record = Record {
                finished: seconds(now),
                size: report.size_after,
                stored_bytes,
            };
            let bytes = codec::encode(KIND, &record)?;
            match self.replace_own(&self.layout.part("gc"), "record", &bytes) {
                // Then ours starts from nothing each time, which is often enough.
                Err(StoreError::UnknownVersion { .. }) | Ok(()) => {}
                Err(e) => return Err(e),
            }
            Ok(Collected::Done(report))
        })
    }

    fn preview(&self, options: &CollectOptions, now: SystemTime) -> Result<GcReport, StoreError> {
        let scan = self.scan()?;
        let plan = retention::plan(&scan.contents, &options.policy, now);
        let mut report = GcReport {
            size_before: plan.size_before,
            size_after: plan.size_after,
            compressed: plan.compress.len() as u64,
            orphans: plan.orphans.len() as u64,
            ..GcReport::default()
        };
        report.count_evictions(&plan);
        report.count_damaged(&scan.damaged);
        for (files, age, count) in [
            (&scan.tmp, TMP_AGE, &mut report.tmp),
            (&scan.memos, MEMO_AGE, &mut report.memos),
        ] {
            let stale = files.iter().filter(|file| is_stale(file, age, now));
            for file in stale {
                *count += 1;
                report.size_after -= file.size;
            }
        }
        let damaged: u64 = scan.damaged.iter().map(|file| file.size).sum();
        report.size_after -= damaged;
        Ok(report)
    }
}

impl Config {
    /// How long after a collection the ages of entries call for another one.
    fn by_age(&self) -> Duration {
        let ages = [*self.max_age, *self.toolchain_max_age];
        let shortest = ages.into_iter().flatten().min();
        shortest.map_or(Duration::MAX, |age| age.clamp(PAUSE, DAY))
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
