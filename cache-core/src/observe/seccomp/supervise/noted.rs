//! What processes have noted themselves.

use std::path::{Path, PathBuf};

use super::{Asked, Supervisor, unreadable};
use crate::observe::seccomp::calls::{self, Meaning};
use crate::observe::seccomp::events::{Access, Depth, Event};
use crate::observe::seccomp::notes::Noted;
use crate::observe::seccomp::paths::address;
use crate::observe::seccomp::programs::Programs;
use crate::observe::seccomp::resolve::{Eyes, Resolved, Unclear};

impl Supervisor<'_> {
    /// Takes in what processes have noted themselves.
    pub(super) fn take_in(&mut self, at_end: bool) -> Result<(), Unclear> {
        if self.notes.is_some() {
            self.forget_the_gone();
        }
        let Some(notes) = &self.notes else {
            return Ok(());
        };
        let mut calls = std::mem::take(&mut self.taken);
        let taken = notes.take(at_end, &mut calls).ok_or_else(nonsense);
        let end = taken.and_then(|()| calls.iter().try_for_each(|call| self.note_noted(call)));
        calls.clear();
        self.taken = calls;
        if let Some(notes) = &self.notes {
            notes.are_taken_in();
        }
        end
    }

    pub(super) fn note_noted(&mut self, noted: &Noted) -> Result<(), Unclear> {
        let (pid, call) = (noted.pid(), &noted.call());
        self.seen.noted += 1;
        if !self.pids.contains(&pid) {
            return Err("a note of an unknown process".to_owned());
        }
        self.processes.entry(call.tid).or_insert(pid);
        if self.moving.remove(&call.tid) {
            self.forget();
        }
        if noted.is_done() {
            return Ok(());
        }
        if noted.is_heard() {
            self.seen.heard.insert(pid);
            return Ok(());
        }
        if let Some((library, name)) = noted.asked() {
            self.seen
                .asked
                .insert((library.to_owned(), name.to_owned()));
            return Ok(());
        }
        let eyes = Eyes { pid, tid: call.tid };
        if noted.is_change() {
            return self.note_change(noted, eyes);
        }
        let Some(Meaning::Path(_, last, doing)) = calls::meaning(call.call) else {
            return Err(format!("a note of another call: {}", call.call));
        };
        let intent = calls::intent(call, last, doing).ok_or_else(unreadable)?;
        let is_there = match noted.answer {
            Some(answer) if answer >= 0 => Some(true),
            Some(answer) if answer == -libc::ENOENT => Some(false),
            _ => None,
        };
        let is_to_be_noted = |access: &Access| match access {
            // Where nothing is, it fails.
            Access::Execute => is_there == Some(false),
            access => access.is_look() || *access == Access::Read,
        };
        let access = intent.access.filter(is_to_be_noted);
        let access = access.ok_or_else(|| format!("a note of a change: {}", call.call))?;
        // Compilers look for the same headers again and again. What was answered as before needs no look
        // of ours: what the processes make or change themselves is seen elsewhere.
        let path = self.paths.intern(noted.path().ok_or_else(nonsense)?);
        let asked = (
            self.who(pid, access, is_there != Some(false)),
            access,
            address(&path),
            intent.follows,
        );
        // While something changes what paths lead to, nothing is known.
        let settled = is_there.filter(|_| self.moving.is_empty());
        if settled.is_some() && self.answered.get(&asked).copied() == settled {
            self.tell_known(noted, &asked, settled);
            return Ok(());
        }
        let resolved = self.resolver.resolve(&path, intent.follows, eyes)?;
        let is_other = is_there.is_some_and(|is_there| is_there != resolved.found.is_some());
        if is_other || self.resolver.led_elsewhere(noted.at()) {
            return Err(changed_meanwhile(&path));
        }
        let is_listing = resolved.is_listing(access);
        if let Some(is_there) = settled.filter(|_| !is_listing) {
            self.answered.insert(asked, is_there);
            self.tell_known(noted, &asked, settled);
        }
        if access == Access::Execute {
            let real = self.paths.intern(&resolved.real);
            return self.add(Event {
                pid,
                access,
                path,
                real,
                found: None,
                failed: true,
                at: noted.at(),
            });
        }
        self.push_opened(eyes, access, intent, &path, resolved, noted.at())
    }

    /// A plain file has got a name or lost one. What it was before was noted too.
    fn note_change(&mut self, noted: &Noted, eyes: Eyes) -> Result<(), Unclear> {
        let change = noted.change().ok_or_else(nonsense)?;
        let (from, at) = (change.from, noted.at());
        let real = self.place(from, eyes, at)?;
        let Some(to) = change.to else {
            self.settle_removed(&real, &change.found);
            let resolved = Resolved::plain(real, change.found);
            return self.happened(eyes, Access::Alter, from, &resolved, at);
        };
        let resolved = Resolved::plain(real, change.found);
        self.push(eyes, Access::Read, from, resolved, at)?;
        let resolved = Resolved::missing(self.place(to, eyes, at)?);
        self.happened(eyes, Access::Create, to, &resolved, at)
    }

    /// Where a name is, whatever has become of it.
    fn place(&mut self, path: &Path, eyes: Eyes, at: i128) -> Result<PathBuf, Unclear> {
        let place = self.resolver.place(path, eyes)?;
        place
            .filter(|_| !self.resolver.led_elsewhere(at))
            .ok_or_else(|| changed_meanwhile(path))
    }

    /// Tells processes what need not be noted again, whoever asks, or by the same program.
    pub(super) fn tell_known(
        &self,
        noted: &Noted,
        (who, access, ..): &Asked,
        is_there: Option<bool>,
    ) {
        // In a compiler, a macro may look for itself at what the compiler has looked at.
        let is_by_program = self.depth == Depth::Tree && access.is_stat();
        let is_told_apart = *who != Programs::NONE && !is_by_program;
        if let (Some(notes), false, Some(is_there)) = (&self.notes, is_told_apart, is_there) {
            notes.is_known(noted, is_there);
        }
    }
}

fn changed_meanwhile(path: &Path) -> Unclear {
    format!("changed meanwhile: {}", path.display())
}

/// What nobody writes on purpose.
fn nonsense() -> Unclear {
    "notes make no sense".to_owned()
}
