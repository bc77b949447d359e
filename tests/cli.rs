//! `cargo cachewrap`, driven as a program on a synthetic store.

#![expect(
    clippy::unwrap_used,
    reason = "what cannot be set up should fail the test"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use cache_core::config::SettingName;
use cache_core::store::stats;
use cache_core::{BypassReason, Digest, NotAhead, NotStored};
use serde_json::Value;

mod documents;
mod monitoring;
mod report;
mod serve;
mod snapshots;
mod synthetic;

use synthetic::{Synthetic, Unit, compressible, random};

const HOUR: u64 = 3600;

/// A home directory with a cache in it, and a scrubbed environment.
struct Cli {
    home: tempfile::TempDir,
    cache: Synthetic,
    vars: Vec<(&'static str, String)>,
}

/// What a run printed, and its exit status.
#[derive(Debug)]
struct Ran {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Cli {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let cache = Synthetic::new(&home.path().join(".cache/cachewrap"));
        let vars = Vec::new();
        Self { home, cache, vars }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.vars.push((name, value.into()));
        self
    }

    /// A store with three units that do not compress: two never hit, one hit.
    fn filled(self) -> Self {
        for unit in Self::units() {
            self.cache.add(&unit);
        }
        self
    }

    fn units() -> [Unit; 3] {
        let incompressible = |mut unit: Unit| {
            unit.outputs = vec![random(&unit.name, 100_000)];
            unit
        };
        [
            incompressible(Unit::new("old").stored_ago(50 * 24 * HOUR)),
            incompressible(Unit::new("new").stored_ago(2 * HOUR)),
            incompressible(Unit::new("used").stored_ago(9 * HOUR).hit_ago(8 * HOUR)),
        ]
    }

    fn command(&self) -> Command {
        self.program(env!("CARGO_BIN_EXE_cargo-cachewrap"))
    }

    /// Any program, in the scrubbed environment.
    fn program(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.home.path());
        command.env("HOME", self.home.path());
        // A `cachewrap` that the machine has installed must not be found, so nothing is but these.
        let bin = self.programs();
        command.env("PATH", bin);
        if let Some(value) = std::env::var_os("RUSTUP_HOME") {
            command.env("RUSTUP_HOME", value);
        }
        // Rustup's proxies look for the toolchain in its home.
        if let Some(real) = std::env::var_os("HOME")
            && std::env::var_os("RUSTUP_HOME").is_none()
        {
            command.env("RUSTUP_HOME", Path::new(&real).join(".rustup"));
        }
        command.envs(self.vars.iter().map(|(name, value)| (name, value)));
        command
    }

    /// A directory with cargo and rustc, to be the whole of `PATH`.
    fn programs(&self) -> PathBuf {
        let bin = self.path("bin");
        if !bin.exists() {
            std::fs::create_dir(&bin).unwrap();
            let path = std::env::var_os("PATH").unwrap();
            for name in ["cargo", "rustc"] {
                let found = std::env::split_paths(&path).map(|dir| dir.join(name));
                let program = found.into_iter().find(|file| file.exists()).unwrap();
                std::os::unix::fs::symlink(program, bin.join(name)).unwrap();
            }
        }
        bin
    }

    fn run(&self, args: &[&str]) -> Ran {
        ran(self.command().args(args).output().unwrap())
    }

    fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.status, 0, "{args:?}: {ran:?}");
        assert!(!ran.stdout.contains('\x1b'), "{ran:?}");
        ran.stdout
    }

    /// Fails with this status and a message on standard error that contains `needle`.
    fn fails(&self, args: &[&str], status: i32, needle: &str) {
        let ran = self.run(args);
        assert_eq!(ran.status, status, "{args:?}: {ran:?}");
        assert!(ran.stderr.contains(needle), "{args:?}: {ran:?}");
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args)).unwrap()
    }

    fn results(&self) -> u64 {
        self.cache.store.usage().unwrap().results
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.home.path().join(relative)
    }
}

fn ran(output: Output) -> Ran {
    Ran {
        status: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn it_is_a_subcommand_of_cargo_too() {
    let cli = Cli::new();
    assert_eq!(cli.ok(&["cachewrap", "stats"]), cli.ok(&["stats"]));
    assert!(
        cli.ok(&["--help"])
            .contains("Usage: cargo cachewrap <COMMAND>")
    );
    for subcommand in [
        "stats", "prune", "clear", "config", "verify", "doctor", "setup",
    ] {
        let help = cli.ok(&[subcommand, "--help"]);
        assert!(help.contains(&format!("Usage: cargo cachewrap {subcommand}")));
    }
}

#[test]
fn wrong_arguments_exit_with_2() {
    let cli = Cli::new();
    cli.fails(&["nonsense"], 2, "unrecognized subcommand");
    cli.fails(&["prune", "--max", "much"], 2, "such as 10G");
    cli.fails(&["prune", "--older-than", "yesterday"], 2, "--older-than");
    cli.fails(&["prune", "--toolchain", "1.2.3"], 2, "toolchain `1.2.3`");
    cli.fails(
        &["setup", "--global", "--path", "x"],
        2,
        "cannot be used with",
    );
    cli.fails(&["completions", "telepathy"], 2, "bash");
}

#[test]
fn wrong_settings_exit_with_2_and_say_what_is_right() {
    let cli = Cli::new().with("CACHEWRAP_MAX_SIZE", "heaps");
    for subcommand in ["stats", "prune", "clear", "verify", "config"] {
        let said = "CACHEWRAP_MAX_SIZE is `heaps`; expected a size";
        cli.fails(&[subcommand], 2, said);
    }
}

#[test]
fn names_that_mean_nothing_disturb_nobody() {
    let cli = Cli::new().with("CACHEWRAP_VERSION", "1.2.3");
    let file = cli.path(".config/cachewrap/config.toml");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "max_sise = 3\n").unwrap();
    for subcommand in ["stats", "prune", "clear", "verify", "explain"] {
        let ran = cli.run(&[subcommand]);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{subcommand}");
    }
    let wrapper = env!("CARGO_BIN_EXE_cachewrap");
    let build = cli.program(wrapper).args(["rustc", "-V"]).output();
    let build = ran(build.unwrap());
    assert_eq!((build.status, build.stderr.as_str()), (0, ""));
}

#[test]
fn stats_count_by_reason_and_reset() {
    let cli = Cli::new().filled();
    let counts = [
        (stats::HIT, 3),
        (stats::MISS, 1),
        ("miss.no-entry", 1),
        (stats::BYPASS, 2),
        (stats::SCRIPT_HIT, 1),
        (stats::SCRIPT_MISS, 1),
        ("script_miss.no-entry", 1),
        (stats::SCRIPT_SAVED_US, 5_000_000),
        ("bypass.incremental", 2),
        (stats::SAVED_US, 75_000_000),
    ];
    cli.cache.store.count(&counts).unwrap();
    let shown = cli.ok(&["stats"]);
    for needle in [
        "75.0 %",
        "no entry",
        "incremental",
        "1m 15s",
        "3 (1 used)",
        "50.0 %",
    ] {
        assert!(shown.contains(needle), "{needle}: {shown}");
    }
    let json = cli.json(&["stats", "--json"]);
    assert_eq!(json["hits"], 3);
    assert_eq!(json["hit_rate"], 0.75);
    assert_eq!(json["build_scripts"]["hits"], 1);
    assert_eq!(json["build_scripts"]["saved_us"], 5_000_000);
    assert_eq!(json["counters"]["bypass.incremental"], 2);
    assert_eq!(json["cache"]["results"], 3);
    assert_eq!(json["cache"]["max_size"], 10_000_000_000_u64);
    assert_eq!(
        json["toolchains"][0]["digest"],
        Digest::of(b"toolchain").to_hex()
    );

    assert_eq!(cli.json(&["stats", "--json", "--zero"])["hits"], 3);
    let json = cli.json(&["stats", "--json"]);
    assert_eq!(json["hits"], 0);
    assert_eq!(json["hit_rate"], Value::Null);
    assert_eq!(json["cache"]["results"], 3);
}

#[test]
fn a_reader_that_stops_reading_is_no_error() {
    let cli = Cli::new().filled();
    let mut child = cli
        .command()
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ran = ran(child.wait_with_output().unwrap());
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
}

#[test]
fn prune_comes_down_to_the_size_and_keeps_what_is_used() {
    let cli = Cli::new().filled();
    let planned = cli.ok(&["prune", "--max", "110K", "--dry-run"]);
    assert!(
        planned.contains("Would remove 1 result to make room"),
        "{planned}"
    );
    assert_eq!(cli.results(), 3);
    let done = cli.ok(&["prune", "--max", "250K"]);
    assert!(done.contains("Removed 1 result to make room"), "{done}");
    assert!(done.contains("Freed "), "{done}");
    assert_eq!(cli.results(), 2);
    cli.ok(&["prune", "--max", "130K"]);
    assert_eq!(cli.results(), 1);
    let used = &Cli::units()[2];
    assert!(cli.cache.blob_paths(used)[0].exists());
    cli.ok(&["prune", "--max", "0"]);
    assert_eq!(cli.results(), 0);
}

#[test]
fn a_prune_killed_at_any_moment_leaves_a_whole_store() {
    let cli = Cli::new();
    for round in 0..25_u64 {
        for i in 0..20 {
            let mut unit = Unit::new(&format!("unit{i}")).stored_ago((i + 1) * HOUR);
            // Shared between all, of its own and compressible, of its own and not.
            let text = compressible(&unit.name, 60_000);
            unit.outputs = vec![random("shared", 20_000), text, random(&unit.name, 20_000)];
            cli.cache.add(&unit);
        }
        let mut prune = cli.command();
        prune.args(["prune", "--max", "500K"]);
        let mut prune = prune.stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(1500 + round * 400));
        prune.kill().unwrap();
        prune.wait().unwrap();
        assert!(cli.ok(&["verify"]).contains("All is in order"));
    }
    cli.ok(&["prune", "--max", "500K"]);
    assert!(cli.cache.store.usage().unwrap().size <= 500_000 + 4096);
    cli.ok(&["verify"]);
}

#[test]
fn prune_by_age_and_by_toolchain() {
    let cli = Cli::new().filled();
    let mut other = Unit::new("other");
    other.toolchain = Digest::of(b"another toolchain");
    cli.cache.add(&other);
    let done = cli.ok(&["prune", "--older-than", "30d"]);
    assert!(
        done.contains("Removed 1 result not used for too long"),
        "{done}"
    );
    let digest = &other.toolchain.to_hex()[..12];
    let done = cli.ok(&["prune", "--toolchain", digest]);
    assert!(
        done.contains("Removed 1 result of dropped toolchains"),
        "{done}"
    );
    assert_eq!(cli.results(), 2);
}

#[test]
fn prune_without_options_enforces_the_configured_bound() {
    let cli = Cli::new().with("CACHEWRAP_MAX_SIZE", "250K").filled();
    cli.ok(&["prune"]);
    assert_eq!(cli.results(), 2);
    let cli = Cli::new().filled();
    cli.ok(&["prune"]);
    assert_eq!(cli.results(), 3);
}

#[test]
fn prune_says_which_rule_removed_how_much() {
    let cli = Cli::new().with("CACHEWRAP_MAX_AGE", "30d");
    let cli = cli.with("CACHEWRAP_TOOLCHAIN_MAX_AGE", "3h").filled();
    let mut other = Unit::new("of another compiler").stored_ago(4 * HOUR);
    other.toolchain = Digest::of(b"another toolchain");
    other.outputs = vec![random("other", 100_000)];
    cli.cache.add(&other);
    let rules = [
        "1 result not used for too long (max-age 30days): 110.6 kB\n",
        "1 result of toolchains not used for too long (toolchain-max-age 3h): 110.6 kB\n",
    ];
    let planned = cli.ok(&["prune", "--dry-run"]);
    let done = cli.ok(&["prune"]);
    for rule in rules {
        assert!(
            planned.contains(&format!("Would remove {rule}")),
            "{planned}"
        );
        assert!(done.contains(&format!("Removed {rule}")), "{done}");
    }
    assert_eq!(cli.results(), 2);
    // No disk has so much, and all that is left has been used within ten minutes or goes.
    let cli = cli.with("CACHEWRAP_KEEP_FREE_SPACE", "100000T");
    let done = cli.ok(&["prune"]);
    assert!(
        done.contains("Removed 2 results to keep space free (keep-free-space 100.0 PB)"),
        "{done}"
    );
}

#[test]
fn a_read_only_cache_is_not_changed() {
    let cli = Cli::new().filled().with("CACHEWRAP_READ_ONLY", "1");
    cli.fails(
        &["prune", "--max", "0"],
        1,
        "read-only (CACHEWRAP_READ_ONLY)",
    );
    cli.fails(&["clear"], 1, "read-only");
    cli.fails(&["verify", "--repair"], 2, "read-only");
    cli.fails(&["stats", "--zero"], 2, "read-only");
    cli.ok(&["verify"]);
    assert_eq!(cli.results(), 3);
}

#[test]
fn clear_takes_only_a_cache() {
    let cli = Cli::new().filled();
    assert!(cli.ok(&["clear"]).contains("freed"));
    assert!(!cli.path(".cache/cachewrap").exists());
    assert!(cli.ok(&["clear"]).contains("Nothing to clear"));

    let precious = cli.path("precious");
    std::fs::create_dir_all(precious.join("v1")).unwrap();
    let cli = cli.with("CACHEWRAP_DIR", precious.display().to_string());
    cli.fails(&["clear"], 1, "does not look like a cache");
    assert!(precious.join("v1").exists());
}

#[test]
fn config_names_the_origin_of_every_value() {
    let cli = Cli::new().with("CACHEWRAP_TRIM_PATHS", "all");
    let file = cli.path(".config/cachewrap/config.toml");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "max-size = \"3GiB\"\ntrim-paths = \"off\"\n").unwrap();
    let json = cli.json(&["config", "--json"]);
    assert_eq!(
        json["max-size"]["origin"]["path"],
        file.display().to_string()
    );
    assert_eq!(json["trim-paths"]["value"], "all");
    assert_eq!(json["trim-paths"]["origin"]["name"], "CACHEWRAP_TRIM_PATHS");
    assert_eq!(json["gc"]["origin"]["kind"], "default");
    let shown = cli.ok(&["config"]);
    let line = shown
        .lines()
        .find(|line| line.starts_with("max-size"))
        .unwrap();
    assert!(line.ends_with(&file.display().to_string()), "{line}");

    std::fs::write(&file, "max_sise = 3\n").unwrap();
    let ran = cli.run(&["config"]);
    assert_eq!(ran.status, 0);
    assert!(ran.stderr.contains("did you mean `max-size`?"), "{ran:?}");
}

#[test]
fn verify_finds_and_repairs() {
    let cli = Cli::new().filled();
    assert!(cli.ok(&["verify"]).contains("All is in order"));
    let blob = cli.cache.blob_paths(&Cli::units()[0])[0].clone();
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, "garbage").unwrap();

    let found = cli.run(&["verify"]);
    assert_eq!(found.status, 1);
    assert!(
        found
            .stdout
            .contains(&format!("{}: damaged", blob.display()))
    );
    assert!(found.stdout.contains("needs 1 of 1 blobs"), "{found:?}");
    assert!(blob.exists());

    let repaired = cli.ok(&["verify", "--repair"]);
    assert!(repaired.contains("Removed 2 bad files"), "{repaired}");
    assert!(!blob.exists());
    assert!(cli.ok(&["verify"]).contains("All is in order"));
    assert_eq!(cli.results(), 2);
}

#[test]
fn an_empty_cache_is_fine_everywhere() {
    let cli = Cli::new();
    for args in [
        &["stats"][..],
        &["explain"],
        &["prune"],
        &["verify"],
        &["clear"],
    ] {
        cli.ok(args);
    }
    assert!(!cli.path(".cache").exists());
}

#[test]
fn setup_is_undone_to_the_byte() {
    let cli = Cli::new();
    let file = cli.path("some/config.toml");
    let path = file.display().to_string();
    let before = "# mine\n[net]\nretry = 3\n";
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, before).unwrap();
    cli.ok(&["setup", "--path", &path]);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with(before), "{text}");
    // The wrapper is not in PATH here, but beside the program.
    let wrapper = env!("CARGO_BIN_EXE_cachewrap");
    assert!(
        text.contains(&format!("rustc-wrapper = \"{wrapper}\"")),
        "{text}"
    );
    assert!(cli.ok(&["setup", "--path", &path]).contains("Already set"));
    cli.ok(&["setup", "--undo", "--path", &path]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    assert!(
        cli.ok(&["setup", "--undo", "--path", &path])
            .contains("No wrapper")
    );
}

#[test]
fn setup_keeps_line_ends_and_a_byte_order_mark() {
    let cli = Cli::new();
    let file = cli.path("config.toml");
    let path = file.display().to_string();
    for before in [
        "[build]\r\njobs = 2\r\n",
        "\u{feff}[build]\njobs = 2\n",
        "\u{feff}# mine\r\n",
    ] {
        std::fs::write(&file, before).unwrap();
        cli.ok(&["setup", "--path", &path]);
        assert_ne!(std::fs::read_to_string(&file).unwrap(), before);
        cli.ok(&["setup", "--undo", "--path", &path]);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    }
}

#[test]
fn setup_names_a_wrapper_in_path_without_its_directory() {
    let cli = Cli::new();
    let wrapper = cli.programs().join("cachewrap");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_cachewrap"), wrapper).unwrap();
    let file = cli.path("config.toml");
    cli.ok(&["setup", "--path", &file.display().to_string()]);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("rustc-wrapper = \"cachewrap\""), "{text}");
}

#[test]
fn setup_leaves_another_wrapper_alone_unless_forced() {
    let cli = Cli::new();
    let file = cli.path("config.toml");
    let path = file.display().to_string();
    let before = "[build]\nrustc-wrapper = \"other\"\n";
    std::fs::write(&file, before).unwrap();
    cli.fails(
        &["setup", "--path", &path],
        1,
        "\"other\"; --force replaces it",
    );
    cli.fails(&["setup", "--undo", "--path", &path], 1, "it stays");
    cli.ok(&["setup", "--force", "--path", &path]);
    cli.ok(&["setup", "--undo", "--path", &path]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    std::fs::write(&file, "[build\n").unwrap();
    cli.fails(&["setup", "--path", &path], 1, "not valid TOML");
}

#[test]
fn setup_edits_the_workspace_or_cargos_home() {
    let cli = Cli::new();
    cli.fails(&["setup"], 2, "not a cargo project");
    cli.ok(&["setup", "--global"]);
    assert!(cli.path(".cargo/config.toml").exists());
    cli.ok(&["setup", "--global", "--undo"]);
    assert!(!cli.path(".cargo").exists());

    let manifest =
        "[package]\nname = \"p\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n";
    std::fs::create_dir_all(cli.path("p/src")).unwrap();
    std::fs::write(cli.path("p/Cargo.toml"), manifest).unwrap();
    std::fs::write(cli.path("p/src/lib.rs"), "").unwrap();
    let setup = cli
        .command()
        .arg("setup")
        .current_dir(cli.path("p/src"))
        .output();
    assert_eq!(ran(setup.unwrap()).status, 0);
    assert!(cli.path("p/.cargo/config.toml").exists());
}

#[test]
fn doctor_tells_whether_the_cache_can_work() {
    let cli = Cli::new();
    let ran = cli.run(&["doctor"]);
    assert_eq!(ran.status, 1);
    assert!(ran.stdout.contains("no wrapper is set"), "{ran:?}");

    let cli = cli.with("RUSTC_WRAPPER", "othercache");
    assert!(
        cli.run(&["doctor"])
            .stdout
            .contains("sets another wrapper, `othercache`")
    );

    let cli = Cli::new().with("RUSTC_WRAPPER", env!("CARGO_BIN_EXE_cachewrap"));
    let shown = cli.ok(&["doctor"]);
    for needle in ["RUSTC_WRAPPER sets", "will be made", "rustc 1.", "observe"] {
        assert!(shown.contains(needle), "{needle}: {shown}");
    }
    assert!(!cli.path(".cache").exists());

    let file = cli.path("file").display().to_string();
    std::fs::write(&file, "").unwrap();
    let cli = cli.with("CACHEWRAP_DIR", file);
    assert!(cli.run(&["doctor"]).stdout.contains("is not a directory"));
    let cli = cli.with("CACHEWRAP_GC", "perhaps");
    let shown = cli.run(&["doctor"]).stdout;
    assert!(shown.contains("expected auto or off"));
    let lines: Vec<&str> = shown.lines().collect();
    for pair in lines.windows(2) {
        let found = pair[0].starts_with("bad") || pair[0].starts_with("note");
        assert_eq!(
            found,
            pair[1].trim_start().starts_with("next: "),
            "{pair:?}"
        );
    }
}

#[test]
fn completions_know_the_subcommands() {
    let cli = Cli::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = cli.ok(&["completions", shell]);
        assert!(script.contains("cargo-cachewrap") && script.contains("prune"));
    }
}

#[test]
fn the_readme_has_a_row_for_each_reason_and_setting() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let rows: String = readme
        .lines()
        .filter(|line| line.starts_with('|'))
        .collect();
    for name in SettingName::ALL {
        let row = format!("| `{}` | `{}` |", name.variable(), name.key());
        assert!(rows.contains(&row), "{row}");
    }
    let bypasses = BypassReason::ALL.iter().map(|reason| reason.name());
    let names = bypasses.chain(NotStored::ALL.iter().map(|reason| reason.name()));
    let names = names.chain(NotAhead::ALL.iter().map(|reason| reason.name()));
    // What is not wanted is not counted.
    for name in names.filter(|name| *name != BypassReason::NotWanted.name()) {
        assert!(rows.contains(&format!("`{name}`")), "{name}");
    }
}
