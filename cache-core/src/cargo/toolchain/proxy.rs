//! The compiler behind a program that is called as one: rustup's `rustc` starts the one of a toolchain.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Surroundings, ToolchainError, ask};
use crate::cargo::driver;
use crate::looked::Driver;
use crate::os::fs;
use crate::os::stamp::Stamp;

/// The compiler behind a program, and whether that is the compiler itself.
pub(super) fn driver_of(found: &Path, around: &Surroundings<'_>) -> Result<Driver, ToolchainError> {
    let env = around.request.env;
    let words = ["RUSTUP_TOOLCHAIN", "RUSTUP_HOME", "HOME"];
    let words = words.map(|name| env.get(name).map(OsStrExt::as_bytes));
    // Where rustup is not told, it looks around in the directory.
    let is_told = env.get_nonempty("RUSTUP_TOOLCHAIN").is_some();
    let known = around.request.looked.filter(|_| is_told);
    let name = [Some(found.as_os_str().as_bytes())]
        .into_iter()
        .chain(words);
    // No path or toolchain begins with NUL.
    let name: Vec<Vec<u8>> = name.map(|word| word.unwrap_or(b"\0").to_vec()).collect();
    if let Some(driver) = known.and_then(|known| known.drivers().get(&name)) {
        return Ok(driver);
    }
    let path = resolve_proxy(found, around)?;
    let is_compiler = driver::is_compiler(&path);
    let driver = Driver { path, is_compiler };
    if let Some(known) = known {
        known.drivers().put(name, driver.clone());
    }
    Ok(driver)
}

/// The real compiler behind a rustup proxy, or the path itself.
fn resolve_proxy(found: &Path, around: &Surroundings<'_>) -> Result<PathBuf, ToolchainError> {
    let Some(rustup) = proxy_of(found) else {
        return Ok(fs::canonicalize(found).unwrap_or_else(|_| found.to_owned()));
    };
    let program = found.file_name().unwrap_or_default();
    // Cargo, run through rustup, says which toolchain it belongs to.
    if let Some(toolchain) = around.request.env.get_nonempty("RUSTUP_TOOLCHAIN") {
        let home = match around.request.env.get_nonempty("RUSTUP_HOME") {
            Some(home) => Some(PathBuf::from(home)),
            None => around
                .request
                .env
                .get_nonempty("HOME")
                .map(|home| Path::new(home).join(".rustup")),
        };
        // Joining an absolute path, which rustup allows as a name, gives that path.
        let direct = home.map(|home| home.join("toolchains").join(toolchain));
        if let Some(driver) = direct.map(|dir| dir.join("bin").join(program))
            && let Ok(driver) = fs::canonicalize(&driver)
        {
            return Ok(driver);
        }
    }
    let mut command = around.command(&rustup);
    command.args = vec!["which".into(), program.to_owned()];
    let question = "rustup which";
    let (answer, _) = ask(&command, found, question, None, around)?;
    let path = PathBuf::from(answer.trim_end());
    Ok(fs::canonicalize(&path)?)
}

/// The rustup that a program is a proxy of: a link, soft or hard, to it.
fn proxy_of(found: &Path) -> Option<PathBuf> {
    let canonical = fs::canonicalize(found).ok()?;
    if canonical.file_name() == Some("rustup".as_ref()) {
        return Some(canonical);
    }
    let rustup = found.with_file_name("rustup");
    let (a, b) = (Stamp::of(found)?, Stamp::of(&rustup)?);
    ((a.dev, a.ino) == (b.dev, b.ino)).then_some(rustup)
}
