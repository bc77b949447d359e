//! What decides cargo's plan, and which seed is its.
//!
//! | part of a seed's name | why |
//! |---|---|
//! | cargo's arguments, without the target directory | what is built, and how |
//! | cargo's program, by path, size and time | how it computes fingerprints |
//! | its directory, relative to the workspace | which package is meant |
//! | the manifest of the workspace and that of the directory | members, profiles, features |
//! | `Cargo.lock` | the packages; it is the part in which a *similar* seed may differ |
//! | every configuration file above the directory and in cargo's home | flags, `[env]`, profiles, sources |
//! | the variables of cargo's environment that begin with `CARGO` or `RUST` | likewise |
//! | number and features of the processors | cargo tells them to build scripts |
//!
//! The toolchain is not part of it: it is part of the key of every unit.
//!
//! Cargo decides where its target directory is before it asks for anything, and does not say. It is
//! `--target-dir`, or `CARGO_TARGET_DIR`, or `target` in the workspace; where anything else may
//! decide (`--config`, a configuration file that speaks of a target or build directory, …), there is no
//! seed. The workspace is the nearest directory above with a `Cargo.lock`. Being wrong about either is found
//! out when a seed is taken, for then it is known where cargo's units are.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::formats::digest::Digest;
use crate::formats::key::KeyHasher;
use crate::inputs::processor;
use crate::os::env::Environment;
use crate::os::fs;
use crate::os::proc;
use crate::os::stamp::Stamp;

/// Arguments that say how much cargo tells.
const SAYS_HOW_MUCH: [&str; 4] = ["-v", "--verbose", "-q", "--quiet"];

/// Arguments of cargo that move things about, or read more configuration.
const NOT_UNDERSTOOD: [&str; 6] = [
    "--config",
    "--manifest-path",
    "--lockfile-path",
    "--artifact-dir",
    "-Z",
    "-C",
];

/// Variables that do the same.
const MOVES: [&str; 4] = [
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_BUILD_BUILD_DIR",
    "CARGO_UNSTABLE_",
    "CARGO_RESOLVER_LOCKFILE_PATH",
];

/// Words of configuration files that do the same.
const MOVES_IN_FILES: [&[u8]; 5] = [
    b"target-dir",
    b"build-dir",
    b"include",
    b"unstable",
    b"lockfile-path",
];

/// Variables that begin like cargo's and decide nothing of a plan. Of homes, what lies in them counts.
const DECIDES_NOTHING: [&str; 11] = [
    "CARGO_TARGET_DIR",
    "CARGO_TERM_",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTR",
    "CARGO_HOME",
    "CARGO_MAKEFLAGS",
    "RUSTUP_HOME",
    "RUST_RECURSION_COUNT",
    "RUST_BACKTRACE",
    "RUST_LOG",
];

/// The argument that names the target directory.
const TARGET_DIR: &str = "--target-dir";

/// How much earlier than cargo's start a file must have been changed for cargo to have read what is there
/// now: the kernel tells when a process started in hundredths of a second.
const MARGIN: Duration = Duration::from_millis(30);

/// The process that asks, and where it works.
pub(super) struct Circumstances {
    pub(super) env: Environment,
    pub(super) workspace: PathBuf,
    pub(super) target: PathBuf,
    pub(super) name: SeedName,
    /// Whether nothing that decides the plan names the workspace or the target directory, so that another
    /// place with the same name of a seed has the same plan.
    pub(super) portable: bool,
    /// Cargo's process, as records call it.
    pub(super) build: String,
}

/// What a seed is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SeedName {
    /// All of it but the lock file.
    pub(super) similar: Digest,
    /// All of it.
    pub(super) exact: Digest,
}

/// What enters a name, and whether a path of this place is in it.
struct Parts<'a> {
    hasher: KeyHasher,
    places: [&'a [u8]; 2],
    portable: bool,
}

impl Parts<'_> {
    fn add(&mut self, tag: &str, value: &[u8]) {
        self.hasher.bytes(tag, value);
        let names = |place: &&[u8]| memchr::memmem::find(value, place).is_some();
        self.portable &= !self.places.iter().any(names);
    }
}

impl Circumstances {
    /// Those of the process that asked for this one, if it is cargo and nothing about it is unusual.
    pub(super) fn find() -> Option<Self> {
        let parent = proc::parent();
        if parent.program != "cargo" {
            return None;
        }
        let env = Environment::of_block(&proc::environment_of_parent()?);
        let arguments = proc::arguments_of_parent()?;
        let (arguments, target_dir) = understood(arguments.get(1..)?)?;
        if env.iter().any(|(name, _)| begins(name.as_bytes(), &MOVES)) {
            return None;
        }
        let cwd = proc::directory_of_parent()?;
        let mut above = cwd.ancestors();
        let workspace = above.find(|dir| fs::is_file(&dir.join(LOCK)))?;
        let target = target_dir.or_else(|| {
            let dir = env.get_nonempty("CARGO_TARGET_DIR");
            dir.map(OsStr::to_owned)
        });
        let target = cwd.join(target.unwrap_or(workspace.join("target").into()));
        let mut parts = Parts {
            hasher: KeyHasher::new("seed"),
            places: [workspace, &target].map(|path| path.as_os_str().as_bytes()),
            portable: true,
        };
        for argument in &arguments {
            parts.add("argument", argument.as_bytes());
        }
        let program = proc::program_of_parent()?;
        let stamp = Stamp::of(&program)?;
        parts.add("cargo", program.as_os_str().as_bytes());
        parts.add("size", &stamp.size.to_le_bytes());
        parts.add("time", &stamp.mtime.to_le_bytes());
        let within = cwd.strip_prefix(workspace).ok()?;
        parts.add("directory", within.as_os_str().as_bytes());
        for (distance, path) in deciding_files(&cwd, workspace, &env) {
            match fs::read(&path) {
                Ok(content) => {
                    let says = |word: &&[u8]| memchr::memmem::find(&content, word).is_some();
                    if !path.ends_with(MANIFEST) && MOVES_IN_FILES.iter().any(says) {
                        return None;
                    }
                    parts.add("distance", &distance.to_le_bytes());
                    parts.add("file", &content);
                }
                Err(e) if e.is_not_found() || e.is_no_dir() => {}
                Err(_) => return None,
            }
        }
        for (name, value) in env.iter() {
            if decides(name.as_bytes()) {
                parts.add("variable", name.as_bytes());
                parts.add("value", value.as_bytes());
            }
        }
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        parts.add("processors", &processors.to_le_bytes());
        parts.add("processor", &processor::identity().unwrap_or_default());
        let similar = parts.hasher.finish();
        let mut exact = KeyHasher::new("seed with packages");
        exact.bytes("similar", similar.as_bytes());
        exact.bytes("packages", &fs::read(&workspace.join(LOCK)).ok()?);
        Some(Self {
            name: SeedName {
                similar,
                exact: exact.finish(),
            },
            portable: parts.portable,
            workspace: workspace.to_owned(),
            target,
            build: parent.id,
            env,
        })
    }

    /// When cargo began, at the latest: what was changed before that is what cargo has read. Nanoseconds
    /// since the epoch.
    pub(super) fn began(&self) -> Option<i128> {
        let age = proc::age(&self.build)?.checked_add(MARGIN)?;
        let began = SystemTime::now().checked_sub(age)?;
        let began = began.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        i128::try_from(began.as_nanos()).ok()
    }

    /// Whether every file that decides the plan is as cargo has read it.
    pub(super) fn is_settled(&self, began: i128) -> bool {
        let cwd = proc::directory_of_parent();
        cwd.is_some_and(|cwd| {
            let mut files = deciding_files(&cwd, &self.workspace, &self.env).into_iter();
            files.all(|(_, path)| Stamp::of(&path).is_none_or(|stamp| stamp.ctime < began))
        })
    }
}

const LOCK: &str = "Cargo.lock";
const MANIFEST: &str = "Cargo.toml";

/// The arguments that decide the plan, and the target directory if they name it. `None`: one is not
/// understood.
fn understood(arguments: &[OsString]) -> Option<(Vec<OsString>, Option<OsString>)> {
    let (mut others, mut target) = (Vec::new(), None);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let bytes = argument.as_bytes();
        if bytes == b"--" {
            others.push(argument.clone());
            others.extend(rest.by_ref().cloned());
        } else if bytes == TARGET_DIR.as_bytes() {
            target = Some(rest.next()?.clone());
        } else if let Some(value) = bytes.strip_prefix(b"--target-dir=") {
            target = Some(OsStr::from_bytes(value).to_owned());
        } else if begins(bytes, &NOT_UNDERSTOOD) {
            return None;
        } else if !SAYS_HOW_MUCH.iter().any(|flag| bytes == flag.as_bytes()) {
            others.push(argument.clone());
        }
    }
    Some((others, target))
}

/// The manifests and configuration files that cargo reads first, whether they are there or not, each with
/// a number that says what it is: how far above the directory, for one.
fn deciding_files(cwd: &Path, workspace: &Path, env: &Environment) -> Vec<(usize, PathBuf)> {
    let mut files = vec![(0, workspace.join(MANIFEST))];
    let mut above = cwd.ancestors().take_while(|dir| *dir != workspace);
    let manifest = above.find_map(|dir| Some(dir.join(MANIFEST)).filter(|path| fs::is_file(path)));
    files.extend(manifest.map(|path| (1, path)));
    let home = match env.get_nonempty("CARGO_HOME") {
        Some(home) => Some(PathBuf::from(home)),
        None => env
            .get_nonempty("HOME")
            .map(|home| Path::new(home).join(".cargo")),
    };
    let above = cwd.ancestors().map(|dir| dir.join(".cargo"));
    let configured = above.enumerate().map(|(distance, dir)| (distance + 3, dir));
    let configured = configured.chain(home.map(|home| (2, home)));
    files.extend(
        configured.flat_map(|(number, dir)| {
            ["config", "config.toml"].map(|name| (number, dir.join(name)))
        }),
    );
    files
}

fn begins(name: &[u8], beginnings: &[&str]) -> bool {
    let mut beginnings = beginnings.iter();
    beginnings.any(|beginning| name.starts_with(beginning.as_bytes()))
}

fn decides(name: &[u8]) -> bool {
    begins(name, &["CARGO", "RUST"]) && !begins(name, &DECIDES_NOTHING) && name != b"CARGO"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(words: &str) -> Option<(Vec<OsString>, Option<OsString>)> {
        let words: Vec<OsString> = words.split(' ').map(OsString::from).collect();
        understood(&words)
    }

    #[test]
    fn the_target_directory_is_no_part_of_a_command() {
        let plain = arguments("build --release").unwrap();
        assert_eq!(plain.1, None);
        for words in [
            "build --target-dir /t --release",
            "build --release --target-dir=/t",
        ] {
            let (others, target) = arguments(words).unwrap();
            assert_eq!((others, target), (plain.0.clone(), Some("/t".into())));
        }
        for words in [
            "build -Zno",
            "build --config x",
            "build --manifest-path=a/Cargo.toml",
        ] {
            assert_eq!(arguments(words), None, "{words}");
        }
        assert!(arguments("clippy -- -C x --target-dir").is_some());
    }

    #[test]
    fn secrets_and_noise_decide_nothing() {
        for name in [
            "CARGO_REGISTRY_TOKEN",
            "RUST_BACKTRACE",
            "CARGO_TARGET_DIR",
            "HOME",
        ] {
            assert!(!decides(name.as_bytes()), "{name}");
        }
        for name in [
            "RUSTFLAGS",
            "CARGO_PROFILE_DEV_DEBUG",
            "RUSTC_WORKSPACE_WRAPPER",
        ] {
            assert!(decides(name.as_bytes()), "{name}");
        }
    }
}
