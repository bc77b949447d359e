//! A wrapper whose operations on files fail, or whose clock is wrong.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The library that stands between the wrapper and the C library, see `preload.c`.
#[derive(Clone, Debug)]
pub(crate) struct Preload {
    library: PathBuf,
    report: PathBuf,
}

/// What the wrapper is to meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Which operation fails, from 1.
    pub(crate) at: u32,
    pub(crate) errno: Errno,
    /// Whether everything after it fails too.
    pub(crate) sticky: bool,
}

/// The errors of disks that break, are full, or belong to somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errno {
    Io = 5,
    Access = 13,
    NoSpace = 28,
}

impl Errno {
    pub(crate) const ALL: [Self; 3] = [Self::Io, Self::Access, Self::NoSpace];
}

impl Preload {
    /// Compiles the library into `dir`.
    pub(crate) fn compile(dir: &Path) -> Self {
        let library = dir.join("preload.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/harness/preload.c");
        let status = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(source)
            .arg("-ldl")
            .status();
        assert!(status.is_ok_and(|status| status.success()));
        Self {
            library,
            report: dir.join("preload.report"),
        }
    }

    /// Lets the wrapper, in whatever the command starts, meet a fault.
    pub(crate) fn fault<'a>(&self, command: &'a mut Command, fault: Fault) -> &'a mut Command {
        let _ = std::fs::remove_file(&self.report);
        if fault.sticky {
            command.env("FAULT_STICKY", "1");
        }
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAULT_AT", fault.at.to_string())
            .env("FAULT_ERRNO", (fault.errno as i32).to_string())
            .env("FAULT_REPORT", &self.report)
    }

    /// Lets the wrapper see a clock that is so many seconds ahead.
    pub(crate) fn shift_clock<'a>(&self, command: &'a mut Command, by: i64) -> &'a mut Command {
        command
            .env("LD_PRELOAD", &self.library)
            .env("CLOCK_SHIFT", by.to_string())
    }

    /// Lets a process that keeps something for the wrapper wait until a file is there.
    pub(crate) fn hold_keepers<'a>(
        &self,
        command: &'a mut Command,
        gate: &Path,
        stage: Stage,
    ) -> &'a mut Command {
        let stage = match stage {
            Stage::Recording => "recording",
            Stage::Storing => "storing",
        };
        command
            .env("LD_PRELOAD", &self.library)
            .env("KEEPER_GATE", gate)
            .env("KEEPER_STAGE", stage)
    }

    /// Whether the last command went so far as to meet its fault. One that has become the
    /// compiler leaves no report, and did so because of it.
    pub(crate) fn fault_was_met(&self) -> bool {
        let report = std::fs::read_to_string(&self.report).unwrap_or_default();
        !report.lines().all(|line| line.ends_with(" 0")) || report.is_empty()
    }
}

/// What a process is about to do that keeps something.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    /// To find out what the inputs are.
    Recording,
    /// To store outputs, when it has said what the inputs are.
    Storing,
}
