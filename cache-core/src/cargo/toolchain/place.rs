//! Where toolchains lie: in a directory of their own, or among everything else.
//!
//! What is in a toolchain's own directory came with it. But distributions install the compiler into `/usr`, and the installer that
//! Rust offers without `rustup` into `/usr/local`. What else is there has nothing to do with the compiler. A directory that cannot be
//! told to be a toolchain's own is taken for one that it shares.

use std::path::Path;

/// Directories in which each entry is one toolchain, or package.
const OF_PACKAGES: &[&str] = &["/nix/store", "/gnu/store"];

/// The name of the directory that `rustup` keeps toolchains in.
const OF_RUSTUP: &str = "toolchains";

/// Programs that come with the compiler, and run no others but it.
const PROGRAMS: &[&str] = &[
    "cargo",
    "cargo-clippy",
    "cargo-fmt",
    "cargo-miri",
    "clippy-driver",
    "miri",
    "rust-analyzer",
    "rustc",
    "rustdoc",
    "rustfmt",
];

/// How the names of the compiler's libraries begin.
const LIBRARIES: &[&str] = &[
    "libLLVM",
    "libproc_macro",
    "librustc",
    "libstd-",
    "libtest-",
];

/// Whether a sysroot holds nothing but a toolchain.
pub(super) fn is_own(sysroot: &Path) -> bool {
    sysroot.parent().is_some_and(|dir| {
        dir.ends_with(OF_RUSTUP) || OF_PACKAGES.iter().any(|known| dir == Path::new(known))
    })
}

/// Whether a path below a sysroot that holds other things too is the toolchain's.
pub(super) fn is_of_toolchain(below: &Path) -> bool {
    let is_program = || {
        let name = below.strip_prefix("bin").ok();
        name.is_some_and(|name| PROGRAMS.iter().any(|known| name == Path::new(known)))
    };
    below.starts_with("lib/rustlib") || is_program()
}

/// Whether a file is a library of the compiler's, by its name.
pub(super) fn is_library(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    LIBRARIES.iter().any(|known| name.starts_with(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beside_a_toolchain_is_told_from_it() {
        for (sysroot, expected) in [
            (
                "/root/.rustup/toolchains/stable-x86_64-unknown-linux-gnu",
                true,
            ),
            ("/nix/store/abc-rustc-1.95.0", true),
            ("/usr", false),
            ("/usr/local", false),
            ("/nix/store/abc-env/usr", false),
        ] {
            assert_eq!(is_own(sysroot.as_ref()), expected, "{sysroot}");
        }
        for (below, expected) in [
            (
                "lib/rustlib/x86_64-unknown-linux-gnu/lib/libcore-1.rlib",
                true,
            ),
            ("bin/rustdoc", true),
            ("bin/rustdoc/x", false),
            ("bin/python3", false),
            ("include/zlib.h", false),
            ("lib/pkgconfig", false),
        ] {
            assert_eq!(is_of_toolchain(below.as_ref()), expected, "{below}");
        }
    }
}
