//! For people: first what the cache was good for, then all of it.

use std::io::Write as _;

use cache_core::config::format_size;
use cache_core::store::UnitKind;
use cache_core::store::stats::{
    COMPILATIONS, CORRUPT, Events, FAULT, KINDS, SCRIPT_RUNS, SEED_UNITS, SEED_USED,
};
use cache_core::{Config, Digest};

use super::super::context::Context;
use super::super::output::{Failure, counted, human_duration};
use super::super::prune::SHORT_DIGEST;
use super::super::sums::Sums;
use super::{Contents, Counters, Stats};

pub(super) fn show(cx: &mut Context, stats: &Stats, config: &Config) -> Result<(), Failure> {
    let counters = &stats.counters;
    if let Some(build) = &stats.last {
        let which = if build.is_running {
            "Build under way"
        } else {
            "Last build"
        };
        let last = format!("{which}: {}", Sums::of(&build.units));
        writeln!(cx.out, "{}", cx.out.bold(last))?;
    }
    writeln!(cx.out, "{}\n", cx.out.bold(summary(counters)))?;
    show_events(cx, counters)?;
    show_contents(cx, &stats.contents, config)
}

/// What has been counted, if anything has.
fn show_events(cx: &mut Context, counters: &Counters) -> Result<(), Failure> {
    if KINDS.iter().any(|events| counters.any(events)) {
        show_units(cx, counters, "Compilations", &COMPILATIONS)?;
    }
    let queries = counters.get("hit.query") + counters.get("miss.query");
    if queries > 0 {
        let asked = format!("{} to the compiler", counted(queries, "question"));
        row(cx, "of these", &asked)?;
    }
    if counters.get(SEED_UNITS) > 0 {
        let builds = counted(counters.get(SEED_USED), "build");
        let ahead = format!("{} of {builds}", counters.get(SEED_UNITS));
        row(cx, "served ahead", &ahead)?;
    }
    for (name, label) in [(FAULT, "faults"), (CORRUPT, "damaged files")] {
        if counters.get(name) > 0 {
            row(cx, label, &counters.get(name).to_string())?;
        }
    }
    let any_script = counters.any(&SCRIPT_RUNS);
    if any_script {
        show_units(cx, counters, "Runs of build scripts", &SCRIPT_RUNS)?;
    }
    if !KINDS.iter().any(|events| counters.looked_up(events) > 0) {
        return Ok(());
    }
    let title = cx.out.bold("Time");
    writeln!(cx.out, "{title}")?;
    let duration = |name| human_duration(counters.get(name));
    row(cx, "saved", &duration(COMPILATIONS.saved_us))?;
    row(cx, "compiling", &duration(COMPILATIONS.took_us))?;
    if any_script {
        row(cx, "scripts saved", &duration(SCRIPT_RUNS.saved_us))?;
        row(cx, "scripts run", &duration(SCRIPT_RUNS.took_us))?;
    }
    show_remote(cx, counters)
}

/// What a remote was good for, if one was asked.
fn show_remote(cx: &mut Context, counters: &Counters) -> Result<(), Failure> {
    if counters.reasons("remote").is_empty() {
        return Ok(());
    }
    let get = |name: &str| counters.get(&format!("remote.{name}"));
    let title = cx.out.bold("Remote");
    writeln!(cx.out, "{title}")?;
    let size = |name| format_size(get(name));
    row(
        cx,
        "hits",
        &format!(
            "{} of {}, {} fetched",
            get("hit"),
            get("hit") + get("miss"),
            size("fetched_bytes")
        ),
    )?;
    let (waited, saved) = (
        human_duration(get("waited_us")),
        human_duration(get("saved_us")),
    );
    row(cx, "time", &format!("waited {waited}, saved {saved}"))?;
    row(
        cx,
        "sent",
        &format!("{}, {}", counted(get("sent"), "result"), size("sent_bytes")),
    )?;
    for (label, name) in [
        ("not taken", "unfit"),
        ("not offered", "not_offered"),
        ("trouble", "error"),
    ] {
        if get(name) > 0 {
            row(cx, label, &get(name).to_string())?;
        }
    }
    show_reasons(cx, counters, "remote.error")
}

/// What a person wants to know first.
fn summary(counters: &Counters) -> String {
    let of_kind = |events: &Events| {
        let all = counters.looked_up(events);
        let noun = match events.kind {
            UnitKind::BuildScript => "run of a build script|runs of build scripts",
            UnitKind::Tool => "run of a tool|runs of tools",
            _ => "compilation|compilations",
        };
        let (one, many) = noun.split_once('|').unwrap_or((noun, noun));
        let noun = if all == 1 { one } else { many };
        (all > 0).then(|| format!("{} of {all} {noun}", counters.get(events.hit)))
    };
    let served: Vec<String> = KINDS.iter().filter_map(of_kind).collect();
    if served.is_empty() {
        return "Nothing has been looked up so far".to_owned();
    }
    let saved = KINDS.iter().map(|events| counters.get(events.saved_us));
    let saved = human_duration(saved.sum());
    format!("All builds: {} served, {saved} saved", served.join(" and "))
}

fn show_units(
    cx: &mut Context,
    counters: &Counters,
    title: &str,
    events: &Events,
) -> Result<(), Failure> {
    let title = cx.out.bold(title);
    writeln!(cx.out, "{title}")?;
    let rate = counters.hit_rate(events);
    let rate = rate.map_or_else(String::new, |rate| format!("  {:.1} %", rate * 100.0));
    let hits = counters.get(events.hit);
    row(cx, "hits", &format!("{hits}{rate}"))?;
    row(cx, "misses", &counters.get(events.miss).to_string())?;
    show_reasons(cx, counters, events.miss)?;
    row(cx, "bypassed", &counters.get(events.bypass).to_string())?;
    show_reasons(cx, counters, events.bypass)?;
    if counters.get(events.not_stored) > 0 {
        let not_stored = counters.get(events.not_stored).to_string();
        row(cx, "not stored", &not_stored)?;
        show_reasons(cx, counters, events.not_stored)?;
    }
    Ok(())
}

fn show_reasons(cx: &mut Context, counters: &Counters, event: &str) -> Result<(), Failure> {
    for (reason, n) in counters.reasons(event) {
        writeln!(cx.out, "    {:<26} {n}", reason.replace(['-', '_'], " "))?;
    }
    Ok(())
}

fn show_contents(cx: &mut Context, contents: &Contents, config: &Config) -> Result<(), Failure> {
    let usage = &contents.usage;
    let title = cx.out.bold("Cache");
    writeln!(cx.out, "{title}")?;
    row(cx, "directory", &config.dir.display().to_string())?;
    let (size, max) = (format_size(usage.size), format_size(*config.max_size));
    row(cx, "size", &format!("{size} of {max}"))?;
    // A use within seconds of being stored does not show, so that none has been used is not known.
    let used = match usage.hit_results {
        0 => String::new(),
        used => format!(" ({used} used)"),
    };
    row(cx, "results", &format!("{}{used}", usage.results))?;
    let files = format!("{} ({} compressed)", usage.blobs, usage.compressed_blobs);
    row(cx, "outputs", &files)?;
    for (digest, results) in &usage.toolchains {
        let name = toolchain_name(contents, *digest);
        let results = counted(*results, "result");
        row(cx, "toolchain", &format!("{name}: {results}"))?;
    }
    Ok(())
}

fn toolchain_name(contents: &Contents, digest: Digest) -> String {
    let known = contents.known.iter().find(|known| known.digest == digest);
    let mut short = digest.to_hex();
    short.truncate(SHORT_DIGEST);
    match known {
        Some(known) => format!("{} [{short}]", known.version),
        None => format!("[{short}]"),
    }
}

fn row(cx: &mut Context, label: &str, value: &str) -> Result<(), Failure> {
    Ok(writeln!(cx.out, "  {label:<14} {value}")?)
}
