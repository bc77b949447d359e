//! One test case: a temporary directory with a project, a cache and a counting compiler.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cache_core::Store;
use tempfile::TempDir;
use walkdir::WalkDir;

use super::outcome::Outcome;
use super::toolchain::{Toolchain, quote, write_script, write_shims};

/// Whether the wrapper takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Cached,
    Bare,
}

/// The directory of a case, its environment and its toolchain.
///
/// ```text
/// <root>/project   the cargo project
/// <root>/cache     CACHEWRAP_DIR
/// <root>/bin       the counting rustc and clippy-driver
/// <root>/log       one line per real compile
/// ```
#[derive(Debug)]
pub(crate) struct Case {
    root: PathBuf,
    project: PathBuf,
    env: BTreeMap<OsString, OsString>,
    launcher: Vec<OsString>,
    toolchain: Toolchain,
    /// Removes the directory with the case.
    _temporary: TempDir,
}

impl Case {
    /// A case with an empty project.
    pub(crate) fn new() -> Self {
        Self::inside("")
    }

    /// A case whose directory's path ends in `name`.
    pub(crate) fn inside(name: &str) -> Self {
        let temporary = tempfile::Builder::new()
            .prefix("cachewrap-")
            .tempdir()
            .expect("a temporary directory should be creatable");
        // Resolved, so that a symlinked temporary directory is a topic of its own test only.
        let root = temporary
            .path()
            .canonicalize()
            .expect("the temporary directory should exist")
            .join(name);
        let project = root.join("project");
        fs::create_dir_all(&project).expect("the project directory should be creatable");
        let case = Self {
            project,
            env: BTreeMap::new(),
            launcher: Vec::new(),
            toolchain: Toolchain::current().clone(),
            root,
            _temporary: temporary,
        };
        write_shims(&case.bin(), &case.log(), &case.toolchain);
        case
    }

    /// A case with a copy of `fixtures/<name>`.
    pub(crate) fn fixture(name: &str) -> Self {
        let case = Self::new();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fixtures")
            .join(name);
        copy_tree(&fixture, &case.project);
        case
    }

    /// Sets a variable for everything that the case runs.
    pub(crate) fn env(&mut self, name: &str, value: impl Into<OsString>) -> &mut Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Takes a variable out again, which is not the same as an empty one.
    pub(crate) fn unset(&mut self, name: &str) -> &mut Self {
        self.env.remove(&OsString::from(name));
        self
    }

    /// Runs every command behind this one, for example `setpriv …`.
    pub(crate) fn launcher(&mut self, words: &[&str]) -> &mut Self {
        self.launcher = words.iter().map(OsString::from).collect();
        self
    }

    /// Uses another toolchain from now on, still counted.
    pub(crate) fn use_toolchain(&mut self, toolchain: Toolchain) -> &mut Self {
        self.toolchain = toolchain;
        write_shims(&self.bin(), &self.log(), &self.toolchain);
        self
    }

    /// Uses the compiler itself from now on, as everybody does. It counts nothing.
    pub(crate) fn use_compiler_itself(&mut self) -> &mut Self {
        let rustc = self.toolchain.bin("rustc");
        self.env("RUSTC", rustc)
    }

    /// Puts a script in the place of the counting compiler, whose new path it is made from.
    pub(crate) fn put_before_compiler(&self, script: impl FnOnce(&str) -> String) {
        let rustc = self.bin().join("rustc");
        let counting = self.bin().join("counting");
        fs::rename(&rustc, &counting).expect("the shim should be movable");
        write_script(&rustc, &script(&quote(&counting)));
    }

    /// Works in another directory from now on, as with a second checkout or a moved project.
    pub(crate) fn enter(&mut self, project: impl Into<PathBuf>) -> &mut Self {
        self.project = project.into();
        self
    }

    /// Copies the project to another directory of the case and goes on there.
    pub(crate) fn copy_project(&mut self, name: &str) -> &mut Self {
        let copy = self.root.join(name);
        copy_tree(&self.project, &copy);
        self.enter(copy)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn toolchain(&self) -> &Toolchain {
        &self.toolchain
    }

    /// A path in the project.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.project.join(name)
    }

    pub(crate) fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        match self.env.get(&OsString::from("CACHEWRAP_DIR")) {
            Some(dir) => PathBuf::from(dir),
            None => self.root.join("cache"),
        }
    }

    fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(crate) fn target(&self) -> PathBuf {
        match self.env.get(&OsString::from("CARGO_TARGET_DIR")) {
            Some(dir) => self.project.join(dir),
            None => self.project.join("target"),
        }
    }

    /// Writes a file of the project.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("a directory of the project should be creatable");
        }
        fs::write(path, content).expect("a file of the project should be writable");
        self
    }

    /// Replaces text in a file of the project; it has to be there.
    #[track_caller]
    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) -> &Self {
        let before = fs::read_to_string(self.path(name)).expect("the file should be readable");
        assert!(before.contains(from), "{from:?} is not in {name}");
        self.write(name, before.replace(from, to))
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> &Self {
        let to = self.path(to);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).expect("a directory of the project should be creatable");
        }
        fs::rename(self.path(from), to).expect("the file should be movable");
        self
    }

    pub(crate) fn remove(&self, name: &str) -> &Self {
        fs::remove_file(self.path(name)).expect("the file should be removable");
        self
    }

    /// Removes the target directory, as a fresh checkout or container would lack it.
    pub(crate) fn wipe(&self) -> &Self {
        remove_tree(&self.target());
        self
    }

    /// Empties the cache.
    pub(crate) fn forget(&self) -> &Self {
        remove_tree(&self.cache());
        self
    }

    /// Runs cargo with the cache.
    pub(crate) fn cargo(&self, args: &[&str]) -> Outcome {
        self.run(self.cargo_command(Mode::Cached, args))
    }

    /// Runs cargo without the cache.
    pub(crate) fn bare_cargo(&self, args: &[&str]) -> Outcome {
        self.run(self.cargo_command(Mode::Bare, args))
    }

    /// Runs the counting compiler directly, behind the wrapper or not.
    pub(crate) fn rustc(&self, mode: Mode, args: &[&str]) -> Outcome {
        let mut command = self.rustc_command(mode);
        command.args(args);
        self.run(command)
    }

    /// The wrapper without arguments yet.
    pub(crate) fn wrapper_command(&self) -> Command {
        self.command(&wrapper())
    }

    /// The counting compiler without arguments yet.
    pub(crate) fn rustc_command(&self, mode: Mode) -> Command {
        let rustc = self.bin().join("rustc");
        match mode {
            Mode::Cached => {
                let mut command = self.command(&wrapper());
                command.arg(rustc);
                command
            }
            Mode::Bare => self.command(&rustc),
        }
    }

    /// A cargo command that is not started yet.
    pub(crate) fn cargo_command(&self, mode: Mode, args: &[&str]) -> Command {
        let mut command = self.command(&self.toolchain.bin("cargo"));
        let args = match args.split_first() {
            Some((&"clippy", rest)) => self.clippy(&mut command, rest),
            _ => args.to_vec(),
        };
        let wrapper = match mode {
            Mode::Cached => wrapper().into_os_string(),
            // Empty, not absent: a user's cargo configuration may name a wrapper.
            Mode::Bare => OsString::new(),
        };
        if !self.env.contains_key(&OsString::from("RUSTC_WRAPPER")) || mode == Mode::Bare {
            command.env("RUSTC_WRAPPER", wrapper);
        }
        command.args(args);
        command
    }

    /// What `cargo clippy` does, but with the counting driver: it looks for its own beside itself.
    fn clippy<'a>(&self, command: &mut Command, args: &[&'a str]) -> Vec<&'a str> {
        let mut parts = args.splitn(2, |arg| *arg == "--");
        let cargo_args = parts.next().unwrap_or_default();
        let clippy_args: String = parts
            .next()
            .unwrap_or_default()
            .iter()
            .flat_map(|arg| [arg, "__CLIPPY_HACKERY__"])
            .collect();
        command
            .env("CLIPPY_ARGS", clippy_args)
            .env("RUSTC_WORKSPACE_WRAPPER", self.bin().join("clippy-driver"));
        [&["check"], cargo_args].concat()
    }

    /// Sets the scrubbed environment; nothing of the caller's leaks into a build.
    fn command(&self, program: &Path) -> Command {
        let mut command = match self.launcher.split_first() {
            Some((launcher, words)) => {
                let mut command = Command::new(launcher);
                command.args(words).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.current_dir(&self.project).env_clear();
        for name in ["PATH", "HOME", "RUSTUP_HOME", "CARGO_HOME", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("CARGO", self.toolchain.bin("cargo"))
            .env("CARGO_NET_OFFLINE", "true")
            .env("CARGO_TERM_COLOR", "never")
            .env("RUSTC", self.bin().join("rustc"))
            .env("CACHEWRAP_DIR", self.root.join("cache"))
            .envs(std::env::var_os("CACHEWRAP_TEST_PRELOAD").map(|v| ("CACHEWRAP_PRELOAD", v)))
            .envs(&self.env);
        command
    }

    /// Runs a command and attributes to it the lines that it added to the log.
    pub(crate) fn run(&self, mut command: Command) -> Outcome {
        let before = self.compiled().len();
        let text = format!("{command:?}");
        let output = command
            .output()
            .unwrap_or_else(|error| panic!("{text} should start: {error}"));
        // What it left to a process of its own is part of what it did.
        let store = Store::new(self.cache(), true);
        assert!(store.wait_for_keepers(Duration::from_secs(60)), "{text}");
        Outcome::new(text, &output, self.compiled().split_off(before))
    }

    /// Runs a program below the target directory and returns what it prints.
    #[track_caller]
    pub(crate) fn printed(&self, program: &str) -> String {
        let path = self.target().join(program);
        let output = Command::new(&path)
            .env_clear()
            .current_dir(&self.project)
            .output()
            .unwrap_or_else(|error| panic!("{} should start: {error}", path.display()));
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    /// All real compiles so far, in the order in which they began.
    pub(crate) fn compiled(&self) -> Vec<String> {
        fs::read_to_string(self.log())
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

/// The wrapper under test.
pub(crate) fn wrapper() -> PathBuf {
    std::env::var_os("CACHEWRAP_UNDER_TEST").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_cachewrap")),
        PathBuf::from,
    )
}

/// Copies files, directories and links, without any `target` directory.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    let entries = WalkDir::new(from)
        .into_iter()
        .filter_entry(|entry| entry.file_name() != "target");
    for entry in entries {
        let entry = entry.expect("the tree should be readable");
        let relative = entry
            .path()
            .strip_prefix(from)
            .expect("a walk stays below its root");
        let destination = to.join(relative);
        if entry.file_type().is_dir() {
            fs::create_dir_all(&destination).expect("a directory should be creatable");
        } else if entry.file_type().is_symlink() {
            let link = fs::read_link(entry.path()).expect("a link should be readable");
            std::os::unix::fs::symlink(link, destination).expect("a link should be creatable");
        } else {
            fs::copy(entry.path(), &destination).expect("a file should be copyable");
        }
    }
}

/// Removes a directory that may be missing, and what a link to one points to.
pub(crate) fn remove_tree(path: &Path) {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if path.exists() {
        fs::remove_dir_all(&path)
            .unwrap_or_else(|error| panic!("{} should be removable: {error}", path.display()));
    }
}
