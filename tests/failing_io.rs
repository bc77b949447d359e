//! Every operation on files fails once: no build fails, none is wrong, and the next is right.
//!
//! `CACHEWRAP_TEST_THOROUGH=1` tries every operation of a miss with every error; otherwise a sample.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::harness::{
    Case, Errno, Fault, Mode, Outcome, Preload, bin_manifest, copy_tree, lib_manifest, thorough,
};

/// A library that the compiler is run on directly, with and without the wrapper.
struct Direct {
    case: Case,
    preload: Preload,
    expected: Files,
    messages: String,
    builds: u32,
    faults: u32,
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

const ARGS: &[&str] = &[
    "--crate-name=base",
    "--crate-type=lib",
    "--edition=2021",
    "--emit=dep-info,metadata,link",
    "-Cmetadata=1",
    "--out-dir=out",
    "--error-format=json",
    "--json=artifacts",
    "base.rs",
];

impl Direct {
    fn new() -> Self {
        let mut case = Case::new();
        case.write(
            "base.rs",
            "pub fn value() -> u32 { let unused = 1; include!(\"part.rs\") }\n",
        )
        .write("part.rs", "7");
        // So that outputs are the same to the byte as without the wrapper.
        case.env("CACHEWRAP_TRIM_PATHS", "off")
            .env("CACHEWRAP_LOG", "error");
        let preload = Preload::compile(case.root());
        let mut direct = Self {
            case,
            preload,
            expected: Files::new(),
            messages: String::new(),
            builds: 0,
            faults: 0,
        };
        let bare = direct.run(Mode::Bare, |_| ()).ok();
        direct.expected = direct.outputs();
        direct.messages = bare.stderr;
        assert_eq!(direct.expected.len(), 3);
        assert!(direct.messages.contains("unused variable"));
        direct
    }

    fn outputs(&self) -> Files {
        let files = fs::read_dir(self.case.path("out")).expect("it should be readable");
        files
            .flatten()
            // Who cannot remove anything leaves its temporary files behind.
            .filter(|file| {
                !file
                    .file_name()
                    .as_encoded_bytes()
                    .starts_with(b".cachewrap-")
            })
            .map(|file| {
                let bytes = fs::read(file.path()).expect("an output should be readable");
                (file.path(), bytes)
            })
            .collect()
    }

    fn run(&self, mode: Mode, prepare: impl FnOnce(&mut Command)) -> Outcome {
        let _ = fs::remove_dir_all(self.case.path("out"));
        fs::create_dir(self.case.path("out")).expect("it should be creatable");
        let mut command = self.case.rustc_command(mode);
        command.args(ARGS);
        prepare(&mut command);
        self.case.run(command)
    }

    /// Builds and compares everything that can be seen.
    #[track_caller]
    fn builds_rightly(&mut self, what: &str, prepare: impl FnOnce(&mut Command)) -> Outcome {
        let outcome = self.run(Mode::Cached, prepare);
        assert!(outcome.status.success(), "{what}: {outcome:#?}");
        assert_eq!(outcome.stdout, "", "{what}");
        assert_eq!(outcome.stderr, self.messages, "{what}");
        assert!(self.outputs() == self.expected, "{what}: other outputs");
        self.builds += 1;
        outcome
    }

    /// Builds with a fault, and twice without; `false` if the fault came too late.
    #[track_caller]
    fn survives(&mut self, fault: Fault) -> bool {
        let preload = Preload::clone(&self.preload);
        let what = format!("{fault:?}");
        self.builds_rightly(&what, |command| {
            preload.fault(command, fault);
        });
        let met = preload.fault_was_met();
        self.faults += u32::from(met);
        self.builds_rightly(&format!("after {what}"), |_| ());
        let warm = self.builds_rightly(&format!("long after {what}"), |_| ());
        assert!(warm.compiled.is_empty(), "{what} did lasting harm");
        met
    }

    fn report(&self, what: &str) {
        eprintln!(
            "{what}: {} faults, {} builds, none failed or wrong",
            self.faults, self.builds
        );
    }
}

/// Each operation of a hit fails, alone and with all that follow.
#[test]
fn any_operation_of_a_hit() {
    let mut direct = Direct::new();
    direct.builds_rightly("cold", |_| ());
    let mut at = 1;
    while faults(at)
        .into_iter()
        .fold(false, |met, fault| direct.survives(fault) || met)
    {
        at += 1;
    }
    assert!(at > 50, "a hit should have more than {at} operations");
    direct.report("hits");
}

/// Operations of a miss: the first ones, which open the store, all of them.
#[test]
fn any_operation_of_a_miss() {
    let mut direct = Direct::new();
    direct.builds_rightly("cold", |_| ());
    let mut at = 1;
    loop {
        let mut met = false;
        for fault in faults(at) {
            // A key of its own makes it a miss.
            direct.case.env("CACHEWRAP_KEY_SALT", format!("{fault:?}"));
            met |= direct.survives(fault);
        }
        if !met {
            break;
        }
        at += if thorough() || at < 20 { 1 } else { 29 };
    }
    assert!(at > 300, "a miss should have more than {at} operations");
    direct.report("misses");
}

/// What is tried at an operation.
fn faults(at: u32) -> Vec<Fault> {
    let all = Errno::ALL
        .into_iter()
        .flat_map(|errno| [false, true].map(|sticky| Fault { at, errno, sticky }));
    let chosen = at as usize % 6;
    all.enumerate()
        .filter(|(n, _)| thorough() || *n == chosen)
        .map(|(_, fault)| fault)
        .collect()
}

/// Operations of a collection that compresses and evicts.
#[test]
fn any_operation_of_a_collection() {
    let mut direct = Direct::new();
    for salt in ["a", "b", "c"] {
        direct.case.env("CACHEWRAP_KEY_SALT", salt);
        direct.builds_rightly("cold", |_| ());
    }
    let full = direct.case.root().join("full");
    fs::rename(direct.case.cache(), &full).expect("the store should be movable");
    let mut at = 1;
    loop {
        let fault = Fault {
            at,
            errno: Errno::ALL[at as usize % 3],
            sticky: at % 2 == 0,
        };
        direct.case.forget();
        copy_tree(&full, &direct.case.cache());
        let mut gc = direct.case.wrapper_command();
        gc.arg("--cachewrap-gc").env("CACHEWRAP_MAX_SIZE", "40K");
        direct.preload.fault(&mut gc, fault);
        // Its success is nobody's concern.
        let _ = gc.output();
        let met = direct.preload.fault_was_met();
        direct.faults += u32::from(met);
        direct.builds_rightly(&format!("after {fault:?} in a collection"), |_| ());
        let warm = direct.builds_rightly("again", |_| ());
        assert!(warm.compiled.is_empty(), "{fault:?} did lasting harm");
        if !met {
            break;
        }
        at += if thorough() { 1 } else { 5 };
    }
    assert!(
        at > 50,
        "a collection should have more than {at} operations"
    );
    direct.report("collections");
}

/// The same under cargo, which starts dependents at messages and must get each of them once.
#[test]
fn operations_under_cargo() {
    let case = Case::new();
    case.write("Cargo.toml", bin_manifest("app", &["base"]))
        .write(
            "src/main.rs",
            "fn main() { println!(\"{}\", base::value()); }",
        )
        .write("base/Cargo.toml", lib_manifest("base", &[]))
        .write("base/src/lib.rs", "pub fn value() -> u32 { 7 }");
    let preload = Preload::compile(case.root());
    let mut case = case;
    case.env("CACHEWRAP_LOG", "error");
    case.cargo(&["build"]).ok();
    let step = if thorough() { 1 } else { 11 };
    for (miss, end) in [(false, 140), (true, 900)] {
        for at in (1..end).step_by(if miss { step * 10 } else { step }) {
            let fault = Fault {
                at,
                errno: Errno::ALL[at as usize % 3],
                sticky: false,
            };
            if miss {
                case.env("CACHEWRAP_KEY_SALT", at.to_string());
            }
            case.wipe();
            let mut build = case.cargo_command(Mode::Cached, &["build"]);
            preload.fault(&mut build, fault);
            case.run(build).ok();
            assert_eq!(case.printed("debug/app"), "7", "{fault:?}");
            case.wipe();
            case.cargo(&["build"]).ok();
            assert_eq!(case.printed("debug/app"), "7", "after {fault:?}");
        }
    }
}
