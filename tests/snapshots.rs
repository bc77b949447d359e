//! What people see, word for word: help, tables, JSON, and what is said of mistakes.
//!
//! A change of what is printed shows in a review as a change of the files in `snapshots/`. After one that
//! is meant, `INSTA_UPDATE=always cargo test -p cargo-cachewrap --test cli` writes them anew.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use cache_core::config::SettingName;
use cache_core::store::stats;
use insta::{Settings, assert_snapshot};

use super::{Cli, ran};

/// What differs from machine to machine or from run to run, and what stands for it.
const FILTERS: [(&str, &str); 14] = [
    (r"_(size|free)_bytes \d+", "_${1}_bytes [bytes]"),
    (r#"\{version="\d[^"]*"\}"#, r#"{version="[version]"}"#),
    (r"cargo-cachewrap \d\S+", "cargo-cachewrap [version]"),
    (r"rustc 1\..*", "rustc [version]"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "[time]"),
    (r#""time": \d+"#, r#""time": [time]"#),
    (r#""build": "\d+-\d+""#, r#""build": "[process]""#),
    (r#""(started|took|ran)_us": \d+"#, r#""${1}_us": [time]"#),
    (r#""bytes": \d+"#, r#""bytes": [bytes]"#),
    (r#""(manifest|result)": "[0-9a-f]{64}""#, r#""$1": "[key]""#),
    (r"\b\d+(\.\d+)? [kMGT]?B (free|of)\b", "[size] $2"),
    (r#""(size|blob_size)": \d+"#, r#""$1": [bytes]"#),
    (
        r"file system  .*, (shares|does not share) blocks",
        "file system  [type], [shares or does not share] blocks",
    ),
    (
        r"(ok  |note)  observer     compilations (can be observed|cannot be observed: .*)",
        "[ok or note]  observer     compilations [can or cannot] be observed",
    ),
];

/// Compares what was shown with the snapshot of this name.
#[track_caller]
fn check(name: &str, shown: &str) {
    let mut settings = Settings::new();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (pattern, instead) in FILTERS {
        settings.add_filter(pattern, instead);
    }
    settings.bind(|| assert_snapshot!(name, shown));
}

/// What these runs print, and how they end.
fn shown(cli: &Cli, runs: &[&[&str]]) -> String {
    let mut shown = String::new();
    for args in runs {
        let ran = cli.run(args);
        let (command, stdout) = (args.join(" "), ran.stdout);
        write!(shown, "$ cargo cachewrap {command}\n{stdout}").unwrap();
        if !ran.stderr.is_empty() {
            write!(shown, "--- standard error\n{}", ran.stderr).unwrap();
        }
        if ran.status != 0 {
            writeln!(shown, "--- status {}", ran.status).unwrap();
        }
        shown.push('\n');
    }
    let programs = Path::new(env!("CARGO_BIN_EXE_cachewrap")).parent().unwrap();
    for (dir, name) in [(cli.home.path(), "[home]"), (programs, "[programs]")] {
        let real = dir.canonicalize().unwrap();
        for dir in [dir, &real] {
            shown = shown.replace(dir.to_str().unwrap(), name);
        }
    }
    shown
}

/// Runs the wrapper on these calls, all of one build: a build is the process that asks for units.
fn build(cli: &Cli, calls: &[&str]) {
    let wrapper = cli.programs().join("cachewrap");
    if !wrapper.exists() {
        symlink(env!("CARGO_BIN_EXE_cachewrap"), wrapper).unwrap();
    }
    // What was written a moment ago might be written to again unnoticed, so it is not stored.
    std::thread::sleep(Duration::from_millis(20));
    // The shell must not become its last command.
    let script = calls.join("\n") + "\nexit 0";
    let shell = cli.program("/bin/sh").args(["-c", &script]).output();
    assert_eq!(ran(shell.unwrap()).status, 0);
}

/// A library that was compiled, then edited, and compiled in all ways that end differently.
fn explained() -> Cli {
    let cli = Cli::new();
    // With dep-info it is cached also where compilations cannot be observed.
    let library = "rustc --edition=2021 --crate-type=lib --emit=dep-info,metadata --out-dir=out";
    let app = format!("cachewrap {library} --crate-name app app.rs");
    let source = "pub fn flavour() -> Option<&'static str> { option_env!(\"FLAVOUR\") }\n";
    fs::create_dir(cli.path("out")).unwrap();
    fs::write(cli.path("app.rs"), source).unwrap();
    fs::write(cli.path("bad.rs"), "broken\n").unwrap();
    build(&cli, &[&app]);
    fs::write(cli.path("app.rs"), format!("// Edited.\n{source}")).unwrap();
    let calls = [
        &app,
        &format!("FLAVOUR=sweet {app}"),
        &format!("{app} --cfg=fast"),
        &format!("cachewrap {library} --crate-name bad bad.rs"),
        &format!("cachewrap {library} --crate-name odd --no-such-option app.rs"),
    ];
    build(&cli, &calls.map(String::as_str));
    cli
}

#[test]
fn help() {
    let cli = Cli::new();
    let top = cli.ok(&["--help"]);
    check("help", &shown(&cli, &[&["--help"], &["--version"]]));
    let (_, list) = top.split_once("Commands:\n").unwrap();
    let (list, _) = list.split_once("\n\n").unwrap();
    // Those without a snapshot yet fail, so that none is forgotten.
    let names = list
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    for name in names.filter(|name| *name != "help") {
        let help = shown(&cli, &[&[name, "--help"]]);
        check(&format!("help_{name}"), &help);
    }
}

#[test]
fn explain() {
    let cli = explained();
    let runs: &[&[&str]] = &[
        &["explain"],
        &["explain", "--all"],
        &["explain", "bad"],
        &["explain", "nothing"],
    ];
    check("explain", &shown(&cli, runs));
    check("explain_json", &shown(&cli, &[&["explain", "--json"]]));
}

#[test]
fn stats() {
    let cli = Cli::new().filled();
    let counts = [
        (stats::HIT, 30),
        ("hit.query", 2),
        (stats::MISS, 10),
        ("miss.no-entry", 7),
        ("miss.env", 2),
        ("miss.query", 1),
        (stats::BYPASS, 2),
        ("bypass.unknown-arguments", 2),
        (stats::NOT_STORED, 1),
        ("not_stored.failed", 1),
        (stats::FAULT, 1),
        (stats::CORRUPT, 4),
        (stats::SAVED_US, 75_000_000),
        (stats::COMPILE_US, 4_321_000),
        (stats::STORED_BYTES, 300_000),
        (stats::SCRIPT_HIT, 1),
        (stats::SCRIPT_MISS, 3),
        ("script_miss.no-entry", 3),
        (stats::SCRIPT_SAVED_US, 5_000_000),
        (stats::SCRIPT_US, 7_500_000),
    ];
    cli.cache.store.count(&counts).unwrap();
    super::report::build(&cli);
    check("stats_json", &shown(&cli, &[&["stats", "--json"]]));
    // What is told to Prometheus goes on where it was.
    let prometheus: &[&[&str]] = &[&["stats", "--format", "prometheus"]];
    let before = shown(&cli, prometheus);
    check("stats", &shown(&cli, &[&["stats", "--zero"], &["stats"]]));
    check("stats_prometheus", &before);
    check("stats_prometheus", &shown(&cli, prometheus));
}

#[test]
fn doctor() {
    // More is free wherever tests can run, which is not so of what the cache may take by default.
    let small = || Cli::new().with("CACHEWRAP_MAX_SIZE", "1M");
    let cli = small().filled().with("RUSTC_WRAPPER", "cachewrap");
    build(&cli, &[]);
    check("doctor", &shown(&cli, &[&["doctor"]]));

    let cli = small();
    let file = cli.path("file").display().to_string();
    fs::write(&file, "").unwrap();
    let cli = cli
        .with("CACHEWRAP_DIR", file)
        .with("CACHEWRAP_GC", "perhaps")
        .with("CACHEWRAP_OBSERVE", "off")
        .with("RUSTC", "nowhere/rustc");
    check("doctor_of_what_is_wrong", &shown(&cli, &[&["doctor"]]));
}

#[test]
fn setup() {
    let cli = Cli::new();
    build(&cli, &[]);
    fs::create_dir(cli.path("my project")).unwrap();
    let file = cli.path("my project/config.toml").display().to_string();
    fs::write(&file, "[build]\nrustc-wrapper = \"sccache\"\n").unwrap();
    let runs: &[&[&str]] = &[
        &["setup", "--global"],
        &["setup", "--global"],
        &["setup", "--global", "--undo"],
        &["setup", "--global", "--undo"],
        &["setup", "--path", &file],
        &["setup", "--path", &file, "--force"],
        &["setup", "--path", &file, "--undo"],
    ];
    let mut all = shown(&cli, runs);
    let cli = cli.with("RUSTC_WRAPPER", "sccache");
    all += &shown(&cli, &[&["setup", "--global"]]);
    check("setup", &all);
}

#[test]
fn config() {
    let cli = Cli::new().with("CACHEWRAP_TRIM_PATHS", "all");
    let file = cli.path(".config/cachewrap/config.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "max-size = \"3GiB\"\nenv = [\"A\", \"B\"]\n").unwrap();
    check("config", &shown(&cli, &[&["config"]]));
    check("config_json", &shown(&cli, &[&["config", "--json"]]));
}

#[test]
fn wrong_arguments() {
    let runs: &[&[&str]] = &[
        &[],
        &["nonsense"],
        &["stats", "--jsn"],
        &["report", "--last", "many"],
        &["report", "--open", "--json"],
        &["explain", "--all", "unit"],
        &["prune", "--max", "much"],
        &["prune", "--max", "10Q"],
        &["prune", "--older-than", "yesterday"],
        &["prune", "--older-than", "30"],
        &["prune", "--toolchain", "1.2.3"],
        &["completions", "telepathy"],
        &["setup"],
        &["setup", "--path", "."],
        &["setup", "--global", "--path", "file"],
    ];
    check("wrong_arguments", &shown(&Cli::new().filled(), runs));
}

#[test]
fn wrong_settings() {
    let all = SettingName::ALL.iter();
    let cli = all.fold(Cli::new(), |cli, name| {
        cli.with(name.variable(), "not/good=")
    });
    check("wrong_variables", &shown(&cli, &[&["stats"]]));

    let bad_values = "max-size = \"10Q\"\ndisable = 3\nenv = [1]\ngc = {}\n";
    for (name, text) in [
        ("wrong_file", bad_values),
        ("wrong_file_cut_short", "max-size = \"10G\n"),
    ] {
        let cli = Cli::new().with("CACHEWRAP_CONFIG", "~/config.toml");
        fs::write(cli.path("config.toml"), text).unwrap();
        check(name, &shown(&cli, &[&["stats"]]));
    }
}

#[test]
fn names_that_mean_nothing() {
    let cli = Cli::new()
        .filled()
        .with("CACHEWRAP_MAX_SIZE", "1M")
        .with("CACHEWRAP_MAXSIZE", "1G")
        .with("CACHEWRAP_VERSION", "1.2.3")
        .with("CACHEWRAP_CONFIG", "~/config.toml")
        .with("RUSTC_WRAPPER", "cachewrap");
    build(&cli, &[]);
    fs::write(cli.path("config.toml"), "max_sise = 3\n").unwrap();
    let runs: &[&[&str]] = &[&["config"], &["doctor"], &["prune", "--dry-run"]];
    check("unknown_names", &shown(&cli, runs));
}

#[test]
fn settings_that_cannot_be_read() {
    // Root may read everything; that a file is missing or a directory holds for all users.
    let missing = Cli::new().with("CACHEWRAP_CONFIG", "~/missing.toml");
    let directory = Cli::new().with("CACHEWRAP_CONFIG", "~");
    let homeless = Cli::new().with("HOME", "");
    let shown = [missing, directory, homeless].map(|cli| shown(&cli, &[&["stats"]]));
    check("unreadable_settings", &shown.concat());
}

#[test]
fn what_a_read_only_cache_refuses() {
    let cli = Cli::new().filled().with("CACHEWRAP_READ_ONLY", "1");
    let runs: &[&[&str]] = &[
        &["prune"],
        &["clear"],
        &["verify", "--repair"],
        &["stats", "--zero"],
    ];
    check("read_only", &shown(&cli, runs));
}
