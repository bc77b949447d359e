//! `prune`: removes what was written longer ago than some seconds, or tells what that is.
//!
//! ```text
//! status 0   done
//!        1   there was trouble, or something could not be removed
//!        2   no remote is set, it is only read, or it does not say what there is
//! ```

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use cache_core::remote::Remote;

use crate::context::Context;
use crate::engine;

pub(crate) fn prune(seconds: &str, dry_run: bool) -> ExitCode {
    let context = match Context::for_writing() {
        Ok(context) => context,
        Err(e) => {
            eprintln!("cachewrap-remote: {e}");
            return ExitCode::from(2);
        }
    };
    let Ok(seconds) = seconds.parse() else {
        eprintln!("cachewrap-remote: {seconds} is no number of seconds");
        return ExitCode::from(2);
    };
    let engine = engine::open(&context);
    let remote = Remote::new(&context.store, &*engine, &context.settings);
    match remote.prune(Duration::from_secs(seconds), SystemTime::now(), dry_run) {
        Ok(Some(pruned)) => {
            println!("{pruned}");
            if pruned.failed > 0 {
                return ExitCode::FAILURE;
            }
            ExitCode::SUCCESS
        }
        Ok(None) => {
            let scheme = context.settings.address.scheme_name();
            eprintln!(
                "cachewrap-remote: {scheme} does not say what there is; it removes by itself what it has no room for"
            );
            ExitCode::from(2)
        }
        Err(e) => {
            eprintln!("cachewrap-remote: {e}");
            ExitCode::FAILURE
        }
    }
}
