//! The links that paths lead through.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::os::fs;

/// The links on the way to some paths.
#[derive(Default)]
pub(super) struct Links {
    /// Paths that were asked whether they are links, with all above them.
    asked: HashSet<PathBuf>,
    /// Links and where they point.
    pub(super) found: Vec<(PathBuf, PathBuf)>,
}

impl Links {
    pub(super) fn follow(&mut self, path: &Path) {
        // Without a final slash, which would name what the link points to.
        let path: PathBuf = path.components().collect();
        for part in path.ancestors() {
            if !self.asked.insert(part.to_owned()) {
                break;
            }
            if let Ok(target) = fs::read_link(part) {
                self.found.push((part.to_owned(), target));
            }
        }
    }
}

/// What a path leads to that is a link, or a link to a link, and so on.
pub(super) fn end_of_links(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    // As many as the kernel follows.
    for _ in 0..40 {
        let Ok(target) = fs::read_link(&path) else {
            break;
        };
        path = path.parent().unwrap_or(Path::new("/")).join(target);
    }
    path
}
