//! What a script may make of the paths that it is told.
//!
//! Every script is told where it works: `OUT_DIR`, `CARGO_MANIFEST_DIR`, the current directory, its own
//! program. Nearly all of them find files by these paths, or write them down as they are. Then the outcome is the same
//! elsewhere, or shows the path and is bound to the place. But a script may also count the letters of a path, hash
//! it, or take a part of it; that shows nowhere. The run of a script whose code may do so is bound to all the
//! places that it is told.
//!
//! | code | may, if |
//! |---|---|
//! | sources of the script, by the compiler's dep-info beside its program | what comes from a path is [taken apart](rust), or they name a hash function and a path |
//! | texts for other programs in them (`sh -c "…"`), if they name an interpreter | such a text names a path, and something that takes it apart |
//! | files of the package in languages of scripts that ran, or that a program read which may run them | likewise |
//!
//! It is a judgement of names, not of types, made to be right about code as people write it. Where it errs, a script runs once more
//! in each target directory (of 257 scripts of crates.io, it binds those of three packages, of which one does hash something), or the
//! run is served as it ever was. Not looked at are other crates that the script calls, and what tools of the system make
//! of a path that they are given. A script whose sources are not known, or cannot be read, may compute anything.

mod rust;
mod tokens;
mod words;

use std::ffi::OsStr;
use std::path::Path;

use memchr::memmem;

pub(super) use rust::may_compute as in_rust;

/// Variables that hold the paths of a script's own places.
const VARIABLES: [&str; 4] = [
    "OUT_DIR",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "PWD",
];

/// How other languages name the directory that they are in, or the script that they are.
const PLACES: [&str; 7] = [
    "pwd", "getcwd", ".cwd", "__file__", "abspath", "$0", "realpath",
];

/// Programs that are told by a text what to do.
const INTERPRETERS: [&str; 14] = [
    "sh", "bash", "dash", "zsh", "ksh", "perl", "python", "python2", "python3", "ruby", "node",
    "awk", "lua", "make",
];

/// What takes a text apart: words of shells, and of other languages.
const TAKES_APART: [&str; 27] = [
    "${#", "##", "%%", "%/", "sum", "wc", "basename", "dirname", "cut", "tr", "sed", "awk", "expr",
    "rev", "od", "xxd", "base64", "length", "len", "hash", "hashlib", "crc32", "digest", "Digest",
    "split", "replace", "..",
];

/// Extensions of scripts.
const EXTENSIONS: [&str; 10] = [
    "awk", "bash", "js", "ksh", "lua", "pl", "py", "rb", "sh", "zsh",
];

/// Scripts that generators of build systems leave in packages; they are everybody's.
const GENERATED: [&str; 12] = [
    "compile",
    "config.guess",
    "config.rpath",
    "config.status",
    "config.sub",
    "configure",
    "depcomp",
    "install-sh",
    "libtool",
    "ltmain.sh",
    "missing",
    "mkinstalldirs",
];

/// Whether a file may be a script of the package's own, by its name and its beginning.
pub(super) fn is_script(path: &Path, beginning: impl FnOnce() -> Vec<u8>) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let extension = path.extension().and_then(OsStr::to_str);
    if GENERATED.contains(&name) {
        return false;
    }
    match extension {
        Some(extension) => EXTENSIONS.contains(&extension),
        None => beginning().starts_with(b"#!"),
    }
}

/// Whether a text in another language may compute something from a path.
pub(super) fn in_text(text: &[u8]) -> bool {
    let any = |words: &[&str]| words.iter().any(|word| holds(text, word));
    (any(&VARIABLES) || any(&PLACES)) && any(&TAKES_APART)
}

/// Whether a word stands in a text: on its own, if it is one of letters. `md5sum` is a sum.
fn holds(text: &[u8], word: &str) -> bool {
    let is_letter = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    memmem::find_iter(text, word).any(|at| {
        let (before, rest) = text.split_at_checked(at).unwrap_or_default();
        let after = rest.get(word.len()..).unwrap_or_default();
        let begins =
            word == "sum" || !word.starts_with(char::is_alphanumeric) || !is_letter(before.last());
        begins && (!word.ends_with(char::is_alphanumeric) || !is_letter(after.first()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_name_a_path_and_take_it_apart() {
        for text in [
            "echo ${#OUT_DIR}",
            "basename $PWD",
            "echo $OUT_DIR | md5sum",
            "cd .. && pwd",
            "print(len(os.getcwd()))",
            "hashlib.md5(os.environ['OUT_DIR'].encode())",
        ] {
            assert!(in_text(text.as_bytes()), "{text}");
        }
        for text in [
            "echo said > $OUT_DIR/x",
            "cp a.h \"$OUT_DIR\"/include",
            "md5sum data.bin",
            "open(os.path.join(os.environ['OUT_DIR'], 'x'), 'w')",
        ] {
            assert!(!in_text(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn scripts_are_told_by_their_names() {
        let is = |name: &str, begins: &str| is_script(Path::new(name), || begins.into());
        assert!(is("gen.py", "") && is("tool", "#!/bin/sh") && is("a/x.sh", ""));
        assert!(!is("configure", "#!/bin/sh") && !is("a.c", "#!") && !is("LICENSE", "MIT"));
    }
}
