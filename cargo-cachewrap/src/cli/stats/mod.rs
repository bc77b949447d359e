//! `stats`: what the cache did, and what is in it.

mod json;
mod prometheus;
mod text;

use std::collections::BTreeMap;
use std::io::Write as _;

use cache_core::store::stats::Events;
use cache_core::store::{Build, LastCollection, Usage};
use cache_core::{Config, KnownToolchain, Store};

use super::args::{Format, StatsArgs};
use super::context::{Context, store};
use super::files;
use super::output::Failure;

pub(super) use prometheus::page;

pub(super) fn run(cx: &mut Context, args: &StatsArgs) -> Result<(), Failure> {
    let config = cx.config()?;
    let store = store(&config);
    if args.zero && *config.read_only {
        let origin = &config.read_only.origin;
        let message = format!("the counters of a read-only cache cannot be reset ({origin})");
        return Err(Failure::Usage(message));
    }
    let format = if args.json { Format::Json } else { args.format };
    match format {
        Format::Text => text::show(cx, &Stats::read(&store)?, &config)?,
        Format::Json => writeln!(cx.out, "{:#}", json::of(&Stats::read(&store)?, &config))?,
        Format::Prometheus => {
            let contents = Contents::read(&store)?;
            cx.out
                .write_all(page(&store, &config, &contents)?.as_bytes())?;
        }
    }
    if args.zero {
        store.reset_counters()?;
        if format == Format::Text {
            writeln!(cx.out, "\nThe counters begin at zero again")?;
        }
    }
    Ok(())
}

/// What is in the store, which takes time to find out.
pub(super) struct Contents {
    usage: Usage,
    known: Vec<KnownToolchain>,
}

impl Contents {
    pub(super) fn read(store: &Store) -> Result<Self, Failure> {
        Ok(Self {
            usage: store.usage()?,
            known: cache_core::known_toolchains(store)?,
        })
    }
}

/// What a person is shown.
struct Stats {
    last: Option<Build>,
    counters: Counters,
    contents: Contents,
}

impl Stats {
    fn read(store: &Store) -> Result<Self, Failure> {
        Ok(Self {
            last: store.last_build()?,
            counters: Counters(store.counters()?),
            contents: Contents::read(store)?,
        })
    }
}

struct Counters(BTreeMap<String, u64>);

impl Counters {
    fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// The counters `event.…`, by what follows the dot, largest first. Questions to the compiler are counted
    /// besides, and are no reason.
    fn reasons(&self, event: &str) -> Vec<(&str, u64)> {
        let of_event = self.0.iter().filter_map(|(name, n)| {
            let reason = name.strip_prefix(event)?.strip_prefix('.')?;
            (reason != "query").then_some((reason, *n))
        });
        let mut reasons: Vec<(&str, u64)> = of_event.collect();
        reasons.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
        reasons
    }

    /// Units that could have hit.
    fn looked_up(&self, events: &Events) -> u64 {
        self.get(events.hit) + self.get(events.miss)
    }

    /// Hits among the units that could have hit; `None` before there was one.
    fn hit_rate(&self, events: &Events) -> Option<f64> {
        let (hits, all) = (self.get(events.hit), self.looked_up(events));
        #[expect(
            clippy::cast_precision_loss,
            reason = "a share of two counts needs no more than 52 bits"
        )]
        (all > 0).then(|| hits as f64 / all as f64)
    }

    /// Whether anything became of a unit of the kind.
    fn any(&self, events: &Events) -> bool {
        self.looked_up(events) + self.get(events.bypass) > 0
    }
}

/// What is free where the cache is, bytes.
pub(super) fn free_space(config: &Config) -> Option<u64> {
    fs2::available_space(files::nearest_dir(&config.dir)?).ok()
}

/// When a collection ended, seconds since 1970.
pub(super) fn finished(last: &LastCollection) -> u64 {
    let since = last.finished.duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
