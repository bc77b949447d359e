//! What the store knows of a remote.
//!
//! ```text
//! <dir>/v1/offers/ab/<key>       lists of questions for a manifest key, see `remote::offers`
//! <dir>/v1/queue/<result key>    a result that is still to be sent
//!   file = frame 'Q' version 1 (see codec), body = Queued
//! <dir>/v1/remote/<name>         what is known of a remote: whether it is down, who fetches from it
//! <dir>/v1/remote/<name>.bundle  what came from it as one, see `cachewrap-remote`
//! ```
//! What is queued is sent by whoever comes to it; it leaves the queue when it is there, so that nothing is
//! lost with a process that is killed. What a collection has removed meanwhile is sent no more.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{Store, StoreError};
use crate::error::PathError;
use crate::formats::codec::{self, Kind};
use crate::formats::digest::{ManifestKey, ResultKey};
use crate::inputs::question::Question;
use crate::os::dir::NameKind;
use crate::os::lock;
use crate::os::temp_file::TempFile;

/// The directory of offers.
pub(crate) const OFFERS: &str = "offers";

/// The directory of what is to be sent.
pub(crate) const QUEUE: &str = "queue";

/// The directory of what is known of remotes.
pub(crate) const REMOTE: &str = "remote";

/// How the names of bundles end.
const BUNDLE: &str = ".bundle";

const KIND: Kind = Kind {
    tag: b'Q',
    version: 1,
};

/// A result that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Queued {
    pub(crate) unit: String,
    pub(crate) manifest: ManifestKey,
    pub(crate) result: ResultKey,
    pub(crate) questions: Vec<Question>,
    pub(crate) duration_us: u64,
}

impl Store {
    /// The object with the offers for a key, if there is one.
    pub(crate) fn offers(&self, key: ManifestKey) -> Option<Vec<u8>> {
        self.read_plain(&self.layout.offers(key)).ok()
    }

    pub(crate) fn put_offers(&self, key: ManifestKey, object: &[u8]) -> Result<(), StoreError> {
        Ok(self.replace(&self.layout.offers(key), object)?)
    }

    /// Whether a result and all that it needs are there, as far as names tell.
    pub(crate) fn has_whole(&self, key: ResultKey) -> bool {
        let result = self.result(key).ok().flatten();
        result.is_some_and(|result| result.blobs().all(|blob| self.has_blob(blob)))
    }

    pub(crate) fn enqueue(&self, queued: &Queued) -> Result<(), StoreError> {
        let frame = codec::encode(KIND, queued)?;
        Ok(self.replace(&self.queue_place(queued.result), &frame)?)
    }

    /// One result that is to be sent.
    pub(crate) fn queued_result(&self, result: ResultKey) -> Option<Queued> {
        let frame = self.read_plain(&self.queue_place(result)).ok()?;
        codec::decode(KIND, &frame).ok()
    }

    /// What is to be sent, in the order in which it was made.
    pub(crate) fn queued(&self) -> Vec<Queued> {
        let mut found = Vec::new();
        for listed in self.list(&self.layout.part(QUEUE)).unwrap_or_default() {
            let is_file = listed.kind == NameKind::File;
            let Some(frame) = is_file
                .then(|| self.read_plain(&listed.path).ok())
                .flatten()
            else {
                continue;
            };
            match codec::decode::<Queued>(KIND, &frame) {
                Ok(queued) => {
                    let time = self.look(&listed.path).ok();
                    let time = time.map(|stat| super::scan::modified(&stat));
                    found.push((time, queued));
                }
                Err(codec::DecodeError::Corrupt) => self.discard(&listed.path),
                Err(codec::DecodeError::UnknownVersion { .. }) => {}
            }
        }
        found.sort_by_key(|(time, _)| *time);
        found.into_iter().map(|(_, queued)| queued).collect()
    }

    /// Whether a result is still to be sent.
    pub(crate) fn is_anything_to_send(&self) -> bool {
        self.queue_length() > 0
    }

    /// The right to send; `None` while another process does.
    pub(crate) fn lock_queue(&self) -> Option<File> {
        self.make_dir(&self.layout.part(REMOTE)).ok()?;
        let file = self
            .open_file(&self.layout.part(REMOTE).join("sending"))
            .ok()?;
        // Where there are no locks, the same is sent twice at worst.
        lock::try_exclusive(&file).unwrap_or(true).then_some(file)
    }

    /// How many results are still to be sent.
    pub fn queue_length(&self) -> usize {
        let listed = self.list(&self.layout.part(QUEUE)).unwrap_or_default();
        listed
            .iter()
            .filter(|listed| listed.kind == NameKind::File)
            .count()
    }

    pub(crate) fn leave_queue(&self, result: ResultKey) {
        let _ = self.remove_file(&self.queue_place(result));
    }

    fn queue_place(&self, result: ResultKey) -> PathBuf {
        self.layout.part(QUEUE).join(result.0.to_hex())
    }

    /// A file of the store to be filled.
    pub fn draft(&self) -> Result<Draft, PathError> {
        self.prepare()?;
        Ok(Draft(self.temp_file(0o666)?))
    }

    /// The bundle of a remote that is kept under a name.
    pub fn bundle(&self, remote: &str, name: &str) -> Option<File> {
        self.open_plain(&self.bundle_place(remote, name)).ok()
    }

    /// Keeps a bundle of a remote under a name, and no other one of it.
    pub fn keep_bundle(&self, remote: &str, name: &str, draft: Draft) -> Result<(), PathError> {
        let place = self.bundle_place(remote, name);
        self.settle(draft.0, &place)?;
        for listed in self.list(&self.layout.part(REMOTE))? {
            let of_it = |name: &str| name.starts_with(remote) && name.ends_with(BUNDLE);
            if listed.path != place && listed.name.to_str().is_some_and(of_it) {
                let _ = self.remove_any(&listed.path);
            }
        }
        Ok(())
    }

    fn bundle_place(&self, remote: &str, name: &str) -> PathBuf {
        let name = format!("{remote}-{name}{BUNDLE}");
        self.layout.part(REMOTE).join(name)
    }

    /// Until when a remote is taken to be down.
    pub(crate) fn down(&self, remote: &str) -> Option<Down> {
        let bytes = self.read_plain(&self.down_place(remote)).ok()?;
        let mut words = std::str::from_utf8(&bytes).ok()?.splitn(3, ' ');
        let until = Duration::from_millis(words.next()?.parse().ok()?);
        Some(Down {
            until: SystemTime::UNIX_EPOCH.checked_add(until)?,
            times: words.next()?.parse().ok()?,
            why: words.next().unwrap_or_default().trim_end().to_owned(),
        })
    }

    /// Notes that a remote is down, or no longer.
    pub(crate) fn set_down(&self, remote: &str, down: Option<&Down>) {
        let place = self.down_place(remote);
        let Some(Down { until, times, why }) = down else {
            if self.exists(&place) {
                let _ = self.remove_file(&place);
            }
            return;
        };
        let until = until
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let _ = self.replace(
            &place,
            format!("{} {times} {why}\n", until.as_millis()).as_bytes(),
        );
    }

    fn down_place(&self, remote: &str) -> PathBuf {
        self.layout.part(REMOTE).join(format!("down-{remote}"))
    }
}

/// A file of the store that is being filled; it goes with this, unless it is kept.
pub struct Draft(TempFile);

impl Draft {
    /// The file, to be read and written.
    pub fn file(&self) -> &File {
        self.0.file()
    }
}

/// That a remote is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Down {
    pub(crate) until: SystemTime,
    /// How often it was found to be, one after the other.
    pub(crate) times: u32,
    pub(crate) why: String,
}

impl Down {
    /// Whether it may be asked again.
    pub(crate) fn is_over(&self) -> bool {
        self.until <= SystemTime::now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bundle_of_a_remote_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), false);
        for (remote, name) in [("a", "1"), ("b", "1"), ("a", "2")] {
            let draft = store.draft().unwrap();
            store.keep_bundle(remote, name, draft).unwrap();
        }
        drop(store.draft().unwrap());
        let kept = |remote, name| store.bundle(remote, name).is_some();
        assert_eq!(
            (kept("a", "1"), kept("a", "2"), kept("b", "1")),
            (false, true, true)
        );
        assert!(store.list(&store.layout.part("tmp")).unwrap().is_empty());
    }
}
