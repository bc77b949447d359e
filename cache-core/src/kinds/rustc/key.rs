//! The manifest key of an invocation: everything known before compiling.
//!
//! | enters | as |
//! |---|---|
//! | toolchain | its identity |
//! | wrappers before the compiler | file name and content |
//! | arguments | every one, in order; paths with their roots left open |
//! | directory | relative to its root |
//! | `--out-dir` | relative to its root (dep-info names it) |
//! | source on standard input | content |
//! | `-C target-cpu=native` | the processor |
//! | a custom target's file | content |
//! | `RUSTC_*`, `CLIPPY_*`, and the list below | name and value |
//! | `CARGO_PKG_*` | name and value: macros put such names together at run time |
//! | `LD_LIBRARY_PATH`, `LD_PRELOAD`, and what else the loader reads | value, but for directories of cargo and rustup: linkers and macros load what they find there |
//! | `CACHEWRAP_ENV`, `CACHEWRAP_KEY_SALT` | names and values; text |
//! | where the target directory is in the workspace, if the user remaps paths | the rest of its path |
//! | how paths are trimmed | its name; with `off` also the directory as it is |
//!
//! | does not enter | because |
//! |---|---|
//! | the path of `-C incremental` | what it holds changes nothing but speed |
//! | `-L dependency=…` | the crates found there are inputs |
//! | `--diagnostic-width` | it becomes an input where something was printed |
//! | the jobserver's variables | they change with every process |
//! | modification times | contents count |
//!
//! Contents of sources, dependencies, and whatever else is read, are inputs (see
//! `input`), not part of the key.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::config::TrimPaths;
use crate::formats::digest::{Digest, ManifestKey};
use crate::formats::key::KeyHasher;
use crate::inputs::libraries::READ_BY_LOADER;
use crate::os::env::Environment;
use crate::roots::{Escaping, Root, Roots};

use super::args::Arg;
use super::invocation::{Action, Invocation};

/// Variables that the compiler itself reads, besides `RUSTC_*` and `CLIPPY_*`.
const READ_BY_COMPILER: &[&str] = &[
    "IPHONEOS_DEPLOYMENT_TARGET",
    "MACOSX_DEPLOYMENT_TARGET",
    "RUST_TARGET_PATH",
    "SDKROOT",
    "TVOS_DEPLOYMENT_TARGET",
    "WATCHOS_DEPLOYMENT_TARGET",
];

/// `RUSTC_*` variables that are addressed to cargo.
const READ_BY_CARGO: &[&str] = &["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTC_LINKER"];

/// What enters a manifest key besides the invocation itself.
pub(crate) struct KeyParts<'a> {
    pub(crate) toolchain: Digest,
    /// File names and contents of the programs before the compiler.
    pub(crate) wrappers: &'a [(OsString, Digest)],
    pub(crate) cwd: &'a Path,
    pub(crate) roots: &'a Roots,
    pub(crate) env: &'a Environment,
    pub(crate) stdin: Option<&'a [u8]>,
    /// What identifies the processor, where that matters.
    pub(crate) processor: Option<&'a [u8]>,
    /// The content of a custom target's file.
    pub(crate) target_spec: Option<Digest>,
    pub(crate) trim: TrimPaths,
    /// Names of further variables that the user wants in keys.
    pub(crate) extra_env: &'a [String],
    pub(crate) salt: &'a OsStr,
}

/// Hashes an invocation.
pub(crate) fn manifest_key(invocation: &Invocation, parts: &KeyParts<'_>) -> ManifestKey {
    let mut hasher = KeyHasher::new(kind(invocation));
    hash(&mut hasher, invocation, parts);
    ManifestKey(hasher.finish())
}

/// What people call the source among the parts of a key.
pub(crate) const SOURCE: &str = "the source";

/// The key with its description.
pub(crate) fn described(invocation: &Invocation, parts: &KeyParts<'_>) -> KeyHasher {
    let mut hasher = KeyHasher::described(kind(invocation));
    hash(&mut hasher, invocation, parts);
    hasher
}

fn kind(invocation: &Invocation) -> &'static str {
    match invocation.action {
        Action::Compile => "compile",
        Action::Query => "query",
    }
}

fn hash(hasher: &mut KeyHasher, invocation: &Invocation, parts: &KeyParts<'_>) {
    hasher.bytes("toolchain", parts.toolchain.as_bytes());
    hasher.end_part(|| "the toolchain".to_owned());
    for (name, content) in parts.wrappers {
        hasher.os("wrapper", name);
        hasher.bytes("content", content.as_bytes());
    }
    hasher.end_part(|| "a wrapper".to_owned());
    for arg in &invocation.args {
        argument(hasher, arg, parts.roots);
        hasher.end_part(|| match arg.name {
            "" => SOURCE.to_owned(),
            name => format!("--{name}"),
        });
    }
    hasher.path("cwd", &parts.roots.relativize(parts.cwd));
    hasher.end_part(|| "the directory".to_owned());
    let out_dir = invocation.output_dir(parts.cwd);
    hasher.path("out-dir", &parts.roots.relativize(&out_dir));
    hasher.end_part(|| "--out-dir".to_owned());
    hasher.optional("stdin", parts.stdin);
    hasher.end_part(|| "standard input".to_owned());
    hasher.optional("processor", parts.processor);
    hasher.end_part(|| "the processor".to_owned());
    let spec = parts.target_spec.as_ref();
    hasher.optional("target-spec", spec.map(|d| d.as_bytes().as_slice()));
    hasher.end_part(|| "the target's specification".to_owned());
    for (name, value) in parts.env.iter() {
        if is_read_while_compiling(name) && !says_nothing(name, value) {
            hasher.os("env", name);
            hasher.os("value", value);
            hasher.end_part(|| name.to_string_lossy().into_owned());
        }
    }
    for name in READ_BY_LOADER {
        let value = parts.env.get_nonempty(name).unwrap_or_default();
        let value = parts.roots.foreign_directories(value);
        // Empty is what is left of cargo's own.
        if !value.is_empty() {
            hasher.str("loads", name);
            hasher.template("value", &parts.roots.template(&value, Escaping::Raw));
        }
    }
    for name in parts.extra_env {
        hasher.str("extra-env", name);
        hasher.optional("value", parts.env.get(name).map(OsStrExt::as_bytes));
        hasher.end_part(|| name.clone());
    }
    hasher.os("salt", parts.salt);
    hasher.end_part(|| "CACHEWRAP_KEY_SALT".to_owned());
    if invocation.values("remap-path-prefix").next().is_some() {
        let target = parts.roots.get(Root::Target);
        let workspace = parts.roots.get(Root::Workspace);
        let inside = target
            .zip(workspace)
            .and_then(|(t, w)| t.strip_prefix(w).ok());
        let inside = inside.map(|path| path.as_os_str().as_bytes());
        hasher.optional("target-in-workspace", inside);
        hasher.end_part(|| "the place of the target directory".to_owned());
    }
    hasher.str("trim-paths", &parts.trim.to_string());
    hasher.end_part(|| "CACHEWRAP_TRIM_PATHS".to_owned());
    if parts.trim == TrimPaths::Off {
        hasher.os("absolute-cwd", parts.cwd.as_os_str());
        hasher.end_part(|| "the directory".to_owned());
    }
}

/// Whether a variable is set as good as not at all: editors set the compiler's log so.
pub(crate) fn says_nothing(name: &OsStr, value: &OsStr) -> bool {
    name == "RUSTC_LOG" && value.is_empty()
}

fn is_read_while_compiling(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    let listed = |list: &[&str]| list.iter().any(|known| name == *known);
    (bytes.starts_with(b"RUSTC_") && !listed(READ_BY_CARGO))
        || bytes.starts_with(b"CLIPPY_")
        || bytes.starts_with(b"CARGO_PKG_")
        || listed(READ_BY_COMPILER)
}

fn argument(hasher: &mut KeyHasher, arg: &Arg, roots: &Roots) {
    let value = arg.value.as_deref().map(OsStrExt::as_bytes);
    match (arg.name, value) {
        ("out-dir" | "diagnostic-width", _) => {}
        ("L", Some(value)) if value.starts_with(b"dependency=") => {}
        ("codegen", Some(value)) if value.starts_with(b"incremental=") => {
            hasher.str("argument", "codegen");
            hasher.str("value", "incremental");
        }
        ("o", Some(value)) => {
            let name = Path::new(OsStr::from_bytes(value)).file_name();
            hasher.str("argument", "o");
            hasher.os("value", name.unwrap_or_default());
        }
        (name, None) => {
            hasher.str("argument", name);
            hasher.str("value", "none");
        }
        (name, Some(value)) => {
            hasher.str("argument", name);
            hasher.template("value", &roots.template(value, Escaping::Raw));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Case {
        argv: Vec<&'static str>,
        cwd: &'static str,
        target: &'static str,
        env: Vec<(&'static str, &'static str)>,
        toolchain: &'static [u8],
        wrappers: Vec<(OsString, Digest)>,
        stdin: Option<&'static [u8]>,
        processor: Option<&'static [u8]>,
        target_spec: Option<Digest>,
        trim: TrimPaths,
        extra_env: Vec<String>,
        salt: &'static str,
    }

    fn case() -> Case {
        Case {
            argv: vec![
                "rustc",
                "--crate-name",
                "x",
                "src/lib.rs",
                "--out-dir",
                "/ws/target/debug/deps",
                "-C",
                "incremental=/ws/target/debug/incremental",
                "-L",
                "dependency=/ws/target/debug/deps",
                "--extern",
                "y=/ws/target/debug/deps/liby.rmeta",
            ],
            cwd: "/ws",
            target: "/ws/target",
            env: vec![],
            toolchain: b"t",
            wrappers: vec![],
            stdin: None,
            processor: None,
            target_spec: None,
            trim: TrimPaths::Workspace,
            extra_env: vec![],
            salt: "",
        }
    }

    fn key(case: &Case) -> ManifestKey {
        let argv: Vec<OsString> = case.argv.iter().map(OsString::from).collect();
        let invocation = Invocation::parse(&argv, None, |_| None).unwrap();
        let mut roots = Roots::default();
        roots.add(Root::Workspace, case.cwd);
        roots.add(Root::Target, case.target);
        let env = case.env.iter().copied().collect();
        manifest_key(
            &invocation,
            &KeyParts {
                toolchain: Digest::of(case.toolchain),
                wrappers: &case.wrappers,
                cwd: Path::new(case.cwd),
                roots: &roots,
                env: &env,
                stdin: case.stdin,
                processor: case.processor,
                target_spec: case.target_spec,
                trim: case.trim,
                extra_env: &case.extra_env,
                salt: OsStr::new(case.salt),
            },
        )
    }

    #[test]
    fn the_key_of_a_known_invocation_is_fixed() {
        // A change here empties every cache: raise KEY_VERSION in `key` and say so.
        assert_eq!(
            key(&case()).0.to_hex(),
            "658cf54a3f27d204a49b05ba1b218ebb876759265635a69863f71a59a3eb5d8d"
        );
    }

    #[test]
    fn every_field_enters() {
        let mut keys = vec![key(&case())];
        let mut vary = |change: &dyn Fn(&mut Case)| {
            let mut case = case();
            change(&mut case);
            let key = key(&case);
            assert!(
                !keys.contains(&key),
                "variant {} gave a known key",
                keys.len()
            );
            keys.push(key);
        };
        vary(&|c| c.argv.push("--test"));
        vary(&|c| c.argv.extend(["-A", "dead_code", "-D", "dead_code"]));
        vary(&|c| c.argv.extend(["-D", "dead_code", "-A", "dead_code"]));
        vary(&|c| c.argv.extend(["-O", "-Copt-level=0"]));
        vary(&|c| c.argv.extend(["-Copt-level=0", "-O"]));
        vary(&|c| c.argv.extend(["--check-cfg", "cfg(a)"]));
        vary(&|c| c.argv.extend(["-L", "native=/usr/lib"]));
        vary(&|c| c.argv[11] = "y=/ws/target/debug/deps/libz.rmeta");
        vary(&|c| c.argv[5] = "/ws/target/release/deps");
        vary(&|c| drop(c.argv.drain(6..8)));
        vary(&|c| c.toolchain = b"u");
        vary(&|c| c.wrappers = vec![("w".into(), Digest::of(b"1"))]);
        vary(&|c| c.wrappers = vec![("w".into(), Digest::of(b"2"))]);
        vary(&|c| c.stdin = Some(b""));
        vary(&|c| c.stdin = Some(b"fn main() {}"));
        vary(&|c| c.processor = Some(b"cpu"));
        vary(&|c| c.target_spec = Some(Digest::of(b"{}")));
        vary(&|c| c.trim = TrimPaths::All);
        vary(&|c| c.trim = TrimPaths::Off);
        vary(&|c| c.salt = "salt");
        vary(&|c| c.env = vec![("RUSTC_BOOTSTRAP", "1")]);
        vary(&|c| c.env = vec![("RUSTC_BOOTSTRAP", "")]);
        vary(&|c| c.env = vec![("CLIPPY_ARGS", "-W")]);
        vary(&|c| c.env = vec![("LD_LIBRARY_PATH", "/x")]);
        vary(&|c| c.env = vec![("LD_PRELOAD", "/x")]);
        vary(&|c| c.env = vec![("LD_BIND_NOW", "1")]);
        vary(&|c| c.env = vec![("GLIBC_TUNABLES", "glibc.malloc.check=3")]);
        vary(&|c| c.env = vec![("RUSTC_LOG", "info")]);
        vary(&|c| c.extra_env = vec!["MINE".into()]);
        vary(&|c| {
            c.extra_env = vec!["MINE".into()];
            c.env = vec![("MINE", "")];
        });
    }

    #[test]
    fn excluded_fields_do_not_enter() {
        let base = key(&case());
        let same = |change: &dyn Fn(&mut Case)| {
            let mut case = case();
            change(&mut case);
            assert_eq!(key(&case), base);
        };
        same(&|c| c.argv[7] = "incremental=/elsewhere");
        same(&|c| c.argv[9] = "dependency=/elsewhere");
        same(&|c| c.argv.push("--diagnostic-width=80"));
        same(&|c| {
            c.env = vec![
                ("CARGO_MAKEFLAGS", "-j4"),
                ("LD_LIBRARY_PATH", "/ws/target/debug/deps"),
            ];
        });
        same(&|c| c.env = vec![("RUSTC_WRAPPER", "cachewrap"), ("RUSTC_LOG", "")]);
        // Another checkout with another target directory.
        same(&|c| {
            c.cwd = "/other/place";
            c.target = "/t";
            c.argv[5] = "/t/debug/deps";
            c.argv[11] = "y=/t/debug/deps/liby.rmeta";
        });
    }
}
