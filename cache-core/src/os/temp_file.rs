//! Files under names of their own, until they are given their places.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{PathContext as _, PathError};
use crate::os::dir::{Dir, Spot};
use crate::os::fs;
use crate::os::stamp::Stamp;

/// A file under a fresh name, removed when dropped unless it was given its place.
pub(crate) struct TempFile {
    file: File,
    spot: Spot,
    path: PathBuf,
    kept: bool,
}

impl TempFile {
    /// Creates one in `dir` with the given mode less the umask.
    pub(crate) fn create_with_mode(dir: &Path, mode: u32) -> Result<Self, PathError> {
        Self::create_in(Dir::open(dir)?, mode)
    }

    /// The same in an open directory.
    pub(crate) fn create_in(dir: Dir, mode: u32) -> Result<Self, PathError> {
        loop {
            let name = fs::fresh_name();
            let file = match dir.create_new(&name, mode) {
                Err(e) if e.source.kind() == io::ErrorKind::AlreadyExists => continue,
                created => created?,
            };
            return Ok(Self {
                file,
                path: dir.path().join(&name),
                spot: Spot { dir, name },
                kept: false,
            });
        }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn write_all(&self, bytes: &[u8]) -> Result<(), PathError> {
        (&self.file).write_all(bytes).context("write", &self.path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn stamp(&self) -> Option<Stamp> {
        Stamp::of_file(&self.file)
    }

    /// Gives it other permissions, whatever the umask.
    pub(crate) fn set_mode(&self, mode: u32) -> Result<(), PathError> {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        let set = self.file.set_permissions(permissions);
        set.context("set the permissions of", &self.path)
    }

    /// Lets it seem to have been changed at a time.
    pub(crate) fn set_modified(&self, time: SystemTime) -> Result<(), PathError> {
        let set = self.file.set_modified(time);
        set.context("set the time of", &self.path)
    }

    /// Gives the file its place, replacing what is there.
    pub(crate) fn persist(&mut self, to: &Path) -> Result<(), PathError> {
        self.spot.dir.rename_out(&self.spot.name, to)?;
        self.kept = true;
        Ok(())
    }

    /// The same in an open directory.
    pub(crate) fn persist_at(&mut self, to: &Spot) -> Result<(), PathError> {
        self.spot.dir.rename(&self.spot.name, &to.dir, &to.name)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.kept {
            let _ = self.spot.remove_file();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_file_goes_unless_it_is_given_its_place() {
        let place = tempfile::tempdir().unwrap();
        let inner = place.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        drop(TempFile::create_with_mode(place.path(), 0o666).unwrap());
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
        let mut file = TempFile::create_with_mode(place.path(), 0o600).unwrap();
        file.set_mode(0o640).unwrap();
        let (dir, name) = (Dir::open(&inner).unwrap(), "new".into());
        file.persist_at(&Spot { dir, name }).unwrap();
        drop(file);
        let mode = std::fs::metadata(inner.join("new")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o640);
    }
}
