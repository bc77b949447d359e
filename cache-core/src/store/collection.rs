//! Carrying a plan out: the steps of a collection.
//!
//! Results go before the blobs they name, and compressed blobs are in place before raw
//! ones go, so that being killed between any two steps leaves a store that is whole.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rayon::prelude::*;

use super::compress::Compressed;
use super::progress::{Meter, Progress};
use super::retention::{self, EvictReason, Plan, Policy, Removed};
use super::scan::{FileEntry, MEMO_AGE, Scan, TMP_AGE, is_stale, modified};
use super::{Store, StoreError};
use crate::error::PathError;
use crate::formats::digest::{Digest, ResultKey};
use crate::formats::manifest::InputManifest;

/// Plans made in one collection: compressing may turn out to save less than assumed.
const ROUNDS: usize = 3;

/// What a collection did, or would have done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Size before, bytes in whole blocks.
    pub size_before: u64,
    /// Size after.
    pub size_after: u64,
    /// Results removed, by why; damaged ones with those that were incomplete.
    pub removed: BTreeMap<EvictReason, Removed>,
    /// Blobs compressed; in a dry run, those that would be tried.
    pub compressed: u64,
    /// Blobs removed that no result named.
    pub orphans: u64,
    /// Manifests removed; not known in a dry run.
    pub manifests: u64,
    /// Files left behind by killed processes removed.
    pub tmp: u64,
    /// Memoised facts removed.
    pub memos: u64,
    /// Files that could not be removed or compressed.
    pub failed: u64,
}

impl GcReport {
    /// What went for this reason.
    pub fn removed_for(&self, reason: EvictReason) -> Removed {
        self.removed.get(&reason).copied().unwrap_or_default()
    }

    pub(super) fn count_evictions(&mut self, plan: &Plan) {
        for (&reason, &removed) in &plan.removed {
            self.count(reason, removed);
        }
    }

    /// Results that cannot be read count with those that cannot be used.
    pub(super) fn count_damaged(&mut self, damaged: &[FileEntry]) {
        if !damaged.is_empty() {
            let results = damaged.len() as u64;
            let bytes = damaged.iter().map(|file| file.size).sum();
            self.count(EvictReason::Broken, Removed { results, bytes });
        }
    }

    fn count(&mut self, reason: EvictReason, more: Removed) {
        let removed = self.removed.entry(reason).or_default();
        removed.results += more.results;
        removed.bytes += more.bytes;
    }
}

/// A collection under way: what is in the store, kept up to date.
pub(super) struct Collection<'a> {
    store: &'a Store,
    now: SystemTime,
    progress: &'a (dyn Fn(Progress) + Sync),
    scan: Scan,
    report: GcReport,
}

impl<'a> Collection<'a> {
    pub(super) fn new(
        store: &'a Store,
        now: SystemTime,
        progress: &'a (dyn Fn(Progress) + Sync),
    ) -> Result<Self, PathError> {
        progress(Progress {
            phase: "reading the store",
            done: 0,
            total: 0,
        });
        let scan = store.scan()?;
        let report = GcReport {
            size_before: scan.contents.size(),
            ..GcReport::default()
        };
        Ok(Self {
            store,
            now,
            progress,
            scan,
            report,
        })
    }

    pub(super) fn run(mut self, policy: &Policy) -> GcReport {
        self.sweep_files();
        let mut policy = policy.clone();
        for _ in 0..ROUNDS {
            let plan = retention::plan(&self.scan.contents, &policy, self.now);
            self.apply(&plan);
            if plan.compress.is_empty() {
                break;
            }
            policy.insist(&plan);
        }
        self.sweep_manifests();
        self.report.size_after = self.scan.contents.size();
        self.report
    }

    fn apply(&mut self, plan: &Plan) {
        self.report.count_evictions(plan);
        self.evict(plan);
        self.free(plan);
        self.compress(&plan.compress);
    }

    fn evict(&mut self, plan: &Plan) {
        let meter = Meter::new(self.progress, "removing entries", plan.evict.len());
        let failed: HashSet<ResultKey> = plan
            .evict
            .par_iter()
            .filter_map(|&(key, _)| {
                let removed = self.remove(&self.store.layout.result(key));
                meter.step();
                (!removed).then_some(key)
            })
            .collect();
        let evicted: HashSet<ResultKey> = plan.evict.iter().map(|(key, _)| *key).collect();
        self.scan
            .contents
            .entries
            .retain(|entry| !evicted.contains(&entry.key));
        self.report.failed += failed.len() as u64;
    }

    fn free(&mut self, plan: &Plan) {
        self.report.orphans += plan.orphans.len() as u64;
        let gone: Vec<Digest> = plan.free.iter().chain(&plan.orphans).copied().collect();
        let meter = Meter::new(self.progress, "removing files", gone.len());
        let failed: Vec<Digest> = gone
            .par_iter()
            .filter_map(|&digest| {
                let removed = self.remove_blob(digest);
                meter.step();
                (!removed).then_some(digest)
            })
            .collect();
        let failed: HashSet<Digest> = failed.into_iter().collect();
        for digest in gone {
            if !failed.contains(&digest) {
                self.scan.contents.blobs.remove(&digest);
            }
        }
        for digest in &plan.duplicates {
            let compressed = self.store.layout.blob(*digest).with_extension("zst");
            if self.remove(&compressed)
                && let Some(blob) = self.scan.contents.blobs.get_mut(digest)
            {
                blob.compressed = None;
            }
        }
        self.report.failed += failed.len() as u64;
    }

    /// Removes a blob unless it was stored again since the scan, which counts as done:
    /// it belongs to an entry that this collection knows nothing of.
    fn remove_blob(&self, digest: Digest) -> bool {
        let Some(blob) = self.scan.contents.blobs.get(&digest) else {
            return true;
        };
        let raw = self.store.layout.blob(digest);
        let compressed = raw.with_extension("zst");
        let mut removed = true;
        for path in [&raw, &compressed] {
            let modified = self.store.look(path).map(|stat| modified(&stat));
            if modified.is_ok_and(|modified| modified <= blob.modified) {
                removed &= self.remove(path);
            }
        }
        removed
    }

    fn compress(&mut self, digests: &[Digest]) {
        let meter = Meter::new(self.progress, "compressing", digests.len());
        let outcomes: Vec<(Digest, Result<Compressed, StoreError>)> = digests
            .par_iter()
            .map(|&digest| {
                let outcome = self.store.compress_blob(digest);
                meter.step();
                (digest, outcome)
            })
            .collect();
        for (digest, outcome) in outcomes {
            let Some(blob) = self.scan.contents.blobs.get_mut(&digest) else {
                continue;
            };
            match outcome {
                Ok(Compressed::To { size, modified }) => {
                    self.report.compressed += 1;
                    blob.modified = blob.modified.max(modified);
                    blob.raw = None;
                    blob.compressed = Some(size);
                }
                // Nothing to gain; as if it were compressed, so that the next round
                // does not try again.
                Ok(Compressed::NotSmaller) => blob.compressed = blob.raw.take(),
                Ok(Compressed::Gone) => {
                    self.scan.contents.blobs.remove(&digest);
                }
                Err(_) => {
                    self.report.failed += 1;
                    blob.compressed = blob.raw.take();
                }
            }
        }
    }

    /// Removes damaged results and what is old in `tmp/` and among the memos.
    fn sweep_files(&mut self) {
        self.report.count_damaged(&self.scan.damaged);
        let always = Duration::ZERO;
        let (damaged, _) = self.sweep(&self.scan.damaged, always);
        let (tmp, removed_tmp) = self.sweep(&self.scan.tmp, TMP_AGE);
        let (memos, removed_memos) = self.sweep(&self.scan.memos, MEMO_AGE);
        self.report.tmp += removed_tmp;
        self.report.memos += removed_memos;
        self.scan.contents.fixed -= damaged + tmp + memos;
    }

    /// Removes what is older than `age`; says how many bytes and files went.
    fn sweep(&self, files: &[FileEntry], age: Duration) -> (u64, u64) {
        files
            .par_iter()
            .filter(|file| age.is_zero() || is_stale(file, age, self.now))
            .filter(|file| self.remove_any(&file.path))
            .map(|file| (file.size, 1))
            .reduce(|| (0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    }

    /// Removes manifests without results; from then on manifests are accounted for by
    /// what they are rather than by an average.
    fn sweep_manifests(&mut self) {
        let live: HashSet<ResultKey> = self.scan.contents.entries.iter().map(|e| e.key).collect();
        let meter = Meter::new(
            self.progress,
            "reading manifests",
            self.scan.manifests.len(),
        );
        let (size, count) = self
            .scan
            .manifests
            .par_iter()
            .filter(|file| {
                meter.step();
                self.is_dead(file, &live) && self.remove(&file.path)
            })
            .map(|file| (file.size, 1))
            .reduce(|| (0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        let all: u64 = self.scan.manifests.iter().map(|file| file.size).sum();
        let contents = &mut self.scan.contents;
        contents.per_entry = 0;
        contents.fixed = contents.fixed - self.scan.manifest_rest + all - size;
        self.report.manifests += count;
    }

    /// Whether no set of a manifest names a result that exists.
    ///
    /// Results stored since the scan are looked for one by one; they are in place before
    /// their manifest is.
    fn is_dead(&self, file: &FileEntry, live: &HashSet<ResultKey>) -> bool {
        let exists = |key: ResultKey| self.store.exists(&self.store.layout.result(key));
        self.store
            .read_plain(&file.path)
            .ok()
            .and_then(|bytes| InputManifest::decode(&bytes).ok())
            .is_some_and(|manifest| {
                let mut sets = manifest.sets().iter();
                !sets.any(|set| live.contains(&set.result) || exists(set.result))
            })
    }

    /// Removes a file; one that is gone already is as good.
    fn remove(&self, path: &Path) -> bool {
        let removed = self.store.remove_file(path);
        removed.map_or_else(|e| e.is_not_found(), |()| true)
    }

    /// The same for whatever is there, a directory too.
    fn remove_any(&self, path: &Path) -> bool {
        let removed = self.store.remove_any(path);
        removed.map_or_else(|e| e.is_not_found(), |()| true)
    }
}
