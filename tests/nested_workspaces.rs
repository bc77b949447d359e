//! Workspaces in one another, and packages outside of the workspace that is built: messages and
//! panics name what plain cargo names, and show the lines of other crates.

use std::path::PathBuf;

use crate::harness::{Case, compare, compare_twice, lib_manifest, manifest};

/// A library that can be used wrongly, and that panics when it is used.
const CORE: &str = "pub trait Shape {}\n\
                    #[track_caller] pub fn need<T: Shape>(_: T) {}\n\
                    pub fn fail() { panic!(\"on purpose\") }\n";
const WRONG: &str = "fn main() { core_lib::need(1u8); }\n";
const PANICS: &str = "fn main() { core_lib::fail(); }\n";

/// Builds what does not compile, and has the line of the other crate shown.
#[track_caller]
fn wrong(case: &Case, args: &[&str]) {
    let outcome = compare(case, args).fails();
    let shown = "#[track_caller] pub fn need<T: Shape>(_: T) {}";
    assert!(outcome.stdout.contains(shown), "no excerpt: {outcome:#?}");
}

/// Builds a program that does not compile, one that panics, and the latter once more.
#[track_caller]
fn both(case: &Case, main: &str, args: &[&str]) {
    case.write(main, WRONG);
    wrong(case, args);
    case.write(main, PANICS);
    compare_twice(case, args);
}

/// `ws` with the package `core-lib` and a lock.
fn workspace() -> Case {
    let case = Case::new();
    case.write(
        "ws/Cargo.toml",
        "[workspace]\nmembers = [\"core-lib\"]\nexclude = [\"fuzz\", \"target\"]\n",
    )
    .write("ws/Cargo.lock", "version = 4\n")
    .write("ws/core-lib/Cargo.toml", lib_manifest("core-lib", &[]))
    .write("ws/core-lib/src/lib.rs", CORE);
    case
}

fn depending_on(path: &str) -> String {
    manifest(
        "app",
        &format!("[dependencies]\ncore-lib = {{ path = \"{path}\" }}\n"),
    )
}

#[test]
fn a_workspace_in_another_one_shares_its_target_directory() {
    let mut case = workspace();
    let ws = case.path("ws");
    case.write("ws/fuzz/Cargo.toml", depending_on("../core-lib"));
    case.enter(ws.join("fuzz"));
    for target in ["ws/fuzz/target", "ws/target", "elsewhere"] {
        case.env("CARGO_TARGET_DIR", case.root().join("project").join(target));
        both(&case, "src/main.rs", &["build"]);
    }
}

#[test]
fn a_workspace_is_built_from_elsewhere() {
    let mut case = workspace();
    case.write("ws/fuzz/Cargo.toml", depending_on("../core-lib"));
    case.env("CARGO_TARGET_DIR", case.path("ws/target"));
    let args = ["build", "--manifest-path=ws/fuzz/Cargo.toml"];
    both(&case, "ws/fuzz/src/main.rs", &args);
    case.enter(case.path("ws"));
    both(
        &case,
        "fuzz/src/main.rs",
        &["build", "--manifest-path=fuzz/Cargo.toml"],
    );
}

/// What trybuild does: a package in the target directory, programs of which lie in the workspace.
#[test]
fn a_package_in_the_target_directory_compiles_sources_of_the_workspace() {
    let mut case = workspace();
    let ws = case.path("ws");
    let inner = ws.join("target/tests/trybuild/app");
    let main = ws.join("tests/ui/a.rs");
    let sections = format!(
        "[[bin]]\nname = \"a\"\npath = {main:?}\n[dependencies]\ncore-lib = {{ path = {:?} }}\n",
        ws.join("core-lib")
    );
    case.write("ws/tests/ui/a.rs", "");
    case.enter(&inner);
    case.env("CARGO_TARGET_DIR", case.root().join("trybuild"));
    case.write("Cargo.toml", manifest("app", &sections));
    let main = main.to_str().expect("the path is text");
    both(&case, main, &["build"]);
}

#[test]
fn a_program_of_a_member_lies_outside_of_the_workspace() {
    let mut case = Case::new();
    case.write(
        "ws/Cargo.toml",
        "[workspace]\nmembers = [\"app\", \"core-lib\"]\n",
    )
    .write("ws/core-lib/Cargo.toml", lib_manifest("core-lib", &[]))
    .write("ws/core-lib/src/lib.rs", CORE)
    .write(
        "ws/app/Cargo.toml",
        "[package]\nname = \"app\"\nedition = \"2021\"\n[[bin]]\nname = \"app\"\n\
             path = \"../../main.rs\"\n[dependencies]\ncore-lib = { path = \"../core-lib\" }\n",
    );
    case.write("main.rs", "");
    let main = case.path("main.rs");
    let main = main.to_str().expect("the path is text").to_owned();
    case.enter(case.path("ws"));
    both(&case, &main, &["build"]);
}

/// Vendored `user`, and `core-lib`, which it uses.
fn vendored(case: &Case, workspace: &str) {
    let config = "[source.crates-io]\nreplace-with = \"vendored\"\n\
                  [source.vendored]\ndirectory = \"vendor\"\n";
    case.write(&format!("{workspace}/.cargo/config.toml"), config);
    for (name, dependency) in [("user", "core-lib = \"0.1\""), ("core-lib", "")] {
        let dir = format!("{workspace}/vendor/{name}");
        let text = manifest(name, &format!("[dependencies]\n{dependency}\n"));
        case.write(
            &format!("{dir}/Cargo.toml"),
            text.replace("[workspace]", ""),
        )
        .write(&format!("{dir}/.cargo-checksum.json"), "{\"files\":{}}")
        .write(&format!("{dir}/src/lib.rs"), CORE);
    }
    case.write(&format!("{workspace}/vendor/user/src/lib.rs"), "");
}

fn using_vendored() -> String {
    manifest(
        "app",
        "[dependencies]\ncore-lib = \"0.1\"\nuser = \"0.1\"\n",
    )
}

#[test]
fn vendored_packages_show_each_others_lines() {
    let mut case = Case::new();
    vendored(&case, "ws");
    case.enter(case.path("ws"));
    case.write("Cargo.toml", using_vendored())
        .write("src/main.rs", WRONG);
    case.bare_cargo(&["generate-lockfile"]).ok();
    wrong(&case, &["build"]);
    let unused = WRONG.replace("main", "unused");
    case.write("src/main.rs", PANICS)
        .write("vendor/user/src/lib.rs", unused);
    wrong(&case, &["build"]);
}

#[test]
fn vendored_packages_are_portable_but_not_between_workspaces() {
    let mut case = workspace();
    vendored(&case, "ws");
    case.write("ws/Cargo.toml", using_vendored())
        .write("ws/src/main.rs", PANICS)
        .write("ws/fuzz/src/main.rs", PANICS)
        .write("ws/fuzz/Cargo.toml", using_vendored());
    let ws: PathBuf = case.path("ws");
    for (name, target) in [("ws/fuzz", "ws/target"), ("ws/fuzz", "elsewhere")] {
        case.enter(case.root().join("project").join(name));
        case.env("PWD", case.path(""));
        case.bare_cargo(&["generate-lockfile"]).ok();
        case.env("CARGO_TARGET_DIR", case.root().join("project").join(target));
        both(&case, "src/main.rs", &["build"]);
    }
    // In its own workspace it has a name that is the same in all checkouts.
    case.unset("CARGO_TARGET_DIR");
    case.env("PWD", &ws).enter(&ws).wipe();
    case.bare_cargo(&["generate-lockfile"]).ok();
    for compiled in [&["app", "core_lib", "user"][..], &[]] {
        case.cargo(&["build"]).ok().compiles(compiled);
        let place = "panicked at ./vendor/core-lib/src/lib.rs:3:17";
        let run = case.cargo(&["run"]).fails();
        assert!(run.stderr.contains(place), "{run:#?}");
        case.env("PWD", case.path("")).copy_project("copy");
    }
}
