//! Whether another process is compiling the same thing, and whether to wait for it.
//!
//! Who came first will be done no later than who starts now, with half the work between
//! them; so waiting is the rule. It is not cheaper, and not done, where
//! - the unit is a question or a probe, which take a few milliseconds. Cargo gives every
//!   unit of its own a `-C metadata`; what a build script tries out has none;
//! - the incremental directory has a session of this crate, so that compiling here may
//!   take a fraction of what it takes there;
//! - the other one compiles something else. Its inputs are not known before it has read
//!   them, so "the same thing" is judged by what is: the manifest key, and the contents
//!   of the crate's root file and of the crates named to it. Two branches that differ in
//!   a dependency differ in all that depend on it. What is overlooked costs one wait.
//! - this process is a descendant of one that compiles, a macro that runs cargo, say:
//!   that one cannot end before this one does.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::config::LogLevel;
use crate::digest::Digest;
use crate::fs;
use crate::key::KeyHasher;
use crate::rustc::invocation::{Action, Source};
use crate::store::Turn;

use super::Job;

impl Job<'_> {
    /// Waits for another process that compiles the same, or keeps others from it.
    pub(super) fn turn(&self) -> Turn {
        let invocation = &self.unit.invocation;
        let unit_of_cargo =
            invocation.action == Action::Compile && invocation.codegen("metadata").is_some();
        if !unit_of_cargo || self.engine.store.is_read_only() {
            return Turn::Anybody;
        }
        self.engine.store.take_turn(self.compilation(), || {
            let wait = !self.has_incremental_session() && !is_nested();
            if wait {
                let name = invocation.unit();
                let line = || format!("waiting for another process: {name}");
                self.engine.log.say(LogLevel::Info, line);
            }
            wait
        })
    }

    /// What is about to be compiled, as far as that is known.
    fn compilation(&self) -> Digest {
        let unit = &self.unit;
        let mut hasher = KeyHasher::new("compilation");
        hasher.bytes("manifest", unit.key.0.as_bytes());
        let source = match &unit.invocation.source {
            Source::File(path) => Some(self.request.cwd.join(path)),
            Source::Stdin | Source::None => None,
        };
        for path in source
            .into_iter()
            .chain(unit.invocation.externs(self.request.cwd))
        {
            let digest = unit.memo.digest(&path).ok().map(|(_, blob)| blob.digest);
            hasher.optional("content", digest.as_ref().map(|d| d.as_bytes().as_slice()));
        }
        hasher.finish()
    }

    /// Rustc's sessions lie in directories called `<crate>-<hash>`.
    fn has_incremental_session(&self) -> bool {
        let (Some(dir), Some(name)) = (self.incremental(), &self.unit.invocation.crate_name) else {
            return false;
        };
        let sessions = fs::list_or_empty(&dir).unwrap_or_default();
        sessions.iter().any(|session| {
            let rest = session.name.as_bytes().strip_prefix(name.as_bytes());
            rest.is_some_and(|rest| rest.starts_with(b"-"))
        })
    }
}

/// Whether one of this process's ancestors runs the same program.
fn is_nested() -> bool {
    let program = |pid: &OsStr| fs::read_link(&Path::new("/proc").join(pid).join("exe")).ok();
    let Some(own) = program("self".as_ref()) else {
        return false;
    };
    let mut pid = parent_of("self".as_ref());
    while let Some(ancestor) = pid {
        if program(&ancestor).as_ref() == Some(&own) {
            return true;
        }
        pid = parent_of(&ancestor);
    }
    false
}

/// The parent of a process; `None` for the first one of a machine or container.
fn parent_of(pid: &OsStr) -> Option<OsString> {
    let status: PathBuf = Path::new("/proc").join(pid).join("status");
    let status = fs::read(&status).ok()?;
    let mut lines = status.split(|&b| b == b'\n');
    let parent = lines.find_map(|line| line.strip_prefix(b"PPid:"))?;
    let parent = parent.trim_ascii();
    (parent != b"0").then(|| OsStr::from_bytes(parent).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_not_run_by_itself_but_its_parent_is_known() {
        assert!(!is_nested());
        let parent = std::os::unix::process::parent_id().to_string();
        assert_eq!(parent_of("self".as_ref()), Some(parent.into()));
        assert_eq!(parent_of("1".as_ref()), None);
    }
}
