//! The only module that calls `std::fs`, but for [`stamp`](crate::os::stamp) and
//! [`proc`](crate::os::proc): every error carries its path. What lies in the store is reached by
//! descriptor instead, see [`dir`](crate::os::dir).

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use super::proc::Process;
use crate::error::{PathContext as _, PathError};
use crate::formats::digest::{BlobRef, Digest};
use crate::os::dir::{Dir, Listed};
use crate::os::sparse;

pub(crate) use crate::os::temp_file::TempFile;

pub(crate) fn open(path: &Path) -> Result<File, PathError> {
    File::open(path).context("open", path)
}

/// Opens a file, through links if need be. A pipe or a device in its place is an error, and
/// makes nobody wait.
pub(crate) fn open_file(path: &Path) -> Result<File, PathError> {
    let mut options = OpenOptions::new();
    let opened = options.read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = opened.context("open", path)?;
    if file.metadata().context("look at", path)?.is_file() {
        return Ok(file);
    }
    let error = io::Error::from(io::ErrorKind::InvalidInput);
    Err(PathError::new("open as a file", path, error))
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, PathError> {
    read_all(open(path)?, path)
}

/// Reads an open file of this path to its end.
pub(crate) fn read_all(mut file: File, path: &Path) -> Result<Vec<u8>, PathError> {
    let len = file.metadata().map_or(0, |m| m.len());
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0).saturating_add(1));
    file.read_to_end(&mut bytes).context("read", path)?;
    Ok(bytes)
}

/// Reads at most `len` bytes from the start of a file.
pub(crate) fn read_start(path: &Path, len: u64) -> Result<Vec<u8>, PathError> {
    let mut bytes = Vec::new();
    let mut file = open(path)?.take(len);
    file.read_to_end(&mut bytes).context("read", path)?;
    Ok(bytes)
}

/// The program in the first line of a script.
pub(crate) fn interpreter(start: &[u8]) -> Option<PathBuf> {
    let line = start.strip_prefix(b"#!")?.split(|&b| b == b'\n').next()?;
    let line = line.trim_ascii_start();
    let program = line.split(u8::is_ascii_whitespace).next()?;
    let program = PathBuf::from(OsString::from(OsStr::from_bytes(program)));
    program.is_absolute().then_some(program)
}

/// Hashes a file's content.
pub(crate) fn digest(path: &Path) -> Result<BlobRef, PathError> {
    digest_opened(open(path)?, path)
}

/// Hashes the content of an open file of this path.
pub(crate) fn digest_opened(file: File, path: &Path) -> Result<BlobRef, PathError> {
    Digest::of_reader(sparse::reader(file)).context("read", path)
}

/// Appends to a file, creating it if it is not there.
pub(crate) fn append(path: &Path, bytes: &[u8]) -> Result<(), PathError> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    let mut file = file.context("open", path)?;
    io::Write::write_all(&mut file, bytes).context("write", path)
}

/// Whether something that is there can be appended to.
pub(crate) fn is_appendable(path: &Path) -> bool {
    OpenOptions::new().append(true).open(path).is_ok()
}

/// Creates an empty file; `false` if it is there already. What goes wrong otherwise
/// counts as created.
pub(crate) fn create_new(path: &Path) -> bool {
    let created = OpenOptions::new().write(true).create_new(true).open(path);
    !created.is_err_and(|e| e.kind() == io::ErrorKind::AlreadyExists)
}

pub(crate) fn exists(path: &Path) -> bool {
    std::fs::metadata(path).is_ok()
}

/// Whether this process may use what is there in these ways: `R_OK`, `W_OK` and `X_OK` as for
/// `access(2)`, which answers for the real user.
pub(crate) fn may_be_used(path: &Path, asked: u8) -> bool {
    let asked = rustix::fs::Access::from_bits_truncate(asked.into());
    rustix::fs::accessat(rustix::fs::CWD, path, asked, rustix::fs::AtFlags::empty()).is_ok()
}

/// Whether this process may read what is there.
pub(crate) fn is_readable(path: &Path) -> bool {
    let flags = rustix::fs::AtFlags::EACCESS;
    rustix::fs::accessat(rustix::fs::CWD, path, rustix::fs::Access::READ_OK, flags).is_ok()
}

pub(crate) fn is_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|m| m.is_file())
}

pub(crate) fn is_dir(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|m| m.is_dir())
}

pub(crate) fn read_dir(path: &Path) -> Result<std::fs::ReadDir, PathError> {
    std::fs::read_dir(path).context("list", path)
}

/// The names in a directory, in no order. What is not there or no directory has none, and
/// names that vanish meanwhile are left out.
pub(crate) fn list_or_empty(path: &Path) -> Result<Vec<Listed>, PathError> {
    match Dir::open(path).and_then(|dir| dir.list()) {
        Err(e) if e.is_not_found() || e.is_no_dir() => Ok(Vec::new()),
        listed => listed,
    }
}

/// What the name itself is, not what it links to.
pub(crate) fn metadata(path: &Path) -> Result<Metadata, PathError> {
    std::fs::metadata(path).context("look at", path)
}

/// Says when what has this name itself was changed: a file, a directory, or a link.
pub(crate) fn set_modified_of_name(path: &Path, time: SystemTime) -> Result<(), PathError> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT};

    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let since = since.unwrap_or_default();
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: since.subsec_nanos().into(),
        },
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(io::Error::from)
        .context("set the time of", path)
}

pub(crate) fn symlink_metadata(path: &Path) -> Result<Metadata, PathError> {
    std::fs::symlink_metadata(path).context("look at", path)
}

/// Removes a file, a link or a whole directory; links are not followed.
pub(crate) fn remove_any(path: &Path) -> Result<(), PathError> {
    if symlink_metadata(path)?.is_dir() {
        std::fs::remove_dir_all(path).context("remove", path)
    } else {
        remove_file(path)
    }
}

pub(crate) fn remove_dir(path: &Path) -> Result<(), PathError> {
    std::fs::remove_dir(path).context("remove", path)
}

pub(crate) fn read_link(path: &Path) -> Result<PathBuf, PathError> {
    std::fs::read_link(path).context("read the link", path)
}

pub(crate) fn canonicalize(path: &Path) -> Result<PathBuf, PathError> {
    std::fs::canonicalize(path).context("resolve", path)
}

pub(crate) fn create_dir_all(path: &Path) -> Result<(), PathError> {
    std::fs::create_dir_all(path).context("create", path)
}

/// Creates a directory that only its owner may enter, and its parents as usual.
pub(crate) fn create_private_dir_all(path: &Path) -> Result<(), PathError> {
    if is_dir(path) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_dir_all(parent)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e).context("create", path),
        _ => Ok(()),
    }
}

/// Creates a directory with these permissions less the umask.
pub(crate) fn create_dir_with_mode(path: &Path, mode: u32) -> Result<(), PathError> {
    let created = std::fs::DirBuilder::new().mode(mode).create(path);
    created.context("create", path)
}

/// Gives a file, or a symbolic link itself, another name.
pub(crate) fn hard_link(original: &Path, path: &Path) -> Result<(), PathError> {
    std::fs::hard_link(original, path).context("link", path)
}

pub(crate) fn symlink(target: &Path, path: &Path) -> Result<(), PathError> {
    std::os::unix::fs::symlink(target, path).context("link", path)
}

/// The permissions that new files of this process do not get.
pub(crate) fn umask() -> u32 {
    // Asking the kernel by system call would mean changing it.
    let own = Process::find("self");
    let octal = own.as_ref().and_then(|own| own.field("Umask"));
    octal
        .and_then(|octal| u32::from_str_radix(octal, 8).ok())
        .unwrap_or(0o022)
}

/// Whether somebody who may read a new file of this process may not read one of these
/// permissions.
pub(crate) fn is_private(mode: u32) -> bool {
    let usual = 0o444 & !umask();
    mode & usual != usual
}

pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<(), PathError> {
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(path, permissions).context("set the permissions of", path)
}

/// Lets a file seem to have been changed at a time.
pub(crate) fn set_modified(path: &Path, time: SystemTime) -> Result<(), PathError> {
    let set = open_file(path)?.set_modified(time);
    set.context("set the time of", path)
}

/// Opens a file that others lock too, making it if it is not there.
pub(crate) fn open_to_lock(path: &Path) -> Result<File, PathError> {
    let mut options = OpenOptions::new();
    let opened = options.read(true).write(true).create(true).truncate(false);
    opened.open(path).context("open", path)
}

pub(crate) fn remove_file(path: &Path) -> Result<(), PathError> {
    std::fs::remove_file(path).context("remove", path)
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), PathError> {
    std::fs::rename(from, to).context("rename into", to)
}

/// Makes `to` share the storage of `from` where the file system can (Btrfs, XFS), each
/// keeping its own content when the other is written to. `false`: `to` is unchanged.
#[cfg(target_os = "linux")]
pub(crate) fn reflink(from: &File, to: &File) -> bool {
    rustix::fs::ioctl_ficlone(to, from).is_ok()
}

/// Other systems have other calls for that.
#[cfg(not(target_os = "linux"))]
pub(crate) fn reflink(_from: &File, _to: &File) -> bool {
    false
}

/// A name that nobody else uses.
///
/// `tempfile` would ask the system for random bytes; on the hot path the process id and
/// a counter are unique enough, and whoever creates the file exclusively still catches
/// what a dead process with the same id left behind.
pub(crate) fn fresh_name() -> OsString {
    let pid = std::process::id();
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |d| d.subsec_nanos());
    format!(".cachewrap-{pid}-{n}-{now:x}").into()
}

static NEXT: AtomicU32 = AtomicU32::new(0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_of_a_script_is_found() {
        assert_eq!(interpreter(b"#! /bin/sh -e\nx"), Some("/bin/sh".into()));
        assert_eq!(interpreter(b"\x7fELF"), None);
        assert_eq!(interpreter(b"#!relative"), None);
    }
}
