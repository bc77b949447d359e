//! Where cargo keeps what it writes about units: its two layouts of a profile's directory.
//!
//! ```text
//! .fingerprint/<package>-<hash>/         deps/     build/<package>-<hash>/{out/,output,…}
//! build/<package>/<hash>/fingerprint/    …/out/    …/run/{stdout,…}
//! ```
//! The second one is that of `-Z build-dir-new-layout` (cargo 1.95), and to be the usual one from 1.100 on. In it, a unit has a directory
//! of its own, and what is compiled lies where the first layout has build scripts' output only.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::cargo::layout;
use crate::store::builds::Filled;

const FINGERPRINTS: &str = ".fingerprint";
const FINGERPRINT: &str = "fingerprint";
const BUILD: &str = "build";
const OUT: &str = "out";

/// Where cargo keeps the fingerprint of a call.
pub(super) fn fingerprint_of(call: &Filled) -> Option<PathBuf> {
    let package = call.variable("CARGO_PKG_NAME")?;
    let words: Vec<&str> = call
        .argv
        .iter()
        .map(|word| word.to_str())
        .collect::<Option<_>>()?;
    let is_run = crate::is_behind_launcher(call.argv.first()?);
    let out_dir = if is_run {
        Path::new(call.variable("OUT_DIR")?)
    } else {
        let mut pairs = words.windows(2);
        pairs.find_map(|pair| match pair {
            ["--out-dir", dir] => Some(Path::new(*dir)),
            _ => None,
        })?
    };
    if let Some(unit) = of_unit(out_dir) {
        let is_its_own = unit.parent()?.file_name() == Some(OsStr::new(package));
        return is_its_own.then(|| unit.join(FINGERPRINT));
    }
    let unit = if is_run {
        out_dir.parent()?.file_name()?.to_str()?.to_owned()
    } else {
        let mut words = words.iter();
        let extra = words.find_map(|word| word.strip_prefix("extra-filename="));
        format!("{package}{}", extra?)
    };
    let hash = unit
        .strip_prefix(package)
        .and_then(|rest| rest.strip_prefix('-'));
    let profile = is_hash(hash?).then(|| layout::profile_dir(out_dir))??;
    Some(profile.join(FINGERPRINTS).join(unit))
}

/// The profile's directory above that of a fingerprint.
pub(super) fn profile_of(fingerprint: &Path) -> Option<&Path> {
    let above = fingerprint.parent()?;
    if above.ends_with(FINGERPRINTS) {
        return above.parent();
    }
    let build = above.parent()?.parent()?;
    let is_of_unit = fingerprint.ends_with(FINGERPRINT)
        && build.ends_with(BUILD)
        && is_hash(above.file_name()?.to_str()?);
    is_of_unit.then(|| build.parent())?
}

/// The directory that cargo makes for a unit's outputs before it starts anything, if it does, by that of its fingerprint.
pub(super) fn made_for(fingerprint: &Path) -> Option<PathBuf> {
    let is_own = fingerprint.ends_with(FINGERPRINT);
    is_own.then(|| Some(fingerprint.parent()?.join(OUT)))?
}

/// The directories that cargo makes in that of a profile before it starts anything, where this is a
/// fingerprint's.
pub(super) fn made_first(fingerprint: &Path) -> &'static [&'static str] {
    if fingerprint.ends_with(FINGERPRINT) {
        &["examples", "incremental", BUILD]
    } else {
        &["deps", "incremental", FINGERPRINTS, "examples", BUILD]
    }
}

/// Whether a directory is one of cargo's own, and not of a unit.
pub(super) fn is_of_cargo(name: &OsStr) -> bool {
    let mut names = made_first(Path::new("")).iter();
    names.any(|known| name == *known)
}

/// Where cargo keeps what the run of a build script said, and what it calls standard output there.
pub(super) fn of_run(out_dir: &Path) -> (PathBuf, &'static str) {
    match of_unit(out_dir) {
        Some(unit) => (unit.join("run"), "stdout"),
        None => (out_dir.parent().unwrap_or(out_dir).to_owned(), "output"),
    }
}

/// The directory of a unit that has one of its own, `build/<package>/<hash>`, by that of its outputs. Cargo lets the
/// loader look through that of some unit or other (`LD_LIBRARY_PATH`).
pub(super) fn of_unit(out_dir: &Path) -> Option<&Path> {
    let unit = out_dir.ends_with(OUT).then(|| out_dir.parent())??;
    let is_own = is_hash(unit.file_name()?.to_str()?) && unit.parent()?.parent()?.ends_with(BUILD);
    is_own.then_some(unit)
}

fn is_hash(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_of_a_call_is_found() {
        let dir = |argv: &[&str], out_dir: Option<&str>| {
            let mut env = vec![("CARGO_PKG_NAME".to_owned(), Some("a-b".to_owned()))];
            env.extend(out_dir.map(|dir| ("OUT_DIR".to_owned(), Some(dir.to_owned()))));
            let call = Filled {
                cwd: "/ws".into(),
                argv: argv.iter().map(Into::into).collect(),
                env,
            };
            fingerprint_of(&call)
        };
        let extra = "extra-filename=-0123456789abcdef";
        let compiled = ["rustc", "--out-dir", "/t/x86/debug/deps", "-C", extra];
        let expected = "/t/x86/debug/.fingerprint/a-b-0123456789abcdef";
        assert_eq!(dir(&compiled, Some("/elsewhere")), Some(expected.into()));
        let script = ["rustc", "--out-dir", "/t/debug/build/a-b-1", "-C", extra];
        assert!(dir(&script, None).is_some());
        let run = ["/t/debug/build/a-b-0/x.cachewrap-real"];
        let out_dir = "/t/debug/build/a-b-fedcba9876543210/out";
        let expected = "/t/debug/.fingerprint/a-b-fedcba9876543210";
        assert_eq!(dir(&run, Some(out_dir)), Some(expected.into()));
        assert_eq!(dir(&["rustc", "-C", extra], None), None);

        let own = "/t/debug/build/a-b/fedcba9876543210";
        let (out_dir, expected) = (format!("{own}/out"), format!("{own}/fingerprint"));
        let compiled = ["rustc", "--out-dir", &out_dir];
        assert_eq!(dir(&compiled, None), Some(expected.clone().into()));
        assert_eq!(dir(&run, Some(&out_dir)), Some(expected.into()));
        let other = "/t/debug/build/a/fedcba9876543210/out";
        assert_eq!(dir(&["rustc", "--out-dir", other], None), None);
    }

    #[test]
    fn a_profile_lies_above_its_fingerprints() {
        let profile = |dir: &'static str| profile_of(Path::new(dir));
        for dir in [
            "x86/debug/.fingerprint/a-1",
            "x86/debug/build/a/0123456789abcdef/fingerprint",
        ] {
            assert_eq!(profile(dir), Some(Path::new("x86/debug")), "{dir}");
        }
        for dir in [
            "debug/a-1",
            "a-1",
            "",
            "debug/build/a/fingerprint",
            "debug/build/a/0123/fingerprint",
            "debug/other/a/0123456789abcdef/fingerprint",
            "debug/build/a/0123456789abcdef/out",
        ] {
            assert_eq!(profile(dir), None, "{dir}");
        }
    }

    #[test]
    fn what_a_script_said_lies_beside_its_directory() {
        let of = |dir: &str| of_run(Path::new(dir));
        let usual = "/t/debug/build/a-0123456789abcdef";
        assert_eq!(of(&format!("{usual}/out")), (usual.into(), "output"));
        let own = "/t/debug/build/a/0123456789abcdef";
        assert_eq!(
            of(&format!("{own}/out")),
            (format!("{own}/run").into(), "stdout")
        );
    }
}
