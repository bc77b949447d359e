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
use crate::outcome::MissReason;
use crate::outputs::result::{CompileResult, Content, Role};
use crate::roots::Roots;
use crate::run::Sink;
use crate::store::memo::Memo;
use crate::store::{Placed, Store, StoreError};

/// Outputs waiting for their names.
pub(crate) struct Prepared {
    files: Vec<(Option<BlobRef>, Placed)>,
    messages: Messages,
}

/// What a process said.
pub(crate) struct Messages {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Messages {
    /// Those of a result; `None` where a root is not known that they name.
    pub(crate) fn of(result: &CompileResult, roots: &Roots) -> Option<Self> {
        Some(Self {
            stdout: result.stdout.fill(roots)?,
            stderr: result.stderr.fill(roots)?,
        })
    }

    /// What went to standard output and to standard error.
    pub(crate) fn streams(&self) -> (&[u8], &[u8]) {
        (&self.stdout, &self.stderr)
    }

    /// Says it again.
    pub(crate) fn replay(&self, stdout: Sink<'_>, stderr: Sink<'_>) {
        if !self.stdout.is_empty() {
            stdout(&self.stdout);
        }
        for line in self.stderr.split_inclusive(|&b| b == b'\n') {
            stderr(line);
        }
    }
}

/// Why a result could not be restored.
#[derive(Debug)]
pub(crate) enum RestoreError {
    /// The store no longer has it, or not undamaged.
    Miss(MissReason),
    /// The place of an output cannot be written to; the compiler will say why.
    Place(StoreError),
}

impl RestoreError {
    /// The result, or a part of it, is not what was stored.
    pub(crate) fn damaged(what: impl std::fmt::Display) -> Self {
        Self::Miss(MissReason::Damaged(what.to_string()))
    }

    /// A blob is not there any more.
    pub(crate) fn evicted(blob: BlobRef) -> Self {
        Self::Miss(MissReason::Evicted(format!("blob {}", blob.digest)))
    }

    /// What a blob could not be placed for.
    pub(crate) fn of_blob(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt { .. } => Self::damaged(error),
            error => Self::Place(error),
        }
    }
}

/// Writes and verifies the outputs of a result under temporary names.
pub(crate) fn prepare(
    store: &Store,
    result: &CompileResult,
    roots: &Roots,
    path_of: impl Fn(&Role) -> Option<PathBuf>,
) -> Result<Prepared, RestoreError> {
    let mut files = Vec::with_capacity(result.outputs.len());
    for output in &result.outputs {
        let damaged = || RestoreError::damaged(format!("output {:?}", output.role));
        let path = path_of(&output.role).ok_or_else(damaged)?;
        let placed = match &output.content {
            Content::Blob(blob) => {
                let placed = store.place(*blob, &path, output.executable);
                let placed = placed.map_err(RestoreError::of_blob)?;
                placed.ok_or_else(|| RestoreError::evicted(*blob))?
            }
            Content::Text(template) => {
                let text = template.fill(roots).ok_or_else(damaged)?;
                let placed = Placed::text(&path, &text);
                placed.map_err(|e| RestoreError::Place(e.into()))?
            }
            // Only trees have those.
            Content::Directory | Content::Link(_) | Content::Sparse(_) | Content::SameAs(_) => {
                return Err(damaged());
            }
        };
        files.push((output.content.blob(), placed));
    }
    let messages = Messages::of(result, roots);
    let messages = messages.ok_or_else(|| RestoreError::damaged("messages"))?;
    Ok(Prepared { files, messages })
}

impl Prepared {
    /// Gives the files their names. What the compiler said is to be said after that.
    pub(crate) fn commit(self, memo: &Memo) -> Result<Messages, RestoreError> {
        for (blob, placed) in self.files {
            let placed = placed.commit_noting(blob, memo);
            placed.map_err(|e| RestoreError::Place(e.into()))?;
        }
        Ok(self.messages)
    }
}
