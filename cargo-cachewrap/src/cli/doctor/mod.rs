//! `doctor`: whether the cache can work here, and what to do if not.

mod system;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use cache_core::config::{BuildScripts, Loaded, format_size};
use cache_core::{Config, Store};

use super::config::said_of;
use super::context::Context;
use super::files;
use super::output::Failure;
use super::rustc_wrapper::{self, NAME};

/// How a check ended.
pub(super) enum Verdict {
    /// As it should be.
    Ok(String),
    /// The cache works, but not at its best, or not as its user may think.
    Doubtful(String),
    /// The cache cannot work; what to do about it.
    Bad(String),
}

use Verdict::{Bad, Doubtful, Ok as Good};

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
    let problems = problems.iter().map(|problem| Bad(problem.to_string()));
    checks.extend(problems.map(|problem| ("settings", problem)));
    let unknown = unknown.iter().map(|name| Doubtful(said_of(name)));
    checks.extend(unknown.map(|name| ("settings", name)));
    if !config.dir.as_os_str().is_empty() {
        checks.push(("directory", directory(&config)));
        if let Some(dir) = files::nearest_dir(&config.dir) {
            checks.push(("space", space(dir, *config.max_size)));
            checks.push(("file system", file_system(dir)));
        }
    }
    checks.push(("compiler", compiler(cx)));
    let observed = cache_core::probe_observer();
    checks.push(("observer", observer(&config, &observed)));
    checks.push(("scripts", scripts(&config, observed.is_ok())));

    let mut bad = false;
    for (name, verdict) in checks {
        let (word, text) = match verdict {
            Good(text) => (cx.out.good("ok  "), text),
            Doubtful(text) => (cx.out.doubtful("note"), text),
            Bad(text) => {
                bad = true;
                (cx.out.bad("bad "), text)
            }
        };
        writeln!(cx.out, "{word}  {name:<12} {text}")?;
    }
    if bad { Err(Failure::Reported) } else { Ok(()) }
}

/// The wrapper installed together with this program.
pub(super) fn wrapper_beside_us(cx: &Context) -> Option<PathBuf> {
    let beside = cx.program.as_ref()?.with_file_name(NAME);
    Some(beside).filter(|path| files::is_program(path))
}

fn program(cx: &Context) -> Verdict {
    let in_path = files::find_program(NAME, &cx.env);
    match (in_path, wrapper_beside_us(cx)) {
        (Some(found), Some(beside)) if !files::is_same_file(&found, &beside) => Doubtful(format!(
            "`{NAME}` in PATH is {}, which is not the one beside this program, {}",
            found.display(),
            beside.display()
        )),
        (Some(found), _) => Good(found.display().to_string()),
        (None, Some(beside)) => Doubtful(format!(
            "`{NAME}` is not in PATH; it must be set as {}",
            beside.display()
        )),
        (None, None) => Bad(format!(
            "`{NAME}` is neither in PATH nor beside this program; `cargo install cargo-cachewrap` installs both"
        )),
    }
}

fn cargo(cx: &Context) -> Verdict {
    let hint = "`cargo cachewrap setup` sets it, or RUSTC_WRAPPER=cachewrap";
    let setting = match rustc_wrapper::effective(&cx.env, &cx.cwd) {
        Ok(Some(setting)) => setting,
        Ok(None) => return Bad(format!("no wrapper is set; {hint}")),
        Err(e) => return Bad(e.to_string()),
    };
    let (value, source) = (&setting.value, &setting.source);
    if value.is_empty() {
        return Bad(format!("{source} is empty, which turns wrappers off"));
    }
    if !setting.is_ours() {
        return Bad(format!("{source} sets another wrapper, `{value}`; {hint}"));
    }
    let found = if value.contains('/') {
        files::is_program(&cx.cwd.join(value))
    } else {
        files::find_program(value, &cx.env).is_some()
    };
    if found {
        Good(format!("{source} sets `{value}`"))
    } else {
        Bad(format!("{source} sets `{value}`, which is not a program"))
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
            return Doubtful(format!("{effect} ({origin})"));
        }
    }
    Good("valid; `cargo cachewrap config` shows them".to_owned())
}

pub(super) fn directory(config: &Config) -> Verdict {
    let dir = &*config.dir;
    let shown = dir.display();
    if files::is_other_than_dir(dir) {
        return Bad(format!("{shown} is not a directory"));
    }
    let Some(nearest) = files::nearest_dir(dir) else {
        return Bad(format!("{shown} cannot be made"));
    };
    if let Some(path) = Store::new(dir, true).displaced().first() {
        return Bad(format!(
            "{} should be a directory, and no link to one; `cargo cachewrap verify --repair` removes it",
            path.display()
        ));
    }
    match tempfile::tempfile_in(nearest) {
        Ok(_) if nearest == dir => Good(format!("{shown} can be written to")),
        Ok(_) => Good(format!("{shown} will be made when it is needed")),
        Err(_) if *config.read_only => Good(format!("{shown} is used read-only")),
        Err(e) => Bad(format!("{shown} cannot be written to: {e}")),
    }
}

fn space(dir: &Path, max_size: u64) -> Verdict {
    match fs2::available_space(dir) {
        Ok(free) => {
            let (shown, max) = (format_size(free), format_size(max_size));
            if free < max_size / 10 {
                Doubtful(format!("{shown} free; the cache may grow to {max}"))
            } else {
                Good(format!("{shown} free; the cache may grow to {max}"))
            }
        }
        Err(e) => Doubtful(format!("free space is unknown: {e}")),
    }
}

fn file_system(dir: &Path) -> Verdict {
    let kind = system::file_system_type(dir).unwrap_or_else(|| "of unknown type".to_owned());
    match system::can_reflink(dir) {
        Some(true) => Good(format!("{kind}, shares blocks between copies")),
        Some(false) => Good(format!("{kind}, does not share blocks between copies")),
        None => Doubtful(format!("{kind}, could not be tried")),
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
        Ok(output) => Bad(format!(
            "{} -V failed: {}",
            rustc.display(),
            String::from_utf8_lossy(&output.stderr).trim_end()
        )),
        Err(e) => Bad(format!("{} cannot be run: {e}", rustc.display())),
    }
}

fn observer(config: &Config, observed: &Result<(), String>) -> Verdict {
    let limits = "units that link, and those whose inputs cannot be told otherwise, are not cached";
    if !*config.observe {
        let origin = &config.observe.origin;
        return Doubtful(format!("turned off ({origin}); {limits}"));
    }
    match observed {
        Ok(()) => Good("compilations can be observed".to_owned()),
        Err(reason) => Doubtful(format!(
            "compilations cannot be observed: {reason}; {limits}"
        )),
    }
}

fn scripts(config: &Config, observed: bool) -> Verdict {
    let origin = &config.build_scripts.origin;
    match (*config.observe && observed, *config.build_scripts) {
        (false, _) => Doubtful("runs of build scripts are not cached without observing".to_owned()),
        (true, BuildScripts::Off) => {
            Doubtful(format!("runs of build scripts are not cached ({origin})"))
        }
        (true, BuildScripts::Deps) => {
            Good("runs of build scripts are cached for packages of registries and git".to_owned())
        }
        (true, BuildScripts::All) => Good(format!(
            "runs of build scripts are cached for all packages ({origin})"
        )),
    }
}
