//! Running processes: the seam at which tests and embedders put their own.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::observe::{self, Depth, Object, Observation};
use crate::os::env::Environment;

/// A process to run: everything that its outcome may depend on, but for what [`SystemRunner`]
/// passes on from this process.
#[derive(Clone, Debug)]
pub struct Command {
    /// The program: a path, or a name to look for in the `PATH` of [`env`](Self::env).
    /// What is relative is so to [`cwd`](Self::cwd).
    pub program: OsString,
    /// What it is told to be called; the program if not given.
    pub arg0: Option<OsString>,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its environment: these variables and no others.
    pub env: Environment,
    /// Its directory.
    pub cwd: PathBuf,
    /// What it reads from standard input; ours if not given.
    pub stdin: Option<Vec<u8>>,
    /// The observer's object to load into it and what it starts (`observe::seccomp::preload`).
    pub(crate) preload: Option<PathBuf>,
    /// What that tells compilers: see [`Object`].
    pub(crate) prefix_map: Vec<(OsString, OsString)>,
}

impl Command {
    /// A program without arguments.
    pub fn new(program: impl Into<OsString>, env: Environment, cwd: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arg0: None,
            args: Vec::new(),
            env,
            cwd: cwd.into(),
            stdin: None,
            preload: None,
            prefix_map: Vec::new(),
        }
    }

    /// All of it but the directory.
    fn process(&self) -> std::process::Command {
        let mut process = std::process::Command::new(&self.program);
        process
            .args(&self.args)
            .env_clear()
            .envs(self.env.iter())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(arg0) = &self.arg0 {
            process.arg0(arg0);
        }
        if self.stdin.is_some() {
            process.stdin(Stdio::piped());
        }
        process
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// By itself, with this exit status.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// What is known of a process that has ended.
#[derive(Debug)]
pub struct Run {
    /// How it ended.
    pub status: Status,
    /// How long it ran.
    pub duration: Duration,
    /// What it was seen to read, where that was asked for and possible.
    pub(crate) observation: Option<Observation>,
}

impl Run {
    /// Why not all was seen that the process read; `None` where it was, or where nobody
    /// looked.
    pub fn missed(&self) -> Option<&str> {
        self.observation.as_ref()?.missed.as_deref()
    }

    /// How many calls of the process and its children waited for the observer, and how many were only
    /// noted, where that was counted.
    pub fn calls(&self) -> Option<(u64, u64)> {
        let seen = self.observation.as_ref()?;
        Some((seen.announced, seen.noted))
    }

    /// A run that was not observed.
    pub fn unobserved(status: Status, duration: Duration) -> Self {
        Self {
            status,
            duration,
            observation: None,
        }
    }
}

/// Receives the pieces of a stream in order.
pub type Sink<'a> = &'a mut (dyn FnMut(&[u8]) + Send);

/// Runs processes.
pub trait Runner {
    /// Runs a process to its end. Each *line* of its standard error is handed on as it
    /// arrives, complete with its line feed; standard output in pieces of any size.
    ///
    /// With `observe`, reports what the process read, as closely as that says, where
    /// that is possible. Errors mean
    /// that the process was not started.
    fn run(
        &self,
        command: &Command,
        observe: Option<Depth>,
        stdout: Sink<'_>,
        stderr: Sink<'_>,
    ) -> io::Result<Run>;
}

/// Runs real processes.
///
/// They inherit from this process what a [`Command`] does not say: the descriptors (the
/// jobserver's among them), the umask, the resource limits, the user, the namespaces. The
/// pipeline takes the umask of this process for theirs.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRunner;

impl Runner for SystemRunner {
    fn run(
        &self,
        command: &Command,
        observe: Option<Depth>,
        stdout: Sink<'_>,
        stderr: Sink<'_>,
    ) -> io::Result<Run> {
        let start = Instant::now();
        let cwd = Some(command.cwd.as_path());
        let stdin = command.stdin.as_deref();
        let mut streams = Some((stdout, stderr));
        if let Some(depth) = observe {
            let with_child = |child: &mut Child| {
                if let Some((stdout, stderr)) = streams.take() {
                    forward(child, stdin, stdout, stderr);
                }
            };
            let object = command.preload.as_deref().map(|file| Object {
                file,
                prefix_map: &command.prefix_map,
            });
            match observe::spawn(&mut command.process(), cwd, depth, object, with_child) {
                Ok((status, (), observation)) => {
                    return Ok(Run {
                        status: exit(status?),
                        duration: start.elapsed(),
                        observation: Some(observation),
                    });
                }
                // Started and failed to end properly: do not start it twice.
                Err(e) if streams.is_none() => return Err(e),
                Err(_) => {}
            }
        }
        let mut child = observe::spawn_unobserved(&mut command.process(), cwd)?;
        if let Some((stdout, stderr)) = streams.take() {
            forward(&mut child, stdin, stdout, stderr);
        }
        let status = exit(child.wait()?);
        Ok(Run::unobserved(status, start.elapsed()))
    }
}

fn exit(status: std::process::ExitStatus) -> Status {
    match (status.code(), status.signal()) {
        (Some(code), _) => Status::Code(code),
        (None, Some(signal)) => Status::Signal(signal),
        // A stopped or continued process is not reported by `wait`.
        (None, None) => Status::Code(1),
    }
}

/// Feeds and drains a child's streams until it closes them.
fn forward(child: &mut Child, stdin: Option<&[u8]>, stdout: Sink<'_>, stderr: Sink<'_>) {
    let (input, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        if let (Some(mut input), Some(bytes)) = (input, stdin) {
            // A compiler that does not read all of it is no fault.
            scope.spawn(move || input.write_all(bytes));
        }
        if let Some(out) = out {
            scope.spawn(move || pieces(out, stdout));
        }
        if let Some(err) = err {
            lines(err, stderr);
        }
    });
}

fn pieces(mut from: impl Read, to: Sink<'_>) {
    let mut buffer = [0; 8192];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => to(buffer.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
}

fn lines(from: impl Read, to: Sink<'_>) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        match from.read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) => to(&line),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

    use super::*;

    fn command(program: &str) -> Command {
        Command::new(program, Environment::of_process(), "/")
    }

    fn run(script: &str, observe: Option<Depth>) -> (Run, Vec<u8>, Vec<Vec<u8>>) {
        let mut command = command("/bin/sh");
        command.args = vec!["-c".into(), script.into()];
        command.stdin = Some(b"from stdin".to_vec());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let run = SystemRunner
            .run(
                &command,
                observe,
                &mut |piece| out.extend_from_slice(piece),
                &mut |line| err.push(line.to_vec()),
            )
            .unwrap();
        (run, out, err)
    }

    #[test]
    fn streams_and_status_come_through() {
        for observe in [None, Some(Depth::Usual), Some(Depth::Tree)] {
            let (run, out, err) = run("cat; echo a >&2; printf b >&2; exit 3", observe);
            assert_eq!(run.status, Status::Code(3));
            assert_eq!(out, b"from stdin");
            assert_eq!(err, [b"a\n".to_vec(), b"b".to_vec()]);
        }
    }

    #[test]
    fn a_signal_is_told_from_a_status() {
        let (run, ..) = run("kill -9 $$", Some(Depth::Usual));
        assert_eq!(run.status, Status::Signal(9));
    }

    #[test]
    fn a_program_that_does_not_exist_is_an_error_before_anything_runs() {
        for observe in [None, Some(Depth::Usual), Some(Depth::Tree)] {
            let command = command("/nonexistent/program");
            let run = SystemRunner.run(&command, observe, &mut |_| (), &mut |_| ());
            assert!(run.is_err());
        }
    }

    #[test]
    fn the_environment_and_the_directory_are_those_of_the_command() {
        let dir = tempfile::tempdir().unwrap();
        let tool = dir.path().join("tools/tool");
        std::fs::create_dir(tool.parent().unwrap()).unwrap();
        std::fs::write(&tool, "#!/bin/sh\necho \"$0\"; pwd -P; exec /usr/bin/env\n").unwrap();
        crate::os::fs::set_mode(&tool, 0o755).unwrap();
        let odd = OsString::from_vec(b"\xff=\n".to_vec());
        for observe in [None, Some(Depth::Usual)] {
            let mut env = Environment::default();
            env.set("PATH", "tools");
            env.set("ODD", &odd);
            let command = Command::new("tool", env, dir.path());
            let mut out = Vec::new();
            let mut stdout = |piece: &[u8]| out.extend_from_slice(piece);
            SystemRunner
                .run(&command, observe, &mut stdout, &mut |_| ())
                .unwrap();
            let real = dir.path().canonicalize().unwrap();
            let mut lines: Vec<&[u8]> = out.split(|&b| b == b'\n').collect();
            assert_eq!(lines.remove(0), b"tools/tool");
            assert_eq!(lines.remove(0), real.as_os_str().as_bytes());
            lines.retain(|line| !line.starts_with(b"PWD=") && !line.starts_with(b"_="));
            lines.retain(|line| !line.starts_with(b"OLDPWD=") && !line.starts_with(b"SHLVL="));
            lines.sort_unstable();
            assert_eq!(lines, [&b""[..], b"", b"ODD=\xff=", b"PATH=tools"]);
        }
    }
}
