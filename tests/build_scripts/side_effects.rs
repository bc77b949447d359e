//! Runs that a hit could not stand for, and runs that end early.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::{builds, is_cached, project, runs_in};
use crate::fail_open::is_root;
use crate::harness::{Case, Mode};

/// The script runs in every build.
#[track_caller]
fn is_not_cached(case: &Case) {
    builds(case, &["app"]);
    builds(case, &["app"]);
}

#[test]
fn writing_elsewhere() {
    for body in [
        "fs::write(\"elsewhere\", \"x\").unwrap();",
        "fs::create_dir_all(\"elsewhere\").unwrap();",
        "std::os::unix::fs::symlink(\"nowhere\", \"elsewhere\").unwrap();",
        "fs::write(out.join(\"x\"), \"x\").unwrap(); fs::rename(out.join(\"x\"), \"elsewhere\").unwrap();",
        "fs::write(out.join(\"../../../elsewhere\"), \"x\").unwrap();",
        "std::os::unix::fs::symlink(env::current_dir().unwrap(), out.join(\"d\")).unwrap();\
         fs::write(out.join(\"d/elsewhere\"), \"x\").unwrap();",
        "fs::OpenOptions::new().append(true).open(\"there\").unwrap().write_all(b\"x\").unwrap();",
        "fs::set_permissions(\"there\", fs::metadata(\"there\").unwrap().permissions()).unwrap();",
        "run(\"touch\", &[\"there\"]);",
    ] {
        let case = project(&format!("leave(\"x\"); {body}"));
        case.write("there", "");
        for _ in 0..2 {
            let clear = || {
                let _ = fs::remove_dir_all(case.path("elsewhere"));
                let _ = fs::remove_file(case.path("elsewhere"));
            };
            let runs = runs_in(&case, || {
                case.wipe();
                clear();
                case.cargo(&["build"]).ok();
            });
            assert_eq!(runs, ["app"], "{body}");
            let left = fs::symlink_metadata(case.path("elsewhere")).is_ok()
                || case.target().join("debug/elsewhere").exists()
                || body.contains("there\"") && !body.contains("elsewhere");
            assert!(left, "{body}");
            clear();
        }
    }
}

#[test]
fn removing_and_moving_away() {
    for body in [
        "let _ = fs::remove_file(\"there\");",
        "if Path::new(\"there\").exists() { fs::rename(\"there\", out.join(\"moved\")).unwrap(); }",
    ] {
        let case = project(&format!("leave(\"x\"); {body}"));
        for _ in 0..2 {
            let runs = runs_in(&case, || {
                case.wipe().write("there", "");
                case.cargo(&["build"]).ok();
            });
            assert_eq!(runs, ["app"], "{body}");
            assert!(!case.path("there").exists(), "{body}");
        }
    }
}

#[test]
fn temporary_files_are_nobodys_business() {
    let case = project(
        "let dir = env::temp_dir().join(format!(\"build-script-test-{}\", std::process::id()));\
         fs::create_dir(&dir).unwrap(); fs::write(dir.join(\"x\"), \"x\").unwrap();\
         let _ = dir.join(\"y\").exists(); fs::copy(dir.join(\"x\"), out.join(\"x\")).unwrap();\
         fs::remove_dir_all(&dir).unwrap(); leave(\"x\");",
    );
    is_cached(&case, "x");
}

#[test]
fn the_network() {
    for body in [
        "let _ = std::net::TcpStream::connect(\"127.0.0.1:1\");",
        "let _ = std::net::UdpSocket::bind(\"127.0.0.1:0\").unwrap();",
        "let listener = std::os::unix::net::UnixListener::bind(out.join(\"s\")).unwrap();\
         drop(listener); fs::remove_file(out.join(\"s\")).unwrap();",
    ] {
        is_not_cached(&project(&format!("leave(\"x\"); {body}")));
    }
    // A daemon that is not there is only looked for, and a pair of sockets is private.
    let case = project(
        "let _ = std::os::unix::net::UnixStream::connect(\"/nonexistent/socket\");\
         let _ = std::os::unix::net::UnixStream::pair().unwrap(); leave(\"x\");",
    );
    is_cached(&case, "x");
}

/// One script, whose file says what it asks for.
#[test]
fn what_others_share_without_a_path_and_what_file_systems_tell() {
    let case = project(
        "use std::os::fd::AsRawFd as _;\
         use std::os::linux::net::SocketAddrExt as _;\
         use std::os::unix::net::{SocketAddr, UnixDatagram};\
         unsafe extern \"C\" {\
         fn shmctl(id: i32, command: i32, to: *mut u64) -> i32;\
         fn semctl(id: i32, number: i32, command: i32, to: *mut u64) -> i32;\
         fn ioctl(descriptor: i32, request: u64, to: *mut u64) -> i32;\
         fn statvfs(path: *const std::ffi::c_char, to: *mut u64) -> i32;\
         }\
         let mut room = [0; 99]; let to = room.as_mut_ptr();\
         leave(\"x\");\
         match &*fs::read_to_string(\"asks\").unwrap() {\
         \"shm\" => unsafe { shmctl(0, 14, to); },\
         \"sem\" => unsafe { semctl(1, 0, 12, to); },\
         \"flags\" => { let f = fs::File::open(\"asks\").unwrap(); unsafe { ioctl(f.as_raw_fd(), 0x8008_6601, to); } }\
         \"is a terminal\" => { let f = fs::File::open(\"asks\").unwrap(); unsafe { ioctl(f.as_raw_fd(), 0x5401, to); } }\
         \"room\" => { let out = std::ffi::CString::new(out.to_str().unwrap()).unwrap(); unsafe { statvfs(out.as_ptr(), to); } }\
         \"abstract\" => { let at = SocketAddr::from_abstract_name(\"cachewrap-test-nobody\").unwrap();\
         let _ = UnixDatagram::unbound().unwrap().send_to_addr(b\"x\", &at); }\
         path => { let _ = UnixDatagram::unbound().unwrap().send_to(b\"x\", path); }\
         }",
    );
    for asks in ["shm", "sem", "flags", "room", "abstract"] {
        case.write("asks", asks);
        is_not_cached(&case);
    }
    for asks in ["is a terminal", "/nonexistent/socket"] {
        case.write("asks", asks);
        is_cached(&case, "x");
    }
    let socket = case.root().join("socket");
    let _listener = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    case.write("asks", socket.to_str().unwrap());
    is_not_cached(&case);
}

/// What a hit does not give to files, they were given in vain.
#[test]
fn owners_and_attributes_of_outputs() {
    let give = "let text = out.join(\"text\"); let text = text.to_str().unwrap(); leave(\"x\");";
    let set = "unsafe extern \"C\" { fn setxattr(path: *const std::ffi::c_char, name: *const std::ffi::c_char, \
               value: *const u8, size: usize, flags: i32) -> i32; }\
               let path = std::ffi::CString::new(text).unwrap();\
               let set = unsafe { setxattr(path.as_ptr(), c\"user.test\".as_ptr(), b\"1\".as_ptr(), 1, 0) };\
               fs::write(text, format!(\"{set}\")).unwrap();";
    let case = project(&format!("{give}{set}"));
    case.cargo(&["build"]).ok();
    if case.printed("debug/app") == "0" {
        is_not_cached(&case);
    } else {
        eprintln!("skipped: a file system without attributes");
    }
    if is_root() {
        is_not_cached(&project(&format!(
            "{give} std::os::unix::fs::chown(text, Some(7), Some(8)).unwrap();"
        )));
    }
}

#[test]
fn the_kernels_own_files() {
    is_not_cached(&project(
        "leave(\"x\"); let _ = fs::read(\"/proc/sys/kernel/random/boot_id\");",
    ));
    is_not_cached(&project(
        "leave(\"x\"); let _ = fs::read(\"/proc/self/root/etc/passwd\");",
    ));
    let case = project(
        "let _ = fs::read(\"/proc/self/status\"); let _ = fs::read(\"/proc/cpuinfo\"); leave(\"x\");",
    );
    is_cached(&case, "x");
}

#[test]
fn scripts_that_ask_to_be_run_every_time() {
    let case = project("leave(\"x\"); println!(\"cargo:rerun-if-changed=not/there\");");
    let runs = runs_in(&case, || {
        for _ in 0..2 {
            case.wipe();
            case.cargo(&["build"]).ok();
            // And in between, as cargo does by itself.
            case.cargo(&["build"]).ok();
        }
    });
    assert_eq!(runs.len(), 4);
}

#[test]
fn an_input_that_changes_during_the_run() {
    let case = project(
        "leave(&fs::read_to_string(\"word\").unwrap());\
         run(\"/bin/sh\", &[\"-c\", \"if [ -e hold ]; then : >held; while [ -e hold ]; do sleep 0.01; done; fi\"]);",
    );
    case.write("word", "one");
    case.write("hold", "");
    let mut cargo = case
        .cargo_command(Mode::Cached, &["build", "--quiet"])
        .spawn()
        .expect("cargo should start");
    wait_for(|| case.path("held").exists());
    case.write("word", "two").remove("hold");
    assert!(cargo.wait().expect("cargo should end").success());
    assert_eq!(case.printed("debug/app"), "one");
    case.remove("held");
    is_cached(&case, "two");
    case.write("word", "one");
    builds(&case, &["app"]);
}

fn wait_for(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "it should happen"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_run_that_is_killed_midway() {
    let case = project(
        "leave(\"partial\");\
         run(\"/bin/sh\", &[\"-c\", \"while [ -e hold ]; do sleep 0.01; done\"]); leave(\"whole\");",
    );
    case.write("hold", "");
    let out = || {
        walkdir::WalkDir::new(case.target())
            .into_iter()
            .flatten()
            .any(|entry| entry.path().ends_with("out/text"))
    };
    let mut cargo = case
        .cargo_command(Mode::Cached, &["build", "--quiet"])
        .process_group(0)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("cargo should start");
    wait_for(out);
    let group = format!("-{}", cargo.id());
    let killed = std::process::Command::new("kill")
        .args(["-9", "--", &group])
        .status();
    assert!(killed.is_ok_and(|status| status.success()));
    cargo.wait().expect("cargo should end");
    case.remove("hold");
    // In the directory that the killed run used, then from nothing.
    case.cargo(&["build"]).ok();
    assert_eq!(case.printed("debug/app"), "whole");
    is_cached(&case, "whole");
}

#[test]
fn a_cache_that_is_damaged_or_full_or_gone() {
    let mut case =
        project("leave(\"x\"); fs::write(out.join(\"big\"), vec![7; 300_000]).unwrap();");
    is_cached(&case, "x");
    for entry in walkdir::WalkDir::new(case.cache().join("v1/blobs"))
        .into_iter()
        .flatten()
    {
        if entry.file_type().is_file() {
            let mut bytes = fs::read(entry.path()).expect("a blob should be readable");
            bytes[0] ^= 1;
            fs::remove_file(entry.path()).expect("a blob should be removable");
            fs::write(entry.path(), bytes).expect("a blob should be writable");
        }
    }
    builds(&case, &["app"]);
    builds(&case, &[]);
    case.env("CACHEWRAP_READ_ONLY", "1");
    builds(&case, &[]);
    case.forget();
    builds(&case, &["app"]);
    builds(&case, &["app"]);
}

#[test]
fn without_observation_nothing_is_stored() {
    let mut case = project("leave(\"x\");");
    case.env("CACHEWRAP_OBSERVE", "off");
    is_not_cached(&case);
}

#[test]
fn a_time_in_peoples_own_packages() {
    // Nobody can see that a script asks the clock. So those of the workspace run by default.
    let mut case = project(
        "let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);\
         leave(&now.unwrap().as_nanos().to_string());",
    );
    case.unset("CACHEWRAP_BUILD_SCRIPTS");
    let mut times = Vec::new();
    for _ in 0..3 {
        case.wipe();
        case.cargo(&["build"]).ok();
        times.push(case.printed("debug/app"));
    }
    times.dedup();
    assert_eq!(times.len(), 3);
}
