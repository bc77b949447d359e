//! The socket and its lock.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::Mode;

/// How long one that is ending may hold the lock.
const ENDING: Duration = Duration::from_millis(200);

/// Where wrappers connect, as long as it is ours.
pub(super) struct Place {
    socket: PathBuf,
    listener: Arc<UnixListener>,
    /// Holds the lock.
    lock: File,
}

impl Place {
    /// Takes the place; `None` if another listens there.
    pub(super) fn take(socket: &Path) -> io::Result<Option<Self>> {
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(socket.with_extension("lock"))?;
        let until = Instant::now() + ENDING;
        while lock.try_lock().is_err() {
            if Instant::now() >= until || connect(socket).is_ok() {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // Left over by one that was killed.
        match std::fs::remove_file(socket) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        // Of the whole process, which has no other thread yet.
        let usual = rustix::process::umask(Mode::RWXG | Mode::RWXO);
        let bound = near(socket, UnixListener::bind);
        rustix::process::umask(usual);
        Ok(Some(Self {
            socket: socket.to_owned(),
            listener: Arc::new(bound?),
            lock,
        }))
    }

    pub(super) fn listener(&self) -> Arc<UnixListener> {
        self.listener.clone()
    }

    /// Makes room for the next. Who has connected stays connected.
    pub(super) fn leave(self) {
        // While the lock is ours, so is the socket.
        let _ = std::fs::remove_file(&self.socket);
        drop(self.lock);
    }
}

fn connect(socket: &Path) -> io::Result<UnixStream> {
    near(socket, UnixStream::connect)
}

/// Does something with a socket's path, or, where that is too long for an address, with one by way of its
/// directory.
fn near<T>(socket: &Path, with: impl Fn(PathBuf) -> io::Result<T>) -> io::Result<T> {
    match with(socket.to_owned()) {
        #[cfg(target_os = "linux")]
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
            use std::os::fd::AsRawFd as _;
            let dir = File::open(socket.parent().unwrap_or(Path::new("/")))?;
            let dir_path = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string());
            with(dir_path.join(socket.file_name().unwrap_or_default()))
        }
        done => done,
    }
}
