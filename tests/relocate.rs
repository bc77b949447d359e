//! One cache for every checkout: what comes out the same anywhere is compiled once.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::harness::{
    Case, Mode, bin_manifest, compare, compare_twice, lib_manifest, manifest, tree_contains,
    write_script,
};

const EVERYTHING: [&str; 3] = ["build", "--workspace", "--all-targets"];

#[test]
fn a_second_checkout_compiles_nothing() {
    for args in [
        &EVERYTHING[..],
        &["build", "--release"],
        &["check"],
        &["clippy"],
        &["test", "--no-run"],
    ] {
        let mut case = Case::fixture("kinds");
        compare(&case, args).ok();
        case.copy_project("somewhere/else");
        compare(&case, args).ok().compiles(&[]);
    }
}

#[test]
fn a_moved_project_compiles_nothing() {
    let mut case = Case::fixture("kinds");
    compare(&case, &EVERYTHING).ok();
    case.wipe();
    let moved = case.root().join("moved");
    fs::rename(case.path(""), &moved).expect("the project should be movable");
    case.enter(moved);
    compare(&case, &EVERYTHING).ok().compiles(&[]);
}

#[test]
fn another_target_directory_compiles_nothing() {
    let mut case = Case::fixture("kinds");
    compare(&case, &EVERYTHING).ok();
    for dir in ["renamed", "nested/below/project", "/outside"] {
        let dir = match dir.strip_prefix('/') {
            Some(outside) => case.root().join(outside),
            None => case.path(dir),
        };
        case.env("CARGO_TARGET_DIR", dir);
        compare(&case, &EVERYTHING).ok().compiles(&[]);
    }
}

#[test]
fn a_target_directory_behind_a_link_compiles_nothing() {
    let case = Case::fixture("kinds");
    compare(&case, &EVERYTHING).ok();
    let real = case.root().join("real-target");
    for _ in 0..2 {
        case.wipe();
        let _ = fs::remove_file(case.target());
        fs::create_dir_all(&real).expect("the directory should be creatable");
        symlink(&real, case.target()).expect("the link should be creatable");
        case.cargo(&EVERYTHING).ok().compiles(&[]);
        assert_eq!(case.printed("debug/kinds"), "13 3 42");
    }
}

#[test]
fn incremental_units_are_stored_whatever_the_target_directory_is_called() {
    for how in ["link", "parent", "configured"] {
        let mut case = Case::new();
        case.write("Cargo.toml", bin_manifest("app", &["base"]))
            .write("src/main.rs", "fn main() { println!(\"{}\", base::N); }")
            .write("base/Cargo.toml", lib_manifest("base", &[]))
            .write("base/src/lib.rs", "pub const N: u8 = 1;");
        let beside = case.root().join("beside");
        case.env("CARGO_INCREMENTAL", "1");
        for compiled in [&["app", "base"][..], &[]] {
            let _ = fs::remove_dir_all(&beside);
            match how {
                "link" => {
                    let _ = fs::remove_file(case.path("target"));
                    fs::create_dir(&beside).expect("the directory should be creatable");
                    symlink(&beside, case.path("target")).expect("the link should be creatable");
                }
                "parent" => {
                    case.env("CARGO_TARGET_DIR", "../beside");
                }
                _ => {
                    let text = "[build]\ntarget-dir = \"../beside\"\n";
                    case.write(".cargo/config.toml", text);
                }
            }
            let mut command = case.cargo_command(Mode::Cached, &["build"]);
            if how == "configured" {
                command.env_remove("CARGO_TARGET_DIR");
            }
            case.run(command).ok().compiles(compiled);
        }
    }
}

#[test]
fn a_project_behind_a_link_compiles_nothing() {
    let mut case = Case::fixture("kinds");
    compare(&case, &EVERYTHING).ok();
    let link = case.root().join("link");
    symlink(case.path(""), &link).expect("the link should be creatable");
    case.enter(link);
    case.wipe();
    case.cargo(&EVERYTHING).ok().compiles(&[]);
}

#[test]
fn restored_files_never_name_the_first_checkout() {
    for args in [&EVERYTHING[..], &["build", "--release"]] {
        let mut case = Case::fixture("kinds");
        case.cargo(args).ok();
        let first = case.path("");
        let first = first.components().as_path().to_owned();
        case.copy_project("somewhere/else");
        case.cargo(args).ok().compiles(&[]);
        let mut found = tree_contains(&case.target(), &first);
        // What a build script did is cargo's own record; its run is not ours.
        found.retain(|path| {
            !path
                .components()
                .any(|part| part.as_os_str() == "incremental")
        });
        assert!(
            found.is_empty(),
            "{} is named in {found:#?}",
            first.display()
        );
    }
}

#[test]
fn diagnostics_and_dep_info_name_this_checkout() {
    let mut case = Case::fixture("kinds");
    // Outside the workspace, so that rustc is given absolute paths.
    case.write("../outer/Cargo.toml", manifest("outer", ""))
        .write("../outer/src/lib.rs", "pub fn f() { let unseen = 1; }")
        .edit(
            "Cargo.toml",
            "[dependencies]",
            "[dependencies]\nouter = { path = \"../outer\" }",
        )
        .remove("Cargo.lock");
    compare(&case, &["build"]).ok();
    case.copy_project("elsewhere/project")
        .write("../outer/Cargo.toml", manifest("outer", ""))
        .write("../outer/src/lib.rs", "pub fn f() { let unseen = 1; }");
    compare(&case, &["build"]).ok();
}

/// A library that includes code with a warning from `OUT_DIR`, which rustc is given by absolute path.
fn warning_in_generated_code() -> Case {
    let case = Case::new();
    case.write("Cargo.toml", manifest("generated", ""))
        .write(
            "build.rs",
            "fn main() {\n\
             let out = std::path::PathBuf::from(std::env::var(\"OUT_DIR\").unwrap());\n\
             std::fs::write(out.join(\"code.rs\"), \"pub fn f() { let unseen = 1; drop(&|| 1); }\").unwrap();\n}",
        )
        .write(
            "src/lib.rs",
            "include!(concat!(env!(\"OUT_DIR\"), \"/code.rs\"));",
        );
    case
}

#[test]
fn diagnostics_in_generated_code_name_this_checkout() {
    for args in [
        &["build"][..],
        &["build", "--color=always"],
        &["build", "--message-format=short"],
    ] {
        let mut case = warning_in_generated_code();
        // Types with longer names, which contain the path, are cut short.
        case.env("RUSTFLAGS", "--diagnostic-width=1000");
        for _ in 0..2 {
            case.wipe();
            let bare = case.bare_cargo(args).ok();
            case.wipe();
            let cached = case.cargo(args).ok();
            let warnings = |text: &str| -> Vec<String> {
                let lines = text.lines().filter(|line| line.contains("code.rs"));
                lines.map(str::to_owned).collect()
            };
            assert_eq!(warnings(&cached.stderr), warnings(&bare.stderr), "{args:?}");
            case.copy_project("elsewhere/project");
        }
    }
}

#[test]
fn a_path_behind_an_option_in_a_message_is_that_of_this_checkout() {
    let mut case = Case::new();
    case.write("Cargo.toml", manifest("linked", ""))
        .write("src/main.rs", "#![warn(linker_messages)] fn main() {}")
        .write(
            ".cargo/config.toml",
            "[target.x86_64-unknown-linux-gnu]\nlinker = \"link/cc\"\n",
        );
    let script = "echo \"warning: searched -L$(pwd)/lib\" >&2\nexec cc \"$@\"\n";
    fs::create_dir_all(case.path("link")).expect("a directory");
    write_script(&case.path("link/cc"), script);
    let build = |case: &Case| {
        let outcome = compare(case, &["build"]).ok();
        let path = format!("-L{}lib", case.path("").display());
        assert!(outcome.stdout.contains(&path), "{}", outcome.stdout);
    };
    build(&case);
    case.copy_project("elsewhere/project");
    build(&case);
}

#[test]
fn with_trimming_off_nothing_wrong_is_served() {
    let mut case = Case::fixture("kinds");
    case.env("CACHEWRAP_TRIM_PATHS", "off");
    compare(&case, &EVERYTHING).ok();
    compare(&case, &EVERYTHING).ok().compiles(&[]);
    let first = case.path("").components().as_path().to_owned();
    case.copy_project("elsewhere");
    compare(&case, &EVERYTHING).ok();
    assert_eq!(
        tree_contains(&case.target().join("debug/deps"), &first),
        Vec::<PathBuf>::new()
    );
}

#[test]
fn with_trimming_off_outputs_are_those_of_bare_rustc() {
    let mut case = Case::fixture("kinds");
    case.env("CACHEWRAP_TRIM_PATHS", "off")
        .env("CARGO_INCREMENTAL", "0");
    let outputs = |case: &Case| -> BTreeMap<PathBuf, Vec<u8>> {
        let read = |entry: fs::DirEntry| (entry.path(), fs::read(entry.path()).expect("a file"));
        let files = fs::read_dir(case.target().join("debug/deps")).expect("it should exist");
        files.map(|entry| read(entry.expect("an entry"))).collect()
    };
    case.bare_cargo(&EVERYTHING).ok();
    let bare = outputs(&case);
    for _ in 0..2 {
        case.wipe();
        case.cargo(&EVERYTHING).ok();
        let cached = outputs(&case);
        assert!(cached.keys().eq(bare.keys()), "the same files");
        for (path, bytes) in cached {
            assert!(
                bare.get(&path) == Some(&bytes),
                "{} should equal that of bare rustc",
                path.display()
            );
        }
    }
}

#[test]
fn every_setting_of_trimming_gives_a_working_program() {
    for setting in ["workspace", "all", "off"] {
        let mut case = Case::fixture("kinds");
        case.env("CACHEWRAP_TRIM_PATHS", setting);
        compare(&case, &EVERYTHING).ok();
        compare(&case, &EVERYTHING).ok().compiles(&[]);
    }
}

/// Where an expression stands. Libraries keep constant text in their metadata, programs do not.
#[derive(Clone, Copy, Debug)]
enum Package {
    Program,
    Library,
}

/// A program that prints the value of an expression; after `INCLUDED` the package includes what its
/// build script generates.
fn value_of(package: Package, expression: &str) -> Case {
    let (items, expression) = match expression.strip_prefix("INCLUDED") {
        Some(rest) => (
            "include!(concat!(env!(\"OUT_DIR\"), \"/generated.rs\"));\n",
            rest,
        ),
        None => ("", expression),
    };
    let value = format!("{items}pub fn value() -> String {{ {expression} }}\n");
    let (dir, value_of, main, library) = match package {
        Package::Program => ("", "value", value.as_str(), ""),
        Package::Library => ("base/", "base::value", "", value.as_str()),
    };
    let case = Case::new();
    case.write("Cargo.toml", bin_manifest("app", &["base"]))
        .write("base/Cargo.toml", lib_manifest("base", &[]))
        .write("base/src/lib.rs", library)
        .write(
            "src/main.rs",
            format!("{main}fn main() {{ println!(\"{{}}\", {value_of}()); }}"),
        )
        .write(&format!("{dir}build.rs"), BUILD_SCRIPT)
        .write(
            &format!("{dir}src/length.in"),
            "{ const N: usize = env!(\"CARGO_MANIFEST_DIR\").len(); N }",
        );
    case
}

const BUILD_SCRIPT: &str = "fn main() { let out = std::env::var(\"OUT_DIR\").unwrap();\n\
     println!(\"cargo::rerun-if-changed=build.rs\");\n\
     std::fs::write(out + \"/generated.rs\", \"pub const G: u8 = 1;\").unwrap(); }";

#[test]
fn directories_used_as_values_are_those_of_this_checkout() {
    for expression in [
        "env!(\"OUT_DIR\").into()",
        "concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/data\").into()",
        "option_env!(\"CARGO_MANIFEST_DIR\").unwrap_or(\"none\").to_uppercase()",
    ] {
        assert_of_this_checkout(Package::Library, expression);
    }
    // In programs, constants leave no bytes of the path behind.
    for expression in [
        "{ const N: usize = env!(\"CARGO_MANIFEST_DIR\").len(); N.to_string() }",
        "{ const N: usize = env!(\"OUT_DIR\").len(); N.to_string() }",
        // Named in an included file that is not called `.rs`.
        "{ const T: &str = include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/Cargo.toml\"));\n\
         format!(\"{}{}\", T.len(), include!(\"length.in\")) }",
        // Beside an include of the same directory.
        "INCLUDED { format!(\"{}{G}\", env!(\"OUT_DIR\")) }",
        "INCLUDED { const N: usize = env!(\"OUT_DIR\").len(); format!(\"{N}{G}\") }",
        // Where a look at the text alone would not tell it.
        "INCLUDED { /* include!( */ const N: usize = env!(\"OUT_DIR\").len(); format!(\"{N}{G}\") }",
        "INCLUDED { const N: usize = env!(concat!(\"OUT\", \"_DIR\")).len(); format!(\"{N}{G}\") }",
        "INCLUDED { macro_rules! dir { ($name:ident) => { env!(stringify!($name)) } }\n\
         const N: usize = dir!(OUT_DIR).len(); format!(\"{N}{G}\") }",
        "INCLUDED { macro_rules! not_include { ($path:expr) => { $path.len() } }\n\
         const N: usize = not_include!(env!(\"OUT_DIR\")); format!(\"{N}{G}\") }",
    ] {
        assert_of_this_checkout(Package::Program, expression);
    }
}

fn assert_of_this_checkout(package: Package, expression: &str) {
    let mut case = value_of(package, expression);
    compare(&case, &["build"]).ok();
    let first = case.printed("debug/app");
    case.copy_project("a/much/longer/place");
    compare(&case, &["build"]).ok();
    assert_ne!(case.printed("debug/app"), first, "{expression}");
}

/// Who compiles against a library has what was noted of it, or what is in the result.
#[test]
fn what_a_library_includes_is_known_of_it_wherever_it_is_served() {
    let included = "include!(concat!(env!(\"OUT_DIR\"), \"/generated.rs\"));\n";
    let mut case = value_of(Package::Library, "INCLUDED G.to_string()");
    // Its metadata name the variable.
    let text = "#[macro_export]\nmacro_rules! text { () => { \
                include_str!(concat!(env!(\"OUT_DIR\"), \"/generated.rs\")) } }\npub fn";
    case.write("build.rs", BUILD_SCRIPT)
        .edit(
            "src/main.rs",
            "fn main() {",
            &format!("{included}fn main() {{"),
        )
        .edit("base/src/lib.rs", "pub fn", text);
    compare(&case, &["build"]).ok();
    // Lost, or never noted on this machine.
    fs::remove_dir_all(case.cache().join("v1/names")).expect("notes should be there");
    case.edit("src/main.rs", "fn main() {", "fn main() { print!(\"{G}\");");
    compare(&case, &["build"]).ok().compiles(&["app"]);
    case.copy_project("a/much/longer/place");
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn included_output_directories_hit_everywhere_with_all_that_depends_on_them() {
    for expression in [
        "INCLUDED format!(\"{G}{}\", include_str!(concat!(env!(\"OUT_DIR\"), \"/generated.rs\")).len())",
        "INCLUDED { // Not env!(\"OUT_DIR\").\n\
         macro_rules! text { ($name:literal) => { include_str!(concat!(env!(\"OUT_DIR\"), \"/\", $name)) } }\n\
         text!(\"generated.rs\").to_owned() }",
    ] {
        for package in [Package::Program, Package::Library] {
            let mut case = value_of(package, expression);
            compare(&case, &["build"]).ok();
            case.copy_project("a/much/longer/place");
            compare(&case, &["build"]).ok().compiles(&[]);
        }
    }
}

#[test]
fn the_macros_file_and_panics_name_what_plain_builds_name() {
    let mut case = Case::new();
    case.write("Cargo.toml", bin_manifest("app", &["base"]))
        .write(
            "src/main.rs",
            "fn main() { println!(\"{} {}\", file!(), base::place()); base::fail(); }",
        )
        .write("base/Cargo.toml", lib_manifest("base", &[]))
        .write(
            "base/src/lib.rs",
            "pub fn place() -> &'static str { file!() }\npub fn fail() { panic!(\"on purpose\") }\n",
        );
    compare(&case, &["build"]).ok();
    case.copy_project("elsewhere");
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn a_users_own_remapping_is_kept() {
    let mut case = value_of(Package::Library, "file!().into()");
    let flags = |case: &Case| format!("--remap-path-prefix={}=/src", case.path("").display());
    case.env("RUSTFLAGS", flags(&case));
    compare_twice(&case, &["build"]);
}

#[test]
fn a_users_remapping_of_a_directory_above_leaves_the_name_of_the_checkout() {
    let mut case = value_of(Package::Program, "INCLUDED PLACE.into()");
    case.edit(
        "build.rs",
        "pub const G: u8 = 1;",
        "pub const PLACE: &str = file!();",
    );
    let flag = format!("--remap-path-prefix={}=/src", case.root().display());
    case.env("RUSTFLAGS", flag);
    compare_twice(&case, &["build"]);
    let first = case.printed("debug/app");
    case.copy_project("elsewhere");
    compare(&case, &["build"]).ok();
    assert_ne!(case.printed("debug/app"), first);
}

#[test]
fn what_a_program_computes_from_the_path_of_its_source_is_of_this_checkout() {
    let mut case = Case::new();
    case.write(
        "main.rs",
        "const N: usize = file!().len();\nfn main() { println!(\"{N}\"); }",
    );
    for place in ["elsewhere", "a/longer/place"] {
        let source = case.path("main.rs");
        let source = source.to_str().expect("it should be UTF-8");
        for mode in [Mode::Cached, Mode::Cached, Mode::Bare] {
            case.rustc(mode, &[source]).ok();
            let program = case.path("main");
            let program = program.to_str().expect("it should be UTF-8");
            assert_eq!(case.printed(program), source.len().to_string());
        }
        case.copy_project(place);
    }
}

#[test]
fn two_checkouts_that_differ_do_not_mix() {
    let mut case = Case::fixture("kinds");
    let first = case.path("");
    compare(&case, &["build"]).ok();
    case.copy_project("elsewhere")
        .write("src/words.txt", "just two\n");
    compare(&case, &["build"])
        .ok()
        .compiles(&["kinds", "kinds"]);
    assert_eq!(case.printed("debug/kinds"), "13 2 42");
    case.enter(first);
    compare(&case, &["build"]).ok().compiles(&[]);
    assert_eq!(case.printed("debug/kinds"), "13 3 42");
}

/// A program that prints what a macro comes to, beside some items of its own. The macro is in
/// `helper`, or `helper` passes it on from `inner`.
fn uses_a_macro(makes: &str, length: &str, beside: &str) -> Case {
    let case = Case::new();
    let makes_it =
        format!("#[macro_export]\nmacro_rules! len {{ () => {{ const {{ {length} }} }} }}");
    case.write("Cargo.toml", bin_manifest("app", &["helper"]))
        .write("src/empty.rs", "")
        .write(
            "src/main.rs",
            format!("{beside}\nfn main() {{ println!(\"{{}}\", helper::len!()); }}"),
        )
        .write("helper/Cargo.toml", lib_manifest("helper", &["inner"]))
        .write("inner/Cargo.toml", lib_manifest("inner", &[]))
        .write(&format!("{makes}/src/lib.rs"), makes_it);
    if makes == "inner" {
        case.write("helper/src/lib.rs", "pub use inner::len;");
    } else {
        case.write("inner/src/lib.rs", "");
    }
    case
}

const INCLUDES: &str = "include!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/src/empty.rs\"));";

#[test]
fn a_directory_named_by_a_macro_of_another_crate_is_that_of_this_checkout() {
    for (makes, beside) in [("helper", ""), ("helper", INCLUDES), ("inner", INCLUDES)] {
        let mut case = uses_a_macro(makes, "env!(\"CARGO_MANIFEST_DIR\").len()", beside);
        compare(&case, &["build"]).ok();
        case.copy_project("a/longer/path");
        compare(&case, &["build"]).ok();
    }
}

#[test]
fn a_directory_named_in_documentation_binds_nothing() {
    let mut case = uses_a_macro("inner", "7", INCLUDES);
    case.write(
        "helper/src/lib.rs",
        "//! `include!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/src/empty.rs\"))`\n\
         #[doc = \"env!(\\\"CARGO_MANIFEST_DIR\\\")\"]\npub use inner::len;",
    );
    compare(&case, &["build"]).ok();
    case.copy_project("a/longer/path");
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn a_directory_between_other_literals_is_that_of_this_checkout() {
    let mut case = Case::new();
    case.write("Cargo.toml", bin_manifest("app", &["helper"]))
        .write(
            "src/main.rs",
            // Literals lie side by side in the program, without anything between them.
            "static WORDS: [&str; 5] = [\"alpha\", \"beta\", helper::dir!(), \"gamma\", \"delta\"];\n\
             fn main() { println!(\"{:?}\", std::hint::black_box(&WORDS)); }",
        )
        .write("helper/Cargo.toml", lib_manifest("helper", &[]))
        .write(
            "helper/src/lib.rs",
            "#[macro_export]\nmacro_rules! dir { () => { env!(\"CARGO_MANIFEST_DIR\") } }",
        );
    compare(&case, &["build"]).ok();
    case.copy_project("elsewhere");
    compare(&case, &["build"]).ok();
}

/// The lock of another workspace above is not that of this one.
#[test]
fn a_dependency_beside_the_workspace_is_called_what_plain_cargo_calls_it() {
    for locks in [&[][..], &["Cargo.lock"], &["shared/Cargo.lock"]] {
        let mut case = Case::new();
        case.write("shared/Cargo.toml", lib_manifest("shared", &[]))
            .write(
                "shared/src/lib.rs",
                "pub fn file() -> &'static str { file!() }",
            )
            .write(
                "own/Cargo.toml",
                manifest("app", "[dependencies]\nshared = { path = \"../shared\" }\n"),
            )
            .write(
                "own/src/main.rs",
                "fn main() { println!(\"{}\", shared::file()); }",
            );
        for lock in locks {
            case.write(lock, "version = 4\n");
        }
        let own = case.path("own");
        case.enter(own);
        compare_twice(&case, &["build"]);
    }
}
