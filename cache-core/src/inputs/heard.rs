//! Recording what libraries in the compiler were heard to ask the environment for (`names::heard`).

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::formats::digest::BlobRef;
use crate::inputs::input::EnvValue;
use crate::inputs::names;
use crate::inputs::record::Recorder;
use crate::inputs::sort::{self, Summary};
use crate::os::fs;
use crate::outcome::Refusal;
use crate::roots::{Escaping, Root};

impl Recorder<'_> {
    /// Leaves out code that was heard whenever it asked for a variable: what it asked for is known.
    pub(super) fn leave_out_heard(
        &self,
        summary: &Summary,
        code: &mut Vec<(BlobRef, PathBuf)>,
    ) -> Result<(), Refusal> {
        for (blob, path) in std::mem::take(code) {
            if !self.is_heard(summary, blob, &path)? {
                code.push((blob, path));
            }
        }
        Ok(())
    }

    /// Whether a library was heard whenever it asked for a variable.
    pub(crate) fn is_heard(
        &self,
        summary: &Summary,
        blob: BlobRef,
        path: &Path,
    ) -> Result<bool, Refusal> {
        if !sort::is_shared_library(path) || summary.unheard.contains(&fs::canonicalize(path)?) {
            return Ok(false);
        }
        let code = names::Code { blob, path };
        names::is_heard(self.scene.store, &code).map_err(Refusal::from)
    }

    /// The variables that libraries were heard to ask for, and their values; those of the toolchain are told by the key.
    pub(crate) fn heard(&self, summary: &Summary) -> Vec<(Vec<u8>, EnvValue)> {
        let is_of_toolchain =
            |path: &Path| self.scene.roots.relativize(path).root == Some(Root::Sysroot);
        let variables = summary.variables.iter().filter(|(library, name)| {
            let in_key = (self.in_key)(OsStr::from_bytes(name));
            !in_key && !names::is_of_system(library) && !is_of_toolchain(library)
        });
        let names: BTreeSet<&[u8]> = variables.map(|(_, name)| name.as_slice()).collect();
        let values = names.into_iter().filter_map(|name| {
            let value = self.scene.env.get(OsStr::from_bytes(name));
            names::counts(name, value).then(|| (name.to_vec(), self.value(value)))
        });
        values.collect()
    }

    /// What somebody was answered who asked for a variable, roots left open.
    pub(crate) fn value(&self, value: Option<&OsStr>) -> EnvValue {
        value.map_or(EnvValue::Unset, |value| {
            let value = value.as_bytes();
            EnvValue::Set(self.scene.roots.template(value, Escaping::Raw))
        })
    }
}
