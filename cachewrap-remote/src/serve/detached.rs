//! What a process gives up that no build may wait for.
//!
//! Cargo's jobserver is a pipe whose tokens it counts, and what runs in a pipe (`cargo build | cat`) lasts until nobody can write to
//! it. So nothing that was inherited stays open, the terminal is another's, and who waits for a process group does not wait
//! for this one.

use std::fs::OpenOptions;
use std::io;

/// How far others go before us, in steps of nice(2).
const NICE: i32 = 5;

/// Lets go of everything that the process was started with. To be called before anything is opened.
pub(super) fn detach() -> io::Result<()> {
    // Fails only for who leads a group already: started by hand.
    let _ = rustix::process::setsid();
    close_inherited();
    let nothing = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    rustix::stdio::dup2_stderr(&nothing)?;
    let _ = rustix::process::nice(NICE);
    Ok(())
}

/// Closes all descriptors but the first three.
#[expect(unsafe_code, reason = "closing what others opened")]
fn close_inherited() {
    // SAFETY: nothing in this process refers to a descriptor above 2 yet.
    #[cfg(target_os = "linux")]
    if unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) } == 0 {
        return;
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.unwrap_or(1 << 16).min(1 << 20);
    for fd in 3..i32::try_from(limit).unwrap_or(i32::MAX) {
        // SAFETY: as above.
        unsafe { libc::close(fd) };
    }
}
