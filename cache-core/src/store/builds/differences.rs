//! In what the key of a unit differs from those of earlier times.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::UnitRecord;
use crate::formats::key::KeyParts;
use crate::kinds::rustc::key;

/// A part of a key that differs between two calls of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyDifference {
    /// A variable, an argument, or what else people call it.
    pub name: String,
    /// A short digest of what it was; `None` if it was not there.
    pub old: Option<String>,
    /// The same of what it is now.
    pub new: Option<String>,
}

/// The parts of a key that differ between units of the same name: every package's build script
/// is called alike.
const SUBJECT: [&str; 2] = [key::SOURCE, "CARGO_PKG_NAME"];

/// Says of each entry with a key in what it differs from earlier ones of the unit, and takes
/// the keys out.
pub(super) fn tell<'a>(entries: impl Iterator<Item = &'a mut UnitRecord>) {
    let mut earlier: HashMap<String, Vec<KeyParts>> = HashMap::new();
    for entry in entries {
        let key = std::mem::take(&mut entry.parts);
        if key.is_empty() {
            continue;
        }
        let known = earlier.entry(entry.unit.clone()).or_default();
        let same = |known: &&KeyParts| {
            SUBJECT
                .iter()
                .all(|part| known.get(*part) == key.get(*part))
        };
        let known_ones = known.iter().rev().filter(same);
        let differences = known_ones.map(|known| differences(known, &key));
        entry.differences = differences.min_by_key(Vec::len).unwrap_or_default();
        let names = entry.differences.iter().map(|part| part.name.clone());
        entry.differs = names.collect();
        known.push(key);
    }
}

fn differences(old: &KeyParts, new: &KeyParts) -> Vec<KeyDifference> {
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    let names = new.keys().chain(gone);
    let changed = names.filter(|name| old.get(*name) != new.get(*name));
    changed
        .map(|name| KeyDifference {
            name: name.clone(),
            old: old.get(name).cloned(),
            new: new.get(name).cloned(),
        })
        .collect()
}
