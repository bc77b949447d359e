//! Directories with names that shells, dep-info files and linkers are easily confused by.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use crate::harness::{Case, Mode, compare, compare_twice};

#[track_caller]
fn works_in(name: &str) {
    let case = Case::inside(name);
    copy_kinds(&case);
    let args = ["build", "--all-targets"];
    compare_twice(&case, &args);
    case.write("src/words.txt", "just two\n");
    compare(&case, &["build"])
        .ok()
        .compiles(&["kinds", "kinds"]);
}

fn copy_kinds(case: &Case) {
    let fixture = Case::fixture("kinds");
    for entry in walkdir::WalkDir::new(fixture.path(""))
        .into_iter()
        .flatten()
    {
        let relative = entry
            .path()
            .strip_prefix(fixture.path(""))
            .expect("it is below the project");
        if entry.file_type().is_file() {
            let content = fs::read(entry.path()).expect("the file should be readable");
            case.write(&relative.display().to_string(), content);
        }
    }
}

#[test]
fn spaces() {
    works_in("with some  spaces");
}

#[test]
fn unicode() {
    works_in("größe-日本-🦀");
}

#[test]
fn a_number_sign_and_a_dollar_sign() {
    works_in("c#-$HOME");
}

#[test]
fn quotes_and_backslashes() {
    works_in("it's \"quoted\" \\ here");
}

#[test]
fn an_equals_sign() {
    works_in("a=b,c");
}

#[test]
fn a_colon_ends_as_it_does_without_the_cache() {
    let case = Case::inside("with:colon");
    copy_kinds(&case);
    // Cargo may refuse this for library search paths: the same has to come out.
    compare(&case, &["build"]);
    compare(&case, &["check"]);
}

#[test]
fn arguments_that_are_not_utf_8() {
    let case = Case::new();
    case.write("lib.rs", "pub fn f() {}\n");
    let out = case.root().join(OsStr::from_bytes(b"out-\xff\xfe"));
    fs::create_dir(&out).expect("the directory should be creatable");
    // Today's rustc refuses them; what counts is that the answer is rustc's.
    let ends = |mode: Mode| {
        let mut command = case.rustc_command(mode);
        command
            .args(["--crate-name=a", "--crate-type=lib", "lib.rs", "--out-dir"])
            .arg(&out);
        let status = case.run(command).status;
        (status, fs::remove_file(out.join("liba.rlib")).is_ok())
    };
    let bare = ends(Mode::Bare);
    for _ in 0..2 {
        assert_eq!(ends(Mode::Cached), bare);
    }
}

#[test]
fn a_cache_directory_behind_a_link() {
    let case = Case::fixture("kinds");
    let real = case.root().join("real cache");
    fs::create_dir(&real).expect("the directory should be creatable");
    symlink(&real, case.cache()).expect("the link should be creatable");
    compare_twice(&case, &["build"]);
}

#[test]
fn a_cache_inside_the_target_directory() {
    let mut case = Case::fixture("kinds");
    case.env("CACHEWRAP_DIR", case.target().join("cache"));
    case.cargo(&["build"]).ok();
    fs::remove_dir_all(case.target().join("debug")).expect("it should be removable");
    case.cargo(&["build"]).ok().compiles(&[]);
}

#[test]
fn a_relative_cache_directory_never_breaks_a_build() {
    let mut case = Case::fixture("kinds");
    case.env("CACHEWRAP_DIR", "relative/cache");
    case.cargo(&["build"]).ok();
    case.wipe();
    case.cargo(&["build"]).ok();
    assert_eq!(case.printed("debug/kinds"), "13 3 42");
}

#[test]
fn a_temporary_directory_that_is_gone() {
    let mut case = Case::fixture("kinds");
    compare(&case, &["check"]).ok();
    // Rustc itself needs one to link, not to check, and a hit needs none.
    case.env("TMPDIR", case.root().join("gone"));
    compare(&case, &["check"]).ok().compiles(&[]);
}
