//! One library, compiled by running the compiler directly: the cheapest build there is.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::case::{Case, Mode};
use super::outcome::Outcome;
use super::preload::Preload;

/// A library that the compiler is run on directly, with and without the wrapper.
pub(crate) struct Direct {
    pub(crate) case: Case,
    pub(crate) preload: Preload,
    expected: Files,
    messages: String,
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

const ARGS: &[&str] = &[
    "--crate-name=base",
    "--crate-type=lib",
    "--edition=2021",
    "--emit=dep-info,metadata,link",
    "-Cmetadata=1",
    "--out-dir=out",
    "--error-format=json",
    "--json=artifacts",
    "base.rs",
];

impl Direct {
    pub(crate) fn new() -> Self {
        let mut case = Case::new();
        case.write(
            "base.rs",
            "pub fn value() -> u32 { let unused = 1; include!(\"part.rs\") }\n",
        )
        .write("part.rs", "7");
        // So that outputs are the same to the byte as without the wrapper.
        case.env("CACHEWRAP_TRIM_PATHS", "off")
            .env("CACHEWRAP_LOG", "error");
        let preload = Preload::compile(case.root());
        let mut direct = Self {
            case,
            preload,
            expected: Files::new(),
            messages: String::new(),
        };
        direct.expect_bare();
        assert_eq!(direct.expected.len(), 3);
        assert!(direct.messages.contains("unused variable"));
        direct
    }

    fn outputs(&self) -> Files {
        let files = fs::read_dir(self.case.path("out")).expect("it should be readable");
        files
            .flatten()
            // Who cannot remove anything leaves its temporary files behind.
            .filter(|file| {
                !file
                    .file_name()
                    .as_encoded_bytes()
                    .starts_with(b".cachewrap-")
            })
            .map(|file| {
                let bytes = fs::read(file.path()).expect("an output should be readable");
                (file.path(), bytes)
            })
            .collect()
    }

    fn run(&self, mode: Mode, prepare: impl FnOnce(&mut Command)) -> Outcome {
        let _ = fs::remove_dir_all(self.case.path("out"));
        fs::create_dir(self.case.path("out")).expect("it should be creatable");
        let mut command = self.command(mode);
        prepare(&mut command);
        self.case.run(command)
    }

    /// The compile, not started yet.
    pub(crate) fn command(&self, mode: Mode) -> Command {
        let mut command = self.case.rustc_command(mode);
        command.args(ARGS);
        command
    }

    /// Builds and compares everything that can be seen.
    #[track_caller]
    pub(crate) fn builds_rightly(
        &mut self,
        what: &str,
        prepare: impl FnOnce(&mut Command),
    ) -> Outcome {
        let outcome = self.run(Mode::Cached, prepare);
        assert!(outcome.status.success(), "{what}: {outcome:#?}");
        assert_eq!(outcome.stdout, "", "{what}");
        assert_eq!(outcome.stderr, self.messages, "{what}");
        assert!(self.outputs() == self.expected, "{what}: other outputs");
        outcome
    }

    /// Lets what comes out without the wrapper now be what is expected.
    pub(crate) fn expect_bare(&mut self) {
        let bare = self.run(Mode::Bare, |_| ()).ok();
        self.expected = self.outputs();
        self.messages = bare.stderr;
    }
}
