//! Wherever cargo is told to build, and however it lays things out there.

use std::fs;
use std::path::Path;

use super::{asked, asked_from_nothing, count, project, settle};
use crate::harness::{Case, Mode, assert_fresh, compare, compare_in_place};

#[test]
fn another_checkout_and_another_target_directory_are_served_ahead() {
    let mut case = project();
    case.cargo(&["build"]).ok();
    let original = case.path("");
    case.copy_project("else/where");
    settle();
    // Cargo knows this place by other times, not by other names.
    assert_eq!(asked_from_nothing(&case, &["build"]), ["app"]);
    compare(&case, &["build"]).ok().compiles(&[]);
    fs::remove_dir_all(original).expect("removable");
    assert_eq!(asked_from_nothing(&case, &["build"]), ["app"]);
    assert_eq!(case.printed("debug/app"), "5 10 hello .");
    let outcome = case
        .cargo(&["build", "-v", "--target-dir", "by-argument"])
        .ok();
    assert_eq!(asked(&outcome.compiles(&[])).len(), 1);
    case.env("CARGO_TARGET_DIR", "by-variable");
    assert_eq!(asked_from_nothing(&case, &["build"]), ["app"]);
    compare(&case, &["build"]).ok().compiles(&[]);
}

/// Builds twice, the second time from nothing, and expects that one unit is asked for and plain cargo content.
#[track_caller]
fn is_served_ahead(case: &Case, target: &Path, args: &[&str]) {
    case.cargo(args).ok();
    fs::remove_dir_all(target).expect("the target directory that is meant");
    let served = case.cargo(&[args, &["-v"]].concat()).ok().compiles(&[]);
    assert_eq!(asked(&served).len(), 1, "{args:?}");
    assert_fresh(case, Mode::Bare, args);
}

#[test]
fn where_cargo_is_configured_to_build_is_served_ahead() {
    let mut case = project();
    let config = "[build]\ntarget-dir = \"configured/here\"\n";
    case.write(".cargo/config.toml", config);
    settle();
    is_served_ahead(&case, &case.path("configured/here"), &["build"]);
    case.copy_project("else/where");
    fs::remove_dir_all(case.path("configured")).expect("removable");
    settle();
    let outcome = case.cargo(&["build", "-v"]).ok().compiles(&[]);
    assert_eq!(asked(&outcome).len(), 1);
    assert_fresh(&case, Mode::Bare, &["build"]);
    case.env("CARGO_BUILD_TARGET_DIR", "by-variable");
    is_served_ahead(&case, &case.path("by-variable"), &["build"]);
    case.env("CARGO_TARGET_DIR", "by-first-variable");
    is_served_ahead(&case, &case.path("by-first-variable"), &["build"]);
    assert!(!case.path("target").exists());
}

#[test]
fn a_manifest_elsewhere_is_served_ahead() {
    let mut case = project();
    let project = case.path("");
    let target = case.target();
    for (directory, manifest) in [
        ("", "project/Cargo.toml"),
        ("project/src", "../Cargo.toml"),
        ("project/src", "../words/../base/./Cargo.toml"),
    ] {
        let directory = case.root().join(directory);
        case.enter(directory);
        if target.exists() {
            fs::remove_dir_all(&target).expect("removable");
        }
        is_served_ahead(&case, &target, &["build", "--manifest-path", manifest]);
    }
    // The same package, named otherwise.
    fs::remove_dir_all(&target).expect("removable");
    case.enter(project.join("base"));
    let outcome = case.cargo(&["build", "-v"]).ok().compiles(&[]);
    assert_eq!(asked(&outcome).len(), 1);
}

#[test]
fn the_other_layout_of_profiles_is_served_ahead() {
    let mut case = project();
    case.env("RUSTC_BOOTSTRAP", "1");
    let flag = "-Zbuild-dir-new-layout";
    for args in [&["build", flag][..], &["test", "--no-run", flag]] {
        compare(&case, args).ok();
        let before = count(&case, "seed.used");
        compare(&case, args).ok().compiles(&[]);
        compare(&case, args).ok().compiles(&[]);
        assert_eq!(count(&case, "seed.used"), before + 2, "{args:?}");
        case.wipe().cargo(args).ok();
        let asked = asked_from_nothing(&case, args);
        let last = |name: &String| ["app", "it"].contains(&name.as_str());
        assert!(asked.iter().all(last), "{args:?}: {asked:?}");
        assert_fresh(&case, Mode::Bare, args);
    }
    case.copy_project("else/where");
    settle();
    assert_eq!(asked_from_nothing(&case, &["build", flag]), ["app"]);
    assert_fresh(&case, Mode::Bare, &["build", flag]);
    case.edit("base/four.txt", "4", "6");
    compare(&case, &["build", flag]).ok();
    case.edit("src/part.rs", "10", "20");
    compare_in_place(&case, &["build", flag]);
    assert_eq!(case.printed("debug/app"), "7 20 hello .");
    assert_eq!(count(&case, "fault"), 0);
}
