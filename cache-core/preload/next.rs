//! The functions that this object stands before: the next ones of their names, in the order in
//! which the program's objects were loaded.
//!
//! `dlsym` would find them, but is not in every program: before 2.34, glibc had it in a library of its own.
//! They are looked for once, before `main`, since the loader's locks may be held at any other moment by a
//! thread that is not there any more after a fork: when this object begins, or before that when the
//! constructor of a library needs one of them. Those of other libraries run first.

use core::ffi::{c_char, c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use crate::libc::{self, Header, Loaded, bytes};

/// One of the next functions.
pub(crate) struct Next {
    name: &'static [u8],
    at: AtomicPtr<c_void>,
}

impl Next {
    const fn new(name: &'static [u8]) -> Self {
        Self {
            name,
            at: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// As a function of its type; `None` if there is none.
    pub(crate) unsafe fn get<F: Copy>(&self) -> Option<F> {
        if !IS_FOUND.load(Ordering::Acquire) {
            // SAFETY: the loader has loaded everything before it lets any code run.
            unsafe { find() };
        }
        let at = self.at.load(Ordering::Relaxed);
        if at.is_null() || size_of::<F>() != size_of::<*mut c_void>() {
            return None;
        }
        // SAFETY: the caller knows the type of the function of that name.
        Some(unsafe { Pointer { at }.value })
    }
}

#[repr(C)]
union Pointer<F: Copy> {
    at: *mut c_void,
    value: F,
}

pub(crate) static FACCESSAT: Next = Next::new(b"faccessat");
pub(crate) static FOPEN: Next = Next::new(b"fopen");
pub(crate) static GETENV: Next = Next::new(b"getenv");
pub(crate) static OPEN: Next = Next::new(b"open");
pub(crate) static OPENAT: Next = Next::new(b"openat");
pub(crate) static OPENDIR: Next = Next::new(b"opendir");
pub(crate) static REALPATH: Next = Next::new(b"realpath");
pub(crate) static SPAWN: Next = Next::new(b"posix_spawn");
pub(crate) static SPAWN_BY_PATH: Next = Next::new(b"posix_spawnp");

static ALL: [&Next; 9] = [
    &FACCESSAT,
    &FOPEN,
    &GETENV,
    &OPEN,
    &OPENAT,
    &OPENDIR,
    &REALPATH,
    &SPAWN,
    &SPAWN_BY_PATH,
];

/// Whether they were looked for.
static IS_FOUND: AtomicBool = AtomicBool::new(false);

/// Finds all of them.
pub(crate) unsafe fn find() {
    let mut passed = false;
    // SAFETY: `each` gets what it expects.
    unsafe { libc::dl_iterate_phdr(each, (&raw mut passed).cast()) };
    IS_FOUND.store(true, Ordering::Release);
}

unsafe extern "C" fn each(object: *const Loaded, _: usize, passed: *mut c_void) -> c_int {
    // SAFETY: the loader describes what it has loaded; `passed` is that of `find`.
    unsafe {
        let (object, passed) = (&*object, &mut *passed.cast::<bool>());
        let headers = core::slice::from_raw_parts(object.headers, usize::from(object.count));
        if !*passed {
            *passed = headers
                .iter()
                .any(|header| holds(object, header, each as *const () as usize));
            return 0;
        }
        if let Some(table) = Table::of(object, headers) {
            for next in ALL {
                if next.at.load(Ordering::Relaxed).is_null()
                    && let Some(at) = table.look_up(next.name)
                {
                    next.at.store(at as *mut c_void, Ordering::Relaxed);
                }
            }
        }
        0
    }
}

pub(crate) fn holds(object: &Loaded, header: &Header, address: usize) -> bool {
    const LOAD: u32 = 1;
    let from = object.base.wrapping_add(header.address);
    header.kind == LOAD && (from..from.wrapping_add(header.memory_size)).contains(&address)
}

/// `Elf64_Sym`.
#[repr(C)]
struct Symbol {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: usize,
    size: usize,
}

/// The names that an object defines.
struct Table {
    base: usize,
    hash: *const u32,
    symbols: *const Symbol,
    strings: *const c_char,
    versions: *const u16,
}

impl Table {
    unsafe fn of(object: &Loaded, headers: &[Header]) -> Option<Self> {
        const DYNAMIC: u32 = 2;
        let header = headers.iter().find(|header| header.kind == DYNAMIC)?;
        let mut entry = object.base.wrapping_add(header.address) as *const [usize; 2];
        let mut table = Self {
            base: object.base,
            hash: ptr::null(),
            symbols: ptr::null(),
            strings: ptr::null(),
            versions: ptr::null(),
        };
        // SAFETY: the entries end with one of kind 0.
        unsafe {
            while let [kind, value] = *entry
                && kind != 0
            {
                // Most loaders have made addresses of them, some leave them as they are in the file.
                let at = if value < object.base {
                    object.base + value
                } else {
                    value
                };
                match kind {
                    5 => table.strings = at as *const c_char,
                    6 => table.symbols = at as *const Symbol,
                    0x6fff_fef5 => table.hash = at as *const u32,
                    0x6fff_fff0 => table.versions = at as *const u16,
                    _ => {}
                }
                entry = entry.add(1);
            }
        }
        let whole = !table.hash.is_null() && !table.symbols.is_null() && !table.strings.is_null();
        whole.then_some(table)
    }

    /// The address of a function, in its default version.
    unsafe fn look_up(&self, name: &[u8]) -> Option<usize> {
        const FUNCTION: u8 = 2;
        const HIDDEN: u16 = 0x8000;
        let hash = name.iter().fold(5381_u32, |hash, byte| {
            hash.wrapping_mul(33).wrapping_add(u32::from(*byte))
        });
        // SAFETY: the layout of a GNU hash table, which the linker made.
        unsafe {
            let word = |at: usize| *self.hash.add(at);
            let (buckets, first, bloom) = (word(0) as usize, word(1) as usize, word(2) as usize);
            if buckets == 0 {
                return None;
            }
            // Words of the filter have 64 bits.
            let bucket = 4 + 2 * bloom;
            let chain = bucket + buckets;
            let mut at = word(bucket + hash as usize % buckets) as usize;
            if at < first {
                return None;
            }
            loop {
                let link = word(chain + at - first);
                let symbol = &*self.symbols.add(at);
                if link | 1 == hash | 1
                    && symbol.section != 0
                    && symbol.info & 15 == FUNCTION
                    && (self.versions.is_null() || *self.versions.add(at) & HIDDEN == 0)
                    && bytes(self.strings.add(symbol.name as usize), 64) == name
                {
                    return Some(self.base.wrapping_add(symbol.value));
                }
                if link & 1 != 0 {
                    return None;
                }
                at += 1;
            }
        }
    }
}
