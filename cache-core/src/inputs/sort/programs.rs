//! What programs and files are, as far as their names and first lines tell.
//!
//! A script runs in its interpreter, which the kernel opens without a call that names it: what the process reads is
//! read by the interpreter. What is gone by the time that this is asked may have been a script of any kind.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::os::fs;

/// How the names of programs begin that run what they read, from archives too.
const INTERPRETERS: &[&str] = &[
    "bash", "beam", "busybox", "cmake", "dash", "deno", "dotnet", "elixir", "emacs", "erl",
    "escript", "gawk", "gdb", "ghc", "gjs", "guile", "java", "jruby", "julia", "ksh", "lua",
    "make", "mawk", "mono", "node", "ocaml", "octave", "perl", "php", "pwsh", "pypy", "python",
    "qemu", "Rscript", "R", "ruby", "sbcl", "scala", "sh", "tcl", "wasmtime", "wish", "zsh",
];

/// How the names of programs begin that make something readable which others may then run
/// without a file between them.
const UNPACKERS: &[&str] = &[
    "base64", "brotli", "bunzip", "bzcat", "bzip", "gpg", "gunzip", "gzip", "lz4", "openssl",
    "unxz", "unzip", "unzstd", "uudecode", "xz", "xzcat", "zcat", "zstd",
];

/// Programs that walk directories with gnulib's `fts`, which looks at the kind of file system.
const WALKERS: &[&str] = &[
    "chgrp", "chmod", "chown", "cp", "du", "find", "grep", "install", "ls", "mv", "rm",
];

/// Programs that make something of the times, owners and links of files.
const TELLERS: &[(&str, Tells)] = &[
    ("[", Tells::IfTold),
    ("bsdtar", Tells::Always),
    ("cp", Tells::IfPassedOn),
    ("cpio", Tells::Always),
    ("date", Tells::Always),
    ("diff", Tells::IfTold),
    ("du", Tells::IfTold),
    ("find", Tells::IfTold),
    ("git", Tells::OfItsTree),
    ("gmake", Tells::IfUnread),
    ("gzip", Tells::IfTold),
    ("install", Tells::IfPassedOn),
    ("ls", Tells::IfTold),
    ("make", Tells::IfUnread),
    ("mv", Tells::IfPassedOn),
    ("ninja", Tells::IfUnread),
    ("pax", Tells::Always),
    ("rsync", Tells::Always),
    ("samu", Tells::IfUnread),
    ("stat", Tells::Always),
    ("tar", Tells::Always),
    ("test", Tells::IfTold),
    ("touch", Tells::IfPassedOn),
    ("zip", Tells::Always),
];

/// What a program makes of the times, owners and links of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tells {
    /// It tells those of what it names, or puts them into what it makes. An archive that it opens is none of these.
    Always,
    /// So it does if its arguments say so.
    IfTold,
    /// It takes a file of its tree, which it looks at itself, for unchanged if they are as it remembers.
    OfItsTree,
    /// It compares them, which matters where nobody reads the file then: it was found to be older than what was made from it.
    IfUnread,
    /// It gives what it makes the times of what it looked at, if it is seen to give any.
    IfPassedOn,
}

/// How much of a file its first line is looked for in, bytes, as the kernel does.
const FIRST_LINE: u64 = 256;

/// Whether a program runs what it reads: by its name, or as a script for such a one.
pub(super) fn interprets(program: &Path) -> bool {
    if is_interpreter(program) {
        return true;
    }
    let Ok(start) = fs::read_start(program, FIRST_LINE) else {
        return true;
    };
    fs::interpreter(&start).is_some_and(|interpreter| {
        is_interpreter(&fs::canonicalize(&interpreter).unwrap_or(interpreter))
    })
}

/// Whether a program looks at the kind of file system only to walk directories faster.
pub(super) fn walks(program: &Path) -> bool {
    let name = program.file_name().unwrap_or_default();
    WALKERS.iter().any(|walker| name == *walker)
}

/// Whether a program of a toolchain is cargo.
pub(super) fn is_cargo(program: &Path) -> bool {
    program.file_name() == Some(OsStr::new("cargo"))
}

/// Whether cargo keeps in a file what the compiler said of itself, so that it need not ask again. It asks if the file
/// is not there, or speaks of another compiler; which one this is, is known.
pub(super) fn is_kept_by_cargo(path: &Path) -> bool {
    path.file_name() == Some(OsStr::new(".rustc_info.json"))
}

/// What a program makes of the times of files that it looks at, by its name.
pub(super) fn tells_times(program: &Path) -> Option<Tells> {
    let name = program.file_name().unwrap_or_default();
    let known = TELLERS.iter().find(|(known, _)| name == *known);
    known.map(|(_, tells)| *tells)
}

/// Whether a program is called as an interpreter or an unpacker is, perhaps with a version.
fn is_interpreter(program: &Path) -> bool {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    INTERPRETERS.iter().chain(UNPACKERS).any(|known| {
        let rest = name.strip_prefix(known);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphabetic()))
    })
}

/// `libx.so`, `libx.so.1.2`
pub(crate) fn is_shared_library(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    name.ends_with(b".so") || memchr::memmem::find(name, b".so.").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_read_by_their_interpreters() {
        let dir = tempfile::tempdir().unwrap();
        for (name, content, expected) in [
            ("python3.11", "", true),
            ("pythonic", "\x7fELF", false),
            ("tool", "#!/bin/sh\n", true),
            ("tool", "#!/usr/bin/perl -w\n", true),
            // Becomes another program by a call of its own.
            ("tool", "#!/usr/bin/env python3\n", false),
            ("tool", "#!/usr/bin/awk-like\n", false),
        ] {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            assert_eq!(interprets(&path), expected, "{name} {content}");
        }
        assert!(interprets(&dir.path().join("gone")));
    }
}
