//! Keeping what a compilation did: its inputs, its outputs, and their names.
//!
//! Everything here happens after the compiler has ended well and the build has gone on;
//! whatever goes wrong only means that nothing is stored.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::config::LogLevel;
use crate::inputs::asks;
use crate::inputs::input::Input;
use crate::inputs::names::Code;
use crate::inputs::record::Recorder;
use crate::inputs::sort::Summary;
use crate::inputs::tool_caches::ToolCaches;
use crate::observe::{Access, Observation};
use crate::os::fs;
use crate::outcome::{NOT_OBSERVED, NotStored, Refusal};
use crate::outputs::result::{Content, Output};
use crate::roots::{Escaping, Root, Template};
use crate::unit::{Kept, Ran, Unit as _};

use super::dep_info::DepInfo;
use super::inputs::{self, Known};
use super::invocation::{Action, Source};
use super::record::CompilerRecorder;
use super::unit::{Compilation, dep_info_tells_all};
use super::{capture, messages, remap};

impl Compilation<'_> {
    /// Captures and stores the outcome of a successful run. `extra` is where dep-info was
    /// written that the invocation did not ask for.
    pub(super) fn keep_run(&self, ran: &Ran, extra: Option<&Path>) -> Result<Kept, Refusal> {
        let scene = &self.scene;
        let places = self.places();
        let told = announced(ran);
        let dep_info = self.dep_info(&told, extra)?;
        let summary = self.summary(ran)?;
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
        // Dep-info of our own is written by the compiler too, and is nobody's input.
        let ours = extra.map(Path::to_owned);
        let produced: Vec<PathBuf> = outputs.iter().cloned().chain(ours).collect();
        let nothing = HashSet::new();
        let base = Recorder {
            scene,
            started: ran.started,
            produced: &produced,
            made: summary.as_ref().map_or(&nothing, |summary| &summary.made),
            in_key: &|_| false,
        };
        let recorder = CompilerRecorder {
            base,
            invocation: &self.invocation,
        };
        let mut inputs = match &summary {
            Some(summary) => recorder.observed(summary, &dep_info)?,
            None => recorder.unobserved(&dep_info)?,
        };
        let captured = capture::capture(
            &places,
            &outputs,
            &self.scene.roots,
            self.scene.store,
            &self.scene.memo,
        )?;
        self.note_included(&recorder, &captured.outputs, &dep_info)?;
        let mut contained = self.contained(&captured.contained);
        if summary.as_ref().is_some_and(|s| s.asked_directory) {
            contained.extend(self.scene.roots.relativize(self.scene.cwd).root);
        }
        contained.extend(remap::shown(
            &self.invocation,
            self.scene.cwd,
            &self.scene.roots,
            self.trim,
            &dep_info.sources,
        ));
        for binding in recorder.base.bindings(&contained) {
            if !inputs.contains(&binding) {
                inputs.insert(0, binding);
            }
        }
        inputs.extend(self.message_inputs(ran));
        let facts = summary.iter().flat_map(|summary| &summary.facts);
        inputs.extend(facts.map(|fact| fact.input()));
        if let Some(summary) = &summary {
            inputs.extend(asks::facts(None, &summary.executed, scene)?);
        }
        Ok(Kept {
            toolchain: self.toolchain.digest,
            inputs,
            outputs: captured.outputs,
            stdout: scene.roots.template(&ran.stdout, Escaping::Raw),
            stderr: self.message_template(&ran.stderr),
            stored: captured.size,
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
    fn note_included(
        &self,
        recorder: &CompilerRecorder<'_>,
        outputs: &[Output],
        dep_info: &DepInfo,
    ) -> Result<(), Refusal> {
        let places = self.places();
        for output in outputs {
            let (Content::Blob(blob), Some(path)) = (&output.content, places.path(&output.role))
            else {
                continue;
            };
            let extension = path.extension().unwrap_or_default();
            if extension == "rmeta" || extension == "rlib" {
                let library = Code {
                    blob: *blob,
                    path: &path,
                };
                recorder.note_included(&library, dep_info)?;
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
    fn dep_info_name(&self) -> Option<String> {
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
