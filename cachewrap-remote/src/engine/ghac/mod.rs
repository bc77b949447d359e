//! The cache of GitHub Actions: one *bundle* of objects for each job.
//!
//! ```text
//! ghac://name                                      name: of the job, say
//! key of an entry = cachewrap/<name>/<namespace>/<time>-<chance>    content: a bundle (`bundle`)
//! ```
//! A repository may make 200 entries a minute, an entry is never changed, and nobody can ask which there are (`service`): so
//! objects cannot be entries. The newest bundle is fetched when something is asked for, once; what was fetched is
//! kept in the store, so that the next process asks for its name only. From then on objects are read from that file. What is put
//! is written to a bundle that begins empty, and becomes an entry at the end ([`Engine::finish`]), together with
//! what of the newest one is still of use. A reader never gets there.
//!
//! # What can go wrong
//!
//! - *There is no entry*, or it was evicted: nothing is found, and everything is compiled.
//! - *The bundle is cut, or no bundle, or longer than may be*: it is refused as a whole, and who asks is told; who writes leaves it out.
//!   What is in it counts only if it is signed by who is trusted, like any object.
//! - *It comes too slowly*: it is given up as soon as it is plain that it would take longer than half a minute. Those who
//!   waited for it do not each begin anew.
//! - *Two jobs of one name end at the same time*: the bundle that is newest counts, and has what the other's had
//!   only if that was there when it was made.

mod bundle;
mod service;

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use cache_core::remote::{Condition, Draft, Engine, EngineError, Object, Trouble, Written};
use cache_core::{Digest, Store};

use super::too_long;
use crate::context::Context;
use bundle::Bundle;
use service::{Service, in_store};

/// How long a bundle may be, bytes: all of a repository's may be 10 GB.
const LONGEST: u64 = 2 << 30;

/// The cache, for jobs of one name.
pub(super) struct Ghac {
    service: Service,
    store: Store,
    /// What bundles of these jobs are called in the store.
    name: String,
    most: u64,
    there: Mutex<There>,
    gathered: Mutex<Option<Gathered>>,
    is_gathering: AtomicBool,
    /// What was asked for while gathering: it is of use.
    asked: Mutex<HashSet<String>>,
}

/// What is known of the newest bundle.
enum There {
    /// It was not asked for, or, at that time, in vain.
    Unknown(Option<(Instant, EngineError)>),
    /// It is this one, or there is none.
    Known(Option<Arc<Bundle>>),
    /// It cannot be used.
    Unfit(EngineError),
}

/// What is to become an entry.
struct Gathered {
    bundle: Bundle,
    /// Removes the file.
    _draft: Draft,
}

impl Ghac {
    pub(super) fn new(context: &Context) -> Result<Self, EngineError> {
        let Context {
            env,
            store,
            settings,
        } = context;
        let of = format!("{} {}", settings.address.place, settings.address.namespace);
        Ok(Self {
            service: Service::new(settings, env)?,
            store: store.clone(),
            name: short(&of),
            // The share of the store that one result may take, twice.
            most: LONGEST.min(settings.room.saturating_mul(2)),
            there: Mutex::new(There::Unknown(None)),
            gathered: Mutex::default(),
            is_gathering: AtomicBool::new(false),
            asked: Mutex::default(),
        })
    }

    /// The newest bundle, which is fetched if it was not yet.
    fn there(&self) -> Result<Option<Arc<Bundle>>, EngineError> {
        let came = Instant::now();
        let mut there = lock(&self.there);
        if let There::Unknown(failed) = &*there {
            // Who waited while it failed has waited long enough.
            if let Some((at, e)) = failed
                && *at >= came
            {
                return Err(e.clone());
            }
            *there = match self.fetch() {
                Ok(there) => there,
                // Another try would cost the same, and come to the same.
                Err(e) if !e.trouble.is_general() => There::Unfit(e),
                Err(e) => {
                    *there = There::Unknown(Some((Instant::now(), e.clone())));
                    return Err(e);
                }
            };
        }
        match &*there {
            There::Known(bundle) => Ok(bundle.clone()),
            There::Unfit(e) if self.is_gathering() && e.trouble != Trouble::Store => Ok(None),
            There::Unfit(e) => Err(e.clone()),
            There::Unknown(_) => Ok(None),
        }
    }

    fn fetch(&self) -> Result<There, EngineError> {
        let Some(entry) = self.service.newest()? else {
            return Ok(There::Known(None));
        };
        let name = short(&entry.key);
        if let Some(file) = self.store.bundle(&self.name, &name)
            && let Some(bundle) = Bundle::open(file).map_err(in_store)?
        {
            return Ok(There::Known(Some(Arc::new(bundle))));
        }
        let draft = self.draft()?;
        self.service.download(&entry, self.most, draft.file())?;
        let file = draft.file().try_clone().map_err(in_store)?;
        let Some(bundle) = Bundle::open(file).map_err(in_store)? else {
            let e = EngineError::new(Trouble::Confused, "the bundle is damaged");
            return Ok(There::Unfit(e));
        };
        let kept = self.store.keep_bundle(&self.name, &name, draft);
        kept.map_err(|e| EngineError::new(Trouble::Store, e))?;
        Ok(There::Known(Some(Arc::new(bundle))))
    }

    fn is_gathering(&self) -> bool {
        self.is_gathering.load(Ordering::Relaxed)
    }

    fn draft(&self) -> Result<Draft, EngineError> {
        let draft = self.store.draft();
        draft.map_err(|e| EngineError::new(Trouble::Store, e))
    }

    /// Looks at an object where it is newest.
    fn look<T>(
        &self,
        name: &str,
        look: impl Fn(&Bundle) -> io::Result<Option<T>>,
    ) -> Result<Option<T>, EngineError> {
        if self.is_gathering() {
            lock(&self.asked).insert(name.to_owned());
        }
        if let Some(gathered) = &*lock(&self.gathered)
            && let Some(found) = look(&gathered.bundle).map_err(in_store)?
        {
            return Ok(Some(found));
        }
        match self.there()? {
            Some(bundle) => look(&bundle).map_err(in_store),
            None => Ok(None),
        }
    }
}

impl Engine for Ghac {
    fn get(&self, name: &str, most: u64) -> Result<Option<Object>, EngineError> {
        let length = self.look(name, |bundle| Ok(bundle.find(name)))?;
        if length.is_some_and(|length| length > most) {
            return Err(too_long(most));
        }
        let bytes = self.look(name, |bundle| bundle.read(name))?;
        Ok(bytes.map(|bytes| Object {
            bytes,
            version: None,
        }))
    }

    fn has(&self, name: &str) -> Result<bool, EngineError> {
        let length = self.look(name, |bundle| Ok(bundle.find(name)))?;
        Ok(length.is_some())
    }

    fn gathers(&self) -> bool {
        true
    }

    fn begin(&self) {
        self.is_gathering.store(true, Ordering::Relaxed);
    }

    /// Writes whatever the condition is: nobody else writes to what is gathered here.
    fn put(&self, name: &str, bytes: &[u8], _: Condition<'_>) -> Result<Written, EngineError> {
        let mut gathered = lock(&self.gathered);
        if gathered.is_none() {
            let draft = self.draft()?;
            let file = draft.file().try_clone().map_err(in_store)?;
            *gathered = Some(Gathered {
                bundle: Bundle::create(file).map_err(in_store)?,
                _draft: draft,
            });
        }
        let added = gathered
            .as_mut()
            .map(|gathered| gathered.bundle.add(name, bytes, self.most));
        match added.transpose().map_err(in_store)? {
            Some(true) => Ok(Written::Yes),
            _ => Err(too_long(self.most)),
        }
    }

    fn finish(&self, is_used: &dyn Fn(&str) -> bool) -> Result<(), EngineError> {
        let Some(mut gathered) = lock(&self.gathered).take() else {
            return Ok(());
        };
        let bundle = &mut gathered.bundle;
        if let Some(there) = self.there()? {
            let asked = lock(&self.asked);
            let is_used = |name: &str| asked.contains(name) || is_used(name);
            bundle
                .take_along(&there, is_used, self.most)
                .map_err(in_store)?;
        }
        self.service.upload(bundle.file(), bundle.length())
    }
}

/// A name for files, by a hash.
fn short(text: &str) -> String {
    let mut hex = Digest::of(text.as_bytes()).to_hex();
    hex.truncate(16);
    hex
}

/// What is behind these locks is whole at every moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
