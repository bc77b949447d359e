//! Searching programs in `PATH`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::inputs::input::FileType;
use crate::os::env::Environment;
use crate::os::stamp::Stamp;

/// Finds a program as `execvp` does: a name with a slash is a path, any other is looked
/// for in the directories of `PATH`.
pub(crate) fn program(name: &OsStr, env: &Environment, cwd: &Path) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Some(cwd.join(name));
    }
    directories(env, cwd)
        .map(|dir| dir.join(name))
        .find(|path| {
            Stamp::of(path).is_some_and(|s| s.file_type == FileType::File && s.is_executable())
        })
}

/// The directories of `PATH`, absolute.
pub(crate) fn directories<'a>(
    env: &'a Environment,
    cwd: &'a Path,
) -> impl Iterator<Item = PathBuf> + 'a {
    // What the C library searches when the variable is not set.
    let path = env.get("PATH").unwrap_or(OsStr::new("/bin:/usr/bin"));
    path.as_bytes()
        .split(|&b| b == b':')
        .map(move |dir| cwd.join(OsStr::from_bytes(dir)))
}
