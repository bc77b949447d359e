//! S3, Google Cloud Storage, Azure Blob Storage and WebDAV: the protocols are OpenDAL's, the transport and the limits ours.
//!
//! S3 and Google answer "denied" for an object that is not there, unless who asks may list the bucket. So the
//! first that writes to a namespace leaves a mark there: who can read that may read, and is denied only what
//! does not exist.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cache_core::Environment;
use cache_core::remote::{
    Condition, Engine, EngineError, Listed, MARK, Mode, Object, Scheme, Settings, Written,
};
use http::StatusCode;
use opendal_core::options::WriteOptions;
use opendal_core::{ErrorKind, HttpTransporter, Operator};
use tokio::runtime::Runtime;

use super::failed::Failed;
use super::transport::{Call, Plain, Seen, Transport, client};
use super::{runtime, services};

/// Whoever probes a remote may put something else in the mark's place, bytes.
const LONGEST_MARK: u64 = 1 << 10;

/// An object store that is reached over HTTP.
pub(super) struct Cloud {
    runtime: Runtime,
    client: reqwest::Client,
    operator: Operator,
    marker: String,
    may_write: bool,
    /// Whether what is missing may be denied.
    hides_missing: bool,
    /// Whether an object could be read.
    could_read: AtomicBool,
    is_marked: AtomicBool,
}

impl Cloud {
    pub(super) fn new(settings: &Settings, env: &Environment) -> Result<Self, EngineError> {
        let address = &settings.address;
        let client = client()?;
        // For credentials that come from a service.
        HttpTransporter::install_default(Plain(client.clone()));
        Ok(Self {
            runtime: runtime()?,
            operator: services::operator(address, env)?,
            client,
            marker: settings.mark(),
            may_write: address.mode == Mode::Write,
            hides_missing: matches!(address.scheme, Scheme::S3 | Scheme::Gcs),
            could_read: AtomicBool::new(false),
            is_marked: AtomicBool::new(false),
        })
    }

    /// Has the operator do something as one call.
    fn call<T, F>(
        &self,
        call: &Arc<Call>,
        work: impl FnOnce(Operator) -> F,
    ) -> Result<(T, Seen), Box<Failed>>
    where
        F: Future<Output = opendal_core::Result<T>>,
    {
        let transport = Transport {
            client: self.client.clone(),
            call: call.clone(),
        };
        let context = self.operator.base_context();
        let context = context.with_http_transport(HttpTransporter::new(transport));
        let operator = self.operator.clone().with_context(context);
        let done = self.runtime.block_on(work(operator));
        match done {
            Ok(done) => Ok((done, call.seen())),
            Err(error) => Err(Box::new(Failed {
                error,
                seen: call.seen(),
            })),
        }
    }

    fn read(&self, name: &str, most: u64) -> Result<Option<Object>, Box<Failed>> {
        let read = async |operator: Operator| operator.read(name).await;
        match self.call(&Call::reading(most), read) {
            Ok((content, seen)) => {
                self.could_read.store(true, Ordering::Relaxed);
                Ok(Some(Object {
                    bytes: content.to_vec(),
                    version: seen.version,
                }))
            }
            Err(failed) if failed.is_missing() => Ok(None),
            Err(failed) => Err(failed),
        }
    }

    fn write(
        &self,
        name: &str,
        bytes: &[u8],
        condition: Condition<'_>,
    ) -> Result<Written, EngineError> {
        let can = self.operator.info().capability();
        let mut options = WriteOptions::default();
        if can.write_with_content_type {
            options.content_type = Some("application/octet-stream".to_owned());
        }
        match condition {
            Condition::Absent if can.write_with_if_not_exists => options.if_not_exists = true,
            // Google's generations are numbers; a tag, which its emulator has instead, is no condition there.
            Condition::Version(version)
                if can.write_with_if_version_match && version.parse::<u64>().is_ok() =>
            {
                options.if_version_match = Some(version.to_owned());
            }
            Condition::Version(version) if can.write_with_if_match => {
                options.if_match = Some(version.to_owned());
            }
            _ => {}
        }
        let bytes = bytes.to_vec();
        let write = async |operator: Operator| operator.write_options(name, bytes, options).await;
        match self.call(&Call::writing(), write) {
            Ok(_) => Ok(Written::Yes),
            Err(failed) => {
                // Conflict: others write the same at this moment.
                let is_status = |status| failed.seen.status == Some(status);
                let refused = failed.error.kind() == ErrorKind::ConditionNotMatch
                    || is_status(StatusCode::PRECONDITION_FAILED)
                    || is_status(StatusCode::CONFLICT);
                if refused && condition != Condition::Always {
                    return Ok(Written::No);
                }
                Err(failed.trouble())
            }
        }
    }

    /// Whether what was denied is missing: who may read is denied nothing else.
    fn means_missing(&self, seen: &Seen) -> bool {
        let code = seen.code.as_deref();
        let is_denied = seen.status == Some(StatusCode::FORBIDDEN)
            && code.is_none_or(|code| code == "AccessDenied");
        if !self.hides_missing || !is_denied {
            return false;
        }
        if !self.could_read.load(Ordering::Relaxed) {
            if self.may_write && self.mark().is_err() {
                return false;
            }
            let _ = self.read(&self.marker, LONGEST_MARK);
        }
        self.could_read.load(Ordering::Relaxed)
    }

    /// Leaves the mark, where it is of use.
    fn mark(&self) -> Result<(), EngineError> {
        if self.hides_missing && !self.is_marked.load(Ordering::Relaxed) {
            self.write(&self.marker, MARK, Condition::Absent)?;
            self.is_marked.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Engine for Cloud {
    fn get(&self, name: &str, most: u64) -> Result<Option<Object>, EngineError> {
        match self.read(name, most) {
            Ok(object) => Ok(object),
            Err(failed) if self.means_missing(&failed.seen) => Ok(None),
            Err(failed) => Err(failed.trouble()),
        }
    }

    fn has(&self, name: &str) -> Result<bool, EngineError> {
        let stat = async |operator: Operator| operator.stat(name).await;
        match self.call(&Call::reading(u64::MAX), stat) {
            Ok(_) => Ok(true),
            Err(failed) if failed.is_missing() => Ok(false),
            Err(failed) if self.means_missing(&failed.seen) => Ok(false),
            Err(failed) => Err(failed.trouble()),
        }
    }

    fn put(
        &self,
        name: &str,
        bytes: &[u8],
        condition: Condition<'_>,
    ) -> Result<Written, EngineError> {
        self.mark()?;
        self.write(name, bytes, condition)
    }

    fn list(&self, below: &str) -> Result<Option<Vec<Listed>>, EngineError> {
        let list = async |operator: Operator| operator.list(below).await;
        let found = match self.call(&Call::tidying(), list) {
            Ok((found, _)) => found,
            Err(failed) if failed.is_missing() => Vec::new(),
            Err(failed) => return Err(failed.trouble()),
        };
        let objects = found.iter().filter(|entry| entry.metadata().is_file());
        let listed = objects.map(|entry| Listed {
            name: entry.path().to_owned(),
            bytes: entry.metadata().content_length(),
            written: entry.metadata().last_modified().map(Into::into),
        });
        Ok(Some(listed.collect()))
    }

    fn remove(&self, name: &str) -> Result<(), EngineError> {
        let remove = async |operator: Operator| operator.delete(name).await;
        match self.call(&Call::tidying(), remove) {
            Err(failed) if !failed.is_missing() => Err(failed.trouble()),
            _ => Ok(()),
        }
    }
}
