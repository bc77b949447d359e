//! `serve`: metrics and health over HTTP, for who watches machines.
//!
//! A server of two pages. It holds no state but what it last found in the store, which takes time in proportion
//! to the store and is looked for again after [`FRESH`] at the earliest. Each connection has a thread, there are
//! at most [`MOST`] of them, and none lasts longer than `http` lets it, so clients that are slow, broken or many
//! cost others a moment. Connections beyond these are told 503 and closed.
//!
//! The main thread waits for connections and for SIGTERM or SIGINT, which come through a pipe. Then it accepts
//! nothing more, and the process ends when what is under way has been answered, successfully.

mod health;
mod http;

use std::io::{ErrorKind, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use cache_core::{Config, Store};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use super::args::ServeArgs;
use super::context::{Context, store};
use super::output::Failure;
use super::stats::{Contents, page};
use http::{Page, Status};

/// Connections at one time.
const MOST: usize = 16;

/// How long what was found in the store is told again.
const FRESH: Duration = Duration::from_secs(30);

/// A pause where no connection can be accepted, for want of descriptors, say.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) fn run(cx: &mut Context, args: &ServeArgs) -> Result<(), Failure> {
    let config = cx.config()?;
    let end = signals().map_err(|e| Failure::Failed(format!("failed to await signals: {e}")))?;
    let listen = |e| {
        let hint = "--listen takes another address or port";
        Failure::Failed(format!("failed to listen at {}: {e}; {hint}", args.listen))
    };
    let listener = TcpListener::bind(args.listen).map_err(listen)?;
    listener.set_nonblocking(true).map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    writeln!(
        cx.out,
        "Serving http://{address}/metrics and http://{address}/healthz"
    )?;
    cx.out.flush()?;
    let server = Server {
        store: store(&config),
        config,
        found: Mutex::new(None),
        connections: AtomicUsize::new(0),
    };
    server.until(&listener, &end).map_err(listen)
}

/// What becomes readable once the process is to end.
fn signals() -> std::io::Result<UnixStream> {
    let (end, signalled) = UnixStream::pair()?;
    for signal in [SIGTERM, SIGINT] {
        pipe::register(signal, signalled.try_clone()?)?;
    }
    Ok(end)
}

struct Server {
    store: Store,
    config: Config,
    /// What is in the store, and when that was found.
    found: Mutex<Option<(Instant, Contents)>>,
    connections: AtomicUsize,
}

impl Server {
    /// Serves until `end` is readable.
    fn until(&self, listener: &TcpListener, end: &UnixStream) -> std::io::Result<()> {
        thread::scope(|scope| {
            loop {
                match wait(listener, end) {
                    Ok(Ready::End) => return Ok(()),
                    Ok(Ready::Connection) => self.accept(listener, scope),
                    Err(e) => return Err(e),
                }
            }
        })
    }

    fn accept<'s>(&'s self, listener: &TcpListener, scope: &'s Scope<'s, '_>) {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            // The client has gone already.
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::ConnectionAborted
                ) =>
            {
                return;
            }
            Err(_) => return thread::sleep(PAUSE),
        };
        // On some systems it is as the listener is.
        if stream.set_nonblocking(false).is_err() {
            return;
        }
        let Some(place) = Place::take(&self.connections) else {
            return http::refuse(&stream);
        };
        let answer = move || {
            self.answer(&stream);
            drop(place);
        };
        // A thread that cannot be started drops the connection.
        let _ = thread::Builder::new().spawn_scoped(scope, answer);
    }

    fn answer(&self, stream: &TcpStream) {
        http::answer(stream, |path| match path {
            "/metrics" => Some(self.metrics()),
            "/healthz" => Some(health::page(&self.store, &self.config)),
            _ => None,
        });
    }

    fn metrics(&self) -> Page {
        match self.page() {
            Ok(text) => Page::text(Status::Ok, text).of_type("text/plain; version=0.0.4"),
            Err(e) => Page::text(Status::Broken, format!("{e}\n")),
        }
    }

    fn page(&self) -> Result<String, Failure> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let contents = match found.take() {
            Some((when, contents)) if when.elapsed() < FRESH => (when, contents),
            _ => (Instant::now(), Contents::read(&self.store)?),
        };
        page(&self.store, &self.config, &found.insert(contents).1)
    }
}

/// What was waited for.
enum Ready {
    Connection,
    End,
}

fn wait(listener: &TcpListener, end: &UnixStream) -> std::io::Result<Ready> {
    let mut awaited = [
        PollFd::new(end, PollFlags::IN),
        PollFd::new(listener, PollFlags::IN),
    ];
    while let Err(e) = poll(&mut awaited, None) {
        if e != Errno::INTR {
            return Err(e.into());
        }
    }
    let [end, _] = awaited;
    Ok(if end.revents().is_empty() {
        Ready::Connection
    } else {
        Ready::End
    })
}

/// One of the connections that there may be.
struct Place<'s>(&'s AtomicUsize);

impl<'s> Place<'s> {
    fn take(taken: &'s AtomicUsize) -> Option<Self> {
        let place = Self(taken);
        // Dropping it gives it back.
        (taken.fetch_add(1, Ordering::SeqCst) < MOST).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
