//! The compile result: what a compilation produced.
//!
//! ```text
//! file = frame 'R' version 3 (see codec), body = CompileResult
//! ```
//! Version history: 1, the first; 2 knows files with holes and several names of one file
//! (`Content::Sparse`, `Content::SameAs`); 3, which variables its libraries only include files by.
//!
//! A result never says *where* its outputs go: an output is named relative to the
//! output directory of the invocation that restores it, or by the kind of `--emit`
//! whose path that invocation gives. So nothing in a result, however damaged or
//! malicious, can write outside the places the compiler itself would have written to. The
//! same holds of a tree: what an output lies in is a directory that an earlier output of the
//! same result makes, so that no link leads out of it. A result of another shape is refused
//! as damaged before anything of it is placed.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::formats::codec::{self, DecodeError, Kind};
use crate::formats::digest::{BlobRef, Digest};
use crate::roots::Template;

pub(crate) const KIND: Kind = Kind {
    tag: b'R',
    version: 3,
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
    /// Bytes kept in the blob store, of which blocks of zeros are holes in the file.
    Sparse(BlobRef),
    /// Another name (a hard link) of what the output of this number is, counted from 0; it
    /// comes earlier and is a file or a symbolic link.
    SameAs(u32),
}

impl Content {
    pub(crate) fn blob(&self) -> Option<BlobRef> {
        match self {
            Self::Blob(blob) | Self::Sparse(blob) => Some(*blob),
            Self::Text(_) | Self::Directory | Self::Link(_) | Self::SameAs(_) => None,
        }
    }
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
    /// Variables that the sources of the libraries among these only include files by: that such a library names
    /// one says nothing. Who compiles against it has only the library.
    pub included: Vec<Vec<u8>>,
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
            .filter_map(|output| output.content.blob())
    }

    /// The file's bytes.
    pub fn encode(&self) -> Result<Vec<u8>, bincode::error::EncodeError> {
        codec::encode(KIND, self)
    }

    /// Reads what [`encode`](Self::encode) wrote; a name that is not a plain file name, or a
    /// tree that does not hold together, makes the whole result corrupt.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let result: Self = codec::decode(KIND, bytes)?;
        if hold_together(&result.outputs) {
            Ok(result)
        } else {
            Err(DecodeError::Corrupt)
        }
    }
}

/// Whether each output has a place of its own, and all are files in the places of a
/// compiler's outputs, or all make one tree.
fn hold_together(outputs: &[Output]) -> bool {
    if !outputs.iter().all(|output| output.role.is_safe()) {
        return false;
    }
    let is_in_tree = |output: &Output| matches!(output.role, Role::InTree { .. });
    if outputs.iter().any(is_in_tree) {
        return make_a_tree(outputs);
    }
    let mut places = HashSet::new();
    outputs.iter().all(|output| {
        let is_file = matches!(output.content, Content::Blob(_) | Content::Text(_));
        is_file && places.insert(&output.role)
    })
}

/// Whether outputs can be made in their order, each in a directory that was made before.
fn make_a_tree(outputs: &[Output]) -> bool {
    let mut dirs: HashSet<&[u8]> = HashSet::from([&b""[..]]);
    let mut paths = HashSet::new();
    outputs.iter().enumerate().all(|(at, output)| {
        let Role::InTree { path, mode } = &output.role else {
            return false;
        };
        let parent = memchr::memrchr(b'/', path).and_then(|end| path.get(..end));
        let may_have_mode = match &output.content {
            Content::Link(_) => mode.is_none() && !output.executable,
            Content::Directory => {
                dirs.insert(path);
                !output.executable
            }
            Content::SameAs(original) => {
                let original = usize::try_from(*original).ok().filter(|n| *n < at);
                let original = original.and_then(|n| outputs.get(n));
                original.is_some_and(|original| may_be_linked(original, output))
            }
            Content::Blob(_) | Content::Sparse(_) | Content::Text(_) => true,
        };
        may_have_mode
            && mode.is_none_or(|mode| mode <= 0o7777)
            && dirs.contains(parent.unwrap_or_default())
            && paths.insert(path)
    })
}

/// Whether one output can be another name of the other: all that a file is, it is under each
/// of its names.
fn may_be_linked(original: &Output, other: &Output) -> bool {
    let (Role::InTree { mode, .. }, Role::InTree { mode: its, .. }) = (&original.role, &other.role)
    else {
        return false;
    };
    let is_original = !matches!(original.content, Content::Directory | Content::SameAs(_));
    is_original && mode == its && original.executable == other.executable
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
            included: vec![b"OUT_DIR".to_vec()],
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
            "4867e8433bd7a6d1d058a0d5e124dea93586a4679bc7042846c7434bafcec164"
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

    /// A tree of these paths and contents, without modes.
    fn tree(outputs: &[(&str, Content)]) -> CompileResult {
        let outputs = outputs.iter().map(|(path, content)| Output {
            role: Role::InTree {
                path: path.as_bytes().to_vec(),
                mode: None,
            },
            executable: false,
            content: content.clone(),
        });
        CompileResult {
            outputs: outputs.collect(),
            ..sample("x")
        }
    }

    fn is_read(result: &CompileResult) -> bool {
        let decoded = CompileResult::decode(&result.encode().unwrap());
        assert!(decoded.is_err() || decoded.as_ref() == Ok(result));
        decoded.is_ok()
    }

    #[test]
    fn a_tree_holds_together() {
        let (dir, file) = (Content::Directory, Content::Blob(BlobRef::of(b"blob")));
        let link = Content::Link(Template::literal(b"/etc"));
        let holes = Content::Sparse(BlobRef::of(b"blob"));
        let again = |n| Content::SameAs(n);
        for (outputs, holds) in [
            (
                &[("a", &dir), ("a/b", &dir), ("a/b/c", &file), ("l", &link)][..],
                true,
            ),
            (
                &[
                    ("f", &file),
                    ("g", &again(0)),
                    ("h", &again(0)),
                    ("s", &holes),
                ],
                true,
            ),
            (&[("l", &link), ("m", &again(0))], true),
            // A link and then files below it; a file; nothing at all; what comes later.
            (&[("a", &link), ("a/passwd", &file)], false),
            (&[("a", &dir), ("a/l", &link), ("a/l/passwd", &file)], false),
            (&[("a", &file), ("a/b", &file)], false),
            (&[("a/b", &file)], false),
            (&[("a/b", &file), ("a", &dir)], false),
            (&[("d", &dir), ("e", &again(0)), ("e/b", &file)], false),
            // Twice the same, of whatever kind.
            (&[("a", &dir), ("a", &dir)], false),
            (&[("a", &dir), ("a", &link), ("a/b", &file)], false),
            (&[("a", &link), ("a", &dir), ("a/b", &file)], false),
            (&[("f", &file), ("f", &again(0))], false),
            // Names of what is no file, of themselves, of what comes later or is another name.
            (&[("d", &dir), ("e", &again(0))], false),
            (&[("f", &again(0))], false),
            (&[("f", &again(1)), ("g", &file)], false),
            (&[("f", &file), ("g", &again(0)), ("h", &again(1))], false),
            (&[("f", &file), ("g", &again(u32::MAX))], false),
        ] {
            let outputs: Vec<_> = outputs.iter().map(|(p, c)| (*p, (*c).clone())).collect();
            assert_eq!(is_read(&tree(&outputs)), holds, "{outputs:?}");
        }
    }

    #[test]
    fn only_files_and_directories_have_permissions() {
        let with = |content: &Content, given: Option<u32>, executable: bool| {
            let mut result = tree(&[("x", content.clone())]);
            let output = &mut result.outputs[0];
            output.executable = executable;
            let Role::InTree { mode, .. } = &mut output.role else {
                unreachable!("it is a tree");
            };
            *mode = given;
            is_read(&result)
        };
        let (dir, file) = (Content::Directory, Content::Blob(BlobRef::of(b"blob")));
        let link = Content::Link(Template::literal(b"/etc/passwd"));
        assert!(with(&file, Some(0o4755), true) && with(&dir, Some(0o700), false));
        assert!(!with(&link, Some(0o777), false) && !with(&link, None, true));
        assert!(!with(&dir, None, true) && !with(&file, Some(0o10_644), false));
        // Names of one file have the same ones.
        let mut result = tree(&[("f", file), ("g", Content::SameAs(0))]);
        result.outputs[1].executable = true;
        assert!(!is_read(&result));
    }

    #[test]
    fn a_compilation_makes_files_in_places_of_their_own() {
        let content = |content| {
            let mut result = sample("libx.rlib");
            result.outputs[0].content = content;
            is_read(&result)
        };
        assert!(!content(Content::Directory) && !content(Content::SameAs(0)));
        assert!(!content(Content::Link(Template::literal(b"/etc"))));
        assert!(!content(Content::Sparse(BlobRef::of(b"blob"))));
        for n in 0..2 {
            let mut result = sample("libx.rlib");
            result.outputs.push(result.outputs[n].clone());
            assert!(!is_read(&result), "two outputs in one place");
        }
        let mut result = sample("libx.rlib");
        let in_tree = tree(&[("x", Content::Directory)]).outputs.remove(0);
        result.outputs.push(in_tree);
        assert!(!is_read(&result), "a mixture");
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
