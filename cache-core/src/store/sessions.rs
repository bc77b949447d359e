//! Incremental state of the compiler: a file for each unit, the newest.
//!
//! ```text
//! <dir>/v1/sessions/<key>     64 hexadecimal digits, see `kinds::rustc::session`
//! file    = frame 'I' version 1 (see codec), body = Packed
//! content = zstd of the contents of all files, one after the other
//! ```
//! Version history: 1, the first.
//!
//! They take a tenth of the store's bound at most, and the one that was used longest ago goes first; a
//! collection removes them by age, as it does what is memoised. One that is damaged is none.

use std::io::Read as _;

use serde::{Deserialize, Serialize};

use super::{Store, StoreError};
use crate::formats::codec::{self, Kind};
use crate::formats::digest::Digest;

/// The directory of sessions.
pub(crate) const DIR: &str = "sessions";

const KIND: Kind = Kind {
    tag: b'I',
    version: 1,
};

/// More are not kept.
const MOST: usize = 256;

/// A larger one is not kept, bytes.
pub(crate) const LARGEST: usize = 256 << 20;

const LEVEL: i32 = 1;

/// The files of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// What it is called, for whoever stored it.
    pub(crate) name: String,
    /// The names of its files, and how long they are, bytes.
    pub(crate) files: Vec<(String, u64)>,
    /// Their contents, one after the other.
    pub(crate) content: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Packed {
    name: String,
    files: Vec<(String, u64)>,
    #[serde(with = "codec::bytes")]
    content: Vec<u8>,
}

impl Session {
    /// Each file with its content. `None` where one is not whole.
    pub(crate) fn contents(&self) -> Option<Vec<(&str, &[u8])>> {
        let mut rest = &*self.content;
        let contents = self.files.iter().map(|(name, length)| {
            let (content, after) = rest.split_at_checked(usize::try_from(*length).ok()?)?;
            rest = after;
            Some((name.as_str(), content))
        });
        contents.collect()
    }
}

/// A file's beginning that holds the name of what is in it, bytes.
const BEGINNING: u64 = 1024;

impl Store {
    /// What the session under a key is called, if it is whole: that is not looked at.
    pub(crate) fn session_name(&self, key: Digest) -> Option<String> {
        let path = self.layout.part(DIR).join(key.to_hex());
        let mut start = Vec::new();
        let file = self.open_plain(&path).ok()?;
        file.take(BEGINNING).read_to_end(&mut start).ok()?;
        codec::peek(KIND, &start)
    }

    /// The session that is kept under a key.
    pub(crate) fn session(&self, key: Digest) -> Option<Session> {
        let path = self.layout.part(DIR).join(key.to_hex());
        let frame = self.read_plain(&path).ok()?;
        let packed: Packed = codec::decode(KIND, &frame).ok()?;
        let content = zstd::bulk::decompress(&packed.content, LARGEST).ok()?;
        let _ = self.touch(&path);
        Some(Session {
            name: packed.name,
            files: packed.files,
            content,
        })
    }

    /// Keeps a session instead of the one that there was; `bound` is that of the store, bytes.
    pub(crate) fn put_session(
        &self,
        key: Digest,
        session: Session,
        bound: u64,
    ) -> Result<(), StoreError> {
        let dir = self.layout.part(DIR);
        let path = dir.join(key.to_hex());
        let failed = |e| crate::error::PathError::new("compress", &path, e);
        let content = zstd::bulk::compress(&session.content, LEVEL).map_err(failed)?;
        let packed = Packed {
            name: session.name,
            files: session.files,
            content,
        };
        let frame = codec::encode(KIND, &packed)?;
        self.make_dir(&dir)?;
        self.replace_own(&path, "session", &frame)?;
        self.keep_newest(&dir, MOST, bound / 10);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), false);
        store.prepare().unwrap();
        let session = |text: &[u8]| Session {
            name: "a-1/s-1-2-3".to_owned(),
            files: vec![
                ("one".to_owned(), 2),
                ("two".to_owned(), text.len() as u64 - 2),
            ],
            content: text.to_vec(),
        };
        let [key, other] = [b"a", b"b"].map(|text| Digest::of(text));
        assert_eq!(store.session(key), None);
        for text in [b"first", b"later"] {
            store.put_session(key, session(text), 1 << 20).unwrap();
            assert_eq!(store.session(key), Some(session(text)));
        }
        assert_eq!(store.session_name(key).as_deref(), Some("a-1/s-1-2-3"));
        assert_eq!(store.session_name(other), None);
        let kept = store.session(key).unwrap();
        let expected: [(&str, &[u8]); 2] = [("one", b"la"), ("two", b"ter")];
        assert_eq!(kept.contents().unwrap(), expected);
        assert_eq!(store.session(other), None);
        // The bound holds for all but the one that has just been written, by the file system's clock.
        let file = store.layout().part(DIR).join(key.to_hex());
        let file = std::fs::File::options().write(true).open(file).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        store.put_session(other, session(b"other"), 0).unwrap();
        assert_eq!(store.session(key), None);
        assert!(store.session(other).is_some());
    }

    #[test]
    fn files_that_are_not_whole_are_none() {
        let session = Session {
            name: String::new(),
            files: vec![("one".to_owned(), 2), ("two".to_owned(), 2)],
            content: b"123".to_vec(),
        };
        assert_eq!(session.contents(), None);
    }
}
