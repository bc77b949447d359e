//! Layouts and modes that cargo still calls unstable. `RUSTC_BOOTSTRAP=1` opens them in any release.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::harness::{Case, compare, compare_twice};

/// Cold, warm and in a second checkout: the last two must compile nothing.
#[track_caller]
fn works_and_hits(case: &mut Case, args: &[&str]) {
    case.env("RUSTC_BOOTSTRAP", "1");
    compare_twice(case, args);
    case.copy_project("somewhere/else");
    compare(case, args).ok().compiles(&[]);
}

#[track_caller]
fn works_with(flag: &str) {
    let args = ["build", "--workspace", "--all-targets", flag];
    works_and_hits(&mut Case::fixture("kinds"), &args);
}

#[test]
fn the_new_layout_of_the_build_directory() {
    works_with("-Zbuild-dir-new-layout");
}

#[test]
fn libraries_without_metadata() {
    works_with("-Zno-embed-metadata");
}

#[test]
fn freshness_by_checksum() {
    works_with("-Zchecksum-freshness");
}

#[test]
fn all_of_them_together() {
    let flags = [
        "-Zbuild-dir-new-layout",
        "-Zno-embed-metadata",
        "-Zchecksum-freshness",
    ];
    for args in [&["check", "--workspace"][..], &["build", "--release"]] {
        works_and_hits(&mut Case::fixture("kinds"), &[args, &flags].concat());
    }
}

#[test]
fn an_edit_with_freshness_by_checksum() {
    let mut case = Case::fixture("kinds");
    case.env("RUSTC_BOOTSTRAP", "1");
    let args = ["build", "-Zchecksum-freshness"];
    compare(&case, &args).ok();
    case.write("src/words.txt", "just two\n");
    compare(&case, &args).ok().compiles(&["kinds", "kinds"]);
}

/// A project whose development profile trims paths.
fn trimmed(scope: &str) -> Case {
    let mut case = Case::fixture("kinds");
    case.env("RUSTC_BOOTSTRAP", "1");
    case.edit(
        "Cargo.toml",
        "[workspace]",
        &format!("[profile.dev]\ntrim-paths = \"{scope}\"\n\n[workspace]"),
    );
    case
}

const TRIMMED: [&str; 2] = ["build", "-Ztrim-paths"];

#[test]
fn cargos_own_trimming_of_paths() {
    for scope in ["all", "none"] {
        works_and_hits(&mut trimmed(scope), &TRIMMED);
    }
}

/// Rustc then keeps the real paths in metadata, so results serve the place that they were made in.
#[test]
fn cargos_own_trimming_of_some_paths() {
    for scope in ["object", "macro"] {
        let mut case = trimmed(scope);
        compare(&case, &TRIMMED).ok();
        compare(&case, &TRIMMED).ok().compiles(&[]);
        case.copy_project("somewhere/else");
        compare(&case, &TRIMMED).ok();
        compare(&case, &TRIMMED).ok().compiles(&[]);
    }
}

/// Reports are matched to sources by the paths in a program, so these stay real.
#[test]
fn programs_measured_for_coverage_name_their_own_sources() {
    let mut case = Case::fixture("kinds");
    case.env("RUSTFLAGS", "-Cinstrument-coverage");
    case.cargo(&["build"]).ok();
    let first = case.path("").components().as_path().to_owned();
    case.copy_project("somewhere/else");
    let here = case.path("").components().as_path().to_owned();
    let names = |path: &Path| {
        let program = fs::read(case.target().join("debug/kinds")).expect("it should exist");
        let path = path.as_os_str().as_bytes();
        program.windows(path.len()).any(|window| window == path)
    };
    case.bare_cargo(&["build"]).ok();
    assert!(names(&here) && !names(&first), "the bare program");
    for _ in 0..2 {
        case.wipe();
        case.cargo(&["build"]).ok();
        assert!(names(&here) && !names(&first), "the cached program");
    }
}
