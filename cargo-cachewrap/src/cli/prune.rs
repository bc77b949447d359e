//! `prune`: a collection in the foreground.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::SystemTime;

use cache_core::config::format_size;
use cache_core::store::retention::{Bound, Policy};
use cache_core::store::{CollectOptions, Collected, GcReport};
use cache_core::{Config, Digest, KnownToolchain, Store};

use super::args::PruneArgs;
use super::context::{Context, store};
use super::output::{Failure, counted};
use super::progress::Bar;

/// Digits of a digest that tell toolchains apart.
pub(super) const SHORT_DIGEST: usize = 12;

pub(super) fn run(cx: &mut Context, args: &PruneArgs) -> Result<(), Failure> {
    let config = cx.config()?;
    let store = store(&config);
    let options = CollectOptions {
        policy: policy(args, &config, &store)?,
        dry_run: args.dry_run,
        threads: 0,
    };
    let bar = Bar::new();
    let collected = store.collect(&options, SystemTime::now(), &|progress| bar.show(progress));
    bar.finish();
    match collected? {
        Collected::Done(report) => show(cx, &report, args.dry_run),
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
    let selective = args.older_than.is_some() || !args.toolchain.is_empty();
    let max = args.max.or((!selective).then_some(*config.max_size));
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
        bound: max.map(Bound::exactly),
        older_than: args.older_than,
        drop_toolchains,
        ..Policy::default()
    })
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

fn show(cx: &mut Context, report: &GcReport, dry_run: bool) -> Result<(), Failure> {
    let (removed, compressed) = if dry_run {
        ("Would remove", "Would compress")
    } else {
        ("Removed", "Compressed")
    };
    let rows = [
        (report.evicted, "result", " to make room"),
        (report.expired, "result", " not used for too long"),
        (report.dropped, "result", " of dropped toolchains"),
        (report.broken, "result", " that were incomplete"),
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
