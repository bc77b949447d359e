//! Speaks to the remotes that are reached over a network, for cachewrap's wrapper.
//!
//! ```text
//! cachewrap-remote serve <socket>    started by the wrapper: answers what it asks, see `serve`
//! cachewrap-remote push              sends what is queued, and waits for it
//! cachewrap-remote pull BYTES        fetches what a build here will need, at most so much
//! cachewrap-remote probe             says how the remote answers
//! cachewrap-remote prune SECONDS     removes what was written longer ago; with --dry-run, tells what that is
//! ```
//! Which remote it is, and whom results are taken from, is what the wrapper goes by: the same settings, read from
//! the same environment. What results are, how they are signed, what is queued and where everything lies is
//! cache-core's; this package brings the engines.
//!
//! # What can go wrong
//!
//! - *Whatever a server or a network does*: each call of an engine ends within limits of its own (`engine`), as one kind of
//!   trouble.
//! - *A secret in a message*: no text of a library is passed on as it is; what is passed on is searched for the values of the
//!   variables that hold secrets (`engine::discreet`).
//! - *The build waits for this process*: it holds nothing that it was started with (`serve::detached`).
//! - *It is killed*: what is to be sent is in the store, and what it leaves behind stops no other.

mod context;
mod engine;
mod probe;
mod prune;
mod pull;
mod push;
mod serve;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str =
    "usage: cachewrap-remote serve SOCKET | push | pull BYTES | probe | prune SECONDS [--dry-run]";

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    match *words {
        ["serve", socket] => serve::serve(Path::new(socket)),
        ["push"] => push::push(),
        ["pull", most] if most.parse::<u64>().is_ok() => pull::pull(most.parse().unwrap_or(0)),
        ["probe"] => probe::probe(),
        ["prune", seconds] => prune::prune(seconds, false),
        ["prune", seconds, "--dry-run"] => prune::prune(seconds, true),
        ["--version" | "-V"] => {
            println!("cachewrap-remote {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        ["--help" | "-h"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}
