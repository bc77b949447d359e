//! What a long operation tells about itself.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a long operation is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// A few words.
    pub phase: &'static str,
    /// How much is done.
    pub done: u64,
    /// Of how much; zero if that is not known.
    pub total: u64,
}

/// Counts the steps of one phase from several threads.
pub(crate) struct Meter<'a> {
    report: &'a (dyn Fn(Progress) + Sync),
    phase: &'static str,
    done: AtomicU64,
    total: u64,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(
        report: &'a (dyn Fn(Progress) + Sync),
        phase: &'static str,
        total: usize,
    ) -> Self {
        let done = AtomicU64::new(0);
        let total = total as u64;
        Self {
            report,
            phase,
            done,
            total,
        }
    }

    pub(crate) fn step(&self) {
        let before = self.done.fetch_add(1, Ordering::Relaxed);
        (self.report)(Progress {
            phase: self.phase,
            done: before + 1,
            total: self.total,
        });
    }
}
