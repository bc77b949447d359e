//! What a run leaves and says: files of all kinds, directives, messages, and its end.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::{builds, project, runs_in};
use cache_core::Store;
use cache_core::entry::{CompileResult, Content, Output, Role, Template};

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
                "{:?} {:o} {} {} {:?} {:?}",
                entry.path().strip_prefix(dir),
                metadata.permissions().mode(),
                if metadata.is_dir() {
                    0
                } else {
                    metadata.nlink()
                },
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
fn files_with_holes() {
    let case = project(
        "leave(\"x\");\
         use std::os::unix::fs::FileExt as _;\
         let sparse = fs::File::create(out.join(\"sparse\")).unwrap();\
         sparse.set_len(1 << 30).unwrap();\
         sparse.write_all_at(b\"middle\", 512 << 20).unwrap();\
         let nothing = fs::File::create(out.join(\"hole\")).unwrap();\
         nothing.set_len(3 << 20).unwrap();\
         fs::write(out.join(\"zeros\"), vec![0; 1 << 20]).unwrap();",
    );
    let blocks = |case: &Case| {
        ["sparse", "hole", "zeros"].map(|name| {
            let metadata = fs::metadata(out_dir(case).join(name)).expect("it should be there");
            (metadata.len(), metadata.blocks())
        })
    };
    case.cargo(&["build"]).ok();
    let bare = blocks(&case);
    if bare[0].1 > 1 << 10 {
        eprintln!("skipped: this file system has no holes");
        return;
    }
    case.wipe();
    let runs = runs_in(&case, || {
        case.cargo(&["build"]).ok();
    });
    assert!(runs.is_empty());
    assert_eq!(blocks(&case), bare);
    let mut middle = [0; 8];
    let sparse = fs::File::open(out_dir(&case).join("sparse")).expect("it should be there");
    sparse
        .read_exact_at(&mut middle, (512 << 20) - 1)
        .expect("it should be long enough");
    assert_eq!(&middle, b"\0middle\0");
    // In the store the zeros take no room either, compressed or not.
    for gc in [false, true] {
        let usage = Store::new(case.cache(), true).usage();
        let size = usage.expect("it should be readable").size;
        assert!(size < 64 << 20, "{size}");
        if gc {
            break;
        }
        let mut gc = case.wrapper_command();
        gc.arg("--cachewrap-gc").env("CACHEWRAP_MAX_SIZE", "1M");
        assert!(gc.status().is_ok_and(|status| status.success()));
    }
}

#[test]
fn names_of_one_file() {
    let case = project(
        "leave(\"x\");\
         for name in [\"one\", \"other\"] { fs::create_dir(out.join(name)).unwrap(); }\
         fs::write(out.join(\"one/z\"), \"content\").unwrap();\
         fs::hard_link(out.join(\"one/z\"), out.join(\"other/a\")).unwrap();\
         fs::hard_link(out.join(\"one/z\"), out.join(\"b\")).unwrap();\
         fs::write(out.join(\"place\"), out.as_os_str().as_encoded_bytes()).unwrap();\
         fs::hard_link(out.join(\"place\"), out.join(\"again\")).unwrap();\
         fs::write(out.join(\"copy\"), \"content\").unwrap();\
         std::os::unix::fs::symlink(\"b\", out.join(\"soft\")).unwrap();\
         fs::hard_link(out.join(\"soft\"), out.join(\"soft too\")).unwrap();",
    );
    builds(&case, &["app"]);
    let bare = {
        case.wipe();
        case.bare_cargo(&["build"]).ok();
        shape(&out_dir(&case))
    };
    builds(&case, &[]);
    let dir = out_dir(&case);
    assert_eq!(shape(&dir), bare);
    let same = |a: &str, b: &str| {
        let ino = |name| fs::symlink_metadata(dir.join(name)).map(|m| m.ino()).ok();
        ino(a) == ino(b)
    };
    assert!(same("one/z", "other/a") && same("one/z", "b") && same("place", "again"));
    assert!(same("soft", "soft too") && !same("one/z", "copy"));
    fs::write(dir.join("b"), "changed").expect("it should be writable");
    assert_eq!(
        fs::read(dir.join("other/a")).ok(),
        Some(b"changed".to_vec())
    );
    assert_eq!(fs::read(dir.join("copy")).ok(), Some(b"content".to_vec()));
}

/// Who writes to such a file afterwards changes what lies elsewhere.
#[test]
fn a_file_that_has_a_name_elsewhere_is_not_stored() {
    let case = project(
        "leave(\"x\");\
         fs::hard_link(\"data\", out.join(\"data\")).unwrap();",
    );
    case.write("data", "content");
    for _ in 0..2 {
        let runs = runs_in(&case, || {
            case.wipe();
            case.cargo(&["build"]).ok();
        });
        assert_eq!(runs, ["app"]);
    }
}

#[test]
fn an_output_directory_that_became_a_link_is_not_stored() {
    let case = project(
        "leave(\"x\"); let real = PathBuf::from(env::var_os(\"OUT_DIR\").unwrap());\
         fs::remove_dir_all(&real).unwrap();\
         std::os::unix::fs::symlink(env::current_dir().unwrap().join(\"data\"), &real).unwrap();",
    );
    case.write("data/text", "one");
    for text in ["one", "two"] {
        case.write("data/text", text);
        std::thread::sleep(std::time::Duration::from_millis(50));
        case.wipe();
        case.cargo(&["build"]).ok();
        assert_eq!(case.printed("debug/app"), text);
    }
}

/// Entries that somebody has written by hand: a link and then files below it, and the like.
#[test]
fn an_entry_whose_tree_leads_elsewhere_is_refused() {
    let case = project("leave(\"x\");");
    let victim = case.root().join("victim");
    fs::create_dir(&victim).expect("it should be creatable");
    builds(&case, &["app"]);
    builds(&case, &[]);
    let path = WalkDir::new(case.cache().join("v1/results"))
        .into_iter()
        .flatten()
        .map(walkdir::DirEntry::into_path)
        .find(|path| tree_of(path).is_some())
        .expect("the run should be in the store");
    let result = tree_of(&path).expect("it is a tree");
    let output = |path: &str, content: Content| Output {
        role: Role::InTree {
            path: path.into(),
            mode: None,
        },
        executable: false,
        content,
    };
    let link = |path| {
        let target = Template::literal(victim.as_os_str().as_encoded_bytes());
        output(path, Content::Link(target))
    };
    let text = |path| output(path, Content::Text(Template::literal(b"hostile")));
    let mode = |mut output: Output| {
        let Role::InTree { mode, .. } = &mut output.role else {
            unreachable!("it is a tree");
        };
        *mode = Some(0o777);
        output
    };
    let dir = |path| output(path, Content::Directory);
    for added in [
        vec![link("a"), text("a/file")],
        vec![link("a"), dir("a"), text("a/file")],
        vec![dir("a"), link("a"), text("a/file")],
        vec![dir("a"), link("a/b"), text("a/b/file")],
        vec![link("a"), dir("a/b")],
        vec![mode(link("a"))],
        vec![text("../../file")],
        vec![output(
            &victim.join("file").display().to_string(),
            Content::Directory,
        )],
        vec![link("a"), output("b", Content::SameAs(1)), text("b/file")],
        vec![dir("a"), output("b", Content::SameAs(1)), text("b/file")],
    ] {
        let mut hostile = result.clone();
        hostile.outputs.extend(added);
        let bytes = hostile.encode().expect("it should be encodable");
        let _ = fs::remove_file(&path);
        fs::write(&path, bytes).expect("it should be writable");
        builds(&case, &["app"]);
        let left = fs::read_dir(&victim).expect("it should be readable");
        assert_eq!(left.count(), 0, "{:?}", hostile.outputs);
        let mode = fs::metadata(&victim).expect("it should be there").mode();
        assert_eq!(mode & 0o777, 0o755, "{:?}", hostile.outputs);
        builds(&case, &[]);
    }
}

/// The result in a file, if it is that of a build script.
fn tree_of(path: &Path) -> Option<CompileResult> {
    let result = CompileResult::decode(&fs::read(path).ok()?).ok()?;
    let first = result.outputs.first()?;
    matches!(first.role, Role::InTree { .. }).then_some(result)
}

/// What only its owner may read, by its own mode or by that of a directory above it.
#[test]
fn private_files_stay_private() {
    let case = project(
        "use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};\
         leave(\"x\");\
         let keep = |name: &str, mode: u32| {\
         fs::write(out.join(name), format!(\"secret {name} {}\", out.display())).unwrap();\
         fs::set_permissions(out.join(name), fs::Permissions::from_mode(mode)).unwrap(); };\
         fs::DirBuilder::new().mode(0o700).create(out.join(\"closed\")).unwrap();\
         keep(\"key\", 0o600); keep(\"closed/open\", 0o644); keep(\"read\", 0o400);\
         keep(\"none\", 0o000); keep(\"all\", 0o644);",
    );
    builds(&case, &["app"]);
    builds(&case, &[]);
    let mut open = 0;
    for entry in WalkDir::new(case.cache()).into_iter().flatten() {
        let bytes = fs::read(entry.path()).unwrap_or_default();
        let has = |text: &[u8]| bytes.windows(text.len()).any(|w| w == text);
        let mode = entry.metadata().expect("it should be there").mode();
        if ["key", "closed/open", "read", "none"]
            .iter()
            .any(|n| has(format!("secret {n}").as_bytes()))
        {
            assert_eq!(mode & 0o777, 0o400, "{}", entry.path().display());
        }
        open += usize::from(has(b"secret all") && mode & 0o044 == 0o044);
    }
    assert!(open > 0, "what is open stays open");
    // Compressing a blob does not open it.
    let mut gc = case.wrapper_command();
    gc.arg("--cachewrap-gc").env("CACHEWRAP_MAX_SIZE", "1K");
    assert!(gc.status().is_ok_and(|status| status.success()));
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

/// What was made within one tick of the clock has no order, and what a hit places must not get one: neither a file nor
/// a directory may be older than what it was made from.
#[test]
fn nothing_is_older_than_what_it_was_made_from() {
    let mut case = project(
        "leave(\"x\"); fs::create_dir(out.join(\"dir\")).unwrap();\
         for name in [\"z\", \"dir/source\", \"a\"] { fs::write(out.join(name), name).unwrap(); }\
         std::os::unix::fs::symlink(\"z\", out.join(\"link\")).unwrap();",
    );
    builds(&case, &["app"]);
    for seed in ["auto", "off"] {
        case.env("CACHEWRAP_SEED", seed);
        builds(&case, &[]);
        let entries = walkdir::WalkDir::new(out_dir(&case))
            .min_depth(1)
            .into_iter();
        let times = entries.map(|entry| {
            let metadata = entry.and_then(|entry| entry.metadata());
            let metadata = metadata.expect("it should be there");
            (metadata.mtime(), metadata.mtime_nsec())
        });
        let times: std::collections::BTreeSet<_> = times.collect();
        assert_eq!(times.len(), 1, "{seed}: {times:?}");
    }
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
