//! `stats`: what the cache did, and what is in it.

use std::collections::BTreeMap;
use std::io::Write as _;

use cache_core::config::format_size;
use cache_core::store::Usage;
use cache_core::store::stats::{
    BYPASS, COMPILE_US, CORRUPT, FAULT, HIT, MISS, NOT_STORED, SAVED_US, SCRIPT_BYPASS, SCRIPT_HIT,
    SCRIPT_MISS, SCRIPT_NOT_STORED, SCRIPT_SAVED_US, SCRIPT_US, SEED_UNITS, SEED_USED,
    STORED_BYTES,
};
use cache_core::{Config, Digest, KnownToolchain};
use serde_json::{Value, json};

use super::args::StatsArgs;
use super::context::{Context, store};
use super::output::{Failure, counted, human_duration};
use super::prune::SHORT_DIGEST;

pub(super) fn run(cx: &mut Context, args: &StatsArgs) -> Result<(), Failure> {
    let config = cx.config()?;
    let store = store(&config);
    if args.zero && *config.read_only {
        let origin = &config.read_only.origin;
        let message = format!("the counters of a read-only cache cannot be reset ({origin})");
        return Err(Failure::Usage(message));
    }
    let stats = Stats {
        counters: store.counters()?,
        usage: store.usage()?,
        known: cache_core::known_toolchains(&store)?,
    };
    if args.json {
        writeln!(cx.out, "{:#}", stats.as_json(&config))?;
    } else {
        stats.show(cx, &config)?;
    }
    if args.zero {
        store.reset_counters()?;
        if !args.json {
            writeln!(cx.out, "\nThe counters begin at zero again")?;
        }
    }
    Ok(())
}

/// A kind of units, and the counters of what became of them.
struct Units {
    title: &'static str,
    hit: &'static str,
    miss: &'static str,
    bypass: &'static str,
    not_stored: &'static str,
}

const COMPILATIONS: Units = Units {
    title: "Compilations",
    hit: HIT,
    miss: MISS,
    bypass: BYPASS,
    not_stored: NOT_STORED,
};

const SCRIPT_RUNS: Units = Units {
    title: "Runs of build scripts",
    hit: SCRIPT_HIT,
    miss: SCRIPT_MISS,
    bypass: SCRIPT_BYPASS,
    not_stored: SCRIPT_NOT_STORED,
};

struct Stats {
    counters: BTreeMap<String, u64>,
    usage: Usage,
    known: Vec<KnownToolchain>,
}

impl Stats {
    fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }

    /// The counters `event.…`, by what follows the dot, largest first.
    fn details(&self, event: &str) -> Vec<(&str, u64)> {
        let of_event = self.counters.iter().filter_map(|(name, n)| {
            let detail = name.strip_prefix(event)?.strip_prefix('.')?;
            Some((detail, *n))
        });
        let mut details: Vec<(&str, u64)> = of_event.collect();
        details.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
        details
    }

    /// Hits among the units that could have hit; `None` before there was one.
    fn hit_rate(&self, units: &Units) -> Option<f64> {
        let (hits, misses) = (self.counter(units.hit), self.counter(units.miss));
        #[expect(
            clippy::cast_precision_loss,
            reason = "a share of two counts needs no more than 52 bits"
        )]
        (hits + misses > 0).then(|| hits as f64 / (hits + misses) as f64)
    }

    fn show(&self, cx: &mut Context, config: &Config) -> Result<(), Failure> {
        self.show_units(cx, &COMPILATIONS)?;
        let queries = self.counter("hit.query") + self.counter("miss.query");
        if queries > 0 {
            row(
                cx,
                "of these",
                &format!("{} to the compiler", counted(queries, "question")),
            )?;
        }
        if self.counter(SEED_UNITS) > 0 {
            let builds = counted(self.counter(SEED_USED), "build");
            let ahead = format!("{} of {builds}", self.counter(SEED_UNITS));
            row(cx, "served ahead", &ahead)?;
        }
        for (name, label) in [(FAULT, "faults"), (CORRUPT, "damaged files")] {
            if self.counter(name) > 0 {
                row(cx, label, &self.counter(name).to_string())?;
            }
        }
        let scripts = [SCRIPT_HIT, SCRIPT_MISS, SCRIPT_BYPASS];
        let any_script = scripts.iter().any(|name| self.counter(name) > 0);
        if any_script {
            self.show_units(cx, &SCRIPT_RUNS)?;
        }
        let title = cx.out.bold("Time");
        writeln!(cx.out, "{title}")?;
        row(cx, "saved", &human_duration(self.counter(SAVED_US)))?;
        row(cx, "compiling", &human_duration(self.counter(COMPILE_US)))?;
        if any_script {
            let saved = human_duration(self.counter(SCRIPT_SAVED_US));
            row(cx, "scripts saved", &saved)?;
            row(cx, "scripts run", &human_duration(self.counter(SCRIPT_US)))?;
        }
        self.show_store(cx, config)
    }

    fn show_units(&self, cx: &mut Context, units: &Units) -> Result<(), Failure> {
        let title = cx.out.bold(units.title);
        writeln!(cx.out, "{title}")?;
        let rate = self.hit_rate(units);
        let rate = rate.map_or_else(String::new, |rate| format!("  {:.1} %", rate * 100.0));
        row(cx, "hits", &format!("{}{rate}", self.counter(units.hit)))?;
        row(cx, "misses", &self.counter(units.miss).to_string())?;
        self.show_details(cx, units.miss)?;
        row(cx, "bypassed", &self.counter(units.bypass).to_string())?;
        self.show_details(cx, units.bypass)?;
        if self.counter(units.not_stored) > 0 {
            let not_stored = self.counter(units.not_stored).to_string();
            row(cx, "not stored", &not_stored)?;
            self.show_details(cx, units.not_stored)?;
        }
        Ok(())
    }

    fn show_details(&self, cx: &mut Context, event: &str) -> Result<(), Failure> {
        for (reason, n) in self.details(event) {
            if reason != "query" {
                writeln!(cx.out, "    {:<26} {n}", reason.replace(['-', '_'], " "))?;
            }
        }
        Ok(())
    }

    fn show_store(&self, cx: &mut Context, config: &Config) -> Result<(), Failure> {
        let usage = &self.usage;
        let title = cx.out.bold("Cache");
        writeln!(cx.out, "{title}")?;
        row(cx, "directory", &config.dir.display().to_string())?;
        let (size, max) = (format_size(usage.size), format_size(*config.max_size));
        row(cx, "size", &format!("{size} of {max}"))?;
        row(
            cx,
            "results",
            &format!("{} ({} used)", usage.results, usage.hit_results),
        )?;
        let files = format!("{} ({} compressed)", usage.blobs, usage.compressed_blobs);
        row(cx, "outputs", &files)?;
        for (digest, results) in &usage.toolchains {
            let name = self.toolchain_name(*digest);
            row(
                cx,
                "toolchain",
                &format!("{name}: {}", counted(*results, "result")),
            )?;
        }
        Ok(())
    }

    fn toolchain_name(&self, digest: Digest) -> String {
        let known = self.known.iter().find(|known| known.digest == digest);
        let mut short = digest.to_hex();
        short.truncate(SHORT_DIGEST);
        match known {
            Some(known) => format!("{} [{short}]", known.version),
            None => format!("[{short}]"),
        }
    }

    fn as_json(&self, config: &Config) -> Value {
        let usage = &self.usage;
        let toolchains: Vec<Value> = usage
            .toolchains
            .iter()
            .map(|(digest, results)| {
                let known = self.known.iter().find(|known| known.digest == *digest);
                json!({
                    "digest": digest.to_hex(),
                    "version": known.map(|known| &known.version),
                    "results": results,
                })
            })
            .collect();
        json!({
            "hits": self.counter(HIT),
            "misses": self.counter(MISS),
            "bypasses": self.counter(BYPASS),
            "hit_rate": self.hit_rate(&COMPILATIONS),
            "saved_us": self.counter(SAVED_US),
            "compile_us": self.counter(COMPILE_US),
            "build_scripts": {
                "hits": self.counter(SCRIPT_HIT),
                "misses": self.counter(SCRIPT_MISS),
                "bypasses": self.counter(SCRIPT_BYPASS),
                "hit_rate": self.hit_rate(&SCRIPT_RUNS),
                "saved_us": self.counter(SCRIPT_SAVED_US),
                "run_us": self.counter(SCRIPT_US),
            },
            "stored_bytes": self.counter(STORED_BYTES),
            "counters": self.counters,
            "cache": {
                "dir": config.dir.display().to_string(),
                "max_size": *config.max_size,
                "size": usage.size,
                "results": usage.results,
                "hit_results": usage.hit_results,
                "manifests": usage.manifests,
                "blobs": usage.blobs,
                "compressed_blobs": usage.compressed_blobs,
                "blob_size": usage.blob_size,
            },
            "toolchains": toolchains,
        })
    }
}

fn row(cx: &mut Context, label: &str, value: &str) -> Result<(), Failure> {
    Ok(writeln!(cx.out, "  {label:<14} {value}")?)
}
