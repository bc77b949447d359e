//! The listing of a directory as an input, the names and types of its entries, and the
//! permissions of files.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
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
        let kind = if file_type.is_dir() {
            "dir"
        } else if file_type.is_symlink() {
            "link"
        } else if file_type.is_file() {
            "file"
        } else if file_type.is_fifo() {
            "pipe"
        } else if file_type.is_socket() {
            "socket"
        } else {
            "device"
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

/// Hashes the extended attributes of what a path leads to, and of the link itself if it is one that has some.
#[cfg(target_os = "linux")]
pub(crate) fn attributes(path: &Path) -> Result<Digest, PathError> {
    let mut hasher = KeyHasher::new("attributes");
    let is_link = fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    // A link may lead to nothing and be asked all the same.
    if !is_link || fs::exists(path) {
        let get = |name: &[u8], room: Spare<'_>| rustix::fs::getxattr(path, name, room);
        hash_attributes(
            &mut hasher,
            path,
            |room| rustix::fs::listxattr(path, room),
            get,
        )?;
    }
    if is_link {
        let get = |name: &[u8], room: Spare<'_>| rustix::fs::lgetxattr(path, name, room);
        hasher.str("of", "the link");
        hash_attributes(
            &mut hasher,
            path,
            |room| rustix::fs::llistxattr(path, room),
            get,
        )?;
    }
    Ok(hasher.finish())
}

/// Room that a call fills.
#[cfg(target_os = "linux")]
type Spare<'a> = rustix::buffer::SpareCapacity<'a, u8>;

/// Hashes attributes in the order of their names. A file system without such has none.
#[cfg(target_os = "linux")]
fn hash_attributes(
    hasher: &mut KeyHasher,
    path: &Path,
    list: impl Fn(Spare<'_>) -> rustix::io::Result<usize>,
    get: impl Fn(&[u8], Spare<'_>) -> rustix::io::Result<usize>,
) -> Result<(), PathError> {
    let mut names = Vec::new();
    match list(rustix::buffer::spare_capacity(reserved(&mut names))) {
        Ok(_) => {}
        Err(rustix::io::Errno::NOTSUP) => return Ok(()),
        Err(e) => return Err(e.into()).context("list the attributes of", path),
    }
    let mut names: Vec<&[u8]> = names.split(|&b| b == 0).filter(|n| !n.is_empty()).collect();
    names.sort_unstable();
    for name in names {
        let mut value = Vec::new();
        let got = get(name, rustix::buffer::spare_capacity(reserved(&mut value)));
        got.map_err(Into::into)
            .context("read an attribute of", path)?;
        hasher.bytes("name", name);
        hasher.bytes("value", &value);
    }
    Ok(())
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
        let second = digest(dir.path()).unwrap();
        std::fs::remove_file(&file).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &file, rustix::fs::Mode::RUSR).unwrap();
        assert_ne!(digest(dir.path()).unwrap(), second);
        std::fs::remove_file(dir.path().join("b")).unwrap();
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert_ne!(digest(dir.path()).unwrap(), first);
    }

    /// Only an administrator may give attributes to links, and not every file system has room for them.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_link_has_attributes_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        let none = attributes(&link).unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        if rustix::fs::lsetxattr(&link, "trusted.test", b"1", flags).is_ok() {
            assert_ne!(attributes(&link).unwrap(), none);
        }
        std::fs::write(dir.path().join("nowhere"), "").unwrap();
        assert!(attributes(&link).is_ok());
    }
}
