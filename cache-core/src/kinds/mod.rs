//! The kinds of units.

pub(crate) mod build_script;
pub(crate) mod rustc;
