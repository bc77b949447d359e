//! System calls that are of use whether anything is observed or not, each wrapped so that callers
//! stay safe code.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use libc::c_int;

/// Has the command's process killed when the thread that starts it ends, where the system can,
/// and lets it enter `cwd`.
///
/// Between fork and exec the process holds a copy of the listener, if there is one. Were
/// the rest of us killed then, its next announced call (entering a directory is one)
/// would wait for ever for an answer that only itself could give, and hold the locks that
/// it has inherited. So that copy is closed before anything else: then the kernel answers.
pub(super) fn prepare_child(
    command: &mut Command,
    listener: Option<RawFd>,
    cwd: Option<&Path>,
) -> io::Result<()> {
    let cwd = cwd.map(|cwd| CString::new(cwd.as_os_str().as_bytes()));
    let cwd = cwd.transpose()?;
    // SAFETY: between fork and exec only async-signal-safe system calls are made, on
    // memory that was allocated before. The closed descriptor is the child's own copy.
    unsafe {
        if let Some(listener) = listener {
            command.pre_exec(move || {
                libc::close(listener);
                Ok(())
            });
        }
        #[cfg(target_os = "linux")]
        {
            let parent = std::process::id();
            command.pre_exec(move || die_with(parent));
        }
        if let Some(cwd) = cwd {
            command.pre_exec(move || check(libc::chdir(cwd.as_ptr())));
        }
    }
    Ok(())
}

fn check(answer: c_int) -> io::Result<()> {
    match answer {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Has this process killed when the thread that started it ends, which no other system can.
#[cfg(target_os = "linux")]
fn die_with(parent: u32) -> io::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
    // It may have died before it could be told.
    if std::os::unix::process::parent_id() != parent {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    Ok(())
}

/// Whether any process, this one too, has a file open for writing, or mapped so that it can write to
/// it; `None` if the kernel will not say: it tells the file's owner, on local file systems.
///
/// A mapping counts because it keeps the file open. The kernel refuses a read lease exactly where
/// there is a writer, so one is asked for and given back at once. Who opens the file for writing in
/// this moment is made to wait for it, and this process is told by a signal, which would end it if it
/// were not one that is ignored unless somebody handles it.
#[cfg(target_os = "linux")]
pub(crate) fn has_writer(file: &File) -> Option<bool> {
    use std::os::fd::AsRawFd as _;
    /// `F_SETSIG` of `linux/fcntl.h`.
    const SET_SIGNAL: c_int = 10;
    let fd = file.as_raw_fd();
    // SAFETY: none of these commands takes a pointer.
    let ask = |command, argument: c_int| unsafe { libc::fcntl(fd, command, argument) } != -1;
    if !ask(SET_SIGNAL, libc::SIGURG) {
        return None;
    }
    if ask(libc::F_SETLEASE, libc::F_RDLCK) {
        ask(libc::F_SETLEASE, libc::F_UNLCK);
        return Some(false);
    }
    let refused = io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN);
    refused.then_some(true)
}

/// Only Linux says.
#[cfg(not(target_os = "linux"))]
pub(crate) fn has_writer(_file: &File) -> Option<bool> {
    None
}

/// Lets writes beyond the limit on file sizes fail with an error, instead of ending this
/// process by a signal. What it executes is ended as ever: handlers do not survive that.
pub fn survive_file_size_limit() {
    extern "C" fn ignore(_: c_int) {}
    let handler = ignore as extern "C" fn(c_int);
    // SAFETY: the handler does nothing, which is safe at any moment.
    unsafe { libc::signal(libc::SIGXFSZ, handler as libc::sighandler_t) };
}

/// Ends this process by the signal that ended the compiler, so that cargo reports the
/// same thing as without us.
pub fn die_by_signal(signal: i32) {
    // SAFETY: neither call takes pointers to memory of ours.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::kill(libc::getpid(), signal);
    }
}
