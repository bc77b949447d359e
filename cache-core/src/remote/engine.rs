//! Engines: what keeps objects for several machines.
//!
//! An object is bytes under a name. An engine need not list names, and reads only what was written
//! whole. Where each object that is written counts against a limit, an engine *gathers*: what is put stays here
//! until all of it is sent at once ([`Engine::finish`]). What can go wrong with one is an [`EngineError`], which says what kind of trouble it is: that it does
//! not answer is another thing than that it refuses.

use std::fmt;

/// An object and what the engine calls this version of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The content.
    pub bytes: Vec<u8>,
    /// The version, where the engine has such.
    pub version: Option<String>,
}

/// When an object may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition<'a> {
    /// At any time.
    Always,
    /// While there is none of this name. An engine that cannot tell writes.
    Absent,
    /// While this version is there. An engine that cannot tell writes.
    Version(&'a str),
}

/// What became of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is there.
    Yes,
    /// The condition did not hold.
    No,
}

/// An object that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What it is called.
    pub name: String,
    /// How long it is, bytes.
    pub bytes: u64,
    /// When it was last written, where that is known.
    pub written: Option<std::time::SystemTime>,
}

/// Keeps objects. Each call ends within a time that a build can wait for.
pub trait Engine: Send + Sync {
    /// An object that is not longer than `most`, bytes; `None` if there is none.
    fn get(&self, name: &str, most: u64) -> Result<Option<Object>, EngineError>;

    /// Whether there is an object.
    fn has(&self, name: &str) -> Result<bool, EngineError>;

    /// Writes an object.
    fn put(
        &self,
        name: &str,
        bytes: &[u8],
        condition: Condition<'_>,
    ) -> Result<Written, EngineError>;

    /// Whether what is put is there for others only once [`Engine::finish`] has sent it.
    fn gathers(&self) -> bool {
        false
    }

    /// Begins to gather: what is there and cannot be used is taken to be absent from here on, as it is to be replaced.
    fn begin(&self) {}

    /// Sends what was put since [`Engine::begin`], if anything was, with what is there already and of use: that
    /// is said by its name.
    fn finish(&self, is_used: &dyn Fn(&str) -> bool) -> Result<(), EngineError> {
        let _ = is_used;
        Ok(())
    }

    /// The objects directly below a name that ends with a slash; `None`: the engine does not tell. No build waits for this.
    fn list(&self, below: &str) -> Result<Option<Vec<Listed>>, EngineError> {
        let _ = below;
        Ok(None)
    }

    /// Removes an object that was listed. What is gone already is as good.
    fn remove(&self, name: &str) -> Result<(), EngineError> {
        Err(EngineError::new(
            Trouble::Confused,
            format!("{name} cannot be removed"),
        ))
    }
}

/// What kind of trouble there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// It could not be reached.
    Unreachable,
    /// It did not answer in time, or too slowly.
    Slow,
    /// It did not let us.
    Denied,
    /// It has too much to do.
    Throttled,
    /// What it answered makes no sense.
    Confused,
    /// An object is longer than it may be.
    TooLong,
    /// The store here cannot take or give it.
    Store,
}

impl Trouble {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Unreachable,
        Self::Slow,
        Self::Denied,
        Self::Throttled,
        Self::Confused,
        Self::TooLong,
        Self::Store,
    ];

    /// The name used in counters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Slow => "slow",
            Self::Denied => "denied",
            Self::Throttled => "throttled",
            Self::Confused => "confused",
            Self::TooLong => "too-long",
            Self::Store => "store",
        }
    }

    /// Whether it is of the engine, so that other objects will not fare better.
    pub fn is_general(self) -> bool {
        !matches!(self, Self::TooLong | Self::Store)
    }
}

/// Trouble with an engine. The text holds no credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineError {
    /// What kind.
    pub trouble: Trouble,
    /// What happened, for people.
    pub what: String,
}

impl EngineError {
    /// Trouble, and what happened.
    pub fn new(trouble: Trouble, what: impl fmt::Display) -> Self {
        let what = what.to_string();
        Self { trouble, what }
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.trouble.name(), self.what)
    }
}

impl std::error::Error for EngineError {}
