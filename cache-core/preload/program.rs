//! What a program is that is about to be executed, and where it is.

use core::ffi::c_char;
use core::ops::Range;

use crate::libc::{self, bytes};
use crate::loader::{LOADER, is_sanitizer};
use crate::looks::{self, Stat};
use crate::observer;
use crate::shorter;
use crate::sys::{self, HERE, plain, trusted};

/// What a program imports that may want its calls to be interrupted by signals: `signal` has them made
/// again.
const HANDLES_SIGNALS: &[u8] = b"sigaction\0";

/// Programs that look at many files, or start those that do, as the last part of their names is
/// without versions (`x86_64-linux-gnu-gcc-12`).
const NAMES: [&[u8]; 32] = [
    b"ar",
    b"as",
    b"bash",
    b"c++",
    b"cc",
    b"cc1",
    b"cc1plus",
    b"clang",
    b"clang++",
    b"cmake",
    b"collect2",
    b"cpp",
    b"dash",
    b"g++",
    b"gcc",
    b"gfortran",
    b"gmake",
    b"ld",
    b"ld.bfd",
    b"ld.lld",
    b"lld",
    b"lto1",
    b"make",
    b"meson",
    b"ninja",
    b"nm",
    b"objcopy",
    b"perl",
    b"python",
    b"ranlib",
    b"rustc",
    b"sh",
];

pub(crate) type Text = *const c_char;

/// A program that takes the object.
#[derive(Clone, Copy)]
pub(crate) struct Taker {
    /// Whether it needs a library with a name as rustc gives it.
    pub(crate) asks_for_rust: bool,
}

/// How much of a program is read at first: an ELF file has its program headers there, a script its first
/// line. Small, since who executes something may have little stack left.
const START: usize = 1024;

/// Whether a program is a known one, one that handles signals (`env` is such a one), or a script that one of these runs, and
/// takes the object.
pub(crate) unsafe fn is_of_use(file: Text, by_path: bool) -> Option<Taker> {
    let mut start = [0; START];
    // SAFETY: the program's string, as `open` wants it.
    unsafe {
        let program = open(file, by_path)?;
        let length = program.start(&mut start)?;
        if !start.starts_with(b"#!") {
            let start = start.get(..length)?;
            let (taker, names) = program.takes_object(start)?;
            let is_of_use = is_known(bytes(file, 4096)) || program.imports(&names, HANDLES_SIGNALS);
            return is_of_use.then_some(taker);
        }
        let end = length.min(START - 1);
        *start.get_mut(end)? = b'\n';
        let line = start.get(2..)?;
        let from = 2 + line.iter().position(|byte| !matches!(byte, b' ' | b'\t'))?;
        let word = start.get_mut(from..)?;
        let end = word.iter().position(u8::is_ascii_whitespace)?;
        *word.get_mut(end)? = 0;
        let is_known = is_known(word.get(..end)?);
        let program = open_at(word.as_ptr().cast())?;
        let length = program.start(&mut start)?;
        let (taker, names) = program.takes_object(start.get(..length)?)?;
        (is_known || program.imports(&names, HANDLES_SIGNALS)).then_some(taker)
    }
}

fn is_known(file: &[u8]) -> bool {
    let mut name = file;
    if let Some(slash) = name.iter().rposition(|byte| *byte == b'/') {
        name = name.get(slash + 1..).unwrap_or_default();
    }
    while let [rest @ .., b'0'..=b'9' | b'.' | b'-'] = name {
        // `cc1` ends so by itself.
        if NAMES.contains(&name) {
            return true;
        }
        name = rest;
    }
    if let Some(dash) = name.iter().rposition(|byte| *byte == b'-') {
        name = name.get(dash + 1..).unwrap_or_default();
    }
    NAMES.contains(&name)
}

/// A file that is open for looking into it. That is not noted: what the program does with it is.
struct Program(usize);

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: it is ours.
        unsafe { plain(sys::CLOSE, [self.0, 0, 0, 0, 0]) };
    }
}

/// Opens a program as it would be found.
unsafe fn open(file: Text, by_path: bool) -> Option<Program> {
    // SAFETY: the program's string and its environment, as `execvp` looks at it.
    unsafe {
        let name = bytes(file, 4096);
        if !by_path || name.contains(&b'/') {
            return open_at(file);
        }
        let mut directories = search_path()?.split(|byte| *byte == b':');
        directories.find_map(|directory| open_in(directory, name))
    }
}

/// Where programs are looked for.
unsafe fn search_path<'a>() -> Option<&'a [u8]> {
    // SAFETY: the program's environment, as `execvp` looks at it.
    unsafe {
        let mut entry = libc::environ;
        if entry.is_null() {
            return None;
        }
        loop {
            let text = (*entry).as_ref()?;
            if let Some(path) = bytes(text, 8192).strip_prefix(b"PATH=") {
                return Some(path);
            }
            entry = entry.add(1);
        }
    }
}

#[inline(never)]
unsafe fn open_in(directory: &[u8], name: &[u8]) -> Option<Program> {
    // An empty one is the current directory.
    let directory = if directory.is_empty() {
        b"."
    } else {
        directory
    };
    let mut room = [0; LONGEST_PATH];
    // SAFETY: a string.
    unsafe { open_at(join(directory, name, &mut room)?) }
}

/// A program in a directory of the search path. `None`: it is too long.
fn join(directory: &[u8], name: &[u8], room: &mut [u8; LONGEST_PATH]) -> Option<Text> {
    let mut length = 0;
    for part in [directory, b"/", name, b"\0"] {
        let end = length + part.len();
        room.get_mut(length..end)?.copy_from_slice(part);
        length = end;
    }
    Some(room.as_ptr().cast())
}

/// How long a path is that is put together here, bytes.
pub(crate) const LONGEST_PATH: usize = 512;

/// The program that a search finds, if it is in an absolute directory and all before it were looked through
/// in vain, which is noted: to execute it there is what the search would come to.
#[inline(never)]
pub(crate) unsafe fn find(file: Text, room: &mut [u8; LONGEST_PATH]) -> Option<Text> {
    // SAFETY: the program's string, and those that are put together.
    unsafe {
        let name = bytes(file, LONGEST_PATH);
        // Before it begins there is no page to call from.
        observer::ring()?;
        if name.is_empty() || name.contains(&b'/') {
            return None;
        }
        for directory in search_path()?.split(|byte| *byte == b':') {
            let is_absolute = directory.first() == Some(&b'/');
            let path = is_absolute.then(|| join(directory, name, room))??;
            if looks::is_no_program(path) {
                continue;
            }
            // A text without a first line for the kernel is run by a shell.
            let mut start = [0; START];
            open_at(path)?.start(&mut start)?;
            let is_program = start.starts_with(b"\x7fELF") || start.starts_with(b"#!");
            return is_program.then_some(path);
        }
        None
    }
}

unsafe fn open_at(path: Text) -> Option<Program> {
    // What is no plain file might be a pipe, which is not to be waited for.
    const FLAGS: usize = 0o200_4400; // O_CLOEXEC | O_NONBLOCK | O_NOCTTY
    let args = [HERE, path as usize, FLAGS, 0, 0];
    // SAFETY: the caller's: a string.
    let fd = unsafe { trusted(sys::OPENAT, args) };
    usize::try_from(fd).ok().map(Program)
}

impl Program {
    fn read(&self, at: usize, into: &mut [u8]) -> Option<usize> {
        let args = [self.0, into.as_mut_ptr() as usize, into.len(), at, 0];
        // SAFETY: there is that much room.
        usize::try_from(unsafe { plain(sys::PREAD, args) }).ok()
    }

    /// Reads its first bytes, if it is a plain file that runs as its user.
    fn start(&self, into: &mut [u8; START]) -> Option<usize> {
        let mut stat = Stat::new();
        // SAFETY: there is room.
        let looked = unsafe { plain(sys::FSTAT, [self.0, stat.at(), 0, 0, 0]) };
        let is_usual = looked == 0 && stat.is_file() && !stat.sets_id();
        is_usual.then(|| self.read(0, into))?
    }

    /// What it is, and where the names lie of what it imports, if the loader will take the object without
    /// a word.
    fn takes_object(&self, start: &[u8]) -> Option<(Taker, Range<usize>)> {
        // 64 bits, little end first; a program or a library that can be run; for x86-64.
        let is_ours = start.starts_with(b"\x7fELF\x02\x01")
            && matches!(start.get(16..20)?, [2 | 3, 0, 62, 0]);
        if !is_ours {
            return None;
        }
        let headers = start.get(word(start, 32)?..)?;
        let count = u16::from_le_bytes([*start.get(56)?, *start.get(57)?]);
        let headers = headers.chunks_exact(56).take(usize::from(count));
        if headers.len() != usize::from(count) {
            return None;
        }
        let kind = |header: &[u8]| header.first().copied().unwrap_or(0);
        let interpreter = headers.clone().find(|header| kind(header) == 3)?;
        let mut name = [0; 256];
        let length = word(interpreter, 32)?.min(name.len());
        let read = self.read(word(interpreter, 8)?, name.get_mut(..length)?)?;
        if !name.get(..read)?.strip_suffix(b"\0")?.ends_with(LOADER) {
            return None;
        }
        let dynamic = headers.clone().find(|header| kind(header) == 2)?;
        let mut entries = [0; 1024];
        let length = word(dynamic, 32)?;
        let read = self.read(word(dynamic, 8)?, entries.get_mut(..length)?)?;
        let entries = entries.get(..read)?.chunks_exact(16);
        let values = |tag: usize| {
            let entries = entries.clone();
            entries.filter_map(move |e| (word(e, 0)? == tag).then(|| word(e, 8))?)
        };
        let (strings, size) = (values(5).next()?, values(10).next()?);
        let loaded = headers.clone().filter(|header| kind(header) == 1);
        let mut offsets = loaded.filter_map(|header| {
            let inside = strings.checked_sub(word(header, 16)?)?;
            (inside < word(header, 32)?).then(|| Some(word(header, 8)? + inside))?
        });
        let strings = offsets.next()?;
        let mut asks_for_rust = false;
        for needed in values(1) {
            let mut name = [0; 256];
            let read = self.read(strings + needed, &mut name)?;
            let name = name.get(..read)?.split(|byte| *byte == 0).next()?;
            if is_sanitizer(name) {
                return None;
            }
            asks_for_rust |= shorter::is_of_rust(name);
        }
        let names = strings..strings.checked_add(size)?;
        Some((Taker { asks_for_rust }, names))
    }

    /// Whether one of the names that lie there ends so. Of very many, the first are looked through.
    fn imports(&self, names: &Range<usize>, name: &[u8]) -> bool {
        const MOST: usize = 1 << 18;
        let mut window = [0; START];
        let end = names.end.min(names.start.saturating_add(MOST));
        let mut at = names.start;
        while at < end
            && let Some(read) = self.read(at, &mut window)
            && let Some(read) = window.get(..read)
        {
            if read.windows(name.len()).any(|place| place == name) {
                return true;
            }
            if read.len() < window.len() {
                break;
            }
            // It may begin where this one ends.
            at += window.len() - name.len();
        }
        false
    }
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + 8)?.try_into().ok()?;
    Some(usize::from_le_bytes(bytes))
}
