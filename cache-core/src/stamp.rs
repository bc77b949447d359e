//! What `stat` says of a file, as far as it tells whether the file has changed.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::fs;
use crate::input::FileType;

/// Identity, size and times of a file.
///
/// Two equal stamps taken at different times mean an unchanged file, unless a write hit
/// the same tick of the kernel's coarse clock as the first stamp; see
/// [`is_racy`](Self::is_racy).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) size: u64,
    /// Nanoseconds since the epoch.
    pub(crate) mtime: i128,
    /// Nanoseconds since the epoch.
    pub(crate) ctime: i128,
    pub(crate) file_type: FileType,
    /// The permissions.
    pub(crate) mode: u32,
}

/// The longest tick of Linux's coarse clock (`CONFIG_HZ=100`), nanoseconds.
const TICK: i128 = 10_000_000;

const SECOND: i128 = 1_000_000_000;

/// The tick of file systems without fractions of a second: ext3 and its like count
/// seconds, FAT pairs of them.
const COARSE_TICK: i128 = 2 * SECOND;

impl Stamp {
    /// Looks at a path, following links; `None` when nothing is there.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|m| Self::from_metadata(&m))
    }

    pub(crate) fn from_metadata(m: &Metadata) -> Self {
        let nanos = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
        Self {
            dev: m.dev(),
            ino: m.ino(),
            size: m.size(),
            mtime: nanos(m.mtime(), m.mtime_nsec()),
            ctime: nanos(m.ctime(), m.ctime_nsec()),
            file_type: if m.is_file() {
                FileType::File
            } else if m.is_dir() {
                FileType::Dir
            } else if m.is_symlink() {
                FileType::Link
            } else {
                FileType::Other
            },
            mode: m.mode() & 0o7777,
        }
    }

    /// Whether anybody may execute it.
    pub(crate) fn is_executable(&self) -> bool {
        self.mode & 0o111 != 0
    }

    /// Whether a write could still change the file without changing its stamp: the
    /// last change is so recent that another may fall into the same clock tick.
    ///
    /// A change time in the future (a clock set back) is racy too. The modification time
    /// does not count: it can be set to anything.
    pub(crate) fn is_racy(&self, now: i128) -> bool {
        self.ctime + if self.is_coarse() { COARSE_TICK } else { TICK } >= now
    }

    /// Whether the file system seems not to count fractions of a second. Where it does,
    /// one file in millions seems so too, and is looked at once more.
    pub(crate) fn is_coarse(&self) -> bool {
        self.ctime % SECOND == 0
    }

    /// Whether the content is the same as far as `other` tells. The change time is not
    /// compared: cargo makes hard links to outputs, which changes it.
    pub(crate) fn same_content(&self, other: &Self) -> bool {
        (self.dev, self.ino, self.size, self.mtime)
            == (other.dev, other.ino, other.size, other.mtime)
    }
}

/// The current time, nanoseconds since the epoch.
pub(crate) fn now() -> i128 {
    std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |d| i128::try_from(d.as_nanos()).unwrap_or(i128::MAX))
}
