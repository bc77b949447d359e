//! Variables that the C library reads when one of its functions is called, and some that
//! other libraries do.
//!
//! The C library is part of every program and names the variables of all its functions.
//! So for itself it names none of these; a program names those that the functions read
//! which it takes from there.

use super::program::Program;

/// Variables, and the functions that read them.
struct Row {
    names: &'static [&'static str],
    functions: &'static [&'static str],
}

const ROWS: &[Row] = &[
    Row {
        names: &["TZ"],
        functions: &[
            "ctime",
            "ctime_r",
            "localtime",
            "localtime64",
            "localtime_r",
            "localtime64_r",
            "mktime",
            "mktime64",
            "strftime",
            "strftime_l",
            "timelocal",
            "tzset",
        ],
    },
    Row {
        names: &["HOME"],
        functions: &["wordexp"],
    },
    Row {
        names: &["TMPDIR"],
        functions: &["tempnam"],
    },
    Row {
        names: &["PATH"],
        functions: &["execlp", "execvp", "execvpe", "posix_spawnp"],
    },
];

/// Functions of libraries that would look into a user's home: for how terminals and lines
/// are edited, and where something temporary may be executed. The plug-ins of linkers bring
/// them along, which have neither.
const OF_USERS: &[&[u8]] = &[
    b"LLVMGetGlobalContext",
    b"el_init",
    b"ffi_call",
    b"rl_initialize",
    b"tigetstr",
];

/// Whether a name says nothing in this file, because it is the C or C++ library's own, or
/// that of a library which programs bring along that are not for users.
pub(super) fn owns(program: &Program<'_>, name: &[u8]) -> bool {
    if name == b"HOME" && program.exports.iter().any(|export| is_for_users(export)) {
        return true;
    }
    // Functions that nothing else gives to others.
    let marks: [&[u8]; 3] = [
        b"__libc_start_main",
        b"gnu_get_libc_version",
        b"_ZNSt6localeC1EPKc",
    ];
    (is_of_locale(name) || row(name).is_some())
        && marks.iter().any(|mark| program.exports.contains(mark))
}

/// Whether a function is one that only a library for users gives to others.
pub(super) fn is_for_users(function: &[u8]) -> bool {
    OF_USERS.contains(&function)
}

/// Whether a program calls a function of the C library that reads the variable.
pub(super) fn reads(program: &Program<'_>, name: &[u8]) -> bool {
    row(name).is_some_and(|row| {
        let mut functions = row.functions.iter();
        functions.any(|function| program.imports.contains(function.as_bytes()))
    })
}

/// Whether a program asks the C library for the locale. What it depends on is recorded by
/// the locale in force then (see `asks`), so that its naming the variables too says little.
pub(super) fn sets_locale(program: &Program<'_>) -> bool {
    let functions: [&[u8]; 3] = [b"setlocale", b"newlocale", b"_ZNSt6localeC1EPKc"];
    functions
        .iter()
        .any(|function| program.imports.contains(function))
}

/// Whether a variable says no more to this program than in which language to talk: the
/// compilers of GCC, and what is made of the library for object files of GNU's.
pub(super) fn is_language_only(
    program: &Program<'_>,
    name: &[u8],
    contains: impl Fn(&[u8]) -> bool,
) -> bool {
    is_of_locale(name)
        && (program
            .needs
            .iter()
            .any(|library| library.starts_with(b"libbfd-") || library.starts_with(b"libopcodes-"))
            || program.exports.contains(b"bfd_openr".as_slice())
            || contains(b"GCC_COLORS")
            || contains(b"COLLECT_GCC"))
}

/// Whether a variable says which language to talk.
pub(super) fn is_of_locale(name: &[u8]) -> bool {
    name == b"LANG" || name == b"LANGUAGE" || name.starts_with(b"LC_")
}

fn row(name: &[u8]) -> Option<&'static Row> {
    ROWS.iter()
        .find(|row| row.names.iter().any(|known| name == known.as_bytes()))
}
