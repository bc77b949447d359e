//! Sending all at once, to an engine that gathers.
//!
//! Nothing is sent while builds go on: what they make waits in the queue, which leaves nothing out, until `push` is
//! told. Then the engine is given whatever is queued, and what of the objects there was used by the builds that the store
//! remembers, and sends it as one. What is queued leaves the queue after that.
//!
//! # What can go wrong
//!
//! - *Nobody pushes, or it fails*: the queue stays as it is; where the store ends with the machine, it is compiled again.
//! - *Another machine pushes at the same time*: the one that is found later counts. What only the other had is compiled
//!   again, and sent with the next.

use std::time::{Duration, Instant};

use super::engine::{EngineError, Trouble};
use super::{Project, Remote, STANDSTILL, Sent, SentAll};

impl Remote<'_> {
    /// Sends all that is queued at once, and what a project needed with it. An error if something is left.
    pub(super) fn push_gathered(&self, project: Option<&Project>) -> Result<SentAll, EngineError> {
        let until = Instant::now() + STANDSTILL;
        let _lock = loop {
            match self.store.lock_queue() {
                Some(lock) => break lock,
                None if Instant::now() >= until => {
                    return Err(EngineError::new(Trouble::Throttled, "nothing moves"));
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let mut all = SentAll::default();
        let (mut gathered, mut left) = (Vec::new(), None);
        self.engine.begin();
        for queued in self.store.queued() {
            let sent = match self.send_pack(&queued) {
                Ok(Sent::Dropped) => {
                    all.dropped += 1;
                    self.store.leave_queue(queued.result);
                    continue;
                }
                // Nobody else changes what is gathered here.
                Ok(Sent::Yes(bytes)) => self.send_offer(&queued).map(|_| bytes),
                Ok(Sent::Later) => continue,
                Err(e) => Err(e),
            };
            match sent {
                Ok(bytes) => gathered.push((queued.result, bytes)),
                Err(e) if e.trouble.is_general() => return Err(e),
                Err(e) => left = Some(e),
            }
        }
        // What a project needed is not worth sending everything again.
        if let Some(project) = project
            && gathered.iter().any(|(_, bytes)| *bytes > 0)
        {
            self.publish_index(project)?;
        }
        let used = self.store.keys_used();
        let is_used = |name: &str| {
            name.rsplit('/')
                .next()
                .is_some_and(|key| used.contains(key))
        };
        self.guarded(|| self.engine.finish(&is_used))?;
        for (result, bytes) in gathered {
            self.store.leave_queue(result);
            self.count_sent(bytes);
            all.results += 1;
            all.bytes += bytes;
        }
        left.map_or(Ok(all), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

    use super::super::tests::{Machine, Memory, keys, settings};
    use super::super::{Condition, Engine, Fetched, Object, Trust, Written};
    use super::*;

    /// Gathers in memory, and finishes, or fails to.
    #[derive(Default)]
    struct Gathering {
        memory: Memory,
        fails: AtomicBool,
        finished: AtomicU32,
    }

    impl Engine for Gathering {
        fn get(&self, name: &str, most: u64) -> Result<Option<Object>, EngineError> {
            self.memory.get(name, most)
        }

        fn has(&self, name: &str) -> Result<bool, EngineError> {
            self.memory.has(name)
        }

        fn put(&self, name: &str, bytes: &[u8], c: Condition<'_>) -> Result<Written, EngineError> {
            self.memory.put(name, bytes, c)
        }

        fn gathers(&self) -> bool {
            true
        }

        fn finish(&self, is_used: &dyn Fn(&str) -> bool) -> Result<(), EngineError> {
            assert!(!is_used("cw1/default/r/00"));
            self.finished.fetch_add(1, Relaxed);
            if self.fails.load(Relaxed) {
                return Err(EngineError::new(Trouble::Throttled, "too many"));
            }
            Ok(())
        }
    }

    #[test]
    fn what_is_queued_leaves_the_queue_when_all_of_it_is_sent() {
        let (manifest, result) = keys();
        let settings = settings(None, Trust::Bucket);
        let (engine, machine) = (Gathering::default(), Machine::new());
        machine.make(b"content", manifest, result);
        let remote = Remote::new(&machine.store, &engine, &settings);
        engine.fails.store(true, Relaxed);
        assert_eq!(remote.push(None).unwrap_err().trouble, Trouble::Throttled);
        assert_eq!(machine.store.queue_length(), 1);
        engine.fails.store(false, Relaxed);
        assert_eq!(remote.push(None).unwrap().results, 1);
        assert_eq!(
            (machine.store.queue_length(), engine.finished.load(Relaxed)),
            (0, 2)
        );
        let other = Machine::new();
        let remote = Remote::new(&other.store, &engine, &settings);
        assert_eq!(remote.fetch_offers(manifest), Ok(true));
        let fetched = remote.fetch_result(manifest, result);
        assert!(matches!(fetched, Ok(Fetched::Placed(_))), "{fetched:?}");
    }
}
