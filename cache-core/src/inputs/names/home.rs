//! How code names `HOME` without writing its name.
//!
//! | text | in |
//! |---|---|
//! | `~` as a word, or at the beginning of a path | shells, and what expands as they do |
//! | `cd` with nothing behind it | shells |
//! | `.home`, `homedir`, `HomeDir` | Python, Ruby, JavaScript, Perl |
//!
//! Each counts in a text of some length only: among instructions and tables such bytes stand everywhere.

use std::path::Path;

use memchr::memmem;

use crate::error::PathError;
use crate::os::fs;
use crate::os::stamp::Stamp;

/// Longer files are not looked through, and taken to hold one, bytes.
const MAX_LEN: u64 = 64 << 20;

/// Shorter texts are no texts, unless they are all there is, bytes.
const MIN_TEXT: usize = 5;

/// Functions that say where it is.
const FUNCTIONS: &[&str] = &[".home", "homedir", "HomeDir"];

/// Whether a file of code may name the user's home so.
pub(super) fn is_named_in(path: &Path) -> Result<bool, PathError> {
    if Stamp::of(path).is_none_or(|stamp| stamp.size > MAX_LEN) {
        return Ok(true);
    }
    Ok(is_named(&fs::read(path)?))
}

fn is_named(content: &[u8]) -> bool {
    let any = |word: &str, stands: fn(&[u8], &[u8]) -> bool| {
        memmem::find_iter(content, word).any(|at| {
            let (before, rest) = content.split_at_checked(at).unwrap_or_default();
            let after = rest.get(word.len()..).unwrap_or_default();
            stands(before, after) && is_in_text(before, word.len(), after)
        })
    };
    // Programs in Rust have one text right behind the other: what is telling by its end may begin anywhere.
    any("~", |before, after| {
        let begins_path = after.first() == Some(&b'/');
        let ends = after.first().is_none_or(|&b| is_between(b));
        begins_path || (ends && begins_word(before))
    }) || any("cd", |before, after| {
        let mut rest = after.iter().skip_while(|b| matches!(b, b' ' | b'\t'));
        match rest.next() {
            Some(b';' | b'&' | b'|' | b'\n') => true,
            Some(b'\0' | b'\r' | b')' | b'"' | b'\'' | b'`' | b'#' | b'}' | b'\\') | None => {
                begins_word(before)
            }
            Some(_) => false,
        }
    }) || FUNCTIONS.iter().any(|word| {
        any(word, |_, after| {
            !after.first().is_some_and(u8::is_ascii_alphanumeric)
        })
    })
}

/// Whether a word may begin behind some bytes.
fn begins_word(before: &[u8]) -> bool {
    before.last().is_none_or(|&b| is_between(b))
}

fn is_between(byte: u8) -> bool {
    byte == 0 || byte.is_ascii_whitespace() || b"\"'`=:;,|&()<>[]{}\\$".contains(&byte)
}

/// Whether some bytes stand in a text that is long enough.
fn is_in_text(before: &[u8], len: usize, after: &[u8]) -> bool {
    let is_text = |byte: &&u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    let near = before
        .iter()
        .rev()
        .take(MIN_TEXT)
        .take_while(is_text)
        .count()
        + len
        + after.iter().take(MIN_TEXT).take_while(is_text).count();
    near >= MIN_TEXT.min(before.len() + len + after.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_is_a_word_or_begins_a_path() {
        for text in [
            "~",
            "~/.config",
            "echo ~|md5sum",
            "cat ~/x",
            "expanduser('~')",
            "A=~/x",
            "\0\0~/xyz\0",
            "a\n~\nb",
        ] {
            assert!(is_named(text.as_bytes()), "{text:?}");
        }
        for text in [
            "a~b",
            "~user",
            "x~",
            "1.0~rc1",
            "\u{1}\u{2} ~ \u{3}",
            "\0~\0\0",
        ] {
            assert!(!is_named(text.as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn some_words_lead_there() {
        for text in [
            "cd",
            "cd; pwd",
            "x && cd &&\n",
            "(cd) ",
            "\u{1}sh -ccd|pwd cd|wc\0",
        ] {
            assert!(is_named(text.as_bytes()), "{text:?}");
        }
        for text in ["len(Path.home())", "os.homedir()", "File::HomeDir->my_home"] {
            assert!(is_named(text.as_bytes()), "{text:?}");
        }
        for text in [
            "cd x",
            "abcd)",
            "cd $OUT_DIR",
            "\0cd\0\0\0",
            "a.homes",
            "home page",
        ] {
            assert!(!is_named(text.as_bytes()), "{text:?}");
        }
    }
}
