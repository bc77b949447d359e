//! Getting from one program into the next.

use core::ffi::{c_char, c_int, c_void};
use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::libc::{self, bytes, returned};
use crate::loader::{LOADER, VARIABLE, VARIABLES, is_sanitizer};
use crate::looks::{self, Stat};
use crate::next::{self, Next};
use crate::ring;
use crate::shorter;
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

type Text = *const c_char;
type Texts = *const *mut c_char;

/// More of an entry need not be read to know whose it is.
const LONGEST: usize = 32;

/// Whether an entry of an environment is that of a variable.
fn is_of(entry: &[u8], variable: &str) -> bool {
    let rest = entry.strip_prefix(variable.as_bytes());
    rest.is_some_and(|rest| rest.first() == Some(&b'='))
}

/// Makes the environment what it would be without this object.
pub(crate) unsafe fn hide(environment: *mut *mut c_char) {
    // SAFETY: an array of strings with a null at its end, and `ENTRY` before anybody else runs.
    unsafe {
        take_out(environment, |text| {
            let is_ours = is_of(text, VARIABLE);
            if is_ours && text.len() < 4095 {
                ptr::copy_nonoverlapping(text.as_ptr(), (&raw mut ENTRY).cast(), text.len());
                IS_PASSED_ON.store(true, Ordering::Release);
            }
            is_ours
        });
        let is_kept = |text: &[u8]| {
            let name = text.strip_prefix(shorter::PREFIX.as_bytes());
            name.is_some_and(|name| is_of(name, shorter::VARIABLE))
        };
        let mut entry = environment;
        while let Some(text) = (*entry).as_ref() {
            if is_kept(bytes(text, LONGEST)) {
                take_out(environment, |text| is_of(text, shorter::VARIABLE));
                return put_back(environment, is_kept);
            }
            entry = entry.add(1);
        }
    }
}

/// Takes entries out of an environment.
unsafe fn take_out(environment: *mut *mut c_char, mut is_meant: impl FnMut(&[u8]) -> bool) {
    // SAFETY: an array of strings with a null at its end.
    unsafe {
        let (mut from, mut to) = (environment, environment);
        while let Some(text) = (*from).as_ref() {
            if !is_meant(bytes(text, 4095)) {
                *to = *from;
                to = to.add(1);
            }
            from = from.add(1);
        }
        *to = ptr::null_mut();
    }
}

/// Takes the prefix off the name of the whole search path.
unsafe fn put_back(environment: *mut *mut c_char, is_kept: impl Fn(&[u8]) -> bool) {
    // SAFETY: an array of strings with a null at its end; those that are meant begin with the prefix.
    unsafe {
        let mut entry = environment;
        while let Some(text) = (*entry).as_ref() {
            if is_kept(bytes(text, LONGEST)) {
                *entry = (*entry).add(shorter::PREFIX.len());
            }
            entry = entry.add(1);
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
        let (mut count, mut paths) = (0, Paths::None);
        while let Some(text) = (*env.add(count)).as_ref() {
            let text = bytes(text, LONGEST);
            if VARIABLES.iter().any(|name| is_of(text, name)) {
                return call(env);
            }
            if is_of(text, shorter::VARIABLE) {
                paths = match paths {
                    Paths::None => Paths::At(count),
                    _ => Paths::Several,
                };
            }
            count += 1;
        }
        if count > 1020 {
            return call(env);
        }
        let Some(taker) = taker(file, by_path) else {
            return call(env);
        };
        let longer = Longer {
            env,
            count,
            path: paths.shorter(env, taker),
        };
        let answer = match count {
            0..120 => longer.call::<128>(&call),
            120..500 => longer.call::<512>(&call),
            // The stack of a thread may have no more than 16 KiB.
            _ => longer.call::<1024>(&call),
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

/// The loader's search paths in an environment.
enum Paths {
    None,
    /// One, at this place.
    At(usize),
    Several,
}

impl Paths {
    /// The whole path under another name for its place, and the shorter one; if it is the path that there is a
    /// shorter one for, and the program may have that.
    unsafe fn shorter(self, env: Texts, taker: Taker) -> Option<(usize, Text, Text)> {
        let (Self::At(place), false) = (self, taker.asks_for_rust) else {
            return None;
        };
        let shorter = &looks::ring()?.shorter;
        if !shorter.is_known() {
            looks::tell(ring::SHORTEN);
        }
        let (whole, rest) = shorter.get()?;
        // SAFETY: an entry of the environment.
        let given = unsafe { bytes(*env.add(place), shorter::ROOM) };
        let is_same = whole
            .get(shorter::PREFIX.len()..)?
            .strip_prefix(given)?
            .first()
            == Some(&0);
        is_same.then_some((place, whole.as_ptr().cast(), rest.as_ptr().cast()))
    }
}

/// An environment that has more.
struct Longer {
    env: Texts,
    count: usize,
    /// What [`Paths::shorter`] says.
    path: Option<(usize, Text, Text)>,
}

impl Longer {
    /// Calls with it on the stack: a child of `vfork` has its parent's heap.
    #[inline(never)]
    unsafe fn call<const ROOM: usize>(&self, call: &impl Fn(Texts) -> c_int) -> c_int {
        let mut longer = [ptr::null_mut::<c_char>(); ROOM];
        let mut count = self.count;
        // SAFETY: the array has room for the entries, two more, and a null.
        unsafe {
            let entries = longer.as_mut_ptr();
            ptr::copy_nonoverlapping(self.env, entries, count);
            if let Some((place, whole, rest)) = self.path {
                *entries.add(place) = whole.cast_mut();
                if *rest != 0 {
                    *entries.add(count) = rest.cast_mut();
                    count += 1;
                }
            }
            *entries.add(count) = (&raw mut ENTRY).cast();
        }
        call(longer.as_ptr())
    }
}

/// A program that takes the object.
#[derive(Clone, Copy)]
struct Taker {
    /// Whether it needs a library with a name as rustc gives it.
    asks_for_rust: bool,
}

/// The program, if it takes the object and is to have it.
unsafe fn taker(file: Text, by_path: bool) -> Option<Taker> {
    // SAFETY: the program's string, and `ENTRY` with the object's path after the name.
    unsafe {
        let object = (&raw const ENTRY).cast::<u8>().add(VARIABLE.len() + 1);
        let may_read = [HERE, object as usize, 4, 0, 0];
        (trusted(sys::FACCESSAT, may_read) == 0).then(|| is_of_use(file, by_path))?
    }
}

/// How much of a program is read at first: an ELF file has its program headers there, a script its first
/// line. Small, since who executes something may have little stack left.
const START: usize = 1024;

/// Whether a program is a known one, one that handles signals, or a script that a known one runs, and
/// takes the object.
unsafe fn is_of_use(file: Text, by_path: bool) -> Option<Taker> {
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
        if !is_known(word.get(..end)?) {
            return None;
        }
        let program = open_at(word.as_ptr().cast())?;
        let length = program.start(&mut start)?;
        let (taker, _) = program.takes_object(start.get(..length)?)?;
        Some(taker)
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
const LONGEST_PATH: usize = 512;

/// The program that a search finds, if it is in an absolute directory and all before it were looked through
/// in vain, which is noted: to execute it there is what the search would come to.
#[inline(never)]
unsafe fn find(file: Text, room: &mut [u8; LONGEST_PATH]) -> Option<Text> {
    // SAFETY: the program's string, and those that are put together.
    unsafe {
        let name = bytes(file, LONGEST_PATH);
        // Before it begins there is no page to call from.
        looks::ring()?;
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
        let mut room = [0; LONGEST_PATH];
        if let Some(path) = find(file, &mut room) {
            // It returns where that failed, and then the search may go on.
            execve(path, args, libc::environ);
        }
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
                    let mut room = [0; LONGEST_PATH];
                    if $by_path
                        && let Some(path) = find(file, &mut room)
                        && posix_spawn(pid, path, actions, attributes, args, env) == 0
                    {
                        return 0;
                    }
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
