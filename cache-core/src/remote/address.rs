//! Where a remote is: a URL with its settings.
//!
//! ```text
//! url     = scheme "://" place [ "?" option *( "&" option ) ]
//! option  = name "=" value            with %-escapes
//! scheme  = one of the table [`Scheme`]
//! ```
//! For every scheme there are `mode=read|write` (read, unless told otherwise) and `namespace=name`, which
//! keeps what is shared apart from what others share in the same place; a scheme may have more. A URL is
//! shown to people and stands in environments that everybody reads, so one that holds a
//! credential is refused; these come from where each engine's own tools take them.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::Path;

/// The kinds of engines: their scheme, and the options that they have besides those of all.
const SCHEMES: &[(Scheme, &str, &[&str])] = &[
    (Scheme::Directory, "file", &[]),
    (Scheme::S3, "s3", &["region", "endpoint"]),
    (Scheme::Gcs, "gcs", &["endpoint"]),
    (Scheme::Azblob, "azblob", &["endpoint", "account"]),
    (Scheme::Webdav, "webdav", &[]),
    (Scheme::Webdavs, "webdavs", &[]),
    (Scheme::Redis, "redis", &[]),
    (Scheme::Rediss, "rediss", &[]),
    (Scheme::Memcached, "memcached", &[]),
    (Scheme::Memcacheds, "memcacheds", &[]),
    (Scheme::Bazel, "bazel+http", &[]),
    (Scheme::Bazels, "bazel+https", &[]),
    (Scheme::Ghac, "ghac", &[]),
];

/// A kind of engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scheme {
    /// A directory that several machines, or containers, mount.
    Directory,
    /// Amazon S3 and what speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azblob,
    /// `WebDAV` over HTTP.
    Webdav,
    /// `WebDAV` over HTTPS.
    Webdavs,
    /// Redis and Valkey.
    Redis,
    /// Redis over TLS.
    Rediss,
    /// Memcached.
    Memcached,
    /// Memcached over TLS.
    Memcacheds,
    /// A cache for Bazel over HTTP.
    Bazel,
    /// A cache for Bazel over HTTPS.
    Bazels,
    /// The cache of GitHub Actions.
    Ghac,
}

/// What may be done with a remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Results are taken from it.
    Read,
    /// And what is made here is sent to it.
    Write,
}

/// Where a remote is, and how it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Address {
    /// Which engine.
    pub scheme: Scheme,
    /// What follows `://`: a bucket and a prefix, a host and a path, or a path.
    pub place: String,
    /// What may be done.
    pub mode: Mode,
    /// Whose results these are.
    pub namespace: String,
    /// Options of the engine.
    pub options: BTreeMap<String, String>,
}

impl Address {
    /// Reads a URL.
    ///
    /// ```
    /// use cache_core::remote::{Address, Mode};
    /// let address = Address::parse("s3://cache/rust?region=eu-west-1&mode=write").unwrap();
    /// assert_eq!((address.place.as_str(), address.mode), ("cache/rust", Mode::Write));
    /// assert!(Address::parse("redis://:secret@host").is_none());
    /// ```
    pub fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (scheme, _, known) = SCHEMES.iter().find(|(_, name, _)| *name == scheme)?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let place = unescape(place)?;
        let mut address = Self {
            scheme: *scheme,
            place: place.trim_end_matches('/').to_owned(),
            mode: Mode::Read,
            namespace: "default".to_owned(),
            options: BTreeMap::new(),
        };
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=')?;
            let value = unescape(value)?;
            match name {
                "mode" => address.mode = Mode::of_name(&value)?,
                "namespace" => address.namespace = value,
                name if known.contains(&name) && !holds_credential(&value) => {
                    address.options.insert(name.to_owned(), value);
                }
                _ => return None,
            }
        }
        (is_name(&address.namespace) && address.has_good_place()).then_some(address)
    }

    fn has_good_place(&self) -> bool {
        if self.scheme == Scheme::Directory {
            return Path::new(&self.place).is_absolute();
        }
        // No name may begin another one with what follows it: entries are found by how they begin.
        if self.scheme == Scheme::Ghac {
            return is_name(&self.place);
        }
        let names_host = self
            .place
            .split('/')
            .next()
            .is_some_and(|host| !host.is_empty());
        names_host && !holds_credential(&self.place)
    }

    /// The name of the scheme.
    pub fn scheme_name(&self) -> &'static str {
        let known = SCHEMES.iter().find(|(scheme, ..)| *scheme == self.scheme);
        known.map_or("", |(_, name, _)| name)
    }
}

impl Mode {
    fn of_name(name: &str) -> Option<Self> {
        match name {
            "read" => Some(Self::Read),
            "write" => Some(Self::Write),
            _ => None,
        }
    }

    /// Its name in URLs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, place) = (self.scheme_name(), &self.place);
        let (mode, namespace) = (self.mode.name(), &self.namespace);
        write!(
            f,
            "{scheme}://{}?mode={mode}&namespace={namespace}",
            escape(place)
        )?;
        for (name, value) in &self.options {
            write!(f, "&{name}={}", escape(value))?;
        }
        Ok(())
    }
}

/// Whether a text is a plain word.
fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !text.is_empty() && text.chars().all(is_plain) && !text.starts_with('.') && text.len() <= 64
}

/// Whether an authority, with or without a scheme before it, has a part for who asks.
fn holds_credential(text: &str) -> bool {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    authority.contains('@')
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
        } else {
            byte
        });
    }
    let plain = String::from_utf8(plain).ok()?;
    (!plain.contains(char::is_control)).then_some(plain)
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"/:._-~@[]".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_is_what_its_url_says() {
        let url =
            "s3://bucket/a%20b/?region=x&endpoint=http://127.0.0.1:8333&mode=write&namespace=n";
        let address = Address::parse(url).unwrap();
        assert_eq!(address.place, "bucket/a b");
        assert_eq!(address.options["endpoint"], "http://127.0.0.1:8333");
        assert_eq!((address.mode, &*address.namespace), (Mode::Write, "n"));
        let bazel = Address::parse("bazel+https://host:8080/team").unwrap();
        assert_eq!(
            bazel.to_string(),
            "bazel+https://host:8080/team?mode=read&namespace=default"
        );
        let ghac = Address::parse("ghac://build-ubuntu?mode=write").unwrap();
        assert_eq!((ghac.scheme, &*ghac.place), (Scheme::Ghac, "build-ubuntu"));
        let file = Address::parse("file:///srv/cache").unwrap();
        assert_eq!((file.place.as_str(), file.mode), ("/srv/cache", Mode::Read));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for url in [
            "",
            "/srv/cache",
            "file://relative",
            "file://",
            "ftp://host/x",
            "s3://",
            "s3:///prefix",
            "s3://bucket?mode=rw",
            "s3://bucket?unknown=1",
            "s3://bucket?region",
            "s3://bucket?namespace=a/b",
            "s3://bucket?namespace=..",
            "s3://bucket?namespace=",
            "s3://bucket%00",
            "s3://bucket%4",
            "redis://user:password@host",
            "redis://password@host/1",
            "memcacheds://user:password@host",
            "webdavs://user@host/x",
            "s3://bucket?endpoint=https://key:secret@host",
            "ghac://",
            "ghac://a/b",
            "ghac://a,b",
        ] {
            assert_eq!(Address::parse(url), None, "{url}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(url in "(s3|file|redis)://[a-z/%@? ]{0,20}(\\?mode=(read|write))?") {
            if let Some(address) = Address::parse(&url) {
                prop_assert_eq!(Address::parse(&address.to_string()), Some(address));
            }
        }
    }
}
