//! The core of cachewrap: a cache for compilations, by what they were seen to read.
//!
//! A compilation is a process. On a miss it runs once, is observed, and everything it read
//! is recorded together with what it wrote. On a later call the recorded inputs are checked
//! instead of running anything.
//!
//! ```text
//! argv, env, cwd
//!   └ parse ──► Bypass(reason) ─────────────────────────► the caller runs the compiler
//!        └► Invocation
//!             └ key ──► ManifestKey ──► input manifest? ── no ─┐
//!                                         └ check inputs       │
//!                                             ├ match ► result ► restore ► replay    (hit)
//!                                             └ none ──────────┤
//!                                                              ▼
//!                     run the compiler, observed, streaming ► capture ► store       (miss)
//! ```
//!
//! # Vocabulary
//!
//! | term | meaning |
//! |---|---|
//! | unit | cargo's node; here one run of rustc, of a build script, or of a tool of an embedder's |
//! | invocation | parsed arguments, directory and relevant environment of a unit |
//! | bypass | an invocation that is not cached and runs untouched, see [`BypassReason`] |
//! | toolchain | the identity of a compiler that enters keys |
//! | root | a directory that paths are stored relative to, see [`Root`](entry::Root) |
//! | digest | the BLAKE3 hash of content, see [`Digest`]; with its length a [`BlobRef`](entry::BlobRef) |
//! | input | one fact that the compilation depended on, see [`Input`](entry::Input) |
//! | manifest key | hash of all that is known *before* compiling |
//! | input manifest | the input sets seen for one manifest key, each naming a result |
//! | result key | manifest key and one input set |
//! | compile result | outputs, messages, exit status and duration |
//! | capture, store | read what a compilation wrote; put it into the cache |
//! | restore, replay | place the outputs; repeat messages and exit status |
//! | hit, miss | served from the store or not; a miss has a [`MissReason`] |
//! | retention, GC | the policy of what to keep; applying it and sweeping what nothing names |
//! | fail-open | an error of the cache is never an error of the build |
//!
//! # Reading order
//!
//! `pipeline` tells the whole story, for any kind of unit. A room for each thing that it needs:
//!
//! | room | what is there |
//! |---|---|
//! | `kinds` | what is particular to rustc, and to runs of build scripts |
//! | `inputs` | from what was observed to what is recorded; checking that it still holds |
//! | `outputs` | results; putting outputs into their places |
//! | `ahead` | what cargo has to find so that it does not ask; seeds |
//! | `observe`, `run` | running a process, and watching it |
//! | `remote` | results of other machines: what is asked for, whom it is taken from, engines |
//! | `store` | manifests, results and blobs in one directory; counters, memo, records of builds; what goes when |
//! | `roots` | paths as templates |
//! | `formats` | what is written down: digests, keys, the encoding |
//! | `os` | files, times, locks, the environment |
//! | `config`, `log` | settings; saying something |
//!
//! `formats`, `outputs::result` and `store::retention` touch neither files nor clocks nor processes.
//!
//! # Embedding
//!
//! [`run`] is the pipeline; nothing in it reads the process's environment or its
//! arguments. Whoever calls it brings them, and may bring a [`Runner`] of their own. The
//! compiler gets exactly the environment and the directory of the [`Request`], and `PATH` is
//! searched there. Taken from the process are:
//!
//! | what | for |
//! |---|---|
//! | umask, and whatever else a child inherits | [`SystemRunner`], keys of build scripts, and the permissions of what is restored |
//! | standard input | compilers and build scripts whose [`Command::stdin`] is `None` |
//! | standard error, or that of a parent that is cargo; `TMPDIR` | the [`Log`], if its level admits what there is to say |
//! | the id, name and environment of the parent | telling the builds apart that [`Store::records`] lists; what cargo set for a unit |
//!
//! ```
//! use cache_core::{BypassReason, Config, Environment, Outcome, Request, SystemRunner};
//!
//! let dir = tempfile::tempdir()?;
//! let mut env = Environment::of_process();
//! env.set("CACHEWRAP_DIR", dir.path());
//! let loaded = Config::load(&env);
//! let argv = ["rustc".into(), "--help".into()];
//! let request = Request::new(&argv, &env, dir.path(), &loaded.config, &SystemRunner);
//! let outcome = cache_core::run(&request, &mut |_| (), &mut |_| ())?;
//! // Nothing to cache; a wrapper would now run the compiler.
//! assert!(matches!(outcome, Outcome::Bypass(reason) if reason.why == BypassReason::Help));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! A tool of one's own is cached by naming the directory that it leaves everything in
//! ([`Request::out_dir`]). [`Store`] gives access to manifests, results and blobs by themselves.
//! `examples/` has a program for each.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod ahead;
mod cargo;
pub mod config;
mod error;
#[cfg(test)]
#[cfg_attr(not(observer), expect(dead_code, reason = "its users are observed"))]
mod fault;
mod formats;
#[cfg(fuzzing)]
pub mod fuzzing;
mod inputs;
mod kinds;
mod log;
mod looked;
mod observe;
mod os;
mod outcome;
mod outputs;
mod pipeline;
pub mod remote;
mod request;
mod roots;
mod run;
mod scene;
pub mod store;
mod unit;

pub use cargo::toolchain::memo::{KnownToolchain, known_toolchains};
pub use config::Config;
pub use error::PathError;
pub use formats::digest::Digest;
pub use log::Log;
pub use observe::{Depth, is_observed, probe as probe_observer};
pub use observe::{die_by_signal, survive_file_size_limit};
pub use os::env::Environment;
pub use outcome::{Because, BypassReason, Change, MissReason, NotAhead, NotStored, Outcome};
pub use pipeline::run;
pub use request::{Request, is_behind_launcher};
pub use run::{Command, Run, Runner, Sink, Status, SystemRunner};
pub use store::{Store, StoreError};

/// What is stored: results, and the input sets that lead to them.
pub mod entry {
    pub use crate::formats::codec::DecodeError;
    pub use crate::formats::digest::{BlobRef, ManifestKey, ResultKey};
    pub use crate::formats::key::KeyHasher;
    pub use crate::formats::manifest::{InputManifest, InputSet, MAX_SETS, result_key};
    pub use crate::inputs::input::{EnvValue, FileType, Input};
    pub use crate::outputs::result::{CompileResult, Content, Output, Role};
    pub use crate::roots::{Escaping, Root, RootedPath, Roots, Template};
}
