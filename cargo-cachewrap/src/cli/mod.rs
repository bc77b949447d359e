//! `cargo cachewrap`, subcommand by subcommand.
//!
//! [`main`] parses, loads the settings and hands a `Context` to one module a
//! subcommand. Those return what is to be shown or a `Failure`, whose kind decides the
//! exit status:
//!
//! | status | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | it could not be done, or what was checked is not in order |
//! | 2 | the arguments or the settings are wrong |

mod args;
mod clear;
mod config;
mod context;
mod doctor;
mod explain;
#[expect(clippy::disallowed_methods, reason = "it reaches files by path")]
mod files;
mod output;
mod progress;
mod prune;
mod remote;
mod report;
mod rustc_wrapper;
mod serve;
mod setup;
mod stats;
mod sums;
mod verify;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use args::{Arguments, Subcommand};
use context::Context;
use output::Failure;

/// Runs the process's command line.
pub fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "the program begins here")]
    let mut argv: Vec<OsString> = std::env::args_os().collect();
    // Cargo runs `cargo-cachewrap cachewrap …` for `cargo cachewrap …`.
    if argv.get(1).is_some_and(|first| first == "cachewrap") {
        argv.remove(1);
    }
    let arguments = Arguments::parse_from(argv);
    match run(&arguments.subcommand) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of a pipe has seen enough.
        Err(Failure::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::Reported) {
                eprintln!("error: {failure}");
            }
            failure.exit_code()
        }
    }
}

fn run(subcommand: &Subcommand) -> Result<(), Failure> {
    let mut cx = Context::of_process()?;
    match subcommand {
        Subcommand::Stats(args) => stats::run(&mut cx, args),
        Subcommand::Explain(args) => explain::run(&mut cx, args),
        Subcommand::Report(args) => report::run(&mut cx, args),
        Subcommand::Prune(args) => prune::run(&mut cx, args),
        Subcommand::Clear => clear::run(&mut cx),
        Subcommand::Config(args) => config::run(&mut cx, args),
        Subcommand::Verify(args) => verify::run(&mut cx, args),
        Subcommand::Serve(args) => serve::run(&mut cx, args),
        Subcommand::Remote(args) => remote::run(&mut cx, args),
        Subcommand::Push => remote::push(&mut cx),
        Subcommand::Pull(args) => remote::pull(&mut cx, args),
        Subcommand::Doctor => doctor::run(&mut cx),
        Subcommand::Setup(args) => setup::run(&mut cx, args),
        Subcommand::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(
                *shell,
                &mut Arguments::command(),
                "cargo-cachewrap",
                &mut script,
            );
            Ok(cx.out.write_all(&script)?)
        }
    }
}
