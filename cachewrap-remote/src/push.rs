//! `push`: sends what is queued, and waits for it.
//!
//! ```text
//! status 0   nothing is left in the queue, and others know what a build here needs
//!        1   something is
//!        2   nothing can be sent: no remote, or one that is only read
//! ```

use std::process::ExitCode;

use cache_core::remote::{Project, Remote};

use crate::context::Context;
use crate::engine;

pub(crate) fn push() -> ExitCode {
    let context = match Context::for_writing() {
        Ok(context) => context,
        Err(e) => {
            eprintln!("cachewrap-remote: {e}");
            return ExitCode::from(2);
        }
    };
    let engine = engine::open(&context);
    let remote = Remote::new(&context.store, &*engine, &context.settings);
    let project = std::env::current_dir()
        .ok()
        .and_then(|dir| Project::around(&dir));
    let pushed = remote.push(project.as_ref());
    let left = context.store.queue_length();
    match pushed {
        Ok(sent) => {
            println!(
                "sent {} results ({} bytes), dropped {}, left {left}",
                sent.results, sent.bytes, sent.dropped
            );
            ExitCode::SUCCESS
        }
        Err(e) => {
            println!("left {left}");
            eprintln!("cachewrap-remote: {e}");
            ExitCode::FAILURE
        }
    }
}
