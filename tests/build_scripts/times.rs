//! Scripts that look at times, owners and numbers of links.

use std::fs;
use std::process::Command;

use super::{builds, follows, project};
use crate::harness::{Case, lib_manifest, manifest};
use crate::times::written_at;

const MODIFIED: &str = "let at = fs::metadata(\"looked-at\").unwrap().modified().unwrap();\
    leave(&at.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().to_string());";
const MTIME: &str = "leave(&std::os::unix::fs::MetadataExt::mtime(&fs::metadata(\"looked-at\").unwrap()).to_string());";

/// The script tells when a file was written, and is run again when that is another time.
#[track_caller]
fn follows_times(case: &Case) {
    let path = case.path("looked-at");
    written_at(&path, 1);
    follows(
        case,
        "1700000001",
        "1700000002",
        || written_at(&path, 2),
        || written_at(&path, 1),
    );
}

#[test]
fn when_a_file_was_written() {
    for (profile, body) in [
        ("", MODIFIED.to_owned()),
        ("", MTIME.to_owned()),
        (
            "",
            MODIFIED.replace(
                "fs::metadata(\"looked-at\")",
                "fs::File::open(\"looked-at\").unwrap().metadata()",
            ),
        ),
        ("opt-level = 3", MTIME.to_owned()),
        ("strip = true", MODIFIED.to_owned()),
        ("opt-level = 3\nstrip = true", MTIME.to_owned()),
    ] {
        let case = project(&body);
        let manifest = manifest("app", &format!("[profile.dev.build-override]\n{profile}"));
        case.write("Cargo.toml", manifest)
            .write("looked-at", "the same");
        follows_times(&case);
    }
}

#[test]
fn a_crate_beside_it_asks() {
    let case = project("leave(&helper::links(\"looked-at\").to_string());");
    case.write("Cargo.toml", manifest("app", "[build-dependencies]\nhelper = { path = \"helper\" }\n[profile.dev.build-override]\nopt-level = 3"))
        .write("helper/Cargo.toml", lib_manifest("helper", &[]))
        .write(
            "helper/src/lib.rs",
            "use std::os::unix::fs::MetadataExt as _;\n\
             pub fn links(path: &str) -> u64 { std::fs::metadata(path).unwrap().nlink() }\n",
        )
        .write("looked-at", "the same");
    let (path, name) = (case.path("looked-at"), case.path("another-name"));
    follows(
        &case,
        "1",
        "2",
        || fs::hard_link(&path, &name).expect("it should be linkable"),
        || fs::remove_file(&name).expect("it should be removable"),
    );
}

#[test]
fn programs_that_tell_times() {
    for body in [
        "leave(&run(\"stat\", &[\"-c\", \"%Y\", \"looked-at\"]));",
        "run(\"tar\", &[\"-cf\", out.join(\"all.tar\").to_str().unwrap(), \"looked-at\"]);\
         let tar = fs::read(out.join(\"all.tar\")).unwrap();\
         let octal = std::str::from_utf8(&tar[136..147]).unwrap();\
         leave(&u64::from_str_radix(octal, 8).unwrap().to_string());",
        "leave(&run(\"sh\", &[\"-c\", \"[ looked-at -nt other ] && echo 1700000002 || echo 1700000001\"]));",
        "leave(&run(\"python3\", &[\"times.py\"]));",
        "let newest = run(\"ls\", &[\"-t\", \"looked-at\", \"other\"]);\
         leave(if newest.starts_with(\"looked\") { \"1700000002\" } else { \"1700000001\" });",
    ] {
        let case = project(body);
        case.write("looked-at", "the same")
            .write("other", "")
            .write(
                "times.py",
                "import os\nprint(int(os.stat('looked-at').st_mtime))\n",
            );
        written_at(&case.path("other"), 1);
        fs::File::options()
            .write(true)
            .open(case.path("other"))
            .unwrap()
            .set_modified(
                std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_001_500),
            )
            .unwrap();
        follows_times(&case);
    }
}

/// A look at the same file before, by a program that makes nothing of times, is another's.
#[test]
fn who_looks_after_others_did() {
    let case = project(&format!(
        "run(\"sh\", &[\"-c\", \"[ -f looked-at ]\"]); {MODIFIED}"
    ));
    case.write("looked-at", "the same");
    follows_times(&case);
}

/// Copies have the times of what they were made from, `make` finds that there is nothing to do, and `git` that a file may be
/// another one.
#[test]
fn programs_that_pass_times_on_or_compare_them() {
    let script = "cp -p looked-at \"$OUT_DIR/copy\"; stat -c %Y \"$OUT_DIR/copy\"";
    let case = project(&format!("leave(&run(\"sh\", &[\"-c\", {script:?}]));"));
    case.write("looked-at", "the same");
    follows_times(&case);
    let told = "let fresh = Command::new(\"make\").args([\"-q\", \"looked-at\"]).status().unwrap();\
         leave(if fresh.success() { \"1700000002\" } else { \"1700000001\" });";
    let case = project(told);
    case.write("looked-at", "the same")
        .write("other", "")
        .write("Makefile", "looked-at: other\n\tfalse\n");
    written_at(&case.path("other"), 1);
    let path = case.path("other");
    let source = |seconds| written_at(&path, seconds);
    source(3);
    written_at(&case.path("looked-at"), 2);
    follows(
        &case,
        "1700000001",
        "1700000002",
        || source(1),
        || source(3),
    );
}

#[test]
fn git_minds_times_of_its_tree() {
    let case = project(
        "let same = Command::new(\"git\").args([\"diff-index\", \"--quiet\", \"HEAD\", \"--\", \"looked-at\"]).status().unwrap();\
         leave(if same.success() { \"clean\" } else { \"touched\" });",
    );
    case.write("looked-at", "the same");
    let path = case.path("looked-at");
    written_at(&path, 1);
    let git = |args: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C")
            .arg(case.path("."))
            .args(["-c", "user.name=a", "-c", "user.email=a@b"]);
        git.args(args)
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if !git(&["init"]) {
        eprintln!("skipped: git is not installed");
        return;
    }
    assert!(git(&["config", "core.trustctime", "false"]));
    assert!(git(&["add", "looked-at"]) && git(&["commit", "-m", "all"]));
    follows(
        &case,
        "clean",
        "touched",
        || written_at(&path, 2),
        || written_at(&path, 1),
    );
}

/// What an archive holds has its own times.
#[test]
fn archives_that_are_unpacked_share() {
    let case = project(
        "run(\"tar\", &[\"-xf\", \"all.tar\", \"-C\", out.to_str().unwrap()]); leave(\"unpacked\");",
    );
    let mut tar = Command::new("tar");
    tar.current_dir(case.path("."))
        .args(["-cf", "all.tar", "build.rs"]);
    assert!(tar.status().is_ok_and(|status| status.success()));
    builds(&case, &["app"]);
    written_at(&case.path("all.tar"), 1);
    builds(&case, &[]);
}

/// What it wrote itself has other times in each run.
#[test]
fn times_of_what_the_script_writes_itself_bind_nothing() {
    let case = project(
        "fs::write(out.join(\"a\"), \"a\").unwrap(); let at = fs::metadata(out.join(\"a\")).unwrap().modified().unwrap();\
         let old = fs::metadata(\"old\").unwrap().modified().unwrap(); leave(&(at > old).to_string());",
    );
    case.write("old", "old");
    written_at(&case.path("old"), 1);
    builds(&case, &["app"]);
    builds(&case, &[]);
    assert_eq!(case.printed("debug/app"), "true");
}

#[test]
fn when_a_file_was_read_is_not_cached() {
    let case = project(
        "let at = fs::metadata(\"looked-at\").unwrap().accessed().unwrap();\
         leave(&(at.elapsed().is_ok()).to_string());",
    );
    case.write("looked-at", "the same");
    builds(&case, &["app"]);
    builds(&case, &["app"]);
}

#[test]
fn who_does_not_ask_for_times_shares() {
    let mut case = project(
        "leave(&format!(\"{} {}\", fs::metadata(\"looked-at\").unwrap().len(), Path::new(\"there\").is_dir()));",
    );
    case.write("looked-at", "the same").write("there/file", "");
    builds(&case, &["app"]);
    written_at(&case.path("looked-at"), 1);
    builds(&case, &[]);
    case.copy_project("elsewhere");
    written_at(&case.path("looked-at"), 2);
    builds(&case, &[]);
}
