//! The supervisor: receives announced calls, notes them, lets them go on.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, mpsc};

use libc::c_long;

use super::events::{Access, Event, Observation};
use super::sys::{self, Listener, Notification, Wait};
use crate::fs;
use crate::stamp::{self, Stamp};

/// How long processes that outlive the compiler are waited for, milliseconds.
///
/// Helpers of a linker end within microseconds of it; what is still there after this
/// long is a server and will not end soon.
const GRACE_MS: i32 = 200;

/// How the observed process ended.
pub(crate) type Exit = io::Result<ExitStatus>;

/// How closely a process is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Opening, looking, executing, renaming, making directories, removing, changing
    /// permissions, using sockets.
    Usual,
    /// Also resolving paths: some programs look that way whether a file is there.
    Close,
    /// Also what a tree of any programs may do besides: moving files away, changing
    /// other properties of files.
    Tree,
}

/// Starts `command` in `cwd` under observation, gives the child to `with_child` on a thread of
/// its own (to read its streams), and returns when it and its descendants have ended.
///
/// An error means that the command was not started, or could not be observed: then too
/// it was not started. Either way the command is of no further use.
pub(crate) fn spawn<T: Send>(
    command: &mut Command,
    cwd: Option<&Path>,
    depth: Depth,
    with_child: impl FnOnce(&mut Child) -> T + Send,
) -> io::Result<(Exit, T, Observation)> {
    let (send, receive) = mpsc::channel();
    let (done_reader, done_writer) = io::pipe()?;
    let done = OwnedFd::from(done_reader);
    std::thread::scope(|scope| {
        let starter = scope.spawn(move || {
            // Dropped when this thread is about to end, which tells the supervisor.
            let _done = done_writer;
            let listener = match Listener::install(depth) {
                Ok(listener) => listener,
                Err(e) => {
                    let _ = send.send(Err(e));
                    return None;
                }
            };
            // The compiler dies with this thread, which waits for its end.
            let prepared = sys::prepare_child(command, Some(&listener), cwd);
            if send.send(prepared.map(|()| listener)).is_err() {
                return None;
            }
            let started = command.spawn();
            Some(started.map(|mut child| {
                let value = with_child(&mut child);
                (child.wait(), value)
            }))
        });
        let listener = receive
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the starting thread ended")))?;
        let observation = Supervisor::new(&listener, depth).run(&done);
        let ended = starter
            .join()
            .map_err(|_| io::Error::other("the starting thread panicked"))?
            .ok_or_else(|| io::Error::other("not started"))?;
        let (status, value) = ended?;
        Ok((status, value, observation))
    })
}

/// Starts `command` in `cwd` unobserved; it dies with the thread that calls this.
pub(crate) fn spawn_unobserved(command: &mut Command, cwd: Option<&Path>) -> io::Result<Child> {
    sys::prepare_child(command, None, cwd)?;
    command.spawn()
}

struct Supervisor<'a> {
    listener: &'a Listener,
    depth: Depth,
    seen: Observation,
    /// The process of each thread.
    processes: HashMap<u32, u32>,
    /// The paths met so far.
    paths: HashSet<Arc<Path>>,
    /// Those that were there when they were resolved or entered, since links were last
    /// changed. Resolving a path resolves each directory above it, so most such calls
    /// repeat another one, whoever makes them.
    followed: HashSet<Arc<Path>>,
    own_pid: u32,
}

impl<'a> Supervisor<'a> {
    fn new(listener: &'a Listener, depth: Depth) -> Self {
        Self {
            listener,
            depth,
            seen: Observation {
                complete: true,
                ..Observation::default()
            },
            processes: HashMap::new(),
            paths: HashSet::new(),
            followed: HashSet::new(),
            own_pid: std::process::id(),
        }
    }

    fn run(mut self, done: &OwnedFd) -> Observation {
        let mut running = true;
        loop {
            let waited = if running {
                self.listener.wait(Some(done), -1)
            } else {
                self.listener.wait(None, GRACE_MS)
            };
            match waited {
                Ok(Wait::Announced) => {
                    if self.serve().is_err() {
                        self.seen.complete = false;
                        break;
                    }
                }
                Ok(Wait::Done) => running = false,
                Ok(Wait::Again) => {}
                Ok(Wait::Deserted) => break,
                Ok(Wait::TimedOut) => {
                    self.seen.complete = false;
                    self.listener.leave_answering_child();
                    break;
                }
                Err(_) => {
                    self.seen.complete = false;
                    break;
                }
            }
        }
        self.seen
    }

    fn serve(&mut self) -> io::Result<()> {
        let Some(notification) = self.listener.receive()? else {
            return Ok(());
        };
        if self.note(&notification).is_none() {
            self.seen.complete = false;
        }
        self.listener.answer(notification.id)
    }

    /// `None`: something could not be found out.
    fn note(&mut self, call: &Notification) -> Option<()> {
        let pid = self.process_of(call.tid)?;
        if pid == self.own_pid {
            // Our own thread, before it became the compiler.
            return Some(());
        }
        if !call.native {
            return None;
        }
        if self.depth == Depth::Tree {
            if let Some((directory, path, access)) = source(call) {
                self.note_path(call, pid, directory, path, access)?;
            }
            if let Some((text, directory, path)) = symlink(call) {
                self.note_link_text(call, pid, text, directory, path)?;
            }
        }
        let asks = match call.call {
            libc::SYS_uname => Some(Access::AskKernel),
            libc::SYS_getcwd => Some(Access::AskDirectory),
            _ => None,
        };
        if let Some(access) = asks {
            self.push(pid, access, Path::new(""));
            return Some(());
        }
        if let Some(peer) = talks(call) {
            self.note_talk(pid, &peer.read(call.tid)?);
            return Some(());
        }
        let (directory, path, access) = describe(call)?;
        let access = access.resolve(call)?;
        self.note_path(call, pid, directory, path, access)
    }

    fn note_path(
        &mut self,
        call: &Notification,
        pid: u32,
        directory: u64,
        path: u64,
        access: Access,
    ) -> Option<()> {
        let path = read_path(call.tid, path)?;
        if path.as_os_str().is_empty() {
            // An empty path names the directory descriptor itself, already open.
            return Some(());
        }
        let path = absolute(call.tid, directory, path)?;
        self.push(pid, access, &path);
        if access == Access::MakeDir {
            // What lies there is removed through a descriptor, of which the kernel knows the
            // real path only.
            let parent = path.parent().and_then(|dir| fs::canonicalize(dir).ok());
            let real = parent
                .zip(path.file_name())
                .map(|(dir, name)| dir.join(name));
            if let Some(real) = real.filter(|real| *real != path) {
                self.push(pid, access, &real);
            }
        }
        Some(())
    }

    /// What a new link will lead to is looked at: the link may be gone when it is asked
    /// where it led.
    fn note_link_text(
        &mut self,
        call: &Notification,
        pid: u32,
        text: u64,
        directory: u64,
        path: u64,
    ) -> Option<()> {
        let text = read_path(call.tid, text)?;
        let link = absolute(call.tid, directory, read_path(call.tid, path)?)?;
        if let Some(dir) = link.parent().filter(|_| !text.as_os_str().is_empty()) {
            self.push(pid, Access::Ask, &dir.join(text));
        }
        Some(())
    }

    /// A socket that is not there was looked for; any other is somebody to talk to.
    fn note_talk(&mut self, pid: u32, peer: &Path) {
        let is_missing = peer.is_absolute() && Stamp::of(peer).is_none();
        let access = if is_missing {
            Access::Ask
        } else {
            Access::Talk
        };
        self.push(pid, access, peer);
    }

    fn push(&mut self, pid: u32, access: Access, path: &Path) {
        let follows = matches!(access, Access::ReadLink | Access::Enter);
        if follows && self.followed.contains(path) {
            return;
        }
        let found = Stamp::of(path);
        let path = self.intern(path);
        if follows && found.is_some() {
            self.followed.insert(Arc::clone(&path));
        } else if matches!(access, Access::Alter | Access::Create | Access::Symlink) {
            self.followed.clear();
        }
        self.seen.events.push(Event {
            pid,
            access,
            path,
            found,
            at: stamp::now(),
        });
    }

    fn intern(&mut self, path: &Path) -> Arc<Path> {
        // Paths are equal with and without a final slash, to which calls answer differently.
        let same = |known: &&Arc<Path>| known.as_os_str() == path.as_os_str();
        if let Some(known) = self.paths.get(path).filter(same) {
            return Arc::clone(known);
        }
        let path: Arc<Path> = path.into();
        self.paths.insert(Arc::clone(&path));
        path
    }

    fn process_of(&mut self, tid: u32) -> Option<u32> {
        if let Some(&pid) = self.processes.get(&tid) {
            return Some(pid);
        }
        let status = fs::read(Path::new(&format!("/proc/{tid}/status"))).ok()?;
        let status = String::from_utf8_lossy(&status);
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse::<u32>().ok()
        };
        let pid = field("Tgid:")?;
        let parent = field("PPid:")?;
        self.processes.insert(tid, pid);
        if !self.seen.parents.iter().any(|(p, _)| *p == pid) {
            self.seen.parents.push((pid, parent));
        }
        Some(pid)
    }
}

/// Where a call finds its open flags.
enum Intent {
    Known(Access),
    Flags(u64),
    /// A pointer to `struct open_how`, which starts with the flags.
    OpenHow(u64),
}

impl Intent {
    fn resolve(self, call: &Notification) -> Option<Access> {
        let flags = match self {
            Self::Known(access) => return Some(access),
            Self::Flags(flags) => flags,
            Self::OpenHow(address) => {
                let mut bytes = [0; 8];
                let n = sys::read_memory(call.tid, address, &mut bytes).ok()?;
                if n != bytes.len() {
                    return None;
                }
                u64::from_ne_bytes(bytes)
            }
        };
        let has = |flag: i32| flags & u64::from(flag.unsigned_abs()) != 0;
        Some(if has(libc::O_PATH) {
            Access::Stat
        } else if has(libc::O_WRONLY | libc::O_RDWR) {
            Access::Write {
                fresh: has(libc::O_TRUNC | libc::O_EXCL),
            }
        } else if has(libc::O_CREAT) {
            Access::Write { fresh: false }
        } else {
            Access::Read
        })
    }
}

/// `AT_FDCWD` as it stands in an argument register.
#[expect(clippy::cast_sign_loss, reason = "the kernel passes it sign-extended")]
const CWD: u64 = libc::AT_FDCWD as u64;

/// The other path of a call with two, which it moves away or links: the directory
/// descriptor, the address, and what happens to that path.
fn source(call: &Notification) -> Option<(u64, u64, Access)> {
    let [a0, a1, ..] = call.args;
    match call.call {
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rename => Some((CWD, a0, Access::Alter)),
        libc::SYS_renameat | libc::SYS_renameat2 => Some((a0, a1, Access::Alter)),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_link => Some((CWD, a0, Access::Read)),
        libc::SYS_linkat => Some((a0, a1, Access::Read)),
        _ => None,
    }
}

/// The addresses of the text and of the path of a new link, with the directory between.
fn symlink(call: &Notification) -> Option<(u64, u64, u64)> {
    let [a0, a1, a2, ..] = call.args;
    match call.call {
        #[cfg(target_arch = "x86_64")]
        libc::SYS_symlink => Some((a0, CWD, a1)),
        libc::SYS_symlinkat => Some((a0, a1, a2)),
        _ => None,
    }
}

/// Whom a call talks to.
enum Peer {
    /// Somebody without a path.
    Nameless,
    /// Whom the address of this length in memory says.
    Address(u64, u64),
}

fn talks(call: &Notification) -> Option<Peer> {
    let [_, address, length, ..] = call.args;
    match call.call {
        libc::SYS_socket | libc::SYS_bind => Some(Peer::Nameless),
        libc::SYS_connect => Some(Peer::Address(address, length)),
        _ => None,
    }
}

impl Peer {
    /// The path of the peer's socket, empty where it has none; `None` if that cannot be
    /// read.
    fn read(&self, tid: u32) -> Option<PathBuf> {
        let &Self::Address(address, length) = self else {
            return Some(PathBuf::new());
        };
        // `struct sockaddr_un`: a family of 16 bits and a path of at most 108 bytes.
        let mut bytes = [0; 110];
        let length = usize::try_from(length).ok()?.min(bytes.len());
        let bytes_read = sys::read_memory(tid, address, bytes.get_mut(..length)?).ok()?;
        if bytes_read != length {
            return None;
        }
        let [low, high, path @ ..] = bytes;
        let path = path.split(|&b| b == 0).next().unwrap_or_default();
        let is_local = i32::from(u16::from_ne_bytes([low, high])) == libc::AF_UNIX;
        let path = if is_local { path.to_vec() } else { Vec::new() };
        Some(PathBuf::from(OsString::from_vec(path)))
    }
}

/// The directory descriptor, the address of the path and the intent of a call. `None`
/// for a call that cannot be described.
fn describe(call: &Notification) -> Option<(u64, u64, Intent)> {
    use Access::{Create, Execute, Stat};
    let [a0, a1, a2, a3, ..] = call.args;
    let known = Intent::Known;
    #[cfg(target_arch = "x86_64")]
    match call.call {
        libc::SYS_open => return Some((CWD, a0, Intent::Flags(a1))),
        libc::SYS_creat => return Some((CWD, a0, known(Access::Write { fresh: true }))),
        libc::SYS_stat | libc::SYS_lstat => return Some((CWD, a0, known(Stat))),
        libc::SYS_mkdir => return Some((CWD, a0, known(Access::MakeDir))),
        libc::SYS_unlink
        | libc::SYS_rmdir
        | libc::SYS_chmod
        | libc::SYS_chown
        | libc::SYS_lchown
        | libc::SYS_utime
        | libc::SYS_utimes => return Some((CWD, a0, known(Access::Alter))),
        libc::SYS_futimesat => return Some((a0, a1, known(Access::Alter))),
        libc::SYS_mknod => return Some((CWD, a0, known(Create))),
        libc::SYS_readlink => return Some((CWD, a0, known(Access::ReadLink))),
        libc::SYS_access => return Some((CWD, a0, known(Access::Ask))),
        libc::SYS_rename | libc::SYS_link => return Some((CWD, a1, known(Create))),
        libc::SYS_symlink => return Some((CWD, a1, known(Access::Symlink))),
        _ => {}
    }
    let described: (u64, u64, Intent) = match call.call {
        libc::SYS_openat => (a0, a1, Intent::Flags(a2)),
        libc::SYS_openat2 => (a0, a1, Intent::OpenHow(a2)),
        libc::SYS_execve => (CWD, a0, known(Execute)),
        libc::SYS_execveat => (a0, a1, known(Execute)),
        libc::SYS_newfstatat | libc::SYS_statx => (a0, a1, known(Stat)),
        libc::SYS_chdir => (CWD, a0, known(Access::Enter)),
        libc::SYS_mkdirat => (a0, a1, known(Access::MakeDir)),
        libc::SYS_unlinkat
        | libc::SYS_fchmodat
        | libc::SYS_fchmodat2
        | libc::SYS_fchownat
        | libc::SYS_utimensat => (a0, a1, known(Access::Alter)),
        libc::SYS_truncate | libc::SYS_setxattr | libc::SYS_lsetxattr => {
            (CWD, a0, known(Access::Alter))
        }
        libc::SYS_mknodat => (a0, a1, known(Create)),
        libc::SYS_readlinkat => (a0, a1, known(Access::ReadLink)),
        libc::SYS_faccessat | libc::SYS_faccessat2 => (a0, a1, known(Access::Ask)),
        libc::SYS_renameat | libc::SYS_renameat2 | libc::SYS_linkat => (a2, a3, known(Create)),
        libc::SYS_symlinkat => (a1, a2, known(Access::Symlink)),
        _ => return None,
    };
    let _: c_long = call.call;
    Some(described)
}

/// Reads a path out of a process's memory.
fn read_path(tid: u32, address: u64) -> Option<PathBuf> {
    if address == 0 {
        // The call fails with EFAULT, or (statx) names the descriptor itself.
        return Some(PathBuf::new());
    }
    let mut path = Vec::new();
    // Memory is readable page by page, and a path may end just before a hole: never
    // read across a page boundary in one go.
    let mut address = address;
    let mut buffer = [0; 4096];
    while path.len() <= libc::PATH_MAX as usize {
        let in_page = 4096 - usize::try_from(address % 4096).ok()?;
        // Most paths are short; a short read touches less memory.
        let want = in_page.min(256);
        let n = sys::read_memory(tid, address, buffer.get_mut(..want)?).ok()?;
        let piece = buffer.get(..n).filter(|piece| !piece.is_empty())?;
        if let Some(end) = memchr::memchr(0, piece) {
            path.extend_from_slice(piece.get(..end)?);
            return Some(PathBuf::from(OsString::from_vec(path)));
        }
        path.extend_from_slice(piece);
        address += n as u64;
    }
    // Longer than the kernel accepts: the call fails with ENAMETOOLONG.
    Some(PathBuf::new())
}

fn absolute(tid: u32, directory: u64, path: PathBuf) -> Option<PathBuf> {
    if path.is_absolute() {
        return Some(path);
    }
    // The kernel looks at the low 32 bits only.
    #[expect(clippy::cast_possible_truncation, reason = "as the kernel does")]
    let directory = directory as i32;
    let link = if directory == libc::AT_FDCWD {
        format!("/proc/{tid}/cwd")
    } else {
        format!("/proc/{tid}/fd/{directory}")
    };
    let base = std::fs::read_link(link).ok()?;
    Some(base.join(path))
}
