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
use std::path::{Path, PathBuf};

use crate::digest::{BlobRef, hash_aside};
use crate::error::{PathContext as _, PathError};
use crate::fs;
use crate::memo::Memo;
use crate::stamp::Stamp;

use super::{Store, StoreError};

/// A file placed from the store, not yet under its final name.
pub struct Placed {
    file: fs::TempFile,
    to: PathBuf,
}

impl Placed {
    /// Writes text to a temporary file beside `to`.
    pub(crate) fn text(to: &Path, text: &[u8]) -> Result<Self, PathError> {
        let dir = to.parent().unwrap_or(Path::new("."));
        let file = fs::TempFile::create_with_mode(dir, 0o666)?;
        file.write_all(text)?;
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
        self.prepare()?;
        let source = fs::open(from)?;
        let len = source.metadata().map_or(0, |m| m.len());
        let tmp = self.temp_file(0o444)?;
        let cannot_read = |e| PathError::new("read", from, e);
        let blob = if fs::reflink(&source, tmp.file()) {
            // What was just written is in memory; its copy would be read from the disk.
            hash_aside(source, len, cannot_read, |_| Ok(()), inspect)
        } else {
            let write = |piece: &[u8]| tmp.file().write_all(piece).context("write", tmp.path());
            hash_aside(source, len, cannot_read, write, inspect)
        }?;
        // Also over one that is there: it may be damaged, and the new time tells a
        // collection that scanned before that it is needed again.
        self.settle(tmp, &self.layout.blob(blob.digest))?;
        Ok(blob)
    }

    /// Writes a blob to a temporary file beside `to` and verifies it on the way.
    ///
    /// `Ok(None)`: it is not there. A damaged blob is removed and reported.
    pub fn place(
        &self,
        blob: BlobRef,
        to: &Path,
        executable: bool,
    ) -> Result<Option<Placed>, StoreError> {
        let raw = self.layout.blob(blob.digest);
        let dir = to.parent().unwrap_or(Path::new("."));
        let mode = if executable { 0o777 } else { 0o666 };
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
            Err(e) => return Err(e.into()),
        };
        let file = fs::TempFile::create_with_mode(dir, mode)?;
        let copied = match source {
            // They share their storage, so either is verified by the other; and the original may be
            // in memory, where the copy is not.
            Source::Raw(source) if fs::reflink(&source, file.file()) => {
                copy_hashing(source, io::sink(), blob.len)
            }
            Source::Raw(source) => copy_hashing(source, file.file(), blob.len),
            Source::Zstd(source) => match zstd::Decoder::new(source) {
                Ok(decoder) => copy_hashing(decoder, file.file(), blob.len),
                Err(_) => Err(CopyError::Read),
            },
        };
        match copied {
            Ok(found) if found == blob => {
                let to = to.to_owned();
                return Ok(Some(Placed { file, to }));
            }
            Err(CopyError::Write(e)) => return Err(PathError::new("write", to, e).into()),
            Ok(_) | Err(CopyError::Read) => {}
        }
        self.discard(&path);
        Err(damaged())
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
    mut to: impl Write,
    expected_len: u64,
) -> Result<BlobRef, CopyError> {
    let source = source.take(expected_len.saturating_add(1));
    let write = |piece: &[u8]| to.write_all(piece).map_err(CopyError::Write);
    hash_aside(source, expected_len, |_| CopyError::Read, write, |_| ())
}
