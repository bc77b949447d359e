//! What announced calls mean: which paths they name, where these stand in memory, and what is
//! about to be done with them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use super::events::Access;
use super::sys::{self, Notification};

/// Where a call finds its open flags.
pub(super) enum Intent {
    Known(Access),
    Flags(u64),
    /// A pointer to `struct open_how`, which starts with the flags.
    OpenHow(u64),
}

impl Intent {
    /// What the call is about to do; `None` if its flags cannot be read.
    pub(super) fn resolve(self, call: &Notification) -> Option<Access> {
        let flags = match self {
            Self::Known(access) => return Some(access),
            Self::Flags(flags) => flags,
            Self::OpenHow(address) => {
                let mut bytes = [0; 8];
                let n = sys::read_memory(call.tid, address, &mut bytes).ok()?;
                if n != bytes.len() {
                    return None;
                }
                u64::from_ne_bytes(bytes)
            }
        };
        let has = |flag: i32| flags & u64::from(flag.unsigned_abs()) != 0;
        Some(if has(libc::O_PATH) {
            Access::Stat
        } else if has(libc::O_WRONLY | libc::O_RDWR) {
            Access::Write {
                fresh: has(libc::O_TRUNC | libc::O_EXCL),
            }
        } else if has(libc::O_CREAT) {
            Access::Write { fresh: false }
        } else {
            Access::Read
        })
    }
}

/// `AT_FDCWD` as it stands in an argument register.
#[expect(clippy::cast_sign_loss, reason = "the kernel passes it sign-extended")]
const CWD: u64 = libc::AT_FDCWD as u64;

/// The other path of a call with two, which it moves away or links: the directory
/// descriptor, the address, and what happens to that path.
pub(super) fn source(call: &Notification) -> Option<(u64, u64, Access)> {
    let [a0, a1, ..] = call.args;
    match call.call {
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rename => Some((CWD, a0, Access::Alter)),
        libc::SYS_renameat | libc::SYS_renameat2 => Some((a0, a1, Access::Alter)),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_link => Some((CWD, a0, Access::Read)),
        libc::SYS_linkat => Some((a0, a1, Access::Read)),
        _ => None,
    }
}

/// The addresses of the text and of the path of a new link, with the directory between.
pub(super) fn symlink(call: &Notification) -> Option<(u64, u64, u64)> {
    let [a0, a1, a2, ..] = call.args;
    match call.call {
        #[cfg(target_arch = "x86_64")]
        libc::SYS_symlink => Some((a0, CWD, a1)),
        libc::SYS_symlinkat => Some((a0, a1, a2)),
        _ => None,
    }
}

/// The other side of a conversation.
pub(super) enum Peer {
    /// Somebody without a path.
    Nameless,
    /// Whom the address of this length in memory says.
    Address(u64, u64),
}

/// Whom a call talks to; `None` for a call that does not.
pub(super) fn talks(call: &Notification) -> Option<Peer> {
    let [_, address, length, ..] = call.args;
    match call.call {
        libc::SYS_socket | libc::SYS_bind => Some(Peer::Nameless),
        libc::SYS_connect => Some(Peer::Address(address, length)),
        _ => None,
    }
}

impl Peer {
    /// The path of the peer's socket, empty where it has none; `None` if that cannot be
    /// read.
    pub(super) fn read(&self, tid: u32) -> Option<PathBuf> {
        let &Self::Address(address, length) = self else {
            return Some(PathBuf::new());
        };
        // `struct sockaddr_un`: a family of 16 bits and a path of at most 108 bytes.
        let mut bytes = [0; 110];
        let length = usize::try_from(length).ok()?.min(bytes.len());
        let bytes_read = sys::read_memory(tid, address, bytes.get_mut(..length)?).ok()?;
        if bytes_read != length {
            return None;
        }
        let [low, high, path @ ..] = bytes;
        let path = path.split(|&b| b == 0).next().unwrap_or_default();
        let is_local = i32::from(u16::from_ne_bytes([low, high])) == libc::AF_UNIX;
        let path = if is_local { path.to_vec() } else { Vec::new() };
        Some(PathBuf::from(OsString::from_vec(path)))
    }
}

/// The directory descriptor, the address of the path and the intent of a call. `None`
/// for a call that cannot be described.
pub(super) fn describe(call: &Notification) -> Option<(u64, u64, Intent)> {
    use Access::{Create, Execute, Stat};
    let [a0, a1, a2, a3, ..] = call.args;
    let known = Intent::Known;
    #[cfg(target_arch = "x86_64")]
    match call.call {
        libc::SYS_open => return Some((CWD, a0, Intent::Flags(a1))),
        libc::SYS_creat => return Some((CWD, a0, known(Access::Write { fresh: true }))),
        libc::SYS_stat | libc::SYS_lstat => return Some((CWD, a0, known(Stat))),
        libc::SYS_mkdir => return Some((CWD, a0, known(Access::MakeDir))),
        libc::SYS_unlink
        | libc::SYS_rmdir
        | libc::SYS_chmod
        | libc::SYS_chown
        | libc::SYS_lchown
        | libc::SYS_utime
        | libc::SYS_utimes => return Some((CWD, a0, known(Access::Alter))),
        libc::SYS_futimesat => return Some((a0, a1, known(Access::Alter))),
        libc::SYS_mknod => return Some((CWD, a0, known(Create))),
        libc::SYS_readlink => return Some((CWD, a0, known(Access::ReadLink))),
        libc::SYS_access => return Some((CWD, a0, known(Access::Ask))),
        libc::SYS_rename | libc::SYS_link => return Some((CWD, a1, known(Create))),
        libc::SYS_symlink => return Some((CWD, a1, known(Access::Symlink))),
        _ => {}
    }
    Some(match call.call {
        libc::SYS_openat => (a0, a1, Intent::Flags(a2)),
        libc::SYS_openat2 => (a0, a1, Intent::OpenHow(a2)),
        libc::SYS_execve => (CWD, a0, known(Execute)),
        libc::SYS_execveat => (a0, a1, known(Execute)),
        libc::SYS_newfstatat | libc::SYS_statx => (a0, a1, known(Stat)),
        libc::SYS_chdir => (CWD, a0, known(Access::Enter)),
        libc::SYS_mkdirat => (a0, a1, known(Access::MakeDir)),
        libc::SYS_unlinkat
        | libc::SYS_fchmodat
        | libc::SYS_fchmodat2
        | libc::SYS_fchownat
        | libc::SYS_utimensat => (a0, a1, known(Access::Alter)),
        libc::SYS_truncate | libc::SYS_setxattr | libc::SYS_lsetxattr => {
            (CWD, a0, known(Access::Alter))
        }
        libc::SYS_mknodat => (a0, a1, known(Create)),
        libc::SYS_readlinkat => (a0, a1, known(Access::ReadLink)),
        libc::SYS_faccessat | libc::SYS_faccessat2 => (a0, a1, known(Access::Ask)),
        libc::SYS_renameat | libc::SYS_renameat2 | libc::SYS_linkat => (a2, a3, known(Create)),
        libc::SYS_symlinkat => (a1, a2, known(Access::Symlink)),
        _ => return None,
    })
}

/// Reads a path out of a process's memory.
pub(super) fn read_path(tid: u32, address: u64) -> Option<PathBuf> {
    if address == 0 {
        // The call fails with EFAULT, or (statx) names the descriptor itself.
        return Some(PathBuf::new());
    }
    let mut path = Vec::new();
    // Memory is readable page by page, and a path may end just before a hole: never
    // read across a page boundary in one go.
    let mut address = address;
    let mut buffer = [0; 4096];
    while path.len() <= libc::PATH_MAX as usize {
        let in_page = 4096 - usize::try_from(address % 4096).ok()?;
        // Most paths are short; a short read touches less memory.
        let want = in_page.min(256);
        let n = sys::read_memory(tid, address, buffer.get_mut(..want)?).ok()?;
        let piece = buffer.get(..n).filter(|piece| !piece.is_empty())?;
        if let Some(end) = memchr::memchr(0, piece) {
            path.extend_from_slice(piece.get(..end)?);
            return Some(PathBuf::from(OsString::from_vec(path)));
        }
        path.extend_from_slice(piece);
        address += n as u64;
    }
    // Longer than the kernel accepts: the call fails with ENAMETOOLONG.
    Some(PathBuf::new())
}

/// A path as the process sees it from that directory descriptor.
pub(super) fn absolute(tid: u32, directory: u64, path: PathBuf) -> Option<PathBuf> {
    if path.is_absolute() {
        return Some(path);
    }
    // The kernel looks at the low 32 bits only.
    #[expect(clippy::cast_possible_truncation, reason = "as the kernel does")]
    let directory = directory as i32;
    let link = if directory == libc::AT_FDCWD {
        format!("/proc/{tid}/cwd")
    } else {
        format!("/proc/{tid}/fd/{directory}")
    };
    let base = std::fs::read_link(link).ok()?;
    Some(base.join(path))
}
