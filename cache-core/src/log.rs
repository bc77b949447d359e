//! Saying something to the person at the terminal, or to a log file.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::config::{LogLevel, LogSpec};
use crate::formats::digest::Digest;
use crate::os::proc::Process;
use crate::os::{detach, fs};

/// Writes messages up to a level. Failing to write one is ignored: there is nobody left
/// to tell, and the build goes on.
#[derive(Clone, Debug)]
pub struct Log {
    spec: LogSpec,
}

impl Log {
    /// A log as configured.
    pub fn new(spec: LogSpec) -> Self {
        Self { spec }
    }

    /// Warns about some trouble, once a build.
    pub fn warn_once(&self, trouble: &str, message: impl FnOnce() -> String) {
        let is_heard = self.spec.file.is_some() || !detach::is_detached();
        if is_heard && Self::is_first_of_build(trouble) {
            self.warn_past_cargo(message);
        }
    }

    /// Whether this trouble has not been reported yet by another process of the same
    /// build, so that a build of 300 units warns once and not 300 times.
    ///
    /// Processes of one build have the same parent. A marker named after it and the
    /// trouble is left in the directory for temporary files; where that fails, the
    /// trouble counts as new.
    fn is_first_of_build(trouble: &str) -> bool {
        let parent = std::os::unix::process::parent_id();
        let text = Digest::of(trouble.as_bytes()).to_hex();
        let short = text.get(..16).unwrap_or_default();
        #[expect(
            clippy::disallowed_methods,
            reason = "all processes of a build share it"
        )]
        let dir = std::env::temp_dir();
        let first = fs::create_new(&dir.join(format!("{MARKER}{parent}-{short}")));
        if first {
            remove_old_markers(&dir);
        }
        first
    }

    /// Writes a message if its level is wanted.
    pub fn say(&self, level: LogLevel, message: impl FnOnce() -> String) {
        if level == LogLevel::Off || level > self.spec.level {
            return;
        }
        let line = format!("cachewrap: {level}: {}\n", message());
        let _ = match &self.spec.file {
            Some(path) => fs::append(path, line.as_bytes()).is_ok(),
            None => std::io::stderr().write_all(line.as_bytes()).is_ok(),
        };
    }

    /// Writes a warning past cargo to the terminal or file that cargo writes to.
    ///
    /// What a wrapper writes to its own standard error, cargo takes for the compiler's
    /// messages: it stores them with the unit and repeats them in every later build,
    /// long after the trouble has gone.
    fn warn_past_cargo(&self, message: impl FnOnce() -> String) {
        let parent = std::os::unix::process::parent_id();
        let by_cargo = Process::find(parent).is_some_and(|parent| parent.name() == "cargo");
        let file = Some(PathBuf::from(format!("/proc/{parent}/fd/2")));
        let spec = match &self.spec.file {
            None if by_cargo && file.as_deref().is_some_and(fs::is_appendable) => LogSpec {
                file,
                ..self.spec.clone()
            },
            _ => self.spec.clone(),
        };
        Self { spec }.say(LogLevel::Warn, message);
    }
}

/// Whether a process has ended; where that cannot be told, none has.
fn has_ended(pid: &str) -> bool {
    let is_listed = |pid| fs::exists(&Path::new("/proc").join(pid));
    is_listed("self") && !is_listed(pid)
}

const MARKER: &str = "cachewrap-warned-";

/// Removes the markers of builds that have ended.
fn remove_old_markers(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let pid = name
            .strip_prefix(MARKER)
            .and_then(|rest| rest.split('-').next());
        if pid.is_some_and(has_ended) {
            let _ = fs::remove_file(&entry.path());
        }
    }
}
