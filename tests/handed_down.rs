//! What macros are handed down besides files that they open themselves: descriptors.

use crate::harness::{Case, compare};
use crate::proc_macros::project;

/// Runs cargo behind a line of the shell.
fn behind(case: &mut Case, line: &str) {
    case.launcher(&["/bin/sh", "-c", &format!("{line} \"$@\""), "sh"]);
}

/// Each descriptor gives another program, once.
#[track_caller]
fn follows(body: &str, lines: [(&str, &str); 3]) {
    let mut case = project("reexported", body);
    case.write("near/word", "near").write("far/word", "far");
    behind(&mut case, "exec 5<src; exec");
    compare(&case, &["build"]).ok();
    for (line, text) in lines {
        behind(&mut case, line);
        let build = compare(&case, &["build"]).ok();
        assert!(build.compiled.contains(&"app".to_owned()), "{line}");
        assert_eq!(case.printed("debug/app"), format!("{text:?}"), "{line}");
        compare(&case, &["build"]).ok().compiles(&[]);
    }
    behind(&mut case, lines[0].0);
    compare(&case, &["build"]).ok().compiles(&[]);
}

#[test]
fn a_directory_that_was_handed_down_open() {
    let lines = [
        ("exec 5<near; exec", "near"),
        ("exec 5<far; exec", "far"),
        ("exec", ""),
    ];
    follows(
        "std::fs::read_to_string(\"/proc/self/fd/5/word\").unwrap_or_default()",
        lines,
    );
    let beginnings = "unsafe extern \"C\" { fn openat(dir: i32, path: *const i8, flags: i32) -> i32; }\
         use std::os::fd::FromRawFd as _; use std::io::Read as _;\
         let fd = unsafe { openat(5, c\"word\".as_ptr().cast(), 0) };\
         let mut text = String::new();\
         if fd >= 0 { unsafe { std::fs::File::from_raw_fd(fd) }.read_to_string(&mut text).unwrap(); } text";
    follows(beginnings, lines);
}

#[test]
fn a_directory_that_was_handed_down_is_listed() {
    let body =
        "std::fs::read_dir(\"/proc/self/fd/5\").map_or(0, |entries| entries.count()).to_string()";
    follows(
        body,
        [
            ("exec 5<near; exec", "1"),
            ("mkdir -p none; exec 5<none; exec", "0"),
            ("mkdir -p many; touch many/a many/b; exec 5<many; exec", "2"),
        ],
    );
}

#[test]
fn a_file_that_was_handed_down_open() {
    let body = "use std::os::fd::FromRawFd as _; use std::io::Read as _;\
         let mut file = std::mem::ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(5) });\
         let mut text = String::new(); let _ = file.read_to_string(&mut text); text";
    let lines = [
        ("exec 5<near/word; exec", "near"),
        ("exec 5<far/word; exec", "far"),
        ("exec 5>/dev/null; exec", ""),
    ];
    follows(body, lines);
}
