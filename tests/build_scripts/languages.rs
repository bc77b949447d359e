//! The language in which tools speak, and other settings of those who start a build.

use super::{builds, is_cached, project};

/// A script that compiles something with C's compiler.
const COMPILES: &str = "let c = out.join(\"a.c\"); fs::write(&c, \"int a(void) { return 1; }\").unwrap();\
    run(\"cc\", &[\"-c\", c.to_str().unwrap(), \"-o\", out.join(\"a.o\").to_str().unwrap()]);\
    run(\"ar\", &[\"rcsD\", out.join(\"a.a\").to_str().unwrap(), out.join(\"a.o\").to_str().unwrap()]);\
    leave(\"done\");";

#[test]
fn settings_that_say_nothing_to_a_compiler_run_nothing() {
    let mut case = project(COMPILES);
    is_cached(&case, "done");
    for (name, value) in [
        ("LANG", "de_DE.UTF-8"),
        ("LANG", "C.UTF-8"),
        ("LC_ALL", "en_US.UTF-8"),
        ("LANGUAGE", "de:en"),
        ("MAKEFLAGS", "s"),
        ("CARGO_UNSTABLE_SPARSE_REGISTRY", "true"),
    ] {
        case.env(name, value);
        builds(&case, &[]);
        case.unset(name);
    }
}

#[test]
fn a_tool_that_counts_characters_depends_on_what_is_a_character() {
    let words = "run(\"sh\", &[\"-c\", \"printf '\\\\303\\\\244' | wc -m\"])";
    let mut case = project(&format!("leave(&{words});"));
    is_cached(&case, "2");
    for same in ["C", "POSIX", "xx_YY.UTF-8"] {
        case.env("LC_ALL", same);
        builds(&case, &[]);
    }
    case.env("LC_ALL", "C.UTF-8");
    is_cached(&case, "1");
    case.unset("LC_ALL").env("LANG", "C.UTF-8");
    builds(&case, &[]);
    case.env("LC_CTYPE", "C");
    builds(&case, &["app"]);
    assert_eq!(case.printed("debug/app"), "2");
}

#[test]
fn a_script_that_asks_for_the_language_itself() {
    let mut case = project("leave(&env::var(\"LANG\").unwrap_or_default());");
    is_cached(&case, "");
    case.env("LANG", "xx_YY.UTF-8");
    is_cached(&case, "xx_YY.UTF-8");
    case.unset("LANG").env("LC_ALL", "C.UTF-8");
    builds(&case, &[]);
    assert_eq!(case.printed("debug/app"), "");
}

#[test]
fn a_shell_script_that_asks_for_the_language() {
    let mut case = project("leave(&run(\"bash\", &[\"./say\"]));");
    case.write("say", "echo \"<$LC_MESSAGES>\"\n");
    is_cached(&case, "<>");
    case.env("LC_MESSAGES", "xx_YY");
    is_cached(&case, "<xx_YY>");
}

#[test]
fn make_is_told_flags_by_another_make() {
    let mut case = project("leave(&run(\"make\", &[\"-f\", \"rules\"]));");
    case.write("rules", "WORD = one\nall:\n\t@echo $(WORD)\n");
    is_cached(&case, "one");
    case.env("MAKEFLAGS", "-j3");
    builds(&case, &[]);
    case.env("MAKEFLAGS", " -- WORD=two");
    is_cached(&case, "two");
}
