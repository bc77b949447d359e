//! Incremental state of the compiler: a file for each unit, the newest.
//!
//! ```text
//! <dir>/v1/sessions/<key>     64 hexadecimal digits, see `kinds::rustc::session`
//! file    = frame 'I' version 2 (see codec), body = Session
//! content = zstd of the contents of some files, one after the other
//! ```
//! Version history: 1, the first; 2, contents in parts, which are unpacked side by side: somebody waits for that.
//!
//! They take a tenth of the store's bound at most, and the one that was used longest ago goes first; a
//! collection removes them by age, as it does what is memoised. One that is damaged is none.

use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde::{Deserialize, Serialize};

use super::{Store, StoreError};
use crate::error::PathError;
use crate::formats::codec::{self, Kind};
use crate::formats::digest::Digest;

/// The directory of sessions.
pub(crate) const DIR: &str = "sessions";

const KIND: Kind = Kind {
    tag: b'I',
    version: 2,
};

/// More are not kept.
const MOST: usize = 256;

/// A larger one is not kept, bytes.
const LARGEST: u64 = 256 << 20;

const LEVEL: i32 = 1;

/// With this much of contents, bytes, a part ends.
const PART: u64 = 4 << 20;

/// No more threads than this unpack.
const MOST_THREADS: usize = 4;

/// The files of a directory, packed: it is large, so that nobody holds more of it than that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    /// What it is called, for whoever stored it.
    pub(crate) name: String,
    /// The names of its files, and how long they are, bytes.
    pub(crate) files: Vec<(String, u64)>,
    /// Their contents.
    parts: Vec<Part>,
}

/// The contents of some files that follow each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    /// Of how many.
    files: usize,
    /// One after the other, compressed.
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
        let (mut packed, mut parts, mut total) = (Vec::new(), Vec::new(), 0);
        let mut files = files.into_iter().peekable();
        while files.peek().is_some() {
            let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL).map_err(failed)?;
            let (before, first) = (total, packed.len());
            while total - before < PART
                && let Some(file) = files.next()
            {
                let (name, file) = file?;
                let left = LARGEST - total;
                let length = io::copy(&mut file.take(left + 1), &mut encoder).map_err(failed)?;
                if length > left {
                    return Ok(None);
                }
                total += length;
                packed.push((name, length));
            }
            parts.push(Part {
                files: packed.len() - first,
                content: encoder.finish().map_err(failed)?,
            });
        }
        Ok(Some(Self {
            name,
            files: packed,
            parts,
        }))
    }

    /// Gives out each file: its name, how long it is, and a reader from which that many bytes are to be taken. This
    /// happens on several threads, which are gone when it returns.
    pub(crate) fn unpack<E: From<io::Error> + Send>(
        &self,
        file: impl Fn(&str, u64, &mut dyn Read) -> Result<(), E> + Sync,
    ) -> Result<(), E> {
        let mut rest = &*self.files;
        let mut parts = Vec::new();
        for part in &self.parts {
            let missing = || io::Error::from(io::ErrorKind::InvalidData);
            let (files, more) = rest.split_at_checked(part.files).ok_or_else(missing)?;
            parts.push((files, part));
            rest = more;
        }
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some((files, part)) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut content = zstd::Decoder::with_buffer(&*part.content)?;
                let mut files = files.iter();
                files.try_for_each(|(name, length)| file(name, *length, &mut content))?;
            }
            Ok(())
        };
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let threads = processors.min(MOST_THREADS).min(parts.len());
        thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let own = work();
            let ended = others.into_iter().map(|other| {
                let ended = other.join();
                ended.unwrap_or_else(|_| Err(io::Error::other("a thread panicked").into()))
            });
            ended.fold(own, Result::and)
        })
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
    use std::sync::Mutex;

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

    fn text(files: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = files
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        owned.collect()
    }

    /// The files of a session, by name.
    fn unpacked(session: &Session) -> Vec<(String, String)> {
        let found = Mutex::new(Vec::new());
        let take = |name: &str, length, content: &mut dyn Read| {
            let mut text = String::new();
            content.take(length).read_to_string(&mut text)?;
            found.lock().unwrap().push((name.to_owned(), text));
            io::Result::Ok(())
        };
        session.unpack(take).unwrap();
        let mut found = found.into_inner().unwrap();
        found.sort();
        found
    }

    #[test]
    fn a_large_one_is_packed_in_parts() {
        let dir = tempfile::tempdir().unwrap();
        let half = usize::try_from(PART / 2).unwrap();
        let lengths = [1, half, half, 0, 3 * half, 7, 8];
        let files: Vec<(String, String)> = (0..)
            .zip(lengths)
            .map(|(n, length)| (format!("file{n}"), n.to_string().repeat(length)))
            .collect();
        let open = |(name, text): &(String, String)| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            Ok((name.clone(), File::open(path).unwrap()))
        };
        let mut session = Session::pack(String::new(), files.iter().map(open))
            .unwrap()
            .unwrap();
        let counts = session.parts.iter().map(|part| part.files);
        assert_eq!(counts.collect::<Vec<_>>(), [3, 2, 2]);
        assert_eq!(unpacked(&session), files);
        // A failure of any thread is one of the whole.
        let fails = |name: &str, length, content: &mut dyn Read| {
            io::copy(&mut content.take(length), &mut io::sink())?;
            match name {
                "file4" => Err(io::Error::other("full")),
                _ => Ok(()),
            }
        };
        assert!(session.unpack(fails).is_err());
        session.files.pop();
        let ignores = |_: &str, _, _: &mut dyn Read| io::Result::Ok(());
        assert!(session.unpack(ignores).is_err());
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
        let expected = [("one", "la"), ("two", "ter")];
        assert_eq!(unpacked(&store.session(key).unwrap()), text(&expected));
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
