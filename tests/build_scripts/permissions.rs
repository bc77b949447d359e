//! Scripts that look at the permissions of directories, or at whether something is a link.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::{builds, follows, project};
use crate::harness::compare;

fn set(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it should be ours");
}

#[test]
fn permissions_of_directories() {
    let by_itself = "use std::os::unix::fs::PermissionsExt as _;\
        let mode = fs::metadata(\"there\").unwrap().permissions().mode() & 0o7777;\
        leave(&format!(\"{mode:o}\"));";
    let by = |script: &str| format!("leave(&run(\"/bin/sh\", &[\"-c\", {script:?}]));");
    for body in [
        by_itself.to_owned(),
        by("stat -c %a there"),
        by("cd there && stat -c %a ."),
        by("cd there && sh -c 'stat -c %a $PWD'"),
        by("cd there && perl -e 'printf \"%o\", (stat(\".\"))[2] & 07777'"),
        // Somebody else who does not mind looks first.
        format!(
            "run(\"cc\", &[\"-Ithere\", \"-E\", \"-x\", \"c\", \"/dev/null\"]); let _ = Path::new(\"there\").is_dir();\
             {by_itself}"
        ),
    ] {
        let case = project(&body);
        case.write("there/file", "the same");
        let path = case.path("there");
        set(&path, 0o755);
        follows(
            &case,
            "755",
            "2775",
            || set(&path, 0o2775),
            || set(&path, 0o755),
        );
    }
}

#[test]
fn a_file_becomes_a_link_to_the_same() {
    for body in [
        "leave(&Path::new(\"current\").is_symlink().to_string());",
        "leave(&fs::read_link(\"current\").is_ok().to_string());",
        "let real = fs::canonicalize(\"current\").unwrap(); leave(&real.ends_with(\"a.txt\").to_string());",
        "let real = fs::canonicalize(env::current_dir().unwrap().join(\"current\")).unwrap();\
         leave(&real.ends_with(\"a.txt\").to_string());",
        "leave(&run(\"/bin/sh\", &[\"-c\", \"[ -L current ] && echo true || echo false\"]));",
    ] {
        let case = project(body);
        case.write("a.txt", "the same").write("current", "the same");
        let file = || {
            case.remove("current").write("current", "the same");
        };
        let link = || {
            case.remove("current");
            symlink("a.txt", case.path("current")).expect("the link should be creatable");
        };
        follows(&case, "false", "true", link, file);
    }
}

#[test]
fn shells_that_only_ask_where_they_are_share() {
    for body in [
        "leave(&run(\"/bin/sh\", &[\"-c\", \"cat note.txt\"]));",
        "leave(&run(\"/bin/sh\", &[\"-c\", \"sh -c 'cat note.txt'\"]));",
        "leave(&run(\"bash\", &[\"-c\", \"bash -c 'cat note.txt'\"]));",
        "leave(&run(\"make\", &[\"-s\", \"-f\", \"rules.mk\"]));",
    ] {
        let mut case = project(body);
        case.write("note.txt", "the same")
            .write("rules.mk", "all:\n\t@cat note.txt; true\n");
        builds(&case, &["app"]);
        case.copy_project("elsewhere");
        // As that of a temporary directory.
        set(&case.path(""), 0o700);
        builds(&case, &[]);
        compare(&case, &["build"]).ok();
    }
}
