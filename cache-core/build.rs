//! Says whether the target has the observer, and compiles the object that it preloads (`preload/`),
//! which is embedded in the library.
//!
//! Without the observer the library caches what compilers themselves report. To build it so
//! where there is one, as tests do, set `CACHEWRAP_BUILD_WITHOUT_OBSERVER`.
//!
//! The object is another program for another moment: without the standard library, for processes that are
//! not ours. Where it cannot be made, the library does without it, and says so: everything works,
//! but first builds of packages with much C are slower.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

const WITHOUT_OBSERVER: &str = "CACHEWRAP_BUILD_WITHOUT_OBSERVER";

fn main() {
    println!("cargo::rerun-if-changed=preload");
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    println!("cargo::rerun-if-env-changed={WITHOUT_OBSERVER}");
    println!("cargo::rustc-check-cfg=cfg(observer)");
    println!("cargo::rustc-check-cfg=cfg(preload)");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    let is_x86_64 = is("CARGO_CFG_TARGET_ARCH", "x86_64");
    if !is("CARGO_CFG_TARGET_OS", "linux")
        || !(is_x86_64 || is("CARGO_CFG_TARGET_ARCH", "aarch64"))
        || env::var_os(WITHOUT_OBSERVER).is_some()
    {
        return;
    }
    println!("cargo::rustc-cfg=observer");
    if !is_x86_64 {
        return;
    }
    match compile() {
        Ok(()) => println!("cargo::rustc-cfg=preload"),
        Err(why) => println!("cargo::warning=without the preloaded object: {why}"),
    }
}

fn compile() -> Result<(), String> {
    let variable = |name: &str| env::var_os(name).ok_or_else(|| format!("{name} is not set"));
    let to = Path::new(&variable("OUT_DIR")?).join("preload.so");
    let mut rustc = Command::new(variable("RUSTC")?);
    rustc
        // Relative, so that what panics names is the same everywhere.
        .current_dir("preload")
        .args(["lib.rs", "--edition=2024", "--crate-name=preload", "-o"])
        .arg(&to)
        .arg("--target")
        .arg(variable("TARGET")?)
        .args(["--crate-type=cdylib", "-Copt-level=3", "-Cpanic=abort"])
        .args(["-Cstrip=symbols", "-Ctarget-feature=-crt-static"])
        .args(["-Clink-arg=-nostdlib", "-Clink-arg=-nostartfiles"])
        .args(["--allow=dead_code", "--cap-lints=warn"]);
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut option = std::ffi::OsString::from("-Clinker=");
        option.push(linker);
        rustc.arg(option);
    }
    let status = rustc.status().map_err(|e| e.to_string())?;
    if !status.success() {
        return Err(format!("rustc ended with {status}"));
    }
    fs::metadata(&to).map(drop).map_err(|e| e.to_string())
}
