//! System calls, by the instruction.

use core::arch::asm;
use core::ffi::c_int;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::ring::PAGE;

pub(crate) const CLOSE: usize = 3;
pub(crate) const FSTAT: usize = 5;
pub(crate) const MMAP: usize = 9;
pub(crate) const MPROTECT: usize = 10;
pub(crate) const SIGPROCMASK: usize = 14;
pub(crate) const PREAD: usize = 17;
pub(crate) const GETPID: usize = 39;
pub(crate) const EXECVE: usize = 59;
pub(crate) const GETCWD: usize = 79;
pub(crate) const CHDIR: usize = 80;
pub(crate) const PRCTL: usize = 157;
pub(crate) const GETTID: usize = 186;
pub(crate) const OPENAT: usize = 257;
pub(crate) const MKDIRAT: usize = 258;
pub(crate) const NEWFSTATAT: usize = 262;
pub(crate) const UNLINKAT: usize = 263;
pub(crate) const RENAMEAT: usize = 264;
pub(crate) const LINKAT: usize = 265;
pub(crate) const READLINKAT: usize = 267;
pub(crate) const FACCESSAT: usize = 269;
pub(crate) const STATX: usize = 332;

pub(crate) const EINTR: isize = -4;

/// The current directory, as a descriptor.
pub(crate) const HERE: usize = -100_isize as usize;

/// A call as anybody makes it.
pub(crate) unsafe fn plain(number: usize, [a, b, c, d, e]: [usize; 5]) -> isize {
    let answer;
    // SAFETY: the caller's, who knows what the call does.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => answer,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") 0,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    answer
}

/// A call from the page that the filter trusts.
pub(crate) unsafe fn trusted(number: usize, [a, b, c, d, e]: [usize; 5]) -> isize {
    let answer;
    // SAFETY: the page holds the instruction and a return; the rest is the caller's.
    unsafe {
        asm!(
            "call {page}",
            page = in(reg) PAGE,
            inlateout("rax") number as isize => answer,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") 0,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    answer
}

pub(crate) enum Map {
    /// One of zeroes, at this address or not at all.
    FixedPage,
    /// A file, with everybody who has it.
    Shared,
}

pub(crate) unsafe fn map(at: usize, length: usize, how: Map, fd: c_int) -> Option<usize> {
    const READ_WRITE: usize = 3;
    let flags = match how {
        Map::FixedPage => 0x10_0022, // MAP_FIXED_NOREPLACE | MAP_ANONYMOUS | MAP_PRIVATE
        Map::Shared => 1,
    };
    let answer: isize;
    // SAFETY: a new mapping takes nobody's place.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") MMAP as isize => answer,
            in("rdi") at, in("rsi") length, in("rdx") READ_WRITE, in("r10") flags,
            in("r8") fd as isize, in("r9") 0,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    usize::try_from(answer).ok()
}

/// Whether this process may be one that must make no calls but those that it makes itself.
pub(crate) static IS_RESTRICTED: AtomicBool = AtomicBool::new(false);

/// Makes a call while signals are held back.
///
/// A signal that comes while an announced call waits to be taken would interrupt it. The calls that
/// are made here do not wait for anything else, so that nobody notices the delay.
pub(crate) fn quietly<R>(call: impl FnOnce() -> R) -> R {
    if IS_RESTRICTED.load(Ordering::Acquire) {
        return call();
    }
    const BLOCK: usize = 0;
    const SET: usize = 2;
    let all = u64::MAX;
    let mut before = 0_u64;
    let set = |how: usize, mask: &u64, old: *mut u64| {
        let mask = core::ptr::from_ref(mask) as usize;
        // SAFETY: both masks are 8 bytes, as is said; the old one may be nowhere.
        unsafe { plain(SIGPROCMASK, [how, mask, old as usize, 8, 0]) }
    };
    set(BLOCK, &all, &raw mut before);
    let answer = call();
    set(SET, &before, core::ptr::null_mut());
    answer
}

pub(crate) fn abort() -> ! {
    // SAFETY: ends the process.
    unsafe { asm!("ud2", options(noreturn)) }
}
