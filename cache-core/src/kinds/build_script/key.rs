//! The manifest key of a build script's run: everything known before it.
//!
//! | enters | as |
//! |---|---|
//! | the executable | content |
//! | arguments | each one |
//! | toolchain of `RUSTC` | its identity |
//! | processor | model and features: compilers are told to use what is there |
//! | the package's directory, `OUT_DIR` | relative to their roots |
//! | marks in these paths that shells treat as theirs, if any | which: tools work otherwise there, and scripts look for them |
//! | `CARGO_TARGET_DIR`, if it is a relative path that the target directory does not end with | value, and that directory: a script may compare them |
//! | umask | the permissions of what it leaves, and of copies of it |
//! | `CARGO`, `CARGO_*`, `DEP_*`, `RUSTC*`, `TARGET`, … | name and value, roots left open |
//! | `LD_LIBRARY_PATH`, `LD_PRELOAD`, and what else the loader reads | likewise, but for cargo's own directories: tools load what they find there |
//! | variables that choose tools: `CC`, `CFLAGS_<target>`, `PKG_CONFIG*`, `CMAKE*`, … | likewise |
//! | descriptors that it inherits | which are open for reading, and whether for a file |
//! | names for directories in debug information, if any | as compilers are told them |
//! | `CACHEWRAP_ENV`, `CACHEWRAP_KEY_SALT` | names and values; text |
//!
//! | does not enter | because |
//! |---|---|
//! | `NUM_JOBS`, the jobserver | how much is done at a time changes no result |
//! | `LANG`, `LC_*`, `MAKEFLAGS` | they are inputs where something asks for them (see `asks`) |
//! | `RUSTC_WRAPPER` | it is this program |
//! | `CARGO_TERM_*`, `CARGO_NET_*` and the like | they are addressed to cargo; if the script names one, or runs cargo, it is an input |
//! | `PATH` | searches are inputs |
//! | all other variables | those that the script and its tools name are inputs |

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::formats::digest::{Digest, ManifestKey};
use crate::formats::key::KeyHasher;
use crate::inputs::asks::ADDRESSED_TO_CARGO;
use crate::inputs::inherited::Inherited;
use crate::inputs::libraries::READ_BY_LOADER;
use crate::kinds::rustc::key::says_nothing;
use crate::os::env::Environment;
use crate::roots::{Escaping, Root, Roots};

use super::computes;

/// Variables that say what is built.
const SAYS_WHAT: &[&str] = &[
    "CARGO",
    "TARGET",
    "HOST",
    "PROFILE",
    "OPT_LEVEL",
    "DEBUG",
    "OUT_DIR",
    "RUSTC",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
    "SOURCE_DATE_EPOCH",
];

const SAYS_WHAT_PREFIXES: &[&str] = &["CARGO_", "DEP_", "RUSTC_", "PKG_CONFIG", "CMAKE"];

/// Variables that choose tools and their flags. Tools are also chosen by these names
/// with `HOST_` or `TARGET_` before them, or with the target behind them.
const CHOOSES_TOOLS: &[&str] = &[
    "AR",
    "ARFLAGS",
    "AS",
    "ASFLAGS",
    "ASM",
    "BINDGEN_EXTRA_CLANG_ARGS",
    "CC",
    "CFLAGS",
    "CPP",
    "CPPFLAGS",
    "CXX",
    "CXXFLAGS",
    "CXXSTDLIB",
    "CRATE_CC_NO_DEFAULTS",
    "LD",
    "LDFLAGS",
    "LIBCLANG_PATH",
    "LIBS",
    "LLVM_CONFIG_PATH",
    "MAKE",
    "NASM",
    "NM",
    "NVCC",
    "OBJCOPY",
    "PROTOC",
    "PROTOC_INCLUDE",
    "RANLIB",
    "RANLIBFLAGS",
    "STRIP",
];

/// What enters the key of a run.
pub(super) struct KeyParts<'a> {
    pub(super) executable: Digest,
    pub(super) args: &'a [OsString],
    pub(super) toolchain: Digest,
    pub(super) processor: &'a [u8],
    pub(super) cwd: &'a Path,
    pub(super) umask: u32,
    /// What [`super::debug_names`] says.
    pub(super) prefix_map: &'a [(OsString, OsString)],
    pub(super) roots: &'a Roots,
    pub(super) env: &'a Environment,
    /// Names of further variables that the user wants in keys.
    pub(super) extra_env: &'a [String],
    pub(super) inherited: &'a Inherited,
    pub(super) salt: &'a OsStr,
}

const KIND: &str = "build script run";

/// Hashes what is known of a run.
pub(super) fn manifest_key(parts: &KeyParts<'_>) -> ManifestKey {
    let mut hasher = KeyHasher::new(KIND);
    hash(&mut hasher, parts);
    ManifestKey(hasher.finish())
}

/// The key with its description.
pub(super) fn described(parts: &KeyParts<'_>) -> KeyHasher {
    let mut hasher = KeyHasher::described(KIND);
    hash(&mut hasher, parts);
    hasher
}

fn hash(hasher: &mut KeyHasher, parts: &KeyParts<'_>) {
    hasher.bytes("executable", parts.executable.as_bytes());
    hasher.end_part(|| "the script".to_owned());
    for arg in parts.args {
        hasher.os("argument", arg);
        hasher.end_part(|| "an argument".to_owned());
    }
    hasher.bytes("toolchain", parts.toolchain.as_bytes());
    hasher.end_part(|| "the toolchain".to_owned());
    hasher.bytes("processor", parts.processor);
    hasher.end_part(|| "the processor".to_owned());
    hasher.path("cwd", &parts.roots.relativize(parts.cwd));
    hasher.end_part(|| "the directory".to_owned());
    let marks = special_marks(parts);
    if !marks.is_empty() {
        hasher.bytes("marks", &marks);
        hasher.end_part(|| "marks in paths".to_owned());
    }
    if let Some((told, target)) = differing_target(parts) {
        hasher.os("target-dir", told);
        hasher.os("target", target.as_os_str());
        hasher.end_part(|| "CARGO_TARGET_DIR".to_owned());
    }
    hasher.bytes("umask", &parts.umask.to_le_bytes());
    hasher.end_part(|| "the umask".to_owned());
    // A directory may have two paths.
    let names = parts.prefix_map.iter().map(|(_, name)| name);
    for name in names.collect::<BTreeSet<_>>() {
        hasher.os("debug-name", name);
        hasher.end_part(|| "names in debug information".to_owned());
    }
    for (name, value) in parts.env.iter() {
        if enters(name, parts.env) && !says_nothing(name, value) {
            hasher.os("env", name);
            let value = match name.as_bytes() {
                b"LD_LIBRARY_PATH" => parts.roots.foreign_directories(value),
                _ => value.as_bytes().to_vec(),
            };
            let value = parts.roots.template(&value, Escaping::Raw);
            hasher.template("value", &value);
            hasher.end_part(|| name.to_string_lossy().into_owned());
        }
    }
    parts.inherited.hash(hasher);
    for name in parts.extra_env {
        hasher.str("extra-env", name);
        let value = parts.env.get(name).map(OsStr::as_bytes);
        hasher.optional("value", value);
        hasher.end_part(|| name.clone());
    }
    hasher.os("salt", parts.salt);
    hasher.end_part(|| "CACHEWRAP_KEY_SALT".to_owned());
}

/// A relative path that says another directory than the target directory. (Whether an absolute one does is seen where code
/// names the variable, see [`crate::inputs::places`].)
fn differing_target<'a>(parts: &KeyParts<'a>) -> Option<(&'a OsStr, &'a Path)> {
    let told = parts.env.get("CARGO_TARGET_DIR")?;
    let target = parts.roots.get(Root::Target)?;
    let says_same = Path::new(told).is_absolute() || target.ends_with(told);
    (!says_same).then_some((told, target))
}

/// Blanks and the like in the paths that it is told.
fn special_marks(parts: &KeyParts<'_>) -> Vec<u8> {
    let out_dir = parts.env.get("OUT_DIR").unwrap_or_default();
    let told = [parts.cwd.as_os_str(), out_dir].into_iter();
    let marks = told.flat_map(OsStr::as_bytes).copied();
    let marks: BTreeSet<u8> = marks.filter(|mark| computes::is_special(*mark)).collect();
    marks.into_iter().collect()
}

/// Whether a variable enters the key.
pub(super) fn enters(name: &OsStr, env: &Environment) -> bool {
    let name = name.as_bytes();
    let begins = |list: &[&str]| list.iter().any(|p| name.starts_with(p.as_bytes()));
    if name == b"RUSTC_WRAPPER" || begins(ADDRESSED_TO_CARGO) {
        return false;
    }
    let listed = |name: &[u8], list: &[&str]| list.iter().any(|n| n.as_bytes() == name);
    begins(SAYS_WHAT_PREFIXES) || listed(name, SAYS_WHAT) || listed(name, READ_BY_LOADER) || {
        let tool = without_affixes(name, env);
        listed(tool, CHOOSES_TOOLS)
    }
}

/// `CC` for `CC`, `HOST_CC`, `CC_x86_64-unknown-linux-gnu` and the like.
fn without_affixes<'a>(name: &'a [u8], env: &Environment) -> &'a [u8] {
    for prefix in [b"HOST_".as_slice(), b"TARGET_"] {
        if let Some(rest) = name.strip_prefix(prefix) {
            return rest;
        }
    }
    let triples = ["TARGET", "HOST"].into_iter().filter_map(|t| env.get(t));
    for triple in triples {
        let triple = triple.as_bytes();
        let split = name.len().checked_sub(triple.len() + 1);
        let Some((tool, [b'_', rest @ ..])) = split.and_then(|at| name.split_at_checked(at)) else {
            continue;
        };
        let same = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-');
        if rest.iter().zip(triple).all(same) {
            return tool;
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENV: &[(&str, &str)] = &[
        ("TARGET", "x86_64-unknown-linux-gnu"),
        ("HOST", "aarch64-unknown-linux-gnu"),
        ("OUT_DIR", "/ws/target/debug/build/x-1/out"),
        ("CARGO_MANIFEST_DIR", "/home/registry/src/x-1.0.0"),
    ];

    #[test]
    fn variables_are_told_by_their_names() {
        let env: Environment = ENV.iter().copied().collect();
        for name in [
            "CARGO_FEATURE_STATIC",
            "CARGO_PKG_VERSION",
            "DEP_Z_INCLUDE",
            "RUSTC_LINKER",
            "TARGET",
            "CC",
            "HOST_CC",
            "TARGET_CFLAGS",
            "CC_x86_64-unknown-linux-gnu",
            "CFLAGS_x86_64_unknown_linux_gnu",
            "AR_aarch64_unknown_linux_gnu",
            "LD_LIBRARY_PATH",
            "PKG_CONFIG_PATH",
            "CMAKE_PREFIX_PATH",
        ] {
            assert!(enters(name.as_ref(), &env), "{name}");
        }
        for name in [
            "NUM_JOBS",
            "CARGO_MAKEFLAGS",
            "RUSTC_WRAPPER",
            "CARGO_TERM_COLOR",
            "CARGO_UNSTABLE_GC",
            "LANG",
            "LC_ALL",
            "MAKEFLAGS",
            "CARGO_TARGET_DIR",
            "PATH",
            "CC_riscv64gc_unknown_linux_gnu",
            "HOME",
        ] {
            assert!(!enters(name.as_ref(), &env), "{name}");
        }
    }

    #[derive(Clone)]
    struct Case {
        executable: &'static [u8],
        args: Vec<OsString>,
        toolchain: &'static [u8],
        processor: &'static [u8],
        target: &'static str,
        env: Environment,
        extra_env: Vec<String>,
        salt: &'static str,
        umask: u32,
        prefix_map: Vec<(OsString, OsString)>,
    }

    fn case() -> Case {
        Case {
            executable: b"x",
            args: vec![],
            toolchain: b"t",
            processor: b"cpu",
            target: "/ws/target",
            env: ENV.iter().copied().collect(),
            extra_env: vec![],
            salt: "",
            umask: 0o022,
            prefix_map: vec![],
        }
    }

    fn key(change: impl Fn(&mut Case)) -> ManifestKey {
        let mut case = case();
        change(&mut case);
        let mut roots = Roots::default();
        roots.add(Root::Target, case.target);
        roots.add(Root::CargoHome, "/home");
        manifest_key(&KeyParts {
            executable: Digest::of(case.executable),
            args: &case.args,
            toolchain: Digest::of(case.toolchain),
            processor: case.processor,
            cwd: Path::new("/home/registry/src/x-1.0.0"),
            umask: case.umask,
            prefix_map: &case.prefix_map,
            roots: &roots,
            env: &case.env,
            extra_env: &case.extra_env,
            inherited: &Inherited::default(),
            salt: OsStr::new(case.salt),
        })
    }

    #[test]
    fn the_key_of_a_known_run_is_fixed() {
        // A change here empties every cache: raise KEY_VERSION in `key` and say so.
        assert_eq!(
            key(|_| ()).0.to_hex(),
            "90c4be8841e1df38d9104b500ae9798056ca2bc05183307fa7f30cf651bd8305"
        );
    }

    #[test]
    fn every_field_enters() {
        let mut keys = vec![key(|_| ())];
        let mut differs = |change: &dyn Fn(&mut Case)| {
            let key = key(change);
            assert!(!keys.contains(&key), "variant {}", keys.len());
            keys.push(key);
        };
        differs(&|c| c.executable = b"y");
        differs(&|c| c.args.push("a".into()));
        differs(&|c| c.toolchain = b"y");
        differs(&|c| c.processor = b"other");
        differs(&|c| c.salt = "salt");
        differs(&|c| c.umask = 0o077);
        differs(&|c| c.prefix_map.push(("/t/".into(), "./target/".into())));
        differs(&|c| c.env.set("CARGO_FEATURE_A", "1"));
        differs(&|c| c.env.set("CC", ""));
        differs(&|c| c.env.set("CC", "clang"));
        differs(&|c| c.env.set("DEP_Z_ROOT", "/ws/target/z"));
        differs(&|c| c.env.set("DEP_Z_ROOT", "/elsewhere/z"));
        differs(&|c| c.env.set("LD_LIBRARY_PATH", "/usr/local/lib"));
        differs(&|c| c.env.set("LD_AUDIT", "/x.so"));
        differs(&|c| c.env.set("GLIBC_TUNABLES", "glibc.malloc.check=3"));
        differs(&|c| c.extra_env.push("MINE".into()));
        differs(&|c| c.env.set("CARGO_TARGET_DIR", "other"));
        differs(&|c| c.env.set("CARGO_TARGET_DIR", "other/target"));
    }

    #[test]
    fn places_of_roots_do_not_enter() {
        let moved = key(|c| {
            c.target = "/t";
            c.env.set("OUT_DIR", "/t/debug/build/x-1/out");
            c.env.set("NUM_JOBS", "3");
            c.env.set("MAKEFLAGS", "n -j --jobserver-auth=3,4");
            c.env.set("LC_ALL", "C.UTF-8");
            c.env.set("RUSTC_LOG", "");
            c.env.set("CARGO_UNSTABLE_SPARSE_REGISTRY", "true");
            c.env.set("PATH", "/somewhere");
            c.env.set("CARGO_TARGET_DIR", "/t");
            c.env
                .set("LD_LIBRARY_PATH", "/t/debug/build/x/1/out:/t/debug");
        });
        let here = key(|c| {
            c.env.set("LD_LIBRARY_PATH", "/ws/target/debug/deps");
            c.env.set("CARGO_TARGET_DIR", "target");
        });
        assert_eq!(moved, here);
    }
}
