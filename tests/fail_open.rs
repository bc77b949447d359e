//! A cache that cannot work never breaks a build.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use walkdir::WalkDir;

use crate::harness::{Case, compare, compare_twice};

/// Commands that take away root's right to ignore permissions.
const WITHOUT_OVERRIDE: [&str; 4] = [
    "setpriv",
    "--bounding-set=-dac_override,-dac_read_search",
    "--inh-caps=-dac_override,-dac_read_search",
    "--",
];

pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;

    Path::new("/proc/self")
        .metadata()
        .is_ok_and(|metadata| metadata.uid() == 0)
}

/// Lets permissions hold for the case's commands even if the tests run as root.
pub(crate) fn obey_permissions(case: &mut Case) {
    if is_root() {
        case.launcher(&WITHOUT_OVERRIDE);
    }
}

fn set_modes(dir: &Path, directory: u32, file: u32) {
    let entries: Vec<_> = WalkDir::new(dir)
        .contents_first(true)
        .into_iter()
        .flatten()
        .collect();
    for entry in entries {
        let mode = if entry.file_type().is_dir() {
            directory
        } else {
            file
        };
        fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode))
            .expect("the mode should be settable");
    }
}

/// Everything is compiled, as without a cache, and a second build is no worse.
#[track_caller]
fn works_without_a_cache(case: &mut Case) {
    // Its warning is a test of its own; all else has to be the same.
    case.env("CACHEWRAP_LOG", "error");
    let build = compare(case, &["build"]).ok();
    assert!(!build.compiled.is_empty());
    compare(case, &["build"]).ok();
}

#[test]
fn a_directory_that_cannot_be_created() {
    let mut case = Case::fixture("kinds");
    obey_permissions(&mut case);
    let parent = case.root().join("closed");
    fs::create_dir(&parent).expect("the directory should be creatable");
    set_modes(&parent, 0o555, 0o444);
    case.env("CACHEWRAP_DIR", parent.join("cache"));
    works_without_a_cache(&mut case);
    assert!(
        !parent.join("cache").exists(),
        "the case should show a closed directory"
    );
    set_modes(&parent, 0o755, 0o644);
}

#[test]
fn a_cache_that_does_not_work_is_warned_about_but_not_for_ever() {
    let mut case = Case::fixture("kinds");
    case.env("CACHEWRAP_DIR", case.path("Cargo.toml").join("cache"));
    let build = case.cargo(&["build"]).ok();
    assert!(build.stderr.contains("cachewrap: warn"), "{}", build.stderr);
    // With the cache mended or taken away, cargo must not go on repeating it.
    let fresh = case.bare_cargo(&["build"]).ok().compiles(&[]);
    assert!(!fresh.stderr.contains("cachewrap"), "{}", fresh.stderr);
}

#[test]
fn a_directory_below_a_file() {
    let mut case = Case::fixture("kinds");
    case.env("CACHEWRAP_DIR", case.path("Cargo.toml").join("cache"));
    works_without_a_cache(&mut case);
}

#[test]
fn a_file_in_place_of_the_directory() {
    let mut case = Case::fixture("kinds");
    fs::write(case.cache(), "in the way").expect("the file should be writable");
    works_without_a_cache(&mut case);
    assert_eq!(
        fs::read(case.cache()).expect("the file stays"),
        b"in the way"
    );
}

#[test]
fn a_directory_that_nobody_may_enter() {
    let mut case = Case::fixture("kinds");
    obey_permissions(&mut case);
    fs::create_dir(case.cache()).expect("the directory should be creatable");
    set_modes(&case.cache(), 0o000, 0o000);
    works_without_a_cache(&mut case);
    set_modes(&case.cache(), 0o755, 0o644);
}

#[test]
fn a_read_only_directory_serves_hits() {
    let mut case = Case::fixture("kinds");
    compare(&case, &["build"]).ok();
    obey_permissions(&mut case);
    set_modes(&case.cache(), 0o555, 0o444);
    compare(&case, &["build"]).ok().compiles(&[]);
    case.edit("util/src/lib.rs", "7", "9");
    compare(&case, &["build"]).ok();
    set_modes(&case.cache(), 0o755, 0o644);
}

#[test]
fn read_only_mode_serves_hits_and_stores_nothing() {
    let mut case = Case::fixture("kinds");
    compare(&case, &["build"]).ok();
    case.env("CACHEWRAP_READ_ONLY", "1");
    compare(&case, &["build"]).ok().compiles(&[]);
    case.edit("src/main.rs", "asked to", "told to");
    compare(&case, &["build"]).ok().compiles(&["kinds"]);
    compare(&case, &["build"]).ok().compiles(&["kinds"]);
}

#[test]
fn a_directory_on_another_device() {
    let case = Case::fixture("kinds");
    let other = Path::new("/dev/shm");
    if !other.is_dir() {
        eprintln!("skipped: there is no /dev/shm");
        return;
    }
    let dir = tempfile::tempdir_in(other).expect("a directory should be creatable");
    let mut case = case;
    case.env("CACHEWRAP_DIR", dir.path());
    compare_twice(&case, &["build"]);
}

#[test]
fn a_store_of_an_unknown_version_is_left_alone() {
    let case = Case::fixture("kinds");
    fs::create_dir_all(case.cache().join("v999/results/ab")).expect("it should be creatable");
    let future = case.cache().join("v999/results/ab/entry");
    fs::write(&future, "from the future").expect("the file should be writable");
    compare_twice(&case, &["build"]);
    assert_eq!(
        fs::read(future).expect("the file stays"),
        b"from the future"
    );
}

#[test]
fn an_empty_directory_name_and_wrong_settings() {
    for (name, value) in [
        ("CACHEWRAP_MAX_SIZE", "a lot"),
        ("CACHEWRAP_TRIM_PATHS", "sideways"),
        ("CACHEWRAP_OBSERVE", "perhaps"),
        ("CACHEWRAP_LOG", "shout"),
        ("CACHEWRAP_NO_SUCH_SETTING", "1"),
    ] {
        let mut case = Case::fixture("kinds");
        case.env(name, value);
        let build = case.cargo(&["build"]).ok();
        case.wipe();
        let again = case.cargo(&["build"]).ok();
        assert!(build.stdout.is_empty() && again.stdout.is_empty(), "{name}");
        assert_eq!(case.printed("debug/kinds"), "13 3 42");
    }
}

#[test]
fn a_broken_configuration_file() {
    let case = Case::fixture("kinds");
    fs::create_dir_all(case.cache()).expect("the directory should be creatable");
    fs::write(case.cache().join("config.toml"), "max_size = [[[").expect("it should be writable");
    case.cargo(&["build"]).ok();
    assert_eq!(case.printed("debug/kinds"), "13 3 42");
}

#[test]
fn a_limit_on_the_size_of_files() {
    let mut case = Case::fixture("kinds");
    // In blocks of 512 bytes: the compiler's own files stay below.
    case.launcher(&["/bin/sh", "-c", "ulimit -f 1000; exec \"$@\"", "sh"]);
    for _ in 0..2 {
        case.wipe();
        case.cargo(&["check", "-p", "util"]).ok();
    }
}

#[test]
fn disabled_means_untouched() {
    let mut case = Case::fixture("kinds");
    case.env("CACHEWRAP_DISABLE", "1");
    works_without_a_cache(&mut case);
    assert!(!case.cache().exists(), "a disabled cache should not appear");
    case.unset("CACHEWRAP_DISABLE");
    compare(&case, &["build"]).ok();
    case.env("CACHEWRAP_DISABLE", "1");
    works_without_a_cache(&mut case);
}

#[test]
fn recaching_compiles_and_replaces() {
    let mut case = Case::fixture("kinds");
    let cold = compare(&case, &["build"]).ok();
    let everything: Vec<_> = cold.compiled.iter().map(String::as_str).collect();
    case.env("CACHEWRAP_RECACHE", "1");
    compare(&case, &["build"]).ok().compiles(&everything);
    case.unset("CACHEWRAP_RECACHE");
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn a_salt_and_extra_variables_separate_results() {
    let mut case = Case::fixture("kinds");
    let cold = compare(&case, &["build"]).ok().compiled.len();
    case.env("CACHEWRAP_KEY_SALT", "pepper");
    assert_eq!(compare(&case, &["build"]).ok().compiled.len(), cold);
    case.unset("CACHEWRAP_KEY_SALT");
    compare(&case, &["build"]).ok().compiles(&[]);
    case.env("CACHEWRAP_ENV", "MOOD").env("MOOD", "glad");
    compare(&case, &["build"]).ok();
    case.env("MOOD", "sad");
    assert_eq!(compare(&case, &["build"]).ok().compiled.len(), cold);
    case.env("MOOD", "glad");
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn without_the_observer_builds_are_right_all_the_same() {
    let mut case = Case::fixture("kinds");
    case.env("CACHEWRAP_OBSERVE", "off");
    compare(&case, &["build"]).ok();
    let warm = compare(&case, &["build"]).ok();
    // Libraries need no observer: dep-info and the arguments name their inputs.
    assert!(!warm.compiled.contains(&"util".to_owned()), "{warm:?}");
    case.edit("src/words.rs", ".count()", ".count() + 1");
    compare(&case, &["build"]).ok();
}
