//! `cargo cachewrap explain` says of real builds why units were compiled.

use std::process::Command;

use serde_json::Value;

use crate::harness::{Case, Mode, bin_manifest, lib_manifest};

fn project() -> Case {
    let case = Case::new();
    case.write("Cargo.toml", bin_manifest("app", &["base-lib"]))
        .write(
            "src/main.rs",
            "fn main() { println!(\"{}{:?}\", base_lib::value(), option_env!(\"FLAVOUR\")); }",
        )
        .write("base-lib/Cargo.toml", lib_manifest("base-lib", &[]))
        .write("base-lib/src/lib.rs", "pub fn value() -> u32 { 1 }\n");
    case
}

fn explain(case: &Case, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_cargo-cachewrap"))
        .arg("explain")
        .args(args)
        .env_clear()
        .env("CACHEWRAP_DIR", case.cache())
        .output()
        .expect("the command should start");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("the output should be text")
}

#[test]
fn the_last_build_is_explained() {
    let mut case = project();
    case.cargo(&["build"]).ok();
    let first = explain(&case, &[]);
    let new = "base_lib (lib): not compiled before with these arguments";
    assert!(first.contains(new), "{first}");
    case.edit("base-lib/src/lib.rs", "1", "2");
    case.cargo(&["build"]).ok();
    let edited = explain(&case, &[]);
    assert!(edited.contains("base_lib (lib): file: "), "{edited}");
    assert!(edited.contains("src/lib.rs: was as recorded"), "{edited}");
    assert!(!edited.contains(new), "only of the last build: {edited}");
    case.env("FLAVOUR", "sweet");
    case.cargo(&["build"]).ok().compiles(&["app"]);
    let changed = explain(&case, &[]);
    let variable = "app (bin): env: FLAVOUR: was not set, is \"sweet\"";
    assert!(changed.contains(variable), "{changed}");
    // A build that is served is no reason to forget the one before.
    case.wipe().cargo(&["build"]).ok().compiles(&[]);
    assert_eq!(explain(&case, &[]), changed);
    assert_eq!(explain(&case, &["--all"]).matches("Build of").count(), 3);
    let of_one = explain(&case, &["base-lib"]);
    assert_eq!(of_one.matches("base_lib").count(), 2, "{of_one}");
    assert!(explain(&case, &["nothing"]).starts_with("No \"nothing\" among the last"));
}

#[test]
fn what_is_not_stored_or_bypassed_is_explained_in_json_too() {
    let case = project();
    case.write("base-lib/src/lib.rs", "pub fn value() -> u32 { broken }\n");
    let failed = case.cargo(&["build"]);
    assert!(!failed.status.success());
    let told: Value = serde_json::from_str(&explain(&case, &["--json", "base_lib"])).expect("JSON");
    assert_eq!(told[0]["outcome"]["event"], "miss");
    assert_eq!(told[0]["outcome"]["not_stored"], "failed");
    case.rustc(Mode::Cached, &["--crate-name", "odd", "--no-such-option"]);
    let told = explain(&case, &["odd"]);
    assert!(
        told.contains("odd: bypassed: unknown-arguments: unknown option --no-such-option"),
        "{told}"
    );
}

#[test]
fn before_the_first_miss_there_is_nothing_to_explain() {
    let case = project();
    assert_eq!(explain(&case, &[]), "Every unit has been served so far\n");
    assert_eq!(explain(&case, &["--json"]), "[]\n");
}

#[test]
fn what_differs_from_the_last_time_is_named() {
    let mut case = project();
    case.env("CACHEWRAP_BUILD_SCRIPTS", "all")
        .env("CACHEWRAP_ENV", "MY_SECRET")
        .env("MY_SECRET", "one");
    case.write(
        "build.rs",
        "fn main() { println!(\"cargo:rerun-if-changed=build.rs\"); }\n",
    );
    case.cargo(&["build"]).ok();
    assert!(!explain(&case, &[]).contains("other than before"));
    case.wipe();
    case.env("CFLAGS", "-O1");
    case.cargo(&["build"]).ok().compiles(&[]);
    let script = "app (build script run): not compiled before with these arguments; \
                  other than before: CFLAGS\n";
    assert!(
        explain(&case, &[]).contains(script),
        "{}",
        explain(&case, &[])
    );
    case.env("RUSTFLAGS", "--cfg=other").env("MY_SECRET", "two");
    case.cargo(&["build"]).ok();
    let told = explain(&case, &["base_lib"]);
    assert!(told.contains("other than before: --cfg"), "{told}");
    assert!(told.contains(", MY_SECRET"), "{told}");
    let told = explain(&case, &["--diff", "base_lib"]);
    assert!(told.contains("\n    --cfg: - -> "), "{told}");
    let secret = told
        .lines()
        .find(|line| line.starts_with("    MY_SECRET: "));
    let digests = secret.and_then(|line| line["    MY_SECRET: ".len()..].split_once(" -> "));
    let (old, new) = digests.expect("both digests");
    assert!(old != new && old.len() == new.len(), "{told}");
    let json = explain(&case, &["--json", "base_lib"]);
    let told: Value = serde_json::from_str(&json).expect("JSON");
    assert!(
        told[1]["differs"].to_string().contains("MY_SECRET"),
        "{json}"
    );
    assert!(told[1]["key"].is_null(), "{json}");
}

#[test]
fn everything_that_enters_keys_is_told_when_asked_for() {
    let mut case = project();
    let log = case.path("log");
    case.env("CACHEWRAP_LOG", format!("trace:{}", log.display()));
    case.cargo(&["build"]).ok();
    let told = std::fs::read_to_string(&log).expect("a log");
    let unit = told.split("cachewrap: trace: base_lib (lib): key ").nth(1);
    let fields: Vec<&str> = unit.expect("a key").lines().skip(1).collect();
    let fields = fields.split(|line| !line.starts_with("  ")).next();
    let fields = fields.expect("fields");
    for field in [
        "  kind = \"compile\"",
        "  argument = \"edition\"",
        "  trim-paths = \"workspace\"",
    ] {
        assert!(fields.contains(&field), "{field}: {fields:#?}");
    }
    let result = told
        .split("cachewrap: trace: base_lib (lib): result ")
        .nth(1);
    assert!(result.expect("inputs").contains("\n  content = "), "{told}");
}
