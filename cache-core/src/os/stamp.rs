//! What `stat` says of a file, as far as it tells whether the file has changed.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

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

/// What is looked at.
#[derive(Clone, Copy)]
enum What<'a> {
    /// What a path leads to.
    Path(&'a Path),
    /// What has this name itself, which may be a link.
    Name(&'a Path),
    Open(&'a File),
}

fn look(what: What<'_>) -> io::Result<Stamp> {
    if let Some(found) = statx(what) {
        return found;
    }
    let found = match what {
        What::Path(path) => std::fs::metadata(path)?,
        What::Name(path) => std::fs::symlink_metadata(path)?,
        What::Open(file) => file.metadata()?,
    };
    let file_type = found.file_type();
    Ok(Stamp {
        dev: found.dev(),
        ino: found.ino(),
        size: found.len(),
        mtime: nanos(found.mtime(), found.mtime_nsec().into()),
        ctime: nanos(found.ctime(), found.ctime_nsec().into()),
        file_type: match (file_type.is_file(), file_type.is_dir()) {
            (true, _) => FileType::File,
            (_, true) => FileType::Dir,
            _ if file_type.is_symlink() => FileType::Link,
            _ => FileType::Other,
        },
        mode: found.mode() & 0o7777,
        mount: 0,
    })
}

/// The same by a call that tells the mount too. `None` where it is not known: to a kernel before
/// 4.11, or to a filter.
#[cfg(target_os = "linux")]
fn statx(what: What<'_>) -> Option<io::Result<Stamp>> {
    use std::os::fd::AsFd as _;

    use rustix::fs::{AtFlags, CWD, StatxFlags};

    /// `STATX_MNT_ID_UNIQUE` of Linux 6.8; older ones give the number that `/proc/self/mountinfo`
    /// begins with (5.8), which the next mount may get when this one is gone, or none.
    const MOUNT: StatxFlags = StatxFlags::MNT_ID.union(StatxFlags::from_bits_retain(0x4000));

    let (dir, path, flags) = match what {
        What::Path(path) => (CWD, path, AtFlags::empty()),
        What::Name(path) => (CWD, path, AtFlags::SYMLINK_NOFOLLOW),
        What::Open(file) => (file.as_fd(), Path::new(""), AtFlags::EMPTY_PATH),
    };
    let found = match rustix::fs::statx(dir, path, flags, StatxFlags::BASIC_STATS | MOUNT) {
        Err(rustix::io::Errno::NOSYS) => return None,
        Err(e) => return Some(Err(e.into())),
        Ok(found) => found,
    };
    let mode = u32::from(found.stx_mode);
    Some(Ok(Stamp {
        dev: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
        ino: found.stx_ino,
        size: found.stx_size,
        mtime: nanos(found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec.into()),
        ctime: nanos(found.stx_ctime.tv_sec, found.stx_ctime.tv_nsec.into()),
        file_type: match rustix::fs::FileType::from_raw_mode(mode) {
            rustix::fs::FileType::RegularFile => FileType::File,
            rustix::fs::FileType::Directory => FileType::Dir,
            rustix::fs::FileType::Symlink => FileType::Link,
            _ => FileType::Other,
        },
        mode: mode & 0o7777,
        mount: found.stx_mnt_id,
    }))
}

/// Only Linux has it.
#[cfg(not(target_os = "linux"))]
fn statx(_what: What<'_>) -> Option<io::Result<Stamp>> {
    None
}

fn nanos(seconds: i64, nanos: i128) -> i128 {
    i128::from(seconds) * SECOND + nanos
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
        look(What::Path(path)).context("look at", path)
    }

    /// Looks at what has this name itself, which may be a link.
    pub(crate) fn of_name(path: &Path) -> Result<Self, PathError> {
        look(What::Name(path)).context("look at", path)
    }

    pub(crate) fn of_file(file: &File) -> Option<Self> {
        look(What::Open(file)).ok()
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
