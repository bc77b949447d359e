//! Runs of tools that a caller has: code generators, compilers of other languages.
//!
//! The caller names a directory that is empty and that the tool leaves all of its outputs in
//! ([`Request::out_dir`]). Before the run nothing is known but the program, its arguments and the
//! directory; all else is what it is seen to read. Its standard input is empty.
//!
//! What can go wrong is what can go wrong with build scripts: a tool that reads the clock, or
//! computes something from the path of a directory, gives what it gave the first time.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::cargo::layout;
use crate::formats::digest::{BlobRef, Digest, ManifestKey};
use crate::formats::key::KeyHasher;
use crate::inputs::inherited::Inherited;
use crate::inputs::names::Minds;
use crate::inputs::processor;
use crate::inputs::search;
use crate::kinds::tree_run::{OutDir, TreeRun};
use crate::log::Log;
use crate::observe;
use crate::os::fs;
use crate::outcome::{Bypass, BypassReason, Refusal};
use crate::outputs::restore::{Messages, RestoreError};
use crate::outputs::result::CompileResult;
use crate::request::Request;
use crate::roots::{Escaping, Root, Roots};
use crate::scene::Scene;
use crate::store::Store;
use crate::store::memo::Memo;
use crate::store::stats::{self, Events};
use crate::unit::{Kind, Process, Ran, Rest, Unit};

/// Runs of tools.
pub(crate) struct ToolRuns;

impl Kind for ToolRuns {
    fn events(&self) -> &'static Events {
        &stats::TOOL_RUNS
    }

    fn recognises(&self, request: &Request<'_>) -> bool {
        request.out_dir.is_some()
    }

    fn name(&self, request: &Request<'_>) -> String {
        let program = request.argv.first().map(Path::new);
        let name = program.and_then(Path::file_name).unwrap_or_default();
        format!("{} (tool)", name.to_string_lossy())
    }

    fn prepare<'a>(
        &self,
        request: &'a Request<'a>,
        store: &'a Store,
        _log: &'a Log,
    ) -> Result<Box<dyn Unit + 'a>, Bypass> {
        let (env, cwd, config) = (request.env, request.cwd, request.config);
        #[cfg(test)]
        crate::fault::point("preparing");
        let (Some(out_dir), [program, args @ ..]) = (request.out_dir, request.argv) else {
            return Err(BypassReason::NoCompiler.of("no program is named"));
        };
        if let Some(why) = observe::ruled_out(config) {
            return Err(BypassReason::Unobserved.of(why));
        }
        let executable = search::program(program, env, cwd);
        let executable = executable.ok_or_else(|| BypassReason::NoCompiler.at(program.as_ref()))?;
        let out_dir = OutDir::find(&cwd.join(out_dir))?;
        let memo = Memo::open(store);
        let (_, blob) = memo
            .digest(&executable)
            .map_err(|e| BypassReason::NoCompiler.of(e))?;
        let mut roots = Roots::default();
        layout::add(&mut roots, Root::Workspace, cwd);
        layout::add(&mut roots, Root::Target, &out_dir.path);
        let mut tool = Tool {
            request,
            args,
            blob,
            run: TreeRun {
                scene: Scene {
                    name: self.name(request),
                    // Made of all the rest, below.
                    key: ManifestKey(blob.digest),
                    env,
                    cwd,
                    roots,
                    store,
                    memo,
                },
                config,
                out_dir,
                executable,
                identity: blob.digest,
                toolchain: None,
                wrapper: request.wrapper,
                inherited: Inherited::find(env),
            },
        };
        let mut hasher = KeyHasher::new(KIND);
        tool.hash(&mut hasher);
        tool.run.scene.key = ManifestKey(hasher.finish());
        Ok(Box::new(tool))
    }
}

const KIND: &str = "tool run";

/// An understood run.
struct Tool<'a> {
    request: &'a Request<'a>,
    args: &'a [OsString],
    blob: BlobRef,
    run: TreeRun<'a>,
}

impl Tool<'_> {
    fn hash(&self, hasher: &mut KeyHasher) {
        let (scene, config) = (&self.run.scene, self.request.config);
        hasher.blob("program", &self.blob);
        let name = scene
            .roots
            .template(self.request.arg0.as_bytes(), Escaping::Raw);
        hasher.template("name", &name);
        hasher.end_part(|| "the program".to_owned());
        for arg in self.args {
            let arg = scene.roots.template(arg.as_bytes(), Escaping::Raw);
            hasher.template("argument", &arg);
            hasher.end_part(|| "an argument".to_owned());
        }
        hasher.bytes("processor", &processor::identity().unwrap_or_default());
        hasher.end_part(|| "the processor".to_owned());
        hasher.bytes("umask", &fs::umask().to_le_bytes());
        hasher.end_part(|| "the umask".to_owned());
        self.run.inherited.hash(hasher);
        for name in config.env.iter() {
            hasher.str("extra-env", name);
            hasher.optional("value", scene.env.get(name).map(OsStr::as_bytes));
            hasher.end_part(|| name.clone());
        }
        hasher.os("salt", &config.key_salt);
        hasher.end_part(|| "CACHEWRAP_KEY_SALT".to_owned());
    }
}

impl Unit for Tool<'_> {
    fn scene(&self) -> &Scene<'_> {
        &self.run.scene
    }

    fn described_key(&self) -> KeyHasher {
        let mut hasher = KeyHasher::described(KIND);
        self.hash(&mut hasher);
        hasher
    }

    fn is_in_key(&self, _name: &OsStr) -> bool {
        false
    }

    fn work(&self) -> Option<Digest> {
        Some(self.run.work())
    }

    fn restore(&self, result: &CompileResult) -> Result<Messages, RestoreError> {
        self.run.restore(result)
    }

    fn process(&self, is_observed: bool) -> Process<'_> {
        let mut process = self.run.process(self.request, is_observed);
        process.command.stdin = Some(Vec::new());
        process
    }

    fn keep<'a>(
        &'a self,
        ran: &'a Ran,
        _process: &'a Process<'_>,
    ) -> Result<Box<dyn Rest + 'a>, Refusal> {
        // It is taken to mind what its symbols say, and nothing else.
        let by_sources = |_| Minds::default();
        let keep = move || self.run.keep(ran, &|_| false, by_sources, |_, _, _| Ok(()));
        Ok(Box::new(keep))
    }
}
