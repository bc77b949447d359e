//! What a build leaves behind, as far as anybody can see it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::Value;
use walkdir::WalkDir;

use super::case::Case;

/// One path below the target directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    kind: Kind,
    executable: bool,
    owner_writable: bool,
    /// Kept for `.d` files and what build scripts leave, which have to agree to the byte.
    content: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
    Link(PathBuf),
}

/// The files of a target directory with their number of names, but for those of incremental rustc.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) entries: BTreeMap<PathBuf, Entry>,
    pub(crate) links: BTreeMap<PathBuf, u64>,
}

/// Looks at everything but the private states of cargo (`.fingerprint`) and of incremental rustc.
pub(crate) fn tree(target: &Path) -> Tree {
    let mut tree = Tree::default();
    let of_sessions = names_of_sessions(target);
    let entries = WalkDir::new(target)
        .min_depth(1)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| {
            let name = entry.file_name();
            // What lies behind a launcher is nothing that cargo knows of.
            let is_real = name.to_string_lossy().ends_with(".cachewrap-real");
            name != "incremental"
                && name != ".fingerprint"
                && name != ".rustc_info.json"
                && !is_real
        });
    for entry in entries.flatten() {
        let Ok(metadata) = entry.path().symlink_metadata() else {
            continue;
        };
        let relative = entry
            .path()
            .strip_prefix(target)
            .expect("a walk stays below its root");
        let relative = stable_name(relative, &tree.entries);
        let mode = metadata.permissions().mode();
        let is_dep_info = entry.path().extension().is_some_and(|e| e == "d");
        let content = if is_dep_info {
            Some(dep_info(entry.path()))
        } else {
            is_of_build_script(&relative).then(|| raw(entry.path()))
        };
        let kind = if metadata.is_dir() {
            Kind::Directory
        } else if metadata.is_symlink() {
            Kind::Link(fs::read_link(entry.path()).unwrap_or_default())
        } else {
            let of_sessions = of_sessions.get(&metadata.ino()).copied().unwrap_or(0);
            let links = metadata.nlink().saturating_sub(of_sessions);
            tree.links.insert(relative.clone(), links);
            Kind::File
        };
        let entry = Entry {
            kind,
            executable: mode & 0o111 != 0,
            owner_writable: mode & 0o200 != 0,
            content,
        };
        tree.entries.insert(relative, entry);
    }
    tree
}

/// How many names files have in incremental sessions, by their inodes: rustc links metadata that stays the same,
/// and how many sessions there are depends on what there was before.
fn names_of_sessions(target: &Path) -> BTreeMap<u64, u64> {
    let mut names = BTreeMap::new();
    for entry in WalkDir::new(target).into_iter().flatten() {
        let is_of_session = entry.path().iter().any(|part| part == "incremental");
        if is_of_session && let Ok(metadata) = entry.metadata() {
            *names.entry(metadata.ino()).or_insert(0) += 1;
        }
    }
    names
}

/// Numbers the files of codegen units, whose names rustc draws anew for each incremental session.
fn stable_name(path: &Path, taken: &BTreeMap<PathBuf, Entry>) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (Some((unit, _)), Some((_, extension))) = (name.split_once('.'), name.split_once(".rcgu."))
    else {
        return path.to_owned();
    };
    (0..10_000)
        .map(|number| path.with_file_name(format!("{unit}.{number}.rcgu.{extension}")))
        .find(|numbered| !taken.contains_key(numbered))
        .unwrap_or_else(|| path.to_owned())
}

/// Whether a path is `build/<package>/out/…`, or what cargo keeps of the script's streams there.
///
/// Libraries that a script compiled by itself, through the wrapper, have paths remapped in them.
fn is_of_build_script(path: &Path) -> bool {
    if path
        .extension()
        .is_some_and(|e| e == "rmeta" || e == "rlib")
    {
        return false;
    }
    let names: Vec<_> = path.iter().map(|name| name.to_string_lossy()).collect();
    let Some(at) = names.iter().position(|name| name == "build") else {
        return false;
    };
    matches!(
        names.get(at + 2).map(AsRef::as_ref),
        Some("out" | "output" | "stderr" | "root-output")
    )
}

fn raw(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// The rules of a `.d` file; cargo writes those of a package with several outputs in any order.
fn dep_info(path: &Path) -> String {
    let text = raw(path);
    let mut rules: Vec<_> = text.lines().collect();
    rules.sort_unstable();
    rules.join("\n")
}

/// How a program that a build produced behaves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ProgramRun {
    status: String,
    stdout: String,
    stderr: String,
}

/// Runs every executable that cargo's messages name.
pub(crate) fn programs(case: &Case, messages: &str) -> BTreeMap<PathBuf, ProgramRun> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| {
            let path = PathBuf::from(message.get("executable")?.as_str()?);
            let is_test = message.pointer("/profile/test") == Some(&Value::Bool(true));
            let run = run_program(case, &path, is_test);
            Some((path, run))
        })
        .collect()
}

fn run_program(case: &Case, path: &Path, is_test: bool) -> ProgramRun {
    let libraries = [
        case.target().join("debug/deps"),
        case.target().join("debug"),
        case.toolchain().lib_dir(),
    ];
    let mut command = std::process::Command::new(path);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .current_dir(case.path(""));
    if let Ok(libraries) = std::env::join_paths(libraries) {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    if is_test {
        command.arg("--test-threads=1");
    }
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{} should start: {error}", path.display()));
    ProgramRun {
        status: output.status.to_string(),
        stdout: without_noise(&String::from_utf8_lossy(&output.stdout)),
        stderr: without_noise(&String::from_utf8_lossy(&output.stderr)),
    }
}

/// Drops the two things that differ between any two runs: times and thread ids.
fn without_noise(text: &str) -> String {
    text.lines()
        .map(|line| {
            let line = line.split("; finished in ").next().unwrap_or(line);
            match (line.split_once("' ("), line.split_once(") panicked at ")) {
                (Some((thread, _)), Some((_, place))) => format!("{thread}' panicked at {place}"),
                _ => line.to_owned(),
            }
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// The files below `dir` that hold the bytes `needle`.
pub(crate) fn tree_contains(dir: &Path, needle: &Path) -> Vec<PathBuf> {
    let needle = needle.as_os_str().as_encoded_bytes();
    WalkDir::new(dir)
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_type().is_file())
        .filter(|entry| {
            let bytes = fs::read(entry.path()).expect("a file of the tree should be readable");
            bytes.windows(needle.len()).any(|window| window == needle)
        })
        .map(walkdir::DirEntry::into_path)
        .collect()
}
