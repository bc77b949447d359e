//! Getting from one program into the next.

use core::ffi::{c_char, c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::libc::{self, bytes, returned};
use crate::loader::{VARIABLE, VARIABLES};
use crate::next::{self, Next};
use crate::observer;
use crate::prefix_map::{self, Said};
use crate::program::{LONGEST_PATH, Taker, Text, find, is_of_use};
use crate::ring;
use crate::shorter;
use crate::sys::{self, HERE, plain, trusted};

/// The variable as it was given to this process, with a zero at its end.
static mut ENTRY: [u8; 4096] = [0; 4096];

/// Whether there is one.
static IS_PASSED_ON: AtomicBool = AtomicBool::new(false);

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

/// Arguments and environment of a program that is to be executed.
#[derive(Clone, Copy)]
struct Given {
    args: Texts,
    env: Texts,
}

/// Calls with an environment that has the variable, and with what the program is told besides, if it should have
/// the object.
unsafe fn pass_on(file: Text, by_path: bool, given: Given, call: impl Fn(Given) -> c_int) -> c_int {
    // SAFETY: the program's arguments.
    unsafe {
        let env = given.env;
        if env.is_null() || observer::ring().is_none() || !IS_PASSED_ON.load(Ordering::Acquire) {
            return call(given);
        }
        let (mut count, mut paths) = (0, Paths::None);
        while let Some(text) = (*env.add(count)).as_ref() {
            let text = bytes(text, LONGEST);
            if VARIABLES.iter().any(|name| is_of(text, name)) {
                return call(given);
            }
            if is_of(text, shorter::VARIABLE) {
                paths = match paths {
                    Paths::None => Paths::At(count),
                    _ => Paths::Several,
                };
            }
            count += 1;
        }
        let Some(taker) = taker(file, by_path) else {
            return call(given);
        };
        let path = paths.shorter(env, taker);
        let add = |entries: *mut *mut c_char| {
            let mut count = count;
            if let Some((place, whole, rest)) = path {
                *entries.add(place) = whole.cast_mut();
                if *rest != 0 {
                    *entries.add(count) = rest.cast_mut();
                    count += 1;
                }
            }
            *entries.add(count) = (&raw mut ENTRY).cast();
        };
        let answer = with_more(env, count, add, |env| {
            with_options(file, given.args, |args| call(Given { args, env }))
        });
        // Spawning returns the error itself.
        let error = if answer == -1 {
            *libc::__errno_location()
        } else {
            answer
        };
        if error == TOO_LONG {
            // It may be what was added that is too much.
            return call(given);
        }
        answer
    }
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

/// Calls with the arguments of a compiler and what it is told of directories (`prefix_map`), or with the arguments as
/// they are.
unsafe fn with_options(file: Text, args: Texts, call: impl Fn(Texts) -> c_int) -> c_int {
    // SAFETY: the program's arguments, and options with zeroes at their ends.
    unsafe {
        let Some(ring) = observer::ring().filter(|ring| ring.prefix_map.options().next().is_some())
        else {
            return call(args);
        };
        if args.is_null() || !prefix_map::is_compiler(bytes(file, 4096)) {
            return call(args);
        }
        let (mut count, mut said) = (0, Said::default());
        while let Some(text) = (*args.add(count)).as_ref() {
            said.look(bytes(text, prefix_map::LONGEST));
            count += 1;
        }
        // The environment may take the other half of a thread's stack.
        if count > 400 || !said.takes_option() {
            return call(args);
        }
        let add = |entries: *mut *mut c_char| {
            for (number, option) in ring.prefix_map.options().enumerate() {
                *entries.add(count + number) = option.as_ptr().cast_mut().cast();
            }
        };
        with_more(args, count, add, call)
    }
}

/// How many entries a list may get besides, with a null.
const MORE: usize = prefix_map::MOST + 1;

/// Calls with a copy of a list of so many texts that `add` has added to, or with the list as it is if it is too long.
/// The copy is on the stack: a child of `vfork` has its parent's heap.
unsafe fn with_more(
    list: Texts,
    count: usize,
    add: impl Fn(*mut *mut c_char),
    call: impl Fn(Texts) -> c_int,
) -> c_int {
    #[inline(never)]
    unsafe fn copied<const ROOM: usize>(
        list: Texts,
        count: usize,
        add: impl Fn(*mut *mut c_char),
        call: impl Fn(Texts) -> c_int,
    ) -> c_int {
        let mut longer = [ptr::null_mut::<c_char>(); ROOM];
        // SAFETY: the array has room for the entries, for more, and for a null.
        unsafe { ptr::copy_nonoverlapping(list, longer.as_mut_ptr(), count) };
        add(longer.as_mut_ptr());
        call(longer.as_ptr())
    }
    // SAFETY: as this function.
    unsafe {
        match count + MORE {
            0..128 => copied::<128>(list, count, add, call),
            128..512 => copied::<512>(list, count, add, call),
            // The stack of a thread may have no more than 16 KiB.
            512..1024 => copied::<1024>(list, count, add, call),
            _ => call(list),
        }
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
        let shorter = &observer::ring()?.shorter;
        if !shorter.is_known() {
            observer::tell(ring::SHORTEN);
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

/// Executing is announced. What interrupts that has been dealt with when it is tried again.
unsafe fn execute(path: Text, given: Given) -> c_int {
    loop {
        let call = [path as usize, given.args as usize, given.env as usize, 0, 0];
        // SAFETY: the program's call.
        let answer = unsafe { plain(sys::EXECVE, call) };
        match observer::ring() {
            Some(ring) if answer == sys::EINTR => ring.is_repeated(),
            _ => return returned(answer) as c_int,
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn execve(path: Text, args: Texts, env: Texts) -> c_int {
    // SAFETY: as the function of that name.
    unsafe {
        pass_on(path, false, Given { args, env }, |given| {
            execute(path, given)
        })
    }
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
        let env = libc::environ.cast_const();
        pass_on(file, true, Given { args, env }, |given| {
            libc::execvpe(file, given.args, given.env)
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
                        Some(spawn) => pass_on(file, $by_path, Given { args, env }, |given| {
                            spawn(pid, file, actions, attributes, given.args, given.env)
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
