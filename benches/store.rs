//! What looking through a large store costs: time and memory of `stats`, `verify` and `prune`.
//!
//! ```sh
//! cargo bench -p cache-core --bench store -- 100000
//! ```
//! Entries are synthetic: a manifest, a result and an output of 4 KB each, every
//! tenth of them hit since. Memory is the process's peak during the
//! step. Where a machine is busy, the processors' time says more than the clock's.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot work should stop"
)]

use std::time::{Instant, SystemTime};

use cache_core::Store;
use cache_core::store::retention::{Bound, EvictReason, Policy};
use cache_core::store::{CollectOptions, Collected, GcReport};

#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../tests/synthetic/mod.rs"]
mod synthetic;

use synthetic::{Synthetic, Unit, compressible};

fn main() {
    let mut numbers = std::env::args().filter_map(|arg| arg.parse::<u64>().ok());
    let entries = numbers.next().unwrap_or(2_000);
    let dir = tempfile::tempdir().unwrap();
    let synthetic = Synthetic::new(&dir.path().join("cache"));
    step("storing", || {
        for n in 0..entries {
            let mut unit = Unit::new(&format!("unit{n}")).stored_ago(3600 + entries - n);
            unit.outputs = vec![compressible(&unit.name, 4_000)];
            if n % 10 == 0 {
                unit = unit.hit_ago(1800);
            }
            synthetic.add(&unit);
        }
    });
    let store = &synthetic.store;
    let usage = step("stats", || store.usage().unwrap());
    println!("  {} results, {} MB", usage.results, usage.size >> 20);
    let report = step("verify", || store.verify(false, &|_| ()).unwrap().unwrap());
    assert!(report.findings.is_empty());
    step("prune, nothing to do", || {
        collect(store, usage.size * 2, false)
    });
    step("prune --dry-run, half", || {
        collect(store, usage.size / 2, true)
    });
    let report = step("prune, half", || collect(store, usage.size / 2, false));
    println!(
        "  {} evicted, {} compressed",
        report.removed_for(EvictReason::Size).results,
        report.compressed
    );
}

fn collect(store: &Store, max: u64, dry_run: bool) -> GcReport {
    let options = CollectOptions {
        policy: Policy {
            bound: Some(Bound::exactly(max)),
            ..Policy::default()
        },
        dry_run,
        threads: 0,
    };
    match store.collect(&options, SystemTime::now(), &|_| ()) {
        Ok(Collected::Done(report)) => report,
        other => panic!("{other:?}"),
    }
}

fn step<T>(name: &str, work: impl FnOnce() -> T) -> T {
    // Resets the peak, see proc(5).
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let (start, before) = (Instant::now(), processor_seconds());
    let done = work();
    let (time, busy) = (start.elapsed(), processor_seconds() - before);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.unwrap_or("unknown").trim();
    let time = time.as_secs_f64();
    println!("{name:<24} {time:>8.2} s {busy:>8.2} s of processors {peak:>12}");
    done
}

/// What all threads have spent so far, in user and in kernel mode.
fn processor_seconds() -> f64 {
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    let times = fields.split(' ').skip(11).take(2);
    times.filter_map(|t| t.parse::<f64>().ok()).sum::<f64>() / TICKS
}
