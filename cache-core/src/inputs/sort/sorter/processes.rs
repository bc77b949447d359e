//! The processes of an observation: what each of them runs, and what follows from that.

use std::path::Path;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::super::Program;
use super::super::programs::{self, Tells};
use crate::inputs::modes;
use crate::observe::Event;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    pub(super) is_compiler: bool,
    /// Whether it runs the executable that the unit is about.
    pub(super) is_script: bool,
    /// Whether the compiler is this process or one of those that started it.
    pub(super) under_compiler: bool,
    /// Whether the dynamic loader is still at work, before `main`.
    pub(super) loading: bool,
    /// Whether it looks at the kind of file system only to walk directories faster.
    pub(super) walks: bool,
    /// Whether it is the toolchain's cargo.
    pub(super) is_cargo: bool,
    /// Whether it runs what it reads.
    pub(super) interprets: bool,
    /// What it makes of the times of files.
    pub(super) tells: Option<Tells>,
    /// Whether the code of the unit itself told it what to do.
    pub(super) is_told_by_unit: bool,
    /// Whether it is known to mind no permissions.
    pub(super) is_indifferent: bool,
}

/// The processes that were met so far.
pub(super) struct Processes {
    known: FxHashMap<u32, Process>,
    parents: FxHashMap<u32, u32>,
    /// The path that each process was executed by.
    running: FxHashMap<u32, Arc<Path>>,
    /// Which programs run what they read.
    interpreters: FxHashMap<Arc<Path>, bool>,
    /// Whether all of them count as if a compiler had started them.
    starts_at_once: bool,
}

impl Processes {
    /// `parents`: each process with its parent.
    pub(super) fn new(parents: &[(u32, u32)], starts_at_once: bool) -> Self {
        Self {
            known: FxHashMap::default(),
            parents: parents.iter().copied().collect(),
            running: FxHashMap::default(),
            interpreters: FxHashMap::default(),
            starts_at_once,
        }
    }

    /// Whether a process is one that is observed.
    pub(super) fn is_observed(&self, pid: u32) -> bool {
        self.parents.contains_key(&pid)
    }

    /// The parent of a process, if that was met.
    pub(super) fn parent(&self, pid: u32) -> Option<&Process> {
        self.known.get(self.parents.get(&pid)?)
    }

    /// The path that a process was executed by.
    pub(super) fn running(&self, pid: u32) -> Option<&Arc<Path>> {
        self.running.get(&pid)
    }

    /// A process as it is now. It starts as a copy of its parent.
    pub(super) fn find(&mut self, pid: u32) -> Process {
        if let Some(process) = self.known.get(&pid) {
            return *process;
        }
        let parent = self.parents.get(&pid);
        if let Some(running) = parent.and_then(|p| self.running.get(p)) {
            self.running.insert(pid, Arc::clone(running));
        }
        let parent = self.parent(pid);
        let process = Process {
            under_compiler: self.starts_at_once || parent.is_some_and(|p| p.under_compiler),
            is_script: parent.is_some_and(|p| p.is_script),
            interprets: parent.is_some_and(|p| p.interprets),
            tells: parent.and_then(|p| p.tells),
            is_told_by_unit: parent.is_some_and(|p| p.is_told_by_unit),
            is_indifferent: parent.is_some_and(|p| p.is_indifferent),
            ..Process::default()
        };
        self.known.insert(pid, process);
        process
    }

    /// A process has become a program; `is_told`: the code of the unit itself said so.
    pub(super) fn executes(
        &mut self,
        event: &Event,
        program: Program,
        before: Process,
        is_told: bool,
    ) {
        self.running.insert(event.pid, Arc::clone(&event.path));
        let is_compiler = program == Program::Compiler;
        let process = Process {
            is_compiler,
            is_script: program == Program::Script,
            under_compiler: before.under_compiler || is_compiler,
            loading: true,
            walks: programs::walks(&event.real),
            is_cargo: program == Program::OfToolchain && programs::is_cargo(&event.real),
            interprets: self.interprets(&event.real),
            tells: programs::tells_times(&event.real),
            is_told_by_unit: is_told,
            is_indifferent: match program {
                Program::Compiler | Program::Script => false,
                Program::OfToolchain | Program::Ourselves => true,
                Program::Foreign => modes::is_indifferent(&event.real),
            },
        };
        self.known.insert(event.pid, process);
    }

    /// The dynamic loader of a process has done its work.
    pub(super) fn has_loaded(&mut self, pid: u32) {
        self.known.entry(pid).or_default().loading = false;
    }

    fn interprets(&mut self, program: &Arc<Path>) -> bool {
        if let Some(known) = self.interpreters.get(program) {
            return *known;
        }
        let answer = programs::interprets(program);
        self.interpreters.insert(Arc::clone(program), answer);
        answer
    }
}
