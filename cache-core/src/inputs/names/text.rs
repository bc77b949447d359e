//! Looking for names in what is no program: scripts, bytecode, libraries of rustc's.
//!
//! In text a name is a word. Bytecode puts texts next to each other, each with its length
//! before it or a mark behind it, so there a name may stand anywhere.
//!
//! Libraries are searched for variables that macros of theirs may ask the compiler for
//! (`env!`). Their documentation often shows such a line, which asks for nothing: there the
//! name stands between quotes, while the compiler writes the literals of macros without
//! them (`rustc_ast::token::Lit`).
//!
//! However long a file is, only a window of it is in memory at a time.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;

use super::content::{self, Content};
use super::patterns::{Pattern, Patterns, Piece};
use super::{Found, Naming};

/// How much of a file is in memory at a time, bytes.
const WINDOW: usize = 1 << 20;

/// Names so long do not stand in a program by chance.
pub(super) const TELLING: usize = 8;

/// Shorter names stand in bytecode by chance.
const MIN_ANYWHERE: usize = 4;

/// Looks for names in a file from where it stands to its end.
pub(super) fn search(
    file: &mut File,
    kind: Content,
    names: &[&[u8]],
    found: &mut Found,
) -> io::Result<()> {
    let patterns = Patterns::new(names, kind == Content::WideText);
    // Enough that a pattern with the bytes around it lies in one window or the next.
    let overlap = 2 * patterns.longest() + 64;
    let mut window = Vec::with_capacity(WINDOW + overlap);
    let mut is_first = true;
    loop {
        let read = file.take(WINDOW as u64).read_to_end(&mut window)?;
        let is_last = read < WINDOW;
        search_window(&window, (is_first, is_last), kind, &patterns, found);
        if is_last || found.is_opaque {
            return Ok(());
        }
        window.drain(..window.len().saturating_sub(overlap));
        is_first = false;
    }
}

/// Looks for names in a part of a file. `ends`: whether it is the first, and the last.
pub(super) fn search_window(
    window: &[u8],
    ends: (bool, bool),
    kind: Content,
    patterns: &Patterns,
    found: &mut Found,
) {
    let may_hide = !matches!(kind, Content::Library | Content::Program);
    found.is_opaque |= may_hide && content::hides(window);
    patterns.find(window, |pattern, at| {
        // What touches an end has neighbours in another window, which shows it too.
        if (ends.0 || at.start > 0) && (ends.1 || at.end < window.len()) {
            found.note(pattern.name, naming(window, pattern, &at, kind));
        }
    });
}

pub(super) fn naming(window: &[u8], pattern: &Pattern, at: &Range<usize>, kind: Content) -> Naming {
    let before = at.start.checked_sub(1).and_then(|i| window.get(i)).copied();
    let after = window.get(at.end).copied();
    let counts = match (pattern.piece, kind) {
        (_, Content::Library) if is_quoted(before, after) => false,
        (Piece::Whole, Content::Library | Content::WideText) => true,
        (Piece::Whole, Content::Binary) => {
            at.len() >= MIN_ANYWHERE
                || is_length(before, at.len())
                || (!before.is_some_and(in_name) && !after.is_some_and(in_name))
        }
        // One of those that are too large to look at as a whole.
        (Piece::Whole, Content::Program) => {
            at.len() >= TELLING || (!before.is_some_and(in_name) && !after.is_some_and(in_name))
        }
        (Piece::Whole, _) => is_word(window.get(at.clone()).unwrap_or_default(), before, after),
        (Piece::Beginning, _) => {
            let is_small = !pattern.bytes.iter().any(u8::is_ascii_uppercase);
            let goes_on = |byte| in_name(byte) || (is_small && byte.is_ascii_lowercase());
            !after.is_some_and(goes_on) && !before.is_some_and(is_capital)
        }
        (Piece::Ending, Content::Text | Content::Binary) => {
            !after.is_some_and(in_name) && !before.is_some_and(is_word_byte)
        }
        (Piece::Ending | Piece::Head, _) => false,
    };
    if counts { Naming::Alone } else { Naming::No }
}

fn is_quoted(before: Option<u8>, after: Option<u8>) -> bool {
    before == Some(b'"') && matches!(after, Some(b'"' | b'\\'))
}

fn is_length(before: Option<u8>, len: usize) -> bool {
    before.is_some_and(|byte| usize::from(byte) == len)
}

/// Whether a name that is found in text stands there as a word, and is not part of a longer
/// one. A small letter may be all that is left of an escape (`\nHOME`), and a digit too.
fn is_word(name: &[u8], before: Option<u8>, after: Option<u8>) -> bool {
    if name.iter().any(u8::is_ascii_uppercase) {
        !before.is_some_and(is_capital) && !after.is_some_and(in_name)
    } else {
        let is_part = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        !before.is_some_and(is_part) && !after.is_some_and(|b| is_part(b) || b.is_ascii_digit())
    }
}

/// Whether a byte may go on a name written in capitals.
pub(super) fn in_name(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_'
}

fn is_capital(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte == b'_'
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek as _, Write as _};

    fn found(content: &[u8], kind: Content, names: &[&str]) -> Vec<bool> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        let mut found = Found::new(names.len());
        search(&mut file, kind, &names, &mut found).unwrap();
        found.naming.iter().map(|n| *n != Naming::No).collect()
    }

    #[test]
    fn names_in_text_are_words() {
        let script = b"#!/bin/sh\necho ${MY_X:-none} \"\\nHOME\" CIRCLE USERS $A.B http_proxyx";
        let names = ["MY_X", "HOME", "CI", "USER", "A.B", "http_proxy"];
        assert_eq!(
            found(script, Content::Text, &names),
            [true, true, false, false, true, false]
        );
    }

    #[test]
    fn the_beginning_or_the_ending_may_be_all_there_is() {
        let names = ["MY_TOOL_PATH", "MY_TOOL", "GITHUB_SHA", "CI_X", "X_FLAVOUR"];
        let content = b"MY_TOOL_text GITHUB_TOKEN CI_ {}_FLAVOUR";
        assert_eq!(
            found(content, Content::Text, &names),
            [true, false, false, false, true]
        );
    }

    #[test]
    fn quoted_names_in_libraries_are_documentation() {
        let names = ["OUT_DIR", "HOME", "MY_DIR", "MY_FILE"];
        for magic in ["!<arch>\n", "rust\0\0\0\x0a"] {
            let library = format!("{magic}env!(\"OUT_DIR\") \\\"HOME\\\" \u{7}MY_DIR\u{c1}\"MY_\"");
            assert_eq!(
                found(library.as_bytes(), Content::Library, &names),
                [false, false, true, false]
            );
        }
    }

    #[test]
    fn bytecode_puts_names_next_to_each_other() {
        let names = ["MY_X", "CI", "HOME", "AB"];
        let bytecode = b"\xcb\0\xda\x04MY_XN)\x06CIRCLE\x04HOMEUSER\xda\x02ABN";
        assert_eq!(
            found(bytecode, Content::Binary, &names),
            [true, false, true, true]
        );
    }

    #[test]
    fn letters_may_have_zeros_beside_them() {
        for order in [0, 1] {
            let mut wide = vec![0; order];
            wide.extend("echo $MY_X".bytes().flat_map(|b| [b, 0]));
            assert_eq!(
                found(&wide, Content::WideText, &["MY_X", "MY_Y"]),
                [true, false]
            );
        }
    }

    #[test]
    fn a_name_may_lie_where_one_window_ends() {
        for shift in 0..8 {
            let mut content = vec![b' '; WINDOW - shift];
            content.extend(b"MY_X USERS");
            content.resize(3 * WINDOW, b' ');
            content.extend(b"LAST");
            let names = ["MY_X", "USER", "LAST"];
            assert_eq!(
                found(&content, Content::Text, &names),
                [true, false, true],
                "{shift}"
            );
        }
    }
}
