//! Times, owners and numbers of links: what changes while contents stay, and hardly anybody minds.
//!
//! Everybody who looks whether there is a file, or how long it is, is told these too. A fresh checkout has other times, so
//! they are inputs only of code that may make something of them:
//!
//! | who | if | of what it looked at |
//! |---|---|---|
//! | a macro, or a build script's own program | its functions or sources ask for them (`names::minds`) | those that these ask for, of what it opened too |
//! | programs that they run whose business it is: `stat`, `tar` | they run | when files were written, their owners and links |
//! | others that may do that, `ls`, `find` | the unit's own code runs them | the same |
//! | these under others, shells and other interpreters | some code of a package's own compares or names them (`names::minds`) | those that it names |
//! | those that copy, and the like: `cp`, `touch` | they give some file times, which others then look at | as `tar` |
//! | `make`, `ninja` | nobody reads one of the files that they looked at: it was older than what was made from it | when files were written |
//! | `git` | it looks at a file of its tree itself: unchanged is what has the times that it remembers | as `tar` |
//!
//! When a file was accessed changes by looking, so results of who may mind that are not stored.
//!
//! Not recorded are what the process wrote itself, and the times of directories that builds write to: those that hold the
//! target directory, and those in it.
//!
//! What can go wrong: a file is touched meanwhile. Then nothing is stored.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::formats::digest::BlobRef;
use crate::formats::key::KeyHasher;
use crate::inputs::facts::Facts;
use crate::inputs::input::{FileType, Input};
use crate::inputs::modes;
use crate::inputs::names::{self, Minds};
use crate::inputs::record::Recorder;
use crate::inputs::sort::Summary;
use crate::os::fs;
use crate::os::stamp::Stamp;
use crate::outcome::{NotStored, Refusal};
use crate::roots::{Root, RootedPath};

/// Who looked at something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// Macros, or the script's own program.
    Itself,
    /// A program that tells times.
    Teller,
    /// A program that runs what it reads, or tells times if it is told to.
    Interpreter,
    /// A program that compares times.
    Comparer,
}

/// Who looked at what, whether as what has this name itself, and what was there first.
pub(crate) type LooksAtTimes = BTreeMap<(Who, PathBuf, bool), Stamp>;

/// What is at a path, or has this name itself.
pub(crate) fn look(path: &Path, itself: bool) -> Option<Metadata> {
    let found = if itself {
        fs::symlink_metadata(path)
    } else {
        fs::metadata(path)
    };
    found.ok()
}

/// The input that something at a path comes to.
pub(crate) fn input(path: RootedPath, itself: bool, minds: Minds, found: &Metadata) -> Input {
    let mut hasher = KeyHasher::new("times");
    let mut number = |tag, number: i64| hasher.bytes(tag, &number.to_le_bytes());
    if minds.any(Minds::MODIFIED) {
        number("modified", found.mtime());
        number("and", found.mtime_nsec());
    }
    if minds.any(Minds::CHANGED) {
        number("changed", found.ctime());
        number("and", found.ctime_nsec());
    }
    if minds.any(Minds::OWNERS) {
        number("user", found.uid().into());
        number("group", found.gid().into());
    }
    if minds.any(Minds::LINKS) {
        number("links", found.nlink().cast_signed());
    }
    if minds.any(Minds::NUMBER) {
        number("is", found.ino().cast_signed());
    }
    if minds.any(Minds::CREATED) {
        let created = found.created().ok();
        let since = created.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let since = since.map(|since| since.as_nanos().to_le_bytes());
        hasher.optional("created", since.as_ref().map(<[u8; 16]>::as_slice));
    }
    Input::Times {
        path,
        itself,
        minds,
        found: hasher.finish(),
    }
}

impl Recorder<'_> {
    /// What code that minds it was told of what it looked at itself.
    pub(crate) fn note_times(
        &self,
        summary: &Summary,
        minds: Minds,
        inputs: &mut Facts,
    ) -> Result<(), Refusal> {
        let minds = minds.without(Minds::PERMISSIONS);
        self.note_times_for(Who::Itself, summary, minds, inputs)
    }

    /// What the programs were told that macros and scripts run. `code`: all code that may tell them what to ask for.
    pub(super) fn note_times_of_tools(
        &self,
        summary: &Summary,
        code: &[(BlobRef, PathBuf)],
        inputs: &mut Facts,
    ) -> Result<(), Refusal> {
        let told = Minds::MODIFIED.and(Minds::OWNERS).and(Minds::LINKS);
        self.note_times_for(Who::Teller, summary, told, inputs)?;
        self.note_times_for(Who::Comparer, summary, Minds::MODIFIED, inputs)?;
        let mut looks = summary.looks_at_times.keys();
        if looks.any(|(who, ..)| *who == Who::Interpreter) {
            let told = self.told_to_tell(code)?;
            self.note_times_for(Who::Interpreter, summary, told, inputs)?;
        }
        Ok(())
    }

    fn note_times_for(
        &self,
        who: Who,
        summary: &Summary,
        minds: Minds,
        inputs: &mut Facts,
    ) -> Result<(), Refusal> {
        if minds == Minds::default() {
            return Ok(());
        }
        let looks = summary.looks_at_times.iter();
        for ((_, path, itself), then) in looks.filter(|((by, ..), _)| *by == who) {
            let is_written_to = then.file_type == FileType::Dir && self.builds_write_to(path);
            let is_tools_own = who != Who::Itself && names::is_of_system(path);
            if self.produced.contains(path) || is_written_to || is_tools_own {
                continue;
            }
            if minds.any(Minds::ACCESSED) {
                return Err(NotStored::Machine.at(path));
            }
            inputs.insert(self.times(path, *itself, minds, then)?);
        }
        Ok(())
    }

    fn times(
        &self,
        path: &Path,
        itself: bool,
        minds: Minds,
        then: &Stamp,
    ) -> Result<Input, Refusal> {
        let changed = || NotStored::Changed.at(path);
        let now = modes::look(path, itself).ok_or_else(changed)?;
        let found = look(path, itself).ok_or_else(changed)?;
        let rooted = self.scene.roots.relativize(path);
        // Cargo links what lies there under other names.
        let is_linked =
            rooted.root == Some(Root::Target) && !minds.any(Minds::CHANGED.and(Minds::LINKS));
        if now.same_content(then) && (is_linked || now.ctime == then.ctime) {
            Ok(input(rooted, itself, minds, &found))
        } else {
            Err(changed())
        }
    }

    /// By where it leads: `ls -la` looks at `there/..`.
    fn builds_write_to(&self, dir: &Path) -> bool {
        let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let dir = real(dir);
        let target = self.scene.roots.get(Root::Target).map(real);
        target.is_some_and(|target| target.starts_with(&dir) || dir.starts_with(&target))
    }

    /// What code of a package's own may tell an interpreter to ask for. What an interpreter brings along asks for the times of its
    /// own files.
    fn told_to_tell(&self, code: &[(BlobRef, PathBuf)]) -> Result<Minds, Refusal> {
        let mut told = Minds::default();
        for (_, path) in code {
            let root = self.scene.roots.relativize(path).root;
            let is_own = !matches!(root, None | Some(Root::Home | Root::Sysroot));
            if is_own {
                told = told.and(names::told_to_tell(path)?);
            }
        }
        Ok(told)
    }
}
