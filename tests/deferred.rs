//! What an edit produced is stored by a process of its own, which nobody waits for and nobody notices.
//!
//! Where it matters that this process is still at work, it is held up: [`Preload::hold_keepers`].

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cache_core::Store;

use crate::harness::{Case, Mode, Preload, Stage, bin_manifest, compare, compare_in_place, poll};
use crate::proc_macros;

/// A program that was built twice, so that the next edit has incremental state to begin with.
fn project() -> Case {
    let case = Case::new();
    case.write("Cargo.toml", bin_manifest("app", &[]))
        .write("src/main.rs", "fn main() { println!(\"first\"); }");
    case.cargo(&["build"]).ok().compiles(&["app"]);
    case
}

/// Edits a program, and builds it with keepers that wait.
struct Held {
    case: Case,
    gate: PathBuf,
}

impl Held {
    /// Keepers wait when they have said what the inputs are.
    fn new() -> Self {
        Self::of(project(), Stage::Storing)
    }

    /// Keepers wait before they do anything.
    fn recording() -> Self {
        Self::of(project(), Stage::Recording)
    }

    fn of(case: Case, stage: Stage) -> Self {
        let held = Self {
            gate: case.root().join("gate"),
            case,
        };
        held.build_second(stage);
        held
    }

    fn build_second(&self, stage: Stage) {
        let case = &self.case;
        let preload = Preload::compile(case.root());
        case.edit("src/main.rs", "first", "second");
        let mut command = case.cargo_command(Mode::Cached, &["build", "-j1"]);
        preload.hold_keepers(&mut command, &self.gate, stage);
        // Its output is a pipe: this returns when nobody can write to it any more.
        let output = command.output().expect("cargo should start");
        assert!(output.status.success(), "{output:?}");
        assert!(case.printed("debug/app").starts_with("second"));
        let is_done = self.store().wait_for_keepers(Duration::ZERO);
        assert!(!is_done, "cargo waited for the keeper, or there was none");
        if matches!(stage, Stage::Storing) {
            // A key is 32 bytes, and inputs come behind it.
            let says_more = || fs::metadata(self.lock()).is_ok_and(|lock| lock.len() > 32);
            poll("saying what is kept", || says_more().then_some(()));
        }
    }

    fn store(&self) -> Store {
        Store::new(self.case.cache(), true)
    }

    /// What the keeper has locked.
    fn lock(&self) -> PathBuf {
        let running = self.case.cache().join("v1/running");
        let mut locks = fs::read_dir(running).expect("there should be locks");
        locks.next().expect("a keeper").expect("a name").path()
    }

    /// The process that holds the lock.
    fn keeper(&self) -> u32 {
        let lock = fs::metadata(self.lock()).expect("the lock should be there");
        let inode = lock.ino();
        let holds = |pid: &u32| {
            let open = fs::read_dir(format!("/proc/{pid}/fd"))
                .into_iter()
                .flatten();
            let mut open = open.filter_map(|fd| fs::metadata(fd.ok()?.path()).ok());
            open.any(|file| file.ino() == inode)
        };
        let processes = fs::read_dir("/proc").expect("/proc");
        let mut ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        ids.find(holds).expect("somebody should hold the lock")
    }

    fn let_go(&self) {
        fs::write(&self.gate, "").expect("the gate should be writable");
        assert!(self.store().wait_for_keepers(Duration::from_secs(60)));
    }

    fn counter(&self, name: &str) -> u64 {
        let counters = self.store().counters().expect("counters");
        counters.get(name).copied().unwrap_or(0)
    }
}

impl Drop for Held {
    /// A test that fails must not leave a process that waits.
    fn drop(&mut self) {
        let _ = fs::write(&self.gate, "");
    }
}

#[test]
fn what_an_edit_produced_is_served_later() {
    let case = project();
    for (from, to) in [("first", "second"), ("second", "third")] {
        case.edit("src/main.rs", from, to);
        let (cached, _) = compare_in_place(&case, &["build"]);
        cached.ok();
        compare(&case, &["build"]).ok().compiles(&[]);
    }
    case.edit("src/main.rs", "third", "second");
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn nor_is_it_waited_for_after_outputs_came_from_the_cache() {
    let case = project();
    case.wipe();
    case.cargo(&["build"]).ok().compiles(&[]);
    let held = Held::of(case, Stage::Storing);
    held.let_go();
    compare(&held.case, &["build"]).ok().compiles(&[]);
}

#[test]
fn nobody_waits_for_the_process_that_stores_it() {
    let held = Held::recording();
    let case = &held.case;
    // It has nothing of cargo's: neither its pipes and jobserver nor its session.
    let keeper = held.keeper();
    let others = ["/dev/null", "anon_inode:inotify"];
    let own = |fd: &Path| fd.starts_with(case.root()) || others.iter().any(|o| fd == Path::new(o));
    for fd in fs::read_dir(format!("/proc/{keeper}/fd")).expect("descriptors") {
        let path = fd.expect("a descriptor").path();
        let target = fs::read_link(&path).expect("it should be open");
        assert!(own(&target), "{} is {}", path.display(), target.display());
    }
    let stat = fs::read_to_string(format!("/proc/{keeper}/stat")).expect("it should be there");
    let (_, words) = stat.rsplit_once(") ").expect("a name");
    let session = words.split(' ').nth(3).expect("a session");
    assert_eq!(session, keeper.to_string());
    let misses = held.counter("miss");
    held.let_go();
    assert_eq!(held.counter("miss"), misses + 1);
    assert_eq!(held.counter("not_stored"), 0);
    compare(case, &["build"]).ok().compiles(&[]);
    assert_eq!(case.printed("debug/app"), "second");
}

#[test]
fn a_program_that_is_changed_meanwhile_is_not_stored() {
    let held = Held::new();
    let case = &held.case;
    let program = case.target().join("debug/app");
    let mut file = fs::File::options()
        .append(true)
        .open(&program)
        .expect("the program should be writable");
    file.write_all(b"more").expect("it should be writable");
    drop(file);
    held.let_go();
    assert_eq!(held.counter("not_stored.changed"), 1);
    compare(case, &["build"]).ok().compiles(&["app"]);
}

#[test]
fn a_program_that_is_changed_without_a_trace_in_its_time_is_not_stored() {
    let held = Held::new();
    // Cargo has given it its second name before; the time and the size stay.
    let program = held.case.target().join("debug/app");
    let before = fs::metadata(&program).expect("the program should be there");
    let mut bytes = fs::read(&program).expect("it should be readable");
    let at = bytes
        .windows(6)
        .position(|word| word == b"second")
        .expect("the text should be in it");
    bytes[at..at + 6].copy_from_slice(b"SECOND");
    let file = fs::File::options().write(true).open(&program);
    let mut file = file.expect("it should be writable");
    file.write_all(&bytes).expect("it should be writable");
    file.set_modified(before.modified().expect("a time"))
        .expect("the time should be settable");
    drop(file);
    held.let_go();
    assert_eq!(held.counter("not_stored.changed"), 1);
    compare(&held.case, &["build"]).ok().compiles(&["app"]);
    assert_eq!(held.case.printed("debug/app"), "second");
}

#[test]
fn a_source_that_is_edited_meanwhile_belongs_to_the_next_one() {
    let held = Held::new();
    let case = &held.case;
    case.edit("src/main.rs", "second", "third");
    held.let_go();
    compare_in_place(case, &["build"]).0.ok();
    assert_eq!(case.printed("debug/app"), "third");
    case.edit("src/main.rs", "third", "second");
    compare(case, &["build"]).ok().compiles(&[]);
}

#[test]
fn a_source_that_is_edited_before_it_was_recorded_is_not_what_was_compiled() {
    let held = Held::recording();
    let case = &held.case;
    case.edit("src/main.rs", "second", "third");
    held.let_go();
    assert_eq!(held.counter("not_stored.changed"), 1);
    compare_in_place(case, &["build"]).0.ok();
    assert_eq!(case.printed("debug/app"), "third");
    case.edit("src/main.rs", "third", "second");
    compare(case, &["build"]).ok().compiles(&["app"]);
    assert_eq!(case.printed("debug/app"), "second");
}

#[test]
fn what_appears_before_inputs_were_recorded_was_not_looked_for_in_vain() {
    let case = project();
    case.write(
        "src/main.rs",
        "mod part; fn main() { part::tell(\"first\"); }",
    )
    .write(
        "src/part.rs",
        "pub fn tell(what: &str) { println!(\"{what}\"); }",
    );
    case.cargo(&["build"]).ok().compiles(&["app"]);
    let held = Held::of(case, Stage::Recording);
    let case = &held.case;
    // With it there, the compiler could not tell which of them is meant.
    case.write("src/part/mod.rs", "");
    held.let_go();
    assert_eq!(held.counter("not_stored.changed"), 1);
    compare(case, &["build"]);
    case.remove("src/part/mod.rs");
    compare(case, &["build"]).ok().compiles(&["app"]);
}

#[test]
fn a_source_that_is_gone_before_it_was_recorded_is_not_stored() {
    let held = Held::recording();
    let case = &held.case;
    case.remove("src/main.rs");
    held.let_go();
    assert_eq!(held.counter("not_stored.changed"), 1);
    case.write("src/main.rs", "fn main() { println!(\"second\"); }");
    compare(case, &["build"]).ok().compiles(&["app"]);
}

/// Changes what a macro has looked at before that was recorded, builds the same again, and then what is there now.
fn changed_under_a_macro(body: &str, first: impl Fn(&Case), second: impl Fn(&Case)) {
    let case = proc_macros::project("direct", body);
    first(&case);
    let edit = |from: &str, to: &str| case.edit("src/main.rs", from, to);
    edit("println!(", "print!(\"first \"); println!(");
    case.cargo(&["build"]).ok();
    let held = Held::of(case, Stage::Recording);
    let case = &held.case;
    second(case);
    held.let_go();
    assert_eq!(held.counter("not_stored.changed"), 1, "{body}");
    case.wipe();
    compare(case, &["build"]).ok();
    first(case);
    case.wipe();
    compare(case, &["build"]).ok();
}

#[test]
fn what_a_macro_looked_at_is_recorded_as_it_was() {
    let point = |to: &'static str| {
        move |case: &Case| {
            let _ = fs::remove_file(case.path("current"));
            symlink(to, case.path("current")).expect("the link should be creatable");
        }
    };
    let read_link = "std::fs::read_link(\"current\").unwrap().display().to_string()";
    changed_under_a_macro(read_link, point("a.txt"), point("b.txt"));
    let plain = |case: &Case| {
        let _ = fs::remove_file(case.path("current"));
        case.write("current", "");
        case.write("a.txt", "");
    };
    let is_link = "std::fs::symlink_metadata(\"current\").unwrap().is_symlink().to_string()";
    changed_under_a_macro(is_link, plain, point("a.txt"));
    let permit = |mode: u32| {
        move |case: &Case| {
            case.write("tool", "#!/bin/sh\n");
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(case.path("tool"), mode).expect("the mode should be settable");
        }
    };
    let may_run = "std::process::Command::new(\"sh\").args([\"-c\", \"[ -x tool ]\"]).status().unwrap().to_string()";
    changed_under_a_macro(may_run, permit(0o755), |case| {
        let mode = fs::Permissions::from_mode(0o644);
        fs::set_permissions(case.path("tool"), mode).expect("the mode should be settable");
    });
}

#[test]
fn a_program_that_is_made_anew_before_it_was_recorded_is_stored_as_it_was() {
    let held = Held::recording();
    let case = &held.case;
    case.edit("src/main.rs", "second", "third");
    let command = case.cargo_command(Mode::Cached, &["build"]).output();
    assert!(command.is_ok_and(|output| output.status.success()));
    held.let_go();
    compare(case, &["build"]).ok().compiles(&[]);
    assert_eq!(case.printed("debug/app"), "third");
    case.edit("src/main.rs", "third", "second");
    compare(case, &["build"]).ok();
    assert_eq!(case.printed("debug/app"), "second");
}

#[test]
fn who_wants_the_same_before_it_was_recorded_may_make_it_too() {
    let held = Held::recording();
    held.case.wipe();
    let command = held.case.cargo_command(Mode::Cached, &["build"]).output();
    assert!(command.is_ok_and(|output| output.status.success()));
    assert_eq!(held.case.printed("debug/app"), "second");
    held.let_go();
    compare(&held.case, &["build"]).ok().compiles(&[]);
}

#[test]
fn the_target_directory_may_be_gone_by_then() {
    for held in [Held::new(), Held::recording()] {
        held.case.wipe();
        held.let_go();
        compare(&held.case, &["build"]).ok().compiles(&[]);
    }
}

#[test]
fn who_wants_the_same_waits_for_it() {
    let held = Held::new();
    held.case.wipe();
    let gate = held.gate.clone();
    let opener = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(1));
        fs::write(gate, "").expect("the gate should be writable");
    });
    held.case.cargo(&["build"]).ok().compiles(&[]);
    opener.join().expect("the gate should be open");
    assert_eq!(held.case.printed("debug/app"), "second");
}

#[test]
fn who_wants_something_else_does_not_wait() {
    let held = Held::new();
    let case = &held.case;
    case.edit("src/main.rs", "second", "third");
    let command = case.cargo_command(Mode::Cached, &["build"]).output();
    assert!(command.is_ok_and(|output| output.status.success()));
    assert_eq!(case.printed("debug/app"), "third");
    // The first one is still at work.
    assert!(!held.store().wait_for_keepers(Duration::ZERO));
    held.let_go();
    compare(case, &["build"]).ok().compiles(&[]);
}

#[test]
fn one_that_is_killed_leaves_nothing() {
    for held in [Held::new(), Held::recording()] {
        kill_keeper(&held);
    }
}

fn kill_keeper(held: &Held) {
    let case = &held.case;
    let misses = held.counter("miss");
    let killed = Command::new("kill")
        .args(["-9", &held.keeper().to_string()])
        .status();
    assert!(killed.is_ok_and(|status| status.success()));
    assert!(held.store().wait_for_keepers(Duration::from_secs(60)));
    assert_eq!(held.counter("miss"), misses);
    compare(case, &["build"]).ok().compiles(&["app"]);
    // Its place is free again.
    case.edit("src/main.rs", "second", "third");
    compare_in_place(case, &["build"]).0.ok();
    compare(case, &["build"]).ok().compiles(&[]);
}

#[test]
fn it_can_be_turned_off() {
    let mut case = project();
    case.env("CACHEWRAP_DEFER", "off");
    let preload = Preload::compile(case.root());
    case.edit("src/main.rs", "first", "second");
    let mut command = case.cargo_command(Mode::Cached, &["build"]);
    preload.hold_keepers(&mut command, &case.root().join("gate"), Stage::Recording);
    let output = command.output().expect("cargo should start");
    assert!(output.status.success(), "{output:?}");
    let store = Store::new(case.cache(), true);
    assert!(store.wait_for_keepers(Duration::ZERO));
    compare(&case, &["build"]).ok().compiles(&[]);
}
