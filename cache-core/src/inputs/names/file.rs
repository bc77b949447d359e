//! Looking into a file, with bounded memory.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use object::read::elf::ElfFile64;
use object::{Endianness, Object as _, ObjectSymbol as _, ReadCache};

use crate::error::{PathContext as _, PathError};
use crate::formats::digest::BlobRef;
use crate::os::fs;
use crate::os::stamp::Stamp;

use super::content::{self, Content};
use super::minds::by_symbols;
use super::noise::is_of_system;
use super::program::Program;
use super::{Found, Minds, elf, heard, libc, tells, text};

/// Programs beyond this length are not looked at as a whole, bytes.
const MAX_PROGRAM: u64 = 64 << 20;

/// What a file is that some program read.
pub(crate) fn content(path: &Path) -> Result<Content, PathError> {
    // Linkers read many files, most of which say at once what they are.
    let first = fs::read_start(path, 512)?;
    let content = content::of(&first, 0);
    if matches!(content, Content::Data | Content::Library | Content::Program) {
        return Ok(content);
    }
    let (start, len) = start(path)?;
    Ok(content::of(&start, len))
}

/// Whether a file is a program or a shared library. There are many sources that are not.
pub(crate) fn is_program(path: &Path) -> Result<bool, PathError> {
    let start = fs::read_start(path, 64)?;
    Ok(content::of(&start, 0) == Content::Program)
}

/// Whether a file is a script for a shell.
fn is_shell_script(start: &[u8]) -> bool {
    let line = start.split(|&b| b == b'\n').next().unwrap_or_default();
    line.strip_prefix(b"#!").is_some_and(|interpreter| {
        let mut words = interpreter.split(|b| !b.is_ascii_alphanumeric());
        words.any(|word| matches!(word, b"sh" | b"ash" | b"bash" | b"dash" | b"ksh" | b"zsh"))
    })
}

fn start(path: &Path) -> Result<(Vec<u8>, u64), PathError> {
    let start = fs::read_start(path, content::START as u64)?;
    Ok((start, Stamp::at(path)?.size))
}

/// Looks for names in a file. Says of what content that is, where all of it was in memory.
pub(super) fn search(path: &Path, names: &[&[u8]]) -> Result<(Found, Option<BlobRef>), PathError> {
    let (start, len) = start(path)?;
    let mut found = Found::new(names.len());
    let mut file = fs::open(path)?;
    // What tools of the system decode is not theirs to run.
    let is_own = !is_of_system(path);
    let searched = match content::of(&start, len) {
        Content::Opaque => {
            found.is_opaque = true;
            Ok(None)
        }
        Content::Program if len <= MAX_PROGRAM => {
            program(&mut file, len, is_own, names, &mut found)
        }
        Content::Program => large_program(&mut file, len, names, &mut found).map(|()| None),
        kind => text::search(&mut file, kind, names, &mut found).map(|()| None),
    };
    let searched = searched.context("read", path)?;
    let is_text = content::of(&start, len) == Content::Text;
    found.is_opaque |= is_own && is_text && content::decodings(&start).next().is_some();
    if is_shell_script(&start) {
        found.forget_what_shells_set(names);
    }
    Ok((found, searched))
}

fn program(
    file: &mut File,
    len: u64,
    is_own: bool,
    names: &[&[u8]],
    found: &mut Found,
) -> io::Result<Option<BlobRef>> {
    let mut content = Vec::with_capacity(usize::try_from(len).unwrap_or(0) + 1);
    file.take(MAX_PROGRAM).read_to_end(&mut content)?;
    elf::search(&content, is_own, names, found);
    Ok(Some(BlobRef::of(&content)))
}

/// A program that is too large to look at as a whole is mostly something else: debug
/// information, a script and its interpreter, an archive behind the program that unpacks it.
fn large_program(file: &mut File, len: u64, names: &[&[u8]], found: &mut Found) -> io::Result<()> {
    let mut end = Vec::new();
    file.seek(SeekFrom::Start(len - content::START as u64))?;
    file.read_to_end(&mut end)?;
    found.is_opaque |= content::is_random(&end);
    file.rewind()?;
    text::search(file, Content::Program, names, found)?;
    if let Some(home) = names.iter().position(|name| name == b"HOME")
        && is_for_users(file)
    {
        found.forget(home);
    }
    Ok(())
}

fn is_for_users(file: &File) -> bool {
    let parts = ReadCache::new(file);
    ElfFile64::<Endianness, _>::parse(&parts).is_ok_and(|program| {
        let mut symbols = program.dynamic_symbols();
        symbols.any(|s| s.is_definition() && s.name_bytes().is_ok_and(libc::is_for_users))
    })
}

/// Whether a library can ask for variables by `getenv` only.
pub(super) fn is_heard(path: &Path) -> Result<bool, PathError> {
    Ok(in_program(path, heard::is_heard)?.unwrap_or(false))
}

/// Whether code can ask for variables, as far as its functions tell.
#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the method alone is not one for programs of any lifetime"
)]
pub(super) fn asks(path: &Path) -> Result<bool, PathError> {
    Ok(in_program(path, |program| program.asks())?.unwrap_or(true))
}

/// What the symbols of a program say that it minds. `None`: nothing.
#[expect(
    clippy::redundant_closure,
    reason = "the function alone is not one for programs of any lifetime"
)]
pub(super) fn minds(path: &Path) -> Result<Option<Minds>, PathError> {
    Ok(in_program(path, |program| by_symbols(program))?.flatten())
}

/// What code of any kind may tell an interpreter to ask for.
pub(super) fn told_to_tell(path: &Path) -> Result<Minds, PathError> {
    let (_, len) = start(path)?;
    if len > MAX_PROGRAM {
        return Ok(Minds::UNKNOWN);
    }
    Ok(tells::in_text(&fs::read(path)?))
}

/// What is so of a program. `None`: it is none, or too large to tell.
fn in_program<A>(path: &Path, find: impl Fn(&Program<'_>) -> A) -> Result<Option<A>, PathError> {
    let (_, len) = start(path)?;
    if len > MAX_PROGRAM {
        return Ok(None);
    }
    let content = fs::read(path)?;
    Ok(Program::parse(&content).map(|program| find(&program)))
}
