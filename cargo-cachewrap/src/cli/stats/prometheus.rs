//! For Prometheus, in its text format, version 0.0.4:
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>.
//!
//! Names are documented in `docs/monitoring.md` and stay what they are. Counters are those since the store was
//! made, so that `stats --zero` does not show here. Each kind of units and each reason that is known beforehand
//! has a sample from the first time on, a zero if need be, because what appears with its first event makes
//! no rate. Kinds that only embedders have appear once they have counted something.

use std::fmt::{Display, Write as _};

use cache_core::remote::Trouble;
use cache_core::store::stats::{CORRUPT, Events, FAULT, KINDS, STORED_BYTES, TOOL_RUNS};
use cache_core::{BypassReason, Config, NotStored, Store};

use super::super::output::Failure;
use super::super::prune::SHORT_DIGEST;
use super::{Contents, Counters, finished, free_space};

/// All metrics. What is in the store is passed in, since finding it out takes time.
pub(in super::super) fn page(
    store: &Store,
    config: &Config,
    contents: &Contents,
) -> Result<String, Failure> {
    let counters = Counters(store.counters_ever()?);
    let mut page = Page::default();
    page.units(&counters);
    page.events(&counters);
    page.contents(config, contents);
    if let Some(free) = free_space(config) {
        let help = "Space that is free on the file system of the cache, to who asks.";
        page.gauge("cachewrap_store_free_bytes", help, free);
    }
    if let Some(last) = store.last_collection() {
        let help = "When the last collection ended, seconds since 1970.";
        let name = "cachewrap_last_collection_timestamp_seconds";
        page.gauge(name, help, finished(&last));
    }
    page.family(
        "cachewrap_build_info",
        "gauge",
        "The version of cachewrap that tells this; always 1.",
    );
    let version = env!("CARGO_PKG_VERSION");
    page.sample("cachewrap_build_info", &[("version", version)], 1);
    Ok(page.text)
}

/// What happens to units for a reason.
struct Event {
    name: &'static str,
    help: &'static str,
    counter: fn(&Events) -> &'static str,
    /// The reasons that are known beforehand.
    reasons: fn() -> Vec<&'static str>,
}

const EVENTS: [Event; 3] = [
    Event {
        name: "cachewrap_misses_total",
        help: "Units that were looked for, not found, and run.",
        counter: |events| events.miss,
        reasons: || vec!["no-entry"],
    },
    Event {
        name: "cachewrap_bypasses_total",
        help: "Units that were run without being looked for.",
        counter: |events| events.bypass,
        reasons: bypasses,
    },
    Event {
        name: "cachewrap_not_stored_total",
        help: "Misses whose outcome was not kept.",
        counter: |events| events.not_stored,
        reasons: || NotStored::ALL.iter().map(|reason| reason.name()).collect(),
    },
];

/// What is not wanted is not counted.
fn bypasses() -> Vec<&'static str> {
    let names = BypassReason::ALL.iter().map(|reason| reason.name());
    let not_wanted = BypassReason::NotWanted.name();
    names.filter(|name| *name != not_wanted).collect()
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn units(&mut self, counters: &Counters) {
        let kinds: Vec<&Events> = KINDS
            .iter()
            .filter(|events| events.kind != TOOL_RUNS.kind || counters.any(events))
            .collect();
        let hits = "cachewrap_hits_total";
        self.family(hits, "counter", "Units that were served from the store.");
        for events in &kinds {
            self.sample(
                hits,
                &[("kind", events.kind.name())],
                counters.get(events.hit),
            );
        }
        for event in EVENTS {
            self.family(event.name, "counter", event.help);
            for events in &kinds {
                self.by_reason(counters, &event, events);
            }
        }
        let saved = "cachewrap_saved_seconds_total";
        let help = "Time that the units that were served took when they were run.";
        self.family(saved, "counter", help);
        for events in &kinds {
            self.time(saved, events, counters.get(events.saved_us));
        }
        let took = "cachewrap_run_seconds_total";
        self.family(took, "counter", "Time that the units that were run took.");
        for events in &kinds {
            self.time(took, events, counters.get(events.took_us));
        }
    }

    fn by_reason(&mut self, counters: &Counters, event: &Event, events: &Events) {
        let found = counters.reasons((event.counter)(events));
        let known = (event.reasons)().into_iter().map(|name| (name, 0));
        let mut reasons: Vec<(&str, u64)> = known.collect();
        reasons.retain(|(name, _)| !found.iter().any(|(other, _)| name == other));
        reasons.extend(found);
        reasons.sort_unstable();
        for (reason, n) in reasons {
            let labels = [("kind", events.kind.name()), ("reason", reason)];
            self.sample(event.name, &labels, n);
        }
    }

    fn time(&mut self, name: &str, events: &Events, micros: u64) {
        self.sample(name, &[("kind", events.kind.name())], seconds(micros));
    }

    fn events(&mut self, counters: &Counters) {
        for (name, help, counter) in [
            (
                "cachewrap_waited_hits_total",
                "Hits on what another process was just making.",
                "hit.waited",
            ),
            (
                "cachewrap_stored_bytes_total",
                "Bytes written to the store, in whole blocks.",
                STORED_BYTES,
            ),
            (
                "cachewrap_faults_total",
                "Errors of the cache that builds went on without.",
                FAULT,
            ),
            (
                "cachewrap_damaged_files_total",
                "Damaged files that were met.",
                CORRUPT,
            ),
            (
                "cachewrap_remote_hits_total",
                "Units that a remote had.",
                "remote.hit",
            ),
            (
                "cachewrap_remote_misses_total",
                "Units that a remote did not have.",
                "remote.miss",
            ),
            (
                "cachewrap_remote_fetched_bytes_total",
                "What was fetched from a remote when it was asked for.",
                "remote.fetched_bytes",
            ),
            (
                "cachewrap_remote_sent_bytes_total",
                "What was sent to a remote.",
                "remote.sent_bytes",
            ),
        ] {
            self.family(name, "counter", help);
            self.sample(name, &[], counters.get(counter));
        }
        let waited = "cachewrap_remote_waited_seconds_total";
        self.family(waited, "counter", "Time that units waited for a remote.");
        self.sample(waited, &[], seconds(counters.get("remote.waited_us")));
        let errors = "cachewrap_remote_errors_total";
        self.family(errors, "counter", "Trouble with a remote.");
        for trouble in Trouble::ALL {
            let name = trouble.name();
            let n = counters.get(&format!("remote.error.{name}"));
            self.sample(errors, &[("trouble", name)], n);
        }
    }

    fn contents(&mut self, config: &Config, contents: &Contents) {
        let usage = &contents.usage;
        for (name, help, value) in [
            (
                "cachewrap_store_size_bytes",
                "Size of the store, in whole blocks.",
                usage.size,
            ),
            (
                "cachewrap_store_max_size_bytes",
                "The size above which the store is collected.",
                *config.max_size,
            ),
            (
                "cachewrap_store_manifests",
                "Input manifests in the store.",
                usage.manifests,
            ),
        ] {
            self.gauge(name, help, value);
        }
        let blobs = "cachewrap_store_blobs";
        self.family(blobs, "gauge", "Outputs in the store.");
        let raw = usage.blobs - usage.compressed_blobs;
        for (state, n) in [("raw", raw), ("compressed", usage.compressed_blobs)] {
            self.sample(blobs, &[("state", state)], n);
        }
        let results = "cachewrap_store_results";
        self.family(results, "gauge", "Results in the store.");
        self.sample(results, &[], usage.results);
        let by_toolchain = "cachewrap_store_toolchain_results";
        self.family(by_toolchain, "gauge", "Results of each compiler.");
        for (digest, n) in &usage.toolchains {
            let known = contents.known.iter().find(|known| known.digest == *digest);
            let version = known.map_or("", |known| known.version.as_str());
            let mut short = digest.to_hex();
            short.truncate(SHORT_DIGEST);
            let labels = [("toolchain", short.as_str()), ("version", version)];
            self.sample(by_toolchain, &labels, n);
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// What follows is of this name. Help texts have neither line ends nor backslashes.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        for (n, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', r"\\").replace('"', "\\\"");
            let text = text.replace('\n', r"\n");
            let before = if n == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{label}=\"{text}\"");
        }
        let end = if labels.is_empty() { " " } else { "} " };
        let _ = writeln!(self.text, "{end}{value}");
    }
}

fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut page = Page::default();
        page.sample("m", &[("a", "b\"c\\d\ne"), ("f", "")], 3);
        page.sample("m", &[], 4);
        assert_eq!(page.text, "m{a=\"b\\\"c\\\\d\\ne\",f=\"\"} 3\nm 4\n");
    }
}
