//! From what was observed to what counts as input.
//!
//! The observer reports every path that the compiler and its children opened, looked at,
//! executed or made. This module decides, for each path, which of these it was:
//!
//! | observed | becomes |
//! |---|---|
//! | opened for reading | `File`, or `Dir` |
//! | only looked at | `Exists`, or `Absent` |
//! | executed | `File`, and code; `Program` where it was found through `PATH` |
//! | written before it was read | an output, or a temporary file |
//!
//! Not inputs: the identified toolchain (it is in the key), the incremental directory,
//! `/proc`, `/sys` and `/dev`, search directories given with `-L` (what is found there is
//! an input by itself), and the libraries that the dynamic loader opened for the
//! compiler before its `main`.
//!
//! What can go wrong, each ending in "not stored this time":
//! - An input changed while the compiler ran, or was changed so shortly before that a
//!   change after the reading would not show.
//! - A file was written outside the places where outputs go (a proc macro that writes a
//!   log, a linker map): a hit could not reproduce it.
//! - The observation is incomplete.

use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::input::FileType;
use crate::observe::{Access, Event, Observation};
use crate::stamp::Stamp;

use super::toolchain::Toolchain;

/// Why a compilation's result was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotStored {
    /// The compiler failed.
    Failed,
    /// Something was missed while observing.
    Incomplete,
    /// An input changed during the compilation or just before it.
    Changed,
    /// A file was written where a hit could not write it.
    SideEffect,
    /// An output could not be attributed to the invocation.
    UnknownOutput,
    /// An input could not be read afterwards.
    Unreadable,
    /// The store could not be written to.
    Store,
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
        }
    }
}

/// What a path was to the compilation.
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
    /// other programs than the compiler this is a guess that their content may correct.
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
    /// Programs that were executed, by path.
    pub(crate) executed: Vec<PathBuf>,
    /// Files written by the compiler and its children, in order.
    pub(crate) written: Vec<PathBuf>,
    /// Files written by programs that ran before the compiler (a compiler wrapper's log).
    pub(crate) written_before: Vec<PathBuf>,
}

/// Places and programs that need no recording.
pub(crate) struct Known<'a> {
    pub(crate) toolchain: &'a Toolchain,
    /// Where outputs go.
    pub(crate) out_dir: &'a Path,
    /// The directory of `-C incremental`.
    pub(crate) incremental: Option<&'a Path>,
    /// Directories of `-L`.
    pub(crate) search_dirs: &'a [PathBuf],
    /// Those of them that hold nothing but crates.
    pub(crate) crate_dirs: &'a [PathBuf],
    /// Whether a crate is named without its path, so that what else a search directory
    /// holds decides too.
    pub(crate) searches: bool,
    /// Whether code that is not the compiler's own runs in it.
    pub(crate) macros: bool,
    /// Whether the unit links.
    pub(crate) links: bool,
}

/// Sorts out an observation.
pub(crate) fn summarise(
    observation: &Observation,
    known: &Known<'_>,
) -> Result<Summary, NotStored> {
    if !observation.complete {
        return Err(NotStored::Incomplete);
    }
    let mut sorter = Sorter {
        known,
        processes: HashMap::new(),
        parents: observation.parents.iter().copied().collect(),
        positions: HashMap::new(),
        written: HashSet::new(),
        listed: HashSet::new(),
        summary: Summary::default(),
    };
    for event in &observation.events {
        sorter.add(event)?;
    }
    if !sorter.processes.values().any(|p| p.is_compiler) {
        return Err(NotStored::Incomplete);
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

struct Sorter<'a> {
    known: &'a Known<'a>,
    processes: HashMap<u32, Process>,
    parents: HashMap<u32, u32>,
    positions: HashMap<PathBuf, usize>,
    written: HashSet<PathBuf>,
    /// Search directories that the compiler has listed.
    listed: HashSet<PathBuf>,
    summary: Summary,
}

impl Sorter<'_> {
    fn add(&mut self, event: &Event) -> Result<(), NotStored> {
        let process = self.process(event.pid);
        match event.access {
            // It was there: the call fails, and nothing happens.
            Access::MakeDir if event.found.is_some() => {}
            Access::Write { .. } | Access::Create | Access::MakeDir => {
                self.wrote(event, process)?;
            }
            Access::Alter => self.alter(event, process)?,
            Access::Execute => self.execute(event, process),
            Access::Read => self.read(event, process),
            Access::ReadLink | Access::Enter => self.follow(event),
            Access::Stat | Access::Ask => self.look(event, process),
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
            under_compiler: parent.is_some_and(|p| p.under_compiler),
        };
        self.processes.insert(pid, process);
        process
    }

    fn execute(&mut self, event: &Event, before: Process) {
        if event.found.is_none() {
            // A search through PATH, recorded by what it found in the end.
            return;
        }
        let program = crate::fs::canonicalize(&event.path).unwrap_or_else(|_| event.path.clone());
        let in_sysroot = program.starts_with(&self.known.toolchain.sysroot);
        let name = program.file_name().unwrap_or_default();
        let is_driver = program == self.known.toolchain.driver;
        let compiler = in_sysroot && (is_driver || name == "rustc" || name == "clippy-driver");
        let process = Process {
            is_compiler: compiler,
            under_compiler: before.under_compiler || compiler,
            loading: true,
        };
        self.processes.insert(event.pid, process);
        if !compiler {
            self.summary.executed.push(event.path.clone());
            let code = if in_sysroot { Code::No } else { Code::Yes };
            self.note(event, Use::Read, code);
        }
    }

    fn wrote(&mut self, event: &Event, process: Process) -> Result<(), NotStored> {
        if self.is_elsewhere(&event.path) {
            return Ok(());
        }
        if !process.under_compiler {
            self.summary.written_before.push(event.path.clone());
            return Ok(());
        }
        let fresh = match event.access {
            Access::Write { fresh } => fresh || event.found.is_none(),
            _ => true,
        };
        // Opening a file for both reads what is there, unless it is an output that is
        // about to be replaced.
        let is_output = event.path.parent() == Some(self.known.out_dir);
        if !fresh && !is_output && !self.written.contains(&event.path) {
            return Err(NotStored::SideEffect);
        }
        if self.written.insert(event.path.clone()) {
            self.summary.written.push(event.path.clone());
        }
        Ok(())
    }

    /// Removing or changing what the compilation did not make itself cannot be repeated.
    fn alter(&self, event: &Event, process: Process) -> Result<(), NotStored> {
        let ours = self.written.contains(&event.path)
            || event.path.parent() == Some(self.known.out_dir)
            || self.is_elsewhere(&event.path);
        if process.under_compiler && event.found.is_some() && !ours {
            return Err(NotStored::SideEffect);
        }
        Ok(())
    }

    fn read(&mut self, event: &Event, process: Process) {
        let library = is_shared_library(&event.path);
        if process.loading {
            let by_loader = library || event.path.starts_with("/etc/ld.so.cache");
            if by_loader && (process.is_compiler || event.found.is_none()) {
                return;
            }
            if !by_loader {
                self.processes.entry(event.pid).or_default().loading = false;
            }
        }
        // The compiler lists each search directory once, before it loads any macro.
        let searched = process.is_compiler && self.known.search_dirs.contains(&event.path);
        if searched && !self.known.searches && self.listed.insert(event.path.clone()) {
            return;
        }
        let code = match (process.is_compiler, library) {
            (true, true) => Code::Yes,
            (true, false) => Code::No,
            (false, _) if process.loading || library => Code::No,
            (false, _) => Code::IfText,
        };
        let usage = if event.found.is_some() {
            Use::Read
        } else {
            Use::Looked
        };
        self.note(event, usage, code);
    }

    fn look(&mut self, event: &Event, process: Process) {
        let is_file = event.found.is_some_and(|f| f.file_type == FileType::File);
        if process.loading && event.access == Access::Stat && !is_file {
            // The loader looks whether its search directories exist.
            return;
        }
        if process.is_compiler && self.is_candidate(&event.path) {
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
        } else if !self.is_elsewhere(&event.path)
            && !event.path.starts_with(&self.known.toolchain.sysroot)
        {
            self.summary.followed.push(event.path.clone());
        }
    }

    fn note(&mut self, event: &Event, usage: Use, code: Code) {
        let path = &event.path;
        if self.is_elsewhere(path) || self.written.contains(path) || self.is_covered(event) {
            return;
        }
        if let Some(seen) = self
            .positions
            .get(path)
            .and_then(|&i| self.summary.seen.get_mut(i))
        {
            seen.code = seen.code.max(code);
            if usage == Use::Read && seen.usage == Use::Looked {
                seen.usage = usage;
                seen.found = event.found;
                seen.racy = event.found.is_some_and(|f| f.is_racy(event.at));
            }
            return;
        }
        let at = self.summary.seen.len();
        self.positions.insert(path.clone(), at);
        self.summary.seen.push(Seen {
            path: path.clone(),
            usage,
            found: event.found,
            racy: event.found.is_some_and(|f| f.is_racy(event.at)),
            code,
        });
    }

    /// Whether a path is in the key already, or is searched rather than read.
    fn is_covered(&self, event: &Event) -> bool {
        let path = event.path.as_path();
        let is_dir = event.found.is_some_and(|f| f.file_type == FileType::Dir);
        let known = self.known;
        // Crates found by their full names make the rest of a directory irrelevant; but a
        // macro may look into a directory of native libraries as into any other.
        let searched = known.crate_dirs.iter().any(|d| d == path)
            || (!known.macros && known.search_dirs.iter().any(|d| d == path));
        if is_dir && (path == known.out_dir || (!known.searches && searched)) {
            return true;
        }
        if !self.known.links
            && path.extension() == Some("rlib".as_ref())
            && crate::fs::exists(&path.with_extension("rmeta"))
        {
            // The same metadata again; whether the compiler finds it here depends on how
            // far a parallel build has come.
            return true;
        }
        if self.known.toolchain.covers(path) {
            return true;
        }
        // Of the rest of the sysroot, files that are read count (linkers, sources of the
        // standard library), and nothing else: what is looked for there is the same for
        // the same toolchain.
        path.starts_with(&self.known.toolchain.sysroot)
            && event.found.is_none_or(|f| f.file_type != FileType::File)
    }

    /// Whether a path is never an input nor an output.
    fn is_elsewhere(&self, path: &Path) -> bool {
        let system = ["/proc", "/sys", "/dev"]
            .iter()
            .any(|dir| path.starts_with(dir));
        // Shared memory is an ordinary file system, and people do build there.
        (system && !path.starts_with("/dev/shm"))
            || self
                .known
                .incremental
                .is_some_and(|dir| path.starts_with(dir))
    }

    /// Whether a path is that of a crate in a search directory. Native libraries, which
    /// the compiler looks for there too, are not: where there is one, it is used.
    fn is_candidate(&self, path: &Path) -> bool {
        let extension = path.extension().unwrap_or_default();
        let searched = |dir: &Path| self.known.search_dirs.iter().any(|d| d == dir);
        path.parent().is_some_and(searched)
            && (extension == "rlib" || extension == "rmeta" || extension == "so")
    }
}

/// `libx.so`, `libx.so.1.2`
fn is_shared_library(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    name.ends_with(b".so") || memchr::memmem::find(name, b".so.").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn stamp(file_type: FileType) -> Stamp {
        Stamp {
            dev: 1,
            ino: 1,
            size: 1,
            mtime: 0,
            ctime: 0,
            file_type,
            executable: false,
        }
    }

    /// `(pid, access, path, there)`
    type Call = (u32, Access, &'static str, bool);

    fn summary(calls: &[Call]) -> Result<Summary, NotStored> {
        let toolchain = Toolchain::for_tests(Digest::of(b""), Path::new("/tc"));
        let search_dirs = [PathBuf::from("/t/deps")];
        let known = Known {
            toolchain: &toolchain,
            out_dir: Path::new("/t/deps"),
            incremental: Some(Path::new("/t/incremental")),
            search_dirs: &search_dirs,
            crate_dirs: &[],
            searches: false,
            macros: false,
            links: true,
        };
        let exec = (1, Access::Execute, "/tc/bin/rustc", true);
        let events = std::iter::once(&exec).chain(calls);
        let events = events.map(|&(pid, access, path, there)| Event {
            pid,
            access,
            path: path.into(),
            found: there.then(|| stamp(FileType::File)),
            at: 0,
        });
        let observation = Observation {
            events: events.collect(),
            parents: vec![(1, 0), (2, 1)],
            complete: true,
        };
        summarise(&observation, &known)
    }

    fn paths(summary: &Summary) -> Vec<(&str, Use, Code)> {
        let seen = summary.seen.iter();
        seen.map(|s| (s.path.to_str().unwrap(), s.usage, s.code))
            .collect()
    }

    const WRITE: Access = Access::Write { fresh: true };

    #[test]
    fn files_read_and_looked_for_are_inputs() {
        let summary = summary(&[
            (1, Access::Read, "/lib/libc.so.6", true),
            (1, Access::Read, "/proc/self/maps", true),
            (1, Access::Stat, "/ws/src/a/mod.rs", false),
            (1, Access::Stat, "/ws/src/a.rs", true),
            (1, Access::Read, "/ws/src/a.rs", true),
            (1, Access::Read, "/t/deps/libmac.so", true),
            (1, Access::Stat, "/t/deps/libx.rmeta", true),
            (1, Access::Read, "/t/incremental/x", true),
        ])
        .unwrap();
        assert_eq!(
            paths(&summary),
            [
                ("/ws/src/a/mod.rs", Use::Looked, Code::No),
                ("/ws/src/a.rs", Use::Read, Code::No),
                ("/t/deps/libmac.so", Use::Read, Code::Yes),
            ]
        );
    }

    #[test]
    fn what_is_written_first_is_no_input() {
        let summary = summary(&[
            (1, WRITE, "/t/deps/x.o", false),
            (2, Access::Execute, "/usr/bin/cc", true),
            (2, Access::Read, "/lib/libc.so.6", true),
            (2, Access::Read, "/t/deps/x.o", true),
            (2, Access::Read, "/ws/link.ld", true),
            (2, Access::Create, "/t/deps/x", false),
        ])
        .unwrap();
        assert_eq!(
            paths(&summary),
            [
                ("/usr/bin/cc", Use::Read, Code::Yes),
                ("/lib/libc.so.6", Use::Read, Code::No),
                ("/ws/link.ld", Use::Read, Code::IfText),
            ]
        );
        assert_eq!(
            summary.written,
            [Path::new("/t/deps/x.o"), Path::new("/t/deps/x")]
        );
    }

    #[test]
    fn updating_a_file_in_place_cannot_be_repeated() {
        let update = Access::Write { fresh: false };
        let outcome = summary(&[(1, update, "/ws/log.txt", true)]);
        assert_eq!(outcome.unwrap_err(), NotStored::SideEffect);
        assert!(summary(&[(1, update, "/t/deps/x", true)]).is_ok());
    }

    #[test]
    fn an_observation_without_a_compiler_is_useless() {
        let observation = Observation {
            complete: true,
            ..Observation::default()
        };
        let toolchain = Toolchain::for_tests(Digest::of(b""), Path::new("/tc"));
        let known = Known {
            toolchain: &toolchain,
            out_dir: Path::new("/t"),
            incremental: None,
            search_dirs: &[],
            crate_dirs: &[],
            searches: false,
            macros: false,
            links: false,
        };
        let outcome = summarise(&observation, &known);
        assert_eq!(outcome.unwrap_err(), NotStored::Incomplete);
    }
}
