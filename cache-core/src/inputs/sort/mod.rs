//! From what was observed to what counts as input.
//!
//! The observer reports every path that a process and its children opened, looked at,
//! executed or made. This module decides, for each path, which of these it was:
//!
//! | observed | becomes |
//! |---|---|
//! | opened for reading | `File`, or `Dir` |
//! | only looked at | `Exists`, or `Absent` |
//! | executed | `File`, and code; `Program` where it was found through `PATH` |
//! | tried to execute, and nothing there | `Absent`; `Program` where all of `PATH` was tried |
//! | written before it was read | an output, or a temporary file |
//!
//! What a path is, is decided by where it led at the time of the call, never by its spelling;
//! what it means besides depends on the process: a [`Subject`] says so, one for each
//! kind of unit (`rustc::inputs`, `build_script::inputs`). Never inputs are what the kernel tells of
//! the process itself (`kernel`), and what lies in a directory that the process itself made.
//! Inputs are recorded as they were spelled, so that a link which leads elsewhere later shows,
//! unless the way to them leads through what is the process's own.
//!
//! Code that is not the compiler's own (linkers, wrappers, macros, build scripts and their
//! tools) is treated alike: the libraries that it loads are code, and so is text that
//! it reads, unless that is source of a known kind; what it looks for in vain counts, also
//! where it was to be loaded or executed.
//!
//! What can go wrong, each ending in "not stored this time":
//! - An input changed while the process ran, or was changed so shortly before that a
//!   change after the reading would not show.
//! - A file was written outside the places where outputs go (a macro that writes a log, a
//!   linker map): a hit could not reproduce it.
//! - The process talked to another one that was there before, over a network or not.
//! - The observation is incomplete.

mod programs;
mod sorter;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustc_hash::FxHashSet;

use crate::inputs::input::FileType;
use crate::inputs::kernel::Fact;
use crate::inputs::modes::Looks;
use crate::inputs::names;
use crate::inputs::times::LooksAtTimes;
use crate::observe::{Event, Observation, Permissions};
use crate::os::env::Environment;
use crate::os::stamp::Stamp;
use crate::outcome::Refusal;

pub(crate) use programs::is_shared_library;
pub(crate) use sorter::Sorter;

/// What a path was to the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Its content, or its listing, was read.
    Read,
    /// Only its existence (or absence) was looked at.
    Looked,
}

/// One path that the result depends on.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: PathBuf,
    pub(crate) usage: Use,
    /// What was there when it was first used.
    pub(crate) found: Option<Stamp>,
    /// Whether it was changed so shortly before that another change could not be told.
    pub(crate) racy: bool,
    /// Whether it is a file of code that ran, outside the toolchain. For files read by
    /// other programs than a compiler this is a guess that their content may correct.
    pub(crate) code: Code,
}

/// How sure it is that a file is code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Code {
    No,
    /// Read by a compiler that runs macros: code if it is a program or a library, whatever its name.
    Loaded,
    /// Read by a program other than the compiler: code if its content can be one's.
    Perhaps,
    /// The same, by an interpreter, which may run what is compressed or no text.
    Interpreted,
    Yes,
}

/// What an observation comes to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    /// The inputs, in the order of their first use.
    pub(crate) seen: Vec<Seen>,
    /// Paths that were resolved or entered; links along them count.
    pub(crate) followed: Vec<PathBuf>,
    /// Those of them that were there and no links, and what they were.
    pub(crate) met: Vec<(PathBuf, FileType)>,
    /// Permissions that may have been minded.
    pub(crate) modes: Looks,
    /// Looks of those who may mind times.
    pub(crate) looks_at_times: LooksAtTimes,
    /// Paths that were found to be no links, and whether the same goes for all on the way to them.
    pub(crate) plain: BTreeSet<(PathBuf, bool)>,
    /// Paths whose extended attributes were asked for, and what was there.
    pub(crate) attributes: Vec<(PathBuf, Option<Stamp>)>,
    /// Paths that it was asked for whether they may be used, where somebody minds the answer or it is not
    /// the same for everybody, and what was there.
    pub(crate) asked: Vec<(PathBuf, Permissions, Option<Stamp>)>,
    /// Programs that were executed, or tried to, by path.
    pub(crate) executed: Vec<PathBuf>,
    /// Files written by the process and its children, in order.
    pub(crate) written: Vec<PathBuf>,
    /// The same by where they really are, with those written before.
    pub(crate) made: FxHashSet<Arc<Path>>,
    /// Files written by programs that ran before the process in question (a compiler
    /// wrapper's log).
    pub(crate) written_before: Vec<PathBuf>,
    /// Whether a compiler ran.
    pub(crate) compiled: bool,
    /// The table of libraries, as it was when the loaders of programs looked into it, and whether it had just changed.
    pub(crate) tables: Vec<(Stamp, bool)>,
    /// The names of libraries that were opened or looked for.
    pub(crate) libraries: BTreeSet<Vec<u8>>,
    /// What a program asked for that is no file.
    pub(crate) facts: BTreeSet<Fact>,
    /// Libraries that were read by a process of which it is not known what they ask for, by where they really are.
    pub(crate) unheard: BTreeSet<PathBuf>,
    /// Libraries, and the variables that they were heard to ask for.
    pub(crate) variables: BTreeSet<(PathBuf, Vec<u8>)>,
    /// Whether a macro asked for the current directory.
    pub(crate) asked_directory: bool,
    /// Files that the process made itself and then ran, or read as a script may be.
    pub(crate) own_code: Vec<(PathBuf, Code)>,
}

impl Summary {
    /// The libraries with macros that were loaded.
    pub(crate) fn macro_libraries(&self) -> impl Iterator<Item = &Path> {
        let libraries = self.seen.iter().filter(|seen| {
            seen.code == Code::Yes
                && seen.usage == Use::Read
                && seen.path.extension() == Some("so".as_ref())
                && !names::is_of_system(&seen.path)
        });
        libraries.map(|seen| seen.path.as_path())
    }

    /// Forgets of the directories that were met those in which something else was found: they are there, then.
    fn forget_implied(&mut self) {
        let seen = self.seen.iter().filter(|seen| seen.found.is_some());
        let seen = seen.map(|seen| seen.path.as_path());
        let met = self.met.iter().map(|(path, _)| path.as_path());
        let mut implied: FxHashSet<PathBuf> = FxHashSet::default();
        for path in seen.chain(met) {
            for dir in path.ancestors().skip(1) {
                if !implied.insert(dir.to_owned()) {
                    break;
                }
            }
        }
        let is_news = |(path, file_type): &(PathBuf, FileType)| {
            *file_type != FileType::Dir || !implied.contains(path)
        };
        self.met.retain(is_news);
    }
}

/// What a program is to the process that executes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// The compiler that the unit is about.
    Compiler,
    /// A program of the identified toolchain.
    OfToolchain,
    /// This program, as a wrapper that leaves the cache alone.
    Ourselves,
    /// The executable that the unit is about.
    Script,
    /// Any other.
    Foreign,
}

/// What sorting must know of the observed process.
pub(crate) trait Subject {
    /// What an executed program is, by its canonical path.
    fn program(&self, path: &Path) -> Program;

    /// Whether what happens before a compiler runs belongs to the unit.
    fn starts_at_once(&self) -> bool;

    /// Whether the compiler runs code that is not its own.
    fn runs_macros(&self) -> bool;

    /// Whether a path, by where it leads, is neither an input nor an output.
    fn is_elsewhere(&self, path: &Path) -> bool;

    /// Whether a path, by where it leads, is a place for outputs: what is there may be replaced.
    fn is_output(&self, path: &Path) -> bool;

    /// Whether what an event tells is in the key already, or irrelevant.
    fn is_covered(&self, event: &Event) -> bool;

    /// Whether links on the way to this path are the same wherever the key is.
    fn is_fixed(&self, path: &Path) -> bool;

    /// Whether the compiler only looks around in this directory.
    fn is_searched(&self, _path: &Path) -> bool {
        false
    }

    /// Whether this is the path of a crate that the compiler only looks for.
    fn is_candidate(&self, _path: &Path) -> bool {
        false
    }

    /// Whether this is the compiler's source, or a directory on the way to it.
    fn leads_to_source(&self, _path: &Path) -> bool {
        false
    }

    /// The environment that it was started with.
    fn env(&self) -> &Environment;

    /// Whether a file of text that a program other than the compiler reads may be code.
    fn may_be_script(&self, _path: &Path) -> bool {
        true
    }
}

/// Whether an event is a shell's look at the directory that it is told to be in (`PWD`). It only
/// decides how the shell calls that directory, and the name is a variable like others.
pub(crate) fn is_look_at_pwd(event: &Event, env: &Environment) -> bool {
    event.access.is_stat()
        && event.found.is_some_and(|f| f.file_type == FileType::Dir)
        && env
            .get("PWD")
            .is_some_and(|pwd| event.path.as_os_str() == pwd)
}

/// Whether a directory is one of those that `LD_LIBRARY_PATH` names.
pub(crate) fn is_library_path(path: &Path, env: &Environment) -> bool {
    let dirs = env.get("LD_LIBRARY_PATH");
    dirs.is_some_and(|dirs| std::env::split_paths(dirs).any(|dir| dir == path))
}

/// Sorts out an observation.
pub(crate) fn summarise(
    observation: &Observation,
    subject: &dyn Subject,
) -> Result<Summary, Refusal> {
    let mut sorter = Sorter::new(observation, subject)?;
    for event in &observation.events {
        sorter.add(event)?;
    }
    Ok(sorter.finish())
}
