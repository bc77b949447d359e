//! Random small workspaces under random edits, compared with uncached builds after each.
//!
//! `CACHEWRAP_TEST_SEED` repeats a run, `CACHEWRAP_TEST_STEPS` makes it longer. Every step is printed
//! with the seed, so that a failure names its cause.

mod workspace;

use crate::harness::{Case, compare, compare_in_place, wipe_both};
use workspace::{Random, Workspace};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} should be a number, not {value:?}"))
    })
}

#[test]
fn cached_and_uncached_builds_agree_after_every_edit() {
    agree_after_every_edit(Case::new(), setting("CACHEWRAP_TEST_SEED", 20));
}

/// The counting compiler is a script, and scripts are watched more closely.
#[test]
fn they_agree_with_the_compiler_itself_too() {
    let mut case = Case::new();
    case.use_compiler_itself();
    agree_after_every_edit(case, setting("CACHEWRAP_TEST_SEED", 20) + 1);
}

/// Target directories stay from edit to edit, so that outputs are stored while the build goes on, and incremental
/// state is there, or comes back when it has been removed with everything else.
#[test]
fn they_agree_from_edit_to_edit() {
    let steps = setting("CACHEWRAP_TEST_STEPS", 12);
    let seed = setting("CACHEWRAP_TEST_SEED", 20) + 2;
    let mut random = Random::new(seed);
    let mut case = Case::new();
    let mut workspace = Workspace::generate(&mut random);
    workspace.write(&mut case);
    println!("seed {seed}: {workspace:#?}");
    compare_in_place(&case, &["build"]).0.ok();
    for step in 1..=steps {
        let edit = workspace.edit(&mut random);
        workspace.write(&mut case);
        let is_wiped = random.below(4) == 0;
        println!("seed {seed}, step {step}: {edit}, wiped: {is_wiped}");
        if is_wiped {
            wipe_both(&case);
        }
        let command = ["build", "check"][usize::from(random.below(4) == 0)];
        compare_in_place(&case, &[command]);
    }
}

/// Each step at one of three machines, which have stores of their own and a remote in common. One of them loses its
/// store now and then.
#[test]
fn they_agree_from_machine_to_machine() {
    let steps = setting("CACHEWRAP_TEST_STEPS", 12);
    let seed = setting("CACHEWRAP_TEST_SEED", 20) + 3;
    let mut random = Random::new(seed);
    let mut case = Case::new();
    let url = format!("file://{}?mode=write", case.root().join("remote").display());
    case.env("CACHEWRAP_REMOTE", url)
        .env("CACHEWRAP_REMOTE_TRUST", "bucket");
    let mut workspace = Workspace::generate(&mut random);
    println!("seed {seed}: {workspace:#?}");
    for step in 1..=steps {
        let machine = random.below(3);
        let store = case.root().join(format!("machine-{machine}"));
        if random.below(4) == 0 {
            let _ = std::fs::remove_dir_all(&store);
        }
        case.env("CACHEWRAP_DIR", store);
        workspace.write(&mut case);
        let cached = compare(&case, &["build"]);
        if cached.status.success() {
            // Whatever one machine has built, an empty one takes from it.
            case.env("CACHEWRAP_DIR", case.root().join(format!("new-{step}")));
            compare(&case, &["build"]).ok().compiles(&[]);
        }
        let edit = workspace.edit(&mut random);
        println!("seed {seed}, step {step}, machine {machine}, then: {edit}");
    }
}

fn agree_after_every_edit(mut case: Case, seed: u64) {
    let steps = setting("CACHEWRAP_TEST_STEPS", 12);
    let mut random = Random::new(seed);
    let mut workspace = Workspace::generate(&mut random);
    workspace.write(&mut case);
    println!("seed {seed}: {workspace:#?}");
    compare(&case, &["build"]).ok();
    for step in 1..=steps {
        // A fifth of the steps undoes everything so far: all of that has been built before.
        let edit = workspace.edit(&mut random);
        workspace.write(&mut case);
        println!("seed {seed}, step {step}: {edit}");
        let command = match random.below(6) {
            0 => "check",
            1 => "test",
            _ => "build",
        };
        let args = if command == "test" {
            &["test", "--no-run"][..]
        } else {
            &[command]
        };
        let cached = compare(&case, args);
        if cached.status.success() && random.below(3) == 0 {
            compare(&case, args).ok().compiles(&[]);
        }
    }
}

#[test]
fn going_back_to_a_state_compiles_nothing() {
    let mut random = Random::new(setting("CACHEWRAP_TEST_SEED", 20) ^ 0x5eed);
    let mut case = Case::new();
    let mut workspace = Workspace::generate(&mut random);
    workspace.write(&mut case);
    compare(&case, &["build"]).ok();
    let first = workspace.clone();
    for _ in 0..3 {
        println!("{}", workspace.edit(&mut random));
    }
    workspace.write(&mut case);
    compare(&case, &["build"]);
    first.write(&mut case);
    compare(&case, &["build"]).ok().compiles(&[]);
}
