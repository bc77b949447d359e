//! Runs the whole pipeline twice on a source file: a miss, then a hit.
//!
//! ```sh
//! cargo run -p cache-core --example pipeline
//! ```
//!
//! The environment and the way in which processes are started are the caller's: here a
//! [`Runner`] that counts what it starts and leaves the rest to [`SystemRunner`].

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use cache_core::{
    Command, Config, Depth, Environment, Outcome, Request, Run, Runner, Sink, SystemRunner,
};

/// Counts the compilers that are started.
#[derive(Default)]
struct Counting {
    started: AtomicUsize,
}

impl Runner for Counting {
    fn run(
        &self,
        command: &Command,
        observe: Option<Depth>,
        stdout: Sink<'_>,
        stderr: Sink<'_>,
    ) -> std::io::Result<Run> {
        self.started.fetch_add(1, Ordering::Relaxed);
        SystemRunner.run(command, observe, stdout, stderr)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let cwd = dir.path();
    fs::create_dir(cwd.join("src"))?;
    fs::write(
        cwd.join("src/lib.rs"),
        "pub fn answer() -> u32 { let unused = 1; 42 }\n",
    )?;

    // What the compiler inherits (PATH and the like), and a cache of its own.
    let mut env = Environment::of_process();
    let cache = tempfile::tempdir()?;
    env.set("CACHEWRAP_DIR", cache.path());
    let loaded = Config::load(&env);
    for problem in &loaded.problems {
        eprintln!("{problem}");
    }

    // A source is an input only if it was not changed in the same tick of the clock.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let runner = Counting::default();
    for out_dir in ["first", "second"] {
        let outcome = compile(cwd, out_dir, &env, &loaded.config, &runner)?;
        let started = runner.started.load(Ordering::Relaxed);
        println!("{out_dir}: {outcome:?}; compilers started so far: {started}");
        assert!(cwd.join(out_dir).join("libanswer.rlib").exists());
    }
    Ok(())
}

fn compile(
    cwd: &Path,
    out_dir: &str,
    env: &Environment,
    config: &Config,
    runner: &dyn Runner,
) -> Result<Outcome, Box<dyn Error>> {
    fs::create_dir_all(cwd.join(out_dir))?;
    // As cargo does, with dep-info.
    let words = "rustc --crate-name=answer --crate-type=lib --edition=2021 \
                 --emit=dep-info,link src/lib.rs --out-dir";
    let mut argv: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
    argv.push(cwd.join(out_dir).into());
    let request = Request::new(&argv, env, cwd, config, runner);
    let mut stdout = |piece: &[u8]| drop(std::io::stdout().write_all(piece));
    let mut stderr = |line: &[u8]| drop(std::io::stderr().write_all(line));
    Ok(cache_core::run(&request, &mut stdout, &mut stderr)?)
}
