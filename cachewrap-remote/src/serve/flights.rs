//! One fetch for all that ask for the same.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache_core::entry::{ManifestKey, ResultKey};
use cache_core::remote::{Answer, Fetched};

use super::Server;

/// What can be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wanted {
    Offers(ManifestKey),
    Result(ManifestKey, ResultKey),
}

/// How many fetches there are at once; the others wait.
const AT_ONCE: usize = 32;

/// What is being fetched.
#[derive(Default)]
pub(super) struct Flights {
    under_way: Mutex<HashMap<Wanted, Arc<Flight>>>,
    running: Mutex<usize>,
    ended: Condvar,
}

/// A fetch that some wait for.
#[derive(Default)]
pub(super) struct Flight {
    answer: Mutex<Option<Answer>>,
    landed: Condvar,
}

impl Flight {
    /// Waits for the answer for a while.
    pub(super) fn wait(&self, time: Duration) -> Option<Answer> {
        let answer = lock(&self.answer);
        let waited = self
            .landed
            .wait_timeout_while(answer, time, |answer| answer.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

/// Has something fetched, unless it is already being.
pub(super) fn fetch(server: &Arc<Server>, wanted: Wanted) -> Arc<Flight> {
    let mut under_way = lock(&server.flights.under_way);
    if let Some(flight) = under_way.get(&wanted) {
        return flight.clone();
    }
    let flight = Arc::new(Flight::default());
    under_way.insert(wanted, flight.clone());
    let landing = Landing {
        server: server.clone(),
        wanted,
        flight: flight.clone(),
        answer: failed("the fetch ended unexpectedly"),
    };
    drop(under_way);
    // Where there is no thread, the landing is dropped with the closure, and says that it failed.
    let _ = std::thread::Builder::new().spawn(move || {
        let mut landing = landing;
        let _running = Running::begin(landing.server.clone());
        let answer = fetch_now(&landing.server, wanted);
        landing.answer = answer;
    });
    flight
}

fn fetch_now(server: &Server, wanted: Wanted) -> Answer {
    let remote = server.remote();
    Answer::of(match wanted {
        Wanted::Offers(key) => remote.fetch_offers(key).map(|found| {
            if found {
                Fetched::Placed(0)
            } else {
                Fetched::Missing
            }
        }),
        Wanted::Result(key, result) => remote.fetch_result(key, result),
    })
}

pub(super) fn failed(what: &str) -> Answer {
    Answer::Failed("confused".to_owned(), what.to_owned())
}

/// Tells those who wait, whatever happens.
struct Landing {
    server: Arc<Server>,
    wanted: Wanted,
    flight: Arc<Flight>,
    answer: Answer,
}

impl Drop for Landing {
    fn drop(&mut self) {
        lock(&self.server.flights.under_way).remove(&self.wanted);
        *lock(&self.flight.answer) = Some(self.answer.clone());
        self.flight.landed.notify_all();
    }
}

/// One of those that run at once.
struct Running(Arc<Server>);

impl Running {
    fn begin(server: Arc<Server>) -> Self {
        let flights = &server.flights;
        let running = lock(&flights.running);
        let running = flights
            .ended
            .wait_while(running, |running| *running >= AT_ONCE);
        *running.unwrap_or_else(PoisonError::into_inner) += 1;
        Self(server)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *lock(&self.0.flights.running) -= 1;
        self.0.flights.ended.notify_one();
    }
}

/// What is behind these locks is whole at every moment, also where a thread panicked.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
