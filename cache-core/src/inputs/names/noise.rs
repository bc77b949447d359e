//! Variables whose names mean nothing, and in whose code.
//!
//! A shell, an interpreter or a linker names what every program of its kind names: the
//! terminal, the search path, the directory for temporary files. That these stand in a tool
//! of the system says nothing about what it was used for. In the code of a package (its
//! build script, its macros, its own tools and scripts) nothing stands by chance, so there
//! a name counts whatever it is. Only what no code can make sense of never counts.

use std::path::Path;

/// Variables that are never taken for read, whoever names them.
const MEANINGLESS: &[&str] = &[
    // What the shell executed last, and the number of the window that it is in.
    "_",
    "WINDOWID",
    // The jobserver: descriptors, which differ each time.
    "CARGO_MAKEFLAGS",
    // Ourselves: each of these either enters keys in its own right or must not.
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
];

/// Variables that are not taken for read where a tool of the system names them.
const OF_TOOLS: &[&str] = &[
    "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE",
    "RUST_MIN_STACK",
    // The search path: programs found through it are recorded as searches.
    "PATH",
    // Where libraries of the toolchain are; set by cargo and rustup for each process.
    "LD_LIBRARY_PATH",
    // Where temporary files go.
    "TMPDIR",
    // Shells and terminals.
    "PWD",
    "OLDPWD",
    "SHLVL",
    "SHELL",
    "TERM",
    "COLORTERM",
    "COLUMNS",
    "LINES",
    "LS_COLORS",
    "DISPLAY",
    // How deep one `make` runs in another, and how many jobs there may be.
    "MAKELEVEL",
    "NUM_JOBS",
];

/// Variables that a shell sets for itself, whatever it was given.
const SET_BY_SHELLS: &[&str] = &["PWD", "OLDPWD", "SHLVL"];

/// What the names of files of the system begin with that name the variables of the language on
/// behalf of others: libraries, and interpreters, which call the C library for what they do.
const SPEAK_FOR_OTHERS: &[&str] = &[
    "bash",
    "libLLVM",
    "libc++",
    "libglib",
    "libicu",
    "libintl",
    "libperl",
    "libpython",
    "perl",
    "python",
];

/// Directories that hold what a system, not a package, brings along.
const OF_SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/nix/store",
    "/gnu/store",
];

fn is_listed(name: &[u8], list: &[&str]) -> bool {
    list.iter().any(|listed| name == listed.as_bytes())
}

/// Whether a variable says nothing, whoever names it.
pub(super) fn is_meaningless(name: &[u8]) -> bool {
    is_listed(name, MEANINGLESS) || name.starts_with(b"CACHEWRAP_")
}

/// Whether a variable says nothing where a tool of the system names it.
pub(super) fn is_of_tools(name: &[u8]) -> bool {
    is_listed(name, OF_TOOLS)
}

/// Whether a file of the system names variables of the language for others.
pub(super) fn speaks_for_others(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut known = SPEAK_FOR_OTHERS.iter();
    known.any(|known| name.starts_with(known))
}

/// Whether a shell sets a variable before its script can read what it was.
pub(super) fn is_set_by_shells(name: &[u8]) -> bool {
    is_listed(name, SET_BY_SHELLS)
}

/// Whether a file is part of the system, as far as its place tells.
pub(crate) fn is_of_system(path: &Path) -> bool {
    OF_SYSTEM.iter().any(|dir| path.starts_with(dir))
        && !path.starts_with("/usr/src")
        && !path.starts_with("/usr/local/cargo")
}

/// What of a variable's value can change an outcome: of the flags of `make`, those that say
/// more than how much to do at a time. `None`: nothing.
pub(super) fn what_counts(name: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    if name != b"MAKEFLAGS" && name != b"MFLAGS" {
        return Some(value.to_vec());
    }
    let words = value.split(|&b| b == b' ');
    let others = words.filter(|word| {
        !word.is_empty() && !word.starts_with(b"-j") && !word.starts_with(b"--jobserver")
    });
    let flags = others.collect::<Vec<_>>().join(&b' ');
    // How much `make` tells, and of which directory, changes nothing either.
    let is_silent = matches!(&*flags, b"" | b"s" | b"-s" | b"w" | b"-w" | b"--");
    (!is_silent).then_some(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_make_count_if_they_say_more_than_how_much_at_a_time() {
        let counts = |value: &str| what_counts(b"MAKEFLAGS", value.as_bytes());
        assert_eq!(counts(" -j8 --jobserver-auth=fifo:/tmp/x"), None);
        assert_eq!(counts("s"), None);
        assert_eq!(counts("-j8 CC=clang"), Some(b"CC=clang".to_vec()));
        assert_eq!(what_counts(b"HOME", b""), Some(Vec::new()));
    }

    #[test]
    fn the_system_is_told_by_its_directories() {
        assert!(is_of_system("/usr/bin/gcc".as_ref()));
        assert!(!is_of_system("/users/me/tool".as_ref()));
        assert!(!is_of_system(
            "/usr/local/cargo/registry/src/x/build.sh".as_ref()
        ));
    }
}
