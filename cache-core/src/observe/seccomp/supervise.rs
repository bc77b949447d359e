//! The supervisor: receives announced calls, notes them, lets them go on.
//!
//! A call that waits for us can be given up: its thread is killed, or a signal comes before we
//! have taken the call (afterwards Linux lets only fatal signals through, since 5.19). Then it
//! fails with `EINTR`, or begins anew, and the process may see what it would not have seen
//! without us. The kernel numbers calls in sequence, so one that is missing shows by a gap, and
//! the observation ends. To make the moment short in which that can happen, everything slow
//! is done after taking a call, by a thread that goes first.
//!
//! What a call is about to do ([`announced`]) is not yet what it did ([`settle`]).
//!
//! Calls that processes note themselves are taken in before each announced call, so that they are seen
//! as things were when they were made: whatever changes paths is announced, but for what happens to names of plain
//! files while no look is noted that was not taken in. A call that was
//! interrupted and then made again by the preloaded object is not missed.
//!
//! Once something was missed, nothing is noted any more, and calls are let go on at once.

mod announced;
mod noted;
mod settle;
mod shorten;
mod turns;
mod view;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};

use super::calls::Intent;
use super::events::{Access, Depth, Event, Observation};
use super::notes::{Noted, Notes};
use super::paths::{Paths, address};
use super::programs::Programs;
use super::resolve::{Eyes, Resolved, Resolver, Unclear};
use super::sys::{Listener, Urgent, Wait};
use super::watchdog::Watchdog;
use crate::inputs::input::FileType;
use crate::os::fs;
use crate::os::proc::{Process, has_thread};
use settle::Pending;
use shorten::SearchPath;
use turns::Turns;
use view::View;

/// How long processes that outlive the compiler are waited for, all together.
///
/// Helpers of a linker end within microseconds of it; what is still there after this
/// long is a server and will not end soon.
const GRACE: Duration = Duration::from_millis(200);

/// More calls than this are not kept in memory.
const MAX_EVENTS: usize = 1_000_000;

/// What tells one call from another that repeats it: by which program, what, and by which path to
/// where.
type Repeated = (u32, Access, usize, usize);

/// The same before it is known where the path leads, and whether a link at its end is followed.
type Asked = (u32, Access, usize, bool);

pub(super) struct Supervisor<'a> {
    listener: &'a Listener,
    depth: Depth,
    watchdog: &'a Watchdog,
    seen: Observation,
    /// The process of each thread.
    processes: FxHashMap<u32, u32>,
    pids: FxHashSet<u32>,
    /// The process that announced a call last.
    latest_pid: u32,
    /// The paths met so far.
    paths: Paths,
    resolver: Resolver,
    /// The latest event of each kind.
    latest: FxHashMap<Repeated, usize>,
    /// Whether something was there, of calls that processes noted since links or directories changed.
    answered: FxHashMap<Asked, bool>,
    programs: Programs,
    pending: FxHashMap<u32, Pending>,
    /// Threads that were about to change links or directories.
    moving: FxHashSet<u32>,
    /// What processes note themselves.
    notes: Option<Notes>,
    /// Room for those that are taken in.
    taken: Vec<Noted>,
    /// What programs of the system need not look through.
    search_path: SearchPath,
    /// The object that was loaded for that.
    object: Option<&'a Path>,
    turns: Turns,
    last_id: Option<u64>,
    /// How many calls were given up before they were taken, by the numbers of the others.
    lost: u64,
    /// How many were found to be gone when they were to be taken.
    gone: u64,
    /// How many marks came.
    marks: u32,
    /// Whether no process is left to announce anything.
    is_deserted: bool,
    own_pid: u32,
    /// How this process sees the file system.
    own_view: View,
}

impl<'a> Supervisor<'a> {
    pub(super) fn new(
        listener: &'a Listener,
        depth: Depth,
        watchdog: &'a Watchdog,
        notes: Option<Notes>,
        search_path: Option<OsString>,
        object: Option<&'a Path>,
    ) -> Self {
        let own_view = View::of("self");
        Self {
            listener,
            depth,
            watchdog,
            seen: Observation {
                missed: own_view.is_none().then(|| "/proc is not there".to_owned()),
                ..Observation::default()
            },
            processes: FxHashMap::default(),
            pids: FxHashSet::default(),
            latest_pid: 0,
            paths: Paths::default(),
            resolver: Resolver::new(),
            latest: FxHashMap::default(),
            answered: FxHashMap::default(),
            programs: Programs::default(),
            pending: FxHashMap::default(),
            moving: FxHashSet::default(),
            notes,
            search_path: SearchPath::new(search_path),
            taken: Vec::new(),
            object,
            turns: Turns::new(),
            last_id: None,
            lost: 0,
            gone: 0,
            marks: 0,
            is_deserted: false,
            own_pid: std::process::id(),
            own_view: own_view.unwrap_or(View {
                mounts: PathBuf::new(),
                root: PathBuf::new(),
            }),
        }
    }

    pub(super) fn run(mut self) -> Observation {
        let _urgent = Urgent::begin();
        // Waiting in the call that takes the next one is quickest.
        while self.marks < 2 && !self.watchdog.has_taken_over() && !self.is_deserted {
            if let Err(e) = self.serve() {
                self.miss(e.to_string());
                self.watchdog.take_over();
            }
        }
        if self.watchdog.has_taken_over() && self.marks < 2 {
            self.watchdog.wait_for_mark();
        }
        let deadline = Instant::now() + GRACE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let waited = match self.listener.wait(left) {
                Ok(Wait::Announced) if !left.is_zero() => self.serve(),
                Ok(Wait::Again) => Ok(()),
                Ok(Wait::Deserted) => break,
                Ok(Wait::TimedOut | Wait::Announced) => {
                    self.miss("a process stayed behind");
                    self.listener.leave_answering_child();
                    break;
                }
                Err(e) => Err(e),
            };
            if let Err(e) = waited {
                self.miss(e.to_string());
                break;
            }
        }
        if let Err(why) = self.finish() {
            self.miss(why);
        }
        let repeated = self.notes.as_ref().map_or(0, Notes::repeated);
        if self.lost.max(self.gone) != repeated {
            self.miss(INTERRUPTED);
        }
        if self.watchdog.has_taken_over() {
            self.miss("looking at a file took too long");
        }
        self.seen
    }

    /// All calls were made.
    fn finish(&mut self) -> Result<(), Unclear> {
        self.take_in(true)?;
        self.settle_all()?;
        self.tell_left_out()
    }

    fn miss(&mut self, why: impl Into<String>) {
        if self.seen.missed.is_none() {
            self.seen.missed = Some(why.into());
            self.seen.events = Vec::new();
            self.latest = FxHashMap::default();
            self.answered = FxHashMap::default();
            self.pending = FxHashMap::default();
        }
    }

    fn serve(&mut self) -> io::Result<()> {
        let Some(call) = self.listener.receive()? else {
            // Or nobody is left to make one.
            self.is_deserted = self.listener.wait(Duration::ZERO)? == Wait::Deserted;
            self.gone += 1;
            self.lost_one();
            return Ok(());
        };
        let expected = self.last_id.map_or(call.id, |last| last + 1);
        if call.id != expected {
            self.lost += call.id.wrapping_sub(expected);
            self.lost_one();
        }
        self.last_id = Some(call.id);
        self.seen.announced += 1;
        self.listener.take_turns(self.turns.are_taken());
        if self.listener.is_mark(&call) {
            self.marks += 1;
        }
        if self.seen.is_complete() && !self.watchdog.has_taken_over() {
            self.watchdog.begin(call.id);
            // The call waits for an answer, whatever goes wrong in understanding it.
            let noted = std::panic::AssertUnwindSafe(|| {
                #[cfg(test)]
                crate::fault::point("observing");
                self.take_in(false)?;
                self.note(&call)
            });
            let noted = std::panic::catch_unwind(noted);
            let noted = noted.unwrap_or_else(|_| Err("a fault of the observer".to_owned()));
            self.watchdog.end();
            if let Err(why) = noted {
                self.miss(why);
            }
        }
        let gives_notes = self.seen.is_complete()
            && !self.watchdog.has_taken_over()
            && Listener::asks_for_notes(&call);
        if let Some(notes) = self.notes.as_ref().filter(|_| gives_notes)
            && self.listener.give(call.id, notes.file())
        {
            return Ok(());
        }
        if !self.listener.answer(call.id)? {
            self.miss("a call was interrupted while it was looked at");
        }
        Ok(())
    }

    /// A call was given up. If it is not made again by one who tells so, it was missed.
    fn lost_one(&mut self) {
        if self.notes.is_none() {
            self.miss(INTERRUPTED);
        }
    }

    /// The program that a call is told apart by. In a tree of any programs it does not matter who asks whether something is there,
    /// or would have read what is not. But `stat` tells times besides, which some mind.
    fn who(&mut self, pid: u32, access: Access, is_there: bool) -> u32 {
        let is_same_for_all =
            (access.is_look() && !access.is_stat()) || (access == Access::Read && !is_there);
        if self.depth == Depth::Tree && is_same_for_all {
            return Programs::NONE;
        }
        self.programs.of(pid)
    }

    /// Links or directories are about to change, or have changed.
    fn forget(&mut self) {
        self.resolver.forget();
        self.answered.clear();
        if let Some(notes) = &self.notes {
            notes.forget(!self.moving.is_empty());
        }
    }

    /// What threads were about to change that are gone, they have changed.
    fn forget_the_gone(&mut self) {
        let before = self.moving.len();
        self.moving
            .retain(|tid| fs::exists(Path::new(&format!("/proc/{tid}"))));
        if self.moving.len() != before {
            self.forget();
        }
    }

    fn push(
        &mut self,
        eyes: Eyes,
        access: Access,
        path: &Path,
        resolved: Resolved,
        at: i128,
    ) -> Result<(), Unclear> {
        let Resolved { real, found, .. } = resolved;
        if access.takes_away() {
            self.settle_what_is_there();
        }
        let is_file = found.is_none_or(|f| f.file_type == FileType::File);
        if access == Access::Symlink || (access.takes_away() && !is_file) {
            // Others may call before this is done.
            self.moving.insert(eyes.tid);
            self.forget();
        }
        let (path, real) = self.intern(path, &real);
        if access.is_look() || matches!(access, Access::Read | Access::FindLibraries) {
            let who = self.who(eyes.pid, access, found.is_some());
            let key = (who, access, address(&path), address(&real));
            let before = self
                .latest
                .get(&key)
                .and_then(|at| self.seen.events.get(*at));
            // A compiler lists directories for itself first, and then macros may do so.
            let is_listing =
                found.is_some_and(|f| f.file_type == FileType::Dir) && self.depth != Depth::Tree;
            if !is_listing && before.is_some_and(|event| event.found == found) {
                return Ok(());
            }
            self.latest.insert(key, self.seen.events.len());
        }
        if access == Access::Execute {
            self.programs.changes(eyes.pid);
            self.seen.heard.remove(&eyes.pid);
        }
        if access == Access::Read && self.depth == Depth::Usual && is_loadable(&path) {
            // What the program has looked at before, a library in it may look at for itself.
            self.programs.changes(eyes.pid);
        }
        if access.may_fail_unseen() {
            self.expect(eyes, access);
        }
        self.add(Event {
            pid: eyes.pid,
            access,
            path,
            real,
            found,
            failed: false,
            at,
        })
    }

    /// The same for what may have been opened. Who will not follow a link is told that there is none.
    fn push_opened(
        &mut self,
        eyes: Eyes,
        access: Access,
        intent: Intent,
        path: &Path,
        resolved: Resolved,
        at: i128,
    ) -> Result<(), Unclear> {
        if access == Access::Read && !intent.follows && resolved.found.is_some() {
            self.push(eyes, Access::ReadLink, path, resolved.clone(), at)?;
        }
        self.push(eyes, access, path, resolved, at)
    }

    /// The same for a change of a plain file that has happened already.
    fn happened(
        &mut self,
        eyes: Eyes,
        access: Access,
        path: &Path,
        resolved: &Resolved,
        at: i128,
    ) -> Result<(), Unclear> {
        let (path, real) = self.intern(path, &resolved.real);
        self.add(Event {
            pid: eyes.pid,
            access,
            path,
            real,
            found: resolved.found,
            failed: false,
            at,
        })
    }

    /// A path and where it leads, each kept once.
    fn intern(&mut self, path: &Path, real: &Path) -> (Arc<Path>, Arc<Path>) {
        let path = self.paths.intern(path);
        let real = if *real == *path && real.as_os_str() == path.as_os_str() {
            Arc::clone(&path)
        } else {
            self.paths.intern(real)
        };
        (path, real)
    }

    fn add(&mut self, event: Event) -> Result<(), Unclear> {
        self.seen.events.push(event);
        if self.seen.events.len() > MAX_EVENTS {
            return Err("too many calls".to_owned());
        }
        Ok(())
    }

    fn process_of(&mut self, tid: u32) -> Result<u32, Unclear> {
        if let Some(&pid) = self.processes.get(&tid) {
            self.latest_pid = pid;
            return Ok(pid);
        }
        // A compiler starts hundreds of threads, and its status takes a while to write.
        if self.pids.contains(&self.latest_pid) && has_thread(self.latest_pid, tid) {
            self.processes.insert(tid, self.latest_pid);
            return Ok(self.latest_pid);
        }
        let process = Process::find(tid).ok_or_else(unreadable)?;
        let field = |name: &str| {
            let value = process
                .field(name)
                .and_then(|value| value.parse::<u32>().ok());
            value.ok_or_else(unreadable)
        };
        let (pid, parent) = (field("Tgid")?, field("PPid")?);
        self.processes.insert(tid, pid);
        self.latest_pid = pid;
        if self.pids.insert(pid) {
            self.seen.parents.push((pid, parent));
            if View::of(&pid.to_string()).as_ref() != Some(&self.own_view) {
                return Err("a process has another view of the file system".to_owned());
            }
        }
        Ok(pid)
    }
}

/// Why an observation is not complete that met signals.
const INTERRUPTED: &str = "a call was interrupted before it was taken";

/// Whether a file has the name of a library that a compiler loads.
fn is_loadable(path: &Path) -> bool {
    path.extension() == Some("so".as_ref())
}

fn unreadable() -> Unclear {
    "what a call names cannot be read".to_owned()
}
