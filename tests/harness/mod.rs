//! What the end-to-end tests are written with.

mod case;
mod compare;
mod crates;
mod native;
mod outcome;
mod snapshot;
mod toolchain;

pub(crate) use case::{Case, Mode, wrapper};
pub(crate) use compare::{assert_fresh, compare, compare_in_place};
pub(crate) use crates::{bin_manifest, lib_manifest, macro_manifest, manifest};
pub(crate) use native::{archive, object};
pub(crate) use outcome::Outcome;
pub(crate) use snapshot::tree_contains;
pub(crate) use toolchain::{Toolchain, quote, write_script};
