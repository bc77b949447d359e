//! One store for several users and several releases.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use cache_core::{Digest, Store};

use crate::fail_open::is_root;
use crate::harness::{Case, Direct, bin_manifest, copy_tree, lib_manifest};

/// A whole frame (see `cache-core/src/codec.rs`) of a layout that this release does not know.
fn foreign_frame(kind: u8) -> Vec<u8> {
    let payload = b"from another release";
    let mut frame = b"cwrp".to_vec();
    frame.extend_from_slice(&[kind, 200, 0, 0]);
    frame.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    frame.extend_from_slice(payload);
    let checksum = Digest::of(&frame);
    frame.extend_from_slice(checksum.as_bytes());
    frame
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    walkdir::WalkDir::new(dir)
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let bytes = fs::read(entry.path()).expect("it should be readable");
            (entry.into_path(), bytes)
        })
        .collect()
}

/// What the other release's process has in the directory: all of its own, and every structured file
/// of the part that both share.
fn another_release(case: &Case) -> BTreeMap<PathBuf, Vec<u8>> {
    let cache = case.cache();
    let kinds = [
        ("manifests", b'M'),
        ("results", b'R'),
        ("names", b'N'),
        ("toolchains", b'T'),
    ];
    for (part, kind) in kinds {
        for path in files(&cache.join("v1").join(part)).into_keys() {
            fs::write(path, foreign_frame(kind)).expect("it should be writable");
        }
        let name = Digest::of(part.as_bytes()).to_hex();
        let shard = match part {
            "toolchains" => String::new(),
            _ => name[..2].to_owned(),
        };
        let dir = cache.join("v1").join(part).join(shard);
        fs::create_dir_all(&dir).expect("it should be creatable");
        fs::write(dir.join(name), foreign_frame(kind)).expect("it should be writable");
    }
    fs::write(cache.join("v1/stats/7000"), foreign_frame(b'S')).expect("it should be writable");
    fs::write(cache.join("v1/gc"), foreign_frame(b'G')).expect("it should be writable");
    let mut theirs = files(&cache.join("v1"));
    theirs.retain(|_, bytes| bytes.starts_with(b"cwrp") && bytes.get(5) == Some(&200));
    assert!(theirs.len() >= 8, "{:?}", theirs.keys());
    fs::create_dir_all(cache.join("v2/results/ab")).expect("it should be creatable");
    fs::write(cache.join("v2/results/ab/entry"), "theirs").expect("it should be writable");
    fs::write(cache.join("v2/lock"), "").expect("it should be writable");
    theirs.extend(files(&cache.join("v2")));
    theirs
}

#[test]
fn what_another_release_stored_is_neither_used_nor_touched() {
    let mut direct = Direct::new();
    direct.builds_rightly("cold", |_| ());
    let theirs = another_release(&direct.case);
    let cache = direct.case.cache();
    let check = |what: &str| {
        for (path, bytes) in &theirs {
            let now = fs::read(path).unwrap_or_default();
            assert!(now == *bytes, "{} after {what}", path.display());
        }
    };
    let build = direct.builds_rightly("beside another release", |_| ());
    assert_eq!(build.compiled, ["base"]);
    check("a build");
    for bound in ["10G", "1K"] {
        let mut gc = direct.case.wrapper_command();
        gc.arg("--cachewrap-gc").env("CACHEWRAP_MAX_SIZE", bound);
        assert!(gc.status().is_ok_and(|status| status.success()));
        check("a collection");
    }
    for repair in [false, true] {
        let report = Store::new(&cache, false).verify(repair, &|_| ());
        let report = report
            .expect("it should be readable")
            .expect("nobody collects");
        assert!(report.findings.is_empty(), "{:?}", report.findings);
        assert!(report.foreign >= 2, "{report:?}");
        check("verifying");
    }
    for command in [&["prune", "--max", "0"][..], &["stats"], &["verify"]] {
        let mut cli = Command::new(env!("CARGO_BIN_EXE_cargo-cachewrap"));
        let cli = cli.args(command).env("CACHEWRAP_DIR", &cache).output();
        let cli = cli.expect("it should start");
        assert!(cli.status.success(), "{command:?}: {cli:?}");
        check(command[0]);
    }
    direct.builds_rightly("at last", |_| ());
    // Clearing is for the part that this release uses; the other one's own stays.
    Store::new(&cache, false)
        .clear()
        .expect("it should be clearable");
    assert!(!cache.join("v1").exists());
    assert_eq!(files(&cache.join("v2")).len(), 2);
}

/// Two users with a common group, and a directory that the group may write to.
#[test]
fn a_directory_of_a_group() {
    const GROUP: u32 = 54_321;
    const USERS: [&str; 2] = ["54321", "54322"];
    // Libraries only: linkers ask whether they may read, and do not take root's word for it.
    let mut case = Case::new();
    case.write("Cargo.toml", bin_manifest("app", &["base"]))
        .write("src/lib.rs", "pub fn value() -> u32 { base::value() }")
        .write("base/Cargo.toml", lib_manifest("base", &[]))
        .write("base/src/lib.rs", "pub fn value() -> u32 { 7 }");
    if !is_root() {
        eprintln!("skipped: only root can become two users");
        return;
    }
    // Whoever builds may enter everything that leads there, and write to the project.
    let common = |path: &Path, mode: u32| {
        std::os::unix::fs::chown(path, None, Some(GROUP)).expect("it should change groups");
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .expect("its mode should change");
    };
    fs::create_dir(case.cache()).expect("it should be creatable");
    for dir in [case.root().to_owned(), case.cache()] {
        common(&dir, 0o2775);
    }
    // The toolchain may be out of other users' reach, so they may read everything.
    let user_words = |user: &'static str| {
        let reading = [
            "--inh-caps=+dac_read_search",
            "--ambient-caps=+dac_read_search",
        ];
        [
            &[
                "setpriv",
                "--reuid",
                user,
                "--regid",
                "54321",
                "--clear-groups",
            ],
            &reading[..],
        ]
        .concat()
    };
    let words = user_words(USERS[0]);
    let readable = Command::new(words[0])
        .args(&words[1..])
        .arg(case.toolchain().bin("rustc"))
        .arg("-V")
        .status();
    if !readable.is_ok_and(|status| status.success()) {
        eprintln!("skipped: the compiler is out of other users' reach");
        return;
    }
    let log = case.root().join("log");
    fs::write(&log, "").expect("the log should be writable");
    common(&log, 0o666);
    for (name, mode) in [("home", 0o2775), ("tmp", 0o1777)] {
        let dir = case.root().join(name);
        fs::create_dir(&dir).expect("it should be creatable");
        common(&dir, mode);
    }
    case.env("CARGO_HOME", case.root().join("home"));
    case.env("TMPDIR", case.root().join("tmp"));
    case.env("CACHEWRAP_LOG", "error");
    let project = case.path("");
    let mut compiled = Vec::new();
    for (n, user) in USERS.into_iter().cycle().take(4).enumerate() {
        let dir = case.root().join(format!("project{n}"));
        copy_tree(&project, &dir);
        let owned = Command::new("chown").args(["-R", user]).arg(&dir).status();
        assert!(owned.is_ok_and(|status| status.success()));
        case.enter(dir);
        // The umask of a shared directory.
        case.launcher(
            &[
                &user_words(user)[..],
                &["--", "sh", "-c", "umask 002; exec \"$@\"", "sh"],
            ]
            .concat(),
        );
        compiled.push(case.cargo(&["build"]).ok().compiled.len());
        let library = fs::metadata(case.target().join("debug/libapp.rlib"));
        let library = library.expect("it should have been built");
        assert_eq!(library.uid().to_string(), user);
    }
    assert_eq!(compiled, [2, 0, 0, 0]);
    let owners = |part: &str| {
        let files = files(&case.cache().join("v1").join(part)).into_keys();
        let mut owners: Vec<u32> = files
            .filter_map(|path| Some(path.metadata().ok()?.uid()))
            .collect();
        owners.sort_unstable();
        owners.dedup();
        owners
    };
    // Who last used a result owns it, for only the owner can say that it was used.
    assert_eq!(owners("results"), [54_322]);
    assert_eq!(owners("blobs"), [54_321]);
    let report = Store::new(case.cache(), true).verify(false, &|_| ());
    let report = report
        .expect("it should be readable")
        .expect("nobody collects");
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}
