//! Other names for directories, in the debug information of C.
//!
//! A C compiler writes into debug information where the headers lie that it read. Those that a dependency's build script
//! makes lie in the target directory, and so what it compiles would serve one target directory only. GCC
//! replaces prefixes of paths there (`-fdebug-prefix-map`), and is told to where its driver executes the compiler proper,
//! `cc1`: behind everything that anybody sees. A flag for the driver (`CFLAGS`) would show in what scripts say of their compilers, in
//! programs that record their flags, and where a configure script has defaults that it leaves out if there are flags.
//!
//! Only debug information changes: `__FILE__` stays what it is (`-ffile-prefix-map` would change it), and GCC leaves the option out
//! of what it writes of its options (`DW_AT_producer`).
//!
//! What can go wrong, and what is done about it:
//! - The compiler says its options (`-v`; not `-quiet`; `-fverbose-asm`; `-frecord-gcc-switches`), keeps its state
//!   (`--output-pch`), leaves debug information elsewhere, where it is found by the directory (`-gsplit-dwarf`), or is told of
//!   prefixes already: it is left alone.
//! - It is another program of that name: the option is as old as GCC 4.3, and what is no program for glibc gets no object
//!   and no option.
//! - There is no room for the option: the program gets its arguments as they were.
//! - Paths remain (clang, `as`, programs without the object): they are found in what the script leaves, which then
//!   is bound to its place.

use core::cell::UnsafeCell;
use core::ptr;

/// What a directory and its name are given by: `-fdebug-prefix-map=/ws/target/=./target/`.
pub(crate) const OPTION: &str = "-fdebug-prefix-map=";

/// Room for an option with a zero at its end, bytes.
pub(crate) const ROOM: usize = 4096;

/// How many options there may be.
pub(crate) const MOST: usize = 4;

/// How much of an argument tells what it is, bytes.
pub(crate) const LONGEST: usize = 32;

/// Options, of zeroes where there are none. One writes, before anybody reads, and that is the observer.
#[repr(C)]
pub(crate) struct PrefixMap(UnsafeCell<[[u8; ROOM]; MOST]>);

// SAFETY: it is not written to any more when others have it.
unsafe impl Sync for PrefixMap {}

impl PrefixMap {
    /// For the writer. What does not fit is left out.
    pub(crate) fn put(&self, number: usize, option: &[u8]) {
        if number < MOST && option.len() < ROOM {
            // SAFETY: nobody reads it yet, and there is room.
            unsafe {
                let to = self.0.get().cast::<[u8; ROOM]>().add(number).cast::<u8>();
                ptr::copy_nonoverlapping(option.as_ptr(), to, option.len());
            }
        }
    }

    /// For readers.
    pub(crate) fn options(&self) -> impl Iterator<Item = &[u8; ROOM]> {
        // SAFETY: nobody writes it any more.
        let options = unsafe { &*self.0.get() };
        options.iter().filter(|option| option.first() != Some(&0))
    }
}

/// Whether a program is a compiler proper of GCC's for C or C++.
pub(crate) fn is_compiler(file: &[u8]) -> bool {
    let name = file.rsplit(|byte| *byte == b'/').next();
    matches!(name, Some(b"cc1" | b"cc1plus"))
}

/// What the arguments of a compiler say.
#[derive(Default)]
pub(crate) struct Said {
    is_quiet: bool,
    is_debug: bool,
    is_left_alone: bool,
}

impl Said {
    /// Looks at the beginning of an argument.
    pub(crate) fn look(&mut self, argument: &[u8]) {
        const LEFT_ALONE: [&[u8]; 7] = [
            b"-fdebug-prefix-map",
            b"-ffile-prefix-map",
            b"-fcanon-prefix-map",
            b"-fverbose-asm",
            b"-frecord-gcc-switches",
            b"-gsplit-dwarf",
            b"--output-pch",
        ];
        self.is_quiet |= argument == b"-quiet";
        self.is_debug |= argument.starts_with(b"-g");
        let is_verbose = matches!(argument, b"-v" | b"-version");
        self.is_left_alone |=
            is_verbose || LEFT_ALONE.iter().any(|known| argument.starts_with(known));
    }

    /// Whether it may be told something else, and would heed it.
    pub(crate) fn takes_option(&self) -> bool {
        self.is_quiet && self.is_debug && !self.is_left_alone
    }
}
