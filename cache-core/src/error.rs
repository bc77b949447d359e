//! Errors that name the file they happened to.

use std::io;
use std::path::{Path, PathBuf};

/// An I/O error together with what was being done and to which path.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}: {source}", path.display())]
pub struct PathError {
    /// What was attempted: a lowercase verb that reads after "failed to".
    pub action: &'static str,
    /// The file or directory it was attempted on.
    pub path: PathBuf,
    /// The system's answer.
    pub source: io::Error,
}

impl PathError {
    /// Says what was attempted on which path.
    pub(crate) fn new(action: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        Self {
            action,
            path: path.as_ref().to_owned(),
            source,
        }
    }

    /// Whether the file was simply not there.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// Whether there is no such file, or no directory where the path has one.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(
            self.source.raw_os_error(),
            Some(libc::ENOENT | libc::ENOTDIR)
        )
    }

    /// Whether a directory, a link or a device is where a plain file was expected.
    pub(crate) fn is_no_file(&self) -> bool {
        let link = Some(libc::ELOOP);
        self.source.kind() == io::ErrorKind::IsADirectory || self.source.raw_os_error() == link
    }

    /// Whether something else, a link perhaps, is where a directory was expected.
    pub(crate) fn is_no_dir(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotADirectory
    }

    /// Whether the system would not let us.
    pub(crate) fn is_denied(&self) -> bool {
        self.source.kind() == io::ErrorKind::PermissionDenied
    }

    /// Whether this one file may not be used, while others beside it might.
    pub(crate) fn is_refusal(&self) -> bool {
        self.is_denied() || self.is_no_file()
    }
}

/// Adds the path to an [`io::Result`].
pub(crate) trait PathContext<T> {
    /// Wraps the error, if there is one, as "failed to `action` `path`".
    fn context(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, PathError>;
}

impl<T> PathContext<T> for io::Result<T> {
    fn context(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, PathError> {
        self.map_err(|source| PathError::new(action, path, source))
    }
}
