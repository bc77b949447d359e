//! What code may make something of that `stat` tells besides a file's type and length, by the functions that it has.
//!
//! A program says by its symbols which of the standard library's functions it may call. Those for times are functions of
//! their own however it was compiled; those of `MetadataExt` and for permissions are none where it was optimised. There, and where it has no
//! symbols, its sources tell. Of times they tell too much: of calls that a feature leaves out.
//!
//! What can go wrong: code in other languages, the functions of `libc` and the like by themselves, and what a crate of a registry that was
//! optimised asks by `MetadataExt` are not found. A function that is there need not be called for files that matter.

use std::collections::BTreeSet;

use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::program::Program;

/// What may be minded, bit by bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Minds(u8);

impl Minds {
    pub(crate) const MODIFIED: Self = Self(1);
    pub(crate) const CHANGED: Self = Self(2);
    pub(crate) const CREATED: Self = Self(4);
    pub(crate) const ACCESSED: Self = Self(8);
    pub(crate) const OWNERS: Self = Self(16);
    pub(crate) const LINKS: Self = Self(32);
    /// The number of the file.
    pub(crate) const NUMBER: Self = Self(64);
    pub(crate) const PERMISSIONS: Self = Self(128);

    /// What may be if nothing is known. Who minds when a file was accessed cannot be cached.
    pub(crate) const UNKNOWN: Self = Self(!Self::ACCESSED.0);

    pub(crate) fn any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }

    /// Whether all of those are minded.
    pub(super) fn all(self, of: Self) -> bool {
        self.0 & of.0 == of.0
    }

    pub(crate) const fn and(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    pub(crate) fn without(self, less: Self) -> Self {
        Self(self.0 & !less.0)
    }

    pub(crate) fn bits(self) -> u8 {
        self.0
    }
}

/// Methods of `Metadata`.
const OF_METADATA: [(&str, Minds); 4] = [
    ("modified", Minds::MODIFIED),
    ("created", Minds::CREATED),
    ("accessed", Minds::ACCESSED),
    ("permissions", Minds::PERMISSIONS),
];

/// Methods of `MetadataExt`, and what the fields of C's `stat` are called behind `st_` and `stx_`.
const OF_SYSTEM: [(&str, Minds); 13] = [
    ("mtime", Minds::MODIFIED),
    ("mtime_nsec", Minds::MODIFIED),
    ("mtim", Minds::MODIFIED),
    ("ctime", Minds::CHANGED),
    ("ctime_nsec", Minds::CHANGED),
    ("ctim", Minds::CHANGED),
    ("atime", Minds::ACCESSED),
    ("atime_nsec", Minds::ACCESSED),
    ("btime", Minds::CREATED),
    ("uid", Minds::OWNERS),
    ("gid", Minds::OWNERS),
    ("nlink", Minds::LINKS),
    ("ino", Minds::NUMBER),
];

/// Crates that compare the numbers of files only to know whether two are the same.
const COMPARE_NUMBERS: [&[u8]; 2] = [b"same_file", b"walkdir"];

/// What a program's functions let it mind. `None`: its symbols do not tell.
pub(super) fn by_symbols(program: &Program<'_>) -> Option<Minds> {
    if !program.has_symbols() {
        return None;
    }
    let found = program.functions().map(|(address, name)| {
        let minds = of_function(name);
        if minds == Minds::NUMBER && only_compares(program, address) {
            return Minds::default();
        }
        minds
    });
    Some(found.fold(Minds::default(), Minds::and))
}

/// What a function lets its caller mind, by its mangled name of either form.
fn of_function(name: &[u8]) -> Minds {
    let is_after = |path: &[u8], method: &str| {
        memmem::find_iter(name, path).any(|at| {
            let rest = name.get(at + path.len()..).unwrap_or_default();
            let rest = rest.strip_prefix(b"$GT$").unwrap_or(rest);
            let of_linux = format!("{}st_{method}", method.len() + 3);
            let method = format!("{}{method}", method.len());
            rest.starts_with(method.as_bytes()) || rest.starts_with(of_linux.as_bytes())
        })
    };
    let by = |path: &[u8], methods: &[(&str, Minds)]| {
        let called = methods.iter().filter(|(method, _)| is_after(path, method));
        called.fold(Minds::default(), |minds, (_, more)| minds.and(*more))
    };
    by(b"Metadata", &OF_METADATA).and(by(b"MetadataExt", &OF_SYSTEM))
}

/// Whether only such crates call a function.
fn only_compares(program: &Program<'_>, function: u64) -> bool {
    let references = program.references(&BTreeSet::from([function]));
    let mut from = references
        .values()
        .flatten()
        .filter(|from| **from != function);
    program.shows_references
        && from.all(|from| {
            let caller = program.function_at(*from);
            caller.is_some_and(|(_, name)| {
                let mut known = COMPARE_NUMBERS.iter();
                known.any(|known| memmem::find(name, known).is_some())
            })
        })
}

/// What sources let their program mind, besides what the program's symbols show if it has any. Numbers are compared nearly everywhere where
/// they are asked for.
pub(crate) fn in_sources(sources: &[Vec<u8>], has_symbols: bool) -> Minds {
    let found = sources.iter().map(|source| in_source(source, has_symbols));
    found.fold(Minds::default(), Minds::and)
}

fn in_source(source: &[u8], has_symbols: bool) -> Minds {
    let has = |text: &str| memmem::find(source, text.as_bytes()).is_some();
    let mut minds = Minds::default();
    let is_shown = |minds: Minds| has_symbols && minds != Minds::PERMISSIONS;
    for (method, more) in OF_METADATA.into_iter().filter(|(_, of)| !is_shown(*of)) {
        let calls = has(&format!(".{method}()")) || has(&format!("Metadata::{method}"));
        minds = minds.and(if calls { more } else { Minds::default() });
    }
    let extends = has("MetadataExt");
    for (method, more) in OF_SYSTEM {
        let by_method = [format!(".{method}()"), format!("MetadataExt::{method}")];
        let by_field = [format!(".st_{method}"), format!(".stx_{method}")];
        let calls = (extends && by_method.iter().any(|text| has(text)))
            || by_field.iter().any(|text| has(text));
        minds = minds.and(if calls { more } else { Minds::default() });
    }
    if has("from_last_modification_time") {
        minds = minds.and(Minds::MODIFIED);
    }
    minds.without(Minds::NUMBER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_known_in_both_forms_of_their_names() {
        for (name, minds) in [
            (
                "_RNvMso_NtCsjrHSEGnQ3l9_3std2fsNtB5_8Metadata8modified",
                Minds::MODIFIED,
            ),
            (
                "_ZN3std2fs8Metadata11permissions17hcee9887e82cb8e9bE",
                Minds::PERMISSIONS,
            ),
            (
                "_ZN68_$LT$std..fs..Metadata$u20$as$u20$std..os..unix..fs..MetadataExt$GT$10ctime_nsec17h2a08E",
                Minds::CHANGED,
            ),
            (
                "_ZN69_$LT$std..fs..Metadata$u20$as$u20$std..os..linux..fs..MetadataExt$GT$8st_mtime17hfa77E",
                Minds::MODIFIED,
            ),
            (
                "_ZN3std2fs8Metadata3len17hcee9887e82cb8e9bE",
                Minds::default(),
            ),
            ("_ZN3std2fs8metadata17h377417500cf30127E", Minds::default()),
            (
                "_ZN68_$LT$std..fs..Metadata$u20$as$u20$std..os..unix..fs..MetadataExt$GT$3dev17h2a08E",
                Minds::default(),
            ),
        ] {
            assert_eq!(of_function(name.as_bytes()), minds, "{name}");
        }
    }

    #[test]
    fn sources_name_what_they_call() {
        let unix = "use std::os::unix::fs::MetadataExt;";
        for (source, minds) in [
            ("fs::metadata(p)?.modified()?".to_owned(), Minds::MODIFIED),
            (
                "m.and_then(|m| fs::Metadata::created(&m))".to_owned(),
                Minds::CREATED,
            ),
            (
                format!("{unix} m.uid() + m.nlink()"),
                Minds::OWNERS.and(Minds::LINKS),
            ),
            ("user.uid()".to_owned(), Minds::default()),
            (format!("{unix} m.ino() == n.ino()"), Minds::default()),
            (
                "libc::stat(p, &mut s); s.st_mtime".to_owned(),
                Minds::MODIFIED,
            ),
            (
                "let modified = true; self.modified = modified;".to_owned(),
                Minds::default(),
            ),
        ] {
            let sources = [source.clone().into_bytes()];
            assert_eq!(in_sources(&sources, false), minds, "{source}");
            let is_shown = source.contains("fs::metadata") || source.contains("fs::Metadata::");
            let besides = if is_shown { Minds::default() } else { minds };
            assert_eq!(in_sources(&sources, true), besides, "{source}");
        }
    }
}
