//! Placing a tree.
//!
//! Which of its files is the newer, by the clock of the process that made them, is not known to the tick. So all get one
//! time, directories and links too: nothing is older than what it was made from, as `make` and `-nt` see it.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::is_plain;
use crate::error::PathError;
use crate::os::fs;
use crate::outcome::{Change, MissReason};
use crate::outputs::restore::RestoreError;
use crate::outputs::result::{CompileResult, Content, Output, Role};
use crate::roots::{Root, Roots};
use crate::store::{Placed, Shape, Store};

/// Restores a tree in the place of an empty directory.
pub(crate) fn restore(
    store: &Store,
    result: &CompileResult,
    roots: &Roots,
    dir: &Path,
) -> Result<(), RestoreError> {
    if result.outputs.is_empty() {
        return Ok(());
    }
    let name = format!(".cachewrap-out-{}", std::process::id());
    let aside = dir.with_file_name(name);
    // Left by a process of the same id that was killed.
    let _ = fs::remove_any(&aside);
    fs::create_dir_with_mode(&aside, 0o700).map_err(refused)?;
    let placer = Placer {
        store,
        result,
        roots,
        dir: aside.join("out"),
    };
    let outcome = placer
        .place()
        .and_then(|()| fs::rename(&placer.dir, dir).map_err(refused));
    let _ = fs::remove_any(&aside);
    outcome
}

fn refused(e: PathError) -> RestoreError {
    RestoreError::Place(e.into())
}

fn damaged(output: &Output) -> RestoreError {
    RestoreError::damaged(format!("output {:?}", output.role))
}

struct Placer<'a> {
    store: &'a Store,
    result: &'a CompileResult,
    roots: &'a Roots,
    dir: PathBuf,
}

impl Placer<'_> {
    /// Makes everything. That each output lies in a directory that was made before was found
    /// when the result was read.
    fn place(&self) -> Result<(), RestoreError> {
        fs::create_dir_with_mode(&self.dir, 0o777).map_err(refused)?;
        let mut unusual = Vec::new();
        for output in &self.result.outputs {
            let (path, mode) = self.role(output)?;
            self.place_one(output, &path, mode)?;
            if let (Content::Directory, Some(mode)) = (&output.content, mode) {
                unusual.push((path, mode));
            }
        }
        // By the clock that other files get their times from, which is behind the precise one.
        let made = fs::symlink_metadata(&self.dir).map_err(refused)?;
        if let Ok(time) = made.modified() {
            for output in &self.result.outputs {
                let (path, _) = self.role(output)?;
                fs::set_modified_of_name(&path, time).map_err(refused)?;
            }
            fs::set_modified_of_name(&self.dir, time).map_err(refused)?;
        }
        // Inner ones first: a directory may be closed by its mode.
        for (path, mode) in unusual.iter().rev() {
            fs::set_mode(path, *mode).map_err(refused)?;
        }
        Ok(())
    }

    fn role(&self, output: &Output) -> Result<(PathBuf, Option<u32>), RestoreError> {
        match &output.role {
            Role::InTree { path, mode } => {
                let path = self.dir.join(std::ffi::OsStr::from_bytes(path));
                Ok((path, *mode))
            }
            Role::InOutDir(_) | Role::Emit(_) => Err(damaged(output)),
        }
    }

    fn place_one(
        &self,
        output: &Output,
        path: &Path,
        mode: Option<u32>,
    ) -> Result<(), RestoreError> {
        let usual = Shape::of_output(output.executable);
        let shape = Shape {
            mode: mode.unwrap_or(usual.mode),
            follows_umask: mode.is_none(),
            holes: matches!(output.content, Content::Sparse(_)),
        };
        match &output.content {
            Content::Directory => {
                // Its owner makes what is in it; nobody else needs to enter before the end.
                let mode = if mode.is_some() { 0o700 } else { 0o777 };
                fs::create_dir_with_mode(path, mode).map_err(refused)
            }
            Content::Link(template) => {
                let target = template.fill(self.roots).ok_or_else(|| damaged(output))?;
                let target = Path::new(std::ffi::OsStr::from_bytes(&target));
                fs::symlink(target, path).map_err(refused)
            }
            Content::SameAs(original) => {
                let original = usize::try_from(*original).ok();
                let original = original.and_then(|n| self.result.outputs.get(n));
                let (original, _) = self.role(original.ok_or_else(|| damaged(output))?)?;
                fs::hard_link(&original, path).map_err(refused)
            }
            Content::Text(template) => {
                let mut roots = template.roots();
                if let Some(root) = roots.find(|root| !is_plain(self.roots, *root)) {
                    return Err(RestoreError::Miss(unplain(root, self.roots)));
                }
                let text = template.fill(self.roots).ok_or_else(|| damaged(output))?;
                let placed = Placed::text_in_shape(path, &text, shape).map_err(refused)?;
                placed.commit().map_err(refused)
            }
            Content::Blob(blob) | Content::Sparse(blob) => {
                let placed = self.store.place_in_shape(*blob, path, shape);
                let placed = placed.map_err(RestoreError::of_blob)?;
                let placed = placed.ok_or_else(|| RestoreError::evicted(*blob))?;
                placed.commit().map_err(refused)
            }
        }
    }
}

fn unplain(root: Root, roots: &Roots) -> MissReason {
    let new = roots.get(root).map(|path| path.display().to_string());
    MissReason::Changed(Change {
        kind: "place",
        what: root.name().to_owned(),
        old: "a path without special characters".to_owned(),
        new: new.unwrap_or_default(),
    })
}
