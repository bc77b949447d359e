//! The sources that a build script or a macro was compiled from: its own, and those of crates that it calls.
//!
//! The compiler leaves a list of them beside everything that it makes: beside the script's program, and beside libraries in the
//! directories where cargo puts them. Which libraries went into the program is not written down. So it is taken to be
//! those whose crates are named in the sources, or in the manifest as the package behind another name. What cargo unpacked from a registry
//! is left out where the question is what somebody calls: whoever calls a hash function of such a crate says so.
//!
//! What can go wrong: a list, or a source, is gone or cannot be read. Then the sources are not known. A crate that was
//! compiled more than once counts with the sources of all times.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::inputs::names::{self, Minds};
use crate::kinds::rustc::dep_info::DepInfo;
use crate::os::fs;

use super::build_script::package;

/// Crates that only tell the calls of the system on.
const BINDINGS: [&str; 4] = ["libc", "linux_raw_sys", "nix", "rustix"];

/// Whose crates count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crates {
    /// Those of the workspace and beside it.
    PeoplesOwn,
    /// Those of registries too.
    All,
}

/// The sources of the script whose program is `executable`; paths are relative to `start`. `None`: they are not known.
pub(super) fn of_script(
    executable: &Path,
    start: &Path,
    package: &Path,
    crates: Crates,
) -> Option<Vec<Vec<u8>>> {
    let lists = lists_in(executable.parent()?);
    let [own] = lists.as_slice() else {
        return None;
    };
    all_of(own, start, package, &beside(executable), crates)
}

/// The same of a macro's library.
pub(super) fn of_macro(library: &Path, start: &Path, crates: Crates) -> Option<Vec<Vec<u8>>> {
    let stem = library.file_stem()?.to_str()?.strip_prefix("lib")?;
    let own = library.with_file_name(format!("{stem}.d"));
    let listed = listed(&own)?;
    let package = package_of(&start.join(listed.first()?))?;
    let mut lists = lists_in(library.parent()?);
    lists.extend(beside(library));
    all_of(&own, start, &package, &lists, crates)
}

/// What a program may mind of files by its sources, which tell all where its symbols are gone.
pub(super) fn minds(
    has_symbols: bool,
    sources: impl FnOnce(Crates) -> Option<Vec<Vec<u8>>>,
) -> Minds {
    let (crates, unknown) = if has_symbols {
        (Crates::PeoplesOwn, Minds::default())
    } else {
        (Crates::All, Minds::UNKNOWN)
    };
    sources(crates).map_or(unknown, |sources| names::minds_in(&sources, has_symbols))
}

/// The sources in a list, and those of the libraries among `lists` that they name.
fn all_of(
    own: &Path,
    start: &Path,
    package: &Path,
    lists: &[PathBuf],
    crates: Crates,
) -> Option<Vec<Vec<u8>>> {
    let mut sources = read_all(&listed(own)?, start)?;
    if sources.is_empty() {
        return None;
    }
    let manifests = [package.join("Cargo.toml"), start.join("Cargo.toml")];
    let mut manifests: Vec<String> = manifests.iter().filter_map(|path| text(path)).collect();
    let mut libraries: Vec<Library> = lists
        .iter()
        .filter(|list| *list != own)
        .filter_map(|list| Library::at(list, start, crates))
        .collect();
    loop {
        let named = names(&sources, &manifests);
        let (more, rest) = libraries.into_iter().partition::<Vec<_>, _>(|library| {
            named.contains(&library.crate_name) || named.contains(&library.package)
        });
        libraries = rest;
        if more.is_empty() {
            return Some(sources);
        }
        for library in more {
            sources.extend(read_all(&library.sources, start)?);
            manifests.push(library.manifest);
        }
    }
}

/// A library that a program may have been linked with.
struct Library {
    crate_name: String,
    package: String,
    sources: Vec<PathBuf>,
    manifest: String,
}

impl Library {
    fn at(list: &Path, start: &Path, crates: Crates) -> Option<Self> {
        let stem = list.file_stem()?.to_str()?;
        let name = stem.rsplit_once('-').map_or(stem, |(name, _)| name);
        let sources = listed(list)?;
        let package = package_of(&start.join(sources.first()?))?;
        let counts = match crates {
            Crates::PeoplesOwn => !package::is_dependency(&package),
            Crates::All => !BINDINGS.contains(&name),
        };
        if name.starts_with("build_script_") || !counts {
            return None;
        }
        let manifest = text(&package.join("Cargo.toml"))?;
        let package = values(&manifest, "name").next().map(crate_name);
        Some(Self {
            crate_name: name.to_owned(),
            package: package.unwrap_or_default(),
            sources,
            manifest,
        })
    }
}

/// The directory of the package that a source is of.
fn package_of(source: &Path) -> Option<PathBuf> {
    let mut above = source.ancestors().skip(1);
    let dir = above.find(|dir| fs::exists(&dir.join("Cargo.toml")))?;
    Some(dir.to_owned())
}

/// The lists beside the libraries that a script of this build may have been linked with.
fn beside(executable: &Path) -> Vec<PathBuf> {
    let mut above = executable.ancestors();
    let Some(build) = above.find(|dir| dir.file_name() == Some("build".as_ref())) else {
        return Vec::new();
    };
    let profile = build.parent().unwrap_or(build);
    let mut lists = lists_in(&profile.join("deps"));
    // The newer layout: `build/<package>/<hash>/out`.
    for package in fs::list_or_empty(build).unwrap_or_default() {
        for unit in fs::list_or_empty(&package.path).unwrap_or_default() {
            lists.extend(lists_in(&unit.path.join("out")));
        }
    }
    lists
}

fn lists_in(dir: &Path) -> Vec<PathBuf> {
    let files = fs::list_or_empty(dir).unwrap_or_default().into_iter();
    let paths = files.map(|file| file.path);
    paths
        .filter(|path| path.extension() == Some(OsStr::new("d")))
        .collect()
}

fn listed(list: &Path) -> Option<Vec<PathBuf>> {
    Some(DepInfo::parse(&fs::read(list).ok()?).sources)
}

fn read_all(sources: &[PathBuf], start: &Path) -> Option<Vec<Vec<u8>>> {
    sources
        .iter()
        .map(|path| fs::read(&start.join(path)).ok())
        .collect()
}

fn text(path: &Path) -> Option<String> {
    String::from_utf8(fs::read(path).ok()?).ok()
}

/// All words of sources, and the packages that manifests give other names.
fn names(sources: &[Vec<u8>], manifests: &[String]) -> BTreeSet<String> {
    let is_end = |b: &u8| !b.is_ascii_alphanumeric() && *b != b'_';
    let words = sources.iter().flat_map(|source| source.split(is_end));
    let words = words.map(|word| String::from_utf8_lossy(word).into_owned());
    let renamed = manifests.iter().flat_map(|text| values(text, "package"));
    words.chain(renamed.map(crate_name)).collect()
}

/// The texts that a manifest gives a key.
fn values<'a>(manifest: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    manifest.split(key).skip(1).filter_map(|rest| {
        let value = rest.trim_start().strip_prefix('=')?.trim_start();
        value.strip_prefix(['"', '\''])?.split(['"', '\'']).next()
    })
}

fn crate_name(package: &str) -> String {
    package.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_named_in_sources_or_renamed_in_manifests() {
        let manifest = "[build-dependencies]\nh = { package = \"the-helper\", path = \"h\" }\n";
        let named = names(
            &[b"fn main() { other::run(); }".to_vec()],
            &[manifest.to_owned()],
        );
        assert!(named.contains("other") && named.contains("the_helper"));
        assert!(!named.contains("helper"));
    }
}
