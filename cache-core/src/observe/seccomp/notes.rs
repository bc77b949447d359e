//! Reading what observed processes have noted themselves (`ring`).
//!
//! Their memory is not ours alone: what is read there is checked before it is used, and whatever a
//! process writes there by mistake spoils its own observation at most.

use std::cell::{Cell, RefCell};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::Ordering;

use libc::c_long;

use super::answers;
use super::prefix_map::OPTION;
use super::ring::{self, Hears, State};
use super::sys::{Notification, SharedRing};
use crate::inputs::input::FileType;
use crate::os::stamp::Stamp;

/// A call that was noted, as it was found in memory.
pub(super) struct Noted {
    call: ring::Call,
    /// What the kernel answered, if it did: an error is negative.
    pub(super) answer: Option<i32>,
}

impl Noted {
    pub(super) fn pid(&self) -> u32 {
        self.call.pid
    }

    /// As if it had been announced.
    pub(super) fn call(&self) -> Notification {
        Notification {
            id: 0,
            tid: self.call.tid,
            native: true,
            call: self.call.number.into(),
            args: self.call.args,
            from: 0,
        }
    }

    /// What kind of look it is: those of one kind are answered alike.
    fn kind(&self) -> u64 {
        let [_, _, first, second, third, program] = self.call.args;
        let program = u32::try_from(program).unwrap_or(0);
        answers::kind(self.call.number, [first, second, third], program)
    }

    /// When it was made, nanoseconds since the epoch.
    pub(super) fn at(&self) -> i128 {
        self.call.at.into()
    }

    /// An absolute path. `None`: it makes no sense.
    pub(super) fn path(&self) -> Option<&Path> {
        self.paths().map(|(first, _)| first)
    }

    /// That and what follows it.
    fn paths(&self) -> Option<(&Path, &[u8])> {
        let length = usize::try_from(self.call.length).ok()?;
        let (first, rest) = self.call.path.split_at_checked(length)?;
        let path = Path::new(OsStr::from_bytes(first));
        path.is_absolute().then_some((path, rest))
    }

    /// Whether it only tells that the thread's latest call has come back.
    pub(super) fn is_done(&self) -> bool {
        self.call.number == ring::DONE
    }

    /// Whether it tells that what the process's libraries ask for is noted from now on.
    pub(super) fn is_heard(&self) -> bool {
        self.call.number == ring::HEARD
    }

    /// The library and the name of a variable that it asks for, if it tells of that.
    pub(super) fn asked(&self) -> Option<(&Path, &[u8])> {
        let is_asked = self.call.number == ring::ASKED;
        let (library, rest) = self.paths().filter(|_| is_asked)?;
        let length = usize::try_from(self.call.second).ok()?;
        Some((library, rest.get(..length)?))
    }

    /// Whether it gave a plain file a name, or took one away.
    pub(super) fn is_change(&self) -> bool {
        let call = c_long::from(self.call.number);
        call == libc::SYS_linkat || call == libc::SYS_unlinkat
    }

    /// What was changed, if that is what it did. `None`: it makes no sense, or is not known to have happened.
    pub(super) fn change(&self) -> Option<Change<'_>> {
        let is_link = c_long::from(self.call.number) == libc::SYS_linkat;
        let (from, rest) = self.paths()?;
        let length = usize::try_from(self.call.second).ok()?;
        let to = rest
            .get(..length)
            .map(|to| Path::new(OsStr::from_bytes(to)))?;
        let is_sound = to.is_absolute() == is_link && self.answer == Some(0);
        let [device, ino, size, written, changed, mount] = self.call.args;
        is_sound.then_some(Change {
            from,
            to: is_link.then_some(to),
            found: Stamp {
                dev: device_of(device),
                ino,
                size,
                mtime: written.cast_signed().into(),
                ctime: changed.cast_signed().into(),
                file_type: FileType::File,
                mode: self.call.mode & 0o7777,
                mount,
            },
        })
    }
}

/// A plain file that got a second name, or lost one.
pub(super) struct Change<'a> {
    pub(super) from: &'a Path,
    pub(super) to: Option<&'a Path>,
    /// What it was before.
    pub(super) found: Stamp,
}

/// As `stat` has it; in notes, the numbers that it is made of are halves.
fn device_of(halves: u64) -> u64 {
    let [major, minor] = [halves >> 32, halves & u64::from(u32::MAX)];
    let half = |number: u64| u32::try_from(number).unwrap_or(0);
    rustix::fs::makedev(half(major), half(minor))
}

/// The notes of all processes.
pub(super) struct Notes {
    ring: SharedRing,
    /// How many of them are free again. Who overwrites what processes are told of it is found out.
    freed: Cell<u64>,
    /// How far they were looked through.
    read: Cell<u64>,
    /// Those before that which were not done.
    pending: RefCell<Vec<u64>>,
    /// How much room the answers take that need not be noted again.
    room: Cell<usize>,
}

impl Notes {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            ring: SharedRing::new()?,
            freed: Cell::new(0),
            read: Cell::new(0),
            pending: RefCell::default(),
            room: Cell::new(0),
        })
    }

    /// Before any process has the memory: they are to note which variables these ask for.
    pub(super) fn hear(&self, whose: Hears) {
        self.ring.ring().hear(whose);
    }

    /// Before any process has the memory: C compilers are to write the second of a pair into debug information where paths
    /// begin with the first.
    pub(super) fn name(&self, prefix_map: &[(OsString, OsString)]) {
        for (number, (from, to)) in prefix_map.iter().enumerate() {
            // What is before the first mark is taken for the beginning.
            if !from.as_bytes().contains(&b'=') {
                let option = [OPTION.as_bytes(), from.as_bytes(), b"=", to.as_bytes()];
                self.ring.ring().prefix_map.put(number, &option.concat());
            }
        }
    }

    /// What processes get the memory by.
    pub(super) fn file(&self) -> &impl AsRawFd {
        self.ring.file()
    }

    /// This need not be noted again, by nobody who is answered the same.
    pub(super) fn is_known(&self, noted: &Noted, is_there: bool) {
        let mut room = self.room.get();
        if let Some(path) = noted.path() {
            let answers = &self.ring.ring().answers;
            let path = path.as_os_str().as_bytes();
            answers.put(noted.kind(), path, is_there, &mut room);
        }
        self.room.set(room);
    }

    /// What paths lead to is about to change (nothing is known before it has), or has changed.
    pub(super) fn forget(&self, is_changing: bool) {
        let mut room = self.room.get();
        self.ring.ring().answers.empty(is_changing, &mut room);
        self.room.set(room);
    }

    /// Programs of the system get the second entry of the environment in place of the one that the first
    /// is of, if it is of any.
    pub(super) fn shorten(&self, whole: &[u8], rest: &[u8]) {
        self.ring.ring().shorter.put(whole, rest);
    }

    /// How many interrupted calls were made again.
    pub(super) fn repeated(&self) -> u64 {
        self.ring.ring().repeated.load(Ordering::Relaxed)
    }

    /// Takes the notes of calls that have come back; at the end, also those of calls that never
    /// did. `None`: they make no sense. Until [`are_taken_in`](Self::are_taken_in) says otherwise, writers know that
    /// there are looks which nobody has followed.
    pub(super) fn take(&self, at_end: bool, found: &mut Vec<Noted>) -> Option<()> {
        let ring = self.ring.ring();
        let freed = self.freed.get();
        // What was taken before is followed by now.
        if ring.freed.load(Ordering::Relaxed) != freed {
            return None;
        }
        let taken = ring.taken.load(Ordering::Acquire);
        if freed == taken {
            return Some(());
        }
        if taken.wrapping_sub(freed) > ring::NOTES as u64 {
            return None;
        }
        // One that is never done must not have all those behind it looked through each time.
        let mut pending = self.pending.borrow_mut();
        let mut left = Vec::new();
        for number in pending.drain(..).chain(self.read.get()..taken) {
            let note = ring.note(number)?;
            let state = note.state();
            if state == State::Answered || (state == State::Called && at_end) {
                let (call, answer) = SharedRing::read(note);
                let answer = (state == State::Answered).then_some(answer);
                found.push(Noted { call, answer });
            } else if state != State::Done {
                left.push(number);
                continue;
            }
            note.drop();
        }
        let now_freed = left.first().copied().unwrap_or(taken);
        for number in freed..now_freed {
            ring.note(number)?.free();
        }
        *pending = left;
        self.read.set(taken);
        self.freed.set(now_freed);
        Some(())
    }

    /// What was taken has been followed: others may use the notes again, and what was looked at may go.
    pub(super) fn are_taken_in(&self) {
        let freed = &self.ring.ring().freed;
        freed.store(self.freed.get(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(notes: &Notes, path: &[u8], answer: Option<i32>) -> bool {
        let Some(note) = notes.ring.ring().take() else {
            return false;
        };
        SharedRing::write(note, path);
        note.is_called();
        if let Some(answer) = answer {
            note.is_answered(answer);
        }
        true
    }

    fn paths(found: &[Noted]) -> Vec<&str> {
        let paths = found.iter().map(|n| n.path().unwrap().to_str().unwrap());
        paths.collect()
    }

    fn take(notes: &Notes, at_end: bool) -> Option<Vec<Noted>> {
        let mut found = Vec::new();
        let taken = notes.take(at_end, &mut found).map(|()| found);
        notes.are_taken_in();
        taken
    }

    #[test]
    fn notes_are_taken_when_their_calls_have_come_back() {
        let notes = Notes::new().unwrap();
        assert!(write(&notes, b"/a", Some(3)));
        assert!(write(&notes, b"/b", None));
        assert!(write(&notes, b"/c", Some(-2)));
        let found = take(&notes, false).unwrap();
        assert_eq!(paths(&found), ["/a", "/c"]);
        assert_eq!(
            found.iter().map(|n| n.answer).collect::<Vec<_>>(),
            [Some(3), Some(-2)]
        );
        assert!(take(&notes, false).unwrap().is_empty());
        let found = take(&notes, true).unwrap();
        assert_eq!(paths(&found), ["/b"]);
        assert_eq!(found[0].answer, None);
        assert!(take(&notes, true).unwrap().is_empty());
    }

    #[test]
    fn there_is_room_again_when_they_were_taken() {
        let notes = Notes::new().unwrap();
        for round in 0..3 {
            for _ in 0..ring::NOTES {
                assert!(write(&notes, b"/a", Some(0)), "{round}");
            }
            assert!(!write(&notes, b"/a", Some(0)));
            assert_eq!(take(&notes, false).unwrap().len(), ring::NOTES);
        }
    }

    #[test]
    fn what_was_taken_is_not_over_before_it_was_followed() {
        let notes = Notes::new().unwrap();
        let ring = notes.ring.ring();
        assert!(ring.is_quiet());
        assert!(write(&notes, b"/a", Some(0)));
        assert!(!ring.is_quiet());
        assert!(notes.take(false, &mut Vec::new()).is_some());
        assert!(!ring.is_quiet() && ring.take_for_change().is_none());
        notes.are_taken_in();
        assert!(ring.is_quiet());
    }

    #[test]
    fn one_that_is_never_done_is_passed_over() {
        let notes = Notes::new().unwrap();
        assert!(write(&notes, b"/stuck", None));
        for _ in 1..ring::NOTES {
            assert!(write(&notes, b"/a", Some(0)));
        }
        assert_eq!(take(&notes, false).unwrap().len(), ring::NOTES - 1);
        assert_eq!(*notes.pending.borrow(), [0]);
        assert!(!write(&notes, b"/a", Some(0)));
        assert!(take(&notes, false).unwrap().is_empty());
        assert_eq!(*notes.pending.borrow(), [0]);
        notes.ring.ring().note(0).unwrap().is_answered(0);
        assert_eq!(paths(&take(&notes, false).unwrap()), ["/stuck"]);
        for _ in 0..ring::NOTES {
            assert!(write(&notes, b"/a", Some(0)));
        }
        assert_eq!(take(&notes, false).unwrap().len(), ring::NOTES);
    }

    fn told(notes: &Notes, path: &str, is_there: bool) {
        assert!(write(
            notes,
            path.as_bytes(),
            Some(if is_there { 0 } else { -2 })
        ));
        let found = take(notes, false).unwrap();
        notes.is_known(&found[0], is_there);
    }

    #[test]
    fn what_is_known_holds_until_something_changes() {
        let notes = Notes::new().unwrap();
        let answers = &notes.ring.ring().answers;
        let kind = answers::kind(0, [0; 3], 0);
        assert!(answers.before(kind, b"/a").is_none());
        told(&notes, "/a", true);
        told(&notes, "/b", false);
        let (a, b) = (answers.before(kind, b"/a"), answers.before(kind, b"/b"));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert!(answers.holds(a, 0) && answers.holds(a, 3) && answers.holds(b, -2));
        assert!(!answers.holds(a, -2) && !answers.holds(b, 0) && !answers.holds(a, -13));
        assert!(answers.before(kind + 1, b"/a").is_none());
        assert!(answers.before(kind, b"/a/").is_none());
        told(&notes, "/b", true);
        assert!(answers.holds(answers.before(kind, b"/b").unwrap(), 0));
        for _ in 0..2 {
            notes.forget(true);
            assert!(!answers.holds(a, 0));
            assert!(answers.before(kind, b"/a").is_none());
        }
        told(&notes, "/a", true);
        assert!(answers.before(kind, b"/a").is_none());
        notes.forget(false);
        assert!(!answers.holds(a, 0));
        assert!(answers.before(kind, b"/a").is_none());
        told(&notes, "/a", true);
        assert!(answers.holds(answers.before(kind, b"/a").unwrap(), 0));
        notes.forget(false);
        assert!(answers.before(kind, b"/a").is_none());
    }

    #[test]
    fn more_may_be_known_than_there_is_room_for() {
        let notes = Notes::new().unwrap();
        let answers = &notes.ring.ring().answers;
        let kind = answers::kind(0, [0; 3], 0);
        let paths: Vec<String> = (0..40_000).map(|i| format!("/{i}/{i}/{i}")).collect();
        for (i, path) in paths.iter().enumerate() {
            told(&notes, path, i % 2 == 0);
        }
        let known = paths.iter().enumerate().filter_map(|(i, path)| {
            let before = answers.before(kind, path.as_bytes())?;
            assert_eq!(before.is_there, i % 2 == 0, "{path}");
            Some(i)
        });
        assert!((10_000..40_000).contains(&known.count()));
    }

    #[test]
    fn kinds_of_looks_differ_by_what_they_ask() {
        let kinds = [
            answers::kind(262, [1, 0x100, 0], 0),
            answers::kind(262, [1, 0, 0], 0),
            answers::kind(332, [0x100, 1, 1], 0),
            answers::kind(332, [0, 1, 1], 0),
            answers::kind(269, [4, 0, 0], 0),
            answers::kind(269, [1, 0, 0], 0),
            answers::kind(257, [0, 0, 0], 0),
            answers::kind(257, [0x2_0000, 0, 0], 0),
            answers::kind(267, [0, 0, 0], 0),
            answers::kind(80, [0, 0, 0], 0),
        ];
        let different: std::collections::BTreeSet<u64> = kinds.into();
        assert_eq!(different.len(), kinds.len());
        assert_eq!(answers::kind(262, [2, 0, 7], 0), kinds[1]);
        assert_eq!(answers::kind(332, [0, 9, 9], 0), kinds[3]);
        assert_eq!(answers::kind(267, [5, 6, 0], 0), kinds[8]);
        // `stat` tells more than that something is there.
        for program in [1, 1 << 16] {
            assert_ne!(answers::kind(262, [1, 0, 0], program), kinds[1]);
            assert_eq!(answers::kind(257, [0, 0, 0], program), kinds[6]);
        }
    }

    #[test]
    fn nonsense_is_told() {
        let notes = Notes::new().unwrap();
        assert!(write(&notes, b"relative", Some(0)));
        assert!(take(&notes, false).unwrap()[0].path().is_none());
        let notes = Notes::new().unwrap();
        notes.ring.ring().taken.store(u64::MAX, Ordering::Relaxed);
        assert!(take(&notes, false).is_none());
        // All of it is overwritten.
        let notes = Notes::new().unwrap();
        assert!(write(&notes, b"/a", Some(0)));
        assert_eq!(take(&notes, false).unwrap().len(), 1);
        assert!(write(&notes, b"/b", Some(0)));
        notes.ring.ring().taken.store(0, Ordering::Relaxed);
        notes.ring.ring().freed.store(0, Ordering::Relaxed);
        assert!(take(&notes, false).is_none());
    }
}
