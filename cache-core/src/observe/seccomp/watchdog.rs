//! The watchdog: answers calls while the supervisor is held up.
//!
//! The supervisor looks at the paths that it is told of. A file system whose server does not
//! answer holds it up; and if the server is one of the observed processes, and waits for us to
//! let its own call go on, for ever. So where looking takes long, another thread takes over for
//! good: it lets all calls go on without looking, and the observation counts as incomplete.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::sys::{Listener, Wait};

/// How often it is looked whether the supervisor is held up.
const INTERVAL: Duration = Duration::from_secs(1);

/// How many times it must look so: a busy machine may hold up anybody for a while.
const PATIENCE: u32 = 3;

/// How often it is looked whether the observed process has ended, after taking over.
const MARK_INTERVAL: Duration = Duration::from_millis(20);

/// What the two threads tell each other.
#[derive(Debug, Default)]
struct Shared {
    /// The call that is being looked at, plus one; zero for none.
    busy_with: AtomicU64,
    /// Counts the calls that were looked at.
    looks: AtomicU64,
    taken_over: AtomicBool,
    /// Whether the observed process was seen to have ended.
    marked: AtomicBool,
    over: AtomicBool,
}

/// The supervisor's side.
pub(super) struct Watchdog {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl Watchdog {
    pub(super) fn start(listener: &Arc<Listener>) -> Self {
        let shared = Arc::new(Shared::default());
        let (for_thread, listener) = (Arc::clone(&shared), Arc::clone(listener));
        let thread = std::thread::spawn(move || watch(&for_thread, &listener));
        Self { shared, thread }
    }

    /// Looking at a call begins.
    pub(super) fn begin(&self, call: u64) {
        self.shared
            .busy_with
            .store(call.wrapping_add(1), Ordering::Release);
    }

    /// Looking is over.
    pub(super) fn end(&self) {
        self.shared.looks.fetch_add(1, Ordering::Relaxed);
        self.shared.busy_with.store(0, Ordering::Release);
    }

    /// Leaves answering to the watchdog from now on.
    pub(super) fn take_over(&self) {
        self.shared.taken_over.store(true, Ordering::Release);
        self.thread.thread().unpark();
    }

    pub(super) fn has_taken_over(&self) -> bool {
        self.shared.taken_over.load(Ordering::Acquire)
    }

    /// Waits until the mark comes that the observed process has ended, after taking over.
    pub(super) fn wait_for_mark(&self) {
        while !self.shared.marked.load(Ordering::Acquire) {
            std::thread::sleep(MARK_INTERVAL);
        }
    }

    /// Nothing is left to answer. The thread ends by itself.
    pub(super) fn stop(self) {
        self.shared.over.store(true, Ordering::Release);
        self.thread.thread().unpark();
    }
}

fn watch(shared: &Shared, listener: &Listener) {
    let (mut before, mut times) = ((0, 0), 0);
    while !shared.over.load(Ordering::Acquire) {
        std::thread::park_timeout(INTERVAL);
        let busy_with = shared.busy_with.load(Ordering::Acquire);
        let now = (busy_with, shared.looks.load(Ordering::Relaxed));
        times = if busy_with != 0 && now == before {
            times + 1
        } else {
            0
        };
        before = now;
        if times >= PATIENCE {
            shared.taken_over.store(true, Ordering::Release);
            let _ = listener.answer(busy_with.wrapping_sub(1));
        }
        if shared.taken_over.load(Ordering::Acquire) {
            answer_all(shared, listener);
        }
    }
}

fn answer_all(shared: &Shared, listener: &Listener) {
    while !shared.over.load(Ordering::Acquire) {
        match listener.wait(INTERVAL) {
            Ok(Wait::Announced) => {
                if let Ok(Some(call)) = listener.receive() {
                    if listener.is_mark(&call) {
                        shared.marked.store(true, Ordering::Release);
                    }
                    let _ = listener.answer(call.id);
                }
            }
            Ok(Wait::Deserted) | Err(_) => {
                shared.marked.store(true, Ordering::Release);
                return;
            }
            Ok(Wait::Again | Wait::TimedOut) => {}
        }
    }
}
