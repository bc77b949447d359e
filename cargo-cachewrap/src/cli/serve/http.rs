//! As much of HTTP/1.1 (RFC 9112) as two pages need: a request without a body, one answer, the end.
//!
//! What a client can do to us is bounded: a connection has [`TIME`] for each of its halves, a request [`LARGEST`] bytes and
//! [`HEADERS`] headers, and what is sent besides is read only so far that the client sees the answer.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// How long a client may take to ask, and again to take the answer.
const TIME: Duration = Duration::from_secs(5);

/// How long a client may take to see that the answer has ended.
const PARTING: Duration = Duration::from_secs(1);

/// The largest request, bytes.
const LARGEST: usize = 8192;

const HEADERS: usize = 64;

/// How much is read after the answer, bytes. A connection that is closed with something unread is reset,
/// which can take the answer with it.
const REST: usize = 64 * 1024;

/// How an answer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    NotFound,
    NotAllowed,
    Bad,
    TimedOut,
    TooLarge,
    Broken,
    Unavailable,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::Bad => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::NotAllowed => "405 Method Not Allowed",
            Self::TimedOut => "408 Request Timeout",
            Self::TooLarge => "431 Request Header Fields Too Large",
            Self::Broken => "500 Internal Server Error",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

/// An answer.
pub(super) struct Page {
    status: Status,
    content_type: &'static str,
    body: String,
}

impl Page {
    pub(super) fn text(status: Status, body: String) -> Self {
        Self {
            status,
            content_type: "text/plain",
            body,
        }
    }

    pub(super) fn of_type(mut self, content_type: &'static str) -> Self {
        self.content_type = content_type;
        self
    }

    /// A page that says no more than its status does.
    fn plain(status: Status) -> Self {
        Self::text(status, format!("{}\n", status.line()))
    }
}

/// Answers one request with what `page` has at its path.
pub(super) fn answer(stream: &TcpStream, page: impl Fn(&str) -> Option<Page>) {
    let client = Client::new(stream, TIME);
    let (page, with_body) = match client.request() {
        Ok(Some(request)) => (found(&request, page), request.method != "HEAD"),
        // It has gone away.
        Ok(None) | Err(None) => return,
        Err(Some(status)) => (Page::plain(status), true),
    };
    Client::new(stream, TIME).send(&page, with_body);
    Client::new(stream, PARTING).finish();
}

/// Tells a client that there are too many, without waiting for anything.
pub(super) fn refuse(mut stream: &TcpStream) {
    // The first bytes that are sent always find room, and what has been asked is read if it is there.
    if stream.set_nonblocking(true).is_ok() {
        let _ = stream.write_all(&head(&Page::text(Status::Unavailable, String::new())));
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read(&mut [0; LARGEST]);
    }
}

struct Request {
    method: String,
    path: String,
}

fn found(request: &Request, page: impl Fn(&str) -> Option<Page>) -> Page {
    let path = request.path.split('?').next().unwrap_or_default();
    let is_read = ["GET", "HEAD"].contains(&request.method.as_str());
    match path {
        _ if !is_read => Page::plain(Status::NotAllowed),
        path => page(path).unwrap_or_else(|| Page::plain(Status::NotFound)),
    }
}

fn head(page: &Page) -> Vec<u8> {
    let (line, content_type, length) = (page.status.line(), page.content_type, page.body.len());
    let allow = match page.status {
        Status::NotAllowed => "Allow: GET, HEAD\r\n",
        _ => "",
    };
    let head = format!(
        "HTTP/1.1 {line}\r\nContent-Type: {content_type}; charset=utf-8\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n{allow}Connection: close\r\n\r\n"
    );
    head.into_bytes()
}

struct Client<'s> {
    stream: &'s TcpStream,
    deadline: Instant,
}

impl<'s> Client<'s> {
    fn new(stream: &'s TcpStream, time: Duration) -> Self {
        let deadline = Instant::now() + time;
        Self { stream, deadline }
    }

    /// Reads a request. `None`: the client has gone. An error is what it is told, if anything.
    fn request(&self) -> Result<Option<Request>, Option<Status>> {
        let mut bytes = Vec::new();
        loop {
            let read = match self.read(&mut bytes) {
                Err(e) if is_late(&e) => return Err(Some(Status::TimedOut)),
                read => read.map_err(|_| None)?,
            };
            if read == 0 {
                return Ok(None);
            }
            let mut headers = [httparse::EMPTY_HEADER; HEADERS];
            let mut request = httparse::Request::new(&mut headers);
            match request.parse(&bytes) {
                Ok(httparse::Status::Complete(_)) => {
                    let (method, path) = (request.method.unwrap_or(""), request.path.unwrap_or(""));
                    return Ok(Some(Request {
                        method: method.to_owned(),
                        path: path.to_owned(),
                    }));
                }
                Ok(httparse::Status::Partial) if bytes.len() < LARGEST => {}
                Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Some(Status::TooLarge)),
                Err(_) => return Err(Some(Status::Bad)),
            }
        }
    }

    fn send(&self, page: &Page, with_body: bool) {
        let mut bytes = head(page);
        if with_body {
            bytes.extend_from_slice(page.body.as_bytes());
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let Ok(left) = self.left() else { return };
            let _ = self.stream.set_write_timeout(Some(left));
            let mut stream = self.stream;
            match stream.write(rest) {
                Ok(sent) if sent > 0 => rest = rest.get(sent..).unwrap_or_default(),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    }

    /// Lets the client see the answer before the connection ends.
    fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        let mut rest = Vec::new();
        while rest.len() < REST && self.read(&mut rest).is_ok_and(|read| read > 0) {}
    }

    /// Reads a piece more.
    fn read(&self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        let mut piece = [0; 1024];
        loop {
            self.stream.set_read_timeout(Some(self.left()?))?;
            let mut stream = self.stream;
            match stream.read(&mut piece) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                read => {
                    let read = read?;
                    bytes.extend_from_slice(piece.get(..read).unwrap_or_default());
                    return Ok(read);
                }
            }
        }
    }

    /// The time that is left, at least a little: no time at all would mean to wait for ever.
    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left < Duration::from_millis(1) {
            return Err(ErrorKind::TimedOut.into());
        }
        Ok(left)
    }
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
