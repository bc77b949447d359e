//! Compressing blobs that went cold.
//!
//! The compressed file is written to `tmp/` and renamed to `<digest>.zst` before the raw
//! file goes. Readers try the raw name, then the other, so at every moment they find one
//! of the two. The content is verified on the way: a blob that was damaged while it lay
//! in the store is removed rather than preserved.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::time::SystemTime;

use super::layout::disk_size;
use super::{Store, StoreError};
use crate::error::{PathContext as _, PathError};
use crate::formats::digest::{Digest, hash_pieces};
use crate::os::sparse;

/// The zstd level.
///
/// On rustc's outputs level 1 leaves 29 %, 3 leaves 27 %, 9 leaves 24 % at a third of
/// the speed. Decompressing, which is what a later hit pays, runs at 0.8 GB/s at
/// every level (`docs/store.md` has the measurements).
const LEVEL: i32 = 3;

/// What became of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compressed {
    /// It has been.
    To {
        /// What it takes on disk now, bytes.
        size: u64,
        /// When the compressed file was written.
        modified: SystemTime,
    },
    /// It stays raw, because compressing would gain nothing.
    NotSmaller,
    /// It is not there, or was damaged and has been removed.
    Gone,
}

impl Store {
    /// Compresses a raw blob.
    pub(crate) fn compress_blob(&self, digest: Digest) -> Result<Compressed, StoreError> {
        let raw = self.layout.blob(digest);
        let source = match self.open_plain(&raw) {
            Ok(file) => file,
            Err(e) if e.is_not_found() => return Ok(Compressed::Gone),
            Err(e) => return Err(e.into()),
        };
        let metadata = source.metadata().context("look at", &raw)?;
        let tmp = self.temp_file(metadata.mode() & 0o444)?;
        let made = tmp.file().metadata().context("look at", tmp.path())?;
        let is_ours = (made.uid(), made.gid()) == (metadata.uid(), metadata.gid());
        if metadata.mode() & 0o004 == 0 && !is_ours {
            // Not for everybody, and the compressed file would be somebody else's.
            return Ok(Compressed::NotSmaller);
        }
        let mut encoder = zstd::Encoder::new(tmp.file(), LEVEL).context("compress", &raw)?;
        let cannot_read = |e| PathError::new("read", &raw, e);
        let found = hash_pieces(sparse::reader(source), cannot_read, |piece| {
            encoder.write_all(piece).context("write", tmp.path())
        })?;
        encoder.finish().context("write", tmp.path())?;
        if found.digest != digest {
            self.remove_file(&raw)?;
            return Ok(Compressed::Gone);
        }
        let written = tmp.file().metadata().context("look at", tmp.path())?;
        let size = disk_size(written.len());
        let modified = written.modified().context("look at", tmp.path())?;
        // One with holes may take less than it would compressed.
        let takes = disk_size(metadata.blocks().saturating_mul(512).min(found.len));
        if size >= takes {
            return Ok(Compressed::NotSmaller);
        }
        self.settle(tmp, &raw.with_extension("zst"))?;
        self.remove_file(&raw)?;
        Ok(Compressed::To { size, modified })
    }
}
