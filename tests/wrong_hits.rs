//! Flags, environment and kinds of output that must not be taken for one another.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::harness::{Case, Mode, bin_manifest, compare, lib_manifest, manifest, write_script};

/// Runs the compiler directly with and without the cache and asserts that both end alike.
#[track_caller]
fn same_as_bare(case: &Case, args: &[&str]) -> bool {
    let bare = case.rustc(Mode::Bare, args);
    let cached = case.rustc(Mode::Cached, args);
    assert_eq!(cached.status, bare.status, "{args:?}\n{}", cached.stderr);
    assert_eq!(cached.stderr, bare.stderr, "{args:?}");
    assert_eq!(cached.stdout, bare.stdout, "{args:?}");
    bare.status.success()
}

const AS_CARGO: [&str; 5] = [
    "--crate-name=app",
    "--error-format=json",
    "--json=artifacts,diagnostic-rendered-ansi",
    "--emit=dep-info,metadata,link",
    "--out-dir=out",
];

#[test]
fn an_extern_without_a_path_is_found_again() {
    let case = Case::new();
    case.write("src/app.rs", "pub fn twice() -> u32 { dep::ONE * 2 }\n");
    fs::create_dir_all(case.path("out")).expect("the directory should be creatable");
    for source in [
        "pub const ONE: u32 = 1;",
        "pub const ONE: u64 = 1;",
        "pub const ONE: u32 = 1;",
    ] {
        case.write("src/dep.rs", source);
        let dep = [
            "--crate-name=dep",
            "--crate-type=rlib",
            "--out-dir=deps",
            "src/dep.rs",
        ];
        fs::create_dir_all(case.path("deps")).expect("the directory should be creatable");
        case.rustc(Mode::Bare, &dep).ok();
        let mut args = AS_CARGO.to_vec();
        args.extend([
            "--crate-type=lib",
            "--edition=2021",
            "-Ldeps",
            "--extern=dep",
            "src/app.rs",
        ]);
        assert_eq!(same_as_bare(&case, &args), source.contains("u32"));
    }
}

#[test]
fn a_second_candidate_for_a_crate_is_noticed() {
    let case = Case::new();
    case.write(
        "src/app.rs",
        "extern crate dep; pub fn f() -> u32 { dep::ONE }\n",
    )
    .write("src/dep.rs", "pub const ONE: u32 = 1;");
    for dir in ["out", "deps"] {
        fs::create_dir_all(case.path(dir)).expect("the directory should be creatable");
    }
    for (version, compiles) in [("a", true), ("b", false)] {
        let metadata = format!("-Cmetadata={version}");
        let extra = format!("-Cextra-filename=-{version}");
        let dep = [
            "--crate-name=dep",
            "--crate-type=rlib",
            "--out-dir=deps",
            &metadata,
            &extra,
            "src/dep.rs",
        ];
        case.rustc(Mode::Bare, &dep).ok();
        let mut args = AS_CARGO.to_vec();
        args.extend(["--crate-type=lib", "--edition=2021", "-Ldeps", "src/app.rs"]);
        assert_eq!(same_as_bare(&case, &args), compiles, "{version}");
    }
}

#[test]
fn unstable_features_need_the_bootstrap_variable_each_time() {
    let mut case = Case::new();
    case.write("Cargo.toml", manifest("app", ""))
        .write("src/lib.rs", "#![feature(never_type)]\npub fn f() {}\n");
    compare(&case, &["build"]).fails();
    case.env("RUSTC_BOOTSTRAP", "1");
    compare(&case, &["build"]).ok();
    case.env("RUSTC_BOOTSTRAP", "some_other_crate");
    compare(&case, &["build"]).fails();
    case.unset("RUSTC_BOOTSTRAP");
    compare(&case, &["build"]).fails();
    case.env("RUSTC_BOOTSTRAP", "1");
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn a_build_script_probes_the_compiler_and_expects_failures() {
    let mut case = Case::new();
    case.write("Cargo.toml", manifest("app", ""))
        .write("src/main.rs", "fn main() { println!(\"{}\", cfg!(has_never)); }")
        .write("probe.rs", "#![feature(never_type)]\npub fn f() -> ! { loop {} }\n")
        .write(
            "build.rs",
            r#"use std::{env, process::Command};
            fn main() {
                println!("cargo::rerun-if-env-changed=RUSTC_BOOTSTRAP");
                println!("cargo::rustc-check-cfg=cfg(has_never)");
                let rustc = env::var_os("RUSTC").unwrap();
                let mut command = match env::var_os("RUSTC_WRAPPER") {
                    Some(wrapper) if !wrapper.is_empty() => {
                        let mut command = Command::new(wrapper);
                        command.arg(rustc);
                        command
                    }
                    _ => Command::new(rustc),
                };
                let ok = command
                    .args(["--crate-name=probe", "--crate-type=lib", "--emit=metadata", "--out-dir"])
                    .arg(env::var_os("OUT_DIR").unwrap())
                    .arg("probe.rs")
                    .stderr(std::process::Stdio::null())
                    .status()
                    .unwrap()
                    .success();
                if ok {
                    println!("cargo::rustc-cfg=has_never");
                }
            }"#,
        );
    for (value, expected) in [
        (None, "false"),
        (Some("1"), "true"),
        (None, "false"),
        (Some("1"), "true"),
    ] {
        match value {
            Some(value) => case.env("RUSTC_BOOTSTRAP", value),
            None => case.unset("RUSTC_BOOTSTRAP"),
        };
        compare(&case, &["build"]).ok();
        assert_eq!(case.printed("debug/app"), expected);
    }
}

#[test]
fn the_order_of_flags_matters() {
    let case = Case::new();
    case.write("src/lib.rs", "pub fn f() { let unused = 1; }\n");
    fs::create_dir_all(case.path("out")).expect("the directory should be creatable");
    let orders: [&[&str]; 10] = [
        &["-Aunused", "-Dunused"],
        &["-Dunused", "-Aunused"],
        &["-Wunused", "-Dunused-variables"],
        &["-Dunused-variables", "-Wunused"],
        &["-Funused-variables"],
        &["-Dunused", "--cap-lints=allow"],
        &["--cap-lints=warn", "-Dunused"],
        &["-O", "-Copt-level=0"],
        &["-Copt-level=0", "-O"],
        &["--cfg=a", "--cfg=b"],
    ];
    for _ in 0..2 {
        for flags in orders {
            let mut args = AS_CARGO.to_vec();
            args.push("--crate-type=lib");
            args.extend(flags);
            args.push("src/lib.rs");
            same_as_bare(&case, &args);
        }
    }
}

#[test]
fn checked_cfgs_belong_to_the_diagnostics() {
    let case = Case::new();
    case.write("src/lib.rs", "#[cfg(feature = \"gone\")]\npub fn f() {}\n");
    for features in [
        "",
        "[features]\ngone = []\n",
        "[features]\nother = []\n",
        "",
    ] {
        case.write("Cargo.toml", manifest("app", features));
        compare(&case, &["build"]).ok();
    }
}

#[test]
fn optimisation_order_decides_the_code() {
    let case = Case::new();
    case.write(
        "app.rs",
        "fn main() { println!(\"{}\", cfg!(debug_assertions)); }",
    );
    for flags in [["-O", "-Copt-level=0"], ["-Copt-level=0", "-O"]] {
        for mode in [Mode::Bare, Mode::Cached] {
            let out = format!("--out-dir=target/{mode:?}");
            case.rustc(
                mode,
                &["--crate-name=app", &out, flags[0], flags[1], "app.rs"],
            )
            .ok();
        }
        assert_eq!(
            case.printed("Cached/app"),
            case.printed("Bare/app"),
            "{flags:?}"
        );
    }
}

#[test]
fn a_test_executable_is_not_the_program() {
    let case = Case::new();
    case.write(
        "app.rs",
        "fn main() { println!(\"program\"); }\n#[test]\nfn works() {}\n",
    );
    let common = ["--crate-name=app", "--out-dir=target", "app.rs"];
    for _ in 0..2 {
        case.rustc(Mode::Cached, &common).ok();
        assert_eq!(case.printed("app"), "program");
        case.rustc(Mode::Cached, &[&common[..], &["--test"]].concat())
            .ok();
        assert!(case.printed("app").contains("test works ... ok"));
    }
}

#[test]
fn native_code_generation_is_cached_for_this_machine() {
    let mut case = Case::new();
    case.write("Cargo.toml", manifest("app", "")).write(
        "src/main.rs",
        "fn main() { println!(\"{}\", cfg!(target_feature = \"sse4.2\")); }",
    );
    for _ in 0..2 {
        case.env("RUSTFLAGS", "-Ctarget-cpu=native");
        compare(&case, &["build"]).ok();
        case.env("RUSTFLAGS", "-Ctarget-cpu=x86-64");
        compare(&case, &["build"]).ok();
    }
    case.env("RUSTFLAGS", "-Ctarget-cpu=native");
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn native_code_generation_follows_the_machine() {
    let mut case = Case::new();
    case.write("Cargo.toml", manifest("app", "")).write(
        "src/main.rs",
        "fn main() { println!(\"{}\", cfg!(target_feature = \"sse4.2\")); }",
    );
    case.env("RUSTFLAGS", "-Ctarget-cpu=native");
    case.env("RUSTC", case.root().join("machine"));
    for (cpu, expected) in [
        ("x86-64", "false"),
        ("x86-64-v3", "true"),
        ("x86-64", "false"),
    ] {
        // Plays another machine: a compiler for which `native` means this processor.
        let real = case.toolchain().bin("rustc");
        write_script(
            &case.root().join("machine"),
            &format!(
                "for arg; do shift; case $arg in\n\
                 *target-cpu=native) arg=${{arg%native}}{cpu};; esac; set -- \"$@\" \"$arg\"; done\n\
                 exec {} \"$@\"\n",
                real.display()
            ),
        );
        compare(&case, &["build"]).ok();
        assert_eq!(case.printed("debug/app"), expected);
    }
}

#[test]
fn a_check_does_not_serve_a_build() {
    let case = Case::fixture("kinds");
    for _ in 0..2 {
        compare(&case, &["check"]).ok();
        compare(&case, &["build"]).ok();
    }
    compare(&case, &["check"]).ok().compiles(&[]);
    compare(&case, &["build"]).ok().compiles(&[]);
    // Both in one target directory, either way round.
    case.cargo(&["check"]).ok().compiles(&[]);
    case.cargo(&["build"]).ok().compiles(&[]);
    assert_eq!(case.printed("debug/kinds"), "13 3 42");
}

#[test]
fn emitting_less_or_more_is_another_result() {
    let case = Case::new();
    case.write("lib.rs", "pub fn f() {}\n");
    for emit in [
        "metadata",
        "link",
        "dep-info,metadata",
        "obj,asm",
        "dep-info,metadata,link",
        "metadata",
    ] {
        for mode in [Mode::Bare, Mode::Cached, Mode::Cached] {
            let out = format!("out/{emit}/{mode:?}");
            let _ = fs::remove_dir_all(case.path(&out));
            fs::create_dir_all(case.path(&out)).expect("the directory should be creatable");
            let out = format!("--out-dir={out}");
            let emit = format!("--emit={emit}");
            case.rustc(
                mode,
                &["--crate-name=a", "--crate-type=lib", &emit, &out, "lib.rs"],
            )
            .ok();
        }
        let names = |mode: Mode| {
            let mut names: Vec<_> = fs::read_dir(case.path(&format!("out/{emit}/{mode:?}")))
                .expect("the directory should exist")
                .map(|entry| entry.expect("the entry should be readable").file_name())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(Mode::Cached), names(Mode::Bare), "{emit}");
    }
}

/// A compile that lasts until a file appears, so that the source can change meanwhile.
#[test]
fn a_source_saved_during_the_compile_is_not_stored() {
    let mut case = Case::new();
    case.write("Cargo.toml", bin_manifest("app", &["slow"]))
        .write(
            "src/main.rs",
            "mod part;\nslow::wait!();\nfn main() { println!(\"{}\", part::N); }",
        )
        .write("src/part.rs", "pub const N: u8 = 1;\n")
        .write(
            "slow/Cargo.toml",
            lib_manifest("slow", &[]) + "[lib]\nproc-macro = true\n",
        )
        .write(
            "slow/src/lib.rs",
            "use proc_macro::TokenStream;\n#[proc_macro]\n\
             pub fn wait(_: TokenStream) -> TokenStream {\n\
             let Some(dir) = std::env::var_os(\"SLOW_DIR\") else { return TokenStream::new() };\n\
             let dir = std::path::PathBuf::from(dir);\n\
             std::fs::write(dir.join(\"reached\"), \"\").unwrap();\n\
             while !dir.join(\"go\").exists() { std::thread::yield_now(); }\n\
             TokenStream::new() }\n",
        );
    let dir = case.root().join("slow");
    fs::create_dir_all(&dir).expect("the directory should be creatable");
    case.env("SLOW_DIR", &dir);
    let mut build = case
        .cargo_command(Mode::Cached, &["build"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("cargo should start");
    let start = Instant::now();
    while !dir.join("reached").exists() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "the macro should run"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    // The macro runs when the modules have been parsed.
    case.write("src/part.rs", "pub const N: u8 = 2;\n");
    fs::write(dir.join("go"), "").expect("the file should be writable");
    assert!(build.wait().expect("cargo should end").success());

    compare(&case, &["build"]).ok();
    assert_eq!(case.printed("debug/app"), "2");
    case.write("src/part.rs", "pub const N: u8 = 1;\n");
    compare(&case, &["build"]).ok();
    assert_eq!(case.printed("debug/app"), "1");
}

#[test]
fn clippy_follows_its_configuration_and_arguments() {
    let case = Case::new();
    case.write("Cargo.toml", manifest("app", "")).write(
        "src/lib.rs",
        "pub fn many(a: u8, b: u8, c: u8) -> u8 { if a == b { return c; } else { return a; } }\n",
    );
    compare(&case, &["clippy"]).ok();
    case.write("clippy.toml", "too-many-arguments-threshold = 2\n");
    let build = compare(&case, &["clippy"]).ok();
    assert!(
        build.stdout.contains("too many arguments"),
        "{}",
        build.stdout
    );
    compare(&case, &["clippy"]).ok().compiles(&[]);
    compare(&case, &["clippy", "--", "-Dclippy::too_many_arguments"]).fails();
    compare(&case, &["clippy", "--", "-Aclippy::all"]).ok();
    case.remove("clippy.toml");
    let build = compare(&case, &["clippy"]).ok().compiles(&[]);
    assert!(
        !build.stdout.contains("too many arguments"),
        "{}",
        build.stdout
    );
}

#[test]
fn clippy_finds_its_configuration_in_another_directory() {
    let mut case = Case::new();
    case.write("Cargo.toml", manifest("app", ""))
        .write(
            "src/lib.rs",
            "pub fn many(a: u8, b: u8, c: u8) -> u8 { a + b + c }\n",
        )
        .write("conf/clippy.toml", "too-many-arguments-threshold = 2\n");
    compare(&case, &["clippy"]).ok();
    case.env("CLIPPY_CONF_DIR", case.path("conf"));
    let build = compare(&case, &["clippy"]).ok();
    assert!(
        build.stdout.contains("too many arguments"),
        "{}",
        build.stdout
    );
    case.unset("CLIPPY_CONF_DIR");
    compare(&case, &["clippy"]).ok().compiles(&[]);
}
