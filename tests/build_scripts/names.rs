//! Which variables count: those that the script and the tools under it name, however they
//! do, and no others.

use std::process::Command;

use super::{builds, is_cached, project};
use crate::harness::{Case, write_script};

/// A script that leaves what `tool`, a file beside it, prints when `call` starts it.
fn tool_case(call: &str) -> Case {
    project(&format!(
        "let tool = Path::new(env!(\"CARGO_MANIFEST_DIR\")).join(\"tool\");\
         let tool = tool.to_str().unwrap();\
         leave(&run({call}));"
    ))
}

/// Every value of the variable is told from the one before.
fn counts(case: &mut Case, name: &str) {
    for value in ["one", "two"] {
        case.env(name, value);
        builds(case, &["app"]);
        assert!(case.printed("debug/app").contains(value), "{name}={value}");
    }
    builds(case, &[]);
}

fn is_there(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        eprintln!("skipped: no {program}");
    }
    there
}

/// Compiles `tool` from C.
fn compile(case: &Case, source: &str, flags: &[&str]) {
    case.write("tool.c", source);
    let mut cc = Command::new("cc");
    cc.args(flags).arg("-o").arg(case.path("tool"));
    let status = cc.arg(case.path("tool.c")).status();
    assert!(status.expect("there is a compiler").success());
    case.remove("tool.c");
}

#[test]
fn a_tool_whose_texts_have_no_end() {
    if !is_there("cc") {
        return;
    }
    let mut case = tool_case("tool, &[]");
    let source = r#"
        #include <stdio.h>
        #include <string.h>
        extern char **environ;
        static const char texts[] = "MY_COLOURMY_FLAVOURMY_TASTE";
        struct text { const char *start; unsigned long length; } name = { texts + 9, 10 };
        int main(void) {
            for (char **e = environ; *e; e++)
                if (!memcmp(*e, name.start, name.length)) puts(*e + name.length + 1);
            return 0;
        }"#;
    compile(&case, source, &[]);
    counts(&mut case, "MY_FLAVOUR");
    // Part of another word: `MY_FLAVOUR` has it too.
    case.env("FLAVO", "x").env("OUR", "x");
    builds(&case, &[]);
}

#[test]
fn code_that_is_compressed() {
    if !is_there("gzip") {
        return;
    }
    let mut case = tool_case("\"sh\", &[\"-c\", \"gzip -dc <\\\"$1\\\" | sh\", \"sh\", tool]");
    let script = case.path("script");
    std::fs::write(&script, "echo \"$MY_FLAVOUR\"\n").unwrap();
    let gzip = Command::new("gzip").arg("-c").arg(&script).output();
    case.write("tool", gzip.unwrap().stdout);
    std::fs::remove_file(&script).unwrap();
    counts(&mut case, "MY_FLAVOUR");
}

/// The tool is a script by its first line, so the interpreter is started by the kernel.
#[test]
fn code_that_a_script_unpacks() {
    if !is_there("gzip") || !is_there("tar") {
        return;
    }
    for (pack, tool) in [
        ("gzip -c script >hidden", "eval \"$(gzip -dc <hidden)\""),
        // What is unpacked and runs is gone afterwards.
        (
            "tar czf hidden script",
            "tar xzOf hidden >\"$OUT_DIR/x\"; . \"$OUT_DIR/x\"; rm \"$OUT_DIR/x\"",
        ),
        (
            "tar cf hidden script",
            "tar xOf hidden >\"$OUT_DIR/x\"; sh \"$OUT_DIR/x\"; rm \"$OUT_DIR/x\"",
        ),
    ] {
        let mut case = tool_case("tool, &[]");
        write_script(&case.path("tool"), tool);
        case.write("script", "echo \"$MY_FLAVOUR\"\n");
        let mut sh = Command::new("sh");
        sh.args(["-c", pack]).current_dir(case.path(""));
        assert!(sh.status().is_ok_and(|status| status.success()), "{pack}");
        case.remove("script");
        counts(&mut case, "MY_FLAVOUR");
    }
}

#[test]
fn what_the_loader_reads_itself() {
    let mut case = tool_case("tool, &[]");
    let source = r#"
        #include <stdio.h>
        #include <stdlib.h>
        int main(void) { puts(((char *)malloc(64))[40] ? "filled" : "empty"); return 0; }"#;
    compile(&case, source, &[]);
    is_cached(&case, "empty");
    case.env("GLIBC_TUNABLES", "glibc.malloc.perturb=85");
    builds(&case, &["app"]);
}

#[test]
fn a_long_script() {
    let mut case = tool_case("\"sh\", &[tool]");
    let filler = "# nothing at all\n".repeat(300_000);
    case.write("tool", format!("{filler}echo \"$MY_FLAVOUR\"\n"));
    counts(&mut case, "MY_FLAVOUR");
}

#[test]
fn a_plug_in_that_is_called_anything() {
    if !is_there("perl") || !is_there("cc") {
        return;
    }
    let mut case = tool_case(
        "\"perl\", &[\"-MDynaLoader\", \"-e\", \
         \"my $l = DynaLoader::dl_load_file($ARGV[0]); \
         DynaLoader::dl_install_xsub('main::go', DynaLoader::dl_find_symbol($l, 'go')); go()\", tool]",
    );
    let source = r#"
        #include <stdio.h>
        #include <stdlib.h>
        void go(void *perl, void *function) { puts(getenv("MY_FLAVOUR")); fflush(stdout); _Exit(0); }"#;
    compile(&case, source, &["-shared", "-fPIC"]);
    counts(&mut case, "MY_FLAVOUR");
}

#[test]
fn what_shells_and_terminals_set() {
    for name in ["SHELL", "RUST_BACKTRACE"] {
        let mut case = project(&format!("leave(&env::var(\"{name}\").unwrap());"));
        counts(&mut case, name);
    }
    // To run a tool is not to ask for these.
    let mut case = project("leave(&run(\"echo\", &[\"x\"]));");
    builds(&case, &["app"]);
    for name in ["SHELL", "TERM", "COLUMNS", "DISPLAY", "RUST_BACKTRACE"] {
        case.env(name, "1");
    }
    builds(&case, &[]);
}

#[test]
fn the_search_path_as_a_value() {
    let path = std::env::var("PATH").unwrap();
    let longer = format!("{path}:/nowhere/at/all");
    for (body, runs) in [
        ("leave(&run(\"echo\", &[\"x\"]));", &[][..]),
        (
            "leave(&env::var(\"PATH\").unwrap().len().to_string());",
            &["app"],
        ),
    ] {
        let mut case = project(body);
        case.env("PATH", &path);
        builds(&case, &["app"]);
        case.env("PATH", &longer);
        builds(&case, runs);
    }
}

#[test]
fn a_name_that_is_put_together() {
    let mut case = project(
        "let word = env::var(\"CARGO_PKG_NAME\").unwrap();\
         leave(&env::var(format!(\"{word}_FLAVOUR\")).unwrap());",
    );
    counts(&mut case, "app_FLAVOUR");
}

#[test]
fn a_name_that_a_script_computes() {
    let mut case = project(
        "let name: String = \"EULAV_DETUPMOC\".chars().rev().collect();\
         leave(&env::var(name).unwrap_or_default());",
    );
    case.env("CACHEWRAP_PRELOAD", "auto");
    is_cached(&case, "");
    for value in ["one", "two"] {
        case.env("COMPUTED_VALUE", value);
        is_cached(&case, value);
    }
    case.unset("COMPUTED_VALUE");
    builds(&case, &[]);
    assert_eq!(case.printed("debug/app"), "");
    // A path of the build's own is told relative to it.
    case.env("COMPUTED_VALUE", case.path("here"));
    builds(&case, &["app"]);
}

/// What is decoded names nothing that can be found.
#[test]
fn a_text_for_a_shell_that_hides_what_it_names() {
    // `echo "$SECRET_X"`
    let body =
        "leave(&run(\"sh\", &[\"-c\", \"echo ZWNobyAiJFNFQ1JFVF9YIgo= | base64 -d | sh\"]));";
    let mut case = project(body);
    for value in ["one", "two"] {
        case.env("SECRET_X", value);
        is_cached(&case, value);
    }
}
