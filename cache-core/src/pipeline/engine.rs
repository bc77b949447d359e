//! What every kind of unit does with the store: looking up, keeping, counting.

use std::path::PathBuf;
use std::time::SystemTime;

use crate::config::{Config, LogLevel};
use crate::formats::digest::{Digest, ManifestKey, ResultKey};
use crate::formats::manifest::{InputManifest, result_key};
use crate::inputs::check::{Checker, World};
use crate::inputs::input::Input;
use crate::log::Log;
use crate::observe;
use crate::os::fs;
use crate::outcome::{MissReason, NotStored, Refusal};
use crate::outputs::restore::RestoreError;
use crate::outputs::result::CompileResult;
use crate::scene::Scene;
use crate::store::stats::STORED_BYTES;
use crate::store::{Store, StoreError, object_name};

/// The store as one unit uses it.
pub(crate) struct Engine<'a> {
    pub(crate) store: &'a Store,
    pub(crate) log: Log,
}

impl<'a> Engine<'a> {
    pub(crate) fn new(store: &'a Store, config: &Config) -> Self {
        let log = Log::new(config.log.value.clone());
        Self { store, log }
    }

    /// The observer's object, to be loaded into processes that are watched; put into the store if it
    /// is not there. `None` where it cannot be loaded from there.
    pub(crate) fn preloaded_object(&self, config: &Config) -> Option<PathBuf> {
        let bytes = observe::PRELOADED_OBJECT.filter(|_| *config.preload)?;
        let name = object_name(Digest::of(bytes));
        // The loader reads it by its path, wherever the process is.
        let path = fs::canonicalize(self.store.layout().format_dir())
            .ok()?
            .join(&name);
        let own = self.store.layout().part(&name);
        if self.store.read_plain(&own).ok().as_deref() != Some(bytes) {
            self.store.replace(&own, bytes).ok()?;
        }
        observe::is_loadable(&path).then_some(path)
    }

    /// Counts. It is never worth a failure.
    pub(crate) fn count(&self, amounts: &[(&str, u64)]) {
        #[cfg(test)]
        crate::fault::point("counting");
        let _ = self.store.count(amounts);
    }

    /// Counts an event with its reason: `event` and `event.reason`.
    pub(crate) fn count_with_reason(&self, event: &str, reason: &str) {
        self.count(&[(event, 1), (&format!("{event}.{reason}"), 1)]);
    }

    /// Reports an error of the store; what it means for a look-up.
    pub(crate) fn fault(&self, error: &StoreError) -> MissReason {
        let what = error.to_string();
        match error {
            StoreError::UnknownVersion { .. } => {
                self.log.say(LogLevel::Debug, || what.clone());
                return MissReason::OtherVersion(what);
            }
            StoreError::Corrupt { .. } => {
                self.count(&[("corrupt", 1)]);
                self.log.say(LogLevel::Debug, || what.clone());
            }
            StoreError::Path(_) | StoreError::Encode(_) => {
                self.count(&[("fault", 1)]);
                self.warn(error);
            }
        }
        MissReason::Damaged(what)
    }

    /// What not being able to restore means.
    pub(crate) fn unrestored(&self, error: RestoreError) -> MissReason {
        match error {
            RestoreError::Miss(reason) => {
                if matches!(reason, MissReason::Damaged(_)) {
                    self.count(&[("corrupt", 1)]);
                }
                reason
            }
            RestoreError::Place(e) => self.fault(&e),
        }
    }

    /// Tells the user what is wrong with the cache, once a build: every unit will meet
    /// the same trouble at another file.
    fn warn(&self, error: &StoreError) {
        let dir = self.store.layout().dir().display();
        let trouble = match error {
            StoreError::Path(e) => format!("{dir} {:?}", e.source.kind()),
            error => format!("{dir} {error}"),
        };
        self.log.warn_once(&trouble, || {
            format!("cannot use the cache in {dir}, compiling without it: {error}")
        });
    }

    /// The input sets of a key.
    pub(crate) fn manifest(&self, key: ManifestKey) -> Result<Option<InputManifest>, MissReason> {
        self.store.manifest(key).map_err(|e| self.fault(&e))
    }

    /// Serves a result whose inputs hold, or says why there is none.
    pub(super) fn look_up<T>(
        &self,
        manifest: &Result<Option<InputManifest>, MissReason>,
        world: &World<'_>,
        mut serve: impl FnMut(ResultKey, &CompileResult) -> Result<T, MissReason>,
    ) -> Result<T, MissReason> {
        #[cfg(test)]
        crate::fault::point("looking up");
        let manifest = manifest.as_ref().map_err(Clone::clone)?;
        let manifest = manifest.as_ref().ok_or(MissReason::NoEntry)?;
        let mut checker = Checker::new(world, manifest);
        let mut newest = None;
        for set in manifest.sets() {
            let reason = match checker.check(set) {
                Err(change) => MissReason::Changed(change),
                Ok(()) => match self.serve(set.result, &mut serve) {
                    Ok(served) => return Ok(served),
                    Err(reason) => reason,
                },
            };
            newest.get_or_insert(reason);
        }
        Err(newest.unwrap_or(MissReason::NoEntry))
    }

    fn serve<T>(
        &self,
        key: ResultKey,
        serve: &mut impl FnMut(ResultKey, &CompileResult) -> Result<T, MissReason>,
    ) -> Result<T, MissReason> {
        let result = self.store.result(key).map_err(|e| self.fault(&e))?;
        let result = result.ok_or_else(|| MissReason::Evicted(format!("result {}", key.0)))?;
        let served = serve(key, &result)?;
        #[cfg(test)]
        crate::fault::point("served");
        self.store.touch_result(key, &result);
        Ok(served)
    }

    /// Makes the store's directories; `false` if that is impossible.
    pub(crate) fn prepare_store(&self) -> bool {
        match self.store.prepare() {
            Ok(()) => true,
            Err(e) => {
                self.fault(&e.into());
                false
            }
        }
    }

    /// Stores a result under the inputs that gave it, and says its key. Its blobs are stored already
    /// and take `blobs` bytes on disk.
    pub(crate) fn put(
        &self,
        scene: &Scene<'_>,
        inputs: Vec<Input>,
        result: &CompileResult,
        blobs: u64,
    ) -> Result<ResultKey, Refusal> {
        #[cfg(test)]
        crate::fault::point("putting");
        let named = self.try_put(scene, inputs, result);
        // Blobs take room even if nothing came to name them.
        let size = named.as_ref().map_or(0, |(_, size)| *size);
        self.count(&[(STORED_BYTES, blobs + size)]);
        named.map(|(key, _)| key).map_err(|e| {
            self.fault(&e);
            NotStored::Store.of(e)
        })
    }

    /// Says the result's key, and what it and its manifest take on disk.
    fn try_put(
        &self,
        scene: &Scene<'_>,
        inputs: Vec<Input>,
        result: &CompileResult,
    ) -> Result<(ResultKey, u64), StoreError> {
        let key = scene.key;
        let named = result_key(key, &inputs);
        self.report_inputs(scene, &inputs, named);
        let size = self.store.put_result(named, result)?;
        let mut manifest = match self.store.manifest(key) {
            Ok(manifest) => manifest.unwrap_or_default(),
            // Never overwritten: it belongs to another release.
            Err(e @ StoreError::UnknownVersion { .. }) => return Err(e),
            Err(_) => InputManifest::default(),
        };
        manifest.add(inputs, named);
        Ok((named, size + self.store.put_manifest(key, &manifest)?))
    }

    /// Whether the store has outgrown its bound.
    pub(crate) fn is_full(&self, config: &Config) -> bool {
        #[cfg(test)]
        crate::fault::point("measuring");
        self.store.should_gc(config, SystemTime::now())
    }
}
