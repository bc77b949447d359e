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

use std::os::unix::ffi::OsStrExt as _;

use crate::config::LogLevel;
use crate::formats::digest::Digest;
use crate::formats::key::KeyHasher;
use crate::os::fs;
use crate::os::proc::Process;
use crate::store::Turn;

use super::invocation::{Action, Source};
use super::unit::Compilation;

impl Compilation<'_> {
    /// Waits for another process that compiles the same, or keeps others from it.
    pub(super) fn wait_or_keep_others_waiting(&self) -> Turn {
        let invocation = &self.invocation;
        let unit_of_cargo =
            invocation.action == Action::Compile && invocation.codegen("metadata").is_some();
        if !unit_of_cargo || self.scene.store.is_read_only() {
            return Turn::Anybody;
        }
        self.scene.store.take_turn(self.compilation(), || {
            let wait = !self.has_incremental_session() && !is_nested();
            if wait {
                let name = invocation.unit();
                let line = || format!("waiting for another process: {name}");
                self.log.say(LogLevel::Info, line);
            }
            wait
        })
    }

    /// What is about to be compiled, as far as that is known.
    fn compilation(&self) -> Digest {
        let mut hasher = KeyHasher::new("compilation");
        hasher.bytes("manifest", self.scene.key.0.as_bytes());
        let source = match &self.invocation.source {
            Source::File(path) => Some(self.scene.cwd.join(path)),
            Source::Stdin | Source::None => None,
        };
        for path in source
            .into_iter()
            .chain(self.invocation.externs(self.scene.cwd))
        {
            let digest = self
                .scene
                .memo
                .digest(&path)
                .ok()
                .map(|(_, blob)| blob.digest);
            hasher.optional("content", digest.as_ref().map(|d| d.as_bytes().as_slice()));
        }
        hasher.finish()
    }

    /// Rustc's sessions lie in directories called `<crate>-<hash>`.
    fn has_incremental_session(&self) -> bool {
        let (Some(dir), Some(name)) = (self.incremental().pop(), &self.invocation.crate_name)
        else {
            return false;
        };
        let sessions = fs::list_or_empty(&dir).unwrap_or_default();
        sessions.iter().any(|session| {
            let rest = session.name.as_bytes().strip_prefix(name.as_bytes());
            rest.is_some_and(|rest| rest.starts_with(b"-"))
        })
    }
}

/// Whether an ancestor of this process goes by the same name. Another program of that
/// name costs no more than a compile.
fn is_nested() -> bool {
    let Some(own) = Process::find("self") else {
        return false;
    };
    let mut next = own.parent();
    while let Some(ancestor) = next {
        if ancestor.name() == own.name() {
            return true;
        }
        next = ancestor.parent();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_not_run_by_itself() {
        assert!(!is_nested());
    }
}
