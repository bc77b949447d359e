//! Processes that end early, and processes that work at the same time.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::harness::{Case, Mode, bin_manifest, compare, compare_twice, lib_manifest, poll};

const MACRO: &str = "use proc_macro::TokenStream;\n#[proc_macro]\n\
    pub fn wait(_: TokenStream) -> TokenStream {\n\
    if let Some(dir) = std::env::var_os(\"HOLD_DIR\") {\n\
    let dir = std::path::PathBuf::from(dir);\n\
    std::fs::write(dir.join(std::process::id().to_string()), \"\").unwrap();\n\
    while dir.exists() { std::thread::sleep(std::time::Duration::from_millis(5)); }\n\
    } TokenStream::new() }\n";

/// A program whose compile does not end while `HOLD_DIR` exists.
fn project() -> Case {
    let mut case = Case::new();
    case.write("Cargo.toml", bin_manifest("app", &["hold"]))
        .write(
            "src/main.rs",
            "hold::wait!();\nfn main() { println!(\"done\"); }",
        )
        .write(
            "hold/Cargo.toml",
            lib_manifest("hold", &[]) + "[lib]\nproc-macro = true\n",
        )
        .write("hold/src/lib.rs", MACRO);
    let dir = hold(&case);
    fs::create_dir(&dir).expect("the directory should be creatable");
    case.env("HOLD_DIR", dir);
    case
}

fn hold(case: &Case) -> PathBuf {
    case.root().join("hold")
}

/// Starts a build in a process group of its own and returns it with the compiler's process id.
fn start(case: &Case) -> (Child, u32) {
    let cargo = case
        .cargo_command(Mode::Cached, &["build"])
        .process_group(0)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("cargo should start");
    let compiler = poll("the compile", || {
        fs::read_dir(hold(case))
            .ok()?
            .flatten()
            .find_map(|entry| entry.file_name().to_str()?.parse().ok())
    });
    (cargo, compiler)
}

/// The process between cargo and the compiler; the compiler itself where there is none.
fn wrapper_of(cargo: &Child, compiler: u32) -> u32 {
    match parent(compiler) {
        parent if parent == cargo.id() => compiler,
        parent => parent,
    }
}

fn parent(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process should run");
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    line.and_then(|pid| pid.trim().parse().ok())
        .expect("a process has a parent")
}

fn signal(name: &str, target: &str) {
    let status = Command::new("kill")
        .args([name, "--", target])
        .status()
        .expect("kill should run");
    assert!(status.success());
}

/// Gone, or dead and waiting for whoever inherited it.
fn has_ended(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| {
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| rest.starts_with(" Z"))
    })
}

/// The rest of the case after an interruption: nothing runs on, nothing is locked, nothing is wrong.
#[track_caller]
fn builds_afterwards(case: &mut Case) {
    let _ = fs::remove_dir_all(hold(case));
    case.unset("HOLD_DIR");
    compare_twice(case, &["build"]);
    assert_eq!(case.printed("debug/app"), "done");
    let left: Vec<_> = walkdir::WalkDir::new(case.cache().join("v1/tmp"))
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_type().is_file())
        .collect();
    assert!(left.len() <= 1, "temporary files pile up: {left:?}");
}

#[test]
fn an_interrupt_from_the_terminal_ends_the_compilers() {
    let mut case = project();
    let (mut cargo, compiler) = start(&case);
    signal("-INT", &format!("-{}", cargo.id()));
    assert!(!cargo.wait().expect("cargo should end").success());
    poll("the compiler's end", || has_ended(compiler).then_some(()));
    builds_afterwards(&mut case);
}

#[test]
fn a_killed_wrapper_leaves_no_compiler_and_no_lock() {
    let mut case = project();
    let (mut cargo, compiler) = start(&case);
    let wrapper = wrapper_of(&cargo, compiler);
    signal("-KILL", &wrapper.to_string());
    assert!(!cargo.wait().expect("cargo should end").success());
    // A compiler that outlives its wrapper would write into the next build's directory.
    poll("the compiler's end", || has_ended(compiler).then_some(()));
    builds_afterwards(&mut case);
}

#[test]
fn a_terminated_wrapper_ends_its_compiler() {
    let mut case = project();
    let (mut cargo, compiler) = start(&case);
    signal("-TERM", &wrapper_of(&cargo, compiler).to_string());
    assert!(!cargo.wait().expect("cargo should end").success());
    poll("the compiler's end", || has_ended(compiler).then_some(()));
    builds_afterwards(&mut case);
}

#[test]
fn a_killed_compiler_is_a_failed_compile() {
    let mut case = project();
    let (mut cargo, compiler) = start(&case);
    signal("-KILL", &compiler.to_string());
    assert!(!cargo.wait().expect("cargo should end").success());
    builds_afterwards(&mut case);
}

#[test]
fn everything_killed_at_once() {
    let mut case = project();
    let (mut cargo, compiler) = start(&case);
    signal("-KILL", &format!("-{}", cargo.id()));
    cargo.wait().expect("cargo should end");
    poll("the compiler's end", || has_ended(compiler).then_some(()));
    builds_afterwards(&mut case);
}

fn spawn(case: &Case, project: &Path) -> Child {
    case.cargo_command(Mode::Cached, &["build", "--workspace"])
        .current_dir(project)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("cargo should start")
}

#[test]
fn builds_at_the_same_time_share_one_store() {
    let mut case = Case::fixture("kinds");
    let first = case.path("");
    let mut projects = vec![first.clone()];
    for name in ["second", "third"] {
        case.copy_project(name);
        projects.push(case.path(""));
    }
    for _ in 0..2 {
        let builds: Vec<_> = projects
            .iter()
            .map(|project| spawn(&case, project))
            .collect();
        for mut build in builds {
            assert!(build.wait().expect("cargo should end").success());
        }
        for project in &projects {
            case.enter(project);
            assert_eq!(case.printed("debug/kinds"), "13 3 42");
            case.wipe();
        }
    }
    case.enter(first);
    compare(&case, &["build", "--workspace"]).ok().compiles(&[]);
}

#[test]
fn the_store_vanishes_while_builds_run() {
    let case = Case::fixture("kinds");
    case.cargo(&["build", "--workspace"]).ok();
    for _ in 0..3 {
        case.wipe();
        let mut build = spawn(&case, &case.path(""));
        // Removed again and again, at whatever point the build has reached.
        while build.try_wait().expect("cargo should be there").is_none() {
            let _ = fs::remove_dir_all(case.cache());
            thread::yield_now();
        }
        assert!(build.wait().expect("cargo should end").success());
        assert_eq!(case.printed("debug/kinds"), "13 3 42");
    }
}

#[test]
fn a_store_over_its_bound_keeps_builds_right() {
    let mut case = Case::fixture("kinds");
    case.env("CACHEWRAP_MAX_SIZE", "1M");
    for _ in 0..3 {
        compare(&case, &["build", "--workspace", "--all-targets"]).ok();
    }
}

#[test]
fn dependents_start_before_a_dependency_is_finished() {
    let mut case = Case::new();
    case.write("Cargo.toml", bin_manifest("app", &["slow", "user"]))
        .write(
            "src/main.rs",
            "fn main() { println!(\"{}\", user::value()); }",
        )
        .write("slow/Cargo.toml", lib_manifest("slow", &[]))
        .write("slow/src/lib.rs", "pub fn value() -> u32 { 7 }")
        .write("user/Cargo.toml", lib_manifest("user", &["slow"]))
        .write("user/src/lib.rs", "pub fn value() -> u32 { slow::value() }");
    // Holds the end of the dependency's compile back until the dependent's has begun; a wrapper that
    // kept the messages to the end would wait for ever, so the wait has a bound.
    let held = case.root().join("held");
    let rustc = case.bin().join("rustc");
    let counting = case.root().join("bin/counting");
    fs::rename(&rustc, &counting).expect("the shim should be movable");
    crate::harness::write_script(
        &rustc,
        &format!(
            "case \"$*\" in\n*'--crate-name user'*) : >{started}; exec {counting} \"$@\";;\n\
             *'--crate-name slow'*) {counting} \"$@\" || exit; n=0\n\
             while [ ! -e {started} ] && [ $n -lt 200 ]; do sleep 0.05; n=$((n+1)); done\n\
             [ -e {started} ]; exit;;\nesac\nexec {counting} \"$@\"\n",
            started = crate::harness::quote(&held),
            counting = crate::harness::quote(&counting),
        ),
    );
    case.env("CARGO_BUILD_JOBS", "2");
    case.cargo(&["build"])
        .ok()
        .compiles(&["app", "slow", "user"]);
    assert_eq!(case.printed("debug/app"), "7");
}
