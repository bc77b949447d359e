//! How scripts are started: the launcher in the target directory, and who gets one.

use std::fs;
use std::path::PathBuf;

use walkdir::WalkDir;

use super::{MAIN, builds, counted, project, runs_in, script};
use crate::harness::{
    Case, Mode, Toolchain, assert_fresh, compare, manifest, wrapper, write_script,
};

/// A program with a vendored dependency; both have build scripts, and settings are the default.
fn with_dependency(body: &str) -> Case {
    let case = counted();
    case.write(
        "Cargo.toml",
        manifest("app", "[dependencies]\ndep = \"1\"\n"),
    )
    .write("src/main.rs", "fn main() { print!(\"{}\", dep::TEXT); }")
    .write("build.rs", script(""))
    .write(
        ".cargo/config.toml",
        "[source.crates-io]\nreplace-with = \"vendored\"\n\
             [source.vendored]\ndirectory = \"vendor\"\n",
    )
    .write("vendor/dep/.cargo-checksum.json", "{\"files\":{}}")
    .write(
        "vendor/dep/Cargo.toml",
        "[package]\nname = \"dep\"\nversion = \"1.0.0\"\nedition = \"2021\"\n",
    )
    .write(
        "vendor/dep/src/lib.rs",
        "pub const TEXT: &str = include_str!(concat!(env!(\"OUT_DIR\"), \"/text\"));",
    )
    .write("vendor/dep/build.rs", script(body));
    case
}

/// The real executables behind launchers.
fn behind_launchers(case: &Case) -> Vec<PathBuf> {
    let entries = WalkDir::new(case.target()).into_iter().flatten();
    let is_real = |path: &PathBuf| path.to_string_lossy().ends_with(".cachewrap-real");
    entries
        .map(walkdir::DirEntry::into_path)
        .filter(is_real)
        .collect()
}

#[test]
fn by_default_dependencies_are_cached_and_members_are_not() {
    let mut case = with_dependency("leave(\"dep\");");
    builds(&case, &["app", "dep"]);
    builds(&case, &["app"]);
    let real = behind_launchers(&case);
    assert!(
        matches!(&real[..], [one] if one.to_string_lossy().contains("build/dep-")),
        "{real:?}"
    );
    assert_eq!(case.printed("debug/app"), "dep");
    case.env("CACHEWRAP_BUILD_SCRIPTS", "off");
    builds(&case, &["app", "dep"]);
    assert_eq!(behind_launchers(&case), Vec::<PathBuf>::new());
    case.env("CACHEWRAP_BUILD_SCRIPTS", "all");
    builds(&case, &["app"]);
    builds(&case, &[]);
}

/// The project of one script, built by a copy of the wrapper that a test may do away with.
fn with_own_wrapper() -> (Case, PathBuf) {
    let mut case = project(
        "println!(\"cargo:rerun-if-env-changed=AGAIN\"); leave(\"x\");\
         let me = env::args().next().unwrap();\
         assert!(env::var_os(\"NAME_IS_LOST\").is_some() || me.ends_with(\"/build-script-build\"), \"{me}\");",
    );
    let copy = case.bin().join("cachewrap");
    fs::copy(wrapper(), &copy).expect("the wrapper should be copyable");
    case.env("RUSTC_WRAPPER", copy.as_os_str());
    builds(&case, &["app"]);
    assert_eq!(behind_launchers(&case).len(), 1);
    (case, copy)
}

#[test]
fn the_wrapper_goes() {
    let (mut case, copy) = with_own_wrapper();
    // Nothing to do for a build without it, and the script is the real one when it runs again.
    assert_fresh(&case, Mode::Bare, &["build"]);
    case.env("AGAIN", "1");
    let before = fs::read_to_string(case.root().join("runs")).expect("it should be readable");
    case.bare_cargo(&["build"]).ok();
    let after = fs::read_to_string(case.root().join("runs")).expect("it should be readable");
    assert_eq!(&after[before.len()..], "bare app\n");
    // Uninstalled: another wrapper of that name, which caches nothing, takes its place. It does
    // not know what the script is called.
    case.env("NAME_IS_LOST", "1");
    fs::remove_file(&copy).expect("the wrapper should be removable");
    write_script(&copy, "exec \"$@\"\n");
    case.env("AGAIN", "2");
    assert_eq!(runs_in(&case, || case.cargo(&["build"]).ok()), ["app"]);
    // Gone altogether.
    fs::remove_file(&copy).expect("the wrapper should be removable");
    case.unset("AGAIN").bare_cargo(&["build"]).ok();
    assert_eq!(case.printed("debug/app"), "x");
}

#[test]
fn the_wrapper_is_disabled_or_another_one() {
    let (mut case, _copy) = with_own_wrapper();
    case.env("CACHEWRAP_DISABLE", "1").env("AGAIN", "1");
    assert_eq!(runs_in(&case, || case.cargo(&["build"]).ok()), ["app"]);
    case.unset("CACHEWRAP_DISABLE");
    let other = case.bin().join("other");
    write_script(&other, "exec \"$@\"\n");
    case.env("RUSTC_WRAPPER", other).env("AGAIN", "2");
    assert_eq!(runs_in(&case, || case.cargo(&["build"]).ok()), ["app"]);
}

#[test]
fn the_cache_goes() {
    let case = project("leave(\"x\");");
    builds(&case, &["app"]);
    case.forget();
    builds(&case, &["app"]);
    builds(&case, &[]);
}

#[test]
fn the_package_is_cleaned() {
    let case = with_dependency("leave(\"dep\");");
    builds(&case, &["app", "dep"]);
    case.cargo(&["clean", "-p", "dep"]).ok();
    assert_eq!(behind_launchers(&case), Vec::<PathBuf>::new());
    let runs = runs_in(&case, || case.cargo(&["build"]).ok());
    assert_eq!(runs, Vec::<String>::new());
    assert_eq!(case.printed("debug/app"), "dep");
}

#[test]
fn the_target_directory_is_copied_and_moved() {
    let mut case = project("println!(\"cargo:rerun-if-env-changed=AGAIN\"); leave(\"x\");");
    builds(&case, &["app"]);
    let copy = case.root().join("copy");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([case.path(""), copy.clone()])
        .status();
    assert!(copied.is_ok_and(|status| status.success()));
    fs::remove_dir_all(case.path("")).expect("the project should be removable");
    case.enter(copy).env("AGAIN", "1");
    case.bare_cargo(&["build"]).ok();
    assert_eq!(case.printed("debug/app"), "x");
    let moved = case.root().join("moved");
    fs::rename(case.path(""), &moved).expect("the project should be movable");
    case.enter(moved).env("AGAIN", "2");
    case.cargo(&["build"]).ok();
    assert_eq!(case.printed("debug/app"), "x");
}

#[test]
fn the_toolchain_changes() {
    let Some(nightly) = Toolchain::nightly() else {
        eprintln!("skipped: there is no nightly toolchain");
        return;
    };
    let mut case = project("leave(&run(&env::var(\"RUSTC\").unwrap(), &[\"--version\"]));");
    let stable = case.toolchain().clone();
    builds(&case, &["app"]);
    let first = case.printed("debug/app");
    case.use_toolchain(nightly);
    builds(&case, &["app"]);
    assert_ne!(case.printed("debug/app"), first);
    builds(&case, &[]);
    // In the same target directory, back and forth, as cargo by itself.
    case.use_toolchain(stable);
    assert_eq!(
        runs_in(&case, || case.cargo(&["build"]).ok()),
        Vec::<String>::new()
    );
    assert_eq!(case.printed("debug/app"), first);
}

#[test]
fn the_newer_layout_of_the_target_directory() {
    let Some(nightly) = Toolchain::nightly() else {
        eprintln!("skipped: there is no nightly toolchain");
        return;
    };
    let mut case = project("leave(\"x\");");
    case.use_toolchain(nightly);
    let args = ["build", "-Zbuild-dir-new-layout"];
    for expected in [&["app"][..], &[]] {
        let runs = runs_in(&case, || compare(&case, &args).ok());
        assert_eq!(runs, expected);
        assert_eq!(behind_launchers(&case).len(), 1);
    }
    let runs = runs_in(&case, || {
        case.cargo(&["clean", "-Zbuild-dir-new-layout", "-p", "app"])
            .ok();
        case.cargo(&args).ok();
    });
    assert_eq!(runs, Vec::<String>::new());
}

#[test]
fn the_name_and_the_place_of_a_script_with_a_name_of_its_own() {
    let case = project("");
    case.write("Cargo.toml", manifest("app", "build = \"tools/make_it.rs\"\n"))
        .write("src/main.rs", MAIN)
        .write(
            "tools/make_it.rs",
            script("leave(env::current_exe().unwrap().parent().unwrap().file_name().unwrap().to_str().unwrap().split('-').next().unwrap());"),
        );
    case.remove("build.rs");
    builds(&case, &["app"]);
    assert_eq!(case.printed("debug/app"), "app");
    builds(&case, &[]);
}

#[test]
fn cross_compiling_directories() {
    let case = project("leave(&env::var(\"TARGET\").unwrap());");
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let args = ["build", "--target", &target];
    for expected in [&["app"][..], &[]] {
        let runs = runs_in(&case, || compare(&case, &args).ok());
        assert_eq!(runs, expected);
        assert_eq!(case.printed(&format!("{target}/debug/app")), target);
    }
}

#[test]
fn a_program_that_is_called_like_a_script_is_itself() {
    let mut case = counted();
    let target = case.path("build");
    case.env("CACHEWRAP_BUILD_SCRIPTS", "all")
        .env("CARGO_TARGET_DIR", target)
        .write(
            "Cargo.toml",
            manifest(
                "app",
                "[[bin]]\nname = \"build_script_tool\"\npath = \"src/main.rs\"\n",
            ),
        )
        .write("src/main.rs", "fn main() { print!(\"tool\"); }");
    compare(&case, &["build"]).ok();
    assert!(behind_launchers(&case).is_empty());
    assert_eq!(case.printed("debug/build_script_tool"), "tool");
}
