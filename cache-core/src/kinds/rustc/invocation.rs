//! An invocation of rustc: what its arguments mean to a cache.
//!
//! From the parsed arguments this draws what is needed to find the outputs, the roots
//! and the key, or a typed reason why the invocation is left alone.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::outcome::{Bypass, BypassReason};

use super::args::{self, Arg};

/// Where the source comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
    /// None was given (queries need none).
    None,
}

/// What is asked of the compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// To print something about itself and stop.
    Query,
    /// To compile.
    Compile,
}

/// One `--emit` kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Emit {
    /// `link`, `metadata`, `dep-info`, …
    pub kind: String,
    /// The path after `=`.
    pub path: Option<PathBuf>,
}

/// A compilation or query that a cache can deal with.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    /// Leading programs: wrappers, then the compiler.
    pub programs: Vec<OsString>,
    /// The arguments as they will be given to the compiler, unless more are added.
    pub given: Vec<OsString>,
    /// The arguments, `@file`s expanded.
    pub args: Vec<Arg>,
    /// What is asked.
    pub action: Action,
    /// The source.
    pub source: Source,
    /// `--crate-name`.
    pub crate_name: Option<String>,
    /// `--crate-type`, in order; empty where the source or the default decides.
    pub crate_types: Vec<String>,
    /// `--emit`, in order; empty for the default, `link`.
    pub emits: Vec<Emit>,
    /// `--out-dir`.
    pub out_dir: Option<PathBuf>,
    /// `-o`.
    pub output: Option<PathBuf>,
    /// `--target`.
    pub target: Option<OsString>,
    /// `--sysroot`.
    pub sysroot: Option<PathBuf>,
    /// `-C incremental`.
    pub incremental: Option<PathBuf>,
    /// Whether messages are JSON.
    pub json_messages: bool,
    /// Whether `--test` is given.
    pub test: bool,
}

impl Invocation {
    /// Understands an argv (programs and arguments) in a directory.
    ///
    /// `read` returns the content of a file, for `@file`; `rustc_variable` is `RUSTC`.
    pub(crate) fn parse(
        argv: &[OsString],
        rustc_variable: Option<&OsStr>,
        read: impl Fn(&Path) -> Option<Vec<u8>>,
    ) -> Result<Self, Bypass> {
        let (programs, given) = args::split_programs(argv, rustc_variable);
        if programs.is_empty() {
            return Err(BypassReason::NoCompiler.of("no program is named"));
        }
        let expanded = args::expand(given, read)?;
        let parsed = args::parse(&expanded)?;
        let mut invocation = Self {
            programs: programs.to_vec(),
            given: given.to_vec(),
            args: Vec::new(),
            action: Action::Compile,
            source: Source::None,
            crate_name: None,
            crate_types: Vec::new(),
            emits: Vec::new(),
            out_dir: None,
            output: None,
            target: None,
            sysroot: None,
            incremental: None,
            json_messages: false,
            test: false,
        };
        for arg in &parsed {
            invocation.note(arg)?;
        }
        invocation.args = parsed;
        if invocation.action == Action::Compile && invocation.source == Source::None {
            return Err(BypassReason::NoSingleInput.of("no source is named"));
        }
        Ok(invocation)
    }

    /// Whether the source is given by an absolute path.
    pub(crate) fn is_absolute(&self) -> bool {
        matches!(&self.source, Source::File(path) if path.is_absolute())
    }

    fn note(&mut self, arg: &Arg) -> Result<(), Bypass> {
        let path = || arg.value.as_ref().map(PathBuf::from);
        match arg.name {
            "" => {
                if self.source != Source::None {
                    return Err(BypassReason::NoSingleInput.of(arg.text()));
                }
                self.source = match path() {
                    Some(path) if path.as_os_str() != "-" => Source::File(path),
                    _ => Source::Stdin,
                };
            }
            "help" | "explain" => return Err(BypassReason::Help.of(arg.name)),
            "version" => self.action = Action::Query,
            "print" => self.note_print(arg.text())?,
            "crate-name" => self.crate_name = Some(arg.text().to_owned()),
            "crate-type" => {
                self.crate_types
                    .extend(arg.text().split(',').map(str::to_owned));
            }
            "emit" => self.note_emit(arg)?,
            "out-dir" => self.out_dir = path(),
            "o" => {
                self.output = path();
                if arg.text() == "-" {
                    return Err(BypassReason::OutputToStdout.of("-o -"));
                }
            }
            "target" => self.target.clone_from(&arg.value),
            "sysroot" => self.sysroot = path(),
            "error-format" => self.json_messages = arg.text() == "json",
            "test" => self.test = true,
            "codegen" => match arg.text().split_once('=') {
                Some(("incremental", dir)) => self.incremental = Some(PathBuf::from(dir)),
                _ if matches!(arg.text(), "help" | "passes=list") => {
                    return Err(BypassReason::Help.of(arg.text()));
                }
                _ => {}
            },
            "Z" if is_report(arg.text()) => return Err(BypassReason::UnstableReport.of(arg.text())),
            "Z" if arg.text() == "help" => return Err(BypassReason::Help.of(arg.text())),
            "warn" | "allow" | "deny" | "forbid" if arg.text() == "help" => {
                return Err(BypassReason::Help.of(arg.text()));
            }
            _ => {}
        }
        Ok(())
    }

    fn note_print(&mut self, what: &str) -> Result<(), Bypass> {
        // `--print kind=file` writes a file; the kinds below are printed while compiling.
        if what.contains('=') || what == "link-args" {
            return Err(BypassReason::UnstableReport.of(what));
        }
        if what != "native-static-libs" {
            self.action = Action::Query;
        }
        Ok(())
    }

    fn note_emit(&mut self, arg: &Arg) -> Result<(), Bypass> {
        for part in arg
            .value
            .iter()
            .flat_map(|v| v.as_bytes().split(|&b| b == b','))
        {
            let mut halves = part.splitn(2, |&b| b == b'=');
            let kind = halves.next().unwrap_or_default();
            let path = halves.next().map(|p| PathBuf::from(OsStr::from_bytes(p)));
            if path.as_deref() == Some(Path::new("-")) {
                return Err(BypassReason::OutputToStdout.of(arg.text()));
            }
            self.emits.push(Emit {
                kind: String::from_utf8_lossy(kind).into_owned(),
                path,
            });
        }
        Ok(())
    }

    /// The values of one option, in order.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a OsStr> {
        self.args
            .iter()
            .filter(move |arg| arg.name == name)
            .filter_map(|arg| arg.value.as_deref())
    }

    /// The last value of a `-C` option given as `key=value`; later ones win.
    pub(crate) fn codegen(&self, key: &str) -> Option<&str> {
        let mut found = None;
        for value in self.values("codegen").filter_map(OsStr::to_str) {
            match value.split_once('=') {
                Some((k, v)) if k.replace('_', "-") == key => found = Some(v),
                None if value.replace('_', "-") == key => found = Some(""),
                _ => {}
            }
        }
        found
    }

    /// Whether a kind is emitted.
    pub(crate) fn emits(&self, kind: &str) -> bool {
        if self.emits.is_empty() {
            return kind == "link";
        }
        self.emits.iter().any(|emit| emit.kind == kind)
    }

    /// The directory that outputs without a path of their own go to.
    pub(crate) fn output_dir(&self, cwd: &Path) -> PathBuf {
        let dir = match (&self.out_dir, &self.output) {
            (_, Some(output)) => output.parent().unwrap_or(Path::new("")),
            (Some(dir), None) => dir,
            (None, None) => Path::new(""),
        };
        cwd.join(dir)
    }

    /// Whether the unit runs a linker, or embeds native archives, so that files that no
    /// argument and no dep-info names decide its output.
    pub(crate) fn links(&self) -> bool {
        let library = |t: &String| matches!(t.as_str(), "lib" | "rlib");
        let only_library = !self.crate_types.is_empty() && self.crate_types.iter().all(library);
        self.emits("link") && (self.test || !only_library)
    }

    /// Whether a crate is to be searched for: `--extern` without a path, other than for
    /// the crates that come with the compiler.
    pub(crate) fn searches_crates(&self) -> bool {
        let own = ["alloc", "core", "proc_macro", "std", "test"];
        self.values("extern")
            .filter_map(OsStr::to_str)
            .any(|value| {
                // Options such as `priv,noprelude:` may come before the name.
                let name = value.rsplit(':').next().unwrap_or(value);
                !value.contains('=') && !own.contains(&name)
            })
    }

    /// Whether any crate is named with `--extern`, as cargo names all of them.
    pub(crate) fn names_crates(&self) -> bool {
        self.values("extern").next().is_some()
    }

    /// The files named with `--extern`.
    pub(crate) fn externs(&self, cwd: &Path) -> impl Iterator<Item = PathBuf> {
        self.values("extern").filter_map(move |value| {
            let bytes = value.as_bytes();
            let at = memchr::memchr(b'=', bytes)?;
            let path = bytes.get(at + 1..)?;
            Some(cwd.join(OsStr::from_bytes(path)))
        })
    }

    /// Whether a procedural macro (or another shared library) is named with `--extern`.
    pub(crate) fn loads_macros(&self) -> bool {
        let mut values = self.values("extern");
        values.any(|value| {
            let path = Path::new(value);
            path.extension() == Some("so".as_ref()) || path.extension() == Some("dylib".as_ref())
        })
    }

    /// What the unit is called in messages: the crate's name and type.
    pub(crate) fn unit(&self) -> String {
        let name = self.crate_name.as_deref().unwrap_or("?");
        let kind = match (self.test, self.crate_types.first()) {
            (true, _) => "test",
            (false, Some(kind)) => kind,
            (false, None) => "bin",
        };
        match self.action {
            Action::Compile => format!("{name} ({kind})"),
            Action::Query => "query".to_owned(),
        }
    }
}

/// What a call that was not understood is called in messages.
pub(crate) fn name_of(argv: &[OsString]) -> String {
    let mut words = argv.iter().map(|word| word.to_string_lossy());
    let mut name = None;
    while let Some(word) = words.next() {
        if let Some(rest) = word.strip_prefix("--crate-name") {
            name = match rest.strip_prefix('=') {
                Some(name) => Some(name.to_owned()),
                None => words.next().map(Into::into),
            };
            break;
        }
    }
    name.unwrap_or_else(|| "?".to_owned())
}

/// `-Z` options that write files of their own or print what no two runs share.
fn is_report(option: &str) -> bool {
    let name = option
        .split('=')
        .next()
        .unwrap_or_default()
        .replace('_', "-");
    [
        "dump-",
        "self-profile",
        "time-",
        "llvm-time-trace",
        "unpretty",
        "ls",
        "meta-stats",
        "input-stats",
        "print-",
        "query-dep-graph",
        "temps-dir",
        "mir-include-spans",
        "profile-",
        "no-analysis",
        "parse-crate-root-only",
        "nll-facts",
        "codegen-source-order",
    ]
    .iter()
    .any(|report| name.starts_with(report))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Invocation, Bypass> {
        let argv: Vec<OsString> = words.iter().map(OsString::from).collect();
        Invocation::parse(&argv, None, |_| None)
    }

    #[test]
    fn cargos_own_probe_is_a_query() {
        let words = [
            "rustc",
            "-",
            "--crate-name",
            "___",
            "--print=file-names",
            "--crate-type",
            "bin",
            "--print=cfg",
            "-Wwarnings",
        ];
        let invocation = parse(&words).unwrap();
        assert_eq!(invocation.action, Action::Query);
        assert_eq!(invocation.source, Source::Stdin);
        assert_eq!(parse(&["rustc", "-vV"]).unwrap().action, Action::Query);
    }

    #[test]
    fn what_links_is_told_from_what_does_not() {
        let lib = [
            "rustc",
            "--crate-type",
            "lib",
            "--emit=dep-info,metadata,link",
            "a.rs",
        ];
        assert!(!parse(&lib).unwrap().links());
        for words in [
            &["rustc", "a.rs"][..],
            &["rustc", "--crate-type=proc-macro", "a.rs"],
            &["rustc", "--crate-type=lib", "--test", "a.rs"],
            &["rustc", "--crate-type=rlib,cdylib", "a.rs"],
        ] {
            assert!(parse(words).unwrap().links(), "{words:?}");
        }
        let check = ["rustc", "--crate-type=bin", "--emit=metadata", "a.rs"];
        assert!(!parse(&check).unwrap().links());
    }

    #[test]
    fn reasons_to_leave_an_invocation_alone() {
        for (words, reason, what) in [
            (&["rustc", "--help"][..], BypassReason::Help, "help"),
            (&["rustc", "-C", "help"], BypassReason::Help, "help"),
            (&["rustc"], BypassReason::NoSingleInput, "no source"),
            (
                &["rustc", "a.rs", "b.rs"],
                BypassReason::NoSingleInput,
                "b.rs",
            ),
            (
                &["rustc", "a.rs", "-o", "-"],
                BypassReason::OutputToStdout,
                "-o -",
            ),
            (
                &["rustc", "a.rs", "--emit=asm=-"],
                BypassReason::OutputToStdout,
                "asm=-",
            ),
            (
                &["rustc", "a.rs", "-Zself-profile"],
                BypassReason::UnstableReport,
                "self-profile",
            ),
            (
                &["rustc", "a.rs", "--what"],
                BypassReason::UnknownArguments,
                "--what",
            ),
            (
                &["rustc", "@missing"],
                BypassReason::ArgumentFile,
                "missing",
            ),
            (&[], BypassReason::NoCompiler, "no program"),
        ] {
            let bypass = parse(words).unwrap_err();
            assert_eq!(bypass.why, reason, "{words:?}");
            assert!(bypass.what.contains(what), "{words:?}: {bypass}");
        }
    }

    #[test]
    fn a_call_has_a_name_though_it_is_not_understood() {
        for (words, name) in [
            (&["rustc", "--what", "--crate-name", "x", "a.rs"][..], "x"),
            (&["rustc", "--crate-name=y", "--what"], "y"),
            (&["rustc", "--crate-name"], "?"),
            (&["rustc", "a.rs"], "?"),
        ] {
            let argv: Vec<OsString> = words.iter().map(OsString::from).collect();
            assert_eq!(name_of(&argv), name);
        }
    }

    #[test]
    fn later_codegen_options_win() {
        let words = [
            "rustc",
            "-Copt-level=1",
            "-C",
            "opt_level=2",
            "-C",
            "linker=x",
            "a.rs",
        ];
        let invocation = parse(&words).unwrap();
        assert_eq!(invocation.codegen("opt-level"), Some("2"));
        assert_eq!(invocation.codegen("linker"), Some("x"));
        assert_eq!(invocation.codegen("lto"), None);
    }
}
