//! Which program is the compiler itself.
//!
//! What is called `rustc` may be another program that starts the compiler: a script, a small
//! program beside `rustc.real` as distributions have it, a wrapper in a directory of its own.
//! The compiler is the program that loads the library `librustc_driver`; almost always it
//! says so in its dynamic section. Another one is watched while it answers a question: the
//! process that opens that library is the compiler.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::observe::{Access, Observation};
use crate::os::dynamic;
use crate::os::fs;

/// How the name of the compiler's library begins.
const LIBRARY: &[u8] = b"librustc_driver";

/// Whether a program says that it needs the compiler's library.
pub(crate) fn is_compiler(program: &Path) -> bool {
    let needs = dynamic::needs(program);
    needs.is_some_and(|needs| needs.libraries.iter().any(|name| name.starts_with(LIBRARY)))
}

/// Whether the compiler's library is in a directory.
pub(crate) fn has_library(dir: &Path) -> bool {
    let entries = fs::read_dir(dir);
    entries.is_ok_and(|mut entries| entries.any(|e| e.is_ok_and(|e| is_library(&e.path()))))
}

/// The programs that opened the compiler's library, and where it was; canonical paths.
pub(crate) fn compilers(observation: &Observation) -> Vec<(PathBuf, PathBuf)> {
    let parents: HashMap<u32, u32> = observation.parents.iter().copied().collect();
    let mut programs: HashMap<u32, &Path> = HashMap::new();
    let mut compilers = Vec::new();
    for event in observation.events.iter().filter(|e| e.found.is_some()) {
        match event.access {
            Access::Execute => {
                programs.insert(event.pid, &event.path);
            }
            Access::Read if is_library(&event.path) => {
                // A process starts as a copy of its parent.
                let mut pid = Some(event.pid);
                let program = std::iter::from_fn(|| {
                    let this = pid?;
                    pid = parents.get(&this).copied();
                    Some(programs.get(&this))
                });
                let Some(program) = program.flatten().next() else {
                    continue;
                };
                let program = fs::canonicalize(program).unwrap_or_else(|_| (*program).to_owned());
                let library = fs::canonicalize(&event.path);
                let library = library.unwrap_or_else(|_| event.path.to_path_buf());
                if let Some(dir) = library.parent() {
                    compilers.push((program, dir.to_owned()));
                }
            }
            _ => {}
        }
    }
    compilers
}

fn is_library(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_bytes().starts_with(LIBRARY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Event;
    use crate::os::stamp::Stamp;

    #[test]
    fn a_compiler_is_told_by_the_library_that_it_needs() {
        let output = std::process::Command::new("rustc")
            .args(["--print", "sysroot"])
            .env_remove("LD_LIBRARY_PATH")
            .output()
            .unwrap();
        let sysroot = String::from_utf8(output.stdout).unwrap();
        let rustc = Path::new(sysroot.trim_end()).join("bin/rustc");
        assert!(is_compiler(&rustc));
        for other in ["/bin/sh", "/dev/null", "/nonexistent", "/"] {
            assert!(!is_compiler(Path::new(other)), "{other}");
        }
        assert!(!is_compiler(&std::env::current_exe().unwrap()));
    }

    #[test]
    fn the_process_that_opens_the_library_is_the_compiler() {
        let event = |pid, access, path: &str, there: bool| Event {
            pid,
            access,
            path: Path::new(path).into(),
            real: Path::new(path).into(),
            failed: false,
            found: Stamp::of(Path::new("/bin/sh")).filter(|_| there),
            at: 0,
        };
        let library = "/tc/lib/librustc_driver-1.so";
        let observation = Observation {
            events: vec![
                event(1, Access::Execute, "/tc/bin/rustc", true),
                event(1, Access::Read, library, false),
                event(2, Access::Execute, "/tc/bin/rustc.real", false),
                event(2, Access::Execute, "/tc/bin/rustc.true", true),
                event(2, Access::Read, "/tc/lib/libstd-1.so", true),
                event(3, Access::Read, library, true),
            ],
            parents: vec![(1, 0), (2, 1), (3, 2)],
            ..Observation::default()
        };
        let found = compilers(&observation);
        assert_eq!(found, [("/tc/bin/rustc.true".into(), "/tc/lib".into())]);
    }
}
