//! The helper: a program of its own that speaks to engines over the network.
//!
//! A wrapper that is to ask a remote connects to the helper's socket in the store, which it starts if
//! nobody listens there, says what it wants, and waits. What is fetched the helper puts into the store; no file
//! crosses the socket. The helper's program and the socket's name are
//!
//! ```text
//! cachewrap-remote                         beside the wrapper, or in PATH
//! <dir>/v1/remote/<settings>.sock          of a hash of all settings and credentials
//! message = frame 'H' version 1 (see codec), at most 1 MiB
//! talk    = Hello, then Asked and its answers, any number of times: Working while it takes, and one other
//! ```
//! The helper is not of the build: it has a session of its own and none of the descriptors that it
//! was started with, and it ends some time after the last of the cargo processes that it was told
//! of. If it cannot be started, does not answer within [`PATIENCE`], or vanishes, the remote
//! is taken to be down: whatever becomes of the helper, a build waits for it once.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::engine::{EngineError, Trouble};
use super::{Fetched, Settings};
use crate::formats::codec::{self, HEADER, Kind};
use crate::formats::digest::{ManifestKey, ResultKey};
use crate::formats::key::KeyHasher;
use crate::os::env::Environment;
use crate::os::lock;
use crate::store::Store;
use crate::store::shared::REMOTE;

const KIND: Kind = Kind {
    tag: b'H',
    version: 1,
};

/// The longest message, bytes.
const LONGEST: u64 = 1 << 20;

/// How long one that was started may take until it listens.
const START: Duration = Duration::from_millis(300);

/// How long it may say nothing. It says [`Answer::Working`] far more often.
const PATIENCE: Duration = Duration::from_millis(1200);

/// The name of the program.
pub(crate) const PROGRAM: &str = "cachewrap-remote";

/// Variables from which engines take credentials and where they are.
const CREDENTIALS: &[&str] = &[
    "AWS_",
    "AZURE_",
    "AZBLOB_",
    "GOOGLE_",
    "GCS_",
    "REDIS_",
    "WEBDAV_",
    "MEMCACHED_",
    "BAZEL_CACHE_",
    "ACTIONS_",
    "HOME",
    "SSL_CERT_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// How a talk begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The process whose build this is; the helper stays while it lives.
    pub build: Option<u32>,
    /// Where that process is: in the project that is built.
    pub dir: Option<PathBuf>,
}

/// What is asked of a helper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Asked {
    /// Get the offers for a key into the store.
    Offers(ManifestKey),
    /// Get a result into the store.
    Result(ManifestKey, ResultKey),
    /// Something was queued: send it.
    Send,
}

/// What a helper answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Answer {
    /// It takes a while.
    Working,
    /// It is done; how long what came was, bytes.
    Done(u64),
    /// The remote has no such thing.
    Missing,
    /// What the remote has was not taken, and why.
    Unfit(String),
    /// There was trouble, as [`Trouble::name`] calls it, and what happened.
    Failed(String, String),
}

impl Answer {
    /// What became of asking an engine.
    pub fn of(fetched: Result<Fetched, EngineError>) -> Self {
        match fetched {
            Ok(Fetched::Placed(bytes)) => Self::Done(bytes),
            Ok(Fetched::Missing) => Self::Missing,
            Ok(Fetched::Unfit(why)) => Self::Unfit(why),
            Err(e) => Self::Failed(e.trouble.name().to_owned(), e.what),
        }
    }
}

/// Sends a message.
pub fn write_message(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let frame = codec::encode(KIND, message).map_err(io::Error::other)?;
    to.write_all(&frame)
}

/// Receives a message; `None` where the other side has ended.
pub fn read_message<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut frame = vec![0; HEADER];
    match from.read(&mut frame)? {
        0 => return Ok(None),
        n => from.read_exact(frame.get_mut(n..).unwrap_or_default())?,
    }
    let length = frame
        .last_chunk::<8>()
        .map(|bytes| u64::from_le_bytes(*bytes));
    let length = length.filter(|length| *length <= LONGEST);
    let length = length.ok_or_else(|| bad("a message is too long"))?;
    let rest = from
        .take(length + codec::CHECKSUM as u64)
        .read_to_end(&mut frame)?;
    if rest as u64 != length + codec::CHECKSUM as u64 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let message = codec::decode(KIND, &frame);
    Ok(Some(message.map_err(|e| bad(&e.to_string()))?))
}

/// Where a helper with these settings, and the credentials of this environment, listens.
pub fn socket_path(store: &Store, settings: &Settings, env: &Environment) -> PathBuf {
    let mut hasher = KeyHasher::new("helper");
    hasher.str("version", env!("CARGO_PKG_VERSION"));
    hasher.str("address", &settings.address.to_string());
    hasher.str("trust", &format!("{:?}", settings.trust));
    hasher.bytes("room", &settings.room.to_le_bytes());
    let key = settings.key.as_ref().map(|key| key.public().to_string());
    hasher.optional("key", key.as_ref().map(String::as_bytes));
    for (name, value) in env.iter() {
        let name = name.as_bytes();
        if CREDENTIALS
            .iter()
            .any(|known| name.starts_with(known.as_bytes()))
        {
            hasher.bytes("variable", name);
            hasher.bytes("value", value.as_bytes());
        }
    }
    let mut hex = hasher.finish().to_hex();
    hex.truncate(16);
    store.layout().part(REMOTE).join(format!("{hex}.sock"))
}

/// A talk with a helper.
pub(crate) struct Helper(UnixStream);

impl Helper {
    /// Begins a talk, with a helper that is started if need be.
    pub(crate) fn meet(
        store: &Store,
        settings: &Settings,
        env: &Environment,
        beside: Option<&Path>,
        hello: &Hello,
    ) -> Result<Self, EngineError> {
        let socket = socket_path(store, settings, env);
        let mut stream = match connect(&socket) {
            Ok(stream) => stream,
            Err(_) => start(store, &socket, env, beside)?,
        };
        let said = stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .and_then(|()| write_message(&mut stream, hello));
        said.map_err(|e| lost(&e))?;
        Ok(Self(stream))
    }

    /// Asks for something and waits for what becomes of it.
    pub(crate) fn ask(&mut self, asked: &Asked) -> Result<Fetched, EngineError> {
        write_message(&mut self.0, asked).map_err(|e| lost(&e))?;
        loop {
            let answer = read_message(&mut self.0).map_err(|e| lost(&e))?;
            return match answer {
                Some(Answer::Working) => continue,
                Some(Answer::Done(bytes)) => Ok(Fetched::Placed(bytes)),
                Some(Answer::Missing) => Ok(Fetched::Missing),
                Some(Answer::Unfit(why)) => Ok(Fetched::Unfit(why)),
                Some(Answer::Failed(trouble, what)) => {
                    let known = Trouble::ALL.iter().find(|known| known.name() == trouble);
                    Err(EngineError::new(*known.unwrap_or(&Trouble::Confused), what))
                }
                None => Err(lost(&io::ErrorKind::UnexpectedEof.into())),
            };
        }
    }

    /// Asks for something that nobody waits for.
    pub(crate) fn tell(&mut self, asked: &Asked) -> Result<(), EngineError> {
        write_message(&mut self.0, asked).map_err(|e| lost(&e))
    }
}

fn lost(error: &io::Error) -> EngineError {
    let trouble = match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Trouble::Slow,
        _ => Trouble::Unreachable,
    };
    EngineError::new(trouble, format!("{PROGRAM}: {error}"))
}

/// Starts a helper, unless another process is doing that, and waits until it listens.
fn start(
    store: &Store,
    socket: &Path,
    env: &Environment,
    beside: Option<&Path>,
) -> Result<UnixStream, EngineError> {
    let until = Instant::now() + START;
    let cannot = |e: &dyn std::fmt::Display| {
        EngineError::new(Trouble::Unreachable, format!("cannot start {PROGRAM}: {e}"))
    };
    store
        .make_dir(&store.layout().part(REMOTE))
        .map_err(|e| cannot(&e))?;
    let starting = store
        .open_file(&socket.with_extension("start"))
        .map_err(|e| cannot(&e))?;
    // Where there are no locks, several may be started; all but one end at once.
    let is_ours = lock::try_exclusive(&starting).unwrap_or(true);
    if is_ours && let Err(e) = connect(socket) {
        match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                spawn(socket, env, beside).map_err(|e| cannot(&e))?;
            }
            // So many wait to be let in that there is no room for one more.
            io::ErrorKind::WouldBlock => {}
            _ => return Err(cannot(&e)),
        }
    }
    loop {
        match connect(socket) {
            Ok(stream) => return Ok(stream),
            Err(e) if Instant::now() >= until => return Err(cannot(&e)),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn spawn(socket: &Path, env: &Environment, beside: Option<&Path>) -> io::Result<()> {
    let program = beside.map_or_else(|| OsStr::new(PROGRAM), Path::as_os_str);
    let started = Command::new(program)
        .arg("serve")
        .arg(socket)
        .env_clear()
        .envs(env.iter())
        // No directory of the build is kept in use.
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    started.map(drop)
}

fn connect(socket: &Path) -> io::Result<UnixStream> {
    match connect_at_once(socket) {
        // A path that is too long for an address is reached by its directory.
        #[cfg(target_os = "linux")]
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
            let dir = crate::os::dir::Dir::open(socket.parent().unwrap_or(Path::new("/")));
            let dir = dir.map_err(|e| e.source)?;
            let name = socket.file_name().unwrap_or_default();
            let near = dir.in_proc();
            connect_at_once(&near.join(name))
        }
        connected => connected,
    }
}

/// Connects, or says that it would have to wait: for ever, where a helper is stopped and as many as may have come before.
#[cfg(target_os = "linux")]
fn connect_at_once(socket: &Path) -> io::Result<UnixStream> {
    use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let address = SocketAddrUnix::new(socket).map_err(|_| io::ErrorKind::InvalidInput)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    net::connect(&socket, &address)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

#[cfg(not(target_os = "linux"))]
fn connect_at_once(socket: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::digest::Digest;

    #[cfg(target_os = "linux")]
    #[test]
    fn nobody_waits_for_one_that_lets_nobody_in() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        let mut met = Vec::new();
        let error = loop {
            assert!(met.len() < 16);
            match connect(&socket) {
                Ok(stream) => met.push(stream),
                Err(e) => break e,
            }
        };
        assert!(!met.is_empty());
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        // A long path leads to the same.
        let deep = dir.path().join("deep/".repeat(40));
        std::fs::create_dir_all(&deep).unwrap();
        std::os::unix::fs::symlink(&socket, deep.join("s.sock")).unwrap();
        let error = connect(&deep.join("s.sock")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn messages_are_received_as_they_were_sent() {
        let asked = Asked::Offers(ManifestKey(Digest::of(b"key")));
        let mut wire = Vec::new();
        let hello = Hello {
            build: Some(7),
            dir: Some("/project".into()),
        };
        write_message(&mut wire, &hello).unwrap();
        write_message(&mut wire, &asked).unwrap();
        let mut wire = wire.as_slice();
        assert_eq!(read_message(&mut wire).unwrap(), Some(hello));
        assert_eq!(read_message(&mut wire).unwrap(), Some(asked));
        assert_eq!(read_message::<Asked>(&mut wire).unwrap(), None);
        assert!(read_message::<Asked>(&mut [0xff_u8; 64].as_slice()).is_err());
        assert!(read_message::<Asked>(&mut b"cwrpH\x01\0\0".as_slice()).is_err());
    }
}
