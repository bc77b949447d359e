//! `doctor`: whether the cache can work here, and what to do if not.

mod system;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use cache_core::config::{BuildScripts, Loaded, Origin, format_size};
use cache_core::remote::{Remote, Scheme, Settings};
use cache_core::{Config, Store};

use super::config::said_of;
use super::context::Context;
use super::files;
use super::output::{Failure, quoted};
use super::rustc_wrapper::{self, NAME};

/// How a check ended.
pub(super) enum Verdict {
    /// As it should be.
    Ok(String),
    /// The cache works, but not at its best, or not as its user may think.
    Doubtful(Finding),
    /// The cache cannot work.
    Bad(Finding),
}

/// What is not as it should be.
pub(super) struct Finding {
    pub(super) what: String,
    /// The command to go on with.
    next: String,
}

use Verdict::Ok as Good;

fn doubtful(what: impl Into<String>, next: impl Into<String>) -> Verdict {
    let (what, next) = (what.into(), next.into());
    Verdict::Doubtful(Finding { what, next })
}

fn bad(what: impl Into<String>, next: impl Into<String>) -> Verdict {
    let (what, next) = (what.into(), next.into());
    Verdict::Bad(Finding { what, next })
}

/// The command that takes a setting back.
fn unset(origin: &Origin) -> String {
    match origin {
        Origin::Variable(name) => format!("unset {name}"),
        Origin::File(path) => format!("${{EDITOR:-vi}} {}", quoted(path)),
        Origin::Default => "cargo cachewrap config".to_owned(),
    }
}

pub(super) fn run(cx: &mut Context) -> Result<(), Failure> {
    let Loaded {
        config,
        problems,
        unknown,
        ..
    } = Config::load(&cx.env);
    let mut checks: Vec<(&str, Verdict)> = vec![("program", program(cx)), ("cargo", cargo(cx))];
    if problems.is_empty() {
        checks.push(("settings", settings(&config)));
    }
    let manual = "cargo cachewrap help config";
    let problems = problems
        .iter()
        .map(|problem| bad(problem.to_string(), manual));
    checks.extend(problems.map(|problem| ("settings", problem)));
    let unknown = unknown.iter().map(|name| doubtful(said_of(name), manual));
    checks.extend(unknown.map(|name| ("settings", name)));
    if !config.dir.as_os_str().is_empty() {
        checks.push(("directory", directory(&config)));
        if let Some(dir) = files::nearest_dir(&config.dir) {
            checks.push(("space", space(dir, &config)));
            checks.push(("file system", file_system(dir)));
        }
    }
    checks.push(("compiler", compiler(cx)));
    let observed = cache_core::probe_observer();
    checks.push(("observer", observer(&config, &observed)));
    checks.push(("scripts", scripts(&config, observed.is_ok())));
    checks.extend(remote(cx, &config).map(|verdict| ("remote", verdict)));

    let any_bad = checks
        .iter()
        .any(|(_, verdict)| matches!(verdict, Verdict::Bad(_)));
    for (name, verdict) in checks {
        let (word, text, next) = match verdict {
            Good(text) => (cx.out.good("ok  "), text, None),
            Verdict::Doubtful(found) => (cx.out.doubtful("note"), found.what, Some(found.next)),
            Verdict::Bad(found) => (cx.out.bad("bad "), found.what, Some(found.next)),
        };
        writeln!(cx.out, "{word}  {name:<12} {text}")?;
        if let Some(next) = next {
            writeln!(cx.out, "{:<19}next: {next}", "")?;
        }
    }
    if any_bad {
        Err(Failure::Reported)
    } else {
        Ok(())
    }
}

/// The remote, if one is set.
fn remote(cx: &Context, config: &Config) -> Option<Verdict> {
    let settings = match Settings::of(config) {
        Ok(settings) => settings?,
        Err(e) => return Some(doubtful(e.to_string(), "cargo cachewrap config")),
    };
    let store = Store::new(&*config.dir, true);
    let url = &settings.address;
    Some(
        if url.scheme != Scheme::Directory && super::remote::helper(cx).is_none() {
            doubtful(
                format!("{url} is not used: `cachewrap-remote` is not installed"),
                "cargo install --path cachewrap-remote --locked",
            )
        } else if !settings.trust.admits_anybody() {
            doubtful(
                format!("{url} is not read: nobody is trusted"),
                "cargo cachewrap help config",
            )
        } else if let Some(why) = Remote::why_left_alone(&store, &settings) {
            doubtful(format!("{url}: {why}"), "cargo cachewrap remote probe")
        } else {
            Good(url.to_string())
        },
    )
}

/// The wrapper installed together with this program.
pub(super) fn wrapper_beside_us(cx: &Context) -> Option<PathBuf> {
    let beside = cx.program.as_ref()?.with_file_name(NAME);
    Some(beside).filter(|path| files::is_program(path))
}

/// What installs both programs.
const INSTALL: &str = "cargo install cargo-cachewrap --locked";

fn program(cx: &Context) -> Verdict {
    let in_path = files::find_program(NAME, &cx.env);
    match (in_path, wrapper_beside_us(cx)) {
        (Some(found), Some(beside)) if !files::is_same_file(&found, &beside) => {
            let (shown, other) = (found.display(), beside.display());
            let what = format!(
                "`{NAME}` in PATH is {shown}, which is not the one beside this program, {other}"
            );
            let dir = beside.parent().unwrap_or(Path::new(".")).to_owned();
            doubtful(what, format!("export PATH={}:$PATH", quoted(&dir)))
        }
        (Some(found), _) => Good(found.display().to_string()),
        (None, Some(beside)) => {
            let shown = beside.display();
            let what = format!("`{NAME}` is not in PATH; it must be set as {shown}");
            doubtful(what, "cargo cachewrap setup")
        }
        (None, None) => bad(
            format!("`{NAME}` is neither in PATH nor beside this program"),
            INSTALL,
        ),
    }
}

fn cargo(cx: &Context) -> Verdict {
    let setting = match rustc_wrapper::effective(&cx.env, &cx.cwd) {
        Ok(Some(setting)) => setting,
        Ok(None) => return bad("no wrapper is set", "cargo cachewrap setup"),
        Err(e) => return bad(e.to_string(), "cargo build"),
    };
    let (value, source) = (&setting.value, &setting.source);
    let is_variable = !source.contains('/');
    if value.is_empty() {
        let next = if is_variable {
            format!("unset {source}")
        } else {
            "cargo cachewrap setup --force".to_owned()
        };
        return bad(format!("{source} is empty, which turns wrappers off"), next);
    }
    if !setting.is_ours() {
        let next = if is_variable {
            format!("export {source}={NAME}")
        } else {
            format!(
                "cargo cachewrap setup --force --path {}",
                quoted(Path::new(source))
            )
        };
        return bad(format!("{source} sets another wrapper, `{value}`"), next);
    }
    let found = if value.contains('/') {
        files::is_program(&cx.cwd.join(value))
    } else {
        files::find_program(value, &cx.env).is_some()
    };
    if found {
        Good(format!("{source} sets `{value}`"))
    } else {
        let what = format!("{source} sets `{value}`, which is not a program");
        bad(what, INSTALL)
    }
}

fn settings(config: &Config) -> Verdict {
    for (on, effect, origin) in [
        (
            *config.disable,
            "the cache is disabled",
            &config.disable.origin,
        ),
        (
            *config.read_only,
            "nothing will be stored",
            &config.read_only.origin,
        ),
        (
            *config.recache,
            "nothing will be looked up",
            &config.recache.origin,
        ),
    ] {
        if on {
            return doubtful(format!("{effect} ({origin})"), unset(origin));
        }
    }
    Good("valid; `cargo cachewrap config` shows them".to_owned())
}

pub(super) fn directory(config: &Config) -> Verdict {
    let dir = &*config.dir;
    let shown = dir.display();
    let look = |path| format!("ls -ld {}", quoted(path));
    if files::is_other_than_dir(dir) {
        return bad(format!("{shown} is not a directory"), look(dir));
    }
    let Some(nearest) = files::nearest_dir(dir) else {
        return bad(format!("{shown} cannot be made"), look(dir));
    };
    if let Some(path) = Store::new(dir, true).displaced().first() {
        let what = format!(
            "{} should be a directory, and no link to one",
            path.display()
        );
        return bad(what, "cargo cachewrap verify --repair");
    }
    match tempfile::tempfile_in(nearest) {
        Ok(_) if nearest == dir => Good(format!("{shown} can be written to")),
        Ok(_) => Good(format!("{shown} will be made when it is needed")),
        Err(_) if *config.read_only => Good(format!("{shown} is used read-only")),
        Err(e) => bad(format!("{shown} cannot be written to: {e}"), look(nearest)),
    }
}

fn space(dir: &Path, config: &Config) -> Verdict {
    let free = match fs2::available_space(dir) {
        Ok(free) => free,
        Err(e) => {
            let next = format!("df -h {}", quoted(dir));
            return doubtful(format!("free space is unknown: {e}"), next);
        }
    };
    let (shown, max) = (format_size(free), format_size(*config.max_size));
    if let Some(keep) = config.keep_free_space.filter(|&keep| free < keep) {
        let what = format!(
            "{shown} free, less than keep-free-space, {}",
            format_size(keep)
        );
        return doubtful(what, "cargo cachewrap prune");
    }
    let what = format!("{shown} free; the cache may grow to {max}");
    if free < *config.max_size / 10 {
        return doubtful(what, format!("cargo cachewrap prune --max {}", free / 2));
    }
    Good(what)
}

fn file_system(dir: &Path) -> Verdict {
    let kind = system::file_system_type(dir).unwrap_or_else(|| "of unknown type".to_owned());
    match system::can_reflink(dir) {
        Some(true) => Good(format!("{kind}, shares blocks between copies")),
        Some(false) => Good(format!("{kind}, does not share blocks between copies")),
        None => doubtful(
            format!("{kind}, could not be tried"),
            format!("ls -ld {}", quoted(dir)),
        ),
    }
}

fn compiler(cx: &Context) -> Verdict {
    let rustc = cx.env.get_nonempty("RUSTC").unwrap_or("rustc".as_ref());
    let output = Command::new(rustc).arg("-V").current_dir(&cx.cwd).output();
    match output {
        Ok(output) if output.status.success() => Good(
            String::from_utf8_lossy(&output.stdout)
                .trim_end()
                .to_owned(),
        ),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let what = format!("{} -V failed: {}", rustc.display(), said.trim_end());
            bad(what, "rustup show")
        }
        Err(e) => {
            let set = cx.env.get_nonempty("RUSTC").is_some();
            let next = if set {
                "unset RUSTC"
            } else {
                "rustup default stable"
            };
            bad(format!("{} cannot be run: {e}", rustc.display()), next)
        }
    }
}

fn observer(config: &Config, observed: &Result<(), String>) -> Verdict {
    let limits = "units that link, and those whose inputs cannot be told otherwise, are not cached";
    if !*config.observe {
        let origin = &config.observe.origin;
        return doubtful(format!("turned off ({origin}); {limits}"), unset(origin));
    }
    match observed {
        Ok(()) => Good("compilations can be observed".to_owned()),
        Err(reason) => doubtful(
            format!("compilations cannot be observed: {reason}; {limits}"),
            "cat /proc/sys/kernel/seccomp/actions_avail /proc/self/status",
        ),
    }
}

fn scripts(config: &Config, observed: bool) -> Verdict {
    let origin = &config.build_scripts.origin;
    match (*config.observe && observed, *config.build_scripts) {
        (false, _) => {
            let what = "runs of build scripts are not cached without observing";
            let next = match &config.observe.origin {
                Origin::Default => "cargo cachewrap help config".to_owned(),
                origin => unset(origin),
            };
            doubtful(what, next)
        }
        (true, BuildScripts::Off) => {
            let what = format!("runs of build scripts are not cached ({origin})");
            doubtful(what, unset(origin))
        }
        (true, BuildScripts::Deps) => {
            Good("runs of build scripts are cached for packages of registries and git".to_owned())
        }
        (true, BuildScripts::All) => Good(format!(
            "runs of build scripts are cached for all packages ({origin})"
        )),
    }
}
