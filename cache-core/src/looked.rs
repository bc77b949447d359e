//! What a process that serves many units has looked at already.
//!
//! The units of a build have most of what they read in common: the compiler, each other's outputs, the
//! directories. A process that serves one of them looks at it once; one that serves all of them ahead would
//! look once for each. It shares this between them instead, and what it says is true of one moment: when the process
//! looked first. What changes later, while units are being served, changes during the build.
//!
//! | what | known by |
//! |---|---|
//! | the content of a file, if it could be read | its path |
//! | the spelling of a directory without links | its path |
//! | the compiler behind a program, or behind a proxy of rustup's | its path, and the variables by which rustup chooses |
//! | the names of variables that code contains | the digest of the code |
//! | where the system has libraries | there is one table |
//! | a toolchain | the name of what is memoised of it, in which the driver's stamp is |
//!
//! A file that is not as it was is looked at again, and so is a toolchain that a script chooses: only what
//! holds is remembered.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use crate::cargo::toolchain::Toolchain;
use crate::formats::digest::{BlobRef, Digest};
use crate::inputs::libraries::Libraries;
use crate::inputs::names;
use crate::os::fs;

/// What was looked at.
#[derive(Default)]
pub(crate) struct Looked {
    files: Table<PathBuf, BlobRef>,
    spellings: Table<PathBuf, PathBuf>,
    drivers: Table<Vec<Vec<u8>>, Driver>,
    toolchains: Table<Digest, Toolchain>,
    names: Table<BlobRef, Arc<names::Known>>,
    libraries: OnceLock<Libraries>,
}

/// A program that is the compiler, or starts it.
#[derive(Clone)]
pub(crate) struct Driver {
    pub(crate) path: PathBuf,
    pub(crate) is_compiler: bool,
}

impl Looked {
    /// The content of a file that could be read.
    pub(crate) fn file(&self, path: &Path) -> Option<BlobRef> {
        self.files.get(path)
    }

    pub(crate) fn has_seen(&self, path: PathBuf, blob: BlobRef) {
        self.files.put(path, blob);
    }

    pub(crate) fn drivers(&self) -> &Table<Vec<Vec<u8>>, Driver> {
        &self.drivers
    }

    pub(crate) fn names(&self) -> &Table<BlobRef, Arc<names::Known>> {
        &self.names
    }

    pub(crate) fn libraries(&self) -> &Libraries {
        self.libraries.get_or_init(Libraries::read)
    }

    pub(crate) fn toolchains(&self) -> &Table<Digest, Toolchain> {
        &self.toolchains
    }
}

/// Makes a path canonical, or recalls what it came to.
pub(crate) fn canonical(looked: Option<&Looked>, path: &Path) -> Option<PathBuf> {
    let Some(looked) = looked else {
        return fs::canonicalize(path).ok();
    };
    if let Some(known) = looked.spellings.get(path) {
        return Some(known);
    }
    let canonical = fs::canonicalize(path).ok()?;
    looked.spellings.put(path.to_owned(), canonical.clone());
    Some(canonical)
}

/// What several threads know.
pub(crate) struct Table<K, V>(RwLock<HashMap<K, V>>);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Eq + Hash, V: Clone> Table<K, V> {
    pub(crate) fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get(key).cloned()
    }

    pub(crate) fn put(&self, key: K, value: V) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(key, value);
    }
}
