//! The system calls that are watched: one row for each says from which depth on it is
//! announced, which of its arguments name paths, and what it is about to do with them. The rows
//! give both the filter that runs in the kernel (`filter`) and the meaning of what that
//! announces.
//!
//! | the call | is |
//! |---|---|
//! | opens, looks at, executes, makes or removes what a path names | noted with the path |
//! | moves or links one path to another | noted with both |
//! | changes an open file's permissions or owner | noted with the path that it was opened by |
//! | talks to other processes | noted as talk |
//! | asks for a name of the machine or the current directory | noted as a question |
//! | leaves the common view of the file system, or names files in a way of its own | the end of the observation |
//!
//! A call that is not in the table goes on unannounced: it names nothing that was not named before.

mod table;

use libc::c_long;

use super::events::Depth;
use super::events::{Access, Permissions};
use super::sys::{self, Notification};
use table::{OLD_ROWS, ROWS};

/// One watched call.
pub(super) struct Row {
    pub(super) call: c_long,
    /// From which depth on it is announced.
    pub(super) from: Depth,
    /// What decides besides.
    pub(super) test: Option<Test>,
    pub(super) meaning: Meaning,
}

/// A test of the lower half of an argument that the filter can make.
#[derive(Clone, Copy)]
pub(super) struct Test {
    pub(super) argument: u32,
    pub(super) values: &'static [u32],
    /// Whether it is announced with one of the values, or with any other.
    pub(super) announces: bool,
}

/// Where a call has one of its paths: the positions of the arguments.
#[derive(Clone, Copy)]
pub(super) struct At {
    /// The descriptor of the directory that a relative path begins at; the current one if
    /// there is none.
    pub(super) directory: Option<usize>,
    pub(super) path: usize,
}

/// Where the last part of a path is a link, whether that is followed.
#[derive(Clone, Copy)]
pub(super) enum Last {
    Followed,
    /// The call is about the link itself.
    Itself,
    /// Unless a flag in this argument is set.
    FollowedUnless(usize, i32),
    /// By the open flags.
    ByFlags,
}

/// What a call does with its path.
#[derive(Clone, Copy)]
pub(super) enum Doing {
    Known(Access),
    /// As the open flags in this argument say.
    Flags(usize),
    /// As `struct open_how` says that this argument points to.
    OpenHow(usize),
    /// Asks for the permissions in this argument.
    Ask(usize),
}

#[derive(Clone, Copy)]
pub(super) enum Meaning {
    Path(At, Last, Doing),
    /// Moves or links the first path to the second.
    Pair(At, At, Doing),
    /// Makes a link with the text at the first argument.
    Symlink(usize, At),
    /// Does something to the file that a descriptor is open for.
    Descriptor(usize, Access),
    /// Whether the buffer for the answer has the size in this argument that `realpath` uses.
    AskDirectory(usize),
    AskMachine,
    AskUser,
    /// Talks to who is at the address at these arguments, or to somebody without a path.
    Talk(Option<(usize, usize)>),
    /// Talks to who is at the address that `struct msghdr` in this argument has, if it has one.
    TalkMessage(usize),
    /// What follows cannot be understood any more, for this reason.
    Leaves(&'static str),
}

/// The room that glibc's `realpath` has for the current directory, which it needs for relative
/// paths.
pub(super) const ROOM_FOR_DIRECTORY: u64 = 1024;

/// The rows that are announced at a depth.
pub(super) fn rows(depth: Depth) -> impl Iterator<Item = &'static Row> {
    let rows = ROWS.iter().chain(OLD_ROWS);
    rows.filter(move |row| row.from <= depth)
}

/// What an announced call means.
pub(super) fn meaning(call: c_long) -> Option<Meaning> {
    let mut rows = ROWS.iter().chain(OLD_ROWS);
    rows.find(|row| row.call == call).map(|row| row.meaning)
}

/// What is about to be done with a path, as the call's flags say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Intent {
    /// `None`: the file will have no name.
    pub(super) access: Option<Access>,
    /// Whether a link at the end of the path is followed.
    pub(super) follows: bool,
    /// Whether the path begins at the directory that the descriptor names even if it
    /// is absolute, and cannot leave it.
    pub(super) in_root: bool,
    /// Whether it matters how the path leads to where it does.
    pub(super) minds_links: bool,
}

/// Ways of resolving a path by which links and mounts make it fail, or lead elsewhere.
const MINDS_LINKS: u64 = libc::RESOLVE_BENEATH
    | libc::RESOLVE_IN_ROOT
    | libc::RESOLVE_NO_MAGICLINKS
    | libc::RESOLVE_NO_SYMLINKS
    | libc::RESOLVE_NO_XDEV;

/// Reads what a call is about to do. `None` if its flags cannot be read.
pub(super) fn intent(call: &Notification, last: Last, doing: Doing) -> Option<Intent> {
    let mut resolve = 0;
    let flags = match doing {
        Doing::Flags(position) => argument(call, position),
        Doing::OpenHow(position) => {
            // `struct open_how`: flags, mode, resolve.
            let mut bytes = [0; 24];
            let n = sys::read_memory(call.tid, argument(call, position), &mut bytes).ok()?;
            let (words, _) = bytes.as_chunks::<8>();
            let [flags, _, how] = words else {
                return None;
            };
            if n != bytes.len() {
                return None;
            }
            resolve = u64::from_ne_bytes(*how);
            u64::from_ne_bytes(*flags)
        }
        Doing::Known(_) | Doing::Ask(_) => 0,
    };
    let has = |flag: i32| flags & u64::from(flag.unsigned_abs()) == u64::from(flag.unsigned_abs());
    let any = |flag: i32| flags & u64::from(flag.unsigned_abs()) != 0;
    let access = match doing {
        Doing::Known(access) => Some(access),
        Doing::Ask(position) => {
            let wanted = argument(call, position);
            let wants = |bit: i32| wanted & u64::from(bit.unsigned_abs()) != 0;
            Some(Access::Ask(Permissions {
                read: wants(libc::R_OK),
                write: wants(libc::W_OK),
                execute: wants(libc::X_OK),
            }))
        }
        Doing::Flags(_) | Doing::OpenHow(_) => {
            if has(libc::O_TMPFILE) {
                None
            } else if has(libc::O_PATH) {
                Some(Access::Stat)
            } else if any(libc::O_WRONLY | libc::O_RDWR) {
                Some(Access::Write {
                    fresh: any(libc::O_TRUNC | libc::O_EXCL),
                })
            } else if has(libc::O_CREAT) {
                Some(Access::Write { fresh: false })
            } else {
                Some(Access::Read)
            }
        }
    };
    let bit =
        |position: usize, flag: i32| argument(call, position) & u64::from(flag.unsigned_abs()) != 0;
    let follows = match last {
        Last::Followed => true,
        Last::Itself => false,
        Last::FollowedUnless(position, flag) => !bit(position, flag),
        Last::ByFlags => !(has(libc::O_NOFOLLOW) || has(libc::O_CREAT | libc::O_EXCL)),
    };
    let is_about_itself = !follows && access == Some(Access::Stat);
    Some(Intent {
        access: if is_about_itself {
            Some(Access::StatItself)
        } else {
            access
        },
        follows,
        in_root: resolve & libc::RESOLVE_IN_ROOT != 0,
        minds_links: resolve & MINDS_LINKS != 0,
    })
}

/// The value of an argument.
pub(super) fn argument(call: &Notification, position: usize) -> u64 {
    call.args.get(position).copied().unwrap_or_default()
}

/// Whether a call gives a file times that it tells, and not those of this moment.
pub(super) fn gives_times(call: &Notification) -> bool {
    let position = match call.call {
        libc::SYS_utimensat => 2,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_futimesat => 2,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_utime | libc::SYS_utimes => 1,
        _ => return false,
    };
    argument(call, position) != 0
}

/// Whether the source of a call with two paths is followed if it is a link.
pub(super) fn source_follows(call: &Notification) -> bool {
    call.call == libc::SYS_linkat
        && argument(call, 4) & u64::from(libc::AT_SYMLINK_FOLLOW.unsigned_abs()) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_has_one_row() {
        let mut calls: Vec<c_long> = rows(Depth::Tree).map(|row| row.call).collect();
        let all = calls.len();
        calls.sort_unstable();
        calls.dedup();
        assert_eq!(calls.len(), all);
        assert!(rows(Depth::Usual).count() < all);
    }

    #[test]
    fn flags_say_what_opening_does() {
        let open = |flags: i32| {
            let call = Notification {
                id: 0,
                tid: 1,
                native: true,
                call: libc::SYS_openat,
                args: [0, 0, u64::from(flags.unsigned_abs()), 0, 0, 0],
                from: 0,
            };
            intent(&call, Last::ByFlags, Doing::Flags(2)).unwrap()
        };
        let write = |fresh| Some(Access::Write { fresh });
        assert_eq!(open(libc::O_RDONLY).access, Some(Access::Read));
        assert_eq!(open(libc::O_RDONLY | libc::O_CREAT).access, write(false));
        assert_eq!(open(libc::O_RDWR).access, write(false));
        assert_eq!(open(libc::O_WRONLY | libc::O_TRUNC).access, write(true));
        assert_eq!(open(libc::O_WRONLY | libc::O_TMPFILE).access, None);
        assert_eq!(open(libc::O_DIRECTORY).access, Some(Access::Read));
        let itself = Some(Access::StatItself);
        assert_eq!(open(libc::O_PATH | libc::O_NOFOLLOW).access, itself);
        assert!(!open(libc::O_PATH | libc::O_NOFOLLOW).follows);
        assert!(!open(libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL).follows);
        assert!(open(libc::O_WRONLY | libc::O_CREAT).follows);
    }
}
