//! The launcher: what lies at a build script's place, and starts it.
//!
//! A build script's executable is renamed to `<name>.cachewrap-real`, and a launcher gets
//! its place and name. Cargo runs the launcher, which becomes, in this order,
//!
//! 1. the wrapper that made it, if `RUSTC_WRAPPER` is set (cargo sets it for build
//!    scripts whenever it uses a wrapper), with the executable's path as first argument;
//! 2. the executable, where there is no wrapper any more, or not at its place.
//!
//! So the target directory needs nothing of ours: a build without a wrapper, with
//! cachewrap uninstalled or its cache gone, runs the real executable. The executable is
//! looked for beside the launcher, under whatever name and in whatever place that was
//! started: cargo makes a hard link to it, and people move and copy target directories.
//!
//! The launcher is a program of some 500 bytes and no shell script, which would take half
//! a millisecond and change what the build script sees: shells drop variables whose
//! names they cannot use themselves (`CC_x86_64-unknown-linux-gnu`) and set `PWD`.
//! Neither is it a copy of the wrapper, which would take megabytes for each build script.
//! The environment, the arguments, `argv[0]`, the open files and the process id are those
//! that cargo gave it.
//!
//! ```text
//! file = ELF header, 2 program headers, code, wrapper path NUL, executable's name NUL
//! ```
//! The code is assembled from `launcher/<architecture>.s`, which a test does anew; it is
//! kept as bytes because assembling needs tools that not every machine has.
//!
//! What can go wrong:
//! - Another wrapper is used from now on: ours is started all the same, sees that, and
//!   becomes the executable.
//! - An older wrapper, which knows nothing of build scripts, is installed later: to it
//!   the executable is a program to run without arguments, which it does.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::error::PathError;
use crate::os::fs;
use crate::request::BEHIND_LAUNCHER;

/// Where the launcher is loaded.
const BASE: u64 = 0x40_0000;
const HEADERS: u64 = 64 + 2 * 56;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;
/// Where runs cannot be observed, nothing is launched.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const MACHINE: u16 = 0;

/// `launcher/x86_64.s`
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const CODE: &[u8] = &[
    0x4c, 0x8b, 0x2c, 0x24, 0x4c, 0x8d, 0x74, 0x24, 0x08, 0x4f, 0x8d, 0x7c, 0xee, 0x08, 0x48, 0x8d,
    0x1d, 0xe3, 0x00, 0x00, 0x00, 0x48, 0x89, 0xdd, 0x80, 0x7d, 0x00, 0x00, 0x48, 0x8d, 0x6d, 0x01,
    0x75, 0xf6, 0x45, 0x31, 0xc0, 0x4c, 0x89, 0xfe, 0x48, 0x8b, 0x06, 0x48, 0x83, 0xc6, 0x08, 0x48,
    0x85, 0xc0, 0x74, 0x23, 0x48, 0x8d, 0x15, 0xae, 0x00, 0x00, 0x00, 0x8a, 0x0a, 0x84, 0xc9, 0x74,
    0x0c, 0x3a, 0x08, 0x75, 0xe3, 0x48, 0xff, 0xc2, 0x48, 0xff, 0xc0, 0xeb, 0xee, 0x80, 0x38, 0x00,
    0x74, 0xd6, 0x41, 0xff, 0xc0, 0xeb, 0xd1, 0x48, 0x8b, 0x06, 0x48, 0x85, 0xc0, 0x74, 0x7e, 0x48,
    0x83, 0xc6, 0x10, 0x48, 0x83, 0xf8, 0x1f, 0x75, 0xee, 0x48, 0x8b, 0x76, 0xf8, 0x48, 0x81, 0xec,
    0x00, 0x20, 0x00, 0x00, 0x48, 0x89, 0xe7, 0x49, 0x89, 0xf9, 0xac, 0xaa, 0x3c, 0x2f, 0x4c, 0x0f,
    0x44, 0xcf, 0x84, 0xc0, 0x75, 0xf4, 0x4c, 0x89, 0xcf, 0x48, 0x89, 0xee, 0xac, 0xaa, 0x84, 0xc0,
    0x75, 0xfa, 0x48, 0x89, 0xe5, 0x45, 0x85, 0xc0, 0x74, 0x33, 0x4a, 0x8d, 0x04, 0xed, 0x18, 0x00,
    0x00, 0x00, 0x48, 0x29, 0xc4, 0x48, 0x89, 0xe7, 0x4c, 0x89, 0xf6, 0x48, 0xa5, 0x48, 0x89, 0x2f,
    0x48, 0x83, 0xc7, 0x08, 0x48, 0xad, 0x48, 0xab, 0x48, 0x85, 0xc0, 0x75, 0xf7, 0x48, 0x89, 0xdf,
    0x48, 0x89, 0xe6, 0x4c, 0x89, 0xfa, 0xb8, 0x3b, 0x00, 0x00, 0x00, 0x0f, 0x05, 0x48, 0x89, 0xef,
    0x4c, 0x89, 0xf6, 0x4c, 0x89, 0xfa, 0xb8, 0x3b, 0x00, 0x00, 0x00, 0x0f, 0x05, 0xbf, 0x7f, 0x00,
    0x00, 0x00, 0xb8, 0xe7, 0x00, 0x00, 0x00, 0x0f, 0x05, 0x52, 0x55, 0x53, 0x54, 0x43, 0x5f, 0x57,
    0x52, 0x41, 0x50, 0x50, 0x45, 0x52, 0x3d, 0x00,
];

/// `launcher/aarch64.s`
#[cfg(target_arch = "aarch64")]
#[rustfmt::skip]
const CODE: &[u8] = &[
    0xf4, 0x03, 0x40, 0xf9, 0xf5, 0x23, 0x00, 0x91, 0xb6, 0x0e, 0x14, 0x8b, 0xd6, 0x22, 0x00, 0x91,
    0x13, 0x08, 0x00, 0x70, 0xf7, 0x03, 0x13, 0xaa, 0xe9, 0x16, 0x40, 0x38, 0xe9, 0xff, 0xff, 0x35,
    0x18, 0x00, 0x80, 0x52, 0xe1, 0x03, 0x16, 0xaa, 0x29, 0x84, 0x40, 0xf8, 0x89, 0x01, 0x00, 0xb4,
    0xaa, 0x06, 0x00, 0x10, 0x4b, 0x15, 0x40, 0x38, 0xab, 0x00, 0x00, 0x34, 0x2c, 0x15, 0x40, 0x38,
    0x7f, 0x01, 0x0c, 0x6b, 0x80, 0xff, 0xff, 0x54, 0xf8, 0xff, 0xff, 0x17, 0x2c, 0x01, 0x40, 0x39,
    0xcc, 0xfe, 0xff, 0x34, 0x38, 0x00, 0x80, 0x52, 0xf4, 0xff, 0xff, 0x17, 0x29, 0x28, 0xc1, 0xa8,
    0xc9, 0x04, 0x00, 0xb4, 0x3f, 0x7d, 0x00, 0xf1, 0xa1, 0xff, 0xff, 0x54, 0xff, 0x0b, 0x40, 0xd1,
    0xe0, 0x03, 0x00, 0x91, 0xeb, 0x03, 0x00, 0xaa, 0x49, 0x15, 0x40, 0x38, 0x09, 0x14, 0x00, 0x38,
    0x3f, 0xbd, 0x00, 0x71, 0x0b, 0x00, 0x8b, 0x9a, 0x89, 0xff, 0xff, 0x35, 0xe9, 0x16, 0x40, 0x38,
    0x69, 0x15, 0x00, 0x38, 0xc9, 0xff, 0xff, 0x35, 0xf9, 0x03, 0x00, 0x91, 0x58, 0x02, 0x00, 0x34,
    0x89, 0x12, 0x00, 0x91, 0x29, 0xf1, 0x7d, 0xd3, 0x29, 0xed, 0x7c, 0x92, 0x2a, 0x03, 0x09, 0xcb,
    0x5f, 0x01, 0x00, 0x91, 0xe0, 0x03, 0x0a, 0xaa, 0xe1, 0x03, 0x15, 0xaa, 0x29, 0x84, 0x40, 0xf8,
    0x09, 0x64, 0x81, 0xa8, 0x29, 0x84, 0x40, 0xf8, 0x09, 0x84, 0x00, 0xf8, 0xc9, 0xff, 0xff, 0xb5,
    0xe0, 0x03, 0x13, 0xaa, 0xe1, 0x03, 0x0a, 0xaa, 0xe2, 0x03, 0x16, 0xaa, 0xa8, 0x1b, 0x80, 0xd2,
    0x01, 0x00, 0x00, 0xd4, 0xe0, 0x03, 0x19, 0xaa, 0xe1, 0x03, 0x15, 0xaa, 0xe2, 0x03, 0x16, 0xaa,
    0xa8, 0x1b, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4, 0xe0, 0x0f, 0x80, 0xd2, 0xc8, 0x0b, 0x80, 0xd2,
    0x01, 0x00, 0x00, 0xd4, 0x52, 0x55, 0x53, 0x54, 0x43, 0x5f, 0x57, 0x52, 0x41, 0x50, 0x50, 0x45,
    0x52, 0x3d, 0x00,
];

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const CODE: &[u8] = &[];

/// Puts a launcher in the place of a build script's executable.
///
/// On an error everything is as it was.
pub(crate) fn install(executable: &Path, wrapper: &Path) -> Result<(), PathError> {
    let mut name = OsString::from(executable.file_name().unwrap_or_default());
    name.push(BEHIND_LAUNCHER);
    let dir = executable.parent().unwrap_or(Path::new("."));
    let mut launcher = fs::TempFile::create_with_mode(dir, 0o777)?;
    launcher.write_all(&elf(wrapper, &name))?;
    let real = dir.join(name);
    fs::rename(executable, &real)?;
    launcher.persist(executable).inspect_err(|_| {
        // Nothing can be done if this fails too: cargo will say what is missing.
        let _ = fs::rename(&real, executable);
    })
}

fn elf(wrapper: &Path, executable: &OsStr) -> Vec<u8> {
    let mut data = wrapper.as_os_str().as_bytes().to_vec();
    data.push(0);
    data.extend_from_slice(executable.as_bytes());
    data.push(0);
    let size = HEADERS + (CODE.len() + data.len()) as u64;
    let mut file = Vec::new();
    let half = |file: &mut Vec<u8>, n: u16| file.extend_from_slice(&n.to_le_bytes());
    let word = |file: &mut Vec<u8>, n: u32| file.extend_from_slice(&n.to_le_bytes());
    let long = |file: &mut Vec<u8>, n: u64| file.extend_from_slice(&n.to_le_bytes());
    // 64 bits, little endian, version 1.
    file.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    half(&mut file, 2); // ET_EXEC
    half(&mut file, MACHINE);
    word(&mut file, 1);
    long(&mut file, BASE + HEADERS); // entry
    long(&mut file, 64); // program headers
    long(&mut file, 0); // no sections
    word(&mut file, 0);
    for n in [64, 56, 2, 64, 0, 0] {
        half(&mut file, n);
    }
    // PT_LOAD, readable and executable, the whole file.
    word(&mut file, 1);
    word(&mut file, 5);
    for n in [0, BASE, BASE, size, size, 0x1_0000] {
        long(&mut file, n);
    }
    // PT_GNU_STACK, readable and writable.
    word(&mut file, 0x6474_e551);
    word(&mut file, 6);
    for n in [0, 0, 0, 0, 0, 16] {
        long(&mut file, n);
    }
    file.extend_from_slice(CODE);
    file.extend_from_slice(&data);
    file
}

#[cfg(observer)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    use super::*;

    fn script(path: &Path, text: &str) {
        std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(program: &Path, wrapper: Option<&str>) -> String {
        let mut command = Command::new(program);
        command.env_clear().args(["one", "two words"]).arg0("zero");
        command.env("strange-NAME.x", "kept");
        if let Some(wrapper) = wrapper {
            command.env("RUSTC_WRAPPER", wrapper);
        }
        let output = loop {
            match command.output() {
                // Another test's process was forked while the program was written.
                Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
                output => break output.unwrap(),
            }
        };
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn the_code_is_what_the_assembler_makes_of_its_source() {
        let dir = tempfile::tempdir().unwrap();
        let source = format!(
            "{}/src/kinds/build_script/launcher/{}.s",
            env!("CARGO_MANIFEST_DIR"),
            std::env::consts::ARCH
        );
        let (object, code) = (dir.path().join("o"), dir.path().join("code"));
        let mut assemble = Command::new("as");
        assemble.arg("-o").arg(&object).arg(source);
        let mut extract = Command::new("objcopy");
        extract.args(["-O", "binary", "-j", ".text"]);
        extract.arg(&object).arg(&code);
        for command in [&mut assemble, &mut extract] {
            assert!(command.status().unwrap().success(), "{command:?}");
        }
        assert_eq!(std::fs::read(code).unwrap(), CODE);
    }

    #[test]
    fn it_becomes_the_wrapper_or_the_executable() {
        let dir = tempfile::tempdir().unwrap();
        let (program, wrapper) = (dir.path().join("program"), dir.path().join("wrapper"));
        script(&program, "echo \"real:$0:$*\"");
        script(
            &wrapper,
            "echo \"wrapper:$*\"; tr '\\0' '\\n' </proc/self/environ",
        );
        install(&program, &wrapper).unwrap();
        let real = dir.path().join("program.cachewrap-real");
        // Also through another name in the same directory, as cargo starts it.
        let linked = dir.path().join("linked-name");
        std::fs::hard_link(&program, &linked).unwrap();
        for name in [&program, &linked] {
            let shown = real.display();
            let plain = format!("real:{shown}:one two words\n");
            assert_eq!(run(name, None), plain);
            assert_eq!(run(name, Some("")), plain);
            let output = run(name, Some("x"));
            assert!(output.starts_with(&format!("wrapper:{shown} one two words\n")));
            assert!(output.contains("strange-NAME.x=kept"), "{output}");
            assert!(output.contains("RUSTC_WRAPPER=x"), "{output}");
        }
        std::fs::remove_file(&wrapper).unwrap();
        assert!(run(&program, Some("x")).starts_with("real:"));
    }

    #[test]
    fn it_needs_no_place_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let (before, after) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::create_dir(&before).unwrap();
        script(&before.join("program"), "echo \"$0\"");
        install(&before.join("program"), Path::new("/nonexistent")).unwrap();
        std::fs::rename(&before, &after).unwrap();
        let real = after.join("program.cachewrap-real");
        let expected = format!("{}\n", real.display());
        assert_eq!(run(&after.join("program"), Some("x")), expected);
        assert!(crate::is_behind_launcher(real.as_os_str()));
    }
}
