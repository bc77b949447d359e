//! The preloaded object: looks at files that need not be announced.
//!
//! An observed process waits for the observer at every call that names a path, and a C compiler
//! makes thousands of them. Programs that are linked to the C library make them by its
//! functions, and this object stands before some of those (`LD_PRELOAD`): the ones that only look
//! (open for reading, `stat`, `access`, `readlink`, `realpath`). It notes the call in memory that it
//! shares with the observer, and then makes it from a page at an address of its own, which the
//! observer's filter lets pass. The observer reads the notes before any announced call goes on that could
//! change what they were about. What was answered so before is not even noted (`answers`). What gives plain files names
//! and takes them away is noted too, where nobody's notes are about to be read (`names`).
//!
//! The filter stays what decides: every call from anywhere else is announced as ever, be it of a
//! program that has no such object in it (linked statically, another C library, another
//! architecture), of the C library's own, or of this object where it cannot note it (no room, a
//! path that is too long, below `/proc`, or relative to a descriptor).
//!
//! How it gets in: the observer starts the process with `LD_PRELOAD`. The object takes that out of the
//! environment before `main`, so that nobody sees it, and puts it back for programs that are
//! known to look at many files (compilers, `make`, shells, …) or import `sigaction`, when they are executed
//! by the functions of the C library. Others go without.
//!
//! What is left to be announced of a program that looks at few files is its loader's search for libraries, before any
//! code of ours: it gets a shorter path to search (`shorter`). And a program that is looked for in `PATH` is looked for by
//! notes, before it is executed where it is.
//!
//! Which variables a compiler's libraries ask for is noted too, where the observer wants to know (`variables`).
//! Compilers of C are told of other names for directories (`prefix_map`).
//!
//! What can go wrong, and what is done about it:
//! - The object cannot be loaded, and the loader complains: it is only asked for where a program
//!   of this architecture names glibc's loader, has no set-user-id bit and no sanitizer's library (which
//!   must come first), where nothing else is preloaded, and where the object can be read.
//! - Something else lies at the address of the page, the memory cannot be had, the observer is gone: all
//!   calls are announced.
//! - The process forks: it tells the observer of itself, by an announced call, before it notes anything.
//! - It is killed in the middle of a note: the call is taken as made.
//! - A signal interrupts an announced call: signals are held back meanwhile where the call could not
//!   wait for anything else.
//! - It forbids itself calls that it does not need (seccomp): before that it gains the right to by `prctl`, and from then on no other
//!   calls are made than its own, which are announced.
//! - A thread that is waiting to open a pipe is cancelled: that goes by the C library's own function.
//! - A process that has no descriptor left opens what is not there: it is told that it is not there,
//!   since that is looked at first, where the kernel would have said `EMFILE`.
//! - What a path names cannot be read (a bad address): the process ends by a signal, where
//!   the kernel would have said `EFAULT`.
//!
//! The object has no library of its own: it is loaded into programs with any version of glibc.

#![no_std]

mod answers;
mod exec;
mod libc;
mod loader;
mod looks;
mod names;
mod next;
mod observer;
mod prefix_map;
mod program;
mod real_path;
mod ring;
mod shorter;
mod sys;
mod variables;

use core::ffi::{c_char, c_int};
use core::mem::size_of;
use core::ptr;

use ring::Ring;

/// The two bytes of the system call, and a return.
const CODE: [u8; 3] = [0x0f, 0x05, 0xc3];

// The tables of `core` name it, which never unwinds here. Hidden: a program may have its own.
core::arch::global_asm!(
    ".globl rust_eh_personality",
    ".hidden rust_eh_personality",
    "rust_eh_personality:",
    "ud2",
);

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::abort()
}

#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: unsafe extern "C" fn(c_int, *const *const c_char, *mut *mut c_char) = begin;

/// Runs before `main` and before what constructs the program's own objects.
unsafe extern "C" fn begin(_: c_int, _: *const *const c_char, environment: *mut *mut c_char) {
    // SAFETY: glibc passes the environment, which is ours alone as yet.
    unsafe {
        next::find();
        exec::hide(environment);
        if let Some(ring) = attach() {
            observer::begin(ring);
            variables::begin(&*ring);
        }
    }
}

/// Makes the page, and gets the memory from the observer.
unsafe fn attach() -> Option<*mut Ring> {
    // SAFETY: nothing is mapped over, and what is written to was just mapped.
    unsafe {
        let page = sys::map(ring::PAGE, 4096, sys::Map::FixedPage, -1)?;
        if page != ring::PAGE {
            // A kernel before 4.17 takes the address for a hint.
            return None;
        }
        ptr::copy_nonoverlapping(CODE.as_ptr(), page as *mut u8, CODE.len());
        if sys::plain(sys::MPROTECT, [page, 4096, 5, 0, 0]) != 0 {
            return None;
        }
        let fd = c_int::try_from(observer::tell(ring::ASK))
            .ok()
            .filter(|fd| *fd >= 0)?;
        let memory = sys::map(0, size_of::<Ring>(), sys::Map::Shared, fd);
        sys::plain(sys::CLOSE, [fd as usize, 0, 0, 0, 0]);
        memory.map(|at| at as *mut Ring)
    }
}
