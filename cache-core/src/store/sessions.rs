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

use std::fs::File;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use super::{Store, StoreError};
use crate::error::PathError;
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
const LARGEST: u64 = 256 << 20;

const LEVEL: i32 = 1;

/// The files of a directory, packed: it is large, so that nobody holds more of it than that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    /// What it is called, for whoever stored it.
    pub(crate) name: String,
    /// The names of its files, and how long they are, bytes.
    pub(crate) files: Vec<(String, u64)>,
    /// Their contents, one after the other, compressed.
    #[serde(with = "codec::bytes")]
    content: Vec<u8>,
}

impl Session {
    /// Packs files: their names, and what is to be read of them.
    ///
    /// `None` if they are very large.
    pub(crate) fn pack(
        name: String,
        files: impl IntoIterator<Item = Result<(String, File), PathError>>,
    ) -> Result<Option<Self>, PathError> {
        let failed = |e| PathError::new("compress", &name, e);
        let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL).map_err(failed)?;
        let (mut packed, mut total) = (Vec::new(), 0);
        for file in files {
            let (name, file) = file?;
            let left = LARGEST - total;
            let length = io::copy(&mut file.take(left + 1), &mut encoder).map_err(failed)?;
            if length > left {
                return Ok(None);
            }
            total += length;
            packed.push((name, length));
        }
        let content = encoder.finish().map_err(failed)?;
        Ok(Some(Self {
            name,
            files: packed,
            content,
        }))
    }

    /// Gives out each file: its name, how long it is, and a reader from which that many bytes are to be taken.
    pub(crate) fn unpack<E: From<io::Error>>(
        &self,
        mut file: impl FnMut(&str, u64, &mut dyn Read) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut content = zstd::Decoder::with_buffer(&*self.content)?;
        let mut files = self.files.iter();
        files.try_for_each(|(name, length)| file(name, *length, &mut content))
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
        let session = codec::decode(KIND, &frame).ok()?;
        let _ = self.touch(&path);
        Some(session)
    }

    /// Keeps a session instead of the one that there was; `bound` is that of the store, bytes.
    pub(crate) fn put_session(
        &self,
        key: Digest,
        session: &Session,
        bound: u64,
    ) -> Result<(), StoreError> {
        let dir = self.layout.part(DIR);
        let frame = codec::encode(KIND, session)?;
        self.make_dir(&dir)?;
        self.replace_own(&dir.join(key.to_hex()), "session", &frame)?;
        self.keep_newest(&dir, MOST, bound / 10);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A session of two files, the first of two bytes.
    fn session(text: &[u8]) -> Session {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = text.split_at(2);
        let files = [("one", one), ("two", two)].map(|(name, content)| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            Ok((name.to_owned(), File::open(path).unwrap()))
        });
        Session::pack("a-1/s-1-2-3".to_owned(), files)
            .unwrap()
            .unwrap()
    }

    #[test]
    fn the_newest_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), false);
        store.prepare().unwrap();
        let [key, other] = [b"a", b"b"].map(|text| Digest::of(text));
        assert_eq!(store.session(key), None);
        for text in [b"first", b"later"] {
            store.put_session(key, &session(text), 1 << 20).unwrap();
            assert_eq!(store.session(key), Some(session(text)));
        }
        assert_eq!(store.session_name(key).as_deref(), Some("a-1/s-1-2-3"));
        assert_eq!(store.session_name(other), None);
        let mut found = Vec::new();
        let kept = store.session(key).unwrap();
        kept.unpack(|name, length, content| {
            let mut text = String::new();
            content.take(length).read_to_string(&mut text)?;
            found.push((name.to_owned(), text));
            io::Result::Ok(())
        })
        .unwrap();
        let expected = [("one", "la"), ("two", "ter")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(found, expected);
        assert_eq!(store.session(other), None);
        // The bound holds for all but the one that has just been written, by the file system's clock.
        let file = store.layout().part(DIR).join(key.to_hex());
        let file = File::options().write(true).open(file).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        store.put_session(other, &session(b"other"), 0).unwrap();
        assert_eq!(store.session(key), None);
        assert!(store.session(other).is_some());
    }

    #[test]
    fn a_very_large_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sparse");
        let file = File::create(&path).unwrap();
        file.set_len(LARGEST).unwrap();
        let whole = || Ok(("a".to_owned(), File::open(&path).unwrap()));
        assert!(Session::pack(String::new(), [whole()]).unwrap().is_some());
        file.set_len(LARGEST + 1).unwrap();
        assert!(Session::pack(String::new(), [whole()]).unwrap().is_none());
    }
}
