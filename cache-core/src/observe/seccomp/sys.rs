//! The system calls of the observer, each wrapped so that callers stay safe code.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libc::{c_int, c_long, c_uint, c_ulong};

use super::ring::{self, Call, Note, Ring};
use crate::os::fs;

/// `AUDIT_ARCH_*` of `linux/audit.h`.
#[cfg(target_arch = "x86_64")]
pub(super) const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
pub(super) const ARCH: u32 = 0xc000_00b7;

/// Set in the system call number of the x32 interface, whose tables differ.
pub(super) const X32: u32 = 0x4000_0000;

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
    /// Where in its memory the call comes from.
    pub(super) from: u64,
}

/// The receiving end of a filter.
#[derive(Debug)]
pub(super) struct Listener {
    fd: OwnedFd,
    /// The thread that installed the filter.
    thread: u32,
    /// What the kernel was told by [`take_turns`](Self::take_turns).
    in_turns: AtomicBool,
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Listener {
    /// Installs a filter on the calling thread, for good, and returns its listener.
    pub(super) fn install(program: &[libc::sock_filter]) -> io::Result<Self> {
        let fprog = libc::sock_fprog {
            len: u16::try_from(program.len()).unwrap_or(u16::MAX),
            filter: program.as_ptr().cast_mut(),
        };
        let fd = match install(&fprog) {
            // Who may administer the system may install a filter as it is, and what sets the
            // user id works under it. Others must give that up first.
            Err(e) if e.raw_os_error() == Some(libc::EACCES) => {
                // SAFETY: PR_SET_NO_NEW_PRIVS takes no pointers. It only keeps set-user-id
                // programs from gaining privileges, and lets ordinary users install a filter.
                if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
                    return Err(io::Error::last_os_error());
                }
                install(&fprog)?
            }
            installed => installed?,
        };
        // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: this call takes nothing.
        let thread = unsafe { libc::gettid() }.unsigned_abs();
        Ok(Self {
            fd,
            thread,
            in_turns: AtomicBool::new(false),
        })
    }

    /// Tells the kernel (6.6 and later) whether who announces calls and who answers take turns: then each is
    /// woken on the processor of the other, which costs a tenth of waking another processor. Older kernels refuse,
    /// harmlessly.
    pub(super) fn take_turns(&self, in_turns: bool) {
        const SYNC_WAKE_UP: u64 = 1;
        if self.in_turns.swap(in_turns, Ordering::Relaxed) == in_turns {
            return;
        }
        // SAFETY: this ioctl takes its argument by value.
        unsafe {
            libc::ioctl(
                self.fd.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS,
                if in_turns { SYNC_WAKE_UP } else { 0 },
            )
        };
    }

    /// Whether a call is a mark that the thread which installed the filter made with
    /// [`make_mark`].
    pub(super) fn is_mark(&self, call: &Notification) -> bool {
        call.tid == self.thread && is_without_path(call, NO_MODE)
    }

    /// Whether a call asks for the memory for notes.
    pub(super) fn asks_for_notes(call: &Notification) -> bool {
        is_without_path(call, ring::ASK)
    }

    /// Whether a call tells of a process that has the memory already.
    pub(super) fn appears(call: &Notification) -> bool {
        is_without_path(call, ring::APPEAR)
    }

    /// Whether a call asks what loaders need not look through.
    pub(super) fn asks_to_shorten(call: &Notification) -> bool {
        is_without_path(call, ring::SHORTEN)
    }

    /// Whether a call tells of a process that cannot note which variables its libraries ask for.
    pub(super) fn is_unheard(call: &Notification) -> bool {
        is_without_path(call, ring::UNHEARD)
    }

    /// Answers a call with a new descriptor for a file, closed on exec. `false` if that cannot be done:
    /// the call still waits.
    pub(super) fn give(&self, id: u64, file: &impl AsRawFd) -> bool {
        /// `SECCOMP_ADDFD_FLAG_SEND` (Linux 5.14).
        const SEND: u32 = 1 << 1;
        let mut request = libc::seccomp_notif_addfd {
            id,
            flags: SEND,
            srcfd: file.as_raw_fd().unsigned_abs(),
            newfd: 0,
            newfd_flags: libc::O_CLOEXEC.unsigned_abs(),
        };
        // SAFETY: `request` is the structure that this ioctl reads.
        let answer = unsafe {
            libc::ioctl(
                self.fd.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_ADDFD,
                &raw mut request,
            )
        };
        answer >= 0
    }

    /// Waits until a call can be taken.
    pub(super) fn wait(&self, timeout: Duration) -> io::Result<Wait> {
        let timeout = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
        let mut listener = libc::pollfd {
            fd: self.fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: `listener` is one initialised entry.
        let ready = unsafe { libc::poll(&raw mut listener, 1, timeout) };
        if ready < 0 {
            let e = io::Error::last_os_error();
            return match e.kind() {
                io::ErrorKind::Interrupted => Ok(Wait::Again),
                _ => Err(e),
            };
        }
        Ok(if listener.revents & libc::POLLIN != 0 {
            Wait::Announced
        } else if listener.revents & (libc::POLLHUP | libc::POLLERR) != 0 {
            Wait::Deserted
        } else if ready == 0 {
            Wait::TimedOut
        } else {
            Wait::Again
        })
    }

    /// Takes an announced call, or waits for one. `None` when it was given up meanwhile: its
    /// thread died, or a signal came.
    pub(super) fn receive(&self) -> io::Result<Option<Notification>> {
        // SAFETY: all-zero bytes are a valid value of this plain structure, and the
        // kernel demands zeroes.
        let mut raw: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: `raw` is the structure that this ioctl fills in.
        let answer = unsafe {
            libc::ioctl(
                self.fd.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_RECV,
                &raw mut raw,
            )
        };
        if answer != 0 {
            let e = io::Error::last_os_error();
            return match e.raw_os_error() {
                Some(libc::ENOENT) => Ok(None),
                Some(libc::EINTR) => self.receive(),
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
            from: raw.data.instruction_pointer,
        }))
    }

    /// Lets the call go on unchanged. `false` when it was given up meanwhile: its thread died,
    /// or a signal came.
    pub(super) fn answer(&self, id: u64) -> io::Result<bool> {
        let mut response = libc::seccomp_notif_resp {
            id,
            val: 0,
            error: 0,
            flags: u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or(1),
        };
        // SAFETY: `response` is the structure that this ioctl reads.
        let answer = unsafe {
            libc::ioctl(
                self.fd.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SEND,
                &raw mut response,
            )
        };
        if answer == 0 {
            return Ok(true);
        }
        let e = io::Error::last_os_error();
        match e.raw_os_error() {
            // `EINPROGRESS`: answered already, by who took over.
            Some(libc::ENOENT | libc::EINPROGRESS) => Ok(false),
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
            // Whatever else this process has open, locks and pipes among it, must not be kept
            // from others by who only stays to answer.
            let listener = c_uint::try_from(self.fd.as_raw_fd()).unwrap_or(0);
            let close = |from: c_uint, to: c_uint| {
                if from <= to && libc::syscall(libc::SYS_close_range, from, to, 0) != 0 {
                    // Before Linux 5.9, and as many as most processes may have.
                    for fd in from..=to.min(4096) {
                        libc::close(c_int::try_from(fd).unwrap_or(-1));
                    }
                }
            };
            if let Some(before) = listener.checked_sub(1) {
                close(0, before);
            }
            close(listener + 1, c_uint::MAX);
            loop {
                match self.wait(Duration::MAX) {
                    Ok(Wait::Announced) => {
                        if let Ok(Some(notification)) = self.receive() {
                            let _ = self.answer(notification.id);
                        }
                    }
                    Ok(Wait::Again | Wait::TimedOut) => {}
                    Ok(Wait::Deserted) | Err(_) => libc::_exit(0),
                }
            }
        }
    }
}

/// Whether a call asks for access in this mode, to nothing: it says something to us.
fn is_without_path(call: &Notification, meant: c_int) -> bool {
    let [_, path, mode, ..] = call.args;
    call.call == libc::SYS_faccessat && path == 0 && mode == u64::from(meant.unsigned_abs())
}

/// Once an announced call was taken, its thread waits for the answer without minding signals
/// other than fatal ones (Linux 5.19). `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`.
const WAIT_KILLABLE: c_ulong = 1 << 5;

/// Installs a filter on the calling thread and returns its listener.
fn install(fprog: &libc::sock_fprog) -> io::Result<c_int> {
    // The filter is no sandbox: kernels before 5.16 need not slow the compiler down
    // against speculation attacks on what one would hide.
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    let mut last = io::Error::from_raw_os_error(libc::EINVAL);
    for flags in [flags | WAIT_KILLABLE, flags] {
        // SAFETY: `fprog` and the program it points to outlive the call; the kernel
        // copies them.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const *fprog,
            )
        };
        if let Some(fd) = c_int::try_from(fd).ok().filter(|fd| *fd >= 0) {
            return Ok(fd);
        }
        last = io::Error::last_os_error();
        if last.raw_os_error() != Some(libc::EINVAL) {
            break;
        }
    }
    Err(last)
}

/// `struct sched_attr` of `sched_setattr(2)`, in its first form.
#[repr(C)]
struct Scheduling {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// How long it runs at a time, nanoseconds.
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// While this lives, its thread is run as soon as it is woken, as far as that is permitted.
///
/// A call that was announced can be interrupted until it is taken. Where the thread that takes
/// it goes first, it does so before its maker even begins to wait. Who may schedule in
/// real time (root, outside of containers) does; others ask for short turns, which Linux
/// prefers on waking since 6.12. Threads and processes that are started meanwhile run as ever.
pub(super) struct Urgent {
    nice: i32,
}

/// A turn as short as Linux grants, nanoseconds.
const SHORT_TURN: u64 = 100_000;

impl Urgent {
    pub(super) fn begin() -> Self {
        // SAFETY: this call takes no pointers. An error reads as -1, a value like any other.
        let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let urgent = Self { nice };
        if !urgent.set(libc::SCHED_FIFO, 1, 0) {
            urgent.set(libc::SCHED_OTHER, 0, SHORT_TURN);
        }
        urgent
    }

    fn set(&self, policy: c_int, priority: u32, runtime: u64) -> bool {
        let scheduling = Scheduling {
            size: 48,
            policy: policy.unsigned_abs(),
            flags: 1, // SCHED_FLAG_RESET_ON_FORK
            nice: self.nice,
            priority,
            runtime,
            deadline: 0,
            period: 0,
        };
        // SAFETY: the structure has the size that it says, and outlives the call.
        unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const scheduling, 0) == 0 }
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        self.set(libc::SCHED_OTHER, 0, 0);
    }
}

/// A mode that no call asks for.
const NO_MODE: c_int = 0x6361_6368;

/// Makes a call that is announced, fails, and tells the supervisor something: see
/// [`Listener::is_mark`].
pub(super) fn make_mark() {
    // SAFETY: no path is an error that the kernel reports.
    unsafe { libc::syscall(libc::SYS_faccessat, libc::AT_FDCWD, 0, NO_MODE) };
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
    let memory = fs::open(Path::new(&format!("/proc/{tid}/mem"))).map_err(|e| e.source)?;
    memory.read_at(into, address)
}

/// What waiting on a listener came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// A call can be received.
    Announced,
    /// No process is left under the filter.
    Deserted,
    /// The time is over.
    TimedOut,
    /// Interrupted; wait again.
    Again,
}

/// Memory for notes, shared by its file. It cannot be made shorter, so that it can be read whatever
/// happens.
pub(super) struct SharedRing {
    file: OwnedFd,
    ring: std::ptr::NonNull<Ring>,
}

impl SharedRing {
    pub(super) fn new() -> io::Result<Self> {
        let check = |answer: c_int| match answer {
            -1 => Err(io::Error::last_os_error()),
            answer => Ok(answer),
        };
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        // SAFETY: the name ends with a zero.
        let fd = check(unsafe { libc::memfd_create(c"notes".as_ptr(), flags) })?;
        // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
        let file = unsafe { OwnedFd::from_raw_fd(fd) };
        let size = size_of::<Ring>();
        let length = libc::off_t::try_from(size).map_err(io::Error::other)?;
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        // SAFETY: these calls take no pointers but that of a new mapping, to a place of the kernel's choice.
        let at = unsafe {
            check(libc::ftruncate(fd, length))?;
            check(libc::fcntl(fd, libc::F_ADD_SEALS, seals))?;
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(
                std::ptr::null_mut(),
                size,
                protection,
                libc::MAP_SHARED,
                fd,
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let ring = std::ptr::NonNull::new(at.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { file, ring })
    }

    pub(super) fn file(&self) -> &OwnedFd {
        &self.file
    }

    pub(super) fn ring(&self) -> &Ring {
        // SAFETY: it is mapped for as long as this lives, and zeroes are a ring.
        unsafe { self.ring.as_ref() }
    }

    /// Copies a note whose writer is done with it, or has ended.
    pub(super) fn read(note: &Note) -> (Call, i32) {
        // SAFETY: it holds plain numbers, whatever was written there.
        unsafe { (note.call.get().read_volatile(), note.answer.get().read()) }
    }

    /// Fills in a note.
    #[cfg(test)]
    pub(super) fn write(note: &Note, path: &[u8]) {
        // SAFETY: a note that was just taken is the taker's.
        let call = unsafe { &mut *note.call.get() };
        call.length = path.len().try_into().unwrap();
        call.path[..path.len()].copy_from_slice(path);
    }
}

impl Drop for SharedRing {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this size, and nobody has a reference any more.
        unsafe { libc::munmap(self.ring.as_ptr().cast(), size_of::<Ring>()) };
    }
}

/// Whether a file may be mapped as code.
pub(super) fn is_loadable(file: &File) -> bool {
    const PAGE: usize = 4096;
    let protection = libc::PROT_READ | libc::PROT_EXEC;
    // SAFETY: a new mapping, which nobody uses, and which goes again at once.
    unsafe {
        let at = libc::mmap(
            std::ptr::null_mut(),
            PAGE,
            protection,
            libc::MAP_PRIVATE,
            file.as_raw_fd(),
            0,
        );
        at != libc::MAP_FAILED && libc::munmap(at, PAGE) == 0
    }
}

/// Whether this process has a system call filter.
pub(super) fn is_filtered() -> bool {
    // SAFETY: PR_GET_SECCOMP takes no pointers. Only in strict mode, in which this
    // process could not have opened a file, does it end the process.
    unsafe { libc::prctl(libc::PR_GET_SECCOMP) != 0 }
}
