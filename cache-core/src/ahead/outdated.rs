//! What cargo would find otherwise than it was, though all inputs hold.
//!
//! | what cargo looks at | of which units | if it is otherwise |
//! |---|---|---|
//! | times of sources | packages that may change | it asks for the unit, and for all that depend on it |
//! | times of the paths that a script named, and of all below them | runs of scripts | it runs the script again, which would find in its directory what was placed there, and may not expect that |
//! | whether a package has a readme | packages whose manifest does not say which file it is | units are told something else, and macros may ask |
//!
//! So such units are left to cargo, which finds nothing of them.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::inputs::check::World;
use crate::inputs::input::Input;
use crate::kinds::build_script::{Directive, directives};
use crate::os::env::Environment;
use crate::os::fs;
use crate::outcome::Change;
use crate::roots::Root;

/// The files that are readmes, the first one that is there before the others.
const READMES: [&str; 3] = ["README.md", "README.txt", "README"];

/// The variable that tells which one a package has.
const README: &str = "CARGO_PKG_README";

/// Whether a unit of the package with this manifest, which may change, is told the readme that there is.
pub(super) fn readme(env: &Environment, manifest: &Path) -> Result<(), Change> {
    // Older cargos do not tell.
    let Some(told) = env.get(README) else {
        return Ok(());
    };
    let dir = manifest.parent().unwrap_or(manifest);
    let there = READMES
        .into_iter()
        .find(|name| fs::is_file(&dir.join(name)));
    let there = there.unwrap_or_default();
    if told == there || is_named(manifest) {
        return Ok(());
    }
    Err(Change {
        kind: "env",
        what: README.to_owned(),
        old: told.to_string_lossy().into_owned(),
        new: there.to_owned(),
    })
}

/// Whether a manifest says which file the readme is, or that there is none.
fn is_named(manifest: &Path) -> bool {
    let text = fs::read(manifest).unwrap_or_default();
    let table: Option<toml::Table> = std::str::from_utf8(&text)
        .ok()
        .and_then(|text| text.parse().ok());
    let readme = table
        .as_ref()
        .and_then(|table| table.get("package")?.get("readme"));
    readme.is_some_and(|readme| readme.as_bool() != Some(true))
}

/// The files whose times cargo looks at, of one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    /// None: cargo unpacked its package.
    Nothing,
    /// Those that the compiler read.
    Sources,
    /// Those that the script named.
    NamedPaths,
}

/// A source among inputs that was changed after a time.
pub(super) fn source<'a>(
    world: &World<'_>,
    mut inputs: impl Iterator<Item = (usize, &'a Input)>,
    time: SystemTime,
) -> Option<PathBuf> {
    inputs.find_map(|(_, input)| match input {
        // Times of what is placed are in the order in which units depend on each other.
        Input::File { path, .. } if path.root != Some(Root::Target) => {
            world.at(path).filter(|path| is_newer(path, time))
        }
        _ => None,
    })
}

/// What was changed after a time, at a path that a script named or below it; or a named path that is not there, as one in the
/// directory of the script's run: for cargo it is always newer.
pub(super) fn named_path(stdout: &[u8], cwd: &Path, time: SystemTime) -> Option<PathBuf> {
    let mut named = directives(stdout).filter_map(|directive| match directive {
        Directive::RerunIfChanged(path) => Some(cwd.join(path)),
        _ => None,
    });
    named.find_map(|path| {
        if !fs::exists(&path) {
            return Some(path);
        }
        // What cannot be read is not asked for its time.
        let below = walkdir::WalkDir::new(path).follow_links(true);
        let mut below = below
            .into_iter()
            .flatten()
            .map(walkdir::DirEntry::into_path);
        below.find(|path| is_newer(path, time))
    })
}

/// Whether what a path leads to, or a link itself, was changed after a time.
fn is_newer(path: &Path, time: SystemTime) -> bool {
    let looks = [fs::metadata(path), fs::symlink_metadata(path)];
    let mut times = looks
        .into_iter()
        .filter_map(|look| look.ok()?.modified().ok());
    times.any(|changed| changed > time)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_readme_is_one_that_is_there_or_named() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = dir.path().join("Cargo.toml");
        let holds = |told: &str| {
            let env = [(README, told)].into_iter().collect();
            readme(&env, &manifest).is_ok()
        };
        std::fs::write(&manifest, "[package]\nname = 'readme'\n").unwrap();
        assert!(holds("") && !holds("README.md"));
        std::fs::write(dir.path().join("README"), "").unwrap();
        assert!(holds("README") && !holds(""));
        std::fs::write(dir.path().join("README.md"), "").unwrap();
        assert!(holds("README.md") && !holds("README"));
        std::fs::write(&manifest, "[package]\nreadme = true\n").unwrap();
        assert!(!holds(""));
        for named in ["false", "'about.md'", "{ workspace = true }"] {
            std::fs::write(&manifest, format!("[package]\nreadme = {named}\n")).unwrap();
            assert!(holds("") && holds("about.md"), "{named}");
        }
    }

    #[test]
    fn what_lies_below_a_named_path_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (below, file) = (dir.path().join("a/b"), dir.path().join("a/b/c"));
        std::fs::create_dir_all(&below).unwrap();
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
        let now = SystemTime::now() + Duration::from_secs(1);
        let named = |stdout: &str| named_path(stdout.as_bytes(), dir.path(), now);
        let (all, link) = (
            "cargo:rerun-if-changed=a\n",
            "cargo::rerun-if-changed=link\n",
        );
        assert_eq!(named(all), None);
        fs::set_modified(&file, now + Duration::from_nanos(1)).unwrap();
        assert_eq!(named(all), Some(file));
        assert_eq!(named(link), Some(dir.path().join("link/b/c")));
        assert_eq!(named("cargo:rerun-if-env-changed=a\n"), None);
        assert_eq!(
            named("cargo:rerun-if-changed=x\n"),
            Some(dir.path().join("x"))
        );
    }
}
