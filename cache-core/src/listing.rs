//! The listing of a directory as an input, the names and types of its entries, and the
//! permissions of files.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::digest::Digest;
use crate::error::{PathContext as _, PathError};
use crate::fs;
use crate::key::KeyHasher;
use crate::roots::{RootedPath, Roots};
use crate::stamp::Stamp;

/// Hashes the sorted entries of a directory.
pub(crate) fn digest(path: &Path) -> Result<Digest, PathError> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry.context("list", path)?;
        let file_type = entry.file_type().context("list", path)?;
        let kind = match (file_type.is_dir(), file_type.is_symlink()) {
            (true, _) => "dir",
            (false, true) => "link",
            (false, false) => "file",
        };
        entries.push((entry.file_name(), kind));
    }
    entries.sort();
    let mut hasher = KeyHasher::new("listing");
    for (name, kind) in &entries {
        hasher.bytes(kind, name.as_bytes());
    }
    Ok(hasher.finish())
}

/// Hashes the permissions of files, in order, with the names that they go by.
pub(crate) fn modes<'a>(files: impl Iterator<Item = &'a RootedPath>, roots: &Roots) -> Digest {
    let mut hasher = KeyHasher::new("modes");
    for file in files {
        let stamp = roots.resolve(file).and_then(|path| Stamp::of(&path));
        let mode = stamp.map(|stamp| stamp.mode.to_le_bytes());
        hasher.path("file", file);
        hasher.optional("mode", mode.as_ref().map(<[u8; 4]>::as_slice));
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_types_count_and_contents_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        std::fs::write(&file, "1").unwrap();
        let first = digest(dir.path()).unwrap();
        std::fs::write(&file, "2").unwrap();
        assert_eq!(digest(dir.path()).unwrap(), first);
        std::fs::write(dir.path().join("b"), "").unwrap();
        assert_ne!(digest(dir.path()).unwrap(), first);
        std::fs::remove_file(dir.path().join("b")).unwrap();
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert_ne!(digest(dir.path()).unwrap(), first);
    }
}
