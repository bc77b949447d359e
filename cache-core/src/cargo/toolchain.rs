//! The toolchain: which compiler this really is.
//!
//! The identity is a digest of the *content* of everything that makes up the compiler:
//! the driver, its libraries (`lib/*`), the standard libraries of the host and of the
//! target (`lib/rustlib/<target>/lib/*`), whether `rust-src` is there (it changes
//! messages), and the text of `-vV`. A locally rebuilt compiler or standard library
//! with the same `-vV` is therefore another toolchain.
//!
//! Hashing some 400 MB takes a moment, so the identity is memoised:
//!
//! ```text
//! file = frame 'T' version 2 (see codec), body = Memoised
//! name = hash of the driver's path and stamp, the target, `--sysroot`, and of what
//!        a driver that is a script could decide by
//! ```
//! Version history: 1, the first; 2, the compilers themselves. A memoised identity holds while every file of it has
//! the stamp it had (see `stamp`) and every directory the same entries, so a hit pays
//! one `stat` a file and runs nothing.
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

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::PathError;
use crate::formats::codec::{self, Kind};
use crate::formats::digest::{BlobRef, Digest};
use crate::formats::key::KeyHasher;
use crate::inputs::input::FileType;
use crate::inputs::names::{self, Code, Variable};
use crate::inputs::search;
use crate::looked::Driver;
use crate::observe::{Access, Depth, Event, Observation};
use crate::os::fs;
use crate::os::stamp::{self, Stamp};
use crate::outcome::{Bypass, BypassReason};
use crate::request::Request;
use crate::run::Command;
use crate::store::Store;
use crate::store::memo::Memo;

use super::driver;

pub(crate) const KIND: Kind = Kind {
    tag: b'T',
    version: 2,
};

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

    /// Whether what an event tells is the same wherever the identity is.
    ///
    /// Of the rest of the sysroot, files that are read count (linkers, sources of the
    /// standard library), and nothing else: what is looked for there is the same for the
    /// same toolchain.
    pub(crate) fn settles(&self, event: &Event) -> bool {
        // A link from elsewhere may lead to another place another time.
        let is_direct = event.path.starts_with(&self.sysroot);
        (is_direct || event.path == event.real)
            && (self.covers(&event.real)
                || (is_direct
                    && event.real.starts_with(&self.sysroot)
                    && event.found.is_none_or(|f| f.file_type != FileType::File)))
    }
}

/// How a file of the toolchain looked when it was hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    path: Vec<u8>,
    /// Device, inode, size, modification and change time; `None`: not there.
    stamp: Option<(u64, u64, u64, i128, i128)>,
}

impl Seen {
    fn now(path: &Path) -> (Self, Option<Stamp>) {
        let stamp = Stamp::of(path);
        let seen = Self {
            path: path.as_os_str().as_bytes().to_vec(),
            stamp: stamp.map(|s| (s.dev, s.ino, s.size, s.mtime, s.ctime)),
        };
        (seen, stamp)
    }

    fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    fn holds(&self) -> bool {
        Self::now(self.path()).0 == *self
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Memoised {
    digest: Digest,
    sysroot: Vec<u8>,
    version: String,
    files: Vec<Seen>,
    dirs: Vec<Seen>,
    /// Programs that a driver executed which is not the compiler itself, and the files
    /// they really are.
    programs: Vec<(Vec<u8>, Seen)>,
    /// The programs that are the compiler itself.
    compilers: Vec<Vec<u8>>,
    /// Whether the sources of the standard library are installed, and where that shows.
    sources: (Vec<u8>, bool),
}

/// A toolchain that was identified earlier, for people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KnownToolchain {
    /// What results name it by.
    pub digest: Digest,
    /// The first line of `-vV`.
    pub version: String,
    /// Where it lay.
    pub sysroot: PathBuf,
}

/// The toolchains memoised in a store. Those not used for long are missing.
pub fn known_toolchains(store: &Store) -> Result<Vec<KnownToolchain>, PathError> {
    let files = store.list(&store.layout().part("toolchains"))?;
    let known = files.iter().filter_map(|file| {
        let bytes = store.read_plain(&file.path).ok()?;
        let memoised: Memoised = codec::decode(KIND, &bytes).ok()?;
        Some(KnownToolchain {
            digest: memoised.digest,
            version: memoised.version,
            sysroot: PathBuf::from(OsStr::from_bytes(&memoised.sysroot)),
        })
    });
    let mut known: Vec<KnownToolchain> = known.collect();
    known.sort();
    known.dedup();
    Ok(known)
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

/// The compiler behind a program, and whether that is the compiler itself.
fn driver_of(found: &Path, around: &Surroundings<'_>) -> Result<Driver, ToolchainError> {
    let env = around.request.env;
    let words = ["RUSTUP_TOOLCHAIN", "RUSTUP_HOME", "HOME"];
    let words = words.map(|name| env.get(name).map(OsStrExt::as_bytes));
    // Where rustup is not told, it looks around in the directory.
    let is_told = env.get_nonempty("RUSTUP_TOOLCHAIN").is_some();
    let known = around.request.looked.filter(|_| is_told);
    let name = [Some(found.as_os_str().as_bytes())]
        .into_iter()
        .chain(words);
    // No path or toolchain begins with NUL.
    let name: Vec<Vec<u8>> = name.map(|word| word.unwrap_or(b"\0").to_vec()).collect();
    if let Some(driver) = known.and_then(|known| known.drivers().get(&name)) {
        return Ok(driver);
    }
    let path = resolve_proxy(found, around)?;
    let is_compiler = driver::is_compiler(&path);
    let driver = Driver { path, is_compiler };
    if let Some(known) = known {
        known.drivers().put(name, driver.clone());
    }
    Ok(driver)
}

/// The real compiler behind a rustup proxy, or the path itself.
fn resolve_proxy(found: &Path, around: &Surroundings<'_>) -> Result<PathBuf, ToolchainError> {
    let Some(rustup) = proxy_of(found) else {
        return Ok(fs::canonicalize(found).unwrap_or_else(|_| found.to_owned()));
    };
    let program = found.file_name().unwrap_or_default();
    // Cargo, run through rustup, says which toolchain it belongs to.
    if let Some(toolchain) = around.request.env.get_nonempty("RUSTUP_TOOLCHAIN") {
        let home = match around.request.env.get_nonempty("RUSTUP_HOME") {
            Some(home) => Some(PathBuf::from(home)),
            None => around
                .request
                .env
                .get_nonempty("HOME")
                .map(|home| Path::new(home).join(".rustup")),
        };
        // Joining an absolute path, which rustup allows as a name, gives that path.
        let direct = home.map(|home| home.join("toolchains").join(toolchain));
        if let Some(driver) = direct.map(|dir| dir.join("bin").join(program))
            && let Ok(driver) = fs::canonicalize(&driver)
        {
            return Ok(driver);
        }
    }
    let mut command = around.command(&rustup);
    command.args = vec!["which".into(), program.to_owned()];
    let question = "rustup which";
    let (answer, _) = ask(&command, found, question, None, around)?;
    let path = PathBuf::from(answer.trim_end());
    Ok(fs::canonicalize(&path)?)
}

/// The rustup that a program is a proxy of: a link, soft or hard, to it.
fn proxy_of(found: &Path) -> Option<PathBuf> {
    let canonical = fs::canonicalize(found).ok()?;
    if canonical.file_name() == Some("rustup".as_ref()) {
        return Some(canonical);
    }
    let rustup = found.with_file_name("rustup");
    let (a, b) = (Stamp::of(found)?, Stamp::of(&rustup)?);
    ((a.dev, a.ino) == (b.dev, b.ino)).then_some(rustup)
}

fn memo_name(
    driver: &Path,
    wanted: Wanted<'_>,
    decided_by: Option<&[Variable]>,
    around: &Surroundings<'_>,
) -> Digest {
    let mut hasher = KeyHasher::new("toolchain memo");
    let (seen, _) = Seen::now(driver);
    hasher.bytes("driver", &seen.path);
    let (dev, ino, size, mtime, ctime) = seen.stamp.unwrap_or_default();
    for number in [dev, ino, size] {
        hasher.bytes("stamp", &number.to_le_bytes());
    }
    hasher.bytes("mtime", &mtime.to_le_bytes());
    hasher.bytes("ctime", &ctime.to_le_bytes());
    hasher.optional("target", wanted.target.map(OsStrExt::as_bytes));
    let sysroot = wanted.sysroot.map(Path::as_os_str);
    hasher.optional("sysroot", sysroot.map(OsStrExt::as_bytes));
    if let Some(variables) = decided_by {
        // It starts the real compiler, chosen by whatever it likes.
        for variable in variables {
            hasher.bytes("name", &variable.name);
            hasher.bytes("value", &variable.value);
        }
        for name in ["PATH", "RUSTUP_TOOLCHAIN", "RUSTUP_HOME"] {
            hasher.optional(name, around.request.env.get(name).map(OsStrExt::as_bytes));
        }
        hasher.os("cwd", around.request.cwd.as_os_str());
    }
    hasher.finish()
}

fn recall(store: &Store, file: &Path) -> Option<Toolchain> {
    let memoised: Memoised = codec::decode(KIND, &store.read_plain(file).ok()?).ok()?;
    let (sources, installed) = &memoised.sources;
    let same_program = |(path, program): &(Vec<u8>, Seen)| {
        let canonical = fs::canonicalize(Path::new(OsStr::from_bytes(path)));
        canonical.is_ok_and(|path| path == program.path()) && program.holds()
    };
    let holds = memoised.files.iter().chain(&memoised.dirs).all(Seen::holds)
        && memoised.programs.iter().all(same_program)
        && fs::exists(Path::new(OsStr::from_bytes(sources))) == *installed;
    holds.then(|| toolchain(&memoised))
}

fn toolchain(memoised: &Memoised) -> Toolchain {
    let dirs: Vec<PathBuf> = memoised.dirs.iter().map(|s| s.path().to_owned()).collect();
    let is_in = |dir: &Seen, file: &Seen| {
        let name = file.path.strip_prefix(&*dir.path);
        name.is_some_and(|name| memchr::memrchr(b'/', name) == Some(0))
    };
    let files = memoised.files.iter();
    let apart = files.filter(|file| !memoised.dirs.iter().any(|dir| is_in(dir, file)));
    Toolchain {
        digest: memoised.digest,
        key: memoised.digest,
        compilers: memoised
            .compilers
            .iter()
            .map(|path| path_of(path))
            .collect(),
        sysroot: path_of(&memoised.sysroot),
        files: apart.map(|s| s.path().to_owned()).collect(),
        dirs,
    }
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

/// Identifies a compiler by asking it and hashing it. The last value tells whether what
/// was found out can be checked again without asking.
fn examine(
    driver: &Path,
    wanted: Wanted<'_>,
    around: &Surroundings<'_>,
) -> Result<(Toolchain, Memoised, bool), ToolchainError> {
    let depth = (!driver::is_compiler(driver)).then_some(Depth::Usual);
    let mut command = around.command(driver);
    command.args = vec!["-vV".into()];
    let (verbose, observation) = ask(&command, driver, "-vV", depth, around)?;
    // Where the compiler comes from, not where `--sysroot` says its libraries are.
    command.args = vec!["--print".into(), "sysroot".into()];
    let (answer, _) = ask(&command, driver, "--print sysroot", None, around)?;
    let own = fs::canonicalize(Path::new(answer.trim_end()))?;
    let sysroot = match wanted.sysroot {
        Some(given) => fs::canonicalize(&around.request.cwd.join(given))?,
        None => own.clone(),
    };
    let host = verbose.lines().find_map(|line| line.strip_prefix("host: "));
    let target = wanted.target.map(Path::new);
    let target = target.and_then(Path::file_stem);

    let found = observation.as_ref().map(driver::compilers);
    let mut found = found.unwrap_or_default();
    if found.is_empty() && driver.starts_with(&own) {
        found.push((driver.to_owned(), own.join("lib")));
    }
    let mut dirs = vec![own.join("lib")];
    for (_, libraries) in &found {
        if !dirs.contains(libraries) {
            dirs.push(libraries.clone());
        }
    }
    let triples = [host.map(OsStr::new), target];
    for triple in triples.into_iter().flatten() {
        let rustlib = sysroot.join("lib/rustlib").join(triple);
        for dir in [rustlib.join("lib"), rustlib.join("codegen-backends")] {
            if !dirs.contains(&dir) {
                dirs.push(dir);
            }
        }
    }
    let mut files = vec![driver.to_owned()];
    let beside = ["rustc", "clippy-driver"].map(|program| own.join("bin").join(program));
    let beside = beside.into_iter().filter(|file| fs::exists(file));
    for file in beside.chain(found.iter().map(|(compiler, _)| compiler.clone())) {
        if !files.contains(&file) {
            files.push(file);
        }
    }
    for dir in &dirs {
        files.extend(files_in(dir));
    }
    let sources = sysroot.join("lib/rustlib/src/rust/library");
    let installed = fs::exists(&sources);

    let blobs = hash_all(&files, around.memo)?;
    let mut hasher = KeyHasher::new("toolchain");
    hasher.str("version", &verbose);
    hasher.bytes("sources", &[u8::from(installed)]);
    for (file, blob) in files.iter().zip(blobs) {
        hasher.os("file", file.file_name().unwrap_or_default());
        hasher.blob("content", &blob);
    }
    let seen = |paths: &[PathBuf]| paths.iter().map(|path| Seen::now(path).0).collect();
    let watched = depth.is_none() || observation.as_ref().is_some_and(Observation::is_complete);
    let memoised = Memoised {
        programs: programs(observation.as_ref()),
        compilers: found
            .into_iter()
            .map(|(path, _)| path.into_os_string().into_vec())
            .collect(),
        digest: hasher.finish(),
        sysroot: sysroot.as_os_str().as_bytes().to_vec(),
        version: verbose.lines().next().unwrap_or_default().to_owned(),
        files: seen(&files),
        dirs: seen(&dirs),
        sources: (sources.into_os_string().as_bytes().to_vec(), installed),
    };
    Ok((toolchain(&memoised), memoised, watched))
}

/// The programs executed during an observation.
fn programs(observation: Option<&Observation>) -> Vec<(Vec<u8>, Seen)> {
    let mut programs = Vec::new();
    for event in observation.iter().flat_map(|o| &o.events) {
        if event.access == Access::Execute
            && event.found.is_some()
            && let Ok(canonical) = fs::canonicalize(&event.path)
        {
            let path = event.path.as_os_str().as_bytes().to_vec();
            programs.push((path, Seen::now(&canonical).0));
        }
    }
    programs
}

/// The regular files of a directory, by name; none where there is no such directory.
fn files_in(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| fs::is_file(path))
        .collect();
    files.sort();
    files
}

fn hash_all(files: &[PathBuf], memo: &Memo) -> Result<Vec<BlobRef>, PathError> {
    use rayon::prelude::*;
    files
        .par_iter()
        .map(|file| Ok(memo.digest(file)?.1))
        .collect()
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
