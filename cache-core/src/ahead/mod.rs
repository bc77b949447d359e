//! Serving ahead: what cargo finds fresh it does not ask for.
//!
//! Most of a warm build is not ours to shorten unit by unit: cargo starts a process per unit, which starts,
//! looks, copies and ends. So what a build needed is remembered as a [*seed*](seed), and where cargo begins with an empty
//! target directory, the units of the seed are placed before it looks, with what it wrote about them when
//! they were built. For cargo they are fresh then.
//!
//! ```text
//! a unit of a primary package ends ──► take: what cargo wrote about the units before it ─► seed
//!
//! cargo asks `rustc -vV` ─► which seed? ─► is the place empty, and ours? ─► each unit, after those that
//!     it depends on: check its inputs, place its outputs, and last its fingerprint ─► answer
//! ```
//!
//! # What is relied on
//!
//! Facts of cargo 1.95 (`src/cargo/core/compiler/fingerprint/mod.rs`, and what lies in a target directory):
//! - It asks its wrapper for `-vV` only where the target directory has no `.rustc_info.json` that
//!   answers, and before it locks the target directory or computes a fingerprint.
//! - `<profile>/.fingerprint/<package>-<hash>/` belongs to one unit. In it, a file of 16 digits is the hash of the
//!   unit's fingerprint, lowest byte first; the `.json` beside it names the hashes of all units that it depends
//!   on; `dep-…` names its sources; `output-…` holds messages, which cargo repeats for fresh units.
//!   `<profile>/build/<package>-<hash>/{output,root-output,stderr}` is what a build script's run said; cargo re-roots
//!   paths in it that begin with what `root-output` says.
//! - A unit is fresh if the hash is that of the fingerprint which cargo computes *now*, if none of its sources
//!   (or, of a script's run, of the paths that it named) is newer than `dep-…` (`output`), and if no output
//!   of a unit that it depends on is newer than its own newest one. Times that are equal do not count as newer.
//! - The fingerprint holds compiler, profile, features, flags, the paths of sources and the
//!   fingerprints of what the unit depends on; of registry packages the version. It does not hold contents.
//! - Programs get their second name (`<profile>/<program>`) when they are fresh, too.
//!
//! In the other layout of a profile's directory ([`directories`]), the same files lie elsewhere.
//!
//! # Why it is sound
//!
//! Two guards, of which either would do where it knows enough. Ours: a unit is placed only if, in this very
//! process, its call (made again from the record) has the key it had, all inputs of the one result that cargo's
//! files belong to hold, and all units it depends on were placed. Cargo's: it compares each fingerprint with
//! what it computes. What is placed gets a time just before checking began, so a source that is
//! edited from then on is newer, and cargo rebuilds.
//!
//! The call must be the one that cargo would make. Its variables are those of the record, put over cargo's
//! environment of now. They are made of manifests (of which all that were used are compared; those of packages
//! that cargo unpacked never change), of configuration, arguments and processors (parts of the seed's name), of what other
//! scripts said (their results are those of the record), of variables that cargo changed (compared), and of whether there is a
//! readme (looked for).
//!
//! # What can go wrong
//!
//! | what | ends in |
//! |---|---|
//! | the wrong seed, or one that is out of date | units whose inputs do not hold, and all that depend on them, are left to cargo; what was placed in vain lies there unused. That is rare: no manifest may have changed, and each package must be in `Cargo.lock` |
//! | another cargo works in the target directory | its lock is held, or the directory is not empty: nothing is placed |
//! | a source seems newer than the build: it was just written, or a clock is wrong | cargo would ask for the unit all the same, so it is left to cargo ([`outdated`]) |
//! | being killed | outputs without a fingerprint: cargo asks for the unit. Each file is whole when it gets its name, each fingerprint comes after the outputs and after those of what the unit depends on |
//! | a damaged seed, evicted results | nothing, or fewer units |
//! | a panic | the question is answered as ever |

mod circumstances;
mod directories;
mod outdated;
mod place;
mod report;
mod seed;
mod take;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::cargo::layout;
use crate::config::LogLevel;
use crate::formats::digest::Digest;
use crate::formats::key::KeyHasher;
use crate::log::Log;
use crate::looked::Looked;
use crate::os::env::Environment;
use crate::os::fs;
use crate::os::lock;
use crate::outcome::{Left, NotAhead};
use crate::request::Request;
use crate::roots::{Root, Roots};
use crate::scene::Scene;
use crate::store::memo::Memo;

use circumstances::Circumstances;
use place::{Done, Packages, Site};
use seed::Seed;

#[cfg(fuzzing)]
pub(crate) use seed::check as check_seed;
pub(crate) use seed::{DIR as SEEDS, is_name as is_seed_name};

/// How much older than the moment when checking began what is placed seems to be: more than a tick of
/// any file system's clock that counts fractions of a second, and room for a microsecond for each unit.
const BEFORE: Duration = Duration::from_millis(100);

/// The variable that cargo sets for units of the packages it was asked for.
const PRIMARY: &str = "CARGO_PRIMARY_PACKAGE";

/// More units than there is room for.
const MOST_UNITS: usize = 80_000;

/// Takes a seed at the end of a unit, if it is one at whose end there is something to take.
pub(crate) fn take(request: &Request<'_>, scene: &Scene<'_>, log: &Log) {
    let config = request.config;
    let is_primary = request.env.get_nonempty(PRIMARY).is_some();
    if is_primary && *config.seed && !scene.store.is_read_only() {
        let taken = catch_unwind(AssertUnwindSafe(|| take::take(scene)));
        if let Ok(Some(units)) = taken {
            log.say(LogLevel::Info, || format!("seed: took {units} units"));
        }
    }
}

/// Serves ahead, if this is the question with which cargo begins.
pub(crate) fn serve(request: &Request<'_>, scene: &Scene<'_>, log: &Log) {
    let is_first = request.argv.last().is_some_and(|word| word == "-vV");
    let config = request.config;
    if is_first && *config.seed && !*config.recache {
        let _ = catch_unwind(AssertUnwindSafe(|| sow(request, scene, log)));
    }
}

/// A digest of a variable's value.
fn digest_of_variable(env: &Environment, name: &str) -> Option<Digest> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut hasher = KeyHasher::new("variable");
    hasher.bytes("value", env.get(name)?.as_bytes());
    Some(hasher.finish())
}

fn sow(request: &Request<'_>, scene: &Scene<'_>, log: &Log) -> Option<()> {
    let store = scene.store;
    if !store.is_dir(&store.layout().part(SEEDS)) {
        return None;
    }
    let around = Circumstances::find()?;
    let (path, seed) = match store.seed(&around.name) {
        Some(seed) => (store.seed_path(&around.name), seed),
        None => store.similar_seed(&around.name)?,
    };
    let roots = roots(&around, scene)?;
    let there = place::roots_of(&seed.places);
    let is_here = Root::ALL
        .iter()
        .all(|root| there.get(*root) == roots.get(*root));
    let fits = |(name, before): &(String, Option<Digest>)| {
        digest_of_variable(&around.env, name) == *before
    };
    let memo = Memo::open(store);
    let is_current = |(path, digest): &(String, Digest)| {
        let now = memo.digest(&around.workspace.join(path));
        now.is_ok_and(|(_, blob)| blob.digest == *digest)
    };
    // Where packages are unpacked is part of what cargo knows of each: it would find none of them fresh.
    let has_packages = there.get(Root::CargoHome) == roots.get(Root::CargoHome);
    let is_usable = (is_here || (has_packages && seed.portable && around.portable))
        && seed.manifests.iter().all(is_current)
        && seed.before.iter().all(fits)
        && seed.units.len() <= MOST_UNITS;
    let ground = is_usable
        .then(|| Ground::take(&around.target, &seed))
        .flatten()?;
    let site = Site {
        store,
        config: request.config,
        log,
        wrapper: request.wrapper,
        env: &around.env,
        compiler: compiler(request)?,
        roots: &roots,
        elsewhere: (!is_here).then_some(there),
        seed: &seed,
        packages: Packages(fs::read(&around.workspace.join("Cargo.lock")).ok()?),
        memo,
        looked: Looked::default(),
        time: ground.time - BEFORE,
    };
    let dependencies = seed.dependencies()?;
    let placed = place_all(&site, &dependencies)?;
    if placed.values().all(Result::is_err) {
        store.discard(&path);
    }
    report::report(&site, &around.build, &placed, &dependencies);
    Some(())
}

/// The compiler that cargo asks, maybe through a wrapper for its own packages.
fn compiler<'a>(request: &Request<'a>) -> Option<&'a OsStr> {
    let (_, programs) = request.argv.split_last()?;
    programs.last().map(OsString::as_os_str)
}

/// The roots of the build that begins.
fn roots(around: &Circumstances, scene: &Scene<'_>) -> Option<Roots> {
    let mut roots = Roots::default();
    layout::add(&mut roots, Root::Target, &around.target);
    layout::add(&mut roots, Root::Workspace, &around.workspace);
    for root in [Root::CargoHome, Root::Sysroot] {
        layout::add(&mut roots, root, scene.roots.get(root)?);
    }
    Some(roots)
}

/// An empty target directory, locked as cargo locks it.
struct Ground {
    /// When it was taken, by its file system's clock.
    time: SystemTime,
    _locks: Vec<File>,
}

impl Ground {
    /// `None` if there is something, or somebody works in it.
    fn take(target: &Path, seed: &Seed) -> Option<Self> {
        let mut profiles: Vec<PathBuf> = Vec::new();
        let mut made_first = &[][..];
        for unit in &seed.units {
            let profile = target.join(unit.profile()?);
            if !profiles.contains(&profile) {
                profiles.push(profile);
                made_first = directories::made_first(Path::new(&unit.dir));
            }
        }
        let is_empty = |dir: &PathBuf| {
            let listed = fs::read_dir(dir);
            listed.map_or_else(|e| e.is_not_found(), |mut names| names.next().is_none())
        };
        if profiles.is_empty() || !profiles.iter().all(is_empty) {
            return None;
        }
        make_marked(target, &seed.tag)?;
        let mut locks = Vec::new();
        for profile in &profiles {
            // That of a target has one of its own.
            make_marked(profile.parent()?, &seed.tag)?;
            fs::create_dir_all(profile).ok()?;
            let file = fs::open_to_lock(&profile.join(".cargo-lock")).ok()?;
            if !lock::try_exclusive(&file).ok()? {
                return None;
            }
            // Whoever had it before may have begun to build.
            let mut names = fs::read_dir(profile).ok()?;
            if names.any(|name| name.is_ok_and(|name| name.file_name() != ".cargo-lock")) {
                return None;
            }
            locks.push(file);
            // Build scripts may have looked at these; cargo makes them before it starts any.
            for name in made_first {
                fs::create_dir_all(&profile.join(name)).ok()?;
            }
        }
        let dirs = seed.units.iter().map(|unit| target.join(&unit.dir));
        for dir in dirs.filter_map(|dir| directories::made_for(&dir)) {
            fs::create_dir_all(&dir).ok()?;
        }
        let probe = fs::TempFile::create_with_mode(profiles.first()?, 0o600).ok()?;
        probe.write_all(b"x").ok()?;
        Some(Self {
            time: probe.file().metadata().ok()?.modified().ok()?,
            _locks: locks,
        })
    }
}

/// Makes a directory, if it is not there, as cargo does, which marks only those for backups that it
/// makes itself.
fn make_marked(target: &Path, tag: &[u8]) -> Option<()> {
    if fs::is_dir(target) {
        return Some(());
    }
    let parent = target.parent()?;
    fs::create_dir_all(parent).ok()?;
    let aside = parent.join(fs::fresh_name());
    fs::create_dir_with_mode(&aside, 0o777).ok()?;
    let tagged = if tag.is_empty() {
        Ok(())
    } else {
        fs::TempFile::create_with_mode(&aside, 0o666).and_then(|mut file| {
            file.write_all(tag)?;
            file.persist(&aside.join(take::TAG))
        })
    };
    let made = tagged.and_then(|()| fs::rename(&aside, target));
    if made.is_err() {
        let _ = fs::remove_any(&aside);
    }
    made.ok()
}

/// What is known of units while they are placed.
struct Work {
    /// Units that can be placed, the first one last.
    ready: Vec<usize>,
    /// How many of those that a unit depends on are not placed yet.
    missing: Vec<usize>,
    /// How many units are being placed.
    busy: usize,
    /// What came of units.
    placed: HashMap<usize, Result<Done, Left>>,
}

/// Places all units whose inputs hold, each after those that it depends on, on all processors.
fn place_all(
    site: &Site<'_>,
    dependencies: &[Vec<usize>],
) -> Option<HashMap<usize, Result<Done, Left>>> {
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); dependencies.len()];
    let mut missing = Vec::with_capacity(dependencies.len());
    for (position, needs) in dependencies.iter().enumerate() {
        let mut needs = needs.clone();
        needs.sort_unstable();
        needs.dedup();
        missing.push(needs.len());
        for need in needs {
            dependents.get_mut(need)?.push(position);
        }
    }
    let ready = missing
        .iter()
        .enumerate()
        .filter(|(_, missing)| **missing == 0);
    let work = Mutex::new(Work {
        ready: ready.map(|(position, _)| position).rev().collect(),
        missing,
        busy: 0,
        placed: HashMap::new(),
    });
    let changed = Condvar::new();
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 1..processors.min(dependencies.len()) {
            scope.spawn(|| worker(site, &work, &changed, &dependents));
        }
        worker(site, &work, &changed, &dependents);
    });
    let work = work.into_inner().unwrap_or_else(PoisonError::into_inner);
    Some(work.placed)
}

fn worker(site: &Site<'_>, work: &Mutex<Work>, changed: &Condvar, dependents: &[Vec<usize>]) {
    let lock = || work.lock().unwrap_or_else(PoisonError::into_inner);
    let mut state = lock();
    loop {
        let Some(position) = state.ready.pop() else {
            if state.busy == 0 {
                changed.notify_all();
                return;
            }
            state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        state.busy += 1;
        drop(state);
        // A panic is that unit's, and those of all that depend on it.
        let placed = catch_unwind(AssertUnwindSafe(|| {
            let unit = site.seed.units.get(position);
            let unit = unit.ok_or_else(|| NotAhead::Internal.of(position))?;
            site.place(unit, position)
        }));
        let placed = placed.unwrap_or_else(|_| Err(NotAhead::Internal.of("a panic")));
        state = lock();
        state.busy -= 1;
        let is_placed = placed.is_ok();
        state.placed.insert(position, placed);
        if is_placed {
            for &dependent in dependents.get(position).into_iter().flatten() {
                let Some(missing) = state.missing.get_mut(dependent) else {
                    continue;
                };
                *missing -= 1;
                if *missing == 0 {
                    state.ready.push(dependent);
                }
            }
        }
        changed.notify_all();
    }
}
