//! rustc's messages on standard error.
//!
//! With `--error-format=json --json=artifacts`, every line is a JSON object; those with
//! `"$message_type":"artifact"` announce a file that has been written. Cargo starts
//! dependents at the line whose artifact ends in `.rmeta`, so lines are handed on one by
//! one.
//!
//! Where prefixes are remapped (see [`super::remap`]), rustc shows the new names also in
//! diagnostics. Relative sources, the common case, are not affected; but a file given by
//! an absolute path (generated code in `OUT_DIR`), or one of another workspace crate,
//! would show as `./…`. [`Restorer`] puts the directory back, so that messages are those
//! of a compiler that was called directly. rustc itself never starts a path with `./`,
//! so the start of a path is recognised by what the message format puts before it.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde::Deserialize;

use crate::roots::{Escaping, IN_TYPES};

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

/// What precedes the path of a source in messages, besides what types without a name are called ([`IN_TYPES`]): the JSON
/// field, what implementations are called, and the arrows at the beginning of lines of the rendered text, with and
/// without colours (escaped as JSON or not).
const BEFORE_PATH: &[&str] = &["\"file_name\":\"", RENDERED, "<impl at "];
const RENDERED: &str = "\"rendered\":\"";
const ARROWS: &[&str] = &[
    "--> ",
    "--> \u{1b}[0m",
    "--> \\u001b[0m",
    "::: ",
    "::: \u{1b}[0m",
    "::: \\u001b[0m",
];

/// Text to replace.
struct Replacement {
    found: Vec<u8>,
    put: Vec<u8>,
    /// Whether it counts at the beginning of a line only: sources may look like messages.
    begins_line: bool,
}

/// Undoes the remapping of prefixes in messages.
pub(crate) struct Restorer {
    /// Longer names first.
    replacements: Vec<Replacement>,
}

impl Restorer {
    /// A restorer for messages of the compiler, in which paths have these names (longer ones
    /// first, see [`super::remap::names`]).
    pub(crate) fn new(names: &[(&str, PathBuf)], json: bool) -> Self {
        let mut replacements = Vec::new();
        let escaping = if json { Escaping::Json } else { Escaping::Raw };
        for (name, path) in names {
            let path = escaping.escape(path.as_os_str().as_bytes());
            let fields = BEFORE_PATH.iter().map(|before| (before.as_bytes(), false));
            let types = IN_TYPES.iter().map(|before| (*before, false));
            let arrows = ARROWS.iter().map(|before| (before.as_bytes(), true));
            for (before, begins_line) in fields.chain(types).chain(arrows) {
                replacements.push(Replacement {
                    found: [before, name.as_bytes(), b"/"].concat(),
                    put: [before, &path, b"/"].concat(),
                    begins_line,
                });
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
        for replacement in &self.replacements {
            if memchr::memmem::find(&line, &replacement.found).is_some() {
                line = replacement.apply(&line);
            }
        }
        line
    }
}

impl Replacement {
    fn apply(&self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        let mut done = 0;
        for at in memchr::memmem::find_iter(text, &self.found) {
            let before = text.get(..at).unwrap_or_default();
            if self.begins_line && !is_at_line_start(before) {
                continue;
            }
            out.extend_from_slice(text.get(done..at).unwrap_or_default());
            out.extend_from_slice(&self.put);
            done = at + self.found.len();
        }
        out.extend_from_slice(text.get(done..).unwrap_or_default());
        out
    }
}

/// Whether nothing but blanks and colours stands between the end of `before` and the
/// beginning of a line, of plain text or of text in JSON.
fn is_at_line_start(mut before: &[u8]) -> bool {
    loop {
        while let Some(shorter) = before.strip_suffix(b" ") {
            before = shorter;
        }
        let Some(shorter) = without_colour(before) else {
            break;
        };
        before = shorter;
    }
    let escaped = before.strip_suffix(b"n").map_or(0, |before| {
        let slashes = before.iter().rev().take_while(|&&b| b == b'\\');
        slashes.count()
    });
    // An even number of them are backslashes of the text, and the `n` is one too.
    before.is_empty()
        || before.ends_with(b"\n")
        || escaped % 2 == 1
        || before.ends_with(RENDERED.as_bytes())
}

/// `text` without the `ESC [ … m` at its end.
fn without_colour(text: &[u8]) -> Option<&[u8]> {
    let parameters = text.strip_suffix(b"m")?;
    let is_parameter = |b: &u8| b.is_ascii_digit() || *b == b';';
    let digits = parameters
        .iter()
        .rev()
        .take_while(|b| is_parameter(b))
        .count();
    let text = parameters
        .get(..parameters.len() - digits)?
        .strip_suffix(b"[")?;
    let escapes: [&[u8]; 2] = [b"\x1b", b"\\u001b"];
    escapes.iter().find_map(|escape| text.strip_suffix(*escape))
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
        let names = [("./target", "/elsewhere/t".into()), (".", "/ws".into())];
        let restorer = Restorer::new(&names, true);
        let line = br#"{"file_name":"./a/lib.rs","rendered":" --> \u001b[0m./target/g.rs:1\n ::: ./b.rs ./c"}"#;
        assert_eq!(
            String::from_utf8(restorer.restore(line)).unwrap(),
            r#"{"file_name":"/ws/a/lib.rs","rendered":" --> \u001b[0m/elsewhere/t/g.rs:1\n ::: /ws/b.rs ./c"}"#
        );
        let types = br#"{"label":"`{closure@./target/g.rs:1:2: 1:4}`, `{async block@./g.rs:1:2: 1:4}`, `a@./b`"}"#;
        assert_eq!(
            String::from_utf8(restorer.restore(types)).unwrap(),
            r#"{"label":"`{closure@/elsewhere/t/g.rs:1:2: 1:4}`, `{async block@/ws/g.rs:1:2: 1:4}`, `a@./b`"}"#
        );
        let off = Restorer::new(&[], true);
        assert_eq!(off.restore(line), line);
    }

    #[test]
    fn sources_that_look_like_messages_stay() {
        for (json, line, restored) in [
            (
                true,
                r#"{"rendered":"x\n  --> ./a\n1 | \"--> ./b\"\n | \\\\n--> ./c"}"#,
                r#"{"rendered":"x\n  --> /ws/a\n1 | \"--> ./b\"\n | \\\\n--> ./c"}"#,
            ),
            (
                true,
                r#"{"rendered":" \u001b[0m \u001b[1;38m--> \u001b[0m./a"}"#,
                r#"{"rendered":" \u001b[0m \u001b[1;38m--> \u001b[0m/ws/a"}"#,
            ),
            (false, "  --> ./a\n", "  --> /ws/a\n"),
            (
                false,
                "\u{1b}[0m \u{1b}[1m--> \u{1b}[0m./a\n",
                "\u{1b}[0m \u{1b}[1m--> \u{1b}[0m/ws/a\n",
            ),
            (
                false,
                "1 | let x = \"--> ./a\";\n",
                "1 | let x = \"--> ./a\";\n",
            ),
            (false, "1 | ::: ./a\n", "1 | ::: ./a\n"),
        ] {
            let found = Restorer::new(&[(".", "/ws".into())], json).restore(line.as_bytes());
            assert_eq!(String::from_utf8(found).unwrap(), restored);
        }
    }
}
