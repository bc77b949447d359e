//! Recording: from what a process used to the input set that is stored.
//!
//! Every file is hashed after the process has ended, and must then look as it did when
//! it was first opened; otherwise the process may have read something else than what is
//! hashed, and nothing is stored. A file whose last change was within a tick of the
//! kernel's clock before it was opened could have been changed once more without showing
//! it, and is treated the same way. Some files are read once more, for names and words; so all are looked at
//! again when that is done ([`Recorder::settled`]).
//!
//! Values of variables that name places are the business of [`places`](super::places).

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustc_hash::FxHashSet;

use crate::formats::digest::BlobRef;
use crate::inputs::facts::Facts;
use crate::inputs::input::{FileType, Input};
use crate::inputs::kernel;
use crate::inputs::libraries::{self, Libraries};
use crate::inputs::links::{Links, end_of_links};
use crate::inputs::listing;
use crate::inputs::modes::look;
use crate::inputs::names::{self, Content};
use crate::inputs::places::{bindings_to, with_open_roots};
use crate::inputs::search;
use crate::inputs::sort::{Code, Seen, Summary, Use};
use crate::os::fs;
use crate::os::stamp::Stamp;
use crate::outcome::{NotStored, Refusal};
use crate::roots::{Root, RootedPath};
use crate::scene::Scene;

/// What recording needs to know.
pub(crate) struct Recorder<'a> {
    pub(crate) scene: &'a Scene<'a>,
    /// When the process was started, nanoseconds since the epoch.
    pub(crate) started: i128,
    /// The files that the process produced: looking at them reads nothing.
    pub(crate) produced: &'a [PathBuf],
    /// What the process wrote, by where it really is.
    pub(crate) made: &'a FxHashSet<Arc<Path>>,
    /// Whether the key holds a variable already.
    pub(crate) in_key: &'a dyn Fn(&OsStr) -> bool,
}

impl Recorder<'_> {
    /// What an observation comes to.
    pub(crate) fn observed(&self, summary: &Summary) -> Result<Facts, Refusal> {
        let mut inputs = Facts::default();
        let mut links = Links::default();
        let mut code = Vec::new();
        // What a process made, ran and removed cannot be searched; what it may have been unpacked from can.
        let is_gone = |(path, _): &(PathBuf, Code)| Stamp::of(path).is_none();
        let unpacked = summary.own_code.iter().any(is_gone);
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
                let as_read = if unpacked && seen.code == Code::Perhaps {
                    Code::Interpreted
                } else {
                    seen.code
                };
                self.note_code(&seen.path, as_read, *blob, &mut code, &mut inputs)?;
            }
            inputs.insert(input);
        }
        for path in &summary.followed {
            links.follow(path);
        }
        for (path, file_type) in &summary.met {
            if !self.holds_root(path) {
                inputs.insert(Input::Exists {
                    path: self.scene.roots.relativize(path),
                    file_type: *file_type,
                });
            }
        }
        for (path, target) in links.found {
            self.is_older(&path)?;
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
        self.leave_out_heard(summary, &mut code)?;
        self.note_libraries(summary, &mut inputs)?;
        for (path, asked, found) in &summary.asked {
            let then = found.as_ref();
            if now_like(path, then).is_some_and(|now| then.is_some_and(|t| now.mode != t.mode)) {
                return Err(NotStored::Changed.at(path));
            }
            inputs.insert(Input::Permission {
                path: self.scene.roots.relativize(path),
                asked: asked.bits(),
                granted: fs::may_be_used(path, asked.bits()),
            });
        }
        for (path, found) in &summary.attributes {
            let now = now_like(path, found.as_ref()).map(|now| now.ctime);
            // Cargo links outputs under a second name at any time.
            let is_linked = self.scene.roots.relativize(path).root == Some(Root::Target);
            if !is_linked && now != found.map(|found| found.ctime) {
                return Err(NotStored::Changed.at(path));
            }
            let attributes = listing::attributes(path)?;
            inputs.insert(Input::Attributes {
                path: self.scene.roots.relativize(path),
                attributes,
            });
        }
        self.note_modes(summary, &mut inputs)?;
        self.note_times_of_tools(summary, &code, &mut inputs)?;
        if !code.is_empty() {
            inputs.insert(self.code_env(&code, &summary.written_before)?);
        }
        Ok(inputs)
    }

    /// What holds a root is there wherever that is; a user's home has nothing to do with most of them.
    pub(super) fn holds_root(&self, path: &Path) -> bool {
        let holds = |root| {
            let place = self.scene.roots.get(root);
            root != Root::Home && place.is_some_and(|r| r.starts_with(path))
        };
        Root::ALL.into_iter().any(holds)
    }

    /// What the loaders of programs found in the table of libraries.
    fn note_libraries(&self, summary: &Summary, inputs: &mut Facts) -> Result<(), Refusal> {
        let Some((first, _)) = summary.tables.first() else {
            return Ok(());
        };
        let table = Path::new(libraries::TABLE);
        let names = summary.libraries.iter().map(Vec::as_slice);
        match Libraries::read().facts(names) {
            Some(facts) => facts.into_iter().for_each(|fact| inputs.insert(fact)),
            None => inputs.insert(self.file(table, first)?),
        }
        let now = Stamp::of(table);
        let is_same = |(then, racy): &(Stamp, bool)| !racy && now.as_ref() == Some(then);
        if !summary.tables.iter().all(is_same) {
            return Err(NotStored::Changed.at(table));
        }
        Ok(())
    }

    /// Binds a result to the places of some roots, when all its other inputs are known: to the user's home
    /// only if one of them is told relative to it.
    pub(crate) fn bind(&self, roots: impl Iterator<Item = Root>, inputs: &mut Facts) {
        let knows_home = || inputs.names(Root::Home);
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
                if !is_as_found(&path, &now, &found) || racy {
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

    /// Whether all files that were read still look as they did, at the end of recording.
    pub(crate) fn settled(&self, summary: &Summary) -> Result<(), Refusal> {
        for seen in summary.seen.iter().filter(|seen| seen.usage == Use::Read) {
            let Some(found) = seen.found.filter(|found| found.file_type == FileType::File) else {
                continue;
            };
            let path = self.scene.roots.relativize(&seen.path);
            let is_same = |now| is_as_found(&path, &now, &found);
            if !self.produced.contains(&seen.path) && !Stamp::of(&seen.path).is_some_and(is_same) {
                return Err(NotStored::Changed.at(&seen.path));
            }
        }
        Ok(())
    }

    /// Whether a link was there before the process started: where it led is not known otherwise. It is not
    /// followed, for what it leads to may never answer.
    fn is_older(&self, link: &Path) -> Result<(), Refusal> {
        let is_passing = || {
            let parent = link
                .parent()
                .and_then(|parent| fs::canonicalize(parent).ok());
            let real = parent.zip(link.file_name()).map(|(p, name)| p.join(name));
            kernel::owns(link)
                || self.scene.roots.relativize(link).root == Some(Root::Target)
                || real.is_some_and(|real| self.made.contains(&*real))
        };
        if Stamp::of_name(link)?.is_racy(self.started) && !is_passing() {
            return Err(NotStored::Changed.at(link));
        }
        Ok(())
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
            let is_there = Stamp::of(path).is_some_and(|s| s.file_type == FileType::File);
            if is_there && is_code(path, *kind)? {
                let (_, blob) = self.scene.memo.digest(path)?;
                self.note_code(path, *kind, blob, code, inputs)?;
            }
        }
        Ok(())
    }

    /// Adds a file to the code that ran, with the interpreter of a script.
    fn note_code(
        &self,
        path: &Path,
        kind: Code,
        blob: BlobRef,
        code: &mut Vec<(BlobRef, PathBuf)>,
        inputs: &mut Facts,
    ) -> Result<(), Refusal> {
        if !is_code(path, kind)? {
            return Ok(());
        }
        let start = fs::read_start(path, 256)?;
        code.push((blob, path.to_owned()));
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
        let variables = with_open_roots(self.scene, self.in_key, variables, &files)?;
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

/// What is at a path now: the link itself, if it was a link that was found there.
fn now_like(path: &Path, found: Option<&Stamp>) -> Option<Stamp> {
    look(path, found.is_some_and(|f| f.file_type == FileType::Link))
}

/// Whether a file looks as it did when it was found.
fn is_as_found(path: &RootedPath, now: &Stamp, found: &Stamp) -> bool {
    // Cargo links outputs under a second name at any time, which changes
    // the change time and nothing else.
    match path.root {
        Some(Root::Target) => now.same_content(found),
        _ => now == found,
    }
}

/// Whether a file is code, by who used it and by its content.
fn is_code(path: &Path, kind: Code) -> Result<bool, Refusal> {
    match kind {
        Code::No | Code::Yes => return Ok(kind == Code::Yes),
        Code::Loaded => return Ok(names::is_program(path)?),
        Code::Perhaps | Code::Interpreted => {}
    }
    Ok(match names::content(path)? {
        Content::Data | Content::Library => false,
        Content::Program | Content::Text | Content::WideText => true,
        Content::Binary => kind == Code::Interpreted,
        // Tables of the system, and the like, are nobody's archives.
        Content::Opaque => kind == Code::Interpreted && !names::is_of_system(path),
    })
}
