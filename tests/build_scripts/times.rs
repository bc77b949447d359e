//! Scripts that look at times, owners and numbers of links.

use std::fs;

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
    ] {
        let case = project(body);
        case.write("looked-at", "the same")
            .write("other", "")
            .write(
                "times.py",
                "import os\nprint(int(os.stat('looked-at').st_mtime))\n",
            );
        written_at(&case.path("other"), 1);
        follows_times(&case);
    }
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
