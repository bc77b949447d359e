//! `explain`: why units were not served.

use std::collections::HashMap;
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use cache_core::store::JournalEntry;

use super::args::ExplainArgs;
use super::context::{Context, store};
use super::output::Failure;

pub(super) fn run(cx: &mut Context, args: &ExplainArgs) -> Result<(), Failure> {
    let config = cx.config()?;
    let journal = store(&config).journal()?;
    let wanted = select(&journal, args);
    if args.json {
        let json = serde_json::to_value(&wanted).map_err(|e| Failure::Failed(e.to_string()))?;
        writeln!(cx.out, "{json:#}")?;
        return Ok(());
    }
    if let ([], Some(name)) = (&wanted[..], &args.unit) {
        let known = journal.len();
        writeln!(
            cx.out,
            "No {name:?} among the last {known} units that were not served"
        )?;
    } else if wanted.is_empty() {
        writeln!(cx.out, "Every unit has been served so far")?;
    }
    let builds = wanted.chunk_by(|a, b| a.build == b.build);
    for (n, build) in builds.enumerate() {
        show(cx, build, n == 0, args.diff)?;
    }
    Ok(())
}

/// The entries asked for, those of a build together, the oldest first.
fn select<'a>(journal: &'a [JournalEntry], args: &ExplainArgs) -> Vec<&'a JournalEntry> {
    // Packages are called with hyphens, crates with underscores.
    let plain = |name: &str| name.replace('-', "_");
    let last = journal.last().map(|entry| entry.build.as_str());
    let wanted = |entry: &&JournalEntry| match &args.unit {
        Some(name) => plain(&entry.unit).contains(&plain(name)),
        None => args.all || Some(entry.build.as_str()) == last,
    };
    let mut begin: HashMap<&str, usize> = HashMap::new();
    for (position, entry) in journal.iter().enumerate() {
        begin.entry(&entry.build).or_insert(position);
    }
    let mut found: Vec<&JournalEntry> = journal.iter().filter(wanted).collect();
    found.sort_by_key(|entry| begin.get(entry.build.as_str()).copied());
    found
}

fn show(cx: &mut Context, build: &[&JournalEntry], first: bool, diff: bool) -> Result<(), Failure> {
    let Some(begin) = build.first() else {
        return Ok(());
    };
    if !first {
        writeln!(cx.out)?;
    }
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(begin.time));
    let time = time.map_or_else(String::new, |time| {
        humantime::format_rfc3339_seconds(time).to_string()
    });
    let title = cx.out.bold(format!("Build of {time}"));
    writeln!(cx.out, "{title}")?;
    for entry in build {
        let names = if diff {
            String::new()
        } else {
            differing(entry)
        };
        let line = format!("{}: {}{names}", entry.unit, entry.outcome);
        writeln!(cx.out, "  {}", printable(&line))?;
        for part in entry.differences.iter().filter(|_| diff) {
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

/// More names than this say less than their number.
const MOST_NAMES: usize = 6;

/// In what the unit differs from the last time, after what became of it.
fn differing(entry: &JournalEntry) -> String {
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
