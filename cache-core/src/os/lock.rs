//! Advisory locks, and the only module that takes them.
//!
//! `fs2`'s methods have the names of newer ones of the standard library, so they are
//! called by their full path, here and nowhere else.
//!
//! Locks are `flock`s: they belong to the open file, vanish with the process that holds
//! them however it ends, and are never waited for. Over NFS, Linux turns them into
//! byte-range locks of the server. Where a file system knows no locks at all the error
//! is passed on, and the caller decides whether it can do without.

use std::fs::File;
use std::io;

/// Takes the lock if nobody holds it. It is released when the file is closed.
pub(crate) fn try_exclusive(file: &File) -> io::Result<bool> {
    match fs2::FileExt::try_lock_exclusive(file) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == fs2::lock_contended_error().kind() => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_until_its_file_is_closed() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let first = path.reopen().unwrap();
        let second = path.reopen().unwrap();
        assert!(try_exclusive(&first).unwrap());
        assert!(!try_exclusive(&second).unwrap());
        drop(first);
        assert!(try_exclusive(&second).unwrap());
    }
}
