//! The object that is loaded into observed processes, from this side. What it is and does, its source
//! tells (`preload/lib.rs`).

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;

use super::loader::{LOADER, VARIABLES, is_sanitizer};
use super::sys;
use crate::os::{dynamic, fs};

/// Its file. `None` where it is not made for this system.
pub(crate) const OBJECT: Option<&[u8]> = {
    #[cfg(preload)]
    {
        Some(include_bytes!(concat!(env!("OUT_DIR"), "/preload.so")))
    }
    #[cfg(not(preload))]
    {
        None
    }
};

/// Whether a file may be loaded as code: the file system may forbid it.
pub(crate) fn is_loadable(object: &Path) -> bool {
    // The loader takes blanks and colons for the end of a name.
    let is_name = |byte: &u8| !byte.is_ascii_whitespace() && *byte != b':';
    let path = object.as_os_str().as_bytes();
    path.len() < 4000
        && path.iter().all(is_name)
        && fs::open(object).is_ok_and(|file| sys::is_loadable(&file))
}

/// Whether the loader takes the object into a program without a word, where nothing else is
/// preloaded. The object itself asks the same of every program that it is passed on to.
pub(super) fn is_taken_by(command: &Command) -> bool {
    let mut variables = command.get_envs();
    let has_other = variables
        .any(|(name, value)| value.is_some() && VARIABLES.iter().any(|known| name == *known));
    !has_other && takes_object(Path::new(command.get_program()))
}

/// Of a script, it is its interpreter that does, or not.
fn takes_object(program: &Path) -> bool {
    let start = fs::read_start(program, 256).unwrap_or_default();
    let interpreter = fs::interpreter(&start);
    dynamic::needs(interpreter.as_deref().unwrap_or(program)).is_some_and(|needs| {
        let loader = needs.loader.unwrap_or_default();
        loader.ends_with(LOADER) && !needs.libraries.iter().any(|name| is_sanitizer(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_other_kinds_do_not_take_it() {
        let own = std::env::current_exe().unwrap();
        assert_eq!(takes_object(&own), cfg!(target_env = "gnu"));
        let script = tempfile::NamedTempFile::new().unwrap();
        for (interpreter, takes) in [
            (own.as_path(), cfg!(target_env = "gnu")),
            (Path::new("/x"), false),
        ] {
            let line = format!("#!{} -x\n", interpreter.display());
            std::fs::write(script.path(), line).unwrap();
            assert_eq!(takes_object(script.path()), takes);
        }
        for other in ["/dev/null", "/etc/passwd", "/nonexistent", "/"] {
            assert!(!takes_object(Path::new(other)), "{other}");
        }
        for variable in VARIABLES {
            let mut command = Command::new(&own);
            command.env(variable, "/lib/other.so");
            assert!(!is_taken_by(&command), "{variable}");
        }
    }

    #[test]
    fn the_loader_must_be_able_to_name_it() {
        let dir = tempfile::tempdir().unwrap();
        for (name, fits) in [("a.so", true), ("a b.so", false), ("a:b.so", false)] {
            let path = dir.path().join(name);
            std::fs::write(&path, [0; 4096]).unwrap();
            assert_eq!(is_loadable(&path), fits, "{name}");
        }
        assert!(!is_loadable(&dir.path().join("none.so")));
    }

    /// Compiles in a directory with headers of the target directory, and returns what the compiler leaves and says.
    #[cfg(preload)]
    fn compiled(dir: &Path, arguments: &str, is_mapped: bool) -> (Vec<u8>, String) {
        use crate::observe::{Depth, Object, spawn};
        let elsewhere = tempfile::tempdir().unwrap();
        let file = super::super::tests::object(elsewhere.path());
        let path = |name: &str| dir.join(name).into_os_string();
        let prefix_map = [(path("target/"), "./target/".into())];
        let prefix_map = if is_mapped { &prefix_map[..] } else { &[] };
        let object = Object {
            file: &file,
            prefix_map,
        };
        let arguments = arguments.replace("DIR", dir.to_str().unwrap());
        let script = format!(
            "cd source && cc -I{}/target/include {arguments} -o ../left 2>&1",
            dir.display()
        );
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script]);
        command.stdout(std::process::Stdio::piped());
        let (status, said, seen) = spawn(
            &mut command,
            Some(dir),
            Depth::Tree,
            Some(object),
            |child| std::io::read_to_string(child.stdout.take().unwrap()).unwrap(),
        )
        .unwrap();
        assert!(status.unwrap().success(), "{script}: {said}");
        assert_eq!(seen.missed, None, "{script}");
        // The compiler draws names for what it hands on.
        let said = said
            .lines()
            .filter(|line| !line.contains("/tmp/") && !line.contains("time"));
        (std::fs::read(dir.join("left")).unwrap(), said.collect())
    }

    #[cfg(preload)]
    #[test]
    fn compilers_give_other_names_to_directories_in_debug_information_only() {
        let dir = tempfile::Builder::new()
            .prefix("x")
            .tempdir_in("/var/tmp")
            .unwrap();
        let dir = dir.path().canonicalize().unwrap();
        for name in ["source", "target/include", "target2"] {
            std::fs::create_dir_all(dir.join(name)).unwrap();
        }
        let header = "static inline const char *h(void) { return __FILE__; }";
        std::fs::write(dir.join("target/include/h.h"), header).unwrap();
        std::fs::write(dir.join("target2/other.h"), "struct other { int x; };").unwrap();
        for name in ["a.c", "a.cc"] {
            let source = "#include <h.h>\n#include \"../target2/other.h\"\nstruct other o;\nconst char *a(void) { return h(); }";
            std::fs::write(dir.join("source").join(name), source).unwrap();
        }
        let holds = |file: &[u8], text: &str| memchr::memmem::find(file, text.as_bytes()).is_some();
        let target = dir.join("target/include").to_str().unwrap().to_owned();
        let flag = format!("-fdebug-prefix-map={0}/target/=./target/", dir.display());
        for arguments in [
            "-g -c a.c",
            "-gdwarf-4 -O2 -c a.cc",
            "-g -pipe -flto -c a.c",
            "-g -c a.c -save-temps=obj",
        ] {
            let (plain, said) = compiled(&dir, arguments, false);
            let (mapped, now_said) = compiled(&dir, arguments, true);
            let (told, _) = compiled(&dir, &format!("{flag} {arguments}"), false);
            assert_ne!(plain, mapped, "{arguments}");
            assert_eq!(said, now_said, "{arguments}");
            // That is compressed.
            if !arguments.contains("-flto") {
                assert!(
                    holds(&mapped, &format!("{target}/h.h")),
                    "`__FILE__` of {arguments}"
                );
                assert_eq!(told, mapped, "{arguments}");
                assert!(holds(&mapped, "./target/include"), "{arguments}");
                assert!(!holds(&mapped, &format!("{target}\0")), "{arguments}");
            }
        }
        for arguments in [
            "-c a.c",
            "-v -g -c a.c",
            "-g -S -fverbose-asm a.c",
            "-g -frecord-gcc-switches -c a.c",
            "-g -gsplit-dwarf -c a.c",
            "-g -fdebug-prefix-map=DIR/source=src -c a.c",
        ] {
            let plain = compiled(&dir, arguments, false);
            assert_eq!(compiled(&dir, arguments, true), plain, "{arguments}");
        }
    }
}
