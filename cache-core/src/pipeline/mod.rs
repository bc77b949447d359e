//! The pipeline: from an argv to an outcome.
//!
//! ```text
//! argv ── parse ──► bypass
//!           └► identify toolchain ─► key ─► manifest ─► check inputs ─┬─► restore, replay
//!                                                                     └─► compile, observed
//!                                                                          capture, store
//! ```
//! The order of business keeps two promises. A hit runs no compiler, and nothing of it is
//! visible before all of it is verified. A miss runs the compiler exactly once, and
//! whatever goes wrong around it only decides whether the result is stored ([`once`]).

mod engine;
mod keep;
mod once;
#[cfg(test)]
mod panic_tests;
mod turn;
mod unit;

use std::ffi::OsString;
use std::path::Path;

use crate::config::{Config, LogLevel};
use crate::formats::key::KeyParts;
use crate::formats::manifest::InputManifest;
use crate::inputs::asks;
use crate::inputs::check::{MissReason, World};
use crate::inputs::kernel;
use crate::inputs::sort::{NotStored, Refusal};
use crate::kinds::build_script::launcher;
use crate::kinds::rustc::capture::Places;
use crate::kinds::rustc::invocation::{self, Action, BypassReason};
use crate::kinds::rustc::messages::Restorer;
use crate::kinds::rustc::remap;
use crate::observe::Depth;
use crate::os::env::Environment;
use crate::os::fs;
use crate::outputs::restore;
use crate::outputs::result::CompileResult;
use crate::run::{Command, Runner, Sink, Status};
use crate::store::journal::JournalOutcome;
use crate::store::stats;
use crate::store::{Store, Turn};

pub(crate) use engine::Engine;
pub(crate) use once::{Execution, Progress, Ran};
use unit::Unit;

/// One call of the compiler, with everything it may depend on.
pub struct Request<'a> {
    /// The programs and arguments, as cargo gives them to its wrapper (without the
    /// wrapper's own name).
    pub argv: &'a [OsString],
    /// The environment that the compiler sees, and the programs that are asked which
    /// compiler it is: these variables and no others.
    pub env: &'a Environment,
    /// The directory that the compiler runs in; absolute.
    pub cwd: &'a Path,
    /// The settings.
    pub config: &'a Config,
    /// Runs the compiler.
    pub runner: &'a dyn Runner,
    /// Reads standard input to its end; `None` where that must not be tried. Called at
    /// most once, and only if the source is `-`.
    pub stdin: &'a dyn Fn() -> Option<Vec<u8>>,
    /// Whether messages go to a terminal.
    pub stderr_is_terminal: bool,
    /// The wrapper's own path, which build scripts are started through from now on;
    /// `None` where their runs are not to be cached.
    pub wrapper: Option<&'a Path>,
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not for us; nothing has been run, and the caller runs it untouched.
    Bypass(BypassReason),
    /// Outputs and messages came from the store.
    Hit {
        /// The exit status.
        status: i32,
    },
    /// The compiler ran.
    Miss {
        /// Why.
        reason: MissReason,
        /// How it ended.
        status: Status,
        /// Why its result was not stored, if it was not.
        not_stored: Option<NotStored>,
        /// Whether the store has outgrown its bound, so that [`run_gc`](crate::run_gc)
        /// should be run, best by a process of its own.
        full: bool,
    },
}

/// Serves one call from the cache, or runs the compiler and caches what it did.
///
/// `stdout` and `stderr` receive what the compiler writes, or once wrote, to its
/// streams; standard error line by line.
///
/// An error means that the compiler could not be started; nothing has been written
/// then. A panic of ours does not reach the caller, and does not run the compiler again.
pub fn run(request: &Request<'_>, stdout: Sink<'_>, stderr: Sink<'_>) -> std::io::Result<Outcome> {
    let config = request.config;
    let store = Store::new(&config.dir.value, *config.read_only);
    let engine = Engine::new(&store, config);
    engine.once(stats::BYPASS, |progress| {
        call(request, &engine, progress, stdout, stderr)
    })
}

fn call(
    request: &Request<'_>,
    engine: &Engine<'_>,
    progress: &Progress,
    stdout: Sink<'_>,
    stderr: Sink<'_>,
) -> std::io::Result<Outcome> {
    let store = engine.store;
    let unit = match Unit::prepare(request, store) {
        Ok(unit) => unit,
        Err(reason) => {
            let said = || format!("bypass: {}", reason.name());
            engine.log.say(LogLevel::Info, said);
            engine.count_with_reason(stats::BYPASS, reason.name());
            let outcome = JournalOutcome::bypass(reason.name());
            let name = invocation::name_of(request.argv);
            store.note_in_journal(&name, request.cwd, outcome, KeyParts::new());
            return Ok(Outcome::Bypass(reason));
        }
    };
    let mut job = Job {
        request,
        engine,
        progress,
        unit,
    };
    job.run(stdout, stderr)
}

struct Job<'a> {
    request: &'a Request<'a>,
    engine: &'a Engine<'a>,
    progress: &'a Progress,
    unit: Unit,
}

impl Job<'_> {
    fn run(&mut self, stdout: Sink<'_>, stderr: Sink<'_>) -> std::io::Result<Outcome> {
        let name = self.unit.invocation.unit();
        // Others that want the same wait until this goes out of scope.
        let mut turn = Turn::Anybody;
        let look_up = || self.look_up_in_turn(&mut turn, stdout, stderr);
        let found = self.engine.hit_or_miss(self.request.config, &name, look_up);
        let reason = match found {
            Ok(status) => return Ok(Outcome::Hit { status }),
            Err(reason) => reason,
        };
        let (status, not_stored) = self.compile(&reason, stdout, stderr)?;
        if let Some(why) = &not_stored {
            self.engine
                .log
                .say(LogLevel::Info, || format!("not stored: {name}: {why}"));
        }
        self.count_miss(&reason, not_stored.as_ref());
        let outcome = JournalOutcome::miss(&reason, not_stored.as_ref());
        // Questions are many, and not asked again and again.
        let is_new =
            reason == MissReason::NoEntry && self.unit.invocation.action == Action::Compile;
        let key = is_new.then(|| self.unit.key_parts(self.request));
        self.engine.store.note_in_journal(
            &name,
            self.request.cwd,
            outcome,
            key.unwrap_or_default(),
        );
        let full = not_stored.is_none() && self.engine.is_full(self.request.config);
        Ok(Outcome::Miss {
            full,
            reason,
            status,
            not_stored: not_stored.map(|refusal| refusal.why),
        })
    }

    fn count_miss(&self, reason: &MissReason, not_stored: Option<&Refusal>) {
        let reason = format!("miss.{}", reason.name());
        let mut amounts = vec![("miss", 1), (reason.as_str(), 1)];
        if self.unit.invocation.action == Action::Query {
            amounts.push(("miss.query", 1));
        }
        let why = not_stored.map(|refusal| format!("not_stored.{}", refusal.why.name()));
        if let Some(why) = &why {
            amounts.push(("not_stored", 1));
            amounts.push((why, 1));
        }
        self.engine.count(&amounts);
    }

    fn places(&self) -> Places<'_> {
        Places {
            invocation: &self.unit.invocation,
            cwd: self.request.cwd,
            out_dir: &self.unit.out_dir,
        }
    }

    /// Serves the unit from the store, if need be once another process has compiled it.
    fn look_up_in_turn(
        &self,
        turn: &mut Turn,
        stdout: Sink<'_>,
        stderr: Sink<'_>,
    ) -> Result<i32, MissReason> {
        let known = self.engine.manifest(self.unit.key);
        let reason = match self.look_up(&known, stdout, stderr) {
            Err(reason) => reason,
            hit => return hit,
        };
        *turn = self.turn();
        if matches!(turn, Turn::Anybody) {
            return Err(reason);
        }
        // What was wrong with it has been said.
        let Ok(manifest) = self.engine.store.manifest(self.unit.key) else {
            return Err(reason);
        };
        let again = Ok(manifest);
        // Somebody may have been done just before it was our turn.
        let idle = matches!(turn, Turn::Ours(_))
            && matches!(reason, MissReason::NoEntry | MissReason::Changed(_))
            && again == known;
        if idle {
            return Err(reason);
        }
        let hit = self.look_up(&again, stdout, stderr).map_err(|_| reason)?;
        self.engine.count(&[("hit.waited", 1)]);
        Ok(hit)
    }

    /// Serves the unit from the store, or says why not.
    fn look_up(
        &self,
        manifest: &Result<Option<InputManifest>, MissReason>,
        stdout: Sink<'_>,
        stderr: Sink<'_>,
    ) -> Result<i32, MissReason> {
        let argument = |name: &str| self.argument(name);
        let world = World {
            env: self.request.env,
            cwd: self.request.cwd,
            roots: &self.unit.roots,
            store: self.engine.store,
            memo: &self.unit.memo,
            argument: &argument,
            in_key: &|_| false,
        };
        self.engine.look_up(manifest, &world, |_, result| {
            self.serve(result, stdout, stderr)
        })
    }

    /// The last value of an argument, for inputs that name one; or a fact of the machine.
    fn argument(&self, name: &str) -> Option<Vec<u8>> {
        use std::os::unix::ffi::OsStrExt as _;
        let fact = kernel::fact(name).or_else(|| asks::value(name, self.request.env));
        if fact.is_some() {
            return fact;
        }
        let values = self.unit.invocation.values(name);
        values.last().map(|value| value.as_bytes().to_vec())
    }

    fn serve(
        &self,
        result: &CompileResult,
        stdout: Sink<'_>,
        stderr: Sink<'_>,
    ) -> Result<i32, MissReason> {
        let places = self.places();
        let roots = &self.unit.roots;
        let store = self.engine.store;
        let restored = restore::prepare(store, result, roots, |role| places.path(role))
            .map_err(|e| self.engine.unrestored(e))?;
        #[cfg(test)]
        crate::fault::point("restoring");
        // The first message comes when all outputs are in their places.
        let is_hit = || self.progress.is_hit(result.status);
        let mut stdout = |piece: &[u8]| {
            is_hit();
            stdout(piece);
        };
        let mut stderr = |line: &[u8]| {
            is_hit();
            stderr(line);
        };
        restored
            .replay(&self.unit.memo, &mut stdout, &mut stderr)
            .map_err(|e| self.engine.fault(&e))?;
        is_hit();
        self.launch();
        let mut amounts = vec![("hit", 1), ("saved_us", result.duration_us)];
        if self.unit.invocation.action == Action::Query {
            amounts.push(("hit.query", 1));
        }
        self.engine.count(&amounts);
        Ok(result.status)
    }

    /// Runs the compiler once, and stores what it did if that is possible.
    fn compile(
        &self,
        reason: &MissReason,
        stdout: Sink<'_>,
        stderr: Sink<'_>,
    ) -> std::io::Result<(Status, Option<Refusal>)> {
        let unit = &self.unit;
        let writable = !self.engine.store.is_read_only() && self.engine.prepare_store();
        let extra = writable.then(|| self.extra_dep_info()).flatten();
        let extra = extra.as_ref().map(fs::TempFile::path);
        let names = remap::names(&unit.invocation, self.request.cwd, &unit.roots, unit.trim);
        let restorer = Restorer::new(&names, unit.invocation.json_messages);
        let execution = Execution {
            reason,
            name: &unit.invocation.unit(),
            runner: self.request.runner,
            command: &self.command(extra),
            observe: (writable && *self.request.config.observe).then_some(Depth::Usual),
            writable,
            translate: &|line| restorer.restore(line),
            time: stats::COMPILE_US,
        };
        let keep = |ran: &Ran| self.keep(ran, extra);
        let ended = self
            .engine
            .execute(self.progress, &execution, stdout, stderr, keep)?;
        if ended.0 == Status::Code(0) {
            self.launch();
        }
        Ok(ended)
    }

    /// Puts a launcher in the place of a build script whose runs are to be cached. If
    /// that fails, the runs are not cached.
    fn launch(&self) {
        #[cfg(test)]
        crate::fault::point("launching");
        let Some(script) = &self.unit.script else {
            return;
        };
        if let Some(wrapper) = self.request.wrapper
            && let Err(e) = launcher::install(script, wrapper)
        {
            self.engine.log.say(LogLevel::Debug, || e.to_string());
        }
    }

    /// A place for dep-info where the invocation asks for none: variables read at
    /// compile time are told nowhere else. The compiler writes it by its path, so it is not in
    /// the store, which others may clear or rearrange meanwhile.
    fn extra_dep_info(&self) -> Option<fs::TempFile> {
        let invocation = &self.unit.invocation;
        let wanted = invocation.action == Action::Compile && !invocation.emits("dep-info");
        let create = || {
            let dir = self.request.env.get_nonempty("TMPDIR");
            let dir = fs::canonicalize(Path::new(dir.unwrap_or("/tmp".as_ref()))).ok()?;
            fs::TempFile::create_with_mode(&dir, 0o600).ok()
        };
        wanted.then(create).flatten()
    }

    fn command(&self, extra_dep_info: Option<&Path>) -> Command {
        let invocation = &self.unit.invocation;
        let mut words = invocation.programs.iter();
        let program = words.next().cloned().unwrap_or_default();
        let (env, cwd) = (self.request.env.clone(), self.request.cwd);
        let mut command = Command::new(program, env, cwd);
        command.args.extend(words.cloned());
        command.args.extend(invocation.given.iter().cloned());
        command.args.extend(remap::remapping(
            invocation,
            self.request.cwd,
            &self.unit.roots,
            self.unit.trim,
        ));
        if let Some(path) = extra_dep_info {
            if invocation.emits.is_empty() {
                // Naming one kind takes the default away.
                command.args.push("--emit=link".into());
            }
            let mut emit = OsString::from("--emit=dep-info=");
            emit.push(path);
            command.args.push(emit);
        }
        command.stdin.clone_from(&self.unit.stdin);
        command
    }
}
