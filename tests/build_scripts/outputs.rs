//! What a run leaves and says: files of all kinds, directives, messages, and its end.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::{builds, project, runs_in};
use crate::harness::{Case, compare, compare_in_place};

/// The only `OUT_DIR` below the target directory.
fn out_dir(case: &Case) -> PathBuf {
    let entries = WalkDir::new(case.target().join("debug/build"))
        .into_iter()
        .flatten();
    let mut dirs = entries.filter(|e| e.file_type().is_dir() && e.file_name() == "out");
    dirs.next().expect("there should be an OUT_DIR").into_path()
}

/// Everything about a tree but its times, which have to be new.
fn shape(dir: &Path) -> Vec<String> {
    let entries = WalkDir::new(dir).sort_by_file_name().into_iter();
    entries
        .map(|entry| {
            let entry = entry.expect("the tree should be readable");
            let metadata = entry.path().symlink_metadata().expect("it should be there");
            format!(
                "{:?} {:o} {} {:?} {:?}",
                entry.path().strip_prefix(dir),
                metadata.permissions().mode(),
                if metadata.is_dir() { 0 } else { metadata.len() },
                fs::read_link(entry.path()).ok(),
                fs::read(entry.path()).ok(),
            )
        })
        .collect()
}

#[test]
fn modes_links_and_empty_directories() {
    let case = project(
        "use std::os::unix::fs::{PermissionsExt as _, symlink};\
         use std::os::unix::ffi::OsStrExt as _;\
         leave(\"x\");\
         fs::create_dir_all(out.join(\"empty/inner\")).unwrap();\
         fs::create_dir(out.join(\"closed\")).unwrap();\
         for (name, mode) in [(\"plain\", 0o644), (\"program\", 0o755), (\"read only\", 0o444),\
         (\"private\", 0o600), (\"closed/file\", 0o640)] {\
         fs::write(out.join(name), name).unwrap();\
         fs::set_permissions(out.join(name), fs::Permissions::from_mode(mode)).unwrap(); }\
         fs::set_permissions(out.join(\"closed\"), fs::Permissions::from_mode(0o550)).unwrap();\
         symlink(\"plain\", out.join(\"relative\")).unwrap();\
         symlink(out.join(\"plain\"), out.join(\"absolute\")).unwrap();\
         symlink(\"nowhere\", out.join(\"dangling\")).unwrap();\
         fs::hard_link(out.join(\"plain\"), out.join(\"second\")).unwrap();\
         fs::write(out.join(std::ffi::OsStr::from_bytes(b\"not\\xffutf8\")), \"\").unwrap();",
    );
    case.wipe();
    case.bare_cargo(&["build"]).ok();
    let bare = shape(&out_dir(&case));
    builds(&case, &["app"]);
    assert_eq!(shape(&out_dir(&case)), bare);
    let before = fs::metadata(out_dir(&case).join("text")).expect("it should be there");
    builds(&case, &[]);
    let dir = out_dir(&case);
    assert_eq!(shape(&dir), bare);
    assert_eq!(bare.len(), 15);
    let after = fs::metadata(dir.join("text")).expect("it should be there");
    assert!(after.mtime() >= before.mtime());
    let strange = dir.join(OsStr::from_bytes(b"not\xffutf8"));
    assert!(strange.exists());
    // Nothing of ours is left beside it.
    let beside = fs::read_dir(dir.parent().expect("OUT_DIR lies somewhere"));
    let beside = beside.expect("the directory should be readable").flatten();
    let names: Vec<_> = beside.map(|e| e.file_name().into_string()).collect();
    assert_eq!(names.len(), 5, "{names:?}");
}

#[test]
fn times_keep_their_order() {
    let case = project(
        "leave(\"x\");\
         for name in [\"c\", \"a\", \"b\"] { fs::write(out.join(name), name).unwrap();\
         std::thread::sleep(std::time::Duration::from_millis(30)); }",
    );
    builds(&case, &["app"]);
    builds(&case, &[]);
    let written = |name: &str| {
        let metadata = fs::metadata(out_dir(&case).join(name)).expect("it should be there");
        (metadata.mtime(), metadata.mtime_nsec())
    };
    assert!(written("c") <= written("a") && written("a") <= written("b"));
}

#[test]
fn directives_and_messages() {
    let case = project(
        "leave(\"x\");\
         println!(\"cargo::rustc-cfg=special\");\
         println!(\"cargo::rustc-check-cfg=cfg(special)\");\
         println!(\"cargo::rustc-env=FROM_SCRIPT={}\", out.display());\
         println!(\"cargo:warning=mind the gap\");\
         println!(\"just text\"); eprintln!(\"to standard error\");\
         print!(\"no line feed\"); eprint!(\"neither\");",
    );
    case.write(
        "src/main.rs",
        "fn main() { if cfg!(special) { print!(\"{}\", env!(\"FROM_SCRIPT\").ends_with(\"out\")) } }",
    );
    builds(&case, &["app"]);
    builds(&case, &[]);
    assert_eq!(case.printed("debug/app"), "true");
    // What `cargo -vv` shows of the streams.
    let shown = |outcome: crate::harness::Outcome| {
        let lines = outcome.ok().stderr;
        let lines = lines.lines().filter(|line| line.starts_with("[app"));
        let mut lines: Vec<_> = lines.map(str::to_owned).collect();
        lines.sort();
        lines
    };
    case.wipe();
    let bare = shown(case.bare_cargo(&["build", "-vv"]));
    case.wipe();
    let runs = runs_in(&case, || {
        assert_eq!(shown(case.cargo(&["build", "-vv"])), bare);
    });
    assert!(runs.is_empty());
    assert!(
        bare.iter().any(|line| line.ends_with("to standard error")),
        "{bare:?}"
    );
}

#[test]
fn a_failure_fails_each_time() {
    let case = project(
        "leave(\"x\"); println!(\"said\"); eprintln!(\"complained\"); std::process::exit(3);",
    );
    for _ in 0..2 {
        let runs = runs_in(&case, || {
            let failed = compare(&case, &["build"]).fails();
            assert!(
                failed.stderr.contains("exit status: 3"),
                "{}",
                failed.stderr
            );
        });
        assert_eq!(runs, ["app"]);
    }
    // An error told to cargo fails the build although the script ends well.
    let case = project("leave(\"x\"); println!(\"cargo::error=it is broken\");");
    for _ in 0..2 {
        let runs = runs_in(&case, || {
            let failed = compare(&case, &["build"]).fails();
            assert!(failed.stderr.contains("it is broken"), "{}", failed.stderr);
        });
        assert_eq!(runs, ["app"]);
    }
}

#[test]
fn a_signal_is_passed_on() {
    let case = project("leave(\"x\"); std::process::abort();");
    let failed = compare(&case, &["build"]).fails();
    assert!(failed.stderr.contains("SIGABRT"), "{}", failed.stderr);
}

#[test]
fn a_run_in_a_used_output_directory() {
    // Appends to what earlier runs left, as bare cargo lets it.
    let mut case = project(
        "println!(\"cargo:rerun-if-env-changed=WORD\");\
         let old = fs::read_to_string(out.join(\"text\")).unwrap_or_default();\
         leave(&format!(\"{old}{};\", env::var(\"WORD\").unwrap()));",
    );
    for (word, text) in [("a", "a;"), ("b", "a;b;"), ("a", "a;b;a;")] {
        case.env("WORD", word);
        let (cached, _) = compare_in_place(&case, &["build"]);
        cached.ok();
        assert_eq!(case.printed("debug/app"), text);
    }
    // From nothing, only what was stored from nothing counts.
    case.env("WORD", "b");
    builds(&case, &["app"]);
    assert_eq!(case.printed("debug/app"), "b;");
    case.env("WORD", "a");
    builds(&case, &[]);
    assert_eq!(case.printed("debug/app"), "a;");
}
