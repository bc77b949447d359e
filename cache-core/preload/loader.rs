//! What both sides know of the dynamic loader.

/// How the loader of programs with the GNU C library is called.
pub(crate) const LOADER: &[u8] = b"/ld-linux-x86-64.so.2";

/// The variable by which it is told what to load first.
pub(crate) const VARIABLE: &str = "LD_PRELOAD";

/// With one of these, it loads something else first, or tells of what it loads.
pub(crate) const VARIABLES: [&str; 4] =
    [VARIABLE, "LD_AUDIT", "LD_DEBUG", "LD_TRACE_LOADED_OBJECTS"];

/// Whether a library is a sanitizer's: it ends the program if others were loaded before it.
pub(crate) fn is_sanitizer(library: &[u8]) -> bool {
    const NAMES: [&[u8]; 6] = [
        b"libasan",
        b"libclang_rt",
        b"libhwasan",
        b"liblsan",
        b"libtsan",
        b"libubsan",
    ];
    NAMES.iter().any(|name| library.starts_with(name))
}
