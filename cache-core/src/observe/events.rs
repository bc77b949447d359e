//! What the supervisor notes down.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::os::stamp::Stamp;

/// How closely a process is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// What a compiler and the macros in it may do: opening, looking, executing, renaming,
    /// making directories, removing, changing permissions, using sockets, asking for facts.
    Usual,
    /// Also what a tree of any programs may do besides: changing other properties of files,
    /// waiting for others to talk.
    Tree,
}

/// The permissions that a question is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Permissions {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) execute: bool,
}

impl Permissions {
    /// As `access(2)` has them: `R_OK`, `W_OK` and `X_OK`.
    pub(crate) fn bits(self) -> u8 {
        4 * u8::from(self.read) + 2 * u8::from(self.write) + u8::from(self.execute)
    }
}

/// What a system call was about to do with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    /// Open it for reading only.
    Read,
    /// Open it for writing, or for both.
    Write {
        /// Whether what it held is discarded or must not exist (`O_TRUNC`, `O_EXCL`).
        fresh: bool,
    },
    /// Read where libraries are, by the dynamic loader.
    FindLibraries,
    /// Look at its metadata (`stat` and its kin).
    Stat,
    /// Look at the metadata of what has this name itself, which may be a link (`lstat` and its kin).
    StatItself,
    /// Ask whether it may be used (`access` and its kin).
    Ask(Permissions),
    /// Ask for its extended attributes.
    Attributes,
    /// Ask for the file system that it is in.
    FileSystem,
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
    /// Ask for the names of the kernel and the machine. There is no path.
    AskMachine,
    /// Ask who the user is. There is no path.
    AskUser,
    /// Ask for the current directory. There is no path.
    AskDirectory {
        /// Whether `realpath` seems to ask, for a relative path.
        resolving: bool,
    },
    /// Give some file times that are told. There is no path.
    GiveTimes,
    /// Talk to another process that was there before: a socket. There is no path.
    Talk,
}

impl Access {
    /// Whether it only asks, and neither reads content nor changes anything.
    pub(crate) fn is_look(self) -> bool {
        matches!(
            self,
            Self::Stat
                | Self::StatItself
                | Self::Ask(_)
                | Self::Attributes
                | Self::FileSystem
                | Self::ReadLink
                | Self::Enter
        )
    }

    /// Whether it looks at metadata.
    pub(crate) fn is_stat(self) -> bool {
        matches!(self, Self::Stat | Self::StatItself)
    }

    /// Whether what another call made may be gone afterwards.
    pub(crate) fn takes_away(self) -> bool {
        matches!(self, Self::Alter | Self::Create)
    }

    /// Whether it may fail without that being told by what was there before.
    pub(crate) fn may_fail_unseen(self) -> bool {
        self.changes_paths() && self != Self::Alter || self == Self::Execute
    }

    /// Whether it may change what paths there are, or what they lead to.
    pub(crate) fn changes_paths(self) -> bool {
        matches!(
            self,
            Self::Write { .. } | Self::MakeDir | Self::Alter | Self::Create | Self::Symlink
        )
    }
}

/// One noted system call.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// The process (not the thread) that made the call.
    pub(crate) pid: u32,
    /// What it was about to do.
    pub(crate) access: Access,
    /// The absolute path as it was spelled, links and all. Events of one path share it.
    pub(crate) path: Arc<Path>,
    /// Where the path led at that moment: no links on the way, and none at its end where
    /// the call follows it.
    pub(crate) real: Arc<Path>,
    /// What was there just before the call; a link only if the call does not follow it.
    pub(crate) found: Option<Stamp>,
    /// Whether the call was seen to have failed.
    pub(crate) failed: bool,
    /// When, nanoseconds since the epoch.
    pub(crate) at: i128,
}

/// Everything seen of one process tree.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observation {
    /// The calls in order, but for those that repeat an earlier one and would be answered
    /// as that was.
    pub(crate) events: Vec<Event>,
    /// Parents of the processes, child first.
    pub(crate) parents: Vec<(u32, u32)>,
    /// Processes whose libraries were heard, for as long as they ran the program that they end as.
    pub(crate) heard: BTreeSet<u32>,
    /// Libraries, and the variables that they asked for in processes that were heard.
    pub(crate) asked: BTreeSet<(PathBuf, Vec<u8>)>,
    /// How many calls waited for the observer.
    pub(crate) announced: u64,
    /// How many were noted by the processes that made them.
    pub(crate) noted: u64,
    /// Why it is not complete; nothing was noted after that. `None`: nothing was missed.
    pub(crate) missed: Option<String>,
}

impl Observation {
    /// Whether nothing was missed.
    pub(crate) fn is_complete(&self) -> bool {
        self.missed.is_none()
    }
}
