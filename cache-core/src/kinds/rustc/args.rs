//! The grammar of rustc's command line.
//!
//! ```text
//! argv     = program+ argument*
//! argument = "--name" ["=" value | value]     long option
//!          | "-" letter [value]               short option with a value: -Cx, -C x
//!          | "-" letter+                      short flags: -vV
//!          | input                            a source file, or "-" for standard input
//! ```
//! Everything is kept in the order and the spelling given, so that an argument list can
//! be written out again byte for byte; arguments need not be UTF-8. The table of options
//! is rustc's own (`rustc --help -v`, 1.95); an option that is not in it makes the
//! invocation a bypass, because whether it takes a value cannot be known.
//!
//! `@file` arguments are replaced by the lines of the file before parsing, as rustc
//! does; the file itself therefore enters keys by its content.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::outcome::{Bypass, BypassReason};

/// Short options that take a value.
const SHORT_VALUES: &[u8] = b"LloCAWDFZ";
/// Short options without one.
const SHORT_FLAGS: &[u8] = b"hgOvV";
/// Long options that take a value, with the short option they equal.
const LONG_VALUES: &[(&str, Option<u8>)] = &[
    ("allow", Some(b'A')),
    ("cap-lints", None),
    ("cfg", None),
    ("check-cfg", None),
    ("codegen", Some(b'C')),
    ("color", None),
    ("crate-name", None),
    ("crate-type", None),
    ("deny", Some(b'D')),
    ("diagnostic-width", None),
    ("edition", None),
    ("emit", None),
    ("env-set", None),
    ("error-format", None),
    ("explain", None),
    ("extern", None),
    ("forbid", Some(b'F')),
    ("force-warn", None),
    ("json", None),
    ("out-dir", None),
    ("print", None),
    ("remap-path-prefix", None),
    ("remap-path-scope", None),
    ("sysroot", None),
    ("target", None),
    ("warn", Some(b'W')),
];
/// Long options without a value, with the short option they equal.
const LONG_FLAGS: &[(&str, Option<u8>)] = &[
    ("help", Some(b'h')),
    ("test", None),
    ("verbose", Some(b'v')),
    ("version", Some(b'V')),
];

/// How a value was attached to its option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `-Cx`
    Joined,
    /// `--opt=x`
    Equals,
    /// `-C x`, `--opt x`
    Separate,
}

/// One argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arg {
    /// The option's long name, or its letter where it has none; empty for an input.
    pub name: &'static str,
    /// Its value; the flags of a cluster such as `-vV` have none.
    pub value: Option<OsString>,
    spelled: Vec<u8>,
    form: Form,
}

impl Arg {
    /// The value as text; empty where there is none or it is not UTF-8.
    pub(crate) fn text(&self) -> &str {
        self.value
            .as_deref()
            .and_then(OsStr::to_str)
            .unwrap_or_default()
    }

    #[cfg(test)]
    fn write(&self, out: &mut Vec<OsString>) {
        let spelled = OsStr::from_bytes(&self.spelled);
        match (&self.value, self.form) {
            (None, _) => out.push(spelled.to_owned()),
            (Some(value), Form::Separate) => {
                out.push(spelled.to_owned());
                out.push(value.clone());
            }
            (Some(value), form) => {
                let mut word = spelled.to_owned();
                if form == Form::Equals {
                    word.push("=");
                }
                word.push(value);
                out.push(word);
            }
        }
    }
}

/// Why an argument list was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ArgsError {
    /// The option is not in rustc's table.
    #[error("unknown option {}", .0.to_string_lossy())]
    Unknown(OsString),
    /// The option needs a value and none follows.
    #[error("option {} has no value", .0.to_string_lossy())]
    MissingValue(OsString),
    /// An `@file` could not be read.
    #[error("cannot read the arguments in {}", .0.to_string_lossy())]
    ArgFile(OsString),
}

fn letter_name(letter: u8) -> &'static str {
    let long = |table: &'static [(&'static str, Option<u8>)]| {
        let (name, _) = table.iter().find(|(_, short)| *short == Some(letter))?;
        Some(*name)
    };
    long(LONG_VALUES)
        .or_else(|| long(LONG_FLAGS))
        .unwrap_or(match letter {
            b'L' => "L",
            b'l' => "l",
            b'o' => "o",
            b'Z' => "Z",
            b'g' => "g",
            b'O' => "O",
            _ => "?",
        })
}

impl From<ArgsError> for Bypass {
    fn from(error: ArgsError) -> Self {
        let reason = match error {
            ArgsError::ArgFile(_) => BypassReason::ArgumentFile,
            ArgsError::Unknown(_) | ArgsError::MissingValue(_) => BypassReason::UnknownArguments,
        };
        reason.of(error)
    }
}

/// Parses arguments after the programs. `@file` must have been expanded before.
pub(crate) fn parse(args: &[OsString]) -> Result<Vec<Arg>, ArgsError> {
    let mut parsed = Vec::with_capacity(args.len());
    let mut rest = args.iter();
    while let Some(word) = rest.next() {
        let bytes = word.as_bytes();
        let mut value_after = |spelled: &[u8], name| {
            let value = rest
                .next()
                .ok_or_else(|| ArgsError::MissingValue(word.clone()))?;
            Ok(Arg {
                name,
                value: Some(value.clone()),
                spelled: spelled.to_vec(),
                form: Form::Separate,
            })
        };
        let arg = match bytes {
            [b'-', b'-', long @ ..] if !long.is_empty() => {
                let (option, value) = match memchr::memchr(b'=', long) {
                    Some(at) => (
                        long.get(..at).unwrap_or_default(),
                        Some(long.get(at + 1..).unwrap_or_default()),
                    ),
                    None => (long, None),
                };
                let find = |table: &'static [(&'static str, Option<u8>)]| {
                    let entry = table.iter().find(|(name, _)| name.as_bytes() == option)?;
                    Some(entry.0)
                };
                match (find(LONG_VALUES), find(LONG_FLAGS), value) {
                    (Some(name), _, Some(value)) => Arg {
                        name,
                        value: Some(OsString::from_vec(value.to_vec())),
                        spelled: bytes.get(..2 + option.len()).unwrap_or_default().to_vec(),
                        form: Form::Equals,
                    },
                    (Some(name), _, None) => value_after(bytes, name)?,
                    (None, Some(name), None) => Arg {
                        name,
                        value: None,
                        spelled: bytes.to_vec(),
                        form: Form::Separate,
                    },
                    _ => return Err(ArgsError::Unknown(word.clone())),
                }
            }
            [b'-', letter, joined @ ..] if SHORT_VALUES.contains(letter) => {
                let name = letter_name(*letter);
                if joined.is_empty() {
                    value_after(bytes, name)?
                } else {
                    Arg {
                        name,
                        value: Some(OsString::from_vec(joined.to_vec())),
                        spelled: vec![b'-', *letter],
                        form: Form::Joined,
                    }
                }
            }
            [b'-', letters @ ..] if !letters.is_empty() && bytes != b"--" => {
                if !letters.iter().all(|l| SHORT_FLAGS.contains(l)) {
                    return Err(ArgsError::Unknown(word.clone()));
                }
                // A cluster is one word; its letters become one argument each, and
                // the word is written out with the first.
                for (i, letter) in letters.iter().enumerate() {
                    parsed.push(Arg {
                        name: letter_name(*letter),
                        value: None,
                        spelled: if i == 0 { bytes.to_vec() } else { Vec::new() },
                        form: Form::Separate,
                    });
                }
                continue;
            }
            b"--" => return Err(ArgsError::Unknown(word.clone())),
            _ => Arg {
                name: "",
                value: Some(word.clone()),
                spelled: Vec::new(),
                form: Form::Joined,
            },
        };
        parsed.push(arg);
    }
    Ok(parsed)
}

/// Writes arguments out as they were given, which shows that nothing was lost.
#[cfg(test)]
pub(crate) fn unparse(args: &[Arg]) -> Vec<OsString> {
    let mut out = Vec::with_capacity(args.len());
    for arg in args {
        if arg.value.is_some() || !arg.spelled.is_empty() {
            arg.write(&mut out);
        }
    }
    out
}

/// Replaces each `@file` argument by the lines of that file, as rustc does.
///
/// `read` returns the content of a file relative to the compiler's directory.
pub(crate) fn expand(
    args: &[OsString],
    read: impl Fn(&Path) -> Option<Vec<u8>>,
) -> Result<Vec<OsString>, ArgsError> {
    let mut expanded = Vec::with_capacity(args.len());
    for arg in args {
        let Some(path) = arg.as_bytes().strip_prefix(b"@") else {
            expanded.push(arg.clone());
            continue;
        };
        // `@shell:` files (unstable) have a grammar of their own.
        let content = (!path.starts_with(b"shell:"))
            .then(|| read(Path::new(OsStr::from_bytes(path))))
            .flatten()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| ArgsError::ArgFile(arg.clone()))?;
        expanded.extend(content.lines().map(OsString::from));
    }
    Ok(expanded)
}

/// Splits an argv into its programs and the rest.
///
/// Cargo puts a workspace wrapper (`clippy-driver`, or any program) between the rustc
/// wrapper and the compiler, so more than one program may lead. The first word is
/// always one; the next is one too if it names a compiler, or is a path that is neither
/// an option nor a source file.
pub(crate) fn split_programs<'a>(
    argv: &'a [OsString],
    rustc_variable: Option<&OsStr>,
) -> (&'a [OsString], &'a [OsString]) {
    let mut programs = usize::from(!argv.is_empty());
    while let Some(word) = argv.get(programs) {
        let bytes = word.as_bytes();
        let path = Path::new(word);
        let stem = path.file_stem().unwrap_or_default();
        let names_compiler = stem == "rustc" || Some(word.as_os_str()) == rustc_variable;
        let other_program = bytes.contains(&b'/') && path.extension() != Some("rs".as_ref());
        let option = bytes.starts_with(b"-") || bytes.starts_with(b"@");
        if option || !(names_compiler || other_program) {
            break;
        }
        programs += 1;
    }
    argv.split_at_checked(programs).unwrap_or((argv, &[]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn os(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    fn pairs(words: &[&str]) -> Vec<(&'static str, String)> {
        let parsed = parse(&os(words)).unwrap();
        let text = |a: &Arg| a.text().to_owned();
        parsed.iter().map(|a| (a.name, text(a))).collect()
    }

    #[test]
    fn all_spellings_of_an_option_mean_the_same() {
        let expected = [("codegen", "opt-level=3".to_owned())];
        for words in [
            &["-C", "opt-level=3"][..],
            &["-Copt-level=3"],
            &["--codegen", "opt-level=3"],
            &["--codegen=opt-level=3"],
        ] {
            assert_eq!(pairs(words), expected);
        }
        assert_eq!(
            pairs(&["-vV"]),
            [("verbose", String::new()), ("version", String::new())]
        );
        assert_eq!(
            pairs(&["-", "a.rs"]),
            [("", "-".into()), ("", "a.rs".into())]
        );
    }

    #[test]
    fn what_rustc_would_reject_is_not_understood() {
        assert!(matches!(
            parse(&os(&["--frobnicate"])),
            Err(ArgsError::Unknown(_))
        ));
        assert!(matches!(
            parse(&os(&["--emit"])),
            Err(ArgsError::MissingValue(_))
        ));
        assert!(matches!(
            parse(&os(&["--test=1"])),
            Err(ArgsError::Unknown(_))
        ));
        assert!(matches!(parse(&os(&["-q"])), Err(ArgsError::Unknown(_))));
    }

    #[test]
    fn argument_files_are_expanded_in_place() {
        let read = |path: &Path| {
            assert_eq!(path, Path::new("dir/args"));
            Some(b"--test\n-O\n".to_vec())
        };
        assert_eq!(
            expand(&os(&["a", "@dir/args", "b"]), read).unwrap(),
            os(&["a", "--test", "-O", "b"])
        );
        assert!(expand(&os(&["@missing"]), |_| None).is_err());
    }

    #[test]
    fn programs_end_at_the_first_option_or_source() {
        let programs = |words: &[&str]| split_programs(&os(words), None).0.len();
        assert_eq!(programs(&["rustc", "-vV"]), 1);
        assert_eq!(programs(&["/t/bin/clippy-driver", "/t/bin/rustc", "-"]), 2);
        assert_eq!(programs(&["/ws/rustc", "rustc", "--crate-name", "x"]), 2);
        assert_eq!(programs(&["rustc", "src/main.rs"]), 1);
        assert_eq!(programs(&["rustc", "main.rs", "-O"]), 1);
        assert_eq!(programs(&["/w", "/shim/my-compiler.sh", "-vV"]), 2);
        assert_eq!(programs(&[]), 0);
        let argv = os(&["wrapper", "mycc", "-vV"]);
        assert_eq!(split_programs(&argv, Some("mycc".as_ref())).0.len(), 2);
    }

    fn argument() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let value = prop::collection::vec(1..=255_u8, 1..6);
        let value = value.prop_filter("no option or argument file", |v| v[0] != b'@');
        prop_oneof![
            (prop::sample::select(LONG_VALUES), value.clone())
                .prop_map(|((n, _), v)| { vec![format!("--{n}").into_bytes(), v] }),
            (prop::sample::select(LONG_VALUES), value.clone())
                .prop_map(|((n, _), v)| vec![[format!("--{n}=").into_bytes(), v].concat()]),
            (prop::sample::select(SHORT_VALUES), value.clone())
                .prop_map(|(l, v)| vec![vec![b'-', l], v]),
            (prop::sample::select(SHORT_VALUES), value.clone())
                .prop_map(|(l, v)| vec![[vec![b'-', l], v].concat()]),
            prop::collection::vec(prop::sample::select(SHORT_FLAGS), 1..4)
                .prop_map(|l| vec![[b"-".to_vec(), l].concat()]),
            prop::sample::select(LONG_FLAGS).prop_map(|(n, _)| vec![format!("--{n}").into_bytes()]),
            value
                .prop_filter("an input", |v| v[0] != b'-')
                .prop_map(|v| vec![v]),
        ]
    }

    proptest! {
        #[test]
        fn argument_lists_survive_a_round_trip(args in prop::collection::vec(argument(), 0..12)) {
            let words: Vec<OsString> =
                args.into_iter().flatten().map(OsString::from_vec).collect();
            let parsed = parse(&words).unwrap();
            prop_assert_eq!(unparse(&parsed), words);
        }

        #[test]
        fn arbitrary_words_never_panic(words: Vec<Vec<u8>>) {
            let words: Vec<OsString> = words.into_iter().map(OsString::from_vec).collect();
            let _ = parse(&words);
        }
    }
}
