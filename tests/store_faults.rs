//! Damage to the store costs time at most.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::harness::{Case, Mode, assert_fresh, bin_manifest, compare, lib_manifest};

/// The smallest project with a library and a program.
fn project() -> Case {
    let case = Case::new();
    case.write("Cargo.toml", bin_manifest("app", &["base"]))
        .write(
            "src/main.rs",
            "fn main() { println!(\"{}\", base::value()); }",
        )
        .write("base/Cargo.toml", lib_manifest("base", &[]))
        .write(
            "base/src/lib.rs",
            "pub fn value() -> u32 { let unused = 1; 7 }",
        );
    case
}

fn store_files(case: &Case) -> Vec<PathBuf> {
    let mut files: Vec<_> = WalkDir::new(case.cache())
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
        .collect();
    files.sort();
    files
}

/// Writes a file of the store whatever its mode says.
fn overwrite(path: &Path, bytes: &[u8]) {
    // Replaced, not written in place: an outcome must not depend on shared blocks or links.
    let _ = fs::remove_file(path);
    fs::write(path, bytes).expect("a file of the store should be writable");
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("its mode should change");
}

#[track_caller]
fn builds_rightly(case: &Case, damage: &str) {
    case.wipe();
    let build = case.cargo(&["build"]);
    assert!(build.status.success(), "{damage}\n{}", build.stderr);
    assert!(
        build.stderr.contains("unused variable"),
        "{damage}\n{}",
        build.stderr
    );
    assert_eq!(case.printed("debug/app"), "7", "{damage}");
    assert_fresh(case, Mode::Cached, &["build"]);
}

/// Damages every file of the store, one at a time, each time on an intact store.
#[track_caller]
fn survives(damage: fn(&mut Vec<u8>)) {
    let case = project();
    case.cargo(&["build"]).ok();
    let intact: Vec<_> = store_files(&case)
        .into_iter()
        .map(|path| {
            let bytes = fs::read(&path).expect("a file of the store should be readable");
            (path, bytes)
        })
        .collect();
    assert!(!intact.is_empty(), "the build should have stored something");
    for (path, bytes) in &intact {
        let mut damaged = bytes.clone();
        damage(&mut damaged);
        if damaged == *bytes {
            continue;
        }
        overwrite(path, &damaged);
        builds_rightly(&case, &path.display().to_string());
        overwrite(path, bytes);
    }
}

#[test]
fn any_file_with_a_flipped_bit_in_the_middle() {
    survives(|bytes| {
        let middle = bytes.len() / 2;
        if let Some(byte) = bytes.get_mut(middle) {
            *byte ^= 0x10;
        }
    });
}

#[test]
fn any_file_with_a_flipped_bit_at_the_end() {
    survives(|bytes| {
        if let Some(byte) = bytes.last_mut() {
            *byte ^= 0x01;
        }
    });
}

#[test]
fn any_file_cut_in_half() {
    survives(|bytes| bytes.truncate(bytes.len() / 2));
}

#[test]
fn any_file_emptied() {
    survives(Vec::clear);
}

#[test]
fn any_file_replaced_by_garbage() {
    survives(|bytes| *bytes = b"\xff\xfe garbage \x00 ".repeat(300));
}

#[test]
fn any_file_missing() {
    let case = project();
    case.cargo(&["build"]).ok();
    for path in store_files(&case) {
        if fs::remove_file(&path).is_ok() {
            builds_rightly(&case, &path.display().to_string());
        }
    }
}

#[test]
fn garbage_everywhere() {
    let case = project();
    case.cargo(&["build"]).ok();
    for path in store_files(&case) {
        overwrite(&path, b"not what it was");
    }
    builds_rightly(&case, "everything");
    for path in store_files(&case) {
        overwrite(&path, b"");
    }
    builds_rightly(&case, "everything");
}

#[test]
fn damage_is_repaired_by_the_build_that_met_it() {
    let case = project();
    compare(&case, &["build"]).ok();
    for path in store_files(&case) {
        if path.components().any(|part| part.as_os_str() == "blobs") {
            overwrite(&path, b"torn");
        }
    }
    compare(&case, &["build"]).ok().compiles(&["app", "base"]);
    compare(&case, &["build"]).ok().compiles(&[]);
}
