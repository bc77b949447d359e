//! The object that is loaded into observed processes, from this side. What it is and does, its source
//! tells (`preload/lib.rs`).

use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;

use object::Endianness;
use object::elf::{DT_NEEDED, FileHeader64};
use object::read::ReadCache;
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _};

use super::sys;
use crate::fs;

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

/// The variable by which the loader is told.
pub(super) const VARIABLE: &str = "LD_PRELOAD";

/// With one of these, the loader is told otherwise, or tells of what it loads.
const FOR_LOADER: [&str; 4] = [VARIABLE, "LD_AUDIT", "LD_DEBUG", "LD_TRACE_LOADED_OBJECTS"];

/// How the loader of programs with the GNU C library is called.
const LOADER: &[u8] = b"/ld-linux-x86-64.so.2";

/// Libraries of sanitizers end the program if others were loaded before them.
const SANITIZERS: [&[u8]; 6] = [
    b"libasan",
    b"libclang_rt",
    b"libhwasan",
    b"liblsan",
    b"libtsan",
    b"libubsan",
];

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
        .any(|(name, value)| value.is_some() && FOR_LOADER.iter().any(|known| name == *known));
    !has_other && takes_object(Path::new(command.get_program()))
}

fn takes_object(program: &Path) -> bool {
    fs::open(program).is_ok_and(|file| is_linked_to_glibc(file).unwrap_or(false))
}

fn is_linked_to_glibc(file: File) -> object::Result<bool> {
    let data = &ReadCache::new(file);
    let header = FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    let programs = header.program_headers(endian, data)?;
    let mut loaders = programs
        .iter()
        .filter_map(|p| p.interpreter(endian, data).ok()?);
    if !loaders.any(|loader| loader.ends_with(LOADER)) {
        return Ok(false);
    }
    let sections = header.sections(endian, data)?;
    let Some((dynamic, names)) = sections.dynamic(endian, data)? else {
        return Ok(false);
    };
    let names = sections.strings(endian, data, names)?;
    let needed = dynamic.iter().filter(|d| d.tag(endian) == DT_NEEDED);
    let mut needed = needed.filter_map(|d| d.string(endian, names).ok());
    Ok(!needed.any(|name| SANITIZERS.iter().any(|known| name.starts_with(known))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_other_kinds_do_not_take_it() {
        let own = std::env::current_exe().unwrap();
        assert_eq!(takes_object(&own), cfg!(target_env = "gnu"));
        for other in ["/dev/null", "/etc/passwd", "/nonexistent", "/"] {
            assert!(!takes_object(Path::new(other)), "{other}");
        }
        for variable in FOR_LOADER {
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
