//! Macros that look at times, owners and numbers of links: these change while contents stay.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown, lchown, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::harness::{Case, compare, compare_twice, follows};
use crate::proc_macros::project;

/// Says that a file was written so many seconds after another moment.
pub(crate) fn written_at(path: &Path, seconds: u64) {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds);
    let file = fs::File::options().write(true).open(path);
    let set = file.and_then(|file| file.set_modified(at));
    set.expect("it should be ours");
}

fn append(case: &Case, name: &str, text: &str) {
    let old = fs::read_to_string(case.path(name)).expect("it should be readable");
    case.write(name, format!("{old}\n{text}\n"));
}

fn build_macros_with(case: &Case, profile: &str) {
    let section = format!("[profile.dev.build-override]\n{profile}");
    append(case, "Cargo.toml", &section);
}

const MODIFIED: &str = "format!(\"{:?}\", std::fs::metadata(\"looked-at\").unwrap().modified())";
const MTIME: &str =
    "std::os::unix::fs::MetadataExt::mtime(&std::fs::metadata(\"looked-at\").unwrap()).to_string()";

#[test]
fn when_a_file_was_written() {
    let seconds = "let time = |m: std::fs::Metadata| m.modified().unwrap().elapsed().unwrap().as_secs() / 1_000_000;\
         let seconds =";
    for body in [
        MODIFIED.to_owned(),
        MTIME.to_owned(),
        "format!(\"{:?}\", std::fs::File::open(\"looked-at\").unwrap().metadata().unwrap().modified())".to_owned(),
        "std::os::linux::fs::MetadataExt::st_mtime(&std::fs::symlink_metadata(\"looked-at\").unwrap()).to_string()".to_owned(),
        format!("{seconds} std::fs::read_dir(\".\").unwrap().map(Result::unwrap).find(|e| e.file_name() == \"looked-at\")\
             .map(|e| time(e.metadata().unwrap())).unwrap(); seconds.to_string()"),
        "(std::fs::metadata(\"looked-at\").unwrap().modified().unwrap() > std::fs::metadata(\"other\").unwrap().modified().unwrap()).to_string()".to_owned(),
        // A source of the crate itself, which the compiler looks at too.
        MODIFIED.replace("looked-at", "src/main.rs"),
    ] {
        let case = project("direct", &body);
        case.write("looked-at", "the same").write("other", "");
        written_at(&case.path("other"), 5_000_000);
        let paths = [case.path("looked-at"), case.path("src/main.rs")];
        let at = |seconds| paths.iter().for_each(|path| written_at(path, seconds));
        follows(&case, || at(1), || at(10_000_000));
    }
}

/// Optimised, the code that asks is part of other functions, and without symbols no function has a name.
#[test]
fn when_a_file_was_written_as_optimised_macros_ask() {
    for (profile, body) in [
        ("opt-level = 3", MTIME),
        ("strip = true\nopt-level = 3", MODIFIED),
        ("strip = true\nopt-level = 3", MTIME),
    ] {
        let case = project("reexported", body);
        build_macros_with(&case, profile);
        case.write("looked-at", "the same");
        let path = case.path("looked-at");
        follows(&case, || written_at(&path, 1), || written_at(&path, 2));
    }
}

/// `include_dir` has such code, for those who want times. When a file was read could not be cached.
#[test]
fn a_macro_that_could_ask_if_it_was_compiled_otherwise() {
    let case = project(
        "reexported",
        "if cfg!(windows) { format!(\"{:?}\", std::fs::metadata(\"looked-at\").unwrap().accessed()) } \
         else { std::fs::read_to_string(\"looked-at\").unwrap() }",
    );
    case.write("looked-at", "the same");
    compare(&case, &["build"]).ok();
    written_at(&case.path("looked-at"), 1);
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn a_crate_that_the_macro_calls_asks() {
    for profile in ["", "strip = true"] {
        let case = project("direct", "helper::time(\"looked-at\")");
        build_macros_with(&case, profile);
        append(
            &case,
            "mac/Cargo.toml",
            "[dependencies]\nhelper = { path = \"../helper\" }",
        );
        case.write(
            "helper/Cargo.toml",
            crate::harness::lib_manifest("helper", &[]),
        )
        .write(
            "helper/src/lib.rs",
            "pub fn time(path: &str) -> String { format!(\"{:?}\", std::fs::metadata(path).unwrap().modified()) }\n",
        );
        case.write("looked-at", "the same");
        let path = case.path("looked-at");
        follows(&case, || written_at(&path, 1), || written_at(&path, 2));
    }
}

#[test]
fn owners_and_names() {
    let body = "use std::os::unix::fs::MetadataExt as _; let found = std::fs::METADATA(\"looked-at\").unwrap(); found.ASKED().to_string()";
    let ask = |metadata, asked| {
        let case = project(
            "direct",
            &body.replace("METADATA", metadata).replace("ASKED", asked),
        );
        case.write("looked-at", "the same");
        case
    };
    let case = ask("metadata", "nlink");
    let (path, name) = (case.path("looked-at"), case.path("another-name"));
    let only = || {
        if name.exists() {
            fs::remove_file(&name).expect("it should be removable");
        }
    };
    follows(&case, only, || {
        fs::hard_link(&path, &name).expect("it should be linkable");
    });
    let case = ask("metadata", "ino");
    let (path, other) = (case.path("looked-at"), case.path("other"));
    case.write("other", "the same");
    let swap = || {
        fs::rename(&path, case.path("third")).expect("it should move");
        fs::rename(&other, &path).expect("it should move");
        fs::rename(case.path("third"), &other).expect("it should move");
    };
    let number = fs::metadata(&path).expect("it should be there").ino();
    let is_first = || fs::metadata(&path).is_ok_and(|found| found.ino() == number);
    let first = || {
        if !is_first() {
            swap();
        }
    };
    follows(&case, first, swap);
    // Only root gives files away.
    if fs::metadata("/proc/self").is_ok_and(|found| found.uid() != 0) {
        return;
    }
    let case = ask("metadata", "uid");
    let path = case.path("looked-at");
    let give = |user| chown(&path, Some(user), None).expect("we are root");
    follows(&case, || give(0), || give(1));
    let case = ask("symlink_metadata", "gid");
    let path = case.path("looked-at");
    case.remove("looked-at");
    symlink("src", &path).expect("the link should be creatable");
    let give = |group| lchown(&path, None, Some(group)).expect("we are root");
    follows(&case, || give(0), || give(1));
}

/// What a macro does to show what a program prints.
fn run(program: &str, args: &[&str]) -> String {
    format!(
        "let out = std::process::Command::new({program:?}).args({args:?}).output().unwrap();\
         format!(\"{{}} {{:?}}\", out.status.success(), out.stdout)"
    )
}

#[test]
fn programs_that_a_macro_runs_tell_times() {
    for (program, args) in [
        ("stat", &["-c", "%Y", "looked-at"][..]),
        ("ls", &["-l", "--time-style=full-iso", "looked-at"]),
        ("tar", &["-c", "looked-at"]),
        ("find", &[".", "-maxdepth", "1", "-newer", "other"]),
        ("sh", &["-c", "[ looked-at -nt other ]"]),
        ("sh", &["compare.sh"]),
        ("sh", &["-c", "sh -c 'tar -c looked-at'"]),
        (
            "python3",
            &["-c", "import os; print(os.path.getmtime('looked-at'))"],
        ),
        ("perl", &["-e", "print((stat('looked-at'))[9])"]),
    ] {
        let case = project("direct", &run(program, args));
        case.write("looked-at", "the same")
            .write("other", "")
            .write("compare.sh", "test looked-at -ot other && echo older\n");
        written_at(&case.path("other"), 5_000_000);
        let path = case.path("looked-at");
        follows(
            &case,
            || written_at(&path, 1),
            || written_at(&path, 10_000_000),
        );
    }
}

#[test]
fn programs_that_do_not_tell_times_share() {
    for (program, args) in [
        ("cat", &["looked-at"][..]),
        ("sh", &["-c", "[ -f looked-at ] && cat looked-at"]),
        ("python3", &["-c", "print(open('looked-at').read())"]),
        ("find", &["there", "-name", "looked-*"]),
    ] {
        let case = project("direct", &run(program, args));
        case.write("looked-at", "the same")
            .write("there/looked-at", "");
        let path = case.path("looked-at");
        written_at(&path, 1);
        compare(&case, &["build"]).ok();
        written_at(&path, 2);
        compare(&case, &["build"]).ok().compiles(&[]);
    }
}

#[test]
fn when_a_file_was_made_or_changed() {
    for asked in ["created().unwrap()", "ctime_nsec()"] {
        let case = project(
            "direct",
            &format!(
                "use std::os::unix::fs::MetadataExt as _; format!(\"{{:?}}\", std::fs::metadata(\"looked-at\").unwrap().{asked})"
            ),
        );
        case.write("looked-at", "the same");
        compare_twice(&case, &["build"]);
        let first = case.printed("debug/app");
        case.remove("looked-at").write("looked-at", "the same");
        compare(&case, &["build"]).ok().compiles(&["app"]);
        assert_ne!(case.printed("debug/app"), first);
    }
}

/// Others are served whatever the times are, in a fresh checkout for one.
#[test]
fn who_does_not_ask_for_times_shares() {
    for body in [
        "std::fs::read_to_string(\"note.txt\").unwrap()",
        "std::fs::metadata(\"note.txt\").unwrap().len().to_string()",
        "std::fs::read_dir(\"there\").unwrap().count().to_string()",
    ] {
        for profile in ["", "strip = true"] {
            let mut case = project("direct", body);
            build_macros_with(&case, profile);
            case.write("note.txt", "the same").write("there/file", "");
            written_at(&case.path("note.txt"), 1);
            compare(&case, &["build"]).ok();
            written_at(&case.path("note.txt"), 2);
            written_at(&case.path("src/main.rs"), 2);
            compare(&case, &["build"]).ok().compiles(&[]);
            case.copy_project("elsewhere");
            written_at(&case.path("note.txt"), 3);
            compare(&case, &["build"]).ok().compiles(&[]);
        }
    }
}
