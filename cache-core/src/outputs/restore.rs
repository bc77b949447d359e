//! Restoring: placing the outputs of a result and replaying its messages.
//!
//! All outputs are first written under temporary names beside their places and verified.
//! Only when every one of them is good do they get their names, so that a damaged store
//! is still a miss and never half a hit. Only when all have their names is the first
//! message replayed: cargo relies on an announced file being there, and takes it ill to
//! be told of one twice, first by us and then by the compiler that had to step in.
//! Nothing is lost by not announcing metadata early, for renaming takes no time.

use std::path::PathBuf;

use crate::formats::digest::BlobRef;
use crate::inputs::check::MissReason;
use crate::outputs::result::{CompileResult, Content, Role};
use crate::roots::Roots;
use crate::run::Sink;
use crate::store::memo::Memo;
use crate::store::{Placed, Store, StoreError};

/// Outputs waiting for their names, and the messages to replay.
pub(crate) struct Restored {
    files: Vec<(Option<BlobRef>, Placed)>,
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
            // Only trees have those.
            Content::Directory | Content::Link(_) | Content::Sparse(_) | Content::SameAs(_) => {
                return Err(damaged());
            }
        };
        let placed = placed.ok_or(RestoreError::Miss(MissReason::Evicted))?;
        files.push((output.content.blob(), placed));
    }
    Ok(Restored {
        files,
        stdout: result.stdout.fill(roots).ok_or_else(damaged)?,
        stderr: result.stderr.fill(roots).ok_or_else(damaged)?,
    })
}

impl Restored {
    /// Gives the files their names and replays the messages.
    ///
    /// After an error nothing has been said, so that the compiler can say all of it.
    pub(crate) fn replay(
        self,
        memo: &Memo,
        stdout: Sink<'_>,
        stderr: Sink<'_>,
    ) -> Result<(), StoreError> {
        for (blob, placed) in self.files {
            placed.commit_noting(blob, memo)?;
        }
        if !self.stdout.is_empty() {
            stdout(&self.stdout);
        }
        for line in self.stderr.split_inclusive(|&b| b == b'\n') {
            stderr(line);
        }
        Ok(())
    }
}
