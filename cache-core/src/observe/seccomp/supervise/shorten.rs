//! Which directories the dynamic loader need not look through (`preload/shorter.rs`).
//!
//! They are looked through when a process is about to execute the first program that may have a shorter path: most
//! compilations execute none. What the loader would have looked for there is told at the end, of each library that was opened or
//! looked for anywhere. If one is there by then, the observation is not complete.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::Supervisor;
use crate::observe::seccomp::events::Access;
use crate::observe::seccomp::resolve::{Eyes, Unclear};
use crate::observe::seccomp::shorter::{OF_PROCESSORS, PREFIX, VARIABLE, is_of_rust, leaves_out};
use crate::os::fs;
use crate::os::stamp;

/// The search path of the process that was started.
#[derive(Default)]
pub(super) struct SearchPath {
    /// Until it was looked through.
    given: Option<OsString>,
    left_out: Vec<PathBuf>,
}

impl SearchPath {
    pub(super) fn new(given: Option<OsString>) -> Self {
        Self {
            given,
            left_out: Vec::new(),
        }
    }

    /// Of a path, the directories in which no program of the system finds anything, and the others.
    fn split(given: &OsStr) -> (Vec<PathBuf>, Vec<&[u8]>) {
        let (mut left_out, mut rest) = (Vec::new(), Vec::new());
        for directory in given.as_bytes().split(|byte| *byte == b':') {
            let path = Path::new(OsStr::from_bytes(directory));
            if is_left_out(path) {
                left_out.push(path.to_owned());
            } else {
                rest.push(directory);
            }
        }
        (left_out, rest)
    }
}

/// Whether no program of the system finds anything there.
fn is_left_out(directory: &Path) -> bool {
    // The loader puts something in place of a word that begins so, and takes `;` for the end of one.
    let is_plain = |byte: &u8| !matches!(byte, b'$' | b';');
    if !directory.is_absolute() || !directory.as_os_str().as_bytes().iter().all(is_plain) {
        return false;
    }
    match fs::read_dir(directory) {
        Ok(mut names) => {
            names.all(|entry| entry.is_ok_and(|e| leaves_out(e.file_name().as_bytes())))
        }
        Err(e) => e.is_missing(),
    }
}

/// Whether a file has the name of a library.
fn is_library(path: &Path) -> Option<&OsStr> {
    let name = path.file_name()?;
    let has_mark = name.as_bytes().windows(3).any(|part| part == b".so");
    has_mark.then_some(name)
}

impl Supervisor<'_> {
    /// A program is about to be executed that may have a shorter path.
    pub(super) fn shorten(&mut self) {
        let Some(notes) = &self.notes else {
            return;
        };
        let given = self.search_path.given.take().unwrap_or_default();
        let (left_out, rest) = SearchPath::split(&given);
        if left_out.is_empty() {
            notes.shorten(b"", b"");
            return;
        }
        let whole = [
            PREFIX.as_bytes(),
            VARIABLE.as_bytes(),
            b"=",
            given.as_bytes(),
        ]
        .concat();
        let rest = match rest.as_slice() {
            [] => Vec::new(),
            rest => [VARIABLE.as_bytes(), b"=", &rest.join(&b':')].concat(),
        };
        notes.shorten(&whole, &rest);
        self.search_path.left_out = left_out;
    }

    /// Tells what loaders would have looked for where they did not look.
    pub(super) fn tell_left_out(&mut self) -> Result<(), Unclear> {
        let directories = std::mem::take(&mut self.search_path.left_out);
        if directories.is_empty() {
            return Ok(());
        }
        let mut looks = BTreeSet::new();
        for event in &self.seen.events {
            // Who read what lies there did not find it by a path that leaves the directory out.
            let above = event.path.parent();
            if above.is_some_and(|above| directories.iter().any(|d| d == above)) {
                continue;
            }
            if event.access == Access::Read
                && let Some(name) = is_library(&event.path)
                && !is_of_rust(name.as_bytes())
            {
                looks.insert((event.pid, name.to_owned()));
            }
        }
        let first = looks.first().map(|(pid, _)| *pid);
        let of_processors = OF_PROCESSORS.iter().map(OsString::from);
        looks.extend(of_processors.filter_map(|name| Some((first?, name))));
        for (pid, name) in looks {
            let eyes = Eyes { pid, tid: pid };
            for directory in &directories {
                let path = directory.join(&name);
                let resolved = self.resolver.resolve(&path, true, eyes)?;
                if resolved.found.is_some() {
                    return Err(format!("came to be: {}", path.display()));
                }
                self.push(eyes, Access::Read, &path, resolved, stamp::now())?;
            }
        }
        Ok(())
    }
}

#[cfg(preload)]
#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::observe::seccomp::tests::{compile, object};
    use crate::observe::{Depth, Object, Observation, spawn};

    const RUST: &str = "libone-0123456789abcdef.so";

    /// Runs a shell's script, whose search path is directories below `dir`.
    fn observe(
        dir: &Path,
        below: &[&str],
        script: &str,
        object: Option<&Path>,
    ) -> (String, Observation) {
        let mut command = Command::new("/bin/bash");
        let path = below.iter().map(|name| dir.join(name).into_os_string());
        let path = path.collect::<Vec<_>>().join(OsStr::new(":"));
        command.args(["-c", script]).stdout(Stdio::piped());
        command.env("LD_LIBRARY_PATH", path).env("AFTER", "1");
        let (status, printed, seen) = spawn(
            &mut command,
            Some(dir),
            Depth::Tree,
            object.map(Object::from),
            |child| std::io::read_to_string(child.stdout.take().unwrap()).unwrap(),
        )
        .unwrap();
        assert!(status.unwrap().success(), "{script}: {printed}");
        assert_eq!(seen.missed, None, "{script}");
        (printed, seen)
    }

    /// What was looked for and is not there, below `dir`.
    fn missing(dir: &Path, seen: &Observation) -> BTreeSet<PathBuf> {
        let events = seen.events.iter();
        let missing = events.filter(|e| e.found.is_none() && e.real.starts_with(dir));
        missing.map(|event| event.real.to_path_buf()).collect()
    }

    #[test]
    fn directories_without_libraries_for_programs_of_the_system_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let with = |name: &str, file: &str| {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join(file), "").unwrap();
            dir.path()
                .join(name)
                .into_os_string()
                .into_string()
                .unwrap()
        };
        let left_out = [
            with("a", RUST),
            with("b", "libLLVM.so.21.1-rust-1.91.0-stable"),
            with("c", "libfoo.rlib"),
            format!("{}/none", dir.path().display()),
        ];
        let stay = [
            with("d", "libz.so.1"),
            with("e", "libone.so"),
            with("f", "libone-0123456789abcdef.so.1"),
            with("g", "glibc-hwcaps"),
            with("$h", "x"),
            String::new(),
            ".".to_owned(),
        ];
        for path in &left_out {
            assert!(is_left_out(Path::new(path)), "{path}");
        }
        for path in &stay {
            assert!(!is_left_out(Path::new(path)), "{path}");
        }
        let given = OsString::from([&left_out[..], &stay[..]].concat().join(":"));
        let (out, rest) = SearchPath::split(&given);
        assert!(
            left_out
                .iter()
                .all(|path| out.contains(&PathBuf::from(path)))
        );
        assert!(rest.starts_with(&[stay[0].as_bytes(), stay[1].as_bytes()]));
    }

    #[test]
    fn what_loaders_do_not_look_for_is_told_and_nobody_sees_a_shorter_path() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().canonicalize().unwrap();
        for (name, file) in [("rust", RUST), ("odd", "libother.so.3")] {
            std::fs::create_dir(dir.join(name)).unwrap();
            std::fs::write(dir.join(name).join(file), "").unwrap();
        }
        let elsewhere = tempfile::tempdir().unwrap();
        let object = object(elsewhere.path());
        let script = "export LATER=2; show() { echo \"$LD_LIBRARY_PATH\"; env; \
            perl -e 'print map { qq($_=$ENV{$_}\\n) } grep /LD|CACHEWRAP/, sort keys %ENV; print `env`'; \
            python3 -c 'import os; print(os.environ)'; sh -c 'env; export LD_LIBRARY_PATH=/x; sh -c env; \
            unset LD_LIBRARY_PATH; sh -c env; LD_LIBRARY_PATH= sh -c env'; \
            env LD_LIBRARY_PATH=/y LD_LIBRARY_PATH=/z sh -c env; env -i sh -c env; }; sh -c :; show";
        for below in [&["rust", "none", "odd"][..], &["rust", "none"], &["odd"]] {
            let (plain, before) = observe(&dir, below, script, None);
            let (printed, after) = observe(&dir, below, script, Some(&object));
            assert_eq!(plain, printed, "{below:?}");
            assert!(plain.contains("LD_LIBRARY_PATH"));
            for name in below.iter().filter(|name| **name != "none") {
                for seen in [&before, &after] {
                    let library = dir.join(name).join("libc.so.6");
                    assert!(missing(&dir, seen).contains(&library), "{library:?}");
                }
            }
            let told = missing(&dir, &after);
            let is_told = |path: &PathBuf| path.ancestors().any(|above| told.contains(above));
            let untold = missing(&dir, &before);
            assert!(untold.iter().all(is_told), "{told:#?} {untold:#?}");
        }
    }

    #[test]
    fn loaders_look_less() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().canonicalize().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let object = object(elsewhere.path());
        let announced = |below: &str| {
            std::fs::create_dir_all(dir.join("a")).unwrap();
            std::fs::write(dir.join("a/libz.so.1"), "").unwrap();
            let script = "for i in 1 2 3 4 5 6 7 8; do sh -c :; done";
            observe(&dir, &[below], script, Some(&object)).1.announced
        };
        let (looked_through, left_out) = (announced("a"), announced("b"));
        assert!(left_out + 8 < looked_through, "{left_out} {looked_through}");
    }

    #[test]
    fn libraries_in_the_search_path_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().canonicalize().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let object = object(elsewhere.path());
        for (below, name) in [("rust", RUST), ("odd", "libother.so")] {
            std::fs::create_dir(dir.join(below)).unwrap();
            let source = format!("int {below}(void) {{ return 1; }}");
            compile(&dir.join(below), name, &source, &["-shared", "-fPIC"]);
            let program = format!(
                "#include <stdio.h>\nint {below}(void); int main(void) {{ printf(\"{below} %d\\n\", {below}()); return 0; }}"
            );
            let library = dir.join(below).join(name);
            let flags = format!("-L{} -l:{name}", library.parent().unwrap().display());
            let flags: Vec<&str> = flags.split(' ').collect();
            compile(&dir, &format!("{below}-sh"), &program, &flags);
        }
        let script = "sh -c :; for i in 1 2; do ./rust-sh; ./odd-sh; done";
        for object in [None, Some(&*object)] {
            let (printed, _) = observe(&dir, &["none", "rust", "odd"], script, object);
            assert_eq!(printed, "rust 1\nodd 1\nrust 1\nodd 1\n", "{object:?}");
        }
    }
}
