//! What a program says in its dynamic section that it needs.

use std::path::Path;

use object::Endianness;
use object::elf::{DT_NEEDED, FileHeader64};
use object::read::ReadCache;
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _};

use crate::os::fs;

/// What it needs to run.
pub(crate) struct Needs {
    /// The path of its dynamic loader.
    #[cfg_attr(not(observer), expect(dead_code, reason = "only the observer asks"))]
    pub(crate) loader: Option<Vec<u8>>,
    /// The names of libraries.
    pub(crate) libraries: Vec<Vec<u8>>,
}

/// `None` for what is no dynamically linked program of 64 bits.
pub(crate) fn needs(program: &Path) -> Option<Needs> {
    // Only the few parts that are asked for are read: a compiler may have many megabytes.
    let data = &ReadCache::new(fs::open(program).ok()?);
    let header = FileHeader64::<Endianness>::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let programs = header.program_headers(endian, data).ok()?;
    let mut loaders = programs
        .iter()
        .filter_map(|p| p.interpreter(endian, data).ok()?);
    let sections = header.sections(endian, data).ok()?;
    let (dynamic, names) = sections.dynamic(endian, data).ok()??;
    let names = sections.strings(endian, data, names).ok()?;
    let needed = dynamic.iter().filter(|d| d.tag(endian) == DT_NEEDED);
    let libraries = needed.filter_map(|d| d.string(endian, names).ok());
    Some(Needs {
        loader: loaders.next().map(<[u8]>::to_vec),
        libraries: libraries.map(<[u8]>::to_vec).collect(),
    })
}
