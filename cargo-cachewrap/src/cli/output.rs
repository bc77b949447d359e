//! Standard output, plain or with colours, and how commands fail.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use cache_core::{Environment, PathError, StoreError};

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The arguments or the settings are wrong.
    #[error("{0}")]
    Usage(String),
    /// It could not be done.
    #[error("{0}")]
    Failed(String),
    /// What was checked is not in order, and that has been shown.
    #[error("see above")]
    Reported,
    /// Standard output is closed or full.
    #[error("failed to write the output: {0}")]
    Output(#[from] io::Error),
    /// The store said no.
    #[error("failed to {0}")]
    Store(#[from] StoreError),
    /// The file system said no.
    #[error("failed to {0}")]
    Path(#[from] PathError),
}

impl Failure {
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) => 2,
            _ => 1,
        })
    }
}

/// Standard output.
pub(super) struct Out {
    stream: Box<dyn Write>,
    coloured: bool,
}

impl Out {
    /// Coloured on a terminal, unless `NO_COLOR` says otherwise (<https://no-color.org>).
    pub(super) fn of_process(env: &Environment) -> Self {
        let stdout = io::stdout();
        let plain = env.get_nonempty("NO_COLOR").is_some()
            || env.get("TERM").is_some_and(|term| term == "dumb");
        let coloured = stdout.is_terminal() && !plain;
        Self {
            stream: Box::new(stdout.lock()),
            coloured,
        }
    }

    /// A bold word.
    pub(super) fn bold(&self, text: impl Display) -> String {
        self.paint("1", text)
    }

    /// A green word.
    pub(super) fn good(&self, text: impl Display) -> String {
        self.paint("32", text)
    }

    /// A yellow word.
    pub(super) fn doubtful(&self, text: impl Display) -> String {
        self.paint("33", text)
    }

    /// A red word.
    pub(super) fn bad(&self, text: impl Display) -> String {
        self.paint("31", text)
    }

    fn paint(&self, code: &str, text: impl Display) -> String {
        if self.coloured {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// A duration as people say it: to the second, or below ten seconds to the millisecond.
pub(super) fn human_duration(micros: u64) -> String {
    let millis = micros / 1000;
    let rounded = if millis < 10_000 {
        Duration::from_millis(millis)
    } else {
        Duration::from_secs(millis / 1000)
    };
    humantime::format_duration(rounded).to_string()
}

/// A path as a shell takes it for one word.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,~".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A number with its noun: `1 result`, `2 results`.
pub(super) fn counted(n: u64, noun: &str) -> String {
    if n == 1 {
        format!("{n} {noun}")
    } else {
        format!("{n} {noun}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_one_word_each() {
        assert_eq!(quoted(Path::new("/a/b-c.toml")), "/a/b-c.toml");
        assert_eq!(quoted(Path::new("/a b")), "'/a b'");
        assert_eq!(quoted(Path::new("it's")), r"'it'\''s'");
        assert_eq!(quoted(Path::new("$(x)")), "'$(x)'");
    }
}
