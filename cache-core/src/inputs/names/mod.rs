//! Names of environment variables that occur in code.
//!
//! Reads of the environment are not observed, but of libraries that can do so by one function only (`heard`). But a program that reads a variable
//! must know its name, and the name then stands among the program's bytes. So for every
//! file of code that took part in a compilation and is not part of the toolchain, the
//! variables that are set *and* whose names occur in the file are taken for read.
//!
//! What a file is decides how names stand in it (`content`): in programs (`elf`,
//! `program`), and in text, bytecode and libraries (`text`). Code that is compressed or
//! encrypted shows no names, and is taken to read every variable. What is looked for
//! besides whole names is in `patterns`; which names mean nothing, in `noise`, `excuse`
//! and `libc`. Macros may be told names by the code that calls them (`told`).
//!
//! Who names a variable decides what its value may have become. A package's own code may make anything of
//! it. The tools of a system were not written for this package: they find files by a path that a variable holds, or
//! write it down as it is. See `record` for what follows.
//!
//! Which of the names asked for so far occur in a file is memoised by the file's digest
//! (`memo`).

mod content;
mod elf;
mod excuse;
mod file;
mod heard;
mod home;
mod libc;
pub(crate) mod memo;
mod minds;
mod noise;
mod patterns;
mod program;
mod tells;
#[cfg(test)]
mod tests;
mod text;
mod told;
mod uses;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::PathError;
use crate::formats::digest::BlobRef;
use crate::os::env::Environment;
use crate::store::Store;

pub(crate) use content::Content;
pub(crate) use file::{content, is_program};
pub(crate) use memo::{Around, Known};
pub(crate) use minds::{Minds, in_sources as minds_in};
pub(crate) use noise::is_of_system;
pub(crate) use told::{Words, variables as told};

/// A file of code: its content and where to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Code<'a> {
    pub(crate) blob: BlobRef,
    pub(crate) path: &'a Path,
}

/// Names and values of variables.
pub(crate) type Variables = Vec<(Vec<u8>, Vec<u8>)>;

/// A variable that code names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: Vec<u8>,
    pub(crate) value: Vec<u8>,
    /// Whether other code than the system's names it.
    pub(crate) is_own: bool,
}

/// How a name occurs in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Naming {
    /// Not, or not so that it says anything.
    No,
    /// Within other text of a program, or as an ending: in code that nobody asked to be
    /// there, this says little.
    InText,
    /// As a text of its own.
    Alone,
}

/// What was found in a file.
struct Found {
    naming: Vec<Naming>,
    /// Whether it may hold more than shows.
    is_opaque: bool,
}

impl Found {
    fn new(names: usize) -> Self {
        Self {
            naming: vec![Naming::No; names],
            is_opaque: false,
        }
    }

    fn naming(&self, name: usize) -> Naming {
        self.naming.get(name).copied().unwrap_or(Naming::No)
    }

    fn note(&mut self, name: usize, naming: Naming) {
        if let Some(known) = self.naming.get_mut(name) {
            *known = naming.max(*known);
        }
    }

    /// Leaves out what a shell sets before its script can read what it was.
    fn forget_what_shells_set(&mut self, names: &[&[u8]]) {
        for (i, name) in names.iter().enumerate() {
            if noise::is_set_by_shells(name) {
                self.forget(i);
            }
        }
    }

    fn weaken(&mut self, name: usize) {
        if let Some(known) = self.naming.get_mut(name) {
            *known = Naming::InText.min(*known);
        }
    }

    fn forget(&mut self, name: usize) {
        if let Some(known) = self.naming.get_mut(name) {
            *known = Naming::No;
        }
    }
}

/// The variables that are set and whose names occur in any of the files, ordered by name. Those that are
/// `in_key` are left out.
pub(crate) fn variables<'a>(
    around: impl Into<Around<'a>>,
    env: &Environment,
    code: &[Code<'_>],
    in_key: &dyn Fn(&OsStr) -> bool,
) -> Result<Vec<Variable>, PathError> {
    let candidates: Vec<(&OsStr, &OsStr)> = env
        .iter()
        .filter(|(name, _)| !noise::is_meaningless(name.as_bytes()) && !in_key(name))
        .collect();
    let names: Vec<&[u8]> = candidates.iter().map(|(name, _)| name.as_bytes()).collect();
    // Whether each is read, and by a package's own code.
    let mut read = vec![(false, false); names.len()];
    let all_known = memo::all_known(around.into(), code, &names)?;
    for (code, known) in code.iter().zip(all_known) {
        let is_of_system = noise::is_of_system(code.path);
        let speaks = is_of_system && noise::speaks_for_others(code.path);
        for ((is_read, is_own), name) in read.iter_mut().zip(&names) {
            let counts = match known.naming(name) {
                Naming::No => false,
                _ if speaks && libc::is_of_locale(name) => false,
                Naming::InText => !is_of_system,
                Naming::Alone => !is_of_system || !noise::is_of_tools(name),
            };
            *is_read |= counts;
            *is_own |= counts && !is_of_system;
        }
    }
    let read = candidates.iter().zip(read);
    Ok(read
        .filter(|(_, (is_read, _))| *is_read)
        .filter_map(|((name, value), (_, is_own))| {
            let name = name.as_bytes();
            Some(Variable {
                name: name.to_vec(),
                value: noise::what_counts(name, value.as_bytes())?,
                is_own,
            })
        })
        .collect())
}

/// Whether any file of a package's own may name the user's home without naming the variable.
pub(crate) fn stands_for_home(code: &[Code<'_>]) -> Result<bool, PathError> {
    for code in code.iter().filter(|code| !is_of_system(code.path)) {
        if home::is_named_in(code.path)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Which of some names occur in any of the files.
pub(crate) fn named(
    store: &Store,
    code: &[Code<'_>],
    names: &[&[u8]],
) -> Result<Vec<bool>, PathError> {
    let mut any = vec![false; names.len()];
    for known in memo::all_known(store.into(), code, names)? {
        for (any, name) in any.iter_mut().zip(names) {
            *any |= known.naming(name) != Naming::No;
        }
    }
    Ok(any)
}

/// Notes that a file's naming a variable says nothing.
pub(crate) fn note_excused(store: &Store, code: &Code<'_>, name: &[u8]) -> Result<(), PathError> {
    memo::note_excused(store, code, name)
}

/// Whether a variable that code was heard to ask for says anything.
pub(crate) fn counts(name: &[u8], value: Option<&OsStr>) -> bool {
    let says_something = |value: &OsStr| noise::what_counts(name, value.as_bytes()).is_some();
    !noise::is_meaningless(name) && value.is_none_or(says_something)
}

/// Whether a library can ask for variables by the C library's `getenv` only, so that who stands before that hears of each.
pub(crate) fn is_heard(store: &Store, code: &Code<'_>) -> Result<bool, PathError> {
    memo::is_heard(store, code)
}

/// Whether a macro library can ask for variables that its callers name.
pub(crate) fn asks(store: &Store, code: &Code<'_>) -> Result<bool, PathError> {
    memo::asks(store, code)
}

/// What a program or library of code may mind of files. `by_sources` says so where its symbols do not tell all; whether they tell
/// anything is its argument.
pub(crate) fn minds(
    store: &Store,
    code: &Code<'_>,
    by_sources: impl FnOnce(bool) -> Minds,
) -> Result<Minds, PathError> {
    memo::minds(store, code, by_sources)
}

/// What code may tell an interpreter to ask for of files.
pub(crate) fn told_to_tell(path: &Path) -> Result<Minds, PathError> {
    file::told_to_tell(path)
}
