//! Keeping what a compilation did: its inputs, its outputs, and their names.
//!
//! Everything here happens after the compiler has ended well and the build has gone on;
//! whatever goes wrong only means that nothing is stored. It comes in two steps. What only the
//! moment can tell is [noted](Compilation::note) at once: which files are outputs, which are held open, and facts
//! of the machine and of this process. What takes time is finding out what the inputs are and copying the outputs,
//! and that may be later ([`Ended`]).

use std::path::{Path, PathBuf};

use rustc_hash::FxHashSet;

use crate::config::LogLevel;
use crate::error::PathError;
use crate::inputs::asks;
use crate::inputs::inherited;
use crate::inputs::input::Input;
use crate::inputs::names::{self, Code, Minds};
use crate::inputs::places;
use crate::inputs::record::Recorder;
use crate::inputs::sort::Summary;
use crate::inputs::tool_caches::ToolCaches;
use crate::observe::{Access, Observation};
use crate::os::fs;
use crate::outcome::{NOT_OBSERVED, NotStored, Refusal};
use crate::outputs::result::{Content, Output};
use crate::outputs::watch::Watch;
use crate::roots::{Escaping, Root, Roots, Scanner, Template};
use crate::unit::{Kept, Ran, Rest, Unit as _};

use super::capture::Pinned;
use super::dep_info::DepInfo;
use super::inputs::{self, Known};
use super::invocation::{Action, Source};
use super::record::{CompilerRecorder, minded_by_macros};
use super::unit::{Compilation, dep_info_tells_all};
use super::{capture, messages, remap};

/// A compilation that has ended: what only the moment could tell.
pub(super) struct Ended<'a> {
    unit: &'a Compilation<'a>,
    ran: &'a Ran,
    dep_info: DepInfo,
    /// What it was seen to do, if it was watched.
    summary: Option<Summary>,
    /// What it produced, and dep-info that nobody else asked for.
    produced: Vec<PathBuf>,
    /// The outputs among that.
    outputs: Vec<Pinned>,
    watch: Option<Watch>,
    /// Inputs that follow from what was printed, and facts.
    said: Vec<Input>,
}

/// What a compilation has used, and said.
struct Recorded {
    inputs: Vec<Input>,
    /// Inputs that follow from what was printed and asked.
    said: Vec<Input>,
    /// Roots that it is bound to whatever its outputs contain.
    bound: Vec<Root>,
    /// Variables that its sources only include files by.
    included: Vec<Vec<u8>>,
    stdout: Template,
    stderr: Template,
}

impl Rest for Ended<'_> {
    /// Outputs are held open, and who writes to them is heard of.
    fn defer(&mut self) -> bool {
        self.watch = capture::watch(&self.outputs);
        self.watch.is_some()
    }

    fn finish(mut self: Box<Self>, known: &mut dyn FnMut(&[Input])) -> Result<Kept, Refusal> {
        let recorded = self.record()?;
        known(&recorded.inputs);
        let (unit, scene) = (self.unit, &self.unit.scene);
        let captured = capture::capture(
            self.outputs,
            self.watch.as_ref(),
            &scene.roots,
            scene.store,
            &scene.memo,
        )?;
        unit.note_included(&captured.outputs, &recorded.included)?;
        let mut bound = unit.contained(&captured.contained);
        bound.extend(recorded.bound);
        let mut inputs = recorded.inputs;
        for binding in places::bindings(&scene.roots, &bound, &inputs) {
            if !inputs.contains(&binding) {
                inputs.insert(0, binding);
            }
        }
        inputs.extend(recorded.said);
        Ok(Kept {
            toolchain: unit.toolchain.digest,
            inputs,
            outputs: captured.outputs,
            included: recorded.included,
            stdout: recorded.stdout,
            stderr: recorded.stderr,
            stored: captured.size,
        })
    }
}

impl Ended<'_> {
    /// Records inputs.
    fn record(&mut self) -> Result<Recorded, Refusal> {
        let (unit, ran, dep_info) = (self.unit, self.ran, &self.dep_info);
        let scene = &unit.scene;
        let minds = match &self.summary {
            Some(summary) => minded_by_macros(summary, scene)?,
            None => Minds::default(),
        };
        // Looks of macros cannot be told from the compiler's.
        if let Some(summary) = &mut self.summary
            && !minds.any(Minds::PERMISSIONS)
        {
            let sources = dep_info.sources.iter().map(|path| scene.cwd.join(path));
            inputs::forget_own_looks(summary, &sources.collect::<Vec<_>>());
        }
        let summary = self.summary.as_ref();
        let nothing = FxHashSet::default();
        let base = Recorder {
            scene,
            started: ran.started,
            produced: &self.produced,
            made: summary.map_or(&nothing, |summary| &summary.made),
            in_key: &|_| false,
        };
        let recorder = CompilerRecorder {
            base,
            invocation: &unit.invocation,
        };
        let inputs = match summary {
            Some(summary) => recorder.observed(summary, dep_info, minds)?,
            None => recorder.unobserved(dep_info)?,
        };
        let included = if self.produced.iter().any(|path| is_library(path)) {
            recorder.included(dep_info)?
        } else {
            Vec::new()
        };
        let mut bound = Vec::new();
        if summary.is_some_and(|summary| summary.asked_directory) {
            bound.extend(scene.roots.relativize(scene.cwd).root);
        }
        bound.extend(remap::shown(
            &unit.invocation,
            scene.cwd,
            &scene.roots,
            unit.trim,
            &dep_info.sources,
        ));
        let mut said = std::mem::take(&mut self.said);
        if let Some(summary) = summary {
            said.extend(asks::facts(None, &summary.executed, scene)?);
            recorder.base.settled(summary)?;
        }
        let stdout = scene.roots.template(&ran.stdout, Escaping::Raw);
        let stderr = unit.message_template(&ran.stderr);
        bound.extend(left_in_texts(
            &self.outputs,
            [&stdout, &stderr],
            &scene.roots,
        ));
        Ok(Recorded {
            inputs,
            said,
            bound,
            included,
            stdout,
            stderr,
        })
    }
}

impl Compilation<'_> {
    /// Notes what only the moment can tell of a successful run. `extra` is where dep-info was written that the
    /// invocation did not ask for.
    pub(super) fn note<'a>(
        &'a self,
        ran: &'a Ran,
        extra: Option<&Path>,
    ) -> Result<Ended<'a>, Refusal> {
        let places = self.places();
        let told = announced(ran);
        let dep_info = self.dep_info(&told, extra)?;
        let summary = self.summary(ran)?;
        if let Some(observation) = ran.run.observation.as_ref()
            && self.is_unit_of_cargo()
            && let Some(sessions) = self.sessions_of(observation)
        {
            let _ = self.sessions.set(sessions);
        }
        let written = match &summary {
            Some(summary) => without(&summary.written, extra),
            None => Vec::new(),
        };
        let announced: Vec<PathBuf> = told
            .into_iter()
            .chain(dep_info.targets.iter().cloned())
            .filter(|path| Some(path.as_path()) != extra)
            .collect();
        self.log.say(LogLevel::Trace, || {
            format!("announced {announced:?}, written {written:?}")
        });
        let outputs = capture::outputs(&places, &announced, &written)?;
        for output in outputs.iter().filter(|_| summary.is_none()) {
            if capture::holds_native_code(output)? {
                let why = "it takes in native code, and was not observed";
                return Err(NotStored::Incomplete.of(why));
            }
        }
        let mut said = Vec::from_iter(self.message_inputs(ran));
        let facts = summary.iter().flat_map(|summary| &summary.facts);
        said.extend(facts.map(|fact| fact.input()));
        said.extend(self.descriptors(ran));
        let pinned = capture::pin(&places, &outputs, &self.scene.roots)?;
        // Dep-info of our own is written by the compiler too, and is nobody's input.
        let ours = extra.map(Path::to_owned);
        Ok(Ended {
            unit: self,
            ran,
            dep_info,
            summary,
            produced: outputs.into_iter().chain(ours).collect(),
            outputs: pinned,
            watch: None,
            said,
        })
    }

    /// What the compiler was seen to do; `None` where it was not watched, and need not be.
    fn summary(&self, ran: &Ran) -> Result<Option<Summary>, Refusal> {
        // Where no crate is given by its path, what is there decides which is taken.
        let open = !self.invocation.names_crates();
        let holds_direct = |kind: &str| matches!(kind, "all" | "crate");
        let search_dirs = self.search_dirs(|kind| !(open && holds_direct(kind)));
        let crate_dirs = self.search_dirs(|kind| match kind {
            "dependency" => true,
            "crate" => !open,
            _ => false,
        });
        let incremental = self.incremental();
        let real_out_dir = fs::canonicalize(&self.out_dir).unwrap_or_else(|_| self.out_dir.clone());
        let source = self.source();
        match &ran.run.observation {
            Some(observation) => inputs::summarise(
                observation,
                &Known {
                    env: self.scene.env,
                    toolchain: &self.toolchain,
                    out_dir: [&self.out_dir, &real_out_dir],
                    source: &source,
                    incremental: &incremental,
                    tool_caches: &ToolCaches::of(self.scene.env, self.config),
                    search_dirs: &search_dirs,
                    crate_dirs: &crate_dirs,
                    searches: self.invocation.searches_crates(),
                    macros: self.runs_foreign_code(observation),
                    links: self.invocation.links(),
                },
            )
            .map(Some),
            None if self.invocation.links() || !dep_info_tells_all(&self.invocation) => {
                Err(NotStored::Incomplete.of(NOT_OBSERVED))
            }
            None => Ok(None),
        }
    }

    /// Remembers of the libraries among the outputs which variables they only include files by.
    pub(super) fn note_included(
        &self,
        outputs: &[Output],
        included: &[Vec<u8>],
    ) -> Result<(), PathError> {
        let places = self.places();
        for output in outputs {
            let (Content::Blob(blob), Some(path)) = (&output.content, places.path(&output.role))
            else {
                continue;
            };
            let library = Code {
                blob: *blob,
                path: &path,
            };
            for name in included.iter().filter(|_| is_library(&path)) {
                names::note_excused(self.scene.store, &library, name)?;
            }
        }
        Ok(())
    }

    /// The roots that a result is bound to, given those that its outputs contain.
    fn contained(&self, found: &[Root]) -> Vec<Root> {
        // Paths cannot be found in compressed sections.
        let mut link_args = self.invocation.values("codegen");
        let compressed = link_args.any(|v| {
            let v = v.to_string_lossy();
            v.contains("compress-debug") || v.contains("-gz")
        });
        if compressed {
            Root::ALL.to_vec()
        } else {
            found.to_vec()
        }
    }

    /// What it is handed down open counts if code other than the compiler's may have read it.
    fn descriptors(&self, ran: &Ran) -> Option<Input> {
        let observation = ran.run.observation.as_ref()?;
        self.runs_foreign_code(observation)
            .then(|| Input::Argument {
                name: inherited::FACT.to_owned(),
                value: self.argument(inherited::FACT),
            })
    }

    /// The width of messages counts if anything but artifacts was printed.
    fn message_inputs(&self, ran: &Ran) -> Option<Input> {
        let mut lines = ran.stderr.split_inclusive(|&b| b == b'\n');
        let printed = lines.any(|line| messages::artifact(line).is_none());
        let name = "diagnostic-width";
        printed.then(|| Input::Argument {
            name: name.to_owned(),
            value: self.argument(name),
        })
    }

    fn dep_info(&self, announced: &[PathBuf], extra: Option<&Path>) -> Result<DepInfo, Refusal> {
        let invocation = &self.invocation;
        if invocation.action == Action::Query {
            return Ok(DepInfo::default());
        }
        if let Some(path) = extra {
            let text = fs::read(path)?;
            return Ok(DepInfo::parse(&text));
        }
        let named = invocation.emits.iter().find(|e| e.kind == "dep-info");
        let path = match named.and_then(|emit| emit.path.as_ref()) {
            Some(path) => Some(self.scene.cwd.join(path)),
            None => announced
                .iter()
                .find(|p| p.extension() == Some("d".as_ref()))
                .map(|p| self.scene.cwd.join(p)),
        };
        let path = if let Some(path) = path {
            path
        } else {
            let name = self.dep_info_name();
            let name = name.ok_or_else(|| NotStored::UnknownOutput.of("dep-info"))?;
            self.out_dir.join(name)
        };
        let text = fs::read(&path)?;
        Ok(DepInfo::parse(&text))
    }

    /// The name rustc gives to dep-info: `-o`'s stem, or the crate's name and the extra
    /// part.
    pub(super) fn dep_info_name(&self) -> Option<String> {
        let invocation = &self.invocation;
        if let Some(output) = &invocation.output {
            return Some(format!("{}.d", output.file_stem()?.to_str()?));
        }
        let name = match (&invocation.crate_name, &invocation.source) {
            (Some(name), _) => name.clone(),
            (None, Source::File(path)) => path.file_stem()?.to_str()?.replace('-', "_"),
            (None, _) => "rust_out".to_owned(),
        };
        let extra = invocation.codegen("extra-filename").unwrap_or_default();
        Some(format!("{name}{extra}.d"))
    }

    /// The source as the compiler finds it, and where it really is.
    fn source(&self) -> Vec<PathBuf> {
        let Source::File(path) = &self.invocation.source else {
            return Vec::new();
        };
        let given = self.scene.cwd.join(path);
        let real = fs::canonicalize(&given).ok();
        std::iter::once(given).chain(real).collect()
    }

    /// The directory of `-C incremental`, as given and as the compiler calls it.
    pub(super) fn incremental(&self) -> Vec<PathBuf> {
        let dir = self.invocation.incremental.as_ref();
        let given = dir.map(|dir| self.scene.cwd.join(dir));
        let real = given.as_deref().and_then(|dir| fs::canonicalize(dir).ok());
        given.into_iter().chain(real).collect()
    }

    /// Whether code ran in the compiler, or before it, that is not its own. Macros that
    /// libraries bring along show only when they are loaded.
    fn runs_foreign_code(&self, observation: &Observation) -> bool {
        let invocation = &self.invocation;
        let mut events = observation.events.iter();
        invocation.programs.len() > 1
            || invocation.loads_macros()
            || events.any(|event| {
                event.access == Access::Read
                    && event.found.is_some()
                    && event.path.extension() == Some("so".as_ref())
                    && !self.toolchain.covers(&event.path)
            })
    }

    /// The directories of `-L` whose kind is wanted.
    fn search_dirs(&self, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
        let values = self.invocation.values("L");
        values
            .filter_map(|value| {
                let value = value.to_str()?;
                let (kind, dir) = value.split_once('=').unwrap_or(("all", value));
                let dir = match kind {
                    "dependency" | "crate" | "native" | "framework" | "all" => dir,
                    _ => value,
                };
                wanted(kind).then(|| self.scene.cwd.join(dir))
            })
            .collect()
    }

    fn message_template(&self, messages: &[u8]) -> Template {
        let mut whole = Template::default();
        for line in messages.split_inclusive(|&b| b == b'\n') {
            let escaping = match line.first() {
                Some(b'{') => Escaping::Json,
                _ => Escaping::Raw,
            };
            whole.append(self.scene.roots.template(line, escaping));
        }
        whole
    }
}

/// The roots whose paths are left in dep-info among the outputs, and in messages, as they are.
fn left_in_texts(outputs: &[Pinned], messages: [&Template; 2], roots: &Roots) -> Vec<Root> {
    // A path may stand where none is looked for: `-L/home/me/ws/lib` in what a linker says.
    let messages = messages.into_iter();
    let in_messages = messages.flat_map(|text| left_in(text, roots, |_| true));
    // In dep-info, only the user's home is left open nowhere.
    let texts = outputs.iter().filter_map(Pinned::text);
    let in_texts = texts.flat_map(|text| left_in(text, roots, |root| root == Root::Home));
    in_messages.chain(in_texts).collect()
}

/// The roots whose paths text still contains, of those that are wanted.
fn left_in(text: &Template, roots: &Roots, wanted: fn(Root) -> bool) -> Vec<Root> {
    let mut scanner = Scanner::of(roots, wanted);
    for literal in text.literals() {
        scanner.next_content();
        scanner.scan(literal);
    }
    scanner.found().to_vec()
}

fn is_library(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    extension == "rmeta" || extension == "rlib"
}

/// The paths other than one.
fn without(paths: &[PathBuf], left_out: Option<&Path>) -> Vec<PathBuf> {
    let rest = paths.iter().filter(|path| Some(path.as_path()) != left_out);
    rest.cloned().collect()
}

/// The outputs that the compiler announced in its messages.
fn announced(ran: &Ran) -> Vec<PathBuf> {
    let lines = ran.stderr.split_inclusive(|&b| b == b'\n');
    lines.filter_map(messages::artifact).collect()
}
