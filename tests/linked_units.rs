//! Outputs of the linker: they are restored whole, and they work.

use std::fs;
use std::process::Command;

use crate::harness::{Case, Mode, assert_fresh, compare, compare_twice, manifest};

/// Links a C program against a library of the project and returns what it prints.
#[track_caller]
fn run_with_c(case: &Case, symbol: &str, words: &[&str]) -> String {
    let source = case.root().join("use.c");
    let program = case.root().join("use");
    let text = format!(
        "#include <stdio.h>\nint {symbol}(void);\nint main(void) {{ printf(\"%d\", {symbol}()); }}\n"
    );
    fs::write(&source, text).expect("C source should be writable");
    let linked = Command::new("cc")
        .arg("-o")
        .arg(&program)
        .arg(&source)
        .args(words)
        .current_dir(case.target().join("debug"))
        .output()
        .expect("cc should run");
    assert!(linked.status.success(), "{linked:?}");
    let output = Command::new(&program)
        .env("LD_LIBRARY_PATH", case.target().join("debug"))
        .output()
        .expect("the C program should run");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn restored_c_libraries_link_and_run() {
    let case = Case::fixture("kinds");
    case.cargo(&["build", "--workspace"]).ok();
    case.wipe();
    case.cargo(&["build", "--workspace"]).ok().compiles(&[]);
    let system = ["-lpthread", "-ldl", "-lm", "-lgcc_s"];
    let archive = [&["libarchive.a"][..], &system].concat();
    assert_eq!(run_with_c(&case, "archive_answer", &archive), "44");
    assert_eq!(run_with_c(&case, "plugin_answer", &["libplugin.so"]), "42");
}

#[test]
fn a_program_with_a_dylib_dependency_follows_it() {
    let case = Case::new();
    case.write(
        "Cargo.toml",
        manifest("app", "[dependencies]\nshared = { path = \"shared\" }"),
    )
    .write(
        "src/main.rs",
        "fn main() { println!(\"{}\", shared::answer()); }",
    )
    .write(
        "shared/Cargo.toml",
        "[package]\nname = \"shared\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
         [lib]\ncrate-type = [\"dylib\"]\n",
    )
    .write("shared/src/lib.rs", "pub fn answer() -> u8 { 1 }");
    compare_twice(&case, &["build"]);
    case.edit("shared/src/lib.rs", "1", "2");
    compare(&case, &["build"]).ok().compiles(&["app", "shared"]);
    case.edit("shared/src/lib.rs", "2", "1");
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn a_restored_test_executable_still_runs_under_cargo_test() {
    let case = Case::fixture("kinds");
    case.cargo(&["test"]).ok();
    case.wipe();
    let warm = case.cargo(&["test", "--lib", "--bins", "--tests"]).ok();
    assert!(
        warm.stdout.contains("tests::sums ... ok"),
        "{}",
        warm.stdout
    );
    warm.compiles(&[]);
}

#[test]
fn split_debug_info_comes_back() {
    let mut case = Case::fixture("kinds");
    for kind in ["packed", "unpacked", "off"] {
        case.env("RUSTFLAGS", format!("-Csplit-debuginfo={kind}"));
        for incremental in ["0", "1"] {
            case.env("CARGO_INCREMENTAL", incremental);
            compare_twice(&case, &["build"]);
        }
    }
}

#[test]
fn a_plain_build_can_overwrite_what_was_restored() {
    let case = Case::fixture("kinds");
    case.cargo(&["build"]).ok();
    case.wipe();
    case.cargo(&["build"]).ok().compiles(&[]);
    case.edit("src/lib.rs", "let unused = 1", "let unused = 2");
    case.edit("util/src/lib.rs", "8 } else { 7", "8 } else { 9");
    case.bare_cargo(&["build"]).ok();
    assert_fresh(&case, Mode::Bare, &["build"]);
}

#[test]
fn editing_an_output_in_place_harms_neither_the_cache_nor_another_tree() {
    let mut case = Case::fixture("kinds");
    case.cargo(&["build"]).ok();
    let first = case.target().join("debug/kinds");
    let original = fs::read(&first).expect("the program should be readable");
    fs::write(&first, b"scribbled over").expect("the program should be writable");
    case.env("CARGO_TARGET_DIR", case.root().join("other"));
    case.cargo(&["build"]).ok();
    let second = fs::read(case.target().join("debug/kinds")).expect("the program should exist");
    assert_eq!(second.len(), original.len());
    compare(&case, &["build"]).ok();
}

#[test]
fn coverage_instrumentation_writes_its_profile() {
    let mut case = Case::fixture("kinds");
    case.env("RUSTFLAGS", "-Cinstrument-coverage");
    let profile = case.root().join("default.profraw");
    for _ in 0..2 {
        case.wipe();
        case.cargo(&["build"]).ok();
        let _ = fs::remove_file(&profile);
        let status = Command::new(case.target().join("debug/kinds"))
            .env("LLVM_PROFILE_FILE", &profile)
            .status()
            .expect("the program should run");
        assert!(status.success() && profile.exists());
    }
    case.wipe();
    let warm = case.cargo(&["build"]).ok();
    // An instrumented macro writes a profile when the compiler that loaded it ends, so its users
    // have a side effect; nothing else has.
    let users: Vec<_> = warm
        .compiled
        .iter()
        .filter(|name| *name != "kinds")
        .collect();
    assert!(users.is_empty(), "{users:?}");
}

#[test]
fn the_bench_profile_and_examples_are_shared_with_nothing_else() {
    let case = Case::fixture("kinds");
    compare(&case, &["build", "--examples"]).ok();
    compare(&case, &["bench", "--no-run"]).ok();
    compare(&case, &["build", "--examples"]).ok().compiles(&[]);
    compare(&case, &["bench", "--no-run"]).ok().compiles(&[]);
}
