//! The system calls of the observer, each wrapped so that callers stay safe code.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{c_int, c_long, sock_filter};

use super::Depth;

/// `AUDIT_ARCH_*` of `linux/audit.h`.
#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

/// Set in the system call number of the x32 interface, whose tables differ.
const X32: u32 = 0x4000_0000;

/// Calls that are always announced. A library may bring a macro along that nothing on the
/// command line tells of, so what only macros do is among them.
const ANNOUNCED: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_chdir,
    libc::SYS_io_uring_setup,
    libc::SYS_connect,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_fchmodat,
    libc::SYS_uname,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_creat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
];

/// Calls that ask where a link points, and which argument says how much of the answer there
/// is room for.
const READ_LINK: &[(c_long, u32)] = &[
    (libc::SYS_readlinkat, 3),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_readlink, 2),
];

/// The room that glibc's `realpath` has for the target of a link. It asks for each directory on
/// the way to a path, which makes up half of a compiler's calls; other code that asks where
/// a link points has room for a power of two. Not announced at the least depth.
const ROOM_OF_REALPATH: u32 = 1023;

/// The room that glibc's `realpath` has for the current directory, which it needs for relative
/// paths. The compiler asks that way after it has loaded macros, and in no other.
const ROOM_FOR_DIRECTORY: u32 = 1024;

/// Calls that matter only where a whole tree of foreign programs runs: changes of what a
/// path is other than by writing, waiting for other processes to talk, and leaving the common
/// view of the file system.
const OF_FOREIGN_TREES: &[c_long] = &[
    libc::SYS_truncate,
    libc::SYS_fchownat,
    libc::SYS_fchmodat2,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_mknodat,
    libc::SYS_bind,
    libc::SYS_chroot,
    libc::SYS_mount,
    libc::SYS_pivot_root,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_open_by_handle_at,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat,
];

/// Calls that are announced unless this argument has `AT_EMPTY_PATH`: with it they look
/// at an open file, which is the common case in Rust programs and names no path.
const UNLESS_EMPTY_PATH: &[(c_long, u32)] = &[(libc::SYS_newfstatat, 3), (libc::SYS_statx, 2)];

// Offsets in `struct seccomp_data`; arguments are 64 bits wide, low half first on both
// architectures.
const OFFSET_NR: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const OFFSET_ARGS: u32 = 16;

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const JUMP_BITS: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

fn instruction(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// The program that runs in the kernel at every system call.
fn program(depth: Depth) -> Vec<sock_filter> {
    let number = |call: c_long| u32::try_from(call).unwrap_or(u32::MAX);
    let announce = || instruction(RETURN, libc::SECCOMP_RET_USER_NOTIF, 0, 0);
    let allow = || instruction(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0);
    let mut program = vec![
        instruction(LOAD, OFFSET_ARCH, 0, 0),
        instruction(JUMP_EQUAL, ARCH, 1, 0),
        announce(),
        instruction(LOAD, OFFSET_NR, 0, 0),
        instruction(JUMP_AT_LEAST, X32, 0, 1),
        announce(),
    ];
    let trees = OF_FOREIGN_TREES.iter().filter(|_| depth == Depth::Tree);
    for &call in ANNOUNCED.iter().chain(trees) {
        program.push(instruction(JUMP_EQUAL, number(call), 0, 1));
        program.push(announce());
    }
    // Announces a call unless one of its arguments is a value, or has a bit.
    let mut unless = |call: c_long, argument: u32, test: u16, value: u32| {
        program.push(instruction(JUMP_EQUAL, number(call), 0, 4));
        program.push(instruction(LOAD, OFFSET_ARGS + 8 * argument, 0, 0));
        program.push(instruction(test, value, 1, 0));
        program.push(announce());
        program.push(allow());
    };
    for &(call, argument) in UNLESS_EMPTY_PATH {
        unless(
            call,
            argument,
            JUMP_BITS,
            libc::AT_EMPTY_PATH.unsigned_abs(),
        );
    }
    for &(call, argument) in READ_LINK {
        // No buffer has no room.
        let room = if depth == Depth::Usual {
            ROOM_OF_REALPATH
        } else {
            0
        };
        unless(call, argument, JUMP_EQUAL, room);
    }
    unless(libc::SYS_getcwd, 1, JUMP_EQUAL, ROOM_FOR_DIRECTORY);
    // Local sockets have no names outside of the processes that made them; where they have
    // one, it shows when it is connected to.
    unless(
        libc::SYS_socket,
        0,
        JUMP_EQUAL,
        libc::AF_UNIX.unsigned_abs(),
    );
    program.push(allow());
    program
}

/// A waiting system call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notification {
    pub(super) id: u64,
    /// The thread that waits.
    pub(super) tid: u32,
    /// Whether number and arguments are those of this architecture.
    pub(super) native: bool,
    pub(super) call: c_long,
    pub(super) args: [u64; 6],
}

/// The receiving end of a filter.
#[derive(Debug)]
pub(super) struct Listener(OwnedFd);

impl Listener {
    /// Installs the filter on the calling thread, for good, and returns its listener.
    ///
    pub(super) fn install(depth: Depth) -> io::Result<Self> {
        let program = program(depth);
        let fprog = libc::sock_fprog {
            len: u16::try_from(program.len()).unwrap_or(u16::MAX),
            filter: program.as_ptr().cast_mut(),
        };
        // SAFETY: PR_SET_NO_NEW_PRIVS takes no pointers. It only keeps set-user-id
        // programs from gaining privileges, and lets ordinary users install a filter.
        if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // The filter is no sandbox: kernels before 5.16 need not slow the compiler down
        // against speculation attacks on what one would hide.
        let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
        // SAFETY: `fprog` and the program it points to outlive the call; the kernel
        // copies them.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const fprog,
            )
        };
        let fd = c_int::try_from(fd).unwrap_or(-1);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
        let listener = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        listener.wake_on_same_cpu();
        Ok(listener)
    }

    /// Tells the kernel (6.6 and later) that the two sides take turns: each is woken on the
    /// processor of the other, which costs a tenth of waking another processor. (Processes
    /// that run side by side end up on one processor that way, as long as they announce
    /// calls all the time; waking them elsewhere, or several supervisors, was measured to
    /// be no faster.) Older kernels refuse, harmlessly.
    fn wake_on_same_cpu(&self) {
        const SYNC_WAKE_UP: u64 = 1;
        // SAFETY: this ioctl takes its argument by value.
        unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS,
                SYNC_WAKE_UP,
            )
        };
    }

    /// Waits for a call to be announced. `None` once no process is left under the filter.
    ///
    /// With `done`, waits at most until that descriptor is closed by its other end and
    /// then reports `TimedOut`.
    pub(super) fn wait(&self, done: Option<&OwnedFd>, timeout_ms: c_int) -> io::Result<Wait> {
        let entry = |fd: Option<&OwnedFd>| libc::pollfd {
            fd: fd.map_or(-1, std::os::fd::AsRawFd::as_raw_fd),
            events: libc::POLLIN,
            revents: 0,
        };
        let mut fds = [entry(Some(&self.0)), entry(done)];
        // SAFETY: `fds` is an array of two initialised entries.
        let ready = unsafe { libc::poll(fds.as_mut_ptr(), 2, timeout_ms) };
        if ready < 0 {
            let e = io::Error::last_os_error();
            return match e.kind() {
                io::ErrorKind::Interrupted => Ok(Wait::Again),
                _ => Err(e),
            };
        }
        let [listener, done] = fds;
        Ok(if listener.revents & libc::POLLIN != 0 {
            Wait::Announced
        } else if listener.revents & (libc::POLLHUP | libc::POLLERR) != 0 {
            Wait::Deserted
        } else if done.revents != 0 {
            Wait::Done
        } else if ready == 0 {
            Wait::TimedOut
        } else {
            Wait::Again
        })
    }

    /// Takes an announced call. `None` when its thread died meanwhile.
    pub(super) fn receive(&self) -> io::Result<Option<Notification>> {
        // SAFETY: all-zero bytes are a valid value of this plain structure, and the
        // kernel demands zeroes.
        let mut raw: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: `raw` is the structure that this ioctl fills in.
        let answer = unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_RECV,
                &raw mut raw,
            )
        };
        if answer != 0 {
            let e = io::Error::last_os_error();
            return match e.raw_os_error() {
                Some(libc::ENOENT | libc::EINTR) => Ok(None),
                _ => Err(e),
            };
        }
        let number = raw.data.nr;
        Ok(Some(Notification {
            id: raw.id,
            tid: raw.pid,
            native: raw.data.arch == ARCH && number.unsigned_abs() < X32,
            call: c_long::from(number),
            args: raw.data.args,
        }))
    }

    /// Lets the call go on unchanged. That the thread died meanwhile is no error.
    pub(super) fn answer(&self, id: u64) -> io::Result<()> {
        let mut response = libc::seccomp_notif_resp {
            id,
            val: 0,
            error: 0,
            flags: u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or(1),
        };
        // SAFETY: `response` is the structure that this ioctl reads.
        let answer = unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SEND,
                &raw mut response,
            )
        };
        if answer == 0 {
            return Ok(());
        }
        let e = io::Error::last_os_error();
        match e.raw_os_error() {
            Some(libc::ENOENT) => Ok(()),
            _ => Err(e),
        }
    }

    /// Leaves a child behind that answers for processes which outlive the compiler, so
    /// that they keep working after we have gone.
    pub(super) fn leave_answering_child(&self) {
        // SAFETY: the child of a process with several threads may only make
        // async-signal-safe calls; the loop below makes nothing but system calls on
        // memory of its own stack, and ends in `_exit`.
        unsafe {
            if libc::fork() != 0 {
                return;
            }
            libc::setsid();
            for fd in 0..3 {
                libc::close(fd);
            }
            loop {
                match self.wait(None, -1) {
                    Ok(Wait::Announced) => {
                        if let Ok(Some(notification)) = self.receive() {
                            let _ = self.answer(notification.id);
                        }
                    }
                    Ok(Wait::Again | Wait::TimedOut) => {}
                    Ok(Wait::Deserted | Wait::Done) | Err(_) => libc::_exit(0),
                }
            }
        }
    }
}

/// Reads from the memory of another process, of which `tid` is a thread, and says how
/// many bytes were there.
///
/// One system call, where it is allowed; container engines used to forbid it (Docker did
/// before Linux 4.8), and then the memory is read as a file, which needs three.
pub(super) fn read_memory(tid: u32, address: u64, into: &mut [u8]) -> io::Result<usize> {
    static FORBIDDEN: AtomicBool = AtomicBool::new(false);
    if !FORBIDDEN.load(Ordering::Relaxed) {
        let address = usize::try_from(address).map_err(io::Error::other)?;
        let here = libc::iovec {
            iov_base: into.as_mut_ptr().cast(),
            iov_len: into.len(),
        };
        let there = libc::iovec {
            iov_base: std::ptr::with_exposed_provenance_mut(address),
            iov_len: into.len(),
        };
        let tid = libc::pid_t::try_from(tid).unwrap_or(-1);
        // SAFETY: `here` is the buffer we were given exclusively; what `there` points to
        // is an address of the other process, which the kernel checks.
        let n = unsafe { libc::process_vm_readv(tid, &raw const here, 1, &raw const there, 1, 0) };
        if let Ok(n) = usize::try_from(n) {
            return Ok(n);
        }
        let e = io::Error::last_os_error();
        if !matches!(e.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) {
            return Err(e);
        }
        FORBIDDEN.store(true, Ordering::Relaxed);
    }
    let memory = File::open(format!("/proc/{tid}/mem"))?;
    memory.read_at(into, address)
}

/// What waiting on a listener came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// A call can be received.
    Announced,
    /// The other descriptor was closed.
    Done,
    /// No process is left under the filter.
    Deserted,
    /// The time is over.
    TimedOut,
    /// Interrupted; wait again.
    Again,
}

/// Has the command's process killed when the thread that starts it ends, and lets it
/// enter `cwd`.
///
/// Between fork and exec the process holds a copy of the listener, if there is one. Were
/// the rest of us killed then, its next announced call (entering a directory is one)
/// would wait for ever for an answer that only itself could give, and hold the locks that
/// it has inherited. So that copy is closed before anything else: then the kernel answers.
pub(super) fn prepare_child(
    command: &mut Command,
    listener: Option<&Listener>,
    cwd: Option<&Path>,
) -> io::Result<()> {
    let listener = listener.map(|listener| listener.0.as_raw_fd());
    let cwd = cwd.map(|cwd| CString::new(cwd.as_os_str().as_bytes()));
    let cwd = cwd.transpose()?;
    let parent = std::process::id();
    let check = |answer: c_int| match answer {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    };
    // SAFETY: between fork and exec only async-signal-safe system calls are made, on
    // memory that was allocated before. The closed descriptor is the child's own copy.
    unsafe {
        command.pre_exec(move || {
            if let Some(listener) = listener {
                libc::close(listener);
            }
            check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
            // It may have died before it could be told.
            if libc::getppid().unsigned_abs() != parent {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            match &cwd {
                Some(cwd) => check(libc::chdir(cwd.as_ptr())),
                None => Ok(()),
            }
        });
    }
    Ok(())
}

/// Whether this process has a system call filter.
pub(super) fn is_filtered() -> bool {
    // SAFETY: PR_GET_SECCOMP takes no pointers. Only in strict mode, in which this
    // process could not have opened a file, does it end the process.
    unsafe { libc::prctl(libc::PR_GET_SECCOMP) != 0 }
}

/// Whether any process, this one too, has a file open for writing, or mapped so that it can write to
/// it; `None` if the kernel will not say: it tells the file's owner, on local file systems.
///
/// A mapping counts because it keeps the file open. The kernel refuses a read lease exactly where
/// there is a writer, so one is asked for and given back at once. Who opens the file for writing in
/// this moment is made to wait for it, and this process is told by a signal, which would end it if it
/// were not one that is ignored unless somebody handles it.
pub(crate) fn has_writer(file: &File) -> Option<bool> {
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
