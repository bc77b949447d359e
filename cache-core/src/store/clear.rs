//! Emptying the store.
//!
//! Only what is ours goes, and only from a directory that looks like ours: one with our
//! `CACHEDIR.TAG`. A mistyped `CACHEWRAP_DIR` must not cost anybody's files. Of such a
//! directory the format directory of this release goes, and the tag with it unless
//! other releases have directories there.
//!
//! The format directory is renamed first, so that other processes see either a whole
//! store or none, and start a new one. What a killed `clear` left under the new name is
//! removed by the next.

use super::room::kind_of;
use super::scan::file_size;
use super::{Store, StoreError};
use crate::os::dir::NameKind;
use crate::os::fs;

/// Begins the names of format directories on their way out.
const DOOMED: &str = "v1.cleared-";

/// How clearing ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cleared {
    /// The store is empty; so many bytes went, in whole blocks.
    Done {
        /// What the files took.
        freed: u64,
    },
    /// There was nothing.
    Nothing,
    /// The directory holds something, and does not look like a cache of ours.
    NotOurs,
    /// A collection is running.
    Busy,
    /// The store is read-only.
    ReadOnly,
}

impl Store {
    /// Removes everything that this release stored, and its counters.
    pub fn clear(&self) -> Result<Cleared, StoreError> {
        if self.read_only {
            return Ok(Cleared::ReadOnly);
        }
        let names = self.list(self.layout.dir())?;
        if names.is_empty() {
            return Ok(Cleared::Nothing);
        }
        let tag = self.layout.tag();
        let ours = self
            .read_plain(&tag)
            .is_ok_and(|tag| tag == super::CACHEDIR_TAG.as_bytes());
        if !ours {
            return Ok(Cleared::NotOurs);
        }
        let mut doomed: Vec<_> = names
            .iter()
            .filter(|listed| listed.name.to_string_lossy().starts_with(DOOMED))
            .map(|listed| listed.path.clone())
            .collect();
        let format = self.layout.format_dir();
        let found = self.look(format).ok();
        let lock = match found.map(|stat| kind_of(&stat)) {
            Some(NameKind::Dir) => {
                let Some(lock) = self.gc_lock()? else {
                    return Ok(Cleared::Busy);
                };
                let name = format!("{DOOMED}{}", std::process::id());
                let aside = self.layout.dir().join(name);
                self.rename(format, &aside)?;
                doomed.push(aside);
                Some(lock)
            }
            // A link to somebody's directory: the link is in the cache, the directory is not.
            Some(_) => {
                doomed.push(format.to_owned());
                None
            }
            None => None,
        };
        let mut freed = 0;
        for path in doomed {
            let spot = self.spot_of(&path)?;
            freed += spot.dir.size_below(&spot.name, file_size);
            spot.dir.remove_any(&spot.name)?;
        }
        drop(lock);
        self.remove_empty_dir();
        Ok(Cleared::Done { freed })
    }

    /// Removes the tag and the directory if nothing else is left. It may be a mount
    /// point, or in use again already; then it stays.
    fn remove_empty_dir(&self) {
        let left = self.list(self.layout.dir()).unwrap_or_default();
        if let [only] = left.as_slice()
            && only.name == "CACHEDIR.TAG"
            && self.remove_file(&only.path).is_ok()
        {
            let _ = fs::remove_dir(self.layout.dir());
        }
    }
}
