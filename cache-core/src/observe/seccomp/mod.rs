//! Watching by a seccomp filter.
//!
//! How it works: a thread of ours installs a seccomp filter
//! on itself and then starts the compiler, so that the compiler and everything it starts
//! inherit the filter, and the thread's file table receives the filter's listener. The
//! filter is a small program in the kernel: system calls that name a path (opening,
//! looking, executing, renaming) are announced on the listener and wait; all others run
//! at full speed. The [`Supervisor`](supervise) reads the path out of the waiting
//! process's memory, notes it together with what `stat` says about it *at that moment*,
//! and lets the call go on unchanged (`SECCOMP_USER_NOTIF_FLAG_CONTINUE`). Nothing is
//! ever denied or altered; this is a way to watch, not a sandbox.
//!
//! See `seccomp_unotify(2)` for the interface.
//!
//! Programs that look at many files do so without waiting, where an object of ours can be loaded into
//! them (`preload`): it notes what is looked at in memory that it shares with us ([`notes`]), and the
//! filter lets its calls pass by the address that they are made from.
//!
//! What can go wrong, and what is done about it (an observation that is not complete is never
//! stored, and nothing more is noted then):
//! - The filter cannot be installed (old kernel, another listener already active, a
//!   sandbox forbids it): [`spawn`] says so before the compiler has started, and the
//!   unit runs unobserved.
//! - A path cannot be read, or leads we cannot tell where (`resolve`): incomplete.
//! - A process looks at files in a way that the filter does not understand (calls of another
//!   architecture, `io_uring`, handles), or has another view of the file system (another mount
//!   namespace or root): incomplete.
//! - A signal interrupts a call that waits for us: incomplete (`supervise`).
//! - Looking at a path takes for ever, because it is in a file system whose server does not
//!   answer: incomplete, and the call goes on (`watchdog`).
//! - The process memory changes between our reading and the kernel's: another thread
//!   would have to overwrite a path while it is being opened. Compilers do not.
//! - We die: the kernel answers waiting calls with `ENOSYS`, and the compiler, which is
//!   also told to die with its parent, ends.
//! - A process stays behind after the compiler has ended (a tool that starts a server):
//!   a child of ours stays to answer for it, and the observation is incomplete.

#[path = "../../../preload/answers.rs"]
#[expect(unsafe_code, reason = "memory that processes share")]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "most who read there are other programs")
)]
mod answers;
mod calls;
mod filter;
#[path = "../../../preload/loader.rs"]
mod loader;
mod memory;
mod notes;
mod paths;
#[path = "../../../preload/prefix_map.rs"]
#[expect(unsafe_code, reason = "memory that processes share")]
#[expect(dead_code, reason = "those who read there are other programs")]
mod prefix_map;
mod preload;
mod programs;
mod resolve;
#[path = "../../../preload/ring.rs"]
#[expect(unsafe_code, reason = "memory that processes share")]
#[expect(dead_code, reason = "most who write there are other programs")]
mod ring;
#[path = "../../../preload/shorter.rs"]
#[expect(unsafe_code, reason = "memory that processes share")]
#[expect(dead_code, reason = "most who read there are other programs")]
mod shorter;
mod spawn;
mod supervise;
#[expect(unsafe_code, reason = "system calls that no safe library offers")]
mod sys;
#[cfg(test)]
mod tests;
mod watchdog;

use std::path::Path;

use super::{events, unix};
use crate::os::proc::Process;
use crate::os::stamp::Stamp;

pub(crate) use preload::{OBJECT as PRELOADED_OBJECT, is_loadable};
pub(crate) use spawn::spawn;

/// Why there is no observer: there is one.
pub(super) const ABSENT: Option<&str> = None;

/// Whether this process runs under the observation of another process of this program.
///
/// The kernel allows one listener for a process and its descendants, so nothing can be
/// observed then; and what is more, a hit would hide from the observer what the compiler
/// would have read. Whoever is observed leaves the cache alone.
pub fn is_observed() -> bool {
    let Some(own) = executable_of("self").filter(|_| sys::is_filtered()) else {
        return false;
    };
    let mut pid = std::os::unix::process::parent_id();
    while pid > 1 {
        // An observer is still there and still itself; a wrapper that had nothing to
        // observe has become the compiler.
        if executable_of(&pid.to_string()) == Some(own) {
            return true;
        }
        let process = Process::find(pid);
        let parent = process.as_ref().and_then(|process| process.field("PPid"));
        let Some(parent) = parent.and_then(|parent| parent.parse().ok()) else {
            return false;
        };
        pid = parent;
    }
    false
}

/// Device and inode of the program that a process runs.
fn executable_of(pid: &str) -> Option<(u64, u64)> {
    let stamp = Stamp::of(Path::new(&format!("/proc/{pid}/exe")))?;
    Some((stamp.dev, stamp.ino))
}
