//! Waiting for something that happens elsewhere.

use std::thread;
use std::time::{Duration, Instant};

/// Waits until there is an answer.
pub(crate) fn poll<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{what} should happen"
        );
        thread::sleep(Duration::from_millis(5));
    }
}
