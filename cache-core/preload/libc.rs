//! What the program's C library is asked for, and its strings.

use core::ffi::{c_char, c_int, c_ulong, c_void};

#[repr(C)]
pub(crate) struct Timespec {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: i64,
}

/// `struct dl_phdr_info`, as far as it is needed.
#[repr(C)]
pub(crate) struct Loaded {
    pub(crate) base: usize,
    pub(crate) name: *const c_char,
    pub(crate) headers: *const Header,
    pub(crate) count: u16,
}

/// `Elf64_Phdr`.
#[repr(C)]
pub(crate) struct Header {
    pub(crate) kind: u32,
    pub(crate) flags: u32,
    pub(crate) offset: usize,
    pub(crate) address: usize,
    pub(crate) physical: usize,
    pub(crate) file_size: usize,
    pub(crate) memory_size: usize,
    pub(crate) align: usize,
}

pub(crate) type Each = unsafe extern "C" fn(*const Loaded, usize, *mut c_void) -> c_int;

unsafe extern "C" {
    pub(crate) static mut environ: *mut *mut c_char;
    pub(crate) fn __errno_location() -> *mut c_int;
    pub(crate) fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;
    pub(crate) fn dl_iterate_phdr(each: Each, data: *mut c_void) -> c_int;
    pub(crate) fn execvpe(
        file: *const c_char,
        args: *const *mut c_char,
        environment: *const *mut c_char,
    ) -> c_int;
    pub(crate) fn fdopen(fd: c_int, mode: *const c_char) -> *mut c_void;
    pub(crate) fn fdopendir(fd: c_int) -> *mut c_void;
    pub(crate) fn getauxval(kind: c_ulong) -> c_ulong;
    pub(crate) fn malloc(size: usize) -> *mut c_void;
}

/// What a C function returns for the kernel's answer.
pub(crate) fn returned(answer: isize) -> isize {
    if !(-4095..0).contains(&answer) {
        return answer;
    }
    // SAFETY: each thread has one.
    unsafe { *__errno_location() = -answer as c_int };
    -1
}

/// The bytes of a string, or its first ones if it is longer than `most`.
pub(crate) unsafe fn bytes<'a>(text: *const c_char, most: usize) -> &'a [u8] {
    let mut length = 0;
    // SAFETY: the caller's: a string ends with a zero.
    unsafe {
        while length < most && *text.add(length) != 0 {
            length += 1;
        }
        core::slice::from_raw_parts(text.cast(), length)
    }
}
