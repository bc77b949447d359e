//! Keeping later: what an edit produced is stored while the build goes on.
//!
//! Somebody who edits waits for each compilation, and most of what they produce is never asked for again. So
//! where a unit [is an edit](crate::unit::Unit::is_edit), only what the moment alone can tell is noted at
//! once: what outputs are, which are held open, and facts about the process. Then this process splits
//! ([`detach`]): one goes on with the build, the other one records the inputs, copies the outputs into the
//! store, from files that were opened before, and reports what came of it.
//!
//! Inputs can be recorded later because the observation says how each of them looked when it was
//! opened ([`record`](crate::inputs::record)).
//!
//! | what can go wrong | what comes of it |
//! |---|---|
//! | an input changes, appears or goes meanwhile | it does not look as it did: not stored |
//! | an output is written to meanwhile | that is [heard of](crate::outputs::watch): not stored |
//! | another one gets its name | the one that was opened is stored, and nothing is remembered under the name |
//! | the next edit is compiled before this one is stored | both are stored, by a process each |
//! | many at once | there are few places ([`keepers`](crate::store)); without one it is stored at once |
//! | killed, the machine ends, the disk is full, the target directory is gone | not stored, as after any other writer that was killed |
//! | a panic | not stored; the detached process ends there |
//! | somebody asks for what is not stored yet | who has the same inputs waits for it, up to `PATIENCE`, and up to `RECORDING` for what they are; commands that show or change the store wait |
//! | something reads from a pipe until it is closed, or waits for a token of the jobserver | the detached process has none of them |
//! | messages about it are wanted on standard error | it is stored at once |
//!
//! The same process then keeps what the compiler left for its next time
//! ([`Unit::keep_state`](crate::unit::Unit::keep_state)).
//!
//! In a fresh target directory, as in containers and CI, there are no edits (a unit that was compiled or served there before
//! is one, where the compiler keeps incremental state), and everything is kept before
//! the build goes on: nothing is at work when it has ended.

use std::time::{Duration, Instant, SystemTime};

use crate::config::LogLevel;
use crate::inputs::check::Checker;
use crate::os::detach::{self, Side, detach};
use crate::outcome::{MissReason, Refusal};
use crate::store::builds::Caller;
use crate::store::{Place, run_gc};
use crate::unit::Rest;

use super::Call;

/// For how long to wait for one who stores something.
const PATIENCE: Duration = Duration::from_secs(5);

/// For how long to wait until one says what it stores: most often that is something else.
const RECORDING: Duration = Duration::from_millis(250);

/// What has become of keeping.
pub(super) enum Keeping {
    /// It is done.
    Done,
    /// Another process does it, and reports it.
    Later,
}

impl Call<'_> {
    /// Whether what the process will have produced may be kept later.
    pub(super) fn may_defer(&self) -> bool {
        let config = self.request.config;
        let is_heard = config.log.file.is_none() && config.log.level >= LogLevel::Info;
        self.request.may_detach && *config.defer && !is_heard && self.unit.is_edit()
    }

    /// A place for keeping the rest later, if that is possible.
    pub(super) fn place_for(&self, rest: &mut dyn Rest) -> Option<Place> {
        if !rest.defer() {
            return None;
        }
        let place = self.engine.store.place_for_keeper()?;
        place.tell_key(self.unit.scene().key);
        Some(place)
    }

    /// Keeps something later or, if this process cannot be split, now.
    pub(super) fn keep_later(
        &self,
        place: Place,
        reason: &MissReason,
        keep: impl FnOnce(Option<&Place>) -> Result<(), Refusal>,
    ) -> Result<Keeping, Refusal> {
        // Who asked for the unit is not the parent of the other process.
        Caller::known();
        match detach() {
            Ok(Side::Caller) => {
                place.leave();
                Ok(Keeping::Later)
            }
            Ok(Side::Detached) => detach::end_with(|| self.keep_detached(place, reason, keep)),
            Err(_) => keep(None).map(|()| Keeping::Done),
        }
    }

    /// Waits for a process that is about to store what would be made here, if there is one.
    pub(super) fn await_keeper(&self) -> bool {
        let key = self.unit.scene().key;
        let keepers = self.engine.store.keepers_of(key);
        keepers.into_iter().any(|keeper| {
            let begun = Instant::now();
            let inputs = keeper.inputs_for(key, begun + RECORDING);
            let holds = inputs.map(|inputs| {
                self.in_world(|world| {
                    let mut checker = Checker::new(world, &inputs);
                    inputs.sets().iter().any(|set| checker.check(set).is_ok())
                })
            });
            let is_done = match holds {
                Some(true) => keeper.wait(begun + PATIENCE),
                Some(false) => false,
                // It may have ended meanwhile.
                None => keeper.wait(begun),
            };
            self.has_waited(is_done.then_some(begun));
            is_done
        })
    }

    fn keep_detached(
        &self,
        place: Place,
        reason: &MissReason,
        keep: impl FnOnce(Option<&Place>) -> Result<(), Refusal>,
    ) {
        // The build goes on now, whenever this is done.
        self.ended.set(Some(SystemTime::now()));
        let not_stored = keep(Some(&place)).err();
        let (engine, config) = (self.engine, self.request.config);
        engine.report_miss(self, reason, not_stored.as_ref());
        if not_stored.is_none() {
            self.unit.keep_state();
        }
        drop(place);
        if engine.is_full(config) {
            let _ = run_gc(engine.store, config, SystemTime::now());
        }
    }
}
