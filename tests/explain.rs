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
    case.env("CACHEWRAP_SEED", "off");
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
    // A build of which all is served is told of too.
    case.wipe().cargo(&["build"]).ok().compiles(&[]);
    let served = explain(&case, &[]);
    assert!(served.contains(": 2 of 2 units served, "), "{served}");
    assert_eq!(served.lines().count(), 1, "{served}");
    let all = explain(&case, &["--all"]);
    assert_eq!(all.matches("Build of").count(), 4, "{all}");
    assert!(all.contains(variable) && all.ends_with(&served), "{all}");
    let of_one = explain(&case, &["base-lib"]);
    assert_eq!(of_one.matches("base_lib").count(), 3, "{of_one}");
    assert!(of_one.ends_with("  base_lib (lib): served\n"), "{of_one}");
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
fn before_the_first_build_there_is_nothing_to_explain() {
    let case = project();
    assert_eq!(explain(&case, &[]), "No build is known\n");
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
        told[2]["differs"].to_string().contains("MY_SECRET"),
        "{json}"
    );
    for not_told in ["parts", "call"] {
        assert!(told[2][not_told].is_null(), "{json}");
    }
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

/// The lines of all records, read as JSON.
fn lines(case: &Case) -> Vec<Value> {
    let files = std::fs::read_dir(case.cache().join("v1/builds")).expect("records");
    let files = files.map(|file| std::fs::read_to_string(file.expect("a record").path()));
    let text: String = files.map(|text| text.expect("a record")).collect();
    let entries = text.lines().map(|line| &line["01234567 ".len()..]);
    let parsed = entries.map(|entry| serde_json::from_str(entry).expect("JSON"));
    parsed.collect()
}

#[test]
fn a_record_tells_how_to_make_a_call_again_and_no_secrets() {
    let mut case = project();
    case.env("MY_TOKEN", "secret-1")
        .env("CARGO_REGISTRIES_MINE_TOKEN", "secret-2");
    case.env("CACHEWRAP_SEED", "off");
    case.cargo(&["build"]).ok();
    case.wipe().cargo(&["build"]).ok().compiles(&[]);
    let lines = lines(&case);
    assert!(!format!("{lines:?}").contains("secret-"), "{lines:#?}");
    let of = |event: &str| {
        let is_base = |line: &&Value| line["unit"] == "base_lib (lib)";
        let is_such = |line: &&Value| line["outcome"]["event"] == event;
        let found = lines.iter().filter(is_base).find(is_such);
        found.expect("the library").clone()
    };
    let (miss, hit) = (of("miss"), of("hit"));
    for same in ["call", "manifest", "result", "bytes", "dir", "kind"] {
        assert_eq!(hit[same], miss[same], "{same}");
        assert!(!hit[same].is_null(), "{same}: {hit:#}");
    }
    assert!(hit["saved_us"].as_u64().is_some_and(|saved| saved > 0));
    let call = hit["call"].to_string();
    for part in [
        "\"--out-dir\",\"\\u0001t/debug/deps\"",
        "\"CARGO_PKG_NAME=base-lib\"",
        "\"CARGO_MANIFEST_DIR=\\u0001w/base-lib\"",
    ] {
        assert!(call.contains(part), "{part}: {call}");
    }
}

#[test]
fn a_tool_that_is_no_cargo_is_recorded_without_its_call() {
    let case = project();
    case.write("a.rs", "");
    case.rustc(
        Mode::Cached,
        &["--crate-type=lib", "--crate-name=a", "a.rs"],
    )
    .ok();
    let [line] = &lines(&case)[..] else {
        panic!("one line");
    };
    assert_eq!(line["unit"], "a (lib)");
    assert!(line["call"].is_null(), "{line:#}");
}
