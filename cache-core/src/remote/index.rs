//! Indexes: what a project needed, so that it can be fetched before anybody asks for it.
//!
//! ```text
//! <prefix>/cw1/<namespace>/i/l-<digest of Cargo.lock>     what was needed with this lock file
//! <prefix>/cw1/<namespace>/i/m-<digest of Cargo.toml>     what was needed with this manifest of the workspace
//! object = frame 'X' version 1 (see codec), body = Sealed
//! Sealed = content: frame 'Y' version 1 with [Entry], signed: 96 bytes
//! ```
//! Asking for one unit after the other costs two round trips each, and each has to wait for those it depends on. An
//! index says at once what a build with the same lock file, else one of the same workspace, will most likely ask for. It
//! is a guess: what is fetched in vain costs time and room, and nothing that it says is believed, as
//! each result comes in a pack that speaks for itself, and is served only when its inputs hold.
//!
//! It is made of the records of the last builds, by those who send; what others have put there stays, as far
//! as there is room. Replacing it at the same time as others may lose what they
//! added, until they add it again.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::trust::{self, Sealed, SecretKey, Trust};
use crate::formats::codec::{self, Kind};
use crate::formats::digest::{Digest, ResultKey};
use crate::os::fs;

const OBJECT: Kind = Kind {
    tag: b'X',
    version: 1,
};

const INDEX: Kind = Kind {
    tag: b'Y',
    version: 1,
};

/// How many results an index names; the oldest go.
const MOST: usize = 4096;

/// The longest object, bytes.
pub(crate) const LONGEST: u64 = 1 << 20;

/// A result that a build needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) result: ResultKey,
    /// How long its outputs are, bytes.
    pub(crate) bytes: u64,
    /// How long making it took, microseconds.
    pub(crate) duration_us: u64,
}

impl Entry {
    /// Whether fetching this one first saves more for each byte.
    pub(crate) fn is_worth_more(&self, other: &Self) -> bool {
        let value = |a: &Self, b: &Self| u128::from(a.duration_us) * u128::from(b.bytes.max(1));
        value(self, other) > value(other, self)
    }
}

/// What an index is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// The workspace's root.
    root: std::path::PathBuf,
    /// The names of its indexes, the best guess first.
    names: Vec<String>,
}

impl Project {
    /// The workspace that a directory is in: the outermost one above it with a `Cargo.lock`, or the
    /// nearest with a `Cargo.toml`. `None`: it is in none.
    pub fn around(dir: &Path) -> Option<Self> {
        let has = |dir: &&Path, name: &str| fs::is_file(&dir.join(name));
        let mut above = dir.ancestors();
        let locked = above.find(|dir| has(dir, "Cargo.lock") && has(dir, "Cargo.toml"));
        let root = locked.or_else(|| dir.ancestors().find(|dir| has(dir, "Cargo.toml")))?;
        let name = |prefix: &str, file: &str| {
            let blob = fs::digest(&root.join(file)).ok()?;
            Some(format!("{prefix}-{}", blob.digest.to_hex()))
        };
        let names = [name("l", "Cargo.lock"), name("m", "Cargo.toml")];
        Some(Self {
            root: root.to_owned(),
            names: names.into_iter().flatten().collect(),
        })
    }

    /// The workspace's root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }
}

/// The results that an object names, if it counts.
pub(crate) fn decode(object: &[u8], trust: &Trust, of: &Of<'_>) -> Option<Vec<Entry>> {
    let sealed: Sealed = codec::decode(OBJECT, object).ok()?;
    let counts = sealed.counts(trust, |index| of.message(index));
    counts.then(|| codec::decode(INDEX, &sealed.content).ok())?
}

/// An object with these results and those that were known, newest first.
pub(crate) fn encode(
    newest: &[Entry],
    known: Vec<Entry>,
    key: Option<&SecretKey>,
    of: &Of<'_>,
) -> Vec<u8> {
    let mut entries = newest.to_vec();
    let mut named: std::collections::HashSet<ResultKey> =
        entries.iter().map(|entry| entry.result).collect();
    entries.extend(known.into_iter().filter(|entry| named.insert(entry.result)));
    entries.truncate(MOST);
    let index = codec::encode(INDEX, &entries).unwrap_or_default();
    let sealed = Sealed::new(index, key, |index| of.message(index));
    codec::encode(OBJECT, &sealed).unwrap_or_default()
}

/// Which index it is.
pub(crate) struct Of<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

impl Of<'_> {
    fn message(&self, index: &[u8]) -> Vec<u8> {
        let digest = Digest::of(index);
        let parts = [
            self.namespace.as_bytes(),
            self.name.as_bytes(),
            digest.as_bytes(),
        ];
        trust::message("index", &parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u8) -> Entry {
        Entry {
            result: ResultKey(Digest::of(&[n])),
            bytes: u64::from(n),
            duration_us: 100,
        }
    }

    #[test]
    fn an_index_counts_for_what_it_is_of() {
        let key = SecretKey::of_seed([5; 32]);
        let trust = Trust::Keys(vec![key.public()]);
        let of = |name| Of {
            namespace: "n",
            name,
        };
        let object = encode(
            &[entry(1)],
            vec![entry(2), entry(1)],
            Some(&key),
            &of("l-1"),
        );
        let read = decode(&object, &trust, &of("l-1"));
        assert_eq!(read, Some(vec![entry(1), entry(2)]));
        assert_eq!(decode(&object, &trust, &of("l-2")), None);
        let unsigned = encode(&[entry(1)], Vec::new(), None, &of("l-1"));
        assert_eq!(decode(&unsigned, &trust, &of("l-1")), None);
        assert!(decode(&unsigned, &Trust::Bucket, &of("l-1")).is_some());
        assert_eq!(decode(b"", &Trust::Bucket, &of("l-1")), None);
    }

    #[test]
    fn what_saves_more_for_each_byte_comes_first() {
        assert!(entry(1).is_worth_more(&entry(2)));
        assert!(!entry(2).is_worth_more(&entry(1)));
        assert!(!entry(2).is_worth_more(&entry(2)));
    }

    #[test]
    fn a_workspace_is_found_from_below() {
        let dir = tempfile::tempdir().unwrap();
        let member = dir.path().join("member/src");
        std::fs::create_dir_all(&member).unwrap();
        assert!(Project::around(&member).is_none_or(|found| !found.root().starts_with(dir.path())));
        std::fs::write(dir.path().join("member/Cargo.toml"), "1").unwrap();
        let alone = Project::around(&member).unwrap();
        assert_eq!(alone.names().len(), 1);
        for name in ["Cargo.toml", "Cargo.lock"] {
            std::fs::write(dir.path().join(name), "2").unwrap();
        }
        let found = Project::around(&member).unwrap();
        assert_eq!((found.root(), found.names().len()), (dir.path(), 2));
        std::fs::write(dir.path().join("Cargo.lock"), "3").unwrap();
        let changed = Project::around(&member).unwrap();
        assert_ne!(changed.names()[0], found.names()[0]);
        assert_eq!(changed.names()[1], found.names()[1]);
    }
}
