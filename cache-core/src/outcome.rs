//! What can become of a call, and why.
//!
//! Every reason has a name, which counters use, a sentence, and what it is about each time: the
//! argument, the path, the variable. Adding one is adding a row here.

use std::fmt;
use std::path::Path;

use crate::error::PathError;
use crate::run::Status;

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not for us; nothing has been run, and the caller runs it untouched.
    Bypass(Because<BypassReason>),
    /// Outputs and messages came from the store.
    Hit {
        /// The exit status.
        status: i32,
    },
    /// The process ran.
    Miss {
        /// Why.
        reason: MissReason,
        /// How it ended.
        status: Status,
        /// Why its result was not stored, if it was not, or is not yet
        /// ([`Request::may_detach`](crate::Request::may_detach)).
        not_stored: Option<Because<NotStored>>,
        /// Whether the store has outgrown its bound, so that [`run_gc`](crate::store::run_gc)
        /// should be run, best by a process of its own.
        full: bool,
    },
}

/// A reason, and what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Because<R> {
    /// The reason.
    pub why: R,
    /// A path, an argument, an error, or what was missed; for people.
    pub what: String,
}

/// Defines reasons, each by its name in counters and a sentence.
macro_rules! reasons {
    ($(#[$about:meta])* $kind:ident { $($reason:ident $name:literal $sentence:literal)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $kind {
            $(#[doc = $sentence] $reason,)*
        }

        impl $kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$reason),*];

            /// The name used in counters.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)*
                }
            }

            /// What it means.
            pub fn sentence(self) -> &'static str {
                match self {
                    $(Self::$reason => $sentence,)*
                }
            }

            /// Says what it is about.
            pub(crate) fn of(self, what: impl fmt::Display) -> Because<Self> {
                Because {
                    why: self,
                    what: what.to_string(),
                }
            }

            /// Says which path it is about.
            pub(crate) fn at(self, path: &Path) -> Because<Self> {
                self.of(path.display())
            }
        }

        impl fmt::Display for Because<$kind> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}: {}", self.why.name(), self.what)
            }
        }
    };
}

reasons! {
    /// Why a call is not cached; it runs untouched.
    BypassReason {
        UnknownArguments "unknown-arguments" "an argument is not in rustc's own table of options"
        ArgumentFile "argument-file" "an `@file` cannot be read or has a grammar of its own"
        Help "help" "help texts and the like: nothing is compiled"
        NoSingleInput "no-single-input" "no source, or more than one; rustc will say so"
        OutputToStdout "output-to-stdout" "an output goes to standard output"
        UnstableReport "unstable-report" "rustc writes a report of its own, or prints what differs from run to run"
        Terminal "terminal" "messages for people go to a terminal, whose colours and width the compiler must see for itself"
        Stdin "stdin" "standard input is a terminal, endless, or given to a build script"
        Unobserved "unobserved" "the unit links, or its inputs are unknown, and nothing is observed"
        QueryOfSource "query-of-source" "a question about a source file rather than about the compiler"
        CargoFix "cargo-fix" "`cargo fix` edits sources while it compiles"
        Toolchain "toolchain" "the compiler could not be identified"
        NoCompiler "no-compiler" "the program could not be found; running it will say so"
        NotByCargo "not-by-cargo" "a build script that was not started by cargo"
        NotWanted "not-wanted" "a build script whose runs are not to be cached"
        UsedOutDir "used-out-dir" "the directory of a build script or tool holds what earlier runs left"
        Internal "internal" "something went wrong within cachewrap before anything was done"
    }
}

reasons! {
    /// Why the result of a process was not stored.
    NotStored {
        Failed "failed" "it failed"
        Incomplete "incomplete" "something was missed while observing"
        Changed "changed" "an input changed meanwhile or just before"
        SideEffect "side-effect" "a file was written where a hit could not write it"
        UnknownOutput "unknown-output" "an output could not be attributed to the call, or is no file"
        Unreadable "unreadable" "an input could not be read afterwards"
        Store "store" "the store could not be written to"
        Network "network" "it talked to another process, over a network or not"
        EveryTime "every-time" "a build script asks to be run every time"
        Machine "machine" "it read what differs from machine to machine, or from moment to moment"
        Internal "internal" "something went wrong within cachewrap"
    }
}

reasons! {
    /// Why a unit of an earlier build was not served ahead, but left to cargo.
    NotAhead {
        Removed "removed" "its package is not in `Cargo.lock` any more"
        Bound "bound" "what cargo wrote about it is good only where it was made"
        Newer "newer" "cargo would find a source newer than the build, and ask for it all the same"
        Program "program" "another compiler or wrapper made it"
        Bypassed "bypassed" "it is not cached any more"
        Miss "miss" "it could not be served from the cache"
        Place "place" "its files could not be put into their places, or would lie outside the target directory"
        Dependency "dependency" "a unit that it depends on was left to cargo"
        Internal "internal" "something went wrong within cachewrap"
    }
}

/// Why a unit was not served ahead, and what that is about.
pub(crate) type Left = Because<NotAhead>;

/// Why something was not stored, and what that is about.
pub(crate) type Refusal = Because<NotStored>;

/// Why a call is not cached, and what that is about.
pub(crate) type Bypass = Because<BypassReason>;

/// What is said of a process that was not observed, or not to its end.
pub(crate) const NOT_OBSERVED: &str = "it was not observed";

/// An input could not be read afterwards.
impl From<PathError> for Refusal {
    fn from(error: PathError) -> Self {
        NotStored::Unreadable.of(error)
    }
}

/// Why there was no hit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissReason {
    /// Nothing like it has been run before.
    NoEntry,
    /// The user asked to run and store anew.
    Recache,
    /// An input differs from the newest recorded set.
    Changed(Change),
    /// The inputs match, but this, the result or a part of it, is gone.
    Evicted(String),
    /// The inputs match, but this, the result or a part of it, was damaged.
    Damaged(String),
    /// This was written by another version of cachewrap.
    OtherVersion(String),
}

impl MissReason {
    /// The name used in counters.
    pub fn name(&self) -> &'static str {
        self.name_and_sentence().0
    }

    fn name_and_sentence(&self) -> (&'static str, &'static str) {
        match self {
            Self::NoEntry => ("no-entry", "not compiled before with these arguments"),
            Self::Recache => ("recache", "CACHEWRAP_RECACHE is set"),
            Self::Changed(change) => (change.kind, "an input changed"),
            Self::Evicted(_) => ("evicted", "the stored result was evicted"),
            Self::Damaged(_) => ("damaged", "the stored result was damaged"),
            Self::OtherVersion(_) => ("other-version", "stored by another version of cachewrap"),
        }
    }
}

impl fmt::Display for MissReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, sentence) = self.name_and_sentence();
        match self {
            Self::Changed(change) => change.fmt(f),
            Self::NoEntry | Self::Recache => f.write_str(sentence),
            Self::Evicted(what) | Self::Damaged(what) | Self::OtherVersion(what) => {
                write!(f, "{sentence}: {what}")
            }
        }
    }
}

/// One input that no longer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The kind of change, as used in counters.
    pub kind: &'static str,
    /// What changed: a path, or the name of a variable.
    pub what: String,
    /// What was recorded.
    pub old: String,
    /// What is there now.
    pub new: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            what,
            old,
            new,
        } = self;
        write!(f, "{kind}: {what}: was {old}, is {new}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_for_counters_and_tell_reasons_apart() {
        let bypasses = BypassReason::ALL.iter().map(|reason| reason.name());
        let refusals = NotStored::ALL.iter().map(|reason| reason.name());
        let left = NotAhead::ALL.iter().map(|reason| reason.name());
        for names in [
            bypasses.collect::<Vec<_>>(),
            refusals.collect(),
            left.collect(),
        ] {
            let mut sorted = names.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), names.len());
            let is_usual = |name: &&str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
            assert!(names.iter().all(is_usual), "{names:?}");
        }
    }
}
