//! The command line of cachewrap, as a library for its two binaries and its tests.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod cli;
