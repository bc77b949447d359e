//! `cargo cachewrap`: looks after the cache that the wrapper fills.

use std::process::ExitCode;

fn main() -> ExitCode {
    cargo_cachewrap::cli::main()
}
