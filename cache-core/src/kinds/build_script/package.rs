//! Which build scripts are cached, and where their executables are.

use std::path::{Path, PathBuf};

use crate::cargo::layout;
use crate::config::{BuildScripts, Config};
use crate::kinds::rustc::invocation::{Action, Invocation};
use crate::observe;
use crate::os::env::Environment;
use crate::os::fs;

/// Whether the runs of this package's build script are to be cached.
pub(crate) fn is_wanted(env: &Environment, config: &Config) -> bool {
    let manifest_dir = env.get_nonempty("CARGO_MANIFEST_DIR").map(Path::new);
    observe::ruled_out(config).is_none()
        && manifest_dir.is_some_and(|dir| match *config.build_scripts {
            BuildScripts::Off => false,
            BuildScripts::All => true,
            BuildScripts::Deps => is_dependency(dir),
        })
}

/// Whether a package was unpacked by cargo: below its home, where it leaves `.cargo-ok`
/// beside what is complete, or vendored, with a file of checksums that cargo holds it to.
pub(in crate::kinds) fn is_dependency(manifest_dir: &Path) -> bool {
    let unpacked = layout::home_above(manifest_dir).is_some_and(|home| {
        let above = manifest_dir.ancestors();
        let mut inside = above.take_while(|dir| *dir != home);
        inside.any(|dir| fs::exists(&dir.join(".cargo-ok")))
    });
    unpacked || fs::exists(&manifest_dir.join(layout::CHECKSUMS))
}

/// The executable that an invocation makes, if it makes a build script's.
///
/// Cargo calls the crate `build_script_<file>` and puts it below a directory `build`,
/// directly or one or two levels deeper, depending on its layout. Of a package's programs it
/// tells the name besides.
pub(crate) fn executable(
    invocation: &Invocation,
    env: &Environment,
    cwd: &Path,
) -> Option<PathBuf> {
    let name = invocation.crate_name.as_deref()?;
    let is_program = invocation.crate_types == ["bin"] && invocation.emits("link");
    let named = name.starts_with("build_script_");
    if !is_program || !named || invocation.action != Action::Compile || invocation.test {
        return None;
    }
    let out_dir = invocation.output_dir(cwd);
    let apart = ["deps", "examples"];
    let holds_others = apart
        .iter()
        .any(|name| out_dir.file_name() == Some(name.as_ref()));
    if holds_others || env.get("CARGO_BIN_NAME").is_some() {
        return None;
    }
    let mut above = out_dir.ancestors().skip(1).take(3);
    above.find(|dir| dir.file_name() == Some("build".as_ref()))?;
    let extra = invocation.codegen("extra-filename").unwrap_or_default();
    Some(out_dir.join(format!("{name}{extra}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(crate_name: &str, out_dir: &str) -> Option<PathBuf> {
        made_with(crate_name, out_dir, &[])
    }

    fn made_with(crate_name: &str, out_dir: &str, env: &[(&str, &str)]) -> Option<PathBuf> {
        let argv = [
            "rustc",
            "--crate-name",
            crate_name,
            "build.rs",
            "--crate-type",
            "bin",
            "--emit=dep-info,link",
            "-C",
            "extra-filename=-12",
            "--out-dir",
            out_dir,
        ];
        let argv: Vec<_> = argv.iter().map(Into::into).collect();
        let invocation = Invocation::parse(&argv, None, |_| None).unwrap();
        let env: Environment = env.iter().copied().collect();
        executable(&invocation, &env, Path::new("/ws"))
    }

    #[test]
    fn build_scripts_are_told_by_name_and_place() {
        assert_eq!(
            made("build_script_build", "/t/debug/build/x-34"),
            Some("/t/debug/build/x-34/build_script_build-12".into())
        );
        let newer = "/t/debug/build/x/34/out";
        assert!(made("build_script_main", newer).is_some());
        assert_eq!(made("build_script_build", "/t/debug/deps"), None);
        assert_eq!(made("build_script_build", "/build/debug/deps"), None);
        let program = [("CARGO_BIN_NAME", "build_script_tool")];
        assert_eq!(made_with("build_script_tool", newer, &program), None);
        assert_eq!(made("main", "/t/debug/build/x-34"), None);
    }

    #[test]
    fn only_what_cargo_unpacked_is_a_dependency() {
        let dir = tempfile::tempdir().unwrap();
        let package = dir.path().join("registry/src/index/x-1.0.0");
        std::fs::create_dir_all(&package).unwrap();
        // Somebody's workspace may have such a path too.
        assert!(!is_dependency(&package));
        std::fs::write(package.join(".cargo-ok"), "").unwrap();
        assert!(is_dependency(&package));
        let vendored = dir.path().join("vendor/x");
        std::fs::create_dir_all(&vendored).unwrap();
        assert!(!is_dependency(&vendored));
        std::fs::write(vendored.join(".cargo-checksum.json"), "{}").unwrap();
        assert!(is_dependency(&vendored));
    }
}
