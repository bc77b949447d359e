//! The functions that look at files, each noted and then made from the trusted page; and some that
//! change directories, which are announced, but without being interrupted by signals.

use core::ffi::{c_char, c_int, c_uint, c_void};
use core::ptr;

use crate::answers;
use crate::libc::{self, Timespec, bytes, returned};
use crate::next;
use crate::observer;
use crate::real_path::{name_of_open, real_path};
use crate::ring::{self, Ring};
use crate::sys::{self, HERE, plain, quietly, trusted};

pub(crate) const NOT_FOUND: isize = -2;

/// A call that looks at a path.
pub(crate) struct Look {
    number: usize,
    /// What it amounts to for the observer.
    pub(crate) amounts_to: usize,
    directory: usize,
    path: *const c_char,
    rest: [usize; 3],
}

impl Look {
    pub(crate) fn new(
        number: usize,
        directory: c_int,
        path: *const c_char,
        rest: [usize; 3],
    ) -> Self {
        Self {
            number,
            amounts_to: number,
            directory: directory as isize as usize,
            path,
            rest,
        }
    }

    fn args(&self) -> [usize; 5] {
        let [c, d, e] = self.rest;
        [self.directory, self.path as usize, c, d, e]
    }

    /// Makes it, and notes it where it was not answered so before. `None`: it cannot be noted, or would wait
    /// for something, and was not made.
    pub(crate) unsafe fn fast(&self) -> Option<isize> {
        let ring = observer::ring()?;
        if self.path.is_null() {
            return None;
        }
        // SAFETY: the program's path ends with a zero.
        let path = unsafe { bytes(self.path, ring::PATH) };
        let is_absolute = path.first() == Some(&b'/');
        let is_relative_to_other = !is_absolute && self.directory as c_int != HERE as c_int;
        if path.is_empty() || path.len() == ring::PATH || is_relative_to_other {
            return None;
        }
        let mut room = [0; ring::PATH];
        let path = spell(self.directory, path, &mut room)?;
        let rest = self.rest.map(|value| value as u64);
        let program = observer::program();
        let kind = answers::kind(self.amounts_to as u32, rest, program);
        // SAFETY: the program's call.
        unsafe {
            if let Some(before) = ring.answers.before(kind, path) {
                let answer = self.call()?;
                if ring.answers.holds(before, answer) {
                    return Some(answer);
                }
                let noted = self.note(ring, path, || Some(answer));
                if noted.is_none() {
                    self.undo(answer);
                }
                return noted;
            }
            self.note(ring, path, || self.call())
        }
    }

    /// Makes it. `None`: it would wait for the other end of a pipe, or executing would do something, and
    /// it was not made.
    unsafe fn call(&self) -> Option<isize> {
        let [flags, ..] = self.rest.map(|value| value as c_int);
        // SAFETY: the program's call, and a look at the same path.
        unsafe {
            if self.amounts_to == sys::EXECVE {
                let answer = trusted(self.number, self.args());
                return (answer == NOT_FOUND).then_some(NOT_FOUND);
            }
            if self.number == sys::OPENAT && flags & (PATH_ONLY | DIRECTORY) == 0 {
                let mut stat = Stat::new();
                let args = [self.directory, self.path as usize, stat.at(), 0, 0];
                match trusted(sys::NEWFSTATAT, args) {
                    // Opening would find the same, but where it does not follow a link.
                    NOT_FOUND if flags & NOT_FOLLOWING == 0 => return Some(NOT_FOUND),
                    0 if stat.is_pipe() => return None,
                    _ => {}
                }
            }
            Some(trusted(self.number, self.args()))
        }
    }

    /// Leaves nothing behind of what is made once more.
    unsafe fn undo(&self, answer: isize) {
        if self.number == sys::OPENAT && answer >= 0 {
            // SAFETY: nobody knows of the descriptor yet.
            unsafe { plain(sys::CLOSE, [answer as usize, 0, 0, 0, 0]) };
        }
    }

    /// Notes that it is made, and what comes of that. `None`: it cannot be noted.
    unsafe fn note(
        &self,
        ring: &Ring,
        path: &[u8],
        make: impl FnOnce() -> Option<isize>,
    ) -> Option<isize> {
        let pid = observer::known();
        let note = ring.take()?;
        // SAFETY: a note that was taken is this thread's alone.
        let call = unsafe { &mut *note.call.get() };
        let Some(spelled) = call.path.get_mut(..path.len()) else {
            note.drop();
            return None;
        };
        spelled.copy_from_slice(path);
        call.tid = observer::thread();
        call.number = self.amounts_to as u32;
        call.pid = pid;
        call.length = path.len() as u32;
        call.at = now();
        let [c, d, e] = self.rest.map(|value| value as u64);
        let program = observer::program();
        call.args = [HERE as u64, 0, c, d, e, program.into()];
        note.is_called();
        let answer = make();
        match answer {
            Some(answer) => note.is_answered(answer as i32),
            None => note.drop(),
        }
        answer
    }
    /// Makes it, noted or announced. It waits for nothing.
    unsafe fn make(&self) -> isize {
        // SAFETY: the program's call.
        unsafe {
            match self.fast() {
                Some(answer) => answer,
                None => quietly(|| plain(self.number, self.args())),
            }
        }
    }
}

/// Whether executing what this path names would fail because nothing is there; then that is noted.
pub(crate) unsafe fn is_no_program(path: *const c_char) -> bool {
    let mut stat = Stat::new();
    let look = Look {
        amounts_to: sys::EXECVE,
        ..Look::new(sys::NEWFSTATAT, HERE as c_int, path, [stat.at(), 0, 0])
    };
    // SAFETY: the caller's: a string.
    unsafe { look.fast() == Some(NOT_FOUND) }
}

pub(crate) fn now() -> i64 {
    let mut time = Timespec {
        seconds: 0,
        nanoseconds: 0,
    };
    // SAFETY: writes the time.
    unsafe { libc::clock_gettime(0, &raw mut time) };
    time.seconds * 1_000_000_000 + time.nanoseconds
}

/// Writes a path down as an absolute one, from a directory on. `None` if it is too long, or if what is there depends on
/// who asks.
pub(crate) fn spell<'a>(directory: usize, path: &[u8], into: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut length = 0;
    if path.first() != Some(&b'/') {
        length = if directory as c_int == HERE as c_int {
            let args = [into.as_mut_ptr() as usize, into.len(), 0, 0, 0];
            // SAFETY: writes at most that many bytes. The answer counts the zero.
            let written = unsafe { trusted(sys::GETCWD, args) };
            usize::try_from(written).ok()?.checked_sub(1)?
        } else {
            // SAFETY: nothing but the name of the descriptor is used.
            unsafe { name_of_open(directory, into)? }
        };
        if into.first() != Some(&b'/') {
            // A directory out of reach.
            return None;
        }
        if length > 1 {
            *into.get_mut(length)? = b'/';
            length += 1;
        }
    }
    let end = length + path.len();
    into.get_mut(length..end)?.copy_from_slice(path);
    let spelled = into.get(..end)?;
    let is_below = |top: &[u8]| {
        let rest = spelled.strip_prefix(top);
        rest.is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'/'))
    };
    let is_plain = spelled == b"/dev/null" || is_below(b"/dev/shm");
    if is_below(b"/proc") || is_below(b"/sys") || (is_below(b"/dev") && !is_plain) {
        return None;
    }
    Some(spelled)
}

// Opening.

const WRITES: c_int = 0o3;
const CREATES: c_int = 0o100;
const TRUNCATES: c_int = 0o1000;
const WITHOUT_NAME: c_int = 0o2000_0000;
pub(crate) const CLOSE_ON_EXEC: c_int = 0o200_0000;
const DIRECTORY: c_int = 0o20_0000;
const NOT_FOLLOWING: c_int = 0o40_0000;
const NOT_BLOCKING: c_int = 0o4000;
pub(crate) const PATH_ONLY: c_int = 0o1000_0000;

type OpenAt = unsafe extern "C" fn(c_int, *const c_char, c_int, c_uint) -> c_int;
type Open = unsafe extern "C" fn(*const c_char, c_int, c_uint) -> c_int;

unsafe fn open_any(directory: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    let rest = [flags as usize, mode as usize, 0];
    let look = Look::new(sys::OPENAT, directory, path, rest);
    let reads = flags & (WRITES | CREATES | TRUNCATES | WITHOUT_NAME) == 0;
    // SAFETY: the program's call.
    unsafe {
        if reads {
            if let Some(answer) = look.fast() {
                return returned(answer) as c_int;
            }
        } else if observer::ring().is_some() && writes_at_once(directory, path) {
            return returned(quietly(|| plain(look.number, look.args()))) as c_int;
        }
        if directory as isize == HERE as isize
            && let Some(open) = next::OPEN.get::<Open>()
        {
            return open(path, flags, mode);
        }
        match next::OPENAT.get::<OpenAt>() {
            Some(open_at) => open_at(directory, path, flags, mode),
            None => returned(plain(look.number, look.args())) as c_int,
        }
    }
}

/// Whether a file can be opened for writing at once, or not at all. Who waits for the other end of a pipe
/// can be cancelled, or jump out of it in what a signal calls; writing may wait for more.
unsafe fn writes_at_once(directory: c_int, path: *const c_char) -> bool {
    let mut stat = Stat::new();
    let args = [directory as isize as usize, path as usize, stat.at(), 0, 0];
    // SAFETY: the kernel checks the path; `stat` has room.
    match unsafe { trusted(sys::NEWFSTATAT, args) } {
        0 => stat.is_file(),
        error => error == NOT_FOUND,
    }
}

/// Room for a `struct stat`.
#[repr(C, align(8))]
pub(crate) struct Stat([u32; 36]);

impl Stat {
    pub(crate) fn new() -> Self {
        Self([0; 36])
    }

    pub(crate) fn at(&mut self) -> usize {
        self.0.as_mut_ptr() as usize
    }

    fn mode(&self) -> u32 {
        // After device, inode and number of links.
        self.0.get(6).copied().unwrap_or(0)
    }

    pub(crate) fn is_file(&self) -> bool {
        self.mode() & 0o17_0000 == 0o10_0000
    }

    fn is_pipe(&self) -> bool {
        self.mode() & 0o17_0000 == 0o01_0000
    }

    pub(crate) fn sets_id(&self) -> bool {
        self.mode() & 0o6000 != 0
    }
}

macro_rules! functions {
    ($(fn [$($name:ident)+] $args:tt -> $answer:ty $body:block)*) => {
        $($(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name $args -> $answer {
                // SAFETY: as the function of that name.
                unsafe { $body }
            }
        )+)*
    };
}

pub(crate) type Path = *const c_char;
pub(crate) const CURRENT: c_int = HERE as c_int;
pub(crate) const ITSELF: c_int = 0x100;
const EMPTY_PATH: c_int = 0x1000;

unsafe fn stat_any(directory: c_int, path: Path, to: *mut c_void, flags: c_int) -> c_int {
    let look = Look::new(
        sys::NEWFSTATAT,
        directory,
        path,
        [to as usize, flags as usize, 0],
    );
    // SAFETY: the program's call. Of a descriptor alone, nothing is to be noted.
    let answer = unsafe {
        if is_of_descriptor(path, flags) {
            trusted(look.number, look.args())
        } else {
            look.make()
        }
    };
    returned(answer) as c_int
}

unsafe fn is_of_descriptor(path: Path, flags: c_int) -> bool {
    // SAFETY: a string has a first byte.
    flags & EMPTY_PATH != 0
        && observer::ring().is_some()
        && !path.is_null()
        && unsafe { *path == 0 }
}

unsafe fn stat_open(fd: c_int, to: *mut c_void) -> c_int {
    let args = [fd as isize as usize, to as usize, 0, 0, 0];
    // SAFETY: the program's call.
    returned(unsafe { plain(sys::FSTAT, args) }) as c_int
}

unsafe fn read_link(directory: c_int, path: Path, to: *mut c_char, size: usize) -> isize {
    let look = Look::new(sys::READLINKAT, directory, path, [to as usize, size, 0]);
    // SAFETY: the program's call.
    returned(unsafe { look.make() })
}

/// Makes an announced call that changes something and waits for nothing.
pub(crate) unsafe fn change(number: usize, args: [usize; 5]) -> c_int {
    // SAFETY: the program's call.
    let answer = quietly(|| unsafe { plain(number, args) });
    tell_done();
    returned(answer) as c_int
}

/// Tells the observer that a call of this thread has come back which may have changed what paths lead to. As long as it
/// does not know, nothing is taken to be as before.
fn tell_done() {
    let Some(ring) = observer::ring().filter(|ring| !ring.answers.is_open()) else {
        return;
    };
    let pid = observer::known();
    if let Some(note) = ring.take_to_tell() {
        // SAFETY: a note that was taken is this thread's alone.
        let call = unsafe { &mut *note.call.get() };
        (call.number, call.pid, call.tid) = (ring::DONE, pid, observer::thread());
        note.is_called();
        note.is_answered(0);
    }
}

/// `PR_SET_SECCOMP`, and `PR_SET_NO_NEW_PRIVS`, which comes before that.
const RESTRICTS: [c_int; 2] = [22, 38];

functions! {
    fn [prctl](option: c_int, a: usize, b: usize, c: usize, d: usize) -> c_int {
        if observer::ring().is_some() && RESTRICTS.contains(&option) {
            observer::end();
        }
        returned(plain(sys::PRCTL, [option as usize, a, b, c, d])) as c_int
    }
    fn [open open64 __open __open64](path: Path, flags: c_int, mode: c_uint) -> c_int {
        open_any(CURRENT, path, flags, mode)
    }
    fn [__open_2 __open64_2](path: Path, flags: c_int) -> c_int {
        open_any(CURRENT, path, flags, 0)
    }
    fn [openat openat64](directory: c_int, path: Path, flags: c_int, mode: c_uint) -> c_int {
        open_any(directory, path, flags, mode)
    }
    fn [__openat_2 __openat64_2](directory: c_int, path: Path, flags: c_int) -> c_int {
        open_any(directory, path, flags, 0)
    }
    fn [stat stat64](path: Path, to: *mut c_void) -> c_int {
        stat_any(CURRENT, path, to, 0)
    }
    fn [lstat lstat64](path: Path, to: *mut c_void) -> c_int {
        stat_any(CURRENT, path, to, ITSELF)
    }
    fn [fstatat fstatat64](directory: c_int, path: Path, to: *mut c_void, flags: c_int) -> c_int {
        stat_any(directory, path, to, flags)
    }
    fn [fstat fstat64](fd: c_int, to: *mut c_void) -> c_int {
        stat_open(fd, to)
    }
    fn [__xstat __xstat64](_version: c_int, path: Path, to: *mut c_void) -> c_int {
        stat_any(CURRENT, path, to, 0)
    }
    fn [__lxstat __lxstat64](_version: c_int, path: Path, to: *mut c_void) -> c_int {
        stat_any(CURRENT, path, to, ITSELF)
    }
    fn [__fxstat __fxstat64](_version: c_int, fd: c_int, to: *mut c_void) -> c_int {
        stat_open(fd, to)
    }
    fn [statx](directory: c_int, path: Path, flags: c_int, mask: c_uint, to: *mut c_void) -> c_int {
        let rest = [flags as usize, mask as usize, to as usize];
        let look = Look::new(sys::STATX, directory, path, rest);
        let answer = if is_of_descriptor(path, flags) {
            trusted(look.number, look.args())
        } else {
            look.make()
        };
        returned(answer) as c_int
    }
    fn [access](path: Path, mode: c_int) -> c_int {
        returned(Look::new(sys::FACCESSAT, CURRENT, path, [mode as usize, 0, 0]).make()) as c_int
    }
    fn [faccessat](directory: c_int, path: Path, mode: c_int, flags: c_int) -> c_int {
        type Function = unsafe extern "C" fn(c_int, Path, c_int, c_int) -> c_int;
        match next::FACCESSAT.get::<Function>() {
            Some(function) if flags != 0 => function(directory, path, mode, flags),
            _ => {
                let look = Look::new(sys::FACCESSAT, directory, path, [mode as usize, 0, 0]);
                returned(look.make()) as c_int
            }
        }
    }
    fn [readlink](path: Path, to: *mut c_char, size: usize) -> isize {
        read_link(CURRENT, path, to, size)
    }
    fn [readlinkat](directory: c_int, path: Path, to: *mut c_char, size: usize) -> isize {
        read_link(directory, path, to, size)
    }
    fn [__readlink_chk](path: Path, to: *mut c_char, size: usize, room: usize) -> isize {
        if size > room {
            sys::abort();
        }
        read_link(CURRENT, path, to, size)
    }
    fn [realpath](path: Path, to: *mut c_char) -> *mut c_char {
        real_path(path, to)
    }
    fn [__realpath_chk](path: Path, to: *mut c_char, room: usize) -> *mut c_char {
        if room < 4096 {
            sys::abort();
        }
        real_path(path, to)
    }
    fn [canonicalize_file_name](path: Path) -> *mut c_char {
        real_path(path, ptr::null_mut())
    }
    fn [fopen fopen64](path: Path, mode: Path) -> *mut c_void {
        if observer::ring().is_some()
            && !mode.is_null()
            && let Some(flags) = flags_of(bytes(mode, 16))
        {
            let fd = open_any(CURRENT, path, flags, 0);
            return if fd < 0 { ptr::null_mut() } else { owned(fd, libc::fdopen(fd, mode)) };
        }
        type Function = unsafe extern "C" fn(Path, Path) -> *mut c_void;
        match next::FOPEN.get::<Function>() {
            Some(function) => function(path, mode),
            None => ptr::null_mut(),
        }
    }
    fn [opendir](path: Path) -> *mut c_void {
        let flags = DIRECTORY | NOT_BLOCKING | CLOSE_ON_EXEC;
        let look = Look::new(sys::OPENAT, CURRENT, path, [flags as usize, 0, 0]);
        if let Some(answer) = look.fast() {
            let fd = returned(answer) as c_int;
            return if fd < 0 { ptr::null_mut() } else { owned(fd, libc::fdopendir(fd)) };
        }
        type Function = unsafe extern "C" fn(Path) -> *mut c_void;
        match next::OPENDIR.get::<Function>() {
            Some(function) => function(path),
            None => ptr::null_mut(),
        }
    }
    fn [chdir](path: Path) -> c_int {
        change(sys::CHDIR, [path as usize, 0, 0, 0, 0])
    }
    fn [mkdir](path: Path, mode: c_uint) -> c_int {
        change(sys::MKDIRAT, [HERE, path as usize, mode as usize, 0, 0])
    }
    fn [rmdir](path: Path) -> c_int {
        change(sys::UNLINKAT, [HERE, path as usize, 0x200, 0, 0])
    }
    fn [rename](from: Path, to: Path) -> c_int {
        change(sys::RENAMEAT, [HERE, from as usize, HERE, to as usize, 0])
    }
}

/// What a stream was made of a descriptor, which is closed if there is none.
unsafe fn owned(fd: c_int, stream: *mut c_void) -> *mut c_void {
    if stream.is_null() {
        // SAFETY: it is nobody's yet.
        unsafe { plain(sys::CLOSE, [fd as usize, 0, 0, 0, 0]) };
    }
    stream
}

/// The open flags of a mode that only reads, and asks for nothing special.
fn flags_of(mode: &[u8]) -> Option<c_int> {
    let rest = mode.strip_prefix(b"r")?;
    rest.iter().try_fold(0, |flags, letter| match letter {
        b'b' => Some(flags),
        b'e' => Some(flags | CLOSE_ON_EXEC),
        _ => None,
    })
}
