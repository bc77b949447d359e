//! Starting a process under observation.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, mpsc};

use super::events::{Depth, Observation};
use super::filter;
use super::loader::VARIABLE;
use super::notes::Notes;
use super::preload;
use super::ring::Hears;
use super::shorter;
use super::supervise::Supervisor;
use super::sys::{self, Listener};
use super::unix;
use super::watchdog::Watchdog;
use crate::observe::{Exit, Object};

/// Starts `command` in `cwd` under observation, with this object loaded into it where it can be,
/// gives the child to `with_child` on a thread of its own (to read its streams), and returns when
/// it and its descendants have ended.
///
/// An error means that the command was not started, or could not be observed: then too
/// it was not started. Either way the command is of no further use.
pub(crate) fn spawn<T: Send>(
    command: &mut Command,
    cwd: Option<&Path>,
    depth: Depth,
    object: Option<Object<'_>>,
    with_child: impl FnOnce(&mut Child) -> T + Send,
) -> io::Result<(Exit, T, Observation)> {
    let object = object.filter(|_| preload::is_taken_by(command));
    let notes = object.and_then(|object| {
        command.env(VARIABLE, object.file);
        let notes = Notes::new().ok()?;
        notes.name(object.prefix_map);
        notes.hear(match depth {
            Depth::Usual => Hears::Libraries,
            Depth::Tree => Hears::First,
        });
        Some(notes)
    });
    let object = object.map(|object| object.file);
    let trusts_page = notes.is_some();
    let search_path = variable(command, shorter::VARIABLE);
    let (send, receive) = mpsc::channel();
    std::thread::scope(|scope| {
        let starter = scope.spawn(move || {
            let listener = match Listener::install(&filter::program(depth, trusts_page)) {
                Ok(listener) => listener,
                Err(e) => {
                    let _ = send.send(Err(e));
                    return None;
                }
            };
            // The compiler dies with this thread, which waits for its end.
            let prepared = unix::prepare_child(command, Some(listener.as_raw_fd()), cwd);
            if send.send(prepared.map(|()| listener)).is_err() {
                return None;
            }
            let _marks = Marks::begin();
            let started = command.spawn();
            Some(started.map(|mut child| {
                let value = with_child(&mut child);
                (child.wait(), value)
            }))
        });
        let listener = receive
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the starting thread ended")))?;
        let listener = Arc::new(listener);
        let watchdog = Watchdog::start(&listener);
        let seen = Supervisor::new(&listener, depth, &watchdog, notes, search_path, object).run();
        watchdog.stop();
        let ended = starter
            .join()
            .map_err(|_| io::Error::other("the starting thread panicked"))?
            .ok_or_else(|| io::Error::other("not started"))?;
        let (status, value) = ended?;
        Ok((status, value, seen))
    })
}

/// What a command says a variable is.
fn variable(command: &Command, name: &str) -> Option<OsString> {
    let mut variables = command.get_envs();
    variables.find_map(|(known, value)| value.filter(|_| known == name).map(OsStr::to_owned))
}

/// The calls between which the observed process runs. Their numbers tell whether the first or
/// the last call of all was given up; the second one tells that the process has ended, also
/// where the starting thread panics.
struct Marks;

impl Marks {
    fn begin() -> Self {
        sys::make_mark();
        Self
    }
}

impl Drop for Marks {
    fn drop(&mut self) {
        sys::make_mark();
    }
}
