//! What this process has to do with the observer: the memory that they share, and by what it is known there.

use core::ffi::{c_char, c_int};
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use crate::libc::{self, bytes};
use crate::ring::{self, Ring};
use crate::sys::{self, HERE, plain, quietly, trusted};
use crate::variables;

static RING: AtomicPtr<Ring> = AtomicPtr::new(ptr::null_mut());

/// The process that the observer knows of. A child of it has the same memory, or a copy.
static KNOWN: AtomicU32 = AtomicU32::new(0);

/// Which program this is, as a hash of the path that it was executed by. A copy of the process is the same.
static PROGRAM: AtomicU32 = AtomicU32::new(0);

/// From now on calls are noted.
pub(crate) unsafe fn begin(ring: *mut Ring) {
    /// `AT_EXECFN`.
    const EXECUTED_BY: core::ffi::c_ulong = 31;
    // SAFETY: the kernel gives a string, or nothing.
    let path = unsafe {
        let path = libc::getauxval(EXECUTED_BY) as *const c_char;
        if path.is_null() {
            &[]
        } else {
            bytes(path, 4096)
        }
    };
    // FNV-1a.
    let hash = path.iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    PROGRAM.store(hash, Ordering::Relaxed);
    KNOWN.store(pid(), Ordering::Relaxed);
    RING.store(ring, Ordering::Release);
}

/// From now on all calls are announced, and no others are made than the program's own: it may be about to forbid itself all that it
/// does not need.
pub(crate) fn end() {
    variables::end();
    RING.store(ptr::null_mut(), Ordering::Release);
    sys::IS_RESTRICTED.store(true, Ordering::Release);
}

pub(crate) fn ring() -> Option<&'static Ring> {
    // SAFETY: it stays mapped for as long as the process runs this program.
    unsafe { RING.load(Ordering::Acquire).as_ref() }
}

/// Makes the announced call that means this to the observer.
pub(crate) fn tell(meaning: c_int) -> isize {
    // SAFETY: without a path, the call fails.
    quietly(|| unsafe { plain(sys::FACCESSAT, [HERE, 0, meaning as usize, 0, 0]) })
}

fn pid() -> u32 {
    // SAFETY: takes nothing.
    unsafe { trusted(sys::GETPID, [0; 5]) as u32 }
}

/// This process, of which the observer knows.
pub(crate) fn known() -> u32 {
    let pid = pid();
    if KNOWN.load(Ordering::Relaxed) != pid {
        tell(ring::APPEAR);
        KNOWN.store(pid, Ordering::Relaxed);
    }
    pid
}

/// This thread.
pub(crate) fn thread() -> u32 {
    // SAFETY: takes nothing.
    unsafe { trusted(sys::GETTID, [0; 5]) as u32 }
}

/// Which program this is.
pub(crate) fn program() -> u32 {
    PROGRAM.load(Ordering::Relaxed)
}
