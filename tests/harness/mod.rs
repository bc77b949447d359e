//! What the end-to-end tests are written with.

mod case;
mod compare;
mod crates;
mod direct;
mod native;
mod outcome;
mod preload;
mod snapshot;
mod toolchain;
mod wait;

pub(crate) use case::{Case, Mode, copy_tree, wrapper};
pub(crate) use compare::{
    assert_fresh, compare, compare_in_place, compare_twice, follows, wipe_both,
};
pub(crate) use crates::{bin_manifest, lib_manifest, macro_manifest, manifest};
pub(crate) use direct::Direct;
pub(crate) use native::{archive, object};
pub(crate) use outcome::Outcome;
pub(crate) use preload::{Errno, Fault, Preload, Stage};
pub(crate) use snapshot::tree_contains;
pub(crate) use toolchain::{Toolchain, quote, write_script};
pub(crate) use wait::poll;

/// Whether to try everything rather than a sample; set by hand, never in the checks of a change.
pub(crate) fn thorough() -> bool {
    std::env::var_os("CACHEWRAP_TEST_THOROUGH").is_some()
}
