//! A second build after the target directory is gone runs no compiler at all.

use crate::harness::{Case, compare};

const EVERYTHING: [&str; 2] = ["--workspace", "--all-targets"];

/// Compares a cold build, then builds again from the cache alone.
#[track_caller]
fn second_build_compiles_nothing(case: &Case, args: &[&str]) {
    case.forget();
    let cold = compare(case, args).ok();
    assert!(
        !cold.compiled.is_empty(),
        "a cold build has to compile something"
    );
    compare(case, args).ok().compiles(&[]);
}

fn with_everything<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [words, &EVERYTHING].concat()
}

#[test]
fn build() {
    let case = Case::fixture("kinds");
    second_build_compiles_nothing(&case, &with_everything(&["build"]));
}

#[test]
fn build_release() {
    let case = Case::fixture("kinds");
    second_build_compiles_nothing(&case, &with_everything(&["build", "--release"]));
}

#[test]
fn check() {
    let case = Case::fixture("kinds");
    second_build_compiles_nothing(&case, &with_everything(&["check"]));
}

#[test]
fn test_executables() {
    let case = Case::fixture("kinds");
    second_build_compiles_nothing(&case, &["test", "--no-run", "--workspace"]);
}

#[test]
fn clippy() {
    let case = Case::fixture("kinds");
    second_build_compiles_nothing(&case, &with_everything(&["clippy"]));
}

#[test]
fn either_setting_of_incremental() {
    let mut case = Case::fixture("kinds");
    for value in ["0", "1"] {
        case.env("CARGO_INCREMENTAL", value);
        second_build_compiles_nothing(&case, &["build"]);
        second_build_compiles_nothing(&case, &["check"]);
    }
}

#[test]
fn incremental_release() {
    let mut case = Case::fixture("kinds");
    case.env("CARGO_INCREMENTAL", "1");
    second_build_compiles_nothing(&case, &["build", "--release"]);
}

#[test]
fn a_cold_build_compiles_each_unit_once() {
    let case = Case::fixture("kinds");
    let bare = case.bare_cargo(&["build", "--workspace"]).ok();
    case.wipe();
    let expected: Vec<_> = bare.compiled.iter().map(String::as_str).collect();
    case.cargo(&["build", "--workspace"])
        .ok()
        .compiles(&expected);
}

#[test]
fn colours_are_those_of_this_build() {
    let case = Case::fixture("kinds");
    let plain = case.cargo(&["build"]).ok();
    assert!(!plain.stderr.contains('\u{1b}'), "{}", plain.stderr);
    case.wipe();
    let coloured = case.cargo(&["build", "--color=always"]).ok();
    case.wipe();
    let bare = case.bare_cargo(&["build", "--color=always"]).ok();
    let warning = |text: &str| {
        text.lines()
            .filter(|line| line.contains("unused"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(warning(&coloured.stderr), warning(&bare.stderr));
    assert!(coloured.stderr.contains('\u{1b}'), "{}", coloured.stderr);
}

#[test]
fn message_formats_are_those_of_this_build() {
    let case = Case::fixture("kinds");
    for format in ["human", "short", "json", "json-diagnostic-short"] {
        let args = ["build", &format!("--message-format={format}")];
        case.wipe();
        let bare = case.bare_cargo(&args).ok();
        for _ in 0..2 {
            case.wipe();
            let cached = case.cargo(&args).ok();
            let diagnostics = |text: &str| {
                let mut lines: Vec<_> = text
                    .lines()
                    .filter(|line| line.contains("unused"))
                    .map(str::to_owned)
                    .collect();
                lines.sort();
                lines
            };
            assert_eq!(diagnostics(&cached.stdout), diagnostics(&bare.stdout));
            assert_eq!(diagnostics(&cached.stderr), diagnostics(&bare.stderr));
        }
    }
}

/// The counters of a case's cache: compilations that hit, and that ran the compiler.
fn counted(case: &Case) -> (u64, u64) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_cargo-cachewrap"))
        .args(["stats", "--json"])
        .env_clear()
        .env("CACHEWRAP_DIR", case.cache())
        .output()
        .expect("the command should start");
    let stats: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("the output should be JSON");
    let number = |name: &str| {
        let value = stats.pointer(&format!("/counters/{name}"));
        value.and_then(serde_json::Value::as_u64).unwrap_or(0)
    };
    (
        number("hit") - number("hit.query"),
        number("miss") - number("miss.query") + number("bypass"),
    )
}

#[test]
fn the_counters_agree_with_the_compiler() {
    let case = Case::fixture("kinds");
    let build = with_everything(&["build"]);
    let cold = case.cargo(&build).ok().compiled.len() as u64;
    assert_eq!(counted(&case), (0, cold));
    case.wipe();
    case.cargo(&build).ok().compiles(&[]);
    assert_eq!(counted(&case), (cold, cold));
    case.edit("src/words.rs", ".count()", ".count() + 1");
    let edited = case.cargo(&build).ok().compiled.len() as u64;
    assert_eq!(counted(&case), (cold, cold + edited));
}

/// Counted by the counters: the compiler that counts is a script, and watched more closely.
#[test]
fn with_the_compiler_itself_everything_hits_too() {
    for args in [
        &["build"][..],
        &["build", "--release"],
        &["check"],
        &["test", "--no-run"],
    ] {
        let mut case = Case::fixture("kinds");
        case.use_compiler_itself();
        let args = with_everything(args);
        compare(&case, &args).ok();
        let cold = counted(&case);
        assert_eq!(cold.0, 0, "{args:?}");
        compare(&case, &args).ok();
        assert_eq!(counted(&case), (cold.1, cold.1), "{args:?}");
        case.edit("src/words.rs", ".count()", ".count() + 1");
        compare(&case, &args).ok();
        case.copy_project("elsewhere");
        let before = counted(&case);
        compare(&case, &args).ok();
        assert_eq!(counted(&case).1, before.1, "{args:?}");
    }
}
