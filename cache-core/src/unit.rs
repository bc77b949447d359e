//! What the pipeline must know of a kind of units, and of one unit.
//!
//! A kind is a folder below `kinds` and a row in [`KINDS`](crate::kinds::KINDS). It says which calls are
//! of its kind and understands them; of one that it has understood, it says what enters the key, how the
//! process is run, what of all that the process did is input and output, and how outputs get into their
//! places. When what is done, that nothing is done twice, and what is said and counted, is the pipeline's.

use std::ffi::OsStr;

use crate::formats::digest::Digest;
use crate::formats::key::KeyHasher;
use crate::inputs::input::Input;
use crate::log::Log;
use crate::observe::Depth;
use crate::os::temp_file::TempFile;
use crate::outcome::{Bypass, Refusal};
use crate::outputs::restore::{Messages, RestoreError};
use crate::outputs::result::{CompileResult, Output};
use crate::request::Request;
use crate::roots::Template;
use crate::run::{Command, Run};
use crate::scene::Scene;
use crate::store::Store;
use crate::store::stats::Events;

/// A kind of units.
pub(crate) trait Kind: Sync {
    /// What its events are called in counters.
    fn events(&self) -> &'static Events;

    /// Whether a call is of this kind.
    fn recognises(&self, request: &Request<'_>) -> bool;

    /// What a call is called in messages, whether it is understood or not.
    fn name(&self, request: &Request<'_>) -> String;

    /// Understands a call.
    fn prepare<'a>(
        &self,
        request: &'a Request<'a>,
        store: &'a Store,
        log: &'a Log,
    ) -> Result<Box<dyn Unit + 'a>, Bypass>;
}

/// One call that is cached.
pub(crate) trait Unit {
    fn scene(&self) -> &Scene<'_>;

    /// Its key, made anew with a description.
    fn described_key(&self) -> KeyHasher;

    /// Whether the key holds a variable already.
    fn is_in_key(&self, name: &OsStr) -> bool;

    /// The last value of an argument that is left out of the key.
    fn argument(&self, _name: &str) -> Option<Vec<u8>> {
        None
    }

    /// Whether it is a question, which is asked again and again and takes a few milliseconds.
    fn is_query(&self) -> bool {
        false
    }

    /// What it is about to make, as far as that is known: of several that make the same, one does,
    /// and the others wait. `None`: it takes no time worth waiting for.
    fn work(&self) -> Option<Digest>;

    /// Whether it is made again and again, a little different each time: somebody is editing, and
    /// waits for it. Asked before the process runs.
    fn is_edit(&self) -> bool {
        false
    }

    /// Puts the outputs of a result into their places: all of them, or none.
    fn restore(&self, result: &CompileResult) -> Result<Messages, RestoreError>;

    /// Its process.
    fn process(&self, is_observed: bool) -> Process<'_>;

    /// What a process that ended well was seen to do; what is left puts its outputs into the store.
    fn keep<'a>(
        &'a self,
        ran: &'a Ran,
        process: &'a Process<'_>,
    ) -> Result<Box<dyn Rest + 'a>, Refusal>;

    /// Gives the process what an earlier one left for it, if that is gone.
    fn place_state(&self) {}

    /// Keeps what the process left for its next time.
    fn keep_state(&self) {}

    /// What is done when the outputs are in their places, served or made.
    fn finish(&self) {}
}

/// Changes a line.
type Translate<'a> = Box<dyn Fn(&[u8]) -> Vec<u8> + Sync + 'a>;

/// A process to run, and how.
pub(crate) struct Process<'a> {
    pub(crate) command: Command,
    pub(crate) depth: Option<Depth>,
    /// What a line of standard error is to be for the caller.
    pub(crate) translate: Translate<'a>,
    /// A file that it is told to write and nobody else asked for.
    pub(crate) extra: Option<TempFile>,
}

/// A process that has ended well, and what it said.
pub(crate) struct Ran {
    pub(crate) run: Run,
    /// When it was started, nanoseconds since the epoch.
    pub(crate) started: i128,
    pub(crate) duration_us: u64,
    pub(crate) stdout: Vec<u8>,
    /// The lines as they were passed on.
    pub(crate) stderr: Vec<u8>,
}

/// What is left to do when a process has ended.
pub(crate) trait Rest {
    /// Prepares for being done later, while the build goes on and its files change; `false` if it has to be
    /// done at once.
    fn defer(&mut self) -> bool {
        false
    }

    /// Records inputs, says what they are while it goes on (`known`), and puts outputs into the store.
    fn finish(self: Box<Self>, known: &mut dyn FnMut(&[Input])) -> Result<Kept, Refusal>;
}

/// Something that has to be done at once.
impl<F: FnOnce() -> Result<Kept, Refusal>> Rest for F {
    fn finish(self: Box<Self>, _known: &mut dyn FnMut(&[Input])) -> Result<Kept, Refusal> {
        self()
    }
}

/// What is kept of a process.
pub(crate) struct Kept {
    /// The identity of the toolchain that it belongs to.
    pub(crate) toolchain: Digest,
    pub(crate) inputs: Vec<Input>,
    pub(crate) outputs: Vec<Output>,
    /// Variables that libraries among them only include files by.
    pub(crate) included: Vec<Vec<u8>>,
    pub(crate) stdout: Template,
    pub(crate) stderr: Template,
    /// What its outputs took in the store that were not there, bytes on disk.
    pub(crate) stored: u64,
}
