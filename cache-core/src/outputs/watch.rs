//! Hearing of writes to open files: whether a content that is read later is still what it was.
//!
//! Times do not tell: cargo gives an output a second name right after the compiler has ended, which changes
//! its change time, and the modification time can be set to anything. So the kernel is asked
//! to report writes (inotify), and whether anybody has a file open for writing, who could write to it
//! through a mapping unreported. Where it does not tell either, nothing is read later.

use std::fs::File;

/// Hears of writes to some files.
pub(crate) struct Watch {
    #[cfg(target_os = "linux")]
    reports: std::os::fd::OwnedFd,
}

#[cfg(target_os = "linux")]
impl Watch {
    /// `None` where the kernel does not report, or somebody may write to one of them already.
    pub(crate) fn new(files: &[&File]) -> Option<Self> {
        use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
        use std::os::fd::AsRawFd as _;

        let reports = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
        for file in files {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            let what = WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE;
            inotify::add_watch(&reports, path, what).ok()?;
        }
        let is_idle = |file: &&File| crate::observe::has_writer(file) == Some(false);
        files.iter().all(is_idle).then_some(Self { reports })
    }

    /// Whether any of the files may have been written to since, or this one is about to be.
    pub(crate) fn has_seen_writing(&self, file: &File) -> bool {
        let mut report = [0; 512];
        crate::observe::has_writer(file) != Some(false)
            || rustix::io::read(&self.reports, &mut report) != Err(rustix::io::Errno::AGAIN)
    }
}

#[cfg(not(target_os = "linux"))]
impl Watch {
    /// No other system is known to tell.
    pub(crate) fn new(_files: &[&File]) -> Option<Self> {
        None
    }

    pub(crate) fn has_seen_writing(&self, _file: &File) -> bool {
        true
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::os::stamp::Stamp;
    use std::io::Write as _;

    #[test]
    fn writes_are_heard_of_and_names_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "text").unwrap();
        let file = File::open(&path).unwrap();
        let watch = Watch::new(&[&file]).unwrap();
        std::fs::hard_link(&path, dir.path().join("second")).unwrap();
        std::fs::read(&path).unwrap();
        assert!(!watch.has_seen_writing(&file));
        let before = Stamp::of_file(&file).unwrap();
        let mut other = File::options().write(true).open(&path).unwrap();
        assert!(watch.has_seen_writing(&file), "somebody may write");
        assert!(Watch::new(&[&file]).is_none());
        other.write_all(b"TEXT").unwrap();
        let modified = std::time::UNIX_EPOCH
            + std::time::Duration::from_nanos(before.mtime.try_into().unwrap());
        other.set_modified(modified).unwrap();
        drop(other);
        assert!(Stamp::of_file(&file).unwrap().same_content(&before));
        assert!(watch.has_seen_writing(&file));
        let later = Watch::new(&[&file]).unwrap();
        assert!(!later.has_seen_writing(&file));
    }

    #[test]
    fn another_file_of_the_name_is_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "text").unwrap();
        let file = File::open(&path).unwrap();
        let watch = Watch::new(&[&file]).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "TEXT").unwrap();
        assert!(!watch.has_seen_writing(&file));
    }
}
