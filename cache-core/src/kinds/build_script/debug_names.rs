//! What directories are called in the debug information of a dependency's C code.
//!
//! The Rust compiler is told such names (`kinds::rustc::remap`), and a C compiler by the same setting: the target directory is
//! `./target`, and of `all` the package is its name and version. Otherwise a dependency's
//! script would have to run once in each target directory, because of the headers that it copies there. How
//! compilers are told, the preloaded object says (`preload/prefix_map.rs`).
//!
//! The user's own packages are left alone: what is debugged there is found where it is.

use std::ffi::OsString;
use std::path::Path;

use crate::config::TrimPaths;
use crate::kinds::rustc::remap;
use crate::roots::{Root, Roots};

/// Beginnings of paths, and what they are called; of nested ones, the inner one last.
pub(super) fn of(package: &Path, roots: &Roots, trim: TrimPaths) -> Vec<(OsString, OsString)> {
    let is_dependency = roots.relativize(package).root == Some(Root::CargoHome);
    if trim == TrimPaths::Off || !is_dependency {
        return Vec::new();
    }
    let mut names = Vec::new();
    let spellings: Vec<(Root, &Path)> = roots.spellings().collect();
    for (root, path) in spellings.into_iter().rev() {
        match root {
            Root::CargoHome if trim == TrimPaths::All => {
                let name = remap::package(package, path);
                names.extend(name.map(|(from, to)| (from.into_os_string(), to)));
            }
            // A prefix of a path may end in the middle of a name.
            Root::Target => names.push((below(path), below(Path::new(remap::TARGET_NAME)))),
            _ => {}
        }
    }
    names
}

/// What paths below a directory begin with.
fn below(directory: &Path) -> OsString {
    directory.join("").into_os_string()
}
