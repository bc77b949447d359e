//! The values of settings: from text and back.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;

use crate::remote::{Address, PublicKey, SecretKey};

/// What turns a limit off that an environment or a file sets.
const OFF: &str = "off";

/// Which paths are remapped in what the compiler writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimPaths {
    /// The workspace and the target directory.
    Workspace,
    /// Cargo's home and the toolchain as well.
    All,
    /// None: the compiler's arguments stay as they are.
    Off,
}

impl fmt::Display for TrimPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Workspace => "workspace",
            Self::All => "all",
            Self::Off => "off",
        })
    }
}

/// The packages whose build scripts' runs are cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildScripts {
    /// Those from registries and git, whose authors had every machine in mind.
    Deps,
    /// All, those of the workspace's own packages too.
    All,
    /// None.
    Off,
}

impl fmt::Display for BuildScripts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deps => "deps",
            Self::All => "all",
            Self::Off => "off",
        })
    }
}

/// How much is logged; each level includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What made the cache useless for this unit.
    Error,
    /// What the user should repair.
    Warn,
    /// One line a unit.
    Info,
    /// Why each unit hit or missed.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Off, "off"),
        (Self::Error, "error"),
        (Self::Warn, "warn"),
        (Self::Info, "info"),
        (Self::Debug, "debug"),
        (Self::Trace, "trace"),
    ];

    /// The level of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name)?;
        Some(found.0)
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(level, _)| level == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

/// What is logged, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSpec {
    /// How much.
    pub level: LogLevel,
    /// The file that lines are appended to; standard error if there is none.
    pub file: Option<PathBuf>,
}

impl fmt::Display for LogSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.level)?;
        match &self.file {
            Some(file) => write!(f, ":{}", file.display()),
            None => Ok(()),
        }
    }
}

/// Reads a size such as `10G`, `1.5 GiB` or `4096`.
///
/// `K`, `M`, `G`, `T` are powers of 1000, with or without a `B`; `Ki`, `Mi`, `Gi`, `Ti`
/// are powers of 1024. Case does not matter, and no unit means bytes. What exceeds
/// 2^64-1 bytes is cut to that.
///
/// ```
/// use cache_core::config::parse_size;
/// assert_eq!(parse_size("10G"), Some(10_000_000_000));
/// assert_eq!(parse_size("1 GiB"), Some(1 << 30));
/// assert_eq!(parse_size("lots"), None);
/// ```
pub fn parse_size(text: &str) -> Option<u64> {
    let size: ByteSize = text.trim().parse().ok()?;
    Some(size.as_u64())
}

/// Prints a size in powers of 1000, as file managers and disk vendors do.
///
/// Sizes that a person would have typed come out as they were typed.
///
/// ```
/// use cache_core::config::format_size;
/// assert_eq!(format_size(10_000_000_000), "10.0 GB");
/// assert_eq!(format_size(512), "512 B");
/// ```
pub fn format_size(bytes: u64) -> String {
    ByteSize(bytes).display().si().to_string()
}

pub(super) fn boolean(text: &OsStr, _home: Option<&Path>) -> Option<bool> {
    match text.to_str()?.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

pub(super) fn auto_or_off(text: &OsStr, _home: Option<&Path>) -> Option<bool> {
    match text.to_str()? {
        "auto" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

pub(super) fn show_auto(on: bool) -> String {
    if on { "auto" } else { "off" }.to_owned()
}

/// A size above zero.
pub(super) fn bound(text: &OsStr, _home: Option<&Path>) -> Option<u64> {
    parse_size(text.to_str()?).filter(|&size| size > 0)
}

/// A size above zero, or none.
#[expect(clippy::option_option, reason = "the inner one is the value")]
pub(super) fn free_space(text: &OsStr, home: Option<&Path>) -> Option<Option<u64>> {
    if text == OFF {
        return Some(None);
    }
    bound(text, home).map(Some)
}

pub(super) fn show_free_space(size: Option<u64>) -> String {
    size.map_or_else(|| OFF.to_owned(), format_size)
}

/// A duration above zero, or none.
#[expect(clippy::option_option, reason = "the inner one is the value")]
pub(super) fn age(text: &OsStr, _home: Option<&Path>) -> Option<Option<Duration>> {
    if text == OFF {
        return Some(None);
    }
    let age = humantime::parse_duration(text.to_str()?).ok()?;
    (age > Duration::ZERO).then_some(Some(age))
}

pub(super) fn show_age(age: Option<Duration>) -> String {
    let show = |age| humantime::format_duration(age).to_string();
    age.map_or_else(|| OFF.to_owned(), show)
}

pub(super) fn trim_paths(text: &OsStr, _home: Option<&Path>) -> Option<TrimPaths> {
    [TrimPaths::Workspace, TrimPaths::All, TrimPaths::Off]
        .into_iter()
        .find(|known| text == known.to_string().as_str())
}

pub(super) fn build_scripts(text: &OsStr, _home: Option<&Path>) -> Option<BuildScripts> {
    [BuildScripts::Deps, BuildScripts::All, BuildScripts::Off]
        .into_iter()
        .find(|known| text == known.to_string().as_str())
}

/// An absolute path, or `~/` and a path below `home`.
pub(super) fn path(text: &OsStr, home: Option<&Path>) -> Option<PathBuf> {
    let path = Path::new(text);
    if path.is_absolute() {
        return Some(path.to_owned());
    }
    Some(home?.join(path.strip_prefix("~").ok()?))
}

/// Several paths.
pub(super) fn paths(text: &OsStr, home: Option<&Path>) -> Option<Vec<PathBuf>> {
    let words = text.as_bytes().split(|b| matches!(b, b':' | b','));
    let words = words.filter(|word| !word.is_empty());
    words
        .map(|word| path(OsStr::from_bytes(word), home))
        .collect()
}

pub(super) fn show_paths(paths: &[PathBuf]) -> String {
    let paths = paths.iter().map(|path| path.display().to_string());
    paths.collect::<Vec<_>>().join(":")
}

pub(super) fn log(text: &OsStr, home: Option<&Path>) -> Option<LogSpec> {
    if let Some(file) = path(text, home) {
        let level = LogLevel::Info;
        let file = Some(file);
        return Some(LogSpec { level, file });
    }
    let text = text.to_str()?;
    let (level, file) = match text.split_once(':') {
        Some((level, file)) => (level, Some(path(OsStr::new(file), home)?)),
        None => (text, None),
    };
    let level = LogLevel::from_name(level)?;
    Some(LogSpec { level, file })
}

/// Names as the environment can hold them: not empty, without `=` and NUL.
pub(super) fn names(text: &OsStr, _home: Option<&Path>) -> Option<Vec<String>> {
    let mut names: Vec<String> = text
        .to_str()?
        .split(|c: char| c == ',' || c.is_whitespace())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    let sound = names.iter().all(|name| !name.contains(['=', '\0']));
    sound.then_some(names)
}

#[expect(clippy::option_option, reason = "the inner one is the value")]
pub(super) fn remote(text: &OsStr, _home: Option<&Path>) -> Option<Option<Address>> {
    if text == OFF {
        return Some(None);
    }
    Address::parse(text.to_str()?).map(Some)
}

pub(super) fn show_remote(remote: Option<&Address>) -> String {
    remote.map_or_else(|| OFF.to_owned(), ToString::to_string)
}

pub(super) fn public_keys(text: &OsStr, _home: Option<&Path>) -> Option<Vec<PublicKey>> {
    let words = text
        .to_str()?
        .split(|c: char| c == ',' || c.is_whitespace());
    let words = words.filter(|word| !word.is_empty());
    words.map(PublicKey::parse).collect()
}

pub(super) fn show_keys(keys: &[PublicKey]) -> String {
    let keys = keys.iter().map(ToString::to_string);
    keys.collect::<Vec<_>>().join(",")
}

/// Whether everybody who can write is trusted.
pub(super) fn remote_trust(text: &OsStr, _home: Option<&Path>) -> Option<bool> {
    match text.to_str()? {
        "keys" => Some(false),
        "bucket" => Some(true),
        _ => None,
    }
}

pub(super) fn show_remote_trust(all: bool) -> String {
    if all { "bucket" } else { "keys" }.to_owned()
}

#[expect(clippy::option_option, reason = "the inner one is the value")]
pub(super) fn secret_key(text: &OsStr, _home: Option<&Path>) -> Option<Option<SecretKey>> {
    SecretKey::parse(text.to_str()?).map(Some)
}

/// Only whose it is: its public key.
pub(super) fn show_secret_key(key: Option<&SecretKey>) -> String {
    key.map_or_else(String::new, |key| format!("(that of {})", key.public()))
}

#[expect(clippy::option_option, reason = "the inner one is the value")]
pub(super) fn some_path(text: &OsStr, home: Option<&Path>) -> Option<Option<PathBuf>> {
    path(text, home).map(Some)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        let cases = [
            ("10", 10),
            ("10B", 10),
            ("10k", 10_000),
            ("10 KB", 10_000),
            ("10Ki", 10_240),
            ("10KiB", 10_240),
            ("1.5G", 1_500_000_000),
            (" 2GiB ", 2 << 30),
            ("1T", 1_000_000_000_000),
            ("99999999999E", u64::MAX),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "-1", "G", "10 X", "1e3", "ten"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn ages() {
        let age = |text: &str| age(OsStr::new(text), None);
        assert_eq!(age("30d"), Some(Some(Duration::from_secs(30 * 24 * 3600))));
        assert_eq!(age("off"), Some(None));
        for bad in ["0s", "30", "", "soon", "-1d"] {
            assert_eq!(age(bad), None, "{bad}");
        }
    }

    #[test]
    fn log_specs() {
        let home = Some(Path::new("/home/u"));
        let log = |text: &str, home| log(OsStr::new(text), home);
        let spec = |level, file: Option<&str>| {
            let file = file.map(PathBuf::from);
            Some(LogSpec { level, file })
        };
        assert_eq!(log("debug", home), spec(LogLevel::Debug, None));
        assert_eq!(log("off", home), spec(LogLevel::Off, None));
        assert_eq!(log("/l", home), spec(LogLevel::Info, Some("/l")));
        assert_eq!(log("trace:/a:b", home), spec(LogLevel::Trace, Some("/a:b")));
        assert_eq!(
            log("warn:~/l", home),
            spec(LogLevel::Warn, Some("/home/u/l"))
        );
        for bad in ["loud", "debug:", "debug:relative", "relative/path", "~/x"] {
            assert_eq!(log(bad, None), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text: String) {
            let (value, home) = (OsStr::new(&text), Some(Path::new("/h")));
            let _ = (parse_size(&text), log(value, home), names(value, home), boolean(value, home));
            let _ = (trim_paths(value, home), path(value, home), paths(value, home));
            let _ = (age(value, home), free_space(value, home));
        }

        #[test]
        fn whole_sizes_survive_printing_and_parsing(n in 1_u64..1000, unit in 0_u32..5) {
            let bytes = n * 1000_u64.pow(unit);
            prop_assert_eq!(parse_size(&format_size(bytes)), Some(bytes));
        }

        #[test]
        fn limits_survive_printing_and_parsing(seconds in 0_u64..1 << 40, n in 0_u64..1000) {
            let limit = (seconds > 0).then_some(Duration::from_secs(seconds));
            prop_assert_eq!(age(OsStr::new(&show_age(limit)), None), Some(limit));
            let free = (n > 0).then_some(n * 1_000_000);
            prop_assert_eq!(free_space(OsStr::new(&show_free_space(free)), None), Some(free));
        }

        #[test]
        fn a_log_spec_survives_printing_and_parsing(
            level in prop::sample::select(&LogLevel::ALL[..]),
            file in prop::option::of("/[a-z:/]{0,12}"),
        ) {
            let spec = LogSpec { level: level.0, file: file.map(PathBuf::from) };
            prop_assert_eq!(log(OsStr::new(&spec.to_string()), None), Some(spec));
        }

        #[test]
        fn names_are_sorted_and_unique(text in "[A-C, ]{0,20}") {
            let names = names(OsStr::new(&text), None).unwrap();
            prop_assert!(names.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
