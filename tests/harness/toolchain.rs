//! The toolchain under the tests, and the scripts that count its real compiles.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A sysroot, used directly: no rustup proxy stands between the tests and the compiler.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    sysroot: PathBuf,
}

impl Toolchain {
    pub(crate) fn current() -> &'static Self {
        static CURRENT: OnceLock<Toolchain> = OnceLock::new();
        CURRENT.get_or_init(|| {
            Self::named(None).expect("`rustc --print sysroot` should name the toolchain")
        })
    }

    /// The nightly toolchain of rustup, where there is one.
    pub(crate) fn nightly() -> Option<Self> {
        Self::named(Some("nightly"))
    }

    pub(crate) fn at(sysroot: impl Into<PathBuf>) -> Self {
        Self {
            sysroot: sysroot.into(),
        }
    }

    fn named(channel: Option<&str>) -> Option<Self> {
        let mut command = Command::new("rustc");
        if let Some(channel) = channel {
            command.arg(format!("+{channel}"));
        }
        // Set by `cargo test`; it would load one toolchain's libraries into another.
        command.env_remove("LD_LIBRARY_PATH");
        let output = command.args(["--print", "sysroot"]).output().ok()?;
        let sysroot = String::from_utf8(output.stdout).ok()?;
        output
            .status
            .success()
            .then(|| Self::at(sysroot.trim_end()))
    }

    pub(crate) fn sysroot(&self) -> &Path {
        &self.sysroot
    }

    pub(crate) fn bin(&self, name: &str) -> PathBuf {
        self.sysroot.join("bin").join(name)
    }

    pub(crate) fn lib_dir(&self) -> PathBuf {
        self.sysroot.join("lib")
    }
}

/// Writes `dir/rustc` and `dir/clippy-driver`, which log each real compile to `log`.
pub(crate) fn write_shims(dir: &Path, log: &Path, toolchain: &Toolchain) {
    fs::create_dir_all(dir).expect("the shim directory should be creatable");
    for name in ["rustc", "clippy-driver"] {
        let shim = include_str!("shim.sh")
            .replace("@LOG@", &format!(">>{}", quote(log)))
            .replace("@REAL@", &quote(&toolchain.bin(name)));
        write_executable(&dir.join(name), &shim);
    }
}

/// Writes an executable shell script.
pub(crate) fn write_script(path: &Path, body: &str) {
    write_executable(path, &format!("#!/bin/sh\n{body}"));
}

fn write_executable(path: &Path, text: &str) {
    fs::write(path, text).expect("a script should be writable");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .expect("a script should become executable");
}

/// Quotes a path for a shell script.
pub(crate) fn quote(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
