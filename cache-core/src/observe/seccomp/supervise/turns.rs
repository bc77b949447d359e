//! Whether who announces calls and who answers them take turns, or others run side by side with them.
//!
//! While a shell waits for what it has started, or a compiler driver for the compiler, one process at a time has something
//! to do, and then it and the observer are woken quickest on one processor, whichever of them sleeps
//! ([`take_turns`](super::Listener::take_turns)). Compilers that run side by side end up on one processor
//! that way, and share it while another is idle, until the scheduler's balancing finds that out, 8 to 30 ms later. Woken as
//! usual they stay apart, which costs some 30 µs for each call where a processor is idle, and nothing where none is.
//!
//! Which it is, the kernel says: how many tasks run or wait for a processor, on the whole machine, while the one
//! that has called waits for its answer. It is asked now and then, since asking takes a microsecond.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::os::fs;

/// After how many calls the kernel is asked again.
const EVERY: u64 = 4;

/// As many answers are remembered: a bit each.
type Answers = u8;

pub(super) struct Turns {
    calls: u64,
    /// `/proc/loadavg`, if it is there.
    load: Option<File>,
    /// Whether others ran, the latest answer lowest.
    answers: Answers,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self {
            calls: 0,
            load: fs::open(Path::new("/proc/loadavg")).ok(),
            answers: 0,
        }
    }

    /// While a call waits: whether nobody else does anything, as most of the latest answers have it.
    pub(super) fn are_taken(&mut self) -> bool {
        if self.calls.is_multiple_of(EVERY) {
            let others_run = self.load.as_ref().is_some_and(others_run);
            self.answers = (self.answers << 1) | Answers::from(others_run);
        }
        self.calls += 1;
        self.answers.count_ones() < Answers::BITS / 2
    }
}

fn others_run(load: &File) -> bool {
    let mut text = [0; 64];
    let length = load.read_at(&mut text, 0).unwrap_or(0);
    let running = text.get(..length).and_then(running);
    // One of them asks.
    running.is_some_and(|running| running > 1)
}

/// How many tasks run or could: of `0.20 0.18 0.12 1/80 11206`, the number before the slash (`proc_loadavg(5)`).
fn running(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    let (running, _) = text.split(' ').nth(3)?.split_once('/')?;
    running.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_how_many_run() {
        assert_eq!(running(b"0.20 0.18 0.12 17/80 11206\n"), Some(17));
        for other in [
            &b""[..],
            b"0.20 0.18 0.12",
            b"1 2 3 4 5",
            b"1 2 3 x/4 5",
            b"\xff",
        ] {
            assert_eq!(running(other), None);
        }
        let now = std::fs::read("/proc/loadavg").unwrap();
        assert!(running(&now).is_some_and(|running| running > 0));
    }

    #[test]
    fn what_most_of_the_latest_answers_say_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("load");
        let mut turns = Turns::new();
        let mut after = |running: u32, calls: u64| {
            std::fs::write(&path, format!("0.00 0.00 0.00 {running}/9 9\n")).unwrap();
            turns.load = Some(File::open(&path).unwrap());
            (0..calls).map(|_| turns.are_taken()).last().unwrap()
        };
        assert!(after(1, 100));
        assert!(after(2, EVERY));
        assert!(!after(3, 100));
        assert!(!after(1, EVERY));
        assert!(after(1, 100));
        assert!(!after(2, 100));
        turns.load = None;
        assert!((0..100).map(|_| turns.are_taken()).last().unwrap());
    }
}
