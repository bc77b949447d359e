//! A shorter search path for the dynamic loader.
//!
//! Cargo sets `LD_LIBRARY_PATH` to its own directories and those of the toolchain. Each program below looks there for
//! each of its libraries first, and for directories of processors beside them, in vain; and what the loader does
//! is announced, call by call. So the observer says which directories a program of the system finds nothing in, and who
//! executes one gives it a path without them, and the whole path under another name. The object in the
//! new program puts that back in its place, before `main`: the program, and what it executes, see what they would have seen.
//!
//! A directory is left out if no library in it has a name that a program of the system could ask for ([`leaves_out`]):
//! what cargo and rustc build has a hash in its name. A program that asks for such a name itself gets the
//! whole path ([`is_of_rust`]). What was not looked for is an input all the same: the observer says of each library
//! that was loaded that it is not in the directories that were left out.
//!
//! What can go wrong: a library that a program loads later (`dlopen`) asks for the Rust standard library as a shared one, and
//! says nowhere where it is. It is not found then. Such plug-ins (of a C compiler, of Python, in Rust, linked with `-C
//! prefer-dynamic`) are not known to exist.

use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

/// The loader's variable.
pub(crate) const VARIABLE: &str = "LD_LIBRARY_PATH";

/// What stands before it in the name that the whole path is kept under.
pub(crate) const PREFIX: &str = "CACHEWRAP_";

/// Room for an entry of the environment with a zero at its end, bytes.
pub(crate) const ROOM: usize = 4096;

/// Directories that the loader looks for below each directory of its path, for processors of a kind.
pub(crate) const OF_PROCESSORS: [&str; 6] = [
    "glibc-hwcaps",
    "tls",
    "x86_64",
    "haswell",
    "xeon_phi",
    "avx512_1",
];

/// Two entries of an environment, of zeroes at first. One writes, once, and that is the observer.
#[repr(C)]
pub(crate) struct Shorter {
    is_known: AtomicBool,
    whole: UnsafeCell<[u8; ROOM]>,
    rest: UnsafeCell<[u8; ROOM]>,
}

// SAFETY: they are read when they are known, and not written from then on.
unsafe impl Sync for Shorter {}

impl Shorter {
    /// For the writer: entries without zeroes, the first of nothing where no path is to be shorter. Neither is
    /// one that is too long.
    pub(crate) fn put(&self, whole: &[u8], rest: &[u8]) {
        if self.is_known() {
            return;
        }
        let fits = whole.len().max(rest.len()) < ROOM;
        let (whole, rest) = if fits {
            (whole, rest)
        } else {
            Default::default()
        };
        // SAFETY: nobody reads them yet, and there is room for them.
        unsafe {
            let (to, end) = (self.whole.get().cast(), self.rest.get().cast());
            ptr::copy_nonoverlapping(whole.as_ptr(), to, whole.len());
            ptr::copy_nonoverlapping(rest.as_ptr(), end, rest.len());
        }
        self.is_known.store(true, Ordering::Release);
    }

    /// Whether they were written.
    pub(crate) fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Acquire)
    }

    /// For readers: the entry with the whole path under another name, and the shorter one.
    pub(crate) fn get(&self) -> Option<(&[u8; ROOM], &[u8; ROOM])> {
        if !self.is_known() {
            return None;
        }
        // SAFETY: nobody writes them any more.
        let (whole, rest) = unsafe { (&*self.whole.get(), &*self.rest.get()) };
        (whole.first() != Some(&0)).then_some((whole, rest))
    }
}

/// Whether a library has the kind of name that cargo and rustc give, with a hash, or that the toolchain's
/// own libraries have.
pub(crate) fn is_of_rust(name: &[u8]) -> bool {
    const HASH: usize = 16;
    if name.windows(6).any(|part| part == b"-rust-") {
        return true;
    }
    let stem = name
        .strip_prefix(b"lib")
        .and_then(|name| name.strip_suffix(b".so"));
    let hash = stem.and_then(|stem| {
        let at = stem.len().checked_sub(HASH)?;
        (stem.get(at.checked_sub(1)?) == Some(&b'-')).then(|| stem.get(at..))?
    });
    hash.is_some_and(|hash| hash.iter().all(u8::is_ascii_hexdigit))
}

/// Whether a directory that holds this may be left out.
pub(crate) fn leaves_out(name: &[u8]) -> bool {
    let is_library = name.windows(3).any(|part| part == b".so");
    let is_of_processor = OF_PROCESSORS.iter().any(|known| known.as_bytes() == name);
    !is_of_processor && (!is_library || is_of_rust(name))
}
