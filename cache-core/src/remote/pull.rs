//! Fetching what a project needs before anybody asks for it, and telling others what that is.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};

use super::engine::{Condition, EngineError};
use super::index::{self, Entry, Of, Project};
use super::{Fetched, Mode, Remote};
use crate::store::stats::STORED_BYTES;

/// How many results are fetched at once.
const AT_ONCE: usize = 4;

/// What was fetched before anybody asked for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pulled {
    /// Results that a build is known to need.
    pub known: u64,
    /// Those that came.
    pub results: u64,
    /// How long what came was, bytes.
    pub bytes: u64,
}

/// An index of the remote.
#[derive(Default)]
struct Index {
    entries: Vec<Entry>,
    version: Option<String>,
}

impl Remote<'_> {
    /// Gets what builds of a project are known to have needed, what saves most for each byte first, until
    /// that much has come, bytes, or there is trouble. What the store has already is not fetched.
    pub fn pull(&self, project: &Project, most: u64) -> Result<Pulled, EngineError> {
        let mut pulled = Pulled::default();
        let mut wanted = self.index(project)?;
        pulled.known = wanted.len() as u64;
        wanted.retain(|entry| !self.store.has_whole(entry.result));
        wanted.sort_by(|a, b| b.is_worth_more(a).cmp(&a.is_worth_more(b)));
        let next = Mutex::new(wanted.into_iter());
        let came = AtomicU64::new(0);
        let work = || {
            let (mut results, mut bytes) = (0, 0);
            while came.load(Relaxed) < most {
                let taken = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(entry) = taken else { break };
                // Who needed it did not wait.
                if self.store.has_whole(entry.result) {
                    continue;
                }
                match self.fetch(None, entry.result) {
                    Ok(Fetched::Placed(length)) => {
                        results += 1;
                        bytes += length;
                        came.fetch_add(length, Relaxed);
                        let amounts = [("remote.pulled", 1), (STORED_BYTES, entry.bytes)];
                        let _ = self.store.count(&amounts);
                    }
                    Err(e) if e.trouble.is_general() => return Err(e),
                    Ok(Fetched::Missing | Fetched::Unfit(_)) | Err(_) => {}
                }
            }
            Ok((results, bytes))
        };
        let done: Vec<Result<(u64, u64), EngineError>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
            let done = workers.into_iter().filter_map(|worker| worker.join().ok());
            done.collect()
        });
        for done in done {
            let (results, bytes) = done?;
            pulled.results += results;
            pulled.bytes += bytes;
        }
        Ok(pulled)
    }

    fn index(&self, project: &Project) -> Result<Vec<Entry>, EngineError> {
        if !self.settings.trust.admits_anybody() {
            return Ok(Vec::new());
        }
        for name in project.names() {
            if let Some(index) = self.index_named(name)? {
                return Ok(index.entries);
            }
        }
        Ok(Vec::new())
    }

    fn index_named(&self, name: &str) -> Result<Option<Index>, EngineError> {
        let namespace = &self.settings.address.namespace;
        let object = format!("cw1/{namespace}/i/{name}");
        let object = self.guarded(|| self.engine.get(&object, index::LONGEST))?;
        Ok(object.and_then(|object| {
            let entries =
                index::decode(&object.bytes, &self.settings.trust, &Of { namespace, name })?;
            Some(Index {
                entries,
                version: object.version,
            })
        }))
    }

    /// Tells others what the last builds of a project needed.
    pub fn publish_index(&self, project: &Project) -> Result<(), EngineError> {
        let used = self.store.results_used_in(project.root());
        if used.is_empty() || self.settings.address.mode != Mode::Write {
            return Ok(());
        }
        let namespace = &self.settings.address.namespace;
        for name in project.names() {
            let Index {
                entries: known,
                version,
            } = self.index_named(name)?.unwrap_or_default();
            if used.iter().all(|entry| known.contains(entry)) {
                continue;
            }
            let of = Of { namespace, name };
            let object = index::encode(&used, known, self.settings.key.as_ref(), &of);
            let condition = version
                .as_deref()
                .map_or(Condition::Always, Condition::Version);
            let to = format!("cw1/{namespace}/i/{name}");
            self.guarded(|| self.engine.put(&to, &object, condition))?;
        }
        Ok(())
    }
}
