//! The listing of a directory as an input, the names and types of its entries, and the
//! permissions of files.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::error::{PathContext as _, PathError};
use crate::formats::digest::Digest;
use crate::formats::key::KeyHasher;
use crate::os::fs;
use crate::os::stamp::Stamp;
use crate::roots::{RootedPath, Roots};

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

/// Hashes the extended attributes of what a path leads to. A file system without such has none.
#[cfg(target_os = "linux")]
pub(crate) fn attributes(path: &Path) -> Result<Digest, PathError> {
    let mut hasher = KeyHasher::new("attributes");
    let mut names = Vec::new();
    match rustix::fs::listxattr(path, rustix::buffer::spare_capacity(reserved(&mut names))) {
        Ok(_) => {}
        Err(rustix::io::Errno::NOTSUP) => return Ok(hasher.finish()),
        Err(e) => return Err(e.into()).context("list the attributes of", path),
    }
    let mut names: Vec<&[u8]> = names.split(|&b| b == 0).filter(|n| !n.is_empty()).collect();
    names.sort_unstable();
    for name in names {
        let mut value = Vec::new();
        let got = rustix::fs::getxattr(
            path,
            name,
            rustix::buffer::spare_capacity(reserved(&mut value)),
        );
        got.map_err(Into::into)
            .context("read an attribute of", path)?;
        hasher.bytes("name", name);
        hasher.bytes("value", &value);
    }
    Ok(hasher.finish())
}

/// Who asks for them is observed on Linux only.
#[cfg(not(target_os = "linux"))]
pub(crate) fn attributes(path: &Path) -> Result<Digest, PathError> {
    let error = std::io::ErrorKind::Unsupported.into();
    Err(PathError::new("list the attributes of", path, error))
}

/// With room for as much as the kernel has: 64 KiB for names, and for each value.
#[cfg(target_os = "linux")]
fn reserved(bytes: &mut Vec<u8>) -> &mut Vec<u8> {
    bytes.reserve(64 << 10);
    bytes
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
