//! Whose looks at times count, by the program that looked and by what became of it: see `inputs::times`.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Process, Sorter};
use crate::inputs::input::FileType;
use crate::inputs::names;
use crate::inputs::sort::programs::Tells;
use crate::inputs::times::Who;
use crate::observe::Event;
use crate::os::stamp::Stamp;

/// How somebody looked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// At what a path leads to.
    Followed,
    /// At what has this name itself.
    Itself,
    /// At what was opened, perhaps.
    Opened,
}

/// A look: the path, whether it was at what has this name itself, and what was there.
type Look = (PathBuf, bool, Stamp);

/// Looks of which it is not known yet whether they count.
#[derive(Default)]
pub(super) struct Times {
    /// Those of processes that may give what they make the times of what they looked at.
    may_be_given: FxHashMap<u32, Vec<Look>>,
    /// Processes that gave some.
    gave: FxHashSet<u32>,
    /// Those of programs that compare times, by where the files are.
    compared: FxHashMap<Arc<Path>, Look>,
    /// Files that somebody read or executed, by where they are.
    used: FxHashSet<Arc<Path>>,
}

impl Times {
    /// A file was read or executed.
    pub(super) fn is_used(&mut self, event: &Event) {
        self.used.insert(Arc::clone(&event.real));
    }
}

impl Sorter<'_> {
    /// Somebody looked at something who may mind times, or may have when it was opened.
    pub(super) fn note_look_at_times(&mut self, event: &Event, process: Process, how: How) {
        let Some(found) = event.found else {
            return;
        };
        let is_dir = found.file_type == FileType::Dir;
        let who = if self.asks_for_unit(process) {
            Who::Itself
        } else if process.is_compiler {
            return;
        } else {
            match process.tells {
                Some(Tells::Always) if how == How::Opened => return,
                Some(Tells::IfTold) if process.is_told_by_unit => Who::Teller,
                Some(Tells::IfTold) => Who::Interpreter,
                Some(Tells::OfItsTree) if how != How::Itself || is_gits_own(&event.real) => return,
                Some(Tells::Always | Tells::OfItsTree) => Who::Teller,
                Some(Tells::IfPassedOn) if self.times.gave.contains(&event.pid) => Who::Teller,
                Some(Tells::IfPassedOn) => {
                    let look = self.look_at(event, how, found);
                    let looks = self.times.may_be_given.entry(event.pid);
                    looks.or_default().push(look);
                    // Or it is told to copy only what is newer.
                    Who::Interpreter
                }
                Some(Tells::IfUnread) if is_dir || names::is_of_system(&event.real) => return,
                Some(Tells::IfUnread) => {
                    let look = self.look_at(event, how, found);
                    let looks = self.times.compared.entry(Arc::clone(&event.real));
                    looks.or_insert(look);
                    return;
                }
                // Shells look at directories for other reasons.
                None if process.interprets && !is_dir => Who::Interpreter,
                None => return,
            }
        };
        let look = self.look_at(event, how, found);
        self.add_look_at_times(who, look);
    }

    /// A process gives a file times: those of what it looked at, perhaps.
    pub(super) fn note_times_given(&mut self, pid: u32) {
        self.times.gave.insert(pid);
        for look in self.times.may_be_given.remove(&pid).unwrap_or_default() {
            self.add_look_at_times(Who::Teller, look);
        }
    }

    /// Who compares times finds that something need not be made again, and then nobody reads what it was made from.
    pub(super) fn note_times_compared(&mut self) {
        let compared = std::mem::take(&mut self.times.compared);
        if compared.keys().any(|real| !self.times.used.contains(real)) {
            for look in compared.into_values() {
                self.add_look_at_times(Who::Comparer, look);
            }
        }
    }

    fn look_at(&mut self, event: &Event, how: How, found: Stamp) -> Look {
        let path = self.recorded(event).to_path_buf();
        (path, how == How::Itself, found)
    }

    fn add_look_at_times(&mut self, who: Who, (path, itself, found): Look) {
        let looks = &mut self.summary.looks_at_times;
        looks.entry((who, path, itself)).or_insert(found);
    }
}

/// Whether a path is of git's own files, which it reads.
fn is_gits_own(path: &Path) -> bool {
    let mut parts = path.components();
    parts.any(|part| part.as_os_str().as_bytes().ends_with(b".git"))
}
