//! Finding out what a compiler is, by asking it and hashing it.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::memo::{Memoised, Seen, toolchain};
use super::{Surroundings, Toolchain, ToolchainError, Wanted, ask, place};
use crate::cargo::driver;
use crate::error::PathError;
use crate::formats::digest::BlobRef;
use crate::formats::key::KeyHasher;
use crate::observe::{Access, Depth, Observation};
use crate::os::fs;
use crate::store::memo::Memo;

/// Identifies a compiler by asking it and hashing it. The last value tells whether what
/// was found out can be checked again without asking.
pub(super) fn examine(
    driver: &Path,
    wanted: Wanted<'_>,
    around: &Surroundings<'_>,
) -> Result<(Toolchain, Memoised, bool), ToolchainError> {
    let mut command = around.command(driver);
    // Where the compiler comes from, not where `--sysroot` says its libraries are.
    command.args = vec!["--print".into(), "sysroot".into()];
    let (answer, _) = ask(&command, driver, "--print sysroot", None, around)?;
    let own = fs::canonicalize(Path::new(answer.trim_end()))?;
    // Distributions may have its libraries where all others are.
    let is_known = driver::is_compiler(driver) && driver::has_library(&own.join("lib"));
    let depth = (!is_known).then_some(Depth::Usual);
    command.args = vec!["-vV".into()];
    let (verbose, observation) = ask(&command, driver, "-vV", depth, around)?;
    let sysroot = match wanted.sysroot {
        Some(given) => fs::canonicalize(&around.request.cwd.join(given))?,
        None => own.clone(),
    };
    let host = verbose.lines().find_map(|line| line.strip_prefix("host: "));
    let target = wanted.target.map(Path::new);
    let target = target.and_then(Path::file_stem);

    let found = observation.as_ref().map(driver::compilers);
    let mut found = found.unwrap_or_default();
    if found.is_empty() && driver.starts_with(&own) {
        found.push((driver.to_owned(), own.join("lib")));
    }
    let mut dirs = vec![own.join("lib")];
    for (_, libraries) in &found {
        if !dirs.contains(libraries) {
            dirs.push(libraries.clone());
        }
    }
    // Where others put files too, those of the compiler are part of it, and not the directory.
    let (mut dirs, shared): (Vec<_>, Vec<_>) = dirs
        .into_iter()
        .partition(|dir| dir.parent().is_some_and(place::is_own));
    let triples = [host.map(OsStr::new), target];
    for triple in triples.into_iter().flatten() {
        let rustlib = sysroot.join("lib/rustlib").join(triple);
        for dir in [rustlib.join("lib"), rustlib.join("codegen-backends")] {
            if !dirs.contains(&dir) {
                dirs.push(dir);
            }
        }
    }
    let mut files = vec![driver.to_owned()];
    let beside = ["rustc", "clippy-driver"].map(|program| own.join("bin").join(program));
    let beside = beside.into_iter().filter(|file| fs::exists(file));
    for file in beside.chain(found.iter().map(|(compiler, _)| compiler.clone())) {
        if !files.contains(&file) {
            files.push(file);
        }
    }
    for dir in &dirs {
        files.extend(files_in(dir));
    }
    for dir in &shared {
        let libraries = files_in(dir).into_iter();
        files.extend(libraries.filter(|file| place::is_library(file)));
    }
    let sources = sysroot.join("lib/rustlib/src/rust/library");
    let installed = fs::exists(&sources);

    let blobs = hash_all(&files, around.memo)?;
    let mut hasher = KeyHasher::new("toolchain");
    hasher.str("version", &verbose);
    hasher.bytes("sources", &[u8::from(installed)]);
    for (file, blob) in files.iter().zip(blobs) {
        hasher.os("file", file.file_name().unwrap_or_default());
        hasher.blob("content", &blob);
    }
    let seen = |paths: &[PathBuf]| paths.iter().map(|path| Seen::now(path).0).collect();
    let watched = depth.is_none() || observation.as_ref().is_some_and(Observation::is_complete);
    let memoised = Memoised {
        programs: programs(observation.as_ref()),
        compilers: found
            .into_iter()
            .map(|(path, _)| path.into_os_string().into_vec())
            .collect(),
        digest: hasher.finish(),
        sysroot: sysroot.as_os_str().as_bytes().to_vec(),
        version: verbose.lines().next().unwrap_or_default().to_owned(),
        files: seen(&files),
        dirs: seen(&dirs),
        sources: (sources.into_os_string().as_bytes().to_vec(), installed),
    };
    Ok((toolchain(&memoised), memoised, watched))
}

/// The programs executed during an observation.
fn programs(observation: Option<&Observation>) -> Vec<(Vec<u8>, Seen)> {
    let mut programs = Vec::new();
    for event in observation.iter().flat_map(|o| &o.events) {
        if event.access == Access::Execute
            && event.found.is_some()
            && let Ok(canonical) = fs::canonicalize(&event.path)
        {
            let path = event.path.as_os_str().as_bytes().to_vec();
            programs.push((path, Seen::now(&canonical).0));
        }
    }
    programs
}

/// The regular files of a directory, by name; none where there is no such directory.
fn files_in(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| fs::is_file(path))
        .collect();
    files.sort();
    files
}

fn hash_all(files: &[PathBuf], memo: &Memo) -> Result<Vec<BlobRef>, PathError> {
    use rayon::prelude::*;
    files
        .par_iter()
        .map(|file| Ok(memo.digest(file)?.1))
        .collect()
}
