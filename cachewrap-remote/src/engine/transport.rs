//! One HTTP exchange, within limits of time and length.
//!
//! What a call of an engine comes to is seen here, below the protocols: the status, the version of what was got, and what went
//! wrong. Redirections are not followed: a request is signed for one host, and no object store that is set up
//! rightly redirects.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_core::remote::{EngineError, Trouble};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use opendal_core::{Buffer, Error, ErrorKind, HttpBody, HttpTransport};

use super::{ANSWER, BEGIN, CONNECT, KEPT, PROGRESS, Pace, chain, slow, too_long};

/// How often something is asked where the server closes the connection before it answers. It may close one that nobody used for a
/// while in the moment in which it is used again.
const TRIES: u32 = 2;

/// How much of the answer to what failed is read, bytes.
const EXPLANATION: u64 = 64 << 10;

/// How long a list of objects may be, bytes: WebDAV has no pages.
const LIST: u64 = 256 << 20;

/// How long a connection that nobody uses is kept; less than servers keep theirs.
const UNUSED: Duration = Duration::from_secs(4);

/// How much of what is sent is handed over at a time, bytes.
const PIECE: usize = 64 << 10;

/// The message of the error that stands for one that is in what was seen.
pub(super) const EXCHANGE: &str = "exchange";

/// The client of all exchanges.
pub(super) fn client() -> Result<reqwest::Client, EngineError> {
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .redirect(reqwest::redirect::Policy::none())
        .pool_idle_timeout(UNUSED)
        .user_agent(concat!("cachewrap/", env!("CARGO_PKG_VERSION")))
        .build();
    client.map_err(|e| EngineError::new(Trouble::Unreachable, chain(&e)))
}

/// A call of an engine, of which there may be several exchanges.
#[derive(Debug)]
pub(super) struct Call {
    most: u64,
    /// Until when the answer has to begin.
    begin: Option<Instant>,
    /// How long it may take until an answer begins where nothing is sent.
    patience: Duration,
    /// How long all that is read may take, once it has begun.
    whole: Option<Duration>,
    seen: Mutex<Seen>,
}

/// What was seen in the last exchange.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) status: Option<StatusCode>,
    /// What the service calls the reason, where it says one.
    pub(super) code: Option<String>,
    pub(super) version: Option<String>,
    /// What went wrong with the exchange itself.
    pub(super) trouble: Option<EngineError>,
}

impl Call {
    /// One that reads at most so many bytes.
    pub(super) fn reading(most: u64) -> Arc<Self> {
        let begin = Some(Instant::now() + BEGIN);
        Arc::new(Self {
            most,
            begin,
            patience: CONNECT + ANSWER,
            whole: None,
            seen: Mutex::default(),
        })
    }

    /// What is read after this, of at most so many bytes: it has no more time until it begins.
    pub(super) fn then(&self, most: u64) -> Arc<Self> {
        Arc::new(self.after(most, None))
    }

    /// The same where much may come, which is given up as soon as it is plain that it would take longer than that.
    pub(super) fn then_within(&self, most: u64, whole: Duration) -> Self {
        self.after(most, Some(whole))
    }

    fn after(&self, most: u64, whole: Option<Duration>) -> Self {
        Self {
            most,
            begin: self.begin,
            patience: self.patience,
            whole,
            seen: Mutex::default(),
        }
    }

    /// One that writes.
    pub(super) fn writing() -> Arc<Self> {
        Arc::new(Self {
            most: EXPLANATION,
            begin: None,
            patience: CONNECT + ANSWER,
            whole: None,
            seen: Mutex::default(),
        })
    }

    /// One that no build waits for: of lists, and of removing.
    pub(super) fn tidying() -> Arc<Self> {
        Arc::new(Self {
            most: LIST,
            begin: None,
            patience: KEPT,
            whole: None,
            seen: Mutex::default(),
        })
    }

    pub(super) fn seen(&self) -> Seen {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn see(&self, seen: Seen) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}

/// Exchanges of one call.
pub(super) struct Transport {
    pub(super) client: reqwest::Client,
    pub(super) call: Arc<Call>,
}

/// Exchanges of no call: credentials that come from a service.
pub(super) struct Plain(pub(super) reqwest::Client);

impl HttpTransport for Transport {
    async fn fetch(&self, request: Request<Buffer>) -> opendal_core::Result<Response<HttpBody>> {
        fetch(&self.client, &self.call, request).await
    }
}

impl HttpTransport for Plain {
    async fn fetch(&self, request: Request<Buffer>) -> opendal_core::Result<Response<HttpBody>> {
        fetch(&self.0, &Call::reading(EXPLANATION), request).await
    }
}

/// One exchange for the library, and what it was noted in the call.
async fn fetch(
    client: &reqwest::Client,
    call: &Call,
    request: Request<Buffer>,
) -> opendal_core::Result<Response<HttpBody>> {
    let is_head = request.method() == http::Method::HEAD;
    let answered = exchange(client, call, request).await;
    call.see(match &answered {
        Ok(answer) => answer.seen(),
        Err(e) => Seen {
            trouble: Some(e.clone()),
            ..Seen::default()
        },
    });
    // The text stays here: what is said is made of what was seen.
    let unexpected = || Error::new(ErrorKind::Unexpected, EXCHANGE);
    let answer = answered.map_err(|_| unexpected())?;
    let length = (!is_head).then_some(answer.content.len() as u64);
    let content = futures_util::stream::iter([Ok(answer.content)]);
    let mut response = Response::new(HttpBody::new(content, length));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    Ok(response)
}

/// What was answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    /// All of it where it is a success, else as much as came.
    pub(super) content: Buffer,
}

impl Answer {
    fn seen(&self) -> Seen {
        let is_failure = !self.status.is_success();
        Seen {
            status: Some(self.status),
            code: is_failure.then(|| code(&self.content.to_bytes())).flatten(),
            version: version(&self.headers),
            trouble: None,
        }
    }
}

/// One exchange.
pub(super) async fn exchange(
    client: &reqwest::Client,
    call: &Call,
    request: Request<Buffer>,
) -> Result<Answer, EngineError> {
    let mut pieces = Vec::new();
    let take = |piece| {
        pieces.push(piece);
        Ok(())
    };
    let mut answer = exchange_into(client, call, request, take).await?;
    if answer.status.is_success() {
        answer.content = Buffer::from(pieces);
    }
    Ok(answer)
}

/// One exchange of which the content is handed on as it comes, where it is a success.
pub(super) async fn exchange_into(
    client: &reqwest::Client,
    call: &Call,
    request: Request<Buffer>,
    take: impl FnMut(Bytes) -> Result<(), EngineError>,
) -> Result<Answer, EngineError> {
    let is_head = request.method() == http::Method::HEAD;
    let mut answer = send(client, call, request).await?;
    let (status, headers) = (answer.status(), std::mem::take(answer.headers_mut()));
    let length = length(&headers);
    let most = if status.is_success() {
        call.most
    } else {
        EXPLANATION
    };
    if status.is_success() && !is_head && length.is_some_and(|length| length > most) {
        return Err(too_long(most));
    }
    let content = if status.is_success() {
        let pace = Pace::of(length.unwrap_or(most), call.whole);
        read(&mut answer, most, pace, take).await?;
        Buffer::new()
    } else {
        let mut pieces = Vec::new();
        let take = |piece| {
            pieces.push(piece);
            Ok(())
        };
        // What failed, failed, whether or not all of the explanation is here.
        let read = read(&mut answer, most, Pace::of(most, None), take).await;
        Buffer::from(read.map_or(Vec::new(), |()| pieces))
    };
    Ok(Answer {
        status,
        headers,
        content,
    })
}

/// Sends a request and waits until an answer begins.
async fn send(
    client: &reqwest::Client,
    call: &Call,
    request: Request<Buffer>,
) -> Result<reqwest::Response, EngineError> {
    let (parts, body) = request.into_parts();
    let mut tries = 1;
    loop {
        let sending = Arc::new(Sending::of(&body, call.patience));
        let request = client.request(parts.method.clone(), parts.uri.to_string());
        let mut request = request.headers(parts.headers.clone());
        if !body.is_empty() {
            let pieces = Pieces {
                left: body.clone(),
                sending: sending.clone(),
            };
            request = request.body(reqwest::Body::wrap(pieces));
        }
        match in_time(request.send(), &sending, call.begin).await {
            Ok(answer) => return Ok(answer),
            Err(Unanswered::Closed(_)) if tries < TRIES => tries += 1,
            Err(Unanswered::Closed(e) | Unanswered::Failed(e)) => return Err(e),
        }
    }
}

/// Why there is no answer.
enum Unanswered {
    /// The connection was closed.
    Closed(EngineError),
    Failed(EngineError),
}

/// Waits for an answer to begin.
async fn in_time(
    answer: impl Future<Output = reqwest::Result<reqwest::Response>>,
    sending: &Sending,
    begin: Option<Instant>,
) -> Result<reqwest::Response, Unanswered> {
    let mut answer = std::pin::pin!(answer);
    loop {
        let until = begin.map_or(sending.until(), |begin| begin.min(sending.until()));
        match tokio::time::timeout_at(until.into(), &mut answer).await {
            Ok(Err(e)) if e.is_connect() || e.is_timeout() => {
                return Err(Unanswered::Failed(broken(e)));
            }
            Ok(answer) => return answer.map_err(|e| Unanswered::Closed(broken(e))),
            Err(_) if sending.until() > Instant::now() && begin.is_none() => {}
            Err(_) => return Err(Unanswered::Failed(slow("no answer in time"))),
        }
    }
}

/// Hands on what comes, as long as it comes.
async fn read(
    answer: &mut reqwest::Response,
    most: u64,
    mut pace: Pace,
    mut take: impl FnMut(Bytes) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let mut length = 0;
    loop {
        let piece = tokio::time::timeout(PROGRESS, answer.chunk()).await;
        let piece = piece.map_err(|_| slow(format!("nothing came for {PROGRESS:?}")))?;
        let Some(piece) = piece.map_err(broken)? else {
            return Ok(());
        };
        length += piece.len() as u64;
        if length > most {
            return Err(too_long(most));
        }
        pace.came(piece.len() as u64)?;
        take(piece)?;
    }
}

fn broken(error: reqwest::Error) -> EngineError {
    // The address may be signed.
    EngineError::new(Trouble::Unreachable, chain(&error.without_url()))
}

/// What the service calls this version of an object: Google's generation, where there is one, else the tag.
fn version(headers: &HeaderMap) -> Option<String> {
    let value = headers
        .get("x-goog-generation")
        .or_else(|| headers.get(http::header::ETAG));
    Some(value?.to_str().ok()?.to_owned())
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(http::header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// The word in an explanation that names the reason, `<Code>NoSuchKey</Code>`.
fn code(explanation: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(explanation).ok()?;
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let is_word = !code.is_empty() && code.len() <= 64 && code.chars().all(char::is_alphanumeric);
    is_word.then(|| code.to_owned())
}

/// How far sending is.
#[derive(Debug)]
struct Sending {
    begun: Instant,
    /// Milliseconds from then until something was last handed over.
    moved: AtomicU64,
    left: AtomicU64,
    is_any: bool,
    /// How long an answer to what has no content may take.
    patience: Duration,
}

impl Sending {
    fn of(body: &Buffer, patience: Duration) -> Self {
        Self {
            patience,
            begun: Instant::now(),
            moved: AtomicU64::new(0),
            left: AtomicU64::new(body.len() as u64),
            is_any: !body.is_empty(),
        }
    }

    fn hand_over(&self, length: usize) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(now, Ordering::Relaxed);
        self.left.fetch_sub(length as u64, Ordering::Relaxed);
    }

    /// Until when something has to happen next.
    fn until(&self) -> Instant {
        let moved = self.begun + Duration::from_millis(self.moved.load(Ordering::Relaxed));
        let patience = match (self.is_any, self.left.load(Ordering::Relaxed)) {
            (false, _) => self.patience,
            // What was handed over is on its way for a while.
            (true, 0) => KEPT,
            (true, _) => CONNECT + PROGRESS,
        };
        moved + patience
    }
}

/// What is sent, piece by piece.
struct Pieces {
    left: Buffer,
    sending: Arc<Sending>,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.left.len().min(PIECE);
        let piece = self.left.split_to(length).to_bytes();
        self.sending.hand_over(length);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}
