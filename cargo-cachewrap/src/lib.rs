//! The command line of cachewrap, as a library for its two binaries and its tests.

pub mod cli;
