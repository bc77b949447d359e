//! The memory that the preloaded object and the observer share: notes of calls.
//!
//! Writers are all observed processes that cooperate, the one reader is the observer. A writer
//! takes the next note, fills it in, makes its call, and adds what came of it. The reader
//! takes notes in order, passes over those that are not done yet, and comes back to them.

use core::cell::UnsafeCell;
use core::ffi::c_int;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::answers::Answers;
use super::prefix_map::PrefixMap;
use super::shorter::Shorter;

/// Where the page lies whose one system call the filter lets pass, in every process: between
/// what programs are linked to and where the kernel puts mappings, and not where sanitizers keep
/// their shadows.
pub(crate) const PAGE: usize = 0x7e91_6361_6000;

/// What the filter sees as the address of that call: that of the next instruction.
pub(crate) const RETURN: usize = PAGE + 2;

/// The mode in which `faccessat` is called, without a path, by who asks for the memory. It
/// answers with its descriptor.
pub(crate) const ASK: c_int = 0x6361_6369;

/// The same by who has it already, and is another process now.
pub(crate) const APPEAR: c_int = 0x6361_636a;

/// The same by who is about to execute a program, where it is not known yet what its loader need not look
/// through.
pub(crate) const SHORTEN: c_int = 0x6361_636b;

/// The same by who cannot note which variables its libraries ask for.
pub(crate) const UNHEARD: c_int = 0x6361_636c;

/// The number in a note of a variable that a library asks for: the library's path, and the name.
pub(crate) const ASKED: u32 = u32::MAX - 2;

/// The number in a note of a process whose libraries are heard from now on.
pub(crate) const HEARD: u32 = u32::MAX - 1;

/// The number in a note of no call: the latest call of the thread that changes directories has come back.
pub(crate) const DONE: u32 = u32::MAX;

/// How many notes there is room for.
pub(crate) const NOTES: usize = 8192;

/// How long a path in a note may be, bytes.
pub(crate) const PATH: usize = 408;

/// What is asked of `statx`: what `stat` tells, and the mount, by a number that is given once (Linux 6.8).
pub(crate) const STATX_MASK: u32 = 0x7ff | 0x1000 | 0x4000;

/// A call, as it was noted before it was made.
///
/// Of one that gives a plain file a second name, or takes one away, the arguments are what it was found to be: device
/// (major in the upper half, minor in the lower one), inode, size, when it was written and changed (nanoseconds
/// since the epoch), mount.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Call {
    /// Its number, or that of another which looks at the same.
    pub(crate) number: u32,
    /// The process.
    pub(crate) pid: u32,
    /// The thread.
    pub(crate) tid: u32,
    /// How long the path is, bytes.
    pub(crate) length: u32,
    /// How long the second path is, which follows it.
    pub(crate) second: u32,
    /// Permissions and type of the file that gets or loses a name.
    pub(crate) mode: u32,
    /// When, nanoseconds since the epoch.
    pub(crate) at: i64,
    /// Its arguments, all but the path; the last is which program calls.
    pub(crate) args: [u64; 6],
    /// The paths, absolute.
    pub(crate) path: [u8; PATH],
}

/// One note.
#[repr(C)]
pub(crate) struct Note {
    state: AtomicU32,
    /// What the kernel answered.
    pub(crate) answer: UnsafeCell<i32>,
    /// What was called.
    pub(crate) call: UnsafeCell<Call>,
}

/// Whose variables the observer wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Hears {
    /// Those of libraries, in any process.
    Libraries = 1,
    /// Those of the first process, with its first program.
    First = 2,
}

/// How far a note has come. Memory of zeroes is free notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum State {
    /// Free, or taken and not filled in yet.
    Free,
    /// All is there but the answer.
    Called,
    /// The answer is there too.
    Answered,
    /// The reader is done with it, or it came to nothing.
    Done,
}

impl Note {
    /// How far it has come.
    pub(crate) fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Free,
            1 => State::Called,
            2 => State::Answered,
            _ => State::Done,
        }
    }

    fn set(&self, state: State) {
        self.state.store(state as u32, Ordering::Release);
    }

    /// For its writer: it is filled in.
    pub(crate) fn is_called(&self) {
        self.set(State::Called);
    }

    /// For its writer: the call has come back.
    pub(crate) fn is_answered(&self, answer: i32) {
        // SAFETY: it is the writer's until the state says otherwise.
        unsafe { *self.answer.get() = answer };
        self.set(State::Answered);
    }

    /// For whoever has it: it is of no use any more.
    pub(crate) fn drop(&self) {
        self.set(State::Done);
    }

    /// For the reader: others may take it.
    pub(crate) fn free(&self) {
        self.set(State::Free);
    }
}

/// The memory: of zeroes at first.
#[repr(C)]
pub(crate) struct Ring {
    /// How many notes were ever taken.
    pub(crate) taken: AtomicU64,
    /// How many of them are free again.
    pub(crate) freed: AtomicU64,
    /// How many interrupted calls were made again.
    pub(crate) repeated: AtomicU64,
    /// How many notes were taken when the latest one of a look was.
    looked: AtomicU64,
    /// What need not be noted.
    pub(crate) answers: Answers,
    /// The search path that programs of the system get.
    pub(crate) shorter: Shorter,
    /// What C compilers are told.
    pub(crate) prefix_map: PrefixMap,
    /// Who asks for variables that the observer wants to know.
    hears: AtomicU32,
    /// The process that began first.
    first: AtomicU32,
    notes: [Note; NOTES],
}

// SAFETY: who takes a note has it alone until it is answered, and the reader after that.
unsafe impl Sync for Ring {}

impl Ring {
    /// The note that is taken as this one of all.
    pub(crate) fn note(&self, number: u64) -> Option<&Note> {
        self.notes.get(usize::try_from(number % NOTES as u64).ok()?)
    }

    /// For the reader, before anybody else has it: whose variables it wants to know.
    pub(crate) fn hear(&self, whose: Hears) {
        self.hears.store(whose as u32, Ordering::Release);
    }

    /// For writers: whose it wants to know, if anybody's.
    pub(crate) fn hears(&self) -> Option<Hears> {
        match self.hears.load(Ordering::Acquire) {
            1 => Some(Hears::Libraries),
            2 => Some(Hears::First),
            _ => None,
        }
    }

    /// For a process that begins to run a program: whether no other did before, nor it itself another one.
    pub(crate) fn begins_first(&self, pid: u32) -> bool {
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        let first = self.first.compare_exchange(0, pid, order.0, order.1);
        first.is_ok()
    }

    /// For writers: takes the next note for a look, if one is free.
    pub(crate) fn take(&self) -> Option<&Note> {
        let number = self.take_next()?;
        self.looked
            .fetch_max(number.wrapping_add(1), Ordering::AcqRel);
        self.note(number)
    }

    /// For writers: whether a change of names disturbs nobody. No look is left that the reader has not taken in, and
    /// nothing changes what paths lead to.
    pub(crate) fn is_quiet(&self) -> bool {
        let looked = self.looked.load(Ordering::Acquire);
        self.answers.is_open() && looked <= self.freed.load(Ordering::Acquire)
    }

    /// For writers: takes the next note for such a change, if one is free.
    pub(crate) fn take_for_change(&self) -> Option<&Note> {
        let note = self.note(self.take_next()?)?;
        // Who takes one for a look later than this looks later too.
        if self.is_quiet() {
            return Some(note);
        }
        note.drop();
        None
    }

    /// For writers: takes the next note for what looks at nothing, if one is free.
    pub(crate) fn take_to_tell(&self) -> Option<&Note> {
        self.note(self.take_next()?)
    }

    fn take_next(&self) -> Option<u64> {
        let mut taken = self.taken.load(Ordering::Relaxed);
        loop {
            if taken.wrapping_sub(self.freed.load(Ordering::Acquire)) >= NOTES as u64 {
                return None;
            }
            let next = taken.wrapping_add(1);
            let order = (Ordering::AcqRel, Ordering::Relaxed);
            match self
                .taken
                .compare_exchange_weak(taken, next, order.0, order.1)
            {
                Ok(_) => return Some(taken),
                Err(now) => taken = now,
            }
        }
    }

    /// For writers: a call that was interrupted before the observer took it is made again.
    pub(crate) fn is_repeated(&self) {
        self.repeated.fetch_add(1, Ordering::Relaxed);
    }
}
