//! Kinds of file systems, and what their times tell.

use std::fs::File;
use std::path::Path;
use std::sync::LazyLock;

/// A kind of file system, by the number that `statfs` gives (`linux/magic.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileSystem(u64);

/// More local file systems whose change times only the kernel sets, at each change.
const OTHERS: [u64; 7] = [
    0xf2f5_2010, // F2FS
    0x2fc1_2fc1, // ZFS
    0xca45_1a4e, // bcachefs
    0x7371_7368, // SquashFS
    0xe0f5_e1e2, // EROFS
    0x3153_464a, // JFS
    0x3434,      // NILFS
];

/// What is free to who asks, bytes; `None` where the system does not tell.
pub(crate) fn free_space(path: &Path) -> Option<u64> {
    fs2::available_space(path).ok()
}

impl FileSystem {
    /// Ext2 to ext4.
    pub(crate) const EXT4: Self = Self(0xef53);
    pub(crate) const TMPFS: Self = Self(0x0102_1994);
    pub(crate) const OVERLAY: Self = Self(0x794c_7630);
    const XFS: Self = Self(0x5846_5342);
    const BTRFS: Self = Self(0x9123_683e);
    const RAMFS: Self = Self(0x8584_58f6);

    pub(crate) fn of(path: &Path) -> Option<Self> {
        Some(Self::new(&rustix::fs::statfs(path).ok()?))
    }

    pub(crate) fn of_file(file: &File) -> Option<Self> {
        Some(Self::new(&rustix::fs::fstatfs(file).ok()?))
    }

    fn new(found: &rustix::fs::StatFs) -> Self {
        if cfg!(not(target_os = "linux")) {
            // The numbers of other systems are not known.
            return Self(0);
        }
        // The type of the number differs between machines; the numbers are of 32 bits.
        let bytes = found.f_type.to_le_bytes();
        let kind = bytes.iter().take(4).rev();
        Self(kind.fold(0, |sum, &byte| (sum << 8) | u64::from(byte)))
    }

    /// Whether every change of a file changes its change time, which cannot be set.
    pub(crate) fn keeps_times(self) -> bool {
        let known = [
            Self::EXT4,
            Self::XFS,
            Self::BTRFS,
            Self::TMPFS,
            Self::RAMFS,
            Self::OVERLAY,
        ];
        known.contains(&self) || OTHERS.contains(&self.0)
    }

    /// Whether what was changed through a mapping is written somewhere, from which on the
    /// next change through it changes the times again.
    pub(crate) fn writes_back(self) -> bool {
        self.keeps_times() && ![Self::TMPFS, Self::RAMFS].contains(&self)
    }

    pub(crate) fn is_overlay(self) -> bool {
        self == Self::OVERLAY
    }

    /// Whether two changes of a file never leave the same change time, if `stat` was called
    /// between them.
    ///
    /// Linux 6.13 and later promise it for these file systems (multigrain timestamps,
    /// `Documentation/filesystems/multigrain-ts.rst`); elsewhere times advance by ticks of
    /// some milliseconds.
    pub(crate) fn tells_every_change(self) -> bool {
        static KERNEL: LazyLock<bool> = LazyLock::new(|| {
            let name = rustix::system::uname();
            let release = name.release().to_string_lossy();
            let mut numbers = release.split(|c: char| !c.is_ascii_digit());
            let mut next = || numbers.next().and_then(|n| n.parse::<u32>().ok());
            (next(), next()) >= (Some(6), Some(13))
        });
        *KERNEL && [Self::EXT4, Self::XFS, Self::BTRFS, Self::TMPFS].contains(&self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        let of = |path| FileSystem::of(Path::new(path)).unwrap();
        assert!(!of("/proc").keeps_times());
        assert!(FileSystem::TMPFS.keeps_times() && !FileSystem::TMPFS.writes_back());
        assert!(FileSystem::EXT4.writes_back() && !FileSystem(0x6969).keeps_times());
        let file = File::open("/proc/self/status").unwrap();
        assert_eq!(FileSystem::of_file(&file), Some(of("/proc")));
    }
}
