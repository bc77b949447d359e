//! Settings: environment over file over default, each with its origin.
//!
//! ```text
//! variable               key in the file   value                                 default
//! CACHEWRAP_DIR          dir               absolute path, or ~/path              $XDG_CACHE_HOME/cachewrap
//! CACHEWRAP_MAX_SIZE     max-size          size                                  10G
//! CACHEWRAP_TRIM_PATHS   trim-paths        "workspace" | "all" | "off"           workspace
//! CACHEWRAP_READ_ONLY    read-only         boolean                               no
//! CACHEWRAP_DISABLE      disable           boolean                               no
//! CACHEWRAP_RECACHE      recache           boolean                               no
//! CACHEWRAP_LOG          log               level [":" path] | path               warn
//! CACHEWRAP_ENV          env               names, separated by commas or blanks
//! CACHEWRAP_KEY_SALT     key-salt          any text
//! CACHEWRAP_OBSERVE      observe           "auto" | "off"                        auto
//! CACHEWRAP_PRELOAD      preload           "auto" | "off"                        auto
//! CACHEWRAP_GC           gc                "auto" | "off"                        auto
//! CACHEWRAP_BUILD_SCRIPTS build-scripts    "deps" | "all" | "off"               deps
//! CACHEWRAP_TOOL_CACHES  tool-caches       paths, separated by commas or colons
//! CACHEWRAP_CONFIG       -                 absolute path, or ~/path              $XDG_CONFIG_HOME/cachewrap/config.toml
//!
//! size    = digits ["." digits] [unit]     unit K M G T = powers of 1000 (also KB …),
//!                                          Ki Mi Gi Ti = powers of 1024 (also KiB …);
//!                                          no unit = bytes; more than zero
//! boolean = "1" | "true" | "yes" | "on" | "0" | "false" | "no" | "off"
//! level   = "off" | "error" | "warn" | "info" | "debug" | "trace"
//! path    = an absolute path, or "~/" and a path below HOME
//! ```
//! A path alone for the log means level `info` into that file; a level alone means
//! standard error. Where the XDG variables are unset, empty or relative, `~/.cache` and
//! `~/.config` stand in. Keys may be written with underscores too. In the file, sizes
//! may be integers, booleans may be booleans, and `env` and `tool-caches` may be arrays of strings. An
//! empty variable counts as unset.
//!
//! Loading never fails. What is wrong becomes a [`ConfigProblem`], and the layer below
//! decides: `cargo cachewrap` treats problems as errors, the wrapper warns once and
//! goes on, because a typing mistake must not break a build.
//!
//! Every wrapper process loads the settings, so it is one pass over the environment
//! and one attempt to open the file; TOML is parsed only if that succeeds.

mod load;
mod values;

use std::ffi::OsString;
use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;

use crate::error::PathError;

pub use values::{BuildScripts, LogLevel, LogSpec, TrimPaths, format_size, parse_size};

/// The bound of the store where none is set, bytes.
pub const DEFAULT_MAX_SIZE: u64 = 10_000_000_000;

/// The effective settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cache directory. Empty if none could be found, which is a problem and
    /// disables the cache.
    pub dir: Setting<PathBuf>,
    /// The bound of the store, bytes.
    pub max_size: Setting<u64>,
    /// Which paths are remapped in what the compiler writes.
    pub trim_paths: Setting<TrimPaths>,
    /// Serve hits, store nothing, record nothing.
    pub read_only: Setting<bool>,
    /// Run the compiler and nothing else.
    pub disable: Setting<bool>,
    /// Look nothing up, but store.
    pub recache: Setting<bool>,
    /// What is logged, and where to.
    pub log: Setting<LogSpec>,
    /// Names of further environment variables that enter keys, sorted, each once.
    pub env: Setting<Vec<String>>,
    /// Text that enters keys, to separate caches on purpose.
    pub key_salt: Setting<OsString>,
    /// Whether compilations may be observed.
    pub observe: Setting<bool>,
    /// Whether an object may be loaded into what build scripts start, which makes watching it cheaper.
    pub preload: Setting<bool>,
    /// Whether a store that crosses the bound starts a collection in the background.
    pub gc: Setting<bool>,
    /// The packages whose build scripts' runs are cached.
    pub build_scripts: Setting<BuildScripts>,
    /// Directories in which tools keep caches of their own, besides those that are known.
    pub tool_caches: Setting<Vec<PathBuf>>,
}

/// What [`Config::load`] found.
#[derive(Debug)]
pub struct Loaded {
    /// The settings; where there was a problem, what the layer below says.
    pub config: Config,
    /// What was wrong, in the order in which it was found.
    pub problems: Vec<ConfigProblem>,
}

/// A value and where it came from. Derefs to the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub origin: Origin,
}

impl<T> Setting<T> {
    fn default(value: T) -> Self {
        let origin = Origin::Default;
        Self { value, origin }
    }
}

impl<T> Deref for Setting<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A configuration file.
    File(PathBuf),
    /// An environment variable.
    Variable(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// Something wrong with the settings, with what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigProblem {
    /// A variable that looks like ours and is not.
    #[error(
        "unknown variable {name}; known are {}",
        SettingName::list(SettingName::variable)
    )]
    UnknownVariable {
        /// Its name.
        name: String,
    },
    /// A key in the file that means nothing.
    #[error("unknown key `{key}` in {}; known are {}", path.display(), SettingName::list(SettingName::key))]
    UnknownKey {
        /// The key.
        key: String,
        /// The file.
        path: PathBuf,
    },
    /// A value that cannot be used.
    #[error("{what} is `{value}`; expected {accepted}")]
    BadValue {
        /// The variable, or the key and its file.
        what: String,
        /// The value as it was given.
        value: String,
        /// What would be accepted.
        accepted: &'static str,
    },
    /// The file is there, or was named, and cannot be read.
    #[error("failed to {0}")]
    Unreadable(#[from] PathError),
    /// The file is not TOML.
    #[error("{} is not valid TOML: {reason}", path.display())]
    NotToml {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// No place for the cache.
    #[error(
        "no cache directory: neither CACHEWRAP_DIR nor XDG_CACHE_HOME nor HOME is set to an absolute path"
    )]
    NoDir,
}

/// The names of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingName {
    /// [`Config::dir`].
    Dir,
    /// [`Config::max_size`].
    MaxSize,
    /// [`Config::trim_paths`].
    TrimPaths,
    /// [`Config::read_only`].
    ReadOnly,
    /// [`Config::disable`].
    Disable,
    /// [`Config::recache`].
    Recache,
    /// [`Config::log`].
    Log,
    /// [`Config::env`].
    Env,
    /// [`Config::key_salt`].
    KeySalt,
    /// [`Config::observe`].
    Observe,
    /// [`Config::preload`].
    Preload,
    /// [`Config::gc`].
    Gc,
    /// [`Config::build_scripts`].
    BuildScripts,
    /// [`Config::tool_caches`].
    ToolCaches,
}

impl SettingName {
    /// All names, in the order in which they are shown.
    pub const ALL: [Self; 14] = [
        Self::Dir,
        Self::MaxSize,
        Self::TrimPaths,
        Self::ReadOnly,
        Self::Disable,
        Self::Recache,
        Self::Log,
        Self::Env,
        Self::KeySalt,
        Self::Observe,
        Self::Preload,
        Self::Gc,
        Self::BuildScripts,
        Self::ToolCaches,
    ];

    /// The environment variable.
    pub fn variable(self) -> &'static str {
        self.row().0
    }

    /// The key in the file.
    pub fn key(self) -> &'static str {
        self.row().1
    }

    /// What values are accepted, to follow "expected".
    pub fn accepted(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> (&'static str, &'static str, &'static str) {
        const PATH: &str = "an absolute path, or one that starts with ~/";
        const BOOL: &str = "1, true, yes or on, or 0, false, no or off";
        const AUTO: &str = "auto or off";
        match self {
            Self::Dir => ("CACHEWRAP_DIR", "dir", PATH),
            Self::MaxSize => (
                "CACHEWRAP_MAX_SIZE",
                "max-size",
                "a size above zero such as 10G, 512MiB or 1.5T",
            ),
            Self::TrimPaths => (
                "CACHEWRAP_TRIM_PATHS",
                "trim-paths",
                "workspace, all or off",
            ),
            Self::ReadOnly => ("CACHEWRAP_READ_ONLY", "read-only", BOOL),
            Self::Disable => ("CACHEWRAP_DISABLE", "disable", BOOL),
            Self::Recache => ("CACHEWRAP_RECACHE", "recache", BOOL),
            Self::Log => (
                "CACHEWRAP_LOG",
                "log",
                "off, error, warn, info, debug or trace, then perhaps a colon and an absolute path; or an absolute path",
            ),
            Self::Env => (
                "CACHEWRAP_ENV",
                "env",
                "names of environment variables, separated by commas or blanks",
            ),
            Self::KeySalt => ("CACHEWRAP_KEY_SALT", "key-salt", "text"),
            Self::Observe => ("CACHEWRAP_OBSERVE", "observe", AUTO),
            Self::Preload => ("CACHEWRAP_PRELOAD", "preload", AUTO),
            Self::Gc => ("CACHEWRAP_GC", "gc", AUTO),
            Self::BuildScripts => (
                "CACHEWRAP_BUILD_SCRIPTS",
                "build-scripts",
                "deps, all or off",
            ),
            Self::ToolCaches => (
                "CACHEWRAP_TOOL_CACHES",
                "tool-caches",
                "absolute paths, or ones that start with ~/, separated by commas or colons",
            ),
        }
    }

    fn list(column: impl Fn(Self) -> &'static str) -> String {
        Self::ALL.map(column).join(", ")
    }
}

/// One row of [`Config::entries`].
#[derive(Clone, Debug)]
pub struct ConfigEntry {
    /// Which setting.
    pub name: SettingName,
    /// Its value, in the form in which it would be set.
    pub value: String,
    /// Where the value came from.
    pub origin: Origin,
}

impl Config {
    /// All settings as text, in the order of [`SettingName::ALL`].
    pub fn entries(&self) -> Vec<ConfigEntry> {
        let auto = |on: bool| if on { "auto" } else { "off" }.to_owned();
        let text = |name| match name {
            SettingName::Dir => (self.dir.display().to_string(), &self.dir.origin),
            SettingName::MaxSize => (format_size(*self.max_size), &self.max_size.origin),
            SettingName::TrimPaths => (self.trim_paths.to_string(), &self.trim_paths.origin),
            SettingName::ReadOnly => (self.read_only.to_string(), &self.read_only.origin),
            SettingName::Disable => (self.disable.to_string(), &self.disable.origin),
            SettingName::Recache => (self.recache.to_string(), &self.recache.origin),
            SettingName::Log => (self.log.to_string(), &self.log.origin),
            SettingName::Env => (self.env.join(","), &self.env.origin),
            SettingName::KeySalt => (self.key_salt.display().to_string(), &self.key_salt.origin),
            SettingName::Observe => (auto(*self.observe), &self.observe.origin),
            SettingName::Preload => (auto(*self.preload), &self.preload.origin),
            SettingName::Gc => (auto(*self.gc), &self.gc.origin),
            SettingName::BuildScripts => {
                (self.build_scripts.to_string(), &self.build_scripts.origin)
            }
            SettingName::ToolCaches => {
                let dirs = self.tool_caches.iter().map(|dir| dir.display().to_string());
                (dirs.collect::<Vec<_>>().join(":"), &self.tool_caches.origin)
            }
        };
        let entry = |name| {
            let (value, origin) = text(name);
            let origin = origin.clone();
            ConfigEntry {
                name,
                value,
                origin,
            }
        };
        SettingName::ALL.map(entry).into()
    }
}
