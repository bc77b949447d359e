//! Where paths lead: `realpath`, answered by the kernel's name of an open file, and how far a path leads that leads to
//! nothing.

use core::ffi::{c_char, c_int};
use core::ptr;

use crate::libc::{self, bytes, returned};
use crate::looks::{CLOSE_ON_EXEC, CURRENT, ITSELF, Look, NOT_FOUND, PATH_ONLY, Path, Stat};
use crate::next;
use crate::ring;
use crate::sys::{self, HERE, plain, trusted};

/// Where a path leads, as the kernel says of an open file. The C library would read each part of the path
/// as a link; that is left to do so with a relative path, whose answer tells the current directory: who is told, and
/// asks nothing else, shows by the call that it makes for that.
pub(crate) unsafe fn real_path(path: Path, to: *mut c_char) -> *mut c_char {
    // SAFETY: as the function of that name.
    unsafe {
        if path.is_null() || bytes(path, 1) != b"/" {
            return other_real_path(path, to);
        }
        if !to.is_null() {
            // There is room for as much as a path may have.
            let room = core::slice::from_raw_parts_mut(to.cast::<u8>(), 4096);
            return match real_path_of_open(path, room) {
                Some(Ok(_)) => to,
                Some(Err(error)) if error != NOT_FOUND || leave_missing(path, room).is_some() => {
                    returned(error);
                    ptr::null_mut()
                }
                _ => other_real_path(path, to),
            };
        }
        let mut room = [0; 4096];
        match real_path_of_open(path, &mut room) {
            Some(Ok(length)) => {
                let to = libc::malloc(length + 1).cast::<c_char>();
                if !to.is_null() {
                    ptr::copy_nonoverlapping(room.as_ptr().cast(), to, length + 1);
                }
                to
            }
            Some(Err(error)) => {
                returned(error);
                ptr::null_mut()
            }
            None => other_real_path(path, to),
        }
    }
}

unsafe fn other_real_path(path: Path, to: *mut c_char) -> *mut c_char {
    type Function = unsafe extern "C" fn(Path, *mut c_char) -> *mut c_char;
    // SAFETY: as the function of that name.
    match unsafe { next::REALPATH.get::<Function>() } {
        Some(function) => unsafe { function(path, to) },
        None => ptr::null_mut(),
    }
}

/// Writes down where a path leads, with a zero at its end, and says how long that is. `None`: it has to be
/// found out otherwise.
unsafe fn real_path_of_open(path: Path, room: &mut [u8]) -> Option<Result<usize, isize>> {
    const NOT_A_DIRECTORY: isize = -20;
    let flags = PATH_ONLY | CLOSE_ON_EXEC;
    let mut look = Look::new(sys::OPENAT, CURRENT, path, [flags as usize, 0, 0]);
    // Every link on the way counts, and that something is there.
    look.amounts_to = sys::CHDIR;
    // SAFETY: the program's path.
    let fd = match unsafe { look.fast()? } {
        error @ (NOT_FOUND | NOT_A_DIRECTORY) => return Some(Err(error)),
        fd => usize::try_from(fd).ok()?,
    };
    // SAFETY: the descriptor is ours.
    let length = unsafe {
        let length = name_of_open(fd, room);
        plain(sys::CLOSE, [fd, 0, 0, 0, 0]);
        length?
    };
    *room.get_mut(length)? = 0;
    Some(Ok(length))
}

/// Writes down what the kernel calls an open file, and says how long that is. `None` where it has no name any more.
pub(crate) unsafe fn name_of_open(fd: usize, room: &mut [u8]) -> Option<usize> {
    let mut name = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0";
    if fd > c_int::MAX as usize {
        return None;
    }
    write_number(fd, name.get_mut(14..24)?);
    let size = room.len();
    let args = [
        HERE,
        name.as_ptr() as usize,
        room.as_mut_ptr() as usize,
        size,
        0,
    ];
    // SAFETY: there is room for as much as is said.
    let length = usize::try_from(unsafe { trusted(sys::READLINKAT, args) }).ok()?;
    let real = room.get(..length).filter(|real| real.len() < size)?;
    let is_usual = real.first() == Some(&b'/') && !real.ends_with(b" (deleted)");
    is_usual.then_some(length)
}

/// Writes down how far a path leads that leads to nothing, as the C library does: the first name that
/// is missing, below where the way to it leads. `None`: that has to be found out otherwise.
unsafe fn leave_missing(path: Path, room: &mut [u8]) -> Option<()> {
    // SAFETY: the program's path.
    let mut path = unsafe { bytes(path, ring::PATH) };
    loop {
        let end = path.iter().rposition(|byte| *byte != b'/')? + 1;
        path = path.get(..end)?;
        let at = path.iter().rposition(|byte| *byte == b'/');
        let name = path.get(at.map_or(0, |at| at + 1)..)?;
        let above = match at {
            Some(at) => path.get(..at.max(1))?,
            None => b".",
        };
        if name == b"." || name == b".." {
            return None;
        }
        let mut text = [0; ring::PATH + 1];
        text.get_mut(..path.len())?.copy_from_slice(path);
        let mut stat = Stat::new();
        let rest = [stat.at(), ITSELF as usize, 0];
        let look = Look::new(sys::NEWFSTATAT, CURRENT, text.as_ptr().cast(), rest);
        // SAFETY: the text ends with a zero. A link that leads nowhere is there.
        if unsafe { look.fast()? } != NOT_FOUND {
            return None;
        }
        text.fill(0);
        text.get_mut(..above.len())?.copy_from_slice(above);
        // SAFETY: as before.
        match unsafe { real_path_of_open(text.as_ptr().cast(), room)? } {
            Ok(length) => {
                let mut at = if length == 1 { 0 } else { length };
                for part in [b"/", name, b"\0"] {
                    room.get_mut(at..at + part.len())?.copy_from_slice(part);
                    at += part.len();
                }
                return Some(());
            }
            Err(NOT_FOUND) => path = above,
            Err(_) => return None,
        }
    }
}

/// In decimal digits.
fn write_number(number: usize, into: &mut [u8]) {
    let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
    let mut rest = number;
    for place in into.iter_mut().take(digits).rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}
