//! What came of a call that was let go on.
//!
//! What it was about to do is not yet what it did: it may fail. That is looked at when the same
//! thread calls again, or before anything else could take away again what it made.

use std::path::Path;

use std::sync::Arc;

use super::Supervisor;
use crate::inputs::input::FileType;
use crate::observe::seccomp::events::{Access, Depth, Event};
use crate::observe::seccomp::paths::address;
use crate::observe::seccomp::resolve::{Eyes, Resolved, Unclear};
use crate::os::fs;
use crate::os::stamp::{self, Stamp};

/// A call of which it is not yet known what it did.
#[derive(Clone, Copy)]
pub(super) struct Pending {
    /// The position of its event.
    event: usize,
    /// The program that its process ran before, if it was to become another.
    program: Option<(u64, u64)>,
}

impl Supervisor<'_> {
    /// What comes of the call that is noted next is to be looked at.
    pub(super) fn expect(&mut self, eyes: Eyes, access: Access) {
        let program = (access == Access::Execute).then(|| program_of(eyes.pid));
        let pending = Pending {
            event: self.seen.events.len(),
            program: program.flatten(),
        };
        self.pending.insert(eyes.tid, pending);
    }

    /// What is there was made. It might be gone before its thread calls again. What is not there
    /// may still come: the call was let go on, and need not be done yet.
    pub(super) fn settle_what_is_there(&mut self) {
        let events = &self.seen.events;
        self.pending.retain(|_, pending| {
            let event = events.get(pending.event);
            event.is_none_or(|event| {
                event.access == Access::Execute || !did_change(event).is_ok_and(|did| did)
            })
        });
    }

    /// A file that was at this place has just been removed, and looked like this before: whoever was about to make it
    /// has made it.
    pub(super) fn settle_removed(&mut self, real: &Path, found: &Stamp) {
        let events = &self.seen.events;
        self.pending.retain(|_, pending| {
            let event = events.get(pending.event);
            event.is_none_or(|event| {
                event.access == Access::Execute
                    || *event.real != *real
                    || !shows_change(event, found)
            })
        });
    }

    pub(super) fn settle_all(&mut self) -> Result<(), Unclear> {
        let mut threads: Vec<u32> = self.pending.keys().copied().collect();
        threads.sort_unstable();
        threads.into_iter().try_for_each(|tid| self.settle(tid))
    }

    /// Finds out what the last call of a thread came to.
    pub(super) fn settle(&mut self, tid: u32) -> Result<(), Unclear> {
        let Some(pending) = self.pending.remove(&tid) else {
            return Ok(());
        };
        let Some(event) = self.seen.events.get_mut(pending.event) else {
            return Ok(());
        };
        let did = if event.access == Access::Execute {
            did_execute(event, pending.program)
        } else {
            did_change(event)?
        };
        event.failed = !did;
        if did && event.access == Access::Execute && self.depth == Depth::Tree {
            self.programs.became(event.pid, address(&event.real));
        }
        if did || event.access == Access::Execute || event.found.is_some() {
            return Ok(());
        }
        // It failed for want of a directory, or for a reason that is not to be seen.
        let (real, pid) = (Arc::clone(&event.real), event.pid);
        let mut missing = None;
        for above in real.ancestors().skip(1) {
            match Stamp::of_name(above) {
                Ok(_) => break,
                Err(e) if e.is_missing() => missing = Some(above.to_owned()),
                Err(e) => return Err(e.to_string()),
            }
        }
        let Some(missing) = missing else {
            return Err(format!("could not be made: {}", real.display()));
        };
        let nothing = Resolved::missing(missing.clone());
        let eyes = Eyes { pid, tid };
        self.push(eyes, Access::Stat, &missing, nothing, stamp::now())
    }
}

/// Device and inode of the program that a process runs.
fn program_of(pid: u32) -> Option<(u64, u64)> {
    let stamp = Stamp::of(Path::new(&format!("/proc/{pid}/exe")))?;
    Some((stamp.dev, stamp.ino))
}

/// Whether a process became another program.
fn did_execute(event: &Event, before: Option<(u64, u64)>) -> bool {
    let Some(found) = event.found.filter(|f| f.file_type == FileType::File) else {
        return false;
    };
    let now = program_of(event.pid);
    let same = now.is_some() && now == before && now != Some((found.dev, found.ino));
    // A script runs in its interpreter, which may be the one that ran before.
    !same || fs::read_start(&event.real, 2).is_ok_and(|start| start == b"#!")
}

/// Whether a call made or changed what it was about to.
fn did_change(event: &Event) -> Result<bool, Unclear> {
    let now = match Stamp::of_name(&event.real) {
        Ok(now) => Some(now),
        Err(e) if e.is_missing() => None,
        Err(e) => return Err(e.to_string()),
    };
    let Some(now) = now else {
        return Ok(false);
    };
    Ok(shows_change(event, &now))
}

/// Whether what is there now tells that a call did what it was about to.
fn shows_change(event: &Event, now: &Stamp) -> bool {
    match (event.access, &event.found) {
        (_, None) => true,
        // These fail where something is.
        (Access::MakeDir | Access::Symlink, Some(_)) => false,
        (_, Some(before)) => (before.ino, before.ctime) != (now.ino, now.ctime),
    }
}
