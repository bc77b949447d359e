//! What the supervisor notes down.

use std::path::Path;
use std::sync::Arc;

use crate::stamp::Stamp;

/// What a system call was about to do with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Open it for reading only.
    Read,
    /// Open it for writing, or for both.
    Write {
        /// Whether what it held is discarded or must not exist (`O_TRUNC`, `O_EXCL`).
        fresh: bool,
    },
    /// Look at its metadata (`stat` and its kin).
    Stat,
    /// Ask whether it may be used (`access` and its kin).
    Ask,
    /// Ask where it points if it is a link.
    ReadLink,
    /// Make a directory there.
    MakeDir,
    /// Remove it, move it away, or change its length, owner, permissions or times.
    Alter,
    /// Make it the current directory.
    Enter,
    /// Execute it.
    Execute,
    /// Make it by renaming or linking something to it.
    Create,
    /// Make it a symbolic link.
    Symlink,
    /// Ask for the kernel's name and release. There is no path.
    AskKernel,
    /// Ask for the current directory. There is no path.
    AskDirectory,
    /// Talk to another process that was there before: a socket. There is no path.
    Talk,
}

/// One noted system call.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// The process (not the thread) that made the call.
    pub(crate) pid: u32,
    /// What it was about to do.
    pub(crate) access: Access,
    /// The absolute path; links are not resolved. Events of one path share it.
    pub(crate) path: Arc<Path>,
    /// What was there just before the call.
    pub(crate) found: Option<Stamp>,
    /// When, nanoseconds since the epoch.
    pub(crate) at: i128,
}

/// Everything seen of one process tree.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observation {
    /// The calls in order, but for repeated questions where a link points.
    pub(crate) events: Vec<Event>,
    /// Parents of the processes, child first.
    pub(crate) parents: Vec<(u32, u32)>,
    /// Whether nothing was missed.
    pub(crate) complete: bool,
}
