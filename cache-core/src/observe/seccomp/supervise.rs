//! The supervisor: receives announced calls, notes them, lets them go on.
//!
//! A call that waits for us can be given up: its thread is killed, or a signal comes before we
//! have taken the call (afterwards Linux lets only fatal signals through, since 5.19). Then it
//! fails with `EINTR`, or begins anew, and the process may see what it would not have seen
//! without us. The kernel numbers calls in sequence, so one that is missing shows by a gap, and
//! the observation ends. To make the moment short in which that can happen, everything slow
//! is done after taking a call, by a thread that goes first.
//!
//! What a call is about to do is not yet what it did: it may fail. Whether a file or directory
//! came to be, and whether a program was replaced by another, is looked at when the same
//! thread calls again, or before anything else could take it away again.
//!
//! Calls that processes note themselves are taken in before each announced call, so that they are seen
//! as things were when they were made: whatever changes paths is announced. A call that was
//! interrupted and then made again by the preloaded object is not missed.
//!
//! Once something was missed, nothing is noted any more, and calls are let go on at once.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};

use super::calls::{self, At, Doing, Last, Meaning, argument};
use super::events::{Access, Depth, Event, Observation};
use super::memory;
use super::notes::{Noted, Notes};
use super::paths::{Paths, address};
use super::programs::Programs;
use super::resolve::{self, Eyes, Resolved, Resolver, Unclear};
use super::sys::{Listener, Notification, Urgent, Wait};
use super::watchdog::Watchdog;
use crate::inputs::input::FileType;
use crate::os::fs;
use crate::os::proc::Process;
use crate::os::stamp::{self, Stamp};

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

/// A call of which it is not yet known what it did.
#[derive(Clone, Copy)]
struct Pending {
    /// The position of its event.
    event: usize,
    /// The program that its process ran before, if it was to become another.
    program: Option<(u64, u64)>,
}

pub(super) struct Supervisor<'a> {
    listener: &'a Listener,
    depth: Depth,
    watchdog: &'a Watchdog,
    seen: Observation,
    /// The process of each thread.
    processes: FxHashMap<u32, u32>,
    pids: FxHashSet<u32>,
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
    /// The object that was loaded for that.
    object: Option<&'a Path>,
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

/// What a path means depends on these.
#[derive(PartialEq, Eq)]
struct View {
    mounts: PathBuf,
    root: PathBuf,
}

impl View {
    fn of(pid: &str) -> Option<Self> {
        let link = |name: &str| fs::read_link(Path::new(&format!("/proc/{pid}/{name}"))).ok();
        Some(Self {
            mounts: link("ns/mnt")?,
            root: link("root")?,
        })
    }
}

impl<'a> Supervisor<'a> {
    pub(super) fn new(
        listener: &'a Listener,
        depth: Depth,
        watchdog: &'a Watchdog,
        notes: Option<Notes>,
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
            paths: Paths::default(),
            resolver: Resolver::new(),
            latest: FxHashMap::default(),
            answered: FxHashMap::default(),
            programs: Programs::default(),
            pending: FxHashMap::default(),
            moving: FxHashSet::default(),
            notes,
            taken: Vec::new(),
            object,
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
        if let Err(why) = self.take_in(true).and_then(|()| self.settle_all()) {
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

    /// Takes in what processes have noted themselves.
    fn take_in(&mut self, at_end: bool) -> Result<(), Unclear> {
        if self.notes.is_some() {
            self.forget_the_gone();
        }
        let Some(notes) = &self.notes else {
            return Ok(());
        };
        let mut calls = std::mem::take(&mut self.taken);
        let taken = notes.take(at_end, &mut calls).ok_or_else(nonsense);
        let end = taken.and_then(|()| calls.iter().try_for_each(|call| self.note_noted(call)));
        calls.clear();
        self.taken = calls;
        end
    }

    fn note_noted(&mut self, noted: &Noted) -> Result<(), Unclear> {
        let (pid, call) = (noted.pid(), &noted.call());
        self.seen.noted += 1;
        if !self.pids.contains(&pid) {
            return Err("a note of an unknown process".to_owned());
        }
        self.processes.entry(call.tid).or_insert(pid);
        if self.moving.remove(&call.tid) {
            self.forget();
        }
        let Some(Meaning::Path(_, last, doing)) = calls::meaning(call.call) else {
            return Err(format!("a note of another call: {}", call.call));
        };
        let intent = calls::intent(call, last, doing).ok_or_else(unreadable)?;
        let access = intent.access.filter(|a| a.is_look() || *a == Access::Read);
        let access = access.ok_or_else(|| format!("a note of a change: {}", call.call))?;
        let eyes = Eyes { pid, tid: call.tid };
        let is_there = match noted.answer {
            Some(answer) if answer >= 0 => Some(true),
            Some(answer) if answer == -libc::ENOENT => Some(false),
            _ => None,
        };
        // Compilers look for the same headers again and again. What was answered as before needs no look
        // of ours: what the processes make or change themselves is seen elsewhere.
        let path = self.paths.intern(noted.path().ok_or_else(nonsense)?);
        let asked = (
            self.who(pid, access, is_there != Some(false)),
            access,
            address(&path),
            intent.follows,
        );
        // While something changes what paths lead to, nothing is known.
        let settled = is_there.filter(|_| self.moving.is_empty());
        if settled.is_some() && self.answered.get(&asked).copied() == settled {
            self.tell_known(noted, &asked, settled);
            return Ok(());
        }
        let resolved = self.resolver.resolve(&path, intent.follows, eyes)?;
        let is_other = is_there.is_some_and(|is_there| is_there != resolved.found.is_some());
        if is_other || self.resolver.led_elsewhere(noted.at()) {
            return Err(format!("changed meanwhile: {}", path.display()));
        }
        if let Some(is_there) = settled.filter(|_| !resolved.is_listing(access)) {
            self.answered.insert(asked, is_there);
            self.tell_known(noted, &asked, settled);
        }
        self.push(eyes, access, &path, resolved, noted.at())
    }

    /// Tells processes what need not be noted again, whoever asks.
    fn tell_known(&self, noted: &Noted, (who, ..): &Asked, is_there: Option<bool>) {
        if let (Some(notes), &Programs::NONE, Some(is_there)) = (&self.notes, who, is_there) {
            notes.is_known(noted, is_there);
        }
    }

    /// The program that a call is told apart by. In a tree of any programs it does not matter who looks,
    /// or who would have read what is not there.
    fn who(&mut self, pid: u32, access: Access, is_there: bool) -> u32 {
        if self.depth == Depth::Tree && (access.is_look() || !is_there) {
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

    fn note(&mut self, call: &Notification) -> Result<(), Unclear> {
        let pid = self.process_of(call.tid)?;
        if pid == self.own_pid {
            // Our own thread, before it became the compiler.
            return Ok(());
        }
        if !call.native {
            return Err("a program of another architecture".to_owned());
        }
        self.settle(call.tid)?;
        if Listener::appears(call) {
            // A copy of the program that its parent runs, and of what that has read.
            self.programs.changes(pid);
            return Ok(());
        }
        if Listener::asks_for_notes(call) {
            return Ok(());
        }
        if self.moving.remove(&call.tid) {
            self.forget();
        }
        let eyes = Eyes { pid, tid: call.tid };
        let ask = |access| (access, Path::new(""));
        let (access, path) = match calls::meaning(call.call) {
            None => return Err(format!("an unknown call: {}", call.call)),
            Some(Meaning::Leaves(why)) => return Err(why.to_owned()),
            Some(Meaning::Path(at, last, doing)) => {
                return self.note_path(call, eyes, at, last, doing);
            }
            Some(Meaning::Pair(from, to, doing)) => {
                return self.note_pair(call, eyes, from, to, doing);
            }
            Some(Meaning::Symlink(text, at)) => {
                // A link to nothing fails, and is no news.
                memory::read_path(call.tid, argument(call, text)).ok_or_else(unreadable)?;
                let doing = Doing::Known(Access::Symlink);
                return self.note_path(call, eyes, at, Last::Itself, doing);
            }
            Some(Meaning::Descriptor(position, access)) => {
                return self.note_descriptor(eyes, argument(call, position), access);
            }
            Some(Meaning::AskMachine) => ask(Access::AskMachine),
            Some(Meaning::AskUser) => ask(Access::AskUser),
            Some(Meaning::AskDirectory(size)) => ask(Access::AskDirectory {
                resolving: argument(call, size) == calls::ROOM_FOR_DIRECTORY,
            }),
            Some(Meaning::Talk(address)) => return self.note_talk(call, eyes, address),
        };
        self.push(eyes, access, path, Resolved::nowhere(), stamp::now())
    }

    fn note_path(
        &mut self,
        call: &Notification,
        eyes: Eyes,
        at: At,
        last: Last,
        doing: Doing,
    ) -> Result<(), Unclear> {
        let intent = calls::intent(call, last, doing).ok_or_else(unreadable)?;
        let Some(access) = intent.access else {
            return Ok(());
        };
        let directory = at.directory.map(|position| argument(call, position));
        let text = memory::read_path(call.tid, argument(call, at.path)).ok_or_else(unreadable)?;
        if text.as_os_str().is_empty() {
            // The descriptor itself, or a call that fails.
            return match (access, directory) {
                (Access::Execute | Access::Alter | Access::Attributes, Some(descriptor)) => {
                    self.note_descriptor(eyes, descriptor, access)
                }
                _ => Ok(()),
            };
        }
        let path = spelled(call.tid, directory, &text, intent.in_root)?;
        let mut resolved = self.resolver.resolve(&path, intent.follows, eyes)?;
        if access == Access::Read && self.object == Some(path.as_path()) {
            // Part of the observer, as is what the loader does with it.
            return Ok(());
        }
        if intent.in_root && resolved.real != path {
            return Err(format!("a root of its own: {}", path.display()));
        }
        if matches!(access, Access::Write { .. })
            && let Some(descriptor) = resolved.descriptor.take()
            && resolve::is_inherited(&descriptor)
        {
            // Writing to what was handed down is not seen where it needs no path either.
            resolved.real = descriptor;
        }
        self.push(eyes, access, &path, resolved, stamp::now())
    }

    fn note_pair(
        &mut self,
        call: &Notification,
        eyes: Eyes,
        from: At,
        to: At,
        doing: Doing,
    ) -> Result<(), Unclear> {
        const EXCHANGE: u64 = 2;
        let last = if calls::source_follows(call) {
            Last::Followed
        } else {
            Last::Itself
        };
        let create = Doing::Known(Access::Create);
        self.note_path(call, eyes, from, last, doing)?;
        if call.call == libc::SYS_renameat2 && argument(call, 4) & EXCHANGE != 0 {
            self.note_path(call, eyes, to, last, doing)?;
            self.note_path(call, eyes, from, last, create)?;
        }
        self.note_path(call, eyes, to, Last::Itself, create)
    }

    /// Something is done to the file that a descriptor is open for.
    fn note_descriptor(
        &mut self,
        eyes: Eyes,
        descriptor: u64,
        access: Access,
    ) -> Result<(), Unclear> {
        #[expect(clippy::cast_possible_truncation, reason = "as the kernel does")]
        let link = match descriptor as i32 {
            libc::AT_FDCWD => format!("/proc/{}/cwd", eyes.tid),
            descriptor => format!("/proc/{}/fd/{descriptor}", eyes.tid),
        };
        let is_open = Stamp::of_name(Path::new(&link)).is_ok();
        if !is_open {
            // The call fails.
            return Ok(());
        }
        let resolved = self.resolver.resolve(Path::new(&link), true, eyes);
        match resolved {
            Ok(resolved) => {
                let path = resolved.real.clone();
                self.push(eyes, access, &path, resolved, stamp::now())
            }
            // Changing or asking about what has no name any more is nobody's business.
            Err(_) if access != Access::Execute => Ok(()),
            Err(why) => Err(why),
        }
    }

    /// A socket that is not there was looked for; any other is somebody to talk to.
    fn note_talk(
        &mut self,
        call: &Notification,
        eyes: Eyes,
        address: Option<(usize, usize)>,
    ) -> Result<(), Unclear> {
        let peer = match address {
            None => PathBuf::new(),
            Some((at, len)) => memory::read_peer(call.tid, argument(call, at), argument(call, len))
                .ok_or_else(unreadable)?,
        };
        if peer.as_os_str().is_empty() {
            return self.push(eyes, Access::Talk, &peer, Resolved::nowhere(), stamp::now());
        }
        let path = spelled(call.tid, None, &peer, false)?;
        let resolved = self.resolver.resolve(&path, true, eyes)?;
        let access = match resolved.found {
            None => Access::Stat,
            Some(_) => Access::Talk,
        };
        self.push(eyes, access, &path, resolved, stamp::now())
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
        let path = self.paths.intern(path);
        let real = if *real == *path && real.as_os_str() == path.as_os_str() {
            Arc::clone(&path)
        } else {
            self.paths.intern(&real)
        };
        if access.is_look() || access == Access::Read {
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
        }
        if access.may_fail_unseen() {
            let program = (access == Access::Execute).then(|| program_of(eyes.pid));
            self.pending.insert(
                eyes.tid,
                Pending {
                    event: self.seen.events.len(),
                    program: program.flatten(),
                },
            );
        }
        self.seen.events.push(Event {
            pid: eyes.pid,
            access,
            path,
            real,
            found,
            failed: false,
            at,
        });
        if self.seen.events.len() > MAX_EVENTS {
            return Err("too many calls".to_owned());
        }
        Ok(())
    }

    /// What is there was made. It might be gone before its thread calls again. What is not there
    /// may still come: the call was let go on, and need not be done yet.
    fn settle_what_is_there(&mut self) {
        let events = &self.seen.events;
        self.pending.retain(|_, pending| {
            let event = events.get(pending.event);
            event.is_none_or(|event| {
                event.access == Access::Execute || !did_change(event).is_ok_and(|did| did)
            })
        });
    }

    fn settle_all(&mut self) -> Result<(), Unclear> {
        let mut threads: Vec<u32> = self.pending.keys().copied().collect();
        threads.sort_unstable();
        threads.into_iter().try_for_each(|tid| self.settle(tid))
    }

    /// Finds out what the last call of a thread came to.
    fn settle(&mut self, tid: u32) -> Result<(), Unclear> {
        let Some(pending) = self.pending.remove(&tid) else {
            return Ok(());
        };
        let Some(event) = self.seen.events.get_mut(pending.event) else {
            return Ok(());
        };
        let did = if event.access == Access::Execute {
            did_execute(event, pending.program)
        } else {
            did_change(event)?
        };
        event.failed = !did;
        if did && event.access == Access::Execute && self.depth == Depth::Tree {
            self.programs.became(event.pid, address(&event.real));
        }
        if did || event.access == Access::Execute || event.found.is_some() {
            return Ok(());
        }
        // It failed for want of a directory, or for a reason that is not to be seen.
        let (real, pid) = (Arc::clone(&event.real), event.pid);
        let mut missing = None;
        for above in real.ancestors().skip(1) {
            match Stamp::of_name(above) {
                Ok(_) => break,
                Err(e) if e.is_missing() => missing = Some(above.to_owned()),
                Err(e) => return Err(e.to_string()),
            }
        }
        let Some(missing) = missing else {
            return Err(format!("could not be made: {}", real.display()));
        };
        let nothing = Resolved::missing(missing.clone());
        let eyes = Eyes { pid, tid };
        self.push(eyes, Access::Stat, &missing, nothing, stamp::now())
    }

    fn process_of(&mut self, tid: u32) -> Result<u32, Unclear> {
        if let Some(&pid) = self.processes.get(&tid) {
            return Ok(pid);
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

/// What nobody writes on purpose.
fn nonsense() -> Unclear {
    "notes make no sense".to_owned()
}

fn unreadable() -> Unclear {
    "what a call names cannot be read".to_owned()
}

/// A path as the process sees it from that directory descriptor.
fn spelled(
    tid: u32,
    directory: Option<u64>,
    text: &Path,
    in_root: bool,
) -> Result<PathBuf, Unclear> {
    if text.is_absolute() && !in_root {
        return Ok(text.to_owned());
    }
    let base = resolve::base(tid, directory)?;
    let text = text.strip_prefix("/").unwrap_or(text);
    Ok(resolve::join(&base, text))
}

/// Device and inode of the program that a process runs.
fn program_of(pid: u32) -> Option<(u64, u64)> {
    let stamp = Stamp::of(Path::new(&format!("/proc/{pid}/exe")))?;
    Some((stamp.dev, stamp.ino))
}

/// Whether a process became another program.
fn did_execute(event: &Event, before: Option<(u64, u64)>) -> bool {
    let Some(found) = event.found.filter(|f| f.file_type == FileType::File) else {
        return false;
    };
    let now = program_of(event.pid);
    let same = now.is_some() && now == before && now != Some((found.dev, found.ino));
    // A script runs in its interpreter, which may be the one that ran before.
    !same || fs::read_start(&event.real, 2).is_ok_and(|start| start == b"#!")
}

/// Whether a call made or changed what it was about to.
fn did_change(event: &Event) -> Result<bool, Unclear> {
    let now = match Stamp::of_name(&event.real) {
        Ok(now) => Some(now),
        Err(e) if e.is_missing() => None,
        Err(e) => return Err(e.to_string()),
    };
    let Some(now) = now else {
        return Ok(false);
    };
    Ok(match (event.access, &event.found) {
        (_, None) => true,
        // These fail where something is.
        (Access::MakeDir | Access::Symlink, Some(_)) => false,
        (_, Some(before)) => (before.ino, before.ctime) != (now.ino, now.ctime),
    })
}
