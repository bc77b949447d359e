//! Incremental state that is gone comes back before the first edit, and what is compiled from it is what plain cargo
//! compiles.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use cache_core::Store;
use walkdir::WalkDir;

use crate::harness::{Case, bin_manifest, compare, compare_in_place, lib_manifest};

/// A program whose parts are compiled apart, with outputs from the cache and no incremental state.
fn served() -> Case {
    let case = Case::new();
    case.write("Cargo.toml", bin_manifest("app", &[]))
        .write(
            "src/main.rs",
            "mod part;\nmod other;\nfn main() { println!(\"{} {}\", part::text(), other::text()); }",
        )
        .write("src/part.rs", "pub fn text() -> String { String::from(\"first\") }")
        .write("src/other.rs", "pub fn text() -> String { String::from(\"other\") }");
    case.cargo(&["build"]).ok().compiles(&["app"]);
    case.wipe();
    case.cargo(&["build"]).ok().compiles(&[]);
    assert!(sessions(&case).is_empty());
    case
}

fn sessions(case: &Case) -> Vec<PathBuf> {
    let incremental = case.target().join("debug/incremental");
    let walk = WalkDir::new(incremental).min_depth(2).max_depth(2);
    let dirs = walk.into_iter().filter_map(Result::ok);
    let dirs = dirs.filter(|entry| entry.file_type().is_dir());
    dirs.map(|entry| entry.path().to_owned()).collect()
}

fn inodes(dir: &Path) -> BTreeSet<u64> {
    let objects = fs::read_dir(dir).expect("a session");
    let objects = objects.map(|entry| entry.expect("a file"));
    let objects = objects.filter(|e| e.path().extension() == Some("o".as_ref()));
    objects
        .map(|e| e.metadata().expect("a file").ino())
        .collect()
}

fn counter(case: &Case, name: &str) -> u64 {
    let counters = Store::new(case.cache(), true).counters();
    counters.expect("counters").get(name).copied().unwrap_or(0)
}

#[test]
fn the_first_edit_goes_on_from_what_was_kept() {
    let case = served();
    assert_eq!(counter(&case, "session.kept"), 1);
    case.edit("src/part.rs", "first", "second");
    case.cargo(&["build"]).ok().compiles(&["app"]);
    assert_eq!(counter(&case, "session.placed"), 1);
    assert_eq!(case.printed("debug/app"), "second other");
    // The compiler links what it takes over.
    let [before, after] = &sessions(&case)[..] else {
        panic!("two sessions: {:?}", sessions(&case));
    };
    assert!(!inodes(before).is_disjoint(&inodes(after)));
    assert_eq!(counter(&case, "session.kept"), 2);
    case.edit("src/other.rs", "other", "another");
    compare_in_place(&case, &["build"]).0.ok();
    compare(&case, &["build"]).ok().compiles(&[]);
    assert_eq!(case.printed("debug/app"), "second another");
}

#[test]
fn messages_are_those_of_a_whole_compilation() {
    let case = served();
    case.write(
        "src/other.rs",
        "pub fn text() -> u32 { let x = 1; 2 }\nfn unused() {}",
    );
    compare(&case, &["build"]).ok().compiles(&["app"]);
    case.edit("src/part.rs", "first", "second");
    compare(&case, &["build"]).ok().compiles(&["app"]);
    assert!(counter(&case, "session.placed") > 0);
    case.edit("src/part.rs", "String::from", "String::frm");
    compare(&case, &["build"]).fails();
    compare(&case, &["check"]).fails();
    case.edit("src/part.rs", "String::frm", "String::from");
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn damaged_state_is_not_placed() {
    let case = served();
    for session in WalkDir::new(case.cache().join("v1/sessions")) {
        let session = session.expect("a session");
        if session.file_type().is_file() {
            let mut bytes = fs::read(session.path()).expect("it should be readable");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(session.path(), bytes).expect("it should be writable");
        }
    }
    case.edit("src/part.rs", "first", "second");
    compare_in_place(&case, &["build"]).0.ok();
    assert_eq!(counter(&case, "session.placed"), 0);
    assert_eq!(case.printed("debug/app"), "second other");
}

#[test]
fn state_of_other_options_or_another_place_is_left_alone() {
    let mut case = served();
    case.env("CARGO_PROFILE_DEV_DEBUG", "1");
    compare(&case, &["build"]).ok().compiles(&["app"]);
    case.unset("CARGO_PROFILE_DEV_DEBUG");
    case.copy_project("copy");
    case.edit("src/part.rs", "first", "second");
    compare(&case, &["build"]).ok().compiles(&["app"]);
    assert_eq!(counter(&case, "session.placed"), 0);
}

#[test]
fn a_library_and_a_program_of_one_name_have_one_each() {
    let case = Case::new();
    case.write("Cargo.toml", bin_manifest("app", &[]))
        .write("src/lib.rs", "pub fn text() -> &'static str { \"first\" }")
        .write(
            "src/main.rs",
            "fn main() { println!(\"{}\", app::text()); }",
        );
    case.cargo(&["build"]).ok().compiles(&["app", "app"]);
    case.wipe();
    case.cargo(&["build"]).ok().compiles(&[]);
    case.edit("src/lib.rs", "first", "second");
    case.cargo(&["build"]).ok().compiles(&["app", "app"]);
    assert_eq!(counter(&case, "session.placed"), 2);
    assert_eq!(case.printed("debug/app"), "second");
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn workspaces_keep_one_of_each_member() {
    let case = Case::new();
    case.write("Cargo.toml", bin_manifest("app", &["base"]))
        .write(
            "src/main.rs",
            "fn main() { println!(\"{}\", base::text()); }",
        )
        .write("base/Cargo.toml", lib_manifest("base", &[]))
        .write(
            "base/src/lib.rs",
            "pub fn text() -> &'static str { \"first\" }",
        );
    case.cargo(&["build"]).ok().compiles(&["app", "base"]);
    case.wipe();
    case.cargo(&["build"]).ok().compiles(&[]);
    case.edit("base/src/lib.rs", "first", "second");
    compare_in_place(&case, &["build"])
        .0
        .ok()
        .compiles(&["app", "base"]);
    assert_eq!(counter(&case, "session.placed"), 2);
}
