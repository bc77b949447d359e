//! Builds at the same time: identical compilations, and runs of build scripts, run once.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cache_core::Store;

use crate::harness::{Case, Mode, bin_manifest, lib_manifest, macro_manifest, poll, quote};

/// A program on top of a library.
fn project() -> Case {
    let case = Case::new();
    case.write("Cargo.toml", bin_manifest("app", &["base"]))
        .write(
            "src/main.rs",
            "fn main() { println!(\"{}\", base::value()); }",
        )
        .write("base/Cargo.toml", lib_manifest("base", &[]))
        .write("base/src/lib.rs", "pub fn value() -> u32 { 7 }");
    case
}

/// A process whose end compiles wait for: looking for it touches no file, so that it is
/// nobody's input.
struct Gate(Child);

impl Gate {
    fn closed() -> Self {
        let child = Command::new("sleep").arg("1000").spawn();
        Self(child.expect("sleep should start"))
    }

    fn open(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
    }
}

/// Names another gate. Compilations depend on the variables that a compiler which is a script
/// names, but for those that tell of a terminal.
const GATE: &str = "WINDOWID";

/// Makes every compile write its process id to a directory, which it returns, and go on
/// only when the gate, or the one that [`GATE`] names, is open.
fn hold(case: &Case, gate: &Gate) -> PathBuf {
    let dir = case.root().join("held");
    fs::create_dir(&dir).expect("the directory should be creatable");
    case.put_before_compiler(|counting| {
        format!(
            "case \"$*\" in *'--crate-name ___'*|*-vV*|*--print*) ;;\n\
             *) : >{dir}/$$; while kill -0 ${{{GATE}-{gate}}} 2>/dev/null; do sleep 0.01; done;;\n\
             esac\nexec {counting} \"$@\"\n",
            dir = quote(&dir),
            gate = gate.0.id(),
        )
    });
    dir
}

/// The compiles that a gate has held.
fn held(dir: &Path) -> Vec<u32> {
    let names = fs::read_dir(dir).into_iter().flatten().flatten();
    names
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn cargo(case: &Case, n: usize) -> Command {
    let mut log = OsString::from("info:");
    log.push(log_file(case));
    let mut cargo = case.cargo_command(Mode::Cached, &["build"]);
    cargo
        .env("CARGO_TARGET_DIR", target(case, n))
        .env("CACHEWRAP_LOG", log)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    cargo
}

/// Starts a build with a target directory of its own.
fn start(case: &Case, n: usize) -> Child {
    cargo(case, n).spawn().expect("cargo should start")
}

fn target(case: &Case, n: usize) -> PathBuf {
    case.root().join(format!("target{n}"))
}

fn log_file(case: &Case) -> PathBuf {
    case.root().join("wrapper.log")
}

/// How many wrappers have begun to wait.
fn waiting(case: &Case) -> usize {
    let log = fs::read_to_string(log_file(case)).unwrap_or_default();
    log.matches("waiting for another process").count()
}

#[track_caller]
fn await_waiting(case: &Case, count: usize) {
    poll("waiting", || (waiting(case) == count).then_some(()));
}

#[track_caller]
fn ends_well(case: &Case, n: usize, child: Child) {
    let output = child.wait_with_output().expect("cargo should end");
    assert!(output.status.success(), "{output:?}");
    let program = target(case, n).join("debug/app");
    let printed = Command::new(program).output().expect("it should run");
    assert_eq!(String::from_utf8_lossy(&printed.stdout), "7\n");
}

#[track_caller]
fn nothing_is_left(case: &Case) {
    for part in ["tmp", "running"] {
        let entries = fs::read_dir(case.cache().join("v1").join(part));
        let names: Vec<_> = entries.into_iter().flatten().flatten().collect();
        assert!(names.is_empty(), "{names:?}");
    }
}

fn compiled(case: &Case) -> Vec<String> {
    let mut names = case.compiled();
    names.sort();
    names
}

#[test]
fn eight_builds_of_one_project_compile_each_unit_once() {
    let case = project();
    let mut gate = Gate::closed();
    let dir = hold(&case, &gate);
    let builds: Vec<_> = (0..8).map(|n| start(&case, n)).collect();
    await_waiting(&case, 7);
    assert_eq!(held(&dir).len(), 1);
    gate.open();
    for (n, build) in builds.into_iter().enumerate() {
        ends_well(&case, n, build);
    }
    assert_eq!(compiled(&case), ["app", "base"]);
    nothing_is_left(&case);
    // Who waited, and who ran for all, is in the records.
    let records = Store::new(case.cache(), true).records().expect("records");
    let base = || records.iter().filter(|unit| unit.unit == "base (lib)");
    let waited = base().filter(|unit| unit.waited_us > 0 && unit.ran_us == 0);
    let ran = base().filter(|unit| unit.waited_us == 0 && unit.ran_us > 0);
    assert_eq!((waited.count(), ran.count()), (7, 1));
}

#[test]
fn a_build_script_of_four_builds_runs_once() {
    let mut case = project();
    let mut gate = Gate::closed();
    // Runs count themselves by a descriptor that nobody could take for an input or an output.
    let runs = case.root().join("runs");
    let open = format!("exec 9>>{}; exec \"$@\"", quote(&runs));
    case.launcher(&["/bin/sh", "-c", &open, "sh"])
        .env("CACHEWRAP_BUILD_SCRIPTS", "all");
    let wait = format!(
        "echo run >/proc/self/fd/9; while kill -0 {} 2>/dev/null; do sleep 0.01; done",
        gate.0.id()
    );
    let script = format!(
        "fn main() {{\n\
         println!(\"cargo:rerun-if-changed=build.rs\");\n\
         let status = std::process::Command::new(\"sh\").args([\"-c\", {wait:?}]).status();\n\
         assert!(status.unwrap().success());\n\
         }}\n"
    );
    case.write("build.rs", script);
    let builds: Vec<_> = (0..4).map(|n| start(&case, n)).collect();
    poll("waiting", || {
        let log = fs::read_to_string(log_file(&case)).unwrap_or_default();
        let waiting = log.matches("waiting for another process: app (build script run)");
        (waiting.count() == 3).then_some(())
    });
    gate.open();
    for (n, build) in builds.into_iter().enumerate() {
        ends_well(&case, n, build);
    }
    assert_eq!(fs::read_to_string(runs).expect("runs"), "run\n");
    nothing_is_left(&case);
}

#[test]
fn one_job_each_is_enough() {
    let mut case = Case::fixture("kinds");
    case.env("CARGO_BUILD_JOBS", "1");
    let mut builds: Vec<_> = (0..2).map(|n| start(&case, n)).collect();
    for build in &mut builds {
        assert!(build.wait().expect("cargo should end").success());
    }
    case.env("CARGO_TARGET_DIR", target(&case, 3));
    case.cargo(&["build"]).ok().compiles(&[]);
    nothing_is_left(&case);
}

#[test]
fn when_the_one_that_compiles_is_killed_one_of_the_others_does() {
    let case = project();
    let mut gate = Gate::closed();
    let dir = hold(&case, &gate);
    let killed = start(&case, 0);
    let first = poll("the compile", || held(&dir).first().copied());
    let others: Vec<_> = (1..4).map(|n| start(&case, n)).collect();
    await_waiting(&case, 3);
    signal("-KILL", parent(first));
    let second = || held(&dir).into_iter().find(|pid| *pid != first);
    poll("another compile", second);
    gate.open();
    for (n, build) in others.into_iter().enumerate() {
        ends_well(&case, n + 1, build);
    }
    let killed = killed.wait_with_output().expect("cargo should end");
    assert!(!killed.status.success());
    assert_eq!(compiled(&case), ["app", "base"]);
    nothing_is_left(&case);
}

#[test]
fn nobody_waits_for_one_that_is_stopped() {
    let case = project();
    let gate = Gate::closed();
    let dir = hold(&case, &gate);
    let mut stopped = start(&case, 0);
    let compiler = poll("the compile", || held(&dir).first().copied());
    let wrapper = parent(compiler);
    signal("-STOP", wrapper);
    // The other one's compiles go straight through.
    let mut other = cargo(&case, 1);
    let other = other.env(GATE, "").spawn().expect("cargo should start");
    await_waiting(&case, 1);
    ends_well(&case, 1, other);
    signal("-KILL", wrapper);
    assert!(!stopped.wait().expect("cargo should end").success());
    assert_eq!(compiled(&case), ["app", "base"]);
}

#[test]
fn a_compile_that_cannot_be_stored_is_waited_for_once() {
    let case = project();
    case.write("base/src/lib.rs", "pub fn value() -> u32 { \"7\" }");
    let (mut first, mut others) = (Gate::closed(), Gate::closed());
    let dir = hold(&case, &first);
    let mut builds = vec![start(&case, 0)];
    poll("the compile", || held(&dir).first().copied());
    for n in 1..5 {
        let mut cargo = cargo(&case, n);
        cargo.env(GATE, others.0.id().to_string());
        builds.push(cargo.spawn().expect("cargo should start"));
    }
    await_waiting(&case, 4);
    first.open();
    // All of them at once, not one after the other.
    poll("four compiles", || (held(&dir).len() == 5).then_some(()));
    others.open();
    for build in builds {
        let output = build.wait_with_output().expect("cargo should end");
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("mismatched types"));
    }
    assert_eq!(waiting(&case), 4);
    assert_eq!(compiled(&case), ["base"; 5]);
    nothing_is_left(&case);
}

#[test]
fn different_compilations_and_warm_incremental_ones_do_not_wait() {
    let case = project();
    // A session from an earlier build, of code that is no longer there.
    let mut earlier = cargo(&case, 1);
    earlier.env("CARGO_INCREMENTAL", "1");
    let earlier = earlier.output().expect("cargo should run");
    assert!(earlier.status.success());
    case.edit("base/src/lib.rs", "{ 7 }", "{ 3 + 4 }");
    let mut gate = Gate::closed();
    let dir = hold(&case, &gate);
    let mut builds = vec![(0, start(&case, 0))];
    poll("the compile", || (held(&dir).len() == 1).then_some(()));
    builds.push((1, start(&case, 1)));
    poll("a second compile", || (held(&dir).len() == 2).then_some(()));
    case.edit("base/src/lib.rs", "{ 3 + 4 }", "{ 4 + 3 }");
    builds.push((2, start(&case, 2)));
    poll("a third compile", || (held(&dir).len() == 3).then_some(()));
    assert_eq!(waiting(&case), 0);
    gate.open();
    for (n, build) in builds {
        ends_well(&case, n, build);
    }
}

fn signal(name: &str, pid: u32) {
    let status = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()));
}

fn parent(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it should run");
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    line.and_then(|pid| pid.trim().parse().ok())
        .expect("a process has a parent")
}

#[test]
fn a_compile_inside_the_same_compile_does_not_wait_for_that_compile() {
    const NESTING: &str = "use proc_macro::TokenStream;\n#[proc_macro]\n\
        pub fn nest(_: TokenStream) -> TokenStream {\n\
        if std::env::var_os(\"NESTED\").is_none() {\n\
        let var = |name| std::env::var_os(name).unwrap();\n\
        let mut same = std::process::Command::new(var(\"RUSTC_WRAPPER\"));\n\
        same.arg(var(\"RUSTC\")).args(std::env::args_os().skip(1)).env(\"NESTED\", \"1\");\n\
        same.stderr(std::process::Stdio::null());\n\
        assert!(same.status().unwrap().success());\n\
        }\nTokenStream::new() }\n";
    let mut case = Case::new();
    case.write("Cargo.toml", bin_manifest("app", &["nesting"]))
        .write(
            "src/main.rs",
            "nesting::nest!();\nfn main() { println!(\"7\"); }",
        )
        .write("nesting/Cargo.toml", macro_manifest("nesting"))
        .write("nesting/src/lib.rs", NESTING);
    // So that the arguments are the same, and no incremental session is a reason not to wait.
    case.env("CARGO_INCREMENTAL", "0");
    case.env("CACHEWRAP_TRIM_PATHS", "off");
    // Waiting would last for ever; this makes it a failure.
    case.launcher(&["timeout", "--signal=KILL", "120"]);
    let build = case.cargo(&["build"]).ok();
    let apps = build.compiled.iter().filter(|name| *name == "app");
    assert_eq!(apps.count(), 2, "{build:?}");
    assert_eq!(case.printed("debug/app"), "7");
}
