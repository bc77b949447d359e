//! The parts of an ELF file that tell which of the texts in it the program uses.
//!
//! A program that uses a text has its address, in an instruction or in a table. So a name
//! that stands inside other text (Rust and Go put their texts next to each other) is one
//! that the program knows only if something refers to the place where it begins. On
//! x86-64, an instruction refers to a place by its distance or, in a program that is always
//! at the same addresses, by its address, in four bytes that may stand anywhere; any four
//! bytes are taken for that, so none is missed. A table has an address in eight. On other processors, addresses are put together from parts, and nothing is ruled out.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use object::read::elf::{ElfFile64, ElfSection64};
use object::{Architecture, Endianness, Object as _, ObjectSection as _, ObjectSegment as _};
use object::{ObjectSymbol as _, SectionFlags, SymbolKind};

/// The length of an `Elf64_Rela`: a place, a kind, and an address to put there; bytes.
const RELOCATION: u64 = 24;

/// Where the address is in it.
const ADDRESS_AT: u64 = 16;

/// A part of a file that is in memory when the program runs.
struct Load {
    file: Range<usize>,
    address: u64,
    is_code: bool,
}

/// Where a byte of a program's file is when it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Among the instructions, at this address.
    Code(u64),
    /// Among the data, at this address.
    Data(u64),
    /// In debug information or symbols, which say nothing.
    Skipped,
    /// Nowhere, unless the program reads its own file.
    Beside,
}

/// A function or method.
struct Function<'a> {
    address: u64,
    size: u64,
    name: &'a [u8],
}

/// What is known of a program besides its bytes.
pub(super) struct Program<'a> {
    content: &'a [u8],
    loads: Vec<Load>,
    skipped: Vec<Range<usize>>,
    /// Addresses of tables that say where the loader puts addresses.
    relocations: Vec<Range<u64>>,
    /// By address; none if the program was stripped.
    functions: Vec<Function<'a>>,
    /// What it takes from shared libraries.
    pub(super) imports: BTreeSet<&'a [u8]>,
    /// What it gives to others.
    pub(super) exports: BTreeSet<&'a [u8]>,
    /// How many functions the loader calls, each of which is handed the environment.
    pub(super) initialisers: u64,
    /// The shared libraries that it needs.
    pub(super) needs: Vec<&'a [u8]>,
    /// Where the file ends, as far as the program goes.
    pub(super) end: usize,
    /// Whether the program is always at the same addresses.
    is_fixed: bool,
    /// Whether what refers to a place can be told.
    pub(super) shows_references: bool,
}

impl<'a> Program<'a> {
    /// `None`: not of a form that is understood.
    pub(super) fn parse(content: &'a [u8]) -> Option<Self> {
        let file = ElfFile64::<Endianness>::parse(content).ok()?;
        let mut loads = Vec::new();
        for segment in file.segments() {
            let (start, len) = segment.file_range();
            loads.push(Load {
                file: range(start, len)?,
                address: segment.address(),
                is_code: segment.permissions().executable(),
            });
        }
        let (mut skipped, mut relocations) = (Vec::new(), Vec::new());
        let mut end = table_end(content)?;
        let mut initialisers = 0;
        for section in file.sections() {
            let Some((start, len)) = section.file_range() else {
                continue;
            };
            let name = section.name_bytes().unwrap_or_default();
            if name.starts_with(b".init_array") || name.starts_with(b".ctors") {
                initialisers += len / 8;
            }
            let place = range(start, len)?;
            end = end.max(place.end);
            if is_skipped(&section) {
                skipped.push(place);
            } else if section
                .name_bytes()
                .is_ok_and(|name| name.starts_with(b".rela."))
            {
                relocations.push(section.address()..section.address() + section.size());
            }
        }
        end = loads.iter().map(|load| load.file.end).fold(end, usize::max);
        let mut functions: Vec<Function<'_>> = file
            .symbols()
            .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition())
            .filter_map(|symbol| {
                Some(Function {
                    address: symbol.address(),
                    size: symbol.size(),
                    name: symbol.name_bytes().ok()?,
                })
            })
            .collect();
        functions.sort_by_key(|function| function.address);
        let (mut imports, mut exports) = (BTreeSet::new(), BTreeSet::new());
        for symbol in file.dynamic_symbols() {
            if let Ok(name) = symbol.name_bytes() {
                let side = if symbol.is_undefined() {
                    &mut imports
                } else {
                    &mut exports
                };
                side.insert(name);
            }
        }
        let needs = file.import_libraries().into_iter().flatten();
        Some(Self {
            content,
            loads,
            skipped,
            relocations,
            functions,
            imports,
            exports,
            initialisers,
            needs: needs
                .filter_map(|library| Some(library.ok()?.name()))
                .collect(),
            end,
            // ET_EXEC; others are ET_DYN.
            is_fixed: content.get(16) == Some(&2),
            shows_references: file.architecture() == Architecture::X86_64,
        })
    }

    /// Whether functions have their names.
    pub(super) fn has_symbols(&self) -> bool {
        !self.functions.is_empty()
    }

    /// Whether the program can ask for variables by a name that it was given. Of the
    /// standard library's functions, a program has those that it may call.
    pub(super) fn asks(&self) -> bool {
        let asking: [&[u8]; 7] = [
            b"3std3env3var17h",
            b"3std3env4_var17h",
            b"3std3env6var_os17h",
            b"3std3env7_var_os17h",
            b"3std3env4vars17h",
            b"3std3env7vars_os17h",
            b"3std3env4__var",
        ];
        let asking_of_now: [&[u8]; 4] = [
            b"3std3env7__var_os",
            b"3std3env7vars_os",
            b"3std3env3var",
            b"3std3env6var_os",
        ];
        !self.has_symbols()
            || self.imports.contains(b"secure_getenv".as_slice())
            || self.functions.iter().any(|function| {
                let mut names = asking.iter().chain(&asking_of_now);
                names.any(|name| memchr::memmem::find(function.name, name).is_some())
            })
    }

    /// Where a byte of the file is when the program runs.
    pub(super) fn place(&self, at: usize) -> Place {
        if self.skipped.iter().any(|range| range.contains(&at)) {
            return Place::Skipped;
        }
        let load = self.loads.iter().find(|load| load.file.contains(&at));
        match load {
            Some(load) => {
                let address = load.address + (at - load.file.start) as u64;
                if load.is_code {
                    Place::Code(address)
                } else {
                    Place::Data(address)
                }
            }
            None => Place::Beside,
        }
    }

    /// Whether an address is one of instructions.
    pub(super) fn is_code(&self, address: u64) -> bool {
        self.loads.iter().any(|load| {
            let len = load.file.len() as u64;
            load.is_code && (load.address..load.address + len).contains(&address)
        })
    }

    /// The entry of a table that an address in the file's data is for: its own place, or
    /// where the loader puts it.
    pub(super) fn entry(&self, address: u64) -> u64 {
        let is_relocation = self.relocations.iter().any(|r| r.contains(&address));
        let place = is_relocation.then(|| self.number(address.checked_sub(ADDRESS_AT)?));
        place.flatten().unwrap_or(address)
    }

    /// Whether an address is where the loader is told a place, which nobody uses by that.
    fn is_for_loader(&self, address: u64) -> bool {
        let mut tables = self.relocations.iter();
        tables.any(|table| {
            table.contains(&address) && (address - table.start) % RELOCATION != ADDRESS_AT
        })
    }

    fn number(&self, address: u64) -> Option<u64> {
        let load = self.loads.iter().find(|load| {
            let len = load.file.len() as u64;
            (load.address..load.address + len).contains(&address)
        })?;
        let at = load.file.start + usize::try_from(address - load.address).ok()?;
        let bytes = self.content.get(at..)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }

    /// Addresses and names of functions.
    pub(super) fn functions(&self) -> impl Iterator<Item = (u64, &'a [u8])> {
        let functions = self.functions.iter();
        functions.map(|function| (function.address, function.name))
    }

    /// The function that an address lies in: its start and its name.
    pub(super) fn function_at(&self, address: u64) -> Option<(u64, &'a [u8])> {
        let after = self.functions.partition_point(|f| f.address <= address);
        let function = self.functions.get(after.checked_sub(1)?)?;
        let is_inside = address - function.address < function.size;
        is_inside.then_some((function.address, function.name))
    }

    /// From where each of some addresses is referred to.
    pub(super) fn references(&self, wanted: &BTreeSet<u64>) -> BTreeMap<u64, Vec<u64>> {
        let mut references: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        // Low halves of the addresses, which nearly all other bytes fail to match.
        let mut low = vec![false; 1 << 16];
        for address in wanted {
            if let Some(low) = low.get_mut((address & 0xffff) as usize) {
                *low = true;
            }
        }
        let is_near = |address: u64| low.get((address & 0xffff) as usize) == Some(&true);
        for load in &self.loads {
            let bytes = self.content.get(load.file.clone()).unwrap_or_default();
            let mut note = |there: u64, from: u64| {
                if is_near(there) && wanted.contains(&there) {
                    references.entry(there).or_default().push(from);
                }
            };
            if load.is_code {
                let numbers = bytes.windows(4).filter_map(|w| w.try_into().ok());
                for (from, number) in (load.address..).zip(numbers.map(i32::from_le_bytes)) {
                    // The distance counts from the end of the instruction.
                    note((from + 4).wrapping_add_signed(number.into()), from);
                    if self.is_fixed {
                        note(number.cast_unsigned().into(), from);
                    }
                }
            } else {
                let odd = usize::try_from(load.address.wrapping_neg() % 4).unwrap_or(0);
                let numbers = bytes.get(odd..).unwrap_or_default().windows(8).step_by(4);
                let numbers = numbers.filter_map(|w| w.try_into().ok());
                let froms = (load.address + odd as u64..).step_by(4);
                for (from, number) in froms.zip(numbers.map(u64::from_le_bytes)) {
                    if is_near(number) && !self.is_for_loader(from) {
                        note(number, from);
                    }
                }
            }
        }
        references
    }
}

/// Where the table of sections ends.
fn table_end(content: &[u8]) -> Option<usize> {
    let number = |at: usize, len: usize| {
        let bytes = content.get(at..at + len)?;
        let fold = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
        usize::try_from(bytes.iter().rev().fold(0, fold)).ok()
    };
    let (start, size, count) = (number(40, 8)?, number(58, 2)?, number(60, 2)?);
    start.checked_add(size.checked_mul(count)?)
}

fn range(start: u64, len: u64) -> Option<Range<usize>> {
    let start = usize::try_from(start).ok()?;
    Some(start..start.checked_add(usize::try_from(len).ok()?)?)
}

/// Debug information and symbols, in which names may stand but cannot be asked for, and
/// which are most of a program.
fn is_skipped(section: &ElfSection64<'_, '_, Endianness>) -> bool {
    let SectionFlags::Elf { sh_flags, .. } = section.flags() else {
        return false;
    };
    let is_loaded = sh_flags.contains(object::elf::SHF_ALLOC);
    let name = section.name_bytes().unwrap_or_default();
    !is_loaded && (name.starts_with(b".debug_") || name == b".symtab" || name == b".strtab")
}
