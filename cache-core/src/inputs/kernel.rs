//! What the kernel tells, other than of ordinary files.
//!
//! A process may read what is about itself, and what programs look at to decide how much to
//! do at a time. Other files in the kernel's file systems differ from machine to machine or
//! from moment to moment. That something is there or not, and where a link leads, are facts like
//! any others; so is what was put there by mounting it. Which kernel it is, what the machine is
//! called, and who the user is, are facts that can be compared.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::inputs::input::{FileType, Input};
use crate::observe::{Access, Event};
use crate::os::fs;

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
    "/proc/pressure",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/fs/cgroup",
    "/sys/kernel/mm",
    // Read by libraries of common tools when they are loaded.
    "/proc/filesystems",
    "/proc/sys/fs",
    "/proc/sys/kernel/cap_last_cap",
    "/proc/sys/kernel/ngroups_max",
    "/sys/fs/selinux",
];

/// What the system call `uname` tells, but for the machine's name, which every container
/// has another one of.
const IDENTITY: &[&str] = &["/proc/sys/kernel/osrelease", "/proc/version"];

/// Devices that tell the same everywhere, or what no two runs share.
const DEVICES: &[&str] = &[
    "console", "full", "null", "ptmx", "random", "tty", "urandom", "zero",
];

/// A fact of the machine or its user that a process may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fact {
    /// Which kernel this is.
    Kernel,
    /// What the machine is called.
    Host,
    /// Who the user is, and what that permits.
    User,
}

impl Fact {
    const ALL: [Self; 3] = [Self::Kernel, Self::Host, Self::User];

    /// What the fact is called in input sets.
    fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Host => "host",
            Self::User => "user",
        }
    }

    /// What is the case now.
    fn value(self) -> Vec<u8> {
        match self {
            Self::Kernel => {
                let files = IDENTITY.iter().map(|path| fs::read(Path::new(path)));
                // What the system call tells depends on who asks (`setarch`).
                let uname = rustix::system::uname();
                let told = [uname.release(), uname.version(), uname.machine()];
                let told = told.map(|text| text.to_bytes_with_nul().to_vec());
                let parts = files.map(Result::unwrap_or_default).chain(told);
                parts.collect::<Vec<_>>().concat()
            }
            Self::Host => {
                let uname = rustix::system::uname();
                let mut names = uname.nodename().to_bytes().to_vec();
                #[cfg(target_os = "linux")]
                if uname.domainname().to_bytes() != b"(none)" {
                    names.extend([b".", uname.domainname().to_bytes()].concat());
                }
                names
            }
            Self::User => user(),
        }
    }

    /// The fact as an input.
    pub(crate) fn input(self) -> Input {
        Input::Argument {
            name: self.name().to_owned(),
            value: Some(self.value()),
        }
    }
}

/// The value of a fact by its name; `None` if there is no such fact.
pub(crate) fn fact(name: &str) -> Option<Vec<u8>> {
    let fact = Fact::ALL.into_iter().find(|fact| fact.name() == name)?;
    Some(fact.value())
}

/// The lines of `/proc/self/status` that say who the user is, and what that permits.
fn user() -> Vec<u8> {
    let status = fs::read(Path::new("/proc/self/status")).unwrap_or_default();
    let lines = status.split_inclusive(|&b| b == b'\n').filter(|line| {
        let names = [
            "Uid:", "Gid:", "Groups:", "CapInh:", "CapPrm:", "CapEff:", "CapBnd:",
        ];
        names.iter().any(|name| line.starts_with(name.as_bytes()))
    });
    lines.collect::<Vec<_>>().concat()
}

/// What an event below the kernel's directories tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// What any path tells.
    Ordinary,
    /// Nothing that counts.
    Nothing,
    /// What differs from machine to machine, or from moment to moment.
    Machine,
}

/// Whether an event reads which kernel this is.
pub(crate) fn tells_identity(event: &Event) -> bool {
    IDENTITY
        .iter()
        .any(|known| *event.real == *Path::new(known))
}

/// Whether an event reads who the user is, of the process itself or of another observed one.
pub(crate) fn tells_user(event: &Event) -> bool {
    let is_status = event.real.ends_with("status") && event.real.starts_with("/proc");
    is_status && event.access == Access::Read
}

/// Whether a path is spelled as a file by way of what a process has for its root or its
/// directory, which says something of the process beside the file.
pub(crate) fn leads_by_process(path: &Path) -> bool {
    let Ok(below) = path.strip_prefix("/proc") else {
        return false;
    };
    let mut parts = below
        .components()
        .skip(1)
        .map(std::path::Component::as_os_str);
    parts.any(|part| part == "root" || part == "cwd")
}

/// What an event tells whose path the kernel [`owns`]. `is_observed` says which processes are
/// among those observed; `before` is what the same process used just before.
pub(crate) fn told(
    event: &Event,
    is_observed: impl Fn(u32) -> bool,
    before: Option<&Path>,
) -> Told {
    let path = &*event.real;
    let is_harmless = HARMLESS
        .iter()
        .chain(IDENTITY)
        .any(|known| path.starts_with(known));
    if is_harmless {
        return Told::Nothing;
    }
    if let Ok(below) = path.strip_prefix("/dev") {
        return told_by_device(event, below);
    }
    if let Ok(below) = path.strip_prefix("/proc") {
        let mut parts = below.components().map(|c| c.as_os_str().as_bytes());
        let Some(first) = parts.next() else {
            let is_listed = event.access == Access::Read;
            return if is_listed {
                Told::Machine
            } else {
                Told::Nothing
            };
        };
        if matches!(first, b"self" | b"thread-self") {
            return Told::Nothing;
        }
        let number = std::str::from_utf8(first).ok().and_then(|n| n.parse().ok());
        if let Some(pid) = number {
            let is_own = pid == event.pid || is_observed(pid);
            return told_of_process(is_own, parts, before);
        }
    }
    match event.found.map(|found| found.file_type) {
        Some(FileType::File | FileType::Other) => Told::Machine,
        None | Some(FileType::Dir | FileType::Link) => Told::Ordinary,
    }
}

fn told_of_process<'a>(
    is_own: bool,
    mut parts: impl Iterator<Item = &'a [u8]>,
    before: Option<&Path>,
) -> Told {
    let mut what = parts.next();
    if what == Some(b"task") {
        parts.next();
        what = parts.next();
    }
    // Who looks how much of the machine a container may use, reads these two.
    let of_cgroup = || before.is_some_and(|path| path.ends_with("cgroup"));
    match what {
        _ if !is_own => Told::Machine,
        Some(b"mountinfo") if of_cgroup() => Told::Nothing,
        Some(b"environ" | b"cmdline" | b"mountinfo" | b"mounts" | b"mountstats" | b"net") => {
            Told::Machine
        }
        _ => Told::Nothing,
    }
}

fn told_by_device(event: &Event, below: &Path) -> Told {
    let is_device = event.found.is_some_and(|f| f.file_type == FileType::Other);
    let is_known =
        below.starts_with("pts") || DEVICES.iter().any(|known| below == Path::new(known));
    match (is_device, event.access) {
        (true, _) if is_known => Told::Nothing,
        (true, Access::Read) => Told::Machine,
        _ => Told::Ordinary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::stamp::{self, Stamp};

    fn event(access: Access, path: &str) -> Event {
        let path = Path::new(path);
        Event {
            pid: 1,
            access,
            path: path.into(),
            real: path.into(),
            found: Stamp::of(path),
            failed: false,
            at: stamp::now(),
        }
    }

    #[test]
    fn files_of_the_kernel_are_told_apart() {
        for (path, expected) in [
            ("/proc/1/status", Told::Nothing),
            ("/proc/1/environ", Told::Machine),
            ("/proc/1/mountinfo", Told::Machine),
            ("/proc/2/status", Told::Machine),
            ("/proc/version", Told::Nothing),
            ("/proc/cpuinfo", Told::Nothing),
            ("/proc", Told::Machine),
            ("/proc/sys/kernel/hostname", Told::Machine),
            ("/proc/driver/nothing", Told::Ordinary),
            ("/sys/nothing", Told::Ordinary),
            ("/dev/null", Told::Nothing),
            ("/dev/nothing", Told::Ordinary),
        ] {
            let told = told(&event(Access::Read, path), |_| false, None);
            assert_eq!(told, expected, "{path}");
        }
        let look = event(Access::Stat, "/proc");
        assert_eq!(told(&look, |_| false, None), Told::Nothing);
        let mounts = event(Access::Read, "/proc/1/mountinfo");
        let cgroup = Some(Path::new("/proc/1/cgroup"));
        assert_eq!(told(&mounts, |_| false, cgroup), Told::Nothing);
    }

    #[test]
    fn facts_have_values() {
        for fact in Fact::ALL {
            assert_eq!(super::fact(fact.name()), Some(fact.value()));
            assert!(!fact.value().is_empty(), "{}", fact.name());
        }
        assert_eq!(super::fact("width"), None);
    }
}
