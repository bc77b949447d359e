//! `push`: sends what is queued, and waits for it.
//!
//! ```text
//! status 0   nothing is left in the queue, and others know what a build here needs
//!        1   something is
//!        2   nothing can be sent: no remote, or one that is only read
//! ```

use std::process::ExitCode;
use std::time::{Duration, Instant};

use cache_core::remote::{Mode, Project, Remote, SentAll};

use crate::context::Context;
use crate::engine;

/// How long another process that sends may get nowhere.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn push() -> ExitCode {
    let context = match Context::load() {
        Ok(context) => context,
        Err(e) => {
            eprintln!("cachewrap-remote: {e}");
            return ExitCode::from(2);
        }
    };
    if context.settings.address.mode != Mode::Write {
        eprintln!("cachewrap-remote: the remote is only read: its URL has no mode=write");
        return ExitCode::from(2);
    }
    let engine = engine::open(&context);
    let remote = Remote::new(&context.store, &*engine, &context.settings);
    remote.ask_again();
    let mut sent = SentAll::default();
    let mut moved = (Instant::now(), context.store.queue_length());
    let failed = loop {
        match remote.send_all() {
            Ok(more) => {
                sent.results += more.results;
                sent.bytes += more.bytes;
                sent.dropped += more.dropped;
            }
            Err(e) => break Some(e.to_string()),
        }
        let left = context.store.queue_length();
        if left != moved.1 {
            moved = (Instant::now(), left);
        }
        if left == 0 {
            break None;
        }
        if moved.0.elapsed() >= PATIENCE {
            break Some("nothing moves".to_owned());
        }
        // Another process sends; or others changed the same, again and again.
        std::thread::sleep(Duration::from_millis(100));
    };
    let failed = failed.or_else(|| {
        let project = Project::around(&std::env::current_dir().ok()?)?;
        let told = remote.publish_index(&project);
        Some(format!(
            "others are not told what is needed here: {}",
            told.err()?
        ))
    });
    let left = context.store.queue_length();
    println!(
        "sent {} results ({} bytes), dropped {}, left {left}",
        sent.results, sent.bytes, sent.dropped
    );
    match failed {
        Some(why) => {
            eprintln!("cachewrap-remote: {why}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}
