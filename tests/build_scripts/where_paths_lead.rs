//! What a path is to a run is decided by where it leads at the moment of the call, not by how it is
//! spelled; and what a call was about to do is not yet what it did.

use std::fs;
use std::os::unix::fs::symlink;

use super::{builds, follows, is_cached, project};
use crate::harness::Case;

/// The script reads `input.txt` in a way of its own, and follows its content.
#[track_caller]
fn follows_input(body: &str) -> Case {
    let case = project(body);
    case.write("input.txt", "one").write("sub/there", "");
    follows(
        &case,
        "one",
        "two",
        || case.write("input.txt", "two"),
        || case.write("input.txt", "one"),
    );
    case
}

const MANIFEST_DIR: &str =
    "let here = PathBuf::from(env::var_os(\"CARGO_MANIFEST_DIR\").unwrap());";

#[test]
fn upwards_out_of_a_directory_of_its_own() {
    follows_input(
        "fs::create_dir(\"build.tmp\").unwrap(); env::set_current_dir(\"build.tmp\").unwrap();\
         let text = fs::read_to_string(\"../input.txt\").unwrap();\
         env::set_current_dir(\"..\").unwrap(); fs::remove_dir(\"build.tmp\").unwrap(); leave(&text);",
    );
}

#[test]
fn by_the_number_of_an_open_directory() {
    for by in ["/proc/self/fd", "/dev/fd", "/proc/thread-self/fd"] {
        follows_input(&format!(
            "use std::os::fd::AsRawFd as _; {MANIFEST_DIR}\
             let dir = fs::File::open(&here).unwrap();\
             let path = format!(\"{by}/{{}}/input.txt\", dir.as_raw_fd());\
             leave(&fs::read_to_string(path).unwrap());"
        ));
    }
}

#[test]
fn by_the_number_of_an_open_file() {
    follows_input(
        "use std::os::fd::AsRawFd as _; let file = fs::File::open(\"input.txt\").unwrap();\
         let path = format!(\"/proc/{}/fd/{}\", std::process::id(), file.as_raw_fd());\
         leave(&fs::read_to_string(path).unwrap());",
    );
}

#[test]
fn over_links_of_its_own() {
    // The link is gone at the end, or leads elsewhere by then.
    follows_input(
        "let link = out.join(\"link\");\
         std::os::unix::fs::symlink(env::current_dir().unwrap().join(\"sub\"), &link).unwrap();\
         let text = fs::read_to_string(link.join(\"../input.txt\")).unwrap();\
         fs::remove_file(&link).unwrap();\
         std::os::unix::fs::symlink(&out, &link).unwrap(); leave(&text);",
    );
    follows_input(
        "std::os::unix::fs::symlink(\"sub\", \"link.tmp\").unwrap();\
         let text = fs::read_to_string(\"link.tmp/../input.txt\").unwrap();\
         fs::remove_file(\"link.tmp\").unwrap(); leave(&text);",
    );
}

#[test]
fn by_a_hard_link_of_its_own() {
    let case = project(
        "let link = out.join(\"link\"); fs::hard_link(\"input.txt\", &link).unwrap();\
         let text = fs::read_to_string(&link).unwrap(); fs::remove_file(&link).unwrap();\
         leave(&text);",
    );
    // A file that gets another name looks changed, so the run is not kept.
    for text in ["one", "two"] {
        case.write("input.txt", text);
        builds(&case, &["app"]);
        assert_eq!(case.printed("debug/app"), text);
    }
}

#[test]
fn a_link_leads_elsewhere_later() {
    let case = project("leave(&fs::read_to_string(\"link\").unwrap());");
    case.write("a", "one").write("b", "two");
    let lead = |to: &str| {
        let _ = fs::remove_file(case.path("link"));
        symlink(to, case.path("link")).unwrap();
    };
    lead("a");
    follows(&case, "one", "two", || lead("b"), || lead("a"));
    // And where it is only asked where it leads.
    let case = project("leave(fs::read_link(\"link\").unwrap().to_str().unwrap());");
    let lead = |to: &str| {
        let _ = fs::remove_file(case.path("link"));
        symlink(to, case.path("link")).unwrap();
    };
    lead("a");
    follows(&case, "a", "b", || lead("b"), || lead("a"));
}

#[test]
fn a_directory_that_could_not_be_made() {
    let case = project(
        "let made = fs::create_dir(\"d/a/b\").is_ok();\
         let text = fs::read_to_string(\"d/a/b/version\").unwrap_or_else(|_| \"none\".into());\
         leave(&format!(\"{made} {text}\"));",
    );
    case.write("d/there", "");
    follows(
        &case,
        "false none",
        "false 1.2",
        || case.write("d/a/b/version", "1.2"),
        || fs::remove_dir_all(case.path("d/a")).unwrap(),
    );
}

#[test]
fn a_file_that_could_not_be_made() {
    let case = project(
        "let _ = fs::write(\"d/a/version\", \"mine\");\
         leave(&fs::read_to_string(\"d/a/version\").unwrap_or_else(|_| \"none\".into()));\
         let _ = fs::remove_file(\"d/a/version\");",
    );
    case.write("d/there", "");
    builds(&case, &["app"]);
    assert_eq!(case.printed("debug/app"), "none");
    builds(&case, &[]);
    fs::create_dir(case.path("d/a")).unwrap();
    builds(&case, &["app"]);
    assert_eq!(case.printed("debug/app"), "mine");
}

#[test]
fn the_output_directory_is_made_a_link() {
    let case = project(
        "fs::remove_dir(&out).unwrap();\
         std::os::unix::fs::symlink(env::current_dir().unwrap().join(\"else\"), &out).unwrap();",
    );
    case.write("else/text", "one");
    builds(&case, &["app"]);
    case.write("else/text", "two");
    builds(&case, &["app"]);
    assert_eq!(case.printed("debug/app"), "two");
}

#[test]
fn the_output_directory_is_made_anew() {
    let case =
        project("fs::remove_dir_all(&out).unwrap(); fs::create_dir(&out).unwrap(); leave(\"x\");");
    builds(&case, &["app"]);
    builds(&case, &[]);
    assert_eq!(case.printed("debug/app"), "x");
}

#[test]
fn a_relative_path_from_an_open_directory() {
    follows_input(&format!(
        "use std::ffi::{{c_char, c_int}}; use std::os::fd::AsRawFd as _;\
         use std::os::fd::FromRawFd as _;\
         unsafe extern \"C\" {{ fn openat(dir: c_int, path: *const c_char, flags: c_int) -> c_int; }}\
         {MANIFEST_DIR}\
         let dir = fs::File::open(here.join(\"sub\")).unwrap();\
         let file = unsafe {{ openat(dir.as_raw_fd(), c\"../input.txt\".as_ptr(), 0) }};\
         let file = unsafe {{ fs::File::from_raw_fd(file) }};\
         leave(&std::io::read_to_string(file).unwrap());"
    ));
}

#[test]
fn a_look_with_a_flag_that_permits_no_path() {
    let case = project(&format!(
        "use std::ffi::{{c_char, c_int, c_long}}; use std::os::fd::AsRawFd as _;\
         unsafe extern \"C\" {{ fn syscall(number: c_long, ...) -> c_long; }}\
         {MANIFEST_DIR}\
         let dir = fs::File::open(here).unwrap(); let mut stat = [0u64; 64];\
         let statx: c_long = if cfg!(target_arch = \"x86_64\") {{ 332 }} else {{ 291 }};\
         let found = unsafe {{ syscall(statx, dir.as_raw_fd(), c\"marker\".as_ptr(), \
         0x1000 as c_int, 0xfff as c_int, stat.as_mut_ptr()) }};\
         leave(if found == 0 {{ \"there\" }} else {{ \"none\" }});"
    ));
    follows(
        &case,
        "none",
        "there",
        || case.write("marker", ""),
        || case.remove("marker"),
    );
}

#[test]
fn a_program_behind_an_open_file() {
    let mut case = project(
        "use std::ffi::{c_char, c_int}; use std::os::fd::AsRawFd as _;\
         unsafe extern \"C\" { fn fexecve(fd: c_int, argv: *const *const c_char, \
         env: *const *const c_char) -> c_int; static environ: *const *const c_char; \
         fn fork() -> c_int; fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int; \
         fn dup2(from: c_int, to: c_int) -> c_int; }\
         run(\"cc\", &[\"tool.c\", \"-o\", out.join(\"made\").to_str().unwrap()]);\
         let tool = fs::File::open(out.join(\"made\")).unwrap();\
         let to = fs::File::create(out.join(\"text\")).unwrap();\
         unsafe { let pid = fork(); if pid == 0 { dup2(to.as_raw_fd(), 1);\
         let argv = [c\"tool\".as_ptr(), std::ptr::null()];\
         fexecve(tool.as_raw_fd(), argv.as_ptr(), environ); std::process::abort(); }\
         waitpid(pid, std::ptr::null_mut(), 0); }",
    );
    case.write(
        "tool.c",
        "#include <stdio.h>\n#include <stdlib.h>\n\
         int main(void) { char *v = getenv(\"MY_FLAVOUR\"); fputs(v ? v : \"none\", stdout); return 0; }\n",
    );
    case.env("MY_FLAVOUR", "one");
    builds(&case, &["app"]);
    builds(&case, &[]);
    case.env("MY_FLAVOUR", "two");
    builds(&case, &["app"]);
    assert_eq!(case.printed("debug/app"), "two");
}

#[test]
fn a_script_that_was_unpacked() {
    let mut case = project(
        "fs::copy(\"script.bin\", out.join(\"script\")).unwrap();\
         leave(&run(\"sh\", &[out.join(\"script\").to_str().unwrap()]));",
    );
    case.write("script.bin", "echo \"$MY_FLAVOUR\"");
    case.env("MY_FLAVOUR", "one");
    builds(&case, &["app"]);
    builds(&case, &[]);
    case.env("MY_FLAVOUR", "two");
    builds(&case, &["app"]);
    assert_eq!(case.printed("debug/app"), "two");
}

#[test]
fn data_that_begins_like_a_script() {
    let case = project("leave(&run(\"sh\", &[\"-c\", \"read x < notes.txt; echo ok\"]));");
    let pipe = case.path("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    for what in [pipe.to_str().unwrap(), "/dev/zero"] {
        case.write("notes.txt", format!("#!{what}\nhello\n"));
        // That it ends is what counts.
        case.wipe();
        case.cargo(&["build"]).ok();
        assert_eq!(case.printed("debug/app"), "ok");
    }
}

#[test]
fn whether_it_may_be_read_depends_on_who_asks() {
    let case = project("leave(&run(\"sh\", &[\"-c\", \"[ -r secret ] && echo yes || echo no\"]));");
    case.write("secret", "");
    let secret = fs::File::open(case.path("secret")).unwrap();
    let mode = |mode| {
        use std::os::unix::fs::PermissionsExt as _;
        secret
            .set_permissions(fs::Permissions::from_mode(mode))
            .unwrap();
    };
    mode(0o600);
    builds(&case, &["app"]);
    builds(&case, &[]);
    // Another user would get another answer, which a test can only take if it is root.
    let drop = [
        "--inh-caps=-all",
        "--bounding-set=-dac_override,-dac_read_search",
    ];
    let mut other = case;
    mode(0o000);
    builds(&other, &["app"]);
    let open = format!(
        "exec 9>>'{}'; exec setpriv {} \"$@\"",
        other.root().join("runs").display(),
        drop.join(" ")
    );
    let can = std::process::Command::new("setpriv")
        .args(drop)
        .arg("true")
        .status();
    if can.is_ok_and(|status| status.success()) {
        other.launcher(&["/bin/sh", "-c", &open, "sh"]);
        builds(&other, &["app"]);
        assert_eq!(other.printed("debug/app"), "no");
    }
}

#[test]
fn what_was_resolved_is_gone_or_something_else() {
    let mut case = project(
        "let is = |name: &str| fs::canonicalize(name).is_ok();\
         leave(&format!(\"{} {} {}\", is(\"directory\"), is(\"file\"), is(\"directory/file\")));",
    );
    let make = |case: &Case| {
        case.write("directory/file", "").write("file", "");
    };
    make(&case);
    is_cached(&case, "true true true");
    case.remove("file");
    is_cached(&case, "true false true");
    fs::remove_dir_all(case.path("directory")).unwrap();
    is_cached(&case, "false false false");
    make(&case);
    builds(&case, &[]);
    assert_eq!(case.printed("debug/app"), "true true true");
    // In another place too, where what lies above has other names.
    case.copy_project("elsewhere/project");
    builds(&case, &[]);
    case.env("CACHEWRAP_PRELOAD", "off");
    case.write("file", "").remove("directory/file");
    is_cached(&case, "true true false");
    case.copy_project("again/project");
    builds(&case, &[]);
}

/// Who follows no link at the end of a path, or none at all, is told whether there is one, without another question.
#[test]
fn whether_links_are_on_the_way_decides() {
    let case = project(
        "use std::ffi::{c_char, c_int, c_long}; use std::os::unix::fs::OpenOptionsExt as _;\
         unsafe extern \"C\" { fn syscall(number: c_long, ...) -> c_long; }\
         const NOFOLLOW: i32 = if cfg!(target_arch = \"x86_64\") { 0o400000 } else { 0o100000 };\
         let last = fs::OpenOptions::new().read(true).custom_flags(NOFOLLOW).open(\"file\").is_ok();\
         let mut how = [0_u64, 0, 4];\
         let any = unsafe { syscall(437, -100 as c_int, c\"dir/file\".as_ptr(), how.as_mut_ptr(), 24_usize) } >= 0;\
         leave(&format!(\"{last} {any}\"));",
    );
    case.write("file", "the same")
        .write("others/file", "the same")
        .write("dir/file", "the same");
    is_cached(&case, "true true");
    let become_link = |name: &str, to: &str| {
        fs::rename(case.path(name), case.path("aside")).expect("it should move");
        symlink(to, case.path(name)).expect("the link should be creatable");
    };
    let become_itself = |name: &str| {
        fs::remove_file(case.path(name)).expect("it should be removable");
        fs::rename(case.path("aside"), case.path(name)).expect("it should move back");
    };
    become_link("file", "others/file");
    is_cached(&case, "false true");
    become_itself("file");
    become_link("dir", "others");
    // Where the links lead, nobody can tell who was not to follow them.
    builds(&case, &["app"]);
    assert_eq!(case.printed("debug/app"), "true false");
    become_itself("dir");
    builds(&case, &[]);
    assert_eq!(case.printed("debug/app"), "true true");
}
