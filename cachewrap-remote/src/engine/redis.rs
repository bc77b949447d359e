//! Redis and Valkey: an object is a string under its name.
//!
//! ```text
//! redis://host[:port][/database][/prefix]
//! ```
//! `SET … NX` writes what is absent; replacing a version is a transaction (`WATCH`, compare, `SET`), a version being the digest
//! of what was read. Long values are read piece by piece, so that it is seen whether they move.
//! The `redis` crate itself is used: OpenDAL's service has no conditions, and asks for a sign of life before each call.

use std::time::{Duration, Instant};

use cache_core::remote::{
    Address, Condition, Engine, EngineError, Object, Scheme, Trouble, Written,
};
use cache_core::{Digest, Environment};
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo,
    RedisError,
};
use tokio::runtime::Runtime;

use super::connections::{self, Connections, host_and_port, no_place};
use super::{ANSWER, CONNECT, KEPT, PROGRESS, SLOWEST, runtime, slow, too_long};

/// The port of Redis.
const PORT: u16 = 6379;

/// How much is read in the first step, bytes.
const PIECE: u64 = 256 << 10;

/// And at most so much in one.
const LONGEST_PIECE: u64 = 8 << 20;

/// A server, and a prefix there.
pub(super) struct Redis {
    runtime: Runtime,
    client: Client,
    prefix: String,
    connections: Connections<MultiplexedConnection>,
}

/// Where a place is.
#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    host: &'a str,
    port: u16,
    database: i64,
    prefix: String,
}

impl Redis {
    pub(super) fn new(address: &Address, env: &Environment) -> Result<Self, EngineError> {
        let place = Place::parse(&address.place).ok_or_else(no_place)?;
        let host = place.host.to_owned();
        let server = if address.scheme == Scheme::Rediss {
            let (insecure, tls_params) = (false, None);
            ConnectionAddr::TcpTls {
                host,
                port: place.port,
                insecure,
                tls_params,
            }
        } else {
            ConnectionAddr::Tcp(host, place.port)
        };
        let variable = |name: &str| env.get(name)?.to_str().filter(|value| !value.is_empty());
        let mut who = RedisConnectionInfo::default().set_db(place.database);
        if let Some(name) = variable("REDIS_USERNAME") {
            who = who.set_username(name);
        }
        if let Some(password) = variable("REDIS_PASSWORD") {
            who = who.set_password(password);
        }
        let info = server.into_connection_info().map_err(|e| trouble(&e))?;
        Ok(Self {
            runtime: runtime()?,
            client: Client::open(info.set_redis_settings(who)).map_err(|e| trouble(&e))?,
            prefix: place.prefix,
            connections: Connections::default(),
        })
    }

    /// Does something over a connection.
    fn call<T>(
        &self,
        work: &impl AsyncFn(&mut MultiplexedConnection) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let done = self.connections.call(async || self.connect().await, work);
        self.runtime.block_on(done)
    }

    async fn connect(&self) -> Result<MultiplexedConnection, EngineError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(None);
        let connecting = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        // Who we are is said within that, too.
        within(CONNECT + ANSWER, connecting).await
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl Place<'_> {
    fn parse(place: &str) -> Option<Place<'_>> {
        let (authority, path) = place.split_once('/').unwrap_or((place, ""));
        let (host, port) = host_and_port(authority, PORT)?;
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        let (database, prefix) = match first.parse() {
            Ok(database) => (database, rest),
            Err(_) => (0, path),
        };
        Some(Place {
            host,
            port,
            database,
            prefix: connections::prefix(prefix),
        })
    }
}

impl Engine for Redis {
    fn get(&self, name: &str, most: u64) -> Result<Option<Object>, EngineError> {
        let key = self.key(name);
        self.call(&async |connection: &mut MultiplexedConnection| {
            let Some(bytes) = read(connection, &key, most).await? else {
                return Ok(None);
            };
            let version = Some(Digest::of(&bytes).to_hex());
            Ok(Some(Object { bytes, version }))
        })
    }

    fn has(&self, name: &str) -> Result<bool, EngineError> {
        let key = self.key(name);
        self.call(&async |connection: &mut MultiplexedConnection| {
            let exists = redis::cmd("EXISTS").arg(&key).to_owned();
            within(ANSWER, exists.query_async(connection)).await
        })
    }

    fn put(
        &self,
        name: &str,
        bytes: &[u8],
        condition: Condition<'_>,
    ) -> Result<Written, EngineError> {
        let key = self.key(name);
        let patience = KEPT + Duration::from_secs(bytes.len() as u64 / SLOWEST);
        self.call(&async |connection: &mut MultiplexedConnection| {
            let mut set = redis::cmd("SET");
            set.arg(&key).arg(bytes);
            let done: Option<String> = match condition {
                Condition::Always => within(patience, set.query_async(connection)).await?,
                Condition::Absent => {
                    set.arg("NX");
                    within(patience, set.query_async(connection)).await?
                }
                Condition::Version(version) => {
                    let watch = redis::cmd("WATCH").arg(&key).to_owned();
                    let () = within(ANSWER, watch.query_async(connection)).await?;
                    let there = read(connection, &key, u64::MAX).await?;
                    if there.is_none_or(|there| Digest::of(&there).to_hex() != version) {
                        let unwatch = redis::cmd("UNWATCH");
                        let () = within(ANSWER, unwatch.query_async(connection)).await?;
                        return Ok(Written::No);
                    }
                    let mut transaction = redis::pipe();
                    let transaction = transaction.atomic().add_command(set);
                    let done: Option<(String,)> =
                        within(patience, transaction.query_async(connection)).await?;
                    done.map(|(done,)| done)
                }
            };
            Ok(if done.is_some() {
                Written::Yes
            } else {
                Written::No
            })
        })
    }
}

/// Reads a value piece by piece; each is as long as it may be for coming in good time.
async fn read(
    connection: &mut MultiplexedConnection,
    key: &str,
    most: u64,
) -> Result<Option<Vec<u8>>, EngineError> {
    let range = |begin: u64, end: u64| {
        let mut range = redis::cmd("GETRANGE");
        range.arg(key).arg(begin).arg(end.saturating_sub(1));
        range
    };
    let mut first = redis::pipe();
    first.cmd("STRLEN").arg(key).add_command(range(0, PIECE));
    let (length, mut bytes): (u64, Vec<u8>) = within(ANSWER, first.query_async(connection)).await?;
    if length == 0 {
        return Ok(None);
    }
    if length > most {
        return Err(too_long(most));
    }
    let mut piece = PIECE;
    while (bytes.len() as u64) < length {
        let (asked, begin) = (Instant::now(), bytes.len() as u64);
        let range = range(begin, length.min(begin + piece));
        let more: Vec<u8> = within(PROGRESS, range.query_async(connection)).await?;
        if more.is_empty() {
            return Err(EngineError::new(
                Trouble::Confused,
                "the value became shorter",
            ));
        }
        bytes.extend(more);
        let is_quick = asked.elapsed() < PROGRESS / 8;
        piece = if is_quick {
            LONGEST_PIECE.min(piece * 2)
        } else {
            PIECE
        };
    }
    Ok(Some(bytes))
}

async fn within<T>(
    time: Duration,
    work: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, EngineError> {
    match tokio::time::timeout(time, work).await {
        Ok(done) => done.map_err(|e| trouble(&e)),
        Err(_) => Err(slow(format!("no answer within {time:?}"))),
    }
}

fn trouble(error: &RedisError) -> EngineError {
    let kind = match error.code() {
        Some("NOAUTH" | "WRONGPASS" | "NOPERM" | "READONLY") => Trouble::Denied,
        Some("BUSY" | "LOADING" | "OOM" | "TRYAGAIN") => Trouble::Throttled,
        _ if error.kind() == redis::ErrorKind::AuthenticationFailed => Trouble::Denied,
        _ if error.is_timeout() => Trouble::Slow,
        _ if error.is_io_error() || error.is_connection_dropped() => Trouble::Unreachable,
        _ => Trouble::Confused,
    };
    EngineError::new(kind, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_server_a_database_and_a_prefix() {
        let place = |host, port, database, prefix: &str| {
            Some(Place {
                host,
                port,
                database,
                prefix: prefix.to_owned(),
            })
        };
        for (text, expected) in [
            ("host", place("host", 6379, 0, "")),
            ("host:7/3", place("host", 7, 3, "")),
            ("host/3/team/a", place("host", 6379, 3, "team/a/")),
            ("host:7/team", place("host", 7, 0, "team/")),
            ("[::1]:7", place("::1", 7, 0, "")),
            ("[::1]", place("::1", 6379, 0, "")),
            ("host:x", None),
            (":7", None),
        ] {
            assert_eq!(Place::parse(text), expected, "{text}");
        }
    }
}
