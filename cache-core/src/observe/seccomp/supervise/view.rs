//! How a process sees the file system.

use std::path::{Path, PathBuf};

use crate::os::fs;

/// What a path means depends on these.
#[derive(PartialEq, Eq)]
pub(super) struct View {
    pub(super) mounts: PathBuf,
    pub(super) root: PathBuf,
}

impl View {
    pub(super) fn of(pid: &str) -> Option<Self> {
        let link = |name: &str| fs::read_link(Path::new(&format!("/proc/{pid}/{name}"))).ok();
        Some(Self {
            mounts: link("ns/mnt")?,
            root: link("root")?,
        })
    }
}
