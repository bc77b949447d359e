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

use std::os::unix::ffi::OsStrExt as _;

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
    /// The process that started this one.
    pub(crate) fn find() -> Self {
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
        let text = marked(&text, roots)?;
        let mut words = text.split('\0').map(str::to_owned);
        Some(Self {
            cwd: words.next()?,
            argv: words.by_ref().take(request.argv.len()).collect(),
            env: words.collect(),
            roots: Root::ALL
                .into_iter()
                .filter_map(|root| Some((letter(root), roots.get(root)?.to_str()?.to_owned())))
                .collect(),
        })
    }
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
    fn marks_and_what_is_no_text_are_told_apart() {
        let call_of = |word: &str| call(&[word], &[], Some(""));
        assert_eq!(call_of("a\u{1}w").unwrap().argv, ["a\u{1}\u{1}w"]);
        assert_eq!(call(&["a"], &[], None), None);
        let word = OsStr::from_bytes(b"\xff");
        assert_eq!(marked(word.as_bytes(), &Roots::default()), None);
    }
}
