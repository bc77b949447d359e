//! Permissions, and what is no link: facts that contents do not tell.
//!
//! A process that asks `stat` is told the permissions whether it wants to know them or not, and most do not:
//! a loader looks whether there is a file, a compiler how long it is. What is told becomes an input of
//! those who may make something of it:
//!
//! | who | looks at | input |
//! |---|---|---|
//! | macros and the programs that they run, linkers that are scripts, wrappers | a path (`stat`, `lstat`, `statx`) | all of its permissions |
//! | the same | an open file, which is not seen | its owner's permissions, and `s` and `t` |
//! | the same | whether a path may be used (`access`) | the answer |
//! | the same | a path by executing it | that it may be executed, or may not |
//! | build scripts and all that they run | directories, in these ways | the same; of files, `Modes` has all |
//! | any of these | a path itself (`lstat`, `readlink`), or where it leads (`realpath`, `chdir`) | that it is no link |
//! | the compiler itself; compilers, assemblers, linkers and `make` of the system | anything | nothing, but that access depends on the user |
//!
//! Whoever opens a file has its size from `fstat`, as `std::fs::read` does, and is told its permissions there. That
//! must not keep people apart whose umasks differ, which decide what group and others may. What the owner
//! may, git and `COPY` keep.
//!
//! Macros run in the compiler, and nothing tells one's look from the other's. Before it has loaded one, all are the compiler's.
//! Afterwards, libraries, outputs, and the sources that it names in dep-info are taken to be looked at by the compiler: of
//! sources it looks for modules (`.rs`), and opens them all. A macro's look at the permissions of these is
//! not seen, unless it has functions that ask for permissions (`names::minds`): then those of sources count. The loader's look at the directories of `LD_LIBRARY_PATH` is nobody's, nor is a shell's at the one that it is in.
//!
//! What can go wrong:
//! - Permissions are changed while the process runs: not stored.
//! - A look is not noted since it repeats another program's, who does not mind. Where something is there, `stat` by each program is
//!   noted, and by the compiler anew when it has loaded a library; of other looks in a tree of any programs nobody is told apart, so
//!   there all are taken to mind.
//! - A directory above a root is a link elsewhere: roots are where they are, so nothing is recorded of what holds one.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::inputs::facts::Facts;
use crate::inputs::input::{FileType, Input};
use crate::inputs::names;
use crate::inputs::record::Recorder;
use crate::inputs::sort::Summary;
use crate::os::fs;
use crate::os::stamp::Stamp;
use crate::outcome::{NotStored, Refusal};
use crate::roots::RootedPath;

/// All permissions.
pub(crate) const ALL: u16 = 0o7777;

/// Those that no umask takes away.
pub(crate) const OWNERS: u16 = 0o7700;

/// None of them: only that it is no link.
pub(crate) const NONE: u16 = 0;

/// Programs of the system that mind neither permissions nor links, but for what they may use: contents and times decide
/// what they do. Their names may have the
/// target before them and a version behind.
const INDIFFERENT: &[&str] = &[
    "ar",
    "as",
    "c++",
    "cc",
    "cc1",
    "cc1plus",
    "clang",
    "clang++",
    "collect2",
    "cpp",
    "g++",
    "gcc",
    "gmake",
    "gold",
    "ld",
    "ld.bfd",
    "ld.gold",
    "ld.lld",
    "ld.mold",
    "lld",
    "lto-wrapper",
    "lto1",
    "make",
    "mold",
    "ninja",
    "pkg-config",
    "pkgconf",
    "ranlib",
];

/// Programs that look at the directory that they are in to see whether it is called what `PWD` says.
const NAME_DIRECTORY: &[&str] = &[
    "ash", "bash", "cmake", "dash", "git", "ksh", "mksh", "sh", "zsh",
];

/// A look at permissions, or whether something is a link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Look {
    pub(crate) path: PathBuf,
    /// Whether it is about what has this name itself.
    pub(crate) itself: bool,
    /// Which permissions may have been minded.
    pub(crate) mask: u16,
    /// Whether the compiler's process looked.
    pub(crate) by_compiler: bool,
    /// Whether it is spelled as the directory that the process is in. Equal paths may be spelled otherwise.
    pub(crate) as_dot: bool,
    /// The program that looked at a directory, by the path that it was executed by.
    pub(crate) by: Option<PathBuf>,
}

/// What looks have found.
pub(crate) type Looks = BTreeMap<Look, (FileType, u32)>;

/// Whether a program, by its canonical path, does not mind permissions.
pub(crate) fn is_indifferent(program: &Path) -> bool {
    let name = program.file_name().and_then(OsStr::to_str).unwrap_or("");
    let is_version = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let name = match name.rsplit_once('-') {
        Some((name, version)) if is_version(version) => name,
        _ => name,
    };
    let is_known = |known: &str| {
        let before = name.strip_suffix(known);
        before.is_some_and(|before| before.is_empty() || before.ends_with('-'))
    };
    names::is_of_system(program) && INDIFFERENT.iter().any(|known| is_known(known))
}

/// Whether a program looks at the directory that it is in, and at what `PWD` says, to see what that is called.
fn names_directory(program: &Path) -> bool {
    let is_known = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        NAME_DIRECTORY.iter().any(|known| name == *known)
    };
    let interpreter = || fs::interpreter(&fs::read_start(program, 256).ok()?);
    is_known(program) || interpreter().is_some_and(|interpreter| is_known(&interpreter))
}

/// What is at a path, or has this name itself.
pub(crate) fn look(path: &Path, itself: bool) -> Option<Stamp> {
    if itself {
        Stamp::of_name(path).ok()
    } else {
        Stamp::of(path)
    }
}

/// The input that something at a path comes to.
pub(crate) fn input(path: RootedPath, itself: bool, mask: u16, found: &Stamp) -> Input {
    Input::Mode {
        path,
        itself,
        mask,
        mode: bits(found.mode) & mask,
        file_type: found.file_type,
    }
}

/// Permissions have twelve bits.
fn bits(mode: u32) -> u16 {
    u16::try_from(mode & u32::from(ALL)).unwrap_or(0)
}

impl Recorder<'_> {
    /// Whether a shell looked at the directory that it is in, which `PWD` may name.
    fn only_names_it(&self, looked: &Look, summary: &Summary) -> bool {
        let as_dot = Look {
            as_dot: true,
            ..looked.clone()
        };
        let is_own = looked.as_dot
            || self.scene.env.get("PWD") == Some(looked.path.as_os_str())
            || summary.modes.contains_key(&as_dot);
        is_own && looked.by.as_deref().is_some_and(names_directory)
    }

    /// What looks at permissions found, and which of the paths that were resolved are no links.
    pub(super) fn note_modes(&self, summary: &Summary, inputs: &mut Facts) -> Result<(), Refusal> {
        let mut masks: BTreeMap<(&Path, bool), u16> = BTreeMap::new();
        for (looked, (file_type, mode)) in &summary.modes {
            if self.produced.contains(&looked.path) || self.only_names_it(looked, summary) {
                continue;
            }
            let now = look(&looked.path, looked.itself);
            let is_same = now.is_some_and(|now| {
                now.file_type == *file_type && bits(now.mode ^ mode) & looked.mask == 0
            });
            if !is_same {
                return Err(NotStored::Changed.at(&looked.path));
            }
            *masks.entry((&looked.path, looked.itself)).or_default() |= looked.mask;
        }
        for (path, leads) in &summary.plain {
            let parts = path.ancestors().take(if *leads { usize::MAX } else { 1 });
            for part in parts.take_while(|part| !self.holds_root(part)) {
                // Who enters a directory may do so over links.
                let is_link = || look(part, true).is_some_and(|s| s.file_type == FileType::Link);
                if !leads && is_link() {
                    return Err(NotStored::Changed.at(part));
                }
                masks.entry((part, true)).or_default();
            }
        }
        for ((path, itself), mask) in masks {
            // Links are facts of their own.
            let now = look(path, itself).filter(|now| now.file_type != FileType::Link);
            if let Some(now) = now {
                let path = self.scene.roots.relativize(path);
                inputs.insert(input(path, itself, mask, &now));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_known_by_their_names_and_places() {
        for path in [
            "/usr/bin/x86_64-linux-gnu-gcc-13",
            "/usr/libexec/gcc/x86_64-linux-gnu/13/cc1plus",
            "/usr/bin/ld.lld",
            "/usr/bin/clang-19",
            "/usr/bin/aarch64-linux-gnu-ld.bfd",
        ] {
            assert!(is_indifferent(Path::new(path)), "{path}");
        }
        for path in [
            "/usr/bin/ls",
            "/usr/bin/bash",
            "/usr/bin/python3.12",
            "/ws/tools/gcc",
            "/usr/bin/false",
            "/usr/bin/hold",
        ] {
            assert!(!is_indifferent(Path::new(path)), "{path}");
        }
    }
}
