//! Which paths the compiler replaces in what it writes, and which it shows all the same.
//!
//! rustc writes the current directory and every absolute source path into metadata and
//! debug information. `--remap-path-prefix` replaces them by names that are the same in
//! every checkout: the workspace by `.`, so that debuggers and backtraces find sources
//! from the workspace, and the target directory by `./target`. The remapping must cover
//! all of rustc's scopes: with a narrower `--remap-path-scope` the original path stays in
//! the metadata beside the new one. Diagnostics would then show the new name too, which
//! [`super::messages`] undoes.
//!
//! A compiler that shows a line of another crate's source looks for the new name in its own
//! directory, or undoes a remapping of its own whose new name is more than `.`. The directory is
//! the workspace for what is in it, but the package for a vendored one (see [`place`]), which
//! therefore is told of the directory of vendored packages besides.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::cargo::layout;
use crate::config::TrimPaths;
use crate::os::fs;
use crate::roots::{Root, Roots};

use super::invocation::{Action, Invocation, Source};

/// What the workspace is called in outputs.
const WORKSPACE_NAME: &str = ".";
/// What the target directory is called in outputs.
pub(crate) const TARGET_NAME: &str = "./target";

/// The arguments that make the outputs independent of the roots.
///
/// None where the user remaps already, or where real paths are what the unit is for:
/// coverage reports are matched to sources by them.
pub(crate) fn remapping(
    invocation: &Invocation,
    cwd: &Path,
    roots: &Roots,
    trim: TrimPaths,
) -> Vec<OsString> {
    let prefixes = prefixes(invocation, cwd, roots, trim);
    let args = prefixes.into_iter().map(|(from, to)| {
        let mut arg = OsString::from("--remap-path-prefix=");
        arg.push(from);
        arg.push("=");
        arg.push(to);
        arg
    });
    args.collect()
}

/// Prefixes of paths, and the names that outputs have for them.
fn prefixes(
    invocation: &Invocation,
    cwd: &Path,
    roots: &Roots,
    trim: TrimPaths,
) -> Vec<(PathBuf, OsString)> {
    if !remaps(invocation, trim) {
        return Vec::new();
    }
    // rustc applies the last prefix that matches: outer directories come first.
    let mut prefixes = Vec::new();
    if trim == TrimPaths::All {
        for (root, home) in roots.spellings() {
            if root == Root::CargoHome
                && let Source::File(source) = &invocation.source
            {
                prefixes.extend(package(source, home));
            }
        }
    }
    // Debuggers open these files by the names that they have in programs.
    let names_files = invocation.codegen("split-debuginfo") == Some("unpacked");
    // Elsewhere than in cargo's layout, outputs may go to where the sources are.
    let by_cargo = layout::profile_dir(&invocation.output_dir(cwd)).is_some();
    let spellings: Vec<(Root, &Path)> = roots.spellings().collect();
    for (root, path) in spellings.into_iter().rev() {
        let name = match root {
            // A package outside of the workspace has no name there, and is never the
            // same unit in another checkout anyway.
            Root::Workspace if is_outside(invocation, cwd, path) => continue,
            Root::Workspace => WORKSPACE_NAME.into(),
            Root::Target if !by_cargo => continue,
            Root::Target if names_files => path.into(),
            Root::Target => TARGET_NAME.into(),
            Root::CargoHome | Root::Sysroot | Root::Home => continue,
        };
        prefixes.push((path.to_owned(), name));
    }
    prefixes.extend(vendored(invocation, cwd, roots));
    prefixes
}

/// The directory of vendored packages, which is in the workspace and so has a name already.
fn vendored(invocation: &Invocation, cwd: &Path, roots: &Roots) -> Option<(PathBuf, OsString)> {
    let workspace = roots.get(Root::Workspace)?;
    let dir = cwd.parent().filter(|_| invocation.is_absolute())?;
    let inside = dir.strip_prefix(workspace).ok()?;
    let name = Path::new(WORKSPACE_NAME).join(inside);
    (dir != workspace).then(|| (dir.to_owned(), name.into_os_string()))
}

/// The names that messages may hold instead of paths, and the paths; longer names first.
pub(crate) fn names(
    invocation: &Invocation,
    cwd: &Path,
    roots: &Roots,
    trim: TrimPaths,
) -> Vec<(&'static str, PathBuf)> {
    if !remaps(invocation, trim) {
        return Vec::new();
    }
    let target = roots.get(Root::Target).map(Path::to_owned);
    let workspace = match roots.get(Root::Workspace) {
        Some(root) if !is_outside(invocation, cwd, root) => Some(root.to_owned()),
        _ => layout::probable_workspace(cwd, roots),
    };
    let target = target.map(|target| (TARGET_NAME, target));
    let workspace = workspace.map(|workspace| (WORKSPACE_NAME, workspace));
    target.into_iter().chain(workspace).collect()
}

/// The roots that a result depends on although their paths need not be found in it.
///
/// A program may compute something from the name that the compiler has for a source
/// (`file!().len()`), which is a path where it is given as one and not remapped. And where the user
/// remaps a directory above a root, what is left of the root's path is in the outputs.
pub(crate) fn shown(
    invocation: &Invocation,
    cwd: &Path,
    roots: &Roots,
    trim: TrimPaths,
    sources: &[PathBuf],
) -> Vec<Root> {
    let by_user: Vec<&Path> = invocation
        .values("remap-path-prefix")
        .filter_map(|value| {
            let at = memchr::memrchr(b'=', value.as_bytes())?;
            let from = value.as_bytes().get(..at)?;
            Some(Path::new(OsStr::from_bytes(from)))
        })
        .collect();
    let scoped = invocation
        .values("remap-path-scope")
        .any(|scope| scope != "all");
    let ours = prefixes(invocation, cwd, roots, trim);
    // The last prefix that matches is applied. What one in a root leaves of a path is in the key.
    let theirs_is_in_root = |path: &Path| {
        let theirs = by_user.iter().rev().find(|from| path.starts_with(from))?;
        let root = roots.relativize(theirs).root;
        Some(root.is_some_and(|root| root != Root::Home))
    };
    let is_named = |source: &&Path| {
        let ours = ours.iter().rev().find(|(from, _)| source.starts_with(from));
        ours.is_some_and(|(from, to)| from.as_os_str() != to)
            || (!scoped && theirs_is_in_root(source) == Some(true))
    };
    let is_cut = |path: &&Path| theirs_is_in_root(path) == Some(false);
    // Debug information names the current directory, and where parts of its own are.
    let split = invocation
        .codegen("split-debuginfo")
        .is_some_and(|v| v != "off");
    let out_dir = split.then(|| invocation.output_dir(cwd));
    let in_debuginfo = out_dir.as_deref().into_iter().chain([cwd]);
    let sources = sources.iter().map(PathBuf::as_path);
    let shown = sources
        .filter(|source| source.is_absolute() && !is_named(source))
        .chain(in_debuginfo.filter(is_cut));
    let shown = shown.filter_map(|path| roots.relativize(path).root);
    shown.filter(|root| *root != Root::Sysroot).collect()
}

/// Whether a source is given by its absolute path below the directory that the compiler is
/// started in, and that counts as root because no workspace was found above.
fn is_outside(invocation: &Invocation, cwd: &Path, root: &Path) -> bool {
    let Source::File(source) = &invocation.source else {
        return false;
    };
    let is_cwd = root == cwd || fs::canonicalize(cwd).is_ok_and(|cwd| cwd == root);
    source.is_absolute() && is_cwd
}

/// Whether prefixes are remapped for this invocation.
pub(crate) fn remaps(invocation: &Invocation, trim: TrimPaths) -> bool {
    let by_user = invocation.values("remap-path-prefix").next().is_some()
        || invocation.values("remap-path-scope").next().is_some();
    let coverage = invocation.codegen("instrument-coverage").is_some();
    // Taken from debug information, where they cannot be told from other text.
    let remarks = invocation.codegen("remark").is_some();
    let query = invocation.action == Action::Query;
    trim != TrimPaths::Off && !by_user && !coverage && !remarks && !query
}

/// The unpacked package that a source belongs to, and the name that RFC 3127 gives it:
/// `<name>-<version>` for a registry, `<name>-<hash>/<revision>` for git.
pub(crate) fn package(source: &Path, home: &Path) -> Option<(PathBuf, OsString)> {
    let rest = source.strip_prefix(home).ok()?;
    let names: Vec<&OsStr> = rest.components().map(Component::as_os_str).collect();
    let (depth, name) = match names.as_slice() {
        [registry, src, _, package, ..] if *registry == "registry" && *src == "src" => {
            (4, PathBuf::from(package))
        }
        [git, checkouts, repository, revision, ..]
            if *git == "git" && *checkouts == "checkouts" =>
        {
            (4, Path::new(repository).join(revision))
        }
        _ => return None,
    };
    let package: PathBuf = names.iter().take(depth).collect();
    Some((home.join(package), name.into_os_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots_shown(given: &str, args: &[&str], sources: &[&str]) -> Vec<Root> {
        let fixed = ["rustc", given, "--out-dir=/home/me/ws/target/debug/deps"];
        let command = fixed.iter().chain(args).map(OsString::from);
        let invocation = Invocation::parse(&command.collect::<Vec<_>>(), None, |_| None).unwrap();
        let mut roots = Roots::default();
        roots.add(Root::Workspace, "/home/me/ws");
        roots.add(Root::Target, "/home/me/ws/target");
        let sources: Vec<PathBuf> = sources.iter().map(PathBuf::from).collect();
        let cwd = Path::new("/home/me/ws");
        shown(&invocation, cwd, &roots, TrimPaths::Workspace, &sources)
    }

    #[test]
    fn names_that_are_not_remapped_show_their_roots() {
        let generated = "/home/me/ws/target/debug/build/x/out/g.rs";
        let of = |args: &[&str]| roots_shown("src/lib.rs", args, &["src/lib.rs", generated]);
        let target = Root::Target;
        assert!(of(&[]).is_empty());
        assert_eq!(of(&["-Csplit-debuginfo=unpacked"]), [target]);
        assert_eq!(of(&["-Cinstrument-coverage"]), [target]);
        let workspace = ["--remap-path-prefix=/home/me/ws=/src"];
        assert!(of(&workspace).is_empty());
        let home = "--remap-path-prefix=/home/me=~";
        assert!(!of(&[workspace[0], home]).is_empty());
        assert!(of(&[home, workspace[0], "--remap-path-scope=all"]).is_empty());
        assert_eq!(of(&["--remap-path-prefix=/elsewhere=x"]), [target]);
        let scoped = [
            "--remap-path-prefix=/home/me/ws=.",
            "--remap-path-scope=object",
        ];
        assert_eq!(of(&scoped), [target]);
        let absolute = roots_shown("/home/me/ws/a.rs", &[], &["/home/me/ws/a.rs"]);
        assert_eq!(absolute, [Root::Workspace]);
    }

    #[test]
    fn remapping_a_directory_above_leaves_a_part_of_the_roots() {
        let home = "--remap-path-prefix=/home/me=~";
        assert_eq!(roots_shown("src/lib.rs", &[home], &[]), [Root::Workspace]);
        let shown = roots_shown("src/lib.rs", &[home, "-Csplit-debuginfo=packed"], &[]);
        assert_eq!(shown, [Root::Target, Root::Workspace]);
        let shown = roots_shown("src/lib.rs", &["--remap-path-prefix=/home/m=~"], &[]);
        assert!(shown.is_empty());
    }

    #[test]
    fn packages_are_named_as_in_rfc_3127() {
        let source = Path::new("/c/registry/src/index-1/foo-1.0.0/src/lib.rs");
        let (path, name) = package(source, Path::new("/c")).unwrap();
        assert_eq!(path, Path::new("/c/registry/src/index-1/foo-1.0.0"));
        assert_eq!(name, "foo-1.0.0");
    }
}
