//! Roots: the directories that paths are recorded relative to.
//!
//! A result must serve every checkout, container and machine where the same thing
//! would come out, so no recorded path names the place it was made in. A path below
//! a root is stored as *(root, rest)* and resolved against the roots of the invocation
//! that looks it up; every other path is stored as it is.
//!
//! What can go wrong, and what is done about it:
//! - Roots nest (the target directory lies in the workspace): the longest match wins.
//! - A root is short (`/app`) and occurs inside other words: a match must end at a
//!   path boundary, and in text must also start at one.
//! - rustc canonicalises some paths: each root is matched in both its given and its
//!   canonical spelling, and resolved to the given one.
//! - `/` would match everything: it is never a root.
//! - Text escapes: dep-info escapes spaces, JSON escapes quotes and backslashes, so
//!   [`Template`]s are made and filled in a given [`Escaping`].

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use memchr::memmem;
use serde::{Deserialize, Serialize};

/// A directory that paths are stored relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Root {
    /// Cargo's target directory (its build directory where the two differ).
    Target,
    /// The workspace, or the package where it stands alone.
    Workspace,
    /// `CARGO_HOME`.
    CargoHome,
    /// The compiler's sysroot.
    Sysroot,
}

impl Root {
    /// Every root, in the order in which they are tried when they are equally long.
    pub const ALL: [Self; 4] = [
        Self::Target,
        Self::Workspace,
        Self::CargoHome,
        Self::Sysroot,
    ];

    /// The name shown to users and hashed into keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Workspace => "workspace",
            Self::CargoHome => "cargo-home",
            Self::Sysroot => "sysroot",
        }
    }
}

/// A path, relative to a root where it lies below one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RootedPath {
    /// The root, or `None` for a path that is absolute.
    pub root: Option<Root>,
    /// What follows the root and a slash (empty for the root itself), or the whole
    /// path. Bytes: paths need not be UTF-8.
    pub rest: Vec<u8>,
}

impl std::fmt::Display for RootedPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(root) = self.root {
            write!(f, "<{}>/", root.name())?;
        }
        write!(f, "{}", String::from_utf8_lossy(&self.rest))
    }
}

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

/// The roots of one invocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roots {
    /// What each root resolves to: the spelling added first.
    given: Vec<(Root, PathBuf)>,
    /// Every spelling, longest first.
    spellings: Vec<(Root, PathBuf)>,
}

impl Roots {
    /// Adds a root, or a further spelling of one. The first is what it resolves to.
    ///
    /// Relative paths and `/` are ignored: neither can be told apart from ordinary
    /// text.
    pub fn add(&mut self, root: Root, path: impl AsRef<Path>) {
        let path: PathBuf = path.as_ref().components().collect();
        if !path.is_absolute() || path.parent().is_none() {
            return;
        }
        if self.get(root).is_none() {
            self.given.push((root, path.clone()));
        }
        if !self.spellings.iter().any(|(r, p)| *r == root && *p == path) {
            self.spellings.push((root, path));
            // Ties go to the order of `Root`, so that a target directory that is the
            // workspace itself is always called the target.
            self.spellings
                .sort_by_key(|(root, p)| (std::cmp::Reverse(p.as_os_str().len()), *root));
        }
    }

    /// The path a root resolves to.
    pub fn get(&self, root: Root) -> Option<&Path> {
        let (_, path) = self.given.iter().find(|(r, _)| *r == root)?;
        Some(path)
    }

    /// Every known root with every spelling of its path, longest path first.
    pub fn spellings(&self) -> impl Iterator<Item = (Root, &Path)> {
        self.spellings.iter().map(|(r, p)| (*r, p.as_path()))
    }

    /// Expresses an absolute path relative to the innermost root that holds it.
    ///
    /// ```
    /// use cache_core::{Root, Roots};
    /// let mut roots = Roots::default();
    /// roots.add(Root::Workspace, "/home/me/app");
    /// roots.add(Root::Target, "/home/me/app/target");
    /// let path = roots.relativize("/home/me/app/target/debug/x".as_ref());
    /// assert_eq!(path.to_string(), "<target>/debug/x");
    /// assert_eq!(roots.relativize("/usr/lib/crt1.o".as_ref()).to_string(), "/usr/lib/crt1.o");
    /// ```
    pub fn relativize(&self, path: &Path) -> RootedPath {
        let bytes = path.as_os_str().as_bytes();
        for (root, spelling) in &self.spellings {
            let Some(rest) = bytes.strip_prefix(spelling.as_os_str().as_bytes()) else {
                continue;
            };
            let rest = match rest {
                [] => rest,
                [b'/', rest @ ..] => rest,
                _ => continue,
            };
            return RootedPath {
                root: Some(*root),
                rest: rest.to_vec(),
            };
        }
        RootedPath {
            root: None,
            rest: bytes.to_vec(),
        }
    }

    /// The absolute path here; `None` when its root is not known.
    pub fn resolve(&self, path: &RootedPath) -> Option<PathBuf> {
        let rest = OsStr::from_bytes(&path.rest);
        match path.root {
            None => Some(PathBuf::from(rest)),
            Some(root) if path.rest.is_empty() => Some(self.get(root)?.to_owned()),
            Some(root) => {
                let root = self.get(root)?.as_os_str();
                let mut joined = OsString::with_capacity(root.len() + rest.len() + 1);
                joined.push(root);
                joined.push("/");
                joined.push(rest);
                Some(PathBuf::from(joined))
            }
        }
    }

    /// Replaces every path of a root in `text` that starts and ends at a path boundary.
    pub fn template(&self, text: &[u8], escaping: Escaping) -> Template {
        let needles: Vec<(Root, Vec<u8>)> = self
            .spellings()
            .map(|(root, path)| (root, escaping.escape(path.as_os_str().as_bytes())))
            .collect();
        let mut segments = Vec::new();
        let mut rest = text;
        let mut before = None;
        loop {
            let next = needles
                .iter()
                .filter_map(|(root, needle)| Some((find_path(rest, before, needle)?, root, needle)))
                .min_by_key(|(at, _, needle)| (*at, std::cmp::Reverse(needle.len())));
            let Some((at, root, needle)) = next else {
                break;
            };
            let (literal, tail) = rest.split_at(at);
            if !literal.is_empty() {
                segments.push(Segment::Literal(literal.to_vec()));
            }
            segments.push(Segment::Root(*root, escaping));
            rest = tail.get(needle.len()..).unwrap_or_default();
            before = needle.last().copied();
        }
        if !rest.is_empty() {
            segments.push(Segment::Literal(rest.to_vec()));
        }
        Template(segments)
    }
}

/// Looks for the paths of roots in content that comes piece by piece.
///
/// Unlike in text, an occurrence need not stand at path boundaries: compilers put string
/// literals next to each other, so that any byte may precede or follow a path. One
/// occurrence too many (`/app` in `/apple`) merely binds a result more closely than
/// needed.
#[derive(Debug)]
pub(crate) struct Scanner {
    needles: Vec<(Root, memmem::Finder<'static>)>,
    /// The longest needle: what an occurrence across two pieces needs.
    reach: usize,
    /// The end of the previous pieces.
    tail: Vec<u8>,
    found: Vec<Root>,
}

impl Scanner {
    pub(crate) fn new(roots: &Roots) -> Self {
        let needles: Vec<_> = roots
            .spellings()
            .map(|(root, path)| {
                let needle = path.as_os_str().as_bytes();
                (root, memmem::Finder::new(needle).into_owned())
            })
            .collect();
        let longest = needles.iter().map(|(_, f)| f.needle().len()).max();
        Self {
            needles,
            reach: longest.unwrap_or(0),
            tail: Vec::new(),
            found: Vec::new(),
        }
    }

    /// Looks at the next piece.
    pub(crate) fn scan(&mut self, piece: &[u8]) {
        let mut seam = std::mem::take(&mut self.tail);
        seam.extend_from_slice(piece.get(..self.reach).unwrap_or(piece));
        self.look_at(&seam);
        // What the next seam needs: the last bytes seen.
        if piece.len() >= self.reach {
            self.look_at(piece);
            seam.clear();
            seam.extend_from_slice(piece);
        }
        seam.drain(..seam.len().saturating_sub(self.reach));
        self.tail = seam;
    }

    fn look_at(&mut self, content: &[u8]) {
        for (root, finder) in &self.needles {
            if self.found.contains(root) {
                continue;
            }
            if finder.find(content).is_some() {
                self.found.push(*root);
            }
        }
    }

    /// Forgets the previous content, keeping what was found in it.
    pub(crate) fn next_content(&mut self) {
        self.tail.clear();
    }

    /// The roots found so far.
    pub(crate) fn found(&self) -> &[Root] {
        &self.found
    }
}

/// Where `needle` stands in `text` as a whole path prefix; `before` is the byte that
/// precedes `text`.
fn find_path(text: &[u8], before: Option<u8>, needle: &[u8]) -> Option<usize> {
    memmem::find_iter(text, needle).find(|&at| {
        let previous = match at.checked_sub(1) {
            Some(i) => text.get(i).copied(),
            None => before,
        };
        let preceding = text.get(..at).unwrap_or_default();
        (previous.is_none_or(|b| !is_name_byte(b) && b != b'/') || ends_with_colour(preceding))
            && ends_at_boundary(text.get(at + needle.len()..).unwrap_or_default())
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

    use super::*;

    fn roots(target: &str, workspace: &str) -> Roots {
        let mut roots = Roots::default();
        roots.add(Root::Workspace, workspace);
        roots.add(Root::Target, target);
        roots
    }

    #[test]
    fn the_innermost_root_wins() {
        let roots = roots("/ws/target", "/ws");
        assert_eq!(
            roots.relativize("/ws/target/a".as_ref()).root,
            Some(Root::Target)
        );
        assert_eq!(
            roots.relativize("/ws/targets".as_ref()).root,
            Some(Root::Workspace)
        );
        assert_eq!(roots.relativize("/wsx".as_ref()).root, None);
        assert_eq!(roots.relativize("/ws".as_ref()).to_string(), "<workspace>/");
    }

    #[test]
    fn a_canonical_spelling_is_matched_and_resolves_to_the_given_one() {
        let mut roots = roots("/t", "/ws");
        roots.add(Root::Target, "/mnt/real/target");
        let path = roots.relativize("/mnt/real/target/x".as_ref());
        assert_eq!(path.to_string(), "<target>/x");
        assert_eq!(roots.resolve(&path), Some("/t/x".into()));
    }

    #[test]
    fn the_file_system_root_is_no_root() {
        let roots = roots("/", "relative");
        assert_eq!(roots.spellings().count(), 0);
    }

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
    fn a_colour_may_precede_a_path() {
        let roots = roots("/t", "/app");
        for text in ["\u{1b}[0m/app/x", "\\u001b[1;32m/app/x"] {
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

    fn scan(pieces: &[&[u8]]) -> Vec<Root> {
        let mut scanner = Scanner::new(&roots("/tmp/t", "/app"));
        for piece in pieces {
            scanner.scan(piece);
        }
        scanner.found().to_vec()
    }

    #[test]
    fn literal_bytes_are_found_in_binaries() {
        assert_eq!(scan(&[b"\0x/app\0"]), [Root::Workspace]);
        assert_eq!(scan(&[b"before/appafter"]), [Root::Workspace]);
        assert!(scan(&[b"\0/ap /tmp/"]).is_empty());
    }

    #[test]
    fn an_occurrence_may_be_cut_anywhere() {
        let content = b"..../tmp/t/debug....";
        for i in 0..content.len() {
            for j in i..content.len() {
                let pieces = [&content[..i], &content[i..j], &content[j..]];
                assert_eq!(scan(&pieces), [Root::Target], "{i} {j}");
            }
        }
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

        #[test]
        fn resolving_undoes_relativizing(rest in "[a-z/]{0,12}") {
            let roots = roots("/ws/target", "/ws");
            let path = PathBuf::from(format!("/ws{rest}"));
            prop_assert_eq!(roots.resolve(&roots.relativize(&path)), Some(path));
        }
    }
}
