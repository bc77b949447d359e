//! Where a path leads, in the eyes of the process that names it, at the moment of the call.
//!
//! What a path is (an output, the process's own, the kernel's) cannot be told by its
//! spelling: `..`, links, and `/proc/self/fd/N` lead anywhere. So each path is walked as the
//! kernel does it, and links on the way are read, but those at the end only where the call
//! follows them too: what a link in a listing leads to may be a server that does not answer.
//! `/proc/self` is another place for each process, and the links in `/proc/<pid>/fd` and the
//! like are the kernel's, which lead to what is open; they are asked, not read.
//!
//! Directories that were walked are remembered until a call changes links or directories.
//! Other processes, outside of what is observed, could change them too; a build whose
//! directories are moved while it runs is beyond help.
//!
//! What can go wrong: the walk meets an error other than "not there" (no permission, a loop,
//! a name too long): then the process may see something else than we do, and the
//! observation ends.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::events::Access;
use crate::inputs::input::FileType;
use crate::os::fs;
use crate::os::stamp::Stamp;

/// As many links as the kernel follows.
const MAX_LINKS: u32 = 40;

/// More directories than this are not remembered.
const MAX_REMEMBERED: usize = 100_000;

/// Where a path leads.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    /// Without links on the way, nor at the end if that was followed.
    pub(super) real: PathBuf,
    /// What is there.
    pub(super) found: Option<Stamp>,
    /// Whether it led through a link of `/proc`, which is another one for each process.
    of_process: bool,
    /// The name by which it is an open file of the process, if its path ended with that:
    /// `/proc/<pid>/fd/<number>`.
    pub(super) descriptor: Option<PathBuf>,
}

impl Resolved {
    /// What a call without a path leads to.
    pub(super) fn nowhere() -> Self {
        Self::missing(PathBuf::new())
    }

    /// Whether a call lists a directory there: what it holds may change without a change of paths.
    pub(super) fn is_listing(&self, access: Access) -> bool {
        access == Access::Read && self.found.is_some_and(|f| f.file_type == FileType::Dir)
    }

    /// A plain file at a path without links.
    pub(super) fn plain(real: PathBuf, found: Stamp) -> Self {
        Self {
            found: Some(found),
            ..Self::missing(real)
        }
    }

    /// A path without links at which nothing is.
    pub(super) fn missing(real: PathBuf) -> Self {
        Self {
            real,
            found: None,
            of_process: false,
            descriptor: None,
        }
    }
}

/// The process whose eyes a path is seen with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Eyes {
    pub(super) pid: u32,
    pub(super) tid: u32,
}

/// Why a path cannot be resolved.
pub(super) type Unclear = String;

/// Where the directories of a path lead.
struct Way {
    /// The directory's name without links; where it is not there, what was walked so far
    /// and the rest as it is spelled.
    real: Arc<Path>,
    is_there: bool,
    of_process: bool,
}

/// Resolves paths, and remembers directories.
#[derive(Default)]
pub(super) struct Resolver {
    directories: FxHashMap<Vec<u8>, Arc<Path>>,
    /// The device of `/proc`.
    proc_device: u64,
    /// When the youngest link was made that the latest path was seen to lead through. Those of the
    /// kernel may lead elsewhere any moment.
    link_made: i128,
}

impl Resolver {
    pub(super) fn new() -> Self {
        Self {
            directories: FxHashMap::default(),
            proc_device: Stamp::of(Path::new("/proc")).map_or(0, |s| s.dev),
            link_made: 0,
        }
    }

    /// Forgets the directories, since a link or directory is about to change.
    pub(super) fn forget(&mut self) {
        self.directories.clear();
    }

    /// Where an absolute path leads.
    pub(super) fn resolve(
        &mut self,
        path: &Path,
        follows: bool,
        eyes: Eyes,
    ) -> Result<Resolved, Unclear> {
        self.link_made = 0;
        self.walk(path, follows, eyes, &mut 0)
    }

    /// Where a name is, that of a link itself. `None` if it has no directory, or is no name.
    pub(super) fn place(&mut self, path: &Path, eyes: Eyes) -> Result<Option<PathBuf>, Unclear> {
        self.link_made = 0;
        let (above, name) = split(path.as_os_str().as_bytes());
        let way = self.directory(above, eyes, &mut 0)?;
        let is_name = way.is_there && !way.of_process && !matches!(name, b"" | b"." | b"..");
        Ok(is_name.then(|| way.real.join(OsStr::from_bytes(name))))
    }

    /// Whether a link that the latest path was seen to lead through may have led elsewhere at that
    /// moment.
    pub(super) fn led_elsewhere(&self, at: i128) -> bool {
        self.link_made > at
    }

    fn walk(
        &mut self,
        path: &Path,
        follows: bool,
        eyes: Eyes,
        links: &mut u32,
    ) -> Result<Resolved, Unclear> {
        let (above, name) = split(path.as_os_str().as_bytes());
        if matches!(name, b"" | b"." | b"..") {
            // All of it is directories. With a slash at the end a link is followed.
            let way = self.directory(path.as_os_str().as_bytes(), eyes, links)?;
            let found = if way.is_there { look(&way.real)? } else { None };
            return Ok(Resolved {
                found,
                real: way.real.to_path_buf(),
                of_process: way.of_process,
                descriptor: None,
            });
        }
        let way = self.directory(above, eyes, links)?;
        if !way.is_there {
            return Ok(Resolved {
                real: way.real.join(OsStr::from_bytes(name)),
                found: None,
                of_process: way.of_process,
                descriptor: None,
            });
        }
        let mut found = self.step(&way.real, name, follows, eyes, links)?;
        found.of_process |= way.of_process;
        Ok(found)
    }

    /// One name in a directory without links.
    fn step(
        &mut self,
        directory: &Path,
        name: &[u8],
        follows: bool,
        eyes: Eyes,
        links: &mut u32,
    ) -> Result<Resolved, Unclear> {
        let path = directory.join(OsStr::from_bytes(name));
        let link = match look(&path)? {
            Some(found) if found.file_type == FileType::Link && follows => found,
            found => {
                return Ok(Resolved {
                    found,
                    real: path,
                    of_process: false,
                    descriptor: None,
                });
            }
        };
        *links += 1;
        if *links > MAX_LINKS {
            return Err(format!("too many links: {}", path.display()));
        }
        let of_process = link.dev == self.proc_device;
        if !of_process {
            self.link_made = self.link_made.max(link.ctime);
        }
        let target = match kernels_link(directory, name, eyes) {
            Link::Leads(target) if of_process => target,
            Link::Kernels if of_process => {
                self.link_made = i128::MAX;
                return kernels(path);
            }
            _ => read_link(&path)?,
        };
        let mut resolved = self.walk(&directory.join(target), true, eyes, links)?;
        resolved.of_process |= of_process;
        Ok(resolved)
    }

    /// Where a path leads that is used as a directory.
    fn directory(&mut self, path: &[u8], eyes: Eyes, links: &mut u32) -> Result<Way, Unclear> {
        let there = |real: Arc<Path>| Way {
            real,
            is_there: true,
            of_process: false,
        };
        if path.is_empty() {
            return Ok(there(Path::new("/").into()));
        }
        if let Some(known) = self.directories.get(path) {
            return Ok(there(Arc::clone(known)));
        }
        let (above, name) = split(path);
        let mut way = self.directory(above, eyes, links)?;
        match name {
            b"" | b"." if way.is_there => {}
            b".." if way.is_there => {
                way.real = way.real.parent().unwrap_or(Path::new("/")).into();
            }
            name if way.is_there => {
                let next = self.step(&way.real, name, true, eyes, links)?;
                way.is_there = next.found.is_some_and(|s| s.file_type == FileType::Dir);
                way.real = next.real.into();
                way.of_process |= next.of_process;
            }
            name => way.real = way.real.join(OsStr::from_bytes(name)).into(),
        }
        // What is missing may come to be without our notice: others build here too.
        if way.is_there && !way.of_process && self.directories.len() < MAX_REMEMBERED {
            let real = Arc::clone(&way.real);
            self.directories.insert(path.to_vec(), real);
        }
        Ok(way)
    }
}

/// The part before the last slash, and the name after it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memrchr(b'/', path) {
        Some(at) => (
            path.get(..at).unwrap_or_default(),
            path.get(at + 1..).unwrap_or_default(),
        ),
        None => (b"", path),
    }
}

/// What is there, a link itself.
fn look(path: &Path) -> Result<Option<Stamp>, Unclear> {
    match Stamp::of_name(path) {
        Ok(stamp) => Ok(Some(stamp)),
        Err(e) if e.is_missing() => Ok(None),
        Err(e) => Err(e.to_string()),
    }
}

fn read_link(path: &Path) -> Result<PathBuf, Unclear> {
    fs::read_link(path).map_err(|e| e.to_string())
}

/// What a link below `/proc` is.
enum Link {
    /// It leads there, for this process.
    Leads(PathBuf),
    /// It is no path but what the kernel has open.
    Kernels,
    /// As it says.
    Plain,
}

fn kernels_link(directory: &Path, name: &[u8], eyes: Eyes) -> Link {
    if directory == Path::new("/proc") {
        return match name {
            b"self" => Link::Leads(PathBuf::from(format!("/proc/{}", eyes.pid))),
            b"thread-self" => Link::Leads(PathBuf::from(format!(
                "/proc/{}/task/{}",
                eyes.pid, eyes.tid
            ))),
            // `mounts` and `net` lead to `self/…`.
            _ => Link::Plain,
        };
    }
    let last = directory.file_name().unwrap_or_default().as_bytes();
    let is_open = matches!(last, b"fd" | b"map_files" | b"ns");
    if is_open || matches!(name, b"cwd" | b"root" | b"exe") {
        Link::Kernels
    } else {
        Link::Plain
    }
}

/// Where a link of the kernel's leads: to the path that the open file has now, if it has one
/// and that still names it; otherwise it is a place of its own.
fn kernels(link: PathBuf) -> Result<Resolved, Unclear> {
    let descriptor = link.clone();
    let resolved = |real: PathBuf, found: Option<Stamp>| Resolved {
        real,
        found,
        of_process: true,
        descriptor: Some(descriptor),
    };
    let open = match Stamp::at(&link) {
        Ok(open) => open,
        Err(e) if e.is_not_found() => return Ok(resolved(link, None)),
        Err(e) => return Err(e.to_string()),
    };
    let target = read_link(&link)?;
    if !target.is_absolute() {
        // A pipe, a socket, …: no path, but there.
        return Ok(resolved(link, Some(open)));
    }
    let same = look(&target)?.filter(|now| (now.dev, now.ino) == (open.dev, open.ino));
    match same {
        Some(now) => Ok(resolved(target, Some(now))),
        None => Err(format!(
            "a file without a name: {} ({})",
            link.display(),
            target.display()
        )),
    }
}

/// Whether an open file of another process, called `/proc/<pid>/fd/<number>`, is open under the
/// same number in this process, which was there first.
pub(super) fn is_inherited(descriptor: &Path) -> bool {
    let is_fd = descriptor.parent().is_some_and(|dir| dir.ends_with("fd"));
    let number = descriptor.file_name().filter(|_| is_fd);
    let file = |path: &Path| Stamp::of(path).map(|s| (s.dev, s.ino));
    let own = number.and_then(|number| file(&Path::new("/proc/self/fd").join(number)));
    own.is_some() && own == file(descriptor)
}

/// The directory that a relative path begins at.
pub(super) fn base(tid: u32, directory: Option<u64>) -> Result<PathBuf, Unclear> {
    // The kernel looks at the low 32 bits only.
    #[expect(clippy::cast_possible_truncation, reason = "as the kernel does")]
    let descriptor = directory.map(|d| d as i32);
    let link = match descriptor {
        None | Some(libc::AT_FDCWD) => format!("/proc/{tid}/cwd"),
        Some(descriptor) => format!("/proc/{tid}/fd/{descriptor}"),
    };
    let base = read_link(Path::new(&link))?;
    if base.is_absolute() && !is_deleted(&base) {
        Ok(base)
    } else {
        Err(format!("a directory without a path: {}", base.display()))
    }
}

/// Whether the kernel says of an open file that its name is gone.
fn is_deleted(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b" (deleted)") && !fs::exists(path)
}

/// A path from a directory on, as text.
pub(super) fn join(base: &Path, path: &Path) -> PathBuf {
    let mut joined = OsString::from(base).into_vec();
    if !joined.ends_with(b"/") {
        joined.push(b'/');
    }
    joined.extend_from_slice(path.as_os_str().as_bytes());
    PathBuf::from(OsString::from_vec(joined))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::fs::symlink;

    fn own() -> Eyes {
        let pid = std::process::id();
        Eyes { pid, tid: pid }
    }

    fn own_thread() -> u32 {
        let link = std::fs::read_link("/proc/thread-self").unwrap();
        link.file_name().unwrap().to_str().unwrap().parse().unwrap()
    }

    fn real(resolver: &mut Resolver, path: &Path) -> PathBuf {
        resolver.resolve(path, true, own()).unwrap().real
    }

    #[test]
    fn paths_are_walked_as_the_kernel_does() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/f"), "").unwrap();
        symlink("a/b", root.join("link")).unwrap();
        symlink(root.join("link"), root.join("absolute")).unwrap();
        symlink("nowhere", root.join("dead")).unwrap();
        let mut resolver = Resolver::new();
        for (path, expected) in [
            ("link/../f", "a/f"),
            ("absolute/../f", "a/f"),
            ("a/./b/..//f", "a/f"),
            ("link", "a/b"),
            ("link/", "a/b"),
            ("dead", "nowhere"),
            ("missing/../f", "missing/../f"),
            ("a/f/x", "a/f/x"),
        ] {
            assert_eq!(
                real(&mut resolver, &root.join(path)),
                root.join(expected),
                "{path}"
            );
        }
        let link = resolver.resolve(&root.join("link"), false, own()).unwrap();
        assert_eq!(link.real, root.join("link"));
        assert_eq!(link.found.unwrap().file_type, FileType::Link);
    }

    #[test]
    fn what_the_kernel_calls_by_numbers_has_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::write(root.join("f"), "").unwrap();
        let open = std::fs::File::open(&root).unwrap();
        let mut resolver = Resolver::new();
        for by in ["/proc/self/fd", "/dev/fd", "/proc/thread-self/fd"] {
            let path = format!("{by}/{}/f", open.as_raw_fd());
            let eyes = Eyes {
                tid: own_thread(),
                ..own()
            };
            let found = resolver.resolve(Path::new(&path), true, eyes).unwrap();
            assert_eq!(found.real, root.join("f"), "{path}");
        }
        let cwd = std::env::current_dir().unwrap();
        let path = Path::new("/proc/self/root/proc/self/cwd/x");
        assert_eq!(real(&mut resolver, path), cwd.join("x"));
        let gone = root.join("gone");
        std::fs::write(&gone, "").unwrap();
        let open = std::fs::File::open(&gone).unwrap();
        std::fs::remove_file(&gone).unwrap();
        let path = format!("/proc/self/fd/{}", open.as_raw_fd());
        assert!(resolver.resolve(Path::new(&path), true, own()).is_err());
    }

    #[test]
    fn endless_links_end() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("loop");
        symlink("loop", &link).unwrap();
        assert!(Resolver::new().resolve(&link, true, own()).is_err());
        assert!(Resolver::new().resolve(&link, false, own()).is_ok());
    }
}
