//! Blobs: the content-addressed part of the store.
//!
//! A blob lies raw (`<digest>`) while it is hot, so that placing it is one copy, and
//! compressed (`<digest>.zst`) once the GC found it cold. Taking in and placing always
//! make a new file, which shares its storage with the old one where the file system can
//! do that (reflinks), and never a hard link: cargo compares modification times, which
//! hard links share between target directories, rustc and people write into outputs in
//! place, and damage to the store must not reach a target directory.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::{PathContext as _, PathError};
use crate::formats::digest::{BlobRef, hash_aside};
use crate::os::fs;
use crate::os::sparse;
use crate::os::stamp::Stamp;
use crate::store::memo::Memo;

use super::{Store, StoreError, disk_size};

/// A file placed from the store, not yet under its final name.
pub struct Placed {
    file: fs::TempFile,
    to: PathBuf,
}

impl Placed {
    /// Writes text to a temporary file beside `to`.
    pub(crate) fn text(to: &Path, text: &[u8]) -> Result<Self, PathError> {
        Self::text_in_shape(to, text, Shape::of_output(false))
    }

    /// The same in a given shape.
    pub(crate) fn text_in_shape(to: &Path, text: &[u8], shape: Shape) -> Result<Self, PathError> {
        let dir = to.parent().unwrap_or(Path::new("."));
        let file = fs::TempFile::create_with_mode(dir, shape.mode & 0o777)?;
        file.write_all(text)?;
        if !shape.follows_umask {
            file.set_mode(shape.mode)?;
        }
        let to = to.to_owned();
        Ok(Self { file, to })
    }

    /// Gives the file its name, replacing what is there. A directory in its place is an
    /// error, as it is for the compiler.
    pub fn commit(mut self) -> Result<(), PathError> {
        self.file.persist(&self.to)
    }

    /// The same, and has the memo remember the digest of a file that was a blob: the
    /// next unit will ask for it.
    pub(crate) fn commit_noting(
        mut self,
        blob: Option<BlobRef>,
        memo: &Memo,
    ) -> Result<(), PathError> {
        let written = blob.and_then(|blob| Some((blob, self.file.stamp()?)));
        self.file.persist(&self.to)?;
        if let Some((blob, written)) = written
            && let Some(placed) = Stamp::of(&self.to)
            && placed.same_content(&written)
        {
            memo.put(&self.to, &placed, blob);
        }
        Ok(())
    }
}

/// A file that has been copied into the store.
pub(crate) struct TakenIn {
    pub(crate) blob: BlobRef,
    /// Whether it has holes, there as here.
    pub(crate) has_holes: bool,
    /// What it takes on disk, bytes.
    pub(crate) size: u64,
}

/// How a file is to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Its permissions, from the start: a private file is never anything else.
    pub(crate) mode: u32,
    /// Whether the umask takes from them.
    pub(crate) follows_umask: bool,
    /// Whether blocks of zeros are to be holes.
    pub(crate) holes: bool,
}

impl Shape {
    /// That of what a compiler writes.
    pub(crate) fn of_output(executable: bool) -> Self {
        Self {
            mode: if executable { 0o777 } else { 0o666 },
            follows_umask: true,
            holes: false,
        }
    }
}

/// The permissions, before the umask, of a blob whose original has these. If somebody who would
/// get to read a new file may not read the original, its owner alone reads the blob: its group
/// need not be the original's.
fn blob_mode(original: u32) -> u32 {
    // Asking for the umask is not for every file.
    let is_open = original & 0o444 == 0o444 || !fs::is_private(original);
    if is_open { 0o444 } else { 0o400 }
}

impl Store {
    /// Copies a file into the store while hashing it.
    ///
    /// `inspect` sees every piece of the content in order. A blob that is already there
    /// is replaced.
    pub fn put_blob(
        &self,
        from: &Path,
        inspect: impl FnMut(&[u8]) + Send,
    ) -> Result<BlobRef, StoreError> {
        Ok(self.take_in(from, 0o777, inspect)?.blob)
    }

    /// The same, for a file in directories that leave it these permissions.
    pub(crate) fn take_in(
        &self,
        from: &Path,
        reachable: u32,
        inspect: impl FnMut(&[u8]) + Send,
    ) -> Result<TakenIn, StoreError> {
        self.take_in_open(fs::open(from)?, from, reachable, inspect)
    }

    /// The same, for one that was opened before, and is called `from` in errors.
    ///
    /// In the store nobody may read it who could not read the original. That holds also
    /// against a blob of the same content that is there with more permissions: somebody else
    /// may have put it there, with any content.
    pub(crate) fn take_in_open(
        &self,
        source: File,
        from: &Path,
        reachable: u32,
        inspect: impl FnMut(&[u8]) + Send,
    ) -> Result<TakenIn, StoreError> {
        self.prepare()?;
        let metadata = source.metadata().context("look at", from)?;
        let tmp = self.temp_file(blob_mode(metadata.mode() & reachable))?;
        let has_holes = sparse::has_holes(&source);
        let cannot_read = |e| PathError::new("read", from, e);
        let mut writer = sparse::Writer::new(tmp.file(), has_holes);
        let blob = if fs::reflink(&source, tmp.file()) {
            // What was just written is in memory; its copy would be read from the disk.
            let source = sparse::reader(source);
            hash_aside(source, metadata.len(), cannot_read, |_| Ok(()), inspect)
        } else {
            let write = |piece: &[u8]| writer.write_all(piece).context("write", tmp.path());
            let source = sparse::reader(source);
            let copied = hash_aside(source, metadata.len(), cannot_read, write, inspect);
            writer.finish().context("write", tmp.path())?;
            copied
        }?;
        let size = if has_holes {
            let written = tmp.file().metadata().context("look at", tmp.path())?;
            disk_size(written.blocks().saturating_mul(512).min(blob.len))
        } else {
            disk_size(blob.len)
        };
        // Also over one that is there: it may be damaged, and the new time tells a
        // collection that scanned before that it is needed again.
        self.settle(tmp, &self.layout.blob(blob.digest))?;
        Ok(TakenIn {
            blob,
            has_holes,
            size,
        })
    }

    /// Writes a blob to a temporary file beside `to` and verifies it on the way.
    ///
    /// `Ok(None)`: it is not there, or not for this user. A damaged blob is removed and
    /// reported.
    pub fn place(
        &self,
        blob: BlobRef,
        to: &Path,
        executable: bool,
    ) -> Result<Option<Placed>, StoreError> {
        let shape = Shape::of_output(executable);
        self.place_in_shape(blob, to, shape)
    }

    /// The same, with permissions and holes as they are asked for.
    pub(crate) fn place_in_shape(
        &self,
        blob: BlobRef,
        to: &Path,
        shape: Shape,
    ) -> Result<Option<Placed>, StoreError> {
        let raw = self.layout.blob(blob.digest);
        let dir = to.parent().unwrap_or(Path::new("."));
        let damaged = || StoreError::Corrupt {
            what: "blob",
            name: blob.digest.to_hex(),
        };
        let (source, path) = match self.open_blob(&raw) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(e) if e.is_no_file() => {
                self.discard(&e.path);
                return Err(damaged());
            }
            // Made by another user from a file that only they may read.
            Err(e) if e.is_denied() => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let file = fs::TempFile::create_with_mode(dir, shape.mode & 0o777)?;
        let mut writer = sparse::Writer::new(file.file(), shape.holes);
        let copied = match source {
            // They share their storage, so either is verified by the other; and the original may be
            // in memory, where the copy is not.
            Source::Raw(source) if fs::reflink(&source, file.file()) => {
                copy_hashing(sparse::reader(source), io::sink(), blob.len)
            }
            Source::Raw(source) => copy_hashing(sparse::reader(source), &mut writer, blob.len),
            Source::Zstd(source) => match zstd::Decoder::new(source) {
                Ok(decoder) => copy_hashing(decoder, &mut writer, blob.len),
                Err(_) => Err(CopyError::Read),
            },
        };
        match copied {
            Ok(found) if found == blob => {
                writer.finish().context("write", to)?;
                if !shape.follows_umask {
                    file.set_mode(shape.mode)?;
                }
                let to = to.to_owned();
                return Ok(Some(Placed { file, to }));
            }
            Err(CopyError::Write(e)) => return Err(PathError::new("write", to, e).into()),
            Ok(_) | Err(CopyError::Read) => {}
        }
        self.discard(&path);
        Err(damaged())
    }

    /// Opens a blob that may be shown to others.
    pub(crate) fn open_shared_blob(&self, blob: BlobRef) -> Result<Shared, StoreError> {
        let Some((source, path)) = self.open_blob(&self.layout.blob(blob.digest))? else {
            return Ok(Shared::Gone);
        };
        let (Source::Raw(file) | Source::Zstd(file)) = &source;
        let mode = file.metadata().context("look at", &path)?.mode();
        if mode & 0o444 != 0o444 {
            return Ok(Shared::Private);
        }
        Ok(Shared::Content(match source {
            Source::Raw(file) => Box::new(sparse::reader(file)),
            Source::Zstd(file) => {
                let decoder = zstd::Decoder::new(file).context("read", &path)?;
                Box::new(decoder.take(blob.len.saturating_add(1)))
            }
        }))
    }

    /// Whether a blob is there, as far as its name tells.
    pub(crate) fn has_blob(&self, blob: BlobRef) -> bool {
        let raw = self.layout.blob(blob.digest);
        self.exists(&raw) || self.exists(&raw.with_extension("zst"))
    }

    /// Takes in a blob that comes from elsewhere, if the next bytes are its content.
    pub(crate) fn receive(
        &self,
        blob: BlobRef,
        has_holes: bool,
        source: &mut impl Read,
    ) -> Result<bool, StoreError> {
        self.prepare()?;
        let tmp = self.temp_file(0o444)?;
        let mut writer = sparse::Writer::new(tmp.file(), has_holes);
        match copy_hashing_exactly(source.take(blob.len), &mut writer, blob.len) {
            Ok(found) if found == blob => {}
            Ok(_) | Err(CopyError::Read) => return Ok(false),
            Err(CopyError::Write(e)) => return Err(PathError::new("write", tmp.path(), e).into()),
        }
        writer.finish().context("write", tmp.path())?;
        self.settle(tmp, &self.layout.blob(blob.digest))?;
        Ok(true)
    }

    fn open_blob(&self, raw: &Path) -> Result<Option<(Source, PathBuf)>, PathError> {
        match self.open_plain(raw) {
            Ok(file) => return Ok(Some((Source::Raw(file), raw.to_owned()))),
            Err(e) if !e.is_not_found() => return Err(e),
            Err(_) => {}
        }
        let compressed = raw.with_extension("zst");
        match self.open_plain(&compressed) {
            Ok(file) => Ok(Some((Source::Zstd(file), compressed))),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// A blob as others may see it.
pub(crate) enum Shared {
    Content(Box<dyn Read>),
    /// Not everybody may read it who can reach it.
    Private,
    Gone,
}

enum Source {
    Raw(File),
    Zstd(File),
}

enum CopyError {
    Read,
    Write(io::Error),
}

/// Copies at most one byte more than `expected_len` and says what was copied, so that a
/// blob that was swapped for an endless one cannot fill the disk.
fn copy_hashing(
    source: impl Read,
    to: impl Write,
    expected_len: u64,
) -> Result<BlobRef, CopyError> {
    let source = source.take(expected_len.saturating_add(1));
    copy_hashing_exactly(source, to, expected_len)
}

/// Copies all of a source and says what was copied.
fn copy_hashing_exactly(
    source: impl Read,
    mut to: impl Write,
    expected_len: u64,
) -> Result<BlobRef, CopyError> {
    let write = |piece: &[u8]| to.write_all(piece).map_err(CopyError::Write);
    hash_aside(source, expected_len, |_| CopyError::Read, write, |_| ())
}
