//! The table in which the dynamic loader looks for libraries: what it says of those that were looked for
//! counts, and nothing else does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{is_cached, project, runs_in};
use crate::harness::{Case, compare};

/// A table that knows the system's libraries and those in these directories, which come first.
fn table(case: &Case, name: &str, directories: &[&str]) -> PathBuf {
    let mut text = String::new();
    for directory in directories {
        text.push_str(&case.path(directory).to_string_lossy());
        text.push('\n');
    }
    text.push_str("include /etc/ld.so.conf\n");
    let (list, table) = (case.root().join("list"), case.root().join(name));
    fs::write(&list, text).expect("it should be writable");
    let mut ldconfig = Command::new("/sbin/ldconfig");
    ldconfig
        .arg("-X")
        .arg("-C")
        .arg(&table)
        .arg("-f")
        .arg(&list);
    assert!(
        ldconfig.status().is_ok_and(|status| status.success()),
        "{name}"
    );
    table
}

/// A library that says a word.
fn library(case: &Case, directory: &str, name: &str, word: &str) {
    let source = format!("const char *word(void) {{ return \"{word}\"; }}\n");
    case.write("library.c", source)
        .write(&format!("{directory}/x"), "");
    let file = case.path(directory).join(format!("lib{name}.so.1"));
    let soname = format!("-Wl,-soname,lib{name}.so.1");
    let mut gcc = Command::new("gcc");
    gcc.args(["-shared", "-fPIC", &soname, "-o"]).arg(&file);
    assert!(
        gcc.arg(case.path("library.c"))
            .status()
            .is_ok_and(|status| status.success())
    );
    case.remove("library.c").remove(&format!("{directory}/x"));
}

/// Everything from now on finds this table in its place.
fn uses(case: &mut Case, table: &Path) {
    let script = format!(
        "exec 9>>'{}'; mount --bind '{}' /etc/ld.so.cache && exec \"$@\"",
        case.root().join("runs").display(),
        table.display()
    );
    case.launcher(&["unshare", "-m", "sh", "-c", &script, "sh"]);
}

fn may_mount() -> bool {
    let tried = Command::new("unshare")
        .args(["-m", "mount", "--bind", "/etc/passwd", "/etc/ld.so.cache"])
        .status();
    let may = tried.is_ok_and(|status| status.success());
    if !may {
        eprintln!("skipped: it takes the right to mount");
    }
    may
}

const BODY: &str = "let tool = out.join(\"tool\"); let tool = tool.to_str().unwrap();\
    run(\"gcc\", &[\"tool.c\", \"-o\", tool, \"-Wl,--no-as-needed\", \"libs/one/libword.so.1\"]);";

const TOOL: &str = "#include <stdio.h>\n#include <dlfcn.h>\nconst char *word(void);\n\
    int main(void) { void *more = dlopen(\"libmore.so.1\", RTLD_NOW);\n\
    const char *(*says)(void) = more ? (const char *(*)(void)) dlsym(more, \"word\") : 0;\n\
    printf(\"%s %s\", word(), says ? says() : \"none\"); return 0; }\n";

#[test]
fn what_the_table_says_of_other_libraries_does_not_count() {
    if !may_mount() {
        return;
    }
    let mut case = project(&format!("{BODY} leave(&run(tool, &[]));"));
    case.write("tool.c", TOOL);
    library(&case, "libs/one", "word", "one");
    library(&case, "libs/two", "word", "two");
    library(&case, "libs/more", "more", "more");
    library(&case, "libs/other", "other", "other");
    let first = table(&case, "first", &["libs/one"]);
    uses(&mut case, &first);
    is_cached(&case, "one none");
    let (other, second, more) = (
        table(&case, "other", &["libs/other", "libs/one"]),
        table(&case, "second", &["libs/two", "libs/one"]),
        table(&case, "more", &["libs/one", "libs/more"]),
    );
    let content = |table: &Path| fs::read(table).expect("it should be readable");
    assert_ne!(content(&other), content(&first));
    uses(&mut case, &other);
    let runs = runs_in(&case, || compare(&case, &["build"]).ok());
    assert!(runs.is_empty(), "{runs:?}");
    for (table, text) in [(&second, "two none"), (&more, "one more")] {
        uses(&mut case, table);
        is_cached(&case, text);
    }
    uses(&mut case, &first);
    let built = compare(&case, &["build"]).ok();
    built.compiles(&[]);
    assert_eq!(case.printed("debug/app"), "one none");
}

#[test]
fn who_reads_the_table_sees_all_of_it() {
    if !may_mount() {
        return;
    }
    for read in [
        "wc -c </etc/ld.so.cache",
        "cat /etc/ld.so.cache | wc -c",
        "/sbin/ldconfig -p | wc -l",
    ] {
        let mut case = project(&format!("leave(&run(\"sh\", &[\"-c\", {read:?}]));"));
        library(&case, "libs/other", "other", "other");
        let (first, other) = (
            table(&case, "first", &[]),
            table(&case, "other", &["libs/other"]),
        );
        uses(&mut case, &first);
        compare(&case, &["build"]).ok();
        let before = case.printed("debug/app");
        uses(&mut case, &other);
        compare(&case, &["build"]).ok();
        assert_ne!(case.printed("debug/app"), before, "{read}");
    }
}
