//! Processes that a run leaves behind, and signals that it gets: a build goes on as without the
//! cache.

use std::fs;
use std::path::Path;

use super::project;
use crate::harness::Case;

/// Whether the process that wrote its number there is alive.
fn is_alive(case: &Case) -> bool {
    let pid = fs::read_to_string(case.root().join("helper"));
    let pid = pid.expect("the helper should have said which process it is");
    Path::new("/proc")
        .join(pid.trim())
        .join("cwd")
        .read_link()
        .is_ok()
}

/// A helper stays until a file appears, or for two minutes; the build must end before.
#[track_caller]
fn does_not_wait(meanwhile: &str) {
    let case = project(&format!(
        "use std::os::unix::process::CommandExt as _; use std::process::Stdio;\
         let root = Path::new(env!(\"CARGO_MANIFEST_DIR\")).parent().unwrap().to_owned();\
         let script = format!(\"echo $$ >{{0}}/helper; n=0; \
         while [ $n -lt 2400 ] && ! [ -e {{0}}/stop ]; do {meanwhile}; n=$((n + 1)); done\", \
         root.display());\
         Command::new(\"setsid\").args([\"sh\", \"-c\", &script]).stdin(Stdio::null())\
         .stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();\
         while !root.join(\"helper\").exists() {{}}\
         leave(\"x\");"
    ));
    for _ in 0..2 {
        let _ = fs::remove_file(case.root().join("helper"));
        let _ = fs::remove_file(case.root().join("stop"));
        case.wipe();
        case.cargo(&["build"]).ok();
        assert!(is_alive(&case), "the build waited for the helper");
        fs::write(case.root().join("stop"), "").expect("the helper should be told to stop");
        while is_alive(&case) {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_quiet_helper() {
    does_not_wait("sleep 0.05");
}

#[test]
fn a_helper_that_keeps_looking() {
    does_not_wait("[ -e /nonexistent ]; sleep 0.05");
}
