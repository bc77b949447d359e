//! How a command ended, and what it compiled.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Output};

/// Exit status, streams and real compiles of one command.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) command: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Names of the crates that the compiler really compiled, sorted; tests carry `[test]`.
    pub(crate) compiled: Vec<String>,
}

impl Outcome {
    pub(crate) fn new(command: String, output: &Output, mut compiled: Vec<String>) -> Self {
        compiled.sort();
        Self {
            command,
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            compiled,
        }
    }

    /// Asserts success.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert!(self.status.success(), "{self:#?}");
        self
    }

    /// Asserts an ordinary failure, not a signal.
    #[track_caller]
    pub(crate) fn fails(self) -> Self {
        assert!(
            self.status.code().is_some_and(|code| code != 0) && self.status.signal().is_none(),
            "{self:#?}"
        );
        self
    }

    /// Asserts exactly which crates were really compiled.
    #[track_caller]
    pub(crate) fn compiles(self, expected: &[&str]) -> Self {
        if std::env::var_os("CACHEWRAP_COUNTS").is_some_and(|value| value == "off") {
            return self;
        }
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(
            self.compiled, expected,
            "real compiles of `{}`\n{}",
            self.command, self.stderr
        );
        self
    }
}
