//! Taking events one after the other, and sorting them out.

mod minded;
mod processes;
mod times;

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::inputs::input::FileType;
use crate::inputs::kernel::{self, Fact, Told};
use crate::observe::{Access, Event, Observation, Permissions};

use super::programs::{self, is_shared_library};
use super::{Code, Program, Seen, Subject, Summary, Use};
use crate::outcome::{NotStored, Refusal};
use processes::{Process, Processes};
use times::Times;

/// Takes events one after the other and sorts them out.
pub(crate) struct Sorter<'a> {
    subject: &'a dyn Subject,
    processes: Processes,
    positions: FxHashMap<Arc<Path>, usize>,
    /// What was written, by where it is.
    written: FxHashSet<Arc<Path>>,
    /// The same by its spellings.
    spelled: FxHashSet<Arc<Path>>,
    made_dirs: FxHashSet<Arc<Path>>,
    /// Search directories that the compiler has listed.
    listed: FxHashSet<Arc<Path>>,
    /// The subject's answers for the paths met so far, by where these are in memory: one is met again and again.
    elsewhere: FxHashMap<usize, (Arc<Path>, bool)>,
    /// Whether the compiler has opened a library of code that is not its own.
    loaded_macro: bool,
    /// The process whose `realpath` asked for the current directory just now.
    resolving: Option<u32>,
    /// What each process used last.
    before: FxHashMap<u32, Arc<Path>>,
    /// Processes that have just moved a directory of their own away.
    moved: FxHashSet<u32>,
    times: Times,
    /// Processes of which it is known what their libraries ask for.
    heard: &'a BTreeSet<u32>,
    pub(crate) summary: Summary,
}

impl<'a> Sorter<'a> {
    pub(crate) fn new(
        observation: &'a Observation,
        subject: &'a dyn Subject,
    ) -> Result<Self, Refusal> {
        if let Some(missed) = &observation.missed {
            return Err(NotStored::Incomplete.of(missed));
        }
        Ok(Self {
            subject,
            processes: Processes::new(&observation.parents, subject.starts_at_once()),
            positions: FxHashMap::default(),
            written: FxHashSet::default(),
            spelled: FxHashSet::default(),
            made_dirs: FxHashSet::default(),
            listed: FxHashSet::default(),
            elsewhere: FxHashMap::default(),
            loaded_macro: false,
            resolving: None,
            before: FxHashMap::default(),
            moved: FxHashSet::default(),
            times: Times::default(),
            heard: &observation.heard,
            summary: Summary {
                variables: observation.asked.clone(),
                ..Summary::default()
            },
        })
    }

    pub(crate) fn add(&mut self, event: &Event) -> Result<(), Refusal> {
        let is_loading = event.access == Access::Read && is_shared_library(&event.real);
        if is_loading && !self.heard.contains(&event.pid) {
            self.summary.unheard.insert(event.real.to_path_buf());
        }
        let process = self.processes.find(event.pid);
        self.note_resolving(event, process);
        let before = self.before.insert(event.pid, Arc::clone(&event.real));
        let is_look = event.access.is_stat();
        if kernel::leads_by_process(&event.path) && self.is_foreign(process) && !is_look {
            return Err(NotStored::Machine.at(&event.path));
        }
        if kernel::owns(&event.real) {
            if event.access == Access::Read {
                // The dynamic loader reads nothing there.
                self.processes.has_loaded(event.pid);
            }
            if self.is_foreign(process) && kernel::tells_identity(event) {
                self.summary.facts.insert(Fact::Kernel);
            }
            if self.asks_for_unit(process) && kernel::tells_user(event) {
                self.summary.facts.insert(Fact::User);
            }
            let is_observed = |pid| self.processes.is_observed(pid);
            match kernel::told(event, is_observed, before.as_deref()) {
                Told::Machine if self.is_foreign(process) => {
                    return Err(NotStored::Machine.at(&event.path));
                }
                Told::Machine | Told::Nothing => return Ok(()),
                // The compiler itself learns nothing there.
                Told::Ordinary if !self.is_foreign(process) => return Ok(()),
                Told::Ordinary => {}
            }
        }
        if process.is_cargo && programs::is_kept_by_cargo(&event.real) {
            return Ok(());
        }
        match event.access {
            Access::Write { .. } | Access::Create | Access::Symlink | Access::MakeDir => {
                self.wrote(event, process)?;
            }
            Access::Alter => self.alter(event, process)?,
            Access::Execute => self.execute(event, process),
            Access::Read => self.read(event, process),
            Access::FindLibraries => self.find_libraries(event, process),
            Access::ReadLink | Access::Enter => self.follow(event, process),
            Access::Stat | Access::StatItself => self.look(event, process),
            Access::Ask(permissions) => {
                let is_minded = self.minds(process) && event.found.is_some();
                let asks = permissions.bits() != 0;
                let matters = self.is_foreign(process)
                    && (depends_on_user(event, permissions) || (is_minded && asks));
                if matters && !self.is_irrelevant(event) {
                    let path = self.recorded(event);
                    let asked = (path.to_path_buf(), permissions, event.found);
                    self.summary.asked.push(asked);
                }
                self.look(event, process);
            }
            Access::Attributes => {
                if self.is_foreign(process) && event.found.is_some() && !self.is_irrelevant(event) {
                    let path = self.recorded(event);
                    let asked = (path.to_path_buf(), event.found);
                    self.summary.attributes.push(asked);
                }
                self.look(event, process);
            }
            Access::FileSystem => {
                // Cargo looks whether it can lock a file there, and does without if not.
                let is_idle = process.walks || process.is_cargo;
                let matters = self.is_foreign(process) && !is_idle;
                // How much room there is where outputs go, is nothing of theirs; but tools look there whether
                // files can be locked or mapped.
                let asks = process.interprets || self.asks_for_unit(process);
                if matters && event.found.is_some() && (asks || !self.is_irrelevant(event)) {
                    return Err(NotStored::Machine.at(&event.path));
                }
                self.look(event, process);
            }
            Access::GiveTimes => self.note_times_given(event.pid),
            Access::Talk => return Err(NotStored::Network.at(&event.path)),
            Access::AskMachine => {
                self.summary.facts.insert(Fact::Kernel);
                if self.asks_for_unit(process) {
                    self.summary.facts.insert(Fact::Host);
                }
            }
            Access::AskUser => {
                if self.asks_for_unit(process) {
                    self.summary.facts.insert(Fact::User);
                }
            }
            // The compiler itself needs it before it loads macros only.
            Access::AskDirectory { resolving: false } => {
                self.summary.asked_directory |= process.is_compiler && self.loaded_macro;
            }
            Access::AskDirectory { resolving: true } => {
                self.resolving = Some(event.pid);
            }
        }
        Ok(())
    }

    /// The compiler resolves the relative path of its source, after macros were loaded too, and
    /// asks for the links on that way next. Whoever else resolves a relative path is a macro.
    fn note_resolving(&mut self, event: &Event, process: Process) {
        if self.resolving != Some(event.pid) {
            return;
        }
        self.resolving = None;
        let is_source =
            event.access == Access::ReadLink && self.subject.leads_to_source(&event.path);
        if process.is_compiler && self.loaded_macro && !is_source {
            self.summary.asked_directory = true;
        }
    }

    /// Ends sorting.
    pub(crate) fn finish(mut self) -> Summary {
        if self.resolving.is_some() && self.loaded_macro && !self.subject.starts_at_once() {
            self.summary.asked_directory = true;
        }
        self.note_times_compared();
        self.summary.made = self.written;
        self.summary.forget_implied();
        self.summary
    }

    /// Whether code other than the compiler's own runs in a process.
    fn is_foreign(&self, process: Process) -> bool {
        !process.is_compiler || self.subject.runs_macros()
    }

    /// Whether the code of the unit itself, or a macro, runs in a process, and not a tool.
    fn asks_for_unit(&self, process: Process) -> bool {
        process.is_script || (process.is_compiler && self.loaded_macro)
    }

    /// The same of a process that is about to run a program: it may be a copy of the compiler's.
    fn is_of_unit(&self, pid: u32, process: Process) -> bool {
        let parent = self.processes.parent(pid);
        process.is_script || parent.is_some_and(|p| p.is_compiler && self.loaded_macro)
    }

    fn execute(&mut self, event: &Event, before: Process) {
        let foreign = self.is_foreign(before);
        if event.found.is_none() {
            // Often a search through PATH, which goes on elsewhere.
            if foreign {
                self.summary.executed.push(event.path.to_path_buf());
                self.note(event, Use::Looked, Code::No);
            }
            return;
        }
        if event.failed {
            // Why, its content and permissions tell.
            self.note_executed(event);
            self.summary.executed.push(event.path.to_path_buf());
            self.note(event, Use::Read, Code::Perhaps);
            return;
        }
        let program = self.subject.program(&event.real);
        self.summary.compiled |= program == Program::Compiler;
        let is_told = self.is_of_unit(event.pid, before);
        self.processes.executes(event, program, before, is_told);
        let code = match program {
            Program::Compiler | Program::Ourselves => return,
            Program::OfToolchain => Code::No,
            Program::Foreign | Program::Script => Code::Yes,
        };
        self.note_executed(event);
        self.times.is_used(event);
        self.summary.executed.push(event.path.to_path_buf());
        if code == Code::Yes && self.is_made_here(event) {
            self.summary.own_code.push((event.real.to_path_buf(), code));
        }
        self.note(event, Use::Read, code);
    }

    /// Whether the process made, or may have made, what an event is about.
    fn is_made_here(&mut self, event: &Event) -> bool {
        self.is_elsewhere(&event.real)
            || self.written.contains(&event.real)
            || self.is_own(&event.real)
    }

    fn wrote(&mut self, event: &Event, process: Process) -> Result<(), Refusal> {
        let had_moved = self.moved.remove(&event.pid);
        if event.failed || (event.access == Access::MakeDir && event.found.is_some()) {
            // Nothing happened, for a reason that counts.
            self.look(event, process);
            return Ok(());
        }
        if event.access == Access::MakeDir || (event.access == Access::Create && had_moved) {
            self.made_dirs.insert(Arc::clone(&event.real));
        }
        if self.is_elsewhere(&event.real) {
            return Ok(());
        }
        let fresh = match event.access {
            Access::Write { fresh } => fresh || event.found.is_none(),
            _ => true,
        };
        let is_output = self.subject.is_output(&event.real);
        // What a wrapper leaves among the outputs (an object for the linker) is one.
        if !process.under_compiler && !is_output {
            self.summary.written_before.push(event.path.to_path_buf());
            if fresh {
                self.written.insert(Arc::clone(&event.real));
            }
            return Ok(());
        }
        // Opening a file for both reads what is there, unless it is an output that is
        // about to be replaced.
        if !fresh && !is_output && !self.written.contains(&event.real) {
            return Err(NotStored::SideEffect.at(&event.path));
        }
        self.written.insert(Arc::clone(&event.real));
        if self.spelled.insert(Arc::clone(&event.path)) {
            self.summary.written.push(event.path.to_path_buf());
        }
        Ok(())
    }

    /// Removing or changing what the compilation did not make itself cannot be repeated.
    fn alter(&mut self, event: &Event, process: Process) -> Result<(), Refusal> {
        if event.found.is_some_and(|f| f.file_type == FileType::Dir)
            && self.made_dirs.contains(&event.real)
        {
            self.moved.insert(event.pid);
        }
        let ours = self.written.contains(&event.real)
            || self.subject.is_output(&event.real)
            || self.is_own(&event.real)
            || self.is_elsewhere(&event.real);
        if process.under_compiler && event.found.is_some() && !ours {
            return Err(NotStored::SideEffect.at(&event.path));
        }
        if event.found.is_none() {
            self.look(event, process);
        }
        Ok(())
    }

    /// The dynamic loader looks up where libraries are.
    fn find_libraries(&mut self, event: &Event, process: Process) {
        // A compiler's own libraries are in its identity.
        if !(process.loading && process.is_compiler) {
            let table = event.found.map(|found| (found, found.is_racy(event.at)));
            self.summary.tables.extend(table);
        }
    }

    fn read(&mut self, event: &Event, mut process: Process) {
        let library = is_shared_library(&event.path) || is_shared_library(&event.real);
        if process.loading {
            let by_loader = library || event.path.starts_with("/etc/ld.so");
            // A library that appears where a tool looks first is another tool; a compiler's
            // own libraries are in its identity.
            if by_loader && process.is_compiler {
                return;
            }
            if !by_loader {
                // What is read first after loading may be all there is: a shell's script.
                self.processes.has_loaded(event.pid);
                process.loading = false;
            }
        }
        if library && let Some(name) = event.path.file_name() {
            self.summary.libraries.insert(name.as_bytes().to_vec());
        }
        // The compiler lists each search directory once, before it loads any macro.
        let searched = process.is_compiler && self.subject.is_searched(&event.real);
        if searched && self.listed.insert(Arc::clone(&event.real)) {
            return;
        }
        // The compiler looks at what its linker has just made; macros have long run then.
        let is_own_output = process.is_compiler
            && self.written.contains(&event.real)
            && self.subject.is_output(&event.real);
        if is_own_output {
            return;
        }
        // What a tool loads reads the environment as the tool does.
        let code = if library {
            Code::Yes
        } else if process.is_compiler && self.loaded_macro {
            Code::Loaded
        } else if process.is_compiler || !self.subject.may_be_script(&event.path) {
            Code::No
        } else if process.interprets {
            Code::Interpreted
        } else {
            Code::Perhaps
        };
        let usage = if event.found.is_some() {
            Use::Read
        } else {
            Use::Looked
        };
        if code != Code::No && usage == Use::Read && self.is_made_here(event) {
            self.summary.own_code.push((event.real.to_path_buf(), code));
        }
        self.times.is_used(event);
        if !library {
            self.note_opened(event, process);
        }
        let is_macro = process.is_compiler && library && event.found.is_some();
        self.loaded_macro |= is_macro && !self.subject.is_covered(event);
        self.note(event, usage, code);
    }

    fn look(&mut self, event: &Event, process: Process) {
        let is_file = event.found.is_some_and(|f| f.file_type == FileType::File);
        if process.loading && process.is_compiler && event.access.is_stat() && !is_file {
            // The loader looks whether its search directories exist.
            return;
        }
        if process.is_compiler && self.subject.is_candidate(&event.real) {
            // Candidates for crates: whether a library's twin is already there depends
            // on how far a parallel build has come.
            return;
        }
        self.note_mode(event, process);
        self.note(event, Use::Looked, Code::No);
    }

    /// A path was resolved, or entered as a directory.
    fn follow(&mut self, event: &Event, process: Process) {
        let Some(found) = event.found else {
            self.note(event, Use::Looked, Code::No);
            return;
        };
        if self.is_made_here(event)
            || self.subject.is_fixed(&event.real)
            || self.leads_from_fixed(&event.path)
        {
            return;
        }
        let path = self.recorded(event);
        self.summary.followed.push(path.to_path_buf());
        // That it is there was told: to macros, tools and scripts. Before it loads macros, a compiler resolves
        // what it is about to read or replace, and whoever starts one enters the directory that it works in.
        let is_told = self.subject.starts_at_once()
            || (process.is_compiler && self.loaded_macro)
            || (!process.is_compiler && process.under_compiler);
        let is_link = found.file_type == FileType::Link;
        let is_known = self.subject.is_output(&event.real) || self.subject.is_covered(event);
        if is_told {
            self.note_plain(event, process);
        }
        if !is_link && !is_known && is_told {
            self.summary.met.push((path.to_path_buf(), found.file_type));
        }
    }

    /// Whether a path is that of something fixed, wherever links lead from there.
    fn leads_from_fixed(&self, path: &Path) -> bool {
        let goes_up = || path.components().any(|part| part == Component::ParentDir);
        self.subject.is_fixed(path) && !goes_up()
    }

    fn note(&mut self, event: &Event, usage: Use, code: Code) {
        if self.written.contains(&event.real) || self.is_irrelevant(event) {
            return;
        }
        if event.found.is_some_and(|f| f.file_type == FileType::Link) {
            // A link that was not followed: what counts is that it is one, and its text.
            let path = self.recorded(event);
            self.summary.followed.push(path.to_path_buf());
            return;
        }
        let path = self.recorded(event);
        let position = self.positions.get(&path).copied();
        let known = position.and_then(|i| self.summary.seen.get(i));
        let is_news = known.is_none_or(|seen| {
            seen.code < code || (seen.usage == Use::Looked && usage == Use::Read)
        });
        if !is_news {
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
        self.positions.insert(Arc::clone(&path), at);
        self.summary.seen.push(Seen {
            path: path.to_path_buf(),
            usage,
            found: event.found,
            racy,
            code,
        });
    }

    /// The path to record: as it was spelled, so that links on the way are followed again,
    /// unless these are the process's own, or the kernel's, and mean nothing later.
    fn recorded(&mut self, event: &Event) -> Arc<Path> {
        let is_volatile = !Arc::ptr_eq(&event.path, &event.real)
            && (kernel::owns(&event.path)
                || self.is_elsewhere(&event.path)
                || self.is_own(&event.path)
                || self.leads_over_own_link(&event.path));
        Arc::clone(if is_volatile {
            &event.real
        } else {
            &event.path
        })
    }

    /// Whether a path leads over something that the process made.
    fn leads_over_own_link(&self, path: &Path) -> bool {
        path.ancestors().any(|above| self.written.contains(above))
    }

    fn is_irrelevant(&mut self, event: &Event) -> bool {
        self.is_elsewhere(&event.real) || self.subject.is_covered(event) || self.is_own(&event.real)
    }

    fn is_elsewhere(&mut self, path: &Arc<Path>) -> bool {
        let address = Arc::as_ptr(path).cast::<u8>() as usize;
        if let Some((_, known)) = self.elsewhere.get(&address) {
            return *known;
        }
        let answer = self.subject.is_elsewhere(path);
        self.elsewhere.insert(address, (Arc::clone(path), answer));
        answer
    }

    /// Whether a path lies in a directory that the process made.
    fn is_own(&self, path: &Path) -> bool {
        let mut above = path.ancestors().skip(1);
        !self.made_dirs.is_empty() && above.any(|dir| self.made_dirs.contains(dir))
    }
}

/// Whether the answer to a question for permissions is not the same for everybody.
fn depends_on_user(event: &Event, asked: Permissions) -> bool {
    let Some(found) = event.found else {
        return false;
    };
    let everybody = |bit: u32| found.mode & bit != 0;
    let is_executable_by_some = found.mode & 0o111 != 0 || found.file_type == FileType::Dir;
    (asked.read && !everybody(0o4))
        || (asked.write && !everybody(0o2))
        // Nobody may execute what has no such bit, not even root.
        || (asked.execute && !everybody(0o1) && is_executable_by_some)
}
