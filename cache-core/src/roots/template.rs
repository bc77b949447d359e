//! Text in which the places of roots are left open.

use std::os::unix::ffi::OsStrExt as _;

use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::{Root, Roots};

/// How paths are written inside some text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Escaping {
    /// As they are.
    Raw,
    /// As in a JSON string.
    Json,
    /// As in the rules of rustc's dep-info: a space is preceded by a backslash.
    DepRule,
    /// As in the `# env-dep:` lines of rustc's dep-info: `\n`, `\r` and `\\`.
    DepEnv,
}

impl Escaping {
    /// The name hashed into keys.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Json => "json",
            Self::DepRule => "dep-rule",
            Self::DepEnv => "dep-env",
        }
    }

    pub(crate) fn escape(self, path: &[u8]) -> Vec<u8> {
        match self {
            Self::Raw => path.to_vec(),
            Self::Json => {
                // Only a path that is UTF-8 can stand in JSON at all.
                let text = String::from_utf8_lossy(path);
                let quoted = serde_json::Value::from(text).to_string();
                let inner = quoted.get(1..quoted.len() - 1).unwrap_or_default();
                inner.as_bytes().to_vec()
            }
            Self::DepRule => escape_bytes(path, |b| (b == b' ').then_some(b' ')),
            Self::DepEnv => escape_bytes(path, |b| match b {
                b'\n' => Some(b'n'),
                b'\r' => Some(b'r'),
                b'\\' => Some(b'\\'),
                _ => None,
            }),
        }
    }
}

fn escape_bytes(text: &[u8], letter: impl Fn(u8) -> Option<u8>) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        match letter(byte) {
            Some(letter) => out.extend_from_slice(&[b'\\', letter]),
            None => out.push(byte),
        }
    }
    out
}

/// One piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Segment {
    /// Text that is the same everywhere.
    Literal(Vec<u8>),
    /// The place of a root, written with this escaping.
    Root(Root, Escaping),
}

/// Text in which the roots are left open, to be filled in where it is restored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Template(Vec<Segment>);

impl Template {
    /// Text that names no root.
    pub fn literal(text: impl Into<Vec<u8>>) -> Self {
        Self(vec![Segment::Literal(text.into())])
    }

    /// The pieces in order.
    pub(crate) fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// The pieces that name no root.
    pub(crate) fn literals(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter_map(|segment| match segment {
            Segment::Literal(text) => Some(text.as_slice()),
            Segment::Root(..) => None,
        })
    }

    /// Whether the text names any root.
    pub fn names_a_root(&self) -> bool {
        self.0.iter().any(|s| matches!(s, Segment::Root(..)))
    }

    /// The roots that the text names.
    pub(crate) fn roots(&self) -> impl Iterator<Item = Root> {
        self.0.iter().filter_map(|segment| match segment {
            Segment::Root(root, _) => Some(*root),
            Segment::Literal(_) => None,
        })
    }

    /// The text with the roots filled in; `None` when one of them is not known here.
    pub fn fill(&self, roots: &Roots) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for segment in &self.0 {
            match segment {
                Segment::Literal(bytes) => out.extend_from_slice(bytes),
                Segment::Root(root, escaping) => {
                    let path = roots.get(*root)?.as_os_str().as_bytes();
                    out.extend_from_slice(&escaping.escape(path));
                }
            }
        }
        Some(out)
    }

    /// Appends another text.
    pub(crate) fn append(&mut self, other: Self) {
        for segment in other.0 {
            match (self.0.last_mut(), segment) {
                (Some(Segment::Literal(end)), Segment::Literal(more)) => {
                    end.extend_from_slice(&more);
                }
                (_, segment) => self.0.push(segment),
            }
        }
    }
}

impl Roots {
    /// Replaces every path of a root in `text` that starts and ends at a path boundary, but for that of the
    /// user's home: who gets the text elsewhere is to find there what was written.
    pub fn template(&self, text: &[u8], escaping: Escaping) -> Template {
        self.replace(text, escaping, |root| root != Root::Home)
    }

    /// The same for the value of a variable, with the user's home.
    pub(crate) fn value(&self, value: &[u8]) -> Template {
        self.replace(value, Escaping::Raw, |_| true)
    }

    fn replace(&self, text: &[u8], escaping: Escaping, wanted: fn(Root) -> bool) -> Template {
        let needles = self
            .spellings()
            .filter(|(root, _)| wanted(*root))
            .map(|(root, path)| (root, path.as_os_str()));
        // To prepare a search takes longer than to make it.
        let needles = needles.filter(|(_, path)| path.len() <= text.len());
        let mut needles: Vec<Needle> = needles
            .map(|(root, path)| {
                let path = escaping.escape(path.as_bytes());
                Needle {
                    root,
                    path: memmem::Finder::new(&path).into_owned(),
                    next: Some(0),
                }
            })
            .collect();
        for needle in &mut needles {
            needle.seek(text, 0);
        }
        let mut segments = Vec::new();
        let mut done = 0;
        loop {
            let found = needles
                .iter()
                .filter_map(|needle| Some((needle.next?, needle)))
                .min_by_key(|(at, needle)| (*at, std::cmp::Reverse(needle.len())));
            let Some((at, needle)) = found else {
                break;
            };
            let literal = text.get(done..at).unwrap_or_default();
            if !literal.is_empty() {
                segments.push(Segment::Literal(literal.to_vec()));
            }
            segments.push(Segment::Root(needle.root, escaping));
            done = at + needle.len();
            for needle in &mut needles {
                needle.seek(text, done);
            }
        }
        let rest = text.get(done..).unwrap_or_default();
        if !rest.is_empty() {
            segments.push(Segment::Literal(rest.to_vec()));
        }
        Template(segments)
    }
}

/// A path of a root that is looked for in some text.
struct Needle {
    root: Root,
    path: memmem::Finder<'static>,
    /// Where it stands next, if it does.
    next: Option<usize>,
}

impl Needle {
    fn len(&self) -> usize {
        self.path.needle().len()
    }

    /// Goes on to where it stands from `start` on. What has been looked through is not looked through
    /// again.
    fn seek(&mut self, text: &[u8], start: usize) {
        if self.next.is_some_and(|next| next <= start) {
            self.next = find_path(text, start, &self.path);
        }
    }
}

/// What the compiler writes before the path of a source in the name of a type that has none: `{closure@src/lib.rs:1:2}`.
pub(crate) const IN_TYPES: [&[u8]; 4] = [b"closure@", b" block@", b" body@", b"{coroutine@"];

/// Where `needle` stands in `text` as a whole path prefix, from `start` on.
fn find_path(text: &[u8], start: usize, needle: &memmem::Finder<'_>) -> Option<usize> {
    let found = needle.find_iter(text.get(start..)?);
    found.map(|at| start + at).find(|&at| {
        let preceding = text.get(..at).unwrap_or_default();
        let is_start = preceding
            .last()
            .is_none_or(|&b| !is_name_byte(b) && b != b'/');
        let is_in_type = || IN_TYPES.iter().any(|before| preceding.ends_with(before));
        (is_start || ends_with_colour(preceding) || is_in_type())
            && ends_at_boundary(text.get(at + needle.needle().len()..).unwrap_or_default())
    })
}

/// Whether text ends with an escape sequence that sets a colour, raw or as in JSON.
fn ends_with_colour(text: &[u8]) -> bool {
    let Some(text) = text.strip_suffix(b"m") else {
        return false;
    };
    let is_parameter = |b: &u8| b.is_ascii_digit() || *b == b';';
    let parameters = text.iter().rev().take_while(|b| is_parameter(b)).count();
    let start = text.get(..text.len() - parameters).unwrap_or_default();
    start.ends_with(b"\x1b[") || start.ends_with(b"\\u001b[")
}

fn ends_at_boundary(after: &[u8]) -> bool {
    after.first().is_none_or(|&b| !is_name_byte(b))
}

/// Bytes that continue a file name rather than end it.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'+' | b'@') || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::roots;
    use super::*;

    #[test]
    fn templates_respect_path_boundaries() {
        let roots = roots("/app/target", "/app");
        let text = b"/app/x /apple /usr/app /app /app/target/y app/app/z";
        let template = roots.template(text, Escaping::Raw);
        let mut there = Roots::default();
        there.add(Root::Workspace, "/w");
        there.add(Root::Target, "/t");
        assert_eq!(
            String::from_utf8(template.fill(&there).unwrap()).unwrap(),
            "/w/x /apple /usr/app /w /t/y app/app/z"
        );
    }

    #[test]
    fn a_colour_or_a_type_may_precede_a_path() {
        let roots = roots("/t", "/app");
        for text in [
            "\u{1b}[0m/app/x",
            "\\u001b[1;32m/app/x",
            "`{async block@/app/x`",
        ] {
            assert!(
                roots
                    .template(text.as_bytes(), Escaping::Json)
                    .names_a_root()
            );
        }
        assert!(
            !roots
                .template(b"random/app/x", Escaping::Json)
                .names_a_root()
        );
    }

    #[test]
    fn escaping_survives_a_round_trip() {
        let here = roots("/my dir/t", "/quo\"te");
        let there = roots("/other place/t", "/back\\slash");
        let rule = here.template(br"/my\ dir/t/x.d: /my\ dir/t/a", Escaping::DepRule);
        assert_eq!(
            rule.fill(&there).unwrap(),
            br"/other\ place/t/x.d: /other\ place/t/a"
        );
        let json = here.template(br#"{"a":"/quo\"te/x"}"#, Escaping::Json);
        assert_eq!(json.fill(&there).unwrap(), br#"{"a":"/back\\slash/x"}"#);
    }

    proptest! {
        #[test]
        fn filling_in_the_same_roots_gives_the_same_text(
            text in "([a /]|/ws|/ws/target|x){0,20}",
        ) {
            let roots = roots("/ws/target", "/ws");
            let template = roots.template(text.as_bytes(), Escaping::Raw);
            prop_assert_eq!(template.fill(&roots).unwrap(), text.as_bytes());
        }
    }
}
