//! Keepers: processes that store what an edit produced, or what a compiler left for its next time, while
//! the build has gone on.
//!
//! ```text
//! <dir>/v1/running/keeper-<n>      locked by a keeper; removed when it is done
//! ```
//! There are at most a few at a time: whoever finds no place free stores at once. A lock vanishes
//! with the process that holds it, however it ends, and its file is taken by the next one. Who wants to see
//! everything that was produced waits for the locks ([`Store::wait_for_keepers`]).
//!
//! What was a keeper's when it was killed is a file in `tmp/`, which a collection removes, and perhaps
//! blobs that nothing names, as after any other writer.

use std::ffi::OsStr;
use std::fs::File;
use std::mem::ManuallyDrop;
use std::time::{Duration, Instant};

use super::Store;
use super::turns::has_name;
use crate::os::dir::Spot;
use crate::os::lock;

/// How many there may be.
const MOST: usize = 8;

/// Between two looks at a lock.
const PAUSE: Duration = Duration::from_millis(5);

const NAME: &str = "keeper-";

/// The right to be a keeper.
pub(crate) struct Place {
    spot: Spot,
    #[cfg_attr(not(test), expect(dead_code, reason = "held until it is closed"))]
    lock: File,
}

impl Place {
    /// Leaves it to a copy of this process, which has the lock too.
    pub(crate) fn leave(self) {
        let _ = ManuallyDrop::new(self);
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
        self.keepers().iter().all(|keeper| {
            loop {
                match lock::try_exclusive(keeper) {
                    Ok(false) if has_name(keeper) => {}
                    _ => return true,
                }
                if Instant::now() >= until {
                    return false;
                }
                std::thread::sleep(PAUSE);
            }
        })
    }

    fn keepers(&self) -> Vec<File> {
        let running = self.dir(&self.layout.part("running"));
        let names = running.and_then(|dir| dir.list()).unwrap_or_default();
        let is_keeper = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with(NAME));
        let keepers = names.iter().filter(|listed| is_keeper(&listed.name));
        keepers
            .filter_map(|listed| self.open_plain(&listed.path).ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
