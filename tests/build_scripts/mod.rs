//! Runs of build scripts: what decides them, what they leave, and how they are started.
//!
//! Each run of a script appends a line to the file that descriptor 9 was opened on by whoever
//! started cargo. So the runs are counted by the scripts themselves, and without a path that an
//! observer could take for an input or an output.

mod cargo_below;
mod handed_down;
mod inputs;
mod languages;
mod launchers;
mod left_behind;
mod libraries;
mod names;
mod outputs;
mod own_paths;
mod permissions;
mod places;
mod preloaded;
mod side_effects;
mod times;
mod where_paths_lead;

use std::fs;

use crate::harness::{Case, compare, manifest};

/// Prints what the build script left.
const MAIN: &str =
    "fn main() { print!(\"{}\", include_str!(concat!(env!(\"OUT_DIR\"), \"/text\"))); }";

/// A build script that counts its runs; `leave` writes `OUT_DIR/text`.
fn script(body: &str) -> String {
    format!(
        "#![allow(unused)]\nuse std::io::Write as _;\nuse std::path::{{Path, PathBuf}};\n\
         use std::process::Command;\nuse std::{{env, fs}};\n\
         fn main() {{\n\
         let wrapped = env::var_os(\"RUSTC_WRAPPER\").is_some_and(|w| !w.is_empty());\n\
         let runs = fs::OpenOptions::new().append(true).open(\"/proc/self/fd/9\");\n\
         if let Ok(mut runs) = runs {{\n\
         writeln!(runs, \"{{}} {{}}\", if wrapped {{ \"cached\" }} else {{ \"bare\" }},\n\
         env!(\"CARGO_PKG_NAME\")).unwrap();\n\
         }}\n\
         let out = PathBuf::from(env::var_os(\"OUT_DIR\").unwrap());\n\
         {body}\n}}\n\
         fn leave(text: &str) {{\n\
         fs::write(Path::new(&env::var_os(\"OUT_DIR\").unwrap()).join(\"text\"), text).unwrap();\n\
         }}\n\
         fn run(program: &str, args: &[&str]) -> String {{\n\
         let output = Command::new(program).args(args).output().unwrap();\n\
         assert!(output.status.success(), \"{{program}} {{args:?}}: {{output:?}}\");\n\
         String::from_utf8(output.stdout).unwrap().trim().to_owned()\n\
         }}\n"
    )
}

/// A case whose runs are counted.
fn counted() -> Case {
    let mut case = Case::new();
    let open = format!(
        "exec 9>>'{}'; exec \"$@\"",
        case.root().join("runs").display()
    );
    case.launcher(&["/bin/sh", "-c", &open, "sh"]);
    case
}

/// A program whose own build script is cached like those of dependencies.
fn project(body: &str) -> Case {
    let mut case = counted();
    case.env("CACHEWRAP_BUILD_SCRIPTS", "all");
    case.write("Cargo.toml", manifest("app", ""))
        .write("src/main.rs", MAIN)
        .write("build.rs", script(body));
    case
}

/// The names of the packages whose scripts really ran behind the wrapper so far.
fn all_runs(case: &Case) -> Vec<String> {
    let runs = fs::read_to_string(case.root().join("runs")).unwrap_or_default();
    let cached = runs.lines().filter_map(|line| line.strip_prefix("cached "));
    cached.map(str::to_owned).collect()
}

/// Runs something and returns which scripts really ran behind the wrapper meanwhile.
fn runs_in<A>(case: &Case, action: impl FnOnce() -> A) -> Vec<String> {
    let before = all_runs(case).len();
    action();
    let mut runs = all_runs(case).split_off(before);
    runs.sort();
    runs
}

/// Builds from nothing with and without the cache, and asserts that both leave the same and which
/// scripts ran with it.
#[track_caller]
fn builds(case: &Case, expected_runs: &[&str]) {
    let runs = runs_in(case, || compare(case, &["build"]).ok());
    assert_eq!(runs, expected_runs, "real runs of build scripts");
}

/// Builds twice; only the first build runs the script. `text` is what it left.
#[track_caller]
fn is_cached(case: &Case, text: &str) {
    builds(case, &["app"]);
    assert_eq!(case.printed("debug/app"), text);
    builds(case, &[]);
    assert_eq!(case.printed("debug/app"), text);
}

/// The script runs again after a change, and not after it was taken back.
#[track_caller]
fn follows<A, B>(
    case: &Case,
    old: &str,
    new: &str,
    change: impl FnOnce() -> A,
    undo: impl FnOnce() -> B,
) {
    is_cached(case, old);
    change();
    is_cached(case, new);
    undo();
    builds(case, &[]);
    assert_eq!(case.printed("debug/app"), old);
}
