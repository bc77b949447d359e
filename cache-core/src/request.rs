//! A call, as it comes from outside.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::config::Config;
use crate::looked::Looked;
use crate::os::env::Environment;
use crate::run::Runner;

/// One call of a compiler, a build script or a tool, with everything it may depend on.
///
/// A build script's standard input is this process's; if that is not `/dev/null`, as it is where
/// cargo starts a script, its run is a bypass.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Request<'a> {
    /// The programs and arguments, as cargo gives them to its wrapper (without the
    /// wrapper's own name); or the executable of a build script, behind its launcher, and its arguments.
    pub argv: &'a [OsString],
    /// Whether it is a build script's run; at first, whether the program lies behind a launcher.
    pub is_build_script: bool,
    /// Where a tool of the caller's own leaves all of its outputs: a directory, empty at first, that a hit
    /// fills as the tool did. `None`: it is a compiler or a build script.
    pub out_dir: Option<&'a Path>,
    /// What the process that makes the call was called itself: what cargo calls a build script.
    pub arg0: &'a OsStr,
    /// The environment that the process sees, and the programs that are asked which
    /// compiler it is: these variables and no others.
    pub env: &'a Environment,
    /// The directory that the process runs in; absolute.
    pub cwd: &'a Path,
    /// The settings.
    pub config: &'a Config,
    /// Runs the process.
    pub runner: &'a dyn Runner,
    /// Reads standard input to its end; `None` where that must not be tried. Called at
    /// most once, and only if a compiler's source is `-`.
    pub stdin: &'a dyn Fn() -> Option<Vec<u8>>,
    /// Whether messages go to a terminal.
    pub stderr_is_terminal: bool,
    /// Whether the call may go on in a copy of this process when it has returned, to store what an edit
    /// produced: only for a process that has no other threads and then soon ends.
    pub may_detach: bool,
    /// The wrapper's own path, which build scripts are started through from now on;
    /// `None` where their runs are not to be cached.
    pub wrapper: Option<&'a Path>,
    /// What this process has looked at for other calls, if it serves many.
    pub(crate) looked: Option<&'a Looked>,
    /// The program that speaks to remotes over the network; `None`: `cachewrap-remote` in `PATH`.
    pub remote_helper: Option<&'a Path>,
}

impl<'a> Request<'a> {
    /// A call without standard input, terminal, or launchers of build scripts.
    pub fn new(
        argv: &'a [OsString],
        env: &'a Environment,
        cwd: &'a Path,
        config: &'a Config,
        runner: &'a dyn Runner,
    ) -> Self {
        Self {
            argv,
            out_dir: None,
            is_build_script: argv.first().is_some_and(|p| is_behind_launcher(p)),
            arg0: argv.first().map_or(OsStr::new(""), OsString::as_os_str),
            env,
            cwd,
            config,
            runner,
            stdin: &no_input,
            stderr_is_terminal: false,
            may_detach: false,
            wrapper: None,
            looked: None,
            remote_helper: None,
        }
    }
}

fn no_input() -> Option<Vec<u8>> {
    None
}

/// What follows a build script's own name, where a launcher lies in its place.
pub(crate) const BEHIND_LAUNCHER: &str = ".cachewrap-real";

/// Whether a program is a real executable behind a launcher.
pub fn is_behind_launcher(program: &OsStr) -> bool {
    program.as_bytes().ends_with(BEHIND_LAUNCHER.as_bytes())
}
