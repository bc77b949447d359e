//! Keeping what a compilation did: its inputs, its outputs, and their names.
//!
//! Everything here happens after the compiler has ended well and the build has gone on;
//! whatever goes wrong only means that nothing is stored.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::config::LogLevel;
use crate::inputs::asks;
use crate::inputs::input::Input;
use crate::inputs::names::Code;
use crate::inputs::record::Recorder;
use crate::inputs::sort::{NotStored, Refusal, Summary};
use crate::inputs::tool_caches::ToolCaches;
use crate::kinds::rustc::capture;
use crate::kinds::rustc::dep_info::DepInfo;
use crate::kinds::rustc::inputs::{self, Known};
use crate::kinds::rustc::invocation::{Action, Source};
use crate::kinds::rustc::messages;
use crate::kinds::rustc::record::Compilation;
use crate::kinds::rustc::remap;
use crate::observe::{Access, Observation};
use crate::os::fs;
use crate::outputs::result::{CompileResult, Content, Output};
use crate::roots::{Escaping, Root, Template};

use super::unit::dep_info_tells_all;
use super::{Job, Ran};

impl Job<'_> {
    /// Captures and stores the outcome of a successful run. `extra` is where dep-info was
    /// written that the invocation did not ask for.
    pub(super) fn keep(&self, ran: &Ran, extra: Option<&Path>) -> Result<(), Refusal> {
        #[cfg(test)]
        crate::fault::point("keeping");
        let unit = &self.unit;
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
        self.engine.log.say(LogLevel::Trace, || {
            format!("announced {announced:?}, written {written:?}")
        });
        let outputs = capture::outputs(&places, &announced, &written)?;
        // Dep-info of our own is written by the compiler too, and is nobody's input.
        let ours = extra.map(Path::to_owned);
        let produced: Vec<PathBuf> = outputs.iter().cloned().chain(ours).collect();
        let nothing = HashSet::new();
        let base = Recorder {
            cwd: self.request.cwd,
            env: self.request.env,
            roots: &unit.roots,
            store: self.engine.store,
            memo: &unit.memo,
            started: ran.started,
            produced: &produced,
            made: summary.as_ref().map_or(&nothing, |summary| &summary.made),
            in_key: &|_| false,
        };
        let recorder = Compilation {
            base,
            invocation: &unit.invocation,
        };
        let mut inputs = match &summary {
            Some(summary) => recorder.observed(summary, &dep_info)?,
            None => recorder.unobserved(&dep_info)?,
        };
        let captured = capture::capture(
            &places,
            &outputs,
            &unit.roots,
            self.engine.store,
            &unit.memo,
        )?;
        self.note_included(&recorder, &captured.outputs, &dep_info)?;
        let mut contained = self.contained(&captured.contained);
        if summary.as_ref().is_some_and(|s| s.asked_directory) {
            contained.extend(unit.roots.relativize(self.request.cwd).root);
        }
        contained.extend(remap::shown(
            &unit.invocation,
            self.request.cwd,
            &unit.roots,
            unit.trim,
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
            let (env, store) = (self.request.env, self.engine.store);
            let asked = asks::facts(None, &summary.executed, env, store, &unit.memo);
            inputs.extend(asked?);
        }
        let result = self.result(ran, captured.outputs);
        self.engine.put(unit.key, inputs, &result, captured.size)
    }

    /// What the compiler was seen to do; `None` where it was not watched, and need not be.
    fn summary(&self, ran: &Ran) -> Result<Option<Summary>, Refusal> {
        let unit = &self.unit;
        // Where no crate is given by its path, what is there decides which is taken.
        let open = !unit.invocation.names_crates();
        let holds_direct = |kind: &str| matches!(kind, "all" | "crate");
        let search_dirs = self.search_dirs(|kind| !(open && holds_direct(kind)));
        let crate_dirs = self.search_dirs(|kind| match kind {
            "dependency" => true,
            "crate" => !open,
            _ => false,
        });
        let incremental = self.incremental();
        let real_out_dir = fs::canonicalize(&unit.out_dir).unwrap_or_else(|_| unit.out_dir.clone());
        let source = self.source();
        match &ran.run.observation {
            Some(observation) => inputs::summarise(
                observation,
                &Known {
                    env: self.request.env,
                    toolchain: &unit.toolchain,
                    out_dir: [&unit.out_dir, &real_out_dir],
                    source: &source,
                    incremental: &incremental,
                    tool_caches: &ToolCaches::of(self.request.env, self.request.config),
                    search_dirs: &search_dirs,
                    crate_dirs: &crate_dirs,
                    searches: unit.invocation.searches_crates(),
                    macros: self.runs_foreign_code(observation),
                    links: unit.invocation.links(),
                },
            )
            .map(Some),
            None if unit.invocation.links() || !dep_info_tells_all(&unit.invocation) => {
                Err(NotStored::Incomplete.of(crate::inputs::sort::NOT_OBSERVED))
            }
            None => Ok(None),
        }
    }

    /// Remembers of the libraries among the outputs which variables they only include files by.
    fn note_included(
        &self,
        recorder: &Compilation<'_>,
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
        let mut link_args = self.unit.invocation.values("codegen");
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
        let invocation = &self.unit.invocation;
        if invocation.action == Action::Query {
            return Ok(DepInfo::default());
        }
        if let Some(path) = extra {
            let text = fs::read(path)?;
            return Ok(DepInfo::parse(&text));
        }
        let named = invocation.emits.iter().find(|e| e.kind == "dep-info");
        let path = match named.and_then(|emit| emit.path.as_ref()) {
            Some(path) => Some(self.request.cwd.join(path)),
            None => announced
                .iter()
                .find(|p| p.extension() == Some("d".as_ref()))
                .map(|p| self.request.cwd.join(p)),
        };
        let path = if let Some(path) = path {
            path
        } else {
            let name = self.dep_info_name();
            let name = name.ok_or_else(|| NotStored::UnknownOutput.of("dep-info"))?;
            self.unit.out_dir.join(name)
        };
        let text = fs::read(&path)?;
        Ok(DepInfo::parse(&text))
    }

    /// The name rustc gives to dep-info: `-o`'s stem, or the crate's name and the extra
    /// part.
    fn dep_info_name(&self) -> Option<String> {
        let invocation = &self.unit.invocation;
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
        let Source::File(path) = &self.unit.invocation.source else {
            return Vec::new();
        };
        let given = self.request.cwd.join(path);
        let real = fs::canonicalize(&given).ok();
        std::iter::once(given).chain(real).collect()
    }

    /// The directory of `-C incremental`, as given and as the compiler calls it.
    pub(super) fn incremental(&self) -> Vec<PathBuf> {
        let dir = self.unit.invocation.incremental.as_ref();
        let given = dir.map(|dir| self.request.cwd.join(dir));
        let real = given.as_deref().and_then(|dir| fs::canonicalize(dir).ok());
        given.into_iter().chain(real).collect()
    }

    /// Whether code ran in the compiler, or before it, that is not its own. Macros that
    /// libraries bring along show only when they are loaded.
    fn runs_foreign_code(&self, observation: &Observation) -> bool {
        let invocation = &self.unit.invocation;
        let mut events = observation.events.iter();
        invocation.programs.len() > 1
            || invocation.loads_macros()
            || events.any(|event| {
                event.access == Access::Read
                    && event.found.is_some()
                    && event.path.extension() == Some("so".as_ref())
                    && !self.unit.toolchain.covers(&event.path)
            })
    }

    /// The directories of `-L` whose kind is wanted.
    fn search_dirs(&self, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
        let values = self.unit.invocation.values("L");
        values
            .filter_map(|value| {
                let value = value.to_str()?;
                let (kind, dir) = value.split_once('=').unwrap_or(("all", value));
                let dir = match kind {
                    "dependency" | "crate" | "native" | "framework" | "all" => dir,
                    _ => value,
                };
                wanted(kind).then(|| self.request.cwd.join(dir))
            })
            .collect()
    }

    fn result(&self, ran: &Ran, outputs: Vec<Output>) -> CompileResult {
        let unit = &self.unit;
        CompileResult {
            unit: unit.invocation.unit(),
            toolchain: unit.toolchain.digest,
            outputs,
            stdout: unit.roots.template(&ran.stdout, Escaping::Raw),
            stderr: self.message_template(&ran.stderr),
            status: 0,
            duration_us: ran.duration_us,
            created: SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_secs()),
        }
    }

    fn message_template(&self, messages: &[u8]) -> Template {
        let mut whole = Template::default();
        for line in messages.split_inclusive(|&b| b == b'\n') {
            let escaping = match line.first() {
                Some(b'{') => Escaping::Json,
                _ => Escaping::Raw,
            };
            whole.append(self.unit.roots.template(line, escaping));
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
