//! Reading and replacing files that belong to the user.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use cache_core::Environment;

use super::output::Failure;

/// The text of a file; `None` if there is no such file.
pub(super) fn read_optional(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed("read", path, &e)),
    }
}

/// Replaces a file as a whole, or makes it with its directory. A link stays a link, and
/// what it points to is replaced.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let path = &real(path).unwrap_or_else(|| path.to_owned());
    let dir = path.parent().unwrap_or(Path::new("."));
    let write = || {
        fs::create_dir_all(dir)?;
        let old = fs::metadata(path).map(|metadata| metadata.permissions());
        let mode = old.unwrap_or_else(|_| fs::Permissions::from_mode(0o666));
        let mut file = tempfile::Builder::new()
            .permissions(mode)
            .tempfile_in(dir)?;
        file.write_all(text.as_bytes())?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|e: io::Error| failed("write", path, &e))
}

/// Makes a file that nobody else may read. One that is there stays as it is, which is an error.
pub(super) fn create_private(path: &Path, text: &str) -> Result<(), Failure> {
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(text.as_bytes())
    };
    write().map_err(|e: io::Error| failed("write", path, &e))
}

/// Removes a file, and its directory if that is then empty.
pub(super) fn remove_with_empty_dir(path: &Path) -> Result<(), Failure> {
    fs::remove_file(path).map_err(|e| failed("remove", path, &e))?;
    if let Some(dir) = path.parent() {
        // Fails if anything else is in it, which is what is wanted.
        let _ = fs::remove_dir(dir);
    }
    Ok(())
}

/// The path without links; `None` if nothing is there.
pub(super) fn real(path: &Path) -> Option<PathBuf> {
    fs::canonicalize(path).ok()
}

pub(super) fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
}

pub(super) fn is_dir(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// Whether something is there that is no directory.
pub(super) fn is_other_than_dir(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_dir())
}

/// Whether the file is there and may be executed by someone.
pub(super) fn is_program(path: &Path) -> bool {
    let found = fs::metadata(path);
    found.is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The file that running `name` would start.
pub(super) fn find_program(name: &str, env: &Environment) -> Option<PathBuf> {
    let path = env.get("PATH")?;
    let mut found = std::env::split_paths(path).map(|dir| dir.join(name));
    found.find(|candidate| is_program(candidate))
}

/// The directory itself, or the nearest one above it that is there.
pub(super) fn nearest_dir(path: &Path) -> Option<&Path> {
    path.ancestors().find(|dir| is_dir(dir))
}

/// The same file, as far as the system can tell.
pub(super) fn is_same_file(a: &Path, b: &Path) -> bool {
    real(a).is_some_and(|a| real(b) == Some(a))
}

fn failed(action: &str, path: &Path, e: &io::Error) -> Failure {
    Failure::Failed(format!("failed to {action} {}: {e}", path.display()))
}
