//! One call of the compiler: what it is, which compiler it means, its key, its process, and its
//! outputs.

use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::cargo::layout::{self, Compiled};
use crate::cargo::toolchain::{self, Surroundings, Toolchain, Wanted};
use crate::config::{Config, LogLevel, TrimPaths};
use crate::formats::digest::{Digest, ManifestKey};
use crate::formats::key::KeyHasher;
use crate::inputs::inherited::{self, Inherited};
use crate::inputs::processor;
use crate::inputs::search;
use crate::kinds::build_script::{launcher, package};
use crate::log::Log;
use crate::observe::{self, Depth};
use crate::os::env::Environment;
use crate::os::fs;
use crate::os::temp_file::TempFile;
use crate::outcome::{Bypass, BypassReason, Refusal};
use crate::outputs::restore::{self, Messages, RestoreError};
use crate::outputs::result::CompileResult;
use crate::request::Request;
use crate::run::Command;
use crate::scene::Scene;
use crate::store::Store;
use crate::store::memo::Memo;
use crate::store::stats::{self, Events};
use crate::unit::{Kind, Process, Ran, Rest, Unit};

use super::capture::Places;
use super::invocation::{self, Action, Invocation, Source};
use super::key::{self, KeyParts};
use super::messages::Restorer;
use super::remap;

/// Calls of rustc.
pub(crate) struct Compilations;

impl Kind for Compilations {
    fn events(&self) -> &'static Events {
        &stats::COMPILATIONS
    }

    /// Whatever else is called in a wrapper's place is found out by its arguments.
    fn recognises(&self, _request: &Request<'_>) -> bool {
        true
    }

    fn name(&self, request: &Request<'_>) -> String {
        invocation::name_of(request.argv)
    }

    fn prepare<'a>(
        &self,
        request: &'a Request<'a>,
        store: &'a Store,
        log: &'a Log,
    ) -> Result<Box<dyn Unit + 'a>, Bypass> {
        Ok(Box::new(Compilation::prepare(request, store, log)?))
    }
}

/// An understood call.
pub(super) struct Compilation<'a> {
    pub(super) scene: Scene<'a>,
    pub(super) invocation: Invocation,
    pub(super) toolchain: Toolchain,
    pub(super) config: &'a Config,
    pub(super) log: &'a Log,
    wrapper: Option<&'a Path>,
    wrappers: Vec<(OsString, Digest)>,
    /// What identifies the processor, where that matters.
    processor: Option<Vec<u8>>,
    /// The content of a custom target's file.
    target_spec: Option<Digest>,
    pub(super) out_dir: PathBuf,
    stdin: Option<Vec<u8>>,
    pub(super) trim: TrimPaths,
    /// The executable of a build script whose runs are to be cached.
    script: Option<PathBuf>,
    /// What it is handed down besides its standard streams, as it was before anybody read from it.
    inherited: OnceCell<Inherited>,
    /// Whether there was incremental state before it was compiled.
    is_edit: OnceCell<bool>,
    /// The directory of the sessions that the compiler left.
    pub(super) sessions: OnceCell<PathBuf>,
}

impl<'a> Compilation<'a> {
    fn prepare(request: &'a Request<'a>, store: &'a Store, log: &'a Log) -> Result<Self, Bypass> {
        let (env, cwd, config) = (request.env, request.cwd, request.config);
        if env.get(CARGO_FIX).is_some() {
            return Err(BypassReason::CargoFix.of(CARGO_FIX));
        }
        #[cfg(test)]
        crate::fault::point("preparing");
        let read = |path: &Path| fs::read(&cwd.join(path)).ok();
        let invocation = Invocation::parse(request.argv, env.get("RUSTC"), read)?;
        if request.stderr_is_terminal
            && !invocation.json_messages
            && invocation.action == Action::Compile
        {
            return Err(BypassReason::Terminal.of("standard error"));
        }
        if let (Action::Query, Source::File(source)) = (invocation.action, &invocation.source) {
            return Err(BypassReason::QueryOfSource.at(source));
        }
        let memo = Memo::open(store);
        let around = Surroundings {
            request,
            store,
            memo: &memo,
        };
        let wanted = Wanted {
            program: invocation.programs.last().map_or(OsStr::new(""), |p| p),
            target: invocation.target.as_deref(),
            sysroot: invocation.sysroot.as_deref(),
        };
        let toolchain = toolchain::identify(wanted, &around)?;
        let wrappers = wrappers(&invocation, &memo, env, cwd)?;
        if let Some(why) = observe::ruled_out(config)
            && (invocation.links() || !dep_info_tells_all(&invocation))
        {
            return Err(BypassReason::Unobserved.of(why));
        }
        let out_dir = invocation.output_dir(cwd);
        let compiled = Compiled {
            out_dir: &out_dir,
            target: invocation.target.as_deref(),
            is_absolute: invocation.is_absolute(),
            looked: request.looked,
        };
        let roots = layout::roots(&compiled, cwd, env, &toolchain.sysroot);
        let stdin = match invocation.source {
            Source::Stdin => {
                let stdin = (request.stdin)();
                Some(stdin.ok_or_else(|| BypassReason::Stdin.of("a terminal, or unreadable"))?)
            }
            Source::File(_) | Source::None => None,
        };
        let processor = match invocation.codegen("target-cpu") {
            Some("native") => {
                let unknown = || BypassReason::Unobserved.of("target-cpu=native");
                Some(processor::identity().ok_or_else(unknown)?)
            }
            _ => None,
        };
        let target_spec = match &invocation.target {
            Some(target) => fs::digest(&cwd.join(target)).ok().map(|blob| blob.digest),
            None => None,
        };
        let script = package::executable(&invocation, env, cwd);
        let mut unit = Self {
            scene: Scene {
                name: invocation.unit(),
                // Made of all the rest, below.
                key: ManifestKey(toolchain.key),
                env,
                cwd,
                roots,
                store,
                memo,
            },
            script: script.filter(|_| package::is_wanted(env, config)),
            out_dir,
            trim: config.trim_paths_effective(),
            config,
            log,
            wrapper: request.wrapper,
            invocation,
            toolchain,
            wrappers,
            processor,
            target_spec,
            stdin,
            inherited: OnceCell::new(),
            is_edit: OnceCell::new(),
            sessions: OnceCell::new(),
        };
        unit.scene.key = key::manifest_key(&unit.invocation, &unit.in_key());
        Ok(unit)
    }

    fn in_key(&self) -> KeyParts<'_> {
        KeyParts {
            toolchain: self.toolchain.key,
            wrappers: &self.wrappers,
            cwd: self.scene.cwd,
            roots: &self.scene.roots,
            env: self.scene.env,
            stdin: self.stdin.as_deref(),
            processor: self.processor.as_deref(),
            target_spec: self.target_spec,
            trim: self.trim,
            extra_env: &self.config.env,
            salt: &self.config.key_salt,
        }
    }

    fn inherited(&self) -> &Inherited {
        self.inherited
            .get_or_init(|| Inherited::find(self.scene.env))
    }

    pub(super) fn places(&self) -> Places<'_> {
        Places {
            invocation: &self.invocation,
            cwd: self.scene.cwd,
            out_dir: &self.out_dir,
        }
    }

    /// A place for dep-info where the invocation asks for none: variables read at
    /// compile time are told nowhere else. The compiler writes it by its path, so it is not in
    /// the store, which others may clear or rearrange meanwhile.
    fn extra_dep_info(&self) -> Option<TempFile> {
        let invocation = &self.invocation;
        let wanted = invocation.action == Action::Compile && !invocation.emits("dep-info");
        let create = || {
            let dir = self.scene.env.get_nonempty("TMPDIR");
            let dir = fs::canonicalize(Path::new(dir.unwrap_or("/tmp".as_ref()))).ok()?;
            TempFile::create_with_mode(&dir, 0o600).ok()
        };
        wanted.then(create).flatten()
    }

    fn command(&self, extra_dep_info: Option<&Path>) -> Command {
        let (invocation, scene) = (&self.invocation, &self.scene);
        let mut words = invocation.programs.iter();
        let program = words.next().cloned().unwrap_or_default();
        let mut command = Command::new(program, scene.env.clone(), scene.cwd);
        command.args.extend(words.cloned());
        command.args.extend(invocation.given.iter().cloned());
        let remapping = remap::remapping(invocation, scene.cwd, &scene.roots, self.trim);
        command.args.extend(remapping);
        if let Some(path) = extra_dep_info {
            if invocation.emits.is_empty() {
                // Naming one kind takes the default away.
                command.args.push("--emit=link".into());
            }
            let mut emit = OsString::from("--emit=dep-info=");
            emit.push(path);
            command.args.push(emit);
        }
        command.stdin.clone_from(&self.stdin);
        command
    }
}

impl Unit for Compilation<'_> {
    fn scene(&self) -> &Scene<'_> {
        &self.scene
    }

    fn described_key(&self) -> KeyHasher {
        key::described(&self.invocation, &self.in_key())
    }

    /// What enters the key is not asked for by code.
    fn is_in_key(&self, _name: &OsStr) -> bool {
        false
    }

    fn argument(&self, name: &str) -> Option<Vec<u8>> {
        use std::os::unix::ffi::OsStrExt as _;
        if name == inherited::FACT {
            return self.inherited().fact();
        }
        let values = self.invocation.values(name);
        values.last().map(|value| value.as_bytes().to_vec())
    }

    fn is_query(&self) -> bool {
        self.invocation.action == Action::Query
    }

    fn work(&self) -> Option<Digest> {
        let is_shared = self.is_unit_of_cargo() && !self.is_edit();
        is_shared.then(|| self.compilation())
    }

    fn is_edit(&self) -> bool {
        *self.is_edit.get_or_init(|| self.is_from_before())
    }

    fn place_state(&self) {
        if self.invocation.incremental.is_some() && self.is_unit_of_cargo() {
            // What it places is no sign of an edit.
            self.is_edit();
            self.place_session();
        }
    }

    fn keep_state(&self) {
        if let Some(sessions) = self.sessions.get() {
            self.keep_session(sessions);
        }
    }

    fn restore(&self, result: &CompileResult) -> Result<Messages, RestoreError> {
        let (scene, places) = (&self.scene, self.places());
        let path_of = |role: &_| places.path(role);
        let restored = restore::prepare(scene.store, result, &scene.roots, path_of)?;
        let messages = restored.commit(&scene.memo)?;
        // What was noted when the library was made, may have been noted on another machine. Without it, crates that use
        // the library are bound to this place.
        if let Err(e) = self.note_included(&result.outputs, &result.included) {
            self.log.say(LogLevel::Debug, || e.to_string());
        }
        Ok(messages)
    }

    fn process(&self, is_observed: bool) -> Process<'_> {
        let extra = is_observed.then(|| self.extra_dep_info()).flatten();
        // As they are before anybody reads on.
        self.inherited();
        let scene = &self.scene;
        let names = remap::names(&self.invocation, scene.cwd, &scene.roots, self.trim);
        let restorer = Restorer::new(&names, self.invocation.json_messages);
        Process {
            command: self.command(extra.as_ref().map(TempFile::path)),
            depth: (is_observed && *self.config.observe).then_some(Depth::Usual),
            translate: Box::new(move |line| restorer.restore(line)),
            extra,
        }
    }

    fn keep<'a>(
        &'a self,
        ran: &'a Ran,
        process: &'a Process<'_>,
    ) -> Result<Box<dyn Rest + 'a>, Refusal> {
        let extra = process.extra.as_ref().map(TempFile::path);
        Ok(Box::new(self.note(ran, extra)?))
    }

    /// Puts a launcher in the place of a build script whose runs are to be cached. If
    /// that fails, the runs are not cached.
    fn finish(&self) {
        #[cfg(test)]
        crate::fault::point("launching");
        if let (Some(script), Some(wrapper)) = (&self.script, self.wrapper)
            && let Err(e) = launcher::install(script, wrapper)
        {
            self.log.say(LogLevel::Debug, || e.to_string());
        }
    }
}

/// The variable that `cargo fix` sets for its wrapper.
const CARGO_FIX: &str = "__CARGO_FIX_PLZ";

/// Whether the arguments and dep-info name everything the unit reads.
pub(super) fn dep_info_tells_all(invocation: &Invocation) -> bool {
    let debug_files = invocation
        .codegen("split-debuginfo")
        .is_some_and(|v| v != "off");
    match invocation.action {
        Action::Query => true,
        Action::Compile => {
            invocation.emits("dep-info")
                && !debug_files
                && invocation.codegen("save-temps").is_none()
                && !invocation.searches_crates()
                && !invocation.loads_macros()
        }
    }
}

/// Names and contents of the programs that come before the compiler.
fn wrappers(
    invocation: &Invocation,
    memo: &Memo,
    env: &Environment,
    cwd: &Path,
) -> Result<Vec<(OsString, Digest)>, Bypass> {
    let programs = &invocation.programs;
    let before = programs.split_last().map_or(&[][..], |(_, before)| before);
    let found = before.iter().map(|program| {
        let path = search::program(program, env, cwd);
        let missing = || BypassReason::NoCompiler.at(Path::new(program));
        let path = path.ok_or_else(missing)?;
        let (_, blob) = memo
            .digest(&path)
            .map_err(|e| BypassReason::NoCompiler.of(e))?;
        let name = path.file_name().ok_or_else(missing)?;
        Ok((name.to_owned(), blob.digest))
    });
    found.collect()
}
