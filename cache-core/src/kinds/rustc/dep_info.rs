//! rustc's dep-info (`.d`) files.
//!
//! ```text
//! file  = (rule | "" | env)*
//! rule  = target ":" (" " source)*        one per emitted file, then one per source
//! env   = "# env-dep:" name ["=" value]   without "=" when the variable was not set
//! ```
//! In sources a space is written `\ `; nothing else is escaped. Targets are written as
//! they are. In values a line feed,
//! a carriage return and a backslash are written `\n`, `\r` and `\\`. Source:
//! `rustc_interface::passes::write_out_deps`.

use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::roots::{Escaping, Roots, Template};

/// What a dep-info file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DepInfo {
    /// The files emitted.
    pub targets: Vec<PathBuf>,
    /// The files read as sources.
    pub sources: Vec<PathBuf>,
    /// The variables read at compile time, with their values; `None` when unset.
    pub env: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl DepInfo {
    /// Reads a dep-info file. Lines that are not understood are ignored: the file has
    /// been written by the compiler a moment ago.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let mut info = Self::default();
        for line in text.split(|&b| b == b'\n') {
            if let Some(env) = line.strip_prefix(b"# env-dep:") {
                let mut halves = env.splitn(2, |&b| b == b'=');
                let name = unescape_env(halves.next().unwrap_or_default());
                info.env.push((name, halves.next().map(unescape_env)));
            } else if !line.starts_with(b"#") {
                info.rule(line);
            }
        }
        info
    }

    fn rule(&mut self, line: &[u8]) {
        let Some((target, sources)) = split_rule(line) else {
            return;
        };
        let target = std::ffi::OsString::from_vec(target.to_vec());
        self.targets.push(PathBuf::from(target));
        for source in words(sources) {
            if !self.sources.contains(&source) {
                self.sources.push(source);
            }
        }
    }
}

/// Splits a rule into its target and its sources. A rule for a source has no sources of
/// its own and says nothing new.
fn split_rule(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memmem::find(line, b": ")?;
    let (target, sources) = line.split_at_checked(at)?;
    Some((target, sources.get(2..)?))
}

/// Leaves the roots open in a dep-info file, respecting how each part is escaped.
pub(crate) fn template(text: &[u8], roots: &Roots) -> Template {
    let mut whole = Template::default();
    for line in text.split_inclusive(|&b| b == b'\n') {
        if line.starts_with(b"# env-dep:") {
            whole.append(roots.template(line, Escaping::DepEnv));
        } else if let Some((target, sources)) = split_rule(line) {
            whole.append(roots.template(target, Escaping::Raw));
            whole.append(Template::literal(b": "));
            whole.append(roots.template(sources, Escaping::DepRule));
        } else {
            whole.append(roots.template(line, Escaping::DepRule));
        }
    }
    whole
}

fn words(text: &[u8]) -> Vec<PathBuf> {
    let mut words = Vec::new();
    let mut word = Vec::new();
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if bytes.peek() == Some(&b' ') => {
                word.push(b' ');
                bytes.next();
            }
            b' ' => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            byte => word.push(byte),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
        .into_iter()
        .map(|word| PathBuf::from(std::ffi::OsString::from_vec(word)))
        .collect()
}

fn unescape_env(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        let unescaped = match byte {
            b'\\' => match bytes.next() {
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(&other) => other,
                None => b'\\',
            },
            byte => byte,
        };
        out.push(unescaped);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roots::Root;

    const SAMPLE: &[u8] = b"/t/my dir/libx.rmeta: src/lib.rs src/a\\ b.rs\n\n\
        /t/my dir/x.d: src/lib.rs src/a\\ b.rs\n\n\
        src/lib.rs:\nsrc/a\\ b.rs:\n\n\
        # env-dep:SET=a\\nb\\\\c=d\n# env-dep:EMPTY=\n# env-dep:UNSET\n";

    #[test]
    fn rules_and_variables_are_read() {
        let info = DepInfo::parse(SAMPLE);
        assert_eq!(
            info.targets,
            [
                PathBuf::from("/t/my dir/libx.rmeta"),
                PathBuf::from("/t/my dir/x.d")
            ]
        );
        assert_eq!(
            info.sources,
            [PathBuf::from("src/lib.rs"), PathBuf::from("src/a b.rs")]
        );
        assert_eq!(
            info.env,
            [
                (b"SET".to_vec(), Some(b"a\nb\\c=d".to_vec())),
                (b"EMPTY".to_vec(), Some(Vec::new())),
                (b"UNSET".to_vec(), None)
            ]
        );
    }

    #[test]
    fn a_template_moves_both_kinds_of_lines() {
        let mut here = Roots::default();
        here.add(Root::Target, "/t/my dir");
        let mut there = Roots::default();
        there.add(Root::Target, "/else where\\x");
        let text = b"/t/my dir/x.d: /t/my\\ dir/a\n# env-dep:O=/t/my dir/out\n";
        assert_eq!(
            template(text, &here).fill(&there).unwrap(),
            b"/else where\\x/x.d: /else\\ where\\x/a\n# env-dep:O=/else where\\\\x/out\n"
        );
    }
}
