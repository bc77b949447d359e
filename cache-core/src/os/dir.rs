//! Directories held open: what is done in one is done in it and nowhere else.
//!
//! Others may write to the store, and a path is only as good as each directory in it: one
//! that has been replaced by a link leads elsewhere, between a look at it and its use as well
//! as before. So what lies in the store is reached by descriptor, from its top down, and no
//! link on the way is followed, nor one at the end. The top itself is reached as its user
//! says, through links if need be.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawMode, Stat};
use rustix::io::Errno;

use crate::error::{PathContext as _, PathError};

/// How deep directories are removed and measured. Nothing of the store is deeper than a few
/// levels, and each level takes a descriptor.
const DEEPEST: usize = 256;

/// An open directory.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

/// One name in a directory.
pub(crate) struct Listed {
    pub(crate) name: OsString,
    pub(crate) path: PathBuf,
    /// What the name itself is; links are not followed.
    pub(crate) kind: NameKind,
}

/// What a name in a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameKind {
    File,
    Dir,
    /// A link, a pipe, a device.
    Other,
}

/// Only to be walked through.
#[cfg(target_os = "linux")]
const PASSAGE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);
/// Others can only open what may be read, too.
#[cfg(not(target_os = "linux"))]
const PASSAGE: OFlags = OFlags::DIRECTORY;

impl Dir {
    /// Opens a directory by its path, through whatever links there are.
    pub(crate) fn open(path: &Path) -> Result<Self, PathError> {
        // An empty path is what the parent of a bare file name is.
        let named = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let opened = rustix::fs::open(named, PASSAGE | OFlags::CLOEXEC, Mode::empty());
        Ok(Self {
            fd: opened.map_err(io::Error::from).context("open", path)?,
            path: path.to_owned(),
        })
    }

    /// A short path by which this process reaches it.
    #[cfg(target_os = "linux")]
    pub(crate) fn in_proc(&self) -> PathBuf {
        use std::os::fd::AsRawFd as _;
        Path::new("/proc/self/fd").join(self.fd.as_raw_fd().to_string())
    }

    /// Opens a directory below this one without following links.
    pub(crate) fn below(&self, relative: &Path) -> Result<Self, PathError> {
        Ok(Self {
            fd: self.open_below(relative, PASSAGE, Mode::empty())?,
            path: self.path.join(relative),
        })
    }

    /// The same, making what is not there, with the permissions that the umask leaves.
    pub(crate) fn make_below(&self, relative: &Path) -> Result<Self, PathError> {
        match self.below(relative) {
            Err(e) if e.is_not_found() => {}
            opened => return opened,
        }
        let mut path = PathBuf::new();
        for part in relative {
            path.push(part);
            let made = rustix::fs::mkdirat(&self.parent(&path)?.fd, part, Mode::from(0o777));
            match made {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(PathError::new("create", self.path.join(&path), e.into())),
            }
        }
        self.below(relative)
    }

    fn parent(&self, relative: &Path) -> Result<Self, PathError> {
        match relative.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => self.below(parent),
            _ => self.below(Path::new(".")),
        }
    }

    /// Opens what a path below this directory names. A link on the way is an error of kind
    /// `NotADirectory` that names it, and one at the end `ELOOP`.
    fn open_below(&self, relative: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, PathError> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match open_at_once(&self.fd, relative, flags, mode) {
            // An old kernel, a filter that does not know the call, or a link somewhere.
            Err(Errno::NOSYS | Errno::PERM | Errno::LOOP) => self.walk(relative, flags, mode),
            opened => opened
                .map_err(io::Error::from)
                .context("open", self.path.join(relative)),
        }
    }

    /// The same step by step.
    fn walk(&self, relative: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, PathError> {
        let mut path = self.path.clone();
        let mut dir: Option<OwnedFd> = None;
        let mut parts = relative.components().peekable();
        while let Some(part) = parts.next() {
            let name = match part {
                Component::Normal(name) => name,
                Component::CurDir => OsStr::new("."),
                _ => return Err(PathError::new("open", relative, Errno::INVAL.into())),
            };
            path.push(name);
            let at = dir.as_ref().unwrap_or(&self.fd);
            let last = parts.peek().is_none();
            let (flags, action) = if last {
                (flags, "open")
            } else {
                (PASSAGE | OFlags::CLOEXEC | OFlags::NOFOLLOW, "enter")
            };
            let mode = if last { mode } else { Mode::empty() };
            let opened = rustix::fs::openat(at, name, flags, mode);
            let opened = opened.map_err(|e| refusal(e, flags).into());
            dir = Some(opened.context(action, &path)?);
        }
        dir.ok_or_else(|| PathError::new("open", &path, Errno::INVAL.into()))
    }

    /// Opens a plain file below this directory for reading. Anything else under that name, a
    /// link too, is an error that [`PathError::is_no_file`] tells; a pipe does not make
    /// anybody wait.
    pub(crate) fn open_plain(&self, relative: &Path) -> Result<File, PathError> {
        let opened = self.open_below(relative, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty());
        self.plain(opened?, relative, |_| true)
    }

    /// Opens a plain file for reading and writing, or for appending, creating it if it is not
    /// there. One with another name besides is refused like a link: the other name may lie
    /// anywhere.
    pub(crate) fn open_to_write(&self, relative: &Path, append: bool) -> Result<File, PathError> {
        let how = if append {
            OFlags::WRONLY | OFlags::APPEND
        } else {
            OFlags::RDWR
        };
        let flags = how | OFlags::CREATE | OFlags::NONBLOCK;
        let opened = self.open_below(relative, flags, Mode::from(0o666))?;
        self.plain(opened, relative, |metadata| metadata.nlink() <= 1)
    }

    fn plain(
        &self,
        opened: OwnedFd,
        relative: &Path,
        is_ours: impl Fn(&Metadata) -> bool,
    ) -> Result<File, PathError> {
        let file = File::from(opened);
        let path = || self.path.join(relative);
        let metadata = file.metadata().context("look at", path())?;
        if metadata.is_file() && is_ours(&metadata) {
            return Ok(file);
        }
        let error = io::Error::from(io::ErrorKind::IsADirectory);
        Err(PathError::new("open as a file", path(), error))
    }

    /// Creates a file under a name that is free; an error of kind `AlreadyExists` otherwise.
    pub(crate) fn create_new(&self, name: &OsStr, mode: u32) -> Result<File, PathError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        // As wide as the system has it.
        let mode = Mode::from_raw_mode(mode as RawMode);
        let opened = rustix::fs::openat(&self.fd, name, flags, mode);
        let opened = opened.map_err(io::Error::from);
        Ok(opened.context("create", self.path.join(name))?.into())
    }

    /// What a name is.
    pub(crate) fn look(&self, name: &OsStr) -> Result<Stat, PathError> {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(io::Error::from)
            .context("look at", self.path.join(name))
    }

    /// The names in it, in no order. Those that vanish meanwhile are left out.
    pub(crate) fn list(&self) -> Result<Vec<Listed>, PathError> {
        let failed = |e: Errno| PathError::new("list", &self.path, e.into());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let readable = rustix::fs::openat(&self.fd, ".", flags, Mode::empty()).map_err(failed)?;
        let mut listed = Vec::new();
        for entry in rustix::fs::Dir::new(readable).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => match self.look(name) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(_) => continue,
                },
                known => known,
            };
            listed.push(Listed {
                name: name.to_owned(),
                path: self.path.join(name),
                kind: NameKind::of(kind),
            });
        }
        Ok(listed)
    }

    pub(crate) fn rename(&self, name: &OsStr, to: &Self, new: &OsStr) -> Result<(), PathError> {
        rustix::fs::renameat(&self.fd, name, &to.fd, new)
            .map_err(io::Error::from)
            .context("rename into", to.path.join(new))
    }

    /// Moves a name of this directory to a path, through whatever links there are.
    pub(crate) fn rename_out(&self, name: &OsStr, to: &Path) -> Result<(), PathError> {
        rustix::fs::renameat(&self.fd, name, rustix::fs::CWD, to)
            .map_err(io::Error::from)
            .context("rename into", to)
    }

    /// Removes a name that is no directory.
    pub(crate) fn remove_file(&self, name: &OsStr) -> Result<(), PathError> {
        self.unlink(name, AtFlags::empty())
    }

    /// Removes a file, a link or a whole directory; links are not followed.
    pub(crate) fn remove_any(&self, name: &OsStr) -> Result<(), PathError> {
        self.remove_to_depth(name, DEEPEST)
    }

    fn remove_to_depth(&self, name: &OsStr, depth: usize) -> Result<(), PathError> {
        match self.remove_file(name) {
            Err(e) if e.is_no_file() => {}
            removed => return removed,
        }
        let too_deep = || PathError::new("remove", self.path.join(name), Errno::NAMETOOLONG.into());
        let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
        let inner = self.below(Path::new(name))?;
        for listed in inner.list()? {
            match inner.remove_to_depth(&listed.name, depth) {
                Err(e) if !e.is_not_found() => return Err(e),
                _ => {}
            }
        }
        self.unlink(name, AtFlags::REMOVEDIR)
    }

    fn unlink(&self, name: &OsStr, flags: AtFlags) -> Result<(), PathError> {
        let unlinked = rustix::fs::unlinkat(&self.fd, name, flags);
        let unlinked = unlinked.map_err(|e| match e {
            // What POSIX has for a directory, where Linux is more precise.
            Errno::PERM if cfg!(not(target_os = "linux")) && self.is_dir(name) => Errno::ISDIR,
            e => e,
        });
        unlinked
            .map_err(io::Error::from)
            .context("remove", self.path.join(name))
    }

    fn is_dir(&self, name: &OsStr) -> bool {
        let found = self.look(name);
        found.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    /// The sum of `measure` over all files below a name. What cannot be looked at counts as
    /// nothing.
    pub(crate) fn size_below(&self, name: &OsStr, measure: fn(&Stat) -> u64) -> u64 {
        self.size_to_depth(name, measure, DEEPEST)
    }

    fn size_to_depth(&self, name: &OsStr, measure: fn(&Stat) -> u64, depth: usize) -> u64 {
        let (Ok(stat), Some(depth)) = (self.look(name), depth.checked_sub(1)) else {
            return 0;
        };
        match NameKind::of(FileType::from_raw_mode(stat.st_mode)) {
            NameKind::File => measure(&stat),
            NameKind::Other => 0,
            NameKind::Dir => {
                let inner = self.below(Path::new(name));
                let listed = inner.and_then(|inner| Ok((inner.list()?, inner)));
                listed.map_or(0, |(names, inner)| {
                    let of = |l: &Listed| inner.size_to_depth(&l.name, measure, depth);
                    names.iter().map(of).sum()
                })
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Opens what a path names if there is no link in it, by one call.
#[cfg(target_os = "linux")]
fn open_at_once(dir: &OwnedFd, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    rustix::fs::openat2(dir, path, flags, mode, resolve)
}

/// Only Linux has such a call.
#[cfg(not(target_os = "linux"))]
fn open_at_once(_: &OwnedFd, _: &Path, _: OFlags, _: Mode) -> Result<OwnedFd, Errno> {
    Err(Errno::NOSYS)
}

/// What Linux says where others say that a link was not followed.
fn refusal(error: Errno, flags: OFlags) -> Errno {
    match error {
        // FreeBSD has the second one.
        Errno::LOOP | Errno::MLINK if flags.contains(OFlags::DIRECTORY) => Errno::NOTDIR,
        Errno::MLINK => Errno::LOOP,
        e => e,
    }
}

impl NameKind {
    pub(crate) fn of(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Dir,
            _ => Self::Other,
        }
    }
}

/// A name in an open directory.
#[derive(Debug)]
pub(crate) struct Spot {
    pub(crate) dir: Dir,
    pub(crate) name: OsString,
}

impl Spot {
    pub(crate) fn remove_file(&self) -> Result<(), PathError> {
        self.dir.remove_file(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory `top` with `inner/file`, and `elsewhere/file` beside it.
    fn places() -> (tempfile::TempDir, Dir, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let elsewhere = place.path().join("elsewhere");
        for dir in [&place.path().join("top/inner"), &elsewhere] {
            std::fs::create_dir_all(dir).unwrap();
            std::fs::write(dir.join("file"), "text").unwrap();
        }
        let top = Dir::open(&place.path().join("top")).unwrap();
        (place, top, elsewhere)
    }

    #[test]
    fn links_on_the_way_are_not_followed_and_named() {
        let (_place, top, elsewhere) = places();
        symlink(&elsewhere, top.path().join("link")).unwrap();
        let e = top.open_plain(Path::new("link/file")).unwrap_err();
        assert_eq!(e.path, top.path().join("link"));
        assert_eq!(e.source.kind(), io::ErrorKind::NotADirectory);
        for below in ["link", "link/new"] {
            assert!(top.make_below(Path::new(below)).is_err());
        }
        assert!(top.open_to_write(Path::new("link/new"), false).is_err());
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 1);
        assert!(top.open_plain(Path::new("inner/file")).is_ok());
    }

    #[test]
    fn walking_step_by_step_comes_to_the_same() {
        let (_place, top, elsewhere) = places();
        symlink(&elsewhere, top.path().join("link")).unwrap();
        symlink("file", top.path().join("inner/link")).unwrap();
        let walk = |below| {
            top.walk(
                Path::new(below),
                OFlags::RDONLY | OFlags::NOFOLLOW,
                Mode::empty(),
            )
        };
        assert!(walk("inner/file").is_ok());
        assert_eq!(walk("link/file").unwrap_err().path, top.path().join("link"));
        assert!(walk("inner/link").unwrap_err().is_no_file());
        assert!(walk("inner/../inner/file").is_err() && walk("/etc").is_err());
    }

    #[test]
    fn a_file_with_another_name_is_not_written_to() {
        let (_place, top, elsewhere) = places();
        std::fs::hard_link(elsewhere.join("file"), top.path().join("hard")).unwrap();
        for append in [false, true] {
            let e = top.open_to_write(Path::new("hard"), append).unwrap_err();
            assert!(e.is_no_file());
        }
        assert!(top.open_plain(Path::new("hard")).is_ok());
    }

    #[test]
    fn removing_stays_inside() {
        let (_place, top, elsewhere) = places();
        symlink(&elsewhere, top.path().join("inner/link")).unwrap();
        symlink(&elsewhere, top.path().join("link")).unwrap();
        top.remove_any(OsStr::new("inner")).unwrap();
        top.remove_any(OsStr::new("link")).unwrap();
        assert_eq!(top.list().unwrap().len(), 0);
        assert!(elsewhere.join("file").exists());
        let deep: PathBuf = std::iter::repeat_n("d", DEEPEST + 2).collect();
        std::fs::create_dir_all(top.path().join(deep)).unwrap();
        assert!(top.remove_any(OsStr::new("d")).is_err());
    }
}
