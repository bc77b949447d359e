//! Settings: environment over file over default, each with its origin.
//!
//! Each setting is a row of the macro `settings`: its variable, its key in the file, how its value is read and
//! shown, and its default. One variable has no key:
//!
//! ```text
//! CACHEWRAP_CONFIG = path   the file; by default $XDG_CONFIG_HOME/cachewrap/config.toml
//!
//! size    = digits ["." digits] [unit]     unit K M G T = powers of 1000 (also KB …),
//!                                          Ki Mi Gi Ti = powers of 1024 (also KiB …);
//!                                          no unit = bytes; more than zero
//! age     = "off" | a duration above zero as `humantime` reads it: 30d, 12h, "2weeks 1day"
//! free    = "off" | size
//! boolean = "1" | "true" | "yes" | "on" | "0" | "false" | "no" | "off"
//! level   = "off" | "error" | "warn" | "info" | "debug" | "trace"
//! path    = an absolute path, or "~/" and a path below HOME
//! ```
//! A path alone for the log means level `info` into that file; a level alone means
//! standard error. Where the XDG variables are unset, empty or relative, `~/.cache` and
//! `~/.config` stand in. Keys may be written with underscores too. In the file, sizes
//! may be integers, booleans may be booleans, and settings with several values may be arrays of strings. What
//! begins with `remote-` may stand in a table `[remote]` without that, and `remote` as its `url`. An empty
//! variable counts as unset.
//!
//! Loading never fails. A value that cannot be used becomes a [`ConfigProblem`], and the layer below
//! decides: `cargo cachewrap` treats problems as errors, the wrapper warns once and
//! goes on, because a typing mistake must not break a build.
//!
//! A *name* that means nothing is no problem: `CACHEWRAP_VERSION` in a Dockerfile is somebody else's
//! variable, and a key may be a newer release's. Such names are [`UnknownName`]s, which only those who look
//! at their settings (`config`, `doctor`) are told of.
//!
//! Every wrapper process loads the settings, so it is one pass over the environment
//! and one attempt to open the file; TOML is parsed only if that succeeds.

mod load;
mod values;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::PathError;
use crate::remote::{Address, PublicKey, SecretKey};

pub use values::{BuildScripts, LogLevel, LogSpec, TrimPaths, format_size, parse_size};

/// The bound of the store where none is set, bytes.
pub const DEFAULT_MAX_SIZE: u64 = 10_000_000_000;

/// Reads a value; the path is that of the home directory. `None`: it is not acceptable.
type Read<T> = fn(&OsStr, Option<&Path>) -> Option<T>;

/// Says a value in the form in which it would be set.
type Show<T> = fn(&T) -> String;

/// Makes of one row for each setting: the fields of [`Config`], the names, how values are read and
/// shown, and what is said of them.
macro_rules! settings {
    ($(
        $(#[$about:meta])+
        $name:ident $field:ident: $type:ty = $default:expr,
        $variable:literal, $key:literal, $read:expr, $show:expr, $accepted:expr, $help:literal;
    )+) => {
        /// The effective settings.
        #[derive(Clone, Debug)]
        #[non_exhaustive]
        pub struct Config {
            $($(#[$about])+ pub $field: Setting<$type>,)+
        }

        impl Config {
            /// The defaults, with a cache directory: nothing is read.
            pub fn new(dir: impl Into<PathBuf>) -> Self {
                let mut config = Self {
                    $($field: Setting { value: $default, origin: Origin::Default },)+
                };
                config.dir.value = dir.into();
                config
            }

            /// All settings as text, in the order of [`SettingName::ALL`].
            pub fn entries(&self) -> Vec<ConfigEntry> {
                vec![$({
                    let show: Show<$type> = $show;
                    ConfigEntry {
                        name: SettingName::$name,
                        value: show(&self.$field.value),
                        origin: self.$field.origin.clone(),
                    }
                }),+]
            }

            /// Sets what is told by its name. `None` if the value is not acceptable; the setting then
            /// keeps what it has.
            fn set(
                &mut self,
                name: SettingName,
                value: &OsStr,
                home: Option<&Path>,
                origin: &Origin,
            ) -> Option<()> {
                match name {
                    $(SettingName::$name => {
                        let read: Read<$type> = $read;
                        let (value, origin) = (read(value, home)?, origin.clone());
                        self.$field = Setting { value, origin };
                    })+
                }
                Some(())
            }
        }

        /// The names of the settings.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum SettingName {
            $($(#[$about])+ $name,)+
        }

        impl SettingName {
            /// All names, in the order in which they are shown.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The environment variable.
            pub fn variable(self) -> &'static str {
                match self {
                    $(Self::$name => $variable,)+
                }
            }

            /// The key in the file.
            pub fn key(self) -> &'static str {
                match self {
                    $(Self::$name => $key,)+
                }
            }

            /// What values are accepted, to follow "expected".
            pub fn accepted(self) -> &'static str {
                match self {
                    $(Self::$name => $accepted,)+
                }
            }

            /// What it does, for a manual.
            pub fn help(self) -> &'static str {
                match self {
                    $(Self::$name => $help,)+
                }
            }
        }
    };
}

const PATH: &str = "an absolute path, or one that starts with ~/";
const PATHS: &str = "absolute paths, or ones that start with ~/, separated by commas or colons";
const BOOL: &str = "1, true, yes or on, or 0, false, no or off";
const AUTO: &str = "auto or off";
const SIZE: &str = "a size above zero such as 10G, 512MiB or 1.5T";
const AGE: &str = "a duration such as 30d, 12h or \"2weeks 1day\", or off";
const FREE: &str = "a size above zero such as 20G or 512MiB, or off";
const URL: &str = "off, or file:///dir, s3://, gcs://, azblob://, webdav(s):// or redis(s)://place, with options as in \
    ?mode=write&namespace=team, and without any credential";
const LOG: &str = "off, error, warn, info, debug or trace, then perhaps a colon and an absolute path; or an absolute path";

settings! {
    /// The cache directory. Empty if none could be found, which is a problem and
    /// disables the cache.
    Dir dir: PathBuf = PathBuf::new(),
        "CACHEWRAP_DIR", "dir", values::path, |dir| dir.display().to_string(), PATH,
        "Where the cache is";
    /// The bound of the store, bytes.
    MaxSize max_size: u64 = DEFAULT_MAX_SIZE,
        "CACHEWRAP_MAX_SIZE", "max-size", values::bound, |size| format_size(*size), SIZE,
        "Its bound; K, M, G, T are powers of 1000, Ki, Mi, Gi, Ti powers of 1024";
    /// How long results are kept after their last use.
    MaxAge max_age: Option<Duration> = None,
        "CACHEWRAP_MAX_AGE", "max-age", values::age, |age| values::show_age(*age), AGE,
        "Results not used for so long are removed, such as 30d or 12h; off: kept whatever their age";
    /// How long the results of a toolchain are kept after the last use of any of them.
    ToolchainMaxAge toolchain_max_age: Option<Duration> = None,
        "CACHEWRAP_TOOLCHAIN_MAX_AGE", "toolchain-max-age",
        values::age, |age| values::show_age(*age), AGE,
        "Results of a toolchain none of whose results were used for so long are removed; or off";
    /// What stays free on the file system, bytes.
    KeepFreeSpace keep_free_space: Option<u64> = None,
        "CACHEWRAP_KEEP_FREE_SPACE", "keep-free-space",
        values::free_space, |size| values::show_free_space(*size), FREE,
        "The cache shrinks while less than this is free on its file system, such as 20G; or off";
    /// Which paths are remapped in what the compiler writes.
    TrimPaths trim_paths: TrimPaths = TrimPaths::Workspace,
        "CACHEWRAP_TRIM_PATHS", "trim-paths", values::trim_paths, ToString::to_string,
        "workspace, all or off",
        "Paths replaced in what the compiler writes, so that other checkouts can use it: workspace, \
         all or off";
    /// Serve hits, store nothing, record nothing.
    ReadOnly read_only: bool = false,
        "CACHEWRAP_READ_ONLY", "read-only", values::boolean, ToString::to_string, BOOL,
        "Use what is there, store nothing";
    /// Run the compiler and nothing else.
    Disable disable: bool = false,
        "CACHEWRAP_DISABLE", "disable", values::boolean, ToString::to_string, BOOL,
        "Only run the compiler";
    /// Look nothing up, but store.
    Recache recache: bool = false,
        "CACHEWRAP_RECACHE", "recache", values::boolean, ToString::to_string, BOOL,
        "Compile everything and store it anew";
    /// What is logged, and where to.
    Log log: LogSpec = LogSpec { level: LogLevel::Warn, file: None },
        "CACHEWRAP_LOG", "log", values::log, ToString::to_string, LOG,
        "off, error, warn, info, debug or trace, to standard error; `debug:/a/file` or `/a/file` \
         writes to a file";
    /// Names of further environment variables that enter keys, sorted, each once.
    Env env: Vec<String> = Vec::new(),
        "CACHEWRAP_ENV", "env", values::names, |names| names.join(","),
        "names of environment variables, separated by commas or blanks",
        "Further variables that outcomes depend on";
    /// Text that enters keys, to separate caches on purpose.
    KeySalt key_salt: OsString = OsString::new(),
        "CACHEWRAP_KEY_SALT", "key-salt", |text, _| Some(text.to_owned()),
        |salt| salt.display().to_string(), "text",
        "Text that separates one cache from another";
    /// Whether compilations may be observed.
    Observe observe: bool = true,
        "CACHEWRAP_OBSERVE", "observe", values::auto_or_off, |on| values::show_auto(*on), AUTO,
        "auto, or off: do not watch what compilations read";
    /// Whether an object may be loaded into what build scripts start, which makes watching it cheaper.
    Preload preload: bool = true,
        "CACHEWRAP_PRELOAD", "preload", values::auto_or_off, |on| values::show_auto(*on), AUTO,
        "auto, or off: load nothing into what build scripts start, though watching it costs more then";
    /// Whether what an edit produced may be stored while the build goes on.
    Defer defer: bool = true,
        "CACHEWRAP_DEFER", "defer", values::auto_or_off, |on| values::show_auto(*on), AUTO,
        "auto, or off: store what an edit produced before the build goes on";
    /// Whether what earlier builds needed is placed before cargo asks for it.
    Seed seed: bool = true,
        "CACHEWRAP_SEED", "seed", values::auto_or_off, |on| values::show_auto(*on), AUTO,
        "auto, or off: place nothing before cargo asks for it";
    /// Whether a store that has become too large, too old or too hungry is collected in the background.
    Gc gc: bool = true,
        "CACHEWRAP_GC", "gc", values::auto_or_off, |on| values::show_auto(*on), AUTO,
        "auto, or off: remove nothing in the background";
    /// The packages whose build scripts' runs are cached.
    BuildScripts build_scripts: BuildScripts = BuildScripts::Deps,
        "CACHEWRAP_BUILD_SCRIPTS", "build-scripts", values::build_scripts, ToString::to_string,
        "deps, all or off",
        "Whose build scripts' runs are cached: deps (of registries and git), all or off";
    /// Directories in which tools keep caches of their own, besides those that are known.
    ToolCaches tool_caches: Vec<PathBuf> = Vec::new(),
        "CACHEWRAP_TOOL_CACHES", "tool-caches", values::paths, |paths| values::show_paths(paths), PATHS,
        "Directories in which tools keep caches of their own, besides those of ccache, sccache, zig \
         and go";
    /// Where results are shared with other machines.
    Remote remote: Option<Address> = None,
        "CACHEWRAP_REMOTE", "remote", values::remote, |remote| values::show_remote(remote.as_ref()),
        URL,
        "Where results are shared with other machines, such as file:///srv/cache or \
         s3://bucket/prefix?region=eu-west-1&mode=write; or off";
    /// The keys whose signatures count on what is read from a remote.
    RemoteTrusted remote_trusted: Vec<PublicKey> = Vec::new(),
        "CACHEWRAP_REMOTE_TRUSTED", "remote-trusted", values::public_keys,
        |keys| values::show_keys(keys),
        "public keys as `cargo cachewrap remote keygen` prints them, separated by commas or blanks",
        "Whose results are taken from the remote: public keys";
    /// Whether everybody who can write to a remote is trusted, so that nothing need be signed.
    RemoteTrust remote_trust: bool = false,
        "CACHEWRAP_REMOTE_TRUST", "remote-trust", values::remote_trust,
        |all| values::show_remote_trust(*all), "keys or bucket",
        "keys, or bucket: take results from everybody who can write to the remote";
    /// The key with which what is sent is signed.
    RemoteSignKey remote_sign_key: Option<SecretKey> = None,
        "CACHEWRAP_REMOTE_SIGN_KEY", "remote-sign-key", values::secret_key,
        |key| values::show_secret_key(key.as_ref()), "a key that `cargo cachewrap remote keygen` made",
        "Signs what is sent to the remote; better in a file";
    /// The file with the key with which what is sent is signed.
    RemoteSignKeyFile remote_sign_key_file: Option<PathBuf> = None,
        "CACHEWRAP_REMOTE_SIGN_KEY_FILE", "remote-sign-key-file", values::some_path,
        |path| path.as_ref().map_or_else(String::new, |path| path.display().to_string()), PATH,
        "The file with the key that signs what is sent to the remote";
}

impl SettingName {
    /// Whether its value is shown to nobody, not even when it is wrong.
    pub fn is_secret(self) -> bool {
        matches!(self, Self::Remote | Self::RemoteSignKey)
    }
}

/// What [`Config::load`] found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// The settings; where there was a problem, what the layer below says.
    pub config: Config,
    /// What was wrong, in the order in which it was found.
    pub problems: Vec<ConfigProblem>,
    /// Names that mean nothing, in the order in which they were found.
    pub unknown: Vec<UnknownName>,
}

/// A name that looks like a setting's and is none. It has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnknownName {
    /// A variable that begins with `CACHEWRAP_`.
    Variable(String),
    /// A key in the file.
    Key {
        /// The key.
        key: String,
        /// The file.
        path: PathBuf,
    },
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "unknown variable {name}"),
            Self::Key { key, path } => write!(f, "unknown key `{key}` in {}", path.display()),
        }
    }
}

impl Config {
    /// How paths are trimmed, all settings taken together.
    ///
    /// `all` is no default for everybody: the compiler finds no source by the name that it gives a package, so
    /// diagnostics of dependents lose the lines that they show of it, and debuggers and links in
    /// terminals lose the file. Where a remote is set and nothing else is said, it is: without it, nothing of what is
    /// there could be used by anybody with another home.
    pub fn trim_paths_effective(&self) -> TrimPaths {
        match (&self.trim_paths.origin, &self.remote.value) {
            (Origin::Default, Some(_)) => TrimPaths::All,
            _ => self.trim_paths.value,
        }
    }
}

/// A value and where it came from. Derefs to the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub origin: Origin,
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
