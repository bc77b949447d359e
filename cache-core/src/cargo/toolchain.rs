//! The toolchain: which compiler this really is.
//!
//! The identity is a digest of the *content* of everything that makes up the compiler:
//! the driver, its libraries (`lib/*`), the standard libraries of the host and of the
//! target (`lib/rustlib/<target>/lib/*`), whether `rust-src` is there (it changes
//! messages), and the text of `-vV`. A locally rebuilt compiler or standard library
//! with the same `-vV` is therefore another toolchain.
//!
//! Hashing some 400 MB takes a moment, so the identity is memoised ([`memo`]).
//!
//! What can go wrong:
//! - `rustc` is a rustup proxy, whose file never changes while the toolchain behind it
//!   does: proxies are resolved first, as rustup would.
//! - The driver is a script or another program that starts the real compiler (see
//!   [`driver`]): the contents of both are part of the identity, and the variables that the
//!   first names are part of the memo's name. It is observed while it answers, and the memo holds only while every program
//!   that it executed is still the same file behind the same links; where it cannot be
//!   observed, it is asked every time.
//! - A symlinked toolchain is repointed: the path is canonicalised on every use.
//! - A distribution installs the compiler among everything else, so that its sysroot is `/usr`. Of a sysroot that is no directory
//!   of the toolchain's own ([`place`]), only what is known to be the toolchain's is taken for it. The rest are tools, headers and
//!   libraries like any others; so is what is not there.

mod examine;
pub(crate) mod memo;
mod place;
mod proxy;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::error::PathError;
use crate::formats::codec;
use crate::formats::digest::Digest;
use crate::formats::key::KeyHasher;
use crate::inputs::input::FileType;
use crate::inputs::names::{self, Code, Variable};
use crate::inputs::search;
use crate::looked::Driver;
use crate::observe::{Depth, Event, Observation};
use crate::os::stamp::{self, Stamp};
use crate::outcome::{Bypass, BypassReason};
use crate::request::Request;
use crate::run::Command;
use crate::store::Store;
use crate::store::memo::Memo;

use super::driver;
use examine::examine;
use memo::{KIND, Seen, memo_name, recall};
use proxy::driver_of;

/// Why a compiler could not be identified.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolchainError {
    /// No such program.
    #[error("cannot find the compiler {}", .0.to_string_lossy())]
    NotFound(OsString),
    /// The compiler did not answer a question about itself.
    #[error("{} did not answer {question}", driver.display())]
    NoAnswer {
        /// The compiler.
        driver: PathBuf,
        /// The arguments it was asked with.
        question: &'static str,
    },
    /// A file of the compiler could not be read.
    #[error(transparent)]
    Path(#[from] PathError),
}

/// An identified compiler.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    /// What it is: the content of the compiler.
    pub digest: Digest,
    /// What enters keys: the same, and for a driver that is not the compiler itself the
    /// variables that it may decide by.
    pub key: Digest,
    /// The programs that are the compiler itself: the one that will be run, or those that
    /// it starts.
    compilers: Vec<PathBuf>,
    /// The sysroot, canonical.
    pub sysroot: PathBuf,
    /// The directories whose entries `digest` covers.
    dirs: Vec<PathBuf>,
    /// The files that `digest` covers besides.
    files: Vec<PathBuf>,
}

impl Toolchain {
    /// A toolchain that covers nothing but lies somewhere.
    #[cfg(test)]
    pub(crate) fn for_tests(digest: Digest, sysroot: &Path) -> Self {
        Self {
            digest,
            key: digest,
            compilers: vec![sysroot.join("bin/rustc")],
            sysroot: sysroot.to_owned(),
            dirs: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Whether a file or directory entry is part of the identity, and so of every key.
    pub(crate) fn covers(&self, path: &Path) -> bool {
        let parent = path.parent();
        let mut dirs = self.dirs.iter();
        dirs.any(|dir| path == dir || parent == Some(dir))
            || self.files.iter().any(|file| file == path)
    }
}

impl Toolchain {
    /// Whether a program, by its canonical path, is the compiler or one like it (clippy's).
    pub(crate) fn is_compiler(&self, program: &Path) -> bool {
        let is_known = self.compilers.iter().any(|known| known == program);
        is_known || (program.starts_with(&self.sysroot) && driver::is_compiler(program))
    }

    /// Whether a path is the toolchain's, and not that of something else in the same prefix.
    pub(crate) fn holds(&self, path: &Path) -> bool {
        let below = path.strip_prefix(&self.sysroot);
        below.is_ok_and(|below| place::is_own(&self.sysroot) || place::is_of_toolchain(below))
    }

    /// Whether what an event tells is the same wherever the identity is.
    ///
    /// Of the rest of what is the toolchain's, files that are read count (linkers, sources of the
    /// standard library), and nothing else: what is looked for there is the same for the
    /// same toolchain.
    pub(crate) fn settles(&self, event: &Event) -> bool {
        // A link from elsewhere may lead to another place another time.
        let is_direct = event.path.starts_with(&self.sysroot);
        (is_direct || event.path == event.real)
            && (self.covers(&event.real)
                || (is_direct
                    && self.holds(&event.real)
                    && event.found.is_none_or(|f| f.file_type != FileType::File)))
    }
}

/// What identification needs from its surroundings.
pub(crate) struct Surroundings<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(crate) store: &'a Store,
    pub(crate) memo: &'a Memo,
}

impl Surroundings<'_> {
    /// A program in the environment and the directory of the call.
    fn command(&self, program: &Path) -> Command {
        Command::new(program, self.request.env.clone(), self.request.cwd)
    }
}

impl From<ToolchainError> for Bypass {
    fn from(error: ToolchainError) -> Self {
        BypassReason::Toolchain.of(error)
    }
}

/// Which compiler is meant.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Its name or path, as it would be executed.
    pub(crate) program: &'a OsStr,
    /// `--target`.
    pub(crate) target: Option<&'a OsStr>,
    /// `--sysroot`.
    pub(crate) sysroot: Option<&'a Path>,
}

/// Identifies a compiler.
pub(crate) fn identify(
    wanted: Wanted<'_>,
    around: &Surroundings<'_>,
) -> Result<Toolchain, ToolchainError> {
    let found = search::program(wanted.program, around.request.env, around.request.cwd)
        .ok_or_else(|| ToolchainError::NotFound(wanted.program.to_owned()))?;
    let Driver {
        path: driver,
        is_compiler,
    } = driver_of(&found, around)?;
    let decided_by = if is_compiler {
        None
    } else {
        Some(named_by(&driver, around)?)
    };
    let name = memo_name(&driver, wanted, decided_by.as_deref(), around);
    // What a script chooses may be another one each time.
    let known = around.request.looked.filter(|_| is_compiler);
    if let Some(toolchain) = known.and_then(|known| known.toolchains().get(&name)) {
        return Ok(toolchain);
    }
    let file = around.store.layout().part("toolchains").join(name.to_hex());
    let mut toolchain = match recall(around.store, &file) {
        Some(toolchain) => toolchain,
        None => identify_anew(&driver, wanted, &file, around)?,
    };
    if let Some(known) = known {
        known.toolchains().put(name, toolchain.clone());
    }
    if let Some(variables) = decided_by {
        let mut hasher = KeyHasher::new("driver");
        hasher.bytes("compiler", toolchain.digest.as_bytes());
        for variable in &variables {
            hasher.bytes("name", &variable.name);
            hasher.bytes("value", &variable.value);
        }
        toolchain.key = hasher.finish();
    }
    Ok(toolchain)
}

/// The variables that a driver which is not the compiler itself names, with their values.
fn named_by(driver: &Path, around: &Surroundings<'_>) -> Result<Vec<Variable>, PathError> {
    let blob = around.memo.digest(driver)?.1;
    let code = Code { blob, path: driver };
    names::variables(around.store, around.request.env, &[code], &|_| false)
}

fn identify_anew(
    driver: &Path,
    wanted: Wanted<'_>,
    file: &Path,
    around: &Surroundings<'_>,
) -> Result<Toolchain, ToolchainError> {
    let (toolchain, memoised, watched) = examine(driver, wanted, around)?;
    // A file that could still change unseen makes the memo worthless.
    let now = stamp::now();
    let mut files = memoised.files.iter().map(Seen::path);
    let settled = files.all(|file| Stamp::of(file).is_some_and(|s| !s.is_racy(now)));
    if settled
        && watched
        && !around.store.is_read_only()
        && let Ok(frame) = codec::encode(KIND, &memoised)
    {
        // Losing it costs another examination.
        let _ = around.store.replace_own(file, "toolchain", &frame);
    }
    Ok(toolchain)
}

fn ask(
    command: &Command,
    driver: &Path,
    question: &'static str,
    depth: Option<Depth>,
    around: &Surroundings<'_>,
) -> Result<(String, Option<Observation>), ToolchainError> {
    let no_answer = || ToolchainError::NoAnswer {
        driver: driver.to_owned(),
        question,
    };
    let mut answer = Vec::new();
    let run = around
        .request
        .runner
        .run(
            command,
            depth,
            &mut |text| answer.extend_from_slice(text),
            &mut |_| (),
        )
        .map_err(|_| no_answer())?;
    if run.status != crate::run::Status::Code(0) {
        return Err(no_answer());
    }
    let answer = String::from_utf8(answer).map_err(|_| no_answer())?;
    Ok((answer, run.observation))
}
