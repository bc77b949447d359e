//! Scripts that run cargo: what it says is an input's outcome, what it keeps for itself is nobody's business, and what it
//! builds elsewhere a hit could not leave.

use super::{builds, follows, is_cached, project, runs_in};
use crate::harness::{lib_manifest, manifest};

#[test]
fn what_cargo_says_of_the_packages() {
    let mut case = project(
        "let said = run(&env::var(\"CARGO\").unwrap(), &[\"metadata\", \"--format-version=1\"]);\
         let version = said.split(\"base#\").nth(1).unwrap();\
         leave(version.split('\"').next().unwrap());",
    );
    // The compiler itself: a script in its place is asked through a file that it writes.
    case.use_compiler_itself();
    case.write(
        "Cargo.toml",
        manifest("app", "[dependencies]\nbase = { path = \"base\" }\n"),
    )
    .write("base/Cargo.toml", lib_manifest("base", &[]))
    .write("base/src/lib.rs", "");
    let version = |from: &str, to: &str| {
        let line = |version: &str| format!("version = \"{version}\"");
        case.edit("base/Cargo.toml", &line(from), &line(to));
    };
    follows(
        &case,
        "0.1.0",
        "0.1.7",
        || version("0.1.0", "0.1.7"),
        || version("0.1.7", "0.1.0"),
    );
}

/// Of these variables cargo makes the names itself, so that they stand nowhere.
#[test]
fn what_configures_cargo_counts() {
    let mut case = project(
        "let said = run(&env::var(\"CARGO\").unwrap(), &[\"my\"]);\
         leave(if said.contains(\"packages\") { \"packages\" } else { \"root\" });",
    );
    case.use_compiler_itself();
    case.env("CARGO_ALIAS_MY", "locate-project");
    is_cached(&case, "root");
    case.env("CARGO_ALIAS_MY", "metadata --no-deps --format-version=1");
    is_cached(&case, "packages");
    case.env("CARGO_BUILD_JOBS", "1");
    builds(&case, &[]);
}

#[test]
fn what_cargo_builds_elsewhere_is_a_side_effect() {
    let mut case = project(
        "run(&env::var(\"CARGO\").unwrap(), &[\"build\", \"--manifest-path=other/Cargo.toml\", \"--target-dir=made\"]);\
         leave(\"x\");",
    );
    case.use_compiler_itself();
    case.write("other/Cargo.toml", manifest("other", ""))
        .write("other/src/main.rs", "fn main() {}");
    for _ in 0..2 {
        let made = case.path("made");
        let _ = std::fs::remove_dir_all(&made);
        let runs = runs_in(&case, || {
            case.wipe();
            case.cargo(&["build"]).ok()
        });
        assert_eq!(runs, ["app"]);
        assert!(made.join("debug/other").exists());
    }
}
