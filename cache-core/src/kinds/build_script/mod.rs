//! Build scripts: their runs as a second kind of unit.
//!
//! A build script's run is a process like a compilation: it reads sources, headers and
//! tools, and leaves files in `OUT_DIR` and directives on standard output. The same
//! observer, manifest and store serve it. What is particular:
//!
//! | step | module |
//! |---|---|
//! | cargo starts the run through us | [`launcher`] |
//! | which packages, which executables | [`package`] |
//! | what is known before the run | [`key`] |
//! | what directories are called in debug information of C | [`debug_names`] |
//! | understanding a call | [`unit`] |
//! | what it says to cargo | [`directives`] |
//! | what it may make of the paths that it is told | [`computes`], from its sources (`origins`) |
//! | what it was seen to do, and what it leaves in `OUT_DIR` | `tree_run` |
//!
//! Beside what any run must be to be stored (`tree_run`), it must not ask cargo to be run every
//! time. Its clock cannot be observed; scripts that embed times live in
//! people's own packages, so by default only packages of registries and git are cached.
//!
//! Programs that a build script starts see the same filter, and a wrapper among them (a
//! script that tries the compiler out goes through `RUSTC_WRAPPER`) leaves the cache
//! alone, see [`is_observed`](crate::is_observed).

mod computes;
mod debug_names;
mod directives;
mod key;
pub(crate) mod launcher;
pub(crate) mod package;
pub(crate) mod unit;

pub(crate) use directives::{Directive, directives};
