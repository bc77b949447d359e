//! Hashing of keys: tagged, length-prefixed fields, and nothing else.
//!
//! A key is never the hash of a serialiser's output: a serialiser may change its
//! encoding, and two different values may then collide or one value get two keys.
//! Instead every field is fed as
//!
//! ```text
//! field = tag-length u32 LE, tag, value-length u64 LE, value
//! ```
//!
//! so that no two sequences of fields give the same bytes. The first field is always
//! the format version with the kind of key, so that keys of different kinds and of
//! different releases of the scheme never meet.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::formats::digest::{BlobRef, Digest};
use crate::inputs::input::{EnvValue, FileType, Input};
use crate::roots::{RootedPath, Segment, Template};

/// Version of what enters keys. Raise it whenever the meaning of a key changes.
///
/// History: 1, the first; 2, the user's home is a root, and `CARGO` enters the keys of scripts.
const KEY_VERSION: u32 = 2;

/// Collects the fields of a key.
pub struct KeyHasher {
    key: blake3::Hasher,
    /// The same piece by piece, where that is asked for.
    described: Option<Description>,
}

/// What people call a part of a key, and a short digest of it: enough to see whether it
/// differs, and too little to tell what it was.
pub(crate) type KeyParts = BTreeMap<String, String>;

/// Digits of the digest of a part.
const PART_DIGITS: usize = 4;

#[derive(Default)]
struct Description {
    /// The fields since the last part ended.
    current: blake3::Hasher,
    ended: BTreeMap<String, blake3::Hasher>,
    /// Every field, for people.
    fields: Vec<String>,
}

impl KeyHasher {
    /// Starts a key of some kind.
    pub fn new(kind: &str) -> Self {
        Self::begin(kind, None)
    }

    fn begin(kind: &str, described: Option<Description>) -> Self {
        let mut hasher = Self {
            key: blake3::Hasher::new(),
            described,
        };
        hasher.bytes("cachewrap", &KEY_VERSION.to_le_bytes());
        hasher.str("kind", kind);
        hasher
    }

    /// Starts a key that can be described.
    pub(crate) fn described(kind: &str) -> Self {
        let mut hasher = Self::begin(kind, Some(Description::default()));
        if let Some(description) = &mut hasher.described {
            // Of no part.
            description.current = blake3::Hasher::new();
        }
        hasher
    }

    /// Says what people call the fields since the last part. There may be several parts of
    /// one name.
    pub(crate) fn end_part(&mut self, name: impl FnOnce() -> String) {
        if let Some(parts) = &mut self.described {
            let current = std::mem::take(&mut parts.current).finalize();
            let part = parts.ended.entry(name()).or_default();
            part.update(current.as_bytes());
        }
    }

    /// The parts so far.
    pub(crate) fn parts(&self) -> KeyParts {
        let ended = self.described.iter().flat_map(|parts| &parts.ended);
        let short = |hasher: &blake3::Hasher| {
            let mut digits = hasher.finalize().to_hex().to_string();
            digits.truncate(PART_DIGITS);
            digits
        };
        ended
            .map(|(name, hasher)| (name.clone(), short(hasher)))
            .collect()
    }

    /// The fields so far, each with its tag and its value.
    pub(crate) fn fields(&self) -> &[String] {
        self.described.as_ref().map_or(&[], |parts| &parts.fields)
    }

    /// Adds a field.
    pub fn bytes(&mut self, tag: &str, value: &[u8]) {
        let tag_len = u32::try_from(tag.len()).unwrap_or(u32::MAX);
        if let Some(parts) = &mut self.described {
            parts.fields.push(format!("{tag} = {}", shown(value)));
        }
        let parts = self.described.as_mut().map(|parts| &mut parts.current);
        for hasher in [Some(&mut self.key), parts].into_iter().flatten() {
            hasher.update(&tag_len.to_le_bytes());
            hasher.update(tag.as_bytes());
            hasher.update(&(value.len() as u64).to_le_bytes());
            hasher.update(value);
        }
    }

    /// Adds a text field.
    pub fn str(&mut self, tag: &str, value: &str) {
        self.bytes(tag, value.as_bytes());
    }

    /// Adds a field whose text need not be UTF-8.
    pub fn os(&mut self, tag: &str, value: &OsStr) {
        self.bytes(tag, value.as_bytes());
    }

    /// Adds a field that may be absent; absent differs from empty.
    pub fn optional(&mut self, tag: &str, value: Option<&[u8]>) {
        match value {
            Some(value) => {
                self.str(tag, "set");
                self.bytes(tag, value);
            }
            None => self.str(tag, "unset"),
        }
    }

    /// Adds a path.
    pub fn path(&mut self, tag: &str, path: &RootedPath) {
        self.str(tag, path.root.map_or("absolute", |root| root.name()));
        self.bytes(tag, &path.rest);
    }

    /// Adds text with open roots.
    pub fn template(&mut self, tag: &str, template: &Template) {
        let segments = template.segments();
        self.bytes(tag, &(segments.len() as u64).to_le_bytes());
        for segment in segments {
            match segment {
                Segment::Literal(text) => self.bytes("literal", text),
                Segment::Root(root, escaping) => {
                    self.str("root", root.name());
                    self.str("escaping", escaping.name());
                }
            }
        }
    }

    /// Adds a content.
    pub fn blob(&mut self, tag: &str, blob: &BlobRef) {
        self.bytes(tag, blob.digest.as_bytes());
        self.bytes("length", &blob.len.to_le_bytes());
    }

    fn file_type(&mut self, file_type: FileType) {
        let name = match file_type {
            FileType::File => "file",
            FileType::Dir => "dir",
            FileType::Other => "other",
            FileType::Link => "link",
        };
        self.str("type", name);
    }

    fn env_value(&mut self, value: &EnvValue) {
        match value {
            EnvValue::Unset => self.str("value", "unset"),
            EnvValue::Set(template) => self.template("value", template),
        }
    }

    /// Adds an input.
    pub fn input(&mut self, input: &Input) {
        match input {
            Input::File { path, blob } => {
                self.path("file", path);
                self.blob("content", blob);
            }
            Input::Dir { path, listing } => {
                self.path("dir", path);
                self.bytes("listing", listing.as_bytes());
            }
            Input::Exists { path, file_type } => {
                self.path("exists", path);
                self.file_type(*file_type);
            }
            Input::Absent { path } => self.path("absent", path),
            Input::Permission {
                path,
                asked,
                granted,
            } => {
                self.path("permission", path);
                self.bytes("asked", &[*asked, u8::from(*granted)]);
            }
            Input::Mode {
                path,
                itself,
                mask,
                mode,
                file_type,
            } => {
                self.path("mode", path);
                self.bytes("itself", &[u8::from(*itself)]);
                self.bytes("mask", &mask.to_le_bytes());
                self.bytes("is", &mode.to_le_bytes());
                self.file_type(*file_type);
            }
            Input::Times {
                path,
                itself,
                minds,
                found,
            } => {
                self.path("times", path);
                self.bytes("itself", &[u8::from(*itself)]);
                self.bytes("which", &[minds.bits()]);
                self.bytes("are", found.as_bytes());
            }
            Input::Attributes { path, attributes } => {
                self.path("attributes", path);
                self.bytes("of", attributes.as_bytes());
            }
            Input::Link { path, target } => {
                self.path("link", path);
                self.path("target", target);
            }
            Input::Env { name, value } => {
                self.bytes("env", name);
                self.env_value(value);
            }
            Input::Program { name, path } => {
                self.bytes("program", name);
                self.path("found", path);
            }
            Input::Modes { modes } => self.bytes("modes", modes.as_bytes()),
            Input::NoProgram { name } => self.bytes("no-program", name),
            Input::CodeEnv {
                code,
                variables,
                write_only,
            } => {
                self.bytes("code", &(code.len() as u64).to_le_bytes());
                for blob in code {
                    self.blob("code", blob);
                }
                self.bytes("variables", &(variables.len() as u64).to_le_bytes());
                for (name, value) in variables {
                    self.bytes("name", name);
                    self.template("value", value);
                }
                for name in write_only {
                    self.bytes("write-only", name);
                }
            }
            Input::Told { words, variables } => {
                let words = words.iter().flatten().flat_map(|word| word.to_le_bytes());
                self.bytes("told", &words.collect::<Vec<u8>>());
                self.bytes("variables", &(variables.len() as u64).to_le_bytes());
                for (name, value) in variables {
                    self.bytes("name", name);
                    self.bytes("value", value);
                }
            }
            Input::Argument { name, value } => {
                self.str("argument", name);
                self.optional("value", value.as_deref());
            }
            Input::RootValue { root, value } => {
                self.str("root", root.name());
                self.path("value", value);
            }
        }
    }

    /// The key.
    pub fn finish(&self) -> Digest {
        self.key.finalize().into()
    }
}

/// Text as it is, and other bytes as hexadecimal digits.
fn shown(value: &[u8]) -> String {
    use std::fmt::Write as _;
    match std::str::from_utf8(value) {
        Ok(text) if !text.contains(char::is_control) => format!("{text:?}"),
        _ => value.iter().fold(String::new(), |mut digits, byte| {
            let _ = write!(digits, "{byte:02x}");
            digits
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(fields: &[(&str, &[u8])]) -> Digest {
        let mut hasher = KeyHasher::new("test");
        for (tag, value) in fields {
            hasher.bytes(tag, value);
        }
        hasher.finish()
    }

    #[test]
    fn the_scheme_has_not_changed() {
        // Changing this digest empties every user's cache: raise KEY_VERSION and say so.
        assert_eq!(
            key(&[("a", b"1"), ("b", b"")]).to_hex(),
            "7315b6a7fd0a873e8f3b6396b35d1d9d337e8e88ef1107bc7974c673ba306f9b"
        );
    }

    #[test]
    fn neighbouring_fields_cannot_be_confused() {
        let keys = [
            key(&[]),
            key(&[("a", b"")]),
            key(&[("a", b"b")]),
            key(&[("ab", b"")]),
            key(&[("", b"ab")]),
            key(&[("a", b""), ("b", b"")]),
            key(&[("b", b""), ("a", b"")]),
            key(&[("a", b"b\0")]),
        ];
        for (i, a) in keys.iter().enumerate() {
            for b in keys.iter().skip(i + 1) {
                assert_ne!(a, b);
            }
        }
    }

    #[test]
    fn absent_differs_from_empty() {
        let mut unset = KeyHasher::new("test");
        unset.optional("a", None);
        let mut empty = KeyHasher::new("test");
        empty.optional("a", Some(b""));
        assert_ne!(unset.finish(), empty.finish());
    }

    #[test]
    fn parts_tell_what_differs_and_leave_the_key_alone() {
        let parts = |flag: &str, values: &[&str]| {
            let mut hasher = KeyHasher::described("test");
            hasher.str("flag", flag);
            hasher.end_part(|| "flag".to_owned());
            for value in values {
                hasher.str("value", value);
                hasher.end_part(|| "value".to_owned());
            }
            (hasher.finish(), hasher.parts())
        };
        let (key, first) = parts("a", &["1", "2"]);
        let mut plain = KeyHasher::new("test");
        for (tag, value) in [("flag", "a"), ("value", "1"), ("value", "2")] {
            plain.str(tag, value);
        }
        assert_eq!(plain.finish(), key);
        assert!(plain.parts().is_empty());
        let (_, second) = parts("a", &["2", "1"]);
        assert_eq!(first["flag"], second["flag"]);
        assert_ne!(first["value"], second["value"]);
        assert_eq!(first["value"].len(), PART_DIGITS);
    }
}
