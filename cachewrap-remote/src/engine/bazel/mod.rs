//! A cache for Bazel over HTTP: bazel-remote, and what has its layout.
//!
//! ```text
//! bazel+http://host[:port][/path]              bazel+https: with TLS
//! <path>/ac/<SHA-256 of the object's name>     an action result (`action`): the object, or the digest of it
//! <path>/cas/<SHA-256 of the object>           an object that is longer than INLINE
//! ```
//! Such a server takes an action result only if it is one, and content only under its digest; bazel-remote has a
//! result no more when the content is gone. Who we are is told by basic authentication or a token, or not at all: many
//! let everybody read.
//!
//! # What can go wrong
//!
//! - *The content of a result is gone*, as each is removed by itself where the server does not look: then the object is
//!   not there, and is written again by the next who has it.
//! - *Two machines write the same*: there are no conditions, so the later one stays.
//! - *The server's limit of content is lower than an object*: that object is too long, and the others fare better.

mod action;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cache_core::Environment;
use cache_core::remote::{
    Address, Condition, Engine, EngineError, Object, Scheme, Trouble, Written,
};
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, Request, StatusCode};
use opendal_core::Buffer;
use tokio::runtime::Runtime;

use super::connections::no_place;
use super::failed::of_status;
use super::transport::{Answer, Call, client, exchange};
use super::{runtime, sha256, too_long};
use action::Action;

/// Objects up to this length, bytes, are in the action result itself: one exchange less.
const INLINE: usize = 256 << 10;

/// What an action result may be longer than what it holds, bytes; servers add what they know of who wrote it.
const MARGIN: usize = 64 << 10;

/// A server.
pub(super) struct Bazel {
    runtime: Runtime,
    client: reqwest::Client,
    /// Before `/ac/` and `/cas/`.
    base: String,
    login: Option<HeaderValue>,
}

impl Bazel {
    pub(super) fn new(address: &Address, env: &Environment) -> Result<Self, EngineError> {
        let tls = if address.scheme == Scheme::Bazels {
            "s"
        } else {
            ""
        };
        let base = format!("http{tls}://{}", address.place);
        base.parse::<http::Uri>().map_err(|_| no_place())?;
        Ok(Self {
            runtime: runtime()?,
            client: client()?,
            base,
            login: login(env)?,
        })
    }

    fn ask(
        &self,
        call: &Call,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Answer, EngineError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/{path}", self.base));
        if let Some(login) = &self.login {
            request = request.header(AUTHORIZATION, login);
        }
        let request = request.body(Buffer::from(body)).map_err(|_| no_place())?;
        let asked = exchange(&self.client, call, request);
        self.runtime.block_on(asked)
    }

    /// What is there, if anything is.
    fn read(
        &self,
        call: &Call,
        method: Method,
        path: &str,
    ) -> Result<Option<Vec<u8>>, EngineError> {
        let answer = self.ask(call, method, path, Vec::new())?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(answer.content.to_vec())),
            status => Err(of_status(status, None)),
        }
    }

    /// What is said of an object. What makes no sense is not ours, and says nothing.
    fn action(&self, call: &Call, name: &str) -> Result<Option<Action>, EngineError> {
        let result = self.read(call, Method::GET, &action_path(name))?;
        Ok(result.and_then(|result| Action::decode(&result)))
    }

    fn write(&self, path: &str, content: Vec<u8>) -> Result<(), EngineError> {
        let length = content.len();
        let answer = self.ask(&Call::writing(), Method::PUT, path, content)?;
        let says = |what: &[u8]| {
            let said = answer.content.to_bytes();
            said.windows(what.len()).any(|part| part == what)
        };
        match answer.status {
            status if status.is_success() => Ok(()),
            // How bazel-remote says that it is longer than its `--max_blob_size`.
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::INSUFFICIENT_STORAGE => {
                Err(refused(length))
            }
            StatusCode::BAD_REQUEST if says(b"too large") => Err(refused(length)),
            status => Err(of_status(status, None)),
        }
    }
}

fn refused(length: usize) -> EngineError {
    let what = format!("the server takes no object of {length} bytes");
    EngineError::new(Trouble::TooLong, what)
}

/// Who we are, as far as that is set.
fn login(env: &Environment) -> Result<Option<HeaderValue>, EngineError> {
    let variable = |name: &str| env.get(name)?.to_str().filter(|value| !value.is_empty());
    let login = if let Some(token) = variable("BAZEL_CACHE_TOKEN") {
        format!("Bearer {token}")
    } else if let Some(name) = variable("BAZEL_CACHE_USERNAME") {
        let password = variable("BAZEL_CACHE_PASSWORD").unwrap_or_default();
        let pair = BASE64_STANDARD.encode(format!("{name}:{password}"));
        format!("Basic {pair}")
    } else {
        return Ok(None);
    };
    let mut login = HeaderValue::from_str(&login)
        .map_err(|_| EngineError::new(Trouble::Denied, "the token is not one"))?;
    login.set_sensitive(true);
    Ok(Some(login))
}

fn action_path(name: &str) -> String {
    format!("ac/{}", sha256(name.as_bytes()))
}

fn content_path(hash: &str) -> String {
    format!("cas/{hash}")
}

impl Engine for Bazel {
    fn get(&self, name: &str, most: u64) -> Result<Option<Object>, EngineError> {
        let call = Call::reading((INLINE + MARGIN) as u64);
        let bytes = match self.action(&call, name)? {
            Some(Action::Content(content)) => Some(content),
            Some(Action::Elsewhere { length, .. }) if length > most => return Err(too_long(most)),
            Some(Action::Elsewhere { hash, .. }) => {
                self.read(&call.then(most), Method::GET, &content_path(&hash))?
            }
            None => None,
        };
        if bytes
            .as_ref()
            .is_some_and(|bytes| bytes.len() as u64 > most)
        {
            return Err(too_long(most));
        }
        Ok(bytes.map(|bytes| Object {
            bytes,
            version: None,
        }))
    }

    fn has(&self, name: &str) -> Result<bool, EngineError> {
        let call = Call::reading((INLINE + MARGIN) as u64);
        match self.action(&call, name)? {
            Some(Action::Content(_)) => Ok(true),
            Some(Action::Elsewhere { hash, .. }) => {
                let content = self.read(&call.then(0), Method::HEAD, &content_path(&hash))?;
                Ok(content.is_some())
            }
            None => Ok(false),
        }
    }

    /// Writes whatever the condition is: none can be asked for.
    fn put(&self, name: &str, bytes: &[u8], _: Condition<'_>) -> Result<Written, EngineError> {
        let action = if bytes.len() <= INLINE {
            Action::Content(bytes.to_vec())
        } else {
            let hash = sha256(bytes);
            self.write(&content_path(&hash), bytes.to_vec())?;
            Action::Elsewhere {
                hash,
                length: bytes.len() as u64,
            }
        };
        self.write(&action_path(name), action.encode())?;
        Ok(Written::Yes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_sha256() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), expected);
    }

    #[test]
    fn a_token_goes_before_a_password() {
        let mut env = Environment::default();
        assert_eq!(login(&env), Ok(None));
        env.set("BAZEL_CACHE_USERNAME", "me");
        env.set("BAZEL_CACHE_PASSWORD", "secret");
        let said = |env: &Environment| login(env).unwrap().unwrap().to_str().unwrap().to_owned();
        assert_eq!(said(&env), "Basic bWU6c2VjcmV0");
        env.set("BAZEL_CACHE_TOKEN", "abc");
        assert_eq!(said(&env), "Bearer abc");
    }
}
