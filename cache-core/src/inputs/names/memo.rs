//! What was found in files of code so far, by their digests, under `names/`:
//!
//! ```text
//! file = frame 'N' version 6 (see codec), body = opaque, named, asks, heard, minds
//! opaque = whether the file is taken to name everything
//! named  = map from name to how it occurs
//! asks   = optional, whether the code can ask for variables
//! heard  = optional, whether it can do so by `getenv` only
//! minds  = optional, what it may mind of files besides their content
//! ```
//! Version history: 1, the first; 2, beginnings of names count; 3, debug information and
//! symbols do not; 4, how a name occurs, whether a file hides what it names, and whether it
//! asks at all; 5, whether all that it asks for is heard; 6, what it minds.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::PathError;
use crate::formats::codec::{self, Kind};
use crate::formats::digest::BlobRef;
use crate::looked::Looked;
use crate::os::fs;
use crate::store::Store;

use super::{Code, Minds, Naming, file};

pub(crate) const KIND: Kind = Kind {
    tag: b'N',
    version: 6,
};

/// What is known of a file of code.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Known {
    opaque: bool,
    named: BTreeMap<Vec<u8>, Naming>,
    asks: Option<bool>,
    heard: Option<bool>,
    minds: Option<Minds>,
}

impl Known {
    /// Whether the file was searched for all of some names.
    fn has_all(&self, names: &[&[u8]]) -> bool {
        self.opaque || names.iter().all(|name| self.named.contains_key(*name))
    }

    /// How the file names a variable that was asked for.
    pub(super) fn naming(&self, name: &[u8]) -> Naming {
        if self.opaque {
            return Naming::Alone;
        }
        self.named.get(name).copied().unwrap_or(Naming::No)
    }
}

/// Where what is known is kept.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    pub(crate) store: &'a Store,
    /// What this process has looked at for other calls, if it serves many.
    pub(crate) looked: Option<&'a Looked>,
}

impl<'a> From<&'a Store> for Around<'a> {
    fn from(store: &'a Store) -> Self {
        Self {
            store,
            looked: None,
        }
    }
}

impl Around<'_> {
    fn recall(self, code: &Code<'_>) -> Arc<Known> {
        let shared = self
            .looked
            .and_then(|looked| looked.names().get(&code.blob));
        shared.unwrap_or_else(|| {
            let known = Arc::new(recall(self.store, code));
            self.share(code, &known);
            known
        })
    }

    fn share(self, code: &Code<'_>, known: &Arc<Known>) {
        if let Some(looked) = self.looked {
            looked.names().put(code.blob, Arc::clone(known));
        }
    }
}

/// How many files are searched at a time: each may be in memory as a whole.
const AT_A_TIME: usize = 4;

/// What is known of each file, some names included. Those that nobody searched yet are searched
/// side by side.
pub(super) fn all_known(
    around: Around<'_>,
    code: &[Code<'_>],
    names: &[&[u8]],
) -> Result<Vec<Arc<Known>>, PathError> {
    let recalled: Vec<Arc<Known>> = code.iter().map(|code| around.recall(code)).collect();
    let new = recalled.iter().filter(|known| !known.has_all(names));
    let pool = (new.count() > 1).then(|| {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let builder = rayon::ThreadPoolBuilder::new().num_threads(processors.min(AT_A_TIME));
        builder.build().ok()
    });
    let look = |(code, known)| complete(around, code, known, names);
    match pool.flatten() {
        Some(pool) => pool.install(|| code.par_iter().zip(recalled).map(look).collect()),
        None => code.iter().zip(recalled).map(look).collect(),
    }
}

/// Adds what is not known of some names yet.
fn complete(
    around: Around<'_>,
    code: &Code<'_>,
    known: Arc<Known>,
    names: &[&[u8]],
) -> Result<Arc<Known>, PathError> {
    if known.has_all(names) {
        return Ok(known);
    }
    let unknown: Vec<&[u8]> = names
        .iter()
        .filter(|name| !known.named.contains_key(**name))
        .copied()
        .collect();
    let (found, searched) = file::search(code.path, &unknown)?;
    let mut known = Arc::unwrap_or_clone(known);
    known.opaque = found.is_opaque;
    let found = unknown.iter().zip(&found.naming);
    known
        .named
        .extend(found.map(|(name, naming)| (name.to_vec(), *naming)));
    remember(around.store, code, &known, searched)?;
    let known = Arc::new(known);
    around.share(code, &known);
    Ok(known)
}

/// Whether code can ask for variables whose names it does not know.
pub(super) fn asks(store: &Store, code: &Code<'_>) -> Result<bool, PathError> {
    found_once(store, code, |known| &mut known.asks, file::asks)
}

/// Whether code can ask for variables by `getenv` only.
pub(super) fn is_heard(store: &Store, code: &Code<'_>) -> Result<bool, PathError> {
    found_once(store, code, |known| &mut known.heard, file::is_heard)
}

/// What code may mind of files besides their content.
pub(super) fn minds(
    store: &Store,
    code: &Code<'_>,
    by_sources: impl FnOnce(bool) -> Minds,
) -> Result<Minds, PathError> {
    let find = |path: &Path| {
        let by_symbols = file::minds(path)?;
        let has_symbols = by_symbols.is_some();
        Ok(by_sources(has_symbols).and(by_symbols.unwrap_or_default()))
    };
    found_once(store, code, |known| &mut known.minds, find)
}

/// What is known of a file, or is found and remembered.
fn found_once<A: Copy>(
    store: &Store,
    code: &Code<'_>,
    place: fn(&mut Known) -> &mut Option<A>,
    find: impl FnOnce(&Path) -> Result<A, PathError>,
) -> Result<A, PathError> {
    let mut known = recall(store, code);
    if let Some(answer) = *place(&mut known) {
        return Ok(answer);
    }
    let answer = find(code.path)?;
    *place(&mut known) = Some(answer);
    remember(store, code, &known, None)?;
    Ok(answer)
}

/// Notes that a file's naming a variable says nothing.
pub(super) fn note_excused(store: &Store, code: &Code<'_>, name: &[u8]) -> Result<(), PathError> {
    let mut known = recall(store, code);
    match known.named.insert(name.to_vec(), Naming::No) {
        Some(Naming::No) => Ok(()),
        _ => remember(store, code, &known, None),
    }
}

fn recall(store: &Store, code: &Code<'_>) -> Known {
    let memo = store.layout().names(code.blob.digest);
    store
        .read_plain(&memo)
        .ok()
        .and_then(|bytes| codec::decode(KIND, &bytes).ok())
        .unwrap_or_default()
}

/// `searched`: what is known to have been looked at.
fn remember(
    store: &Store,
    code: &Code<'_>,
    known: &Known,
    searched: Option<BlobRef>,
) -> Result<(), PathError> {
    if store.is_read_only() {
        return Ok(());
    }
    let searched = searched.map_or_else(|| fs::digest(code.path), Ok)?;
    // Remembered only if these are the bytes that the digest names.
    if searched == code.blob
        && let Ok(frame) = codec::encode(KIND, known)
    {
        let memo = store.layout().names(code.blob.digest);
        // Losing it costs another search.
        let _ = store.replace_own(&memo, "names", &frame);
    }
    Ok(())
}
