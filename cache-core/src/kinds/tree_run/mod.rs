//! Runs that leave a tree of files in a directory of their own: what those of build scripts and of
//! other tools have in common.
//!
//! A run is stored only if a hit can stand for it: it began with an empty directory, did
//! well, wrote nowhere else (temporary files aside), talked to no other process, and read
//! nothing that differs from machine to machine without showing.

mod subject;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::cargo::toolchain::Toolchain;
use crate::config::Config;
use crate::formats::digest::Digest;
use crate::formats::key::KeyHasher;
use crate::inputs::asks;
use crate::inputs::facts::Facts;
use crate::inputs::inherited::Inherited;
use crate::inputs::input::Input;
use crate::inputs::listing;
use crate::inputs::names::{self, Code, Minds};
use crate::inputs::record::Recorder;
use crate::inputs::search;
use crate::inputs::sort::Summary;
use crate::inputs::tool_caches::ToolCaches;
use crate::observe::Depth;
use crate::os::fs;
use crate::outcome::{Bypass, BypassReason, NOT_OBSERVED, NotStored, Refusal};
use crate::outputs::restore::{Messages, RestoreError};
use crate::outputs::result::CompileResult;
use crate::outputs::tree;
use crate::request::Request;
use crate::roots::{Root, RootedPath};
use crate::run::Command;
use crate::scene::Scene;
use crate::unit::{Kept, Process, Ran};

use subject::Known;

/// The directory that a run leaves everything in.
pub(super) struct OutDir {
    pub(super) path: PathBuf,
    /// The same without links, before the run.
    real: PathBuf,
}

impl OutDir {
    /// It must be a real directory and empty: what it holds may decide what the run does, and what
    /// the run leaves there would stay.
    pub(super) fn find(path: &Path) -> Result<Self, Bypass> {
        let is_dir = fs::symlink_metadata(path).is_ok_and(|m| m.is_dir());
        let is_new = is_dir && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
        if !is_new {
            return Err(BypassReason::UsedOutDir.at(path));
        }
        let real = fs::canonicalize(path);
        Ok(Self {
            real: real.map_err(|e| BypassReason::UsedOutDir.of(e))?,
            path: path.to_owned(),
        })
    }

    /// It, and it without links, if it is what it was. What was made a link since is a place of
    /// somebody else's.
    fn spellings(&self) -> Result<[&Path; 2], Refusal> {
        let is_dir = fs::symlink_metadata(&self.path).is_ok_and(|m| m.is_dir());
        let is_same = is_dir && fs::canonicalize(&self.path).is_ok_and(|real| real == self.real);
        let spellings = is_same.then(|| [&*self.path, &*self.real]);
        spellings.ok_or_else(|| NotStored::UnknownOutput.at(&self.path))
    }
}

/// What was looked at above the target directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Climb {
    No,
    /// Only what lies in the user's home, as the target directory does.
    BelowHome,
    Anywhere,
}

/// A run that leaves a tree.
pub(super) struct TreeRun<'a> {
    pub(super) scene: Scene<'a>,
    pub(super) config: &'a Config,
    pub(super) out_dir: OutDir,
    /// What is executed.
    pub(super) executable: PathBuf,
    /// What results name as their toolchain.
    pub(super) identity: Digest,
    /// The compiler that it is about, if it is about one.
    pub(super) toolchain: Option<Toolchain>,
    /// The wrapper's own path.
    pub(super) wrapper: Option<&'a Path>,
    /// What it is handed down besides its standard streams.
    pub(super) inherited: Inherited,
}

impl TreeRun<'_> {
    /// Inputs are not known before the run: what differs in them only costs one wait.
    pub(super) fn work(&self) -> Digest {
        let mut hasher = KeyHasher::new("run");
        hasher.bytes("manifest", self.scene.key.0.as_bytes());
        hasher.finish()
    }

    pub(super) fn restore(&self, result: &CompileResult) -> Result<Messages, RestoreError> {
        let scene = &self.scene;
        let messages = Messages::of(result, &scene.roots);
        let messages = messages.ok_or_else(|| RestoreError::damaged("messages"))?;
        tree::restore(scene.store, result, &scene.roots, &self.out_dir.path)?;
        Ok(messages)
    }

    /// Its process, which may run any others.
    pub(super) fn process(&self, request: &Request<'_>, is_observed: bool) -> Process<'static> {
        let mut command = Command::new(&self.executable, request.env.clone(), request.cwd);
        command.arg0 = Some(request.arg0.to_owned());
        command.args = request.argv.iter().skip(1).cloned().collect();
        Process {
            command,
            depth: is_observed.then_some(Depth::Tree),
            translate: Box::new(<[u8]>::to_vec),
            extra: None,
        }
    }

    /// What is kept of it. `minds` says what its sources let it mind, by whether it has symbols; `declare` adds what it said itself that it depends on.
    pub(super) fn keep(
        &self,
        ran: &Ran,
        in_key: &dyn Fn(&OsStr) -> bool,
        minds: impl FnOnce(bool) -> Minds,
        declare: impl FnOnce(&Recorder<'_>, &Summary, &mut Facts) -> Result<(), Refusal>,
    ) -> Result<Kept, Refusal> {
        let scene = &self.scene;
        let summary = self.summary(ran)?;
        let recorder = Recorder {
            scene,
            started: ran.started,
            produced: &[],
            made: &summary.made,
            in_key,
        };
        let mut inputs = recorder.observed(&summary)?;
        self.note_searches(&recorder, &summary, &mut inputs);
        self.note_heard(&recorder, &summary, &mut inputs)?;
        declare(&recorder, &summary, &mut inputs)?;
        for path in self.inherited.files() {
            inputs.insert(recorder.declared(path)?);
        }
        for fact in &summary.facts {
            inputs.insert(fact.input());
        }
        let (_, blob) = scene.memo.digest(&self.executable)?;
        let path = &*self.executable;
        let code = Code { blob, path };
        let minds = names::minds(scene.store, &code, minds)?;
        recorder.note_times(&summary, minds, &mut inputs)?;
        for fact in asks::facts(Some(code), &summary.executed, scene)? {
            inputs.insert(fact);
        }
        inputs.tell_as_they_are(&scene.roots);
        let modes = listing::modes(inputs.files().map(|(path, _)| path), &scene.roots);
        inputs.insert(Input::Modes { modes });
        recorder.settled(&summary)?;
        let captured = tree::capture(&self.out_dir.path, &scene.roots, scene.store)?;
        let (stdout, in_stdout) = tree::open_roots(&ran.stdout, &scene.roots);
        let (stderr, in_stderr) = tree::open_roots(&ran.stderr, &scene.roots);
        let mut bound = [captured.contained, in_stdout, in_stderr].concat();
        match self.climb(&summary) {
            Climb::No => {}
            Climb::BelowHome => inputs.insert(self.target_below_home()),
            Climb::Anywhere => bound.push(Root::Target),
        }
        recorder.bind(bound.into_iter(), &mut inputs);
        Ok(Kept {
            toolchain: self.identity,
            inputs: inputs.into_inputs(),
            outputs: captured.outputs,
            included: Vec::new(),
            stdout,
            stderr,
            stored: captured.size,
        })
    }

    fn summary(&self, ran: &Ran) -> Result<Summary, Refusal> {
        let observation = ran.run.observation.as_ref();
        let observation = observation.ok_or_else(|| NotStored::Incomplete.of(NOT_OBSERVED))?;
        let known = Known {
            env: self.scene.env,
            toolchain: self.toolchain.as_ref(),
            out_dir: self.out_dir.spellings()?,
            executable: &fs::canonicalize(&self.executable)?,
            wrapper: self.wrapper,
            tool_caches: ToolCaches::of(self.scene.env, self.config),
            jobserver: subject::jobserver(self.scene.env),
        };
        subject::summarise(observation, &known)
    }

    /// Variables that the executable was heard to ask for by names that do not stand in it. Those that do are inferred,
    /// with all that says nothing (see `names`).
    fn note_heard(
        &self,
        recorder: &Recorder<'_>,
        summary: &Summary,
        inputs: &mut Facts,
    ) -> Result<(), Refusal> {
        let heard = recorder.heard(summary);
        if heard.is_empty() {
            return Ok(());
        }
        let content = fs::read(&self.executable)?;
        let made_up = heard
            .into_iter()
            .filter(|(name, _)| memchr::memmem::find(&content, name).is_none());
        for (name, value) in made_up {
            inputs.insert(Input::Env { name, value });
        }
        Ok(())
    }

    /// Programs that were looked for in `PATH` without being executed.
    fn note_searches(&self, recorder: &Recorder<'_>, summary: &Summary, inputs: &mut Facts) {
        let dirs: Vec<PathBuf> = self.search_path().collect();
        for seen in &summary.seen {
            let sought = dirs
                .iter()
                .any(|dir| Some(dir.as_path()) == seen.path.parent());
            if sought && let Some(program) = recorder.program(&seen.path) {
                inputs.insert(program);
            }
        }
    }

    fn search_path(&self) -> impl Iterator<Item = PathBuf> {
        search::directories(self.scene.env, self.scene.cwd)
    }

    /// Whether something was looked at above the target directory and outside of every
    /// root: a path that was made from `OUT_DIR`, perhaps, and is another one elsewhere.
    fn climb(&self, summary: &Summary) -> Climb {
        let roots = &self.scene.roots;
        let Some(target) = roots.get(Root::Target) else {
            return Climb::Anywhere;
        };
        let by_search: Vec<PathBuf> = self.search_path().collect();
        let climbs = summary.seen.iter().filter(|seen| {
            let path = &seen.path;
            // Whoever looks into the user's home may have got there either way.
            let mut known = roots.spellings().filter(|(root, _)| *root != Root::Home);
            let is_known = known.any(|(_, root)| path.starts_with(root) || root.starts_with(path))
                || by_search
                    .iter()
                    .any(|dir| path == dir || path.parent() == Some(dir));
            let mut above = target.ancestors().skip(1);
            !is_known && above.any(|dir| dir.parent().is_some() && path.starts_with(dir))
        });
        let is_in_home = |path: &Path| roots.get(Root::Home).is_some_and(|h| path.starts_with(h));
        climbs.fold(Climb::No, |so_far, seen| {
            let is_below_home = is_in_home(&seen.path) && is_in_home(target);
            so_far.max(if is_below_home {
                Climb::BelowHome
            } else {
                Climb::Anywhere
            })
        })
    }

    /// Where the target directory lies in the user's home. Where it lies so in another one, a path from it up into the
    /// home leads to the same as one from the home down.
    fn target_below_home(&self) -> Input {
        let roots = &self.scene.roots;
        let (target, home) = (roots.get(Root::Target), roots.get(Root::Home));
        let inside = target.zip(home).and_then(|(t, h)| t.strip_prefix(h).ok());
        Input::RootValue {
            root: Root::Target,
            value: RootedPath {
                root: Some(Root::Home),
                rest: inside.map_or(vec![], |path| path.as_os_str().as_bytes().to_vec()),
            },
        }
    }
}
