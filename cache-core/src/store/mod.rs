//! The store: manifests, results and blobs as plain files in one directory.
//!
//! Rules that every writer keeps, so that any number of processes may share the
//! directory, die at any moment, and find nothing worse than a miss:
//! - A file is written under a fresh name in `tmp/` and renamed to its place. Readers
//!   see all of it or none of it.
//! - Blobs are in place before the result that names them, the result before the
//!   manifest that names it.
//! - Nothing is fsynced. After a power cut a file may be torn or empty; its checksum or
//!   digest then fails, and it is a miss. Syncing would cost milliseconds a unit to
//!   protect what can be made again.
//! - A blob is verified against its digest every time it is placed; what fails is
//!   removed.
//! - A reader survives any file vanishing under it: `None` is a miss.
//! - Nothing outside the directory is written, changed or removed, whatever lies in it: see
//!   `room`, the only module here that touches the file system.

mod blobs;
pub(crate) mod builds;
mod clear;
mod collection;
mod compress;
mod gc;
mod keepers;
mod layout;
pub(crate) mod memo;
mod progress;
mod results;
pub mod retention;
mod room;
mod scan;
pub(crate) mod sessions;
pub(crate) mod shared;
pub mod stats;
mod turns;
mod verify;

use std::path::Path;

pub use blobs::Placed;
pub(crate) use blobs::{Shape, Shared};
pub use builds::{
    Build, KeyDifference, RecordedChange, RecordedOutcome, RecordedReason, UnitKind, UnitRecord,
};
pub use clear::Cleared;
pub use collection::GcReport;
pub use gc::{CollectOptions, Collected, LastCollection, run_gc};
pub(crate) use keepers::Place;
pub(crate) use layout::object_name;
pub use layout::{CACHEDIR_TAG, FORMAT, Layout, disk_size};
pub use progress::Progress;
pub use results::StoredResult;
pub use scan::Usage;
pub(crate) use scan::modified;
pub(crate) use turns::Turn;
pub use verify::{Damage, Finding, VerifyReport};

use crate::error::PathError;
use crate::formats::codec::{self, DecodeError};
use crate::formats::digest::{ManifestKey, ResultKey};
use crate::formats::manifest::InputManifest;
use crate::outputs::result::CompileResult;

/// Why the store did not do what was asked; a miss is not an error.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A file is damaged. It has been removed where that is possible.
    #[error("{what} {name} is damaged")]
    Corrupt {
        /// Manifest, result or blob.
        what: &'static str,
        /// The key or digest.
        name: String,
    },
    /// A file belongs to another release and was left alone.
    #[error("{what} {name} was written by another version of cachewrap (layout {found})")]
    UnknownVersion {
        /// Manifest, result or something memoised.
        what: &'static str,
        /// The key.
        name: String,
        /// The layout version found.
        found: u8,
    },
    /// A value could not be encoded.
    #[error("cannot encode: {0}")]
    Encode(#[from] bincode::error::EncodeError),
}

/// An open cache directory.
#[derive(Clone, Debug)]
pub struct Store {
    layout: Layout,
    read_only: bool,
}

impl Store {
    /// Names the directory without touching it; parts are made when first written.
    pub fn new(dir: impl AsRef<Path>, read_only: bool) -> Self {
        Self {
            layout: Layout::new(dir.as_ref()),
            read_only,
        }
    }

    /// Where things are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whether nothing may be written.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The manifest of a key; `None` when there is none.
    pub fn manifest(&self, key: ManifestKey) -> Result<Option<InputManifest>, StoreError> {
        let path = self.layout.manifest(key);
        self.read(&path, "manifest", InputManifest::decode)
    }

    /// Replaces the manifest of a key; says what it takes on disk, bytes.
    pub fn put_manifest(
        &self,
        key: ManifestKey,
        manifest: &InputManifest,
    ) -> Result<u64, StoreError> {
        let bytes = manifest.encode()?;
        self.replace_own(&self.layout.manifest(key), "manifest", &bytes)?;
        Ok(disk_size(bytes.len() as u64))
    }

    /// The result of a key; `None` when there is none.
    pub fn result(&self, key: ResultKey) -> Result<Option<CompileResult>, StoreError> {
        let path = self.layout.result(key);
        self.read(&path, "result", CompileResult::decode)
    }

    /// Stores a result whose blobs are already stored; says what it takes on disk, bytes.
    pub fn put_result(&self, key: ResultKey, result: &CompileResult) -> Result<u64, StoreError> {
        let bytes = result.encode()?;
        self.replace_own(&self.layout.result(key), "result", &bytes)?;
        Ok(disk_size(bytes.len() as u64))
    }

    /// Marks a result as used now, for retention. Failing to is harmless.
    pub fn touch_result(&self, key: ResultKey, result: &CompileResult) {
        if !self.read_only
            && self
                .touch(&self.layout.result(key))
                .is_err_and(|e| e.is_denied())
        {
            // Only the owner of a file may set its time; so it becomes ours.
            let _ = self.put_result(key, result);
        }
    }

    /// Writes a frame atomically to a place that another release may have taken: then its
    /// file stays.
    pub(crate) fn replace_own(
        &self,
        path: &Path,
        what: &'static str,
        frame: &[u8],
    ) -> Result<(), StoreError> {
        let there = self.read_plain(path).unwrap_or_default();
        if let Some(found) = codec::foreign_version(&there, frame) {
            let name = path.file_name().unwrap_or_default();
            return Err(StoreError::UnknownVersion {
                what,
                name: name.to_string_lossy().into_owned(),
                found,
            });
        }
        Ok(self.replace(path, frame)?)
    }

    fn read<T>(
        &self,
        path: &Path,
        what: &'static str,
        decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, StoreError> {
        let bytes = match self.read_plain(path) {
            Ok(bytes) => Some(bytes),
            Err(e) if e.is_not_found() => return Ok(None),
            Err(e) if e.is_no_file() => None,
            Err(e) => return Err(e.into()),
        };
        let decoded = bytes.map_or(Err(DecodeError::Corrupt), |bytes| decode(&bytes));
        let name = || {
            let name = path.file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        };
        match decoded {
            Ok(value) => Ok(Some(value)),
            Err(DecodeError::UnknownVersion { found }) => Err(StoreError::UnknownVersion {
                what,
                name: name(),
                found,
            }),
            Err(DecodeError::Corrupt) => {
                self.discard(path);
                Err(StoreError::Corrupt { what, name: name() })
            }
        }
    }
}
