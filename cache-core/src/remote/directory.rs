//! A directory as an engine: a volume that containers share, or a mounted file system.
//!
//! Objects are files, written under a fresh name and renamed. Versions are digests; a lock file makes
//! replacing a version one step for all who use it, where the file system has locks. What is mounted may
//! hang for ever, so whatever is done is done by a thread that nobody waits for longer than a build can: it
//! has to go on every so often.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::engine::{Condition, Engine, EngineError, Listed, Object, Trouble, Written};
use crate::error::PathError;
use crate::formats::digest::Digest;
use crate::os::{fs, lock};

/// How long a step may take.
const STEP: Duration = Duration::from_millis(700);

/// How long others may hold the lock.
const LOCKED: Duration = Duration::from_millis(500);

/// How much is read and written in one step, bytes.
const PIECE: usize = 1 << 20;

/// Objects as files below a directory.
#[derive(Clone, Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// The engine of a directory. It is made when the first object is.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self(dir.into())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Engine for Directory {
    fn get(&self, name: &str, most: u64) -> Result<Option<Object>, EngineError> {
        let path = self.at(name);
        in_time(move |went_on| read(&path, most, went_on))
    }

    fn has(&self, name: &str) -> Result<bool, EngineError> {
        let path = self.at(name);
        in_time(move |_| match fs::symlink_metadata(&path) {
            Ok(metadata) => Ok(metadata.is_file()),
            Err(e) if e.is_missing() => Ok(false),
            Err(e) => Err(trouble(&e)),
        })
    }

    fn put(
        &self,
        name: &str,
        bytes: &[u8],
        condition: Condition<'_>,
    ) -> Result<Written, EngineError> {
        let (top, path, bytes) = (self.0.clone(), self.at(name), bytes.to_vec());
        let (absent, version) = match condition {
            Condition::Always => (false, None),
            Condition::Absent => (true, None),
            Condition::Version(version) => (false, Some(version.to_owned())),
        };
        in_time(move |went_on| {
            let dir = path.parent().unwrap_or(&top);
            fs::create_dir_all(dir).map_err(|e| trouble(&e))?;
            let mut file = fs::TempFile::create_with_mode(dir, 0o666).map_err(|e| trouble(&e))?;
            for piece in bytes.chunks(PIECE) {
                file.write_all(piece).map_err(|e| trouble(&e))?;
                went_on();
            }
            let _lock = locked(&top, went_on)?;
            if absent && fs::symlink_metadata(&path).is_ok() {
                return Ok(Written::No);
            }
            if version.is_some() {
                let there = read(&path, u64::MAX, went_on)?;
                if there.and_then(|object| object.version) != version {
                    return Ok(Written::No);
                }
            }
            file.persist(&path).map_err(|e| trouble(&e))?;
            Ok(Written::Yes)
        })
    }

    fn list(&self, below: &str) -> Result<Option<Vec<Listed>>, EngineError> {
        let (dir, below) = (self.at(below), below.to_owned());
        in_time(move |went_on| {
            let mut listed = Vec::new();
            for found in fs::list_or_empty(&dir).map_err(|e| trouble(&e))? {
                went_on();
                // Others remove, too; and what has no name of ours is none of ours.
                let Ok(metadata) = fs::symlink_metadata(&found.path) else {
                    continue;
                };
                let name = found.name.to_str().filter(|_| metadata.is_file());
                listed.extend(name.map(|name| Listed {
                    name: format!("{below}{name}"),
                    bytes: metadata.len(),
                    written: metadata.modified().ok(),
                }));
            }
            Ok(Some(listed))
        })
    }

    fn remove(&self, name: &str) -> Result<(), EngineError> {
        let path = self.at(name);
        in_time(move |_| match fs::remove_file(&path) {
            Err(e) if !e.is_missing() => Err(trouble(&e)),
            _ => Ok(()),
        })
    }
}

fn read(path: &Path, most: u64, went_on: impl Fn()) -> Result<Option<Object>, EngineError> {
    let file = match fs::open_file(path) {
        Ok(file) => file,
        Err(e) if e.is_missing() => return Ok(None),
        Err(e) => return Err(trouble(&e)),
    };
    let failed = |e| trouble(&PathError::new("read", path, e));
    let mut file = file.take(most.saturating_add(1));
    let mut bytes = Vec::new();
    loop {
        let mut piece = (&mut file).take(PIECE as u64);
        if piece.read_to_end(&mut bytes).map_err(failed)? == 0 {
            break;
        }
        went_on();
    }
    if bytes.len() as u64 > most {
        let what = format!("{} is longer than {most} bytes", path.display());
        return Err(EngineError::new(Trouble::TooLong, what));
    }
    let version = Some(Digest::of(&bytes).to_hex());
    Ok(Some(Object { bytes, version }))
}

/// The lock of all writers; none where the file system has none.
fn locked(top: &Path, went_on: impl Fn()) -> Result<Option<std::fs::File>, EngineError> {
    let file = fs::open_to_lock(&top.join("cw1/lock")).map_err(|e| trouble(&e))?;
    let until = Instant::now() + LOCKED;
    loop {
        match lock::try_exclusive(&file) {
            Ok(true) => return Ok(Some(file)),
            Ok(false) if Instant::now() < until => {
                went_on();
                std::thread::sleep(Duration::from_millis(2));
            }
            Ok(false) => return Err(EngineError::new(Trouble::Throttled, "others hold the lock")),
            Err(_) => return Ok(None),
        }
    }
}

/// Has a thread do something, and waits for it for as long as it goes on.
fn in_time<T: Send + 'static>(
    work: impl FnOnce(&dyn Fn()) -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    enum Said<T> {
        WentOn,
        Done(T),
    }
    let (say, hear) = channel();
    let worker = move || {
        let go_on: Sender<_> = say.clone();
        let done = work(&move || {
            let _ = go_on.send(Said::WentOn);
        });
        let _ = say.send(Said::Done(done));
    };
    let started = std::thread::Builder::new()
        .name("remote".into())
        .spawn(worker);
    let started = started.map_err(|e| EngineError::new(Trouble::Throttled, e))?;
    loop {
        match hear.recv_timeout(STEP) {
            Ok(Said::WentOn) => {}
            Ok(Said::Done(done)) => {
                // A process with threads cannot be split.
                let _ = started.join();
                return done;
            }
            Err(RecvTimeoutError::Timeout) => {
                let what = format!("the directory did not answer within {STEP:?}");
                return Err(EngineError::new(Trouble::Slow, what));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(EngineError::new(
                    Trouble::Confused,
                    "a thread of ours ended",
                ));
            }
        }
    }
}

fn trouble(error: &PathError) -> EngineError {
    let kind = if error.is_denied() || error.source.kind() == std::io::ErrorKind::ReadOnlyFilesystem
    {
        Trouble::Denied
    } else if error.is_no_dir() || error.is_no_file() {
        Trouble::Confused
    } else {
        Trouble::Unreachable
    };
    EngineError::new(kind, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_files() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Directory::new(dir.path().join("new"));
        assert_eq!(engine.get("cw1/a", 10), Ok(None));
        assert_eq!(
            engine.put("cw1/a", b"1", Condition::Absent),
            Ok(Written::Yes)
        );
        assert_eq!(
            engine.put("cw1/a", b"2", Condition::Absent),
            Ok(Written::No)
        );
        let object = engine.get("cw1/a", 10).unwrap().unwrap();
        assert_eq!(object.bytes, b"1");
        let version = object.version.unwrap();
        let condition = Condition::Version(&version);
        assert_eq!(engine.put("cw1/a", b"3", condition), Ok(Written::Yes));
        assert_eq!(engine.put("cw1/a", b"4", condition), Ok(Written::No));
        assert_eq!(engine.get("cw1/a", 10).unwrap().unwrap().bytes, b"3");
        assert_eq!(
            engine.get("cw1/a", 0).unwrap_err().trouble,
            Trouble::TooLong
        );
        assert_eq!(
            (engine.has("cw1/a"), engine.has("cw1/b")),
            (Ok(true), Ok(false))
        );
        let listed = engine.list("cw1/").unwrap().unwrap();
        let names: Vec<&str> = listed.iter().map(|object| object.name.as_str()).collect();
        assert!(names.contains(&"cw1/a"), "{names:?}");
        assert_eq!(engine.list("cw2/"), Ok(Some(Vec::new())));
        assert_eq!(
            (engine.remove("cw1/a"), engine.remove("cw1/a")),
            (Ok(()), Ok(()))
        );
        assert_eq!(engine.has("cw1/a"), Ok(false));
    }

    #[test]
    fn what_is_no_file_is_no_object_and_makes_nobody_wait() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Directory::new(dir.path());
        std::fs::create_dir(dir.path().join("d")).unwrap();
        let pipe = std::process::Command::new("mkfifo")
            .arg(dir.path().join("p"))
            .status();
        assert!(pipe.unwrap().success());
        assert!(engine.get("d", 10).is_err());
        assert!(engine.get("p", 10).is_err());
        assert_eq!(engine.has("p"), Ok(false));
    }

    #[test]
    fn a_directory_that_hangs_is_slow() {
        let hung = in_time::<()>(|_| {
            std::thread::park();
            Ok(())
        });
        assert_eq!(hung.unwrap_err().trouble, Trouble::Slow);
    }
}
