//! Understanding a call: what it is, which compiler it means, and its key.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::config::TrimPaths;
use crate::formats::digest::{Digest, ManifestKey};
use crate::inputs::processor;
use crate::inputs::search;
use crate::kinds::build_script::package;
use crate::kinds::rustc::invocation::{Action, BypassReason, Invocation, Source};
use crate::kinds::rustc::key::{self, KeyParts};
use crate::kinds::rustc::place;
use crate::kinds::rustc::toolchain::{self, Surroundings, Toolchain};
use crate::os::env::Environment;
use crate::os::fs;
use crate::roots::Roots;
use crate::store::Store;
use crate::store::memo::Memo;

use super::Request;

/// An understood call.
pub(super) struct Unit {
    pub(super) invocation: Invocation,
    pub(super) toolchain: Toolchain,
    pub(super) roots: Roots,
    pub(super) key: ManifestKey,
    wrappers: Vec<(OsString, Digest)>,
    /// What identifies the processor, where that matters.
    processor: Option<Vec<u8>>,
    /// The content of a custom target's file.
    target_spec: Option<Digest>,
    pub(super) out_dir: PathBuf,
    pub(super) memo: Memo,
    pub(super) stdin: Option<Vec<u8>>,
    pub(super) trim: TrimPaths,
    /// The executable of a build script whose runs are to be cached.
    pub(super) script: Option<PathBuf>,
}

impl Unit {
    pub(super) fn prepare(request: &Request<'_>, store: &Store) -> Result<Self, BypassReason> {
        let (env, cwd, config) = (request.env, request.cwd, request.config);
        if env.get("__CARGO_FIX_PLZ").is_some() {
            return Err(BypassReason::CargoFix);
        }
        #[cfg(test)]
        crate::fault::point("preparing");
        let read = |path: &Path| fs::read(&cwd.join(path)).ok();
        let invocation = Invocation::parse(request.argv, env.get("RUSTC"), read)?;
        if request.stderr_is_terminal
            && !invocation.json_messages
            && invocation.action == Action::Compile
        {
            return Err(BypassReason::Terminal);
        }
        if invocation.action == Action::Query && matches!(invocation.source, Source::File(_)) {
            return Err(BypassReason::QueryOfSource);
        }
        let memo = Memo::open(store);
        let around = Surroundings {
            env,
            cwd,
            store,
            memo: &memo,
            runner: request.runner,
        };
        let toolchain =
            toolchain::identify(&invocation, &around).map_err(|_| BypassReason::Toolchain)?;
        let wrappers = wrappers(&invocation, &memo, env, cwd).ok_or(BypassReason::NoCompiler)?;
        if !*config.observe && (invocation.links() || !dep_info_tells_all(&invocation)) {
            return Err(BypassReason::Unobserved);
        }
        let roots = place::roots(&invocation, cwd, env, &toolchain.sysroot);
        let stdin = match invocation.source {
            Source::Stdin => Some((request.stdin)().ok_or(BypassReason::Stdin)?),
            Source::File(_) | Source::None => None,
        };
        let processor = match invocation.codegen("target-cpu") {
            Some("native") => Some(processor::identity()),
            _ => None,
        };
        let target_spec = match &invocation.target {
            Some(target) => fs::digest(&cwd.join(target)).ok().map(|blob| blob.digest),
            None => None,
        };
        let script = package::executable(&invocation, env, cwd);
        let mut unit = Self {
            script: script.filter(|_| package::is_wanted(env, config)),
            out_dir: invocation.output_dir(cwd),
            trim: *config.trim_paths,
            // Made of all the rest, below.
            key: ManifestKey(toolchain.key),
            invocation,
            toolchain,
            roots,
            wrappers,
            processor,
            target_spec,
            memo,
            stdin,
        };
        unit.key = key::manifest_key(&unit.invocation, &unit.in_key(request));
        Ok(unit)
    }

    /// What people call the parts of the key, with digests.
    pub(super) fn key_parts(&self, request: &Request<'_>) -> crate::formats::key::KeyParts {
        key::parts(&self.invocation, &self.in_key(request))
    }

    fn in_key<'a>(&'a self, request: &'a Request<'_>) -> KeyParts<'a> {
        KeyParts {
            toolchain: self.toolchain.key,
            wrappers: &self.wrappers,
            cwd: request.cwd,
            roots: &self.roots,
            env: request.env,
            stdin: self.stdin.as_deref(),
            processor: self.processor.as_deref(),
            target_spec: self.target_spec,
            trim: self.trim,
            extra_env: &request.config.env,
            salt: &request.config.key_salt,
        }
    }
}

/// Whether the arguments and dep-info name everything the unit reads.
pub(super) fn dep_info_tells_all(invocation: &Invocation) -> bool {
    let debug_files = invocation
        .codegen("split-debuginfo")
        .is_some_and(|v| v != "off");
    match invocation.action {
        Action::Query => true,
        Action::Compile => {
            invocation.emits("dep-info")
                && !debug_files
                && invocation.codegen("save-temps").is_none()
                && !invocation.searches_crates()
                && !invocation.loads_macros()
        }
    }
}

/// Names and contents of the programs that come before the compiler.
fn wrappers(
    invocation: &Invocation,
    memo: &Memo,
    env: &Environment,
    cwd: &Path,
) -> Option<Vec<(OsString, Digest)>> {
    let (_, before) = invocation.programs.split_last()?;
    let mut wrappers = Vec::with_capacity(before.len());
    for program in before {
        let path = search::program(program, env, cwd)?;
        let (_, blob) = memo.digest(&path).ok()?;
        wrappers.push((path.file_name()?.to_owned(), blob.digest));
    }
    Some(wrappers)
}
