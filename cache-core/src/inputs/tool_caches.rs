//! Where tools keep caches of their own.
//!
//! A compiler behind `ccache`, or `zig cc`, looks first into a cache and leaves there what it
//! made. What a process does in such a directory is neither a side effect, for the tool does not
//! need it, nor an input, for the tool promises the same outcome without it. That promise is
//! taken at its word. The same holds of the files by which cargo's home is locked and tidied up, which
//! a cargo uses that a build script runs.
//!
//! Known are the directories below, where the tools' own variables or the usual places put
//! them, and those that the user names (`CACHEWRAP_TOOL_CACHES`).

use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::os::env::Environment;
use crate::os::fs;

/// Variables that name a tool's cache.
const VARIABLES: &[&str] = &[
    "CCACHE_DIR",
    "CCACHE_TEMPDIR",
    "SCCACHE_DIR",
    "ZIG_GLOBAL_CACHE_DIR",
    "ZIG_LOCAL_CACHE_DIR",
    "CARGO_ZIGBUILD_CACHE_DIR",
    "GOCACHE",
];

/// Names of tools' caches below the user's directory for caches.
const IN_CACHES: &[&str] = &["ccache", "sccache", "zig", "cargo-zigbuild", "go-build"];

/// Files of cargo's home that are no input, by how their names begin.
const OF_CARGO: &[&str] = &[".package-cache", ".global-cache"];

/// Places that are neither inputs nor outputs.
#[derive(Clone, Debug, Default)]
pub(crate) struct ToolCaches {
    dirs: Vec<PathBuf>,
    cargo_home: Vec<PathBuf>,
}

impl ToolCaches {
    /// Those that a process with this environment uses.
    pub(crate) fn of(env: &Environment, config: &Config) -> Self {
        let path = |name: &str| env.get_nonempty(name).map(PathBuf::from);
        let home = path("HOME");
        let caches = path("XDG_CACHE_HOME").or_else(|| Some(home.as_ref()?.join(".cache")));
        let mut dirs: Vec<PathBuf> = config.tool_caches.value.clone();
        dirs.extend(VARIABLES.iter().filter_map(|name| path(name)));
        dirs.extend(
            caches
                .iter()
                .flat_map(|dir| IN_CACHES.iter().map(|name| dir.join(name))),
        );
        dirs.extend(home.as_ref().map(|home| home.join(".ccache")));
        dirs.extend(path("XDG_RUNTIME_DIR").map(|dir| dir.join("ccache-tmp")));
        let cargo_home = path("CARGO_HOME").or_else(|| Some(home?.join(".cargo")));
        Self {
            dirs: resolved(dirs),
            cargo_home: resolved(cargo_home.into_iter().collect()),
        }
    }

    /// Whether a path, by where it leads, is in one.
    pub(crate) fn hold(&self, path: &Path) -> bool {
        let is_of_cargo = || {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            OF_CARGO.iter().any(|known| name.starts_with(known))
                && path
                    .parent()
                    .is_some_and(|dir| self.cargo_home.iter().any(|home| home == dir))
        };
        self.dirs.iter().any(|dir| path.starts_with(dir)) || is_of_cargo()
    }
}

/// The absolute ones, as given and without links. A cache may not be there yet.
fn resolved(dirs: Vec<PathBuf>) -> Vec<PathBuf> {
    let dirs = dirs
        .into_iter()
        .filter(|dir| dir.parent().is_some() && dir.is_absolute());
    dirs.flat_map(|dir| {
        let real = fs::canonicalize(&dir).ok();
        std::iter::once(dir).chain(real)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_are_known_by_variables_places_and_settings() {
        let env: Environment = [
            ("HOME", "/h"),
            ("CCACHE_DIR", "/x/cc"),
            ("ZIG_LOCAL_CACHE_DIR", "/"),
            ("GOCACHE", "off"),
            ("CACHEWRAP_TOOL_CACHES", "/mine"),
        ]
        .into_iter()
        .collect();
        let caches = ToolCaches::of(&env, &Config::load(&env).config);
        for (path, expected) in [
            ("/x/cc/a/b", true),
            ("/h/.cache/ccache/x", true),
            ("/h/.cache/other", false),
            ("/mine/x", true),
            ("/etc/passwd", false),
            ("/h/.cargo/.package-cache", true),
            ("/h/.cargo/registry/x", false),
        ] {
            assert_eq!(caches.hold(Path::new(path)), expected, "{path}");
        }
    }
}
