//! `setup`: the wrapper in a configuration file of cargo.

mod edit;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::args::SetupArgs;
use super::context::Context;
use super::output::{Failure, quoted};
use super::rustc_wrapper::{self, NAME, cargo_home, config_file, parse, value_in};
use super::{doctor, files};
use edit::{EditError, Edited};

pub(super) fn run(cx: &mut Context, args: &SetupArgs) -> Result<(), Failure> {
    let file = file(cx, args)?;
    let old = files::read_optional(&file)?;
    let text = old.clone().unwrap_or_default();
    let mut document = parse(&text, &file)?;
    let shown = file.display();
    let failed = |e: EditError| Failure::Failed(format!("{shown}: {e}"));
    if args.undo {
        if edit::unset(&mut document).map_err(failed)? == Edited::Already {
            writeln!(cx.out, "No wrapper is set in {shown}")?;
            return Ok(());
        }
        let new = in_form_of(&text, &document.to_string());
        if new.trim().is_empty() {
            files::remove_with_empty_dir(&file)?;
            writeln!(
                cx.out,
                "Removed {shown}, which held nothing but the wrapper"
            )?;
        } else {
            files::replace(&file, &new)?;
            let now = match value_in(&document) {
                Some(before) => format!("is \"{before}\" again"),
                None => "is no longer set".to_owned(),
            };
            writeln!(cx.out, "build.rustc-wrapper {now} in {shown}")?;
        }
        return Ok(());
    }
    let wrapper = wrapper(cx)?;
    let set = format!("build.rustc-wrapper = \"{wrapper}\" in {shown}");
    match edit::set(&mut document, &wrapper, args.force).map_err(failed)? {
        Edited::Already => writeln!(cx.out, "Already set: {set}{}", scope(args))?,
        Edited::Changed => {
            files::replace(&file, &in_form_of(&text, &document.to_string()))?;
            writeln!(cx.out, "Set {set}{}", scope(args))?;
        }
    }
    tell_how_to_go_on(cx, args, &file)
}

/// For whom the file is read.
fn scope(args: &SetupArgs) -> &'static str {
    match (&args.path, args.global) {
        (Some(_), _) => "",
        (None, true) => ", which holds for all projects of this user",
        (None, false) => ", which holds for this workspace",
    }
}

/// How to undo it, what to do next, and whether cargo would do something else all the same.
fn tell_how_to_go_on(cx: &mut Context, args: &SetupArgs, file: &Path) -> Result<(), Failure> {
    let which = match (&args.path, args.global) {
        (Some(_), _) => format!(" --path {}", quoted(file)),
        (None, true) => " --global".to_owned(),
        (None, false) => String::new(),
    };
    writeln!(cx.out, "To undo it: cargo cachewrap setup --undo{which}")?;
    if args.path.is_none()
        && let Some(stronger) = rustc_wrapper::effective(&cx.env, &cx.cwd)?
        && !stronger.is_ours()
    {
        let (source, value) = (stronger.source, stronger.value);
        let word = cx.out.doubtful("note:");
        writeln!(
            cx.out,
            "{word} here {source} is stronger and sets `{value}`; cargo cachewrap doctor says what to do"
        )?;
    }
    writeln!(
        cx.out,
        "Next: cargo build fills the cache; cargo cachewrap stats says what it did"
    )?;
    Ok(())
}

/// The new text with the byte order mark and the line ends of the old one, which the TOML
/// library does not keep.
fn in_form_of(old: &str, new: &str) -> String {
    let mark = if old.starts_with(BYTE_ORDER_MARK) {
        BYTE_ORDER_MARK.to_string()
    } else {
        String::new()
    };
    let lines = old.matches('\n').count();
    if lines > 0 && lines == old.matches("\r\n").count() {
        format!("{mark}{}", new.replace('\n', "\r\n"))
    } else {
        format!("{mark}{new}")
    }
}

const BYTE_ORDER_MARK: char = '\u{feff}';

/// The file to edit.
fn file(cx: &Context, args: &SetupArgs) -> Result<PathBuf, Failure> {
    if let Some(path) = &args.path {
        let path = cx.cwd.join(path);
        if files::is_dir(&path) {
            let message = format!(
                "{} is a directory; --path names a configuration file, such as {}",
                path.display(),
                path.join(".cargo/config.toml").display()
            );
            return Err(Failure::Usage(message));
        }
        return Ok(path);
    }
    if args.global {
        let home = cargo_home(&cx.env);
        let home =
            home.ok_or_else(|| Failure::Failed("neither CARGO_HOME nor HOME is set".into()))?;
        return Ok(config_file(&home));
    }
    Ok(config_file(&workspace_root(cx)?.join(".cargo")))
}

fn workspace_root(cx: &Context) -> Result<PathBuf, Failure> {
    let cargo = cx.env.get_nonempty("CARGO").unwrap_or("cargo".as_ref());
    let output = Command::new(cargo)
        .args(["locate-project", "--workspace", "--message-format=plain"])
        .current_dir(&cx.cwd)
        .output()
        .map_err(|e| Failure::Failed(format!("failed to run {}: {e}", cargo.display())))?;
    if !output.status.success() {
        let message = "this is not a cargo project; use --global or --path FILE";
        return Err(Failure::Usage(message.into()));
    }
    let manifest = String::from_utf8_lossy(&output.stdout);
    let root = PathBuf::from(manifest.trim_end());
    Ok(root.parent().unwrap_or(&cx.cwd).to_owned())
}

/// The wrapper as cargo should start it: by name where the search path has it, so that
/// the file may be shared, else by the path of the one beside this program.
fn wrapper(cx: &Context) -> Result<String, Failure> {
    if files::find_program(NAME, &cx.env).is_some() {
        return Ok(NAME.to_owned());
    }
    let beside = doctor::wrapper_beside_us(cx).ok_or_else(|| {
        Failure::Failed(format!(
            "cannot find the program `{NAME}`, neither in PATH nor beside this one; `cargo install cargo-cachewrap` installs both"
        ))
    })?;
    let not_text = |path: PathBuf| Failure::Failed(format!("{} is not UTF-8", path.display()));
    beside
        .into_os_string()
        .into_string()
        .map_err(|path| not_text(path.into()))
}
