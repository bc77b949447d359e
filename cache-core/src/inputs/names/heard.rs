//! Libraries that know no way to the environment but `getenv`.
//!
//! The preloaded object stands before that function (`preload/variables.rs`), and hears of each variable that a library asks for in
//! the compiler. Its names then need not be inferred, if it can have no others: what it takes from other libraries is
//! listed here, function by function, and is nothing that hands out the environment or looks into it (`environ`, `secure_getenv`,
//! `execvp`, `setlocale`, `localtime`, `dlsym`, …). Macros that start programs, that bring C code along which asks for
//! more, or whose own code the loader calls with the environment (`.init_array`), are not among them.

use super::program::Program;

/// The libraries that it may need.
const LIBRARIES: [&[u8]; 6] = [
    b"ld-linux-x86-64.so.2",
    b"libc.so.6",
    b"libdl.so.2",
    b"libgcc_s.so.1",
    b"libm.so.6",
    b"libpthread.so.0",
];

/// Beginnings of functions that unwind, and that keep threads apart.
const BEGINNINGS: [&[u8]; 5] = [b"_ITM_", b"_Unwind_", b"__cxa_", b"pthread_", b"sem_"];

/// What else it may take from them, in order.
const FUNCTIONS: &[&str] = &[
    "__errno_location",
    "__gmon_start__",
    "__tls_get_addr",
    "__xpg_strerror_r",
    "abort",
    "access",
    "bcmp",
    "calloc",
    "chmod",
    "clock_gettime",
    "clock_nanosleep",
    "close",
    "closedir",
    "copy_file_range",
    "dirfd",
    "dl_iterate_phdr",
    "exp",
    "fchmod",
    "fcntl",
    "fcntl64",
    "fdatasync",
    "fdopendir",
    "flock",
    "fmod",
    "fmodf",
    "free",
    "fstat64",
    "fstatat64",
    "fsync",
    "ftruncate64",
    "getcwd",
    "getenv",
    "getpid",
    "getrandom",
    "gettid",
    "gnu_get_libc_version",
    "isatty",
    "link",
    "linkat",
    "log",
    "log10",
    "log2",
    "lseek64",
    "lstat64",
    "madvise",
    "malloc",
    "malloc_usable_size",
    "memchr",
    "memcmp",
    "memcpy",
    "memmove",
    "memrchr",
    "memset",
    "mkdir",
    "mmap64",
    "mprotect",
    "munmap",
    "nanosleep",
    "open64",
    "openat64",
    "opendir",
    "poll",
    "posix_memalign",
    "pow",
    "powf",
    "pread64",
    "pwrite64",
    "read",
    "readdir64",
    "readdir64_r",
    "readlink",
    "readv",
    "realloc",
    "realpath",
    "rename",
    "rmdir",
    "sched_getaffinity",
    "sched_yield",
    "sigaction",
    "sigaltstack",
    "signal",
    "sqrt",
    "stat64",
    "statx",
    "strchr",
    "strcmp",
    "strlen",
    "strncmp",
    "strrchr",
    "strtol",
    "symlink",
    "syscall",
    "sysconf",
    "unlink",
    "unlinkat",
    "write",
    "writev",
];

/// How many functions the loader calls of a library that has none of its own: one of the C compiler's, and the standard library's for
/// arguments.
const USUAL_INITIALISERS: u64 = 2;

pub(super) fn is_heard(program: &Program<'_>) -> bool {
    let is_known = |name: &&[u8]| {
        name.is_empty()
            || BEGINNINGS.iter().any(|known| name.starts_with(known))
            || FUNCTIONS
                .binary_search_by(|known| known.as_bytes().cmp(name))
                .is_ok()
    };
    let is_plain = |library: &&[u8]| LIBRARIES.contains(library);
    program.imports.contains(b"getenv".as_slice())
        && program.imports.iter().all(is_known)
        && program.needs.iter().all(is_plain)
        && program.initialisers <= USUAL_INITIALISERS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_listed_in_order() {
        assert!(FUNCTIONS.is_sorted());
        let others = [
            "environ",
            "secure_getenv",
            "execvp",
            "setlocale",
            "dlsym",
            "system",
        ];
        for name in others {
            assert!(!FUNCTIONS.contains(&name), "{name}");
        }
    }
}
