//! What the kernel tells, other than of ordinary files.
//!
//! A process may read what is about itself, and what programs look at to decide how much to
//! do at a time. Other files in the kernel's file systems differ from machine to machine or
//! from moment to moment; which kernel it is, is a fact that can be compared.

use std::path::Path;

use crate::fs;
use crate::input::{FileType, Input};
use crate::observe::Event;

/// Whether a path is in a file system of the kernel's own making.
pub(crate) fn owns(path: &Path) -> bool {
    let system = ["/proc", "/sys", "/dev"];
    // Shared memory is an ordinary file system, and people do build there.
    system.iter().any(|dir| path.starts_with(dir)) && !path.starts_with("/dev/shm")
}

/// What may be read below `/proc` and `/sys` besides what is about the process.
const HARMLESS: &[&str] = &[
    // In the key.
    "/proc/cpuinfo",
    // How many processors, how much memory, how busy.
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/vm",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/fs/cgroup",
    "/sys/kernel/mm",
    // Read by libraries of common tools when they are loaded.
    "/proc/filesystems",
    "/proc/mounts",
    "/proc/sys/fs",
    "/proc/sys/kernel/cap_last_cap",
    "/proc/sys/kernel/ngroups_max",
    "/sys/fs/selinux",
];

/// What the system call `uname` tells, but for the machine's name, which every container
/// has another one of.
const IDENTITY: &[&str] = &["/proc/sys/kernel/osrelease", "/proc/version"];

/// What the fact is called which kernel this is.
pub(crate) const FACT: &str = "kernel";

/// Which kernel this is.
pub(crate) fn identity() -> Vec<u8> {
    let parts = IDENTITY.iter().map(|path| fs::read(Path::new(path)));
    parts
        .map(Result::unwrap_or_default)
        .collect::<Vec<_>>()
        .concat()
}

/// The fact which kernel this is.
pub(crate) fn fact() -> Input {
    Input::Argument {
        name: FACT.to_owned(),
        value: Some(identity()),
    }
}

/// Whether an event reads which kernel this is.
pub(crate) fn tells_identity(event: &Event) -> bool {
    IDENTITY
        .iter()
        .any(|known| *event.path == *Path::new(known))
}

/// Whether a file of the kernel's is about more than the process that reads it.
pub(crate) fn is_of_machine(event: &Event) -> bool {
    let path = &event.path;
    if !(path.starts_with("/proc") || path.starts_with("/sys"))
        || event.found.is_none_or(|f| f.file_type != FileType::File)
    {
        return false;
    }
    let mut parts = path.components().skip(2);
    let whose = parts.next().map(|c| c.as_os_str().to_string_lossy());
    let own = path.starts_with("/proc")
        && whose.is_some_and(|w| {
            matches!(&*w, "self" | "thread-self") || w.bytes().all(|b| b.is_ascii_digit())
        });
    // `/proc/self/root/etc/passwd` is any file.
    let leads_away = parts.any(|c| c.as_os_str() == "root" || c.as_os_str() == "cwd");
    let mut known = HARMLESS.iter().chain(IDENTITY);
    let harmless = known.any(|known| path.starts_with(known));
    !(harmless || (own && !leads_away))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Access;
    use crate::stamp::{self, Stamp};

    #[test]
    fn files_of_the_kernel_are_told_apart() {
        for (path, expected) in [
            ("/proc/self/status", false),
            ("/proc/self/root/etc/passwd", true),
            ("/proc/version", false),
            ("/proc/cpuinfo", false),
            ("/proc/sys/kernel/hostname", true),
            ("/etc/passwd", false),
        ] {
            let path = Path::new(path);
            let event = Event {
                pid: 1,
                access: Access::Read,
                path: path.into(),
                found: Stamp::of(path),
                at: stamp::now(),
            };
            assert_eq!(is_of_machine(&event), expected, "{}", path.display());
        }
    }
}
