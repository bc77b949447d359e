//! Taking a seed: what cargo wrote about the units that have ended.
//!
//! It is done by a unit of a primary package when it ends: all that such a unit depends on has ended before
//! it began. Its own fingerprint is written after its process ended, so the last unit of a build is in no seed.
//!
//! What is taken must belong together: the call, the result that it came to, and what cargo wrote about that.
//! So a unit is taken only if
//! - its call and the key of its result are in the record of this very build, or it is in the seed that is
//!   there and cargo's fingerprint of it is still the same file;
//! - the hash of its fingerprint is written after that call was made;
//! - all units that it depends on, by the fingerprint, are taken too;
//!
//! Taking reads of all units what cargo wrote, so it is not done at the end of every unit of a large workspace. The
//! first units of a build that are of primary packages take, most builds have no more; then those with round numbers, and such
//! as end long after the last time. A unit that was not taken at the end of a build is in the seed
//! after one of the next, which asks for few.
//!
//! And nothing is taken unless all manifests that the variables of units come from are what cargo has read:
//! they have not changed since cargo was started.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::cargo::layout;
use crate::formats::digest::Digest;
use crate::os::fs;
use crate::os::proc;
use crate::os::stamp::Stamp;
use crate::roots::{Root, Roots};
use crate::scene::Scene;
use crate::store::builds::{Call, Filled, units_of};
use crate::store::{RecordedOutcome, Store, UnitRecord, modified};

use super::circumstances::Circumstances;
use super::directories;
use super::seed::{Places, Seed, SeedUnit};

/// Longer files of cargo's are not taken, bytes.
const LONGEST_FILE: u64 = 4 << 20;

/// How far a file system's clock may be behind, nanoseconds: two of its ticks. No two builds of a unit
/// follow each other so closely.
const TICKS: i128 = 20_000_000;

/// In no less time than this a seed is taken out of turn.
const SHORTEST: Duration = Duration::from_millis(200);

/// Takes what is there, at the end of a unit in this scene; says how many units that were. `None`: nothing
/// was to be taken.
pub(super) fn take(scene: &Scene<'_>) -> Option<usize> {
    let store = scene.store;
    let record = store.record_of(&proc::parent().id);
    let is_turn = is_turn(memchr::memmem::find_iter(&record, super::PRIMARY).count());
    if !is_turn && !is_long_ago(store, record.len()) {
        return None;
    }
    let records = units_of(&record);
    let asked = records.iter().filter(|record| record.call.is_some());
    if asked.count() < 2 {
        return None;
    }
    let around = Circumstances::find()?;
    // What an edit changes is out of date with the next edit.
    if records.iter().all(is_of_an_edit) && store.exists(&store.seed_path(&around.name)) {
        return None;
    }
    let taker = Taker::new(scene, &around)?;
    // Other manifests mean other variables.
    let old = store.seed(&around.name).filter(|old| {
        let mut manifests = old.manifests.iter();
        manifests.all(|(path, digest)| taker.settled(Path::new(path)) == Some(*digest))
    });
    let mut manifests: BTreeMap<String, Digest> = BTreeMap::new();
    manifests.extend(old.iter().flat_map(|old| old.manifests.clone()));
    let mut found: HashMap<String, SeedUnit> = HashMap::new();
    for record in records {
        let call = record.call.as_ref();
        let path = call.and_then(|call| {
            let call = call.with_roots(taker.roots)?;
            taker.editable(&call.fill(taker.roots)?)
        });
        if let Some(path) = path {
            manifests.insert(path.to_str()?.to_owned(), taker.settled(&path)?);
        }
        if let Some(unit) = taker.unit(record) {
            found.insert(unit.dir.clone(), unit);
        }
    }
    if found.is_empty() {
        return None;
    }
    for unit in old.iter().flat_map(|old| &old.units) {
        if !found.contains_key(&unit.dir) && taker.is_unchanged(unit) {
            found.insert(unit.dir.clone(), unit.clone());
        }
    }
    let mut units: Vec<SeedUnit> = found.into_values().collect();
    units.sort_by(|a, b| a.dir.cmp(&b.dir));
    let mut seed = Seed {
        places: taker.places()?,
        portable: around.portable,
        before: before(&units, &around),
        manifests: manifests.into_iter().collect(),
        tag: fs::read(&around.target.join(TAG)).unwrap_or_default(),
        units,
    };
    seed.sort();
    // That it was taken is known by when it was written.
    if seed.units.is_empty() || (is_turn && old.as_ref() == Some(&seed)) {
        return None;
    }
    store.put_seed(&around.name, &seed)?;
    Some(seed.units.len())
}

/// Whether the units of primary packages are so many now that it is time to take: at first with each, then
/// with each quarter more of the highest power of two.
fn is_turn(primary: usize) -> bool {
    let digits = primary.checked_ilog2().unwrap_or(0);
    primary.trailing_zeros() + 2 >= digits
}

/// Whether so much time has passed since a seed was written that taking one takes little of it: reading
/// a megabyte of the record and what it names takes some hundredths of a second.
fn is_long_ago(store: &Store, record: usize) -> bool {
    let Ok(stat) = store.look(&store.layout().part(super::SEEDS)) else {
        return true;
    };
    let age = SystemTime::now().duration_since(modified(&stat));
    let long = Duration::from_micros(u64::try_from(record).unwrap_or(u64::MAX));
    age.is_ok_and(|age| age >= long.max(SHORTEST))
}

/// Whether a unit may be one of a build after an edit: one of a primary package, where cargo knew the
/// compiler.
fn is_of_an_edit(record: &UnitRecord) -> bool {
    let mut names = record.call.iter().flat_map(Call::names);
    let is_primary = names.any(|name| name == super::PRIMARY);
    record.outcome != RecordedOutcome::Ahead && is_primary
}

/// What marks a target directory for backups.
pub(super) const TAG: &str = "CACHEDIR.TAG";

/// The variables that cargo changed for units, and what they were.
fn before(units: &[SeedUnit], around: &Circumstances) -> Vec<(String, Option<Digest>)> {
    let mut names: Vec<&str> = units.iter().flat_map(|unit| unit.call.names()).collect();
    names.sort_unstable();
    names.dedup();
    let value = |name: &str| super::digest_of_variable(&around.env, name);
    let before = names.into_iter().map(|name| (name.to_owned(), value(name)));
    before.collect()
}

struct Taker<'a> {
    scene: &'a Scene<'a>,
    /// Those of the unit at hand, which is in the workspace: it knows all of them.
    roots: &'a Roots,
    target: &'a Path,
    began: i128,
}

impl<'a> Taker<'a> {
    fn new(scene: &'a Scene<'a>, around: &Circumstances) -> Option<Self> {
        let roots = &scene.roots;
        let target = roots.get(Root::Target)?;
        // Where cargo was taken to work is where it works.
        let is_known = roots.get(Root::Workspace)? == around.workspace
            && fs::canonicalize(&around.target).ok()? == fs::canonicalize(target).ok()?;
        let began = around.began()?;
        let taker = Self {
            scene,
            roots,
            target,
            began,
        };
        (is_known && around.is_settled(began)).then_some(taker)
    }

    fn places(&self) -> Option<Places> {
        use std::os::unix::ffi::OsStrExt as _;
        let place = |root| Some(self.roots.get(root)?.as_os_str().as_bytes().to_vec());
        Some(Places {
            target: place(Root::Target)?,
            workspace: place(Root::Workspace)?,
            home: place(Root::CargoHome)?,
            sysroot: place(Root::Sysroot)?,
        })
    }

    /// The manifest that a unit's variables come from, unless cargo unpacked it: relative to the workspace,
    /// if it lies there.
    fn editable(&self, call: &Filled) -> Option<PathBuf> {
        let path = manifest(call).filter(|path| !is_unpacked(path, self.roots))?;
        let relative = path.strip_prefix(self.roots.get(Root::Workspace)?);
        Some(relative.map(Path::to_owned).unwrap_or(path))
    }

    /// What a manifest is, if that is what cargo has read.
    fn settled(&self, path: &Path) -> Option<Digest> {
        let path = self.roots.get(Root::Workspace)?.join(path);
        let (stamp, blob) = self.scene.memo.digest(&path).ok()?;
        (stamp.ctime < self.began).then_some(blob.digest)
    }

    /// What cargo wrote about a unit that it asked for in this build.
    fn unit(&self, record: UnitRecord) -> Option<SeedUnit> {
        let result = Digest::from_hex(record.result.as_deref()?)?;
        let call = record.call?.with_roots(self.roots)?;
        let filled = call.fill(self.roots)?;
        let dir = directories::fingerprint_of(&filled)?;
        let written = Fingerprint::read(&dir)?;
        if written.time + TICKS < i128::from(record.started_us) * 1000 {
            return None;
        }
        let is_run = crate::is_behind_launcher(filled.argv.first()?);
        let manifest = self.editable(&filled);
        if manifest.as_ref().is_some_and(|path| path.is_absolute()) {
            return None;
        }
        // A script that names no files is run again when any file of its package has another time, and
        // would find what was placed in its directory.
        if is_run && manifest.is_some() && written.depends_on_times() {
            return None;
        }
        Some(SeedUnit {
            name: record.unit,
            call,
            result,
            dir: dir.strip_prefix(self.target).ok()?.to_str()?.to_owned(),
            main: written.main,
            files: written.files,
            hash: written.hash,
            needs: written.needs,
        })
    }

    /// Whether cargo has not written about a unit since it was taken.
    fn is_unchanged(&self, unit: &SeedUnit) -> bool {
        let written = Fingerprint::read(&self.target.join(&unit.dir));
        written.is_some_and(|written| written.files == unit.files)
    }
}

/// Whether a package's manifest cannot change: cargo unpacked it.
pub(super) fn is_unpacked(manifest: &Path, roots: &Roots) -> bool {
    let home = roots.get(Root::CargoHome);
    home.is_some_and(|home| layout::home_above(manifest) == Some(home))
}

/// The manifest that a unit's variables come from.
pub(super) fn manifest(call: &Filled) -> Option<PathBuf> {
    Some(Path::new(call.variable("CARGO_MANIFEST_DIR")?).join("Cargo.toml"))
}

/// What cargo wrote about a unit.
struct Fingerprint {
    main: String,
    files: Vec<(String, Vec<u8>)>,
    hash: u64,
    needs: Vec<u64>,
    /// When the hash was written, nanoseconds since the epoch.
    time: i128,
}

impl Fingerprint {
    /// Whether the hash, of a package that may change, is made of the times of its files.
    fn depends_on_times(&self) -> bool {
        let json = format!("{}.json", self.main);
        let json = self.files.iter().find(|(name, _)| *name == json);
        json.is_some_and(|(_, json)| memchr::memmem::find(json, b"\"Precalculated\"").is_some())
    }

    fn read(dir: &Path) -> Option<Self> {
        let listed = fs::list_or_empty(dir).ok()?;
        let mut files = Vec::with_capacity(listed.len());
        for name in listed {
            let stamp = Stamp::of(&name.path).filter(|stamp| stamp.size <= LONGEST_FILE)?;
            files.push((
                name.name.to_str()?.to_owned(),
                fs::read(&name.path).ok()?,
                stamp,
            ));
        }
        files.sort_by(|a, b| a.0.cmp(&b.0));
        // The file that another one explains.
        let mut explained = files.iter().filter_map(|(name, json, _)| {
            let name = name.strip_suffix(".json")?;
            let (_, hash, stamp) = files.iter().find(|(other, ..)| other == name)?;
            Some((name.to_owned(), hash_of(hash)?, needs(json)?, stamp.mtime))
        });
        let (main, hash, needs, time) = explained.next()?;
        if explained.next().is_some() {
            return None;
        }
        Some(Self {
            main,
            hash,
            needs,
            time,
            files: files
                .into_iter()
                .map(|(name, bytes, _)| (name, bytes))
                .collect(),
        })
    }
}

/// The hash of a fingerprint: 16 digits, the lowest byte first.
fn hash_of(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok().map(u64::swap_bytes)
}

/// The hashes of the fingerprints that one names.
fn needs(json: &[u8]) -> Option<Vec<u64>> {
    #[derive(serde::Deserialize)]
    struct Told {
        deps: Vec<(u64, String, bool, u64)>,
    }
    let told: Told = serde_json::from_slice(json).ok()?;
    Some(told.deps.into_iter().map(|(.., hash)| hash).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_units_there_were_the_more_end_between_two_times() {
        let turns: Vec<usize> = (1..=40).filter(|n| is_turn(*n)).collect();
        let expected = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40];
        assert_eq!(turns, expected);
        assert_eq!((1..=1000).filter(|n| is_turn(*n)).count(), 35);
    }

    #[test]
    fn cargos_notation_is_read() {
        assert_eq!(
            hash_of(b"b6543941199918f8"),
            Some(17_877_207_054_594_692_278)
        );
        assert_eq!(hash_of(b""), None);
        assert_eq!(hash_of(b"b6543941199918fx"), None);
        let json = br#"{"rustc":1,"deps":[[6789686173314810399,"b",false,17877207054594692278]],"local":[]}"#;
        assert_eq!(needs(json), Some(vec![17_877_207_054_594_692_278]));
        assert_eq!(needs(b"{}"), None);
    }
}
