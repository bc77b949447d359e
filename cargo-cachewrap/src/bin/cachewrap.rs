//! The `RUSTC_WRAPPER`: serves a compiler call from the cache, or runs the compiler. The
//! launchers of build scripts call it too, and it serves their runs alike.
//!
//! Whatever goes wrong on our side, a panic included, ends in running the real program, once.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal as _, Read as _, Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::OnceLock;
use std::time::SystemTime;

use cache_core::{Config, Environment, Log, Outcome, Request, Status, Store, SystemRunner};

fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "the program begins here")]
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let argv: Vec<OsString> = words.collect();
    let Some((program, rest)) = argv.split_first() else {
        eprintln!(
            "cachewrap: set RUSTC_WRAPPER=cachewrap and run cargo; see `cargo cachewrap --help`"
        );
        return ExitCode::from(2);
    };
    if program == GC {
        return collect();
    }
    // A panic while serving must not look like a compiler's.
    if let Ok(Some(status)) = std::panic::catch_unwind(|| serve(&argv, &name)) {
        end(status)
    } else {
        let mut real = Command::new(program);
        if let Some(stdin) = stdin_again() {
            real.stdin(stdin);
        }
        // A build script, started through its launcher, keeps the name that cargo gave it.
        if cache_core::is_behind_launcher(program) {
            real.arg0(&name);
        }
        let error = real.args(rest).exec();
        eprintln!(
            "cachewrap: cannot run {}: {error}",
            program.to_string_lossy()
        );
        ExitCode::from(127)
    }
}

/// `None`: the compiler, or the build script that cargo called by that name, is yet to be run.
fn serve(argv: &[OsString], name: &OsStr) -> Option<Status> {
    if cache_core::is_observed() {
        return None;
    }
    let env = Environment::of_process();
    let loaded = Config::load(&env);
    if *loaded.config.disable {
        return None;
    }
    let log = Log::new(loaded.config.log.value.clone());
    report_panics(&log);
    for problem in &loaded.problems {
        log.warn_once(&problem.to_string(), || problem.to_string());
    }
    cache_core::survive_file_size_limit();
    #[expect(clippy::disallowed_methods, reason = "what the request is made of")]
    let (cwd, wrapper) = (std::env::current_dir().ok()?, std::env::current_exe().ok());
    // A closed stream is the reader's choice, as it is for the compiler.
    let mut stdout = |piece: &[u8]| drop(std::io::stdout().write_all(piece));
    let mut stderr = |line: &[u8]| drop(std::io::stderr().write_all(line));
    let mut request = Request::new(argv, &env, &cwd, &loaded.config, &SystemRunner);
    request.arg0 = name;
    request.stdin = &read_stdin;
    request.stderr_is_terminal = std::io::stderr().is_terminal();
    request.may_detach = true;
    request.wrapper = wrapper.as_deref();
    let helper = loaded
        .config
        .remote
        .as_ref()
        .and_then(|_| helper_beside(wrapper.as_deref()?));
    request.remote_helper = helper.as_deref();
    let outcome = cache_core::run(&request, &mut stdout, &mut stderr);
    match outcome.ok()? {
        Outcome::Bypass(_) => None,
        Outcome::Hit { status } => Some(Status::Code(status)),
        Outcome::Miss { status, full, .. } => {
            if full {
                start_gc(wrapper);
            }
            Some(status)
        }
    }
}

/// The program that speaks to remotes, where it is installed beside this one.
fn helper_beside(wrapper: &Path) -> Option<PathBuf> {
    let helper = wrapper.with_file_name("cachewrap-remote");
    #[expect(clippy::disallowed_methods, reason = "what the request is made of")]
    helper.exists().then_some(helper)
}

/// The argument with which the wrapper starts itself to bound the store.
const GC: &str = "--cachewrap-gc";

/// Starts a collection that outlives this process and belongs to no terminal. That it
/// does not start is no harm: the next process to store something tries again.
fn start_gc(program: Option<PathBuf>) {
    let Some(program) = program else { return };
    let mut gc = Command::new(program);
    gc.arg(GC).process_group(0);
    gc.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _ = gc.spawn();
}

fn collect() -> ExitCode {
    let config = Config::load(&Environment::of_process()).config;
    let store = Store::new(&config.dir.value, *config.read_only);
    match cache_core::store::run_gc(&store, &config, SystemTime::now()) {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// What was read from standard input.
static STDIN: OnceLock<Vec<u8>> = OnceLock::new();

fn read_stdin() -> Option<Vec<u8>> {
    let mut stdin = std::io::stdin();
    let mut bytes = Vec::new();
    if stdin.is_terminal() {
        return None;
    }
    let read = stdin.read_to_end(&mut bytes);
    let bytes = STDIN.get_or_init(|| bytes);
    read.is_ok().then(|| bytes.clone())
}

/// What was read from standard input, for the program that is run after all.
fn stdin_again() -> Option<Stdio> {
    let bytes = STDIN.get()?;
    let mut file = tempfile::tempfile().ok()?;
    file.write_all(bytes).ok()?;
    file.rewind().ok()?;
    Some(file.into())
}

/// Says of a panic what a person can do, once a build. Standard error is the compiler's:
/// cargo keeps what is said there, and repeats it in every later build.
fn report_panics(log: &Log) {
    let log = log.clone();
    std::panic::set_hook(Box::new(move |panic| {
        log.warn_once("panic", || {
            format!("this is a fault of cachewrap, please report it: {panic}")
        });
    }));
}

fn end(status: Status) -> ExitCode {
    match status {
        Status::Code(code) => std::process::exit(code),
        Status::Signal(signal) => {
            cache_core::die_by_signal(signal);
            ExitCode::FAILURE
        }
    }
}
