//! `explain`: what units of builds came to, and why they were not served.

use std::io::Write as _;
use std::time::{Duration, SystemTime};

use cache_core::NotAhead;
use cache_core::store::{RecordedOutcome, UnitKind, UnitRecord};

use super::args::ExplainArgs;
use super::context::{Context, store};
use super::output::Failure;
use super::sums::Sums;

pub(super) fn run(cx: &mut Context, args: &ExplainArgs) -> Result<(), Failure> {
    let config = cx.config()?;
    let records = store(&config).records()?;
    let wanted = select(&records, args);
    if args.json {
        let json = serde_json::to_value(&wanted).map_err(|e| Failure::Failed(e.to_string()))?;
        writeln!(cx.out, "{json:#}")?;
        return Ok(());
    }
    if let ([], Some(name)) = (&wanted[..], &args.unit) {
        let known = records.len();
        writeln!(cx.out, "No {name:?} among the last {known} units")?;
    } else if wanted.is_empty() {
        writeln!(cx.out, "No build is known")?;
    }
    let builds = wanted.chunk_by(|a, b| a.build == b.build);
    for (n, build) in builds.enumerate() {
        show(cx, build, n == 0, args)?;
    }
    Ok(())
}

/// The units asked for, those of a build together, the oldest first.
fn select<'a>(records: &'a [UnitRecord], args: &ExplainArgs) -> Vec<&'a UnitRecord> {
    // Packages are called with hyphens, crates with underscores.
    let plain = |name: &str| name.replace('-', "_");
    // A process that only asks which compiler there is builds nothing.
    let is_build = |unit: &&UnitRecord| unit.kind != UnitKind::Query;
    let last = records.iter().rfind(is_build).or(records.last());
    let last = last.map(|unit| unit.build.as_str());
    let wanted = |unit: &&UnitRecord| match &args.unit {
        Some(name) => plain(&unit.unit).contains(&plain(name)),
        None => args.all || Some(unit.build.as_str()) == last,
    };
    records.iter().filter(wanted).collect()
}

fn show(
    cx: &mut Context,
    build: &[&UnitRecord],
    first: bool,
    args: &ExplainArgs,
) -> Result<(), Failure> {
    let Some(first_unit) = build.first() else {
        return Ok(());
    };
    if !first {
        writeln!(cx.out)?;
    }
    let begun = Duration::from_micros(first_unit.started_us);
    let time = SystemTime::UNIX_EPOCH.checked_add(begun);
    let time = time.map_or_else(String::new, |time| {
        humantime::format_rfc3339_seconds(time).to_string()
    });
    let title = cx.out.bold(format!("Build of {time}"));
    let sums = Sums::of(build.iter().copied());
    writeln!(cx.out, "{title}: {sums}")?;
    for unit in build {
        // A unit that was asked for by name is told of whatever became of it.
        if is_served(unit) && !could_be_ahead(unit) && args.unit.is_none() {
            continue;
        }
        let names = if args.diff {
            String::new()
        } else {
            differing(unit)
        };
        let ahead = unit.not_ahead.as_ref();
        let ahead = ahead.map_or_else(String::new, |why| format!("; not ahead: {why}"));
        let line = format!("{}: {}{names}{ahead}", unit.unit, unit.outcome);
        writeln!(cx.out, "  {}", printable(&line))?;
        for part in unit.differences.iter().filter(|_| args.diff) {
            let digest = |side: &Option<String>| side.clone().unwrap_or_else(|| "-".to_owned());
            let line = format!(
                "{}: {} -> {}",
                part.name,
                digest(&part.old),
                digest(&part.new)
            );
            writeln!(cx.out, "    {}", printable(&line))?;
        }
    }
    Ok(())
}

fn is_served(unit: &UnitRecord) -> bool {
    matches!(unit.outcome, RecordedOutcome::Hit | RecordedOutcome::Ahead)
}

/// Whether something of its own kept the unit from being served ahead.
fn could_be_ahead(unit: &UnitRecord) -> bool {
    let why = unit.not_ahead.as_ref();
    why.is_some_and(|why| why.reason != NotAhead::Dependency.name())
}

/// More names than this say less than their number.
const MOST_NAMES: usize = 6;

/// In what the unit differs from the last time, after what became of it.
fn differing(entry: &UnitRecord) -> String {
    let names = entry.differs.iter().take(MOST_NAMES).cloned();
    let names = names.collect::<Vec<_>>().join(", ");
    match entry.differs.len() {
        0 => String::new(),
        n if n > MOST_NAMES => format!("; other than before: {names} and {} more", n - MOST_NAMES),
        _ => format!("; other than before: {names}"),
    }
}

/// Paths and values may hold what terminals take for commands.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}
