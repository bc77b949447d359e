//! How a call is noted, so that it can be made again, here or in another place.
//!
//! A unit's call is its arguments, its directory, and the variables that cargo set for it: those of its
//! environment that are not in cargo's own. The rest, secrets of the user among it, is not noted, and
//! nothing is noted where the caller is not cargo or its environment cannot be read.
//!
//! ```text
//! text = any text in which a path of a root is "\u{1}" and the letter of the root,
//!        and "\u{1}" itself is "\u{1}\u{1}"
//! ```
//! All texts are searched for roots at once, with NULs between them, which no argument contains: a search
//! for each would take longer than all the rest of a line. A call that is not UTF-8 is not noted.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::os::env::Environment;
use crate::os::proc;
use crate::request::Request;
use crate::roots::{Escaping, Root, Roots, Segment};

/// Marks the place of a root.
const MARK: char = '\u{1}';

/// Who asked for a unit.
pub(crate) struct Caller {
    /// Its id and when it was started.
    pub(crate) build: String,
    /// Its environment, if it is cargo.
    env: Option<Vec<u8>>,
}

impl Caller {
    /// The process that started this one; the first that was asked for, if another has taken its place.
    pub(crate) fn known() -> &'static Self {
        static KNOWN: OnceLock<Caller> = OnceLock::new();
        KNOWN.get_or_init(Self::find)
    }

    fn find() -> Self {
        let parent = proc::parent();
        let is_cargo = parent.program.starts_with("cargo");
        Self {
            env: is_cargo.then(proc::environment_of_parent).flatten(),
            build: parent.id,
        }
    }
}

/// A call that can be made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Call {
    /// The directory.
    cwd: String,
    argv: Vec<String>,
    /// `NAME=value` of each variable that cargo set, and `NAME` of each that it unset.
    env: Vec<String>,
    /// Letters of roots and where they were.
    roots: Vec<(char, String)>,
}

/// A call as it is made in one place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Filled {
    pub(crate) cwd: PathBuf,
    pub(crate) argv: Vec<OsString>,
    /// Each variable that cargo set or unset, with its value.
    pub(crate) env: Vec<(String, Option<String>)>,
}

impl Filled {
    /// A variable that cargo set.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        let (_, value) = self.env.iter().find(|(known, _)| known == name)?;
        value.as_deref()
    }

    /// The environment of the call, if this is cargo's.
    pub(crate) fn environment(&self, of_cargo: &Environment) -> Environment {
        let mut env = of_cargo.clone();
        for (name, value) in &self.env {
            match value {
                Some(value) => env.set(name, value),
                None => env.remove(name),
            }
        }
        env
    }
}

impl Call {
    /// How the caller made a call.
    pub(super) fn of(request: &Request<'_>, roots: &Roots, caller: &Caller) -> Option<Self> {
        let theirs = variables(caller.env.as_deref()?);
        let mut text = request.cwd.as_os_str().as_bytes().to_vec();
        for word in request.argv {
            text.push(0);
            text.extend_from_slice(word.as_bytes());
        }
        let changes = changes(&theirs, request.env);
        for (name, value) in changes {
            text.push(0);
            text.extend_from_slice(name);
            if let Some(value) = value {
                text.push(b'=');
                text.extend_from_slice(value);
            }
        }
        Self::split(&marked(&text, roots)?, request.argv.len(), roots)
    }

    fn split(text: &str, argc: usize, roots: &Roots) -> Option<Self> {
        let mut words = text.split('\0').map(str::to_owned);
        Some(Self {
            cwd: words.next()?,
            argv: words.by_ref().take(argc).collect(),
            env: words.collect(),
            roots: Root::ALL
                .into_iter()
                .filter_map(|root| Some((letter(root), roots.get(root)?.to_str()?.to_owned())))
                .collect(),
        })
    }

    /// The same with other roots left open: its own are filled in first.
    pub(crate) fn with_roots(&self, roots: &Roots) -> Option<Self> {
        let mut text = self.fill_in_text(&self.cwd)?;
        for word in self.argv.iter().chain(&self.env) {
            text.push('\0');
            text.push_str(&self.fill_in_text(word)?);
        }
        Self::split(&marked(text.as_bytes(), roots)?, self.argv.len(), roots)
    }

    /// The words of the call, as templates.
    pub(super) fn argv(&self) -> &[String] {
        &self.argv
    }

    /// The value of a variable that cargo set, as a template.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let mut set = self.env.iter().filter_map(|pair| pair.split_once('='));
        set.find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// The package that it is of, with its version.
    pub(crate) fn package(&self) -> Option<String> {
        let name = self
            .variable("CARGO_PKG_NAME")
            .filter(|name| !name.is_empty())?;
        let version = self.variable("CARGO_PKG_VERSION").unwrap_or_default();
        Some(format!("{name} {version}").trim_end().to_owned())
    }

    /// Where the workspace was, if that was known.
    pub(super) fn workspace(&self) -> Option<&str> {
        let workspace = letter(Root::Workspace);
        let (_, path) = self.roots.iter().find(|(known, _)| *known == workspace)?;
        Some(path)
    }

    /// The variables that cargo set or unset.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.env
            .iter()
            .map(|pair| pair.split('=').next().unwrap_or_default())
    }

    fn fill_in_text(&self, text: &str) -> Option<String> {
        fill(text, &|letter| {
            let (_, path) = self.roots.iter().find(|(known, _)| *known == letter)?;
            Some(path.clone())
        })
    }

    /// The call where the roots are these. `None` where one is not known.
    pub(crate) fn fill(&self, roots: &Roots) -> Option<Filled> {
        let text = |text: &String| {
            fill(text, &|wanted| {
                let mut all = Root::ALL.into_iter();
                let root = all.find(|root| letter(*root) == wanted)?;
                Some(roots.get(root)?.to_str()?.to_owned())
            })
        };
        let argv: Option<Vec<OsString>> = self.argv.iter().map(|w| Some(text(w)?.into())).collect();
        let env = self.env.iter().map(|pair| {
            let pair = text(pair)?;
            Some(match pair.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (pair, None),
            })
        });
        Some(Filled {
            cwd: text(&self.cwd)?.into(),
            argv: argv?,
            env: env.collect::<Option<_>>()?,
        })
    }
}

/// The text with paths in the places of marks. `None` where a root is not known.
fn fill(text: &str, path_of: &dyn Fn(char) -> Option<String>) -> Option<String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        if next != MARK {
            filled.push(next);
            continue;
        }
        match rest.next()? {
            MARK => filled.push(MARK),
            letter => filled.push_str(&path_of(letter)?),
        }
    }
    Some(filled)
}

/// The variables of a block, ordered by name; of each name the first one.
fn variables(block: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut variables: Vec<(&[u8], &[u8])> = block
        .split(|&b| b == 0)
        .filter_map(|pair| {
            let at = memchr::memchr(b'=', pair)?;
            Some((pair.get(..at)?, pair.get(at + 1..)?))
        })
        .collect();
    variables.sort_by_key(|(name, _)| *name);
    variables.dedup_by_key(|(name, _)| *name);
    variables
}

/// What has become of some variables: each that was set or unset, with its value.
fn changes<'a>(
    before: &[(&'a [u8], &'a [u8])],
    after: &'a Environment,
) -> Vec<(&'a [u8], Option<&'a [u8]>)> {
    let mut changes = Vec::new();
    let mut old = before.iter().peekable();
    for (name, value) in after.iter() {
        let (name, value) = (name.as_bytes(), value.as_bytes());
        while let Some((gone, _)) = old.next_if(|(other, _)| *other < name) {
            changes.push((*gone, None));
        }
        let was = old.next_if(|(other, _)| *other == name);
        if was.map(|(_, value)| *value) != Some(value) {
            changes.push((name, Some(value)));
        }
    }
    changes.extend(old.map(|(gone, _)| (*gone, None)));
    changes
}

/// The text with marks in the places of roots. `None` if it is not UTF-8.
fn marked(text: &[u8], roots: &Roots) -> Option<String> {
    let template = roots.template(text, Escaping::Raw);
    let mut marked = String::with_capacity(text.len() + 64);
    for segment in template.segments() {
        match segment {
            Segment::Root(root, _) => marked.extend([MARK, letter(*root)]),
            Segment::Literal(text) => {
                let text = std::str::from_utf8(text).ok()?;
                if text.contains(MARK) {
                    marked.push_str(&text.replace(MARK, "\u{1}\u{1}"));
                } else {
                    marked.push_str(text);
                }
            }
        }
    }
    Some(marked)
}

fn letter(root: Root) -> char {
    match root {
        Root::Target => 't',
        Root::Workspace => 'w',
        Root::CargoHome => 'c',
        Root::Sysroot => 's',
        Root::Home => 'h',
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::path::Path;

    use super::*;
    use crate::config::Config;
    use crate::run::SystemRunner;

    fn call(argv: &[&str], env: &[(&str, &str)], theirs: Option<&str>) -> Option<Call> {
        let argv: Vec<_> = argv.iter().map(Into::into).collect();
        let env: Environment = env.iter().copied().collect();
        let config = Config::new("/cache");
        let request = Request::new(&argv, &env, Path::new("/ws"), &config, &SystemRunner);
        let mut roots = Roots::default();
        roots.add(Root::Workspace, "/ws");
        roots.add(Root::Target, "/ws/target");
        let caller = Caller {
            build: "1-2".to_owned(),
            env: theirs.map(|block| block.as_bytes().to_vec()),
        };
        Call::of(&request, &roots, &caller)
    }

    #[test]
    fn a_call_is_noted_with_what_cargo_set_and_nothing_else() {
        let env = [
            ("CARGO_PKG_NAME", "x"),
            ("LIBS", "/ws/target/debug:/ws:/wsx"),
            ("SECRET", "hidden"),
        ];
        let theirs = "SECRET=hidden\0UNSET=1\0LIBS=/wsx\0LIBS=twice\0";
        let call = call(&["rustc", "--out-dir=/ws/target/a b"], &env, Some(theirs)).unwrap();
        assert_eq!(call.cwd, "\u{1}w");
        assert_eq!(call.argv, ["rustc", "--out-dir=\u{1}t/a b"]);
        assert_eq!(
            call.env,
            ["CARGO_PKG_NAME=x", "LIBS=\u{1}t/debug:\u{1}w:/wsx", "UNSET"]
        );
        let roots = [('t', "/ws/target"), ('w', "/ws")];
        assert_eq!(call.roots, roots.map(|(l, p)| (l, p.to_owned())));
        assert!(!serde_json::to_string(&call).unwrap().contains("hidden"));
    }

    #[test]
    fn a_call_is_made_again_elsewhere() {
        let theirs = "UNSET=1\0";
        let words = ["rustc", "--out-dir=/ws/target/a b", "\u{1}w"];
        let call = call(&words, &[("PLACE", "/ws:/wsx")], Some(theirs)).unwrap();
        let mut there = Roots::default();
        there.add(Root::Workspace, "/other");
        assert_eq!(call.fill(&there), None);
        there.add(Root::Target, "/t");
        let filled = call.fill(&there).unwrap();
        assert_eq!(filled.cwd, Path::new("/other"));
        assert_eq!(filled.argv, ["rustc", "--out-dir=/t/a b", "\u{1}w"]);
        assert_eq!(filled.variable("PLACE"), Some("/other:/wsx"));
        let cargo: Environment = [("UNSET", "1"), ("KEPT", "2")].into_iter().collect();
        let env = filled.environment(&cargo);
        let expected = [("KEPT", "2"), ("PLACE", "/other:/wsx")];
        assert_eq!(env, expected.into_iter().collect());
        let mut outer = Roots::default();
        outer.add(Root::CargoHome, "/wsx");
        let other = call.with_roots(&outer).unwrap();
        assert_eq!(other.env, ["PLACE=/ws:\u{1}c", "UNSET"]);
        assert_eq!(other.fill(&outer).unwrap().argv, words);
    }

    #[test]
    fn marks_and_what_is_no_text_are_told_apart() {
        let call_of = |word: &str| call(&[word], &[], Some(""));
        assert_eq!(call_of("a\u{1}w").unwrap().argv, ["a\u{1}\u{1}w"]);
        assert_eq!(call(&["a"], &[], None), None);
        let word = OsStr::from_bytes(b"\xff");
        assert_eq!(marked(word.as_bytes(), &Roots::default()), None);
    }
}
