//! Which libraries the dynamic loader finds by their names.
//!
//! Each dynamically linked program's loader reads `/etc/ld.so.cache`, a table of the libraries in the system's directories
//! that `ldconfig` makes anew whenever one is installed. To the loader it tells where the libraries are
//! that it looks for, by name; what they hold is an input of its own when it then opens them. So the input is not the file, but
//! one fact for each name that was opened or looked for: which paths the table has for it, in order. Two images with
//! the same compilers share results though other things are installed in one of them.
//!
//! | fact | value |
//! |---|---|
//! | `library NAME` | the paths of libraries of this architecture with that name, one on each line; `None`: there are none |
//!
//! The observer tells the loader's reading from any other by where in the process the call comes from
//! (`Access::FindLibraries`); a program that reads the file itself has the whole of it as an input. A table in a
//! form that is not known here is an input as a whole, too.
//!
//! Source: `cache_file_new` and `file_entry_new` in glibc's `dl-cache.h` (2.2 and later; the only form that `ldconfig`
//! writes since 2.32).

use std::collections::BTreeMap;
use std::path::Path;

use crate::inputs::input::Input;
use crate::os::fs;

/// Variables that the loader itself reads, before the program that it loads. Its code is opened by the kernel, and is not
/// among what a process was seen to run.
pub(crate) const READ_BY_LOADER: &[&str] = &[
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "LD_AUDIT",
    "LD_BIND_NOT",
    "LD_BIND_NOW",
    "LD_DEBUG",
    "LD_DYNAMIC_WEAK",
    "LD_SHOW_AUXV",
    "LD_TRACE_LOADED_OBJECTS",
    "LD_WARN",
    "GLIBC_TUNABLES",
];

/// Where the table is.
pub(crate) const TABLE: &str = "/etc/ld.so.cache";

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const ENTRY: usize = 24;

/// What the table says of a library for the GNU C library and this architecture.
const FLAGS: u32 = if cfg!(target_arch = "aarch64") {
    0x0a03
} else {
    0x0303
};

/// What a fact is called, before the library's name.
const PREFIX: &str = "library ";

/// A value that no table gives.
const UNKNOWN: &[u8] = b"\0";

/// The table.
pub(crate) struct Libraries(Option<BTreeMap<Vec<u8>, Vec<u8>>>);

impl Libraries {
    /// As it is now.
    pub(crate) fn read() -> Self {
        match fs::read(Path::new(TABLE)) {
            Ok(table) => Self(parse(&table)),
            // The loader does without.
            Err(e) if e.is_missing() => Self(Some(BTreeMap::new())),
            Err(_) => Self(None),
        }
    }

    /// The value of a fact by its name; `None` also for a name that is no fact of these.
    pub(crate) fn value(&self, fact: &str) -> Option<Vec<u8>> {
        let name = fact.strip_prefix(PREFIX)?;
        match &self.0 {
            Some(table) => table.get(name.as_bytes()).cloned(),
            None => Some(UNKNOWN.to_vec()),
        }
    }

    /// Facts about these names; `None` where they cannot be told.
    pub(crate) fn facts<'a>(&self, names: impl Iterator<Item = &'a [u8]>) -> Option<Vec<Input>> {
        let table = self.0.as_ref()?;
        names
            .map(|name| {
                Some(Input::Argument {
                    name: format!("{PREFIX}{}", std::str::from_utf8(name).ok()?),
                    value: table.get(name).cloned(),
                })
            })
            .collect()
    }
}

/// Whether a name is that of a fact of these.
pub(crate) fn is_fact(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Names and paths, those of one name one on each line.
fn parse(table: &[u8]) -> Option<BTreeMap<Vec<u8>, Vec<u8>>> {
    if !table.starts_with(MAGIC) {
        return None;
    }
    let word = |at: usize| {
        let bytes = table.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(u32::from_ne_bytes(bytes))
    };
    let text = |at: u32| {
        let rest = table.get(usize::try_from(at).ok()?..)?;
        rest.get(..memchr::memchr(0, rest)?)
    };
    let count = usize::try_from(word(MAGIC.len())?).ok()?;
    let entries = table.get(HEADER..HEADER.checked_add(count.checked_mul(ENTRY)?)?)?;
    let mut known: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for n in 0..entries.len() / ENTRY {
        let at = HEADER + n * ENTRY;
        if word(at)? != FLAGS {
            continue;
        }
        let (name, path) = (text(word(at + 4)?)?, text(word(at + 8)?)?);
        let paths = known.entry(name.to_vec()).or_default();
        if !paths.is_empty() {
            paths.push(b'\n');
        }
        paths.extend_from_slice(path);
    }
    Some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table with these flags, names and paths.
    fn table(entries: &[(u32, &str, &str)]) -> Vec<u8> {
        let mut table = MAGIC.to_vec();
        let count = u32::try_from(entries.len()).unwrap();
        table.extend(count.to_ne_bytes());
        table.resize(HEADER, 0);
        let mut texts = Vec::new();
        let start = HEADER + entries.len() * ENTRY;
        for (flags, name, path) in entries {
            table.extend(flags.to_ne_bytes());
            for text in [name, path] {
                table.extend(u32::try_from(start + texts.len()).unwrap().to_ne_bytes());
                texts.extend_from_slice(text.as_bytes());
                texts.push(0);
            }
            table.extend([0; 12]);
        }
        table.extend(texts);
        table
    }

    #[test]
    fn names_have_the_paths_of_this_architecture_in_order() {
        let table = table(&[
            (FLAGS, "liba.so.1", "/lib/hwcaps/liba.so.1"),
            (0x0003, "liba.so.1", "/lib32/liba.so.1"),
            (FLAGS, "liba.so.1", "/lib/liba.so.1"),
            (FLAGS, "libb.so", "/lib/libb.so"),
        ]);
        let libraries = Libraries(parse(&table));
        let value = |name| libraries.value(name).map(|v| String::from_utf8(v).unwrap());
        let both = "/lib/hwcaps/liba.so.1\n/lib/liba.so.1";
        assert_eq!(value("library liba.so.1").as_deref(), Some(both));
        assert_eq!(value("library libb.so").as_deref(), Some("/lib/libb.so"));
        assert_eq!(value("library libc.so"), None);
        assert_eq!(value("libb.so"), None);
        let names: [&[u8]; 2] = [b"libb.so", b"libc.so"];
        for fact in libraries.facts(names.into_iter()).unwrap() {
            let Input::Argument { name, value } = fact else {
                panic!("{fact:?}");
            };
            assert!(is_fact(&name));
            assert_eq!(libraries.value(&name), value);
        }
        assert!(libraries.facts([&b"\xff"[..]].into_iter()).is_none());
    }

    #[test]
    fn a_table_in_another_form_has_no_facts() {
        let whole = table(&[(FLAGS, "liba.so", "/liba.so")]);
        let mut counts_more = whole.clone();
        counts_more[MAGIC.len()] = 200;
        let mut leads_out = whole.clone();
        leads_out[HEADER + 4..HEADER + 8].fill(0xff);
        let old = [b"ld.so-1.7.0", &*whole].concat();
        for table in [
            b"".as_slice(),
            MAGIC,
            &old,
            &counts_more,
            &leads_out,
            &whole[..HEADER + 30],
        ] {
            let libraries = Libraries(parse(table));
            assert!(
                libraries.facts([&b"liba.so"[..]].into_iter()).is_none(),
                "{table:?}"
            );
            // It is equal to nothing that was recorded.
            assert_eq!(libraries.value("library liba.so").as_deref(), Some(UNKNOWN));
        }
    }

    #[test]
    fn the_table_of_this_system_knows_its_c_library() {
        if !fs::exists(Path::new(TABLE)) {
            return;
        }
        let path = Libraries::read().value("library libc.so.6").unwrap();
        assert!(path.ends_with(b"/libc.so.6"), "{path:?}");
    }
}
