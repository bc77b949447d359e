//! Restoring: placing the outputs of a result and replaying its messages.
//!
//! All outputs are first written under temporary names beside their places and verified.
//! Only when every one of them is good does the replay begin, so that a damaged store is
//! still a miss and never half a hit. Then each file gets its name just before the
//! message that announces it is emitted, which keeps what cargo relies on: that an
//! announced file is there.

use std::path::{Path, PathBuf};

use crate::check::MissReason;
use crate::result::{CompileResult, Content, Role};
use crate::roots::Roots;
use crate::run::Sink;
use crate::rustc::messages;
use crate::store::{Placed, Store, StoreError};

/// Outputs waiting for their names, and the messages to replay.
pub(crate) struct Restored {
    files: Vec<(PathBuf, Option<Placed>)>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Why a result could not be restored.
#[derive(Debug)]
pub(crate) enum RestoreError {
    /// The store no longer has it, or not undamaged.
    Miss(MissReason),
    /// The place of an output cannot be written to; the compiler will say why.
    Place(StoreError),
}

/// Writes and verifies the outputs of a result under temporary names.
pub(crate) fn prepare(
    store: &Store,
    result: &CompileResult,
    roots: &Roots,
    path_of: impl Fn(&Role) -> Option<PathBuf>,
) -> Result<Restored, RestoreError> {
    let damaged = || RestoreError::Miss(MissReason::Damaged);
    let mut files = Vec::with_capacity(result.outputs.len());
    for output in &result.outputs {
        let path = path_of(&output.role).ok_or_else(damaged)?;
        let placed = match &output.content {
            Content::Blob(blob) => {
                let placed = store.place(*blob, &path, output.executable);
                placed.map_err(|e| match e {
                    StoreError::Corrupt { .. } => damaged(),
                    e => RestoreError::Place(e),
                })?
            }
            Content::Text(template) => {
                let text = template.fill(roots).ok_or_else(damaged)?;
                let placed = Placed::text(&path, &text);
                Some(placed.map_err(|e| RestoreError::Place(e.into()))?)
            }
            // A compilation makes neither.
            Content::Directory | Content::Link(_) => return Err(damaged()),
        };
        let placed = placed.ok_or(RestoreError::Miss(MissReason::Evicted))?;
        files.push((path, Some(placed)));
    }
    Ok(Restored {
        files,
        stdout: result.stdout.fill(roots).ok_or_else(damaged)?,
        stderr: result.stderr.fill(roots).ok_or_else(damaged)?,
    })
}

impl Restored {
    /// Gives the files their names and replays the messages.
    pub(crate) fn replay(
        mut self,
        cwd: &Path,
        stdout: Sink<'_>,
        stderr: Sink<'_>,
    ) -> Result<(), StoreError> {
        if !self.stdout.is_empty() {
            stdout(&self.stdout);
        }
        let messages = std::mem::take(&mut self.stderr);
        for line in messages.split_inclusive(|&b| b == b'\n') {
            if let Some(path) = messages::artifact(line) {
                let path = cwd.join(path);
                self.commit(|place| *place == path)?;
            }
            stderr(line);
        }
        self.commit(|_| true)
    }

    fn commit(&mut self, which: impl Fn(&PathBuf) -> bool) -> Result<(), StoreError> {
        for (path, placed) in &mut self.files {
            if which(path)
                && let Some(placed) = placed.take()
            {
                placed.commit()?;
            }
        }
        Ok(())
    }
}
