//! The table: one row for each watched call.

use libc::c_long;

use super::{At, Doing, Last, Meaning, Row, Test};
use crate::observe::events::{Access, Depth};

const fn at(directory: usize, path: usize) -> At {
    At {
        directory: Some(directory),
        path,
    }
}

#[cfg(target_arch = "x86_64")]
const fn here(path: usize) -> At {
    At {
        directory: None,
        path,
    }
}

const fn row(call: c_long, from: Depth, meaning: Meaning) -> Row {
    Row {
        call,
        from,
        test: None,
        meaning,
    }
}

const fn unless(call: c_long, argument: u32, values: &'static [u32], meaning: Meaning) -> Row {
    let test = Test {
        argument,
        values,
        announces: false,
    };
    Row {
        test: Some(test),
        ..row(call, Usual, meaning)
    }
}

const fn known(at: At, last: Last, access: Access) -> Meaning {
    Meaning::Path(at, last, Doing::Known(access))
}

/// Numbers that are the same on all architectures, and younger than the C library's headers.
mod young {
    use libc::c_long;

    pub(super) const SYS_QUOTACTL_FD: c_long = 443;
    pub(super) const SYS_STATMOUNT: c_long = 457;
    pub(super) const SYS_LISTMOUNT: c_long = 458;
    pub(super) const SYS_SETXATTRAT: c_long = 463;
    pub(super) const SYS_GETXATTRAT: c_long = 464;
    pub(super) const SYS_LISTXATTRAT: c_long = 465;
    pub(super) const SYS_REMOVEXATTRAT: c_long = 466;
    pub(super) const SYS_OPEN_TREE_ATTR: c_long = 467;
    pub(super) const SYS_FILE_GETATTR: c_long = 468;
    pub(super) const SYS_FILE_SETATTR: c_long = 469;
}

use Access::{Alter, Attributes, Create, Enter, Execute, MakeDir, ReadLink, Stat};
use Depth::{Tree, Usual};
use Last::{Followed, FollowedUnless, Itself};
use Meaning::{AskMachine, AskUser, Descriptor, Leaves, Pair, Path, Symlink, Talk, TalkMessage};

const NOFOLLOW: i32 = libc::AT_SYMLINK_NOFOLLOW;

const NAMESPACE: &str = "a process took another view of the file system";
const BY_HANDLE: &str = "a file was named by a handle";
const BY_DEVICE: &str = "a file system was asked for by its device";

/// Requests of `ioctl` that any file answers, as its file system does (`linux/fs.h`): how large blocks are and where a
/// file has them, its flags, version and project, what the file system is called.
const OF_FILE_SYSTEMS: &[u32] = &[
    0x0000_0001, // FIBMAP
    0x0000_0002, // FIGETBSZ
    0x8008_6601, // FS_IOC_GETFLAGS
    0x8008_7601, // FS_IOC_GETVERSION
    0x801c_581f, // FS_IOC_FSGETXATTR
    0x8100_9431, // FS_IOC_GETFSLABEL
    0x8011_1500, // FS_IOC_GETFSUUID
    0x8081_1501, // FS_IOC_GETFSSYSFSPATH
    0xc020_660b, // FS_IOC_FIEMAP
];

/// What is watched on every architecture. A library may bring a macro along that nothing on the
/// command line tells of, so what only macros do is announced at every depth.
pub(super) const ROWS: &[Row] = &[
    row(
        libc::SYS_openat,
        Usual,
        Path(at(0, 1), Last::ByFlags, Doing::Flags(2)),
    ),
    row(
        libc::SYS_openat2,
        Usual,
        Path(at(0, 1), Last::ByFlags, Doing::OpenHow(2)),
    ),
    row(
        libc::SYS_newfstatat,
        Usual,
        known(at(0, 1), FollowedUnless(3, NOFOLLOW), Stat),
    ),
    row(
        libc::SYS_statx,
        Usual,
        known(at(0, 1), FollowedUnless(2, NOFOLLOW), Stat),
    ),
    row(
        libc::SYS_execve,
        Usual,
        known(
            At {
                directory: None,
                path: 0,
            },
            Followed,
            Execute,
        ),
    ),
    row(
        libc::SYS_execveat,
        Usual,
        known(at(0, 1), FollowedUnless(4, NOFOLLOW), Execute),
    ),
    row(
        libc::SYS_faccessat,
        Usual,
        Path(at(0, 1), Followed, Doing::Ask(2)),
    ),
    row(
        libc::SYS_faccessat2,
        Usual,
        Path(at(0, 1), FollowedUnless(3, NOFOLLOW), Doing::Ask(2)),
    ),
    row(
        libc::SYS_readlinkat,
        Usual,
        known(at(0, 1), Itself, ReadLink),
    ),
    row(
        libc::SYS_chdir,
        Usual,
        known(
            At {
                directory: None,
                path: 0,
            },
            Followed,
            Enter,
        ),
    ),
    row(
        libc::SYS_renameat,
        Usual,
        Pair(at(0, 1), at(2, 3), Doing::Known(Alter)),
    ),
    row(
        libc::SYS_renameat2,
        Usual,
        Pair(at(0, 1), at(2, 3), Doing::Known(Alter)),
    ),
    row(
        libc::SYS_linkat,
        Usual,
        Pair(at(0, 1), at(2, 3), Doing::Known(Access::Read)),
    ),
    row(libc::SYS_symlinkat, Usual, Symlink(0, at(1, 2))),
    row(libc::SYS_mkdirat, Usual, known(at(0, 1), Itself, MakeDir)),
    row(libc::SYS_mknodat, Usual, known(at(0, 1), Itself, Create)),
    row(libc::SYS_unlinkat, Usual, known(at(0, 1), Itself, Alter)),
    row(libc::SYS_fchmodat, Usual, known(at(0, 1), Followed, Alter)),
    row(
        libc::SYS_fchmodat2,
        Usual,
        known(at(0, 1), FollowedUnless(3, NOFOLLOW), Alter),
    ),
    row(
        libc::SYS_truncate,
        Usual,
        known(
            At {
                directory: None,
                path: 0,
            },
            Followed,
            Alter,
        ),
    ),
    row(
        libc::SYS_fchownat,
        Tree,
        known(at(0, 1), FollowedUnless(4, NOFOLLOW), Alter),
    ),
    row(
        libc::SYS_utimensat,
        Usual,
        known(at(0, 1), FollowedUnless(3, NOFOLLOW), Alter),
    ),
    row(libc::SYS_fchmod, Tree, Descriptor(0, Alter)),
    row(libc::SYS_fchown, Tree, Descriptor(0, Alter)),
    // Attributes and properties of the file system beside what `stat` tells.
    row(libc::SYS_setxattr, Usual, path_first(Followed, Alter)),
    row(libc::SYS_lsetxattr, Usual, path_first(Itself, Alter)),
    row(libc::SYS_fsetxattr, Tree, Descriptor(0, Alter)),
    row(libc::SYS_removexattr, Usual, path_first(Followed, Alter)),
    row(libc::SYS_lremovexattr, Usual, path_first(Itself, Alter)),
    row(libc::SYS_fremovexattr, Tree, Descriptor(0, Alter)),
    row(libc::SYS_getxattr, Usual, path_first(Followed, Attributes)),
    row(libc::SYS_lgetxattr, Usual, path_first(Itself, Attributes)),
    row(libc::SYS_fgetxattr, Usual, Descriptor(0, Attributes)),
    row(libc::SYS_listxattr, Usual, path_first(Followed, Attributes)),
    row(libc::SYS_llistxattr, Usual, path_first(Itself, Attributes)),
    row(libc::SYS_flistxattr, Usual, Descriptor(0, Attributes)),
    row(
        libc::SYS_statfs,
        Usual,
        path_first(Followed, Access::FileSystem),
    ),
    row(libc::SYS_fstatfs, Usual, Descriptor(0, Access::FileSystem)),
    Row {
        test: Some(Test {
            argument: 1,
            values: OF_FILE_SYSTEMS,
            announces: true,
        }),
        ..row(libc::SYS_ioctl, Usual, Descriptor(0, Access::FileSystem))
    },
    row(libc::SYS_quotactl, Usual, Leaves(BY_DEVICE)),
    row(
        young::SYS_QUOTACTL_FD,
        Usual,
        Descriptor(0, Access::FileSystem),
    ),
    row(
        libc::SYS_inotify_add_watch,
        Usual,
        known(
            At {
                directory: None,
                path: 1,
            },
            Followed,
            Stat,
        ),
    ),
    // The machine, the user, other processes.
    row(libc::SYS_uname, Usual, AskMachine),
    row(libc::SYS_getcwd, Usual, Meaning::AskDirectory(1)),
    row(libc::SYS_getuid, Usual, AskUser),
    row(libc::SYS_geteuid, Usual, AskUser),
    row(libc::SYS_getgid, Usual, AskUser),
    row(libc::SYS_getegid, Usual, AskUser),
    row(libc::SYS_getresuid, Usual, AskUser),
    row(libc::SYS_getresgid, Usual, AskUser),
    row(libc::SYS_getgroups, Usual, AskUser),
    row(libc::SYS_capget, Usual, AskUser),
    Row {
        test: Some(Test {
            argument: 0,
            values: &[libc::PR_CAPBSET_READ.unsigned_abs()],
            announces: true,
        }),
        ..row(libc::SYS_prctl, Usual, AskUser)
    },
    // Local sockets have no names outside of the processes that made them; where they have
    // one, it shows when it is connected or sent to.
    unless(
        libc::SYS_socket,
        0,
        &[libc::AF_UNIX.unsigned_abs()],
        Talk(None),
    ),
    row(libc::SYS_connect, Usual, Talk(Some((1, 2)))),
    row(libc::SYS_bind, Tree, Talk(None)),
    unless(libc::SYS_sendto, 4, &[0], Talk(Some((4, 5)))),
    row(libc::SYS_sendmsg, Usual, TalkMessage(1)),
    row(libc::SYS_sendmmsg, Usual, Talk(None)),
    // Shared memory, semaphores and messages have numbers, too, that others may tell.
    row(libc::SYS_shmget, Usual, Talk(None)),
    row(libc::SYS_shmat, Usual, Talk(None)),
    row(libc::SYS_shmctl, Usual, Talk(None)),
    row(libc::SYS_msgget, Usual, Talk(None)),
    row(libc::SYS_msgsnd, Usual, Talk(None)),
    row(libc::SYS_msgrcv, Usual, Talk(None)),
    row(libc::SYS_msgctl, Usual, Talk(None)),
    row(libc::SYS_semget, Usual, Talk(None)),
    row(libc::SYS_semop, Usual, Talk(None)),
    row(libc::SYS_semtimedop, Usual, Talk(None)),
    row(libc::SYS_semctl, Usual, Talk(None)),
    row(libc::SYS_mq_open, Usual, Talk(None)),
    row(libc::SYS_add_key, Usual, Talk(None)),
    row(libc::SYS_request_key, Usual, Talk(None)),
    row(libc::SYS_keyctl, Usual, Talk(None)),
    row(libc::SYS_syslog, Usual, Talk(None)),
    row(libc::SYS_process_vm_readv, Usual, Talk(None)),
    // Other views of the file system, and files without paths.
    row(libc::SYS_chroot, Usual, Leaves(NAMESPACE)),
    row(libc::SYS_mount, Usual, Leaves(NAMESPACE)),
    row(libc::SYS_umount2, Usual, Leaves(NAMESPACE)),
    row(libc::SYS_pivot_root, Usual, Leaves(NAMESPACE)),
    row(libc::SYS_setns, Usual, Leaves(NAMESPACE)),
    row(libc::SYS_unshare, Usual, Leaves(NAMESPACE)),
    row(libc::SYS_open_tree, Usual, Leaves(NAMESPACE)),
    row(young::SYS_OPEN_TREE_ATTR, Usual, Leaves(NAMESPACE)),
    row(libc::SYS_move_mount, Usual, Leaves(NAMESPACE)),
    row(libc::SYS_fsopen, Usual, Leaves(NAMESPACE)),
    row(libc::SYS_fspick, Usual, Leaves(NAMESPACE)),
    row(young::SYS_STATMOUNT, Usual, Leaves("mounts were listed")),
    row(young::SYS_LISTMOUNT, Usual, Leaves("mounts were listed")),
    row(libc::SYS_name_to_handle_at, Usual, Leaves(BY_HANDLE)),
    row(libc::SYS_open_by_handle_at, Usual, Leaves(BY_HANDLE)),
    row(libc::SYS_fanotify_mark, Usual, Leaves(BY_HANDLE)),
    row(libc::SYS_pidfd_getfd, Usual, Leaves(BY_HANDLE)),
    row(
        libc::SYS_io_uring_setup,
        Usual,
        Leaves("a process used io_uring"),
    ),
    row(
        young::SYS_SETXATTRAT,
        Usual,
        known(at(0, 1), FollowedUnless(2, NOFOLLOW), Alter),
    ),
    row(
        young::SYS_REMOVEXATTRAT,
        Usual,
        known(at(0, 1), FollowedUnless(2, NOFOLLOW), Alter),
    ),
    row(
        young::SYS_GETXATTRAT,
        Usual,
        known(at(0, 1), FollowedUnless(2, NOFOLLOW), Attributes),
    ),
    row(
        young::SYS_LISTXATTRAT,
        Usual,
        known(at(0, 1), FollowedUnless(2, NOFOLLOW), Attributes),
    ),
    row(
        young::SYS_FILE_GETATTR,
        Usual,
        known(at(0, 1), FollowedUnless(4, NOFOLLOW), Attributes),
    ),
    row(
        young::SYS_FILE_SETATTR,
        Usual,
        known(at(0, 1), FollowedUnless(4, NOFOLLOW), Alter),
    ),
];

const fn path_first(last: Last, access: Access) -> Meaning {
    known(
        At {
            directory: None,
            path: 0,
        },
        last,
        access,
    )
}

/// The older forms of calls, which only x86-64 still has.
#[cfg(target_arch = "x86_64")]
pub(super) const OLD_ROWS: &[Row] = &[
    row(
        libc::SYS_open,
        Usual,
        Path(here(0), Last::ByFlags, Doing::Flags(1)),
    ),
    row(
        libc::SYS_creat,
        Usual,
        path_first(Followed, Access::Write { fresh: true }),
    ),
    row(libc::SYS_stat, Usual, path_first(Followed, Stat)),
    row(libc::SYS_lstat, Usual, path_first(Itself, Stat)),
    row(
        libc::SYS_access,
        Usual,
        Path(here(0), Followed, Doing::Ask(1)),
    ),
    row(libc::SYS_readlink, Usual, path_first(Itself, ReadLink)),
    row(
        libc::SYS_rename,
        Usual,
        Pair(here(0), here(1), Doing::Known(Alter)),
    ),
    row(
        libc::SYS_link,
        Usual,
        Pair(here(0), here(1), Doing::Known(Access::Read)),
    ),
    row(libc::SYS_symlink, Usual, Symlink(0, here(1))),
    row(libc::SYS_mkdir, Usual, path_first(Itself, MakeDir)),
    row(libc::SYS_mknod, Usual, path_first(Itself, Create)),
    row(libc::SYS_unlink, Usual, path_first(Itself, Alter)),
    row(libc::SYS_rmdir, Usual, path_first(Itself, Alter)),
    row(libc::SYS_chmod, Usual, path_first(Followed, Alter)),
    row(libc::SYS_chown, Tree, path_first(Followed, Alter)),
    row(libc::SYS_lchown, Tree, path_first(Itself, Alter)),
    row(libc::SYS_utime, Usual, path_first(Followed, Alter)),
    row(libc::SYS_utimes, Usual, path_first(Followed, Alter)),
    row(libc::SYS_futimesat, Usual, known(at(0, 1), Followed, Alter)),
    row(libc::SYS_uselib, Usual, path_first(Followed, Access::Read)),
    row(libc::SYS_ustat, Usual, Leaves(BY_DEVICE)),
];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const OLD_ROWS: &[Row] = &[];
