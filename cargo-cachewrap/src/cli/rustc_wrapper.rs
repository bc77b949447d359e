//! Which wrapper cargo would use, found as cargo finds it.
//!
//! From the strongest to the weakest (see "Configuration" in the Cargo book):
//! `RUSTC_WRAPPER`, `CARGO_BUILD_RUSTC_WRAPPER`, then `build.rustc-wrapper` in
//! `.cargo/config.toml` of the current directory and each one above it, then in cargo's
//! home. An empty value means no wrapper. Files that `include` brings in and `--config`
//! arguments are not looked at.

use std::path::{Path, PathBuf};

use cache_core::Environment;
use toml_edit::{DocumentMut, Item};

use super::files;
use super::output::Failure;

/// The wrapper's name, and what its file is called.
pub(super) const NAME: &str = "cachewrap";

/// A wrapper that is set.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WrapperSetting {
    pub(super) value: String,
    /// The variable or the file that sets it.
    pub(super) source: String,
}

impl WrapperSetting {
    /// Whether it is this project's.
    pub(super) fn is_ours(&self) -> bool {
        is_ours(&self.value)
    }
}

/// Whether a wrapper of this name or path is this project's.
pub(super) fn is_ours(value: &str) -> bool {
    Path::new(value).file_name() == Some(NAME.as_ref())
}

/// Where cargo keeps what belongs to the user.
pub(super) fn cargo_home(env: &Environment) -> Option<PathBuf> {
    let home = || Some(Path::new(env.get_nonempty("HOME")?).join(".cargo"));
    env.get_nonempty("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(home)
}

/// The configuration file in a `.cargo` directory. Of the two names cargo knows, the old
/// one wins if both are there.
pub(super) fn config_file(dot_cargo: &Path) -> PathBuf {
    let old = dot_cargo.join("config");
    if files::is_file(&old) {
        return old;
    }
    dot_cargo.join("config.toml")
}

/// The wrapper that cargo would use in `cwd`, if one is set.
pub(super) fn effective(env: &Environment, cwd: &Path) -> Result<Option<WrapperSetting>, Failure> {
    for variable in ["RUSTC_WRAPPER", "CARGO_BUILD_RUSTC_WRAPPER"] {
        if let Some(value) = env.get(variable) {
            return Ok(Some(WrapperSetting {
                value: value.to_string_lossy().into_owned(),
                source: variable.to_owned(),
            }));
        }
    }
    let above = cwd.ancestors().map(|dir| dir.join(".cargo"));
    for dir in above.chain(cargo_home(env)) {
        let file = config_file(&dir);
        let Some(text) = files::read_optional(&file)? else {
            continue;
        };
        if let Some(value) = value_in(&parse(&text, &file)?) {
            return Ok(Some(WrapperSetting {
                value: value.to_owned(),
                source: file.display().to_string(),
            }));
        }
    }
    Ok(None)
}

/// Parses a configuration file of cargo.
pub(super) fn parse(text: &str, file: &Path) -> Result<DocumentMut, Failure> {
    text.parse().map_err(|e: toml_edit::TomlError| {
        let reason = e.to_string();
        let reason = reason.trim_end();
        Failure::Failed(format!("{} is not valid TOML: {reason}", file.display()))
    })
}

/// `build.rustc-wrapper` in such a file.
pub(super) fn value_in(document: &DocumentMut) -> Option<&str> {
    let build = document.get("build").and_then(Item::as_table_like)?;
    build.get("rustc-wrapper")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_beat_files_and_near_files_beat_far_ones() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a/b");
        let home = dir.path().join("home");
        let file = |at: &Path, wrapper: &str| {
            let text = format!("[build]\nrustc-wrapper = \"{wrapper}\"\n");
            files::replace(&at.join("config.toml"), &text).unwrap();
        };
        let mut env = Environment::default();
        env.set("CARGO_HOME", &home);
        let value = |env: &Environment| effective(env, &inner).unwrap().map(|found| found.value);
        assert_eq!(value(&env), None);
        file(&home, "global");
        assert_eq!(value(&env).as_deref(), Some("global"));
        file(&dir.path().join("a/.cargo"), "outer");
        assert_eq!(value(&env).as_deref(), Some("outer"));
        file(&inner.join(".cargo"), "/bin/cachewrap");
        assert!(effective(&env, &inner).unwrap().unwrap().is_ours());
        env.set("CARGO_BUILD_RUSTC_WRAPPER", "variable");
        assert_eq!(value(&env).as_deref(), Some("variable"));
        env.set("RUSTC_WRAPPER", "");
        assert_eq!(value(&env).as_deref(), Some(""));
    }
}
