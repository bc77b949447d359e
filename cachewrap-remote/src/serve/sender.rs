//! Sending what is queued.
//!
//! What is in the queue when it begins was left there by a build that was killed, or that met a remote that was down. What
//! cannot be sent now is tried again as long as the helper lives, and by the next. Where an engine gathers, all of it waits
//! for `push`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use cache_core::remote::{Mode, is_left_alone};

use super::Server;
use super::flights::lock;

/// How often what could not be sent is tried again. A remote that is down is not asked sooner than it may.
const AGAIN: Duration = Duration::from_secs(5);

/// Who sends, and whether there is something.
pub(super) struct Sender {
    is_something: Mutex<bool>,
    woken: Condvar,
    is_sending: AtomicBool,
}

impl Default for Sender {
    fn default() -> Self {
        Self {
            is_something: Mutex::new(true),
            woken: Condvar::new(),
            is_sending: AtomicBool::new(false),
        }
    }
}

impl Sender {
    /// Says that something was queued.
    pub(super) fn wake(&self) {
        *lock(&self.is_something) = true;
        self.woken.notify_one();
    }

    /// Waits until something was queued, or some time has passed; from then on this is sending.
    fn wait(&self) {
        let waiting = lock(&self.is_something);
        let woken = self
            .woken
            .wait_timeout_while(waiting, AGAIN, |is_something| !*is_something);
        let mut is_something = woken.unwrap_or_else(PoisonError::into_inner).0;
        self.is_sending.store(true, Ordering::SeqCst);
        *is_something = false;
    }
}

/// Whether sending is for this process.
pub(super) fn sends(server: &Server) -> bool {
    server.context.settings.address.mode == Mode::Write && !server.engine.gathers()
}

/// Whether there is something to send, or it is being sent.
pub(super) fn is_busy(server: &Server) -> bool {
    let sender = &server.sender;
    // In this order: what was something becomes sending.
    let is_busy = || *lock(&sender.is_something) || sender.is_sending.load(Ordering::SeqCst);
    sends(server) && (is_busy() || server.context.store.queue_length() > 0)
}

/// Sends whenever there is something, for ever. A role that may only read sends nothing.
pub(super) fn run(server: &Arc<Server>) {
    loop {
        server.sender.wait();
        if sends(server) && server.context.store.queue_length() > 0 {
            let sent = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| send(server)));
            drop(sent);
        }
        server.sender.is_sending.store(false, Ordering::SeqCst);
    }
}

fn send(server: &Server) {
    let Err(e) = server.remote().send_all() else {
        return;
    };
    if !is_left_alone(&e) {
        let by_kind = format!("remote.error.{}", e.trouble.name());
        let _ = server
            .context
            .store
            .count(&[("remote.error", 1), (&by_kind, 1)]);
    }
}
