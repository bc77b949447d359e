//! Going on in a process of one's own, which nobody waits for.
//!
//! [`detach`] splits this process as `fork(2)` does. The copy belongs to no terminal and no build: it has a
//! session of its own, none of the descriptors that this process was started with (whoever reads
//! from a pipe would wait for its end, and a jobserver's tokens are not its own), and the lowest
//! priority. What this process has opened itself it goes on holding, locks too.
//!
//! A copy has one thread only, and the locks of others stay locked in it for ever. So a process that has
//! more than one, or where that cannot be told, is not split.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libc::c_int;

/// Which of two processes this is.
pub(crate) enum Side {
    /// The one that called.
    Caller,
    /// The other one.
    Detached,
}

/// Splits this process. The detached one must end by [`end_with`].
pub(crate) fn detach() -> io::Result<Side> {
    if !is_alone_soon() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    // SAFETY: there is no other thread, so the copy is as whole as the original.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            DETACHED.store(true, Ordering::Relaxed);
            let let_go = catch_unwind(AssertUnwindSafe(|| let_go(&nothing)));
            if !let_go.is_ok_and(|let_go| let_go.is_ok()) {
                end();
            }
            Ok(Side::Detached)
        }
        _ => Ok(Side::Caller),
    }
}

static DETACHED: AtomicBool = AtomicBool::new(false);

/// Whether this is a detached process, which has nobody to talk to.
pub(crate) fn is_detached() -> bool {
    DETACHED.load(Ordering::Relaxed)
}

/// Does the last thing that a detached process does.
pub(crate) fn end_with(last: impl FnOnce()) -> ! {
    let _ = catch_unwind(AssertUnwindSafe(last));
    end()
}

fn end() -> ! {
    // SAFETY: it takes no pointers. What the original does when it ends is not for the copy to do.
    unsafe { libc::_exit(0) }
}

/// Whether this process has one thread, or will have in a moment: one that was joined may still be listed.
fn is_alone_soon() -> bool {
    const LOOKS: u32 = 20;
    (0..LOOKS).any(|look| {
        if look > 0 {
            std::thread::sleep(Duration::from_micros(50));
        }
        is_alone()
    })
}

/// Whether this process has one thread: its directory of threads has one entry more than an empty one.
fn is_alone() -> bool {
    let threads = fs::metadata("/proc/self/task");
    threads.is_ok_and(|threads| threads.nlink() == 3)
}

/// Lets go of what a detached process has of the build.
fn let_go(nothing: &File) -> io::Result<()> {
    for stream in 0..3 {
        // SAFETY: no pointers; `nothing` is open.
        check(unsafe { libc::dup2(nothing.as_raw_fd(), stream) })?;
    }
    for fd in open_descriptors()? {
        // SAFETY: as above. What this program opens itself is closed where others are executed; what it
        // was started with was not, and nobody here owns that.
        unsafe {
            let flags = libc::fcntl(fd, libc::F_GETFD);
            if fd > 2 && flags != -1 && flags & libc::FD_CLOEXEC == 0 {
                libc::close(fd);
            }
        }
    }
    // SAFETY: no pointers but one to a structure of zeros, which says nothing but that there is no
    // priority in real time. That one of these fails is no harm.
    unsafe {
        libc::setsid();
        #[cfg(target_os = "linux")]
        libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const ORDINARY);
        libc::setpriority(libc::PRIO_PROCESS, 0, 19);
    }
    Ok(())
}

#[cfg(target_os = "linux")]
static ORDINARY: libc::sched_param = libc::sched_param { sched_priority: 0 };

fn open_descriptors() -> io::Result<Vec<RawFd>> {
    let names = fs::read_dir("/proc/self/fd")?;
    let names = names.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(names.collect())
}

fn check(answer: c_int) -> io::Result<()> {
    match answer {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_not_split() {
        // Tests are run on threads.
        assert!(!is_alone());
        assert!(detach().is_err());
    }
}
