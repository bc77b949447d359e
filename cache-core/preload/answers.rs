//! What was answered before: looks that need not be noted again.
//!
//! Compilers look for the same headers in the same directories, thousands of times each. What the observer
//! would pass over, since it was answered so before, it writes down here, and who then gets that answer
//! again need not say so. The look itself is made all the same: anything else that it finds is
//! noted.
//!
//! ```text
//! slot  = 0, or tag:37 | is there:1 | length:9 | place:17
//! entry = at 8 times the place: kind of look (8 bytes), path of that length
//! ```
//!
//! One writes, and that is the observer. Before it lets a call go on that may change what paths lead to, it
//! empties the table and makes `turn` odd, and it makes it even again, another number, when all such calls
//! are done. A reader takes the turn before it looks here, makes its call, and takes the turn again: if it
//! was the same even number both times, no such change began or was going on between them, and what was
//! read here was whole. Otherwise the look is noted.

use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

/// How many answers there are places for.
const SLOTS: usize = 1 << 15;

/// How many places are looked at for one, at most.
const STEPS: usize = 16;

/// Room for the entries, bytes.
const ROOM: usize = 1 << 20;

const IS_THERE: u64 = 1 << 26;

/// The table: of zeroes at first, which is open and empty.
#[repr(C)]
pub(crate) struct Answers {
    turn: AtomicU64,
    slots: [AtomicU64; SLOTS],
    entries: UnsafeCell<[u64; ROOM / 8]>,
}

// SAFETY: readers find out by the turn what they read while it was written.
unsafe impl Sync for Answers {}

/// What was answered before, if the turn is still the same when the call has come back.
#[derive(Clone, Copy)]
pub(crate) struct Before {
    turn: u64,
    pub(crate) is_there: bool,
}

/// What kind of look a call is: those of one kind that name the same path are alike. Of what `stat` tells, each program makes
/// something else, so its looks are alike only where the same program makes them.
pub(crate) fn kind(call: u32, args: [u64; 3], program: u32) -> u64 {
    const STATX: u32 = 332;
    const CHDIR: u32 = 80;
    const READLINKAT: u32 = 267;
    const NEWFSTATAT: u32 = 262;
    let [first, second, _] = args;
    let what = match call {
        CHDIR | READLINKAT => 0,
        // After the buffer.
        NEWFSTATAT => second,
        // Flags of opening and of `statx`, permissions.
        _ => first,
    };
    let kind = (u64::from(call) << 32) | (what & u64::from(u32::MAX));
    if !matches!(call, NEWFSTATAT | STATX) {
        return kind;
    }
    // Flags of these, and numbers of calls, have less than 16 bits.
    let [high, low] = [program >> 16, program & 0xffff].map(u64::from);
    kind | (high << 48) | (low << 16)
}

/// Whether an answer says that something is there. `None`: it says neither.
pub(crate) fn is_there(answer: isize) -> Option<bool> {
    const NOT_FOUND: isize = -2;
    match answer {
        0.. => Some(true),
        NOT_FOUND => Some(false),
        _ => None,
    }
}

fn hash(kind: u64, path: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |sum: u64, next: u64| (sum.rotate_left(29) ^ next).wrapping_mul(FACTOR);
    let (words, rest) = path.as_chunks::<8>();
    let sum = words
        .iter()
        .fold(mix(path.len() as u64, kind), |sum, word| {
            mix(sum, u64::from_le_bytes(*word))
        });
    let last = rest
        .iter()
        .fold(0, |last, byte| (last << 8) | u64::from(*byte));
    let sum = mix(sum, last);
    sum ^ (sum >> 32)
}

fn slot(tag: u64, is_there: bool, length: usize, place: usize) -> u64 {
    let there = if is_there { IS_THERE } else { 0 };
    (tag << 27) | there | ((length as u64) << 17) | place as u64
}

const fn tag_of(hash: u64) -> u64 {
    hash >> 27
}

impl Answers {
    /// For readers: whether nothing changes what paths lead to.
    pub(crate) fn is_open(&self) -> bool {
        self.turn.load(Ordering::Acquire).is_multiple_of(2)
    }

    /// For readers: what a look of this kind was answered before.
    pub(crate) fn before(&self, kind: u64, path: &[u8]) -> Option<Before> {
        let turn = self.turn.load(Ordering::Acquire);
        if !turn.is_multiple_of(2) {
            return None;
        }
        let (_, slot) = self.find(kind, path);
        let is_there = slot? & IS_THERE != 0;
        Some(Before { turn, is_there })
    }

    /// For readers, when the call has come back: whether its answer is that of before, and nothing may
    /// have changed meanwhile.
    pub(crate) fn holds(&self, before: Before, answer: isize) -> bool {
        is_there(answer) == Some(before.is_there)
            && self.turn.load(Ordering::Acquire) == before.turn
    }

    /// For the writer: what looks of this kind are answered, until it is emptied. `room` is how many
    /// bytes of entries are taken; what has no place is left out.
    pub(crate) fn put(&self, kind: u64, path: &[u8], is_there: bool, room: &mut usize) {
        let end = *room + 8 + path.len().next_multiple_of(8);
        let (at, known) = self.find(kind, path);
        if let Some(slot) = at.and_then(|at| self.slots.get(at)) {
            if let Some(known) = known {
                let now = if is_there {
                    known | IS_THERE
                } else {
                    known & !IS_THERE
                };
                slot.store(now, Ordering::Release);
            } else if end <= ROOM && !path.is_empty() && path.len() < 512 {
                // SAFETY: the place is within the entries, and nobody looks there before the slot says so.
                unsafe {
                    let entry = self.entries.get().cast::<u64>().add(*room / 8);
                    entry.write(kind);
                    ptr::copy_nonoverlapping(path.as_ptr(), entry.add(1).cast(), path.len());
                }
                let tag = tag_of(hash(kind, path));
                let new = self::slot(tag, is_there, path.len(), *room / 8);
                slot.store(new, Ordering::Release);
                *room = end;
            }
        }
    }

    /// For the writer: empties it, before something changes what paths lead to, and afterwards.
    pub(crate) fn empty(&self, is_changing: bool, room: &mut usize) {
        let closed = self.turn.load(Ordering::Relaxed) | 1;
        self.turn.store(closed, Ordering::SeqCst);
        if *room > 0 {
            for slot in &self.slots {
                slot.store(0, Ordering::Relaxed);
            }
            *room = 0;
        }
        if !is_changing {
            self.turn.store(closed.wrapping_add(1), Ordering::SeqCst);
        }
    }

    /// Where the answer is or would be, if there is a place, and the slot if it is there.
    fn find(&self, kind: u64, path: &[u8]) -> (Option<usize>, Option<u64>) {
        let hash = hash(kind, path);
        let tag = tag_of(hash);
        let first = usize::try_from(hash % SLOTS as u64).unwrap_or(0);
        for step in 0..STEPS {
            let at = (first + step) % SLOTS;
            let Some(slot) = self.slots.get(at) else {
                break;
            };
            let slot = slot.load(Ordering::Acquire);
            if slot == 0 {
                return (Some(at), None);
            }
            if slot >> 27 == tag && self.is_of(slot, kind, path) {
                return (Some(at), Some(slot));
            }
        }
        (None, None)
    }

    fn is_of(&self, slot: u64, kind: u64, path: &[u8]) -> bool {
        let (length, place) = ((slot >> 17) & 0x1ff, slot & 0x1_ffff);
        let Ok(place) = usize::try_from(place) else {
            return false;
        };
        if length != path.len() as u64 || 8 * place + 8 + path.len() > ROOM {
            return false;
        }
        // SAFETY: it lies within the entries. What is being written there now is not of this turn.
        unsafe {
            let entry = self.entries.get().cast::<u64>().add(place);
            let known = core::slice::from_raw_parts(entry.add(1).cast::<u8>(), path.len());
            entry.read() == kind && known == path
        }
    }
}
