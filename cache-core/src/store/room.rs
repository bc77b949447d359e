//! The room: everything that the store does with the file system below its directory.
//!
//! Callers name files by their paths, which errors show; what is done is done by
//! [descriptor](crate::os::dir), so that nothing is written, changed or removed outside the
//! store, whatever others have put into it. A link in place of one of its directories is an
//! error, which `verify` reports and `verify --repair` mends; builds go on without what would
//! be behind it.
//!
//! Each operation begins at the top again. A descriptor that was kept would be that of a
//! store which somebody has cleared meanwhile.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FileType, Stat};

use super::scan::modified;
use super::{CACHEDIR_TAG, Store};
use crate::error::{PathContext as _, PathError};
use crate::formats::codec;
use crate::os::dir::{Dir, Listed, NameKind, Spot};
use crate::os::fs::{self, TempFile};

/// Directories right in the format directory.
pub(super) const PARTS: [&str; 14] = [
    "blobs",
    "builds",
    "manifests",
    "names",
    "offers",
    "queue",
    "remote",
    "results",
    "running",
    "seeds",
    "sessions",
    "stats",
    "tmp",
    "toolchains",
];

impl Store {
    /// The cache directory itself.
    pub(super) fn top(&self) -> Result<Dir, PathError> {
        Dir::open(self.layout.dir())
    }

    /// A directory of the store.
    pub(super) fn dir(&self, path: &Path) -> Result<Dir, PathError> {
        self.top()?.below(&self.relative(path)?)
    }

    fn relative(&self, path: &Path) -> Result<PathBuf, PathError> {
        let outside = |_| PathError::new("find", path, io::ErrorKind::InvalidInput.into());
        let relative = path.strip_prefix(self.layout.dir()).map_err(outside)?;
        Ok(if relative.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            relative.to_owned()
        })
    }

    fn spot(&self, path: &Path, make: bool) -> Result<Spot, PathError> {
        let relative = self.relative(path)?;
        let top = self.top()?;
        let parent = relative.parent().filter(|p| !p.as_os_str().is_empty());
        let dir = match parent {
            Some(parent) if make => top.make_below(parent)?,
            Some(parent) => top.below(parent)?,
            None => top,
        };
        let name = relative.file_name().unwrap_or_default().to_owned();
        Ok(Spot { dir, name })
    }

    /// A name in the store; its directory is there.
    pub(crate) fn spot_of(&self, path: &Path) -> Result<Spot, PathError> {
        self.spot(path, false)
    }

    /// Makes the directories, private to the user (0700) if they are new.
    pub fn prepare(&self) -> Result<(), PathError> {
        let tmp = self.layout.part("tmp");
        match self.dir(&tmp) {
            Err(e) if e.is_not_found() => {}
            found => return found.map(drop),
        }
        fs::create_private_dir_all(self.layout.dir())?;
        self.write_tag()?;
        self.make_dir(&tmp)
    }

    /// Makes a directory of the store.
    pub(crate) fn make_dir(&self, path: &Path) -> Result<(), PathError> {
        let relative = self.relative(path)?;
        self.top()?.make_below(&relative).map(drop)
    }

    /// Says what the directory is, if nothing does yet.
    pub(crate) fn write_tag(&self) -> Result<(), PathError> {
        let tag = self.spot_of(&self.layout.tag())?;
        match tag.dir.create_new(&tag.name, 0o666) {
            Err(e) if e.source.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            created => {
                let written = created?.write_all(CACHEDIR_TAG.as_bytes());
                written.context("write", self.layout.tag())
            }
        }
    }

    /// Opens a plain file for reading.
    pub(crate) fn open_plain(&self, path: &Path) -> Result<File, PathError> {
        self.top()?.open_plain(&self.relative(path)?)
    }

    /// Reads a plain file. What is longer than anything that the store writes is damaged, and is cut: it might be longer
    /// than there is memory.
    pub(crate) fn read_plain(&self, path: &Path) -> Result<Vec<u8>, PathError> {
        let file = self.open_plain(path)?;
        let len = file.metadata().context("look at", path)?.len();
        if len > codec::LONGEST {
            let mut start = Vec::new();
            let mut file = file.take(codec::HEADER as u64);
            file.read_to_end(&mut start).context("read", path)?;
            return Ok(start);
        }
        fs::read_all(file, path)
    }

    /// Opens a file for reading and writing, creating it if it is not there. Anything but
    /// a file in its place is removed: what is written to the store stays in it.
    pub(crate) fn open_file(&self, path: &Path) -> Result<File, PathError> {
        let relative = self.relative(path)?;
        let top = self.top()?;
        match top.open_to_write(&relative, false) {
            Err(e) if e.is_no_file() => {
                self.discard(path);
                top.open_to_write(&relative, false)
            }
            opened => opened,
        }
    }

    /// Appends to a plain file, creating it if it is not there, unless it is longer than `longest`; says
    /// how long it is then, bytes.
    pub(crate) fn append(&self, path: &Path, bytes: &[u8], longest: u64) -> Result<u64, PathError> {
        let relative = self.relative(path)?;
        let mut file = self.top()?.open_to_write(&relative, true)?;
        let len = file.metadata().context("look at", path)?.len();
        if len > longest {
            return Ok(len);
        }
        file.write_all(bytes).context("write", path)?;
        Ok(len + bytes.len() as u64)
    }

    /// What a name in the store is; links are not followed.
    pub(crate) fn look(&self, path: &Path) -> Result<Stat, PathError> {
        let spot = self.spot_of(path)?;
        spot.dir.look(&spot.name)
    }

    /// Whether there is a directory of that name, and not a link to one.
    pub(crate) fn is_dir(&self, path: &Path) -> bool {
        self.dir(path).is_ok()
    }

    pub(crate) fn exists(&self, path: &Path) -> bool {
        self.look(path).is_ok()
    }

    /// The names in a directory of the store, in no order. What is not there or no directory
    /// has none.
    pub(crate) fn list(&self, path: &Path) -> Result<Vec<Listed>, PathError> {
        match self.dir(path).and_then(|dir| dir.list()) {
            Err(e) if e.is_not_found() || e.is_no_dir() => Ok(Vec::new()),
            listed => listed,
        }
    }

    /// Sets a file's modification time to now. One with another name is left alone: the
    /// other may lie anywhere.
    pub(super) fn touch(&self, path: &Path) -> Result<(), PathError> {
        let file = self.open_plain(path)?;
        let metadata = file.metadata().context("look at", path)?;
        if std::os::unix::fs::MetadataExt::nlink(&metadata) > 1 {
            return Ok(());
        }
        let now = SystemTime::now();
        file.set_modified(now).context("touch", path)
    }

    /// Removes a file.
    pub(crate) fn remove_file(&self, path: &Path) -> Result<(), PathError> {
        self.spot_of(path)?.remove_file()
    }

    /// Removes whatever is there, a directory too.
    pub(crate) fn remove_any(&self, path: &Path) -> Result<(), PathError> {
        let spot = self.spot_of(path)?;
        spot.dir.remove_any(&spot.name)
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), PathError> {
        let (from, to) = (self.spot_of(from)?, self.spot_of(to)?);
        from.dir.rename(&from.name, &to.dir, &to.name)
    }

    /// A file to be written and then given its place, with the given mode less the umask.
    pub(crate) fn temp_file(&self, mode: u32) -> Result<TempFile, PathError> {
        TempFile::create_in(self.dir(&self.layout.part("tmp"))?, mode)
    }

    /// Writes a small file atomically.
    pub(crate) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), PathError> {
        self.prepare()?;
        let tmp = self.temp_file(0o666)?;
        tmp.write_all(bytes)?;
        self.settle(tmp, path)
    }

    /// Gives a finished file its place, replacing whatever is there.
    pub(crate) fn settle(&self, mut tmp: TempFile, to: &Path) -> Result<(), PathError> {
        let spot = self.spot(to, true)?;
        match tmp.persist_at(&spot) {
            Err(e) if e.is_no_file() => {
                self.discard(to);
                tmp.persist_at(&spot)
            }
            done => done,
        }
    }

    /// Removes the oldest files of a directory: those beyond a number, and beyond a size of all together,
    /// bytes. The newest one stays.
    pub(crate) fn keep_newest(&self, dir: &Path, most: usize, most_bytes: u64) {
        let listed = self.list(dir).unwrap_or_default();
        let mut files: Vec<(SystemTime, u64, PathBuf)> = listed
            .into_iter()
            .filter_map(|listed| {
                let stat = self.look(&listed.path).ok()?;
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                Some((modified(&stat), size, listed.path))
            })
            .collect();
        files.sort_by(|a, b| b.cmp(a));
        let mut size = 0;
        for (n, (_, len, path)) in files.iter().enumerate() {
            size += len;
            if n > 0 && (n >= most || size > most_bytes) {
                let _ = self.remove_any(path);
            }
        }
    }

    /// Removes what should not be in the store, as far as that is allowed. A directory
    /// in a file's place leaves it at once, whatever it contains.
    pub(crate) fn discard(&self, path: &Path) {
        if self.read_only {
            return;
        }
        if self.remove_file(path).is_err_and(|e| e.is_no_file()) {
            let aside = self.layout.part("tmp").join(fs::fresh_name());
            if self.rename(path, &aside).is_ok() {
                let _ = self.remove_any(&aside);
            }
        }
    }

    /// The directories of the store that are something else, links above all: everything
    /// that would be in them is passed over until `verify` with repair removes them.
    pub fn displaced(&self) -> Vec<PathBuf> {
        let is_displaced = |path: &PathBuf| {
            let found = self.look(path);
            found.is_ok_and(|stat| kind_of(&stat) != NameKind::Dir)
        };
        let format = self.layout.format_dir().to_owned();
        if is_displaced(&format) {
            return vec![format];
        }
        let parts = PARTS.map(|part| self.layout.part(part));
        parts.into_iter().filter(is_displaced).collect()
    }
}

/// What a name is, of which this is known.
pub(super) fn kind_of(stat: &Stat) -> NameKind {
    NameKind::of(FileType::from_raw_mode(stat.st_mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_longer_than_anything_written_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), false);
        store.prepare().unwrap();
        let path = store.layout().part("long");
        store.replace(&path, &[7; 100]).unwrap();
        assert_eq!(store.read_plain(&path).unwrap(), [7; 100]);
        let file = std::fs::OpenOptions::new().write(true).open(&path);
        file.unwrap().set_len(1 << 40).unwrap();
        assert_eq!(store.read_plain(&path).unwrap(), [7; codec::HEADER]);
    }
}
