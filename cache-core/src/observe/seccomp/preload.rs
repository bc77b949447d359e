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
}
