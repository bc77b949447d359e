//! What a script is handed down besides files that it opens itself: descriptors, and how the kernel calls itself.

use std::fs;

use super::{builds, is_cached, project};
use crate::fail_open::is_root;
use crate::harness::Case;

/// Runs cargo with the counter of runs open, and behind a line of the shell.
fn behind(case: &mut Case, line: &str) {
    let runs = case.root().join("runs");
    let line = format!("exec 9>>'{}'; {line} \"$@\"", runs.display());
    case.launcher(&["/bin/sh", "-c", &line, "sh"]);
}

#[test]
fn a_file_that_was_handed_down_open() {
    let mut case =
        project("leave(&run(\"sh\", &[\"-c\", \"read x <&5 && echo $x || echo none\"]));");
    case.write("words", "one\n");
    builds(&case, &["app"]);
    builds(&case, &[]);
    behind(&mut case, "exec 5<words; exec");
    is_cached(&case, "one");
    case.write("words", "two\n");
    is_cached(&case, "two");
}

#[test]
fn another_file_or_another_place_in_it_or_one_without_a_name() {
    let mut case =
        project("leave(&run(\"sh\", &[\"-c\", \"read x <&5 && echo $x || echo none\"]));");
    case.write("words", "one\ntwo\n").write("others", "three\n");
    for (line, text) in [
        ("exec 5<words; exec", "one"),
        ("exec 5<others; exec", "three"),
        ("exec 5<words; read x <&5; exec", "two"),
        // The same path is gone in both.
        ("echo four >gone; exec 5<gone; rm gone; exec", "four"),
        ("echo five >gone; exec 5<gone; rm gone; exec", "five"),
    ] {
        behind(&mut case, line);
        is_cached(&case, text);
    }
}

#[test]
fn a_directory_that_was_handed_down_open() {
    let mut case = project("leave(&fs::read_to_string(\"/proc/self/fd/5/word\").unwrap());");
    case.write("near/word", "near").write("far/word", "far");
    for dir in ["near", "far"] {
        behind(&mut case, &format!("exec 5<{dir}; exec"));
        is_cached(&case, dir);
    }
    fs::write(case.path("far/word"), "new").unwrap();
    is_cached(&case, "new");
}

/// Without a path, by the descriptor alone.
#[test]
fn a_directory_that_was_handed_down_open_is_listed() {
    let mut case = project(
        "use std::ffi::{c_int, c_long}; unsafe extern \"C\" { fn syscall(number: c_long, ...) -> c_long; }\
         const GETDENTS64: c_long = if cfg!(target_arch = \"x86_64\") { 217 } else { 61 };\
         let mut room = [0_u8; 4096];\
         let n = unsafe { syscall(GETDENTS64, 5 as c_int, room.as_mut_ptr(), 4096_usize) };\
         let has = |name: &[u8]| room[..n as usize].windows(name.len()).any(|part| part == name);\
         leave(if has(b\"second\") { \"two\" } else { \"one\" });",
    );
    case.write("near/first", "");
    behind(&mut case, "exec 5<near; exec");
    is_cached(&case, "one");
    case.write("near/second", "");
    is_cached(&case, "two");
}

#[test]
fn what_the_kernel_calls_itself_for_who_asks() {
    let mut case = project("leave(&run(\"uname\", &[\"-rm\"]));");
    for line in ["exec", "exec setarch --uname-2.6", "exec setarch linux32"] {
        behind(&mut case, line);
        builds(&case, &["app"]);
        builds(&case, &[]);
    }
    // The script itself asks which groups it is in.
    let mut case = project(
        "unsafe extern \"C\" { fn getgroups(n: i32, groups: *mut u32) -> i32; }\
         let mut groups = [0; 64]; let n = unsafe { getgroups(64, groups.as_mut_ptr()) };\
         leave(&format!(\"{:?}\", &groups[..n as usize]));",
    );
    if !is_root() {
        return;
    }
    for line in ["exec setpriv --groups 0,7", "exec setpriv --groups 0,8"] {
        behind(&mut case, line);
        builds(&case, &["app"]);
        builds(&case, &[]);
    }
}
