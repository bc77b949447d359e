//! The ways in which cargo and people call a compiler through a wrapper.

use std::fs;

use crate::harness::{
    Case, Mode, bin_manifest, compare, compare_twice, lib_manifest, quote, write_script,
};

fn project() -> Case {
    let case = Case::new();
    case.write("Cargo.toml", bin_manifest("app", &["base"]))
        .write(
            "src/main.rs",
            "fn main() { println!(\"{} {}\", base::value(), cfg!(chained)); }",
        )
        .write("base/Cargo.toml", lib_manifest("base", &[]))
        .write("base/src/lib.rs", "pub fn value() -> u32 { 7 }\n");
    case
}

#[test]
fn a_workspace_wrapper_that_is_itself_named_rustc() {
    let mut case = project();
    let wrapper = case.root().join("chain/rustc");
    fs::create_dir(case.root().join("chain")).expect("the directory should be creatable");
    write_script(&wrapper, "exec \"$@\" --cfg=chained\n");
    case.env("RUSTFLAGS", "--check-cfg=cfg(chained)");
    compare(&case, &["build"]).ok();
    assert_eq!(case.printed("debug/app"), "7 false");
    case.env("RUSTC_WORKSPACE_WRAPPER", &wrapper);
    compare(&case, &["build"]).ok().compiles(&["app", "base"]);
    assert_eq!(case.printed("debug/app"), "7 true");
    compare(&case, &["build"]).ok().compiles(&[]);
    // The wrapper is code: its change is a change of what comes out.
    write_script(&wrapper, "exec \"$@\"\n");
    compare(&case, &["build"]).ok().compiles(&["app", "base"]);
    assert_eq!(case.printed("debug/app"), "7 false");
}

#[test]
fn clippy_and_check_do_not_mix() {
    let case = project();
    case.write("base/src/lib.rs", "pub fn value() -> u32 { return 7; }\n");
    for _ in 0..2 {
        compare(&case, &["check"]).ok();
        let build = compare(&case, &["clippy"]).ok();
        assert!(
            build.stdout.contains("clippy::needless_return"),
            "{}",
            build.stdout
        );
    }
    compare(&case, &["check"]).ok().compiles(&[]);
    compare(&case, &["clippy"]).ok().compiles(&[]);
}

#[test]
fn the_compiler_by_its_absolute_path_and_by_name() {
    let mut case = project();
    let path = std::env::var("PATH").expect("PATH should be set");
    case.env("PATH", format!("{}:{path}", case.bin().display()));
    compare(&case, &["build"]).ok();
    case.env("RUSTC", "rustc");
    compare_twice(&case, &["build"]);
}

#[test]
fn a_sysroot_on_the_command_line() {
    let mut case = project();
    let sysroot = case.toolchain().sysroot().display().to_string();
    case.env("RUSTFLAGS", format!("--sysroot {sysroot}"));
    compare_twice(&case, &["build"]);
}

#[test]
fn outputs_with_paths_of_their_own() {
    let case = Case::new();
    case.write("lib.rs", "pub fn f() -> u32 { let unused = 1; 7 }\n");
    for args in [
        &["--emit=link=out/renamed.rlib,metadata=out/renamed.rmeta,dep-info=out/renamed.d"][..],
        &["--emit=metadata=out/renamed.rmeta"],
        &["--emit=obj=out/renamed.o"],
        &["-o", "out/librenamed.rlib"],
        &["-oout/librenamed.rlib"],
        &["--emit", "link,dep-info", "-o", "out/librenamed.rlib"],
        &["--emit=asm", "--emit=llvm-ir", "--out-dir", "out"],
        &["--emit=dep-info=-"],
        &["--emit=metadata=-"],
    ] {
        let all = [&["--crate-name=a", "--crate-type=lib", "lib.rs"][..], args].concat();
        let run = |mode: Mode| {
            let _ = fs::remove_dir_all(case.path("out"));
            fs::create_dir(case.path("out")).expect("the directory should be creatable");
            let outcome = case.rustc(mode, &all).ok();
            let mut names: Vec<_> = fs::read_dir(case.path("out"))
                .expect("the directory should be readable")
                .map(|entry| {
                    let entry = entry.expect("the entry should be readable");
                    let dep_info = entry.path().extension().is_some_and(|end| end == "d");
                    let text =
                        dep_info.then(|| fs::read_to_string(entry.path()).unwrap_or_default());
                    (entry.file_name(), text)
                })
                .collect();
            names.sort();
            (outcome.stdout, outcome.stderr, names)
        };
        let bare = run(Mode::Bare);
        for _ in 0..2 {
            assert_eq!(run(Mode::Cached), bare, "{args:?}");
        }
    }
}

#[test]
fn all_spellings_of_an_option() {
    let case = Case::new();
    case.write(
        "app.rs",
        "fn main() { println!(\"{}\", cfg!(debug_assertions)); }\n",
    );
    for args in [
        ["--crate-name", "app", "-C", "opt-level=2"],
        ["--crate-name=app", "-Copt-level=2", "--edition", "2024"],
        [
            "--crate-name",
            "app",
            "--codegen=opt-level=2",
            "--edition=2024",
        ],
        [
            "--crate-name=app",
            "--codegen",
            "opt-level=2",
            "-Cdebug-assertions=no",
        ],
    ] {
        for _ in 0..2 {
            case.rustc(
                Mode::Cached,
                &[&args[..], &["app.rs", "--out-dir=target"]].concat(),
            )
            .ok();
            assert_eq!(case.printed("app"), "false", "{args:?}");
        }
    }
}

#[test]
fn an_argument_file_enters_by_its_content() {
    let case = Case::new();
    case.write("app.rs", "fn main() { println!(\"{}\", cfg!(loud)); }\n");
    let common = "--crate-name\napp\napp.rs\n--out-dir\ntarget\n--check-cfg\ncfg(loud)\n";
    for (extra, expected) in [("", "false"), ("--cfg\nloud\n", "true"), ("", "false")] {
        case.write("args", format!("{common}{extra}"));
        case.rustc(Mode::Cached, &["@args"]).ok();
        assert_eq!(case.printed("app"), expected);
    }
}

#[test]
fn questions_to_the_compiler_are_answered_by_it() {
    let case = Case::new();
    for args in [
        &["-vV"][..],
        &["--version"],
        &["--print=sysroot"],
        &["--print", "cfg"],
        &[
            "-",
            "--crate-name=___",
            "--print=file-names",
            "--crate-type=bin",
        ],
        &["--explain", "E0382"],
        &["--no-such-option"],
        &["no-such-file.rs"],
        &[],
    ] {
        let bare = case.rustc(Mode::Bare, args);
        let cached = case.rustc(Mode::Cached, args);
        assert_eq!(cached.status, bare.status, "{args:?}");
        assert_eq!(cached.stdout, bare.stdout, "{args:?}");
        assert_eq!(cached.stderr, bare.stderr, "{args:?}");
    }
}

#[test]
fn source_from_standard_input_is_compiled_each_time() {
    let case = Case::new();
    for word in ["one", "two"] {
        let source = case.root().join("input");
        fs::write(&source, format!("fn main() {{ println!(\"{word}\"); }}"))
            .expect("the file should be writable");
        let mut command = case.rustc_command(Mode::Cached);
        command
            .args(["--crate-name=app", "--out-dir=target", "-"])
            .stdin(fs::File::open(&source).expect("the file should be readable"));
        case.run(command).ok();
        assert_eq!(case.printed("app"), word);
    }
}

#[test]
fn a_second_wrapper_inside_the_compilers_name() {
    let mut case = project();
    let compiler = case.root().join("my compiler");
    write_script(
        &compiler,
        &format!("exec {} \"$@\"\n", quote(&case.bin().join("rustc"))),
    );
    case.env("RUSTC", &compiler);
    compare_twice(&case, &["build"]);
}

#[test]
fn documentation_and_doctests_work() {
    let case = project();
    case.write(
        "base/src/lib.rs",
        "/// ```\n/// assert_eq!(base::value(), 7);\n/// ```\npub fn value() -> u32 { 7 }\n",
    );
    for _ in 0..2 {
        case.wipe();
        case.cargo(&["test", "-p", "base"]).ok();
    }
}

#[test]
fn a_direct_call_that_asks_for_no_dep_info_hits_too() {
    let case = Case::new();
    case.write(
        "app.rs",
        "fn main() { print!(\"{:?}\", option_env!(\"WORD\")); }\n",
    );
    let args = ["--crate-name=app", "app.rs", "--out-dir=target"];
    std::fs::create_dir(case.target()).expect("the directory should be creatable");
    case.rustc(Mode::Cached, &args)
        .ok()
        .compiles(&["app[probe]"]);
    case.rustc(Mode::Cached, &args).ok().compiles(&[]);
    assert_eq!(case.printed("app"), "None");
    let mut command = case.rustc_command(Mode::Cached);
    command.args(args).env("WORD", "set");
    case.run(command).ok().compiles(&["app[probe]"]);
    assert_eq!(case.printed("app"), "Some(\"set\")");
    let files = std::fs::read_dir(case.target()).expect("the directory should be readable");
    assert_eq!(files.count(), 1, "dep-info that nobody asked for is left");
}
