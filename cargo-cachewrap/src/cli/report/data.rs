//! What a report says of builds. `docs/report.schema.json` describes the same for programs.

use std::time::SystemTime;

use cache_core::store::{Build, RecordedChange, RecordedOutcome, UnitKind, UnitRecord};
use cache_core::{BypassReason, NotStored};
use serde::Serialize;

use super::super::sums::{Sums, ran_us};
use super::contents::Contents;
use super::critical::{self, Span};

/// Grows when programs that read an earlier one would misunderstand.
const FORMAT: u32 = 1;

/// The units of the newest builds are told one by one, of the others only sums: a page should open at once.
const MOST_UNITS: usize = 20_000;

#[derive(Serialize)]
pub(super) struct Report {
    format: u32,
    version: &'static str,
    /// Seconds since the epoch.
    made: u64,
    /// The newest first.
    builds: Vec<BuildData>,
    store: Contents,
}

#[derive(Serialize)]
struct BuildData {
    id: String,
    dir: Option<String>,
    started_us: u64,
    /// From the first question to the end of the last unit.
    took_us: u64,
    running: bool,
    unread: usize,
    sums: Sums,
    /// `None`: too many to be told one by one.
    units: Option<Vec<UnitData>>,
    /// By positions in `units`.
    critical_path: Vec<usize>,
    critical_us: u64,
}

#[derive(Serialize)]
struct UnitData {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<String>,
    kind: &'static str,
    outcome: &'static str,
    /// Since the build's start.
    start_us: u64,
    took_us: u64,
    waited_us: u64,
    ran_us: u64,
    saved_us: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The reason as a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<RecordedChange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_stored: Option<Told>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differs: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    needs: Vec<usize>,
}

/// A reason, with what it means.
#[derive(Serialize)]
struct Told {
    reason: String,
    why: String,
}

/// A report of these builds, the newest first.
pub(super) fn of(builds: &[Build], store: Contents) -> Report {
    let mut left = MOST_UNITS;
    let told = builds.iter().enumerate().map(|(n, build)| {
        let is_told = n == 0 || build.units.len() <= left;
        left = left.saturating_sub(build.units.len());
        build_data(build, is_told)
    });
    Report {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION"),
        builds: told.collect(),
        made: SystemTime::UNIX_EPOCH
            .elapsed()
            .map_or(0, |since| since.as_secs()),
        store,
    }
}

fn build_data(build: &Build, is_told: bool) -> BuildData {
    let starts = build.units.iter().map(|unit| unit.started_us);
    let started_us = starts.min().unwrap_or(0);
    let ends = build.units.iter().map(end);
    let span_of = |unit: &UnitRecord| {
        let span = Span {
            start: unit.started_us,
            took: unit.took_us,
        };
        (unit.kind != UnitKind::Query).then_some(span)
    };
    let spans: Vec<Option<Span>> = build.units.iter().map(span_of).collect();
    let path = critical::path(&spans, &build.needs);
    let units = build.units.iter().zip(&build.needs);
    let units = units.map(|(unit, needs)| unit_data(unit, needs, started_us));
    BuildData {
        id: build.id.clone(),
        dir: build.dir.as_ref().map(|dir| dir.display().to_string()),
        started_us,
        took_us: ends.max().unwrap_or(0) - started_us,
        running: build.is_running,
        unread: build.unread,
        sums: Sums::of(&build.units),
        units: is_told.then(|| units.collect()),
        critical_path: if is_told { path.units } else { Vec::new() },
        critical_us: path.length,
    }
}

fn end(unit: &UnitRecord) -> u64 {
    unit.started_us.saturating_add(unit.took_us)
}

fn unit_data(unit: &UnitRecord, needs: &[usize], build_started: u64) -> UnitData {
    let (mut change, mut not_stored) = (None, None);
    let (outcome, reason, why) = match &unit.outcome {
        RecordedOutcome::Hit => ("hit", None, None),
        RecordedOutcome::Ahead => ("ahead", None, None),
        RecordedOutcome::Bypass { reason, about } => {
            let known = BypassReason::ALL
                .iter()
                .find(|known| known.name() == reason);
            let sentence = known.map(|known| known.sentence());
            (
                "bypass",
                Some(reason.clone()),
                Some(sentence_about(sentence, about.as_deref())),
            )
        }
        RecordedOutcome::Miss {
            reason,
            said,
            change: changed,
            not_stored: refused,
            about,
        } => {
            change.clone_from(changed);
            not_stored = refused.as_ref().map(|refused| {
                let known = NotStored::ALL.iter().find(|known| known.name() == refused);
                let why = sentence_about(known.map(|known| known.sentence()), about.as_deref());
                Told {
                    reason: refused.clone(),
                    why,
                }
            });
            let why = match changed {
                Some(RecordedChange { what, old, new }) => format!("{what}: was {old}, is {new}"),
                None => said.clone(),
            };
            ("miss", Some(reason.clone()), Some(why))
        }
    };
    UnitData {
        name: unit.unit.clone(),
        package: unit.package.clone(),
        kind: unit.kind.name(),
        outcome,
        start_us: unit.started_us - build_started,
        took_us: unit.took_us,
        waited_us: unit.waited_us,
        ran_us: ran_us(unit),
        saved_us: unit.saved_us,
        bytes: unit.bytes,
        reason,
        why,
        change,
        not_stored,
        differs: unit.differs.clone(),
        needs: needs.to_vec(),
    }
}

fn sentence_about(sentence: Option<&str>, about: Option<&str>) -> String {
    let parts: Vec<&str> = sentence.into_iter().chain(about).collect();
    parts.join(": ")
}
