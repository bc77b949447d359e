//! Where there is no observer: nothing is ever observed, and the reason is given.

use std::io;
use std::path::Path;
use std::process::{Child, Command};

use super::events::{Depth, Observation};
use super::{Exit, Object};

const WHY: &str = "built without the observer, which needs Linux on x86-64 or AArch64";

/// Why there is no observer.
pub(super) const ABSENT: Option<&str> = Some(WHY);

/// There is nothing to load into processes.
pub(crate) const PRELOADED_OBJECT: Option<&[u8]> = None;

pub(crate) fn is_loadable(_object: &Path) -> bool {
    false
}

/// Starts nothing.
pub(crate) fn spawn<T>(
    _command: &mut Command,
    _cwd: Option<&Path>,
    _depth: Depth,
    _object: Option<Object<'_>>,
    _with_child: impl FnOnce(&mut Child) -> T,
) -> io::Result<(Exit, T, Observation)> {
    Err(io::Error::new(io::ErrorKind::Unsupported, WHY))
}

/// Whether this process runs under the observation of another process of this program. It never
/// does.
pub fn is_observed() -> bool {
    false
}
