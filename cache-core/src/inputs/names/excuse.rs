//! Functions that name a variable without making an outcome depend on its value.
//!
//! Every Rust program contains what its standard library names, and every build script
//! that compiles C what the crates for that name. These names count only if something else
//! in the program refers to them too, which its symbols tell. Of a program without
//! symbols, its texts tell which of the crates are part of it.

use super::program::Program;
use super::uses;

/// A variable and the crates whose functions may name it.
struct Excuse {
    name: &'static str,
    crates: &'static [&'static str],
    /// Texts of programs that contain one of the crates.
    texts: &'static [&'static str],
}

const EXCUSES: &[Excuse] = &[
    // How the standard library shows errors, and how large it makes stacks.
    Excuse {
        name: "RUST_BACKTRACE",
        crates: &[],
        texts: &[],
    },
    Excuse {
        name: "RUST_LIB_BACKTRACE",
        crates: &[],
        texts: &[],
    },
    Excuse {
        name: "RUST_MIN_STACK",
        crates: &[],
        texts: &[],
    },
    // Where programs are looked for: what is looked at there is seen.
    Excuse {
        name: "PATH",
        crates: &[
            "autotools",
            "cc",
            "clang_sys",
            "cmake",
            "find_msvc_tools",
            "pkg_config",
            "vcpkg",
            "which",
        ],
        texts: TEXTS,
    },
    // How much is done at a time.
    Excuse {
        name: "NUM_JOBS",
        crates: &[
            "autotools",
            "cc",
            "cmake",
            "jobserver",
            "num_cpus",
            "openssl_src",
        ],
        texts: TEXTS,
    },
    // Set for the compilers that are started.
    Excuse {
        name: "LC_ALL",
        crates: &["cc"],
        texts: TEXTS,
    },
    // Where temporary files go.
    Excuse {
        name: "TMPDIR",
        crates: &["cc"],
        texts: TEXTS,
    },
];

/// Texts of the crates `cc`, `cmake` and `which`.
const TEXTS: &[&str] = &[
    "CRATE_CC_NO_DEFAULTS",
    "CMAKE_TOOLCHAIN_FILE",
    "cannot find binary path",
];

/// Whether a name may stand in a Rust program without saying anything.
pub(super) fn may_be_excused(name: &[u8]) -> bool {
    excuse(name).is_some()
}

/// Whether what refers to a name, or is one among the instructions, says nothing.
/// `contains`: whether a text is in the program.
pub(super) fn is_excused(
    program: &Program<'_>,
    name: &[u8],
    place: u64,
    contains: impl Fn(&[u8]) -> bool,
) -> bool {
    let Some(excuse) = excuse(name) else {
        return false;
    };
    if !program.has_symbols() {
        let is_of_crate = || excuse.texts.iter().any(|text| contains(text.as_bytes()));
        // Names that the standard library compares are not told from others.
        let is_of_std = program.is_code(place) && name != b"TMPDIR";
        return is_of_std || excuse.crates.is_empty() || is_of_crate();
    }
    let Some(users) = uses::trace(program, vec![place]) else {
        return false;
    };
    users.into_iter().all(|user| {
        let Some((start, symbol)) = program.function_at(user) else {
            return false;
        };
        if !is_temp_dir(symbol) {
            return excuses(name, symbol);
        }
        uses::of(program, start).is_some_and(|callers| {
            let mut callers = callers.into_iter().map(|at| program.function_at(at));
            callers.all(|caller| caller.is_some_and(|(_, s)| is_temp_dir(s) || (excuses(name, s))))
        })
    })
}

/// Whether a function of this name may name a variable without saying anything.
fn excuses(name: &[u8], symbol: &[u8]) -> bool {
    is_of_std(symbol)
        || (name == b"RUST_MIN_STACK" && symbol.starts_with(b"_ZN3std6thread"))
        || excuse(name).is_some_and(|excuse| excuse.crates.iter().any(|c| is_of(symbol, c)))
}

/// Whether a function is the standard library's that reads `TMPDIR` for whoever calls it.
fn is_temp_dir(symbol: &[u8]) -> bool {
    memchr::memmem::find(symbol, b"3std3env8temp_dir").is_some()
}

fn excuse(name: &[u8]) -> Option<&'static Excuse> {
    EXCUSES.iter().find(|excuse| name == excuse.name.as_bytes())
}

/// Whether a symbol is one that the standard library itself was compiled to: without
/// anything of the crate that uses it.
fn is_of_std(symbol: &[u8]) -> bool {
    if symbol.starts_with(b"_R") {
        let mut roots = crate_roots(symbol).peekable();
        return roots.peek().is_some()
            && roots.all(|root| matches!(root, b"std" | b"core" | b"alloc"));
    }
    // Older standard libraries, whose symbols tell instances of generic functions not apart.
    let functions: [&[u8]; 5] = [
        b"_ZN3std5panic19get_backtrace_style17h",
        b"_ZN3std9panicking",
        b"_ZN3std9backtrace",
        b"_ZN3std3sys3pal",
        b"_ZN3std3sys7process",
    ];
    functions
        .iter()
        .any(|function| symbol.starts_with(function))
}

/// Whether a symbol is one of a crate's own functions.
fn is_of(symbol: &[u8], name: &str) -> bool {
    if symbol.starts_with(b"_R") {
        return crate_roots(symbol).next() == Some(name.as_bytes());
    }
    let path = format!("_ZN{}{name}", name.len());
    // What a trait demands of a type is called by the type.
    let method = symbol.strip_prefix(b"_ZN").and_then(|rest| {
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        rest.get(digits..)
    });
    let of_type = format!("_$LT${name}..");
    symbol.starts_with(path.as_bytes())
        || method.is_some_and(|method| method.starts_with(of_type.as_bytes()))
}

/// The names of the crates in a symbol of Rust's newer kind (RFC 2603): `Cs…_3std`.
fn crate_roots(symbol: &[u8]) -> impl Iterator<Item = &[u8]> {
    memchr::memmem::find_iter(symbol, b"Cs").filter_map(|at| {
        let rest = symbol.get(at + 2..)?;
        let hash = rest
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric())
            .count();
        let rest = rest.get(hash..)?.strip_prefix(b"_")?;
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let len: usize = std::str::from_utf8(rest.get(..digits)?)
            .ok()?
            .parse()
            .ok()?;
        rest.get(digits..digits.checked_add(len)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_tell_whose_function_it_is() {
        let of_std = b"_RNvNtCsjrHSEGnQ3l9_3std5panic19get_backtrace_style";
        assert!(excuses(b"RUST_BACKTRACE", of_std));
        let instance = b"_RINvNtCsgEmfK2I1SDS_4core3ptr4callNtCs1_3std3env4VarsECs12_8my_crate";
        assert!(!excuses(b"RUST_BACKTRACE", instance));
        let of_user = b"_ZN18build_script_build4main17h74bb549b8719006cE";
        assert!(!excuses(b"PATH", of_user));
        assert!(excuses(b"PATH", b"_ZN2cc5Build5which17h74bb549b8719006cE"));
        assert!(excuses(
            b"PATH",
            b"_ZN58_$LT$cc..Tool$u20$as$u20$core..fmt..Debug$GT$3fmt17h0E"
        ));
        assert!(excuses(b"NUM_JOBS", b"_RNvMs_Cs9a_2ccNtB4_5Build3run"));
        assert!(!excuses(b"HOME", b"_ZN2cc5Build5which17h74bb549b8719006cE"));
        assert!(!excuses(b"PATH", b"_ZN3ccx5Build5which17h0E"));
        // Where a compiler may have put anything of the program's own.
        assert!(!is_of_std(
            b"_ZN3std3sys9backtrace28__rust_begin_short_backtrace17h0E"
        ));
    }
}
