//! Retention: which entries go when the store must shrink. A pure function.
//!
//! [`plan`] takes what is in the store, a [`Policy`] and the time, and says what to
//! remove and what to compress. In this order:
//!
//! 1. Results whose blobs are missing go: they can never be used.
//! 2. Results of a dropped toolchain, those of a toolchain of which nothing was used for
//!    `toolchain_older_than`, and those last used before `older_than`, go.
//! 3. Blobs that only those results named go with them. Blobs that no result names
//!    ("orphans", left by a process that died between storing a blob and its result)
//!    go once they are older than the grace period; while results of another release
//!    are present, which may name blobs that this release cannot see, only after
//!    [`FOREIGN_GRACE`].
//! 4. If what remains exceeds the bound's trigger, it is brought down to the low-water
//!    mark, first by compressing blobs, coldest first, and only when compressing all of
//!    them would not do, by evicting entries as well, coldest first.
//! 5. If less than `keep_free` would then be free on the file system, the store is made
//!    smaller in the same way, as far as that helps.
//!
//! *Coldest first* means: entries that were never hit, then those hit, each by least
//! recent use. A hit counts for [`HIT_COUNTS_FOR`]; after that an entry stands with
//! those never hit, so that what was useful once, long ago, does not crowd out
//! everything new. A blob is as cold as the hottest entry that names it.
//!
//! Never-hit entries going first is also what keeps a store whose bound is below the
//! working set from thrashing: the entries that serve hits stay, and only the rest is
//! replaced over and over.
//!
//! *Grace*: an entry used within the grace period is neither compressed nor evicted to
//! reach the low-water mark. It is evicted, after all others, if the store would stay
//! above its maximum otherwise: the bound is a promise, the grace period a preference.
//! To keep space free nothing within it is evicted: somebody else may be filling the disk, and
//! a store that holds nothing would not stop that.
//! A time in the future by more than the grace period (the clock went backwards) gives
//! no grace.

mod policy;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use super::layout::disk_size;
use crate::formats::digest::{Digest, ResultKey};

pub use policy::{Bound, DEFAULT_GRACE, KeepFree, Policy};

/// How long a hit keeps an entry ahead of those never hit.
pub const HIT_COUNTS_FOR: Duration = Duration::from_secs(14 * 24 * 3600);

/// How long orphan blobs are kept while another release shares the store.
pub const FOREIGN_GRACE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What compressing is assumed to leave of a blob, percent, until it has been done.
///
/// Of 730 MB of rustc's outputs, debug and release, zstd left 26 %. A plan that hopes for
/// too much is followed by another one; one that hopes for too little would evict what
/// could have stayed.
const ASSUMED_PERCENT: u64 = 30;

/// Blobs at most this large are not compressed: they take one block either way.
const SMALL: u64 = 4096;

/// One result, as far as retention is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub key: ResultKey,
    /// Size of the result's own file, bytes.
    pub size: u64,
    /// The blobs it needs, each once.
    pub blobs: Vec<Digest>,
    /// When it was last stored or hit.
    pub last_use: SystemTime,
    /// Whether it was hit since it was stored.
    pub hit: bool,
    /// The toolchain that made it.
    pub toolchain: Digest,
}

/// One blob: its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlob {
    /// Size of the raw file, if there is one, bytes.
    pub raw: Option<u64>,
    /// Size of the compressed file, if there is one, bytes.
    pub compressed: Option<u64>,
    /// When either was last written or stored again.
    pub modified: SystemTime,
}

impl StoredBlob {
    /// Size of its files together, bytes.
    pub fn size(&self) -> u64 {
        self.raw.unwrap_or(0) + self.compressed.unwrap_or(0)
    }

    /// Size once it has been compressed, as far as that can be told beforehand.
    fn projected(&self) -> u64 {
        match (self.raw, self.compressed) {
            (Some(raw), _) if raw > SMALL => disk_size(raw * ASSUMED_PERCENT / 100),
            (Some(raw), _) => raw,
            (None, compressed) => compressed.unwrap_or(0),
        }
    }
}

/// What is in a store.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// The results.
    pub entries: Vec<Entry>,
    /// The blobs.
    pub blobs: HashMap<Digest, StoredBlob>,
    /// What each entry takes besides, on average, bytes: its share of the manifests, which
    /// go with the results they name.
    pub per_entry: u64,
    /// Size of everything else, bytes.
    pub fixed: u64,
    /// Whether there are results of another release.
    pub foreign: bool,
    /// What the store could grow to if nobody else took space, bytes: its size, and what was
    /// free beside it when it was looked through. `None` where that is not known.
    pub room: Option<u64>,
}

impl Contents {
    /// Size of everything, bytes.
    pub fn size(&self) -> u64 {
        let entries: u64 = self.entries.iter().map(|e| e.size + self.per_entry).sum();
        let blobs: u64 = self.blobs.values().map(StoredBlob::size).sum();
        self.fixed + entries + blobs
    }
}

/// Why an entry goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum EvictReason {
    /// Blobs it needs are missing.
    Broken,
    /// Its toolchain was dropped.
    Toolchain,
    /// Nothing of its toolchain was used for too long.
    ToolchainAge,
    /// It was not used for too long.
    Age,
    /// The store is too large.
    Size,
    /// Too little is free on the file system.
    FreeSpace,
}

/// What goes for one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many results.
    pub results: u64,
    /// Their size, with the blobs that only they named, bytes.
    pub bytes: u64,
}

/// What to do to a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// [`EvictReason::Size`] or [`EvictReason::FreeSpace`], where the store is made smaller for that.
    pub shrunk_for: BTreeSet<EvictReason>,
    /// Results to remove, in this order and before any blob.
    pub evict: Vec<(ResultKey, EvictReason)>,
    /// How much that is, for each reason.
    pub removed: BTreeMap<EvictReason, Removed>,
    /// Blobs to remove that the evicted results named.
    pub free: Vec<Digest>,
    /// Blobs to remove that no result names.
    pub orphans: Vec<Digest>,
    /// Blobs whose compressed file is to be removed, because the raw one is back.
    pub duplicates: Vec<Digest>,
    /// Blobs to compress, coldest first.
    pub compress: Vec<Digest>,
    /// Size of the store before, bytes.
    pub size_before: u64,
    /// Size of the store after, as far as it can be told before compressing, bytes.
    pub size_after: u64,
}

/// Decides what goes. See the module's documentation.
pub fn plan(contents: &Contents, policy: &Policy, now: SystemTime) -> Plan {
    let mut planner = Planner::new(contents, policy, now);
    planner.drop_unwanted();
    planner.drop_orphans();
    planner.drop_duplicates();
    if let Some(bound) = policy.bound
        && planner.size > bound.trigger
    {
        planner.shrink(bound, EvictReason::Size);
    }
    if let (Some(keep), Some(room)) = (policy.keep_free, contents.room)
        && planner.size > keep.bound(room).trigger
    {
        planner.shrink(keep.bound(room), EvictReason::FreeSpace);
    }
    planner.plan.size_after = planner.size;
    planner.plan
}

/// A blob, as the plan leaves it.
#[derive(Clone, Copy, Debug, Default)]
struct Planned {
    /// How many of the entries that stay name it.
    uses: usize,
    /// What it takes, bytes.
    size: u64,
    compress: bool,
}

struct Planner<'a> {
    contents: &'a Contents,
    policy: &'a Policy,
    now: SystemTime,
    blobs: HashMap<Digest, Planned>,
    /// When something of each toolchain was last used.
    toolchains: HashMap<Digest, SystemTime>,
    /// Entries that stay.
    kept: Vec<&'a Entry>,
    size: u64,
    plan: Plan,
}

impl<'a> Planner<'a> {
    fn new(contents: &'a Contents, policy: &'a Policy, now: SystemTime) -> Self {
        let mut blobs: HashMap<Digest, Planned> = contents
            .blobs
            .iter()
            .map(|(&digest, blob)| {
                let size = blob.size();
                let planned = Planned {
                    size,
                    ..Planned::default()
                };
                (digest, planned)
            })
            .collect();
        for digest in contents.entries.iter().flat_map(|entry| &entry.blobs) {
            if let Some(blob) = blobs.get_mut(digest) {
                blob.uses += 1;
            }
        }
        let mut toolchains = HashMap::new();
        for entry in &contents.entries {
            let last = toolchains.entry(entry.toolchain).or_insert(entry.last_use);
            *last = entry.last_use.max(*last);
        }
        let size = contents.size();
        Self {
            contents,
            policy,
            now,
            blobs,
            toolchains,
            kept: Vec::with_capacity(contents.entries.len()),
            size,
            plan: Plan {
                size_before: size,
                ..Plan::default()
            },
        }
    }

    /// Time since `then`; `None` if that is too far in the future to be believed.
    fn age(&self, then: SystemTime) -> Option<Duration> {
        match self.now.duration_since(then) {
            Ok(age) => Some(age),
            Err(ahead) if ahead.duration() <= self.policy.grace => Some(Duration::ZERO),
            Err(_) => None,
        }
    }

    fn younger_than(&self, then: SystemTime, limit: Duration) -> bool {
        self.age(then).is_some_and(|age| age < limit)
    }

    fn drop_unwanted(&mut self) {
        for entry in &self.contents.entries {
            match self.unwanted(entry) {
                Some(reason) => self.evict(entry, reason),
                None => self.kept.push(entry),
            }
        }
    }

    fn unwanted(&self, entry: &Entry) -> Option<EvictReason> {
        let blobs = &self.contents.blobs;
        if !entry.blobs.iter().all(|digest| blobs.contains_key(digest)) {
            return Some(EvictReason::Broken);
        }
        if self.policy.drop_toolchains.contains(&entry.toolchain) {
            return Some(EvictReason::Toolchain);
        }
        let last_of_toolchain = self.toolchains.get(&entry.toolchain);
        let last_of_toolchain = *last_of_toolchain.unwrap_or(&entry.last_use);
        if self.is_older(last_of_toolchain, self.policy.toolchain_older_than) {
            return Some(EvictReason::ToolchainAge);
        }
        let old = self.is_older(entry.last_use, self.policy.older_than);
        old.then_some(EvictReason::Age)
    }

    fn is_older(&self, then: SystemTime, limit: Option<Duration>) -> bool {
        let age = self.now.duration_since(then).unwrap_or_default();
        limit.is_some_and(|limit| age > limit)
    }

    fn evict(&mut self, entry: &Entry, reason: EvictReason) {
        let before = self.size;
        self.plan.evict.push((entry.key, reason));
        self.size -= entry.size + self.contents.per_entry;
        for digest in &entry.blobs {
            if let Some(blob) = self.blobs.get_mut(digest) {
                blob.uses -= 1;
                if blob.uses == 0 {
                    blob.compress = false;
                    self.size -= blob.size;
                    self.plan.free.push(*digest);
                }
            }
        }
        let removed = self.plan.removed.entry(reason).or_default();
        removed.results += 1;
        removed.bytes += before - self.size;
    }

    fn drop_orphans(&mut self) {
        let grace = if self.contents.foreign {
            FOREIGN_GRACE.max(self.policy.grace)
        } else {
            self.policy.grace
        };
        let freed: HashSet<Digest> = self.plan.free.iter().copied().collect();
        for (digest, blob) in &self.contents.blobs {
            let orphan = self.blobs.get(digest).is_some_and(|blob| blob.uses == 0);
            if orphan && !freed.contains(digest) && !self.younger_than(blob.modified, grace) {
                self.size -= blob.size();
                self.plan.orphans.push(*digest);
            }
        }
        self.plan.orphans.sort_unstable();
    }

    fn drop_duplicates(&mut self) {
        for (digest, blob) in &self.contents.blobs {
            if let (Some(_), Some(compressed)) = (blob.raw, blob.compressed)
                && let Some(planned) = self.blobs.get_mut(digest)
                && planned.uses > 0
            {
                self.size -= compressed;
                planned.size -= compressed;
                self.plan.duplicates.push(*digest);
            }
        }
        self.plan.duplicates.sort_unstable();
    }

    fn shrink(&mut self, bound: Bound, reason: EvictReason) {
        self.plan.shrunk_for.insert(reason);
        let mut entries = std::mem::take(&mut self.kept);
        entries.sort_by_key(|entry| {
            let used = entry.hit && self.younger_than(entry.last_use, HIT_COUNTS_FOR);
            (used, entry.last_use.min(self.now), entry.key)
        });
        let grace = self.policy.grace;
        let (spared, open): (Vec<&Entry>, Vec<&Entry>) = entries
            .into_iter()
            .partition(|entry| self.younger_than(entry.last_use, grace));
        let candidates = self.compressible(&open, &spared);
        self.compress_until(&candidates, bound.low_water);
        for (entries, goal) in [(open, bound.low_water), (spared, bound.max)] {
            for entry in entries {
                if self.size > goal {
                    self.evict(entry, reason);
                } else {
                    self.kept.push(entry);
                }
            }
        }
        let uses = |digest: &Digest| self.blobs.get(digest).map_or(0, |blob| blob.uses);
        self.plan.duplicates.retain(|digest| uses(digest) > 0);
        let planned = |digest: &Digest| self.blobs.get(digest).is_some_and(|blob| blob.compress);
        self.plan.compress = candidates.into_iter().filter(planned).collect();
    }

    /// Raw blobs that no spared entry names, coldest first.
    fn compressible(&self, open: &[&Entry], spared: &[&Entry]) -> Vec<Digest> {
        let mut seen: HashSet<Digest> = spared.iter().flat_map(|e| &e.blobs).copied().collect();
        // From the hottest entry down, so that a shared blob is as hot as the first.
        let mut found = Vec::new();
        for digest in open.iter().rev().flat_map(|entry| &entry.blobs) {
            if seen.insert(*digest)
                && let Some(blob) = self.contents.blobs.get(digest)
                && blob.raw.is_some_and(|raw| raw > blob.projected())
            {
                found.push(*digest);
            }
        }
        found.reverse();
        found
    }

    fn compress_until(&mut self, candidates: &[Digest], goal: u64) {
        for digest in candidates {
            if self.size <= goal {
                return;
            }
            if let Some(blob) = self.contents.blobs.get(digest)
                && let Some(planned) = self.blobs.get_mut(digest)
            {
                let saved = planned.size.saturating_sub(blob.projected());
                self.size -= saved;
                planned.size -= saved;
                planned.compress = true;
            }
        }
    }
}

#[cfg(test)]
mod tests;
