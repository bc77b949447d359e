//! Where a unit is compiled: its roots.
//!
//! | root | found as |
//! |---|---|
//! | target | what lies above cargo's layout in `--out-dir`: `<target>[/<triple>]/<profile>/deps`, `…/build/<package>/…`, `…/examples`; otherwise the output directory |
//! | workspace | the current directory when the source is given relative to it (cargo does so for members of the workspace); otherwise the nearest directory above the package with a `Cargo.lock` |
//! | cargo home | what lies above `registry/src/` or `git/checkouts/` in the current directory; otherwise `CARGO_HOME`, `$HOME/.cargo` |
//! | sysroot | from the toolchain |

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::env::Environment;
use crate::fs;
use crate::roots::{Root, Roots};

use super::invocation::{Invocation, Source};

/// The roots of an invocation.
pub(crate) fn roots(
    invocation: &Invocation,
    cwd: &Path,
    env: &Environment,
    sysroot: &Path,
) -> Roots {
    let mut roots = Roots::default();
    let out_dir = invocation.output_dir(cwd);
    let target = target_dir(&out_dir, invocation.target.as_deref());
    add(&mut roots, Root::Target, &target);
    let home = home_above(cwd)
        .map(Path::to_owned)
        .or_else(|| home_by_environment(env));
    if let Some(home) = &home {
        add(&mut roots, Root::CargoHome, home);
    }
    if home_above(cwd).is_none() {
        add(
            &mut roots,
            Root::Workspace,
            &workspace(invocation, cwd, &target),
        );
    }
    roots.add(Root::Sysroot, sysroot);
    roots
}

/// The roots of a build script's run: `cwd` is the package's directory.
pub(crate) fn script_roots(
    cwd: &Path,
    out_dir: &Path,
    target: Option<&OsStr>,
    env: &Environment,
    sysroot: &Path,
) -> Roots {
    let mut roots = Roots::default();
    let target = target_dir(out_dir, target);
    add(&mut roots, Root::Target, &target);
    let unpacked = home_above(cwd);
    let home = unpacked
        .map(Path::to_owned)
        .or_else(|| home_by_environment(env));
    if let Some(home) = &home {
        add(&mut roots, Root::CargoHome, home);
    }
    // A dependency's script can find the workspace above the target directory only.
    let start = if unpacked.is_some() { &target } else { cwd };
    let workspace = locked_above(start).or(unpacked.is_none().then_some(cwd));
    if let Some(workspace) = workspace {
        add(&mut roots, Root::Workspace, workspace);
    }
    roots.add(Root::Sysroot, sysroot);
    roots
}

/// The nearest directory above with a `Cargo.lock`.
fn locked_above(path: &Path) -> Option<&Path> {
    let above = path.ancestors().skip(1);
    let mut above = above.filter(|dir| dir.parent().is_some());
    above.find(|dir| fs::exists(&dir.join("Cargo.lock")))
}

/// Adds a root in its given and its canonical spelling.
fn add(roots: &mut Roots, root: Root, path: &Path) {
    roots.add(root, path);
    if let Ok(canonical) = fs::canonicalize(path) {
        roots.add(root, canonical);
    }
}

fn target_dir(out_dir: &Path, triple: Option<&OsStr>) -> PathBuf {
    let Some(profile) = profile_dir(out_dir) else {
        return out_dir.to_owned();
    };
    let Some(parent) = profile.parent() else {
        return out_dir.to_owned();
    };
    // A custom target's directory is named after its file.
    let triple = triple.map(Path::new).and_then(Path::file_stem);
    match (parent.file_name(), parent.parent()) {
        (Some(name), Some(above)) if Some(name) == triple => above.to_owned(),
        _ => parent.to_owned(),
    }
}

/// `<target>/debug` for `<target>/debug/deps` and the like.
pub(super) fn profile_dir(out_dir: &Path) -> Option<&Path> {
    match out_dir.file_name()?.as_bytes() {
        b"deps" | b"examples" => return out_dir.parent(),
        _ => {}
    }
    // `build/<package>-<hash>`, or `build/<package>/<hash>/out` in the newer layout.
    let mut above = out_dir.ancestors().skip(1).take(3);
    above
        .find(|dir| dir.file_name() == Some("build".as_ref()))?
        .parent()
}

/// Cargo's home, when `path` is one of the packages unpacked there.
pub(crate) fn home_above(path: &Path) -> Option<&Path> {
    path.ancestors().find_map(|dir| {
        let parent = dir.parent()?;
        let tail = (parent.file_name()?.as_bytes(), dir.file_name()?.as_bytes());
        matches!(tail, (b"registry", b"src") | (b"git", b"checkouts"))
            .then(|| parent.parent())
            .flatten()
    })
}

fn home_by_environment(env: &Environment) -> Option<PathBuf> {
    if let Some(home) = env.get_nonempty("CARGO_HOME") {
        return Some(PathBuf::from(home));
    }
    Some(Path::new(env.get_nonempty("HOME")?).join(".cargo"))
}

fn workspace(invocation: &Invocation, cwd: &Path, target: &Path) -> PathBuf {
    let absolute = matches!(&invocation.source, Source::File(path) if path.is_absolute());
    if !absolute {
        return cwd.to_owned();
    }
    // A vendored package, or a path dependency outside the workspace. Where the target
    // directory lies in the workspace, it tells which; a directory above may well be another.
    let above = target.parent();
    let known = above.filter(|dir| fs::exists(&dir.join("Cargo.lock")));
    let is_outside = known.is_some_and(|dir| !cwd.starts_with(dir));
    let found = locked_above(cwd).filter(|_| !is_outside);
    found.unwrap_or(cwd).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_directory_is_found_in_every_layout() {
        let target =
            |dir: &str, triple: Option<&str>| target_dir(Path::new(dir), triple.map(OsStr::new));
        for dir in [
            "/t/debug/deps",
            "/t/debug/examples",
            "/t/release/build/foo-0123",
            "/t/debug/build/foo/0123456789abcdef/out",
        ] {
            assert_eq!(target(dir, None), Path::new("/t"), "{dir}");
        }
        let triple = Some("x86_64-unknown-linux-musl");
        let cross = "/t/x86_64-unknown-linux-musl/debug/deps";
        assert_eq!(target(cross, triple), Path::new("/t"));
        assert_eq!(
            target("/t/mine/debug/deps", Some("specs/mine.json")),
            Path::new("/t")
        );
        assert_eq!(target("/some/where", None), Path::new("/some/where"));
    }

    #[test]
    fn cargo_home_is_found_above_unpacked_packages() {
        for path in [
            "/h/.cargo/registry/src/index-1/foo-1.0.0",
            "/h/.cargo/git/checkouts/foo-12/abc",
        ] {
            assert_eq!(home_above(Path::new(path)), Some(Path::new("/h/.cargo")));
        }
        assert_eq!(home_above(Path::new("/ws/registry/foo")), None);
    }
}
