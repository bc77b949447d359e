//! What programs ask of the environment without naming it themselves.
//!
//! Variables are taken for read where code names them (see `names`). The language is asked for
//! otherwise: a program calls `setlocale`, and the C library, which is part of every program,
//! reads `LANG` and the like. So these are no variables here but facts, recorded for runs in
//! which a program asked, in the form in which they matter:
//!
//! | fact | value | asked for by |
//! |---|---|---|
//! | `locale` | the locale of each category that is other than `C` | programs that take `setlocale` from the C library, but for those below |
//! | `language` | the locale of messages, if it may be other than English | compilers, linkers and their like: with the rest of the locale, only the marks around words in their messages change |
//! | `cargo` | the variables that configure cargo, but for those of how much it does and tells | `cargo` |
//! | `make-flags` | `MAKEFLAGS` and `MFLAGS` without how much to do at a time | `make`, and a build script that names one of them |
//!
//! A locale that is not installed is `C`, as the C library has it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use object::read::ReadCache;
use object::read::elf::ElfFile64;
use object::{Endianness, Object as _, ObjectSymbol};

use crate::error::PathError;
use crate::formats::digest::BlobRef;
use crate::inputs::input::Input;
use crate::inputs::names::{self, Code};
use crate::os::env::Environment;
use crate::os::fs;
use crate::scene::Scene;
use crate::store::memo::Memo;

const LOCALE: &str = "locale";
const LANGUAGE: &str = "language";
const MAKE_FLAGS: &str = "make-flags";
const CARGO: &str = "cargo";

/// How variables begin that say how cargo works, not what is built. It makes their names of those in its configuration.
pub(crate) const ADDRESSED_TO_CARGO: &[&str] = &[
    "CARGO_TERM_",
    "CARGO_NET_",
    "CARGO_HTTP_",
    "CARGO_REGISTR",
    "CARGO_BUILD_",
    "CARGO_CACHE_",
    "CARGO_ALIAS_",
    "CARGO_MAKEFLAGS",
    "CARGO_LOG",
    "CARGO_PROFILE_",
    "CARGO_UNSTABLE_",
    "CARGO_HOME",
    "CARGO_TARGET_DIR",
    "CARGO_INCREMENTAL",
];

/// Those of them that change nothing of what it says on its standard output: how many jobs there are, what it tells on the
/// way, and where its home is, which is a place like others.
const OF_ITS_WORK: &[&str] = &[
    "CARGO_BUILD_JOBS",
    "CARGO_HOME",
    "CARGO_LOG",
    "CARGO_MAKEFLAGS",
    "CARGO_NET_",
    "CARGO_TERM_PROGRESS",
];

/// Variables that cargo has other names for in its configuration.
const FLAGS: &[&str] = &["RUSTFLAGS", "RUSTDOCFLAGS"];

/// Functions that read the environment for the locale: C's, and the constructor of C++'s
/// `std::locale` that takes a name.
const SETS_LOCALE: &[&[u8]] = &[
    b"setlocale",
    b"newlocale",
    b"_ZNSt6localeC1EPKc",
    b"_ZNSt6localeC2EPKc",
];

/// Parts of the names of compilers and their like, as in `x86_64-linux-gnu-gcc-12`.
const COMPILERS: &[&str] = &[
    "ar", "as", "c++", "cc", "cc1", "cc1plus", "clang", "clang++", "collect2", "cpp", "g++", "gcc",
    "ld", "lld", "lto1", "nm", "objcopy", "objdump", "ranlib", "readelf", "strip",
];

const MAKES: &[&str] = &["bmake", "gmake", "make"];

const CATEGORIES: &[&str] = &[
    "LC_ADDRESS",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_IDENTIFICATION",
    "LC_MEASUREMENT",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NAME",
    "LC_NUMERIC",
    "LC_PAPER",
    "LC_TELEPHONE",
    "LC_TIME",
];

/// The value of a fact here and now; `None` also for a name that is no fact of these.
pub(crate) fn value(name: &str, env: &Environment) -> Option<Vec<u8>> {
    match name {
        LOCALE => locale(env),
        LANGUAGE => language(env),
        MAKE_FLAGS => make_flags(env),
        CARGO => cargo(env),
        _ => None,
    }
}

/// The facts that the programs of a run asked for. `executable` is the build script itself, if it
/// is the run of one.
pub(crate) fn facts(
    executable: Option<Code<'_>>,
    executed: &[PathBuf],
    scene: &Scene<'_>,
) -> Result<Vec<Input>, PathError> {
    let (env, store, memo) = (scene.env, scene.store, &scene.memo);
    let mut asked = Vec::new();
    let script: Vec<Code<'_>> = executable.into_iter().collect();
    let named = names::named(store, &script, &[b"MAKEFLAGS", b"MFLAGS"])?;
    if named.contains(&true) || executed.iter().any(|path| is_one_of(path, MAKES)) {
        asked.push(MAKE_FLAGS);
    }
    if executed.iter().any(|path| is_one_of(path, &["cargo"])) {
        asked.push(CARGO);
    }
    for program in executed {
        // One that is gone again was made to see whether it runs.
        let Some((path, blob)) = program_of(program, memo) else {
            continue;
        };
        let name = if is_one_of(&path, COMPILERS) {
            LANGUAGE
        } else {
            LOCALE
        };
        if !asked.contains(&name) {
            let asks = if let Some(asks) = takes_locale(&path) {
                asks
            } else {
                let code = Code { blob, path: &path };
                names::named(store, &[code], &[b"LC_ALL"])?.contains(&true)
            };
            asked.extend(asks.then_some(name));
        }
    }
    let facts = asked.into_iter().map(|name| Input::Argument {
        name: name.to_owned(),
        value: value(name, env),
    });
    Ok(facts.collect())
}

/// The file that is really executed: the interpreter of a script.
fn program_of(path: &Path, memo: &Memo) -> Option<(PathBuf, BlobRef)> {
    let start = fs::read_start(path, 256).ok()?;
    let program = fs::interpreter(&start).unwrap_or_else(|| path.to_owned());
    let program = fs::canonicalize(&program).ok()?;
    let (_, blob) = memo.digest(&program).ok()?;
    Some((program, blob))
}

/// Whether a program takes one of [`SETS_LOCALE`] from a library; `None`: it has all of its
/// functions itself, or is no program that shows them.
fn takes_locale(program: &Path) -> Option<bool> {
    // Only the few parts that are asked for are read.
    let cache = ReadCache::new(fs::open(program).ok()?);
    let file = ElfFile64::<Endianness, _>::parse(&cache).ok()?;
    let mut taken = file
        .dynamic_symbols()
        .filter(ObjectSymbol::is_undefined)
        .peekable();
    taken.peek()?;
    let is_known = |name: &[u8]| SETS_LOCALE.contains(&name);
    Some(taken.any(|symbol| symbol.name_bytes().is_ok_and(is_known)))
}

fn is_one_of(path: &Path, known: &[&str]) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split(['-', '.']).any(|part| known.contains(&part))
}

/// The locale of a category, as `setlocale(3)` finds it; `None`: `C`.
fn category<'a>(name: &str, env: &'a Environment) -> Option<&'a OsStr> {
    let mut names = ["LC_ALL", name, "LANG"].into_iter();
    let value = names.find_map(|name| env.get_nonempty(name))?;
    let is_plain = value == "C" || value == "POSIX";
    (!is_plain && is_installed(value, env)).then_some(value)
}

/// Where the C library has locales.
const INSTALLED: &str = "/usr/lib/locale";

/// Whether a locale may be there; the C library has `C.UTF-8` without files.
fn is_installed(name: &OsStr, env: &Environment) -> bool {
    let elsewhere = ["LOCPATH", "LOCALE_ARCHIVE", "MUSL_LOCPATH"];
    let dir = Path::new(INSTALLED);
    let text = name.to_string_lossy();
    let (language, rest) = text.split_once('.').unwrap_or((&text, ""));
    let (codeset, modifier) = rest.split_once('@').unwrap_or((rest, ""));
    let plain = |c: &char| c.is_ascii_alphanumeric();
    let codeset: String = codeset.chars().filter(plain).collect();
    let mut canonical = format!("{language}.{}", codeset.to_ascii_lowercase());
    if !modifier.is_empty() {
        canonical.extend(["@", modifier]);
    }
    canonical == "C.utf8"
        || elsewhere.iter().any(|name| env.get_nonempty(name).is_some())
        || name.as_bytes().contains(&b'/')
        // One file with all of them, of hundreds of megabytes.
        || fs::exists(&dir.join("locale-archive"))
        || [&*text, &canonical, language].iter().any(|name| fs::exists(&dir.join(name)))
}

fn locale(env: &Environment) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    for name in CATEGORIES {
        if let Some(value) = category(name, env) {
            text.extend_from_slice(name.as_bytes());
            text.push(b'=');
            text.extend_from_slice(value.as_bytes());
            text.push(b';');
        }
    }
    text.extend(language(env).unwrap_or_default());
    (!text.is_empty()).then_some(text)
}

/// The language of messages, with the choices that `LANGUAGE` adds.
fn language(env: &Environment) -> Option<Vec<u8>> {
    let value = category("LC_MESSAGES", env)?;
    let wanted = env.get_nonempty("LANGUAGE").unwrap_or(value);
    let is_english = |name: &[u8]| name.starts_with(b"en") || name == b"C" || name == b"POSIX";
    let mut names = wanted.as_bytes().split(|&b| b == b':');
    let mut languages = names.by_ref().map(|name| {
        let end = name.iter().position(|b| matches!(b, b'.' | b'@'));
        name.get(..end.unwrap_or(name.len())).unwrap_or_default()
    });
    (!languages.all(is_english)).then(|| wanted.as_bytes().to_vec())
}

/// The flags of `make` that say more than how much to do at a time.
fn make_flags(env: &Environment) -> Option<Vec<u8>> {
    let flags = ["MAKEFLAGS", "MFLAGS"].into_iter();
    let flags = flags.map(|name| without_jobs(env.get(name).unwrap_or_default()));
    let flags = flags.collect::<Vec<_>>().join(&b'\0');
    (flags != b"\0").then_some(flags)
}

/// What configures cargo.
fn cargo(env: &Environment) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    for (name, value) in env.iter() {
        let begins = |list: &[&str]| {
            let mut list = list.iter();
            list.any(|start| name.as_bytes().starts_with(start.as_bytes()))
        };
        let configures = begins(ADDRESSED_TO_CARGO) && !begins(OF_ITS_WORK);
        if configures || FLAGS.iter().any(|flags| name == *flags) {
            text.extend_from_slice(name.as_bytes());
            text.push(b'=');
            text.extend_from_slice(value.as_bytes());
            text.push(0);
        }
    }
    (!text.is_empty()).then_some(text)
}

fn without_jobs(value: &OsStr) -> Vec<u8> {
    let words = value.as_bytes().split(|&b| b == b' ');
    let says_more = |word: &&[u8]| !word.starts_with(b"-j") && !word.starts_with(b"--jobserver");
    words.filter(says_more).collect::<Vec<_>>().join(&b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(variables: &[(&str, &str)]) -> Environment {
        variables.iter().copied().collect()
    }

    fn text(name: &str, variables: &[(&str, &str)]) -> String {
        let value = value(name, &env(variables));
        String::from_utf8(value.unwrap_or_default()).unwrap()
    }

    #[test]
    fn locales_that_are_c_are_all_the_same() {
        for variables in [
            &[][..],
            &[("LANG", "C")],
            &[("LANG", "")],
            &[("LANG", "xx_YY.UTF-8"), ("LC_ALL", "POSIX")],
            &[("LANG", "C.UTF-8"), ("LC_ALL", "C")],
            &[("LANGUAGE", "de")],
        ] {
            assert_eq!(text(LOCALE, variables), "", "{variables:?}");
            assert_eq!(text(LANGUAGE, variables), "", "{variables:?}");
        }
        if !fs::exists(&Path::new(INSTALLED).join("locale-archive")) {
            assert_eq!(text(LOCALE, &[("LANG", "xx_YY.UTF-8")]), "");
        }
    }

    #[test]
    fn locales_that_are_there_count() {
        let one = text(LOCALE, &[("LC_CTYPE", "C.UTF-8")]);
        assert_eq!(one, "LC_CTYPE=C.UTF-8;");
        let all = text(LOCALE, &[("LANG", "de_DE.UTF-8"), ("LOCPATH", "/x")]);
        assert!(all.contains("LC_COLLATE=de_DE.UTF-8;"), "{all}");
        assert!(all.ends_with(";de_DE.UTF-8"), "{all}");
        assert_eq!(text(LANGUAGE, &[("LANG", "C.UTF-8")]), "");
        for (expected, variables) in [
            ("", &[("LC_ALL", "en_GB"), ("LOCPATH", "/x")][..]),
            ("fr", &[("LC_ALL", "fr"), ("LOCPATH", "/x")]),
            ("de:en", &[("LC_ALL", "C.UTF-8"), ("LANGUAGE", "de:en")]),
        ] {
            assert_eq!(text(LANGUAGE, variables), expected, "{variables:?}");
        }
    }

    #[test]
    fn programs_that_set_the_locale_are_told_by_what_they_take() {
        let of = |name: &str| takes_locale(&fs::canonicalize(Path::new(name)).unwrap());
        assert_eq!(of("/bin/ls"), Some(true));
        assert_eq!(of("/proc/self/exe"), Some(false));
        assert_eq!(takes_locale(Path::new("/dev/null")), None);
    }

    #[test]
    fn the_number_of_jobs_is_no_flag_that_counts() {
        for flags in ["", "-j4", "-j --jobserver-auth=3,4"] {
            assert_eq!(text(MAKE_FLAGS, &[("MAKEFLAGS", flags)]), "");
        }
        assert_ne!(text(MAKE_FLAGS, &[("MAKEFLAGS", "n -j4")]), "");
        assert_ne!(text(MAKE_FLAGS, &[("MAKEFLAGS", "CC=clang")]), "");
    }

    #[test]
    fn what_configures_cargo_counts_and_what_it_tells_does_not() {
        for name in [
            "CARGO_NET_OFFLINE",
            "CARGO_BUILD_JOBS",
            "CARGO_PKG_NAME",
            "CC",
        ] {
            assert_eq!(text(CARGO, &[(name, "x")]), "", "{name}");
        }
        for name in ["CARGO_BUILD_TARGET", "CARGO_ALIAS_B", "RUSTFLAGS"] {
            assert_eq!(text(CARGO, &[(name, "x")]), format!("{name}=x\0"));
        }
    }

    #[test]
    fn compilers_are_told_by_parts_of_their_names() {
        for name in [
            "cc",
            "x86_64-linux-gnu-gcc-12",
            "ld.bfd",
            "clang-14",
            "llvm-ar",
        ] {
            assert!(is_one_of(Path::new(name), COMPILERS), "{name}");
        }
        for name in ["sort", "make", "cmake", "gccx", "perl"] {
            assert!(!is_one_of(Path::new(name), COMPILERS), "{name}");
        }
    }
}
