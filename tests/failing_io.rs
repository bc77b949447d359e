//! Every operation on files fails once: no build fails, none is wrong, and the next is right.
//!
//! `CACHEWRAP_TEST_THOROUGH=1` tries every operation of a miss with every error; otherwise a sample.

use std::fs;

use crate::harness::{
    Case, Direct, Errno, Fault, Mode, Preload, bin_manifest, copy_tree, lib_manifest, thorough,
};

/// A build that meets faults, and how many of them it has met.
struct Faulty {
    direct: Direct,
    faults: u32,
    builds: u32,
}

impl Faulty {
    fn new() -> Self {
        let mut direct = Direct::new();
        direct.builds_rightly("cold", |_| ());
        Self {
            direct,
            faults: 0,
            builds: 1,
        }
    }

    /// Builds with a fault, and twice without; `false` if the fault came too late.
    #[track_caller]
    fn survives(&mut self, fault: Fault) -> bool {
        let preload = self.direct.preload.clone();
        let what = format!("{fault:?}");
        self.direct.builds_rightly(&what, |command| {
            preload.fault(command, fault);
        });
        let met = preload.fault_was_met();
        self.faults += u32::from(met);
        self.builds += 3;
        self.direct.builds_rightly(&format!("after {what}"), |_| ());
        let warm = self
            .direct
            .builds_rightly(&format!("long after {what}"), |_| ());
        assert!(warm.compiled.is_empty(), "{what} did lasting harm");
        met
    }

    /// The same for several faults; `false` if all came too late.
    #[track_caller]
    fn survives_each(&mut self, faults: &[Fault]) -> bool {
        let met: Vec<bool> = faults.iter().map(|fault| self.survives(*fault)).collect();
        met.contains(&true)
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
    let mut faulty = Faulty::new();
    let mut at = 1;
    while faulty.survives_each(&faults(at)) {
        at += 1;
    }
    assert!(at > 50, "a hit should have more than {at} operations");
    faulty.report("hits");
}

/// Operations of a miss: the first ones, which open the store, all of them.
#[test]
fn any_operation_of_a_miss() {
    let mut faulty = Faulty::new();
    let mut at = 1;
    loop {
        let mut met = false;
        for fault in faults(at) {
            // A key of its own makes it a miss.
            let salt = format!("{fault:?}");
            faulty.direct.case.env("CACHEWRAP_KEY_SALT", salt);
            met |= faulty.survives(fault);
        }
        if !met {
            break;
        }
        at += if thorough() || at < 20 { 1 } else { 29 };
    }
    assert!(at > 300, "a miss should have more than {at} operations");
    faulty.report("misses");
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
    let mut faulty = Faulty::new();
    let direct = &mut faulty.direct;
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
        faulty.faults += u32::from(met);
        faulty.builds += 2;
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
    faulty.report("collections");
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
