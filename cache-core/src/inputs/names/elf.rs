//! Looking for names in programs and shared libraries.
//!
//! | a name stands | it counts |
//! |---|---|
//! | where something refers to (`program`) | as known to the program |
//! | among the instructions, or its head does | likewise: a compiler compares short texts as numbers |
//! | alone: what does not print is before it, and behind it or `=` | likewise: in a table, perhaps |
//! | likewise, but is short, does not end there, and a byte beside it is none of ASCII | not: tables of numbers hold any two letters |
//! | in other text, as a word | as known, but not if the program is one of the system's |
//! | in other text, as part of a longer name | not |
//! | beyond the program, in the file | as in bytecode: interpreters put scripts there |
//!
//! Some names say nothing if certain functions alone refer to them (`excuse`), and some
//! are read by functions of the C library (`libc`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::content::{self, Content};
use super::patterns::{Pattern, Patterns, Piece};
use super::program::{Place, Program};
use super::text::{self, TELLING, in_name};
use super::{Found, Naming, excuse, libc};

/// Beyond this number of places, names count without looking who refers to them.
const MAX_PLACES: usize = 100_000;

/// Shorter pieces of instructions are names by chance.
const MIN_IN_CODE: usize = 4;

/// Shorter names that nothing refers to are, between bytes that are no text.
const MIN_ALONE: usize = 4;

/// Looks for names in a program that is in memory as a whole.
pub(super) fn search(content: &[u8], is_own: bool, names: &[&[u8]], found: &mut Found) {
    let patterns = Patterns::new(names, false);
    let Some(program) = Program::parse(content) else {
        found.is_opaque |= content::is_random(content);
        text::search_window(content, (true, true), Content::Binary, &patterns, found);
        return;
    };
    if is_packed(content, &program) {
        found.is_opaque = true;
        return;
    }
    let is_told = |at| matches!(program.place(at), Place::Data(_));
    found.is_opaque |= is_own && content::decodings(content).any(is_told);
    let contains = |text: &[u8]| memchr::memmem::find(content, text).is_some();
    let mut places = Places {
        is_c: is_c(&program, contains),
        ..Places::default()
    };
    patterns.find(content, |pattern, at| {
        let place = program.place(at.start);
        let around = Around::of(content, &at);
        let naming = match place {
            Place::Skipped => Naming::No,
            Place::Beside => beside(content, &at, pattern),
            Place::Code(address) => {
                if is_in_code(pattern) {
                    places.sites.entry(pattern.name).or_default().push(address);
                }
                Naming::No
            }
            Place::Data(address) => {
                places.note(pattern, address, around);
                if program.shows_references {
                    in_data(pattern, around)
                } else {
                    in_data_of_unknown(pattern, around, places.is_c)
                }
            }
        };
        let is_excusable = names
            .get(pattern.name)
            .is_some_and(|name| excuse::may_be_excused(name));
        if !is_excusable || place == Place::Beside {
            found.note(pattern.name, naming);
        }
    });
    places.settle(&program, content, names, found);
    for (i, name) in names.iter().enumerate() {
        if libc::owns(&program, name) || libc::is_language_only(&program, name, contains) {
            found.forget(i);
        } else if libc::is_of_locale(name) && libc::sets_locale(&program) {
            found.weaken(i);
        } else if libc::reads(&program, name) && !excuse::may_be_excused(name) {
            found.note(i, Naming::Alone);
        }
    }
}

/// Whether a program unpacks itself before it runs, or what it runs is packed behind it.
fn is_packed(content: &[u8], program: &Program<'_>) -> bool {
    let start = content.get(..content::START).unwrap_or(content);
    let behind = content.get(program.end..).unwrap_or_default();
    memchr::memmem::find(start, b"UPX!").is_some()
        || (behind.len() >= 256 && content::is_random(behind))
        || content::hides(behind)
        || behind.starts_with(b"hsqs")
}

/// Where names, or what may stand for them, were found.
#[derive(Default)]
struct Places {
    /// Among the instructions.
    sites: BTreeMap<usize, Vec<u64>>,
    /// Among the data.
    data: Vec<Data>,
    /// Whether the program is written in C.
    is_c: bool,
}

/// A place among the data.
struct Data {
    address: u64,
    name: usize,
    /// What it says if something refers to the place.
    naming: Naming,
    is_whole: bool,
}

impl Places {
    fn note(&mut self, pattern: &Pattern, address: u64, around: Around) {
        let naming = match pattern.piece {
            // A text in C goes on to its end; one in Rust or Go may end anywhere.
            Piece::Whole if self.is_c && around.after.is_some_and(in_name) => Naming::InText,
            Piece::Whole => Naming::Alone,
            Piece::Ending => Naming::InText,
            // What refers to a text does not tell where it ends.
            Piece::Beginning | Piece::Head => return,
        };
        self.data.push(Data {
            address,
            name: pattern.name,
            naming,
            is_whole: pattern.piece == Piece::Whole,
        });
    }

    /// Looks who refers to the places.
    fn settle(mut self, program: &Program<'_>, content: &[u8], names: &[&[u8]], found: &mut Found) {
        let excusable = |name: usize| names.get(name).is_some_and(|n| excuse::may_be_excused(n));
        self.data.retain(|data| {
            if excusable(data.name) {
                data.is_whole
            } else {
                found.naming(data.name) < data.naming
            }
        });
        if self.data.len() > MAX_PLACES || !program.shows_references {
            for data in &self.data {
                if program.shows_references && !excusable(data.name) {
                    found.note(data.name, data.naming);
                }
            }
            self.data.clear();
        }
        let wanted: BTreeSet<u64> = self.data.iter().map(|data| data.address).collect();
        let references = if wanted.is_empty() {
            BTreeMap::new()
        } else {
            program.references(&wanted)
        };
        let contains = |text: &[u8]| memchr::memmem::find(content, text).is_some();
        let says = |name: usize, place: &u64| {
            let name = names.get(name).copied().unwrap_or_default();
            !excuse::is_excused(program, name, *place, contains)
        };
        for (name, sites) in &self.sites {
            if sites.iter().any(|place| says(*name, place)) {
                found.note(*name, Naming::Alone);
            }
        }
        for data in &self.data {
            let from = references.get(&data.address).map_or(&[][..], |from| from);
            if from.iter().any(|place| says(data.name, place)) {
                found.note(data.name, data.naming);
            }
        }
    }
}

/// Whether a pattern that is found among instructions stands for the name.
fn is_in_code(pattern: &Pattern) -> bool {
    matches!(pattern.piece, Piece::Whole | Piece::Head) && pattern.bytes.len() >= MIN_IN_CODE
}

/// The bytes before and behind a place.
#[derive(Clone, Copy)]
struct Around {
    before: Option<u8>,
    after: Option<u8>,
}

impl Around {
    fn of(content: &[u8], at: &Range<usize>) -> Self {
        let before = at.start.checked_sub(1).and_then(|i| content.get(i));
        Self {
            before: before.copied(),
            after: content.get(at.end).copied(),
        }
    }

    /// Whether a name that stands here is part of a longer one, or of two.
    fn is_name(self) -> bool {
        self.before.is_some_and(in_name) || self.after.is_some_and(in_name)
    }

    /// Whether what stands here does not go on with text.
    fn is_alone(self) -> bool {
        !self.before.is_some_and(is_printed)
            && (!self.after.is_some_and(is_printed) || self.after == Some(b'='))
    }

    /// Whether a name of this length stands here as it would in a table of numbers.
    fn is_by_chance(self, len: usize) -> bool {
        let is_number = |byte: Option<u8>| byte.is_some_and(|byte| !byte.is_ascii());
        let ends = matches!(self.after, Some(0 | b'='));
        len < MIN_ALONE && !ends && (is_number(self.before) || is_number(self.after))
    }
}

fn is_printed(byte: u8) -> bool {
    byte.is_ascii_graphic() || matches!(byte, b' ' | b'\n' | b'\t')
}

/// What a name or a part of one says by what is around it.
fn in_data(pattern: &Pattern, around: Around) -> Naming {
    let after_name = around.after.is_some_and(in_name);
    match pattern.piece {
        Piece::Whole if around.is_by_chance(pattern.bytes.len()) => Naming::No,
        Piece::Whole if around.is_alone() => Naming::Alone,
        Piece::Whole if !around.is_name() => Naming::InText,
        Piece::Head if pattern.bytes.len() == 16 => Naming::Alone,
        Piece::Beginning if !after_name => {
            if around.before.is_some_and(in_name) {
                Naming::InText
            } else {
                Naming::Alone
            }
        }
        Piece::Ending if !after_name && !around.before.is_some_and(is_printed) => Naming::InText,
        _ => Naming::No,
    }
}

/// The same where nobody can tell what is referred to. A text in a program written in C
/// ends with a zero, whatever precedes it.
fn in_data_of_unknown(pattern: &Pattern, around: Around, is_c: bool) -> Naming {
    match pattern.piece {
        Piece::Whole if !is_c || pattern.bytes.len() >= TELLING => Naming::Alone,
        Piece::Whole if matches!(around.after, Some(0 | b'=')) => Naming::Alone,
        _ => in_data(pattern, around),
    }
}

/// Whether a program is written in C or C++, as far as can be told: it uses the C library,
/// and nothing of the languages whose texts do not end with a zero.
fn is_c(program: &Program<'_>, contains: impl Fn(&[u8]) -> bool) -> bool {
    let needs = |name: &[u8]| {
        program
            .needs
            .iter()
            .any(|library| library.starts_with(name))
    };
    let others: [&[u8]; 4] = [b"libgfortran.", b"libgnat", b"libswift", b"libgo."];
    needs(b"libc.")
        && !others.iter().any(|other| needs(other))
        && !contains(b"RUST_BACKTRACE")
        && !contains(b"\xff Go buildinf:")
}

/// A name in a part of the file that is not part of the program.
fn beside(content: &[u8], at: &Range<usize>, pattern: &Pattern) -> Naming {
    text::naming(content, pattern, at, Content::Binary)
}
