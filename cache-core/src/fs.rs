//! The only module that calls `std::fs`: every error carries its path.

use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::digest::{BlobRef, Digest};
use crate::error::{PathContext as _, PathError};
use crate::stamp::Stamp;

pub(crate) fn open(path: &Path) -> Result<File, PathError> {
    File::open(path).context("open", path)
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, PathError> {
    read_all(open(path)?, path)
}

fn read_all(mut file: File, path: &Path) -> Result<Vec<u8>, PathError> {
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

/// Hashes a file's content.
pub(crate) fn digest(path: &Path) -> Result<BlobRef, PathError> {
    Digest::of_reader(open(path)?).context("read", path)
}

/// Opens a plain file for reading. Anything else under that name, a link too, is an error
/// that [`PathError::is_no_file`] tells; a pipe does not make anybody wait.
pub(crate) fn open_plain(path: &Path) -> Result<File, PathError> {
    plain(OpenOptions::new().read(true), path)
}

/// Reads a plain file.
pub(crate) fn read_plain(path: &Path) -> Result<Vec<u8>, PathError> {
    read_all(open_plain(path)?, path)
}

/// Opens a plain file for reading and writing, creating it if it is not there.
pub(crate) fn open_or_create(path: &Path) -> Result<File, PathError> {
    let mut options = OpenOptions::new();
    plain(
        options.read(true).write(true).create(true).truncate(false),
        path,
    )
}

fn plain(options: &mut OpenOptions, path: &Path) -> Result<File, PathError> {
    let opened = options
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let file = opened.context("open", path)?;
    if file.metadata().context("look at", path)?.is_file() {
        return Ok(file);
    }
    let error = io::Error::from(io::ErrorKind::IsADirectory);
    Err(PathError::new("open as a file", path, error))
}

/// Appends to a file, creating it if it is not there.
pub(crate) fn append(path: &Path, bytes: &[u8]) -> Result<(), PathError> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    let mut file = file.context("open", path)?;
    io::Write::write_all(&mut file, bytes).context("write", path)
}

/// Appends to a plain file, creating it if it is not there; says how long it is then, bytes.
pub(crate) fn append_plain(path: &Path, bytes: &[u8]) -> Result<u64, PathError> {
    let mut file = plain(OpenOptions::new().append(true).create(true), path)?;
    io::Write::write_all(&mut file, bytes).context("write", path)?;
    Ok(file.metadata().context("look at", path)?.len())
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

pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), PathError> {
    std::fs::write(path, bytes).context("write", path)
}

pub(crate) fn metadata(path: &Path) -> Result<Metadata, PathError> {
    std::fs::metadata(path).context("look at", path)
}

pub(crate) fn exists(path: &Path) -> bool {
    std::fs::metadata(path).is_ok()
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

/// One name in a directory.
pub(crate) struct Listed {
    pub(crate) name: OsString,
    pub(crate) path: PathBuf,
    /// What the name itself is; links are not followed.
    pub(crate) file_type: std::fs::FileType,
}

/// The names in a directory, in no order. What is not there or no directory has none, and
/// names that vanish meanwhile are left out.
pub(crate) fn list_or_empty(path: &Path) -> Result<Vec<Listed>, PathError> {
    let entries = match read_dir(path) {
        Err(e) if e.is_not_found() || e.source.kind() == io::ErrorKind::NotADirectory => {
            return Ok(Vec::new());
        }
        entries => entries?,
    };
    let mut listed = Vec::new();
    for entry in entries {
        let entry = entry.context("list", path)?;
        if let Ok(file_type) = entry.file_type() {
            listed.push(Listed {
                name: entry.file_name(),
                path: entry.path(),
                file_type,
            });
        }
    }
    Ok(listed)
}

/// What the name itself is, not what it links to.
pub(crate) fn symlink_metadata(path: &Path) -> Result<Metadata, PathError> {
    std::fs::symlink_metadata(path).context("look at", path)
}

/// What a file takes on disk, bytes, by the file system's account; zero if it is gone.
pub(crate) fn allocated_size(path: &Path) -> u64 {
    symlink_metadata(path).map_or(0, |metadata| metadata.blocks() * 512)
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

/// The sum of `measure` over the lengths of all files below a directory. What cannot be
/// looked at counts as nothing.
pub(crate) fn tree_size(path: &Path, measure: impl Fn(u64) -> u64) -> u64 {
    walkdir::WalkDir::new(path)
        .into_iter()
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .filter(Metadata::is_file)
        .map(|metadata| measure(metadata.len()))
        .sum()
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

pub(crate) fn create_dir(path: &Path) -> Result<(), PathError> {
    std::fs::create_dir(path).context("create", path)
}

pub(crate) fn symlink(target: &Path, path: &Path) -> Result<(), PathError> {
    std::os::unix::fs::symlink(target, path).context("link", path)
}

/// The permissions that new files of this process do not get.
pub(crate) fn umask() -> u32 {
    // Asking the kernel by system call would mean changing it.
    let status = read(Path::new("/proc/self/status")).unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok())
        .unwrap_or(0o022)
}

pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<(), PathError> {
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(path, permissions).context("set the permissions of", path)
}

pub(crate) fn remove_file(path: &Path) -> Result<(), PathError> {
    std::fs::remove_file(path).context("remove", path)
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), PathError> {
    std::fs::rename(from, to).context("rename into", to)
}

/// Sets a file's modification time to now.
pub(crate) fn touch(path: &Path) -> Result<(), PathError> {
    let now = std::time::SystemTime::now();
    open(path)?.set_modified(now).context("touch", path)
}

/// Makes `to` share the storage of `from` where the file system can (Btrfs, XFS), each
/// keeping its own content when the other is written to. `false`: `to` is unchanged.
pub(crate) fn reflink(from: &File, to: &File) -> bool {
    rustix::fs::ioctl_ficlone(to, from).is_ok()
}

/// Whether two changes of a file never leave the same change time, if `stat` was called
/// between them.
///
/// Linux 6.13 and later promise it for these file systems (multigrain timestamps,
/// `Documentation/filesystems/multigrain-ts.rst`); elsewhere times advance by ticks of
/// some milliseconds.
pub(crate) fn tells_every_change(path: &Path) -> bool {
    const EXT4: i64 = 0xef53;
    const XFS: i64 = 0x5846_5342;
    const BTRFS: i64 = 0x9123_683e;
    const TMPFS: i64 = 0x0102_1994;
    static KERNEL: LazyLock<bool> = LazyLock::new(|| {
        let name = rustix::system::uname();
        let release = name.release().to_string_lossy();
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        let mut next = || numbers.next().and_then(|n| n.parse::<u32>().ok());
        (next(), next()) >= (Some(6), Some(13))
    });
    *KERNEL
        && rustix::fs::statfs(path).is_ok_and(|fs| [EXT4, XFS, BTRFS, TMPFS].contains(&fs.f_type))
}

/// A path in `dir` that nobody else uses.
///
/// `tempfile` would ask the system for random bytes; on the hot path the process id and
/// a counter are unique enough, and whoever creates the file exclusively still catches
/// what a dead process with the same id left behind.
pub(crate) fn fresh_path(dir: &Path) -> PathBuf {
    let pid = std::process::id();
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |d| d.subsec_nanos());
    dir.join(format!(".cachewrap-{pid}-{n}-{now:x}"))
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A file under a fresh name, removed when dropped unless it was given its place.
pub(crate) struct TempFile {
    file: File,
    path: PathBuf,
    kept: bool,
}

impl TempFile {
    /// Creates one in `dir`, mode 0666 less the umask.
    pub(crate) fn create(dir: &Path) -> Result<Self, PathError> {
        Self::create_with_mode(dir, 0o666)
    }

    /// Creates one in `dir` with the given mode less the umask.
    pub(crate) fn create_with_mode(dir: &Path, mode: u32) -> Result<Self, PathError> {
        loop {
            let path = fresh_path(dir);
            let opened = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&path);
            match opened {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                opened => {
                    return Ok(Self {
                        file: opened.context("create", &path)?,
                        path,
                        kept: false,
                    });
                }
            }
        }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn write_all(&self, bytes: &[u8]) -> Result<(), PathError> {
        io::Write::write_all(&mut &self.file, bytes).context("write", &self.path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn stamp(&self) -> Option<Stamp> {
        let metadata = self.file.metadata().ok()?;
        Some(Stamp::from_metadata(&metadata))
    }

    /// Gives the file its place, replacing what is there.
    pub(crate) fn persist(&mut self, to: &Path) -> Result<(), PathError> {
        rename(&self.path, to)?;
        self.kept = true;
        Ok(())
    }

    /// Like [`persist`](Self::persist), creating the parent directory if it is missing.
    pub(crate) fn persist_in_new_dirs(&mut self, to: &Path) -> Result<(), PathError> {
        match (self.persist(to), to.parent()) {
            (Err(e), Some(parent)) if e.is_not_found() => {
                create_dir_all(parent)?;
                self.persist(to)
            }
            (done, _) => done,
        }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
