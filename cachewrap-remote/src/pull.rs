//! `pull`: fetches at once what a build in the current directory will most likely need.
//!
//! ```text
//! status 0   what the remote knows of is here, as far as it has it
//!        1   there was trouble
//!        2   no remote is set, or there is no project here
//! ```

use std::process::ExitCode;

use cache_core::remote::{Project, Remote};

use crate::context::Context;
use crate::engine;

pub(crate) fn pull(most: u64) -> ExitCode {
    let context = match Context::load() {
        Ok(context) => context,
        Err(e) => {
            eprintln!("cachewrap-remote: {e}");
            return ExitCode::from(2);
        }
    };
    let project = std::env::current_dir()
        .ok()
        .and_then(|dir| Project::around(&dir));
    let Some(project) = project else {
        eprintln!("cachewrap-remote: there is no Cargo.toml here or above");
        return ExitCode::from(2);
    };
    let engine = engine::open(&context);
    let remote = Remote::new(&context.store, &*engine, &context.settings);
    remote.ask_again();
    match remote.pull(&project, most) {
        Ok(pulled) => {
            println!(
                "fetched {} results ({} bytes) of {} that builds here have needed",
                pulled.results, pulled.bytes, pulled.known
            );
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("cachewrap-remote: {e}");
            ExitCode::FAILURE
        }
    }
}
