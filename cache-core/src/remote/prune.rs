//! Removing what is old from a remote, where nothing else does it.
//!
//! What was written longer ago than a time goes, of one namespace: packs, lists, indexes. Whether it is still used is not known
//! to a remote, as reading leaves no trace there; what is, is compiled by the next who needs it and sent again. The
//! mark stays (`probe`). Who reads meanwhile finds something missing, which is a miss. Redis, memcached and the
//! like make room by themselves, and the rules of a bucket do the same as this at a time of their own.
//!
//! # What can go wrong
//!
//! - *The clocks differ*: the remote says when something was written; what was written in the future is not old.
//! - *Something is written again while it is removed*: then that is lost, and made again.
//! - *It stops in the middle*: packs go first, so that no list is lost for packs that stay; what leads
//!   to a pack that is gone is a miss.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::Remote;
use super::engine::{EngineError, Listed};
use crate::config::format_size;

/// The kinds of objects, in the order in which they go.
const KINDS: [&str; 3] = ["r", "n", "i"];

/// How many are removed at once.
const AT_ONCE: usize = 4;

/// What was removed, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pruned {
    /// Objects that were there.
    pub found: u64,
    /// Those that were old, and went.
    pub removed: u64,
    /// How long these were, bytes.
    pub bytes: u64,
    /// Old ones that could not be removed.
    pub failed: u64,
    /// Whether nothing was removed, only looked for.
    pub dry_run: bool,
}

impl fmt::Display for Pruned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            found,
            removed,
            bytes,
            failed,
            dry_run,
        } = self;
        let verb = if *dry_run { "Would remove" } else { "Removed" };
        write!(
            f,
            "{verb} {removed} of {found} objects, {}",
            format_size(*bytes)
        )?;
        if *failed > 0 {
            write!(f, "; {failed} could not be removed")?;
        }
        Ok(())
    }
}

impl Remote<'_> {
    /// Removes what was written longer ago than that. `None`: the engine does not say what there is.
    pub fn prune(
        &self,
        older_than: Duration,
        now: SystemTime,
        dry_run: bool,
    ) -> Result<Option<Pruned>, EngineError> {
        self.ask_again();
        let mut pruned = Pruned {
            dry_run,
            ..Pruned::default()
        };
        for kind in KINDS {
            let below = format!("cw1/{}/{kind}/", self.settings.address.namespace);
            let Some(found) = self.guarded(|| self.engine.list(&below))? else {
                return Ok(None);
            };
            pruned.found += found.len() as u64;
            let old = old(found, older_than, now);
            let (removed, bytes, failed) = if dry_run {
                let bytes = old.iter().map(|object| object.bytes).sum();
                (old.len() as u64, bytes, 0)
            } else {
                self.remove_all(old)?
            };
            pruned.removed += removed;
            pruned.bytes += bytes;
            pruned.failed += failed;
        }
        Ok(Some(pruned))
    }

    /// How many were removed, how long they were, and how many were not. Stops at trouble that others would meet too.
    fn remove_all(&self, objects: Vec<Listed>) -> Result<(u64, u64, u64), EngineError> {
        let next = Mutex::new(objects.into_iter());
        let [removed, bytes, failed] = [const { AtomicU64::new(0) }; 3];
        let work = || {
            loop {
                let taken = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(object) = taken else { return Ok(()) };
                match self.guarded(|| self.engine.remove(&object.name)) {
                    Ok(()) => {
                        removed.fetch_add(1, Relaxed);
                        bytes.fetch_add(object.bytes, Relaxed);
                    }
                    Err(e) if e.trouble.is_general() => return Err(e),
                    Err(_) => {
                        failed.fetch_add(1, Relaxed);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
            let mut done = workers.into_iter().filter_map(|worker| worker.join().ok());
            done.try_for_each(|done| done)
        })?;
        Ok((
            removed.into_inner(),
            bytes.into_inner(),
            failed.into_inner(),
        ))
    }
}

/// What was written longer ago than that. What is of no known time is of no age.
fn old(found: Vec<Listed>, older_than: Duration, now: SystemTime) -> Vec<Listed> {
    let is_old = |object: &Listed| {
        let age = object
            .written
            .and_then(|written| now.duration_since(written).ok());
        age.is_some_and(|age| age >= older_than)
    };
    found.into_iter().filter(is_old).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_old_goes() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let object = |written: Option<u64>| Listed {
            name: "x".to_owned(),
            bytes: 1,
            written: written.map(|at| SystemTime::UNIX_EPOCH + Duration::from_secs(at)),
        };
        let old = |at| old(vec![object(at)], Duration::from_secs(100), now).len();
        assert_eq!((old(Some(0)), old(Some(900))), (1, 1));
        assert_eq!((old(Some(901)), old(Some(2000)), old(None)), (0, 0, 0));
    }
}
