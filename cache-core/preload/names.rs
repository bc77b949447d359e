//! Names of plain files that are given and taken away, noted when that has happened.
//!
//! A compiler links hundreds of files from one incremental session to the next and removes those of the last, and each
//! of these calls would wait for the observer. It need not: what there was before, a look at the file tells, and
//! that is noted with the call. No path leads elsewhere because of it, since a plain file is no part of one.
//!
//! What can go wrong, and what is done about it (announced: the call is made as if this were not here):
//! - Somebody has noted a look that the observer has not taken in: it would find the file gone. Announced, which has
//!   the observer take in everything that is noted.
//! - It is no plain file, or a path cannot be noted: announced.
//! - It fails: nothing has changed then, nothing is noted, and it is announced, and fails again.
//! - Somebody else looks at the same name, or changes it, at the same moment: as the observer finds it, the look was answered
//!   otherwise, or what it found was changed after it; neither is taken for an input.

use core::ffi::{c_char, c_int};

use crate::libc::bytes;
use crate::looks::{self, spell};
use crate::observer;
use crate::ring;
use crate::sys::{self, HERE, trusted};

/// A name: a directory's descriptor, and a path from there.
type Name = (usize, *const c_char);

/// Makes a call that gives the file of the first name the second one, or takes its only one away.
unsafe fn change(number: usize, from: Name, to: Option<Name>, flags: c_int) -> c_int {
    let flags = flags as isize as usize;
    let args = match to {
        Some(to) => [from.0, from.1 as usize, to.0, to.1 as usize, flags],
        None => [from.0, from.1 as usize, flags, 0, 0],
    };
    // SAFETY: the program's call, and a look at what it is about.
    unsafe {
        let noted = (flags == 0).then(|| note(number, from, to, args));
        match noted.flatten() {
            Some(()) => 0,
            None => looks::change(number, args),
        }
    }
}

/// Makes the call and notes it. `None`: it was not made, or failed.
unsafe fn note(number: usize, from: Name, to: Option<Name>, args: [usize; 5]) -> Option<()> {
    let ring = observer::ring().filter(|ring| ring.is_quiet())?;
    let mut room = [0; ring::PATH];
    // SAFETY: the program's paths.
    let (first, second) = unsafe {
        let first = spelled(from, &mut room)?;
        let second = match to {
            Some(to) => spelled(to, room.get_mut(first..)?)?,
            None => 0,
        };
        (first, second)
    };
    // SAFETY: the kernel checks the path.
    let found = unsafe { Found::of(from)? };
    let pid = observer::known();
    let note = ring.take_for_change()?;
    // SAFETY: a note that was taken is this thread's alone.
    let call = unsafe { &mut *note.call.get() };
    let words = room.get(..first + second);
    if let (Some(words), Some(into)) = (words, call.path.get_mut(..first + second)) {
        into.copy_from_slice(words);
    }
    call.number = number as u32;
    call.pid = pid;
    call.tid = observer::thread();
    call.length = first as u32;
    call.second = second as u32;
    call.at = looks::now();
    (call.args, call.mode) = (found.words(), u32::from(found.mode));
    note.is_called();
    // SAFETY: the program's call.
    if unsafe { trusted(number, args) } == 0 {
        note.is_answered(0);
        Some(())
    } else {
        note.drop();
        None
    }
}

/// Writes a name down as an absolute path, and says how long that is. `None` where it is not that of a file.
unsafe fn spelled((directory, path): Name, into: &mut [u8]) -> Option<usize> {
    if path.is_null() {
        return None;
    }
    // SAFETY: the program's path ends with a zero.
    let path = unsafe { bytes(path, ring::PATH) };
    let name = path.rsplit(|byte| *byte == b'/').next()?;
    if path.len() == ring::PATH || matches!(name, b"" | b"." | b"..") {
        return None;
    }
    Some(spell(directory, path, into)?.len())
}

/// `struct statx`, as far as it is needed.
#[repr(C)]
struct Found {
    mask: u32,
    block_size: u32,
    attributes: u64,
    links: u32,
    user: u32,
    group: u32,
    mode: u16,
    spare: u16,
    inode: u64,
    size: u64,
    blocks: u64,
    attributes_mask: u64,
    /// When it was read, made, changed, and written: seconds, nanoseconds.
    times: [(i64, u32); 4],
    special: [u32; 2],
    device: [u32; 2],
    mount: u64,
    rest: [u64; 13],
}

impl Found {
    /// The plain file of a name, which is no link.
    unsafe fn of((directory, path): Name) -> Option<Self> {
        const ITSELF: usize = 0x100;
        let mut found = core::mem::MaybeUninit::<Self>::zeroed();
        let mask = ring::STATX_MASK as usize;
        let args = [
            directory,
            path as usize,
            ITSELF,
            mask,
            found.as_mut_ptr() as usize,
        ];
        // SAFETY: there is room for what the kernel writes, and zeroes are one.
        let found = unsafe {
            if trusted(sys::STATX, args) != 0 {
                return None;
            }
            found.assume_init()
        };
        (found.mode & 0o17_0000 == 0o10_0000).then_some(found)
    }

    fn words(&self) -> [u64; 6] {
        let nanos = |(seconds, nanos): (i64, u32)| seconds * 1_000_000_000 + i64::from(nanos);
        let [_, _, changed, written] = self.times;
        let [major, minor] = self.device.map(u64::from);
        [
            (major << 32) | minor,
            self.inode,
            self.size,
            nanos(written) as u64,
            nanos(changed) as u64,
            self.mount,
        ]
    }
}

macro_rules! functions {
    ($(fn $name:ident $args:tt $body:block)*) => {
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name $args -> c_int {
                // SAFETY: as the function of that name.
                unsafe { $body }
            }
        )*
    };
}

type Path = *const c_char;

functions! {
    fn unlink(path: Path) {
        change(sys::UNLINKAT, (HERE, path), None, 0)
    }
    fn unlinkat(directory: c_int, path: Path, flags: c_int) {
        change(sys::UNLINKAT, (directory as isize as usize, path), None, flags)
    }
    fn link(from: Path, to: Path) {
        change(sys::LINKAT, (HERE, from), Some((HERE, to)), 0)
    }
    fn linkat(from: c_int, path: Path, to: c_int, other: Path, flags: c_int) {
        let to = (to as isize as usize, other);
        change(sys::LINKAT, (from as isize as usize, path), Some(to), flags)
    }
}
