//! Damage to the store costs time at most.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::harness::{
    Case, Direct, Mode, assert_fresh, bin_manifest, compare, copy_tree, lib_manifest,
};

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

/// Something that happens to one file, given its path and its content.
type Damage = fn(&Path, &[u8]);

/// Everything that a disk, a person or a program does to a file that is not its own.
const DAMAGES: &[(&str, Damage)] = &[
    ("a flipped bit in the middle", |path, bytes| {
        let mut bytes = bytes.to_vec();
        let middle = bytes.len() / 2;
        if let Some(byte) = bytes.get_mut(middle) {
            *byte ^= 0x10;
        }
        overwrite(path, &bytes);
    }),
    ("a flipped bit at the end", |path, bytes| {
        let mut bytes = bytes.to_vec();
        if let Some(byte) = bytes.last_mut() {
            *byte ^= 0x01;
        }
        overwrite(path, &bytes);
    }),
    ("half of it", |path, bytes| {
        overwrite(path, bytes.split_at(bytes.len() / 2).0);
    }),
    (EMPTIED, |path, _| overwrite(path, b"")),
    ("twice as much", |path, bytes| {
        overwrite(path, &[bytes, bytes].concat());
    }),
    ("garbage", |path, _| {
        overwrite(path, &b"\xff\xfe garbage \x00 ".repeat(300));
    }),
    (MISSING, |path, _| remove(path)),
    ("a directory", |path, _| {
        remove(path);
        fs::create_dir_all(path.join("inner")).expect("it should be creatable");
        fs::write(path.join("inner/file"), "text").expect("it should be writable");
    }),
    ("a link to itself", |path, _| link(path, path)),
    ("a link to nowhere", |path, _| {
        link(Path::new("/nowhere/at all"), path);
    }),
    ("a link to endless zeros", |path, _| {
        link(Path::new("/dev/zero"), path);
    }),
    ("a link to a directory", |path, _| {
        link(Path::new("/usr"), path);
    }),
    ("a link to somebody's file", |path, _| {
        link(&precious(path), path);
    }),
    ("a pipe", |path, _| {
        remove(path);
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.is_ok_and(|status| status.success()));
    }),
    (UNREADABLE, |path, bytes| {
        overwrite(path, bytes);
        fs::set_permissions(path, fs::Permissions::from_mode(0o000))
            .expect("its mode should change");
    }),
];

const EMPTIED: &str = "nothing in it";
const MISSING: &str = "it missing";
const UNREADABLE: &str = "no permissions";
const PRECIOUS: &str = "nobody may write to this";

fn remove(path: &Path) {
    fs::remove_file(path).expect("a file of the store should be removable");
}

fn link(to: &Path, path: &Path) {
    remove(path);
    std::os::unix::fs::symlink(to, path).expect("a link should be creatable");
}

/// A file outside the store of which `path` is a file.
fn precious(path: &Path) -> PathBuf {
    let cache = path
        .ancestors()
        .find(|dir| dir.file_name() == Some("cache".as_ref()));
    cache
        .expect("it should be below the cache")
        .with_file_name("precious")
}

/// What `verify` says about the store.
fn findings(case: &Case) -> Vec<PathBuf> {
    let store = cache_core::Store::new(case.cache(), true);
    let report = store.verify(false, &|_| ());
    let report = report.expect("it should be readable");
    let findings = report.expect("it is not busy").findings;
    findings.into_iter().map(|finding| finding.path).collect()
}

/// Whether `verify` must find this damage.
fn shows(path: &Path, damage: &str) -> bool {
    let within = |part: &str| path.components().any(|c| c.as_os_str() == part);
    match damage {
        // What is not there is missed only where something needs it.
        MISSING => within("blobs"),
        // A counter is empty before the first count, and a short table or record remembers less.
        EMPTIED => !within("stats") && !within("memo") && !within("builds"),
        // The end may fall between two entries, and a copy is as good.
        "half of it" | "twice as much" => !within("memo") && !within("builds"),
        // Its content means nothing.
        "garbage" => !within("lock"),
        // Root reads everything.
        UNREADABLE => !crate::fail_open::is_root(),
        _ => true,
    }
}

/// Every file of the store, with each damage: `verify` finds it, the next build is right, and the
/// one after that is a hit.
#[test]
fn any_file_with_any_damage() {
    let mut direct = Direct::new();
    direct.builds_rightly("cold", |_| ());
    let mut gc = direct.case.wrapper_command();
    let collected = gc.arg("--cachewrap-gc").status();
    assert!(collected.is_ok_and(|status| status.success()));
    direct.builds_rightly("warm", |_| ());
    assert!(findings(&direct.case).is_empty());
    let cache = direct.case.cache();
    let intact = direct.case.root().join("intact");
    fs::rename(&cache, &intact).expect("the store should be movable");
    copy_tree(&intact, &cache);
    let files = store_files(&direct.case);
    assert!(files.len() >= 9, "{files:?}");
    let precious = direct.case.root().join("precious");
    fs::write(&precious, PRECIOUS).expect("it should be writable");
    crate::fail_open::obey_permissions(&mut direct.case);
    let mut count = 0;
    for (name, damage) in DAMAGES {
        for path in &files {
            direct.case.forget();
            copy_tree(&intact, &cache);
            let bytes = fs::read(path).expect("a file of the store should be readable");
            damage(path, &bytes);
            let what = format!("{} with {name}", path.display());
            let is_file = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
            let changed = !is_file || fs::read(path).ok().as_ref() != Some(&bytes);
            if changed && shows(path, name) {
                assert!(!findings(&direct.case).is_empty(), "{what} is not found");
            }
            direct.builds_rightly(&what, |_| ());
            let warm = direct.builds_rightly(&format!("after {what}"), |_| ());
            assert!(warm.compiled.is_empty(), "{what} did lasting harm");
            let left = fs::read_to_string(&precious).expect("it should be readable");
            assert_eq!(left, PRECIOUS, "{what} wrote outside the store");
            count += 1;
        }
    }
    eprintln!(
        "{count} damaged files, {} builds, none failed or wrong",
        2 * count
    );
}

#[test]
fn repairing_removes_what_is_found() {
    let case = project();
    case.cargo(&["build"]).ok();
    let files = store_files(&case);
    for (n, path) in files.iter().enumerate() {
        let (_, damage) = DAMAGES[n % (DAMAGES.len() - 1)];
        damage(path, &fs::read(path).expect("it should be readable"));
    }
    let store = cache_core::Store::new(case.cache(), false);
    let report = store.verify(true, &|_| ());
    let report = report
        .expect("it should be readable")
        .expect("nobody collects");
    assert!(report.findings.iter().all(|finding| finding.removed));
    assert!(findings(&case).is_empty());
    builds_rightly(&case, "all of it");
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

/// Large outputs take another way in and out of the store than small ones.
#[test]
fn a_large_program_damaged_in_its_middle() {
    let case = project();
    let mut data = vec![1; 20 << 20];
    data.extend_from_slice(b"the end");
    case.write("data.bin", &data).write(
        "src/main.rs",
        "static DATA: &[u8] = include_bytes!(\"../data.bin\");\n\
         fn main() {\n\
             let whole = DATA[..20 << 20].iter().all(|&byte| byte == 1);\n\
             print!(\"{whole} {} {}\", &DATA.ends_with(b\"end\"), base::value());\n\
         }\n",
    );
    let printed = "true true 7";
    case.cargo(&["build"]).ok();
    case.wipe();
    case.cargo(&["build"]).ok().compiles(&[]);
    assert_eq!(case.printed("debug/app"), printed);
    let large = store_files(&case).into_iter().find(|path| {
        let within = path.components().any(|c| c.as_os_str() == "blobs");
        within && fs::metadata(path).is_ok_and(|m| m.len() > 20 << 20)
    });
    let large = large.expect("the program should be in the store");
    let mut bytes = fs::read(&large).expect("it should be readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    overwrite(&large, &bytes);
    case.wipe();
    case.cargo(&["build"]).ok().compiles(&["app"]);
    assert_eq!(case.printed("debug/app"), printed);
    case.wipe();
    case.cargo(&["build"]).ok().compiles(&[]);
    assert_eq!(case.printed("debug/app"), printed);
}

/// A path that stands in a large output binds it to its place like one in a small output.
#[test]
fn a_large_program_that_names_its_place() {
    let mut case = Case::new();
    // Debug information names the directory, then.
    case.env("CACHEWRAP_TRIM_PATHS", "off");
    for place in ["here", "there"] {
        let project = case.root().join(place);
        case.enter(project);
        case.write("Cargo.toml", bin_manifest("app", &[]))
            .write("data.bin", vec![1; 12 << 20])
            .write(
                "src/main.rs",
                "static DATA: &[u8] = include_bytes!(\"../data.bin\");\n\
                 fn main() { print!(\"{}\", DATA.iter().map(|&b| usize::from(b)).sum::<usize>()); }\n",
            );
        compare(&case, &["build"]).ok().compiles(&["app"]);
        compare(&case, &["build"]).ok().compiles(&[]);
    }
}
