//! What `/proc` says of processes.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::time::Duration;

/// A process, as its `status` describes it.
pub(crate) struct Process(String);

impl Process {
    /// One by its id; `self` is this process.
    pub(crate) fn find(pid: impl Display) -> Option<Self> {
        let mut file = File::open(format!("/proc/{pid}/status")).ok()?;
        // The kernel does not tell how long it is; without room, it would be read in many small pieces.
        let mut status = Vec::with_capacity(4096);
        file.read_to_end(&mut status).ok()?;
        Some(Self(String::from_utf8_lossy(&status).into_owned()))
    }

    /// The value behind a name such as `PPid`.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.0.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = lines.find(|(field, _)| *field == name)?;
        Some(value.trim())
    }

    /// The name of its program, at most 15 bytes of it.
    pub(crate) fn name(&self) -> &str {
        self.field("Name").unwrap_or_default()
    }

    /// `None` for the first process of a machine or container.
    pub(crate) fn parent(&self) -> Option<Self> {
        Self::find(self.field("PPid")?)
    }
}

/// Whether a process has a thread with this number.
#[cfg_attr(
    not(any(observer, test)),
    expect(dead_code, reason = "only the observer asks")
)]
pub(crate) fn has_thread(pid: u32, tid: u32) -> bool {
    fs::metadata(format!("/proc/{pid}/task/{tid}")).is_ok()
}

/// The process that started this one.
pub(crate) struct Parent {
    /// Its number and when it was started, which tells it from earlier ones with that number.
    pub(crate) id: String,
    /// The name of its program, at most 15 bytes of it.
    pub(crate) program: String,
}

/// The process that started this one.
pub(crate) fn parent() -> Parent {
    by_number(&std::os::unix::process::parent_id().to_string())
}

/// Whether the process with this [id](Parent::id) is there; not where another system or container gave the id.
pub(crate) fn is_running(id: &str) -> bool {
    let number = id.split_once('-').map(|(number, _)| number);
    number.is_some_and(|number| by_number(number).id == id)
}

fn by_number(number: &str) -> Parent {
    let stat = fs::read(format!("/proc/{number}/stat")).unwrap_or_default();
    // The name, in parentheses, may contain anything; the start is the 20th word after it.
    let stat = String::from_utf8_lossy(&stat);
    let (before, after) = stat.rsplit_once(") ").unwrap_or_default();
    let program = before.split_once(" (").map_or("", |(_, name)| name);
    Parent {
        id: match after.split(' ').nth(19) {
            Some(started) => format!("{number}-{started}"),
            None => number.to_owned(),
        },
        program: program.to_owned(),
    }
}

/// What `/proc` has of the parent under a name, if this process may know it.
fn of_parent(name: &str) -> PathBuf {
    let parent = std::os::unix::process::parent_id();
    PathBuf::from(format!("/proc/{parent}/{name}"))
}

/// The environment that the parent was started with, if this process may know it.
pub(crate) fn environment_of_parent() -> Option<Vec<u8>> {
    fs::read(of_parent("environ")).ok()
}

/// The arguments of the parent, its name first.
pub(crate) fn arguments_of_parent() -> Option<Vec<OsString>> {
    let line = fs::read(of_parent("cmdline")).ok()?;
    let words = line.strip_suffix(b"\0")?.split(|&b| b == 0);
    Some(
        words
            .map(|word| OsString::from_vec(word.to_vec()))
            .collect(),
    )
}

/// The directory that the parent is in.
pub(crate) fn directory_of_parent() -> Option<PathBuf> {
    fs::read_link(of_parent("cwd")).ok()
}

/// The parent's program.
pub(crate) fn program_of_parent() -> Option<PathBuf> {
    fs::read_link(of_parent("exe")).ok()
}

/// How long a process with this [id](Parent::id) has been running, as far as the kernel tells: in
/// hundredths of a second.
pub(crate) fn age(id: &str) -> Option<Duration> {
    let (_, ticks) = id.split_once('-')?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
    let started = Duration::from_millis(ticks.parse::<u64>().ok()?.checked_mul(10)?);
    Duration::try_from_secs_f64(uptime)
        .ok()?
        .checked_sub(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ancestors_are_known() {
        let own = Process::find("self").unwrap();
        let parent = std::os::unix::process::parent_id().to_string();
        assert_eq!(own.field("PPid"), Some(&*parent));
        assert!(own.parent().is_some_and(|parent| !parent.name().is_empty()));
        let known = super::parent();
        assert_eq!(own.parent().unwrap().name(), known.program);
        assert!(known.id.starts_with(&format!("{parent}-")));
        assert!(super::age(&known.id).is_some());
        assert!(super::program_of_parent().is_some_and(|path| path.is_absolute()));
        assert!(super::directory_of_parent().is_some_and(|path| path.is_absolute()));
        assert!(super::arguments_of_parent().is_some_and(|words| !words.is_empty()));
        let pid = std::process::id();
        assert!(super::has_thread(pid, pid));
        assert!(!super::has_thread(pid, 1) || pid == 1);
        assert!(Process::find("1").is_none_or(|first| first.parent().is_none()));
    }
}
