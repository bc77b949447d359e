//! Keepers: processes that store what an edit produced while the build has gone on.
//!
//! ```text
//! <dir>/v1/running/keeper-<n>      locked by a keeper; removed when it is done
//! file = manifest key: 32 bytes
//!        an input manifest with one set, once the inputs are known
//! ```
//! Whoever is about to make the same, with the same inputs, waits for a keeper instead.
//!
//! There are at most a few at a time: whoever finds no place free stores at once. A lock vanishes
//! with the process that holds it, however it ends, and its file is taken by the next one. Who wants to see
//! everything that was produced waits for the locks ([`Store::wait_for_keepers`]).
//!
//! What was a keeper's when it was killed is a file in `tmp/`, which a collection removes, and perhaps
//! blobs that nothing names, as after any other writer.

use std::ffi::OsStr;
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use super::Store;
use super::turns::has_name;
use crate::formats::digest::ManifestKey;
use crate::formats::manifest::{InputManifest, result_key};
use crate::inputs::input::Input;
use crate::os::dir::Spot;
use crate::os::lock;

/// How many there may be.
const MOST: usize = 8;

/// No more is read of what one says, bytes.
const LONGEST: u64 = 1 << 24;

/// Between two looks at a lock.
const PAUSE: Duration = Duration::from_millis(5);

const NAME: &str = "keeper-";

/// The right to be a keeper.
pub(crate) struct Place {
    spot: Spot,
    lock: File,
}

impl Place {
    /// Leaves it to a copy of this process, which has the lock too.
    pub(crate) fn leave(self) {
        let _ = ManuallyDrop::new(self);
    }

    /// Says for which key something is being kept. That it cannot is no harm: nobody waits then.
    pub(crate) fn tell_key(&self, key: ManifestKey) {
        let _ = self.lock.set_len(0);
        let _ = self.lock.write_all_at(key.0.as_bytes(), 0);
    }

    /// Says what its inputs are.
    pub(crate) fn tell(&self, key: ManifestKey, inputs: &[Input]) {
        let mut manifest = InputManifest::default();
        manifest.add(inputs.to_vec(), result_key(key, inputs));
        let told = manifest.encode().unwrap_or_default();
        let _ = self.lock.write_all_at(&told, key.0.as_bytes().len() as u64);
    }
}

/// A keeper at work.
pub(crate) struct Keeper(File);

impl Keeper {
    /// Waits until it is done; `false` if it still is not when the time is over.
    pub(crate) fn wait(&self, until: Instant) -> bool {
        loop {
            match lock::try_exclusive(&self.0) {
                Ok(false) if has_name(&self.0) => {}
                _ => return true,
            }
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// The inputs of what it keeps for a key, once it says what they are; `None` if it has ended, or the time
    /// is over.
    pub(crate) fn inputs_for(&self, key: ManifestKey, until: Instant) -> Option<InputManifest> {
        loop {
            // What is half written is no manifest.
            let told = self.told_for(key)?;
            if let Ok(inputs) = InputManifest::decode(&told) {
                return Some(inputs);
            }
            let now = Instant::now();
            if now >= until || self.wait(now + PAUSE) {
                return None;
            }
        }
    }

    /// What it says after a key, if it keeps something for that.
    fn told_for(&self, key: ManifestKey) -> Option<Vec<u8>> {
        let mut told = vec![0; self.0.metadata().ok()?.len().min(LONGEST).try_into().ok()?];
        self.0.read_exact_at(&mut told, 0).ok()?;
        let inputs = told.strip_prefix(key.0.as_bytes().as_slice())?;
        Some(inputs.to_vec())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.spot.remove_file();
    }
}

impl Store {
    /// A place for a keeper; `None` if there is none, or locks cannot be taken here.
    pub(crate) fn place_for_keeper(&self) -> Option<Place> {
        (0..MOST).find_map(|n| {
            let path = self.layout.part("running").join(format!("{NAME}{n}"));
            let file = self.open_running(&path).ok()?;
            let spot = self.spot_of(&path).ok()?;
            let is_ours = lock::try_exclusive(&file).ok()? && has_name(&file);
            is_ours.then(|| Place { spot, lock: file })
        })
    }

    /// Waits until everything is stored that was compiled before; `false` if some of it still is not
    /// when the time is over.
    pub fn wait_for_keepers(&self, most: Duration) -> bool {
        let until = Instant::now() + most;
        self.keepers().iter().all(|keeper| keeper.wait(until))
    }

    /// The keepers that store something for a key.
    pub(crate) fn keepers_of(&self, key: ManifestKey) -> Vec<Keeper> {
        let mut keepers = self.keepers();
        keepers.retain(|keeper| keeper.told_for(key).is_some());
        keepers
    }

    fn keepers(&self) -> Vec<Keeper> {
        let running = self.dir(&self.layout.part("running"));
        let names = running.and_then(|dir| dir.list()).unwrap_or_default();
        let is_keeper = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with(NAME));
        let keepers = names.iter().filter(|listed| is_keeper(&listed.name));
        keepers
            .filter_map(|listed| self.open_plain(&listed.path).ok().map(Keeper))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::digest::Digest;

    #[test]
    fn there_are_a_few_places_and_they_are_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), false);
        assert!(store.wait_for_keepers(Duration::ZERO));
        let mut places: Vec<Place> = (0..MOST)
            .map(|_| store.place_for_keeper().unwrap())
            .collect();
        assert!(store.place_for_keeper().is_none());
        assert!(!store.wait_for_keepers(Duration::ZERO));
        places.pop();
        assert!(!store.wait_for_keepers(Duration::ZERO));
        places.push(store.place_for_keeper().unwrap());
        drop(places);
        assert!(store.wait_for_keepers(Duration::ZERO));
        let running = std::fs::read_dir(store.layout().part("running")).unwrap();
        assert_eq!(running.count(), 0);
    }

    #[test]
    fn what_is_kept_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), false);
        let place = store.place_for_keeper().unwrap();
        let [key, other] = [b"key", b"abc"].map(|text| ManifestKey(Digest::of(text)));
        assert!(store.keepers_of(key).is_empty());
        let input = Input::NoProgram {
            name: b"cc".to_vec(),
        };
        place.tell_key(key);
        let [keeper] = &store.keepers_of(key)[..] else {
            panic!("one keeper");
        };
        let now = Instant::now;
        assert_eq!(keeper.inputs_for(key, now()), None);
        place.tell(key, std::slice::from_ref(&input));
        let told = keeper.inputs_for(key, now()).unwrap();
        assert_eq!(told.inputs(), [input]);
        assert_eq!(keeper.inputs_for(other, now()), None);
        assert!(store.keepers_of(other).is_empty());
        assert!(!keeper.wait(now()));
        drop(place);
        assert!(keeper.wait(now()));
    }

    #[test]
    fn one_that_ends_before_it_says_what_it_keeps_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), false);
        let place = store.place_for_keeper().unwrap();
        let key = ManifestKey(Digest::of(b"key"));
        place.tell_key(key);
        let keepers = store.keepers_of(key);
        drop(place);
        let hour = Instant::now() + Duration::from_secs(3600);
        assert_eq!(keepers[0].inputs_for(key, hour), None);
    }

    #[test]
    fn one_that_is_left_is_waited_for_until_its_lock_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), false);
        let place = store.place_for_keeper().unwrap();
        // As a copy of this process would have it.
        let copy = place.lock.try_clone().unwrap();
        place.leave();
        let rest = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(copy);
        });
        // This process still has its own.
        assert!(!store.wait_for_keepers(Duration::from_millis(20)));
        rest.join().unwrap();
    }
}
