//! `prune`: a collection in the foreground.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use cache_core::config::format_size;
use cache_core::store::retention::{Bound, EvictReason, Policy};
use cache_core::store::{CollectOptions, Collected, GcReport};
use cache_core::{Config, Digest, KnownToolchain, Store};

use super::args::PruneArgs;
use super::context::{Context, store};
use super::output::{Failure, counted};
use super::progress::Bar;

/// Digits of a digest that tell toolchains apart.
pub(super) const SHORT_DIGEST: usize = 12;

pub(super) fn run(cx: &mut Context, args: &PruneArgs) -> Result<(), Failure> {
    if args.remote {
        return super::remote::prune(cx, args);
    }
    let config = cx.config()?;
    let store = store(&config);
    let policy = policy(args, &config, &store)?;
    let rules = Rules::new(args, &policy);
    let options = CollectOptions {
        policy,
        dry_run: args.dry_run,
        threads: 0,
    };
    let bar = Bar::new();
    let collected = store.collect(&options, SystemTime::now(), &|progress| bar.show(progress));
    bar.finish();
    match collected? {
        Collected::Done(report) => show(cx, &report, &rules, args.dry_run),
        Collected::Busy => Err(Failure::Failed(
            "another collection is running in the cache; try again when it has finished".into(),
        )),
        Collected::ReadOnly => Err(Failure::Failed(format!(
            "the cache is read-only ({})",
            config.read_only.origin
        ))),
    }
}

fn policy(args: &PruneArgs, config: &Config, store: &Store) -> Result<Policy, Failure> {
    if is_configured(args) {
        return Ok(Policy::configured(config));
    }
    let mut drop_toolchains = BTreeSet::new();
    if !args.toolchain.is_empty() {
        let present = store.usage()?.toolchains;
        let known = cache_core::known_toolchains(store)?;
        for wanted in &args.toolchain {
            let matching = present
                .keys()
                .filter(|digest| matches(wanted, **digest, &known));
            let before = drop_toolchains.len();
            drop_toolchains.extend(matching);
            if drop_toolchains.len() == before {
                return Err(Failure::Usage(format!(
                    "nothing in the cache is from a toolchain `{wanted}`; `cargo cachewrap stats` shows them"
                )));
            }
        }
    }
    Ok(Policy {
        bound: args.max.map(Bound::exactly),
        older_than: args.older_than,
        drop_toolchains,
        ..Policy::default()
    })
}

/// Whether it is for the settings to say what goes.
fn is_configured(args: &PruneArgs) -> bool {
    args.max.is_none() && args.older_than.is_none() && args.toolchain.is_empty()
}

/// What each rule is called by who set it, and its limit.
struct Rules {
    size: String,
    age: String,
    toolchain_age: String,
    free_space: String,
}

impl Rules {
    fn new(args: &PruneArgs, policy: &Policy) -> Self {
        let (size, age) = if is_configured(args) {
            ("max-size", "max-age")
        } else {
            ("--max", "--older-than")
        };
        let bytes = |name, limit: Option<u64>| {
            limit.map_or_else(String::new, |limit| {
                format!(" ({name} {})", format_size(limit))
            })
        };
        let duration = |name, limit: Option<Duration>| {
            let shown = |limit| format!(" ({name} {})", humantime::format_duration(limit));
            limit.map_or_else(String::new, shown)
        };
        Self {
            size: bytes(size, policy.bound.map(|bound| bound.max)),
            age: duration(age, policy.older_than),
            toolchain_age: duration("toolchain-max-age", policy.toolchain_older_than),
            free_space: bytes("keep-free-space", policy.keep_free.map(|keep| keep.goal)),
        }
    }

    /// Why results went.
    fn why(&self, reason: EvictReason) -> (&'static str, &str) {
        match reason {
            EvictReason::Broken => (" that were incomplete", ""),
            EvictReason::Toolchain => (" of dropped toolchains", ""),
            EvictReason::ToolchainAge => {
                (" of toolchains not used for too long", &self.toolchain_age)
            }
            EvictReason::Age => (" not used for too long", &self.age),
            EvictReason::FreeSpace => (" to keep space free", &self.free_space),
            EvictReason::Size => (" to make room", &self.size),
            _ => ("", ""),
        }
    }
}

/// Whether a toolchain is meant by what the user wrote.
fn matches(wanted: &str, digest: Digest, known: &[KnownToolchain]) -> bool {
    let by_digest = wanted.len() >= 6 && digest.to_hex().starts_with(wanted);
    by_digest
        || known.iter().any(|toolchain| {
            let name = toolchain.sysroot.file_name().unwrap_or_default();
            toolchain.digest == digest
                && (has_words(&toolchain.version, wanted)
                    || has_words(&name.to_string_lossy(), wanted))
        })
}

/// Whether `wanted` occurs in `text` without being a part of a longer number or word:
/// `1.8` is not meant by `1.80.0`, but `1.80` is.
fn has_words(text: &str, wanted: &str) -> bool {
    let boundary = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric());
    !wanted.is_empty()
        && text.match_indices(wanted).any(|(at, _)| {
            let before = text.get(..at).and_then(|s| s.chars().next_back());
            let after = text.get(at + wanted.len()..).and_then(|s| s.chars().next());
            boundary(before) && boundary(after)
        })
}

fn show(cx: &mut Context, report: &GcReport, rules: &Rules, dry_run: bool) -> Result<(), Failure> {
    let (removed, compressed) = if dry_run {
        ("Would remove", "Would compress")
    } else {
        ("Removed", "Compressed")
    };
    for (reason, gone) in &report.removed {
        let (results, size) = (counted(gone.results, "result"), format_size(gone.bytes));
        let (why, rule) = rules.why(*reason);
        writeln!(cx.out, "{removed} {results}{why}{rule}: {size}")?;
    }
    let rows = [
        (report.orphans, "file", " that nothing refers to"),
        (report.manifests, "manifest", " without results"),
        (report.tmp + report.memos, "stale file", ""),
    ];
    for (n, noun, why) in rows {
        if n > 0 {
            writeln!(cx.out, "{removed} {}{why}", counted(n, noun))?;
        }
    }
    if report.compressed > 0 {
        let blobs = counted(report.compressed, "file");
        writeln!(cx.out, "{compressed} {blobs}")?;
    }
    if report.failed > 0 {
        let files = counted(report.failed, "file");
        writeln!(cx.out, "Could not remove or compress {files}")?;
    }
    let (before, after) = (report.size_before, report.size_after);
    let freed = format_size(before.saturating_sub(after));
    let (before, after) = (format_size(before), format_size(after));
    let verb = if dry_run { "Would free" } else { "Freed" };
    writeln!(cx.out, "{verb} {freed}: {before} before, {after} after")?;
    if report.failed > 0 {
        return Err(Failure::Reported);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_match_by_whole_numbers() {
        let version = "rustc 1.80.0 (051478957 2024-07-21)";
        for wanted in ["1.80.0", "1.80", "rustc 1.80.0", "051478957"] {
            assert!(has_words(version, wanted), "{wanted}");
        }
        for wanted in ["1.8", "", "0514"] {
            assert!(!has_words(version, wanted), "{wanted}");
        }
        assert!(has_words("nightly-x86_64-unknown-linux-gnu", "nightly"));
    }
}
