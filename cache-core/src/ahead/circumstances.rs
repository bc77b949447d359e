//! What decides cargo's plan, and which seed is its.
//!
//! | part of a seed's name | why |
//! |---|---|
//! | cargo's arguments, without the target directory, the manifest, and what is for programs that it runs | what is built, and how |
//! | cargo's program, by path, size and time | how it computes fingerprints |
//! | the directory of cargo, or of the manifest that it is told, relative to the workspace | which package is meant |
//! | the manifest of the workspace, and those of the directory and all above it | members, profiles, features; whose the workspace is |
//! | `Cargo.lock` | the packages; it is the part in which a *similar* seed may differ |
//! | every configuration file above the directory and in cargo's home | flags, `[env]`, profiles, sources |
//! | the variables of cargo's environment that begin with `CARGO` or `RUST` | likewise |
//! | number and features of the processors | cargo tells them to build scripts |
//!
//! The toolchain is not part of it: it is part of the key of every unit.
//!
//! Cargo decides where its target directory is before it asks for anything, and does not say. It is
//! `--target-dir`, `CARGO_TARGET_DIR`, `CARGO_BUILD_TARGET_DIR`, `build.target-dir` of the nearest configuration file
//! that has it, or `target` in the workspace, in this order; where anything else may
//! decide (`--config`, a configuration file that speaks of a build directory, …), there is no
//! seed. The workspace is the nearest directory above with a `Cargo.lock`. Being wrong about either is found
//! out when a seed is taken, for then it is known where cargo's units are.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::formats::digest::Digest;
use crate::formats::key::KeyHasher;
use crate::inputs::processor;
use crate::os::env::Environment;
use crate::os::fs;
use crate::os::proc;
use crate::os::stamp::Stamp;

/// Commands whose arguments after `--` are those of the programs that they run.
const RUNS: [&str; 5] = ["run", "r", "test", "t", "bench"];

/// Arguments that say how much cargo tells.
const SAYS_HOW_MUCH: [&str; 4] = ["-v", "--verbose", "-q", "--quiet"];

/// Arguments of cargo that move things about, or read more configuration.
const NOT_UNDERSTOOD: [&str; 5] = ["--config", "--lockfile-path", "--artifact-dir", "-Z", "-C"];

/// One that begins like them: `directories` knows what it does.
const UNDERSTOOD: &str = "-Zbuild-dir-new-layout";

/// Variables that do the same.
const MOVES: [&str; 4] = [
    "CARGO_ALIAS_",
    "CARGO_BUILD_BUILD_DIR",
    "CARGO_UNSTABLE_",
    "CARGO_RESOLVER_LOCKFILE_PATH",
];

/// Words of configuration files that do the same, some of them in an alias.
const MOVES_IN_FILES: [&[u8]; 5] = [
    b"--config",
    b"build-dir",
    b"include",
    b"unstable",
    b"lockfile-path",
];

/// Variables that begin like cargo's and decide nothing of a plan. Of homes, what lies in them counts.
const DECIDES_NOTHING: [&str; 12] = [
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET_DIR",
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

/// The arguments that name the target directory and the manifest.
const TARGET_DIR: &str = "--target-dir";
const MANIFEST_PATH: &str = "--manifest-path";

/// The variables that name the target directory, the first one before the second.
const TARGET_DIRS: [&str; 2] = ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"];

/// How much earlier than cargo's start a file must have been changed for cargo to have read what is there
/// now: the kernel tells when a process started in hundredths of a second.
const MARGIN: Duration = Duration::from_millis(30);

/// The process that asks, and where it works.
pub(super) struct Circumstances {
    pub(super) env: Environment,
    pub(super) workspace: PathBuf,
    /// The directory of the package that is meant.
    package: PathBuf,
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
        let told = understood(arguments.get(1..)?)?;
        if env.iter().any(|(name, _)| begins(name.as_bytes(), &MOVES)) {
            return None;
        }
        let cwd = proc::directory_of_parent()?;
        let package = match &told.manifest {
            Some(manifest) => normal(&cwd.join(manifest)).parent()?.to_owned(),
            None => cwd.clone(),
        };
        let mut above = package.ancestors();
        let workspace = above.find(|dir| fs::is_file(&dir.join(LOCK)))?;
        let files = deciding_files(&cwd, &package, workspace, &env);
        let contents = files.into_iter().filter_map(|file| {
            let content = match fs::read(&file.path) {
                Err(e) if e.is_not_found() || e.is_no_dir() => return None,
                content => content.ok(),
            };
            Some(content.map(|content| (file, content)))
        });
        let contents: Vec<(DecidingFile, Vec<u8>)> = contents.collect::<Option<_>>()?;
        let configured = configured_target(&contents)?;
        let variables = TARGET_DIRS.into_iter();
        let mut named = variables.filter_map(|name| env.get_nonempty(name));
        let target = told.target.or_else(|| named.next().map(OsStr::to_owned));
        let target = match target {
            Some(target) => cwd.join(target),
            None => configured.unwrap_or_else(|| workspace.join("target")),
        };
        let mut parts = Parts {
            hasher: KeyHasher::new("seed"),
            places: [workspace, &target].map(|path| path.as_os_str().as_bytes()),
            portable: true,
        };
        for argument in &told.others {
            parts.add("argument", argument.as_bytes());
        }
        let program = proc::program_of_parent()?;
        let stamp = Stamp::of(&program)?;
        parts.add("cargo", program.as_os_str().as_bytes());
        parts.add("size", &stamp.size.to_le_bytes());
        parts.add("time", &stamp.mtime.to_le_bytes());
        let within = package.strip_prefix(workspace).ok()?;
        parts.add("directory", within.as_os_str().as_bytes());
        for (file, content) in &contents {
            parts.add("distance", &file.number.to_le_bytes());
            parts.add("file", content);
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
            package,
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
            let files = deciding_files(&cwd, &self.package, &self.workspace, &self.env);
            let mut stamps = files.iter().filter_map(|file| Stamp::of(&file.path));
            stamps.all(|stamp| stamp.ctime < began)
        })
    }
}

const LOCK: &str = "Cargo.lock";
const MANIFEST: &str = "Cargo.toml";

/// What cargo's arguments say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    /// Those that decide the plan.
    others: Vec<OsString>,
    target: Option<OsString>,
    manifest: Option<OsString>,
}

/// `None`: an argument is not understood.
fn understood(arguments: &[OsString]) -> Option<Told> {
    let mut told = Told::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let bytes = argument.as_bytes();
        let value_of = |name: &str| bytes.strip_prefix(name.as_bytes())?.strip_prefix(b"=");
        if bytes == b"--" {
            let mut words = told.others.iter();
            let command = words.find(|word| !word.as_bytes().starts_with(b"-"));
            let is_for_programs = command.is_some_and(|word| RUNS.iter().any(|run| word == run));
            if !is_for_programs {
                told.others.push(argument.clone());
                told.others.extend(rest.by_ref().cloned());
            }
            break;
        } else if bytes == TARGET_DIR.as_bytes() {
            told.target = Some(rest.next()?.clone());
        } else if bytes == MANIFEST_PATH.as_bytes() {
            told.manifest = Some(rest.next()?.clone());
        } else if let Some(value) = value_of(TARGET_DIR) {
            told.target = Some(OsStr::from_bytes(value).to_owned());
        } else if let Some(value) = value_of(MANIFEST_PATH) {
            told.manifest = Some(OsStr::from_bytes(value).to_owned());
        } else if begins(bytes, &NOT_UNDERSTOOD) && argument != UNDERSTOOD {
            return None;
        } else if !SAYS_HOW_MUCH.iter().any(|flag| bytes == flag.as_bytes()) {
            told.others.push(argument.clone());
        }
    }
    Some(told)
}

/// A path without `.` and `..`, as cargo spells that of a manifest: links do not count.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

/// A file that cargo reads first.
struct DecidingFile {
    /// What it is, and how far above the directory.
    number: usize,
    path: PathBuf,
    is_configuration: bool,
}

/// The manifests and configuration files that cargo reads first, whether they are there or not, the nearest configuration
/// first and that of cargo's home last.
fn deciding_files(
    cwd: &Path,
    package: &Path,
    workspace: &Path,
    env: &Environment,
) -> Vec<DecidingFile> {
    let manifest = |number, path| DecidingFile {
        number,
        path,
        is_configuration: false,
    };
    let mut files = vec![manifest(0, workspace.join(MANIFEST))];
    // Each of them may claim the directory for a workspace of its own, and so decide where the target directory is.
    let above = package.ancestors().enumerate();
    let others = above.filter(|(_, dir)| *dir != workspace);
    files.extend(others.map(|(distance, dir)| manifest(2 * distance + 1, dir.join(MANIFEST))));
    let home = match env.get_nonempty("CARGO_HOME") {
        Some(home) => Some(PathBuf::from(home)),
        None => env
            .get_nonempty("HOME")
            .map(|home| Path::new(home).join(".cargo")),
    };
    let above = cwd.ancestors().map(|dir| dir.join(".cargo"));
    let configured = above
        .enumerate()
        .map(|(distance, dir)| (2 * distance + 4, dir));
    let configured = configured.chain(home.map(|home| (2, home)));
    files.extend(configured.flat_map(|(number, dir)| {
        ["config", "config.toml"].map(|name| DecidingFile {
            number,
            path: dir.join(name),
            is_configuration: true,
        })
    }));
    files
}

/// The target directory that configuration files name: the nearest decides. `None`: one of them moves things about
/// otherwise, or is not understood.
#[expect(clippy::option_option, reason = "not understood, and not named")]
fn configured_target(contents: &[(DecidingFile, Vec<u8>)]) -> Option<Option<PathBuf>> {
    let mut nearest = None;
    for (file, content) in contents.iter().filter(|(file, _)| file.is_configuration) {
        let times = |word: &[u8]| memchr::memmem::find_iter(content, word).count();
        if MOVES_IN_FILES.iter().any(|word| times(word) > 0) {
            return None;
        }
        match times(b"target-dir") {
            0 => {}
            1 => {
                let target = target_in(file, content)?;
                nearest = nearest.or(Some(target));
            }
            _ => return None,
        }
    }
    Some(nearest)
}

/// The target directory that a configuration file names, as cargo takes it: from where the file's directory lies.
fn target_in(file: &DecidingFile, content: &[u8]) -> Option<PathBuf> {
    let table: toml::Table = std::str::from_utf8(content).ok()?.parse().ok()?;
    let target = table.get("build")?.get("target-dir")?.as_str()?;
    let base = file.path.parent()?.parent()?;
    (!target.is_empty()).then(|| base.join(target))
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

    fn arguments(words: &str) -> Option<Told> {
        let words: Vec<OsString> = words.split(' ').map(OsString::from).collect();
        understood(&words)
    }

    #[test]
    fn directories_are_no_part_of_a_command() {
        let plain = arguments("build --release").unwrap();
        assert_eq!((&plain.target, &plain.manifest), (&None, &None));
        for words in [
            "build --target-dir /t --release --manifest-path ../m/Cargo.toml",
            "build --manifest-path=../m/Cargo.toml --release --target-dir=/t",
        ] {
            let told = arguments(words).unwrap();
            assert_eq!(told.others, plain.others);
            assert_eq!(told.target, Some("/t".into()));
            assert_eq!(told.manifest, Some("../m/Cargo.toml".into()));
        }
        for words in ["build -Zno", "build --config x", "build --target-dir"] {
            assert_eq!(arguments(words), None, "{words}");
        }
        assert!(arguments("clippy -- -C x --target-dir").is_some());
        for (words, decides) in [
            ("run -q -- x", false),
            ("test -q -- x", false),
            ("rustc -- x", true),
        ] {
            let without = arguments(words.split_once(" --").unwrap().0).unwrap();
            assert_eq!(arguments(words).unwrap() != without, decides, "{words}");
        }
        assert_eq!(
            normal(Path::new("/a/b/../c/./Cargo.toml")),
            Path::new("/a/c/Cargo.toml")
        );
    }

    #[test]
    fn the_nearest_configuration_names_the_target_directory() {
        let configured = |files: &[(&str, &str)]| {
            let contents = files.iter().map(|(path, content)| {
                let file = DecidingFile {
                    number: 3,
                    path: path.into(),
                    is_configuration: !path.ends_with(MANIFEST),
                };
                (file, content.as_bytes().to_vec())
            });
            configured_target(&contents.collect::<Vec<_>>())
        };
        let named = |target: &str| format!("[build]\njobs = 3\n'target-dir' = '{target}'");
        let (near, far) = ("/a/b/.cargo/config.toml", "/h/.cargo/config.toml");
        for (files, target) in [
            (vec![], None),
            (vec![(near, "[build]\njobs = 3".to_owned())], None),
            (vec![(near, named("t"))], Some("/a/b/t")),
            (vec![(far, named("/t"))], Some("/t")),
            (vec![(near, named("t")), (far, named("/t"))], Some("/a/b/t")),
            (
                vec![("/a/Cargo.toml", "target-dir unstable".to_owned())],
                None,
            ),
        ] {
            let files: Vec<(&str, &str)> = files.iter().map(|(p, c)| (*p, c.as_str())).collect();
            assert_eq!(
                configured(&files),
                Some(target.map(PathBuf::from)),
                "{files:?}"
            );
        }
        for content in [
            "# target-dir",
            "[alias]\nb = 'build --target-dir t'",
            "[build]\ntarget-dir = 3",
            "[build]\ntarget-dir = ''",
            "[build]\ntarget-dir = 't'\nbuild-dir = 'b'",
            "[build]\ntarget-dir = 't' # not target-dir = 'u'",
            "include = 'more.toml'",
            "[alias]\nb = 'build --config more.toml'",
        ] {
            assert_eq!(configured(&[(near, content)]), None, "{content}");
        }
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
