//! Outputs: what a run leaves, and putting it into its place again.

pub(crate) mod restore;
pub(crate) mod result;
pub(crate) mod tree;
pub(crate) mod watch;
