//! What scripts make of the paths that they are told: nothing of that shows in what they leave.

use super::{builds, project};
use crate::harness::Case;

/// The script of a checkout runs once in each, and once for each target directory.
#[track_caller]
fn is_bound(mut case: Case) {
    builds(&case, &["app"]);
    let left = case.printed("debug/app");
    builds(&case, &[]);
    let first = case.path("");
    case.copy_project("somewhere/else");
    builds(&case, &["app"]);
    assert_ne!(case.printed("debug/app"), left);
    builds(&case, &[]);
    case.enter(first);
    builds(&case, &[]);
    case.env("CARGO_TARGET_DIR", case.root().join("another"));
    builds(&case, &["app"]);
}

#[test]
fn the_length_of_a_path() {
    is_bound(project("leave(&out.as_os_str().len().to_string());"));
}

#[test]
fn a_path_that_another_function_hashes() {
    let mut script = super::script("leave(&of(&out).to_string());");
    script.push_str(
        "fn of(path: &Path) -> u64 {\n\
         use std::hash::*;\n\
         let mut hasher = std::collections::hash_map::DefaultHasher::new();\n\
         path.hash(&mut hasher);\n\
         hasher.finish()\n}\n",
    );
    let case = project("");
    case.write("build.rs", script);
    is_bound(case);
}

#[test]
fn a_part_of_a_path() {
    is_bound(project(
        "let dir = env::current_dir().unwrap();\
         leave(&format!(\"{} {}\", out.parent().unwrap().display().to_string().to_uppercase(),\
         dir.parent().unwrap().display()));",
    ));
}

#[test]
fn what_a_shell_counts() {
    is_bound(project(
        "leave(&run(\"sh\", &[\"-c\", \"echo ${#OUT_DIR} $PWD | cksum\"]));",
    ));
}

#[test]
fn what_a_script_in_another_language_computes() {
    let case = project("leave(&run(\"python3\", &[\"tools/digest.py\"]));");
    case.write(
        "tools/digest.py",
        "import hashlib, os\nprint(hashlib.sha1(os.environ['OUT_DIR'].encode()).hexdigest())\n",
    );
    is_bound(case);
}

/// A script that takes apart what it reads or is given is not one that takes apart its paths; nor do programs that it
/// declares, and nobody runs.
#[test]
fn what_does_not_come_from_a_path() {
    let body = "let names: Vec<_> = fs::read_dir(\"data\").unwrap().map(|e| e.unwrap().file_name()).collect();\
         let text = fs::read_to_string(PathBuf::from(env::var(\"CARGO_MANIFEST_DIR\").unwrap()).join(\"data/a\")).unwrap();\
         fs::write(out.join(\"copy\"), text.replace('/', \"_\")).unwrap();\
         println!(\"cargo::rerun-if-changed=generate.pl\");\
         leave(&format!(\"{} {}\", names.len(), text.len()));";
    let mut case = project(body);
    case.write("data/a", "a").write("data/b", "b");
    case.write(
        "generate.pl",
        "#!/usr/bin/env perl\n$0 =~ m/(.*)/; print length($1);\n",
    );
    builds(&case, &["app"]);
    case.copy_project("somewhere/else");
    builds(&case, &[]);
}
