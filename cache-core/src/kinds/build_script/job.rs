//! One run of a build script, from cargo's call to its outcome.
//!
//! As with compilations, a hit runs nothing and shows nothing before all of it is
//! verified and in place, and a miss runs the executable exactly once. What could not be
//! done as if we were not there is left to the executable: a run that is given standard
//! input, and one whose `OUT_DIR` is not empty, because what it finds there may decide
//! what it does, and what it leaves there would stay.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::config::{Config, LogLevel};
use crate::formats::digest::{Digest, ManifestKey};
use crate::inputs::asks;
use crate::inputs::check::{MissReason, World};
use crate::inputs::inherited::Inherited;
use crate::inputs::input::{EnvValue, Input};
use crate::inputs::kernel;
use crate::inputs::listing;
use crate::inputs::names::Code;
use crate::inputs::processor;
use crate::inputs::record::{Facts, Recorder};
use crate::inputs::search;
use crate::inputs::sort::{NotStored, Refusal, Summary};
use crate::inputs::tool_caches::ToolCaches;
use crate::kinds::rustc::invocation::{BypassReason, Invocation};
use crate::kinds::rustc::place;
use crate::kinds::rustc::toolchain::{self, Surroundings, Toolchain};
use crate::observe::Depth;
use crate::os::env::Environment;
use crate::os::fs;
use crate::os::stamp::Stamp;
use crate::outputs::result::CompileResult;
use crate::pipeline::{Engine, Execution, Outcome, Progress, Ran};
use crate::roots::{Escaping, Root, Roots};
use crate::run::{Command, Runner, Sink, Status};
use crate::store::Store;
use crate::store::journal::JournalOutcome;
use crate::store::memo::Memo;
use crate::store::stats;

use super::directives::{Directive, directives};
use super::inputs::{self, Known};
use super::key::{self, KeyParts};
use super::{package, tree};

/// One run of a build script, with everything it may depend on.
///
/// Its standard input is this process's; if that is not `/dev/null`, as it is where cargo
/// starts a script, the run is a bypass.
pub struct ScriptRequest<'a> {
    /// The real executable, behind its launcher.
    pub executable: &'a Path,
    /// What cargo calls it.
    pub arg0: &'a OsStr,
    /// Its arguments.
    pub args: &'a [OsString],
    /// The environment that it sees: these variables and no others.
    pub env: &'a Environment,
    /// The directory that it runs in; absolute.
    pub cwd: &'a Path,
    /// The settings.
    pub config: &'a Config,
    /// Runs it.
    pub runner: &'a dyn Runner,
    /// The wrapper's own path.
    pub wrapper: &'a Path,
}

/// Serves a build script's run from the cache, or runs it and caches what it did.
///
/// `stdout` and `stderr` receive what it writes, or once wrote, to its streams.
///
/// An error means that it could not be started; nothing has been written then.
pub fn run_build_script(
    request: &ScriptRequest<'_>,
    stdout: Sink<'_>,
    stderr: Sink<'_>,
) -> io::Result<Outcome> {
    let config = request.config;
    let store = Store::new(&config.dir.value, *config.read_only);
    let engine = Engine::new(&store, config);
    engine.once(stats::SCRIPT_BYPASS, |progress| {
        call(request, &engine, progress, stdout, stderr)
    })
}

fn call(
    request: &ScriptRequest<'_>,
    engine: &Engine<'_>,
    progress: &Progress,
    stdout: Sink<'_>,
    stderr: Sink<'_>,
) -> io::Result<Outcome> {
    let store = engine.store;
    let script = match Script::prepare(request, store) {
        Ok(script) => script,
        Err(reason) => {
            let said = || format!("bypass: build script: {}", reason.name());
            engine.log.say(LogLevel::Info, said);
            // What is not to be cached is not to be counted either.
            if reason != BypassReason::NotWanted {
                engine.count_with_reason(stats::SCRIPT_BYPASS, reason.name());
                let outcome = JournalOutcome::bypass(reason.name());
                let name = name_of(request.env);
                store.note_in_journal(&name, request.cwd, outcome, BTreeMap::new());
            }
            return Ok(Outcome::Bypass(reason));
        }
    };
    let job = Job {
        request,
        engine,
        progress,
        script,
    };
    job.run(stdout, stderr)
}

/// An understood run.
struct Script {
    /// The package's directory, as cargo calls it.
    manifest_dir: PathBuf,
    /// What it is called in messages.
    name: String,
    executable: Digest,
    processor: Vec<u8>,
    out_dir: PathBuf,
    /// The same without links, before the run.
    real_out_dir: PathBuf,
    toolchain: Toolchain,
    roots: Roots,
    memo: Memo,
    /// What it is handed down besides.
    inherited: Inherited,
    key: ManifestKey,
}

impl Script {
    fn prepare(request: &ScriptRequest<'_>, store: &Store) -> Result<Self, BypassReason> {
        let (env, cwd, config) = (request.env, request.cwd, request.config);
        #[cfg(test)]
        crate::fault::point("preparing");
        if !package::is_wanted(env, config) || !uses(request) {
            return Err(BypassReason::NotWanted);
        }
        let variable = |name| env.get_nonempty(name).ok_or(BypassReason::NotByCargo);
        let (out_dir, rustc) = (PathBuf::from(variable("OUT_DIR")?), variable("RUSTC")?);
        let (target, host) = (variable("TARGET")?, variable("HOST")?);
        let manifest_dir = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
        if file(&manifest_dir) != file(cwd) || !out_dir.is_absolute() {
            return Err(BypassReason::NotByCargo);
        }
        // Cargo gives none. What is read there could not be observed.
        let stdin = fs::read_link(Path::new("/proc/self/fd/0"));
        if stdin.is_ok_and(|stdin| stdin != Path::new("/dev/null")) {
            return Err(BypassReason::Stdin);
        }
        if !is_new(&out_dir) {
            return Err(BypassReason::UsedOutDir);
        }
        let memo = Memo::open(store);
        let around = Surroundings {
            env,
            cwd,
            store,
            memo: &memo,
            runner: request.runner,
        };
        let mut question = vec![rustc.to_owned(), "-vV".into()];
        if target != host {
            question.extend(["--target".into(), target.to_owned()]);
        }
        let toolchain = Invocation::parse(&question, Some(rustc), |_| None)
            .map_err(|_| BypassReason::Toolchain)
            .and_then(|invocation| {
                let identified = toolchain::identify(&invocation, &around);
                identified.map_err(|_| BypassReason::Toolchain)
            })?;
        let sysroot = &toolchain.sysroot;
        let roots = place::script_roots(&manifest_dir, &out_dir, Some(target), env, sysroot);
        let (_, executable) = memo
            .digest(request.executable)
            .map_err(|_| BypassReason::NotByCargo)?;
        let mut script = Self {
            manifest_dir,
            name: name_of(env),
            real_out_dir: fs::canonicalize(&out_dir).map_err(|_| BypassReason::UsedOutDir)?,
            executable: executable.digest,
            processor: processor::identity(),
            out_dir,
            // Made of all the rest, below.
            key: ManifestKey(toolchain.key),
            toolchain,
            roots,
            memo,
            inherited: Inherited::find(env),
        };
        script.key = key::manifest_key(&script.in_key(request));
        Ok(script)
    }

    fn in_key<'a>(&'a self, request: &'a ScriptRequest<'_>) -> KeyParts<'a> {
        KeyParts {
            executable: self.executable,
            args: request.args,
            toolchain: self.toolchain.key,
            processor: &self.processor,
            cwd: &self.manifest_dir,
            umask: fs::umask(),
            roots: &self.roots,
            inherited: &self.inherited,
            env: request.env,
            extra_env: &request.config.env,
            salt: &request.config.key_salt,
        }
    }
}

/// What a run is called in messages.
fn name_of(env: &Environment) -> String {
    let package = env.get("CARGO_PKG_NAME").unwrap_or(OsStr::new("?"));
    format!("{} (build script run)", package.to_string_lossy())
}

/// Whether the wrapper that cargo uses is this one.
fn uses(request: &ScriptRequest<'_>) -> bool {
    let named = request.env.get_nonempty("RUSTC_WRAPPER");
    let found = named.and_then(|name| search::program(name, request.env, request.cwd));
    let wrapper = file(request.wrapper);
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

struct Job<'a> {
    request: &'a ScriptRequest<'a>,
    engine: &'a Engine<'a>,
    progress: &'a Progress,
    script: Script,
}

impl Job<'_> {
    fn run(&self, stdout: Sink<'_>, stderr: Sink<'_>) -> io::Result<Outcome> {
        let (name, log) = (&self.script.name, &self.engine.log);
        let look_up = || self.look_up(stdout, stderr);
        let found = self.engine.hit_or_miss(self.request.config, name, look_up);
        let reason = match found {
            Ok(status) => return Ok(Outcome::Hit { status }),
            Err(reason) => reason,
        };
        let (status, not_stored) = self.execute(&reason, stdout, stderr)?;
        self.engine
            .count_with_reason(stats::SCRIPT_MISS, reason.name());
        if let Some(why) = &not_stored {
            log.say(LogLevel::Info, || format!("not stored: {name}: {why}"));
            self.engine
                .count_with_reason(stats::SCRIPT_NOT_STORED, why.why.name());
        }
        let outcome = JournalOutcome::miss(&reason, not_stored.as_ref());
        let key = match reason {
            MissReason::NoEntry => key::parts(&self.script.in_key(self.request)),
            _ => BTreeMap::new(),
        };
        self.engine
            .store
            .note_in_journal(name, self.request.cwd, outcome, key);
        Ok(Outcome::Miss {
            full: not_stored.is_none() && self.engine.is_full(self.request.config),
            reason,
            status,
            not_stored: not_stored.map(|refusal| refusal.why),
        })
    }

    fn look_up(&self, stdout: Sink<'_>, stderr: Sink<'_>) -> Result<i32, MissReason> {
        let world = World {
            env: self.request.env,
            cwd: &self.script.manifest_dir,
            roots: &self.script.roots,
            store: self.engine.store,
            memo: &self.script.memo,
            argument: &|name| kernel::fact(name).or_else(|| asks::value(name, self.request.env)),
            in_key: &|name| key::enters(name, self.request.env),
        };
        let manifest = self.engine.manifest(self.script.key);
        self.engine.look_up(&manifest, &world, |_, result| {
            self.serve(result, stdout, stderr)
        })
    }

    fn serve(
        &self,
        result: &CompileResult,
        stdout: Sink<'_>,
        stderr: Sink<'_>,
    ) -> Result<i32, MissReason> {
        let roots = &self.script.roots;
        let (Some(said), Some(complained)) = (result.stdout.fill(roots), result.stderr.fill(roots))
        else {
            return Err(MissReason::Damaged);
        };
        #[cfg(test)]
        crate::fault::point("restoring");
        tree::restore(self.engine.store, result, roots, &self.script.out_dir)
            .map_err(|e| self.engine.unrestored(e))?;
        self.progress.is_hit(result.status);
        stdout(&said);
        stderr(&complained);
        self.engine.count(&[
            (stats::SCRIPT_HIT, 1),
            (stats::SCRIPT_SAVED_US, result.duration_us),
        ]);
        Ok(result.status)
    }

    /// Runs the executable once, and stores what it did if that is possible.
    fn execute(
        &self,
        reason: &MissReason,
        stdout: Sink<'_>,
        stderr: Sink<'_>,
    ) -> io::Result<(Status, Option<Refusal>)> {
        let writable = !self.engine.store.is_read_only() && self.engine.prepare_store();
        let request = self.request;
        let mut command = Command::new(request.executable, request.env.clone(), request.cwd);
        command.arg0 = Some(request.arg0.to_owned());
        command.args = request.args.to_vec();
        if writable {
            command.preload = self.engine.preloaded_object(request.config);
        }
        let execution = Execution {
            reason,
            name: &self.script.name,
            runner: request.runner,
            command: &command,
            observe: writable.then_some(Depth::Tree),
            writable,
            translate: &|line| line.to_vec(),
            time: stats::SCRIPT_US,
        };
        let keep = |ran: &Ran| self.keep(ran);
        self.engine
            .execute(self.progress, &execution, stdout, stderr, keep)
    }

    fn keep(&self, ran: &Ran) -> Result<(), Refusal> {
        #[cfg(test)]
        crate::fault::point("keeping");
        let script = &self.script;
        let observation = ran.run.observation.as_ref();
        let observation = observation
            .ok_or_else(|| NotStored::Incomplete.of(crate::inputs::sort::NOT_OBSERVED))?;
        // What was made a link since is a place of somebody else's.
        let is_dir = fs::symlink_metadata(&script.out_dir).is_ok_and(|m| m.is_dir());
        let real = fs::canonicalize(&script.out_dir)
            .ok()
            .filter(|real| is_dir && *real == script.real_out_dir);
        let real = real.ok_or_else(|| NotStored::UnknownOutput.at(&script.out_dir))?;
        let executable = fs::canonicalize(self.request.executable);
        let executable = executable?;
        let known = Known {
            env: self.request.env,
            toolchain: &script.toolchain,
            out_dir: [&script.out_dir, &real],
            executable: &executable,
            wrapper: self.request.wrapper,
            tool_caches: ToolCaches::of(self.request.env, self.request.config),
            jobserver: inputs::jobserver(self.request.env),
        };
        let summary = inputs::summarise(observation, &known)?;
        let in_key = |name: &OsStr| key::enters(name, self.request.env);
        let recorder = Recorder {
            cwd: &script.manifest_dir,
            env: self.request.env,
            roots: &script.roots,
            store: self.engine.store,
            memo: &script.memo,
            started: ran.started,
            produced: &[],
            made: &summary.made,
            in_key: &in_key,
        };
        let mut inputs = recorder.observed(&summary)?;
        self.note_searches(&recorder, &summary, &mut inputs);
        self.note_directives(&recorder, &ran.stdout, &mut inputs)?;
        for path in script.inherited.files() {
            inputs.insert(recorder.declared(path)?);
        }
        for fact in &summary.facts {
            inputs.insert(fact.input());
        }
        for fact in self.asked(&summary)? {
            inputs.insert(fact);
        }
        let modes = listing::modes(inputs.files().map(|(path, _)| path), &script.roots);
        inputs.insert(Input::Modes { modes });
        let captured = tree::capture(&script.out_dir, &script.roots, self.engine.store)?;
        let (stdout, in_stdout) = tree::open_roots(&ran.stdout, &script.roots);
        let (stderr, in_stderr) = tree::open_roots(&ran.stderr, &script.roots);
        let mut bound = [captured.contained, in_stdout, in_stderr].concat();
        if self.climbs_above_target(&summary) {
            bound.push(Root::Target);
        }
        recorder.bind(bound.into_iter(), &mut inputs);
        let result = CompileResult {
            unit: script.name.clone(),
            toolchain: script.toolchain.digest,
            outputs: captured.outputs,
            stdout,
            stderr,
            status: 0,
            duration_us: ran.duration_us,
            created: SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_secs()),
        };
        self.engine
            .put(script.key, inputs.into_inputs(), &result, captured.size)
    }

    fn asked(&self, summary: &Summary) -> Result<Vec<Input>, Refusal> {
        let (request, memo) = (self.request, &self.script.memo);
        let unreadable = Refusal::from;
        let (_, blob) = memo.digest(request.executable).map_err(unreadable)?;
        let executable = Code {
            blob,
            path: request.executable,
        };
        let executed = &summary.executed;
        asks::facts(
            Some(executable),
            executed,
            request.env,
            self.engine.store,
            memo,
        )
        .map_err(unreadable)
    }

    /// Programs that were looked for in `PATH` without being executed.
    fn note_searches(&self, recorder: &Recorder<'_>, summary: &Summary, inputs: &mut Facts) {
        let dirs: Vec<PathBuf> = self.search_path().collect();
        for seen in &summary.seen {
            let sought = dirs
                .iter()
                .any(|dir| Some(dir.as_path()) == seen.path.parent());
            if sought && let Some(program) = recorder.program(&seen.path) {
                inputs.insert(program);
            }
        }
    }

    fn search_path(&self) -> impl Iterator<Item = PathBuf> {
        search::directories(self.request.env, self.request.cwd)
    }

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
                    if !path.starts_with(&self.script.out_dir) {
                        inputs.insert(recorder.declared(&path)?);
                    }
                }
                Directive::RerunIfEnvChanged(name) => {
                    if !key::enters(OsStr::from_bytes(name), self.request.env) {
                        inputs.insert(self.variable(name));
                    }
                }
            }
        }
        Ok(())
    }

    /// The value of a variable, roots left open.
    fn variable(&self, name: &[u8]) -> Input {
        let value = self.request.env.get(OsStr::from_bytes(name));
        Input::Env {
            name: name.to_vec(),
            value: value.map_or(EnvValue::Unset, |value| {
                let value = value.as_bytes();
                EnvValue::Set(self.script.roots.template(value, Escaping::Raw))
            }),
        }
    }

    /// Whether something was looked at above the target directory and outside of every
    /// root: a path that was made from `OUT_DIR`, perhaps, and is another one elsewhere.
    fn climbs_above_target(&self, summary: &Summary) -> bool {
        let roots = &self.script.roots;
        let Some(target) = roots.get(Root::Target) else {
            return true;
        };
        let by_search: Vec<PathBuf> = self.search_path().collect();
        summary.seen.iter().any(|seen| {
            let path = &seen.path;
            let known = roots.relativize(path).root.is_some()
                || roots.spellings().any(|(_, root)| root.starts_with(path))
                || by_search
                    .iter()
                    .any(|dir| path == dir || path.parent() == Some(dir));
            let mut above = target.ancestors().skip(1);
            !known && above.any(|dir| dir.parent().is_some() && path.starts_with(dir))
        })
    }
}
