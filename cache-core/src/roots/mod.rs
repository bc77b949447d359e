//! Roots: the directories that paths are recorded relative to.
//!
//! A result must serve every checkout, container and machine where the same thing
//! would come out, so no recorded path names the place it was made in. A path below
//! a root is stored as *(root, rest)* and resolved against the roots of the invocation
//! that looks it up; every other path is stored as it is.
//!
//! What can go wrong, and what is done about it:
//! - Roots nest (the target directory lies in the workspace): the longest match wins.
//! - A root is short (`/app`) and occurs inside other words: a match must end at a
//!   path boundary, and in text must also start at one.
//! - rustc canonicalises some paths: each root is matched in both its given and its
//!   canonical spelling, and resolved to the given one.
//! - `/` would match everything: it is never a root.
//! - Text escapes: dep-info escapes spaces, JSON escapes quotes and backslashes, so
//!   [`Template`]s are made and filled in a given [`Escaping`].
//! - A user's home is the beginning of many paths that have nothing to do with `HOME`, and few things
//!   that come out name it on purpose. So it is no root of what comes out: [`Roots::template`] leaves it
//!   as it is, and a result that contains it is bound to it (see `record`). Only inputs are relative to it:
//!   where tools looked for their settings, and variables whose value nobody but a tool asked for.

mod scanner;
mod template;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(crate) use scanner::Scanner;
pub use template::{Escaping, Template};
pub(crate) use template::{IN_TYPES, Segment};

/// A directory that paths are stored relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Root {
    /// Cargo's target directory (its build directory where the two differ).
    Target,
    /// The workspace, or the package where it stands alone.
    Workspace,
    /// `CARGO_HOME`.
    CargoHome,
    /// The compiler's sysroot.
    Sysroot,
    /// The user's home, `HOME`: a place to find inputs by, which nothing that comes out is made
    /// relative to.
    Home,
}

impl Root {
    /// Every root, in the order in which they are tried when they are equally long.
    pub const ALL: [Self; 5] = [
        Self::Target,
        Self::Workspace,
        Self::CargoHome,
        Self::Sysroot,
        Self::Home,
    ];

    /// The name shown to users and hashed into keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Workspace => "workspace",
            Self::CargoHome => "cargo-home",
            Self::Sysroot => "sysroot",
            Self::Home => "home",
        }
    }
}

/// A path, relative to a root where it lies below one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RootedPath {
    /// The root, or `None` for a path that is absolute.
    pub root: Option<Root>,
    /// What follows the root and a slash (empty for the root itself), or the whole
    /// path. Bytes: paths need not be UTF-8.
    pub rest: Vec<u8>,
}

impl std::fmt::Display for RootedPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(root) = self.root {
            write!(f, "<{}>/", root.name())?;
        }
        write!(f, "{}", String::from_utf8_lossy(&self.rest))
    }
}

/// Whether a path stands in any language as it is.
pub(crate) fn is_plain(path: &Path) -> bool {
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || b"/_-.+".contains(b);
    path.as_os_str().as_bytes().iter().all(is_plain)
}

/// The roots of one invocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roots {
    /// What each root resolves to: the spelling added first.
    given: Vec<(Root, PathBuf)>,
    /// Every spelling, longest first.
    spellings: Vec<(Root, PathBuf)>,
}

impl Roots {
    /// Adds a root, or a further spelling of one. The first is what it resolves to.
    ///
    /// Relative paths and `/` are ignored: neither can be told apart from ordinary
    /// text.
    pub fn add(&mut self, root: Root, path: impl AsRef<Path>) {
        let path: PathBuf = path.as_ref().components().collect();
        if !path.is_absolute() || path.parent().is_none() {
            return;
        }
        if self.get(root).is_none() {
            self.given.push((root, path.clone()));
        }
        if !self.spellings.iter().any(|(r, p)| *r == root && *p == path) {
            self.spellings.push((root, path));
            // Ties go to the order of `Root`, so that a target directory that is the
            // workspace itself is always called the target.
            self.spellings
                .sort_by_key(|(root, p)| (std::cmp::Reverse(p.as_os_str().len()), *root));
        }
    }

    /// The path a root resolves to.
    pub fn get(&self, root: Root) -> Option<&Path> {
        let (_, path) = self.given.iter().find(|(r, _)| *r == root)?;
        Some(path)
    }

    /// Every known root with every spelling of its path, longest path first.
    pub fn spellings(&self) -> impl Iterator<Item = (Root, &Path)> {
        self.spellings.iter().map(|(r, p)| (*r, p.as_path()))
    }

    /// A search path such as `LD_LIBRARY_PATH` without the directories below the target
    /// directory and the sysroot: cargo and rustup put these there, and not the same ones each
    /// time.
    pub(crate) fn foreign_directories(&self, list: &OsStr) -> Vec<u8> {
        let dirs = list.as_bytes().split(|&b| b == b':');
        let others = dirs.filter(|dir| {
            let dir = self.relativize(Path::new(OsStr::from_bytes(dir)));
            !matches!(dir.root, Some(Root::Target | Root::Sysroot))
        });
        others.collect::<Vec<_>>().join(&b':')
    }

    /// Expresses an absolute path relative to the innermost root that holds it.
    ///
    /// ```
    /// use cache_core::entry::{Root, Roots};
    /// let mut roots = Roots::default();
    /// roots.add(Root::Workspace, "/home/me/app");
    /// roots.add(Root::Target, "/home/me/app/target");
    /// let path = roots.relativize("/home/me/app/target/debug/x".as_ref());
    /// assert_eq!(path.to_string(), "<target>/debug/x");
    /// assert_eq!(roots.relativize("/usr/lib/crt1.o".as_ref()).to_string(), "/usr/lib/crt1.o");
    /// ```
    pub fn relativize(&self, path: &Path) -> RootedPath {
        let bytes = path.as_os_str().as_bytes();
        for (root, spelling) in &self.spellings {
            let Some(rest) = bytes.strip_prefix(spelling.as_os_str().as_bytes()) else {
                continue;
            };
            let rest = match rest {
                [] => rest,
                [b'/', rest @ ..] => rest,
                _ => continue,
            };
            return RootedPath {
                root: Some(*root),
                rest: rest.to_vec(),
            };
        }
        RootedPath {
            root: None,
            rest: bytes.to_vec(),
        }
    }

    /// The absolute path here; `None` when its root is not known.
    pub fn resolve(&self, path: &RootedPath) -> Option<PathBuf> {
        let rest = OsStr::from_bytes(&path.rest);
        match path.root {
            None => Some(PathBuf::from(rest)),
            Some(root) if path.rest.is_empty() => Some(self.get(root)?.to_owned()),
            Some(root) => {
                let root = self.get(root)?.as_os_str();
                let mut joined = OsString::with_capacity(root.len() + rest.len() + 1);
                joined.push(root);
                joined.push("/");
                joined.push(rest);
                Some(PathBuf::from(joined))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn roots(target: &str, workspace: &str) -> Roots {
        let mut roots = Roots::default();
        roots.add(Root::Workspace, workspace);
        roots.add(Root::Target, target);
        roots
    }

    #[test]
    fn the_innermost_root_wins() {
        let roots = roots("/ws/target", "/ws");
        assert_eq!(
            roots.relativize("/ws/target/a".as_ref()).root,
            Some(Root::Target)
        );
        assert_eq!(
            roots.relativize("/ws/targets".as_ref()).root,
            Some(Root::Workspace)
        );
        assert_eq!(roots.relativize("/wsx".as_ref()).root, None);
        assert_eq!(roots.relativize("/ws".as_ref()).to_string(), "<workspace>/");
    }

    #[test]
    fn a_canonical_spelling_is_matched_and_resolves_to_the_given_one() {
        let mut roots = roots("/t", "/ws");
        roots.add(Root::Target, "/mnt/real/target");
        let path = roots.relativize("/mnt/real/target/x".as_ref());
        assert_eq!(path.to_string(), "<target>/x");
        assert_eq!(roots.resolve(&path), Some("/t/x".into()));
    }

    #[test]
    fn the_file_system_root_is_no_root() {
        let roots = roots("/", "relative");
        assert_eq!(roots.spellings().count(), 0);
    }

    proptest! {
        #[test]
        fn resolving_undoes_relativizing(rest in "[a-z/]{0,12}") {
            let roots = roots("/ws/target", "/ws");
            let path = PathBuf::from(format!("/ws{rest}"));
            prop_assert_eq!(roots.resolve(&roots.relativize(&path)), Some(path));
        }
    }
}
