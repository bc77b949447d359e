//! What is in the store, result by result, for people.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use super::Store;
use super::retention::StoredBlob;
use super::scan::{Decoded, decode, is_hit};
use crate::error::PathError;
use crate::formats::digest::{Digest, ResultKey};

/// A result in the store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoredResult {
    /// Its key, which [`UnitRecord::result`](super::UnitRecord::result) names in hexadecimal digits.
    pub key: ResultKey,
    /// What was made, for people.
    pub unit: String,
    /// The toolchain that made it.
    pub toolchain: Digest,
    /// When it was stored.
    pub stored: SystemTime,
    /// When it was last stored or served.
    pub last_use: SystemTime,
    /// Whether it was served since it was stored; within seconds of that it does not show.
    pub hit: bool,
    /// What it takes on disk, bytes in whole blocks: its own file, and its share of outputs that others have too.
    pub size: u64,
    /// How long the process took that made it.
    pub duration: Duration,
}

impl Store {
    /// The results in the store, in no order. Takes time in proportion to their number.
    pub fn results(&self) -> Result<Vec<StoredResult>, PathError> {
        let decoded = self.each_sharded("results", |dir, listed| match decode(dir, listed)? {
            Decoded::Result(file, key, result) => {
                let mut blobs: Vec<Digest> = result.blobs().map(|blob| blob.digest).collect();
                blobs.sort_unstable();
                blobs.dedup();
                let found = StoredResult {
                    key,
                    hit: is_hit(&file, &result),
                    unit: result.unit,
                    toolchain: result.toolchain,
                    stored: time(result.created),
                    last_use: file.modified,
                    size: file.size,
                    duration: Duration::from_micros(result.duration_us),
                };
                Some((found, blobs))
            }
            Decoded::Damaged(_) | Decoded::Foreign(_) => None,
        })?;
        let sizes = self.blobs()?;
        let mut users: HashMap<Digest, u64> = HashMap::new();
        for blob in decoded.iter().flat_map(|(_, blobs)| blobs) {
            *users.entry(*blob).or_default() += 1;
        }
        let shared = decoded.into_iter().map(|(mut found, blobs)| {
            let share = |blob: &Digest| {
                sizes.get(blob).map_or(0, StoredBlob::size) / users.get(blob).unwrap_or(&1)
            };
            found.size += blobs.iter().map(share).sum::<u64>();
            found
        });
        Ok(shared.collect())
    }
}

fn time(seconds: u64) -> SystemTime {
    let since = Duration::from_secs(seconds);
    SystemTime::UNIX_EPOCH
        .checked_add(since)
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::outputs::result::{CompileResult, Content, Output, Role};
    use crate::roots::Template;

    fn put(store: &Store, unit: &str, contents: &[&[u8]]) {
        let scratch = tempfile::NamedTempFile::new().unwrap();
        let outputs = contents.iter().enumerate().map(|(n, content)| {
            std::fs::write(scratch.path(), content).unwrap();
            Output {
                role: Role::InOutDir(n.to_string()),
                executable: false,
                content: Content::Blob(store.put_blob(scratch.path(), |_| {}).unwrap()),
            }
        });
        let result = CompileResult {
            unit: unit.to_owned(),
            toolchain: Digest::of(b"toolchain"),
            outputs: outputs.collect(),
            included: Vec::new(),
            stdout: Template::literal(""),
            stderr: Template::literal(""),
            status: 0,
            duration_us: 7,
            created: 1000,
        };
        let key = ResultKey(Digest::of(unit.as_bytes()));
        store.put_result(key, &result).unwrap();
    }

    #[test]
    fn what_two_have_counts_half_for_each() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), false);
        put(&store, "a (lib)", &[&[1; 8192], &[2; 8192], &[1; 8192]]);
        put(&store, "b (lib)", &[&[1; 8192]]);
        let damaged = store.layout().result(ResultKey(Digest::of(b"c")));
        std::fs::create_dir_all(damaged.parent().unwrap_or(Path::new(""))).unwrap();
        std::fs::write(damaged, "damaged").unwrap();
        let mut results = store.results().unwrap();
        results.sort_by(|a, b| a.unit.cmp(&b.unit));
        let told: Vec<(&str, u64)> = results.iter().map(|r| (r.unit.as_str(), r.size)).collect();
        assert_eq!(
            told,
            [("a (lib)", 4096 + 4096 + 8192), ("b (lib)", 4096 + 4096)]
        );
        let a = results.first().unwrap();
        assert_eq!((a.duration, a.hit), (Duration::from_micros(7), true));
        assert_eq!(a.stored, SystemTime::UNIX_EPOCH + Duration::from_secs(1000));
    }
}
