//! Which variables the libraries of a compiler, or a build script, ask for.
//!
//! A macro is a library that the compiler loads, and asks for variables by `getenv`: nearly all that are written in Rust know no
//! other way to the environment. So this object stands before `getenv` and notes which library asked for which name, where
//! the observer wants to know. What a macro that shows no other way has asked for need not be guessed from its
//! code, which may name more, and need not name all.
//!
//! A process says that its libraries are heard before any of its own code runs. One that executes another
//! program is not heard any more until that says so itself.
//!
//! Of a build script, the script itself is heard, which may put names together that nobody finds in it. Tools are not.
//!
//! What can go wrong, and what is done about it:
//! - There is no room: the observer is called, which makes room.
//! - A name cannot be noted (too long): the observer is told so, and the observation is not complete.
//! - A library's path is relative or too long: it is noted as any library, `/`.
//! - The compiler itself asks, not a library: that is its own business, and is passed over.
//! - The C library asks for itself, or code looks into the environment by other means: that is not seen here. Who relies on what
//!   was heard makes sure that a library can do nothing of the kind.

use core::ffi::{c_char, c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::libc::{self, Loaded, bytes};
use crate::looks;
use crate::next;
use crate::observer;
use crate::ring::{self, Hears, Ring};

/// Whether this is the first process, with its first program.
static IS_FIRST: AtomicBool = AtomicBool::new(false);

/// What was noted of late, by hashes: a name, and the place that asked for it.
static NOTED: [AtomicU64; 512] = [const { AtomicU64::new(0) }; 512];

type Getenv = unsafe extern "C" fn(*const c_char) -> *mut c_char;

/// The place that asks is where the call returns to.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn getenv(name: *const c_char) -> *mut c_char {
    core::arch::naked_asm!("mov rsi, [rsp]", "jmp {asked}", asked = sym asked)
}

unsafe extern "C" fn asked(name: *const c_char, by: usize) -> *mut c_char {
    // SAFETY: as `getenv`.
    unsafe {
        if let Some(ring) = observer::ring()
            && let Some(whose) = ring.hears()
            && !name.is_null()
            && hear(ring, whose, bytes(name, ring::PATH), by).is_none()
        {
            observer::tell(ring::UNHEARD);
        }
        match next::GETENV.get::<Getenv>() {
            Some(getenv) => getenv(name),
            None => ptr::null_mut(),
        }
    }
}

/// Says that what libraries ask for is heard from now on.
pub(crate) fn begin(ring: &Ring) {
    IS_FIRST.store(ring.begins_first(observer::known()), Ordering::Relaxed);
    let says_so = ring.hears() == Some(Hears::Libraries);
    if says_so && note(ring, ring::HEARD, ANY, b"").is_none() {
        observer::tell(ring::UNHEARD);
    }
}

/// Says that this process is not heard any more, if it was.
pub(crate) fn end() {
    let whose = observer::ring().and_then(Ring::hears);
    if whose == Some(Hears::Libraries) || (whose.is_some() && IS_FIRST.load(Ordering::Relaxed)) {
        observer::tell(ring::UNHEARD);
    }
}

/// Notes that a place asks for a variable. `None`: it cannot be noted.
fn hear(ring: &Ring, whose: Hears, name: &[u8], by: usize) -> Option<()> {
    if whose == Hears::First && !IS_FIRST.load(Ordering::Relaxed) {
        return Some(());
    }
    // FNV-1a.
    let hash = name
        .iter()
        .fold(0xcbf2_9ce4_8422_2325 ^ by as u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let place = NOTED.get(hash as usize % NOTED.len())?;
    if place.load(Ordering::Relaxed) == hash {
        return Some(());
    }
    let mut asking = Asking { by, library: None };
    // SAFETY: `each` gets what it expects.
    unsafe { libc::dl_iterate_phdr(each, (&raw mut asking).cast()) };
    // The program itself has no name there.
    match (asking.library?, whose) {
        ([], Hears::Libraries) => {}
        (library, _) => note(ring, ring::ASKED, library, name)?,
    }
    place.store(hash, Ordering::Relaxed);
    Some(())
}

/// The path of any library.
const ANY: &[u8] = b"/";

struct Asking {
    by: usize,
    /// Its path.
    library: Option<&'static [u8]>,
}

unsafe extern "C" fn each(object: *const Loaded, _: usize, asking: *mut c_void) -> c_int {
    // SAFETY: the loader describes what it has loaded, which stays while its code runs; `asking` is that of `hear`.
    unsafe {
        let (object, asking) = (&*object, &mut *asking.cast::<Asking>());
        let headers = core::slice::from_raw_parts(object.headers, usize::from(object.count));
        let holds = headers.iter().any(|h| next::holds(object, h, asking.by));
        if holds {
            asking.library = Some(bytes(object.name, ring::PATH));
        }
        c_int::from(holds)
    }
}

fn note(ring: &Ring, number: u32, library: &[u8], name: &[u8]) -> Option<()> {
    let is_plain = library.first() == Some(&b'/') && library.len() + name.len() < ring::PATH;
    let library = if is_plain { library } else { ANY };
    if library.len() + name.len() >= ring::PATH {
        return None;
    }
    let pid = observer::known();
    let note = ring.take_to_tell().or_else(|| {
        observer::tell(ring::APPEAR);
        ring.take_to_tell()
    })?;
    // SAFETY: a note that was taken is this thread's alone.
    let call = unsafe { &mut *note.call.get() };
    let (first, rest) = call.path.split_at_mut(library.len());
    first.copy_from_slice(library);
    if let Some(second) = rest.get_mut(..name.len()) {
        second.copy_from_slice(name);
    }
    call.number = number;
    call.pid = pid;
    call.tid = observer::thread();
    call.length = library.len() as u32;
    call.second = name.len() as u32;
    call.at = looks::now();
    note.is_called();
    note.is_answered(0);
    Some(())
}
