//! Where things are in the cache directory.
//!
//! ```text
//! <dir>/CACHEDIR.TAG
//! <dir>/v1/manifests/ab/<key>        input manifests, replaced atomically
//! <dir>/v1/results/ab/<key>          compile results, immutable; mtime = last use
//! <dir>/v1/blobs/ab/<digest>         outputs, raw, immutable, mode 0444 or less
//! <dir>/v1/blobs/ab/<digest>.zst     the same, compressed, once cold
//! <dir>/v1/toolchains/<digest>       memoised compiler identities
//! <dir>/v1/names/ab/<digest>         names of variables found in files of code
//! <dir>/v1/memo                      table of stat-keyed digests
//! <dir>/v1/stats/<n>                 counters
//! <dir>/v1/builds/<process>          what each unit of a build came to, and why
//! <dir>/v1/sessions/<key>            incremental state of units
//! <dir>/v1/seeds/<name>              what cargo wrote about the units of a build, to be served ahead
//! <dir>/v1/offers/ab/<key>           what leads to results that others have made
//! <dir>/v1/queue/<key>               results that are to be sent to others
//! <dir>/v1/remote/                   what is known of remotes
//! <dir>/v1/gc                        what the last collection left
//! <dir>/v1/running/<digest>          locked by who compiles that
//! <dir>/v1/running/keeper-<n>        locked by who stores what an edit produced
//! <dir>/v1/preload-<digest>.so       the observer's object, loaded into what build scripts start
//! <dir>/v1/tmp/                      files being written
//! <dir>/v1/lock                      held by a running GC
//! ```
//! `ab` stands for the first two hexadecimal digits of the name that follows.

use std::path::{Path, PathBuf};

use crate::formats::digest::{Digest, ManifestKey, ResultKey};

/// What one block of a file system usually is, bytes.
const BLOCK: u64 = 4096;

/// What a file of `len` bytes takes on most file systems: whole blocks.
///
/// All sizes of the store are sums of this, because a store holds many small files.
pub fn disk_size(len: u64) -> u64 {
    len.div_ceil(BLOCK).saturating_mul(BLOCK)
}

/// The directory of the one format this release reads and writes.
pub const FORMAT: &str = "v1";

/// The content of `CACHEDIR.TAG`, see <https://bford.info/cachedir/>.
pub const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This directory is a cache made by cachewrap; backups may leave it out.\n";

/// The name of the observer's object of this content.
pub(crate) fn object_name(digest: Digest) -> String {
    let hex = digest.to_hex();
    format!("preload-{}.so", hex.get(..16).unwrap_or_default())
}

/// The beginning of the digest that the name of an observer's object tells.
pub(super) fn object_digest(name: &str) -> Option<&str> {
    let digest = name.strip_prefix("preload-")?.strip_suffix(".so")?;
    (digest.len() == 16).then_some(digest)
}

/// Paths inside one cache directory.
#[derive(Clone, Debug)]
pub struct Layout {
    dir: PathBuf,
    format: PathBuf,
}

impl Layout {
    /// The layout of the cache directory `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        let format = dir.join(FORMAT);
        Self { dir, format }
    }

    /// The cache directory itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory of this format version.
    pub fn format_dir(&self) -> &Path {
        &self.format
    }

    /// The file that tells backups what this is, and `clear` that it is ours.
    pub(crate) fn tag(&self) -> PathBuf {
        self.dir.join("CACHEDIR.TAG")
    }

    /// A subdirectory of the format directory.
    pub fn part(&self, name: &str) -> PathBuf {
        self.format.join(name)
    }

    /// An input manifest's file.
    pub fn manifest(&self, key: ManifestKey) -> PathBuf {
        self.sharded("manifests", key.0)
    }

    /// A compile result's file.
    pub fn result(&self, key: ResultKey) -> PathBuf {
        self.sharded("results", key.0)
    }

    /// A raw blob's file; the compressed one has `.zst` appended.
    pub fn blob(&self, digest: Digest) -> PathBuf {
        self.sharded("blobs", digest)
    }

    /// The memoised names of one file of code.
    pub fn names(&self, code: Digest) -> PathBuf {
        self.sharded("names", code)
    }

    /// What others offer for a key.
    pub(crate) fn offers(&self, key: ManifestKey) -> PathBuf {
        self.sharded("offers", key.0)
    }

    /// The file locked by the process that runs a compilation.
    pub(crate) fn running(&self, compilation: Digest) -> PathBuf {
        self.part("running").join(compilation.to_hex())
    }

    fn sharded(&self, part: &str, digest: Digest) -> PathBuf {
        let hex = digest.to_hex();
        let shard = hex.get(..2).unwrap_or_default();
        let mut path = PathBuf::with_capacity(self.format.as_os_str().len() + part.len() + 80);
        path.push(&self.format);
        path.push(part);
        path.push(shard);
        path.push(&hex);
        path
    }
}
