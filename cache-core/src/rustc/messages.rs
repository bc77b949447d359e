//! rustc's messages on standard error.
//!
//! With `--error-format=json --json=artifacts`, every line is a JSON object; those with
//! `"$message_type":"artifact"` announce a file that has been written. Cargo starts
//! dependents at the line whose artifact ends in `.rmeta`, so lines are handed on one by
//! one.
//!
//! Where prefixes are remapped (see [`super::place`]), rustc shows the new names also in
//! diagnostics. Relative sources, the common case, are not affected; but a file given by
//! an absolute path (generated code in `OUT_DIR`), or one of another workspace crate,
//! would show as `./…`. [`Restorer`] puts the directory back, so that messages are those
//! of a compiler that was called directly. rustc itself never starts a path with `./`,
//! so the start of a path is recognised by what the message format puts before it.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde::Deserialize;

use crate::roots::{Escaping, Root, Roots};

use super::place::{TARGET_NAME, WORKSPACE_NAME};

#[derive(Deserialize)]
struct Artifact {
    artifact: PathBuf,
}

/// The file that a line announces, if it announces one.
pub(crate) fn artifact(line: &[u8]) -> Option<PathBuf> {
    // Most other lines are long diagnostics: do not parse those.
    if !line.starts_with(b"{\"$message_type\":\"artifact\"") {
        return None;
    }
    let artifact: Artifact = serde_json::from_slice(line).ok()?;
    Some(artifact.artifact)
}

/// What precedes the path of a source in messages: the JSON field, and the arrows of the
/// rendered text with and without colours (escaped as JSON or not).
const BEFORE_PATH: &[&str] = &[
    "\"file_name\":\"",
    "\"rendered\":\"",
    "--> ",
    "--> \u{1b}[0m",
    "--> \\u001b[0m",
    "::: ",
    "::: \u{1b}[0m",
    "::: \\u001b[0m",
];

/// Undoes the remapping of prefixes in messages.
pub(crate) struct Restorer {
    /// Text to replace, and by what; longer names first.
    replacements: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Restorer {
    /// A restorer for messages of the compiler. Without `remapped` it changes nothing.
    pub(crate) fn new(roots: &Roots, remapped: bool, json: bool) -> Self {
        let mut replacements = Vec::new();
        let escaping = if json { Escaping::Json } else { Escaping::Raw };
        let names = [
            (Root::Target, TARGET_NAME),
            (Root::Workspace, WORKSPACE_NAME),
        ];
        for (root, name) in names.into_iter().filter(|_| remapped) {
            let Some(path) = roots.get(root) else {
                continue;
            };
            let path = escaping.escape(path.as_os_str().as_bytes());
            for before in BEFORE_PATH {
                let found = format!("{before}{name}/").into_bytes();
                let put = [before.as_bytes(), &path, b"/"].concat();
                replacements.push((found, put));
            }
        }
        Self { replacements }
    }

    /// The line as a compiler called directly would have written it.
    pub(crate) fn restore(&self, line: &[u8]) -> Vec<u8> {
        let mut line = line.to_vec();
        // No remapped name, nothing to do: by far the most lines.
        if memchr::memmem::find(&line, b"./").is_none() {
            return line;
        }
        for (found, put) in &self.replacements {
            if memchr::memmem::find(&line, found).is_some() {
                line = replace(&line, found, put);
            }
        }
        line
    }
}

fn replace(text: &[u8], found: &[u8], put: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memmem::find(rest, found) {
        out.extend_from_slice(rest.get(..at).unwrap_or_default());
        out.extend_from_slice(put);
        rest = rest.get(at + found.len()..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_are_recognised() {
        let line = br#"{"$message_type":"artifact","artifact":"/t/libx.rmeta","emit":"metadata"}"#;
        assert_eq!(artifact(line), Some("/t/libx.rmeta".into()));
        assert_eq!(artifact(br#"{"$message_type":"diagnostic"}"#), None);
        assert_eq!(artifact(b"plain text"), None);
    }

    #[test]
    fn remapped_paths_are_put_back() {
        let mut roots = Roots::default();
        roots.add(Root::Workspace, "/ws");
        roots.add(Root::Target, "/elsewhere/t");
        let restorer = Restorer::new(&roots, true, true);
        let line = br#"{"file_name":"./a/lib.rs","rendered":" --> \u001b[0m./target/g.rs:1\n ::: ./b.rs ./c"}"#;
        assert_eq!(
            String::from_utf8(restorer.restore(line)).unwrap(),
            r#"{"file_name":"/ws/a/lib.rs","rendered":" --> \u001b[0m/elsewhere/t/g.rs:1\n ::: /ws/b.rs ./c"}"#
        );
        let off = Restorer::new(&roots, false, true);
        assert_eq!(off.restore(line), line);
    }
}
