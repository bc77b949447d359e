//! Memcached's protocol of text over one connection, within the limits of time of all engines.
//!
//! ```text
//! gets <key>                                  VALUE <key> <flags> <length> <version> CRLF <bytes> CRLF END
//! set|add <key> 0 0 <length> CRLF <bytes>     STORED, NOT_STORED
//! cas <key> 0 0 <length> <version> CRLF <bytes>     STORED, EXISTS, NOT_FOUND
//! set <any> 0 -1 <length> CRLF <name> <password>    STORED, where the server asks who we are (its option -Y)
//! ```
//! Anything else is trouble: `SERVER_ERROR …`, `CLIENT_ERROR …`, and what makes no sense.

use std::sync::Arc;
use std::time::Duration;

use cache_core::remote::{EngineError, Trouble};
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::{ANSWER, CONNECT, KEPT, PROGRESS, Pace, chain, slow, too_long};

/// How long a line may be that is no content, bytes.
const LONGEST_LINE: usize = 2 << 10;

/// How much is read at once, bytes.
const PIECE: usize = 256 << 10;

/// A server, and who we are there.
pub(super) struct Server {
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
    login: Option<String>,
}

impl Server {
    pub(super) fn new(
        host: &str,
        port: u16,
        tls: bool,
        login: Option<(&str, &str)>,
    ) -> Result<Self, EngineError> {
        let connector = || {
            let config = rustls::ClientConfig::builder().with_platform_verifier();
            let config = config.map_err(|e| broken(&e))?.with_no_client_auth();
            Ok(TlsConnector::from(Arc::new(config)))
        };
        let login = login.map(|(name, password)| format!("{name} {password}"));
        Ok(Self {
            host: host.to_owned(),
            port,
            tls: tls.then(connector).transpose()?,
            login,
        })
    }

    pub(super) async fn connect(&self) -> Result<Connection, EngineError> {
        let connecting = async {
            let address = (self.host.as_str(), self.port);
            let stream = TcpStream::connect(address).await.map_err(|e| broken(&e))?;
            // What is sent in two pieces would wait for a sign of the first, 40 ms each time.
            stream.set_nodelay(true).map_err(|e| broken(&e))?;
            let Some(connector) = &self.tls else {
                return Ok(Box::new(stream) as Box<dyn Stream>);
            };
            let name = ServerName::try_from(self.host.clone()).map_err(|e| broken(&e))?;
            let stream = connector.connect(name, stream).await;
            Ok(Box::new(stream.map_err(|e| broken(&e))?) as _)
        };
        let mut connection = Connection {
            stream: within(CONNECT, connecting).await?,
            came: Vec::new(),
        };
        if let Some(login) = &self.login {
            connection.log_in(login).await?;
        }
        Ok(connection)
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection. After an error it is not to be used any more.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    /// What came and was not asked for yet.
    came: Vec<u8>,
}

/// An item of the server's.
pub(super) struct Item {
    pub(super) content: Vec<u8>,
    /// The server's number for what is there.
    pub(super) version: u64,
}

/// When an item is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Store {
    /// At any time.
    Set,
    /// While there is none.
    Add,
    /// While this version is there.
    Replace(u64),
}

/// Whether an item was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    Yes,
    No,
}

impl Connection {
    /// An item that is not longer than that, bytes.
    pub(super) async fn get(
        &mut self,
        key: &str,
        longest: usize,
    ) -> Result<Option<Item>, EngineError> {
        self.send(format!("gets {key}\r\n").as_bytes()).await?;
        let mut content = Vec::new();
        let version = self.value(key, longest, &mut content).await?;
        Ok(version.map(|version| Item { content, version }))
    }

    /// Appends the contents of several items, each not longer than that, bytes; `false` if one is not there.
    pub(super) async fn append(
        &mut self,
        keys: &[String],
        longest: usize,
        to: &mut Vec<u8>,
    ) -> Result<bool, EngineError> {
        let asked = keys.iter().flat_map(|key| ["gets ", key, "\r\n"]);
        let asked: String = asked.collect();
        self.send(asked.as_bytes()).await?;
        let mut is_all = true;
        for key in keys {
            is_all &= self.value(key, longest, to).await?.is_some();
        }
        Ok(is_all)
    }

    /// The answer to `gets` of one key: the content is appended, the version returned.
    async fn value(
        &mut self,
        key: &str,
        longest: usize,
        to: &mut Vec<u8>,
    ) -> Result<Option<u64>, EngineError> {
        let line = self.line(ANSWER).await?;
        if line == "END" {
            return Ok(None);
        }
        let (length, version) = value_of(&line, key).ok_or_else(|| unexpected(&line))?;
        if length > longest {
            return Err(too_long(longest as u64));
        }
        self.content(length, to).await?;
        if self.line(PROGRESS).await?.is_empty() && self.line(PROGRESS).await? == "END" {
            return Ok(Some(version));
        }
        Err(confused("an item is not as long as was said"))
    }

    /// Stores an item.
    pub(super) async fn store(
        &mut self,
        how: Store,
        key: &str,
        content: &[u8],
    ) -> Result<Stored, EngineError> {
        let length = content.len();
        let head = match how {
            Store::Set => format!("set {key} 0 0 {length}\r\n"),
            Store::Add => format!("add {key} 0 0 {length}\r\n"),
            Store::Replace(version) => format!("cas {key} 0 0 {length} {version}\r\n"),
        };
        self.send(&[head.as_bytes(), content, b"\r\n"].concat())
            .await?;
        match &*self.line(KEPT).await? {
            "STORED" => Ok(Stored::Yes),
            "NOT_STORED" | "EXISTS" | "NOT_FOUND" => Ok(Stored::No),
            line => Err(unexpected(line)),
        }
    }

    async fn log_in(&mut self, login: &str) -> Result<(), EngineError> {
        let asked = format!("set login 0 -1 {}\r\n{login}\r\n", login.len());
        self.send(asked.as_bytes()).await?;
        let line = self.line(ANSWER).await?;
        (line == "STORED")
            .then_some(())
            .ok_or_else(|| unexpected(&line))
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        let sending = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        within(KEPT, async { sending.await.map_err(|e| broken(&e)) }).await
    }

    /// The next line, without its end.
    async fn line(&mut self, patience: Duration) -> Result<String, EngineError> {
        let reading = async {
            loop {
                if let Some(end) = self.came.windows(2).position(|two| two == b"\r\n") {
                    let line: Vec<u8> = self.came.drain(..end + 2).take(end).collect();
                    return String::from_utf8(line).map_err(|_| confused("no text was answered"));
                }
                if self.came.len() > LONGEST_LINE {
                    return Err(confused("a line has no end"));
                }
                self.read().await?;
            }
        };
        within(patience, reading).await
    }

    /// Appends so many bytes, as long as they come.
    async fn content(&mut self, length: usize, to: &mut Vec<u8>) -> Result<(), EngineError> {
        let mut left = length;
        let mut pace = Pace::new();
        loop {
            let taken = left.min(self.came.len());
            to.extend(self.came.drain(..taken));
            left -= taken;
            if left == 0 {
                return Ok(());
            }
            within(PROGRESS, self.read()).await?;
            pace.came(self.came.len() as u64)?;
        }
    }

    /// Reads what is there, after what came before.
    async fn read(&mut self) -> Result<(), EngineError> {
        self.came.reserve(PIECE);
        let read = self.stream.read_buf(&mut self.came).await;
        match read.map_err(|e| broken(&e))? {
            0 => Err(EngineError::new(Trouble::Unreachable, "the server hung up")),
            _ => Ok(()),
        }
    }
}

/// The length and the version of an item, of the line that announces it.
fn value_of(line: &str, key: &str) -> Option<(usize, u64)> {
    let rest = line
        .strip_prefix("VALUE ")?
        .strip_prefix(key)?
        .strip_prefix(' ')?;
    let mut words = rest.split(' ').skip(1);
    let (length, version) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    words.next().is_none().then_some((length, version))
}

async fn within<T>(
    time: Duration,
    work: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    let done = tokio::time::timeout(time, work).await;
    done.unwrap_or_else(|_| Err(slow(format!("no answer within {time:?}"))))
}

fn broken(error: &(dyn std::error::Error + 'static)) -> EngineError {
    EngineError::new(Trouble::Unreachable, chain(error))
}

pub(super) fn confused(what: &str) -> EngineError {
    EngineError::new(Trouble::Confused, what)
}

/// What kind of trouble an answer is that was not hoped for.
fn unexpected(line: &str) -> EngineError {
    let has = |words: &str| line.contains(words);
    if has("too large") {
        return confused(
            "the server takes no items of half a megabyte: start it without its option -I, or with a larger one",
        );
    }
    let trouble = if line.starts_with("SERVER_ERROR") {
        Trouble::Throttled
    } else if line.starts_with("CLIENT_ERROR") && has("auth") {
        Trouble::Denied
    } else {
        Trouble::Confused
    };
    let said: String = line.chars().filter(|c| !c.is_control()).take(100).collect();
    EngineError::new(trouble, format!("the server answered `{said}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_what_was_asked_for() {
        assert_eq!(value_of("VALUE a/b 0 12 7", "a/b"), Some((12, 7)));
        for line in [
            "VALUE a/c 0 12 7",
            "VALUE a/b 0 12",
            "VALUE a/b 0 x 7",
            "VALUE a/b 0 1 7 8",
            "OK",
        ] {
            assert_eq!(value_of(line, "a/b"), None, "{line}");
        }
    }

    #[test]
    fn answers_are_kinds_of_trouble() {
        for (line, trouble) in [
            (
                "SERVER_ERROR out of memory storing object",
                Trouble::Throttled,
            ),
            ("SERVER_ERROR object too large for cache", Trouble::Confused),
            ("CLIENT_ERROR unauthenticated", Trouble::Denied),
            ("CLIENT_ERROR authentication failure", Trouble::Denied),
            ("ERROR", Trouble::Confused),
        ] {
            assert_eq!(unexpected(line).trouble, trouble, "{line}");
        }
    }
}
