//! One run of a build script, from cargo's call to its outcome.
//!
//! As with compilations, a hit runs nothing and shows nothing before all of it is
//! verified and in place, and a miss runs the executable exactly once. What could not be
//! done as if we were not there is left to the executable: a run that is given standard
//! input, and one whose `OUT_DIR` is not empty, because what it finds there may decide
//! what it does, and what it leaves there would stay.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::cargo::layout;
use crate::cargo::toolchain::{self, Surroundings, Toolchain, Wanted};
use crate::formats;
use crate::formats::digest::{Digest, ManifestKey};
use crate::inputs::inherited::Inherited;
use crate::inputs::processor;
use crate::inputs::search;
use crate::log::Log;
use crate::observe::Depth;
use crate::os::env::Environment;
use crate::os::fs;
use crate::os::stamp::Stamp;
use crate::outcome::{Bypass, BypassReason, Refusal};
use crate::outputs::restore::{Messages, RestoreError};
use crate::outputs::result::CompileResult;
use crate::request::Request;
use crate::run::Command;
use crate::scene::Scene;
use crate::store::Store;
use crate::store::memo::Memo;
use crate::store::stats::{self, Events};
use crate::unit::{Kept, Kind, Process, Ran, Unit};

use super::key::{self, KeyParts};
use super::{package, tree};

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
pub(super) struct ScriptRun<'a> {
    /// Its directory is the package's, as cargo calls it.
    pub(super) scene: Scene<'a>,
    pub(super) request: &'a Request<'a>,
    /// The real executable, behind its launcher.
    pub(super) executable: &'a Path,
    args: &'a [OsString],
    pub(super) wrapper: &'a Path,
    digest: Digest,
    processor: Vec<u8>,
    pub(super) out_dir: PathBuf,
    /// The same without links, before the run.
    pub(super) real_out_dir: PathBuf,
    pub(super) toolchain: Toolchain,
    /// What it is handed down besides.
    pub(super) inherited: Inherited,
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
        let executable = Path::new(executable);
        let variable = |name| {
            let value = env.get_nonempty(name);
            value.ok_or_else(|| BypassReason::NotByCargo.of(name))
        };
        let (out_dir, rustc) = (PathBuf::from(variable("OUT_DIR")?), variable("RUSTC")?);
        let (target, host) = (variable("TARGET")?, variable("HOST")?);
        let manifest_dir = Path::new(variable("CARGO_MANIFEST_DIR")?);
        if file(manifest_dir) != file(cwd) {
            return Err(BypassReason::NotByCargo.at(manifest_dir));
        }
        if !out_dir.is_absolute() {
            return Err(BypassReason::NotByCargo.at(&out_dir));
        }
        // Cargo gives none. What is read there could not be observed.
        let stdin = fs::read_link(Path::new("/proc/self/fd/0"));
        if let Ok(stdin) = stdin
            && stdin != Path::new("/dev/null")
        {
            return Err(BypassReason::Stdin.at(&stdin));
        }
        if !is_new(&out_dir) {
            return Err(BypassReason::UsedOutDir.at(&out_dir));
        }
        let memo = Memo::open(store);
        let around = Surroundings {
            env,
            cwd,
            store,
            memo: &memo,
            runner: request.runner,
        };
        let wanted = Wanted {
            program: rustc,
            target: (target != host).then_some(target),
            sysroot: None,
        };
        let toolchain = toolchain::identify(wanted, &around);
        let toolchain = toolchain.map_err(|e| BypassReason::Toolchain.of(e))?;
        let sysroot = &toolchain.sysroot;
        let roots = layout::script_roots(manifest_dir, &out_dir, Some(target), env, sysroot);
        let digest = memo.digest(executable);
        let (_, digest) = digest.map_err(|e| BypassReason::NotByCargo.of(e))?;
        let real_out_dir = fs::canonicalize(&out_dir);
        let mut script = Self {
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
            request,
            executable,
            args,
            wrapper,
            digest: digest.digest,
            processor: processor::identity().unwrap_or_default(),
            real_out_dir: real_out_dir.map_err(|e| BypassReason::UsedOutDir.of(e))?,
            out_dir,
            toolchain,
            inherited: Inherited::find(env),
        };
        script.scene.key = key::manifest_key(&script.in_key());
        Ok(script)
    }

    fn in_key(&self) -> KeyParts<'_> {
        KeyParts {
            executable: self.digest,
            args: self.args,
            toolchain: self.toolchain.key,
            processor: &self.processor,
            cwd: self.scene.cwd,
            umask: fs::umask(),
            roots: &self.scene.roots,
            inherited: &self.inherited,
            env: self.scene.env,
            extra_env: &self.request.config.env,
            salt: &self.request.config.key_salt,
        }
    }
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

/// Whether a directory is a real one and empty.
fn is_new(dir: &Path) -> bool {
    let is_dir = fs::symlink_metadata(dir).is_ok_and(|m| m.is_dir());
    is_dir && fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

impl Unit for ScriptRun<'_> {
    fn scene(&self) -> &Scene<'_> {
        &self.scene
    }

    fn key_parts(&self) -> formats::key::KeyParts {
        key::parts(&self.in_key())
    }

    fn is_in_key(&self, name: &OsStr) -> bool {
        key::enters(name, self.scene.env)
    }

    fn argument(&self, _name: &str) -> Option<Vec<u8>> {
        None
    }

    fn restore(&self, result: &CompileResult) -> Result<Messages, RestoreError> {
        let scene = &self.scene;
        let messages = Messages::of(result, &scene.roots);
        let messages = messages.ok_or_else(|| RestoreError::damaged("messages"))?;
        tree::restore(scene.store, result, &scene.roots, &self.out_dir)?;
        Ok(messages)
    }

    fn process(&self, is_observed: bool) -> Process<'_> {
        let scene = &self.scene;
        let mut command = Command::new(self.executable, scene.env.clone(), self.request.cwd);
        command.arg0 = Some(self.request.arg0.to_owned());
        command.args = self.args.to_vec();
        Process {
            command,
            depth: is_observed.then_some(Depth::Tree),
            translate: Box::new(<[u8]>::to_vec),
            extra: None,
        }
    }

    fn keep(&self, ran: &Ran, _process: &Process<'_>) -> Result<Kept, Refusal> {
        self.keep_run(ran)
    }
}
