//! Recording what is particular to a compilation: dep-info, and doing without observation.
//!
//! Without an observation (see `observe`), the sources named by dep-info, the crates
//! named by `--extern`, and the places where a module could also have been found stand
//! in for it. That is what other caches know, and enough for units that do not link.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::formats::digest::BlobRef;
use crate::inputs::facts::Facts;
use crate::inputs::input::{EnvValue, Input};
use crate::inputs::names::{self, Code, Minds, Words};
use crate::inputs::record::Recorder;
use crate::inputs::sort::{self, Summary, Use};
use crate::kinds::origins;
use crate::os::fs;
use crate::os::stamp::Stamp;
use crate::outcome::{NotStored, Refusal};
use crate::roots::Root;
use crate::scene::Scene;

use super::dep_info::DepInfo;
use super::invocation::Invocation;
use super::sources::{self, Naming};
use super::told;

/// Included files longer than this, bytes, that are not called `.rs` are taken for data.
const MAX_CODE: u64 = 1 << 20;

/// What recording a compilation needs to know.
pub(crate) struct CompilerRecorder<'a> {
    pub(crate) base: Recorder<'a>,
    pub(crate) invocation: &'a Invocation,
}

impl CompilerRecorder<'_> {
    /// The input set of an observed compilation.
    pub(crate) fn observed(
        &self,
        summary: &Summary,
        dep_info: &DepInfo,
        minds: Minds,
    ) -> Result<Vec<Input>, Refusal> {
        let mut inputs = self.base.observed(summary)?;
        self.base.note_times(summary, minds, &mut inputs)?;
        for path in self.dep_sources(dep_info) {
            if summary.seen.iter().all(|seen| seen.path != path) {
                // Declared by a macro and not opened.
                inputs.insert(self.base.declared(&path)?);
            }
        }
        if self.loads_asking_macro(summary)? {
            inputs.insert(self.told(Some(summary), dep_info)?);
        }
        self.finish(inputs, dep_info, Some(summary))
    }

    /// Whether a macro was loaded that can ask for variables by names that it is told.
    fn loads_asking_macro(&self, summary: &Summary) -> Result<bool, Refusal> {
        for library in summary.macro_libraries() {
            let (_, blob) = self.base.scene.memo.digest(library)?;
            let is_heard = self.base.is_heard(summary, blob, library)?;
            if !is_heard && self.asks(blob, library)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn asks(&self, blob: BlobRef, path: &Path) -> Result<bool, Refusal> {
        let code = Code { blob, path };
        names::asks(self.base.scene.store, &code).map_err(Refusal::from)
    }

    /// What macros may have been told by the sources, and by the files that were read.
    fn told(&self, summary: Option<&Summary>, dep_info: &DepInfo) -> Result<Input, Refusal> {
        let mut words = Words::default();
        let sources = self.dep_sources(dep_info);
        let is_rust = |path: &Path| path.extension() == Some("rs".as_ref());
        for path in sources.iter().filter(|path| is_rust(path)) {
            let source = fs::read(path)?;
            told::add_words(&source, &mut words);
        }
        let seen = summary.map_or(&[][..], |summary| &summary.seen).iter();
        let read = seen.filter(|seen| seen.usage == Use::Read && seen.code == sort::Code::No);
        let read = read.map(|seen| seen.path.as_path());
        let declared = sources.iter().map(PathBuf::as_path);
        for path in read.chain(declared).filter(|path| !is_rust(path)) {
            told::add_words_of_file(path, &mut words)?;
        }
        let words = words.into_hashes();
        let variables = names::told(self.base.scene.env, words.as_deref());
        Ok(Input::Told { words, variables })
    }

    /// The input set of a compilation that was not observed.
    pub(crate) fn unobserved(&self, dep_info: &DepInfo) -> Result<Vec<Input>, Refusal> {
        let mut inputs = Facts::default();
        let mut code = Vec::new();
        let mut asks = false;
        let sources = self.dep_sources(dep_info);
        for path in &sources {
            let stamp = Stamp::of(path).ok_or_else(|| NotStored::Changed.at(path))?;
            if stamp.is_racy(self.base.started) {
                return Err(NotStored::Changed.at(path));
            }
            inputs.insert(self.base.file(path, &stamp)?);
            for twin in module_twins(path) {
                if !sources.contains(&twin) && Stamp::of(&twin).is_none() {
                    let path = self.base.scene.roots.relativize(&twin);
                    inputs.insert(Input::Absent { path });
                }
            }
        }
        for path in self.invocation.externs(self.base.scene.cwd) {
            let stamp = Stamp::of(&path).ok_or_else(|| NotStored::Unreadable.at(&path))?;
            if stamp.mtime >= self.base.started {
                return Err(NotStored::Changed.at(&path));
            }
            let input = self.base.file(&path, &stamp)?;
            if let Input::File { blob, .. } = &input
                && path.extension() == Some("so".as_ref())
            {
                asks |= self.asks(*blob, &path)?;
                code.push((*blob, path));
            }
            inputs.insert(input);
        }
        if !code.is_empty() {
            inputs.insert(self.base.code_env(&code, &[])?);
        }
        if asks {
            inputs.insert(self.told(None, dep_info)?);
        }
        self.finish(inputs, dep_info, None)
    }

    fn finish(
        &self,
        mut inputs: Facts,
        dep_info: &DepInfo,
        observed: Option<&Summary>,
    ) -> Result<Vec<Input>, Refusal> {
        let is_observed = observed.is_some();
        inputs.tell_as_they_are(&self.base.scene.roots);
        // Variables with paths of this build that its sources only find files with.
        let mut included = Vec::new();
        for (name, value) in &dep_info.env {
            let value = self.base.value(value.as_deref().map(OsStr::from_bytes));
            if let EnvValue::Set(template) = &value
                && template.names_a_root()
            {
                if self.is_used_as_value(name, dep_info)? {
                    self.base.bind(template.roots(), &mut inputs);
                } else {
                    included.push((name.as_slice(), template.clone()));
                }
            }
            let name = name.clone();
            inputs.insert(Input::Env { name, value });
        }
        let (variables, templates): (Vec<_>, Vec<_>) = included.into_iter().unzip();
        let named = self.named_by_a_crate(&variables, &inputs, is_observed)?;
        for (template, _) in templates.iter().zip(named).filter(|(_, named)| *named) {
            self.base.bind(template.roots(), &mut inputs);
        }
        // What a macro makes of a path cannot be known.
        for (name, value) in observed.map_or_else(Vec::new, |summary| self.base.heard(summary)) {
            if let EnvValue::Set(template) = &value {
                self.base.bind(template.roots(), &mut inputs);
            }
            inputs.insert(Input::Env { name, value });
        }
        Ok(inputs.into_inputs())
    }

    /// The variables that the sources name only to include files. Where macros of a library do that
    /// in other crates, the files are inputs there, and the variable's value is none; its name in
    /// the library would look like one.
    pub(crate) fn included(&self, dep_info: &DepInfo) -> Result<Vec<Vec<u8>>, Refusal> {
        let mut included = Vec::new();
        for (name, _) in dep_info.env.iter().filter(|(_, value)| value.is_some()) {
            if !self.is_used_as_value(name, dep_info)? {
                included.push(name.clone());
            }
        }
        Ok(included)
    }

    /// Whether a variable was read for more than to find files to include, as far as the
    /// sources of this crate tell.
    fn is_used_as_value(&self, name: &[u8], dep_info: &DepInfo) -> Result<bool, Refusal> {
        let name = String::from_utf8_lossy(name);
        let mut most = Naming::No;
        for path in self.dep_sources(dep_info) {
            // What is included as code may be called anything, but is not that long.
            let is_source = path.extension() == Some("rs".as_ref());
            let len = Stamp::of(&path).map_or(0, |stamp| stamp.size);
            if is_source || len <= MAX_CODE {
                let source = fs::read(&path)?;
                most = most.max(sources::naming(&source, &name));
            }
        }
        Ok(most != Naming::ToInclude)
    }

    /// Which variables are named, in a macro perhaps, by a crate that was loaded. A crate may
    /// pass on the macros of any other.
    fn named_by_a_crate(
        &self,
        variables: &[&[u8]],
        inputs: &Facts,
        is_observed: bool,
    ) -> Result<Vec<bool>, Refusal> {
        if variables.is_empty() || !is_observed {
            // Without an observation, it is not known which crates were loaded.
            return Ok(vec![true; variables.len()]);
        }
        let libraries: Vec<(BlobRef, PathBuf)> = inputs
            .files()
            .filter(|(path, _)| is_library(&path.rest))
            .filter_map(|(path, blob)| Some((*blob, self.base.scene.roots.resolve(path)?)))
            .collect();
        let libraries: Vec<Code<'_>> = libraries
            .iter()
            .map(|(blob, path)| Code { blob: *blob, path })
            .collect();
        names::named(self.base.scene.store, &libraries, variables).map_err(Refusal::from)
    }

    fn dep_sources(&self, dep_info: &DepInfo) -> Vec<PathBuf> {
        dep_info
            .sources
            .iter()
            .map(|p| self.base.scene.cwd.join(p))
            .collect()
    }
}

/// What macros that were loaded may mind of files besides their content. The standard library that they share has functions
/// for everything.
pub(crate) fn minded_by_macros(summary: &Summary, scene: &Scene<'_>) -> Result<Minds, Refusal> {
    let mut minds = Minds::default();
    let start = scene.roots.get(Root::Workspace).unwrap_or(scene.cwd);
    let of_toolchain = |path: &Path| scene.roots.relativize(path).root == Some(Root::Sysroot);
    for path in summary.macro_libraries().filter(|path| !of_toolchain(path)) {
        let (_, blob) = scene.memo.digest(path)?;
        let by_sources = |has_symbols| {
            let sources = |crates| origins::of_macro(path, start, crates);
            origins::minds(has_symbols, sources)
        };
        minds = minds.and(names::minds(scene.store, &Code { blob, path }, by_sources)?);
    }
    Ok(minds)
}

/// Whether a file is called as the compiler calls libraries, which may bring macros along.
fn is_library(path: &[u8]) -> bool {
    let extension = Path::new(OsStr::from_bytes(path)).extension();
    extension.is_some_and(|e| ["rlib", "rmeta", "so"].iter().any(|known| e == *known))
}

/// Where else a module's source could have been: `foo/mod.rs` for `foo.rs` and the
/// reverse. Both being there is an error, so the other one's appearance counts.
fn module_twins(path: &Path) -> Vec<PathBuf> {
    if path.extension() != Some("rs".as_ref()) {
        return Vec::new();
    }
    let mut twins = Vec::new();
    if path.file_name() == Some("mod.rs".as_ref()) {
        twins.extend(path.parent().map(|dir| dir.with_extension("rs")));
    } else {
        twins.push(path.with_extension("").join("mod.rs"));
    }
    twins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_has_two_possible_places() {
        assert_eq!(
            module_twins("src/foo.rs".as_ref()),
            [Path::new("src/foo/mod.rs")]
        );
        assert_eq!(
            module_twins("src/foo/mod.rs".as_ref()),
            [Path::new("src/foo.rs")]
        );
        assert!(module_twins("data.txt".as_ref()).is_empty());
    }
}
