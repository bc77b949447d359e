//! What `stat` says of a file, as far as it tells whether the file has changed.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::io::Errno;

use crate::error::{PathContext as _, PathError};
use crate::inputs::input::FileType;

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
    /// The mount through which it was looked at, or 0 where the kernel does not say. Since Linux
    /// 6.8 no number is given twice until the machine starts again, where a device number is that of
    /// whatever is mounted from the device now.
    pub(crate) mount: u64,
}

/// `STATX_MNT_ID_UNIQUE` of Linux 6.8; older ones give the number that `/proc/self/mountinfo`
/// begins with (5.8), which the next mount may get when this one is gone, or none.
const MOUNT: StatxFlags = StatxFlags::MNT_ID.union(StatxFlags::from_bits_retain(0x4000));

fn look(dir: impl AsFd, path: &Path, flags: AtFlags) -> rustix::io::Result<Stamp> {
    let dir = dir.as_fd();
    match rustix::fs::statx(dir, path, flags, StatxFlags::BASIC_STATS | MOUNT) {
        // A kernel before 4.11, or a filter that does not know the call.
        Err(Errno::NOSYS) => {
            let found = rustix::fs::statat(dir, path, flags)?;
            Ok(Stamp {
                dev: found.st_dev,
                ino: found.st_ino,
                size: u64::try_from(found.st_size).unwrap_or(0),
                mtime: nanos(found.st_mtime, i128::from(found.st_mtime_nsec)),
                ctime: nanos(found.st_ctime, i128::from(found.st_ctime_nsec)),
                file_type: file_type(found.st_mode),
                mode: found.st_mode & 0o7777,
                mount: 0,
            })
        }
        found => {
            let found = found?;
            let mode = u32::from(found.stx_mode);
            Ok(Stamp {
                dev: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
                ino: found.stx_ino,
                size: found.stx_size,
                mtime: nanos(found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec.into()),
                ctime: nanos(found.stx_ctime.tv_sec, found.stx_ctime.tv_nsec.into()),
                file_type: file_type(mode),
                mode: mode & 0o7777,
                mount: found.stx_mnt_id,
            })
        }
    }
}

fn nanos(seconds: i64, nanos: i128) -> i128 {
    i128::from(seconds) * SECOND + nanos
}

fn file_type(mode: u32) -> FileType {
    match rustix::fs::FileType::from_raw_mode(mode) {
        rustix::fs::FileType::RegularFile => FileType::File,
        rustix::fs::FileType::Directory => FileType::Dir,
        rustix::fs::FileType::Symlink => FileType::Link,
        _ => FileType::Other,
    }
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
        Self::at(path).ok()
    }

    /// The same, with what went wrong.
    pub(crate) fn at(path: &Path) -> Result<Self, PathError> {
        let found = look(CWD, path, AtFlags::empty());
        found.map_err(io::Error::from).context("look at", path)
    }

    /// Looks at what has this name itself, which may be a link.
    #[cfg_attr(not(observer), expect(dead_code, reason = "only the observer asks"))]
    pub(crate) fn of_name(path: &Path) -> Result<Self, PathError> {
        let found = look(CWD, path, AtFlags::SYMLINK_NOFOLLOW);
        found.map_err(io::Error::from).context("look at", path)
    }

    pub(crate) fn of_file(file: &File) -> Option<Self> {
        look(file, Path::new(""), AtFlags::EMPTY_PATH).ok()
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
