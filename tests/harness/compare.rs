//! The heart of the suite: the same state of a project, built with and without the cache.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::case::{Case, Mode, remove_tree};
use super::outcome::Outcome;
use super::snapshot::{ProgramRun, Tree, programs, tree};

/// Everything a user can see of one build.
#[derive(Debug)]
struct Observation {
    build: Outcome,
    /// What a second, plain `cargo …` prints; it replays the diagnostics for humans.
    replay: Option<Outcome>,
    tree: Tree,
    programs: BTreeMap<PathBuf, ProgramRun>,
}

/// Builds from an empty target directory with and without the cache and asserts that both agree.
///
/// Both builds happen at the same path, so that even absolute paths have to agree. The target
/// directory of the cached build stays. Returns the cached build.
#[track_caller]
pub(crate) fn compare(case: &Case, args: &[&str]) -> Outcome {
    compare_with(case, args, &bare(case, args))
}

/// The same state twice with the cache, which serves all of it the second time.
#[track_caller]
pub(crate) fn compare_twice(case: &Case, args: &[&str]) {
    let bare = bare(case, args);
    compare_with(case, args, &bare).ok();
    compare_with(case, args, &bare).ok().compiles(&[]);
}

#[track_caller]
fn bare(case: &Case, args: &[&str]) -> Observation {
    case.wipe();
    observe(case, Mode::Bare, args)
}

/// Like [`compare`], with what was seen before of the build without the cache, in the same state.
#[track_caller]
fn compare_with(case: &Case, args: &[&str], bare: &Observation) -> Outcome {
    case.wipe();
    let cached = observe(case, Mode::Cached, args);
    assert_same(&cached, bare);
    cached.build
}

/// Like [`compare`], but each side goes on with its own target directory of the last time, as in
/// everyday work.
#[track_caller]
pub(crate) fn compare_in_place(case: &Case, args: &[&str]) -> (Outcome, Outcome) {
    let target = case.target();
    let (cached_aside, bare_aside) = (case.root().join("cached"), case.root().join("bare"));
    swap(&target, &cached_aside, &bare_aside);
    let bare = observe(case, Mode::Bare, args);
    swap(&target, &bare_aside, &cached_aside);
    let cached = observe(case, Mode::Cached, args);
    assert_same(&cached, &bare);
    (cached.build, bare.build)
}

/// Removes the target directories of both sides.
pub(crate) fn wipe_both(case: &Case) {
    case.wipe();
    remove_tree(&case.root().join("bare"));
}

/// Puts the target directory aside and another one, if there is one, in its place.
fn swap(target: &Path, aside: &Path, other: &Path) {
    remove_tree(aside);
    if target.exists() {
        fs::rename(target, aside).expect("the target directory should be movable");
    }
    if other.exists() {
        fs::rename(other, target).expect("the other target directory should be movable");
    }
}

/// Builds, looks at the result, and builds again, which has to do nothing.
#[track_caller]
fn observe(case: &Case, mode: Mode, args: &[&str]) -> Observation {
    let mut json = args.to_vec();
    // Cargo's own options end at `--`.
    let end = args
        .iter()
        .position(|arg| *arg == "--")
        .unwrap_or(args.len());
    json.insert(end, "--message-format=json");
    let build = case.run(case.cargo_command(mode, &json));
    let tree = tree(&case.target());
    let programs = programs(case, &build.stdout);
    let replay = build
        .status
        .success()
        .then(|| assert_fresh(case, mode, args));
    Observation {
        build,
        replay,
        tree,
        programs,
    }
}

/// Asserts that a build with the same arguments has nothing to do.
#[track_caller]
pub(crate) fn assert_fresh(case: &Case, mode: Mode, args: &[&str]) -> Outcome {
    let mut verbose = args.to_vec();
    verbose.insert(1, "-v");
    let outcome = case.run(case.cargo_command(mode, &verbose)).ok();
    for word in ["Dirty", "Compiling", "Checking", "Running"] {
        assert!(
            !outcome
                .stderr
                .lines()
                .any(|line| line.trim_start().starts_with(word)),
            "the {mode:?} build is not fresh\n{}",
            outcome.stderr
        );
    }
    outcome.compiles(&[])
}

/// Where something has another state, another program comes out; where it has the old one again, nothing is compiled.
#[track_caller]
pub(crate) fn follows(case: &Case, old: impl Fn(), new: impl Fn()) {
    old();
    let args = &["build"];
    let bare = bare(case, args);
    compare_with(case, args, &bare).ok();
    let first = case.printed("debug/app");
    compare_with(case, args, &bare).ok().compiles(&[]);
    new();
    compare(case, args).ok().compiles(&["app"]);
    assert_ne!(case.printed("debug/app"), first, "it should matter");
    old();
    compare_with(case, args, &bare).ok().compiles(&[]);
    assert_eq!(case.printed("debug/app"), first);
}

#[track_caller]
fn assert_same(cached: &Observation, bare: &Observation) {
    let (ours, theirs) = (&cached.build, &bare.build);
    assert_eq!(
        ours.status, theirs.status,
        "exit status\ncached: {}\nbare: {}",
        ours.stderr, theirs.stderr
    );
    assert_same_lines("cargo's messages", &messages(ours), &messages(theirs));
    assert_same_lines("cargo's stderr", &human(ours), &human(theirs));
    if let (Some(ours), Some(theirs)) = (&cached.replay, &bare.replay) {
        assert_same_lines("the diagnostics", &human(ours), &human(theirs));
    }
    for path in cached.tree.entries.keys().chain(bare.tree.entries.keys()) {
        assert_eq!(
            cached.tree.entries.get(path),
            bare.tree.entries.get(path),
            "{} (cached, then bare)",
            path.display()
        );
    }
    for (path, links) in &cached.tree.links {
        let allowed = bare.tree.links.get(path).copied().unwrap_or(1);
        assert!(
            *links <= allowed,
            "{} shares its content with another file: {links} hard links instead of {allowed}",
            path.display()
        );
    }
    assert_eq!(cached.programs, bare.programs, "the programs' behaviour");
}

#[track_caller]
fn assert_same_lines(what: &str, ours: &[String], theirs: &[String]) {
    let only_in = |left: &[String], right: &[String]| {
        left.iter()
            .filter(|line| !right.contains(line))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert!(
        ours == theirs,
        "{what} differ\nonly cached: {:#?}\nonly bare: {:#?}",
        only_in(ours, theirs),
        only_in(theirs, ours)
    );
}

/// Cargo's JSON lines; packages are built side by side, so their order means nothing. What was served
/// ahead is fresh to cargo.
fn messages(outcome: &Outcome) -> Vec<String> {
    let text = outcome.stdout.replace("\"fresh\":true", "\"fresh\":false");
    sorted(text.lines().filter(|line| line.starts_with('{')))
}

/// What cargo prints for humans without its progress.
fn human(outcome: &Outcome) -> Vec<String> {
    const PROGRESS: [&str; 9] = [
        "Blocking",
        "Checking",
        "Compiling",
        "Dirty",
        "Executable",
        "Finished",
        "Fresh",
        "Running",
        "Locking",
    ];
    sorted(outcome.stderr.lines().filter(|line| {
        let word = line.split_whitespace().next().unwrap_or_default();
        // Cargo mentions the number of waiting units, which depends on timing.
        !PROGRESS.contains(&word) && !line.contains("build failed, waiting for other jobs")
    }))
}

fn sorted<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut lines: Vec<_> = lines.map(str::to_owned).collect();
    lines.sort();
    lines
}
