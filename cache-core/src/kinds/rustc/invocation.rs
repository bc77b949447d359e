//! An invocation of rustc: what its arguments mean to a cache.
//!
//! From the parsed arguments this draws what is needed to find the outputs, the roots
//! and the key, or a typed reason why the invocation is left alone.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::args::{self, Arg, ArgsError};

/// Why an invocation is not cached; it runs untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BypassReason {
    /// Arguments outside rustc's own table of options.
    UnknownArguments,
    /// An `@file` that cannot be read or has a grammar of its own.
    ArgumentFile,
    /// Help texts and the like; nothing is compiled.
    Help,
    /// No source, or more than one; rustc will say so.
    NoSingleInput,
    /// An output goes to standard output.
    OutputToStdout,
    /// An option that makes rustc write reports of its own, or print what differs from
    /// run to run.
    UnstableReport,
    /// Messages for people go to a terminal, whose colours and width the compiler must
    /// see for itself.
    Terminal,
    /// The source comes from a terminal or an endless standard input.
    Stdin,
    /// The unit links, or its inputs are unknown, and the compiler cannot be observed
    /// here.
    Unobserved,
    /// A question about a source file rather than about the compiler.
    QueryOfSource,
    /// `cargo fix` edits sources while it compiles.
    CargoFix,
    /// The compiler could not be identified.
    Toolchain,
    /// The compiler could not be found; running it will say so.
    NoCompiler,
    /// A build script that was not started by cargo.
    NotByCargo,
    /// A build script whose runs are not to be cached.
    NotWanted,
    /// A build script whose `OUT_DIR` holds what earlier runs left.
    UsedOutDir,
    /// Something went wrong within cachewrap before anything was done.
    Internal,
}

impl BypassReason {
    /// The name used in counters.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownArguments => "unknown-arguments",
            Self::ArgumentFile => "argument-file",
            Self::Help => "help",
            Self::NoSingleInput => "no-single-input",
            Self::OutputToStdout => "output-to-stdout",
            Self::UnstableReport => "unstable-report",
            Self::Terminal => "terminal",
            Self::Stdin => "stdin",
            Self::Unobserved => "unobserved",
            Self::QueryOfSource => "query-of-source",
            Self::CargoFix => "cargo-fix",
            Self::Toolchain => "toolchain",
            Self::NoCompiler => "no-compiler",
            Self::NotByCargo => "not-by-cargo",
            Self::NotWanted => "not-wanted",
            Self::UsedOutDir => "used-out-dir",
            Self::Internal => "internal",
        }
    }
}

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
    ) -> Result<Self, BypassReason> {
        let (programs, given) = args::split_programs(argv, rustc_variable);
        if programs.is_empty() {
            return Err(BypassReason::NoCompiler);
        }
        let expanded = args::expand(given, read).map_err(|_| BypassReason::ArgumentFile)?;
        let parsed = args::parse(&expanded).map_err(|e| match e {
            ArgsError::ArgFile(_) => BypassReason::ArgumentFile,
            ArgsError::Unknown(_) | ArgsError::MissingValue(_) => BypassReason::UnknownArguments,
        })?;
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
            return Err(BypassReason::NoSingleInput);
        }
        Ok(invocation)
    }

    fn note(&mut self, arg: &Arg) -> Result<(), BypassReason> {
        let path = || arg.value.as_ref().map(PathBuf::from);
        match arg.name {
            "" => {
                if self.source != Source::None {
                    return Err(BypassReason::NoSingleInput);
                }
                self.source = match path() {
                    Some(path) if path.as_os_str() != "-" => Source::File(path),
                    _ => Source::Stdin,
                };
            }
            "help" | "explain" => return Err(BypassReason::Help),
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
                    return Err(BypassReason::OutputToStdout);
                }
            }
            "target" => self.target.clone_from(&arg.value),
            "sysroot" => self.sysroot = path(),
            "error-format" => self.json_messages = arg.text() == "json",
            "test" => self.test = true,
            "codegen" => match arg.text().split_once('=') {
                Some(("incremental", dir)) => self.incremental = Some(PathBuf::from(dir)),
                _ if matches!(arg.text(), "help" | "passes=list") => {
                    return Err(BypassReason::Help);
                }
                _ => {}
            },
            "Z" if is_report(arg.text()) => return Err(BypassReason::UnstableReport),
            "Z" if arg.text() == "help" => return Err(BypassReason::Help),
            "warn" | "allow" | "deny" | "forbid" if arg.text() == "help" => {
                return Err(BypassReason::Help);
            }
            _ => {}
        }
        Ok(())
    }

    fn note_print(&mut self, what: &str) -> Result<(), BypassReason> {
        // `--print kind=file` writes a file; the kinds below are printed while compiling.
        if what.contains('=') || what == "link-args" {
            return Err(BypassReason::UnstableReport);
        }
        if what != "native-static-libs" {
            self.action = Action::Query;
        }
        Ok(())
    }

    fn note_emit(&mut self, arg: &Arg) -> Result<(), BypassReason> {
        for part in arg
            .value
            .iter()
            .flat_map(|v| v.as_bytes().split(|&b| b == b','))
        {
            let mut halves = part.splitn(2, |&b| b == b'=');
            let kind = halves.next().unwrap_or_default();
            let path = halves.next().map(|p| PathBuf::from(OsStr::from_bytes(p)));
            if path.as_deref() == Some(Path::new("-")) {
                return Err(BypassReason::OutputToStdout);
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
    let name = words
        .find(|word| word == "--crate-name")
        .and_then(|_| words.next());
    name.unwrap_or("?".into()).into_owned()
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

    fn parse(words: &[&str]) -> Result<Invocation, BypassReason> {
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
        for (words, reason) in [
            (&["rustc", "--help"][..], BypassReason::Help),
            (&["rustc", "-C", "help"], BypassReason::Help),
            (&["rustc"], BypassReason::NoSingleInput),
            (&["rustc", "a.rs", "b.rs"], BypassReason::NoSingleInput),
            (&["rustc", "a.rs", "-o", "-"], BypassReason::OutputToStdout),
            (
                &["rustc", "a.rs", "--emit=asm=-"],
                BypassReason::OutputToStdout,
            ),
            (
                &["rustc", "a.rs", "-Zself-profile"],
                BypassReason::UnstableReport,
            ),
            (&["rustc", "a.rs", "--what"], BypassReason::UnknownArguments),
            (&["rustc", "@missing"], BypassReason::ArgumentFile),
            (&[], BypassReason::NoCompiler),
        ] {
            assert_eq!(parse(words).map(|_| ()), Err(reason), "{words:?}");
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
