//! What the sources of a unit tell the macros that they call.
//!
//! A procedural macro sees the tokens of its call, and those of an item that it derives
//! from or is an attribute of. So the words in these places are names that it may be told.
//! Which macro is a procedural one is not known; those of the standard library are not.
//! Of an item, only words in literals, and names without small letters, are taken: it has
//! many names of its own.

use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::error::PathError;
use crate::inputs::names::Words;
use crate::os::fs;

/// Macros of the standard library, which ask for no variable but those that the compiler
/// reports.
const OF_STD: &[&str] = &[
    "addr_of",
    "assert",
    "assert_eq",
    "assert_ne",
    "cfg",
    "column",
    "compile_error",
    "concat",
    "dbg",
    "debug_assert",
    "debug_assert_eq",
    "debug_assert_ne",
    "env",
    "eprint",
    "eprintln",
    "file",
    "format",
    "format_args",
    "include",
    "include_bytes",
    "include_str",
    "line",
    "macro_rules",
    "matches",
    "module_path",
    "option_env",
    "panic",
    "print",
    "println",
    "stringify",
    "thread_local",
    "todo",
    "unimplemented",
    "unreachable",
    "vec",
    "write",
    "writeln",
];

/// Attributes of the compiler, which runs no code for them.
const BUILT_IN: &[&str] = &[
    "allow",
    "automatically_derived",
    "bench",
    "cfg",
    "cold",
    "default",
    "deny",
    "deprecated",
    "doc",
    "expect",
    "export_name",
    "forbid",
    "global_allocator",
    "ignore",
    "inline",
    "link",
    "link_name",
    "link_section",
    "macro_export",
    "macro_use",
    "must_use",
    "no_mangle",
    "non_exhaustive",
    "panic_handler",
    "path",
    "proc_macro",
    "proc_macro_attribute",
    "proc_macro_derive",
    "repr",
    "rustfmt",
    "should_panic",
    "target_feature",
    "test",
    "track_caller",
    "unsafe",
    "used",
    "warn",
];

/// What the compiler derives by itself.
const DERIVED: &[&str] = &[
    "Clone",
    "Copy",
    "Debug",
    "Default",
    "Eq",
    "Hash",
    "Ord",
    "PartialEq",
    "PartialOrd",
];

/// Sources longer than this, bytes, are not read as tokens.
const MAX_SOURCE: usize = 1 << 20;

/// No more than this is read of a file that a macro may have read, bytes.
const MAX_TEXT: u64 = 4 << 20;

/// Adds the words that a source may tell macros.
pub(super) fn add_words(source: &[u8], words: &mut Words) {
    if source.len() > MAX_SOURCE {
        words.add(source, is_loud);
        return;
    }
    let text = str::from_utf8(source).ok();
    match text.and_then(|text| text.parse().ok()) {
        Some(tokens) => walk(tokens, Told::Nothing, words),
        None => words.add(source, |_| true),
    }
}

/// Adds the words of a file that a macro may have read, if it is text.
pub(super) fn add_words_of_file(path: &Path, words: &mut Words) -> Result<(), PathError> {
    let is_text = |bytes: &[u8]| !bytes.contains(&0);
    if !fs::is_file(path) || !is_text(&fs::read_start(path, 4096)?) {
        return Ok(());
    }
    let text = fs::read_start(path, MAX_TEXT)?;
    let is_long = text.len() as u64 == MAX_TEXT;
    if is_text(&text) {
        words.add(&text, |word| !is_long || is_loud(word));
    }
    Ok(())
}

/// Whether a word has no small letter.
fn is_loud(word: &[u8]) -> bool {
    !word.iter().any(u8::is_ascii_lowercase)
}

/// What macros are told by tokens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Nothing,
    /// They are part of an item.
    Item,
    /// They are the tokens of a call.
    All,
}

fn walk(tokens: TokenStream, told: Told, words: &mut Words) {
    // What was told so far of the item that attributes stand before.
    let mut item = Told::Nothing;
    let mut before: [Option<TokenTree>; 2] = [None, None];
    for token in tokens {
        let here = told.max(item);
        match &token {
            TokenTree::Group(group) => {
                let inner = match &before {
                    _ if is_attribute(&before) && group.delimiter() == Delimiter::Bracket => {
                        let attribute = of_attribute(group.stream());
                        item = item.max(attribute);
                        here.max(attribute)
                    }
                    [Some(TokenTree::Ident(name)), Some(TokenTree::Punct(mark))]
                        if mark.as_char() == '!' && !is_in(&name.to_string(), OF_STD) =>
                    {
                        Told::All
                    }
                    _ => here,
                };
                walk(group.stream(), inner, words);
                let ends_item = group.delimiter() == Delimiter::Brace;
                if ends_item && !is_attribute(&before) {
                    item = Told::Nothing;
                }
            }
            TokenTree::Ident(name) => {
                let name = name.to_string();
                let name = name.trim_start_matches("r#").as_bytes();
                match here {
                    Told::Nothing => {}
                    Told::Item => words.add(name, is_loud),
                    Told::All => words.add(name, |_| true),
                }
            }
            TokenTree::Literal(literal) => {
                if here > Told::Nothing && !is_documentation(&before) {
                    words.add(&without_escapes(&literal.to_string()), |_| true);
                }
            }
            TokenTree::Punct(mark) => {
                if mark.as_char() == ';' {
                    item = Told::Nothing;
                }
            }
        }
        before.rotate_left(1);
        before[1] = Some(token);
    }
}

fn is_in(name: &str, list: &[&str]) -> bool {
    list.contains(&name)
}

fn is_attribute(before: &[Option<TokenTree>; 2]) -> bool {
    let is = |token: &Option<TokenTree>, wanted| matches!(token, Some(TokenTree::Punct(mark)) if mark.as_char() == wanted);
    is(&before[1], '#') || (is(&before[0], '#') && is(&before[1], '!'))
}

/// `#[doc = "…"]`, which is what documentation is as tokens.
fn is_documentation(before: &[Option<TokenTree>; 2]) -> bool {
    matches!(before, [Some(TokenTree::Ident(name)), Some(TokenTree::Punct(mark))]
        if name == "doc" && mark.as_char() == '=')
}

/// What an attribute tells a macro of the item behind it, and of itself.
fn of_attribute(attribute: TokenStream) -> Told {
    let mut tokens = attribute.into_iter();
    let name = match tokens.next() {
        Some(TokenTree::Ident(name)) => name.to_string(),
        _ => return Told::Item,
    };
    let rest = tokens.next();
    if name == "derive"
        && let Some(TokenTree::Group(list)) = &rest
    {
        let mut derived = list.stream().into_iter();
        let is_built_in = derived.all(|token| match token {
            TokenTree::Ident(name) => is_in(&name.to_string(), DERIVED),
            TokenTree::Punct(mark) => mark.as_char() == ',',
            _ => false,
        });
        return if is_built_in {
            Told::Nothing
        } else {
            Told::Item
        };
    }
    // A path such as `tokio::test` is somebody's own.
    let is_path = matches!(&rest, Some(TokenTree::Punct(mark)) if mark.as_char() == ':');
    if !is_path && is_in(&name, BUILT_IN) {
        Told::Nothing
    } else {
        Told::Item
    }
}

/// A literal's text, with a blank for each escape, as far as that ends a word.
fn without_escapes(literal: &str) -> Vec<u8> {
    let mut text = Vec::with_capacity(literal.len());
    let mut bytes = literal.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'\\' {
            bytes.next();
            text.push(b' ');
        } else {
            text.push(byte);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::names;
    use crate::os::env::Environment;

    /// Which of some variables a source tells of.
    fn told(source: &str) -> Vec<String> {
        let mut words = Words::default();
        add_words(source.as_bytes(), &mut words);
        let env: Environment = ["KEY", "OTHER", "key"].iter().map(|n| (*n, "1")).collect();
        let told = names::told(&env, words.into_hashes().as_deref());
        told.into_iter()
            .map(|(name, _)| String::from_utf8(name).unwrap())
            .collect()
    }

    #[test]
    fn calls_tell_all_their_words() {
        for source in [
            "const A: &str = get!(\"KEY\");",
            "fn f() { println!(\"{}\", my::get! { KEY }); }",
            "get!(\"${KEY}/\\nOTHERS\")",
            "macro_rules! m { () => { get!(r#\"KEY\"#) } }",
            "get!(inner(KEY))",
            "KEY ' no tokens \"",
            "get!(concat!(\"KEY\"))",
        ] {
            assert_eq!(told(source), ["KEY"], "{source}");
        }
        assert_eq!(told("get!(key)"), ["key"]);
    }

    #[test]
    fn items_tell_their_literals_and_capitals() {
        for source in [
            "#[derive(Debug, Parse)] struct S { #[key = \"KEY\"] key: u8 }",
            "#[derive(Parse)] #[doc = \"OTHER\"] enum E { KEY }",
            "#[get(\"KEY\")] fn f() {}",
            "#[my::test] fn f() { g(\"KEY\") } fn h() { g(\"OTHER\") }",
            "#[grammar] static G: &str = \"KEY\"; static O: &str = \"OTHER\";",
        ] {
            assert_eq!(told(source), ["KEY"], "{source}");
        }
    }

    #[test]
    fn nothing_else_is_told() {
        for source in [
            "fn f() { std::env::var(\"KEY\"); println!(\"KEY {KEY}\"); }",
            "#[derive(Clone)] struct KEY;",
            "#[inline] fn f() { g(\"KEY\") }",
            "#[test] fn f() { assert_eq!(g(\"KEY\"), env!(\"KEY\")) }",
            "// get!(KEY)\n/// get!(KEY)\nstruct S;",
            "#![allow(x)]\nfn f() { g(\"KEY\") }",
        ] {
            assert!(told(source).is_empty(), "{source}");
        }
    }
}
