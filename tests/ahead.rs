//! What cargo finds fresh because it was served ahead: the same build as without the cache.

mod outdated;
mod places;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cache_core::Store;

use crate::harness::{
    Case, Mode, Outcome, Toolchain, assert_fresh, bin_manifest, compare, compare_in_place,
    compare_twice, lib_manifest,
};

/// A program, its library, a member with a warning, a macro that reads a file, and a build script.
fn project() -> Case {
    let mut case = Case::new();
    case.env("CACHEWRAP_BUILD_SCRIPTS", "all");
    case.write(
        "Cargo.toml",
        bin_manifest("app", &["base", "words"])
            .replace("[workspace]", "[workspace]\nmembers = [\"base\", \"words\"]\n[features]\nloud = []"),
    )
    .write(
        "src/main.rs",
        "mod part; fn main() { println!(\"{} {} {} {}\", base::value(), part::part(), \
         words::word!(), if cfg!(feature = \"loud\") { \"!\" } else { \".\" }); }",
    )
    .write("src/part.rs", "pub fn part() -> u32 { 10 }\n")
    .write(
        "src/lib.rs",
        "pub fn of_library() -> u32 { base::value() }\n",
    )
    .write("tests/it.rs", "#[test] fn it() { assert_eq!(app::of_library(), 5); }\n")
    .write("base/Cargo.toml", lib_manifest("base", &[]))
    .write(
        "base/build.rs",
        "fn main() { println!(\"cargo:rerun-if-changed=four.txt\"); let dir = std::env::var(\"OUT_DIR\").unwrap(); \
         let four = std::fs::read_to_string(\"four.txt\").unwrap(); \
         std::fs::write(dir + \"/four.rs\", four).unwrap(); \
         println!(\"cargo:rustc-env=ONE=1\"); }",
    )
    .write("base/four.txt", "4")
    .write(
        "base/src/lib.rs",
        "pub fn value() -> u32 { let unused = 1; \
         include!(concat!(env!(\"OUT_DIR\"), \"/four.rs\")) + env!(\"ONE\").parse::<u32>().unwrap() }\n",
    )
    .write(
        "words/Cargo.toml",
        format!("{}\n[lib]\nproc-macro = true\n", lib_manifest("words", &[])),
    )
    .write(
        "words/src/lib.rs",
        "#[proc_macro] pub fn word(_: proc_macro::TokenStream) -> proc_macro::TokenStream { \
         let word = std::fs::read_to_string(\"word.txt\").unwrap(); format!(\"{word:?}\").parse().unwrap() }\n",
    )
    .write("word.txt", "hello");
    settle();
    case
}

/// Lets what was written be older than the next cargo.
fn settle() {
    std::thread::sleep(Duration::from_millis(150));
}

fn count(case: &Case, name: &str) -> u64 {
    let counters = Store::new(case.cache(), true).counters();
    counters.expect("counters").get(name).copied().unwrap_or(0)
}

/// The crates that cargo asked for, and `run` for each run of a build script.
fn asked(outcome: &Outcome) -> BTreeSet<String> {
    let lines = outcome.stderr.lines().map(str::trim_start);
    let running = lines.filter_map(|line| line.strip_prefix("Running `"));
    let names = running.map(|line| {
        let name = line.split("--crate-name ").nth(1);
        name.map_or("run", |rest| rest.split(' ').next().unwrap_or(rest))
    });
    names.map(str::to_owned).collect()
}

/// The artifacts that were not fresh.
fn rebuilt(outcome: &Outcome) -> BTreeSet<String> {
    let messages = outcome.stdout.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_rebuilt = message.get("fresh")? == false;
        is_rebuilt.then(|| message.get("target").map(ToString::to_string))?
    });
    messages.collect()
}

/// Builds from an empty target directory, and says which units cargo asked for.
#[track_caller]
fn asked_from_nothing(case: &Case, args: &[&str]) -> Vec<String> {
    case.wipe();
    let outcome = case.cargo(&[args, &["-v"]].concat()).ok().compiles(&[]);
    asked(&outcome).into_iter().collect()
}

#[test]
fn only_the_last_units_are_asked_for_whatever_is_built() {
    let case = project();
    for (args, last) in [
        (&["build"][..], &["app"][..]),
        (&["build", "--release"], &["app"]),
        (&["check"], &["app"]),
        (&["clippy"], &["app"]),
        (&["build", "-p", "base"], &["base"]),
        (&["build", "--features", "loud"], &["app"]),
        (&["test", "--no-run"], &["app", "it"]),
        (&["build", "--target", "x86_64-unknown-linux-gnu"], &["app"]),
    ] {
        case.wipe().cargo(args).ok();
        let asked = asked_from_nothing(&case, args);
        assert!(
            asked.iter().all(|name| last.contains(&name.as_str())),
            "{args:?}: {asked:?}"
        );
        assert_fresh(&case, Mode::Cached, args);
    }
}

#[test]
fn everything_agrees_with_plain_cargo() {
    let case = project();
    for args in [
        &["build"][..],
        &["build", "--release"],
        &["check"],
        &["clippy"],
        &["test", "--no-run"],
        &["build", "--workspace", "--all-targets"],
    ] {
        compare(&case, args).ok();
        let before = count(&case, "seed.used");
        compare(&case, args).ok().compiles(&[]);
        compare(&case, args).ok().compiles(&[]);
        assert_eq!(count(&case, "seed.used"), before + 2, "{args:?}");
    }
    assert_eq!(count(&case, "fault"), 0);
}

#[test]
fn every_kind_of_package_agrees_with_plain_cargo() {
    let case = Case::fixture("kinds");
    settle();
    let args = ["build", "--workspace", "--all-targets"];
    compare_twice(&case, &args);
    compare(&case, &args).ok().compiles(&[]);
    assert!(count(&case, "seed.units") > 0);
}

/// Writes a workspace of libraries, each but the first with the one before it.
fn write_members(case: &Case, members: usize) {
    let names: Vec<String> = (0..members).map(|n| format!("\"m{n}\"")).collect();
    let names = names.join(", ");
    case.write(
        "Cargo.toml",
        format!("[workspace]\nresolver = \"2\"\nmembers = [{names}]\n"),
    );
    for n in 0..members {
        let needs = n.checked_sub(1).map(|before| format!("m{before}"));
        let manifest = lib_manifest(&format!("m{n}"), needs.as_deref().as_slice());
        case.write(&format!("m{n}/Cargo.toml"), manifest);
        let called = needs.map_or("0".to_owned(), |needs| format!("{needs}::value()"));
        let source = format!("pub fn value() -> u32 {{ 1 + {called} }}\n");
        case.write(&format!("m{n}/src/lib.rs"), source);
    }
}

#[test]
fn a_workspace_of_many_members_is_served_ahead() {
    let mut case = Case::new();
    write_members(&case, 40);
    settle();
    case.cargo(&["build"]).ok();
    // A chain: each unit that is not in the seed is asked for, with all after it.
    let first = asked_from_nothing(&case, &["build"]).len();
    assert!(first < 20, "{first} of 40 asked for");
    let second = asked_from_nothing(&case, &["build"]).len();
    let third = asked_from_nothing(&case, &["build"]).len();
    assert!(second <= first && third < 3, "{second}, then {third}");
    compare(&case, &["build"]).ok().compiles(&[]);
    case.copy_project("else/where");
    settle();
    assert!(asked_from_nothing(&case, &["build"]).len() < 3);
    compare(&case, &["build", "--workspace", "--all-targets"]).ok();
}

#[test]
fn what_an_edit_rebuilds_is_what_it_rebuilds_without_the_cache() {
    let case = project();
    compare(&case, &["build"]).ok();
    case.wipe();
    compare_in_place(&case, &["build"]);
    assert!(count(&case, "seed.units") > 0);
    for (file, from, to) in [
        ("src/part.rs", "10", "11"),
        ("base/src/lib.rs", "unused = 1", "unused = 2"),
        ("base/four.txt", "4", "6"),
        ("base/build.rs", "ONE=1", "ONE=2"),
        ("words/src/lib.rs", "{word:?}", "{word:?} "),
    ] {
        std::thread::sleep(Duration::from_millis(20));
        case.edit(file, from, to);
        let (cached, bare) = compare_in_place(&case, &["build"]);
        assert_eq!(rebuilt(&cached), rebuilt(&bare), "after an edit of {file}");
    }
    assert_eq!(case.printed("debug/app"), "8 11 hello .");
}

#[test]
fn what_has_changed_is_not_served_ahead() {
    let case = project();
    case.cargo(&["build"]).ok();
    compare(&case, &["build"]).ok().compiles(&[]);
    // Cargo knows nothing of this file.
    case.write("word.txt", "good bye");
    case.wipe().cargo(&["build"]).ok().compiles(&["app"]);
    assert_eq!(case.printed("debug/app"), "5 10 good bye .");
    case.write("base/four.txt", "40");
    compare(&case, &["build"]).ok();
    assert_eq!(case.printed("debug/app"), "41 10 good bye .");
    // Back to what the seed knows; the files are new.
    case.write("base/four.txt", "4").write("word.txt", "hello");
    compare(&case, &["build"]).ok().compiles(&[]);
    assert_eq!(case.printed("debug/app"), "5 10 hello .");
    // A module that is looked for appears.
    case.remove("src/part.rs");
    case.write("src/part/mod.rs", "pub fn part() -> u32 { 12 }\n");
    compare(&case, &["build"]).ok();
    assert_eq!(case.printed("debug/app"), "5 12 hello .");
}

#[test]
fn a_library_that_gets_a_module_is_watched_with_that_module() {
    let case = project();
    compare(&case, &["build"]).ok();
    case.write("base/src/more.rs", "pub const MORE: u32 = 7;\n");
    case.edit(
        "base/src/lib.rs",
        "pub fn",
        "mod more; pub use more::MORE; pub fn",
    );
    case.wipe().cargo(&["build"]).ok();
    settle();
    let before = count(&case, "seed.used");
    // The seed knows the library without the module, the cache with it.
    case.wipe();
    compare_in_place(&case, &["build"]);
    assert_eq!(count(&case, "seed.used"), before + 1);
    case.edit("base/src/more.rs", "7", "8");
    let (cached, bare) = compare_in_place(&case, &["build"]);
    assert_eq!(rebuilt(&cached), rebuilt(&bare));
    assert!(cached.compiled.contains(&"base".to_owned()), "{cached:#?}");
}

#[test]
fn an_edit_while_units_are_served_ahead_is_built() {
    let mut case = project();
    case.cargo(&["build"]).ok();
    let wrapper = case.root().join("editing");
    let file = case.path("base/src/lib.rs");
    for delay in ["0", "0.002", "0.005", "0.01", "0.02", "0.05"] {
        let text = fs::read_to_string(&file).expect("source");
        let script = format!(
            "#!/bin/sh\ncase $* in *-vV) (sleep {delay}; printf 'pub fn value() -> u32 {{ {} }}' >'{}') \
             >/dev/null 2>&1 & ;; esac\nexec '{}' \"$@\"\n",
            delay.len(),
            file.display(),
            crate::harness::wrapper().display()
        );
        fs::write(&wrapper, script).expect("a script");
        make_executable(&wrapper);
        case.env("RUSTC_WRAPPER", &wrapper);
        case.wipe().cargo(&["build"]).ok();
        settle();
        case.unset("RUSTC_WRAPPER");
        case.cargo(&["build"]).ok();
        let expected = format!("{} 10 hello .", delay.len());
        assert_eq!(case.printed("debug/app"), expected, "after {delay} s");
        case.write("base/src/lib.rs", text);
        settle();
    }
}

fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("permissions");
}

#[test]
fn a_target_directory_in_use_or_off_is_left_alone() {
    let mut case = project();
    case.cargo(&["build"]).ok();
    case.wipe();
    fs::create_dir_all(case.target().join("debug")).expect("a directory");
    let lock = fs::File::create(case.target().join("debug/.cargo-lock")).expect("a lock");
    lock.lock().expect("the lock");
    let waiting = case.cargo_command(Mode::Cached, &["build", "-v"]).spawn();
    std::thread::sleep(Duration::from_millis(700));
    drop(lock);
    let mut waiting = waiting.expect("cargo");
    assert!(waiting.wait().expect("cargo").success());
    assert_eq!(count(&case, "seed.used"), 0);
    case.wipe().write("target/debug/mine", "");
    case.cargo(&["build"]).ok();
    assert_eq!(count(&case, "seed.used"), 0);
    assert!(case.target().join("debug/mine").exists());
    case.env("CACHEWRAP_SEED", "off");
    assert_eq!(asked_from_nothing(&case, &["build"]).len(), 5);
    case.unset("CACHEWRAP_SEED").env("CACHEWRAP_RECACHE", "1");
    case.wipe().cargo(&["build"]).ok();
    assert_eq!(count(&case, "seed.used"), 0);
}

#[test]
fn two_cargos_that_begin_in_the_same_directory_agree_with_one() {
    let case = project();
    compare(&case, &["build"]).ok();
    for delay in [0, 0, 10, 30, 60] {
        case.wipe();
        let start = |args: &[&str]| {
            let mut command = case.cargo_command(Mode::Cached, args);
            command.stdout(std::process::Stdio::null());
            command.stderr(std::process::Stdio::null());
            command.spawn().expect("cargo")
        };
        let mut first = start(&["build"]);
        std::thread::sleep(Duration::from_millis(delay));
        let mut second = start(&["check"]);
        let mut third = start(&["build"]);
        for cargo in [&mut first, &mut second, &mut third] {
            assert!(cargo.wait().expect("cargo").success(), "after {delay} ms");
        }
        assert_eq!(case.printed("debug/app"), "5 10 hello .");
        for args in [&["build"][..], &["check"]] {
            assert_fresh(&case, Mode::Cached, args);
            assert_fresh(&case, Mode::Bare, args);
        }
    }
}

/// The seeds in the cache.
fn seeds(case: &Case) -> Vec<PathBuf> {
    let seeds = fs::read_dir(case.cache().join("v1/seeds")).expect("seeds");
    seeds.map(|seed| seed.expect("a seed").path()).collect()
}

#[test]
fn a_damaged_seed_is_no_seed() {
    let case = project();
    compare(&case, &["build"]).ok();
    let [seed] = &seeds(&case)[..] else {
        panic!("one seed");
    };
    let whole = fs::read(seed).expect("a seed");
    let flipped = |at: usize| {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        flipped
    };
    let store = Store::new(case.cache(), false);
    for damaged in [
        Vec::new(),
        whole[..whole.len() / 2].to_vec(),
        flipped(whole.len() / 2),
        flipped(5),
        [&whole[..], b"x"].concat(),
    ] {
        fs::write(seed, damaged).expect("writable");
        let before = count(&case, "seed.used");
        let found = store
            .verify(false, &|_| ())
            .expect("readable")
            .expect("free");
        compare(&case, &["build"]).ok().compiles(&[]);
        assert_eq!(count(&case, "seed.used"), before);
        assert!(!found.findings.is_empty(), "verify finds it");
        fs::write(seed, &whole).expect("writable");
    }
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn units_whose_results_are_gone_are_compiled_with_all_that_depends_on_them() {
    let case = project();
    compare(&case, &["build"]).ok();
    let store = case.cache().join("v1/blobs");
    for blob in walkdir::WalkDir::new(store) {
        let blob = blob.expect("a blob");
        if blob.file_type().is_file() && blob.metadata().expect("a blob").len() < 20_000 {
            fs::remove_file(blob.path()).expect("removable");
        }
    }
    compare(&case, &["build"]).ok();
    assert!(
        count(&case, "seed.units") > 0,
        "build scripts and macros are left"
    );
    assert!(count(&case, "seed.left") > 0);
    compare(&case, &["build"]).ok().compiles(&[]);
    case.forget();
    compare(&case, &["build"]).ok();
}

#[test]
fn another_lock_file_and_other_manifests_find_what_is_still_right() {
    let case = project();
    case.write(
        "base/src/lib.rs",
        "pub fn value() -> u32 { env!(\"CARGO_PKG_DESCRIPTION\").len() as u32 }\n",
    );
    settle();
    compare(&case, &["build"]).ok();
    case.edit(
        "base/Cargo.toml",
        "[package]",
        "[package]\ndescription = \"four\"",
    );
    compare(&case, &["build"]).ok();
    assert_eq!(case.printed("debug/app"), "4 10 hello .");
    settle();
    compare(&case, &["build"]).ok().compiles(&[]);
    case.edit(
        "base/Cargo.toml",
        "version = \"0.1.0\"",
        "version = \"0.2.0\"",
    );
    compare(&case, &["build"]).ok();
    assert!(count(&case, "seed.units") > 0);
    assert_eq!(case.printed("debug/app"), "4 10 hello .");
}

#[test]
fn variables_and_configuration_are_part_of_a_plan() {
    let mut case = project();
    case.edit(
        "src/part.rs",
        "10",
        "option_env!(\"FLAVOUR\").map_or(10, |f| f.len() as u32)",
    );
    settle();
    compare(&case, &["build"]).ok();
    case.write(".cargo/config.toml", "[env]\nFLAVOUR = \"sweet\"\n");
    compare(&case, &["build"]).ok();
    assert_eq!(case.printed("debug/app"), "5 5 hello .");
    case.remove(".cargo/config.toml");
    case.env("FLAVOUR", "a");
    compare(&case, &["build"]).ok();
    case.env("RUSTFLAGS", "--cfg other");
    compare(&case, &["build"]).ok();
    case.unset("RUSTFLAGS").unset("FLAVOUR");
    compare(&case, &["build"]).ok().compiles(&[]);
    assert_eq!(case.printed("debug/app"), "5 10 hello .");
}

#[test]
fn being_killed_at_any_moment_leaves_a_directory_that_cargo_builds_in() {
    let case = project();
    compare(&case, &["build"]).ok();
    for delay in (0..24).map(|n| n * 6) {
        case.wipe();
        let mut command = case.cargo_command(Mode::Cached, &["build", "--message-format=json"]);
        command.process_group(0);
        command.stdout(std::process::Stdio::null());
        command.stderr(std::process::Stdio::null());
        let mut cargo = command.spawn().expect("cargo");
        std::thread::sleep(Duration::from_millis(delay));
        let group = format!("-{}", cargo.id());
        let mut kill = std::process::Command::new("kill");
        let _ = kill.args(["-9", "--", &group]).output();
        let _ = cargo.wait();
        case.cargo(&["build"]).ok();
        assert_eq!(
            case.printed("debug/app"),
            "5 10 hello .",
            "after {delay} ms"
        );
        assert_fresh(&case, Mode::Cached, &["build"]);
        assert_fresh(&case, Mode::Bare, &["build"]);
    }
}

#[test]
fn explain_tells_what_was_served_ahead() {
    let case = project();
    case.cargo(&["build"]).ok();
    case.wipe().cargo(&["build"]).ok().compiles(&[]);
    let explain = |unit: &str| {
        let mut explain = std::process::Command::new(env!("CARGO_BIN_EXE_cargo-cachewrap"));
        let output = explain.args(["explain", unit]);
        let output = output
            .env_clear()
            .env("CACHEWRAP_DIR", case.cache())
            .output();
        String::from_utf8(output.expect("explain").stdout).expect("text")
    };
    let output = explain("base (lib)");
    assert!(output.ends_with("  base (lib): served ahead\n"), "{output}");
    case.write("base/four.txt", "5");
    case.wipe().cargo(&["build"]).ok();
    let output = explain("base");
    for expected in [
        "base (build script run): file: ",
        "; not ahead: miss: file: ",
        "base/four.txt: was as recorded, is of another content\n",
        "; not ahead: dependency: base (build script run)\n",
    ] {
        assert!(output.contains(expected), "{expected}: {output}");
    }
}

#[test]
fn nothing_is_placed_that_is_not_wanted_any_more() {
    let case = project();
    compare_twice(&case, &["build"]);
    case.edit("Cargo.toml", "words = { path = \"words\" }\n", "");
    case.edit("src/main.rs", "words::word!()", "\"none\"");
    compare(&case, &["build"]).ok();
    assert_eq!(case.printed("debug/app"), "5 10 none .");
    // The same of a member, whose manifest is not the workspace's.
    case.edit(
        "base/Cargo.toml",
        "[dependencies]",
        "[build-dependencies]\nwords = { path = \"../words\" }",
    );
    compare(&case, &["build"]).ok();
    settle();
    compare(&case, &["build"]).ok().compiles(&[]);
    case.edit("base/Cargo.toml", "words = { path = \"../words\" }", "");
    compare(&case, &["build"]).ok();
}

#[test]
fn another_cargo_has_seeds_of_its_own() {
    let mut case = project();
    compare(&case, &["build"]).ok();
    let Some(nightly) = Toolchain::nightly() else {
        eprintln!("skipped: there is no nightly toolchain");
        return;
    };
    case.use_toolchain(nightly);
    compare(&case, &["build"]).ok();
    assert_eq!(count(&case, "seed.used"), 0);
    compare(&case, &["build"]).ok().compiles(&[]);
}
