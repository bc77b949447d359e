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
//! What a path means besides depends on the process: a [`Subject`] says so, one for each
//! kind of unit (`rustc::seen`, `build_script::seen`). Never inputs are `/proc`, `/sys`
//! and `/dev`, and what lies in a directory that the process itself made.
//!
//! What can go wrong, each ending in "not stored this time":
//! - An input changed while the process ran, or was changed so shortly before that a
//!   change after the reading would not show.
//! - A file was written outside the places where outputs go (a macro that writes a log, a
//!   linker map): a hit could not reproduce it.
//! - The process talked to another one that was there before, over a network or not.
//! - The observation is incomplete.

use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::input::FileType;
use crate::observe::{Access, Event, Observation};
use crate::stamp::Stamp;

/// Why the result of a compilation or a build script's run was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotStored {
    /// It failed.
    Failed,
    /// Something was missed while observing.
    Incomplete,
    /// An input changed meanwhile or just before.
    Changed,
    /// A file was written where a hit could not write it.
    SideEffect,
    /// An output could not be attributed to the invocation, or is no file.
    UnknownOutput,
    /// An input could not be read afterwards.
    Unreadable,
    /// The store could not be written to.
    Store,
    /// It talked to another process, over a network or not.
    Network,
    /// A build script asks to be run every time.
    EveryTime,
    /// It read what differs from machine to machine, or from moment to moment.
    Machine,
    /// Something went wrong within cachewrap.
    Internal,
}

impl NotStored {
    /// The name used in counters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Incomplete => "incomplete",
            Self::Changed => "changed",
            Self::SideEffect => "side-effect",
            Self::UnknownOutput => "unknown-output",
            Self::Unreadable => "unreadable",
            Self::Store => "store",
            Self::Network => "network",
            Self::EveryTime => "every-time",
            Self::Machine => "machine",
            Self::Internal => "internal",
        }
    }
}

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
    /// Read by a program other than the compiler: code if it is text (a script).
    IfText,
    Yes,
}

/// What an observation comes to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    /// The inputs, in the order of their first use.
    pub(crate) seen: Vec<Seen>,
    /// Paths that were resolved or entered; links along them count.
    pub(crate) followed: Vec<PathBuf>,
    /// Programs that were executed, or tried to, by path.
    pub(crate) executed: Vec<PathBuf>,
    /// Files written by the process and its children, in order.
    pub(crate) written: Vec<PathBuf>,
    /// Files written by programs that ran before the process in question (a compiler
    /// wrapper's log).
    pub(crate) written_before: Vec<PathBuf>,
    /// Whether a compiler ran.
    pub(crate) compiled: bool,
    /// Whether a program asked which kernel this is.
    pub(crate) asked_kernel: bool,
    /// Whether a macro asked for the current directory.
    pub(crate) asked_directory: bool,
    /// Programs that were executed and that the process made itself.
    pub(crate) own_programs: Vec<PathBuf>,
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
    /// Any other.
    Foreign,
}

/// What sorting must know of the observed process.
pub(crate) trait Subject {
    /// What an executed program is, by its canonical path.
    fn program(&self, path: &Path) -> Program;

    /// Whether what happens before a compiler runs belongs to the unit.
    fn starts_at_once(&self) -> bool;

    /// Whether a path is neither an input nor an output.
    fn is_elsewhere(&self, path: &Path) -> bool;

    /// Whether a path is a place for outputs: what is there may be replaced.
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

    /// Whether a file of text that a program other than the compiler reads may be code.
    fn may_be_script(&self, _path: &Path) -> bool {
        true
    }
}

/// Sorts out an observation.
pub(crate) fn summarise(
    observation: &Observation,
    subject: &dyn Subject,
) -> Result<Summary, NotStored> {
    let mut sorter = Sorter::new(observation, subject)?;
    for event in &observation.events {
        sorter.add(event)?;
    }
    Ok(sorter.summary)
}

#[derive(Clone, Copy, Debug, Default)]
struct Process {
    is_compiler: bool,
    /// Whether the compiler is this process or one of those that started it.
    under_compiler: bool,
    /// Whether the dynamic loader is still at work, before `main`.
    loading: bool,
}

/// Takes events one after the other and sorts them out.
pub(crate) struct Sorter<'a> {
    subject: &'a dyn Subject,
    processes: HashMap<u32, Process>,
    parents: HashMap<u32, u32>,
    positions: HashMap<Arc<Path>, usize>,
    written: HashSet<Arc<Path>>,
    made_dirs: HashSet<Arc<Path>>,
    /// Search directories that the compiler has listed.
    listed: HashSet<Arc<Path>>,
    /// The subject's answers for the paths met so far.
    elsewhere: HashMap<Arc<Path>, bool>,
    /// Whether the compiler has opened a library of code that is not its own.
    loaded_macro: bool,
    pub(crate) summary: Summary,
}

impl<'a> Sorter<'a> {
    pub(crate) fn new(
        observation: &Observation,
        subject: &'a dyn Subject,
    ) -> Result<Self, NotStored> {
        if !observation.complete {
            return Err(NotStored::Incomplete);
        }
        Ok(Self {
            subject,
            processes: HashMap::new(),
            parents: observation.parents.iter().copied().collect(),
            positions: HashMap::new(),
            written: HashSet::new(),
            made_dirs: HashSet::new(),
            listed: HashSet::new(),
            elsewhere: HashMap::new(),
            loaded_macro: false,
            summary: Summary::default(),
        })
    }

    pub(crate) fn add(&mut self, event: &Event) -> Result<(), NotStored> {
        let process = self.process(event.pid);
        match event.access {
            // It was there: the call fails, and nothing happens.
            Access::MakeDir if event.found.is_some() => {}
            Access::Write { .. } | Access::Create | Access::Symlink | Access::MakeDir => {
                self.wrote(event, process)?;
            }
            Access::Alter => self.alter(event, process)?,
            Access::Execute => self.execute(event, process),
            Access::Read => self.read(event, process),
            Access::ReadLink | Access::Enter => self.follow(event),
            Access::Stat | Access::Ask => self.look(event, process),
            Access::Talk => return Err(NotStored::Network),
            Access::AskKernel => self.summary.asked_kernel = true,
            // The compiler itself needs it before it loads macros only.
            Access::AskDirectory => {
                self.summary.asked_directory |= process.is_compiler && self.loaded_macro;
            }
        }
        Ok(())
    }

    fn process(&mut self, pid: u32) -> Process {
        if let Some(process) = self.processes.get(&pid) {
            return *process;
        }
        // A process starts as a copy of its parent.
        let parent = self.parents.get(&pid).and_then(|p| self.processes.get(p));
        let process = Process {
            loading: false,
            is_compiler: false,
            under_compiler: self.subject.starts_at_once()
                || parent.is_some_and(|p| p.under_compiler),
        };
        self.processes.insert(pid, process);
        process
    }

    fn execute(&mut self, event: &Event, before: Process) {
        if event.found.is_none() {
            // Often a search through PATH, which goes on elsewhere.
            if self.subject.starts_at_once() {
                self.summary.executed.push(event.path.to_path_buf());
                self.note(event, Use::Looked, Code::No);
            }
            return;
        }
        let path =
            crate::fs::canonicalize(&event.path).unwrap_or_else(|_| event.path.to_path_buf());
        let program = self.subject.program(&path);
        let is_compiler = program == Program::Compiler;
        self.summary.compiled |= is_compiler;
        let process = Process {
            is_compiler,
            under_compiler: before.under_compiler || is_compiler,
            loading: true,
        };
        self.processes.insert(event.pid, process);
        let code = match program {
            Program::Compiler | Program::Ourselves => return,
            Program::OfToolchain => Code::No,
            Program::Foreign => Code::Yes,
        };
        self.summary.executed.push(event.path.to_path_buf());
        if code == Code::Yes && self.is_elsewhere(&event.path) {
            self.summary.own_programs.push(event.path.to_path_buf());
        }
        self.note(event, Use::Read, code);
    }

    fn wrote(&mut self, event: &Event, process: Process) -> Result<(), NotStored> {
        if self.is_elsewhere(&event.path) {
            return Ok(());
        }
        if !process.under_compiler {
            self.summary.written_before.push(event.path.to_path_buf());
            return Ok(());
        }
        let fresh = match event.access {
            Access::Write { fresh } => fresh || event.found.is_none(),
            _ => true,
        };
        // Opening a file for both reads what is there, unless it is an output that is
        // about to be replaced.
        let is_output = self.subject.is_output(&event.path);
        if !fresh && !is_output && !self.written.contains(&event.path) {
            return Err(NotStored::SideEffect);
        }
        if event.access == Access::MakeDir {
            self.made_dirs.insert(Arc::clone(&event.path));
        }
        if self.written.insert(Arc::clone(&event.path)) {
            self.summary.written.push(event.path.to_path_buf());
        }
        Ok(())
    }

    /// Removing or changing what the compilation did not make itself cannot be repeated.
    fn alter(&mut self, event: &Event, process: Process) -> Result<(), NotStored> {
        let ours = self.written.contains(&event.path)
            || self.subject.is_output(&event.path)
            || self.is_own(&event.path)
            || self.is_elsewhere(&event.path);
        if process.under_compiler && event.found.is_some() && !ours {
            return Err(NotStored::SideEffect);
        }
        Ok(())
    }

    fn read(&mut self, event: &Event, mut process: Process) {
        let library = is_shared_library(&event.path);
        if process.loading {
            let by_loader = library || event.path.starts_with("/etc/ld.so.cache");
            // A library that appears where a tool looks first is another tool; a compiler's
            // own libraries are in its identity.
            let matters = self.subject.starts_at_once();
            if by_loader && (process.is_compiler || (event.found.is_none() && !matters)) {
                return;
            }
            if !by_loader {
                // What is read first after loading may be all there is: a shell's script.
                process.loading = false;
                self.processes.insert(event.pid, process);
            }
        }
        // The compiler lists each search directory once, before it loads any macro.
        let searched = process.is_compiler && self.subject.is_searched(&event.path);
        if searched && self.listed.insert(Arc::clone(&event.path)) {
            return;
        }
        // What a tool loads reads the environment as the tool does.
        let loads_code = process.is_compiler || self.subject.starts_at_once();
        let code = if library && loads_code {
            Code::Yes
        } else if process.is_compiler
            || process.loading
            || library
            || !self.subject.may_be_script(&event.path)
        {
            Code::No
        } else {
            Code::IfText
        };
        let usage = if event.found.is_some() {
            Use::Read
        } else {
            Use::Looked
        };
        let is_macro = process.is_compiler && library && event.found.is_some();
        self.loaded_macro |= is_macro && !self.subject.is_covered(event);
        self.note(event, usage, code);
    }

    fn look(&mut self, event: &Event, process: Process) {
        let is_file = event.found.is_some_and(|f| f.file_type == FileType::File);
        let matters = self.subject.starts_at_once();
        if process.loading && event.access == Access::Stat && !is_file && !matters {
            // The loader looks whether its search directories exist.
            return;
        }
        if process.is_compiler && self.subject.is_candidate(&event.path) {
            // Candidates for crates: whether a library's twin is already there depends
            // on how far a parallel build has come.
            return;
        }
        self.note(event, Use::Looked, Code::No);
    }

    /// A path was resolved, or entered as a directory.
    fn follow(&mut self, event: &Event) {
        if event.found.is_none() {
            self.note(event, Use::Looked, Code::No);
        } else if !self.is_elsewhere(&event.path) && !self.subject.is_fixed(&event.path) {
            self.summary.followed.push(event.path.to_path_buf());
        }
    }

    fn note(&mut self, event: &Event, usage: Use, code: Code) {
        let path = &event.path;
        let position = self.positions.get(path).copied();
        let known = position.and_then(|i| self.summary.seen.get(i));
        let is_news = known.is_none_or(|seen| {
            seen.code < code || (seen.usage == Use::Looked && usage == Use::Read)
        });
        if !is_news || self.written.contains(path) || self.is_irrelevant(event) {
            return;
        }
        let racy = event.found.is_some_and(|f| f.is_racy(event.at));
        if let Some(seen) = position.and_then(|i| self.summary.seen.get_mut(i)) {
            seen.code = seen.code.max(code);
            if usage == Use::Read && seen.usage == Use::Looked {
                seen.usage = usage;
                seen.found = event.found;
                seen.racy = racy;
            }
            return;
        }
        let at = self.summary.seen.len();
        self.positions.insert(Arc::clone(path), at);
        self.summary.seen.push(Seen {
            path: path.to_path_buf(),
            usage,
            found: event.found,
            racy,
            code,
        });
    }

    fn is_irrelevant(&mut self, event: &Event) -> bool {
        let path = &event.path;
        self.is_elsewhere(path) || self.subject.is_covered(event) || self.is_own(path)
    }

    fn is_elsewhere(&mut self, path: &Arc<Path>) -> bool {
        if let Some(&known) = self.elsewhere.get(path) {
            return known;
        }
        let answer = self.subject.is_elsewhere(path);
        self.elsewhere.insert(Arc::clone(path), answer);
        answer
    }

    /// Whether a path lies in a directory that the process made.
    fn is_own(&self, path: &Path) -> bool {
        let mut above = path.ancestors().skip(1);
        !self.made_dirs.is_empty() && above.any(|dir| self.made_dirs.contains(dir))
    }
}

/// `libx.so`, `libx.so.1.2`
fn is_shared_library(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    name.ends_with(b".so") || memchr::memmem::find(name, b".so.").is_some()
}
