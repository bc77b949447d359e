//! `remote`, `push`, `pull`, `prune --remote`: what others share, and what is shared with them.
//!
//! A directory is spoken to by this program; engines on the network by `cachewrap-remote`, which is
//! installed beside it.

mod keygen;
mod status;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use cache_core::config::format_size;
use cache_core::remote::{Directory, Mode, Project, Remote, Scheme, SentAll, Settings};
use cache_core::{Config, Store};

use super::args::{PruneArgs, PullArgs, RemoteArgs};
use super::context::{Context, store};
use super::files;
use super::output::{Failure, counted};

/// The program that speaks to engines on the network.
const HELPER: &str = "cachewrap-remote";

pub(super) fn run(cx: &mut Context, args: &RemoteArgs) -> Result<(), Failure> {
    match args {
        RemoteArgs::Keygen(args) => keygen::run(cx, args),
        RemoteArgs::Status(args) => status::run(cx, args.json),
        RemoteArgs::Probe => probe(cx),
    }
}

/// The remote that is set; an error if none is.
fn settings(config: &Config) -> Result<Settings, Failure> {
    let settings = Settings::of(config).map_err(|e| Failure::Failed(e.to_string()))?;
    settings.ok_or_else(|| {
        let hint = "set CACHEWRAP_REMOTE, such as file:///srv/cache?mode=write; see docs/remote.md";
        Failure::Usage(format!("no remote is set: {hint}"))
    })
}

pub(super) fn helper(cx: &Context) -> Option<PathBuf> {
    let beside = cx
        .program
        .as_ref()
        .map(|program| program.with_file_name(HELPER));
    let beside = beside.filter(|path| files::is_program(path));
    beside.or_else(|| files::find_program(HELPER, &cx.env))
}

/// Has the helper do something in the foreground.
fn have_helper(cx: &mut Context, what: &[&str]) -> Result<(), Failure> {
    let Some(helper) = helper(cx) else {
        return Err(Failure::Failed(format!(
            "{HELPER} is not installed, which speaks to remotes on the network: install it beside cachewrap"
        )));
    };
    cx.out.flush()?;
    let status = Command::new(&helper)
        .args(what)
        .current_dir(&cx.cwd)
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Failure::Reported),
        Err(e) => Err(Failure::Failed(format!(
            "failed to run {}: {e}",
            helper.display()
        ))),
    }
}

/// Sends what is in the queue.
pub(super) fn push(cx: &mut Context) -> Result<(), Failure> {
    let config = cx.config()?;
    let settings = settings(&config)?;
    if settings.address.mode != Mode::Write {
        let hint = "nothing is sent to a remote that is only read; add mode=write to its URL";
        return Err(Failure::Usage(hint.to_owned()));
    }
    let store = store(&config);
    if settings.address.scheme != Scheme::Directory {
        return have_helper(cx, &["push"]);
    }
    let engine = Directory::new(&settings.address.place);
    let remote = Remote::new(&store, &engine, &settings);
    let sent = remote.push(Project::around(&cx.cwd).as_ref());
    let SentAll {
        results,
        bytes,
        dropped,
        ..
    } = sent.map_err(|e| left(&store, &e.to_string()))?;
    let (sent, size) = (counted(results, "result"), format_size(bytes));
    writeln!(cx.out, "Sent {sent}, {size}; nothing is left to send")?;
    if dropped > 0 {
        let left_out = counted(dropped, "result");
        writeln!(
            cx.out,
            "{left_out} left out: gone from the cache, private, or too large"
        )?;
    }
    Ok(())
}

/// Fetches what a build here will most likely need.
pub(super) fn pull(cx: &mut Context, args: &PullArgs) -> Result<(), Failure> {
    let config = cx.config()?;
    let settings = settings(&config)?;
    let Some(project) = Project::around(&cx.cwd) else {
        let hint = "there is no Cargo.toml here or above, so it is not known what is needed";
        return Err(Failure::Usage(hint.to_owned()));
    };
    let most = args.max.unwrap_or(*config.max_size / 2);
    if settings.address.scheme != Scheme::Directory {
        return have_helper(cx, &["pull", &most.to_string()]);
    }
    let store = store(&config);
    let engine = Directory::new(&settings.address.place);
    let remote = Remote::new(&store, &engine, &settings);
    remote.ask_again();
    let pulled = remote.pull(&project, most);
    let pulled = pulled.map_err(|e| Failure::Failed(e.to_string()))?;
    let (came, size) = (counted(pulled.results, "result"), format_size(pulled.bytes));
    let known = pulled.known;
    writeln!(
        cx.out,
        "Fetched {came}, {size}, of {known} that builds here have needed"
    )?;
    Ok(())
}

/// Removes what is old from the remote.
pub(super) fn prune(cx: &mut Context, args: &PruneArgs) -> Result<(), Failure> {
    let config = cx.config()?;
    let settings = settings(&config)?;
    if settings.address.mode != Mode::Write {
        let hint = "nothing is removed from a remote that is only read; add mode=write to its URL";
        return Err(Failure::Usage(hint.to_owned()));
    }
    let older_than = args.older_than.unwrap_or(Duration::MAX);
    if settings.address.scheme != Scheme::Directory {
        let seconds = older_than.as_secs().to_string();
        let dry_run = args.dry_run.then_some("--dry-run");
        let words: Vec<&str> = ["prune", &seconds].into_iter().chain(dry_run).collect();
        return have_helper(cx, &words);
    }
    let store = store(&config);
    let engine = Directory::new(&settings.address.place);
    let pruned =
        Remote::new(&store, &engine, &settings).prune(older_than, SystemTime::now(), args.dry_run);
    // A directory always says what there is.
    let pruned = pruned.map_err(|e| Failure::Failed(e.to_string()))?;
    let pruned = pruned.unwrap_or_default();
    writeln!(cx.out, "{pruned}")?;
    if pruned.failed > 0 {
        return Err(Failure::Reported);
    }
    Ok(())
}

fn left(store: &Store, why: &str) -> Failure {
    let left = counted(store.queue_length() as u64, "result");
    Failure::Failed(format!("{left} could not be sent: {why}"))
}

/// Tries everything that a remote is used for.
fn probe(cx: &mut Context) -> Result<(), Failure> {
    let config = cx.config()?;
    let settings = settings(&config)?;
    writeln!(cx.out, "{}", settings.address)?;
    if settings.address.scheme != Scheme::Directory {
        return have_helper(cx, &["probe"]);
    }
    let store = store(&config);
    let engine = Directory::new(&settings.address.place);
    for step in Remote::new(&store, &engine, &settings).probe() {
        let took = format!("{:.1} ms", step.took.as_secs_f64() * 1000.0);
        match step.outcome {
            Ok(what) => writeln!(
                cx.out,
                "{} {:<8} {took:>10}  {what}",
                cx.out.good("ok"),
                step.name
            )?,
            Err(e) => {
                writeln!(
                    cx.out,
                    "{} {:<8} {took:>10}  {e}",
                    cx.out.bad("failed"),
                    step.name
                )?;
                return Err(Failure::Reported);
            }
        }
    }
    Ok(())
}
