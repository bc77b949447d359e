//! Verifying: reading everything and saying what is wrong.
//!
//! | found | when | repaired by |
//! |---|---|---|
//! | damaged | a blob's content does not have its digest; a frame does not decode | removing it |
//! | missing blobs | a result names blobs that are not there or are damaged | removing the result |
//! | stray | a name that nothing of ours has, or no plain file | removing it |
//! | unreadable | the system refuses | removing it, if that is allowed |
//!
//! All of it only ever costs compiles, never a wrong build: whatever is served is
//! verified again. Files of another release are counted and left alone, and so is
//! everything outside the directories that this release knows.
//!
//! Others may work in the store meanwhile. Files that vanish are passed over, and a
//! blob that seems to be missing is looked for once more before it is reported. To
//! repair, the collection's lock is held.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::builds;
use super::progress::{Meter, Progress};
use super::scan::blob_name;
use super::{CACHEDIR_TAG, Store, StoreError, layout, sessions, shared};
use crate::ahead;
use crate::error::PathError;
use crate::formats::codec::{self, DecodeError};
use crate::formats::digest::Digest;
use crate::formats::manifest::InputManifest;
use crate::os::dir::NameKind;
use crate::outputs::result::CompileResult;
use crate::store::memo::Memo;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// Its content is not what was stored.
    #[error("damaged")]
    Damaged,
    /// A result that needs blobs which are missing or damaged.
    #[error("needs {missing} of {needed} blobs that are missing or damaged")]
    MissingBlobs {
        /// How many of them are not there.
        missing: usize,
        /// How many it needs.
        needed: usize,
    },
    /// It does not belong there.
    #[error("does not belong there")]
    Stray,
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
}

/// A file and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("{}: {damage}", path.display())]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub damage: Damage,
    /// Whether it has been removed.
    pub removed: bool,
}

/// What verifying found.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// Manifests read.
    pub manifests: u64,
    /// Results read.
    pub results: u64,
    /// Blobs read; a raw and a compressed file of one blob count as two.
    pub blobs: u64,
    /// Other files read.
    pub others: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Files of another release, left alone.
    pub foreign: u64,
    /// What is wrong, ordered by path.
    pub findings: Vec<Finding>,
}

impl Store {
    /// Reads everything in the store; with `repair`, removes what is bad.
    ///
    /// `Ok(None)`: repairing is not possible now, because a collection is running.
    /// `progress` may be called from several threads.
    pub fn verify(
        &self,
        repair: bool,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Option<VerifyReport>, StoreError> {
        if !self.exists(self.layout.format_dir()) {
            return Ok(Some(VerifyReport::default()));
        }
        if self.displaced() == [self.layout.format_dir()] {
            return Ok(Some(self.without_format_dir(repair)));
        }
        let lock = if repair { self.gc_lock()? } else { None };
        if repair && lock.is_none() {
            return Ok(None);
        }
        let mut report = Verifier::new(self, progress).run()?;
        report.findings.sort_by(|a, b| a.path.cmp(&b.path));
        if repair {
            for finding in &mut report.findings {
                finding.removed = self.remove_finding(&finding.path);
            }
            self.write_tag()?;
        }
        Ok(Some(report))
    }

    /// What there is to say where a link is in place of the format directory.
    fn without_format_dir(&self, repair: bool) -> VerifyReport {
        let path = self.layout.format_dir().to_owned();
        let removed = repair && self.remove_finding(&path);
        let damage = Damage::Stray;
        VerifyReport {
            findings: vec![Finding {
                path,
                damage,
                removed,
            }],
            ..VerifyReport::default()
        }
    }

    fn remove_finding(&self, path: &Path) -> bool {
        let removed = self.remove_any(path);
        removed.map_or_else(|e| e.is_not_found(), |()| true)
    }
}

/// The directories of the store that hold files by name, and the names they may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Results,
    Blobs,
    Manifests,
    Names,
}

impl Part {
    const ALL: [Self; 4] = [Self::Results, Self::Blobs, Self::Manifests, Self::Names];

    fn name(self) -> &'static str {
        match self {
            Self::Results => "results",
            Self::Blobs => "blobs",
            Self::Manifests => "manifests",
            Self::Names => "names",
        }
    }
}

/// What reading one file gave.
enum Read {
    Sound,
    /// A result's blobs.
    Needs(Vec<Digest>),
    Foreign,
    Vanished,
    Bad(Damage),
}

struct Verifier<'a> {
    store: &'a Store,
    progress: &'a (dyn Fn(Progress) + Sync),
    report: VerifyReport,
    needs: HashMap<PathBuf, Vec<Digest>>,
}

impl<'a> Verifier<'a> {
    fn new(store: &'a Store, progress: &'a (dyn Fn(Progress) + Sync)) -> Self {
        Self {
            store,
            progress,
            report: VerifyReport::default(),
            needs: HashMap::new(),
        }
    }

    fn run(mut self) -> Result<VerifyReport, PathError> {
        // Results before blobs: a result is stored after what it needs.
        let mut files: Vec<(Part, PathBuf)> = Vec::new();
        for part in Part::ALL {
            let found = self.list(part)?;
            files.extend(found.into_iter().map(|path| (part, path)));
        }
        let meter = Meter::new(self.progress, "verifying", files.len());
        let read: Vec<(Part, PathBuf, u64, Read)> = files
            .into_par_iter()
            .map(|(part, path)| {
                let (bytes, read) = self.check(part, &path);
                meter.step();
                (part, path, bytes, read)
            })
            .collect();
        for (part, path, bytes, read) in read {
            self.note(part, path, bytes, read);
        }
        let is_digest = |name: &str| Digest::from_hex(name).is_some();
        self.check_frames("toolchains", is_digest, codec::is_whole)?;
        let is_shard = |name: &str| name == "zero" || name.parse::<u32>().is_ok();
        // One is empty for the moment between its creation and the first count.
        let is_count = |bytes: &[u8]| bytes.is_empty() || codec::is_whole(bytes);
        self.check_frames("stats", is_shard, is_count)?;
        self.check_frames(builds::DIR, builds::is_name, builds::is_sound)?;
        self.check_frames(sessions::DIR, is_digest, codec::is_whole)?;
        self.check_frames(shared::QUEUE, is_digest, codec::is_whole)?;
        self.check_frames(ahead::SEEDS, ahead::is_seed_name, codec::is_whole)?;
        self.check_flat();
        self.check_objects()?;
        self.check_needs();
        Ok(self.report)
    }

    /// What lies right in the format directory.
    fn check_flat(&mut self) {
        for path in self.store.displaced() {
            self.finding(path, Damage::Stray);
        }
        self.check_file("lock", |_| true);
        self.check_file("gc", codec::is_whole);
        self.check_file("memo", Memo::is_sound);
        self.check_path(self.store.layout.tag(), |bytes| {
            bytes == CACHEDIR_TAG.as_bytes()
        });
    }

    /// The observer's objects, of this and of other releases.
    fn check_objects(&mut self) -> Result<(), PathError> {
        for file in self.store.list(self.store.layout.format_dir())? {
            let named = file.name.to_str().and_then(layout::object_digest);
            if let Some(named) = named {
                let is_named = |bytes: &[u8]| Digest::of(bytes).to_hex().starts_with(named);
                self.check_path(file.path.clone(), is_named);
            }
        }
        Ok(())
    }

    fn check_file(&mut self, name: &str, is_sound: impl Fn(&[u8]) -> bool) {
        self.check_path(self.store.layout.part(name), is_sound);
    }

    fn check_path(&mut self, path: PathBuf, is_sound: impl Fn(&[u8]) -> bool) {
        // Some are written in place: what looks damaged may be whole a moment later.
        for last in [false, false, true] {
            match self.store.read_plain(&path) {
                Ok(bytes) if is_sound(&bytes) => {
                    self.report.others += 1;
                    self.report.bytes += bytes.len() as u64;
                    return;
                }
                Ok(_) if last => return self.finding(path, Damage::Damaged),
                Ok(_) => std::thread::yield_now(),
                Err(e) if e.is_not_found() => return,
                Err(e) if e.is_no_file() => return self.finding(path, Damage::Stray),
                Err(e) => return self.finding(path, Damage::Unreadable(e.source)),
            }
        }
    }

    fn finding(&mut self, path: PathBuf, damage: Damage) {
        self.report.findings.push(Finding {
            path,
            damage,
            removed: false,
        });
    }

    /// The files of a part; what does not belong there becomes a finding.
    fn list(&mut self, part: Part) -> Result<Vec<PathBuf>, PathError> {
        let mut files = Vec::new();
        for shard in self.store.list(&self.store.layout.part(part.name()))? {
            let two = shard.name.to_str().filter(|name| is_shard(name));
            let Some(two) = two.filter(|_| shard.kind == NameKind::Dir) else {
                self.finding(shard.path, Damage::Stray);
                continue;
            };
            let listed = match self.store.list(&shard.path) {
                Ok(listed) => listed,
                Err(e) => {
                    self.finding(shard.path, Damage::Unreadable(e.source));
                    continue;
                }
            };
            for file in listed {
                let digest = match part {
                    Part::Blobs => blob_name(&file.path).map(|(digest, _)| digest),
                    _ => file.name.to_str().and_then(Digest::from_hex),
                };
                let belongs = digest.is_some_and(|digest| digest.to_hex().starts_with(two));
                if belongs && file.kind == NameKind::File {
                    files.push(file.path);
                } else {
                    self.finding(file.path, Damage::Stray);
                }
            }
        }
        Ok(files)
    }

    fn note(&mut self, part: Part, path: PathBuf, bytes: u64, read: Read) {
        self.report.bytes += bytes;
        match read {
            Read::Vanished => return,
            Read::Foreign => {
                self.report.foreign += 1;
                return;
            }
            Read::Bad(damage) => self.finding(path, damage),
            Read::Needs(blobs) => {
                self.needs.insert(path, blobs);
            }
            Read::Sound => {}
        }
        *match part {
            Part::Results => &mut self.report.results,
            Part::Blobs => &mut self.report.blobs,
            Part::Manifests => &mut self.report.manifests,
            Part::Names => &mut self.report.others,
        } += 1;
    }

    /// Files right inside a directory, of which only is known here whether they are whole.
    fn check_frames(
        &mut self,
        dir: &str,
        belongs: fn(&str) -> bool,
        is_sound: fn(&[u8]) -> bool,
    ) -> Result<(), PathError> {
        for file in self.store.list(&self.store.layout.part(dir))? {
            let known = file.name.to_str().is_some_and(belongs);
            if !known || file.kind != NameKind::File {
                self.finding(file.path, Damage::Stray);
                continue;
            }
            self.check_path(file.path, is_sound);
        }
        Ok(())
    }

    fn check_needs(&mut self) {
        let bad: HashSet<Digest> = self
            .report
            .findings
            .iter()
            .filter_map(|finding| Some(blob_name(&finding.path)?.0))
            .collect();
        for (path, needed) in std::mem::take(&mut self.needs) {
            let gone = |digest: &&Digest| bad.contains(*digest) || !self.has_blob(**digest);
            let missing = needed.iter().filter(gone).count();
            // It may have been evicted, and its blobs with it, since it was read.
            if missing > 0 && self.store.exists(&path) {
                let needed = needed.len();
                self.finding(path, Damage::MissingBlobs { missing, needed });
            }
        }
    }

    fn has_blob(&self, digest: Digest) -> bool {
        let raw = self.store.layout.blob(digest);
        // The second look at the raw file: a compressed one may have been replaced by
        // it between the first two.
        let exists = |path: &Path| self.store.exists(path);
        exists(&raw) || exists(&raw.with_extension("zst")) || exists(&raw)
    }

    /// Reads one file; says how many bytes that were.
    fn check(&self, part: Part, path: &Path) -> (u64, Read) {
        if part == Part::Blobs {
            return self.check_blob(path);
        }
        let bytes = match self.store.read_plain(path) {
            Ok(bytes) => bytes,
            Err(e) => return (0, refused(e)),
        };
        let decoded = match part {
            Part::Results => CompileResult::decode(&bytes)
                .map(|result| Read::Needs(result.blobs().map(|blob| blob.digest).collect())),
            Part::Manifests => InputManifest::decode(&bytes).map(|_| Read::Sound),
            Part::Blobs | Part::Names if codec::is_whole(&bytes) => Ok(Read::Sound),
            Part::Blobs | Part::Names => Err(DecodeError::Corrupt),
        };
        let read = decoded.unwrap_or_else(|e| match e {
            DecodeError::Corrupt => Read::Bad(Damage::Damaged),
            DecodeError::UnknownVersion { .. } => Read::Foreign,
        });
        (bytes.len() as u64, read)
    }

    fn check_blob(&self, path: &Path) -> (u64, Read) {
        let file = match self.store.open_plain(path) {
            Ok(file) => file,
            Err(e) => return (0, refused(e)),
        };
        let len = file.metadata().map_or(0, |metadata| metadata.len());
        let content = match blob_name(path) {
            Some((_, true)) => zstd::Decoder::new(file).and_then(Digest::of_reader),
            _ => Digest::of_reader(file),
        };
        let found = content.map(|blob| blob.digest);
        let read = match (blob_name(path), found) {
            (Some((digest, _)), Ok(found)) if found == digest => Read::Sound,
            (_, Err(e)) if e.raw_os_error().is_some() => Read::Bad(Damage::Unreadable(e)),
            // What zstd refuses to decode is damaged.
            _ => Read::Bad(Damage::Damaged),
        };
        (len, read)
    }
}

fn is_shard(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn refused(e: PathError) -> Read {
    if e.is_not_found() {
        Read::Vanished
    } else {
        Read::Bad(Damage::Unreadable(e.source))
    }
}
