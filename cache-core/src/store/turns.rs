//! Taking turns: identical compilations that start at the same time run once.
//!
//! Whoever is about to compile takes a lock named after the compilation, keeps it until
//! the outcome is stored or given up, and then removes its file:
//!
//! ```text
//! <dir>/v1/running/<digest>      locked by the process that compiles
//! file = beats: u64 LE           grows while that process is at work
//! ```
//! Who finds the lock held waits, looks the result up again, and compiles if it still
//! has to. It waits once: an outcome that could not be stored does not make the others
//! take turns at failing.
//!
//! | the one who compiles … | those who wait … | told by |
//! |---|---|---|
//! | is done, well or not | go on | the file they hold open has no name any more |
//! | was killed | let one of them compile | the lock is free and the file is still there |
//! | was stopped, frozen or lost | compile | no beat for `STALLED` |
//!
//! Nobody who holds a lock ever waits for one, and a compiler can always go on with the
//! one jobserver token that it was started with. So whatever builds there are, with
//! however few jobs each, some process is compiling, and those who wait for it hold
//! nothing that it needs.
//!
//! Taking a lock costs an open, a `flock`, a thread that sleeps and an `unlink`: some tens
//! of microseconds, and only a miss pays them. Where there is nothing to lock (a read-only directory, a file system
//! without locks, one that does not tell other machines of them), everybody compiles as
//! if alone, which is never wrong: what is stored twice is the same.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::Store;
use crate::error::PathError;
use crate::formats::digest::Digest;
use crate::os::dir::Spot;
use crate::os::lock;

/// How often the one who compiles shows that it is at work.
const BEAT: Duration = Duration::from_secs(1);

/// Without a beat for this long, nobody waits any longer.
const STALLED: Duration = Duration::from_secs(5);

/// The longest pause between two looks at the lock.
const PAUSE: Duration = Duration::from_millis(20);

/// Whose turn it is to compile.
pub(crate) enum Turn {
    /// This process's, for as long as it keeps the value.
    Ours(#[expect(dead_code, reason = "held until it is dropped")] Lead),
    /// Another process has had it, and its outcome may be in the store.
    Theirs,
    /// Nobody's: compile, and let others do so too.
    Anybody,
}

/// The right to compile while others wait.
pub(crate) struct Lead {
    spot: Spot,
    _heart: Option<Heart>,
    _lock: File,
}

impl Drop for Lead {
    fn drop(&mut self) {
        // From here on, those who wait go on.
        let _ = self.spot.remove_file();
    }
}

/// Keeps a thread beating; it ends when this is dropped.
struct Heart(#[expect(dead_code, reason = "its end is the message")] mpsc::Sender<()>);

impl Heart {
    fn start(file: &File) -> Option<Self> {
        let file = file.try_clone().ok()?;
        let (alive, dead) = mpsc::channel::<()>();
        let beat = move || {
            let mut beats: u64 = 0;
            while dead.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                beats += 1;
                // Failing to is being silent.
                let _ = file.write_all_at(&beats.to_le_bytes(), 0);
            }
        };
        std::thread::Builder::new().spawn(beat).ok()?;
        Some(Self(alive))
    }
}

impl Store {
    /// Finds out whose turn it is to run a compilation; `wait` says, if another process
    /// is at it, whether to wait for that.
    pub(crate) fn take_turn(&self, compilation: Digest, wait: impl FnOnce() -> bool) -> Turn {
        let path = self.layout.running(compilation);
        let opened = self.open_running(&path);
        let Ok((file, spot)) = opened.and_then(|file| Ok((file, self.spot_of(&path)?))) else {
            return Turn::Anybody;
        };
        let mut wait = Some(wait);
        let mut watch = Watch::new();
        loop {
            match lock::try_exclusive(&file) {
                Ok(true) if has_name(&file) => {
                    return Turn::Ours(Lead {
                        spot,
                        _heart: Heart::start(&file),
                        _lock: file,
                    });
                }
                Ok(true) => return Turn::Theirs,
                Ok(false) if !has_name(&file) => return Turn::Theirs,
                Ok(false) => {}
                Err(_) => {
                    let _ = spot.remove_file();
                    return Turn::Anybody;
                }
            }
            if wait.take().is_some_and(|wait| !wait()) || watch.is_stalled(&file) {
                return Turn::Anybody;
            }
            watch.pause();
        }
    }

    pub(super) fn open_running(&self, path: &Path) -> Result<File, PathError> {
        match self.open_file(path) {
            Err(e) if e.is_not_found() => {
                self.prepare()?;
                self.make_dir(&self.layout.part("running"))?;
                self.open_file(path)
            }
            opened => opened,
        }
    }
}

pub(super) fn has_name(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.nlink() > 0)
}

/// Watches the one who compiles. Time is measured here alone: clocks of other machines
/// and times of files do not come into it.
struct Watch {
    beats: u64,
    heard: Instant,
    pause: Duration,
}

impl Watch {
    fn new() -> Self {
        Self {
            beats: 0,
            heard: Instant::now(),
            pause: Duration::from_millis(1),
        }
    }

    fn is_stalled(&mut self, file: &File) -> bool {
        let mut bytes = [0; 8];
        // A file that is still empty reads as no beat.
        let _ = file.read_at(&mut bytes, 0);
        let beats = u64::from_le_bytes(bytes);
        if beats != self.beats {
            self.beats = beats;
            self.heard = Instant::now();
        }
        self.heard.elapsed() > STALLED
    }

    fn pause(&mut self) {
        std::thread::sleep(self.pause);
        self.pause = (self.pause * 3 / 2).min(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("cache"), false);
        (dir, store)
    }

    fn files(store: &Store) -> usize {
        std::fs::read_dir(store.layout().part("running")).map_or(0, Iterator::count)
    }

    #[test]
    fn one_compiles_and_the_others_go_on_when_it_is_done() {
        let (_dir, store) = store();
        let key = Digest::of(b"unit");
        let ours = store.take_turn(key, || true);
        assert!(matches!(ours, Turn::Ours(_)));
        let (waiting, waits) = mpsc::channel();
        std::thread::scope(|scope| {
            let others: Vec<_> = (0..4)
                .map(|_| {
                    let waiting = waiting.clone();
                    let store = &store;
                    scope.spawn(move || {
                        store.take_turn(key, || {
                            waiting.send(()).unwrap();
                            true
                        })
                    })
                })
                .collect();
            for _ in 0..4 {
                waits.recv().unwrap();
            }
            // Another compilation is not kept from running.
            let other = store.take_turn(Digest::of(b"other"), || true);
            assert!(matches!(other, Turn::Ours(_)));
            assert!(others.iter().all(|other| !other.is_finished()));
            drop(ours);
            for other in others {
                assert!(matches!(other.join().unwrap(), Turn::Theirs));
            }
        });
        assert_eq!(files(&store), 0);
    }

    #[test]
    fn who_does_not_want_to_wait_does_not() {
        let (_dir, store) = store();
        let key = Digest::of(b"unit");
        let ours = store.take_turn(key, || true);
        assert!(matches!(ours, Turn::Ours(_)));
        assert!(matches!(store.take_turn(key, || false), Turn::Anybody));
    }

    #[test]
    fn the_file_of_one_that_was_killed_is_taken_over() {
        let (_dir, store) = store();
        let key = Digest::of(b"unit");
        let path = store.layout().running(key);
        let killed = store.open_running(&path).unwrap();
        assert!(lock::try_exclusive(&killed).unwrap());
        std::thread::scope(|scope| {
            let (waiting, waits) = mpsc::channel();
            let other = scope.spawn(|| {
                store.take_turn(key, move || {
                    waiting.send(()).unwrap();
                    true
                })
            });
            waits.recv().unwrap();
            drop(killed);
            assert!(matches!(other.join().unwrap(), Turn::Ours(_)));
        });
        assert_eq!(files(&store), 0);
    }

    #[test]
    fn nobody_waits_for_one_that_does_not_move() {
        let (_dir, store) = store();
        let key = Digest::of(b"unit");
        let stopped = store.open_running(&store.layout().running(key)).unwrap();
        assert!(lock::try_exclusive(&stopped).unwrap());
        assert!(matches!(store.take_turn(key, || true), Turn::Anybody));
    }

    #[test]
    fn one_that_is_at_work_is_heard() {
        let (_dir, store) = store();
        let key = Digest::of(b"unit");
        let ours = store.take_turn(key, || true);
        assert!(matches!(ours, Turn::Ours(_)));
        let file = store.open_plain(&store.layout().running(key)).unwrap();
        let mut watch = Watch::new();
        while watch.beats < 2 {
            assert!(!watch.is_stalled(&file));
            watch.pause();
        }
    }

    #[test]
    fn without_a_directory_to_write_to_there_are_no_turns() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let store = Store::new(file.path().join("below a file"), false);
        let turn = store.take_turn(Digest::of(b"unit"), || true);
        assert!(matches!(turn, Turn::Anybody));
    }
}
