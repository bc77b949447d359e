//! The helper: answers what wrappers ask over a socket in the store, and sends what they queue.
//!
//! ```text
//! <socket>        where it listens; only its owner may connect
//! <socket>.lock   locked by who listens there, from before the socket is made until it is removed
//! ```
//! | module | what is there |
//! |---|---|
//! | `detached` | what a process gives up that no build may wait for |
//! | `place` | the socket and its lock |
//! | `talk` | one connection |
//! | `flights` | one fetch for all that ask for the same |
//! | `projects` | fetching what the projects that are built will need, and telling others what they needed |
//! | `sender` | sending what is queued |
//! | `life` | whose builds are served, and when it is over |
//!
//! # What can go wrong
//!
//! - *Several are started at once*: who gets the lock listens, and the others end.
//! - *It was killed*: the lock is free, and the socket that is left over is replaced.
//! - *Somebody connects while it ends*: it removes the socket, then unlocks, and only then looks who came last: they are
//!   served, while the next helper can already listen.
//! - *What is set cannot be used*: it listens all the same, and says so to who asks.
//! - *A panic*: ends one connection, or one fetch; whoever waits for it is told.

mod detached;
mod flights;
mod life;
mod place;
mod projects;
mod sender;
mod talk;

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cache_core::remote::{Engine, Remote};

use crate::context::Context;
use crate::engine;
use flights::Flights;
use life::Life;
use projects::Projects;
use sender::Sender;

/// How many connections there are at most. Each wrapper has one, for as long as it lives.
const CONNECTIONS: usize = 1024;

/// The stack of a thread that talks: it reads and writes short messages.
const STACK: usize = 256 << 10;

/// What all threads share.
struct Server {
    context: Context,
    engine: Box<dyn Engine>,
    flights: Flights,
    life: Life,
    sender: Sender,
    projects: Projects,
    connections: AtomicUsize,
}

impl Server {
    fn remote(&self) -> Remote<'_> {
        Remote::new(&self.context.store, &*self.engine, &self.context.settings)
    }
}

/// Serves until nobody needs it any more. Whoever started it is not told anything: that it listens is the answer.
pub(crate) fn serve(socket: &Path) -> ExitCode {
    if detached::detach().is_err() {
        return ExitCode::FAILURE;
    }
    let Ok(Some(place)) = place::Place::take(socket) else {
        return ExitCode::FAILURE;
    };
    let Ok(context) = Context::load() else {
        place.leave();
        return ExitCode::FAILURE;
    };
    let server = Arc::new(Server {
        engine: engine::open(&context),
        context,
        flights: Flights::default(),
        life: Life::default(),
        sender: Sender::default(),
        projects: Projects::default(),
        connections: AtomicUsize::new(0),
    });
    let sending = server.clone();
    let listening = (server.clone(), place.listener());
    let started = std::thread::Builder::new()
        .spawn(move || sender::run(&sending))
        .and_then(|_| {
            std::thread::Builder::new().spawn(move || listen(&listening.0, &listening.1))
        });
    if started.is_ok() {
        life::wait_until_over(&server);
        projects::tell_others(&server);
    }
    place.leave();
    // Who connected before the socket was removed.
    while server.connections.load(Ordering::SeqCst) > 0 || !sleep_quietly(&server) {}
    ExitCode::SUCCESS
}

/// Whether nobody came for a moment.
fn sleep_quietly(server: &Server) -> bool {
    std::thread::sleep(Duration::from_millis(50));
    server.connections.load(Ordering::SeqCst) == 0
}

fn listen(server: &Arc<Server>, listener: &UnixListener) {
    loop {
        let stream = listener.accept();
        let is_room = server.connections.load(Ordering::SeqCst) < CONNECTIONS;
        let Ok((stream, _)) = stream else {
            // Out of descriptors, say.
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        if !is_room {
            continue;
        }
        let connected = Connected::new(server.clone());
        let talking = move || talk::talk(&connected.0, stream);
        // Where there is no thread, the stream is closed, and the wrapper goes on alone.
        let _ = std::thread::Builder::new().stack_size(STACK).spawn(talking);
    }
}

/// Counts as a connection as long as it is there.
struct Connected(Arc<Server>);

impl Connected {
    fn new(server: Arc<Server>) -> Self {
        server.connections.fetch_add(1, Ordering::SeqCst);
        Self(server)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
    }
}
