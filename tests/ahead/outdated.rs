//! What cargo looks at besides the inputs of units.

use std::fs::{File, FileTimes};
use std::time::{Duration, SystemTime};

use super::{count, project, settle};
use crate::harness::{Case, Mode, assert_fresh, compare, compare_twice, lib_manifest};

#[test]
fn a_readme_that_comes_or_goes_is_told_to_macros() {
    let case = project();
    case.edit(
        "words/src/lib.rs",
        "std::fs::read_to_string(\"word.txt\").unwrap()",
        "std::env::var(\"CARGO_PKG_README\").unwrap()",
    );
    case.write(
        "base/src/lib.rs",
        "pub fn value() -> usize { words::word!().len() }\n",
    );
    case.write("base/Cargo.toml", lib_manifest("base", &["words"]));
    case.edit("src/lib.rs", "u32", "usize");
    settle();
    compare_twice(&case, &["build"]);
    assert_eq!(case.printed("debug/app"), "0 10  .");
    for (name, printed) in [("README.txt", "10 10  ."), ("README.md", "9 10  .")] {
        case.write(&format!("base/{name}"), "");
        compare(&case, &["build"]).ok();
        assert_eq!(case.printed("debug/app"), printed);
    }
    case.remove("base/README.md");
    compare(&case, &["build"]).ok().compiles(&[]);
    assert_eq!(case.printed("debug/app"), "10 10  .");
}

/// Says when a file was changed.
fn set_time(case: &Case, name: &str, time: SystemTime) {
    let file = File::options().write(true).open(case.path(name));
    let times = FileTimes::new().set_modified(time);
    file.and_then(|file| file.set_times(times)).expect("times");
}

#[test]
fn a_script_that_cargo_will_run_again_finds_nothing_of_the_last_run() {
    let case = project();
    // As a script may, which plain cargo runs from nothing.
    case.edit(
        "base/build.rs",
        "std::fs::write(",
        "std::fs::create_dir(format!(\"{dir}/once\")).unwrap(); std::fs::write(",
    );
    settle();
    compare_twice(&case, &["build"]);
    let before = count(&case, "seed.units");
    let hour = Duration::from_secs(3600);
    for (name, time) in [
        ("base/four.txt", SystemTime::now() + hour),
        ("base/build.rs", SystemTime::now() + hour),
    ] {
        set_time(&case, name, time);
        case.wipe().cargo(&["build"]).ok().compiles(&[]);
        set_time(&case, name, SystemTime::now() - hour);
    }
    // Written just now, as a checkout does.
    case.wipe()
        .write("base/four.txt", "4")
        .cargo(&["build"])
        .ok()
        .compiles(&[]);
    assert_fresh(&case, Mode::Bare, &["build"]);
    assert!(count(&case, "seed.units") > before, "others are placed");
    settle();
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn nothing_is_placed_where_cargo_does_not_build() {
    let case = project();
    case.write(
        ".cargo/config.toml",
        "[alias]\nours = \"build --config more.toml\"\n",
    );
    case.edit(
        "words/src/lib.rs",
        "std::fs::read_to_string(\"word.txt\").unwrap()",
        "std::env::var(\"FLAVOUR\").unwrap_or_default()",
    );
    case.write("more.toml", "env.FLAVOUR = \"sweet\"\n");
    settle();
    let ours = |printed: &str| {
        case.wipe().cargo(&["ours"]).ok();
        assert_eq!(case.printed("debug/app"), printed);
    };
    ours("5 10 sweet .");
    ours("5 10 sweet .");
    case.write("more.toml", "env.FLAVOUR = \"sour\"\n");
    ours("5 10 sour .");
    case.write("more.toml", "build.target-dir = \"other\"\n");
    case.wipe().cargo(&["ours"]).ok();
    assert!(case.path("../other/debug/app").exists() && !case.target().exists());
    // A workspace that claims the package.
    case.remove(".cargo/config.toml");
    case.edit(
        "Cargo.toml",
        "[workspace]\nmembers = [\"base\", \"words\"]\n",
        "",
    );
    settle();
    compare_twice(&case, &["build"]);
    case.wipe();
    case.write(
        "../Cargo.toml",
        "[workspace]\nmembers = [\"project\"]\nresolver = \"2\"\n",
    );
    case.cargo(&["build"]).ok();
    assert!(case.path("../target/debug/app").exists() && !case.target().exists());
}
