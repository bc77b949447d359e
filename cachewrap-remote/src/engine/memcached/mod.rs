//! Memcached: an object is an item under its name, or several.
//!
//! ```text
//! memcached://host[:port][/prefix]     memcacheds: with TLS
//! item = 0x00 content                              an object of at most PART bytes
//!      | 0x01 length:u64 LE digest:64              one in parts; BLAKE3 of all of it, hexadecimal
//! part = <prefix>cw1/p/<digest>/<n>                the n-th PART bytes, from 0
//! ```
//! A server takes items up to a limit, 1 MB unless it is told otherwise, so that what is longer is kept in
//! parts. These are written first. Their names have the digest of the whole, which is checked when it is read: parts of two
//! writers do not mix. `add` writes what is absent, `cas` what was not replaced; a version is the server's number for
//! it. The protocol is the old one of text (`wire`), which everything speaks that calls itself memcached.
//!
//! # What can go wrong
//!
//! - *A part is gone*: the server removes each item by itself when it needs room. Then the object is not there, is
//!   written again by the next who has it, and may be replaced although something of it is still there.
//! - *Somebody else writes into parts*: the whole has another digest, and counts as gone.
//! - *The limit is lower than a part*: that is said as trouble, since nearly nothing could be kept.
//! - *A password for a server that asks for none* would be kept there as an item, for all to read; so it is sent as
//!   one that has expired.

mod wire;

use cache_core::remote::{Address, Condition, Engine, EngineError, Object, Scheme, Written};
use cache_core::{Digest, Environment};
use tokio::runtime::Runtime;

use super::connections::{self, Connections, host_and_port, no_place};
use super::{runtime, too_long};
use wire::{Connection, Item, Server, Store, Stored};

/// The port of memcached.
const PORT: u16 = 11211;

/// How long an item is at most, bytes; with its name below any server's limit.
const PART: usize = 512 << 10;

/// Parts that are asked for at once. What asks for them fits into what the system keeps for a connection, so that
/// nobody waits for the other.
const AT_ONCE: usize = 64;

/// The longest name that the protocol allows, bytes.
const LONGEST_NAME: usize = 250;

/// The longest name of an object of ours, bytes, with some to spare.
const LONGEST_OBJECT: usize = 150;

/// No object is longer than this, bytes.
const LONGEST: u64 = 1 << 30;

const WHOLE: u8 = 0;
const IN_PARTS: u8 = 1;

/// A server, and a prefix there.
pub(super) struct Memcached {
    runtime: Runtime,
    server: Server,
    prefix: String,
    connections: Connections<Connection>,
}

/// What is under a name.
enum There {
    Nothing,
    /// Something that is not whole, and the server's number for it.
    Broken(u64),
    Object(Vec<u8>, u64),
}

/// What an item says of the object.
#[derive(Debug, PartialEq, Eq)]
enum Head<'a> {
    Content(&'a [u8]),
    Parts { length: u64, digest: &'a str },
}

impl Memcached {
    pub(super) fn new(address: &Address, env: &Environment) -> Result<Self, EngineError> {
        let (authority, path) = address
            .place
            .split_once('/')
            .unwrap_or((&address.place, ""));
        let (host, port) = host_and_port(authority, PORT).ok_or_else(no_place)?;
        let prefix = connections::prefix(path);
        let is_plain = |byte: u8| byte.is_ascii_graphic();
        if !prefix.bytes().all(is_plain) || prefix.len() > LONGEST_NAME - LONGEST_OBJECT {
            return Err(wire::confused(
                "the prefix of the URL is too long, or has blanks",
            ));
        }
        let variable = |name: &str| env.get(name)?.to_str().filter(|value| !value.is_empty());
        let login = variable("MEMCACHED_USERNAME").zip(variable("MEMCACHED_PASSWORD"));
        let tls = address.scheme == Scheme::Memcacheds;
        Ok(Self {
            runtime: runtime()?,
            server: Server::new(host, port, tls, login)?,
            prefix,
            connections: Connections::default(),
        })
    }

    fn call<T>(
        &self,
        work: &impl AsyncFn(&mut Connection) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let connect = async || self.server.connect().await;
        self.runtime.block_on(self.connections.call(connect, work))
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn part(&self, digest: &str, n: usize) -> String {
        self.key(&format!("cw1/p/{digest}/{n}"))
    }

    /// What is under a name, all of it.
    async fn read(
        &self,
        connection: &mut Connection,
        name: &str,
        most: u64,
    ) -> Result<There, EngineError> {
        let longest = PART + 1;
        let key = self.key(name);
        let Some(Item { content, version }) = connection.get(&key, longest).await? else {
            return Ok(There::Nothing);
        };
        let (length, digest) = match Head::decode(&content) {
            Some(Head::Content(content)) if content.len() as u64 > most => {
                return Err(too_long(most));
            }
            Some(Head::Content(content)) => {
                return Ok(There::Object(content.to_vec(), version));
            }
            Some(Head::Parts { length, .. }) if length > most => return Err(too_long(most)),
            Some(Head::Parts { length, digest }) if length <= LONGEST => (length, digest),
            _ => return Ok(There::Broken(version)),
        };
        let mut whole = Vec::new();
        let keys = (0..length.div_ceil(PART as u64)).filter_map(|n| usize::try_from(n).ok());
        let keys: Vec<String> = keys.map(|n| self.part(digest, n)).collect();
        for keys in keys.chunks(AT_ONCE) {
            if !connection.append(keys, PART, &mut whole).await? {
                return Ok(There::Broken(version));
            }
        }
        Ok(if Digest::of(&whole).to_hex() == digest {
            There::Object(whole, version)
        } else {
            There::Broken(version)
        })
    }

    /// Writes the parts of an object that needs some; what to keep under its name.
    async fn prepare(
        &self,
        connection: &mut Connection,
        object: &[u8],
    ) -> Result<Vec<u8>, EngineError> {
        if object.len() <= PART {
            return Ok([&[WHOLE], object].concat());
        }
        let digest = Digest::of(object).to_hex();
        for (n, part) in object.chunks(PART).enumerate() {
            let key = self.part(&digest, n);
            connection.store(Store::Set, &key, part).await?;
        }
        let length = (object.len() as u64).to_le_bytes();
        Ok([&[IN_PARTS], length.as_slice(), digest.as_bytes()].concat())
    }

    async fn write(
        &self,
        connection: &mut Connection,
        name: &str,
        object: &[u8],
        condition: Condition<'_>,
    ) -> Result<Written, EngineError> {
        let item = self.prepare(connection, object).await?;
        let key = self.key(name);
        let how = match condition {
            Condition::Always => Store::Set,
            Condition::Absent => Store::Add,
            // What is no number of this server's is no version that is there.
            Condition::Version(version) => match version.parse() {
                Ok(version) => Store::Replace(version),
                Err(_) => return Ok(Written::No),
            },
        };
        if connection.store(how, &key, &item).await? == Stored::Yes {
            return Ok(Written::Yes);
        }
        // Of what is there something may be gone; that is as good as absent.
        if condition == Condition::Absent
            && let There::Broken(version) = self.read(connection, name, u64::MAX).await?
            && connection
                .store(Store::Replace(version), &key, &item)
                .await?
                == Stored::Yes
        {
            return Ok(Written::Yes);
        }
        Ok(Written::No)
    }
}

impl<'a> Head<'a> {
    fn decode(item: &'a [u8]) -> Option<Self> {
        match item.split_first()? {
            (&WHOLE, content) => Some(Self::Content(content)),
            (&IN_PARTS, rest) => {
                let (length, digest) = rest.split_first_chunk::<8>()?;
                let digest = std::str::from_utf8(digest).ok()?;
                let is_hex = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
                is_hex.then_some(Self::Parts {
                    length: u64::from_le_bytes(*length),
                    digest,
                })
            }
            _ => None,
        }
    }
}

impl Engine for Memcached {
    fn get(&self, name: &str, most: u64) -> Result<Option<Object>, EngineError> {
        self.call(&async |connection: &mut Connection| {
            let there = self.read(connection, name, most).await?;
            let There::Object(bytes, version) = there else {
                return Ok(None);
            };
            let version = Some(version.to_string());
            Ok(Some(Object { bytes, version }))
        })
    }

    /// Reads all of it: that one part is there does not say that the others are.
    fn has(&self, name: &str) -> Result<bool, EngineError> {
        self.call(&async |connection: &mut Connection| {
            let there = self.read(connection, name, u64::MAX).await?;
            Ok(matches!(there, There::Object(..)))
        })
    }

    fn put(
        &self,
        name: &str,
        bytes: &[u8],
        condition: Condition<'_>,
    ) -> Result<Written, EngineError> {
        self.call(&async |connection: &mut Connection| {
            self.write(connection, name, bytes, condition).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_item_of_ours_is_none() {
        let digest = "ab".repeat(32);
        let parts = [&[1, 5, 0, 0, 0, 0, 0, 0, 0], digest.as_bytes()].concat();
        let expected = Head::Parts {
            length: 5,
            digest: &digest,
        };
        assert_eq!(Head::decode(&parts), Some(expected));
        assert_eq!(Head::decode(b"\0x"), Some(Head::Content(b"x")));
        let named = [&[1, 5, 0, 0, 0, 0, 0, 0, 0], "z ".repeat(32).as_bytes()].concat();
        for item in [b"".as_slice(), b"\x02x", &parts[..72], &named] {
            assert_eq!(Head::decode(item), None);
        }
    }
}
