//! Questions to the operating system.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::super::files;

/// The type of the file system that holds a directory, such as `ext4`.
///
/// From `/proc/self/mountinfo` (see `proc_pid_mountinfo(5)`); `None` elsewhere.
pub(super) fn file_system_type(dir: &Path) -> Option<String> {
    let dir = files::real(dir)?;
    let mounts = files::read_optional(Path::new("/proc/self/mountinfo")).ok()??;
    type_in(&mounts, &dir)
}

/// The type of the deepest mount above `dir`; of several on one point, the last.
fn type_in(mountinfo: &str, dir: &Path) -> Option<String> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, fs) = line.split_once(" - ")?;
        let point = unescape(mount.split(' ').nth(4)?);
        let fs_type = fs.split(' ').next()?;
        Some((point, fs_type))
    });
    let above = mounts.filter(|(point, _)| {
        let point = Path::new(std::ffi::OsStr::from_bytes(point));
        dir.starts_with(point)
    });
    let (_, fs_type) = above.max_by_key(|(point, _)| point.len())?;
    Some(fs_type.to_owned())
}

/// Mount points have blanks and backslashes as three octal digits.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| byte == b'\\');
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        let octal = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(octal.unwrap_or(byte));
        rest = match octal {
            Some(_) => after.get(3..).unwrap_or_default(),
            None => after,
        };
    }
    out
}

/// Whether files in the directory can share blocks, found by trying; `None` if nothing
/// can be written there.
pub(super) fn can_reflink(dir: &Path) -> Option<bool> {
    use std::io::Write as _;

    let mut from = tempfile::tempfile_in(dir).ok()?;
    let to = tempfile::tempfile_in(dir).ok()?;
    from.write_all(&[1; 4096]).ok()?;
    Some(clone(&to, &from))
}

#[cfg(target_os = "linux")]
fn clone(to: &std::fs::File, from: &std::fs::File) -> bool {
    rustix::fs::ioctl_ficlone(to, from).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn clone(_to: &std::fs::File, _from: &std::fs::File) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
        30 22 0:25 / /tmp rw - tmpfs tmpfs rw\n\
        31 22 0:26 / /mnt/my\\040disk rw - btrfs /dev/vdb rw\n\
        32 22 0:27 / /tmp rw - overlay overlay rw\n";

    #[test]
    fn the_deepest_and_last_mount_counts() {
        let at = |path: &str| type_in(MOUNTS, Path::new(path));
        assert_eq!(at("/home/u").as_deref(), Some("ext4"));
        assert_eq!(at("/tmpfoo").as_deref(), Some("ext4"));
        assert_eq!(at("/tmp/x").as_deref(), Some("overlay"));
        assert_eq!(at("/mnt/my disk/x").as_deref(), Some("btrfs"));
        assert_eq!(type_in("garbage\n", Path::new("/")), None);
    }
}
