//! After each kind of edit exactly that is compiled which plain cargo compiles, and the way back
//! is free.

use std::fs;
use std::time::{Duration, SystemTime};

use crate::harness::{Case, bin_manifest, compare, compare_in_place, compare_twice, lib_manifest};

/// Builds `before` and `after` the edit in place, and finally each of them from the cache alone.
#[track_caller]
fn edit_and_back(case: &mut Case, edit: fn(&mut Case), back: fn(&mut Case), compiled: &[&str]) {
    compare_in_place(case, &["build"]).0.ok();
    edit(case);
    let (cached, bare) = compare_in_place(case, &["build"]);
    let plain: Vec<_> = bare.compiled.iter().map(String::as_str).collect();
    cached.ok().compiles(compiled).compiles(&plain);
    compare(case, &["build"]).ok().compiles(&[]);
    back(case);
    compare(case, &["build"]).ok().compiles(&[]);
}

/// A program, a library that everything below depends on, and one that depends on nothing.
fn project() -> Case {
    let case = Case::new();
    case.write("Cargo.toml", bin_manifest("app", &["base", "other"]))
        .write(
            "src/main.rs",
            "fn main() { println!(\"{} {}\", base::value(), other::value()); }",
        )
        .write("base/Cargo.toml", lib_manifest("base", &[]))
        .write(
            "base/src/lib.rs",
            "pub mod part;\npub fn value() -> String { part::text() }\n",
        )
        .write(
            "base/src/part.rs",
            "pub fn text() -> String { String::from(\"first\") }\n",
        )
        .write("other/Cargo.toml", lib_manifest("other", &[]))
        .write("other/src/lib.rs", "pub fn value() -> u32 { 1 }\n");
    case
}

#[test]
fn source_of_a_module() {
    edit_and_back(
        &mut project(),
        |case| {
            case.edit("base/src/part.rs", "first", "second");
        },
        |case| {
            case.edit("base/src/part.rs", "second", "first");
        },
        &["app", "base"],
    );
}

#[test]
fn source_of_the_program_alone() {
    edit_and_back(
        &mut project(),
        |case| {
            case.edit("src/main.rs", "{} {}", "{}, {}");
        },
        |case| {
            case.edit("src/main.rs", "{}, {}", "{} {}");
        },
        &["app"],
    );
}

#[test]
fn a_module_is_added() {
    edit_and_back(
        &mut project(),
        |case| {
            case.write("base/src/extra.rs", "pub const X: &str = \"extra\";")
                .edit(
                    "base/src/lib.rs",
                    "pub mod part;",
                    "pub mod extra; pub mod part;",
                )
                .edit("base/src/lib.rs", "part::text()", "extra::X.into()");
        },
        |case| {
            case.remove("base/src/extra.rs")
                .edit(
                    "base/src/lib.rs",
                    "pub mod extra; pub mod part;",
                    "pub mod part;",
                )
                .edit("base/src/lib.rs", "extra::X.into()", "part::text()");
        },
        &["app", "base"],
    );
}

#[test]
fn a_module_moves_into_a_directory() {
    let case = project();
    case.edit(
        "base/src/part.rs",
        "String::from(\"first\")",
        "file!().into()",
    );
    compare(&case, &["build"]).ok();
    case.rename("base/src/part.rs", "base/src/part/mod.rs");
    compare(&case, &["build"]).ok().compiles(&["app", "base"]);
    case.rename("base/src/part/mod.rs", "base/src/part.rs");
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn a_module_exists_twice() {
    let case = project();
    compare(&case, &["build"]).ok();
    case.write(
        "base/src/part/mod.rs",
        "pub fn text() -> String { String::new() }",
    );
    compare(&case, &["build"]).fails();
    case.remove("base/src/part/mod.rs");
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn two_modules_swap_their_bodies() {
    let case = project();
    let (one, two) = ("pub const N: u8 = 1;", "pub const N: u8 = 2;");
    case.write(
        "src/main.rs",
        "mod one; mod two;\nfn main() { println!(\"{}{}\", one::N, two::N); }",
    )
    .write("src/one.rs", one)
    .write("src/two.rs", two);
    compare(&case, &["build"]).ok();
    case.write("src/one.rs", two).write("src/two.rs", one);
    compare(&case, &["build"]).ok().compiles(&["app"]);
    case.write("src/one.rs", one).write("src/two.rs", two);
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn a_feature_is_switched() {
    let case = Case::fixture("kinds");
    compare(&case, &["build"]).ok();
    compare(&case, &["build", "--features", "util/more"])
        .ok()
        .compiles(&["kinds", "kinds", "util"]);
    compare(&case, &["build"]).ok().compiles(&[]);
    compare(&case, &["build", "--features", "util/more"])
        .ok()
        .compiles(&[]);
}

#[test]
fn rustflags_change() {
    edit_and_back(
        &mut project(),
        |case| {
            case.env("RUSTFLAGS", "--cfg loud");
        },
        |case| {
            case.unset("RUSTFLAGS");
        },
        &["app", "base", "other"],
    );
}

#[test]
fn a_cfg_of_rustflags_decides_the_code() {
    let mut case = project();
    case.write(
        "other/src/lib.rs",
        "pub fn value() -> u32 { if cfg!(loud) { 2 } else { 1 } }",
    );
    for (flags, compiled) in [("", 3), ("--cfg loud", 3), ("", 0), ("--cfg loud", 0)] {
        case.env("RUSTFLAGS", flags);
        let build = compare(&case, &["build"]).ok();
        assert_eq!(build.compiled.len(), compiled, "{build:?}");
    }
}

#[test]
fn an_included_text_changes() {
    let mut case = Case::fixture("kinds");
    edit_and_back(
        &mut case,
        |case| {
            case.write("src/words.txt", "now there are five words\n");
        },
        |case| {
            case.write("src/words.txt", "three small words\n");
        },
        &["kinds", "kinds"],
    );
}

#[test]
fn a_build_script_generates_something_else() {
    let mut case = Case::fixture("kinds");
    edit_and_back(
        &mut case,
        |case| {
            case.edit("build.rs", "[1, 2, 3]", "[1, 2, 4]");
        },
        |case| {
            case.edit("build.rs", "[1, 2, 4]", "[1, 2, 3]");
        },
        &["build_script_build", "kinds", "kinds"],
    );
}

#[test]
fn a_profile_setting_changes() {
    let manifest = bin_manifest("app", &["base", "other"]);
    let case = project();
    compare(&case, &["build"]).ok();
    for setting in [
        "opt-level = 1",
        "debug = false",
        "overflow-checks = false",
        "panic = \"abort\"",
    ] {
        case.write(
            "Cargo.toml",
            format!("{manifest}\n[profile.dev]\n{setting}\n"),
        );
        compare(&case, &["build"])
            .ok()
            .compiles(&["app", "base", "other"]);
    }
    case.write("Cargo.toml", manifest);
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn a_compile_time_variable_is_set_changed_emptied_and_unset() {
    let mut case = project();
    case.write(
        "base/src/lib.rs",
        "pub fn value() -> String { format!(\"{:?}\", option_env!(\"FLAVOUR\")) }",
    );
    for (value, compiled) in [
        (None, &["app", "base", "other"][..]),
        (Some("sweet"), &["app", "base"]),
        (Some("sour"), &["app", "base"]),
        (Some(""), &["app", "base"]),
        (None, &[]),
        (Some(""), &[]),
        (Some("sweet"), &[]),
    ] {
        match value {
            Some(value) => case.env("FLAVOUR", value),
            None => case.unset("FLAVOUR"),
        };
        compare(&case, &["build"]).ok().compiles(compiled);
    }
}

#[test]
fn a_required_variable_goes_missing() {
    let mut case = project();
    case.write(
        "base/src/lib.rs",
        "pub fn value() -> &'static str { env!(\"FLAVOUR\") }",
    );
    compare(&case, &["build"]).fails();
    case.env("FLAVOUR", "a\nb\\c\r");
    compare_twice(&case, &["build"]);
    case.unset("FLAVOUR");
    compare(&case, &["build"]).fails();
}

#[test]
fn a_failing_compile_is_never_served() {
    let case = project();
    compare(&case, &["build"]).ok();
    case.edit("base/src/part.rs", "String::from(\"first\")", "1");
    for _ in 0..2 {
        compare(&case, &["build"]).fails().compiles(&["base"]);
    }
    case.edit("base/src/part.rs", "{ 1 }", "{ String::from(\"first\") }");
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn a_comment_alone_spares_the_dependents_when_it_moves_nothing() {
    let case = project();
    compare(&case, &["build", "--release"]).ok();
    case.edit("other/src/lib.rs", "{ 1 }\n", "{ 1 }\n// A remark.\n");
    let build = compare(&case, &["build", "--release"]).ok();
    assert!(build.compiled.contains(&"other".to_owned()), "{build:?}");
    assert!(!build.compiled.contains(&"base".to_owned()), "{build:?}");
}

#[test]
fn a_source_dated_in_the_future_is_cached_all_the_same() {
    let case = Case::fixture("kinds");
    let source = fs::File::options()
        .write(true)
        .open(case.path("src/main.rs"))
        .expect("the source should be writable");
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    source
        .set_modified(tomorrow)
        .expect("the time should be settable");
    // Cargo never calls such a package fresh, so `compare` would find both builds wanting.
    case.cargo(&["build"]).ok();
    case.wipe();
    case.cargo(&["build"]).ok().compiles(&[]);
}
