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
//! whatever goes wrong around it only decides whether the result is stored.

mod keep;
mod turn;
mod unit;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::check::{Checker, MissReason, World};
use crate::config::{Config, LogLevel};
use crate::digest::ResultKey;
use crate::env::Environment;
use crate::fs;
use crate::log::Log;
use crate::manifest::InputManifest;
use crate::observe::Depth;
use crate::restore::{self, RestoreError};
use crate::run::{Command, Run, Runner, Sink, Status};
use crate::rustc::capture::Places;
use crate::rustc::invocation::{Action, BypassReason};
use crate::rustc::messages::{self, Restorer};
use crate::rustc::place;
use crate::rustc::seen::NotStored;
use crate::stamp;
use crate::store::{Store, StoreError, Turn};

use unit::Unit;

/// One call of the compiler, with everything it may depend on.
pub struct Request<'a> {
    /// The programs and arguments, as cargo gives them to its wrapper (without the
    /// wrapper's own name).
    pub argv: &'a [OsString],
    /// The environment that the compiler will see.
    pub env: &'a Environment,
    /// The directory that the compiler will run in.
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
/// then.
pub fn run(request: &Request<'_>, stdout: Sink<'_>, stderr: Sink<'_>) -> std::io::Result<Outcome> {
    let config = request.config;
    let store = Store::new(&config.dir.value, *config.read_only);
    let log = Log::new(config.log.value.clone());
    let unit = match Unit::prepare(request, &store) {
        Ok(unit) => unit,
        Err(reason) => {
            log.say(LogLevel::Info, || format!("bypass: {}", reason.name()));
            count(
                &store,
                &[("bypass", 1), (&format!("bypass.{}", reason.name()), 1)],
            );
            return Ok(Outcome::Bypass(reason));
        }
    };
    let mut job = Job {
        request,
        store: &store,
        log,
        unit,
    };
    job.run(stdout, stderr)
}

/// Counting is never worth a failure.
fn count(store: &Store, amounts: &[(&str, u64)]) {
    let _ = store.count(amounts);
}

struct Job<'a> {
    request: &'a Request<'a>,
    store: &'a Store,
    log: Log,
    unit: Unit,
}

impl Job<'_> {
    fn run(&mut self, stdout: Sink<'_>, stderr: Sink<'_>) -> std::io::Result<Outcome> {
        let name = self.unit.invocation.unit();
        // Others that want the same wait until this goes out of scope.
        let mut turn = Turn::Anybody;
        let reason = if *self.request.config.recache {
            MissReason::Recache
        } else {
            match self.look_up_in_turn(&mut turn, stdout, stderr) {
                Ok(status) => {
                    self.log.say(LogLevel::Info, || format!("hit: {name}"));
                    return Ok(Outcome::Hit { status });
                }
                Err(reason) => reason,
            }
        };
        self.log.say(LogLevel::Info, || {
            format!("miss: {name}: {}", reason.name())
        });
        self.log
            .say(LogLevel::Debug, || format!("{name}: {reason}"));
        let (status, not_stored) = self.compile(stdout, stderr)?;
        if let Some(why) = not_stored {
            self.log.say(LogLevel::Info, || {
                format!("not stored: {name}: {}", why.name())
            });
        }
        self.count_miss(&reason, not_stored);
        let full =
            not_stored.is_none() && self.store.should_gc(self.request.config, SystemTime::now());
        Ok(Outcome::Miss {
            full,
            reason,
            status,
            not_stored,
        })
    }

    fn count_miss(&self, reason: &MissReason, not_stored: Option<NotStored>) {
        let reason = format!("miss.{}", reason.name());
        let mut amounts = vec![("miss", 1), (reason.as_str(), 1)];
        if self.unit.invocation.action == Action::Query {
            amounts.push(("miss.query", 1));
        }
        let why = not_stored.map(|why| format!("not_stored.{}", why.name()));
        if let Some(why) = &why {
            amounts.push(("not_stored", 1));
            amounts.push((why, 1));
        }
        count(self.store, &amounts);
    }

    fn places(&self) -> Places<'_> {
        Places {
            invocation: &self.unit.invocation,
            cwd: self.request.cwd,
            out_dir: &self.unit.out_dir,
        }
    }

    /// Reports an error of the store; `None` unless it stands for a reason to miss.
    fn fault(&self, error: &StoreError) -> MissReason {
        match error {
            StoreError::UnknownVersion { .. } => {
                self.log.say(LogLevel::Debug, || error.to_string());
                return MissReason::OtherVersion;
            }
            StoreError::Corrupt { .. } => {
                count(self.store, &[("corrupt", 1)]);
                self.log.say(LogLevel::Debug, || error.to_string());
            }
            StoreError::Path(_) | StoreError::Encode(_) => {
                count(self.store, &[("fault", 1)]);
                self.warn(error);
            }
        }
        MissReason::Damaged
    }

    /// Tells the user what is wrong with the cache, once a build: every unit will meet
    /// the same trouble at another file.
    fn warn(&self, error: &StoreError) {
        let dir = self.store.layout().dir().display();
        let trouble = match error {
            StoreError::Path(e) => format!("{dir} {:?}", e.source.kind()),
            error => format!("{dir} {error}"),
        };
        self.log.warn_once(&trouble, || {
            format!("cannot use the cache in {dir}, compiling without it: {error}")
        });
    }

    /// Serves the unit from the store, if need be once another process has compiled it.
    fn look_up_in_turn(
        &self,
        turn: &mut Turn,
        stdout: Sink<'_>,
        stderr: Sink<'_>,
    ) -> Result<i32, MissReason> {
        let known = self.manifest();
        let reason = match self.look_up(&known, stdout, stderr) {
            Err(reason) => reason,
            hit => return hit,
        };
        *turn = self.turn();
        if matches!(turn, Turn::Anybody) {
            return Err(reason);
        }
        // What was wrong with it has been said.
        let Ok(manifest) = self.store.manifest(self.unit.key) else {
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
        count(self.store, &[("hit.waited", 1)]);
        Ok(hit)
    }

    fn manifest(&self) -> Result<Option<InputManifest>, MissReason> {
        let manifest = self.store.manifest(self.unit.key);
        manifest.map_err(|e| self.fault(&e))
    }

    /// Serves the unit from the store, or says why not.
    fn look_up(
        &self,
        manifest: &Result<Option<InputManifest>, MissReason>,
        stdout: Sink<'_>,
        stderr: Sink<'_>,
    ) -> Result<i32, MissReason> {
        let manifest = manifest.as_ref().map_err(Clone::clone)?;
        let manifest = manifest.as_ref().ok_or(MissReason::NoEntry)?;
        let argument = |name: &str| self.argument(name);
        let world = World {
            env: self.request.env,
            cwd: self.request.cwd,
            roots: &self.unit.roots,
            store: self.store,
            memo: &self.unit.memo,
            argument: &argument,
        };
        let mut checker = Checker::new(&world, manifest);
        let mut newest = None;
        for set in manifest.sets() {
            let reason = match checker.check(set) {
                Err(change) => MissReason::Changed(change),
                Ok(()) => match self.serve(set.result, stdout, stderr) {
                    Ok(status) => return Ok(status),
                    Err(reason) => reason,
                },
            };
            newest.get_or_insert(reason);
        }
        Err(newest.unwrap_or(MissReason::NoEntry))
    }

    /// The last value of an argument, for inputs that name one.
    fn argument(&self, name: &str) -> Option<Vec<u8>> {
        use std::os::unix::ffi::OsStrExt as _;
        let values = self.unit.invocation.values(name);
        values.last().map(|value| value.as_bytes().to_vec())
    }

    fn serve(&self, key: ResultKey, stdout: Sink<'_>, stderr: Sink<'_>) -> Result<i32, MissReason> {
        let result = self
            .store
            .result(key)
            .map_err(|e| self.fault(&e))?
            .ok_or(MissReason::Evicted)?;
        let places = self.places();
        let roots = &self.unit.roots;
        let restored = restore::prepare(self.store, &result, roots, |role| places.path(role))
            .map_err(|e| match e {
                RestoreError::Miss(reason) => {
                    if reason == MissReason::Damaged {
                        count(self.store, &[("corrupt", 1)]);
                    }
                    reason
                }
                RestoreError::Place(e) => self.fault(&e),
            })?;
        restored
            .replay(&self.unit.memo, stdout, stderr)
            .map_err(|e| self.fault(&e))?;
        self.store.touch_result(key, &result);
        let mut amounts = vec![("hit", 1), ("saved_us", result.duration_us)];
        if self.unit.invocation.action == Action::Query {
            amounts.push(("hit.query", 1));
        }
        count(self.store, &amounts);
        Ok(result.status)
    }

    /// Runs the compiler once, and stores what it did if that is possible.
    fn compile(
        &self,
        stdout: Sink<'_>,
        stderr: Sink<'_>,
    ) -> std::io::Result<(Status, Option<NotStored>)> {
        let unit = &self.unit;
        let writable = !self.store.is_read_only() && self.prepare_store();
        let extra = writable.then(|| self.extra_dep_info()).flatten();
        let command = self.command(extra.as_ref().map(fs::TempFile::path));
        let restorer = Restorer::new(
            &unit.roots,
            place::remaps(&unit.invocation, unit.trim),
            unit.invocation.json_messages,
        );
        let started = stamp::now();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut announced = Vec::new();
        let run = self.request.runner.run(
            &command,
            (writable && *self.request.config.observe).then(|| self.depth()),
            &mut |piece| {
                stdout(piece);
                out.extend_from_slice(piece);
            },
            &mut |line| {
                let line = restorer.restore(line);
                stderr(&line);
                announced.extend(messages::artifact(&line));
                err.extend_from_slice(&line);
            },
        )?;
        let duration = u64::try_from(run.duration.as_micros()).unwrap_or(u64::MAX);
        count(self.store, &[("compile_us", duration)]);
        if run.status != Status::Code(0) {
            return Ok((run.status, Some(NotStored::Failed)));
        }
        if !writable {
            return Ok((run.status, Some(NotStored::Store)));
        }
        let ran = Ran {
            run: &run,
            started,
            announced,
            stdout: out,
            stderr: err,
            extra_dep_info: extra.as_ref().map(fs::TempFile::path),
        };
        Ok((run.status, self.keep(&ran).err()))
    }

    /// Code that is not the compiler's own, macros and wrappers, may look for files by
    /// resolving their paths (clippy does so for its configuration).
    fn depth(&self) -> Depth {
        let invocation = &self.unit.invocation;
        if invocation.programs.len() > 1 || invocation.loads_macros() {
            Depth::Close
        } else {
            Depth::Usual
        }
    }

    fn prepare_store(&self) -> bool {
        match self.store.prepare() {
            Ok(()) => true,
            Err(e) => {
                self.fault(&e.into());
                false
            }
        }
    }

    /// A place for dep-info where the invocation asks for none: variables read at
    /// compile time are told nowhere else.
    fn extra_dep_info(&self) -> Option<fs::TempFile> {
        let invocation = &self.unit.invocation;
        let wanted = invocation.action == Action::Compile && !invocation.emits("dep-info");
        let tmp = self.store.layout().part("tmp");
        wanted.then(|| fs::TempFile::create(&tmp).ok()).flatten()
    }

    fn command(&self, extra_dep_info: Option<&Path>) -> Command {
        let invocation = &self.unit.invocation;
        let mut words = invocation.programs.iter();
        let mut command = Command::new(words.next().cloned().unwrap_or_default());
        command.args.extend(words.cloned());
        command.args.extend(invocation.given.iter().cloned());
        command.args.extend(place::remapping(
            invocation,
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
        command.cwd = Some(self.request.cwd.to_owned());
        command.stdin.clone_from(&self.unit.stdin);
        command
    }
}

/// A successful run of the compiler.
struct Ran<'a> {
    run: &'a Run,
    started: i128,
    announced: Vec<PathBuf>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    extra_dep_info: Option<&'a Path>,
}
