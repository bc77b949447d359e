//! `verify`: everything in the cache, read and checked.

use std::io::Write as _;

use cache_core::config::format_size;

use super::args::VerifyArgs;
use super::context::{Context, store};
use super::output::{Failure, counted};
use super::progress::Bar;

pub(super) fn run(cx: &mut Context, args: &VerifyArgs) -> Result<(), Failure> {
    let config = cx.config()?;
    if args.repair && *config.read_only {
        let origin = &config.read_only.origin;
        let message = format!("a read-only cache cannot be repaired ({origin})");
        return Err(Failure::Usage(message));
    }
    let bar = Bar::new();
    let report = store(&config).verify(args.repair, &|progress| bar.show(progress));
    bar.finish();
    let Some(report) = report? else {
        let message = "a collection is running in the cache; try again when it has finished";
        return Err(Failure::Failed(message.into()));
    };
    for finding in &report.findings {
        let removed = if finding.removed { " (removed)" } else { "" };
        writeln!(cx.out, "{}: {finding}{removed}", cx.out.bad("bad"))?;
    }
    let checked = [
        counted(report.results, "result"),
        counted(report.manifests, "manifest"),
        counted(report.blobs, "blob"),
        counted(report.others, "other file"),
    ];
    let size = format_size(report.bytes);
    writeln!(cx.out, "Verified {}: {size}", checked.join(", "))?;
    if report.foreign > 0 {
        let foreign = counted(report.foreign, "file");
        writeln!(
            cx.out,
            "Left alone {foreign} of another version of cachewrap"
        )?;
    }
    let found = report.findings.len() as u64;
    let left = report.findings.iter().filter(|f| !f.removed).count() as u64;
    match (found, left) {
        (0, _) => writeln!(cx.out, "All is in order")?,
        (_, 0) => writeln!(cx.out, "Removed {}", counted(found, "bad file"))?,
        _ if args.repair => {
            writeln!(cx.out, "Could not remove {}", counted(left, "bad file"))?;
            return Err(Failure::Reported);
        }
        _ => {
            let found = counted(found, "bad file");
            writeln!(
                cx.out,
                "Found {found}; `cargo cachewrap verify --repair` removes them"
            )?;
            return Err(Failure::Reported);
        }
    }
    Ok(())
}
