//! The input manifest: for one manifest key, the input sets seen so far.
//!
//! ```text
//! file  = frame 'M' version 5 (see codec)
//! body  = inputs: [Input]            each distinct input once
//!         sets:   [(result key, [index into inputs])]   newest first
//! ```
//! Version history: 1, the first; 2, inputs say which names macros were told; 3, values of variables have
//! roots, of which a user's home is one; 4, inputs say which permissions somebody minded, and what is no link: older
//! sets would hold where these have changed; 5, likewise which times, owners and numbers of links.
//!
//! A manifest is small and replaced as a whole. Two processes that add a set at the
//! same time may lose one of the two; that costs a compile later, never a wrong hit.

use serde::{Deserialize, Serialize};

use crate::formats::codec::{self, DecodeError, Kind};
use crate::formats::digest::{ManifestKey, ResultKey};
use crate::formats::key::KeyHasher;
use crate::inputs::input::Input;

pub(crate) const KIND: Kind = Kind {
    tag: b'M',
    version: 5,
};

/// How many input sets a manifest keeps; the oldest are dropped.
///
/// Enough for a day of edits to one unit and the way back; sets share the inputs they
/// have in common, and each costs at most the checking of its first input that differs.
pub const MAX_SETS: usize = 64;

/// The inputs of one earlier compilation and the name of its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputSet {
    /// The result that these inputs gave.
    pub result: ResultKey,
    /// Indices into [`InputManifest::inputs`].
    indices: Vec<u32>,
}

/// All input sets known for one manifest key, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputManifest {
    inputs: Vec<Input>,
    sets: Vec<InputSet>,
}

impl InputManifest {
    /// The distinct inputs; sets refer to them by position.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// The input sets, newest first.
    pub fn sets(&self) -> &[InputSet] {
        &self.sets
    }

    /// The inputs of one set with their positions, in the order of recording.
    pub fn inputs_of<'a>(&'a self, set: &'a InputSet) -> impl Iterator<Item = (usize, &'a Input)> {
        set.indices.iter().filter_map(|&i| {
            let i = i as usize;
            Some((i, self.inputs.get(i)?))
        })
    }

    /// Puts a set in front, dropping an older one with the same result and those
    /// beyond [`MAX_SETS`].
    pub fn add(&mut self, inputs: Vec<Input>, result: ResultKey) {
        let kept: Vec<(Vec<Input>, ResultKey)> = self
            .sets
            .iter()
            .filter(|set| set.result != result)
            .take(MAX_SETS - 1)
            .map(|set| {
                let inputs = self.inputs_of(set).map(|(_, input)| input.clone());
                (inputs.collect(), set.result)
            })
            .collect();
        let mut rebuilt = Builder::default();
        rebuilt.push(inputs, result);
        for (inputs, result) in kept {
            rebuilt.push(inputs, result);
        }
        *self = rebuilt.manifest;
    }

    /// Drops the set of one result, for instance because the result is damaged.
    pub fn remove(&mut self, result: ResultKey) {
        self.sets.retain(|set| set.result != result);
    }

    /// The file's bytes.
    pub fn encode(&self) -> Result<Vec<u8>, bincode::error::EncodeError> {
        codec::encode(KIND, self)
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let manifest: Self = codec::decode(KIND, bytes)?;
        let known = manifest.inputs.len();
        let whole = manifest
            .sets
            .iter()
            .flat_map(|set| &set.indices)
            .all(|&i| (i as usize) < known);
        if whole {
            Ok(manifest)
        } else {
            Err(DecodeError::Corrupt)
        }
    }
}

#[derive(Default)]
struct Builder {
    manifest: InputManifest,
    positions: std::collections::HashMap<Input, u32>,
}

impl Builder {
    fn push(&mut self, inputs: Vec<Input>, result: ResultKey) {
        let mut indices = Vec::with_capacity(inputs.len());
        for input in inputs {
            let next = u32::try_from(self.manifest.inputs.len()).unwrap_or(u32::MAX);
            let index = *self.positions.entry(input.clone()).or_insert(next);
            if index == next {
                self.manifest.inputs.push(input);
            }
            indices.push(index);
        }
        self.manifest.sets.push(InputSet { result, indices });
    }
}

/// Names the result of one input set.
pub fn result_key(manifest: ManifestKey, inputs: &[Input]) -> ResultKey {
    // The number is the version of what the key names: where it grows, results of both
    // releases find room beside each other.
    let mut hasher = KeyHasher::new("result 4");
    hasher.bytes("manifest", manifest.0.as_bytes());
    for input in inputs {
        hasher.input(input);
    }
    ResultKey(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::digest::{BlobRef, Digest};
    use crate::roots::{Root, RootedPath};

    fn file(name: &str, content: &[u8]) -> Input {
        Input::File {
            path: RootedPath {
                root: Some(Root::Workspace),
                rest: name.into(),
            },
            blob: BlobRef::of(content),
        }
    }

    fn key(n: u8) -> ResultKey {
        ResultKey(Digest::of(&[n]))
    }

    #[test]
    fn the_bytes_of_a_manifest_are_fixed() {
        let mut manifest = InputManifest::default();
        manifest.add(vec![file("a.rs", b"1"), file("b.rs", b"2")], key(1));
        manifest.add(vec![file("a.rs", b"1"), file("b.rs", b"3")], key(2));
        let bytes = manifest.encode().unwrap();
        assert_eq!(InputManifest::decode(&bytes), Ok(manifest));
        // Other bytes mean another layout: raise the version of KIND.
        assert_eq!(
            Digest::of(&bytes).to_hex(),
            "70892834da5e79448122111e1ec2ed309587ea71b79f24c83a2d85e9328400eb"
        );
    }

    #[test]
    fn sets_share_inputs_and_the_newest_comes_first() {
        let mut manifest = InputManifest::default();
        manifest.add(vec![file("a.rs", b"1"), file("b.rs", b"2")], key(1));
        manifest.add(vec![file("a.rs", b"1"), file("b.rs", b"3")], key(2));
        manifest.add(vec![file("a.rs", b"1"), file("b.rs", b"2")], key(1));
        assert_eq!(manifest.inputs().len(), 3);
        let results: Vec<ResultKey> = manifest.sets().iter().map(|set| set.result).collect();
        assert_eq!(results, [key(1), key(2)]);
    }

    #[test]
    fn old_sets_are_dropped() {
        let mut manifest = InputManifest::default();
        for n in 0..=MAX_SETS {
            let n = u8::try_from(n).unwrap();
            manifest.add(vec![file("a.rs", &[n])], key(n));
        }
        assert_eq!(manifest.sets().len(), MAX_SETS);
        assert!(manifest.sets().iter().all(|set| set.result != key(0)));
    }

    #[test]
    fn an_index_out_of_range_is_corrupt() {
        let mut manifest = InputManifest::default();
        manifest.add(vec![file("a.rs", b"1")], key(1));
        manifest.inputs.clear();
        let bytes = manifest.encode().unwrap();
        assert_eq!(InputManifest::decode(&bytes), Err(DecodeError::Corrupt));
    }
}
