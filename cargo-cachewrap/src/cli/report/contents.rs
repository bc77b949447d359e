//! What a report says of the store: what takes the space, by crate and by age.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use cache_core::store::{Build, StoredResult};
use cache_core::{Config, Digest, Store};
use serde::Serialize;

use super::super::output::Failure;
use super::super::prune::SHORT_DIGEST;

/// Crates that take less than these are told as one.
const MOST_CRATES: usize = 40;

/// Days since the last use by which results are grouped.
const AGES: [u64; 4] = [1, 7, 30, 90];

#[derive(Serialize)]
pub(super) struct Contents {
    dir: String,
    /// What results and their outputs take, bytes in whole blocks.
    size: u64,
    max_size: u64,
    results: u64,
    /// The largest first.
    crates: Vec<Share>,
    other_crates: Option<Others>,
    /// The youngest first; the last one has no bound.
    ages: Vec<Age>,
    toolchains: Vec<Share>,
}

/// What belongs together.
#[derive(Default, Serialize)]
struct Share {
    name: String,
    results: u64,
    /// Results that were served since they were stored, as far as that shows.
    used: u64,
    size: u64,
    /// Seconds since the epoch.
    last_use: u64,
    /// What making all of it took.
    took_us: u64,
}

#[derive(Serialize)]
struct Others {
    crates: usize,
    results: u64,
    size: u64,
}

#[derive(Serialize)]
struct Age {
    /// Days since the last use, at most.
    days: Option<u64>,
    results: u64,
    size: u64,
}

pub(super) fn of(
    store: &Store,
    config: &Config,
    results: &[StoredResult],
    builds: &[Build],
) -> Result<Contents, Failure> {
    let packages = packages(builds);
    let mut crates: BTreeMap<String, Share> = BTreeMap::new();
    let mut toolchains: BTreeMap<Digest, Share> = BTreeMap::new();
    for result in results {
        let package = packages.get(result.key.0.to_hex().as_str()).copied();
        crates
            .entry(crate_of(&result.unit, package))
            .or_default()
            .add(result);
        toolchains.entry(result.toolchain).or_default().add(result);
    }
    let known = cache_core::known_toolchains(store)?;
    let toolchains = toolchains.into_iter().map(|(digest, mut share)| {
        let version = known.iter().find(|known| known.digest == digest);
        let mut short = digest.to_hex();
        short.truncate(SHORT_DIGEST);
        share.name = version.map_or(short, |known| known.version.clone());
        share
    });
    let mut crates: Vec<Share> = named(crates);
    let rest = crates.split_off(crates.len().min(MOST_CRATES));
    Ok(Contents {
        dir: config.dir.display().to_string(),
        size: results.iter().map(|result| result.size).sum(),
        max_size: *config.max_size,
        results: results.len() as u64,
        crates,
        other_crates: (!rest.is_empty()).then(|| Others {
            crates: rest.len(),
            results: rest.iter().map(|share| share.results).sum(),
            size: rest.iter().map(|share| share.size).sum(),
        }),
        ages: ages(results, SystemTime::now()),
        toolchains: toolchains.collect(),
    })
}

/// The packages of results, as far as records tell them.
fn packages(builds: &[Build]) -> HashMap<&str, &str> {
    let units = builds.iter().flat_map(|build| &build.units);
    let named = units.filter_map(|unit| Some((unit.result.as_deref()?, unit.package.as_deref()?)));
    named.collect()
}

/// What people call a unit's crate: all build scripts have the same name, so that of the package stands for it.
fn crate_of(unit: &str, package: Option<&str>) -> String {
    let name = unit.split(" (").next().unwrap_or(unit);
    let package = package.and_then(|package| package.split(' ').next());
    match package {
        Some(package) if name.starts_with("build_script_") => package.replace('-', "_"),
        _ => name.replace('-', "_"),
    }
}

fn named(shares: BTreeMap<String, Share>) -> Vec<Share> {
    let named = shares
        .into_iter()
        .map(|(name, share)| Share { name, ..share });
    let mut named: Vec<Share> = named.collect();
    named.sort_by_key(|share| std::cmp::Reverse(share.size));
    named
}

impl Share {
    fn add(&mut self, result: &StoredResult) {
        self.results += 1;
        self.used += u64::from(result.hit);
        self.size += result.size;
        let last_use = result.last_use.duration_since(SystemTime::UNIX_EPOCH);
        self.last_use = self
            .last_use
            .max(last_use.map_or(0, |since| since.as_secs()));
        let took = u64::try_from(result.duration.as_micros()).unwrap_or(u64::MAX);
        self.took_us = self.took_us.saturating_add(took);
    }
}

fn ages(results: &[StoredResult], now: SystemTime) -> Vec<Age> {
    let bounds = AGES.iter().copied().map(Some).chain([None]);
    let mut ages: Vec<Age> = bounds
        .map(|days| Age {
            days,
            results: 0,
            size: 0,
        })
        .collect();
    for result in results {
        let age = now
            .duration_since(result.last_use)
            .unwrap_or(Duration::ZERO);
        let is_within = |group: &&mut Age| {
            group
                .days
                .is_none_or(|days| age <= Duration::from_secs(days * 24 * 3600))
        };
        if let Some(group) = ages.iter_mut().find(is_within) {
            group.results += 1;
            group.size += result.size;
        }
    }
    ages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_called_as_people_call_them() {
        assert_eq!(crate_of("serde (lib)", None), "serde");
        assert_eq!(
            crate_of("proc-macro2 (build script run)", Some("proc-macro2 1.0.0")),
            "proc_macro2"
        );
        assert_eq!(
            crate_of("build_script_build (bin)", Some("libc 0.2.1")),
            "libc"
        );
        assert_eq!(
            crate_of("build_script_build (bin)", None),
            "build_script_build"
        );
    }
}
