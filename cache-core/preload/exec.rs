//! Getting from one program into the next.

use core::ffi::{c_char, c_int, c_void};
use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::libc::{self, bytes, returned};
use crate::loader::{LOADER, VARIABLE, VARIABLES, is_sanitizer};
use crate::looks::{self, Stat};
use crate::next::{self, Next};
use crate::sys::{self, HERE, plain, trusted};

/// The variable as it was given to this process, with a zero at its end.
static mut ENTRY: [u8; 4096] = [0; 4096];

/// Whether there is one.
static IS_PASSED_ON: AtomicBool = AtomicBool::new(false);

/// What a program imports that may want its calls to be interrupted by signals: `signal` has them made
/// again.
const HANDLES_SIGNALS: &[u8] = b"sigaction\0";

/// Programs that look at many files, or start those that do, as the last part of their names is
/// without versions (`x86_64-linux-gnu-gcc-12`).
const NAMES: [&[u8]; 25] = [
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
    b"lld",
    b"lto1",
    b"make",
    b"meson",
    b"ninja",
    b"perl",
    b"python",
    b"rustc",
    b"sh",
];

type Text = *const c_char;
type Texts = *const *mut c_char;

/// More of an entry need not be read to know whose it is.
const LONGEST: usize = 32;

/// Whether an entry of an environment is that of a variable.
fn is_of(entry: &[u8], variable: &str) -> bool {
    let rest = entry.strip_prefix(variable.as_bytes());
    rest.is_some_and(|rest| rest.first() == Some(&b'='))
}

/// Takes the variable out of the environment.
pub(crate) unsafe fn hide(environment: *mut *mut c_char) {
    // SAFETY: an array of strings with a null at its end, and `ENTRY` before anybody else runs.
    unsafe {
        let mut entry = environment;
        while let Some(text) = (*entry).as_ref() {
            let text = bytes(text, 4095);
            if !is_of(text, VARIABLE) {
                entry = entry.add(1);
                continue;
            }
            if text.len() < 4095 {
                ptr::copy_nonoverlapping(text.as_ptr(), (&raw mut ENTRY).cast(), text.len());
                IS_PASSED_ON.store(true, Ordering::Release);
            }
            let mut to = entry;
            while !(*to).is_null() {
                *to = *to.add(1);
                to = to.add(1);
            }
        }
    }
}

/// Calls with an environment that has the variable, if the program should have the object.
unsafe fn pass_on(file: Text, by_path: bool, env: Texts, call: impl Fn(Texts) -> c_int) -> c_int {
    // SAFETY: the program's arguments.
    unsafe {
        if env.is_null() || looks::ring().is_none() || !IS_PASSED_ON.load(Ordering::Acquire) {
            return call(env);
        }
        let mut count = 0;
        while let Some(text) = (*env.add(count)).as_ref() {
            let text = bytes(text, LONGEST);
            if VARIABLES.iter().any(|name| is_of(text, name)) {
                return call(env);
            }
            count += 1;
        }
        if count > 1020 || !is_wanted(file, by_path) {
            return call(env);
        }
        let answer = match count {
            0..120 => with_entry::<128>(env, count, &call),
            120..500 => with_entry::<512>(env, count, &call),
            // The stack of a thread may have no more than 16 KiB.
            _ => with_entry::<1024>(env, count, &call),
        };
        // Spawning returns the error itself.
        let error = if answer == -1 {
            *libc::__errno_location()
        } else {
            answer
        };
        if error == TOO_LONG {
            // It may be the variable that is too much.
            return call(env);
        }
        answer
    }
}

/// On the stack: a child of `vfork` has its parent's heap.
#[inline(never)]
unsafe fn with_entry<const ROOM: usize>(
    env: Texts,
    count: usize,
    call: &impl Fn(Texts) -> c_int,
) -> c_int {
    let mut longer = [ptr::null_mut::<c_char>(); ROOM];
    // SAFETY: the array has room for the entries, one more, and a null.
    unsafe {
        ptr::copy_nonoverlapping(env, longer.as_mut_ptr(), count);
        *longer.as_mut_ptr().add(count) = (&raw mut ENTRY).cast();
    }
    call(longer.as_ptr())
}

unsafe fn is_wanted(file: Text, by_path: bool) -> bool {
    // SAFETY: the program's string, and `ENTRY` with the object's path after the name.
    unsafe {
        let object = (&raw const ENTRY).cast::<u8>().add(VARIABLE.len() + 1);
        let may_read = [HERE, object as usize, 4, 0, 0];
        trusted(sys::FACCESSAT, may_read) == 0 && is_of_use(file, by_path).unwrap_or(false)
    }
}

/// How much of a program is read at first: an ELF file has its program headers there, a script its first
/// line. Small, since who executes something may have little stack left.
const START: usize = 1024;

/// Whether a program is a known one, one that handles signals, or a script that a known one runs, and
/// takes the object.
unsafe fn is_of_use(file: Text, by_path: bool) -> Option<bool> {
    let mut start = [0; START];
    // SAFETY: the program's string, as `open` wants it.
    unsafe {
        let program = open(file, by_path)?;
        let length = program.start(&mut start)?;
        if !start.starts_with(b"#!") {
            let start = start.get(..length)?;
            let names = program.takes_object(start)?;
            return Some(is_known(bytes(file, 4096)) || program.imports(&names, HANDLES_SIGNALS));
        }
        let end = length.min(START - 1);
        *start.get_mut(end)? = b'\n';
        let line = start.get(2..)?;
        let from = 2 + line.iter().position(|byte| !matches!(byte, b' ' | b'\t'))?;
        let word = start.get_mut(from..)?;
        let end = word.iter().position(u8::is_ascii_whitespace)?;
        *word.get_mut(end)? = 0;
        if !is_known(word.get(..end)?) {
            return None;
        }
        let program = open_at(word.as_ptr().cast())?;
        let length = program.start(&mut start)?;
        Some(program.takes_object(start.get(..length)?).is_some())
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
        let mut entry = libc::environ;
        if entry.is_null() {
            return None;
        }
        let path = loop {
            let text = (*entry).as_ref()?;
            if let Some(path) = bytes(text, 8192).strip_prefix(b"PATH=") {
                break path;
            }
            entry = entry.add(1);
        };
        let mut directories = path.split(|byte| *byte == b':');
        directories.find_map(|directory| open_in(directory, name))
    }
}

#[inline(never)]
unsafe fn open_in(directory: &[u8], name: &[u8]) -> Option<Program> {
    let mut path = [0; 1024];
    let mut length = 0;
    // An empty one is the current directory.
    let directory = if directory.is_empty() {
        b"."
    } else {
        directory
    };
    for part in [directory, b"/", name] {
        let end = length + part.len();
        path.get_mut(length..end)?.copy_from_slice(part);
        length = end;
    }
    // SAFETY: it ends with a zero, or is too long.
    (length < path.len()).then(|| unsafe { open_at(path.as_ptr().cast()) })?
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

    /// Where the names lie of what it imports, if the loader will take the object without a word.
    fn takes_object(&self, start: &[u8]) -> Option<Range<usize>> {
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
        for needed in values(1) {
            let mut name = [0; 16];
            self.read(strings + needed, &mut name)?;
            if is_sanitizer(&name) {
                return None;
            }
        }
        Some(strings..strings.checked_add(size)?)
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

/// Executing is announced. What interrupts that has been dealt with when it is tried again.
unsafe fn execute(path: Text, args: Texts, env: Texts) -> c_int {
    loop {
        let call = [path as usize, args as usize, env as usize, 0, 0];
        // SAFETY: the program's call.
        let answer = unsafe { plain(sys::EXECVE, call) };
        match looks::ring() {
            Some(ring) if answer == sys::EINTR => ring.is_repeated(),
            _ => return returned(answer) as c_int,
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn execve(path: Text, args: Texts, env: Texts) -> c_int {
    // SAFETY: as the function of that name.
    unsafe { pass_on(path, false, env, |env| execute(path, args, env)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn execv(path: Text, args: Texts) -> c_int {
    // SAFETY: as the function of that name.
    unsafe { execve(path, args, libc::environ) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn execvp(file: Text, args: Texts) -> c_int {
    // SAFETY: as the function of that name.
    unsafe {
        pass_on(file, true, libc::environ, |env| {
            libc::execvpe(file, args, env)
        })
    }
}

/// `E2BIG`.
const TOO_LONG: c_int = 7;

type Spawn =
    unsafe extern "C" fn(*mut c_int, Text, *const c_void, *const c_void, Texts, Texts) -> c_int;

const NOT_THERE: c_int = 38;

macro_rules! spawning {
    ($($name:ident: $next:expr, $by_path:literal;)*) => {
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name(
                pid: *mut c_int,
                file: Text,
                actions: *const c_void,
                attributes: *const c_void,
                args: Texts,
                env: Texts,
            ) -> c_int {
                let next: &Next = &$next;
                // SAFETY: as the function of that name.
                unsafe {
                    match next.get::<Spawn>() {
                        Some(spawn) => pass_on(file, $by_path, env, |env| {
                            spawn(pid, file, actions, attributes, args, env)
                        }),
                        None => NOT_THERE,
                    }
                }
            }
        )*
    };
}

spawning! {
    posix_spawn: next::SPAWN, false;
    posix_spawnp: next::SPAWN_BY_PATH, true;
}
