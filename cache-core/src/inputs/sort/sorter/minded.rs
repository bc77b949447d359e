//! What a process may have minded of what it looked at besides its content: see `inputs::modes`.

use std::os::unix::ffi::OsStrExt as _;

use super::times::How;
use super::{Process, Sorter};
use crate::inputs::input::FileType;
use crate::inputs::kernel;
use crate::inputs::modes::{self, Look};
use crate::inputs::sort::{is_library_path, is_look_at_pwd};
use crate::observe::{Access, Event, Permissions};

impl Sorter<'_> {
    /// Whether a process may mind what it is told of permissions and links.
    pub(super) fn minds(&self, process: Process) -> bool {
        if self.subject.starts_at_once() {
            true
        } else if process.is_compiler {
            self.loaded_macro
        } else {
            !process.is_indifferent
        }
    }

    /// A path was looked at.
    pub(super) fn note_mode(&mut self, event: &Event, process: Process) {
        let itself = event.access == Access::StatItself;
        if !event.access.is_stat() || !self.is_minded(event, process) {
            return;
        }
        let how = if itself { How::Itself } else { How::Followed };
        self.note_look_at_times(event, process, how);
        let env = self.subject.env();
        let is_dir = event.found.is_some_and(|f| f.file_type == FileType::Dir);
        let is_loaders = process.loading && is_library_path(&event.path, env);
        if is_dir && (is_loaders || process.is_indifferent) {
            return;
        }
        let mask = if !self.has_all_modes(event) {
            modes::ALL
        } else if itself {
            modes::NONE
        } else {
            return;
        };
        self.add_look(event, process, itself, mask);
    }

    /// A path was opened for reading, and the open file may be looked at.
    pub(super) fn note_opened(&mut self, event: &Event, process: Process) {
        if !self.is_minded(event, process) {
            return;
        }
        if event.found.is_some_and(|f| f.file_type != FileType::Dir) {
            self.note_look_at_times(event, process, How::Opened);
        }
        if !self.has_all_modes(event) {
            self.add_look(event, process, false, modes::OWNERS);
        }
    }

    /// A program was executed, or was not, which its permissions allowed or did not.
    pub(super) fn note_executed(&mut self, event: &Event) {
        let is_known = self.has_all_modes(event) || self.written.contains(&event.real);
        if !is_known && !self.is_irrelevant(event) {
            let execute = Permissions {
                execute: true,
                ..Permissions::default()
            };
            let path = self.recorded(event);
            let asked = (path.to_path_buf(), execute, event.found);
            self.summary.asked.push(asked);
        }
    }

    /// A path was found to be no link, or leads where it does for want of any on the way.
    pub(super) fn note_plain(&mut self, event: &Event, process: Process) {
        let is_plain = event.found.is_some_and(|f| f.file_type != FileType::Link);
        let is_of_source = process.is_compiler && self.subject.leads_to_source(&event.path);
        if is_plain && !is_of_source && self.is_minded(event, process) {
            let path = self.recorded(event).to_path_buf();
            let leads = event.access == Access::Enter;
            self.summary.plain.insert((path, leads));
        }
    }

    /// Whether permissions of files are inputs anyway.
    fn has_all_modes(&self, event: &Event) -> bool {
        let is_file = event.found.is_some_and(|f| f.file_type == FileType::File);
        self.subject.starts_at_once() && is_file
    }

    /// Whether what is there may matter, beside its content, to who looked.
    fn is_minded(&mut self, event: &Event, process: Process) -> bool {
        let extension = event.real.extension().and_then(|e| e.to_str());
        let is_compilers = process.is_compiler
            && (self.subject.is_output(&event.real)
                || matches!(extension, Some("rlib" | "rmeta" | "so")));
        self.minds(process)
            && event.found.is_some()
            && !is_compilers
            && !kernel::owns(&event.real)
            && !self.written.contains(&event.real)
            && !self.is_covered(event)
    }

    fn is_covered(&mut self, event: &Event) -> bool {
        let is_any_directory = is_look_at_pwd(event, self.subject.env());
        self.is_elsewhere(&event.real)
            || self.is_own(&event.real)
            || (self.subject.is_covered(event) && !is_any_directory)
    }

    fn add_look(&mut self, event: &Event, process: Process, itself: bool, mask: u16) {
        let Some(found) = event.found.filter(|f| f.file_type != FileType::Link) else {
            return;
        };
        let running = self.processes.running(event.pid);
        let running = running.filter(|_| found.file_type == FileType::Dir);
        let by = running.map(|path| path.to_path_buf());
        let look = Look {
            path: self.recorded(event).to_path_buf(),
            itself,
            mask,
            by_compiler: process.is_compiler,
            as_dot: event.path.as_os_str().as_bytes().ends_with(b"/."),
            by,
        };
        let found = (found.file_type, found.mode);
        self.summary.modes.entry(look).or_insert(found);
    }
}
