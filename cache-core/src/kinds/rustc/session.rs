//! Incremental state: what the compiler leaves for its next time is kept, and given back where it is gone.
//!
//! After `cargo clean`, or in a container, outputs come from the cache and the directory of `-C incremental` is
//! empty, so that the first edit would be compiled from nothing. So the newest session of each unit is
//! kept, and placed before a miss that finds none. The compiler checks it as it checks its own: it is
//! of this compiler, of these options, and what is taken from it is what has not changed since.
//!
//! ```text
//! <incremental>/<crate>-<hash>/s-<time>-<random>-<hash of the crate>/    a session; its files never change
//! <incremental>/<crate>-<hash>/s-<time>-<random>.lock                    locked by who uses it
//! <incremental>/<crate>-<hash>/s-<time>-<random>-working/                one that is not finished
//! ```
//! (`rustc_incremental::persist::fs`; the time in microseconds and in base 36.)
//!
//! A session is stored in a room of its own ([`sessions`]) under a name that says which unit it is of and nothing of its inputs,
//! so that there is one of each, the newest. The name is made of the manifest key and of the paths that are remapped, which the compiler counts
//! among its options: in another checkout it would not take the session.
//!
//! | what can go wrong | what comes of it |
//! |---|---|
//! | it is damaged | nothing is placed: a checksum tells |
//! | killed while placing | a session that is not finished, which the compiler removes |
//! | the compiler removes it while it is being kept | a file is missing: nothing is kept |
//! | another compiler has the same key | it cannot: the key holds the compiler |
//! | it has been kept of a state that was never stored, or of a later one | it is taken for what it is, a state of the unit |

use std::ffi::OsStr;
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::LogLevel;
use crate::error::{PathContext as _, PathError};
use crate::formats::digest::Digest;
use crate::formats::key::KeyHasher;
use crate::observe::Observation;
use crate::os::dir::{Dir, Listed};
use crate::os::{fs, proc};
use crate::outputs::result::Role;
use crate::store::StoreError;
use crate::store::sessions::Session as StoredSession;

use super::remap;
use super::unit::Compilation;

/// Why a session could not be kept or placed; for the log.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("cannot be unpacked: {0}")]
    Content(#[from] io::Error),
    #[error("{0}")]
    Shape(&'static str),
}

/// More files than a session has.
const MOST_FILES: usize = 4096;

/// How much of a file is written at a time, bytes.
const BUFFER: usize = 64 << 10;

impl Compilation<'_> {
    /// Whether the unit was compiled, or served, here before this build, so that somebody is editing: it has a session from
    /// before, or outputs, where sessions are wanted.
    pub(super) fn is_from_before(&self) -> bool {
        let began = || SystemTime::now().checked_sub(proc::age(&proc::parent().id)?);
        let Some(began) = self.invocation.incremental.as_ref().and_then(|_| began()) else {
            return false;
        };
        self.has_session_from_before(began) || self.has_output_from_before(began)
    }

    /// A crate of the same name may have sessions of this build: what makes up the hash in their directories' names
    /// is the compiler's secret.
    fn has_session_from_before(&self, began: SystemTime) -> bool {
        let (Some(dir), Some(name)) = (self.incremental().pop(), &self.invocation.crate_name)
        else {
            return false;
        };
        let began = began.duration_since(SystemTime::UNIX_EPOCH).ok();
        let dirs = fs::list_or_empty(&dir).unwrap_or_default();
        let mut of_crate = dirs.iter().filter(|dir| {
            let rest = dir.name.as_bytes().strip_prefix(name.as_bytes());
            rest.is_some_and(|rest| rest.starts_with(b"-"))
        });
        let is_older = |dir: &Listed| {
            let session = newest(&dir.path)?;
            Some(Duration::from_micros(session.time) < began?)
        };
        of_crate.any(|dir| is_older(dir) == Some(true))
    }

    fn has_output_from_before(&self, began: SystemTime) -> bool {
        let Some(name) = self.dep_info_name() else {
            return false;
        };
        let looked = fs::symlink_metadata(&self.out_dir.join(name));
        let written = looked.ok().and_then(|metadata| metadata.modified().ok());
        written.is_some_and(|time| time < began)
    }

    /// The directory of the crate's sessions, as the compiler was seen to use it.
    pub(super) fn sessions_of(&self, observation: &Observation) -> Option<PathBuf> {
        let dirs = self.incremental();
        let mut made = observation
            .events
            .iter()
            .filter(|e| e.access.changes_paths());
        made.find_map(|event| {
            let dir = dirs.iter().find(|dir| event.path.starts_with(dir))?;
            let mut below = event.path.strip_prefix(dir).ok()?.components();
            let name = below.next()?;
            below.next()?;
            Some(dir.join(name))
        })
    }

    /// The name that the newest session of this unit is stored under.
    fn session_key(&self) -> Digest {
        let (scene, invocation) = (&self.scene, &self.invocation);
        let mut hasher = KeyHasher::new("session 1");
        hasher.bytes("manifest", scene.key.0.as_bytes());
        for argument in remap::remapping(invocation, scene.cwd, &scene.roots, self.trim) {
            hasher.bytes("remapping", argument.as_bytes());
        }
        hasher.finish()
    }

    /// Keeps the newest session among those in a directory.
    pub(super) fn keep_session(&self, sessions: &Path) {
        let kept = self.try_to_keep_session(sessions);
        let said = |e: &SessionError| format!("{}: no session kept: {e}", self.scene.name);
        match kept {
            Ok(()) => drop(self.scene.store.count(&[("session.kept", 1)])),
            Err(e) => self.log.say(LogLevel::Debug, || said(&e)),
        }
    }

    fn try_to_keep_session(&self, sessions: &Path) -> Result<(), SessionError> {
        let newest = newest(sessions).ok_or(SessionError::Shape("there is none"))?;
        let names = fs::list_or_empty(&sessions.join(&newest.name))?;
        if names.is_empty() || names.len() > MOST_FILES {
            return Err(SessionError::Shape("it has no files, or very many"));
        }
        if names.iter().any(|file| file.name.to_str().is_none()) {
            return Err(SessionError::Shape("odd names"));
        }
        let dir = sessions.file_name().unwrap_or_default();
        let name = format!("{}/{}", dir.to_string_lossy(), newest.name);
        let files = names.into_iter().map(|file| {
            let name = file.name.to_string_lossy().into_owned();
            Ok((name, fs::open_file(&file.path)?))
        });
        let session =
            StoredSession::pack(name, files)?.ok_or(SessionError::Shape("it is very large"))?;
        let bound = *self.config.max_size;
        let store = self.scene.store;
        Ok(store.put_session(self.session_key(), &session, bound)?)
    }

    /// Places the session that is stored, where there is none.
    pub(super) fn place_session(&self) {
        let store = self.scene.store;
        let Some(dir) = self.incremental().pop() else {
            return;
        };
        let key = self.session_key();
        // Most compilations find sessions of their own, and reading the one that is kept takes a while.
        let has_own = store.session_name(key).is_some_and(|name| {
            let crate_dir = name.split_once('/').map(|(crate_dir, _)| crate_dir);
            crate_dir.is_some_and(|name| is_name(name) && fs::exists(&dir.join(name)))
        });
        let session = if has_own { None } else { store.session(key) };
        let Some(session) = session else {
            return;
        };
        match place(&session, &dir) {
            Ok(false) => {}
            Ok(true) => drop(store.count(&[("session.placed", 1)])),
            Err(e) => {
                let said = || format!("{}: no session placed: {e}", self.scene.name);
                self.log.say(LogLevel::Debug, said);
            }
        }
    }
}

/// A session by its name.
#[derive(Debug, PartialEq, Eq)]
struct Session {
    /// Microseconds since the epoch.
    time: u64,
    /// What comes before the hash of the crate.
    stem: String,
    name: String,
}

impl Session {
    /// `None` if it is not finished, or no session.
    fn parse(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.split('-').collect();
        let ["s", time, random, hash] = parts[..] else {
            return None;
        };
        let is_plain =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let is_finished = is_plain(random) && is_plain(hash) && hash != "working";
        is_finished.then_some(())?;
        Some(Self {
            time: u64::from_str_radix(time, 36).ok()?,
            stem: format!("s-{time}-{random}"),
            name: name.to_owned(),
        })
    }
}

fn newest(sessions: &Path) -> Option<Session> {
    let names = fs::list_or_empty(sessions).ok()?;
    let found = names
        .iter()
        .filter_map(|n| Session::parse(n.name.to_str()?));
    found.max_by_key(|session| session.time)
}

/// Whether this is a name, and leads nowhere else.
fn is_name(name: &str) -> bool {
    Role::InOutDir(name.to_owned()).is_safe()
}

/// Places a stored session: all of it, or none; `false` if the crate has sessions.
fn place(session: &StoredSession, dir: &Path) -> Result<bool, SessionError> {
    const SHAPE: SessionError = SessionError::Shape("it is no session");
    let (crate_dir, known) = session.name.split_once('/').ok_or(SHAPE)?;
    let known = Session::parse(known).ok_or(SHAPE)?;
    let files = session.files.iter().map(|(name, _)| name.as_str());
    let mut parts = files.chain([crate_dir]);
    if !parts.all(is_name) {
        return Err(SHAPE);
    }
    let crate_dir = dir.join(crate_dir);
    if fs::exists(&crate_dir) {
        return Ok(false);
    }
    fs::create_dir_all(&crate_dir)?;
    let working = crate_dir.join(format!("{}-working", known.stem));
    fs::create_dir_with_mode(&working, 0o777)?;
    // Under their own names at once: the compiler takes what is not finished for nothing.
    let placed = Dir::open(&working)
        .map_err(Into::into)
        .and_then(|into| unpack(session, &into));
    let named = placed.and_then(|()| {
        fs::create_new(&crate_dir.join(format!("{}.lock", known.stem)));
        Ok(fs::rename(&working, &crate_dir.join(&known.name))?)
    });
    if named.is_err() {
        let _ = fs::remove_any(&crate_dir);
    }
    named.map(|()| true)
}

/// Writes the files of a session into a directory.
fn unpack(session: &StoredSession, into: &Dir) -> Result<(), SessionError> {
    session.unpack(|name, length, content| {
        let file = into.create_new(OsStr::new(name), 0o666)?;
        let mut file = BufWriter::with_capacity(BUFFER, file);
        let written = io::copy(&mut content.take(length), &mut file);
        let written = written.and_then(|written| file.flush().map(|()| written));
        match written.context("write", into.path().join(name))? {
            written if written == length => Ok(()),
            _ => Err(SessionError::Shape("it is not whole")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_told_by_their_names() {
        let session = Session::parse("s-hojar3ip8g-1to7ll6-e1ntjjwlnll44p5afplyi4ee3").unwrap();
        assert_eq!(session.stem, "s-hojar3ip8g-1to7ll6");
        let later = Session::parse("s-hojar3ip8h-0000000-x").unwrap();
        assert!(later.time > session.time);
        for other in [
            "s-hojar3ip8g-1to7ll6-working",
            "s-hojar3ip8g-1to7ll6.lock",
            "s-hojar3ip8g-1to7ll6",
            "t-a-b-c",
            "s--b-c",
            "s-a-b-",
            "s-a-../-c",
        ] {
            assert_eq!(Session::parse(other), None, "{other}");
        }
    }

    #[test]
    fn the_newest_is_found() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(newest(dir.path()), None);
        for name in ["s-a1-x-y", "s-b0-x-y", "s-c0-x-working", "s-b0-x.lock"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert_eq!(newest(dir.path()).unwrap().name, "s-b0-x-y");
    }

    #[test]
    fn one_is_placed_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "content").unwrap();
        let files = [Ok(("a.o".to_owned(), std::fs::File::open(&file).unwrap()))];
        let name = "x-1/s-a1-b-c".to_owned();
        let mut session = StoredSession::pack(name, files).unwrap().unwrap();
        let into = dir.path().join("incremental");
        let kept = session.files.clone();
        for (name, length) in [("a.o", 8), ("../a.o", 7), ("a/../../a.o", 7)] {
            session.files = vec![(name.to_owned(), length)];
            assert!(place(&session, &into).is_err(), "{name} {length}");
            assert!(!into.join("x-1").exists(), "{name} {length}");
        }
        session.files = kept;
        assert!(place(&session, &into).unwrap());
        let placed = std::fs::read(into.join("x-1/s-a1-b-c/a.o")).unwrap();
        assert_eq!(placed, b"content");
        assert!(!place(&session, &into).unwrap());
    }
}
