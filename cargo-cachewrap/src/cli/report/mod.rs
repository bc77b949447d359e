//! `report`: builds as a page to look at, or the same as JSON.
//!
//! What is shown comes from the records of builds and from the results in the store ([`data`], [`contents`]);
//! `docs/report.schema.json` describes it. The page ([`page`]) is one file that asks for nothing else.
//!
//! What can go wrong: records are cut short, damaged, of another release, or of a build that goes on; then what
//! can be read is shown, and it is said how much could not. Whatever they contain is text.

mod contents;
mod critical;
mod data;
mod page;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use cache_core::store::Build;

use super::args::ReportArgs;
use super::context::{Context, store};
use super::files;
use super::output::{Failure, counted, quoted};

pub(super) fn run(cx: &mut Context, args: &ReportArgs) -> Result<(), Failure> {
    let config = cx.config()?;
    let store = store(&config);
    let mut builds = store.builds()?;
    builds.retain(Build::is_of_units);
    builds.reverse();
    let results = store.results()?;
    let store = contents::of(&store, &config, &results, &builds)?;
    builds.truncate(usize::from(args.last));
    let report = data::of(&builds, store);
    let text = if args.json {
        let json = serde_json::to_string_pretty(&report);
        json.map(|json| json + "\n")
    } else {
        page::of(&report)
    };
    let text = text.map_err(|e| Failure::Failed(e.to_string()))?;
    let to_stdout = match &args.out {
        Some(file) => file.as_os_str() == "-",
        None => args.json,
    };
    if to_stdout && args.open {
        let message = "--open shows a file, which --out - does not write";
        return Err(Failure::Usage(message.into()));
    }
    if to_stdout {
        return Ok(cx.out.write_all(text.as_bytes())?);
    }
    let file = args
        .out
        .clone()
        .map_or_else(|| default_file(cx), |out| cx.cwd.join(out));
    if files::is_dir(&file) {
        let message = format!("{} is a directory; --out names a file", file.display());
        return Err(Failure::Usage(message));
    }
    files::replace(&file, &text)?;
    if builds.is_empty() {
        writeln!(cx.out, "No build is known")?;
    }
    let shown = counted(builds.len() as u64, "build");
    writeln!(cx.out, "Report of {shown}: {}", quoted(&file))?;
    if args.open {
        cx.out.flush()?;
        open(cx, &file);
    }
    Ok(())
}

/// In the target directory, as cargo's own report of a build, or else right here. A target directory is not
/// made: cargo marks for backups only one that it makes itself.
fn default_file(cx: &Context) -> PathBuf {
    match target_dir(cx).filter(|target| files::is_dir(target)) {
        Some(target) => target.join("cachewrap/report.html"),
        None => cx.cwd.join("cachewrap-report.html"),
    }
}

/// Where cargo builds to, from here.
fn target_dir(cx: &Context) -> Option<PathBuf> {
    let cargo = cx.env.get_nonempty("CARGO").unwrap_or("cargo".as_ref());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(&cx.cwd)
        .output()
        .ok()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    Some(PathBuf::from(metadata.get("target_directory")?.as_str()?))
}

#[cfg(target_os = "macos")]
const OPENER: &str = "open";
#[cfg(not(target_os = "macos"))]
const OPENER: &str = "xdg-open";

/// Lets the system show a file. That it cannot is no failure: where the file is has been said.
fn open(cx: &Context, file: &Path) {
    match opened(cx, file) {
        Ok(true) => {}
        Ok(false) => {
            eprintln!("note: {OPENER} could not open it; open the file above in a browser");
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            eprintln!("note: there is no {OPENER} here; open the file above in a browser");
        }
        Err(e) => eprintln!("note: failed to run {OPENER}: {e}; open the file above in a browser"),
    }
}

fn opened(cx: &Context, file: &Path) -> io::Result<bool> {
    let program = files::find_program(OPENER, &cx.env).ok_or(io::ErrorKind::NotFound)?;
    Ok(Command::new(program).arg(file).status()?.success())
}
