//! The paths that were met, each kept once.

use std::borrow::Borrow;
use std::ffi::OsStr;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use rustc_hash::FxHashSet;

/// Paths by their spelling.
#[derive(Default)]
pub(super) struct Paths(FxHashSet<Spelled>);

/// As paths, those with and without a final slash are equal, to which calls answer differently.
struct Spelled(Arc<Path>);

impl Borrow<OsStr> for Spelled {
    fn borrow(&self) -> &OsStr {
        self.0.as_os_str()
    }
}

impl Hash for Spelled {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_os_str().hash(state);
    }
}

impl PartialEq for Spelled {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_os_str() == other.0.as_os_str()
    }
}

impl Eq for Spelled {}

impl Paths {
    /// The one that is kept.
    pub(super) fn intern(&mut self, path: &Path) -> Arc<Path> {
        if let Some(Spelled(known)) = self.0.get(path.as_os_str()) {
            return Arc::clone(known);
        }
        let path: Arc<Path> = path.into();
        self.0.insert(Spelled(Arc::clone(&path)));
        path
    }
}

/// Tells a path that is kept from all others.
pub(super) fn address(path: &Arc<Path>) -> usize {
    Arc::as_ptr(path).cast::<u8>() as usize
}
