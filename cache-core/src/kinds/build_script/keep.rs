//! Keeping what a build script's run did.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use crate::inputs::asks;
use crate::inputs::input::{EnvValue, Input};
use crate::inputs::listing;
use crate::inputs::names::Code;
use crate::inputs::record::{Facts, Recorder};
use crate::inputs::search;
use crate::inputs::sort::Summary;
use crate::inputs::tool_caches::ToolCaches;
use crate::os::fs;
use crate::outcome::{NotStored, Refusal};
use crate::roots::{Escaping, Root};
use crate::unit::{Kept, Ran};

use super::directives::{Directive, directives};
use super::inputs::{self, Known};
use super::unit::ScriptRun;
use super::{key, tree};

impl ScriptRun<'_> {
    pub(super) fn keep_run(&self, ran: &Ran) -> Result<Kept, Refusal> {
        let scene = &self.scene;
        let observation = ran.run.observation.as_ref();
        let observation =
            observation.ok_or_else(|| NotStored::Incomplete.of(crate::outcome::NOT_OBSERVED))?;
        // What was made a link since is a place of somebody else's.
        let is_dir = fs::symlink_metadata(&self.out_dir).is_ok_and(|m| m.is_dir());
        let real = fs::canonicalize(&self.out_dir)
            .ok()
            .filter(|real| is_dir && *real == self.real_out_dir);
        let real = real.ok_or_else(|| NotStored::UnknownOutput.at(&self.out_dir))?;
        let executable = fs::canonicalize(self.executable);
        let executable = executable?;
        let known = Known {
            env: self.scene.env,
            toolchain: &self.toolchain,
            out_dir: [&self.out_dir, &real],
            executable: &executable,
            wrapper: self.wrapper,
            tool_caches: ToolCaches::of(self.scene.env, self.request.config),
            jobserver: inputs::jobserver(self.scene.env),
        };
        let summary = inputs::summarise(observation, &known)?;
        let in_key = |name: &OsStr| key::enters(name, self.scene.env);
        let recorder = Recorder {
            scene,
            started: ran.started,
            produced: &[],
            made: &summary.made,
            in_key: &in_key,
        };
        let mut inputs = recorder.observed(&summary)?;
        self.note_searches(&recorder, &summary, &mut inputs);
        self.note_directives(&recorder, &ran.stdout, &mut inputs)?;
        for path in self.inherited.files() {
            inputs.insert(recorder.declared(path)?);
        }
        for fact in &summary.facts {
            inputs.insert(fact.input());
        }
        for fact in self.asked(&summary)? {
            inputs.insert(fact);
        }
        let modes = listing::modes(inputs.files().map(|(path, _)| path), &scene.roots);
        inputs.insert(Input::Modes { modes });
        let captured = tree::capture(&self.out_dir, &scene.roots, self.scene.store)?;
        let (stdout, in_stdout) = tree::open_roots(&ran.stdout, &scene.roots);
        let (stderr, in_stderr) = tree::open_roots(&ran.stderr, &scene.roots);
        let mut bound = [captured.contained, in_stdout, in_stderr].concat();
        if self.climbs_above_target(&summary) {
            bound.push(Root::Target);
        }
        recorder.bind(bound.into_iter(), &mut inputs);
        Ok(Kept {
            toolchain: self.toolchain.digest,
            inputs: inputs.into_inputs(),
            outputs: captured.outputs,
            stdout,
            stderr,
            stored: captured.size,
        })
    }

    fn asked(&self, summary: &Summary) -> Result<Vec<Input>, Refusal> {
        let (_, blob) = self.scene.memo.digest(self.executable)?;
        let executable = Code {
            blob,
            path: self.executable,
        };
        let facts = asks::facts(Some(executable), &summary.executed, &self.scene);
        facts.map_err(Refusal::from)
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
        search::directories(self.scene.env, self.request.cwd)
    }

    /// What the script told cargo to watch counts whether it was seen to use it or not.
    fn note_directives(
        &self,
        recorder: &Recorder<'_>,
        stdout: &[u8],
        inputs: &mut Facts,
    ) -> Result<(), Refusal> {
        for directive in directives(stdout) {
            match directive {
                Directive::Error => return Err(NotStored::Failed.of("cargo::error")),
                Directive::RerunIfChanged(path) => {
                    let path = self.request.cwd.join(path);
                    if fs::symlink_metadata(&path).is_err() {
                        return Err(NotStored::EveryTime.at(&path));
                    }
                    if !path.starts_with(&self.out_dir) {
                        inputs.insert(recorder.declared(&path)?);
                    }
                }
                Directive::RerunIfEnvChanged(name) => {
                    if !key::enters(OsStr::from_bytes(name), self.scene.env) {
                        inputs.insert(self.variable(name));
                    }
                }
            }
        }
        Ok(())
    }

    /// The value of a variable, roots left open.
    fn variable(&self, name: &[u8]) -> Input {
        let value = self.scene.env.get(OsStr::from_bytes(name));
        Input::Env {
            name: name.to_vec(),
            value: value.map_or(EnvValue::Unset, |value| {
                let value = value.as_bytes();
                EnvValue::Set(self.scene.roots.template(value, Escaping::Raw))
            }),
        }
    }

    /// Whether something was looked at above the target directory and outside of every
    /// root: a path that was made from `OUT_DIR`, perhaps, and is another one elsewhere.
    fn climbs_above_target(&self, summary: &Summary) -> bool {
        let roots = &self.scene.roots;
        let Some(target) = roots.get(Root::Target) else {
            return true;
        };
        let by_search: Vec<PathBuf> = self.search_path().collect();
        summary.seen.iter().any(|seen| {
            let path = &seen.path;
            let known = roots.relativize(path).root.is_some()
                || roots.spellings().any(|(_, root)| root.starts_with(path))
                || by_search
                    .iter()
                    .any(|dir| path == dir || path.parent() == Some(dir));
            let mut above = target.ancestors().skip(1);
            !known && above.any(|dir| dir.parent().is_some() && path.starts_with(dir))
        })
    }
}
