//! Checking inputs: do the recorded facts still hold here and now?
//!
//! The first input of a set that does not hold ends the check of that set; inputs shared
//! by several sets of a manifest are checked once. Files are told apart by size first,
//! then by digest, through the memo.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::formats::digest::{BlobRef, Digest};
use crate::formats::manifest::{InputManifest, InputSet};
use crate::inputs::asks;
use crate::inputs::input::{EnvValue, FileType, Input};
use crate::inputs::kernel;
use crate::inputs::libraries::{self, Libraries};
use crate::inputs::listing;
use crate::inputs::modes;
use crate::inputs::names::{self, Code, Variable};
use crate::inputs::places::is_exact;
use crate::inputs::search;
use crate::inputs::times;
use crate::looked::Looked;
use crate::os::fs;
use crate::os::stamp::Stamp;
use crate::outcome::Change;
use crate::roots::{Root, RootedPath, Template};
use crate::scene::Scene;

/// The world that inputs are checked against.
pub(crate) struct World<'a> {
    pub(crate) scene: &'a Scene<'a>,
    /// The last value of an argument that is left out of keys.
    pub(crate) argument: &'a dyn Fn(&str) -> Option<Vec<u8>>,
    /// Whether the key holds a variable already.
    pub(crate) in_key: &'a dyn Fn(&OsStr) -> bool,
    /// Where libraries are, once it was asked for.
    pub(crate) libraries: OnceCell<Libraries>,
    /// What this process has looked at for other calls, if it serves many.
    pub(crate) looked: Option<&'a Looked>,
}

impl World<'_> {
    /// Where a path is here; `None` where its root is not known.
    pub(crate) fn at(&self, path: &RootedPath) -> Option<PathBuf> {
        self.scene.roots.resolve(path)
    }

    /// A fact of the machine, or the last value of an argument.
    pub(crate) fn argument(&self, name: &str) -> Option<Vec<u8>> {
        if libraries::is_fact(name) {
            let libraries = match self.looked {
                Some(looked) => looked.libraries(),
                None => self.libraries.get_or_init(Libraries::read),
            };
            return libraries.value(name);
        }
        kernel::fact(name)
            .or_else(|| asks::value(name, self.scene.env))
            .or_else(|| (self.argument)(name))
    }

    /// Whether nothing is at a path. A link is something, even one that leads nowhere. Who has no home may
    /// have one that is found otherwise.
    pub(crate) fn is_absent(&self, path: &RootedPath) -> bool {
        match self.at(path) {
            Some(place) => fs::symlink_metadata(&place).is_err(),
            None => path.root != Some(Root::Home),
        }
    }

    /// The file that a name is searched for in `PATH`.
    pub(crate) fn program(&self, name: &[u8]) -> Option<PathBuf> {
        search::program(OsStr::from_bytes(name), self.scene.env, self.scene.cwd)
    }
}

/// Checks the input sets of one manifest.
pub(crate) struct Checker<'a> {
    world: &'a World<'a>,
    manifest: &'a InputManifest,
    /// What checking an input came to, by its position.
    known: HashMap<usize, Result<(), Change>>,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(world: &'a World<'a>, manifest: &'a InputManifest) -> Self {
        Self {
            world,
            manifest,
            known: HashMap::new(),
        }
    }

    /// Whether all inputs of a set hold; the first that does not.
    pub(crate) fn check(&mut self, set: &InputSet) -> Result<(), Change> {
        for (position, input) in self.manifest.inputs_of(set) {
            if let Some(known) = self.known.get(&position) {
                known.clone()?;
                continue;
            }
            let outcome = self.holds(input, set);
            self.known.insert(position, outcome.clone());
            outcome?;
        }
        Ok(())
    }

    fn holds(&self, input: &Input, set: &InputSet) -> Result<(), Change> {
        match input {
            Input::File { path, blob } => self.file(path, blob),
            Input::Dir { path, listing } => {
                let now = self.world.at(path).and_then(|p| listing::digest(&p).ok());
                compare("listing", path, "other entries", now == Some(*listing))
            }
            Input::Exists { path, file_type } => {
                let now = self.world.at(path).and_then(|p| Stamp::of(&p));
                let same = now.is_some_and(|s| s.file_type == *file_type);
                compare("existence", path, "gone or of another type", same)
            }
            Input::Absent { path } => {
                let gone = self.world.is_absent(path);
                compare("appeared", path, "there", gone)
            }
            Input::Permission {
                path,
                asked,
                granted,
            } => {
                let now = self
                    .world
                    .at(path)
                    .is_some_and(|p| fs::may_be_used(&p, *asked));
                compare("permission", path, "otherwise", now == *granted)
            }
            Input::Attributes { path, attributes } => {
                let now = self
                    .world
                    .at(path)
                    .and_then(|p| listing::attributes(&p).ok());
                compare("attributes", path, "others", now == Some(*attributes))
            }
            Input::Mode {
                path, itself, mask, ..
            } => {
                let now = self.world.at(path).and_then(|p| modes::look(&p, *itself));
                let now = now.map(|now| modes::input(path.clone(), *itself, *mask, &now));
                compare("mode", path, "otherwise", now.as_ref() == Some(input))
            }
            Input::Times {
                path,
                itself,
                minds,
                ..
            } => {
                let now = self.world.at(path).and_then(|p| times::look(&p, *itself));
                let now = now.map(|now| times::input(path.clone(), *itself, *minds, &now));
                compare("times", path, "otherwise", now.as_ref() == Some(input))
            }
            Input::Link { path, target } => {
                // A root may have several spellings, one of which the link gives it.
                let now = self.world.at(path).and_then(|p| fs::read_link(&p).ok());
                let same =
                    now.is_some_and(|now| self.world.scene.roots.relativize(&now) == *target);
                compare("link", path, "no such link", same)
            }
            Input::Env { name, value } => self.env(name, value),
            Input::Program { name, path } => {
                let found = self.world.program(name);
                let same = found.is_some() && found == self.world.at(path);
                compare("program", path, "another program in PATH", same)
            }
            Input::Modes { modes } => self.modes(*modes, set),
            Input::NoProgram { name } => match self.world.program(name) {
                None => Ok(()),
                Some(now) => Err(change(
                    "program",
                    &String::from_utf8_lossy(name),
                    "nowhere in PATH",
                    &now.display().to_string(),
                )),
            },
            Input::CodeEnv {
                code,
                variables,
                write_only,
            } => self.code_env(code, variables, write_only, set),
            Input::Told { words, variables } => compare_variables(
                variables,
                &names::told(self.world.scene.env, words.as_deref()),
            ),
            Input::Argument { name, value } => {
                let now = self.world.argument(name);
                different("argument", name, value.as_deref(), now.as_deref())
            }
            Input::RootValue { root, value } => {
                let now = self.world.scene.roots.get(*root).map(path_bytes);
                let old = self.world.at(value);
                different("place", root.name(), old.as_deref().map(path_bytes), now)
            }
        }
    }

    fn file(&self, path: &RootedPath, blob: &BlobRef) -> Result<(), Change> {
        let gone = || compare("file", path, "not there", false);
        let Some(place) = self.world.at(path) else {
            return gone();
        };
        if let Some(known) = self.world.looked.and_then(|looked| looked.file(&place)) {
            return compare("file", path, "of another content", known == *blob);
        }
        let Some(stamp) = Stamp::of(&place) else {
            return gone();
        };
        if stamp.file_type != FileType::File || stamp.size != blob.len {
            return compare("file", path, "of another size", false);
        }
        // What is known of it may not be known to everybody.
        if stamp.mode & 0o004 == 0 && !fs::is_readable(&place) {
            return compare("file", path, "not readable", false);
        }
        let now = self.world.scene.memo.digest_of(&place, &stamp);
        let same = now.is_ok_and(|now| now == *blob);
        if let Some(looked) = self.world.looked.filter(|_| same) {
            looked.has_seen(place, *blob);
        }
        compare("file", path, "of another content", same)
    }

    fn modes(&self, recorded: Digest, set: &InputSet) -> Result<(), Change> {
        let inputs = self.manifest.inputs_of(set);
        let files = inputs.filter_map(|(_, input)| match input {
            Input::File { path, .. } => Some(path),
            _ => None,
        });
        if listing::modes(files, &self.world.scene.roots) == recorded {
            return Ok(());
        }
        Err(change(
            "modes",
            "the inputs",
            "as recorded",
            "other permissions",
        ))
    }

    fn env(&self, name: &[u8], value: &EnvValue) -> Result<(), Change> {
        let now = self.world.scene.env.get(OsStr::from_bytes(name));
        let now = now.map(OsStr::as_bytes);
        let old = match value {
            EnvValue::Unset => None,
            EnvValue::Set(template) => Some(self.filled("env", name, template)?),
        };
        different("env", &String::from_utf8_lossy(name), old.as_deref(), now)
    }

    fn code_env(
        &self,
        code: &[BlobRef],
        variables: &[(Vec<u8>, Template)],
        write_only: &[Vec<u8>],
        set: &InputSet,
    ) -> Result<(), Change> {
        let mut files = Vec::with_capacity(code.len());
        for (_, input) in self.manifest.inputs_of(set) {
            if let Input::File { path, blob } = input
                && code.contains(blob)
            {
                files.extend(self.world.at(path).map(|path| (*blob, path)));
            }
        }
        // What the process made itself and then ran is among the outputs, if anywhere.
        for blob in code {
            if files.iter().all(|(known, _)| known != blob) {
                files.push((*blob, self.world.scene.store.layout().blob(blob.digest)));
            }
        }
        let files: Vec<Code<'_>> = files
            .iter()
            .map(|(blob, path)| Code { blob: *blob, path })
            .collect();
        let around = names::Around {
            store: self.world.scene.store,
            looked: self.world.looked,
        };
        let mut now = names::variables(around, self.world.scene.env, &files, self.world.in_key)
            .map_err(|e| change("code", "a program or library", "readable", &e.to_string()))?;
        now.retain(|variable| !write_only.contains(&variable.name));
        let mut recorded = Vec::with_capacity(variables.len());
        for (name, value) in variables {
            let (scene, in_key) = (self.world.scene, self.world.in_key);
            let is_exact = |v: &Variable| v.name == *name && is_exact(scene, in_key, v);
            if now.iter().any(is_exact) && value.names_a_root() {
                // The same code was a tool of the system's where it was recorded.
                let name = String::from_utf8_lossy(name);
                return Err(change("code-env", &name, "of a tool", "of a package's own"));
            }
            recorded.push((name.clone(), self.filled("code-env", name, value)?));
        }
        let now = now.into_iter().map(|v| (v.name, v.value));
        compare_variables(&recorded, &now.collect::<Vec<_>>())
    }

    /// A value with the places of roots, all of which must be known here.
    fn filled(&self, kind: &'static str, name: &[u8], value: &Template) -> Result<Vec<u8>, Change> {
        let filled = value.fill(&self.world.scene.roots);
        let unknown = || {
            let name = String::from_utf8_lossy(name);
            change(kind, &name, "below a root", "no such root")
        };
        filled.ok_or_else(unknown)
    }
}

fn path_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn compare_variables(
    recorded: &[(Vec<u8>, Vec<u8>)],
    now: &[(Vec<u8>, Vec<u8>)],
) -> Result<(), Change> {
    let value = |list: &[(Vec<u8>, Vec<u8>)], name: &[u8]| {
        let found = list.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.clone())
    };
    for (name, _) in recorded.iter().chain(now) {
        let (old, new) = (value(recorded, name), value(now, name));
        let name = String::from_utf8_lossy(name);
        different("code-env", &name, old.as_deref(), new.as_deref())?;
    }
    Ok(())
}

fn compare(kind: &'static str, path: &RootedPath, new: &str, same: bool) -> Result<(), Change> {
    if same {
        return Ok(());
    }
    let old = if kind == "appeared" {
        "absent"
    } else {
        "as recorded"
    };
    Err(change(kind, &path.to_string(), old, new))
}

fn different(
    kind: &'static str,
    what: &str,
    old: Option<&[u8]>,
    new: Option<&[u8]>,
) -> Result<(), Change> {
    if old == new {
        return Ok(());
    }
    let show = |value: Option<&[u8]>| match value {
        Some(value) => format!("{:?}", String::from_utf8_lossy(value)),
        None => "not set".to_owned(),
    };
    Err(change(kind, what, &show(old), &show(new)))
}

fn change(kind: &'static str, what: &str, old: &str, new: &str) -> Change {
    Change {
        kind,
        what: what.to_owned(),
        old: old.to_owned(),
        new: new.to_owned(),
    }
}
