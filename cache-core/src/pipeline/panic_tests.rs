//! A panic at any step leaves the build as it would have been.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::run;
use crate::config::Config;
use crate::fault;
use crate::observe::Depth;
use crate::os::env::Environment;
use crate::outcome::{BypassReason, NotStored, Outcome};
use crate::request::Request;
use crate::run::{Command, Run, Runner, Sink, Status, SystemRunner};

/// Every step of a call. Those of a miss come first.
const STEPS: &[&str] = &[
    "preparing",
    "looking up",
    "before the run",
    "observing",
    "translating",
    "counting",
    "keeping",
    "putting",
    "measuring",
    "launching",
    "restoring",
    "served",
];

/// Counts the runs of the unit's own process.
#[derive(Default)]
struct Counting(AtomicUsize);

impl Runner for Counting {
    fn run(
        &self,
        command: &Command,
        observe: Option<Depth>,
        stdout: Sink<'_>,
        stderr: Sink<'_>,
    ) -> std::io::Result<Run> {
        let asks = command
            .args
            .iter()
            .any(|arg| arg == "-vV" || arg == "--print");
        let asks = asks || command.args.iter().any(|arg| arg == "which");
        self.0.fetch_add(usize::from(!asks), Ordering::Relaxed);
        SystemRunner.run(command, observe, stdout, stderr)
    }
}

/// What can be seen of a call.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: Status,
    stdout: String,
    stderr: String,
    outputs: Vec<String>,
}

struct Unit {
    dir: tempfile::TempDir,
    env: Environment,
    runner: Counting,
    script: bool,
}

impl Unit {
    fn new(script: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path();
        std::fs::write(work.join("build.rs"), "fn main() { let unused = 1; }\n").unwrap();
        let text = "#!/bin/sh\necho made; echo one >&2; echo two >&2; echo x >$OUT_DIR/made\n";
        std::fs::write(work.join("script"), text).unwrap();
        crate::os::fs::set_mode(&work.join("script"), 0o755).unwrap();
        // An input must not have been changed in the same tick of the clock.
        std::thread::sleep(Duration::from_millis(50));
        let mut env = Environment::of_process();
        for (name, path) in [
            ("CACHEWRAP_DIR", "cache"),
            ("OUT_DIR", "target/debug/build/a/out"),
            ("CARGO_MANIFEST_DIR", ""),
            ("RUSTC_WRAPPER", "script"),
        ] {
            env.set(name, work.join(path));
        }
        for (name, value) in [
            ("CACHEWRAP_BUILD_SCRIPTS", "all"),
            ("RUSTC", "rustc"),
            ("TARGET", "x"),
            ("HOST", "x"),
        ] {
            env.set(name, value);
        }
        let runner = Counting::default();
        Self {
            dir,
            env,
            runner,
            script,
        }
    }

    fn out_dir(&self) -> PathBuf {
        let name = if self.script { "a/out" } else { "b" };
        self.dir.path().join("target/debug/build").join(name)
    }

    fn argv(&self) -> Vec<OsString> {
        if self.script {
            return vec![self.dir.path().join("script").into()];
        }
        let words = "rustc --crate-name build_script_build --edition=2021 build.rs \
                     --error-format=json --json=artifacts --crate-type bin -Cmetadata=1 \
                     --emit=dep-info,link --out-dir";
        let mut argv: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
        argv.push(self.out_dir().into());
        argv
    }

    /// Makes the call as a wrapper does, which runs the process itself if told to.
    fn call(&self) -> (Outcome, Seen) {
        let _ = std::fs::remove_dir_all(self.out_dir());
        std::fs::create_dir_all(self.out_dir()).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let work = self.dir.path();
        let script = work.join("script");
        let config = Config::load(&self.env).config;
        let argv = self.argv();
        let mut stdout = |piece: &[u8]| out.extend_from_slice(piece);
        let mut stderr = |line: &[u8]| err.extend_from_slice(line);
        let mut request = Request::new(&argv, &self.env, work, &config, &self.runner);
        request.is_build_script = self.script;
        request.wrapper = Some(&script);
        let outcome = run(&request, &mut stdout, &mut stderr).unwrap();
        let status = match &outcome {
            Outcome::Hit { status } => Status::Code(*status),
            Outcome::Miss { status, .. } => *status,
            Outcome::Bypass(reason) => {
                assert_eq!(reason.why, BypassReason::Internal);
                let mut command = Command::new(&argv[0], self.env.clone(), work);
                command.args = argv[1..].to_vec();
                let run = self.runner.run(&command, None, &mut stdout, &mut stderr);
                run.unwrap().status
            }
        };
        let seen = Seen {
            status,
            stdout: String::from_utf8(out).unwrap(),
            stderr: String::from_utf8(err).unwrap(),
            outputs: outputs(&self.out_dir()),
        };
        (outcome, seen)
    }

    fn runs(&self) -> usize {
        self.runner.0.swap(0, Ordering::Relaxed)
    }

    /// Forgets results, but not which compiler it is, which takes long to find out.
    fn forget(&self) {
        let _ = std::fs::remove_dir_all(self.dir.path().join("cache/v1/manifests"));
    }
}

/// The names of what was made; a launcher is no output of the compiler.
fn outputs(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|n| !n.ends_with("-real")).collect();
    names.sort();
    names
}

/// Tries every step of a miss, and of a hit; returns which were met.
fn try_every_step(script: bool) -> Vec<&'static str> {
    let unit = Unit::new(script);
    let (first, right) = unit.call();
    assert!(
        matches!(
            first,
            Outcome::Miss {
                not_stored: None,
                ..
            }
        ),
        "{first:?}"
    );
    assert_eq!(unit.runs(), 1);
    let (second, repeated) = unit.call();
    assert_eq!((second, repeated), (Outcome::Hit { status: 0 }, right));
    assert_eq!(unit.runs(), 0);
    let mut met = Vec::new();
    for hit in [false, true] {
        for &step in STEPS {
            if !hit {
                unit.forget();
            }
            fault::at(step);
            let (outcome, seen) = unit.call();
            let runs = unit.runs();
            if fault::is_left() {
                continue;
            }
            met.push(step);
            let what = format!("{step}, {outcome:?}");
            assert_eq!(seen, unit.without_panic(), "{what}");
            let is_hit = matches!(outcome, Outcome::Hit { .. });
            assert_eq!(runs, usize::from(!is_hit), "{what}");
            if let Outcome::Miss { not_stored, .. } = outcome {
                let why = match step {
                    "observing" => NotStored::Incomplete,
                    _ => NotStored::Internal,
                };
                assert_eq!(not_stored.map(|refusal| refusal.why), Some(why), "{step}");
            }
            unit.runs();
        }
    }
    met.sort_unstable();
    met.dedup();
    met
}

impl Unit {
    /// What the call comes to when nothing goes wrong.
    fn without_panic(&self) -> Seen {
        self.call().1
    }
}

#[test]
fn a_panic_does_not_compile_twice_nor_show_messages_twice() {
    let mut all = STEPS.to_vec();
    all.sort_unstable();
    assert_eq!(try_every_step(false), all);
}

#[test]
fn a_panic_does_not_run_a_build_script_twice() {
    let mut all = STEPS.to_vec();
    all.retain(|step| *step != "launching");
    all.sort_unstable();
    assert_eq!(try_every_step(true), all);
}

/// A caller that panics itself when it is shown something.
#[test]
fn a_panic_while_messages_are_repeated_is_no_reason_to_compile() {
    let unit = Unit::new(false);
    unit.call();
    unit.runs();
    let config = Config::load(&unit.env).config;
    let argv = unit.argv();
    let work = unit.dir.path();
    let request = Request::new(&argv, &unit.env, work, &config, &unit.runner);
    let outcome = run(&request, &mut |_| (), &mut |_| panic!("of the caller"));
    assert_eq!(outcome.unwrap(), Outcome::Hit { status: 0 });
    assert_eq!(unit.runs(), 0);
}
