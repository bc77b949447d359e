//! Sharing: asking a remote for what the store does not have, and offering it what was made here.
//!
//! A remote is asked when it is this process's turn to make a unit ([`Call::look_up_in_turn`](super::Call)), so of many that
//! want the same one asks. There are three steps, each asked only if those before it led to nothing: the inputs of
//! an earlier run hold but its result is gone; offers that are in the store already, because they came with others;
//! the remote's offers. What is found is put into the store and then served, checks and all, as if it
//! had been there.
//!
//! What is made is queued when it has been stored, if asking its questions gives its inputs. To a directory it is sent
//! at once, so that all is there when the build has ended; everything else is left to the helper.
//!
//! Neither edits nor questions to the compiler are shared. A checkout's own configuration does not say where results come from:
//! what cargo sets for us (`[env]`) and was not started with itself is left out of account.

use std::cell::RefCell;
use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Instant;

use crate::config::LogLevel;
use crate::formats::digest::ResultKey;
use crate::formats::manifest::result_key;
use crate::inputs::check::Checker;
use crate::inputs::input::Input;
use crate::inputs::question::{self, Asker};
use crate::os::env::Environment;
use crate::os::proc;
use crate::outcome::MissReason;
use crate::remote::{
    self, Asked, Directory, EngineError, Fetched, Hello, Helper, Mode, Offers, Remote, Scheme,
    Settings,
};
use crate::run::Sink;
use crate::store::shared::Queued;

use super::{Call, Engine};

/// A remote as one call uses it.
pub(super) struct Sharing {
    settings: Settings,
    /// What the remote is called in the store.
    name: String,
    helper: RefCell<Option<Helper>>,
}

/// Where what may be a result's name comes from.
#[derive(Clone, Copy)]
enum Step {
    /// The inputs of an earlier run.
    Manifest,
    /// Offers in the store.
    Known,
    /// Offers of the remote.
    Fetched,
}

/// An input set that holds, and its result.
type Candidate = (Vec<Input>, ResultKey);

impl Engine<'_> {
    /// The remote that is set, if it can be used.
    pub(super) fn sharing(&self, call: &Call<'_>) -> Option<Sharing> {
        let config = call.request.config;
        let is_set = config.remote.value.is_some() && !self.store.is_read_only();
        if !is_set || call.unit.is_query() {
            return None;
        }
        if let Some(variable) = set_by_checkout(call.request.env) {
            self.log.warn_once("remote of the checkout", || {
                format!("the remote is not used: {variable} was set by the project, not by you")
            });
            return None;
        }
        match Settings::of(config) {
            Ok(settings) => settings.map(|settings| {
                self.say_whether_read(&settings);
                Sharing {
                    name: settings.name(),
                    settings,
                    helper: RefCell::default(),
                }
            }),
            Err(e) => {
                let trouble = e.to_string();
                self.log
                    .warn_once(&trouble, || format!("the remote is not used: {trouble}"));
                None
            }
        }
    }

    /// Says, once a build, that nothing is read where nobody is trusted.
    fn say_whether_read(&self, settings: &Settings) {
        if settings.address.mode == Mode::Read && !settings.trust.admits_anybody() {
            self.log.warn_once("remote without trust", || {
                "the remote is not read: name keys in CACHEWRAP_REMOTE_TRUSTED, or set \
                 CACHEWRAP_REMOTE_TRUST=bucket"
                    .to_owned()
            });
        }
    }
}

/// What is said once a build, whatever the trouble is: the first is why there are no others.
const REMOTE_IN_TROUBLE: &str = "remote in trouble";

/// Variables from which it follows where settings are.
const LEADS_TO_SETTINGS: &[&str] = &["CACHEWRAP_CONFIG", "HOME", "XDG_CONFIG_HOME"];

/// A variable that says something about remotes, or where settings are, which cargo was not started with but
/// set.
fn set_by_checkout(env: &Environment) -> Option<String> {
    let parent = proc::Process::find(std::os::unix::process::parent_id())?;
    if parent.name() != "cargo" {
        return None;
    }
    let started_with = Environment::of_block(&proc::environment_of_parent()?);
    let ours = env.iter().filter(|(name, _)| {
        let leads_there = LEADS_TO_SETTINGS.iter().any(|known| name == known);
        leads_there || name.as_bytes().starts_with(b"CACHEWRAP_REMOTE")
    });
    let mut set_since = ours.filter(|(name, value)| started_with.get(name) != Some(*value));
    set_since
        .next()
        .map(|(name, _)| name.to_string_lossy().into_owned())
}

impl Call<'_> {
    /// Serves the unit from the remote, by way of the store; what was wrong with the store alone, if
    /// there is nothing.
    pub(super) fn look_up_remotely(
        &self,
        reason: MissReason,
        stdout: Sink<'_>,
        stderr: Sink<'_>,
    ) -> Result<i32, MissReason> {
        let Some(sharing) = self.sharing() else {
            return Err(reason);
        };
        if self.unit.is_edit() || !sharing.settings.trust.admits_anybody() {
            return Err(reason);
        }
        let started = Instant::now();
        let found = self.find_remotely(sharing, stdout, stderr);
        let waited = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let waited = ("remote.waited_us", waited);
        match found {
            Ok(Some(status)) => {
                let saved = self.stored.get().map_or(0, |stored| stored.duration_us);
                let saved = ("remote.saved_us", saved);
                self.engine.count(&[waited, saved, ("remote.hit", 1)]);
                Ok(status)
            }
            Ok(None) => {
                self.engine.count(&[waited, ("remote.miss", 1)]);
                Err(reason)
            }
            Err(e) => {
                self.engine.count(&[waited]);
                self.report_trouble(&e);
                Err(reason)
            }
        }
    }

    fn sharing(&self) -> Option<&Sharing> {
        let sharing = self.sharing.get_or_init(|| self.engine.sharing(self));
        sharing.as_ref()
    }

    fn find_remotely(
        &self,
        sharing: &Sharing,
        stdout: Sink<'_>,
        stderr: Sink<'_>,
    ) -> Result<Option<i32>, EngineError> {
        let key = self.unit.scene().key;
        let mut tried = HashSet::new();
        for step in [Step::Manifest, Step::Known, Step::Fetched] {
            for (inputs, named) in self.candidates(step, sharing)? {
                if !tried.insert(named) || !self.bring(sharing, named)? {
                    continue;
                }
                let Ok(mut manifest) = self.engine.manifest(key) else {
                    return Ok(None);
                };
                manifest.get_or_insert_default().add(inputs, named);
                if let Some(manifest) = &manifest {
                    let _ = self.engine.store.put_manifest(key, manifest);
                }
                if let Ok(status) = self.look_up(&Ok(manifest), stdout, stderr) {
                    return Ok(Some(status));
                }
            }
        }
        Ok(None)
    }

    fn candidates(&self, step: Step, sharing: &Sharing) -> Result<Vec<Candidate>, EngineError> {
        let key = self.unit.scene().key;
        if matches!(step, Step::Manifest) {
            let Ok(Some(manifest)) = self.engine.manifest(key) else {
                return Ok(Vec::new());
            };
            return Ok(self.in_world(|world| {
                let mut checker = Checker::new(world, &manifest);
                let sets = manifest.sets().iter();
                let sets = sets.filter(|set| checker.check(set).is_ok());
                let inputs = |set| manifest.inputs_of(set).map(|(_, input)| input.clone());
                sets.map(|set| (inputs(set).collect(), set.result))
                    .collect()
            }));
        }
        if matches!(step, Step::Fetched) && !sharing.fetch_offers(self)? {
            return Ok(Vec::new());
        }
        let offers = self.engine.store.offers(key).unwrap_or_default();
        Ok(self.in_world(|world| {
            let mut asker = Asker::new(world);
            let offers = Offers::decode(&offers);
            let answered = offers
                .iter()
                .filter_map(|offer| asker.ask(&offer.questions));
            let named = answered.map(|inputs| {
                let named = result_key(key, &inputs);
                (inputs, named)
            });
            named.collect()
        }))
    }

    /// Sees to it that a result is in the store; whether it is.
    fn bring(&self, sharing: &Sharing, result: ResultKey) -> Result<bool, EngineError> {
        if self.engine.store.has_whole(result) {
            return Ok(true);
        }
        match sharing.fetch_result(self, result)? {
            Fetched::Placed(bytes) => {
                let stored = self.engine.store.result(result).ok().flatten();
                let stored = stored.map_or(0, |stored| stored.blobs().map(|b| b.len).sum());
                self.engine.count(&[
                    ("remote.fetched_bytes", bytes),
                    (crate::store::stats::STORED_BYTES, stored),
                ]);
                Ok(true)
            }
            Fetched::Missing => Ok(false),
            Fetched::Unfit(why) => {
                self.engine.count(&[("remote.unfit", 1)]);
                self.engine.log.warn_once(&format!("remote {why}"), || {
                    let name = &self.unit.scene().name;
                    format!("what the remote has of {name} is not used: {why}")
                });
                Ok(false)
            }
        }
    }

    /// Says what is wrong with the remote, once a build, and counts it.
    fn report_trouble(&self, error: &EngineError) {
        let (engine, kind) = (self.engine, error.trouble.name());
        engine
            .log
            .say(LogLevel::Debug, || format!("remote: {error}"));
        // It may have been the helper that met the trouble, while it sent or fetched ahead, and who builds hears of it here.
        if remote::is_left_alone(error) {
            engine.count(&[("remote.left_alone", 1)]);
            let what = &error.what;
            let said = || format!("the remote is {what}");
            engine.log.warn_once(REMOTE_IN_TROUBLE, said);
            return;
        }
        engine.count_with_reason("remote.error", kind);
        if error.trouble.is_general() {
            engine.log.warn_once(REMOTE_IN_TROUBLE, || {
                format!("the remote is not used for a while: {error}")
            });
        }
    }

    /// Whether what is made now may be of use to others.
    pub(super) fn is_for_others(&self) -> bool {
        let sharing = self.sharing();
        let writes = sharing.is_some_and(|sharing| sharing.settings.address.mode == Mode::Write);
        writes && !self.unit.is_edit()
    }

    /// Offers a result that has just been stored.
    pub(super) fn offer(&self, inputs: &[Input], result: ResultKey, duration_us: u64) {
        let questions = question::questions(inputs);
        let answers = self.in_world(|world| Asker::new(world).ask(&questions));
        let scene = self.unit.scene();
        if answers.as_deref() != Some(inputs) {
            self.engine.count(&[("remote.not_offered", 1)]);
            self.engine.log.say(LogLevel::Debug, || {
                let unlike = |(input, answer): (&Input, &Input)| {
                    (input != answer).then(|| format!("{input:?} and now {answer:?}"))
                };
                let mut pairs = inputs.iter().zip(answers.as_deref().unwrap_or_default());
                let unlike = pairs.find_map(|(input, answer)| unlike((input, answer)));
                let unlike = unlike.unwrap_or_else(|| "a question has no answer".to_owned());
                format!("{}: not for others: {unlike}", scene.name)
            });
            return;
        }
        let queued = Queued {
            unit: scene.name.clone(),
            manifest: scene.key,
            result,
            questions,
            duration_us,
        };
        match self.engine.store.enqueue(&queued) {
            Ok(()) => self.queued.set(Some(result)),
            Err(e) => drop(self.engine.fault(&e)),
        }
    }

    /// Sends what was queued. Nobody need wait for that who waits for the unit.
    pub(super) fn send_offered(&self) {
        if let Some(result) = self.queued.get()
            && let Some(sharing) = self.sharing()
        {
            sharing.send(self, result);
        }
    }
}

impl Sharing {
    fn fetch_offers(&self, call: &Call<'_>) -> Result<bool, EngineError> {
        let key = call.unit.scene().key;
        if self.settings.address.scheme == Scheme::Directory {
            return self.directory(call, |remote| remote.fetch_offers(key));
        }
        let fetched = self.ask(call, &Asked::Offers(key))?;
        Ok(matches!(fetched, Fetched::Placed(_)))
    }

    fn fetch_result(&self, call: &Call<'_>, result: ResultKey) -> Result<Fetched, EngineError> {
        let key = call.unit.scene().key;
        if self.settings.address.scheme == Scheme::Directory {
            return self.directory(call, |remote| remote.fetch_result(key, result));
        }
        self.ask(call, &Asked::Result(key, result))
    }

    /// Sends what was queued to a directory, or has the helper send it.
    fn send(&self, call: &Call<'_>, result: ResultKey) {
        let sent = if self.settings.address.scheme == Scheme::Directory {
            self.directory(call, |remote| remote.send_one(result))
        } else {
            self.tell(call, &Asked::Send)
        };
        if let Err(e) = sent {
            call.report_trouble(&e);
        }
    }

    fn directory<T>(
        &self,
        call: &Call<'_>,
        ask: impl FnOnce(&Remote<'_>) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let engine = Directory::new(&self.settings.address.place);
        ask(&Remote::new(call.engine.store, &engine, &self.settings))
    }

    fn ask(&self, call: &Call<'_>, asked: &Asked) -> Result<Fetched, EngineError> {
        self.with_helper(call, |helper| helper.ask(asked))
    }

    fn tell(&self, call: &Call<'_>, asked: &Asked) -> Result<(), EngineError> {
        self.with_helper(call, |helper| helper.tell(asked))
    }

    /// Talks with the helper. Where it is the helper that does not answer, it is left alone as an engine is.
    fn with_helper<T>(
        &self,
        call: &Call<'_>,
        talk: impl FnOnce(&mut Helper) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let store = call.engine.store;
        remote::check_down(store, &self.name)?;
        let mut helper = self.helper.borrow_mut();
        let answer = if let Some(helper) = &mut *helper {
            talk(helper)
        } else {
            let (env, beside) = (call.request.env, call.request.remote_helper);
            let hello = Hello {
                build: Some(std::os::unix::process::parent_id()),
                dir: proc::directory_of_parent(),
            };
            Helper::meet(store, &self.settings, env, beside, &hello)
                .and_then(|met| talk(helper.insert(met)))
        };
        if let Err(e) = &answer
            && e.trouble.is_general()
        {
            *helper = None;
            if store.down(&self.name).is_none_or(|down| down.is_over()) {
                remote::note_down(store, &self.name, e);
            }
        }
        answer
    }
}
