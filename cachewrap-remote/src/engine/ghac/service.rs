//! The service that keeps entries, version 2, as the runner's own actions speak to it:
//!
//! ```text
//! POST <ACTIONS_RESULTS_URL>/twirp/github.actions.results.api.v1.CacheService/<method>
//!      Authorization: Bearer <ACTIONS_RUNTIME_TOKEN>; JSON both ways
//! GetCacheEntryDownloadURL  key, restore_keys, version      -> ok, signed_download_url, matched_key
//! CreateCacheEntry          key, version                    -> ok, signed_upload_url
//! FinalizeCacheEntryUpload  key, version, size_bytes        -> ok
//! ```
//! What is downloaded is got from an address that is signed. What is uploaded is a block blob of Azure's: blocks, then
//! the list of them. Nobody sees an entry before it is finalized, and nothing changes one after that. Of the entries whose
//! keys begin in the same way the service names the newest, among those of the branch before those of the default branch; it
//! takes from the token what the branch is.
//!
//! The token goes to the service only. What is signed is in no error: [`transport`](super::super::transport) leaves addresses out.

use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cache_core::Environment;
use cache_core::remote::{EngineError, Settings, Trouble};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode};
use opendal_core::Buffer;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::super::failed::of_status;
use super::super::transport::{Answer, Call, client, exchange, exchange_into};
use super::super::{runtime, sha256};

const SERVICE: &str = "twirp/github.actions.results.api.v1.CacheService";

/// How long an answer of the service may be, bytes.
const ANSWER: u64 = 256 << 10;

/// How long downloading may take. A build waits for it.
const DOWNLOAD: Duration = Duration::from_secs(30);

/// How much is sent as one block, bytes.
const BLOCK: u64 = 4 << 20;

/// The service, for entries that begin in the same way.
pub(super) struct Service {
    runtime: Runtime,
    client: reqwest::Client,
    base: String,
    login: HeaderValue,
    /// How the keys of our entries begin.
    prefix: String,
    /// Entries of another version are not ours.
    version: String,
}

/// An entry that can be downloaded.
pub(super) struct Entry {
    pub(super) key: String,
    url: String,
    call: std::sync::Arc<Call>,
}

impl Service {
    pub(super) fn new(settings: &Settings, env: &Environment) -> Result<Self, EngineError> {
        let variable = |name: &str| {
            let value = env.get(name).and_then(|value| value.to_str());
            value.filter(|value| !value.is_empty()).ok_or_else(|| {
                let hint = "GitHub's runner gives it to actions only, see docs/remote.md";
                EngineError::new(Trouble::Denied, format!("{name} is not set: {hint}"))
            })
        };
        let base = variable("ACTIONS_RESULTS_URL")?.trim_end_matches('/');
        if !is_url(base) {
            let what = "ACTIONS_RESULTS_URL is not a URL";
            return Err(EngineError::new(Trouble::Confused, what));
        }
        let login = format!("Bearer {}", variable("ACTIONS_RUNTIME_TOKEN")?);
        let mut login = HeaderValue::from_str(&login)
            .map_err(|_| EngineError::new(Trouble::Denied, "the token is not one"))?;
        login.set_sensitive(true);
        let address = &settings.address;
        Ok(Self {
            runtime: runtime()?,
            client: client()?,
            base: base.to_owned(),
            login,
            prefix: format!("cachewrap/{}/{}/", address.place, address.namespace),
            version: sha256(b"cachewrap bundle 1"),
        })
    }

    /// The newest entry of ours, if there is one.
    pub(super) fn newest(&self) -> Result<Option<Entry>, EngineError> {
        let call = Call::reading(ANSWER);
        let question = json!({
            "key": self.prefix,
            "restore_keys": [self.prefix],
            "version": self.version,
        });
        let said = self.ask(&call, "GetCacheEntryDownloadURL", &question)?;
        if !said.is_ok() {
            return Ok(None);
        }
        let key = said.text("matched_key", "matchedKey")?;
        if !key.starts_with(&self.prefix) {
            return Err(nonsense("an entry of another name"));
        }
        let url = self.address(&said, "signed_download_url", "signedDownloadUrl")?;
        Ok(Some(Entry { key, url, call }))
    }

    /// Writes the content of an entry to a file, if it is not longer than that, bytes.
    pub(super) fn download(
        &self,
        entry: &Entry,
        most: u64,
        file: &File,
    ) -> Result<(), EngineError> {
        let request = Request::builder().uri(&entry.url).body(Buffer::new());
        let request = request.map_err(|_| nonsense("an address that is none"))?;
        let call = entry.call.then_within(most, DOWNLOAD);
        let mut at = 0;
        let take = |piece: bytes::Bytes| {
            file.write_all_at(&piece, at).map_err(in_store)?;
            at += piece.len() as u64;
            Ok(())
        };
        let got = exchange_into(&self.client, &call, request, take);
        let answer = self.runtime.block_on(got)?;
        succeeded(&answer)
    }

    /// Makes a new entry of the first bytes of a file.
    pub(super) fn upload(&self, file: &File, length: u64) -> Result<(), EngineError> {
        let key = format!("{}{}", self.prefix, unique());
        let entry = json!({"key": key, "version": self.version});
        let call = Call::writing();
        let made = self.ask(&call, "CreateCacheEntry", &entry)?;
        made.has_to_be_ok()?;
        let url = self.address(&made, "signed_upload_url", "signedUploadUrl")?;
        let mut ids = Vec::new();
        for at in (0..length).step_by(usize::try_from(BLOCK).unwrap_or(usize::MAX)) {
            let id = BASE64_STANDARD.encode(format!("{:08}", ids.len()));
            let mut block = vec![0; usize::try_from(BLOCK.min(length - at)).unwrap_or(0)];
            file.read_exact_at(&mut block, at).map_err(in_store)?;
            self.put(&url, &format!("comp=block&blockid={}", escaped(&id)), block)?;
            ids.push(id);
        }
        let latest = ids.iter().map(|id| format!("<Latest>{id}</Latest>"));
        let latest: String = latest.collect();
        let head = r#"<?xml version="1.0" encoding="utf-8"?>"#;
        let list = format!("{head}<BlockList>{latest}</BlockList>");
        self.put(&url, "comp=blocklist", list.into_bytes())?;
        let size = length.to_string();
        let entry = json!({"key": key, "version": self.version, "size_bytes": size});
        let finalized = self.ask(&call, "FinalizeCacheEntryUpload", &entry)?;
        finalized.has_to_be_ok()
    }

    /// An address in an answer, which is no less protected than the service's.
    fn address(&self, said: &Said, name: &str, other: &str) -> Result<String, EngineError> {
        let url = said.text(name, other)?;
        let is_protected = url.starts_with("https:") || !self.base.starts_with("https:");
        let is_address = is_url(&url) && is_protected;
        is_address
            .then_some(url)
            .ok_or_else(|| nonsense("an address that is none"))
    }

    fn put(&self, url: &str, what: &str, content: Vec<u8>) -> Result<(), EngineError> {
        let and = if url.contains('?') { '&' } else { '?' };
        let request = Request::builder()
            .method(Method::PUT)
            .uri(format!("{url}{and}{what}"))
            .header("x-ms-version", "2020-04-08")
            .body(Buffer::from(content));
        let request = request.map_err(|_| nonsense("an address that is none"))?;
        let call = Call::writing();
        let answer = exchange(&self.client, &call, request);
        succeeded(&self.runtime.block_on(answer)?)
    }

    fn ask(&self, call: &Call, method: &str, question: &Value) -> Result<Said, EngineError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/{SERVICE}/{method}", self.base))
            .header(AUTHORIZATION, &self.login)
            .header(CONTENT_TYPE, "application/json")
            .body(Buffer::from(question.to_string().into_bytes()));
        let request = request.map_err(|_| nonsense("an address that is none"))?;
        let answer = exchange(&self.client, call, request);
        let answer = self.runtime.block_on(answer).map_err(|e| match e.trouble {
            // It is the service that is in trouble, and no entry that is too long.
            Trouble::TooLong => nonsense("too much"),
            _ => e,
        })?;
        let said = serde_json::from_slice::<Value>(&answer.content.to_bytes());
        // How the framework says that what was asked for is not there; a service that does not know the method says otherwise.
        let is_missing = |said: &Value| said.get("code").is_some_and(|code| code == "not_found");
        match said {
            Ok(said) if answer.status == StatusCode::NOT_FOUND && is_missing(&said) => {
                Ok(Said(Value::Null))
            }
            said => {
                succeeded(&answer)?;
                let length = answer.content.len();
                let what = || format!("{} with {length} bytes that are no JSON", answer.status);
                said.map(Said).map_err(|_| nonsense(&what()))
            }
        }
    }
}

/// What the service answered. Names of fields may be spelled in two ways.
struct Said(Value);

impl Said {
    fn is_ok(&self) -> bool {
        self.0.get("ok") == Some(&Value::Bool(true))
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    fn has_to_be_ok(&self) -> Result<(), EngineError> {
        if self.is_ok() {
            return Ok(());
        }
        let why = self.field("message").unwrap_or("it does not say why");
        let why: String = why.chars().filter(|c| !c.is_control()).take(200).collect();
        let what = format!("the service takes no entry: {why}");
        Err(EngineError::new(Trouble::Denied, what))
    }

    fn text(&self, name: &str, other: &str) -> Result<String, EngineError> {
        let text = self.field(name).or_else(|| self.field(other));
        let missing = || nonsense(&format!("no {name}"));
        text.map(str::to_owned).ok_or_else(missing)
    }
}

fn is_url(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    matches!(scheme, Some("http" | "https")) && text.parse::<http::Uri>().is_ok()
}

fn succeeded(answer: &Answer) -> Result<(), EngineError> {
    if answer.status.is_success() {
        return Ok(());
    }
    Err(of_status(answer.status, None))
}

fn nonsense(what: &str) -> EngineError {
    EngineError::new(Trouble::Confused, format!("the service answered {what}"))
}

pub(super) fn in_store(error: std::io::Error) -> EngineError {
    EngineError::new(Trouble::Store, error)
}

/// What no other entry is called, and later ones come after.
fn unique() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let chance = RandomState::new().build_hasher().finish();
    format!("{:013}-{chance:016x}", now.unwrap_or_default().as_millis())
}

/// What is not plain in base 64, for a query.
fn escaped(id: &str) -> String {
    id.replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D")
}
