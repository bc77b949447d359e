//! Trying what a remote is used for.

use std::time::{Duration, Instant, SystemTime};

use super::engine::{Condition, EngineError, Object, Written};
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

impl Remote<'_> {
    /// Tries what the remote is used for, as far as settings allow it, one after the other until something fails.
    pub fn probe(&self) -> Vec<ProbeStep> {
        self.ask_again();
        let name = format!("cw1/{}/probe", self.settings.address.namespace);
        let content = format!("{:?}", SystemTime::now());
        let written = |written| match written {
            Written::Yes => "written".to_owned(),
            Written::No => "not written".to_owned(),
        };
        let mut steps = Vec::new();
        if self.settings.address.mode == Mode::Write {
            let put = || {
                self.engine
                    .put(&name, content.as_bytes(), Condition::Always)
            };
            steps.push(ProbeStep::take("write", || self.guarded(put).map(written)));
            let has = || self.engine.has(&name);
            let there = |there: bool| if there { "there" } else { "not there" }.to_owned();
            steps.push(ProbeStep::take("look", || self.guarded(has).map(there)));
        }
        let get = || self.engine.get(&name, 1 << 10);
        let read = |object: Option<Object>| match object {
            Some(object) if object.bytes == content.as_bytes() => "as it was written".to_owned(),
            Some(_) => "another machine's".to_owned(),
            None => "nothing there".to_owned(),
        };
        steps.push(ProbeStep::take("read", || self.guarded(get).map(read)));
        let absent = || self.engine.get(&format!("{name}-absent"), 1 << 10);
        let read = |object: Option<Object>| match object {
            Some(_) => "something is there".to_owned(),
            None => "nothing there, as it should be".to_owned(),
        };
        steps.push(ProbeStep::take("miss", || self.guarded(absent).map(read)));
        let failed = steps.iter().position(|step| step.outcome.is_err());
        steps.truncate(failed.map_or(steps.len(), |n| n + 1));
        steps
    }
}
