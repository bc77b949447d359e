//! Placing one unit of a seed: the check and the outputs as for a hit, then what cargo wrote.

use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::config::Config;
use crate::error::PathError;
use crate::formats::digest::{BlobRef, ResultKey};
use crate::inputs::check::{Checker, World};
use crate::kinds;
use crate::log::Log;
use crate::looked::Looked;
use crate::os::env::Environment;
use crate::os::fs;
use crate::outcome::{Left, MissReason, NotAhead};
use crate::outputs::restore::{Messages, RestoreError};
use crate::outputs::result::{CompileResult, Role};
use crate::request::{BEHIND_LAUNCHER, Request};
use crate::roots::{Escaping, Root, Roots};
use crate::run::SystemRunner;
use crate::store::Store;
use crate::store::builds::Filled;
use crate::store::memo::Memo;
use crate::store::stats::Events;
use crate::unit::Unit;

use super::outdated::{self, Watched};
use super::seed::{Places, Seed, SeedUnit};
use super::{directories, take};

/// Where and when units are placed.
pub(super) struct Site<'a> {
    pub(super) store: &'a Store,
    pub(super) config: &'a Config,
    pub(super) log: &'a Log,
    pub(super) wrapper: Option<&'a Path>,
    /// The packages that there are.
    pub(super) packages: Packages,
    /// Cargo's environment.
    pub(super) env: &'a Environment,
    /// The compiler that cargo asked.
    pub(super) compiler: &'a OsStr,
    pub(super) roots: &'a Roots,
    pub(super) seed: &'a Seed,
    /// Where the seed was taken, if that is elsewhere.
    pub(super) elsewhere: Option<Roots>,
    pub(super) memo: Memo,
    pub(super) looked: Looked,
    /// The time of the first unit's files.
    pub(super) time: SystemTime,
}

/// A unit that was placed.
pub(super) struct Done {
    pub(super) events: &'static Events,
    pub(super) started: SystemTime,
    pub(super) took_us: u64,
    pub(super) saved_us: u64,
    pub(super) bytes: u64,
}

/// What `Cargo.lock` says.
pub(super) struct Packages(pub(super) Vec<u8>);

impl Packages {
    /// Whether a unit's package is still in it, with that version: what was placed of another would lie
    /// there unused.
    fn has(&self, call: &Filled) -> bool {
        let variable = |name| call.variable(name);
        let (name, version) = (variable("CARGO_PKG_NAME"), variable("CARGO_PKG_VERSION"));
        name.zip(version).is_some_and(|(name, version)| {
            let package = format!("name = \"{name}\"\nversion = \"{version}\"\n");
            memchr::memmem::find(&self.0, package.as_bytes()).is_some()
        })
    }
}

/// The roots where a seed was taken.
pub(super) fn roots_of(places: &Places) -> Roots {
    let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    let mut roots = Roots::default();
    roots.add(Root::Target, path(&places.target));
    roots.add(Root::Workspace, path(&places.workspace));
    roots.add(Root::CargoHome, path(&places.home));
    roots.add(Root::Sysroot, path(&places.sysroot));
    roots
}

impl Site<'_> {
    /// The time of a unit's files: that of each is later than those of all before it, so that cargo sees
    /// units in the order in which they depend on each other, and what scripts generate between them.
    fn time_of(&self, position: usize) -> SystemTime {
        let position = u64::try_from(position).unwrap_or(u64::MAX);
        self.time + Duration::from_micros(position)
    }

    fn target(&self) -> Option<&Path> {
        self.roots.get(Root::Target)
    }

    /// Places a unit, if what it read is as it was. All units that it depends on have been placed.
    pub(super) fn place(&self, seed_unit: &SeedUnit, position: usize) -> Result<Done, Left> {
        let (started, begun) = (SystemTime::now(), Instant::now());
        let files = self.files(seed_unit)?;
        let call = seed_unit.call.fill(self.roots);
        let call = call.ok_or_else(|| NotAhead::Bound.of("its call"))?;
        if !self.packages.has(&call) {
            return Err(NotAhead::Removed.of(seed_unit.call.package().unwrap_or_default()));
        }
        let env = call.environment(self.env);
        let manifest = take::manifest(&call).filter(|path| !take::is_unpacked(path, self.roots));
        if let Some(manifest) = &manifest {
            let readme = outdated::readme(&env, manifest);
            readme.map_err(|change| NotAhead::Miss.of(MissReason::Changed(change)))?;
        }
        let mut request = Request::new(&call.argv, &env, &call.cwd, self.config, &SystemRunner);
        request.wrapper = self.wrapper;
        request.looked = Some(&self.looked);
        let out_dir = out_dir(&call.argv, &env);
        let out_dir = out_dir.ok_or_else(|| NotAhead::Place.of("no directory is named"))?;
        if !self.is_ours(&out_dir) {
            return Err(NotAhead::Place.at(&out_dir));
        }
        if !self.is_usual(&call.argv, &env) {
            let program = call.argv.first().map(|word| word.to_string_lossy());
            return Err(NotAhead::Program.of(program.unwrap_or_default()));
        }
        fs::create_dir_all(&out_dir)?;
        let searched = env.get("LD_LIBRARY_PATH").map(std::env::split_paths);
        let searched = searched.into_iter().flatten();
        for dir in searched.filter(|dir| self.is_ours(dir)) {
            if directories::of_unit(&dir).is_some() {
                fs::create_dir_all(&dir)?;
            }
        }
        let kind = kinds::of(&request);
        let key = ResultKey(seed_unit.result);
        let time = self.time_of(position);
        let watched = match (request.is_build_script, manifest) {
            (true, _) => Watched::NamedPaths,
            (false, Some(_)) => Watched::Sources,
            (false, None) => Watched::Nothing,
        };
        let unit = kind.prepare(&request, self.store, self.log);
        let unit = unit.map_err(|why| NotAhead::Bypassed.of(why));
        let restored = unit.and_then(|unit| {
            let result = self.check(&*unit, key, watched, time)?;
            let messages = unit.restore(&result).map_err(|e| match e {
                RestoreError::Miss(reason) => NotAhead::Miss.of(reason),
                RestoreError::Place(e) => NotAhead::Place.of(e),
            })?;
            Ok((result, messages, unit))
        });
        let (result, messages, unit) = restored.inspect_err(|_| remove_if_empty(&out_dir))?;
        unit.finish();
        // Cargo makes it for tests that it compiles, and they may use it when they run.
        let tmp = call.variable("CARGO_TARGET_TMPDIR").map(Path::new);
        if let Some(tmp) = tmp.filter(|dir| self.is_ours(dir)) {
            fs::create_dir_all(tmp)?;
        }
        self.store.touch_result(key, &result);
        self.set_times(&result, &out_dir, time)?;
        if request.is_build_script {
            write_what_it_said(&out_dir, &messages, time)?;
        }
        self.write_fingerprint(seed_unit, files, time)?;
        Ok(Done {
            events: kind.events(),
            started,
            took_us: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
            saved_us: result.duration_us,
            bytes: result.blobs().map(|blob| blob.len).sum(),
        })
    }

    /// Whether a directory is below the target directory: whatever a seed says, nothing else is written to.
    fn is_ours(&self, dir: &Path) -> bool {
        let below = self
            .target()
            .and_then(|target| dir.strip_prefix(target).ok());
        below.is_some_and(|below| {
            below
                .components()
                .all(|c| matches!(c, Component::Normal(_)))
        })
    }

    /// Whether the programs of a call are those that cargo uses now: to know a compiler may take to ask it.
    fn is_usual(&self, argv: &[OsString], env: &Environment) -> bool {
        let Some((program, rest)) = argv.split_first() else {
            return false;
        };
        if crate::is_behind_launcher(program) {
            return self.is_ours(Path::new(program)) && env.get("RUSTC") == Some(self.compiler);
        }
        let wrapper = self.env.get_nonempty("RUSTC_WORKSPACE_WRAPPER");
        program == self.compiler
            || (wrapper == Some(program) && rest.first().is_some_and(|next| next == self.compiler))
    }

    /// Cargo's files for this place, unless one of them is good where it was made only.
    fn files(&self, unit: &SeedUnit) -> Result<Vec<(String, Vec<u8>)>, Left> {
        let Some(elsewhere) = &self.elsewhere else {
            return Ok(unit.files.clone());
        };
        let here = |(name, content): &(String, Vec<u8>)| {
            // Messages are for people, in JSON; dep-info counts the bytes of its paths.
            let template = elsewhere.template(content, Escaping::Json);
            let is_bound = template.names_a_root() && name.starts_with("dep-");
            let content = (!is_bound).then(|| template.fill(self.roots)).flatten();
            let content = content.ok_or_else(|| NotAhead::Bound.of(name))?;
            Ok((name.clone(), content))
        };
        unit.files.iter().map(here).collect()
    }

    /// Checks the inputs that led to a result, and whether cargo will find what it watches older than that time.
    fn check(
        &self,
        unit: &dyn Unit,
        key: ResultKey,
        watched: Watched,
        time: SystemTime,
    ) -> Result<CompileResult, Left> {
        let manifest = self.store.manifest(unit.scene().key);
        let manifest = manifest.map_err(|e| NotAhead::Miss.of(e))?;
        let set = manifest.as_ref().and_then(|manifest| {
            let set = manifest.sets().iter().find(|set| set.result == key)?;
            Some((manifest, set))
        });
        let (manifest, set) = set.ok_or_else(|| NotAhead::Miss.of(MissReason::NoEntry))?;
        let world = World {
            scene: unit.scene(),
            argument: &|name| unit.argument(name),
            in_key: &|name| unit.is_in_key(name),
            libraries: OnceCell::new(),
            looked: Some(&self.looked),
        };
        let checked = Checker::new(&world, manifest).check(set);
        checked.map_err(|change| NotAhead::Miss.of(change))?;
        let result = self.store.result(key).map_err(|e| NotAhead::Miss.of(e))?;
        let evicted = || NotAhead::Miss.of(MissReason::Evicted(format!("result {}", key.0)));
        let result = result.ok_or_else(evicted)?;
        let newer = match watched {
            Watched::Nothing => None,
            Watched::Sources => outdated::source(&world, manifest.inputs_of(set), time),
            Watched::NamedPaths => {
                let stdout = result.stdout.fill(self.roots).unwrap_or_default();
                outdated::named_path(&stdout, unit.scene().cwd, time)
            }
        };
        match newer {
            Some(newer) => Err(NotAhead::Newer.at(&newer)),
            None => Ok(result),
        }
    }

    /// Gives what was placed its time. The memo knows the files as they were placed.
    fn set_times(&self, result: &CompileResult, dir: &Path, time: SystemTime) -> Result<(), Left> {
        for output in &result.outputs {
            match &output.role {
                Role::InOutDir(name) => {
                    let path = dir.join(name);
                    self.set_time(&path, output.content.blob(), time)?;
                    // A build script lies behind its launcher.
                    let mut real = OsString::from(name);
                    real.push(BEHIND_LAUNCHER);
                    let real = dir.join(real);
                    if output.executable && fs::is_file(&real) {
                        self.set_time(&real, output.content.blob(), time)?;
                    }
                }
                Role::InTree { path, .. } => {
                    let path = dir.join(OsStr::from_bytes(path));
                    // What is in a closed directory nobody can look at.
                    let Ok(placed) = fs::symlink_metadata(&path) else {
                        continue;
                    };
                    // Written by the script: after cargo noted when it began.
                    let later = time + Duration::from_nanos(500);
                    if placed.is_file() {
                        self.set_time(&path, output.content.blob(), later)?;
                    } else {
                        fs::set_modified_of_name(&path, later)?;
                    }
                }
                // Cargo asks for none.
                Role::Emit(_) => return Err(NotAhead::Place.of("outputs that cargo names")),
            }
        }
        Ok(())
    }

    fn set_time(
        &self,
        path: &Path,
        blob: Option<BlobRef>,
        time: SystemTime,
    ) -> Result<(), PathError> {
        let known = self.memo.recall(path).filter(|known| Some(*known) == blob);
        fs::set_modified(path, time)?;
        if let Some(blob) = known {
            self.memo.note(path, blob);
        }
        Ok(())
    }

    /// The file with the hash comes last: without it, the unit is as good as not there.
    fn write_fingerprint(
        &self,
        unit: &SeedUnit,
        files: Vec<(String, Vec<u8>)>,
        time: SystemTime,
    ) -> Result<(), PathError> {
        let Some(target) = self.target() else {
            return Ok(());
        };
        let dir = target.join(&unit.dir);
        fs::create_dir_all(&dir)?;
        let (last, others): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|(name, _)| *name == unit.main);
        for (name, content) in others.into_iter().chain(last) {
            write(&dir, &name, &content, time)?;
        }
        Ok(())
    }
}

/// Removes the directory that was made for a build script, or for its run: cargo may want neither. Where each unit has one,
/// others may have looked at it.
fn remove_if_empty(out_dir: &Path) {
    if directories::of_unit(out_dir).is_some() {
        return;
    }
    let mut own = out_dir.ancestors().take(2);
    let is_of_cargo = |dir: &Path| dir.file_name().is_none_or(directories::is_of_cargo);
    while let Some(dir) = own.next().filter(|dir| !is_of_cargo(dir)) {
        if fs::remove_dir(dir).is_err() {
            return;
        }
    }
}

impl From<PathError> for Left {
    fn from(error: PathError) -> Self {
        NotAhead::Place.of(error)
    }
}

/// The directory that a call leaves its outputs in.
fn out_dir(argv: &[OsString], env: &Environment) -> Option<PathBuf> {
    if argv
        .first()
        .is_some_and(|word| crate::is_behind_launcher(word))
    {
        return Some(PathBuf::from(env.get_nonempty("OUT_DIR")?));
    }
    let mut pairs = argv.windows(2);
    let dir = pairs.find_map(|pair| match pair {
        [option, dir] if option == "--out-dir" => Some(dir),
        _ => None,
    })?;
    Some(PathBuf::from(dir)).filter(|dir| dir.is_absolute())
}

/// What cargo keeps of a build script's run.
fn write_what_it_said(out_dir: &Path, messages: &Messages, time: SystemTime) -> Result<(), Left> {
    let (dir, name_of_stdout) = directories::of_run(out_dir);
    fs::create_dir_all(&dir)?;
    let (stdout, stderr) = messages.streams();
    let began = b"This file has an mtime of when this was started.";
    for (name, content) in [
        ("invoked.timestamp", &began[..]),
        ("stderr", stderr),
        ("root-output", out_dir.as_os_str().as_bytes()),
        (name_of_stdout, stdout),
    ] {
        write(&dir, name, content, time)?;
    }
    Ok(())
}

/// Writes a file that is whole and has its time when it gets its name.
fn write(dir: &Path, name: &str, content: &[u8], time: SystemTime) -> Result<(), PathError> {
    let mut file = fs::TempFile::create_with_mode(dir, 0o666)?;
    file.write_all(content)?;
    file.set_modified(time)?;
    file.persist(&dir.join(name))
}
