//! Recording: from what a process used to the input set that is stored.
//!
//! Every file is hashed after the process has ended, and must then look as it did when
//! it was first opened; otherwise the process may have read something else than what is
//! hashed, and nothing is stored. A file whose last change was within a tick of the
//! kernel's clock before it was opened could have been changed once more without showing
//! it, and is treated the same way.
//!
//! **Values that name places.** Where a variable's value is a path below a root, the value is recorded
//! with the root left open, so that another place of that root can use the result, if nothing can have come of the
//! path but what is found by it, or a copy of it:
//! - If a package's own code names the variable, the value is recorded as it is. Who names it may hash it,
//!   measure it, or take it apart. (Cargo's own variables for scripts are another matter: they are in the key, and what
//!   a script makes of its own directories is taken for the same everywhere.)
//! - If only tools of the system name it (a compiler, a shell, `git`), roots are left open. What they
//!   look for below the path is an input by itself, relative to the same root. What they write of it
//!   is found when outputs are searched for the paths of roots, and binds the result.
//! - `HOME` can be meant without being named: `~`, a `cd` to nowhere, what other languages have. Where a package's own
//!   scripts, or texts of its programs, hold that, its own code names `HOME` (`names::home`).
//!
//! A user's home is a root for inputs alone. Where no input is told relative to it, nobody can have known it, and what
//! contains its path is nobody's trace; else the result is bound ([`Recorder::bind`]). A path below the home may have
//! been reached in another way, given as it is in a source or a variable for one. That does not show, so each fact that is
//! told relative to the home is told of the path as it is, too ([`Facts::tell_as_they_are`]): where nothing is there, which is
//! what tools that look for settings mostly find, both hold in any home; what is there binds.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::PathError;
use crate::formats::digest::BlobRef;
use crate::inputs::input::{FileType, Input};
use crate::inputs::listing;
use crate::inputs::names::{self, Content, Variable};
use crate::inputs::search;
use crate::inputs::sort::{Code, Seen, Summary, Use};
use crate::os::fs;
use crate::os::stamp::Stamp;
use crate::outcome::{NotStored, Refusal};
use crate::roots::{Root, RootedPath, Roots, Template};
use crate::scene::Scene;

/// What recording needs to know.
pub(crate) struct Recorder<'a> {
    pub(crate) scene: &'a Scene<'a>,
    /// When the process was started, nanoseconds since the epoch.
    pub(crate) started: i128,
    /// The files that the process produced: looking at them reads nothing.
    pub(crate) produced: &'a [PathBuf],
    /// What the process wrote, by where it really is.
    pub(crate) made: &'a HashSet<Arc<Path>>,
    /// Whether the key holds a variable already.
    pub(crate) in_key: &'a dyn Fn(&OsStr) -> bool,
}

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

impl Recorder<'_> {
    /// What an observation comes to.
    pub(crate) fn observed(&self, summary: &Summary) -> Result<Facts, Refusal> {
        let mut inputs = Facts::default();
        let mut links = Links::default();
        let mut code = Vec::new();
        for seen in &summary.seen {
            if self.produced.contains(&seen.path) {
                continue;
            }
            let Some(input) = self.input(seen)? else {
                continue;
            };
            // What is opened below a directory later, or asked of a link itself, names
            // the place that the link points to.
            if matches!(input, Input::Dir { .. }) || seen.usage == Use::Looked {
                links.follow(&seen.path);
                links.follow(&end_of_links(&seen.path));
            }
            if let Input::File { blob, .. } = &input {
                self.note_code(seen, *blob, &mut code, &mut inputs)?;
            }
            inputs.insert(input);
        }
        for path in &summary.followed {
            links.follow(path);
        }
        for (path, file_type) in &summary.met {
            // What holds a root is there wherever that is; a user's home has nothing to do with most of them.
            let holds_root = |root| {
                let place = self.scene.roots.get(root);
                root != Root::Home && place.is_some_and(|r| r.starts_with(path))
            };
            if !Root::ALL.into_iter().any(holds_root) {
                inputs.insert(Input::Exists {
                    path: self.scene.roots.relativize(path),
                    file_type: *file_type,
                });
            }
        }
        for (path, target) in links.found {
            inputs.insert(Input::Link {
                path: self.scene.roots.relativize(&path),
                target: self.scene.roots.relativize(&target),
            });
        }
        for path in &summary.executed {
            if let Some(program) = self.program(path) {
                inputs.insert(program);
            }
        }
        self.note_own_code(&summary.own_code, &mut code, &mut inputs)?;
        for (path, asked) in &summary.asked {
            inputs.insert(Input::Permission {
                path: self.scene.roots.relativize(path),
                asked: asked.bits(),
                granted: fs::may_be_used(path, asked.bits()),
            });
        }
        for path in &summary.attributes {
            let attributes = listing::attributes(path)?;
            inputs.insert(Input::Attributes {
                path: self.scene.roots.relativize(path),
                attributes,
            });
        }
        if !code.is_empty() {
            inputs.insert(self.code_env(&code, &summary.written_before)?);
        }
        Ok(inputs)
    }

    /// Binds a result to the places of some roots, when all its other inputs are known: to the user's home
    /// only if one of them is told relative to it.
    pub(crate) fn bind(&self, roots: impl Iterator<Item = Root>, inputs: &mut Facts) {
        let knows_home = || inputs.0.iter().any(|input| input.0.names(Root::Home));
        for binding in bindings_to(&self.scene.roots, roots, knows_home) {
            inputs.insert(binding);
        }
    }

    fn input(&self, seen: &Seen) -> Result<Option<Input>, Refusal> {
        let path = self.scene.roots.relativize(&seen.path);
        let now = Stamp::of(&seen.path);
        let Some(found) = seen.found else {
            return match now {
                None => Ok(Some(self.absent(&seen.path))),
                // Made by the process itself later, or by somebody else.
                Some(_) if self.was_made(&seen.path) => Ok(None),
                Some(_) => Err(NotStored::Changed.at(&seen.path)),
            };
        };
        // What the process made itself is not among what it has seen.
        let now = now.ok_or_else(|| NotStored::Changed.at(&seen.path))?;
        if seen.usage == Use::Looked && found.file_type != FileType::File {
            let file_type = now.file_type;
            if file_type != found.file_type {
                return Err(NotStored::Changed.at(&seen.path));
            }
            return Ok(Some(Input::Exists { path, file_type }));
        }
        // Files of the target directory are replaced, not rewritten, and come
        // into being just before they are used.
        let racy = seen.racy && path.root != Some(Root::Target);
        match found.file_type {
            FileType::File => {
                // Cargo links outputs under a second name at any time, which changes
                // the change time and nothing else.
                let same = match path.root {
                    Some(Root::Target) => now.same_content(&found),
                    _ => now == found,
                };
                if !same || racy {
                    return Err(NotStored::Changed.at(&seen.path));
                }
                Ok(Some(self.file(&seen.path, &now)?))
            }
            FileType::Dir => {
                let listing = listing::digest(&seen.path)?;
                let same = Stamp::of(&seen.path).is_some_and(|s| s.same_content(&found));
                if same && !racy {
                    Ok(Some(Input::Dir { path, listing }))
                } else {
                    Err(NotStored::Changed.at(&seen.path))
                }
            }
            // Its content is not a thing that can be compared.
            FileType::Other | FileType::Link => Err(NotStored::Unreadable.at(&seen.path)),
        }
    }

    fn was_made(&self, path: &Path) -> bool {
        let real = fs::canonicalize(path).ok();
        self.made.contains(path) || real.is_some_and(|real| self.made.contains(&*real))
    }

    /// The fact that a path leads to nothing.
    fn absent(&self, path: &Path) -> Input {
        Input::Absent {
            path: self.scene.roots.relativize(&end_of_links(path)),
        }
    }

    /// A file as it is now; `stamp` says how it was.
    pub(crate) fn file(&self, path: &Path, stamp: &Stamp) -> Result<Input, Refusal> {
        if stamp.file_type != FileType::File {
            // Opening a pipe might wait for ever, and reading a device never end.
            return Err(NotStored::Unreadable.at(path));
        }
        let blob = self.scene.memo.digest_of(path, stamp);
        let blob = blob?;
        if blob.len != stamp.size || Stamp::of(path).is_none_or(|s| !s.same_content(stamp)) {
            return Err(NotStored::Changed.at(path));
        }
        Ok(Input::File {
            path: self.scene.roots.relativize(path),
            blob,
        })
    }

    /// A path that the process named as an input without being seen to use it: there or
    /// not, it counts.
    pub(crate) fn declared(&self, path: &Path) -> Result<Input, Refusal> {
        match Stamp::of(path) {
            Some(stamp) if stamp.is_racy(self.started) => Err(NotStored::Changed.at(path)),
            Some(stamp) if stamp.file_type == FileType::File => self.file(path, &stamp),
            Some(stamp) => Ok(Input::Exists {
                path: self.scene.roots.relativize(path),
                file_type: stamp.file_type,
            }),
            None => Ok(self.absent(path)),
        }
    }

    /// Adds what the process made itself and then ran, or read as a script may be.
    fn note_own_code(
        &self,
        own: &[(PathBuf, Code)],
        code: &mut Vec<(BlobRef, PathBuf)>,
        inputs: &mut Facts,
    ) -> Result<(), Refusal> {
        let own: BTreeSet<&(PathBuf, Code)> = own.iter().collect();
        for (path, kind) in own {
            // One that is gone again was made to see whether it runs.
            let Some(stamp) = Stamp::of(path).filter(|s| s.file_type == FileType::File) else {
                continue;
            };
            if !is_code(path, *kind)? {
                continue;
            }
            let (_, blob) = self.scene.memo.digest(path)?;
            let seen = Seen {
                path: path.clone(),
                usage: Use::Read,
                found: Some(stamp),
                racy: false,
                code: *kind,
            };
            self.note_code(&seen, blob, code, inputs)?;
        }
        Ok(())
    }

    /// Adds a file to the code that ran, with the interpreter of a script.
    fn note_code(
        &self,
        seen: &Seen,
        blob: BlobRef,
        code: &mut Vec<(BlobRef, PathBuf)>,
        inputs: &mut Facts,
    ) -> Result<(), Refusal> {
        if !is_code(&seen.path, seen.code)? {
            return Ok(());
        }
        let start = fs::read_start(&seen.path, 256)?;
        code.push((blob, seen.path.clone()));
        if let Some(interpreter) = fs::interpreter(&start) {
            // The kernel opened it; no system call named it.
            let input = match Stamp::at(&interpreter) {
                Ok(stamp) => self.file(&interpreter, &stamp)?,
                // What was only copied, say, need not be able to run here.
                Err(e) if e.is_missing() => Input::Absent {
                    path: self.scene.roots.relativize(&interpreter),
                },
                Err(e) => return Err(e.into()),
            };
            if let Input::File { blob, .. } = &input {
                code.push((*blob, interpreter));
            }
            inputs.insert(input);
        }
        Ok(())
    }

    pub(crate) fn code_env(
        &self,
        code: &[(BlobRef, PathBuf)],
        written_before: &[PathBuf],
    ) -> Result<Input, Refusal> {
        let files: Vec<names::Code<'_>> = code
            .iter()
            .map(|(blob, path)| names::Code { blob: *blob, path })
            .collect();
        let variables = names::variables(self.scene.store, self.scene.env, &files, self.in_key)?;
        let variables = with_open_roots(self.scene, variables, &files)?;
        // A variable that says where a compiler wrapper writes its log.
        let is_log = |value: &[u8]| {
            let value = Path::new(OsStr::from_bytes(value));
            value.is_absolute() && written_before.iter().any(|path| path.starts_with(value))
        };
        let (write_only, variables): (Vec<_>, Vec<_>) = variables
            .into_iter()
            .partition(|(variable, _)| is_log(&variable.value));
        let blobs: BTreeSet<BlobRef> = code.iter().map(|(blob, _)| *blob).collect();
        Ok(Input::CodeEnv {
            code: blobs.into_iter().collect(),
            variables: variables
                .into_iter()
                .map(|(v, open)| (v.name, open))
                .collect(),
            write_only: write_only.into_iter().map(|(v, _)| v.name).collect(),
        })
    }

    /// The search for a program, if a search in `PATH` finds this one, or tries this
    /// path in vain and finds none.
    pub(crate) fn program(&self, path: &Path) -> Option<Input> {
        let name = path.file_name()?;
        let found = search::program(name, self.scene.env, self.scene.cwd);
        let named = name.as_bytes().to_vec();
        if let Some(found) = found {
            return (found == path).then(|| Input::Program {
                name: named,
                path: self.scene.roots.relativize(path),
            });
        }
        let mut dirs = search::directories(self.scene.env, self.scene.cwd);
        let sought = dirs.any(|dir| Some(dir.as_path()) == path.parent());
        sought.then_some(Input::NoProgram { name: named })
    }
}

/// The values of variables, roots left open where only tools of the system name them.
pub(crate) fn with_open_roots(
    scene: &Scene<'_>,
    variables: Vec<Variable>,
    code: &[names::Code<'_>],
) -> Result<Vec<(Variable, Template)>, PathError> {
    let mut open = Vec::with_capacity(variables.len());
    for variable in variables {
        let exact = || Template::literal(variable.value.clone());
        let value = if variable.is_own {
            exact()
        } else {
            let value = scene.roots.value(&variable.value);
            let is_home = variable.name == b"HOME" && value.names_a_root();
            if is_home && names::stands_for_home(code)? {
                exact()
            } else {
                value
            }
        };
        open.push((variable, value));
    }
    Ok(open)
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
    | Input::Attributes { path, .. }) = &mut told
    else {
        return None;
    };
    *path = plain(path)?;
    Some(told)
}

/// Inputs that bind a result with some inputs to the places of some roots.
pub(crate) fn bindings(known: &Roots, roots: &[Root], inputs: &[Input]) -> Vec<Input> {
    let mut bindings = Facts::default();
    let knows_home = || inputs.iter().any(|input| input.names(Root::Home));
    for binding in bindings_to(known, roots.iter().copied(), knows_home) {
        bindings.insert(binding);
    }
    bindings.into_inputs()
}

/// One input for each root, but for the user's home where nobody knew it.
fn bindings_to(
    known: &Roots,
    roots: impl Iterator<Item = Root>,
    knows_home: impl FnOnce() -> bool,
) -> Vec<Input> {
    let roots: BTreeSet<Root> = roots.collect();
    let left_out = roots.contains(&Root::Home) && !knows_home();
    let roots = roots
        .iter()
        .filter(|root| **root != Root::Home || !left_out);
    roots
        .filter_map(|root| {
            let value = RootedPath {
                root: None,
                rest: known.get(*root)?.as_os_str().as_bytes().to_vec(),
            };
            Some(Input::RootValue { root: *root, value })
        })
        .collect()
}

/// Whether a file is code, by who used it and by its content.
fn is_code(path: &Path, kind: Code) -> Result<bool, Refusal> {
    if matches!(kind, Code::No | Code::Yes) {
        return Ok(kind == Code::Yes);
    }
    Ok(match names::content(path)? {
        Content::Data | Content::Library => false,
        Content::Program | Content::Text | Content::WideText => true,
        Content::Binary => kind == Code::Interpreted,
        // Tables of the system, and the like, are nobody's archives.
        Content::Opaque => kind == Code::Interpreted && !names::is_of_system(path),
    })
}

/// The links on the way to some paths.
#[derive(Default)]
struct Links {
    /// Paths that were asked whether they are links, with all above them.
    asked: HashSet<PathBuf>,
    /// Links and where they point.
    found: Vec<(PathBuf, PathBuf)>,
}

impl Links {
    fn follow(&mut self, path: &Path) {
        // Without a final slash, which would name what the link points to.
        let path: PathBuf = path.components().collect();
        for part in path.ancestors() {
            if !self.asked.insert(part.to_owned()) {
                break;
            }
            if let Ok(target) = fs::read_link(part) {
                self.found.push((part.to_owned(), target));
            }
        }
    }
}

/// What a path leads to that is a link, or a link to a link, and so on.
fn end_of_links(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    // As many as the kernel follows.
    for _ in 0..40 {
        let Ok(target) = fs::read_link(&path) else {
            break;
        };
        path = path.parent().unwrap_or(Path::new("/")).join(target);
    }
    path
}

/// Inputs in an order that does not depend on how threads took turns, so that the same
/// inputs always name the same result.
#[derive(PartialEq, Eq)]
struct Sorted(Input);

impl Sorted {
    fn rank(&self) -> (u8, &[u8], u8) {
        let root = |path: &crate::roots::RootedPath| path.root.map_or(0, |r| 1 + r as u8);
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
        self.rank().cmp(&other.rank())
    }
}
