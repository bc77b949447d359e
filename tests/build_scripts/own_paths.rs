//! What scripts make of the paths that they are told: nothing of that shows in what they leave.

use super::{builds, project};
use crate::harness::{Case, lib_manifest, manifest};

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

#[test]
fn what_a_crate_beside_it_computes() {
    let case = project("leave(&renamed::tag(out.to_str().unwrap()).to_string());");
    let dependency = "renamed = { package = \"the-helper\", path = \"helper\" }";
    case.write(
        "Cargo.toml",
        manifest("app", &format!("[build-dependencies]\n{dependency}")),
    )
    .write("helper/Cargo.toml", lib_manifest("the-helper", &["deeper"]))
    .write("helper/src/lib.rs", "pub use deeper::tag;\n")
    .write("deeper/Cargo.toml", lib_manifest("deeper", &[]))
    .write(
        "deeper/src/lib.rs",
        "pub fn tag(text: &str) -> u32 { text.bytes().map(u32::from).sum() }\n",
    );
    is_bound(case);
}

#[test]
fn whether_a_path_holds_a_text() {
    is_bound(project(
        "leave(&format!(\"{} {:?}\", out.to_str().unwrap().contains(\"somewhere\"), out.to_str().unwrap().find(\"t\")));",
    ));
}

/// A program is started by its path, which it may measure.
#[test]
fn what_a_program_that_the_script_makes_counts() {
    is_bound(project(
        "let (source, program) = (out.join(\"p.c\"), out.join(\"p\"));\
         fs::write(&source, \"#include <stdio.h>\\n#include <string.h>\\nint main(int n, char **v) { printf(\\\"%zu\\\", strlen(v[0])); }\").unwrap();\
         run(\"cc\", &[source.to_str().unwrap(), \"-o\", program.to_str().unwrap()]);\
         leave(&run(program.to_str().unwrap(), &[]));",
    ));
}

#[test]
fn what_make_counts() {
    let case = project("leave(&run(\"make\", &[\"-s\"]));");
    case.write(
        "Makefile",
        "all:\n\t@echo $(words $(subst /, ,$(CURDIR)))\n",
    );
    is_bound(case);
}

/// A script that looks for blanks runs where there are some.
#[test]
fn blanks_in_paths() {
    let body = "leave(if out.to_str().unwrap().contains(' ') { \"blanks\" } else { \"none\" });";
    let mut case = project(body);
    builds(&case, &["app"]);
    case.copy_project("else where");
    builds(&case, &["app"]);
    assert_eq!(case.printed("debug/app"), "blanks");
    case.copy_project("somewhere/else");
    builds(&case, &[]);
    assert_eq!(case.printed("debug/app"), "none");
}

/// A crate beside it that only finds files binds nothing.
#[test]
fn what_a_crate_beside_it_writes() {
    let mut case = project("helper::write(&out);");
    case.write("Cargo.toml", manifest("app", "[build-dependencies]\nhelper = { path = \"helper\" }"))
        .write("helper/Cargo.toml", lib_manifest("helper", &[]))
        .write(
            "helper/src/lib.rs",
            "pub fn write(out: &std::path::Path) { std::fs::write(out.join(\"text\"), \"text\").unwrap(); }\n",
        );
    builds(&case, &["app"]);
    case.copy_project("somewhere/else");
    builds(&case, &[]);
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
