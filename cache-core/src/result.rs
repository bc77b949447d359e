//! The compile result: what a compilation produced.
//!
//! ```text
//! file = frame 'R' version 1 (see codec), body = CompileResult
//! ```
//! Version history: 1, the first.
//!
//! A result never says *where* its outputs go: an output is named relative to the
//! output directory of the invocation that restores it, or by the kind of `--emit`
//! whose path that invocation gives. So nothing in a result, however damaged or
//! malicious, can write outside the places the compiler itself would have written to.

use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError, Kind};
use crate::digest::{BlobRef, Digest};
use crate::roots::Template;

pub(crate) const KIND: Kind = Kind {
    tag: b'R',
    version: 1,
};

/// Where an output belongs, in terms of the invocation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// A file of this name in the output directory.
    InOutDir(String),
    /// The path that `--emit kind=path` gives for this kind.
    Emit(String),
    /// A path below the output directory of a build script.
    InTree {
        /// Relative to the directory; bytes, as paths need not be UTF-8.
        path: Vec<u8>,
        /// Its permissions where they do not just follow the umask.
        mode: Option<u32>,
    },
}

impl Role {
    /// Whether the name, if there is one, is a plain file name, and a path stays below
    /// its directory.
    pub fn is_safe(&self) -> bool {
        match self {
            Self::InOutDir(name) => {
                !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0'])
            }
            Self::Emit(_) => true,
            Self::InTree { path, .. } => path
                .split(|&b| b == b'/')
                .all(|name| !matches!(name, b"" | b"." | b"..") && !name.contains(&0)),
        }
    }
}

/// The content of an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Bytes kept in the blob store.
    Blob(BlobRef),
    /// Text with roots to fill in (dep-info); kept in the result itself.
    Text(Template),
    /// No file but a directory.
    Directory,
    /// No file but a symbolic link with this text.
    Link(Template),
}

/// One file (or link, or directory) that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Where it belongs.
    pub role: Role,
    /// Whether it is executable. Other permissions follow the umask where it is
    /// restored.
    pub executable: bool,
    /// What it holds.
    pub content: Content,
}

/// Everything needed to do without the compiler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompileResult {
    /// What was compiled, for people: the crate's name and kind.
    pub unit: String,
    /// The toolchain that compiled it.
    pub toolchain: Digest,
    /// The files written.
    pub outputs: Vec<Output>,
    /// What went to standard output.
    pub stdout: Template,
    /// What went to standard error.
    pub stderr: Template,
    /// The exit status; zero except for queries.
    pub status: i32,
    /// How long the compiler ran, microseconds.
    pub duration_us: u64,
    /// When it was stored, seconds since the epoch. A result whose file is newer than
    /// this by more than a moment has been hit.
    pub created: u64,
}

impl CompileResult {
    /// The blobs it needs.
    pub fn blobs(&self) -> impl Iterator<Item = BlobRef> {
        self.outputs
            .iter()
            .filter_map(|output| match output.content {
                Content::Blob(blob) => Some(blob),
                Content::Text(_) | Content::Directory | Content::Link(_) => None,
            })
    }

    /// The file's bytes.
    pub fn encode(&self) -> Result<Vec<u8>, bincode::error::EncodeError> {
        codec::encode(KIND, self)
    }

    /// Reads what [`encode`](Self::encode) wrote; a name that is not a plain file name
    /// makes the whole result corrupt.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let result: Self = codec::decode(KIND, bytes)?;
        if result.outputs.iter().all(|output| output.role.is_safe()) {
            Ok(result)
        } else {
            Err(DecodeError::Corrupt)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str) -> CompileResult {
        let output = |role, content| Output {
            role,
            executable: false,
            content,
        };
        CompileResult {
            unit: "x (lib)".into(),
            toolchain: Digest::of(b"toolchain"),
            outputs: vec![
                output(
                    Role::InOutDir(name.into()),
                    Content::Blob(BlobRef::of(b"blob")),
                ),
                output(
                    Role::Emit("dep-info".into()),
                    Content::Text(Template::literal(b"x.d: x.rs\n")),
                ),
            ],
            stdout: Template::default(),
            stderr: Template::literal(b"warning\n"),
            status: 0,
            duration_us: 1_000,
            created: 1_700_000_000,
        }
    }

    #[test]
    fn the_bytes_of_a_result_are_fixed() {
        let bytes = sample("libx.rlib").encode().unwrap();
        assert_eq!(CompileResult::decode(&bytes), Ok(sample("libx.rlib")));
        // Other bytes mean another layout: raise the version of KIND.
        assert_eq!(
            Digest::of(&bytes).to_hex(),
            "83ac20282d66d4f8c7c56b07ecd188fc91b4a31c361709172940b0699d1352be"
        );
    }

    #[test]
    fn an_output_cannot_leave_its_directory() {
        for name in ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\0b"] {
            let bytes = sample(name).encode().unwrap();
            let decoded = CompileResult::decode(&bytes);
            assert_eq!(decoded, Err(DecodeError::Corrupt), "{name:?}");
        }
    }

    #[test]
    fn a_path_cannot_leave_its_tree() {
        for (path, safe) in [
            ("a/b", true),
            ("a/../b", false),
            ("/a", false),
            ("a//b", false),
            ("", false),
            ("a/.", false),
        ] {
            let role = Role::InTree {
                path: path.into(),
                mode: None,
            };
            assert_eq!(role.is_safe(), safe, "{path:?}");
        }
    }

    #[test]
    fn every_flipped_byte_is_rejected() {
        let bytes = sample("libx.rlib").encode().unwrap();
        for i in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[i] ^= 0x20;
            assert!(CompileResult::decode(&bad).is_err(), "byte {i}");
        }
    }
}
