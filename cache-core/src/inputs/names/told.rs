//! Names that macros may be told: by the code that calls them, or by files that they read.
//!
//! A macro that asks for the variable that its caller names (`dotenv!("KEY")`) does not
//! know the name itself. So the words that it may have been told are recorded, as hashes
//! of four bytes; a variable that is set counts if all words of its name are among them.
//! Two words with one hash make a variable count that need not, and no more.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;

use crate::os::env::Environment;

use super::{Variables, noise};

/// More words are not recorded: then any variable counts.
const MAX_WORDS: usize = 20_000;

/// Collects words.
#[derive(Debug, Default)]
pub(crate) struct Words(BTreeSet<u32>);

impl Words {
    /// Adds the words of a text that `is_wanted`.
    pub(crate) fn add(&mut self, text: &[u8], is_wanted: impl Fn(&[u8]) -> bool) {
        for word in words(text).filter(|word| is_wanted(word)) {
            if self.0.len() > MAX_WORDS {
                return;
            }
            self.0.insert(hash(word));
        }
    }

    /// The hashes, in order; `None`: too many.
    pub(crate) fn into_hashes(self) -> Option<Vec<u32>> {
        (self.0.len() <= MAX_WORDS).then(|| self.0.into_iter().collect())
    }
}

/// The variables that are set and named by the words with these hashes, ordered by name.
pub(crate) fn variables(env: &Environment, hashes: Option<&[u32]>) -> Variables {
    let is_told = |name: &[u8]| {
        let Some(hashes) = hashes else {
            return true;
        };
        let mut words = words(name).peekable();
        words.peek().is_some() && words.all(|word| hashes.binary_search(&hash(word)).is_ok())
    };
    env.iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .filter(|(name, _)| !noise::is_meaningless(name) && is_told(name))
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .collect()
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_between = |byte: &u8| !byte.is_ascii_alphanumeric() && *byte != b'_';
    text.split(is_between).filter(|word| !word.is_empty())
}

fn hash(word: &[u8]) -> u32 {
    let hash = blake3::hash(word);
    let start = hash.as_bytes().first_chunk().copied().unwrap_or_default();
    u32::from_le_bytes(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_told_by_all_words_of_its_name() {
        let mut words = Words::default();
        words.add(b"KEY=${OTHER}/npm.config lower", |_| true);
        words.add(b"lower UPPER", |word| {
            word.iter().all(u8::is_ascii_uppercase)
        });
        let hashes = words.into_hashes().unwrap();
        let names = [
            "KEY",
            "OTHER",
            "npm.config",
            "lower",
            "UPPER",
            "KEY_X",
            "HOME",
        ];
        let env: Environment = names.iter().map(|name| (*name, "1")).collect();
        let told: Vec<_> = variables(&env, Some(&hashes))
            .into_iter()
            .map(|(name, _)| String::from_utf8(name).unwrap())
            .collect();
        assert_eq!(told, ["KEY", "OTHER", "UPPER", "lower", "npm.config"]);
    }

    #[test]
    fn too_many_words_tell_of_everything() {
        let mut words = Words::default();
        for n in 0..=MAX_WORDS {
            words.add(n.to_string().as_bytes(), |_| true);
        }
        assert_eq!(words.into_hashes(), None);
        let env: Environment = [("HOME", "/"), ("_", "x")].into_iter().collect();
        assert_eq!(variables(&env, None).len(), 1);
    }
}
