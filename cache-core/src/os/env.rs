//! The environment as a value: the core never reads the process's own.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

/// A snapshot of environment variables.
///
/// ```
/// use cache_core::Environment;
/// let env: Environment = [("CACHEWRAP_DIR", "/cache")].into_iter().collect();
/// assert_eq!(env.get("CACHEWRAP_DIR"), Some("/cache".as_ref()));
/// assert_eq!(env.get("UNSET"), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// The environment of this process.
    ///
    /// The one place that looks at it; callers pass the value on. Of a variable that occurs
    /// twice the first counts, as it does to `getenv`.
    pub fn of_process() -> Self {
        first_ones(std::env::vars_os())
    }

    /// That of a block as a process is started with: `NAME=value`, each followed by NUL.
    pub(crate) fn of_block(block: &[u8]) -> Self {
        let pairs = block.split(|&b| b == 0).filter_map(|pair| {
            let at = memchr::memchr(b'=', pair)?;
            let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
            Some((text(pair.get(..at)?), text(pair.get(at + 1..)?)))
        });
        first_ones(pairs)
    }

    /// The value of a variable; unset differs from empty.
    pub fn get(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        self.0.get(name.as_ref()).map(OsString::as_os_str)
    }

    /// The value of a variable that is set and not empty.
    pub fn get_nonempty(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Sets a variable.
    pub fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.0.insert(name.into(), value.into());
    }

    /// Unsets a variable.
    pub fn remove(&mut self, name: impl AsRef<OsStr>) {
        self.0.remove(name.as_ref());
    }

    /// All variables, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(k, v)| (k.as_os_str(), v.as_os_str()))
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(iter: I) -> Self {
        Self(
            iter.into_iter()
                .map(|(k, v)| (k.into(), v.into()))
                .collect(),
        )
    }
}

/// The variables of which each name's first one counts.
fn first_ones(variables: impl Iterator<Item = (OsString, OsString)>) -> Environment {
    let mut env = Environment::default();
    for (name, value) in variables {
        env.0.entry(name).or_insert(value);
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_two_variables_of_the_same_name_counts() {
        let twice = [("A", "1"), ("B", ""), ("A", "2")];
        let env = first_ones(twice.into_iter().map(|(k, v)| (k.into(), v.into())));
        assert_eq!(env.get("A"), Some("1".as_ref()));
        assert_eq!(env.get("B"), Some("".as_ref()));
    }
}
