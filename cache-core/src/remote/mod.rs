//! The remote: results that other machines have made, and results for them.
//!
//! The local store comes first; a remote is asked only where it has nothing, and what it has is put there, to be
//! served like anything else. It keeps objects under names and needs to know nothing else:
//!
//! ```text
//! <prefix>/cw1/<namespace>/n/<manifest key>   offers: lists of questions (`offers`, `inputs::question`)
//! <prefix>/cw1/<namespace>/r/<result key>     a pack: a result and its blobs (`pack`); never changed
//! <prefix>/cw1/<namespace>/i/<project>        what a project needed (`index`), to fetch it at once
//! ```
//! Looking up: get the offers for a manifest key, ask their questions here, get the pack of the result that the
//! answers name. No value of a variable and no content of a file leaves the machine; what is asked
//! for is the hash of all of them. Sending: the pack first, then the offer. What is to be sent waits in the store
//! ([`queue`](crate::store)), so that a process may be killed at any moment.
//!
//! # What can go wrong
//!
//! - *The remote is down, hangs, drips, refuses.* Engines have time limits. The first trouble is noted in the store for
//!   all processes, and until a time that grows with each failure nobody asks again. The build
//!   goes on as without a remote.
//! - *Somebody puts something there.* Offers and packs count only if they are signed by a key that the user
//!   trusts (`trust`), over namespace, keys and content. Without keys nothing is read, unless
//!   the user says that whoever can write there is trusted.
//! - *Offers are lost* because two machines replace the object at the same time: engines that
//!   have conditional writes exclude it; with others, who sends reads again, and adds again. What is lost after all is found
//!   missing by the next machine, which compiles and sends it.
//! - *The answer to a question differs between asking and serving.* Serving checks every input once more, as for
//!   every hit.
//! - *A result binds to a place that is another elsewhere.* Then the question for the place has another
//!   answer, and the result is not asked for.
//! - *An edit is nobody else's*: where an incremental session shows that somebody is editing, nothing is asked and
//!   nothing sent. Nor are questions to the compiler, which take less than asking.

mod address;
mod directory;
mod engine;
mod gather;
mod helper;
mod index;
mod offers;
mod pack;
mod probe;
mod prune;
mod pull;
mod settings;
mod trust;

use std::time::{Duration, Instant, SystemTime};

pub use crate::store::shared::Draft;
pub use address::{Address, Mode, Scheme};
pub use directory::Directory;
pub use engine::{Condition, Engine, EngineError, Listed, Object, Trouble, Written};
pub use helper::{Answer, Asked, Hello, read_message, socket_path, write_message};
pub use index::Project;
pub use probe::ProbeStep;
pub use prune::Pruned;
pub use pull::Pulled;
pub use settings::{MARK, Settings, SettingsError};
pub use trust::{PublicKey, SecretKey, Trust};

pub(crate) use helper::Helper;
pub(crate) use index::Entry;
pub(crate) use offers::{Offer, Offers};

use crate::formats::digest::{ManifestKey, ResultKey};
use crate::store::shared::{Down, Queued};
use crate::store::{Store, StoreError};
use offers::Author;
use pack::{Contents, Unfit, Unpackable, Wanted};

/// How long a remote that was found to be down once is left alone; twice as long each further time.
const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// And at most so long.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// How long another process that sends may get nowhere.
const STANDSTILL: Duration = Duration::from_secs(60);

/// How often replacing the offers for a key is tried while others replace them.
const TRIES: u32 = 8;

/// A remote, reached through an engine, and the store that goes with it.
pub struct Remote<'a> {
    store: &'a Store,
    engine: &'a dyn Engine,
    settings: &'a Settings,
    name: String,
}

/// What became of fetching.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// It is in the store now; how long what came was, bytes.
    Placed(u64),
    /// The remote does not have it.
    Missing,
    /// What the remote has was not taken, and why.
    Unfit(String),
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SentAll {
    /// Results that the remote has now.
    pub results: u64,
    /// How long what was sent of them was, bytes.
    pub bytes: u64,
    /// Results that were left out: gone meanwhile, not for others, or too long.
    pub dropped: u64,
}

/// What became of sending one result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// It is there; how long what was sent is, bytes.
    Yes(u64),
    /// It is gone, not for others, or too long; the queue has it no more.
    Dropped,
    /// Others changed the same at the same time, again and again; it stays in the queue.
    Later,
}

impl<'a> Remote<'a> {
    /// A remote.
    pub fn new(store: &'a Store, engine: &'a dyn Engine, settings: &'a Settings) -> Self {
        Self {
            store,
            engine,
            settings,
            name: settings.name(),
        }
    }

    /// Why the remote is left alone at present, if it is.
    pub fn why_left_alone(store: &Store, settings: &Settings) -> Option<String> {
        why_down(store, &settings.name())
    }

    /// Has the remote be asked, even if it was in trouble just now: somebody wants to know.
    pub fn ask_again(&self) {
        self.store.set_down(&self.name, None);
    }

    /// Gets the offers for a key into the store; whether there are any that count.
    pub fn fetch_offers(&self, manifest: ManifestKey) -> Result<bool, EngineError> {
        if !self.settings.trust.admits_anybody() {
            return Ok(false);
        }
        let object = self.guarded(|| {
            self.engine
                .get(&self.offers_name(manifest), offers::LONGEST)
        })?;
        let Some(object) = object else {
            return Ok(false);
        };
        let namespace = &self.settings.address.namespace;
        let mut found = Offers::decode(&object.bytes);
        found.admit(&self.settings.trust, namespace, manifest);
        if found.is_empty() {
            return Ok(false);
        }
        let known = self.store.offers(manifest).unwrap_or_default();
        let mut all = Offers::decode(&known);
        all.merge(found);
        let all = all.encode();
        if all != known {
            self.store.put_offers(manifest, &all).map_err(in_store)?;
        }
        Ok(true)
    }

    /// Gets a result into the store, with what leads to it.
    pub fn fetch_result(
        &self,
        manifest: ManifestKey,
        result: ResultKey,
    ) -> Result<Fetched, EngineError> {
        self.fetch(Some(manifest), result)
    }

    fn fetch(
        &self,
        manifest: Option<ManifestKey>,
        result: ResultKey,
    ) -> Result<Fetched, EngineError> {
        if !self.settings.trust.admits_anybody() {
            return Ok(Fetched::Missing);
        }
        let name = self.result_name(result);
        let most = pack::LONGEST.min(self.settings.room);
        let Some(pack) = self.guarded(|| self.engine.get(&name, most))? else {
            return Ok(Fetched::Missing);
        };
        let wanted = Wanted {
            manifest,
            result,
            namespace: &self.settings.address.namespace,
            trust: &self.settings.trust,
            room: self.settings.room,
        };
        match pack::unpack(&pack.bytes, &wanted, self.store) {
            Ok(header) => {
                self.remember(header).map_err(in_store)?;
                Ok(Fetched::Placed(pack.bytes.len() as u64))
            }
            Err(Unfit::Store(e)) => Err(in_store(e)),
            Err(Unfit::Damaged(what)) => Ok(Fetched::Unfit(format!("{what} is damaged"))),
            Err(Unfit::Untrusted) => Ok(Fetched::Unfit("signed by nobody who is trusted".into())),
            Err(Unfit::TooLong) => Ok(Fetched::Unfit("too long".into())),
        }
    }

    /// Notes in the store what leads to a result that came.
    fn remember(&self, header: pack::Header) -> Result<(), StoreError> {
        let known = self.store.offers(header.manifest).unwrap_or_default();
        let mut offers = Offers::decode(&known);
        let offer = Offer {
            questions: header.questions,
            duration_us: header.duration_us,
        };
        // In the store, all of them count.
        let author = Author {
            namespace: &self.settings.address.namespace,
            manifest: header.manifest,
            key: None,
            trust: &Trust::Bucket,
        };
        if offers.add(&offer, &author) {
            self.store.put_offers(header.manifest, &offers.encode())?;
        }
        Ok(())
    }

    /// Sends what is in the queue, the oldest first, until nothing is left or there is trouble. Does nothing
    /// while another process sends.
    pub fn send_all(&self) -> Result<SentAll, EngineError> {
        let mut all = SentAll::default();
        // What is queued just before the lock is let go is seen by the look after it.
        while self.store.is_anything_to_send() {
            let Some(_lock) = self.store.lock_queue() else {
                break;
            };
            let before = all;
            for queued in self.store.queued() {
                match self.send(&queued) {
                    Ok(Sent::Yes(bytes)) => {
                        all.results += 1;
                        all.bytes += bytes;
                        self.count_sent(bytes);
                    }
                    Ok(Sent::Dropped) => all.dropped += 1,
                    Err(e) if e.trouble.is_general() => return Err(e),
                    // It stays, and the others go on.
                    Ok(Sent::Later) | Err(_) => {}
                }
            }
            if all == before {
                break;
            }
        }
        Ok(all)
    }

    /// Sends all that is queued, waiting for others who send, and tells what a project needed. An error if something
    /// is left, or nothing has moved for a minute.
    pub fn push(&self, project: Option<&Project>) -> Result<SentAll, EngineError> {
        self.ask_again();
        if self.engine.gathers() {
            return self.push_gathered(project);
        }
        let mut all = SentAll::default();
        let mut moved = (Instant::now(), self.store.queue_length());
        loop {
            let sent = self.send_all()?;
            all.results += sent.results;
            all.bytes += sent.bytes;
            all.dropped += sent.dropped;
            let left = self.store.queue_length();
            if left == 0 {
                break;
            }
            if left != moved.1 {
                moved = (Instant::now(), left);
            }
            if moved.0.elapsed() >= STANDSTILL {
                return Err(EngineError::new(Trouble::Throttled, "nothing moves"));
            }
            // Another process sends; or others changed the same, again and again.
            std::thread::sleep(Duration::from_millis(20));
        }
        if let Some(project) = project {
            self.publish_index(project)?;
        }
        Ok(all)
    }

    /// Sends one result that is queued, if it still is.
    pub(crate) fn send_one(&self, result: ResultKey) -> Result<(), EngineError> {
        if let Some(queued) = self.store.queued_result(result)
            && let Sent::Yes(bytes) = self.send(&queued)?
        {
            self.count_sent(bytes);
        }
        Ok(())
    }

    fn count_sent(&self, bytes: u64) {
        let amounts = [("remote.sent", 1), ("remote.sent_bytes", bytes)];
        let _ = self.store.count(&amounts);
    }

    /// Sends a result that is queued; it leaves the queue when it is there.
    fn send(&self, queued: &Queued) -> Result<Sent, EngineError> {
        let sent = self.send_pack(queued)?;
        if sent != Sent::Dropped && !self.send_offer(queued)? {
            return Ok(Sent::Later);
        }
        self.store.leave_queue(queued.result);
        Ok(sent)
    }

    fn send_pack(&self, queued: &Queued) -> Result<Sent, EngineError> {
        let name = self.result_name(queued.result);
        if self.guarded(|| self.engine.has(&name))? {
            return Ok(Sent::Yes(0));
        }
        let Settings { address, key, .. } = self.settings;
        let contents = Contents {
            manifest: queued.manifest,
            result: queued.result,
            questions: &queued.questions,
        };
        let pack = match pack::pack(self.store, &contents, &address.namespace, key.as_ref()) {
            Ok(pack) => pack,
            Err(Unpackable::Gone | Unpackable::Private | Unpackable::TooLong) => {
                return Ok(Sent::Dropped);
            }
            Err(Unpackable::Store(e)) => return Err(in_store(e)),
        };
        match self.guarded(|| self.engine.put(&name, &pack, Condition::Absent)) {
            // It will be no shorter another time.
            Err(e) if e.trouble == Trouble::TooLong => Ok(Sent::Dropped),
            put => put.map(|_| Sent::Yes(pack.len() as u64)),
        }
    }

    /// Adds what leads to a result to what is offered; `false`: others changed that each time.
    fn send_offer(&self, queued: &Queued) -> Result<bool, EngineError> {
        let name = self.offers_name(queued.manifest);
        let author = Author {
            namespace: &self.settings.address.namespace,
            manifest: queued.manifest,
            key: self.settings.key.as_ref(),
            trust: &self.settings.trust,
        };
        let offer = Offer {
            questions: queued.questions.clone(),
            duration_us: queued.duration_us,
        };
        for _ in 0..TRIES {
            let there = self.guarded(|| self.engine.get(&name, offers::LONGEST))?;
            let (mut offers, condition) = match &there {
                Some(object) => {
                    let version = object.version.as_deref();
                    let condition = version.map_or(Condition::Always, Condition::Version);
                    (Offers::decode(&object.bytes), condition)
                }
                None => (Offers::default(), Condition::Absent),
            };
            if !offers.add(&offer, &author) {
                return Ok(true);
            }
            self.guarded(|| self.engine.put(&name, &offers.encode(), condition))?;
        }
        Ok(false)
    }

    fn offers_name(&self, key: ManifestKey) -> String {
        format!(
            "cw1/{}/n/{}",
            self.settings.address.namespace,
            key.0.to_hex()
        )
    }

    fn result_name(&self, key: ResultKey) -> String {
        format!(
            "cw1/{}/r/{}",
            self.settings.address.namespace,
            key.0.to_hex()
        )
    }

    /// Asks the engine, unless it is known to be down; notes whether it is.
    fn guarded<T>(&self, ask: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
        check_down(self.store, &self.name)?;
        let answer = ask();
        match &answer {
            Ok(_) => self.store.set_down(&self.name, None),
            Err(e) if e.trouble.is_general() => note_down(self.store, &self.name, e),
            Err(_) => {}
        }
        answer
    }
}

/// How what is said begins where a remote is not even asked.
const LEFT_ALONE: &str = "left alone for ";

/// Whether an error only says that a remote is not asked, because of an earlier one.
pub fn is_left_alone(error: &EngineError) -> bool {
    error.what.starts_with(LEFT_ALONE)
}

/// Why a remote is not asked, if it is not.
pub(crate) fn why_down(store: &Store, name: &str) -> Option<String> {
    let down = store.down(name)?;
    let left = down.until.duration_since(SystemTime::now()).ok()?;
    // A clock that was set back is no reason to wait for ever.
    let counts = left <= LONGEST_PAUSE;
    counts.then(|| format!("{LEFT_ALONE}{}s: {}", left.as_secs(), down.why))
}

/// An error where a remote is not to be asked.
pub(crate) fn check_down(store: &Store, name: &str) -> Result<(), EngineError> {
    match why_down(store, name) {
        Some(why) => Err(EngineError::new(Trouble::Unreachable, why)),
        None => Ok(()),
    }
}

/// Has everybody leave a remote alone for a while.
pub(crate) fn note_down(store: &Store, name: &str, error: &EngineError) {
    let times = store
        .down(name)
        .map_or(0, |down| down.times)
        .saturating_add(1);
    let pause = FIRST_PAUSE.saturating_mul(1 << times.min(16).saturating_sub(1));
    let until = SystemTime::now() + pause.min(LONGEST_PAUSE);
    let why = error.to_string().replace('\n', " ");
    store.set_down(name, Some(&Down { until, times, why }));
}

fn in_store(error: StoreError) -> EngineError {
    EngineError::new(Trouble::Store, error)
}

#[cfg(test)]
mod tests;
