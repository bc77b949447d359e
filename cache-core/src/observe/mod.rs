//! The observer: what a process and its children look at in the file system.
//!
//! What is seen is in [`events`], and how it is seen in `seccomp`, which needs Linux on x86-64 or
//! aarch64. For other systems `build.rs` does not set `cfg(observer)`, and `absent` takes its
//! place: there, everything runs unobserved. No other room needs to know which of them it is.

#[cfg(not(observer))]
mod absent;
#[cfg_attr(not(observer), expect(dead_code, reason = "nothing happens"))]
mod events;
#[cfg(observer)]
mod seccomp;
#[expect(unsafe_code, reason = "system calls that no safe library offers")]
mod unix;

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use crate::config::Config;

#[cfg(not(observer))]
use absent as observer;
#[cfg(observer)]
use seccomp as observer;

pub use events::Depth;
pub(crate) use events::{Access, Event, Observation, Permissions};
pub use observer::is_observed;
pub(crate) use observer::{PRELOADED_OBJECT, is_loadable, spawn};
pub(crate) use unix::has_writer;
pub use unix::{die_by_signal, survive_file_size_limit};

/// What is loaded into observed processes.
#[derive(Clone, Copy)]
#[cfg_attr(not(observer), expect(dead_code, reason = "nothing is loaded"))]
pub(crate) struct Object<'a> {
    pub(crate) file: &'a Path,
    /// Beginnings of paths, and what C compilers write for them into debug information.
    pub(crate) prefix_map: &'a [(OsString, OsString)],
}

#[cfg(test)]
impl<'a> From<&'a Path> for Object<'a> {
    /// With nothing for compilers.
    fn from(file: &'a Path) -> Self {
        let prefix_map = &[];
        Self { file, prefix_map }
    }
}

/// How a process ended.
pub(crate) type Exit = io::Result<ExitStatus>;

/// Why nothing is observed under these settings; `None`: it is tried.
pub(crate) fn ruled_out(config: &Config) -> Option<String> {
    let off = || (!*config.observe).then(|| config.observe.origin.to_string());
    observer::ABSENT.map(str::to_owned).or_else(off)
}

/// Starts `command` in `cwd` unobserved; it dies with the thread that calls this, where the system
/// can see to that.
pub(crate) fn spawn_unobserved(command: &mut Command, cwd: Option<&Path>) -> io::Result<Child> {
    unix::prepare_child(command, None, cwd)?;
    command.spawn()
}

/// Whether compilers can be observed here, and if not, why.
///
/// Tries it on a thread of its own; the calling process is not changed.
pub fn probe() -> Result<(), String> {
    // Wherever `PATH` leads.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", ":"]);
    command.stdout(std::process::Stdio::null());
    match spawn(&mut command, None, Depth::Usual, None, |_| ()) {
        Ok((_, (), observation)) if observation.is_complete() => Ok(()),
        Ok(_) => Err("paths of the observed process cannot be read".to_owned()),
        Err(e) => Err(e.to_string()),
    }
}
