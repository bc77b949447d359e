//! The pipeline: from a call to its outcome, for every kind of unit.
//!
//! ```text
//! call ── understand ──► bypass
//!              └► key ─► manifest ─► check inputs ─┬─► restore, replay
//!                                                  └─► run, observed ─► keep
//! ```
//! The order of business keeps two promises. A hit runs nothing, and nothing of it is
//! visible before all of it is verified. A miss runs the process exactly once, and
//! whatever goes wrong around it only decides whether the result is stored ([`once`]).
//!
//! What is particular to a kind is behind [`Kind`](crate::unit::Kind) and [`Unit`].

mod defer;
mod engine;
mod once;
#[cfg(observer)]
#[cfg(test)]
mod panic_tests;
mod report;
mod share;

use std::cell::{Cell, OnceCell};
use std::io;
use std::time::{Instant, SystemTime};

use crate::ahead;
use crate::formats::digest::ResultKey;
use crate::formats::manifest::InputManifest;
use crate::inputs::check::World;
use crate::inputs::input::Input;
use crate::kinds;
use crate::os::proc;
use crate::outcome::{MissReason, Outcome, Refusal};
use crate::outputs::result::CompileResult;
use crate::request::Request;
use crate::run::{Sink, Status};
use crate::store::stats::Events;
use crate::store::{Place, Store, Turn};
use crate::unit::{Kept, Ran, Unit};

use defer::Keeping;
use engine::Engine;
use once::Progress;
use share::Sharing;

/// Serves one call from the cache, or runs the process and caches what it did.
///
/// `stdout` and `stderr` receive what the process writes, or once wrote, to its
/// streams; standard error line by line.
///
/// An error means that the process could not be started; nothing has been written
/// then. A panic of ours does not reach the caller, and does not run the process again.
pub fn run(request: &Request<'_>, stdout: Sink<'_>, stderr: Sink<'_>) -> io::Result<Outcome> {
    let (config, started) = (request.config, SystemTime::now());
    let store = Store::new(&config.dir.value, *config.read_only);
    let engine = Engine::new(&store, config);
    let kind = kinds::of(request);
    let events = kind.events();
    engine.once(events.bypass, |progress| {
        let unit = match kind.prepare(request, &store, &engine.log) {
            Ok(unit) => unit,
            Err(why) => {
                engine.report_bypass(events, &kind.name(request), request, started, &why);
                return Ok(Outcome::Bypass(why));
            }
        };
        let call = Call {
            request,
            engine: &engine,
            progress,
            events,
            unit: &*unit,
            started,
            ended: Cell::default(),
            waited_us: Cell::default(),
            ran_us: Cell::default(),
            stored: Cell::default(),
            sharing: OnceCell::new(),
            queued: Cell::default(),
        };
        call.make(stdout, stderr)
    })
}

/// A call that was understood.
struct Call<'a> {
    request: &'a Request<'a>,
    engine: &'a Engine<'a>,
    progress: &'a Progress,
    events: &'static Events,
    unit: &'a dyn Unit,
    started: SystemTime,
    /// When the build went on, if something is done after that.
    ended: Cell<Option<SystemTime>>,
    /// How long it waited for others, and how long its process ran.
    waited_us: Cell<u64>,
    ran_us: Cell<u64>,
    /// What is known of its result, served or stored.
    stored: Cell<Option<Stored>>,
    /// The remote, if there is one, once it was asked for.
    sharing: OnceCell<Option<Sharing>>,
    /// The result that waits to be sent there.
    queued: Cell<Option<ResultKey>>,
}

/// A result in the store, how long its outputs are, bytes, and how long making it took, microseconds.
#[derive(Clone, Copy)]
struct Stored {
    key: ResultKey,
    bytes: u64,
    duration_us: u64,
}

impl Stored {
    fn new(key: ResultKey, result: &CompileResult) -> Self {
        let bytes = result.blobs().map(|blob| blob.len).sum();
        Self {
            key,
            bytes,
            duration_us: result.duration_us,
        }
    }
}

impl Call<'_> {
    fn make(&self, stdout: Sink<'_>, stderr: Sink<'_>) -> io::Result<Outcome> {
        self.engine.report_key(self.unit);
        if self.unit.is_query() {
            ahead::serve(self.request, self.unit.scene(), &self.engine.log);
        }
        // Others that want the same wait until this goes out of scope.
        let mut turn = Turn::Anybody;
        let found = if *self.request.config.recache {
            Err(MissReason::Recache)
        } else {
            self.look_up_in_turn(&mut turn, stdout, stderr)
        };
        let reason = match found {
            Ok(status) => {
                self.take_seed();
                return Ok(Outcome::Hit { status });
            }
            Err(reason) => reason,
        };
        self.engine.report_reason(self.unit, &reason);
        let (status, kept) = self.run(&reason, stdout, stderr)?;
        let engine = self.engine;
        let full = match &kept {
            Err(refusal) => {
                engine.report_miss(self, &reason, Some(refusal));
                false
            }
            Ok(Keeping::Done) => {
                engine.report_miss(self, &reason, None);
                self.take_seed();
                drop(turn);
                self.send_offered();
                self.unit.keep_state();
                engine.is_full(self.request.config)
            }
            // The process that keeps it reports it, and looks whether there is room.
            Ok(Keeping::Later) => {
                self.take_seed();
                false
            }
        };
        Ok(Outcome::Miss {
            full,
            reason,
            status,
            not_stored: kept.err(),
        })
    }

    fn take_seed(&self) {
        if !self.unit.is_query() {
            ahead::take(self.request, self.unit.scene(), &self.engine.log);
        }
    }

    /// Serves the unit from the store, if need be once another process has made it.
    fn look_up_in_turn(
        &self,
        turn: &mut Turn,
        stdout: Sink<'_>,
        stderr: Sink<'_>,
    ) -> Result<i32, MissReason> {
        let key = self.unit.scene().key;
        let mut known = self.engine.manifest(key);
        let mut found = self.look_up(&known, stdout, stderr);
        if found.is_err() && self.await_keeper() {
            known = self.engine.manifest(key);
            found = self.look_up(&known, stdout, stderr);
        }
        let reason = match found {
            Err(reason) => reason,
            hit => return hit,
        };
        *turn = self.take_turn();
        if matches!(turn, Turn::Anybody) {
            return self.look_up_remotely(reason, stdout, stderr);
        }
        // What was wrong with it has been said.
        let Ok(manifest) = self.engine.store.manifest(key) else {
            return Err(reason);
        };
        let again = Ok(manifest);
        // Somebody may have been done just before it was our turn.
        let idle = matches!(turn, Turn::Ours(_))
            && matches!(reason, MissReason::NoEntry | MissReason::Changed(_))
            && again == known;
        if idle {
            return self.look_up_remotely(reason, stdout, stderr);
        }
        let Ok(hit) = self.look_up(&again, stdout, stderr) else {
            return self.look_up_remotely(reason, stdout, stderr);
        };
        self.engine.count(&[("hit.waited", 1)]);
        Ok(hit)
    }

    /// Waits for another process that makes the same, or keeps others from it.
    fn take_turn(&self) -> Turn {
        let (engine, unit) = (self.engine, self.unit);
        let work = unit.work().filter(|_| !engine.store.is_read_only());
        let Some(work) = work else {
            return Turn::Anybody;
        };
        let since = Cell::new(None);
        let turn = engine.store.take_turn(work, || {
            let waits = !is_nested();
            if waits {
                engine.report_waiting(unit);
                since.set(Some(Instant::now()));
            }
            waits
        });
        self.has_waited(since.get());
        turn
    }

    /// Notes for how long it was waited.
    fn has_waited(&self, since: Option<Instant>) {
        let waited = since.map_or(0, |since| since.elapsed().as_micros());
        let waited = u64::try_from(waited).unwrap_or(u64::MAX);
        self.waited_us
            .set(self.waited_us.get().saturating_add(waited));
    }

    /// Serves the unit from the store, or says why not.
    fn look_up(
        &self,
        manifest: &Result<Option<InputManifest>, MissReason>,
        stdout: Sink<'_>,
        stderr: Sink<'_>,
    ) -> Result<i32, MissReason> {
        self.in_world(|world| {
            self.engine.look_up(manifest, world, |key, result| {
                self.serve(key, result, stdout, stderr)
            })
        })
    }

    fn in_world<T>(&self, look: impl FnOnce(&World<'_>) -> T) -> T {
        look(&World {
            scene: self.unit.scene(),
            argument: &|name| self.unit.argument(name),
            in_key: &|name| self.unit.is_in_key(name),
            libraries: OnceCell::new(),
            looked: None,
        })
    }

    fn serve(
        &self,
        key: ResultKey,
        result: &CompileResult,
        stdout: Sink<'_>,
        stderr: Sink<'_>,
    ) -> Result<i32, MissReason> {
        #[cfg(test)]
        crate::fault::point("restoring");
        let restored = self.unit.restore(result);
        let messages = restored.map_err(|e| self.engine.unrestored(e))?;
        // The first message comes when all outputs are in their places.
        self.progress.is_hit(result.status);
        messages.replay(stdout, stderr);
        self.unit.finish();
        self.stored.set(Some(Stored::new(key, result)));
        self.engine.report_hit(self, result);
        Ok(result.status)
    }

    /// Runs the process once, and stores what it did if that is possible.
    fn run(
        &self,
        reason: &MissReason,
        stdout: Sink<'_>,
        stderr: Sink<'_>,
    ) -> io::Result<(Status, Result<Keeping, Refusal>)> {
        let is_writable = !self.engine.store.is_read_only() && self.engine.prepare_store();
        // Whether it is an edit shows before the process has run.
        let may_defer = self.may_defer();
        let is_for_others = self.is_for_others();
        self.unit.place_state();
        let mut process = self.unit.process(is_writable);
        if process.depth.is_some() {
            process.command.preload = self.engine.preloaded_object(self.request.config);
        }
        let execution = once::Execution {
            reason,
            name: &self.unit.scene().name,
            runner: self.request.runner,
            process: &process,
            is_writable,
            time: self.events.took_us,
            ran_us: &self.ran_us,
        };
        let keep = |ran: &Ran| {
            #[cfg(test)]
            crate::fault::point("keeping");
            let mut rest = self.unit.keep(ran, &process)?;
            let place = if may_defer {
                self.place_for(&mut *rest)
            } else {
                None
            };
            let finish = |place: Option<&Place>| {
                let mut known = |inputs: &[Input]| {
                    if let Some(place) = place {
                        place.tell(self.unit.scene().key, inputs);
                    }
                };
                self.put(ran, rest.finish(&mut known)?, is_for_others)
            };
            match place {
                Some(place) => self.keep_later(place, reason, finish),
                None => finish(None).map(|()| Keeping::Done),
            }
        };
        let ended = self
            .engine
            .execute(self.progress, &execution, stdout, stderr, keep)?;
        if ended.0 == Status::Code(0) {
            self.unit.finish();
        }
        Ok(ended)
    }

    fn put(&self, ran: &Ran, kept: Kept, is_for_others: bool) -> Result<(), Refusal> {
        let Kept {
            toolchain,
            inputs,
            outputs,
            included,
            stdout,
            stderr,
            stored,
        } = kept;
        let scene = self.unit.scene();
        let result = CompileResult {
            unit: scene.name.clone(),
            toolchain,
            outputs,
            included,
            stdout,
            stderr,
            status: 0,
            duration_us: ran.duration_us,
            created: SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_secs()),
        };
        let offered = is_for_others.then(|| inputs.clone());
        let key = self.engine.put(scene, inputs, &result, stored)?;
        self.stored.set(Some(Stored::new(key, &result)));
        if let Some(inputs) = offered {
            self.offer(&inputs, key, ran.duration_us);
        }
        Ok(())
    }
}

/// Whether an ancestor of this process goes by the same name: one that makes something (a macro that
/// runs cargo, say) cannot end before this one does. Another program of that name costs no more than
/// making the same twice.
fn is_nested() -> bool {
    let Some(own) = proc::Process::find("self") else {
        return false;
    };
    let mut next = own.parent();
    while let Some(ancestor) = next {
        if ancestor.name() == own.name() {
            return true;
        }
        next = ancestor.parent();
    }
    false
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_test_is_not_run_by_itself() {
        assert!(!super::is_nested());
    }
}
