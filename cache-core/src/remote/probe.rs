//! Trying what a remote is used for.

use std::time::{Duration, Instant};

use super::engine::{Condition, EngineError, Object, Trouble, Written};
use super::settings::MARK;
use super::{Mode, Remote};

/// One thing that was tried with a remote.
#[derive(Debug)]
#[non_exhaustive]
pub struct ProbeStep {
    /// What it is called.
    pub name: &'static str,
    /// How long it took.
    pub took: Duration,
    /// What came of it, for people.
    pub outcome: Result<String, EngineError>,
}

impl ProbeStep {
    fn take(name: &'static str, step: impl FnOnce() -> Result<String, EngineError>) -> Self {
        let started = Instant::now();
        let outcome = step();
        Self {
            name,
            took: started.elapsed(),
            outcome,
        }
    }
}

/// Something else than the mark, for a moment, and as long.
const OTHER: &[u8] = b"cachewrap.";

/// Whoever probes a remote may put something else in the mark's place, bytes.
const LONGEST: u64 = 1 << 10;

/// What is done with the object of a name.
type Step<'a> = &'a dyn Fn(&str) -> Result<String, EngineError>;

impl Remote<'_> {
    /// Tries what the remote is used for, as far as settings allow it, one after the other until something fails; and
    /// whether it keeps to conditions: two machines that add to the same list at the same time then lose nothing.
    pub fn probe(&self) -> Vec<ProbeStep> {
        self.ask_again();
        let gathers = self.engine.gathers();
        let writes = self.settings.address.mode == Mode::Write && !gathers;
        let tries: [(&str, bool, Step<'_>); 7] = [
            // The first exchange has the connection, and where credentials come from a service, them.
            ("connect", true, &|name| self.connect(name)),
            ("put", writes, &|name| {
                self.put_mark(name, Condition::Always)
            }),
            ("get", true, &|name| self.get_mark(name, writes)),
            ("absent", writes, &|name| self.keeps_absent(name)),
            ("version", writes, &|name| self.keeps_version(name)),
            ("gather", gathers, &|_| {
                let what = "writing is not tried: `push` sends all at once";
                Ok(what.to_owned())
            }),
            ("has", true, &|name| {
                let has = self.guarded(|| self.engine.has(name))?;
                Ok(if has { "there" } else { "not there" }.to_owned())
            }),
        ];
        let name = self.settings.mark();
        let mut steps = Vec::new();
        for (what, _, step) in tries.iter().filter(|(_, is_allowed, _)| *is_allowed) {
            steps.push(ProbeStep::take(what, || step(&name)));
            if steps.last().is_some_and(|step| step.outcome.is_err()) {
                break;
            }
        }
        steps
    }

    fn connect(&self, name: &str) -> Result<String, EngineError> {
        Ok(match self.marked(name)? {
            Some(_) => "an object of an earlier probe is there".to_owned(),
            None => "no object of an earlier probe is there".to_owned(),
        })
    }

    fn marked(&self, name: &str) -> Result<Option<Object>, EngineError> {
        self.guarded(|| self.engine.get(name, LONGEST))
    }

    fn put(
        &self,
        name: &str,
        bytes: &[u8],
        condition: Condition<'_>,
    ) -> Result<Written, EngineError> {
        self.guarded(|| self.engine.put(name, bytes, condition))
    }

    fn put_mark(&self, name: &str, condition: Condition<'_>) -> Result<String, EngineError> {
        let written = self.put(name, MARK, condition);
        written.map(|_| "written".to_owned())
    }

    fn get_mark(&self, name: &str, was_written: bool) -> Result<String, EngineError> {
        let object = self.marked(name)?;
        if !was_written {
            return Ok("answered".to_owned());
        }
        let is_same = object.is_some_and(|object| object.bytes == MARK);
        let differs =
            || EngineError::new(Trouble::Confused, "what was read is not what was written");
        is_same.then(|| "the same".to_owned()).ok_or_else(differs)
    }

    /// Whether what is there is not written where it has to be absent.
    fn keeps_absent(&self, name: &str) -> Result<String, EngineError> {
        let written = self.put(name, MARK, Condition::Absent)?;
        Ok(said_of_condition(written == Written::No))
    }

    /// Whether a version is replaced while it is there, and not when it has been replaced already.
    fn keeps_version(&self, name: &str) -> Result<String, EngineError> {
        self.put(name, OTHER, Condition::Always)?;
        let there = self.marked(name)?;
        let Some(version) = there.and_then(|there| there.version) else {
            self.put(name, MARK, Condition::Always)?;
            return Ok(said_of_condition(false));
        };
        let condition = Condition::Version(&version);
        let first = self.put(name, MARK, condition)?;
        let second = self.put(name, MARK, condition)?;
        let holds = (first, second) == (Written::Yes, Written::No);
        Ok(said_of_condition(holds))
    }
}

fn said_of_condition(holds: bool) -> String {
    let what = if holds { "kept" } else { "ignored" };
    format!("the condition is {what}")
}
