//! `cargo cachewrap`: looks after the cache that the wrapper fills.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

use std::process::ExitCode;

fn main() -> ExitCode {
    cargo_cachewrap::cli::main()
}
