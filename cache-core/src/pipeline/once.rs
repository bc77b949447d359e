//! Exactly once: what a panic of ours does not undo.
//!
//! A unit is served, or its process runs once, whatever happens to us. So it is noted when
//! a call can no longer come to another end, and a panic after that leads to this end:
//!
//! | a panic | ends in |
//! |---|---|
//! | before all outputs are placed, and before the process is started | a bypass, `internal`: nothing has been said, and the caller runs the process |
//! | after all outputs are placed, or while their messages are repeated | the hit |
//! | of what translates a line while the process runs | the line as it came; not stored |
//! | after the process has ended | the miss; not stored |
//!
//! What is left is a panic of the [`Runner`] itself. It goes on to the caller, who alone may
//! know what has become of the process.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::config::LogLevel;
use crate::os::stamp;
use crate::outcome::{BypassReason, MissReason, NotStored, Refusal};
use crate::run::{Runner, Sink, Status};
use crate::unit::{Process, Ran};

use super::Engine;
use super::defer::Keeping;
use crate::outcome::Outcome;

/// How far a call has come.
#[derive(Default)]
pub(super) struct Progress {
    /// What it comes to whatever happens.
    end: Mutex<Option<Outcome>>,
    /// Whether the process was started.
    started: AtomicBool,
}

impl Progress {
    /// All outputs are in their places: nothing but a hit can come of the call.
    pub(super) fn is_hit(&self, status: i32) {
        self.set(Outcome::Hit { status });
    }

    fn has_run(&self, reason: &MissReason, status: Status) {
        self.set(Outcome::Miss {
            reason: reason.clone(),
            status,
            not_stored: Some(NotStored::Internal.of("after the process had ended")),
            full: false,
        });
    }

    fn set(&self, end: Outcome) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }
}

/// A process to run because it was not served.
pub(super) struct Execution<'a> {
    pub(super) reason: &'a MissReason,
    /// What the unit is called.
    pub(super) name: &'a str,
    pub(super) runner: &'a dyn Runner,
    pub(super) process: &'a Process<'a>,
    /// Whether there is a store to keep anything in.
    pub(super) is_writable: bool,
    /// The counter of the time that processes of the kind take.
    pub(super) time: &'a str,
    /// Where to note how long it ran, microseconds.
    pub(super) ran_us: &'a Cell<u64>,
}

impl Engine<'_> {
    /// Makes a call that a panic cannot make twice.
    pub(super) fn once(
        &self,
        bypass: &str,
        call: impl FnOnce(&Progress) -> io::Result<Outcome>,
    ) -> io::Result<Outcome> {
        let progress = Progress::default();
        let panic = match catch_unwind(AssertUnwindSafe(|| call(&progress))) {
            Ok(outcome) => return outcome,
            Err(panic) => panic,
        };
        let end = progress.end.into_inner();
        match end.unwrap_or_else(PoisonError::into_inner) {
            Some(end) => Ok(end),
            None if progress.started.into_inner() => resume_unwind(panic),
            None => {
                let why = BypassReason::Internal.of("a panic");
                // What went wrong may have been the counting.
                let count = || self.count_with_reason(bypass, why.why.name());
                let _ = catch_unwind(AssertUnwindSafe(count));
                Ok(Outcome::Bypass(why))
            }
        }
    }

    /// Runs the process of a call, passing on what it says, and keeps what it did, if that
    /// is possible.
    pub(super) fn execute(
        &self,
        progress: &Progress,
        execution: &Execution<'_>,
        stdout: Sink<'_>,
        stderr: Sink<'_>,
        keep: impl FnOnce(&Ran) -> Result<Keeping, Refusal>,
    ) -> io::Result<(Status, Result<Keeping, Refusal>)> {
        #[cfg(test)]
        crate::fault::point("before the run");
        let started = stamp::now();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut understood = true;
        progress.started.store(true, Ordering::Relaxed);
        #[cfg(test)]
        let confused = crate::fault::is_met("translating");
        let run = execution.runner.run(
            &execution.process.command,
            execution.process.depth,
            &mut |piece| {
                stdout(piece);
                out.extend_from_slice(piece);
            },
            &mut |line| {
                let translated = catch_unwind(AssertUnwindSafe(|| {
                    #[cfg(test)]
                    assert!(!confused, "injected");
                    (execution.process.translate)(line)
                }));
                understood &= translated.is_ok();
                let line = translated.unwrap_or_else(|_| line.to_vec());
                stderr(&line);
                err.extend_from_slice(&line);
            },
        )?;
        progress.has_run(execution.reason, run.status);
        if let Some((announced, noted)) = run.calls() {
            self.log.say(LogLevel::Debug, || {
                let name = execution.name;
                let took = run.duration;
                format!("{name}: ran {took:.2?}, {announced} calls announced, {noted} noted")
            });
        }
        let duration_us = u64::try_from(run.duration.as_micros()).unwrap_or(u64::MAX);
        execution.ran_us.set(duration_us);
        self.count(&[(execution.time, duration_us)]);
        let status = run.status;
        let kept = if status != Status::Code(0) {
            Err(NotStored::Failed.of(status))
        } else if !execution.is_writable {
            Err(NotStored::Store.of("not writable"))
        } else if !understood {
            Err(NotStored::Internal.of("reading what it printed"))
        } else {
            let ran = Ran {
                run,
                started,
                duration_us,
                stdout: out,
                stderr: err,
            };
            let kept = catch_unwind(AssertUnwindSafe(|| keep(&ran)));
            kept.unwrap_or_else(|_| Err(NotStored::Internal.of("keeping")))
        };
        Ok((status, kept))
    }
}
