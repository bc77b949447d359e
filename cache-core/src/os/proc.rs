//! What `/proc` says of processes.

use std::fmt::Display;
use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

/// A process, as its `status` describes it.
pub(crate) struct Process(String);

impl Process {
    /// One by its id; `self` is this process.
    pub(crate) fn find(pid: impl Display) -> Option<Self> {
        let status = fs::read(format!("/proc/{pid}/status")).ok()?;
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

/// The process that started this one, told from earlier ones with the same id; the first that was
/// asked for, if another one has taken its place.
pub(crate) fn parent() -> &'static str {
    static PARENT: OnceLock<String> = OnceLock::new();
    PARENT.get_or_init(find_parent)
}

fn find_parent() -> String {
    let parent = std::os::unix::process::parent_id();
    match started(parent) {
        Some(started) => format!("{parent}-{started}"),
        None => parent.to_string(),
    }
}

/// When a process was started, hundredths of a second (`USER_HZ`, the same on all processors that
/// are observed) since the machine was.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may contain anything; the start is the 20th word after it.
    let stat = String::from_utf8_lossy(&stat);
    let (_, words) = stat.rsplit_once(") ")?;
    words.split(' ').nth(19)?.parse().ok()
}

/// For how long the process has been running that started this one.
pub(crate) fn age_of_parent() -> Option<Duration> {
    let started = Duration::from_millis(started(std::os::unix::process::parent_id())? * 10);
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
    Duration::try_from_secs_f64(uptime)
        .ok()?
        .checked_sub(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_started_this_process_is_older_than_it() {
        let own = started(std::process::id()).unwrap();
        let parent = std::os::unix::process::parent_id();
        assert!(started(parent).unwrap() <= own);
        let age = age_of_parent().unwrap();
        let uptime = fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        assert!(age.as_secs_f64() <= uptime);
        assert!(parent == 1 || age.as_secs_f64() < uptime - 0.01);
    }

    #[test]
    fn ancestors_are_known() {
        let own = Process::find("self").unwrap();
        let parent = std::os::unix::process::parent_id().to_string();
        assert_eq!(own.field("PPid"), Some(&*parent));
        assert!(own.parent().is_some_and(|parent| !parent.name().is_empty()));
        assert!(Process::find("1").is_none_or(|first| first.parent().is_none()));
    }
}
