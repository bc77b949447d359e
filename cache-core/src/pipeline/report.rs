//! What becomes of a call, as log lines, counters, and lines of the build's record.

use std::time::SystemTime;

use crate::config::LogLevel;
use crate::formats::digest::{Digest, ResultKey};
use crate::formats::key::{KeyHasher, KeyParts};
use crate::inputs::input::Input;
use crate::outcome::{Bypass, BypassReason, MissReason, Refusal};
use crate::outputs::result::CompileResult;
use crate::request::Request;
use crate::roots::Roots;
use crate::scene::Scene;
use crate::store::builds::{Noted, RecordedOutcome, UnitKind};
use crate::store::stats::Events;
use crate::unit::Unit;

use super::{Call, Engine};

impl Engine<'_> {
    pub(super) fn report_bypass(
        &self,
        events: &Events,
        name: &str,
        request: &Request<'_>,
        started: SystemTime,
        why: &Bypass,
    ) {
        self.log
            .say(LogLevel::Info, || format!("bypass: {name}: {why}"));
        // What is not to be cached is not to be counted either.
        if why.why == BypassReason::NotWanted {
            return;
        }
        self.count_with_reason(events.bypass, why.why.name());
        self.store.note_unit(Noted {
            request,
            kind: events.kind,
            unit: name,
            roots: &Roots::default(),
            outcome: RecordedOutcome::bypass(why),
            started,
            ended: None,
            waited_us: 0,
            ran_us: 0,
            saved_us: 0,
            bytes: 0,
            manifest: None,
            result: None,
            parts: KeyParts::new(),
        });
    }

    pub(super) fn report_hit(&self, call: &Call<'_>, result: &CompileResult) {
        let (events, unit) = (call.events, call.unit);
        let name = &unit.scene().name;
        self.log.say(LogLevel::Info, || format!("hit: {name}"));
        let mut amounts = vec![(events.hit, 1), (events.saved_us, result.duration_us)];
        let query = unit.is_query().then(|| format!("{}.query", events.hit));
        amounts.extend(query.as_deref().map(|query| (query, 1)));
        self.count(&amounts);
        let saved_us = result.duration_us;
        self.note(call, RecordedOutcome::Hit, saved_us, KeyParts::new());
    }

    /// Notes what a call came to in the record of its build.
    fn note(&self, call: &Call<'_>, outcome: RecordedOutcome, saved_us: u64, parts: KeyParts) {
        let (scene, stored) = (call.unit.scene(), call.stored.get());
        self.store.note_unit(Noted {
            request: call.request,
            kind: if call.unit.is_query() {
                UnitKind::Query
            } else {
                call.events.kind
            },
            unit: &scene.name,
            roots: &scene.roots,
            outcome,
            started: call.started,
            ended: call.ended.get(),
            waited_us: call.waited_us.get(),
            ran_us: call.ran_us.get(),
            saved_us,
            bytes: stored.map_or(0, |stored| stored.bytes),
            manifest: Some(scene.key),
            result: stored.map(|stored| stored.key),
            parts,
        });
    }

    /// Says what enters the key of a unit.
    pub(super) fn report_key(&self, unit: &dyn Unit) {
        let scene = unit.scene();
        self.log.say(LogLevel::Trace, || {
            let key = unit.described_key();
            fields(&scene.name, "key", scene.key.0, &key)
        });
    }

    /// Says what enters the key of a result.
    pub(super) fn report_inputs(&self, scene: &Scene<'_>, inputs: &[Input], key: ResultKey) {
        self.log.say(LogLevel::Trace, || {
            let mut hasher = KeyHasher::described("inputs");
            for input in inputs {
                hasher.input(input);
            }
            fields(&scene.name, "result", key.0, &hasher)
        });
    }

    pub(super) fn report_waiting(&self, unit: &dyn Unit) {
        let name = &unit.scene().name;
        let said = || format!("waiting for another process: {name}");
        self.log.say(LogLevel::Info, said);
    }

    /// Says why a unit is not served, before its process runs.
    pub(super) fn report_reason(&self, unit: &dyn Unit, reason: &MissReason) {
        let name = &unit.scene().name;
        let said = || format!("miss: {name}: {}", reason.name());
        self.log.say(LogLevel::Info, said);
        self.log
            .say(LogLevel::Debug, || format!("{name}: {reason}"));
    }

    pub(super) fn report_miss(
        &self,
        call: &Call<'_>,
        reason: &MissReason,
        not_stored: Option<&Refusal>,
    ) {
        let (events, unit) = (call.events, call.unit);
        let name = &unit.scene().name;
        let mut amounts = vec![
            events.miss.to_owned(),
            format!("{}.{}", events.miss, reason.name()),
        ];
        if unit.is_query() {
            amounts.push(format!("{}.query", events.miss));
        }
        if let Some(refusal) = not_stored {
            self.log
                .say(LogLevel::Info, || format!("not stored: {name}: {refusal}"));
            amounts.push(events.not_stored.to_owned());
            amounts.push(format!("{}.{}", events.not_stored, refusal.why.name()));
        }
        let amounts: Vec<_> = amounts.iter().map(|event| (event.as_str(), 1)).collect();
        self.count(&amounts);
        // Questions are many, and not asked again and again.
        let is_new = *reason == MissReason::NoEntry && !unit.is_query();
        let parts = if is_new {
            unit.described_key().parts()
        } else {
            KeyParts::new()
        };
        let outcome = RecordedOutcome::miss(reason, not_stored);
        self.note(call, outcome, 0, parts);
    }
}

/// A line for each field that enters a key.
fn fields(name: &str, what: &str, key: Digest, hasher: &KeyHasher) -> String {
    let lines = hasher.fields().iter().map(|field| format!("\n  {field}"));
    format!("{name}: {what} {key}{}", lines.collect::<String>())
}
