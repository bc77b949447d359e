//! What is kept of a build: its units, and what cargo wrote about them.
//!
//! ```text
//! <dir>/v1/seeds/<similar>-<exact>   16 hexadecimal digits each, see `circumstances`
//! file    = frame 'P' version 1 (see codec), body = Packed
//! packed  = zstd of the bincode of a Seed
//! ```
//! Version history: 1, the first.
//!
//! Seeds are bounded in number and size by whoever writes one, and a collection removes them by age. A seed
//! that is damaged, or belongs to another release, is no seed.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::formats::codec::{self, Kind};
use crate::formats::digest::Digest;
use crate::store::Store;
use crate::store::builds::Call;

use super::circumstances::SeedName;
use super::directories;

/// The directory of seeds.
pub(crate) const DIR: &str = "seeds";

const KIND: Kind = Kind {
    tag: b'P',
    version: 1,
};

/// More seeds than these, or larger ones together, are not kept, bytes.
const MOST: usize = 64;
const MOST_BYTES: u64 = 64 << 20;

/// The longest seed when it is unpacked, bytes.
const LONGEST: usize = 128 << 20;

const LEVEL: i32 = 1;

#[derive(Serialize, Deserialize)]
struct Packed(#[serde(with = "codec::bytes")] Vec<u8>);

/// Units of a build, each after those that it depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seed {
    /// Where cargo's target directory, workspace and home were.
    pub(super) places: Places,
    /// Whether it may be used in another place.
    pub(super) portable: bool,
    /// The variables that cargo changes for units: what they were before.
    pub(super) before: Vec<(String, Option<Digest>)>,
    /// The manifests of packages that cargo did not unpack, relative to the workspace where they lie in
    /// it, and what they were.
    pub(super) manifests: Vec<(String, Digest)>,
    /// What cargo marked its target directory with.
    pub(super) tag: Vec<u8>,
    pub(super) units: Vec<SeedUnit>,
}

/// The directories that units are told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Places {
    pub(super) target: Vec<u8>,
    pub(super) workspace: Vec<u8>,
    pub(super) home: Vec<u8>,
    pub(super) sysroot: Vec<u8>,
}

/// One unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SeedUnit {
    /// What it is called in messages.
    pub(super) name: String,
    pub(super) call: Call,
    /// The key of the result that it had.
    pub(super) result: Digest,
    /// The directory of its fingerprint, relative to the target directory.
    pub(super) dir: String,
    /// The name of the file that holds the hash of the fingerprint.
    pub(super) main: String,
    /// The files in the directory, by name.
    pub(super) files: Vec<(String, Vec<u8>)>,
    /// The hash of its fingerprint, and those of the units that it depends on.
    pub(super) hash: u64,
    pub(super) needs: Vec<u64>,
}

impl SeedUnit {
    /// The profile's directory, relative to the target directory. `None`: a name leads elsewhere.
    pub(super) fn profile(&self) -> Option<&Path> {
        let is_name = |part: Component<'_>| matches!(part, Component::Normal(_));
        let is_below = Path::new(&self.dir).components().all(is_name);
        let is_file = |name: &str| {
            let mut parts = Path::new(name).components();
            parts.next().is_some_and(is_name) && parts.next().is_none() && !name.ends_with('/')
        };
        let names = self.files.iter().map(|(name, _)| name.as_str());
        let is_sound = is_below && names.chain([self.main.as_str()]).all(is_file);
        is_sound.then(|| directories::profile_of(Path::new(&self.dir)))?
    }
}

impl Seed {
    /// Leaves out units that depend on others which are not in the seed, and puts each after those that
    /// it depends on.
    pub(super) fn sort(&mut self) {
        let mut waiting = std::mem::take(&mut self.units);
        let mut there: HashSet<u64> = HashSet::new();
        loop {
            let is_ready = |unit: &SeedUnit| unit.needs.iter().all(|hash| there.contains(hash));
            let (ready, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_ready);
            if ready.is_empty() {
                return;
            }
            there.extend(ready.iter().map(|unit| unit.hash));
            self.units.extend(ready);
            waiting = rest;
        }
    }

    /// Of each unit the positions of those that it depends on. `None`: two units cannot be told apart.
    pub(super) fn dependencies(&self) -> Option<Vec<Vec<usize>>> {
        let mut positions: HashMap<u64, usize> = HashMap::new();
        for (position, unit) in self.units.iter().enumerate() {
            if positions.insert(unit.hash, position).is_some() {
                return None;
            }
        }
        let of = |unit: &SeedUnit| {
            let needs = unit.needs.iter();
            needs.map(|hash| positions.get(hash).copied()).collect()
        };
        self.units.iter().map(of).collect()
    }
}

fn short(digest: Digest) -> String {
    let mut hex = digest.to_hex();
    hex.truncate(16);
    hex
}

/// Whether a file of seeds may have this name.
pub(crate) fn is_name(name: &str) -> bool {
    let is_short = |word: &str| word.len() == 16 && word.bytes().all(|b| b.is_ascii_hexdigit());
    name.split_once('-')
        .is_some_and(|(a, b)| is_short(a) && is_short(b))
}

impl Store {
    /// The file of a seed.
    pub(super) fn seed_path(&self, name: &SeedName) -> PathBuf {
        let file = format!("{}-{}", short(name.similar), short(name.exact));
        self.layout().part(DIR).join(file)
    }

    /// The seed of that name.
    pub(super) fn seed(&self, name: &SeedName) -> Option<Seed> {
        self.read_seed(&self.seed_path(name))
    }

    /// The newest seed that differs in the packages only.
    pub(super) fn similar_seed(&self, name: &SeedName) -> Option<(PathBuf, Seed)> {
        let beginning = short(name.similar);
        let listed = self.list(&self.layout().part(DIR)).ok()?;
        let similar = listed.into_iter().filter_map(|listed| {
            let is_similar = listed.name.to_str()?.starts_with(&beginning);
            let stat = is_similar.then(|| self.look(&listed.path).ok())??;
            Some(((stat.st_mtime, stat.st_mtime_nsec), listed.path))
        });
        let (_, path) = similar.max()?;
        let seed = self.read_seed(&path)?;
        Some((path, seed))
    }

    fn read_seed(&self, path: &Path) -> Option<Seed> {
        let frame = self.read_plain(path).ok()?;
        let packed: Packed = codec::decode(KIND, &frame).ok()?;
        let bytes = zstd::bulk::decompress(&packed.0, LONGEST).ok()?;
        codec::decode(KIND, &bytes).ok()
    }

    /// Keeps a seed; it is never worth a failure.
    pub(super) fn put_seed(&self, name: &SeedName, seed: &Seed) -> Option<()> {
        let bytes = codec::encode(KIND, seed).ok()?;
        let packed = zstd::bulk::compress(&bytes, LEVEL).ok()?;
        let frame = codec::encode(KIND, &Packed(packed)).ok()?;
        self.make_dir(&self.layout().part(DIR)).ok()?;
        self.replace_own(&self.seed_path(name), "seed", &frame)
            .ok()?;
        self.keep_newest(&self.layout().part(DIR), MOST, MOST_BYTES);
        Some(())
    }
}

/// Reads what may lie in a seed, says whether it is one, and checks that it names nothing outside of the target directory and
/// that its units are put into an order in which they can be placed.
#[cfg(any(fuzzing, test))]
pub(crate) fn check(payload: &[u8], roots: &crate::roots::Roots) -> bool {
    let frame = codec::seal(KIND, [&[0; codec::HEADER], payload].concat());
    let Ok(mut seed) = codec::decode::<Seed>(KIND, &frame) else {
        return false;
    };
    let again = codec::encode(KIND, &seed).expect("what was decoded can be encoded");
    assert_eq!(codec::decode::<Seed>(KIND, &again).as_ref(), Ok(&seed));
    let target = Path::new("/target");
    let is_plain = |path: &Path| path.components().all(|c| matches!(c, Component::Normal(_)));
    for unit in seed.units.iter().filter(|unit| unit.profile().is_some()) {
        let dir = target.join(&unit.dir);
        assert!(dir.strip_prefix(target).is_ok_and(is_plain), "{}", unit.dir);
        for (name, _) in &unit.files {
            assert_eq!(dir.join(name).parent(), Some(dir.as_path()), "{name:?}");
        }
    }
    for unit in &seed.units {
        if let Some(filled) = unit.call.fill(roots) {
            let _ = filled.environment(&crate::os::env::Environment::default());
        }
        let _ = (unit.call.with_roots(roots), unit.call.package());
    }
    seed.sort();
    for (position, needs) in seed.dependencies().into_iter().flatten().enumerate() {
        assert!(needs.iter().all(|need| *need < position), "{position}");
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(dir: &str, file: &str, hash: u64, needs: &[u64]) -> SeedUnit {
        let call = serde_json::json!({"cwd": "/", "argv": [], "env": [], "roots": []});
        SeedUnit {
            name: String::new(),
            call: serde_json::from_value(call).unwrap(),
            result: Digest::of(b""),
            dir: dir.to_owned(),
            main: "lib-a".to_owned(),
            files: vec![(file.to_owned(), Vec::new())],
            hash,
            needs: needs.to_vec(),
        }
    }

    fn seed(units: Vec<SeedUnit>) -> Seed {
        Seed {
            places: Places {
                target: Vec::new(),
                workspace: Vec::new(),
                home: Vec::new(),
                sysroot: Vec::new(),
            },
            portable: true,
            before: Vec::new(),
            manifests: Vec::new(),
            tag: Vec::new(),
            units,
        }
    }

    #[test]
    fn whatever_a_seed_says_it_stays_in_its_place() {
        let unit = |dir: &str, file: &str| unit(dir, file, 1, &[]);
        let whole = seed(vec![
            unit("debug/.fingerprint/a-1", "lib-a"),
            unit("../x/.fingerprint/a-1", "../lib-a"),
        ]);
        let frame = codec::encode(KIND, &whole).unwrap();
        let payload = &frame[codec::HEADER..frame.len() - codec::CHECKSUM];
        let is_seed = |payload: &[u8]| check(payload, &crate::roots::Roots::default());
        assert!(is_seed(payload));
        let mut read = 0;
        for at in 0..payload.len() {
            for bit in 0..8 {
                let mut damaged = payload.to_vec();
                damaged[at] ^= 1 << bit;
                read += u32::from(is_seed(&damaged));
            }
            assert!(!is_seed(&payload[..at]), "cut at {at}");
        }
        assert!(read > 100, "much of it is text and numbers: {read}");
    }

    #[test]
    fn nothing_leads_out_of_the_target_directory() {
        let profile = |dir: &str, file: &str| {
            let unit = unit(dir, file, 1, &[]);
            unit.profile().map(Path::to_owned)
        };
        let dir = "x86/debug/.fingerprint/a-1";
        assert_eq!(profile(dir, "lib-a"), Some("x86/debug".into()));
        for file in ["../lib-a", "/lib-a", "a/b", "..", ".", "", "a/"] {
            assert_eq!(profile(dir, file), None, "{file}");
        }
        for dir in [
            "/debug/.fingerprint/a-1",
            "../debug/.fingerprint/a-1",
            "debug/.fingerprint/..",
            "debug/a-1",
            "a-1",
        ] {
            assert_eq!(profile(dir, "lib-a"), None, "{dir}");
        }
    }

    #[test]
    fn a_unit_comes_after_those_that_it_depends_on_or_not_at_all() {
        let of = |hash, needs: &[u64]| unit("", "", hash, needs);
        let mut sorted = seed(vec![of(1, &[2, 3]), of(2, &[3]), of(3, &[]), of(4, &[5])]);
        sorted.sort();
        let hashes: Vec<u64> = sorted.units.iter().map(|unit| unit.hash).collect();
        assert_eq!(hashes, [3, 2, 1]);
        let expected = vec![vec![], vec![0], vec![1, 0]];
        assert_eq!(sorted.dependencies(), Some(expected));
        sorted.units.push(of(3, &[]));
        assert_eq!(sorted.dependencies(), None);
    }

    #[test]
    fn what_is_kept_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), false);
        store.prepare().unwrap();
        let named = |packages: &[u8]| SeedName {
            similar: Digest::of(b"similar"),
            exact: Digest::of(packages),
        };
        let (first, second) = (named(b"1"), named(b"2"));
        let kept = seed(vec![unit("debug/.fingerprint/a-1", "lib-a", 1, &[])]);
        assert_eq!(store.seed(&first), None);
        store.put_seed(&first, &kept).unwrap();
        assert_eq!(store.seed(&first).as_ref(), Some(&kept));
        assert_eq!(store.seed(&second), None);
        let (path, similar) = store.similar_seed(&second).unwrap();
        assert_eq!((path, similar), (store.seed_path(&first), kept));
        let name = store.seed_path(&first);
        assert!(is_name(name.file_name().unwrap().to_str().unwrap()));
        assert!(!is_name("0123456789abcdef"));
    }
}
