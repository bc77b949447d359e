//! Whether another process compiles the same thing, and whether to wait for it.
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

use crate::formats::digest::Digest;
use crate::formats::key::KeyHasher;

use super::invocation::{Action, Source};
use super::unit::Compilation;

impl Compilation<'_> {
    /// Whether cargo wants it, and not somebody who asks or tries something out.
    pub(super) fn is_unit_of_cargo(&self) -> bool {
        let invocation = &self.invocation;
        invocation.action == Action::Compile && invocation.codegen("metadata").is_some()
    }

    /// What is about to be compiled, as far as that is known.
    pub(super) fn compilation(&self) -> Digest {
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
}
