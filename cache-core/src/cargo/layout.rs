//! Where a unit is compiled: its roots.
//!
//! | root | found as |
//! |---|---|
//! | target | what lies above cargo's layout in `--out-dir`: `<target>[/<triple>]/<profile>/deps`, `…/build/<package>/…`, `…/examples`; otherwise the output directory |
//! | workspace | the current directory when the source is given relative to it: cargo does so for all packages in the workspace's directory. Of other packages only vendored ones are taken to be the workspace's, which is then the nearest directory above with a `Cargo.lock`. Any other, a path dependency outside of it, stands alone |
//! | cargo home | what lies above `registry/src/` or `git/checkouts/` in the current directory; otherwise `CARGO_HOME`, `$HOME/.cargo` |
//! | sysroot | from the toolchain |
//! | home | `HOME`, if its path is the same in every language |
//!
//! Workspaces nest (`fuzz/`, what trybuild writes, what `cargo package` unpacks), and several of
//! them may share a target directory that lies in one of them. So neither a `Cargo.lock` above a
//! package nor the place of the target directory tells which workspace cargo works in.
//! Being wrong would show: the workspace is remapped to `.`, and whoever reads such a name
//! looks for it in the directory of the workspace that they belong to.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::looked::{self, Looked};
use crate::os::env::Environment;
use crate::os::fs;
use crate::roots::{self, Root, Roots};

/// What is compiled, as far as it tells where.
pub(crate) struct Compiled<'a> {
    /// Where outputs go.
    pub(crate) out_dir: &'a Path,
    /// `--target`.
    pub(crate) target: Option<&'a OsStr>,
    /// Whether the source is given by an absolute path.
    pub(crate) is_absolute: bool,
    pub(crate) looked: Option<&'a Looked>,
}

/// The roots of a compilation.
pub(crate) fn roots(
    compiled: &Compiled<'_>,
    cwd: &Path,
    env: &Environment,
    sysroot: &Path,
) -> Roots {
    let (mut roots, looked) = (Roots::default(), compiled.looked);
    let target = target_dir(compiled.out_dir, compiled.target);
    add_known(&mut roots, Root::Target, &target, looked);
    let home = home_above(cwd)
        .map(Path::to_owned)
        .or_else(|| home_by_environment(env));
    if let Some(home) = &home {
        add_known(&mut roots, Root::CargoHome, home, looked);
    }
    if home_above(cwd).is_none() {
        let workspace = workspace(compiled.is_absolute, cwd, &target, env);
        add_known(&mut roots, Root::Workspace, &workspace, looked);
    }
    roots.add(Root::Sysroot, sysroot);
    add_user(&mut roots, env, looked);
    roots
}

/// The roots of a build script's run: `cwd` is the package's directory.
pub(crate) fn script_roots(
    cwd: &Path,
    out_dir: &Path,
    target: Option<&OsStr>,
    env: &Environment,
    sysroot: &Path,
    looked: Option<&Looked>,
) -> Roots {
    let mut roots = Roots::default();
    let target = target_dir(out_dir, target);
    add_known(&mut roots, Root::Target, &target, looked);
    let unpacked = home_above(cwd);
    let home = unpacked
        .map(Path::to_owned)
        .or_else(|| home_by_environment(env));
    if let Some(home) = &home {
        add_known(&mut roots, Root::CargoHome, home, looked);
    }
    // A dependency's script can find the workspace above the target directory only.
    let start = if unpacked.is_some() { &target } else { cwd };
    let workspace = locked_above(start).or(unpacked.is_none().then_some(cwd));
    if let Some(workspace) = workspace {
        add_known(&mut roots, Root::Workspace, workspace, looked);
    }
    roots.add(Root::Sysroot, sysroot);
    add_user(&mut roots, env, looked);
    roots
}

/// The nearest directory above with a `Cargo.lock`.
fn locked_above(path: &Path) -> Option<&Path> {
    let above = path.ancestors().skip(1);
    let mut above = above.filter(|dir| dir.parent().is_some());
    above.find(|dir| fs::exists(&dir.join(LOCK)))
}

const LOCK: &str = "Cargo.lock";

/// Adds a root in its given and its canonical spelling.
pub(crate) fn add(roots: &mut Roots, root: Root, path: &Path) {
    add_known(roots, root, path, None);
}

fn add_known(roots: &mut Roots, root: Root, path: &Path, looked: Option<&Looked>) {
    roots.add(root, path);
    if let Some(canonical) = looked::canonical(looked, path) {
        roots.add(root, canonical);
    }
}

/// Adds the user's home, if what comes out shows its path as it is.
fn add_user(roots: &mut Roots, env: &Environment, looked: Option<&Looked>) {
    let home = env.get_nonempty("HOME").map(Path::new);
    if let Some(home) = home.filter(|home| roots::is_plain(home)) {
        add_known(roots, Root::Home, home, looked);
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
pub(crate) fn profile_dir(out_dir: &Path) -> Option<&Path> {
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

fn workspace(is_absolute: bool, cwd: &Path, target: &Path, env: &Environment) -> PathBuf {
    let is_vendored = || fs::exists(&cwd.join(CHECKSUMS));
    if !is_absolute || !is_vendored() {
        return cwd.to_owned();
    }
    // Where the target directory lies in a workspace that the package is not in, it is
    // vendored beside it.
    let is_beside = locked_parent(target).is_some_and(|dir| !cwd.starts_with(dir));
    let found = locked_above(cwd).filter(|_| !is_beside);
    let found = found.filter(|dir| !is_started_in_another(dir, env));
    found.unwrap_or(cwd).to_owned()
}

/// What cargo leaves in a vendored package, and holds it to.
pub(crate) const CHECKSUMS: &str = ".cargo-checksum.json";

/// The directory above the target directory, if it has a `Cargo.lock`.
fn locked_parent(target: &Path) -> Option<&Path> {
    let parent = target.parent()?;
    fs::exists(&parent.join(LOCK)).then_some(parent)
}

/// Whether cargo was started in a workspace that lies in the other one, `workspace`.
fn is_started_in_another(workspace: &Path, env: &Environment) -> bool {
    let started = env.get_nonempty("PWD").map(Path::new);
    let started = started.and_then(|dir| fs::canonicalize(dir).ok());
    let workspace = fs::canonicalize(workspace).unwrap_or_else(|_| workspace.to_owned());
    started.is_some_and(|dir| {
        let mut between = dir.ancestors().take_while(|dir| *dir != workspace);
        dir.starts_with(&workspace) && between.any(|dir| fs::exists(&dir.join(LOCK)))
    })
}

/// The workspace that is built with a package which is not in it, most probably: good enough
/// to say where the crates lie that the package uses.
pub(crate) fn probable_workspace(cwd: &Path, roots: &Roots) -> Option<PathBuf> {
    let by_target = roots.get(Root::Target).and_then(locked_parent);
    by_target.or_else(|| locked_above(cwd)).map(Path::to_owned)
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

    /// The workspace of a unit in `cwd`, relative to the directory of the test.
    fn workspace_of(
        source: &str,
        cwd: &str,
        target: &str,
        started: &str,
        files: &[&str],
    ) -> String {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for dir in [cwd, started] {
            std::fs::create_dir_all(root.join(dir)).unwrap();
        }
        for file in files {
            std::fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            std::fs::write(root.join(file), "").unwrap();
        }
        let compiled = Compiled {
            out_dir: &root.join(target).join("debug/deps"),
            target: None,
            is_absolute: source.starts_with('/'),
            looked: None,
        };
        let mut env = Environment::default();
        env.set("PWD", root.join(started));
        let roots = roots(&compiled, &root.join(cwd), &env, Path::new("/s"));
        let found = roots.get(Root::Workspace).unwrap();
        let found = found.strip_prefix(&root).unwrap();
        found.to_str().unwrap().to_owned()
    }

    #[test]
    fn the_workspace_is_that_which_cargo_works_in() {
        let locks = ["ws/Cargo.lock", "ws/fuzz/Cargo.lock"];
        // A member is compiled in the workspace's directory, wherever its outputs go.
        for target in ["ws/target", "ws/fuzz/target", "t"] {
            let found = workspace_of("src/main.rs", "ws/fuzz", target, "", &locks);
            assert_eq!(found, "ws/fuzz", "{target}");
        }
        // A dependency outside of it is in no workspace, whatever lies above.
        for target in ["ws/target", "ws/fuzz/target", "t"] {
            let found = workspace_of("/ws/core/src/lib.rs", "ws/core", target, "", &locks);
            assert_eq!(found, "ws/core", "{target}");
        }
        let in_target = "ws/target/tests/trybuild";
        let source = "/ws/tests/ui/a.rs";
        assert_eq!(
            workspace_of(source, in_target, in_target, "ws", &locks),
            in_target
        );
    }

    #[test]
    fn a_vendored_package_is_in_the_workspace_above_it() {
        let files = |more: &[&'static str]| {
            let fixed = ["ws/Cargo.lock", "ws/vendor/a/.cargo-checksum.json"];
            [&fixed[..], more].concat()
        };
        let of = |target: &str, started: &str, more: &[&'static str]| {
            let source = "/ws/vendor/a/src/lib.rs";
            workspace_of(source, "ws/vendor/a", target, started, &files(more))
        };
        assert_eq!(of("ws/target", "ws", &[]), "ws");
        assert_eq!(of("t", "ws/src", &[]), "ws");
        assert_eq!(of("t", "", &["ws/vendor/a/Cargo.lock"]), "ws");
        assert_eq!(of("other/target", "", &["other/Cargo.lock"]), "ws/vendor/a");
        let nested = ["ws/fuzz/Cargo.lock"];
        assert_eq!(of("ws/target", "ws", &nested), "ws");
        assert_eq!(of("ws/target", "ws/fuzz", &nested), "ws/vendor/a");
        assert_eq!(of("t", "ws/fuzz/src", &nested), "ws/vendor/a");
    }
}
