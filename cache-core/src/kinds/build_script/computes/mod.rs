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
//! | makefiles among them | a line names a path, and something that takes it apart |
//! | C code that was read | it takes the length of `__FILE__`; or of `argv[0]`, and something ran that the script made |
//!
//! It is a judgement of names, not of types, made to be right about code as people write it. Where it errs, a script runs once more
//! in each target directory (of 257 scripts of crates.io, it binds those of three packages, of which one does hash something), or the
//! run is served as it ever was. Not looked at are crates of registries that the script calls
//! (those of the workspace and beside it are), and what tools of the system make of a path that they are given. A script whose sources are not known, or cannot be read, may compute anything.

mod found;
mod hashing;
mod plain;
mod rust;
#[cfg(test)]
mod tests;
mod tokens;
mod words;

use std::ffi::OsStr;
use std::path::Path;

use memchr::memmem;

pub(super) use rust::may_compute as in_rust;

/// Variables that hold the paths of a script's own places.
const VARIABLES: [&str; 5] = [
    "OUT_DIR",
    "CARGO_TARGET_DIR",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "PWD",
];

/// How other languages name the directory that they are in, or the script that they are.
const PLACES: [&str; 14] = [
    "pwd", "getcwd", ".cwd", "__file__", "abspath", "$0", "realpath", "$1", "$2", "$@", "$*",
    "${1", "argv", "ARGV",
];

/// Programs that are told by a text what to do.
const INTERPRETERS: [&str; 14] = [
    "sh", "bash", "dash", "zsh", "ksh", "perl", "python", "python2", "python3", "ruby", "node",
    "awk", "lua", "make",
];

/// Programs that show a path of the script's, or something of a text that they are given.
const PROGRAMS: [&str; 13] = [
    "base64", "basename", "cut", "env", "expr", "hexdump", "od", "printenv", "pwd", "rev", "tr",
    "wc", "xxd",
];

/// What takes a text apart in scripts and in makefiles: above all what shells call for it.
const TOOLS: [&str; 15] = [
    "${#", "sum", "wc", "basename", "cut", "tr", "sed", "awk", "expr", "rev", "od", "xxd",
    "base64", "length", "hash",
];

/// What scripts take a text apart by besides: words of shells, and of other languages.
const OF_SCRIPTS: [&str; 59] = [
    "##",
    "%%",
    "%/",
    "dirname",
    "len",
    "hashlib",
    "crc32",
    "digest",
    "Digest",
    "split",
    "replace",
    "..",
    "=~",
    "IFS",
    "[-1",
    "[:",
    "[::",
    ":]",
    "adler32",
    "binascii",
    "bytes",
    "case",
    "charCodeAt",
    "chars",
    "commonpath",
    "crc",
    "createHash",
    "encode",
    "endswith",
    "enumerate",
    "fold",
    "grep",
    "gsub",
    "head",
    "index",
    "indexOf",
    "md5",
    "ord",
    "partition",
    "parts",
    "relative_to",
    "relpath",
    "removeprefix",
    "reverse",
    "reversed",
    "rindex",
    "rpartition",
    "rsplit",
    "sha1",
    "sha256",
    "slice",
    "sorted",
    "startswith",
    "substr",
    "substring",
    "tail",
    "unpack",
    "upper",
    "zlib",
];

/// What makefiles take a text apart by besides. They find their own directory by other functions.
const OF_MAKE: [&str; 5] = ["notdir", "word", "words", "subst", "findstring"];

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
    if let Some(extension) = extension {
        return EXTENSIONS.contains(&extension);
    }
    let text = beginning();
    // Those that a shell is told to run need not say so.
    let may_be = name.starts_with(char::is_lowercase) && !text.contains(&0);
    text.starts_with(b"#!") || may_be
}

/// Whether a text in another language may compute something from a path.
pub(super) fn in_text(text: &[u8], variables: &[String]) -> bool {
    let any = |words: &[&str]| words.iter().any(|word| holds(text, word));
    let has_variable = variables.iter().any(|name| holds(text, name));
    let has_path = has_variable || any(&VARIABLES) || any(&PLACES);
    has_path && (any(&TOOLS) || any(&OF_SCRIPTS) || expands_a_part(text))
}

/// Whether a file tells `make` what to do.
pub(super) fn is_makefile(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let is_named = ["Makefile", "makefile", "GNUmakefile"].contains(&name);
    is_named || [".mk", ".mak"].iter().any(|end| name.ends_with(end))
}

/// Whether a line of such a file takes apart a path.
pub(super) fn in_makefile(text: &[u8]) -> bool {
    text.split(|b| *b == b'\n').any(|line| {
        let any = |words: &[&str]| words.iter().any(|word| holds(line, word));
        let has_path = any(&VARIABLES) || any(&["CURDIR", "MAKEFILE_LIST", "pwd"]);
        has_path && (any(&TOOLS) || any(&OF_MAKE) || expands_a_part(line))
    })
}

/// Whether a shell is told to expand a part of something: `${name%…}`, `${name:3}`.
fn expands_a_part(text: &[u8]) -> bool {
    memmem::find_iter(text, "${").any(|at| {
        let rest = text.get(at + 2..).unwrap_or_default();
        let end = rest
            .iter()
            .position(|b| !b.is_ascii_alphanumeric() && *b != b'_');
        match end.and_then(|end| rest.get(end..)) {
            Some([b'%' | b'#' | b'/' | b'^' | b',' | b'@', ..]) => true,
            Some([b':', next, ..]) => !b"-=?+".contains(next),
            _ => false,
        }
    })
}

/// Whether a file is one that a compiler of C or C++ reads.
pub(super) fn is_c(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    extension.is_some_and(|e| ["c", "cc", "cpp", "cxx", "h", "hh", "hpp", "hxx"].contains(&e))
}

/// Whether code in C takes the length of the path that it was compiled by. The path itself would show.
pub(super) fn measures_file(text: &[u8]) -> bool {
    let forms = ["sizeof(__FILE__)", "sizeof __FILE__", "strlen(__FILE__)"];
    forms
        .iter()
        .any(|form| memmem::find(text, form.as_bytes()).is_some())
}

/// Whether code in C takes the length of something as if of the path that it was started by, if it is: `strlen(argv[0])`,
/// whatever that is called, or `strlen(*argv)`.
pub(super) fn measures_argument(text: &[u8]) -> bool {
    memmem::find_iter(text, "strlen(").any(|at| {
        let rest = text.get(at + "strlen(".len()..).unwrap_or_default();
        let is_end = |b: &u8| !b.is_ascii_alphanumeric() && !b"_*".contains(b);
        let end = rest.iter().position(is_end).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        name == b"*argv" || rest.starts_with(b"[0])")
    })
}

/// Whether shells and `make` treat a mark in a path as theirs, so that tools work otherwise, or not at all.
pub(super) fn is_special(mark: u8) -> bool {
    !mark.is_ascii_alphanumeric() && !b"/._-+\\".contains(&mark)
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
