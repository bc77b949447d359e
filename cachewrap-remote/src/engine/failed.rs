//! What a call came to that failed: what the library says of it, and what was seen of the last exchange.
//!
//! | seen | trouble |
//! |---|---|
//! | an exchange that broke a limit, or broke off | what `transport` made of it; denied if it was for credentials |
//! | 401, 403, 407 | denied |
//! | 429, 503 | throttled |
//! | any other status of failure, a redirection | confused |
//! | none: no credentials were found | denied |

use cache_core::remote::{EngineError, Trouble};
use http::StatusCode;
use opendal_core::{Error, ErrorKind};

use super::chain;
use super::transport::{EXCHANGE, Seen};

/// A call that failed.
pub(super) struct Failed {
    pub(super) error: Error,
    pub(super) seen: Seen,
}

impl Failed {
    /// Whether all that is wrong is that the object is not there.
    pub(super) fn is_missing(&self) -> bool {
        let code = self.seen.code.as_deref();
        let is_object = !matches!(code, Some("NoSuchBucket" | "ContainerNotFound"));
        self.error.kind() == ErrorKind::NotFound && self.seen.trouble.is_none() && is_object
    }

    /// What kind of trouble it is. The library's own text is used only where there was no exchange.
    pub(super) fn trouble(self) -> EngineError {
        let Seen {
            status,
            code,
            trouble,
            ..
        } = self.seen;
        if let Some(trouble) = trouble {
            // The library passes on what `transport` says of an exchange for an object, and adds its own words where it was one
            // for credentials.
            if self.error.message() == EXCHANGE {
                return trouble;
            }
            let what = format!("{}: {}", self.error.message(), trouble.what);
            return EngineError::new(Trouble::Denied, what);
        }
        let Some(status) = status.filter(|status| !status.is_success()) else {
            let kind = match self.error.kind() {
                ErrorKind::PermissionDenied => Trouble::Denied,
                ErrorKind::RateLimited => Trouble::Throttled,
                _ if status.is_none() => Trouble::Denied,
                _ => Trouble::Confused,
            };
            return EngineError::new(kind, without_context(&self.error));
        };
        of_status(status, code.as_deref())
    }
}

/// What kind of trouble a status is, and the reason where the service names one.
pub(super) fn of_status(status: StatusCode, code: Option<&str>) -> EngineError {
    let kind = match status.as_u16() {
        401 | 403 | 407 => Trouble::Denied,
        429 | 503 => Trouble::Throttled,
        _ => Trouble::Confused,
    };
    let mut what = format!("the server answered {status}");
    if let Some(code) = code {
        what = format!("{what} ({code})");
    }
    if status.is_redirection() {
        what.push_str("; is this the right region and address?");
    }
    EngineError::new(kind, what)
}

/// The message of an error and those of its sources: its context has addresses, which may be signed.
fn without_context(error: &Error) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(
        || error.message().to_owned(),
        |source| format!("{}: {}", error.message(), chain(source)),
    )
}
