//! The facts that an input set is made of, in an order of their own.

use std::collections::BTreeSet;

use crate::formats::digest::BlobRef;
use crate::inputs::input::Input;
use crate::inputs::places::TARGET_DIR;
use crate::roots::{Root, RootedPath, Roots};

/// The facts that an input set is made of.
#[derive(Default)]
pub(crate) struct Facts(BTreeSet<Sorted>);

impl Facts {
    pub(crate) fn insert(&mut self, input: Input) {
        self.0.insert(Sorted(input));
    }

    /// The files among them, in the order of [`into_inputs`](Self::into_inputs).
    pub(crate) fn files(&self) -> impl Iterator<Item = (&RootedPath, &BlobRef)> {
        self.0.iter().filter_map(|sorted| match &sorted.0 {
            Input::File { path, blob } => Some((path, blob)),
            _ => None,
        })
    }

    /// Whether a file with this content is code that ran, or may have been read as code.
    pub(crate) fn is_code(&self, blob: &BlobRef) -> bool {
        self.0.iter().any(|sorted| match &sorted.0 {
            Input::CodeEnv { code, .. } => code.contains(blob),
            _ => false,
        })
    }

    /// Whether one of them is told relative to a root.
    pub(super) fn names(&self, root: Root) -> bool {
        self.0.iter().any(|sorted| sorted.0.names(root))
    }

    /// Whether code names `CARGO_TARGET_DIR`, and it is another directory than the target directory: the code may
    /// compare them.
    pub(crate) fn names_another_target(&self) -> bool {
        self.0.iter().any(|input| {
            let Input::CodeEnv { variables, .. } = &input.0 else {
                return false;
            };
            let mut variables = variables.iter();
            variables.any(|(name, value)| {
                let begins = value.literals().next().unwrap_or_default();
                name == TARGET_DIR && !value.names_a_root() && begins.starts_with(b"/")
            })
        })
    }

    /// Adds what is told relative to the user's home as it is told of the path itself.
    pub(crate) fn tell_as_they_are(&mut self, roots: &Roots) {
        let told = self.0.iter();
        let told: Vec<Input> = told.filter_map(|fact| as_it_is(&fact.0, roots)).collect();
        self.0.extend(told.into_iter().map(Sorted));
    }

    /// The inputs in an order that is the same each time.
    pub(crate) fn into_inputs(self) -> Vec<Input> {
        self.0.into_iter().map(|sorted| sorted.0).collect()
    }
}

/// A fact about something below the user's home, told of the path as it is.
fn as_it_is(input: &Input, roots: &Roots) -> Option<Input> {
    let plain = |path: &RootedPath| {
        let full = roots
            .resolve(path)
            .filter(|_| path.root == Some(Root::Home))?;
        Some(RootedPath {
            root: None,
            rest: full.into_os_string().into_encoded_bytes(),
        })
    };
    let mut told = input.clone();
    let (Input::File { path, .. }
    | Input::Dir { path, .. }
    | Input::Exists { path, .. }
    | Input::Absent { path }
    | Input::Link { path, .. }
    | Input::Permission { path, .. }
    | Input::Mode { path, .. }
    | Input::Times { path, .. }
    | Input::Attributes { path, .. }) = &mut told
    else {
        return None;
    };
    *path = plain(path)?;
    Some(told)
}

/// Inputs in an order that does not depend on how threads took turns, so that the same
/// inputs always name the same result.
#[derive(PartialEq, Eq)]
struct Sorted(Input);

impl Sorted {
    fn rank(&self) -> (u8, &[u8], u8) {
        let root = |path: &RootedPath| path.root.map_or(0, |r| 1 + r as u8);
        match &self.0 {
            Input::RootValue { value, root } => (0, &value.rest, *root as u8),
            Input::Argument { name, .. } => (1, name.as_bytes(), 0),
            Input::Env { name, .. } => (2, name, 0),
            Input::Link { path, .. } => (9, &path.rest, root(path)),
            Input::File { path, .. } => (3, &path.rest, root(path)),
            Input::Dir { path, .. } => (4, &path.rest, root(path)),
            Input::Exists { path, .. } => (5, &path.rest, root(path)),
            Input::Absent { path } => (6, &path.rest, root(path)),
            Input::Program { name, .. } => (7, name, 0),
            Input::NoProgram { name } => (7, name, 1),
            Input::Modes { .. } => (10, b"", 0),
            Input::CodeEnv { .. } => (8, b"", 0),
            Input::Attributes { path, .. } => (11, &path.rest, root(path)),
            Input::Permission { path, asked, .. } => (12 + asked, &path.rest, root(path)),
            Input::Told { .. } => (8, b"", 1),
            Input::Times { path, itself, .. } => (22 + u8::from(*itself), &path.rest, root(path)),
            Input::Mode { path, itself, .. } => (20 + u8::from(*itself), &path.rest, root(path)),
        }
    }
}

impl PartialOrd for Sorted {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Sorted {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let which = |sorted: &Self| match &sorted.0 {
            Input::Times { minds, .. } => minds.bits(),
            _ => 0,
        };
        let ranks = self.rank().cmp(&other.rank());
        // Two who looked at the same may mind different times.
        ranks.then_with(|| which(self).cmp(&which(other)))
    }
}
