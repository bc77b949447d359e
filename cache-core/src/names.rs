//! Names of environment variables that occur in code.
//!
//! Reads of the environment cannot be observed. But a program that reads a variable
//! must know its name, and the name then stands among the program's bytes. So for every
//! file of code that took part in a compilation and is not part of the toolchain, the
//! variables that are set *and* whose names occur in the file as bytes are taken for
//! read. A name may stand anywhere: Rust puts string literals next to each other without
//! separators, so that looking for whole words would miss some.
//!
//! Some code asks for all variables that begin alike (`MY_TOOL_…`), or puts a name
//! together at run time. Then only the beginning stands among the bytes. So a variable
//! is taken for read too if a beginning of its name that ends in `_` occurs, and is not
//! itself part of a longer name there.
//!
//! Libraries are searched in the same way for variables that macros of theirs may ask the
//! compiler for (`env!`). Their documentation often shows such a line, which asks for
//! nothing: there the name stands between quotes, while the compiler writes the literals of
//! macros without them (`rustc_ast::token::Lit`).
//!
//! Which of the names asked for so far occur in a file is memoised by the file's digest
//! under `names/`:
//!
//! ```text
//! file = frame 'N' version 4 (see codec), body = map from name to whether it occurs
//! ```
//! Version history: 1, the first; 2, beginnings of names count; 3, debug information and
//! symbols do not; 4, nor do `CLANG` and the like for `LANG`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use aho_corasick::AhoCorasick;
use memchr::memmem::Finder;
use object::read::elf::{ElfFile64, ElfSection64};
use object::{Endianness, Object as _, ObjectSection as _, SectionFlags};

use crate::codec::{self, Kind};
use crate::digest::BlobRef;
use crate::env::Environment;
use crate::error::PathError;
use crate::fs;
use crate::store::Store;

pub(crate) const KIND: Kind = Kind {
    tag: b'N',
    version: 4,
};

/// Variables that are never taken for read.
///
/// They stand in every Rust program because the standard library names them, or change
/// with every shell and terminal without meaning anything to a compilation, or are
/// handled elsewhere (`PATH` by recording searches, the jobserver by passing it on).
const NOISE: &[&str] = &[
    // std: backtraces and thread stacks; no effect on what a program computes.
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
    "_",
    "PWD",
    "OLDPWD",
    "SHLVL",
    "SHELL",
    "TERM",
    "COLORTERM",
    "COLUMNS",
    "LINES",
    "LS_COLORS",
    "WINDOWID",
    "DISPLAY",
    // The jobserver.
    "CARGO_MAKEFLAGS",
    "MAKEFLAGS",
    "MFLAGS",
    "MAKELEVEL",
    "NUM_JOBS",
    // Ourselves: each of these either enters keys in its own right or must not.
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
];

fn is_noise(name: &OsStr) -> bool {
    NOISE.iter().any(|noise| name == *noise) || name.as_bytes().starts_with(b"CACHEWRAP_")
}

/// A file of code: its content and where to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Code<'a> {
    pub(crate) blob: BlobRef,
    pub(crate) path: &'a Path,
}

/// Names and values of variables.
pub(crate) type Variables = Vec<(Vec<u8>, Vec<u8>)>;

/// The variables that are set and whose names occur in any of the files, with their
/// values, ordered by name. Those that are `in_key` are left out.
pub(crate) fn variables(
    store: &Store,
    env: &Environment,
    code: &[Code<'_>],
    in_key: &dyn Fn(&OsStr) -> bool,
) -> Result<Variables, PathError> {
    let candidates: Vec<(&OsStr, &OsStr)> = env
        .iter()
        .filter(|(name, _)| !is_noise(name) && !in_key(name))
        .collect();
    let names: Vec<&[u8]> = candidates.iter().map(|(name, _)| name.as_bytes()).collect();
    let read = named(store, code, &names)?;
    let read = candidates.iter().zip(read).filter(|(_, read)| *read);
    Ok(read
        .map(|((name, value), _)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect())
}

/// Which of some names occur in any of the files.
pub(crate) fn named(
    store: &Store,
    code: &[Code<'_>],
    names: &[&[u8]],
) -> Result<Vec<bool>, PathError> {
    let mut any = vec![false; names.len()];
    let mut content = Vec::new();
    for code in code {
        let occurs = occurring(store, code, names, &mut content)?;
        let speaks = speaks_for_others(code.path);
        for ((any, occurs), name) in any.iter_mut().zip(occurs).zip(names) {
            *any |= occurs && !(speaks && is_of_locale(name));
        }
    }
    Ok(any)
}

/// Variables that choose a language. What a run depends on there is recorded as a fact (see
/// `build_script::asks`), for those who ask by way of the C library.
fn is_of_locale(name: &[u8]) -> bool {
    name == b"LANG" || name == b"LANGUAGE" || name.starts_with(b"LC_")
}

/// What the names of files begin with that name the variables of the language on behalf of
/// programs and scripts: libraries of languages, and interpreters before they call the first.
const SPEAK_FOR_OTHERS: &[&str] = &[
    "libc.so",
    "libc-2",
    "ld-",
    "libc++",
    "libstdc++",
    "libglib",
    "libicu",
    "libintl",
    "libLLVM",
    "bash",
    "perl",
    "libperl",
    "python",
    "libpython",
];

fn speaks_for_others(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let mut known = SPEAK_FOR_OTHERS.iter();
    known.any(|known| name.starts_with(known.as_bytes()))
}

/// `content` is a buffer: files may be many and large, and new memory is not cheap.
fn occurring(
    store: &Store,
    code: &Code<'_>,
    names: &[&[u8]],
    content: &mut Vec<u8>,
) -> Result<Vec<bool>, PathError> {
    let file = store.layout().names(code.blob.digest);
    let mut known: BTreeMap<Vec<u8>, bool> = fs::read_plain(&file)
        .ok()
        .and_then(|bytes| codec::decode(KIND, &bytes).ok())
        .unwrap_or_default();
    let unknown: Vec<&[u8]> = names
        .iter()
        .filter(|name| !known.contains_key(**name))
        .copied()
        .collect();
    if !unknown.is_empty() {
        fs::read_into(code.path, content)?;
        let occurring = search(content, &unknown);
        for (i, name) in unknown.iter().enumerate() {
            known.insert(name.to_vec(), occurring.contains(&i));
        }
        // Remembered only if these are the bytes that the digest names.
        if !store.is_read_only()
            && BlobRef::of(content) == code.blob
            && let Ok(frame) = codec::encode(KIND, &known)
        {
            // Losing it costs another search.
            let _ = store.replace_own(&file, "names", &frame);
        }
    }
    Ok(names
        .iter()
        .map(|name| known.get(*name).copied().unwrap_or(false))
        .collect())
}

/// Shorter beginnings of names are not looked for.
const MIN_BEGINNING: usize = 4;

/// The positions of those names that occur in `content`, as a whole or by a beginning.
fn search(content: &[u8], names: &[&[u8]]) -> BTreeSet<usize> {
    let parts = parts(content);
    // A name in a program written in C ends with a NUL, whatever precedes it. Programs
    // written in Rust, told by a name that their standard library contains, put literals
    // next to each other, and so may scripts.
    let is_c = content.starts_with(b"\x7fELF")
        && !parts
            .iter()
            .any(|part| memchr::memmem::find(part, b"RUST_BACKTRACE").is_some());
    let is_library = content.starts_with(b"!<arch>") || content.starts_with(b"rust\0");
    let mut patterns: Vec<(&[u8], usize)> = Vec::new();
    for (i, name) in names.iter().enumerate() {
        patterns.push((name, i));
        let ends = memchr::memchr_iter(b'_', name).map(|at| at + 1);
        let beginnings = ends.filter(|&end| !is_c && (MIN_BEGINNING..name.len()).contains(&end));
        patterns.extend(beginnings.filter_map(|end| Some((name.get(..end)?, i))));
    }
    let in_name = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_';
    let counts = |pattern: &[u8], i: usize, next: Option<&u8>| {
        let whole = names.get(i).is_some_and(|name| name.len() == pattern.len());
        match (whole, is_c) {
            (true, true) => next == Some(&0),
            (true, false) => true,
            (false, _) => !next.is_some_and(in_name),
        }
    };
    let mut occurring = BTreeSet::new();
    for part in parts {
        let byte = |at: usize| part.get(at);
        let is_text = |at: &Range<usize>| {
            let before = at.start.checked_sub(1).and_then(byte);
            before == Some(&b'"') && matches!(byte(at.end), Some(b'"' | b'\\'))
        };
        let found = |pattern: usize, at: Range<usize>| {
            if let Some(&(pattern, i)) = patterns.get(pattern)
                && counts(pattern, i, byte(at.end))
                && !(is_library && is_text(&at))
                && !is_in_other_text(part, pattern, at.start)
            {
                occurring.insert(i);
            }
        };
        if !find_all(part, &patterns, found) {
            return (0..names.len()).collect();
        }
    }
    occurring
}

/// Names, and texts in which they stand without being asked for: other names, and what the
/// crate `cc` sets for the compilers that it starts.
const OTHER_TEXTS: &[(&[u8], &[u8])] = &[
    (b"LANG", b"CLANG"),
    (b"LANG", b"VSLANG"),
    (b"LC_ALL", b"LC_ALLCVSLANG"),
];

fn is_in_other_text(content: &[u8], name: &[u8], start: usize) -> bool {
    let mut others = OTHER_TEXTS.iter().filter(|(other, _)| *other == name);
    others.any(|(_, text)| {
        let before = memchr::memmem::find(text, name).unwrap_or_default();
        let begin = start.checked_sub(before);
        begin.is_some_and(|begin| {
            content
                .get(begin..)
                .is_some_and(|rest| rest.starts_with(text))
        })
    })
}

/// Up to this number, patterns are looked for one after the other, which is then faster.
const FEW: usize = 8;

/// Shows every place where a pattern occurs, overlapping ones too: one name may contain another.
/// `false`: there are too many patterns to tell.
fn find_all(
    content: &[u8],
    patterns: &[(&[u8], usize)],
    mut found: impl FnMut(usize, Range<usize>),
) -> bool {
    if patterns.len() <= FEW {
        for (n, (pattern, _)) in patterns.iter().enumerate() {
            let finder = Finder::new(pattern);
            let mut from = 0;
            while let Some(next) = content.get(from..).and_then(|rest| finder.find(rest)) {
                let start = from + next;
                found(n, start..start + pattern.len());
                from = start + 1;
            }
        }
        return true;
    }
    // One pass for all names: macros are megabytes, and names are many.
    let Ok(searcher) = AhoCorasick::new(patterns.iter().map(|(pattern, _)| pattern)) else {
        return false;
    };
    for at in searcher.find_overlapping_iter(content) {
        found(at.pattern().as_usize(), at.range());
    }
    true
}

/// The content without the debug information and the symbols of a program, in which names
/// may stand but cannot be asked for, and which are most of it.
fn parts(content: &[u8]) -> Vec<&[u8]> {
    let mut skipped = skipped(content).unwrap_or_default();
    skipped.sort_unstable_by_key(|range| range.start);
    let mut parts = Vec::new();
    let mut at = 0;
    for range in skipped {
        parts.extend(content.get(at..range.start));
        at = at.max(range.end);
    }
    parts.extend(content.get(at..));
    parts
}

fn skipped(content: &[u8]) -> object::Result<Vec<Range<usize>>> {
    if !content.starts_with(b"\x7fELF") {
        return Ok(Vec::new());
    }
    let file = ElfFile64::<Endianness>::parse(content)?;
    let is_skipped = |section: &ElfSection64<'_, '_, Endianness>| {
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else {
            return false;
        };
        let is_loaded = sh_flags.contains(object::elf::SHF_ALLOC);
        let name = section.name_bytes().unwrap_or_default();
        !is_loaded && (name.starts_with(b".debug_") || name == b".symtab" || name == b".strtab")
    };
    let ranges = file.sections().filter(is_skipped).filter_map(|section| {
        let (start, len) = section.file_range()?;
        let start = usize::try_from(start).ok()?;
        Some(start..start.checked_add(usize::try_from(len).ok()?)?)
    });
    Ok(ranges.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_c_programs_end_with_a_nul() {
        let names: [&[u8]; 2] = [b"USER", b"LANG"];
        let found = search(b"\x7fELF..USERS\0xLANG\0", &names);
        assert_eq!(found, BTreeSet::from([1]));
    }

    #[test]
    fn the_beginning_of_a_name_may_be_all_there_is() {
        let names: [&[u8]; 4] = [b"MY_TOOL_PATH", b"MY_TOOL", b"GITHUB_SHA", b"CI_X"];
        let content = b"..RUST_BACKTRACE..MY_TOOL_text GITHUB_TOKEN CI_";
        assert_eq!(search(content, &names), BTreeSet::from([0, 1]));
        assert_eq!(search(b"\x7fELF MY_TOOL_\0", &names), BTreeSet::new());
    }

    #[test]
    fn a_name_in_a_longer_one_is_not_asked_for() {
        let names: [&[u8]; 2] = [b"LANG", b"LC_ALL"];
        let content = b"RUST_BACKTRACE.LC_ALLCVSLANGCRATE.WITH_CLANG.";
        assert_eq!(search(content, &names), BTreeSet::new());
        let content = b"RUST_BACKTRACE.LC_ALLCARGO_X.VSLANGLANG.";
        assert_eq!(search(content, &names), BTreeSet::from([0, 1]));
    }

    #[test]
    fn few_and_many_names_are_found_alike() {
        let content = b"#!/bin/sh\n$A_A_A_A.B_A_A $AB_X";
        let mut names: Vec<&[u8]> = vec![b"A_A", b"A_A_A", b"B_A", b"AB", b"A_B"];
        let few = search(content, &names);
        assert_eq!(few, BTreeSet::from([0, 1, 2, 3]));
        names.extend([b"Z".as_slice(); FEW]);
        assert_eq!(search(content, &names), few);
    }

    #[test]
    fn quoted_names_in_libraries_are_documentation() {
        let names: [&[u8]; 4] = [b"OUT_DIR", b"HOME", b"MY_DIR", b"MY_FILE"];
        for magic in ["!<arch>\n", "rust\0\0\0\x0a"] {
            let library = format!("{magic}env!(\"OUT_DIR\") \\\"HOME\\\" \u{7}MY_DIR\u{c1}\"MY_\"");
            assert_eq!(search(library.as_bytes(), &names), BTreeSet::from([2]));
        }
        let script = b"#!/bin/sh\necho \"HOME\"";
        assert_eq!(search(script, &names), BTreeSet::from([1]));
    }

    #[test]
    fn symbols_are_not_names_that_a_program_knows() {
        #[inline(never)]
        fn onlyasymbol() -> usize {
            std::hint::black_box(1)
        }
        assert_eq!(onlyasymbol(), 1);
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        // Made here, so that nothing but the function above is called that.
        let symbol = "ONLYASYMBOL".to_lowercase().into_bytes();
        assert!(memchr::memmem::find(&own, &symbol).is_some());
        let names: [&[u8]; 2] = [&symbol, b"RUST_BACKTRACE"];
        assert_eq!(search(&own, &names), BTreeSet::from([1]));
    }

    #[test]
    fn names_inside_other_text_are_found_and_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("cache"), false);
        let path = dir.path().join("code.so");
        let content = b"\x7fELF..helloMY_VARIABLEworld..RUST_BACKTRACE..";
        std::fs::write(&path, content).unwrap();
        let code = Code {
            blob: BlobRef::of(content),
            path: &path,
        };
        let env: Environment = [
            ("MY_VARIABLE", "1"),
            ("OTHER", "2"),
            ("RUST_BACKTRACE", "1"),
        ]
        .into_iter()
        .collect();
        let found = variables(&store, &env, std::slice::from_ref(&code), &|_| false).unwrap();
        assert_eq!(found, [(b"MY_VARIABLE".to_vec(), b"1".to_vec())]);
        // The second time the file is not needed any more.
        std::fs::remove_file(&path).unwrap();
        assert_eq!(variables(&store, &env, &[code], &|_| false).unwrap(), found);
    }
}
