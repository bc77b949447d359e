//! Connections of our own: where they lead, and keeping them for the next call.

use std::sync::{Mutex, MutexGuard, PoisonError};

use cache_core::remote::{EngineError, Trouble};

/// How many are kept.
const MOST: usize = 16;

/// Connections that nobody uses at the moment.
pub(super) struct Connections<C>(Mutex<Vec<C>>);

impl<C> Default for Connections<C> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<C> Connections<C> {
    /// Does something over a connection, which is kept only if all went well. One that was kept may have been closed
    /// meanwhile; then it is done over a new one.
    pub(super) async fn call<T>(
        &self,
        connect: impl AsyncFnOnce() -> Result<C, EngineError>,
        work: &impl AsyncFn(&mut C) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let kept = self.idle().pop();
        if let Some(mut connection) = kept {
            let done = work(&mut connection).await;
            if !matches!(&done, Err(e) if e.trouble == Trouble::Unreachable) {
                return self.keep(connection, done);
            }
            self.idle().clear();
        }
        let mut connection = connect().await?;
        let done = work(&mut connection).await;
        self.keep(connection, done)
    }

    fn keep<T>(&self, connection: C, done: Result<T, EngineError>) -> Result<T, EngineError> {
        let mut idle = self.idle();
        if done.is_ok() && idle.len() < MOST {
            idle.push(connection);
        }
        done
    }

    fn idle(&self) -> MutexGuard<'_, Vec<C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The host and the port of an authority, `host`, `host:port` or `[::1]:port`.
pub(super) fn host_and_port(authority: &str, usual: u16) -> Option<(&str, u16)> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, usual),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then_some((host, port))
}

/// What the names of objects begin with: a path of the URL and a slash, or nothing.
pub(super) fn prefix(path: &str) -> String {
    if path.is_empty() {
        String::new()
    } else {
        format!("{path}/")
    }
}

/// An address that leads nowhere.
pub(super) fn no_place() -> EngineError {
    let what = "the host or the port of the URL is not valid";
    EngineError::new(Trouble::Confused, what)
}
