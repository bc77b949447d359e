//! Engines that are reached over a network, each behind [`cache_core::remote::Engine`].
//!
//! | module | what is there |
//! |---|---|
//! | `cloud` | S3, GCS, Azure and WebDAV, whose protocols are OpenDAL's |
//! | `failed` | what kind of trouble a failed call is |
//! | `services` | which service an address names, and where its credentials are |
//! | `bazel` | servers with the layout of Bazel's caches |
//! | `ghac` | the cache of GitHub Actions |
//! | `transport` | one HTTP exchange, within the limits below |
//! | `redis` | Redis and Valkey |
//! | `memcached` | memcached |
//! | `connections` | those of engines that do not speak HTTP |
//! | `discreet` | no secret in what is said |
//!
//! # Time
//!
//! A build waits for what is read, so that reading ends soon: [`CONNECT`], [`ANSWER`], [`PROGRESS`] and, for what drips, [`SLOWEST`].
//! Nothing that failed is tried again, but for a connection that the server closed (`transport`); the next build is the next try. Nobody waits for what is written, which servers may take a while to
//! keep: [`KEPT`].

mod bazel;
mod cloud;
mod connections;
mod discreet;
mod failed;
mod ghac;
mod memcached;
mod redis;
mod services;
mod transport;

use std::fmt::Display;
use std::sync::Once;
use std::time::{Duration, Instant};

use cache_core::remote::{
    Condition, Directory, Engine, EngineError, Listed, Object, Scheme, Trouble, Written,
};

use crate::context::Context;

/// How long connecting may take, a handshake included.
const CONNECT: Duration = Duration::from_millis(500);

/// How long it may take until an answer begins.
const ANSWER: Duration = Duration::from_millis(700);

/// How long nothing may move.
const PROGRESS: Duration = Duration::from_millis(700);

/// How long it may take until something that is read begins, with whatever is asked before: where credentials
/// come from a service, or what a refusal means.
const BEGIN: Duration = Duration::from_millis(1500);

/// How much has to come in each second, bytes.
const SLOWEST: u64 = 64 << 10;

/// How long a server may take to keep what it was sent.
const KEPT: Duration = Duration::from_secs(10);

/// The engine that is set. One that cannot be used says why whenever it is asked.
pub(crate) fn open(context: &Context) -> Box<dyn Engine> {
    install_cryptography();
    let Context { env, settings, .. } = context;
    let engine = match settings.address.scheme {
        Scheme::Directory => {
            Ok(Box::new(Directory::new(&settings.address.place)) as Box<dyn Engine>)
        }
        Scheme::Redis | Scheme::Rediss => {
            redis::Redis::new(&settings.address, env).map(|redis| Box::new(redis) as _)
        }
        Scheme::Memcached | Scheme::Memcacheds => memcached::Memcached::new(&settings.address, env)
            .map(|memcached| Box::new(memcached) as _),
        Scheme::Bazel | Scheme::Bazels => {
            bazel::Bazel::new(&settings.address, env).map(|bazel| Box::new(bazel) as _)
        }
        Scheme::Ghac => ghac::Ghac::new(context).map(|ghac| Box::new(ghac) as _),
        _ => cloud::Cloud::new(settings, env).map(|cloud| Box::new(cloud) as _),
    };
    let engine = engine.unwrap_or_else(|e| Box::new(Unusable(e)));
    Box::new(discreet::Discreet::new(engine, env))
}

/// TLS works with one implementation of its primitives in the whole process.
fn install_cryptography() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Fails only where there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

fn runtime() -> Result<tokio::runtime::Runtime, EngineError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build();
    runtime.map_err(|e| EngineError::new(Trouble::Store, e))
}

/// An error and those that it came from.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

/// How quickly what is read comes.
struct Pace {
    begun: Instant,
    second: Instant,
    in_second: u64,
    so_far: u64,
    /// How long all of it is, bytes.
    length: u64,
    /// How long all of it may take.
    whole: Option<Duration>,
}

impl Pace {
    fn new() -> Self {
        Self::of(0, None)
    }

    fn of(length: u64, whole: Option<Duration>) -> Self {
        let now = Instant::now();
        Self {
            begun: now,
            second: now,
            in_second: 0,
            so_far: 0,
            length,
            whole,
        }
    }

    /// Notes that some came, bytes; an error if it is too little in a second, or all of it would take too long.
    fn came(&mut self, length: u64) -> Result<(), EngineError> {
        self.in_second += length;
        self.so_far += length;
        if self.second.elapsed() < Duration::from_secs(1) {
            return Ok(());
        }
        if self.in_second < SLOWEST {
            return Err(slow(format!("{} bytes came in a second", self.in_second)));
        }
        if let Some(whole) = self.whole {
            let taken = self.begun.elapsed();
            let expected =
                taken.as_millis() * u128::from(self.length) / u128::from(self.so_far.max(1));
            if expected.max(taken.as_millis()) > whole.as_millis() {
                let what = format!("{} bytes would take longer than {whole:?}", self.length);
                return Err(slow(what));
            }
        }
        (self.second, self.in_second) = (Instant::now(), 0);
        Ok(())
    }
}

/// The SHA-256 of bytes as lower-case hexadecimal digits.
fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    use sha2::{Digest as _, Sha256};
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

fn slow(what: impl Display) -> EngineError {
    EngineError::new(Trouble::Slow, what)
}

fn too_long(most: u64) -> EngineError {
    EngineError::new(
        Trouble::TooLong,
        format!("the object is longer than {most} bytes"),
    )
}

/// An engine that cannot be opened.
struct Unusable(EngineError);

impl Engine for Unusable {
    fn get(&self, _: &str, _: u64) -> Result<Option<Object>, EngineError> {
        Err(self.0.clone())
    }

    fn has(&self, _: &str) -> Result<bool, EngineError> {
        Err(self.0.clone())
    }

    fn put(&self, _: &str, _: &[u8], _: Condition<'_>) -> Result<Written, EngineError> {
        Err(self.0.clone())
    }

    fn list(&self, _: &str) -> Result<Option<Vec<Listed>>, EngineError> {
        Err(self.0.clone())
    }
}
