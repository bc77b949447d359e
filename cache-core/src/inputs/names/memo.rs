//! What was found in files of code so far, by their digests, under `names/`:
//!
//! ```text
//! file = frame 'N' version 4 (see codec), body = opaque, named, asks
//! opaque = whether the file is taken to name everything
//! named  = map from name to how it occurs
//! asks   = optional, whether the code can ask for variables
//! ```
//! Version history: 1, the first; 2, beginnings of names count; 3, debug information and
//! symbols do not; 4, how a name occurs, whether a file hides what it names, and whether it
//! asks at all.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::PathError;
use crate::formats::codec::{self, Kind};
use crate::formats::digest::BlobRef;
use crate::os::fs;
use crate::store::Store;

use super::{Code, Naming, file};

pub(crate) const KIND: Kind = Kind {
    tag: b'N',
    version: 4,
};

/// What is known of a file of code.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Known {
    opaque: bool,
    named: BTreeMap<Vec<u8>, Naming>,
    asks: Option<bool>,
}

impl Known {
    /// How the file names a variable that was asked for.
    pub(super) fn naming(&self, name: &[u8]) -> Naming {
        if self.opaque {
            return Naming::Alone;
        }
        self.named.get(name).copied().unwrap_or(Naming::No)
    }
}

/// How many files are searched at a time: each may be in memory as a whole.
const AT_A_TIME: usize = 4;

/// What is known of each file, some names included. Those that nobody searched yet are searched
/// side by side.
pub(super) fn all_known(
    store: &Store,
    code: &[Code<'_>],
    names: &[&[u8]],
) -> Result<Vec<Known>, PathError> {
    let is_new = |code: &&Code<'_>| {
        let known = recall(store, code);
        !known.opaque && names.iter().any(|name| !known.named.contains_key(*name))
    };
    let look = |code: &Code<'_>| known(store, code, names);
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = processors.min(AT_A_TIME);
    let pool = (threads > 1 && code.iter().filter(is_new).nth(1).is_some()).then(|| {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
        builder.build().ok()
    });
    match pool.flatten() {
        Some(pool) => pool.install(|| code.par_iter().map(look).collect()),
        None => code.iter().map(look).collect(),
    }
}

/// What is known of a file, some names included.
fn known(store: &Store, code: &Code<'_>, names: &[&[u8]]) -> Result<Known, PathError> {
    let mut known = recall(store, code);
    if known.opaque {
        return Ok(known);
    }
    let unknown: Vec<&[u8]> = names
        .iter()
        .filter(|name| !known.named.contains_key(**name))
        .copied()
        .collect();
    if unknown.is_empty() {
        return Ok(known);
    }
    let (found, searched) = file::search(code.path, &unknown)?;
    known.opaque = found.is_opaque;
    let found = unknown.iter().zip(&found.naming);
    known
        .named
        .extend(found.map(|(name, naming)| (name.to_vec(), *naming)));
    remember(store, code, &known, searched)?;
    Ok(known)
}

/// Whether code can ask for variables whose names it does not know.
pub(super) fn asks(store: &Store, code: &Code<'_>) -> Result<bool, PathError> {
    let mut known = recall(store, code);
    if let Some(asks) = known.asks {
        return Ok(asks);
    }
    let asks = file::asks(code.path)?;
    known.asks = Some(asks);
    remember(store, code, &known, None)?;
    Ok(asks)
}

/// Notes that a file's naming a variable says nothing.
pub(super) fn note_excused(store: &Store, code: &Code<'_>, name: &[u8]) -> Result<(), PathError> {
    let mut known = recall(store, code);
    known.named.insert(name.to_vec(), Naming::No);
    remember(store, code, &known, None)
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
