//! The supervisor: receives announced calls, notes them, lets them go on.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, mpsc};

use super::calls::{absolute, describe, read_path, source, symlink, talks};
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
        // The call waits for an answer, whatever goes wrong in understanding it.
        let noted = std::panic::AssertUnwindSafe(|| {
            #[cfg(test)]
            crate::fault::point("observing");
            self.note(&notification)
        });
        if !matches!(std::panic::catch_unwind(noted), Ok(Some(()))) {
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
