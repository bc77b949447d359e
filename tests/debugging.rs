//! Debuggers and backtraces work in a second checkout, on programs that the cache made in the first.
//!
//! A test states what a debugger shows of a bare build at the same place, and compares.

use std::path::PathBuf;
use std::process::Command;

use crate::harness::{Case, Outcome, bin_manifest, lib_manifest, tree_contains};

const SETTINGS: [&str; 3] = ["workspace", "all", "off"];

/// A program that ends in a panic four frames deep: through a library, a generic function of it,
/// and code that its build script generates.
fn program() -> Case {
    let mut case = Case::new();
    case.write("Cargo.toml", bin_manifest("app", &["base"]))
        .write(
            "src/main.rs",
            "fn main() {\n    let words = std::env::args().count();\n    base::enter(words);\n}\n",
        )
        .write("base/Cargo.toml", lib_manifest("base", &[]))
        .write(
            "base/build.rs",
            "fn main() {\n    let out = std::env::var(\"OUT_DIR\").unwrap();\n    \
             println!(\"cargo::rerun-if-changed=build.rs\");\n    \
             std::fs::write(out + \"/made.rs\", \"pub fn made(n: usize) {\\n    \
             crate::fail(n);\\n}\\n\").unwrap();\n}\n",
        )
        .write(
            "base/src/lib.rs",
            "include!(concat!(env!(\"OUT_DIR\"), \"/made.rs\"));\n\n\
             #[inline(never)]\npub fn fail(n: usize) {\n    \
             assert_eq!(n, 0, \"on purpose\");\n}\n\n\
             pub fn generic<T: Into<usize>>(n: T) {\n    made(n.into());\n}\n\n\
             #[inline(never)]\npub fn enter(n: usize) {\n    generic(n);\n}\n",
        );
    case.env("RUST_BACKTRACE", "1");
    case
}

/// Builds in one checkout and then, from the cache, in another.
#[track_caller]
fn in_a_second_checkout(setting: &str, args: &[&str]) -> Case {
    let mut case = program();
    case.env("CACHEWRAP_TRIM_PATHS", setting);
    case.cargo(args).ok();
    let first = case.path("").components().as_path().to_owned();
    case.copy_project("somewhere/else");
    if setting == "off" {
        // Results then serve only the directory that they were made in.
        case.cargo(args).ok();
        case.wipe();
    }
    case.cargo(args).ok().compiles(&[]);
    assert_eq!(
        tree_contains(&case.target(), &first),
        Vec::<PathBuf>::new(),
        "{setting}: files that name {}",
        first.display()
    );
    case
}

/// What `show` says of the program from the cache and of a bare one at the same place.
fn beside_a_bare_build(
    case: &Case,
    args: &[&str],
    show: impl Fn(&Case) -> String,
) -> (String, String) {
    let cached = show(case);
    case.wipe();
    case.bare_cargo(args).ok();
    (cached, show(case))
}

fn app(case: &Case, profile: &str) -> String {
    let path = case.target().join(profile).join("app");
    path.display().to_string()
}

fn run(case: &Case, program: &str, args: &[&str]) -> Outcome {
    let mut command = Command::new(program);
    command
        .args(args)
        .current_dir(case.path(""))
        .env("RUST_BACKTRACE", "1");
    case.run(command)
}

/// A debugging session that stops in generated code and in the library.
fn debug(case: &Case, before: &[&str]) -> String {
    let mut args = vec!["-nx", "-batch", "-ex", "set width 0"];
    let session = [
        "break base/src/lib.rs:5",
        "break made.rs:2",
        "run",
        "backtrace",
        "list",
        "continue",
        "list",
        "info locals",
        "info source",
    ];
    for command in before.iter().copied().chain(session) {
        args.extend(["-ex", command]);
    }
    let program = app(case, "debug");
    args.push(&program);
    let said = run(case, "gdb", &args);
    let shown = said.stdout.lines().map(|line| {
        // Addresses are the linker's business.
        let words = line.split(' ').map(|word| match word.strip_prefix("0x") {
            Some(_) => "0x…",
            None => word,
        });
        words.collect::<Vec<_>>().join(" ")
    });
    shown.collect::<Vec<_>>().join("\n")
}

fn has_gdb() -> bool {
    let found = Command::new("gdb").arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: gdb is not installed");
    }
    found
}

#[test]
fn gdb_stops_lists_and_walks_the_stack_as_in_a_bare_build() {
    if !has_gdb() {
        return;
    }
    for setting in SETTINGS {
        let case = in_a_second_checkout(setting, &["build"]);
        let (cached, bare) = beside_a_bare_build(&case, &["build"], |case| debug(case, &[]));
        for expected in [
            "Breakpoint 2, base::made (n=1) at ",
            "2\t    crate::fail(n);",
            "base::generic<usize> (n=1) at base/src/lib.rs:9",
            "app::main () at src/main.rs:3",
            "Breakpoint 1, base::fail (n=1) at base/src/lib.rs:5",
            "5\t    assert_eq!(n, 0, \"on purpose\");",
            "Located in ",
        ] {
            assert!(bare.contains(expected), "{expected:?} is not in\n{bare}");
        }
        // The one difference that trimming is meant to make.
        let bare = if setting == "off" {
            bare
        } else {
            let here = case.path("").components().as_path().display().to_string();
            bare.replace(
                &format!("Compilation directory is {here}\n"),
                "Compilation directory is .\n",
            )
        };
        assert_eq!(cached, bare, "{setting}");
    }
}

#[test]
fn gdb_finds_generated_code_in_a_target_directory_outside_when_told() {
    if !has_gdb() {
        return;
    }
    let mut case = program();
    let outside = case.root().join("outside");
    case.cargo(&["build"]).ok();
    case.env("CARGO_TARGET_DIR", &outside);
    case.cargo(&["build"]).ok().compiles(&[]);
    let rule = format!("set substitute-path ./target {}", outside.display());
    let shown = debug(&case, &[&rule]);
    assert!(shown.contains("2\t    crate::fail(n);"), "{shown}");
}

#[test]
fn panics_and_backtraces_are_those_of_a_bare_build() {
    for setting in SETTINGS {
        for (profile, args) in [
            ("debug", &["build"][..]),
            ("release", &["build", "--release"]),
        ] {
            let case = in_a_second_checkout(setting, args);
            let (cached, bare) = beside_a_bare_build(&case, args, |case| {
                let said = run(case, &app(case, profile), &[]);
                // The first line names the thread by number.
                let lines = said.stderr.lines();
                let lines =
                    lines.map(|line| line.split_once(" panicked at ").unwrap_or(("", line)).1);
                lines.collect::<Vec<_>>().join("\n")
            });
            assert!(bare.contains("base/src/lib.rs:5:5"), "{bare}");
            assert!(bare.contains("base::fail"), "{bare}");
            assert_eq!(cached, bare, "{setting} {profile}");
        }
    }
}
