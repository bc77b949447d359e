//! What was placed, and why the rest was not: counters, and the record of the build.

use std::collections::HashMap;

use crate::config::LogLevel;
use crate::outcome::{Left, NotAhead};
use crate::store::builds::{AheadUnit, LeftUnit, micros};
use crate::store::stats;

use super::place::{Done, Site};
use super::seed::SeedUnit;

/// Counts what was placed, and notes it in the record of the build.
pub(super) fn report(
    site: &Site<'_>,
    build: &str,
    placed: &HashMap<usize, Result<Done, Left>>,
    dependencies: &[Vec<usize>],
) {
    let units = &site.seed.units;
    let done = |position: &usize| placed.get(position)?.as_ref().ok();
    let all = || (0..units.len()).filter_map(|position| done(&position));
    let number = all().count();
    site.log.say(LogLevel::Info, || {
        format!("served ahead: {number} of {} units", units.len())
    });
    let mut amounts: HashMap<&str, u64> = HashMap::new();
    *amounts.entry(stats::SEED_USED).or_default() += u64::from(number > 0);
    *amounts.entry(stats::SEED_UNITS).or_default() += number as u64;
    *amounts.entry(stats::SEED_LEFT).or_default() += (units.len() - number) as u64;
    for done in all() {
        *amounts.entry(done.events.hit).or_default() += 1;
        *amounts.entry(done.events.saved_us).or_default() += done.saved_us;
    }
    let amounts: Vec<(&str, u64)> = amounts.into_iter().filter(|(_, n)| *n > 0).collect();
    let _ = site.store.count(&amounts);
    let ahead = units.iter().enumerate().filter_map(|(position, unit)| {
        let done = done(&position)?;
        Some(AheadUnit {
            name: &unit.name,
            kind: done.events.kind,
            started_us: micros(done.started),
            took_us: done.took_us,
            saved_us: done.saved_us,
            bytes: done.bytes,
            result: unit.result,
        })
    });
    let left = units.iter().enumerate().filter_map(|(position, unit)| {
        let why = match placed.get(&position) {
            Some(placed) => placed.as_ref().err()?.clone(),
            None => NotAhead::Dependency.of(needed(position, dependencies, units, &done)),
        };
        site.log.say(LogLevel::Debug, || {
            format!("not ahead: {}: {why}", unit.name)
        });
        Some(LeftUnit::new(&unit.name, &unit.call, &why))
    });
    site.store.note_ahead(build, ahead, left);
}

/// The name of a unit that another one depends on, and that was not placed.
fn needed<'a>(
    position: usize,
    dependencies: &[Vec<usize>],
    units: &'a [SeedUnit],
    done: &dyn Fn(&usize) -> Option<&'a Done>,
) -> &'a str {
    let mut needs = dependencies.get(position).into_iter().flatten();
    let missing = needs.find(|need| done(need).is_none());
    let unit = missing.and_then(|missing| units.get(*missing));
    unit.map_or("", |unit| &unit.name)
}
