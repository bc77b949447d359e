//! Looking through the whole store.
//!
//! A scan reads every result and looks at every other file. Others work in the store
//! meanwhile, so a scan is a view that never existed at one moment:
//! - Files vanish between being listed and being read; they are left out.
//! - Results are read before blobs are listed. A result is stored after its blobs, so
//!   a result that was seen has its blobs in the list, unless they are gone for good.
//! - Files of other releases are counted and otherwise left alone.
//!
//! Only the GC, `stats` and `verify` scan; the cost of a hit does not depend on the
//! number of entries.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rayon::prelude::*;
use rustix::fs::Stat;

use super::Store;
use super::layout::disk_size;
use super::retention::{Contents, Entry, StoredBlob};
use super::room::kind_of;
use super::{builds, sessions, shared};
use crate::ahead;
use crate::error::PathError;
use crate::formats::codec::DecodeError;
use crate::formats::digest::{Digest, ResultKey};
use crate::os::dir::{Dir, Listed, NameKind};
use crate::os::file_system::free_space;
use crate::os::fs;
use crate::outputs::result::CompileResult;

/// How much later than its creation a result must have been touched to count as hit.
///
/// Its creation time is in whole seconds and is taken before the file is written.
const HIT_MARGIN: Duration = Duration::from_secs(5);

/// Age from which a file in `tmp/` is taken to be left behind.
///
/// Writing one takes seconds; an hour covers a machine that was asleep meanwhile.
pub(super) const TMP_AGE: Duration = Duration::from_secs(3600);

/// Age from which memoised facts go.
pub(super) const MEMO_AGE: Duration = Duration::from_secs(60 * 24 * 3600);

/// A file that is not an entry of its own.
#[derive(Clone, Debug)]
pub(crate) struct FileEntry {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    pub(crate) modified: SystemTime,
}

/// What is in the store.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Results and blobs.
    pub(crate) contents: Contents,
    pub(crate) manifests: Vec<FileEntry>,
    /// What the entries' shares leave of the manifests' size; counted as fixed.
    pub(crate) manifest_rest: u64,
    /// What is memoised, records of builds, seeds, and what is known of remotes.
    pub(crate) memos: Vec<FileEntry>,
    /// Files being written, and the locks of those who write them.
    pub(crate) tmp: Vec<FileEntry>,
    /// Results that cannot be decoded.
    pub(crate) damaged: Vec<FileEntry>,
    /// Results of another release.
    pub(crate) foreign: Vec<FileEntry>,
}

/// Numbers and sizes of what is in the store, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Size of everything, bytes in whole blocks.
    pub size: u64,
    /// Stored results.
    pub results: u64,
    /// Of these, how many were used since they were stored.
    pub hit_results: u64,
    /// Input manifests.
    pub manifests: u64,
    /// Stored contents.
    pub blobs: u64,
    /// Of these, how many are compressed.
    pub compressed_blobs: u64,
    /// Size of all blobs, bytes in whole blocks.
    pub blob_size: u64,
    /// How many results each toolchain made.
    pub toolchains: BTreeMap<Digest, u64>,
}

impl Store {
    /// Counts what is in the store. Takes time in proportion to the number of entries.
    pub fn usage(&self) -> Result<Usage, PathError> {
        let scan = self.scan()?;
        let contents = &scan.contents;
        let count = |n: usize| n as u64;
        let mut toolchains = BTreeMap::new();
        for entry in &contents.entries {
            *toolchains.entry(entry.toolchain).or_default() += 1;
        }
        let compressed = contents.blobs.values().filter(|b| b.raw.is_none()).count();
        Ok(Usage {
            size: contents.size(),
            results: count(contents.entries.len()),
            hit_results: count(contents.entries.iter().filter(|e| e.hit).count()),
            manifests: count(scan.manifests.len()),
            blobs: count(contents.blobs.len()),
            compressed_blobs: count(compressed),
            blob_size: contents.blobs.values().map(StoredBlob::size).sum(),
            toolchains,
        })
    }

    pub(crate) fn scan(&self) -> Result<Scan, PathError> {
        let mut scan = Scan::default();
        for found in self.each_sharded("results", read_result)? {
            match found {
                Found::Entry(entry) => scan.contents.entries.push(entry),
                Found::Damaged(file) => scan.damaged.push(file),
                Found::Foreign(file) => scan.foreign.push(file),
            }
        }
        scan.contents.blobs = self.blobs()?;
        scan.contents.foreign = !scan.foreign.is_empty();
        scan.manifests = self.each_sharded("manifests", file_entry)?;
        scan.memos = self.each_sharded("names", file_entry)?;
        scan.memos
            .extend(self.each_sharded(shared::OFFERS, file_entry)?);
        let flat = ["toolchains", builds::DIR, sessions::DIR, ahead::SEEDS];
        for part in flat.into_iter().chain([shared::QUEUE, shared::REMOTE]) {
            let found = self.each_in(&self.layout.part(part), file_entry)?;
            scan.memos.extend(found);
        }
        for part in ["tmp", "running"] {
            let left = self.each_in(&self.layout.part(part), left_over)?;
            scan.tmp.extend(left);
        }
        let rest = [
            self.each_in(self.layout.format_dir(), file_entry)?,
            self.each_in(&self.layout.part("stats"), file_entry)?,
        ]
        .concat();
        let apart = [&scan.memos, &scan.tmp, &scan.damaged, &scan.foreign, &rest];
        scan.contents.fixed = apart.into_iter().flatten().map(|file| file.size).sum();
        let manifests: u64 = scan.manifests.iter().map(|file| file.size).sum();
        let entries = scan.contents.entries.len() as u64;
        scan.contents.per_entry = manifests.checked_div(entries).unwrap_or(0);
        scan.manifest_rest = manifests - scan.contents.per_entry * entries;
        scan.contents.fixed += scan.manifest_rest;
        let free = free_space(self.layout.dir());
        scan.contents.room = free.map(|free| scan.contents.size().saturating_add(free));
        Ok(scan)
    }

    pub(super) fn blobs(&self) -> Result<HashMap<Digest, StoredBlob>, PathError> {
        let mut blobs: HashMap<Digest, StoredBlob> = HashMap::new();
        for (digest, compressed, file) in self.each_sharded("blobs", |dir, listed| {
            let (digest, compressed) = blob_name(&listed.path)?;
            Some((digest, compressed, file_entry(dir, listed)?))
        })? {
            let blob = blobs.entry(digest).or_insert(StoredBlob {
                raw: None,
                compressed: None,
                modified: file.modified,
            });
            blob.modified = blob.modified.max(file.modified);
            let size = if compressed {
                &mut blob.compressed
            } else {
                &mut blob.raw
            };
            *size = Some(file.size);
        }
        Ok(blobs)
    }

    /// Runs `look` on every file of a part with two-digit subdirectories, in parallel. What
    /// is no directory holds nothing.
    pub(crate) fn each_sharded<T: Send>(
        &self,
        part: &str,
        look: impl Fn(&Dir, &Listed) -> Option<T> + Sync,
    ) -> Result<Vec<T>, PathError> {
        let shards = self.list(&self.layout.part(part))?;
        let found: Result<Vec<Vec<T>>, PathError> = shards
            .par_iter()
            .filter(|shard| shard.kind == NameKind::Dir)
            .map(|shard| self.each_in(&shard.path, &look))
            .collect();
        Ok(found?.into_iter().flatten().collect())
    }

    fn each_in<T>(
        &self,
        path: &Path,
        look: impl Fn(&Dir, &Listed) -> Option<T>,
    ) -> Result<Vec<T>, PathError> {
        let dir = match self.dir(path) {
            Err(e) if e.is_not_found() || e.is_no_dir() => return Ok(Vec::new()),
            dir => dir?,
        };
        let listed = dir.list()?;
        Ok(listed.iter().filter_map(|file| look(&dir, file)).collect())
    }
}

enum Found {
    Entry(Entry),
    Damaged(FileEntry),
    Foreign(FileEntry),
}

fn read_result(dir: &Dir, listed: &Listed) -> Option<Found> {
    let (file, key, result) = match decode(dir, listed)? {
        Decoded::Result(file, key, result) => (file, key, result),
        Decoded::Damaged(file) => return Some(Found::Damaged(file)),
        Decoded::Foreign(file) => return Some(Found::Foreign(file)),
    };
    let mut blobs: Vec<Digest> = result.blobs().map(|blob| blob.digest).collect();
    blobs.sort_unstable();
    blobs.dedup();
    Some(Found::Entry(Entry {
        key,
        size: file.size,
        blobs,
        last_use: file.modified,
        hit: is_hit(&file, &result),
        toolchain: result.toolchain,
    }))
}

/// The file of a result.
pub(super) enum Decoded {
    Result(FileEntry, ResultKey, Box<CompileResult>),
    Damaged(FileEntry),
    Foreign(FileEntry),
}

/// Reads the file of a result. `None`: it is gone, or something else.
pub(super) fn decode(dir: &Dir, listed: &Listed) -> Option<Decoded> {
    let file = file_entry(dir, listed)?;
    let key = ResultKey(Digest::from_hex(listed.name.to_str()?)?);
    let bytes = dir
        .open_plain(Path::new(&listed.name))
        .and_then(|opened| fs::read_all(opened, &listed.path));
    let result = match bytes {
        Ok(bytes) => CompileResult::decode(&bytes),
        Err(e) if e.is_not_found() => return None,
        Err(_) => Err(DecodeError::Corrupt),
    };
    Some(match result {
        Ok(result) => Decoded::Result(file, key, Box::new(result)),
        Err(DecodeError::Corrupt) => Decoded::Damaged(file),
        Err(DecodeError::UnknownVersion { .. }) => Decoded::Foreign(file),
    })
}

/// Whether a result was served since it was stored.
pub(super) fn is_hit(file: &FileEntry, result: &CompileResult) -> bool {
    let created = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(result.created));
    created
        .and_then(|created| file.modified.duration_since(created).ok())
        .is_some_and(|later| later > HIT_MARGIN)
}

/// The digest that a blob's file is named after, and whether it is the compressed one.
pub(crate) fn blob_name(path: &Path) -> Option<(Digest, bool)> {
    let name = path.file_name()?.to_str()?;
    match name.strip_suffix(".zst") {
        Some(hex) => Some((Digest::from_hex(hex)?, true)),
        None => Some((Digest::from_hex(name)?, false)),
    }
}

fn file_entry(dir: &Dir, listed: &Listed) -> Option<FileEntry> {
    let stat = dir.look(&listed.name).ok()?;
    (kind_of(&stat) == NameKind::File).then(|| entry_of(listed, &stat))
}

/// Whatever is right inside a directory in which everything is on its way out.
fn left_over(dir: &Dir, listed: &Listed) -> Option<FileEntry> {
    Some(entry_of(listed, &dir.look(&listed.name).ok()?))
}

fn entry_of(listed: &Listed, stat: &Stat) -> FileEntry {
    FileEntry {
        path: listed.path.clone(),
        size: file_size(stat),
        modified: modified(stat),
    }
}

/// What a file takes, bytes in whole blocks. One with holes, such as the memo or a sparse
/// output, takes less than it is long.
pub(super) fn file_size(stat: &Stat) -> u64 {
    let (len, blocks) = (stat.st_size, stat.st_blocks);
    let whole = disk_size(u64::try_from(len).unwrap_or(0));
    let allocated = u64::try_from(blocks).unwrap_or(0).saturating_mul(512);
    whole.min(disk_size(allocated.max(1)))
}

/// When a file was last written to.
pub(crate) fn modified(stat: &Stat) -> SystemTime {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    let since = Duration::new(seconds, nanos);
    SystemTime::UNIX_EPOCH
        .checked_add(since)
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Whether a file is older than `age`, or so far in the future that its time is no use.
pub(super) fn is_stale(file: &FileEntry, age: Duration, now: SystemTime) -> bool {
    match now.duration_since(file.modified) {
        Ok(found) => found > age,
        Err(ahead) => ahead.duration() > age,
    }
}
