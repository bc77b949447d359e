//! One run of a build script, from cargo's call to its outcome.
//!
//! As with compilations, a hit runs nothing and shows nothing before all of it is
//! verified and in place, and a miss runs the executable exactly once. What could not be
//! done as if we were not there is left to the executable: a run that is given standard
//! input, and one whose `OUT_DIR` is not empty, because what it finds there may decide
//! what it does, and what it leaves there would stay.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::cargo::layout;
use crate::cargo::toolchain::{self, Surroundings, Wanted};
use crate::formats::digest::{Digest, ManifestKey};
use crate::formats::key::KeyHasher;
use crate::inputs::facts::Facts;
use crate::inputs::inherited::Inherited;
use crate::inputs::input::{EnvValue, Input};
use crate::inputs::names;
use crate::inputs::processor;
use crate::inputs::record::Recorder;
use crate::inputs::search;
use crate::inputs::sort::{Code, Summary};
use crate::kinds::origins::{self, Crates};
use crate::kinds::tree_run::{OutDir, TreeRun};
use crate::log::Log;
use crate::os::env::Environment;
use crate::os::fs;
use crate::os::stamp::Stamp;
use crate::outcome::{Bypass, BypassReason, NotStored, Refusal};
use crate::outputs::restore::{Messages, RestoreError};
use crate::outputs::result::CompileResult;
use crate::request::Request;
use crate::roots::{Escaping, Root};
use crate::scene::Scene;
use crate::store::Store;
use crate::store::memo::Memo;
use crate::store::stats::{self, Events};
use crate::unit::{Kind, Process, Ran, Rest, Unit};

use super::computes;
use super::debug_names;
use super::key::{self, KeyParts};
use super::package;
use super::{Directive, directives};

/// Runs of build scripts.
pub(crate) struct ScriptRuns;

impl Kind for ScriptRuns {
    fn events(&self) -> &'static Events {
        &stats::SCRIPT_RUNS
    }

    fn recognises(&self, request: &Request<'_>) -> bool {
        request.is_build_script
    }

    fn name(&self, request: &Request<'_>) -> String {
        name_of(request.env)
    }

    fn prepare<'a>(
        &self,
        request: &'a Request<'a>,
        store: &'a Store,
        _log: &'a Log,
    ) -> Result<Box<dyn Unit + 'a>, Bypass> {
        Ok(Box::new(ScriptRun::prepare(request, store)?))
    }
}

/// An understood run.
struct ScriptRun<'a> {
    request: &'a Request<'a>,
    /// Its directory is the package's, as cargo calls it; its executable lies behind its launcher.
    run: TreeRun<'a>,
    args: &'a [OsString],
    digest: Digest,
    processor: Vec<u8>,
    toolchain: Digest,
    prefix_map: Vec<(OsString, OsString)>,
}

impl<'a> ScriptRun<'a> {
    fn prepare(request: &'a Request<'a>, store: &'a Store) -> Result<Self, Bypass> {
        let (env, cwd, config) = (request.env, request.cwd, request.config);
        #[cfg(test)]
        crate::fault::point("preparing");
        let name = name_of(env);
        let not_wanted = || BypassReason::NotWanted.of(&name);
        let wrapper = request.wrapper.ok_or_else(not_wanted)?;
        if !package::is_wanted(env, config) || !uses(request, wrapper) {
            return Err(not_wanted());
        }
        let [executable, args @ ..] = request.argv else {
            return Err(BypassReason::NotByCargo.of("no program"));
        };
        let executable = PathBuf::from(executable);
        let variable = |name| {
            let value = env.get_nonempty(name);
            value.ok_or_else(|| BypassReason::NotByCargo.of(name))
        };
        let (out_dir, rustc) = (Path::new(variable("OUT_DIR")?), variable("RUSTC")?);
        let (target, host) = (variable("TARGET")?, variable("HOST")?);
        let manifest_dir = Path::new(variable("CARGO_MANIFEST_DIR")?);
        if file(manifest_dir) != file(cwd) {
            return Err(BypassReason::NotByCargo.at(manifest_dir));
        }
        if !out_dir.is_absolute() {
            return Err(BypassReason::NotByCargo.at(out_dir));
        }
        // Cargo gives none. What is read there could not be observed.
        let stdin = fs::read_link(Path::new("/proc/self/fd/0"));
        if let Ok(stdin) = stdin
            && stdin != Path::new("/dev/null")
        {
            return Err(BypassReason::Stdin.at(&stdin));
        }
        let out_dir = OutDir::find(out_dir)?;
        let memo = Memo::open(store);
        let around = Surroundings {
            request,
            store,
            memo: &memo,
        };
        let wanted = Wanted {
            program: rustc,
            target: (target != host).then_some(target),
            sysroot: None,
        };
        let toolchain = toolchain::identify(wanted, &around)?;
        let sysroot = &toolchain.sysroot;
        let roots = layout::script_roots(
            manifest_dir,
            &out_dir.path,
            Some(target),
            env,
            sysroot,
            request.looked,
        );
        let digest = memo.digest(&executable);
        let (_, digest) = digest.map_err(|e| BypassReason::NotByCargo.of(e))?;
        let prefix_map = debug_names::of(manifest_dir, &roots, config.trim_paths_effective());
        let mut script = Self {
            request,
            args,
            prefix_map,
            digest: digest.digest,
            processor: processor::identity().unwrap_or_default(),
            toolchain: toolchain.key,
            run: TreeRun {
                scene: Scene {
                    name,
                    // Made of all the rest, below.
                    key: ManifestKey(toolchain.key),
                    env,
                    cwd: manifest_dir,
                    roots,
                    store,
                    memo,
                },
                config,
                out_dir,
                executable,
                identity: toolchain.digest,
                toolchain: Some(toolchain),
                wrapper: Some(wrapper),
                inherited: Inherited::find(env),
            },
        };
        script.run.scene.key = key::manifest_key(&script.in_key());
        Ok(script)
    }

    fn in_key(&self) -> KeyParts<'_> {
        KeyParts {
            executable: self.digest,
            args: self.args,
            toolchain: self.toolchain,
            processor: &self.processor,
            cwd: self.run.scene.cwd,
            umask: fs::umask(),
            prefix_map: &self.prefix_map,
            roots: &self.run.scene.roots,
            inherited: &self.run.inherited,
            env: self.request.env,
            extra_env: &self.request.config.env,
            salt: &self.request.config.key_salt,
        }
    }
}

/// Whether a run has executed something that it made, or may have. What compilers and linkers read is none of it.
fn ran_what_it_made(summary: &Summary) -> bool {
    let mut own = summary.own_code.iter();
    own.any(|(path, code)| *code == Code::Yes || names::is_program(path).unwrap_or(true))
}

/// What a run is called in messages.
fn name_of(env: &Environment) -> String {
    let package = env.get("CARGO_PKG_NAME").unwrap_or(OsStr::new("?"));
    format!("{} (build script run)", package.to_string_lossy())
}

/// Whether the wrapper that cargo uses is this one.
fn uses(request: &Request<'_>, wrapper: &Path) -> bool {
    let named = request.env.get_nonempty("RUSTC_WRAPPER");
    let found = named.and_then(|name| search::program(name, request.env, request.cwd));
    let wrapper = file(wrapper);
    found.is_some_and(|found| wrapper.is_some() && file(&found) == wrapper)
}

/// Device and inode of what a path leads to.
fn file(path: &Path) -> Option<(u64, u64)> {
    Stamp::of(path).map(|s| (s.dev, s.ino))
}

impl Unit for ScriptRun<'_> {
    fn scene(&self) -> &Scene<'_> {
        &self.run.scene
    }

    fn described_key(&self) -> KeyHasher {
        key::described(&self.in_key())
    }

    fn is_in_key(&self, name: &OsStr) -> bool {
        key::enters(name, self.request.env)
    }

    fn work(&self) -> Option<Digest> {
        Some(self.run.work())
    }

    fn restore(&self, result: &CompileResult) -> Result<Messages, RestoreError> {
        self.run.restore(result)
    }

    fn process(&self, is_observed: bool) -> Process<'_> {
        let mut process = self.run.process(self.request, is_observed);
        process.command.prefix_map.clone_from(&self.prefix_map);
        process
    }

    fn keep<'a>(
        &'a self,
        ran: &'a Ran,
        _process: &'a Process<'_>,
    ) -> Result<Box<dyn Rest + 'a>, Refusal> {
        Ok(Box::new(|| {
            let in_key = |name: &OsStr| self.is_in_key(name);
            let sources = |crates| self.sources(crates);
            let minds = |has_symbols| origins::minds(has_symbols, sources);
            self.run
                .keep(ran, &in_key, minds, |recorder, summary, inputs| {
                    self.note_directives(recorder, &ran.stdout, inputs)?;
                    if inputs.names_another_target() || self.may_compute(summary, inputs)? {
                        recorder.bind(self.told_roots().into_iter(), inputs);
                    }
                    Ok(())
                })
        }))
    }
}

impl ScriptRun<'_> {
    /// What the script told cargo to watch counts whether it was seen to use it or not.
    fn note_directives(
        &self,
        recorder: &Recorder<'_>,
        stdout: &[u8],
        inputs: &mut Facts,
    ) -> Result<(), Refusal> {
        for directive in directives(stdout) {
            match directive {
                Directive::Error => return Err(NotStored::Failed.of("cargo::error")),
                Directive::RerunIfChanged(path) => {
                    let path = self.request.cwd.join(path);
                    if fs::symlink_metadata(&path).is_err() {
                        return Err(NotStored::EveryTime.at(&path));
                    }
                    if !path.starts_with(&self.run.out_dir.path) {
                        inputs.insert(recorder.declared(&path)?);
                    }
                }
                Directive::RerunIfEnvChanged(name) => {
                    if !self.is_in_key(OsStr::from_bytes(name)) {
                        inputs.insert(self.variable(name));
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether code of the package that ran may have computed something from the paths that it was told.
    fn may_compute(&self, summary: &Summary, inputs: &Facts) -> Result<bool, Refusal> {
        let variables = self.variables_with_paths();
        let Some(sources) = self.sources(Crates::PeoplesOwn) else {
            return Ok(true);
        };
        // What it makes and compiles stands in its own sources.
        let measures = |source: &Vec<u8>| {
            computes::measures_file(source) || computes::measures_argument(source)
        };
        if computes::in_rust(&sources, &variables) || sources.iter().any(measures) {
            return Ok(true);
        }
        if self.measures_path(ran_what_it_made(summary), inputs)? {
            return Ok(true);
        }
        // What is only declared ran nowhere.
        let code = inputs.files().filter(|(_, blob)| inputs.is_code(blob));
        for (path, _) in code {
            let Some(path) = self.run.scene.roots.resolve(path) else {
                continue;
            };
            let begins = || fs::read(&path).unwrap_or_default();
            if !path.starts_with(self.request.cwd) {
                continue;
            }
            let takes_apart = if computes::is_makefile(&path) {
                computes::in_makefile(&fs::read(&path)?)
            } else {
                computes::is_script(&path, begins)
                    && computes::in_text(&fs::read(&path)?, &variables)
            };
            if takes_apart {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The sources of its executable.
    fn sources(&self, crates: Crates) -> Option<Vec<Vec<u8>>> {
        let package = self.request.cwd;
        let start = self.run.scene.roots.get(Root::Workspace);
        let start = start.unwrap_or(package);
        origins::of_script(&self.run.executable, start, package, crates)
    }

    /// Whether C code of the package takes the length of the path that it is compiled by, or started by.
    fn measures_path(&self, has_run: bool, inputs: &Facts) -> Result<bool, Refusal> {
        for (path, _) in inputs.files() {
            let path = self.run.scene.roots.resolve(path);
            let path = path.filter(|path| path.starts_with(self.request.cwd));
            let Some(path) = path.filter(|path| computes::is_c(path)) else {
                continue;
            };
            let text = fs::read(&path)?;
            if computes::measures_file(&text) || (has_run && computes::measures_argument(&text)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Variables in which other packages' scripts tell this one paths.
    fn variables_with_paths(&self) -> Vec<String> {
        let variables = self.request.env.iter();
        let told = variables.filter(|(name, value)| {
            let value = self
                .run
                .scene
                .roots
                .template(value.as_bytes(), Escaping::Raw);
            name.as_bytes().starts_with(b"DEP_") && value.roots().next().is_some()
        });
        told.map(|(name, _)| name.to_string_lossy().into_owned())
            .collect()
    }

    /// The roots of all paths that the script is told.
    fn told_roots(&self) -> Vec<Root> {
        let (scene, env) = (&self.run.scene, self.request.env);
        let variables = env.iter().filter(|(name, _)| self.is_in_key(name));
        let values = variables.map(|(_, value)| value.as_bytes());
        let told = values.chain([scene.cwd.as_os_str().as_bytes()]);
        told.flat_map(|path| {
            let path = scene.roots.template(path, Escaping::Raw);
            path.roots().collect::<Vec<_>>()
        })
        .collect()
    }

    /// The value of a variable, roots left open.
    fn variable(&self, name: &[u8]) -> Input {
        let value = self.request.env.get(OsStr::from_bytes(name));
        Input::Env {
            name: name.to_vec(),
            value: value.map_or(EnvValue::Unset, |value| {
                let value = value.as_bytes();
                EnvValue::Set(self.run.scene.roots.template(value, Escaping::Raw))
            }),
        }
    }
}
