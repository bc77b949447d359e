//! Which program each process runs, as far as that tells one process's calls from another's.
//!
//! What a file means that is read depends on who reads it: to a shell it may be a script. Processes that
//! have become the same program are the same in that, so what one of them read need not be noted again of
//! the next. One that has not become a program since it was seen first, or of which that is not known
//! yet, is like no other.

use rustc_hash::FxHashMap;

/// The programs of processes, as numbers.
#[derive(Default)]
pub(super) struct Programs {
    of: FxHashMap<u32, u32>,
    /// By the address of their path, of which there is one.
    by_path: FxHashMap<usize, u32>,
    met: u32,
}

impl Programs {
    /// The number of no program.
    pub(super) const NONE: u32 = 0;

    fn next(&mut self) -> u32 {
        self.met += 1;
        self.met
    }

    /// The one that a process runs.
    pub(super) fn of(&mut self, pid: u32) -> u32 {
        if let Some(program) = self.of.get(&pid) {
            return *program;
        }
        self.changes(pid)
    }

    /// A process may have become another program, and it is not known which.
    pub(super) fn changes(&mut self, pid: u32) -> u32 {
        let program = self.next();
        self.of.insert(pid, program);
        program
    }

    /// A process has become the program at this path.
    pub(super) fn became(&mut self, pid: u32, path: usize) {
        let program = match self.by_path.get(&path) {
            Some(program) => *program,
            None => self.next(),
        };
        self.by_path.insert(path, program);
        self.of.insert(pid, program);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_that_became_the_same_program_are_alike() {
        let mut programs = Programs::default();
        let first = programs.of(1);
        assert_eq!(programs.of(1), first);
        assert_ne!(programs.of(2), first);
        programs.became(1, 0x10);
        programs.became(2, 0x10);
        assert_eq!(programs.of(1), programs.of(2));
        assert_ne!(programs.of(1), first);
        programs.became(2, 0x20);
        assert_ne!(programs.of(1), programs.of(2));
        let before = programs.of(2);
        programs.changes(2);
        assert_ne!(programs.of(2), before);
        programs.became(2, 0x20);
        assert_eq!(programs.of(2), before);
        assert_ne!(programs.of(3), Programs::NONE);
    }
}
