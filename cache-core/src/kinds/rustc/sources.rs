//! Values of path variables that are used other than for including files.
//!
//! `include!(concat!(env!("OUT_DIR"), "/x.rs"))` uses a path only to find a file, whose
//! content is an input; the result is the same wherever the directory is. But
//! `env!("OUT_DIR").len()` depends on the path, and the path itself is not to be found
//! in the output. So where a unit's own sources name such a variable outside of the
//! `include` macros, its result is bound to the place. The same where they do not name it
//! at all: then a macro of another crate read it, and nobody knows what for.
//!
//! Sources are read as tokens, without knowing what macros make of them. A name may reach
//! `env!` as an identifier (`stringify!`), out of a literal that some attribute takes for
//! code, or from what expands to a literal; so each of these counts as a use of the value,
//! the last one of any variable's. Mistakes fall on the safe side: they bind a result that
//! need not be, as do sources that are no tokens. Comments and documentation are not code.

use memchr::memmem;
use proc_macro2::{Group, TokenStream, TokenTree};

/// How a source names a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Naming {
    /// Not at all.
    No,
    /// Only inside of `include!`, `include_str!` and `include_bytes!`.
    ToInclude,
    /// Elsewhere too.
    AsValue,
}

/// How `source` names the variable.
pub(crate) fn naming(source: &[u8], variable: &str) -> Naming {
    if memmem::find(source, variable.as_bytes()).is_none() && !asks_for_variables(source) {
        return Naming::No;
    }
    let text = str::from_utf8(source).ok();
    match text.and_then(|text| text.parse().ok()) {
        Some(tokens) => naming_in(tokens, variable),
        None => Naming::AsValue,
    }
}

/// Whether there may be an `env!` or `option_env!`. Long generated sources have none, and
/// reading their tokens would take a while.
fn asks_for_variables(source: &[u8]) -> bool {
    memmem::find_iter(source, "env").any(|at| {
        let mut rest = source.get(at + 3..).unwrap_or_default().iter();
        let next = rest.find(|byte| !byte.is_ascii_whitespace());
        // The slash begins a comment.
        matches!(next, Some(b'!' | b'/'))
    })
}

/// Where tokens stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Elsewhere,
    /// They make up the path of a file to include.
    Path,
    /// They are what `env!` is asked for, in such a path or elsewhere.
    Variable {
        in_path: bool,
    },
}

fn naming_in(tokens: TokenStream, variable: &str) -> Naming {
    let mut naming = Naming::No;
    let mut groups = vec![(tokens, Place::Elsewhere)];
    while let Some((tokens, place)) = groups.pop() {
        let mut before = Before::default();
        for token in tokens {
            let named = match &token {
                TokenTree::Group(group) => {
                    let inner = before.place_in(place);
                    let is_open =
                        matches!(inner, Place::Variable { .. }) && !begins_with_literal(group);
                    groups.push((group.stream(), inner));
                    if is_open { Naming::AsValue } else { Naming::No }
                }
                TokenTree::Ident(ident) if ident == variable => Naming::AsValue,
                TokenTree::Literal(literal) if !before.is_documentation() => {
                    named_by(&literal.to_string(), variable, place)
                }
                _ => Naming::No,
            };
            naming = naming.max(named);
            before.push(token);
        }
    }
    naming
}

/// What a literal names, as it stands in the source.
fn named_by(literal: &str, variable: &str, place: Place) -> Naming {
    let text = literal.trim_start_matches(['r', '#']).trim_end_matches('#');
    let is_name = text.trim_matches('"') == variable;
    match place {
        // Not worth the decoding.
        Place::Variable { .. } if text.contains('\\') => Naming::AsValue,
        Place::Variable { in_path: true } if is_name => Naming::ToInclude,
        Place::Variable { in_path: false } if is_name => Naming::AsValue,
        Place::Elsewhere if is_name || text.contains("env!") => Naming::AsValue,
        Place::Path | Place::Variable { .. } | Place::Elsewhere => Naming::No,
    }
}

fn begins_with_literal(group: &Group) -> bool {
    matches!(
        group.stream().into_iter().next(),
        Some(TokenTree::Literal(_))
    )
}

/// The two tokens before one.
#[derive(Default)]
struct Before {
    last: Option<TokenTree>,
    last_but_one: Option<TokenTree>,
}

impl Before {
    fn push(&mut self, token: TokenTree) {
        self.last_but_one = self.last.replace(token);
    }

    /// The identifier that stands before a certain mark.
    fn name(&self, mark: char) -> Option<String> {
        match (&self.last_but_one, &self.last) {
            (Some(TokenTree::Ident(name)), Some(TokenTree::Punct(punct)))
                if punct.as_char() == mark =>
            {
                Some(name.to_string())
            }
            _ => None,
        }
    }

    /// `#[doc = "…"]`, which is what documentation is as tokens.
    fn is_documentation(&self) -> bool {
        self.name('=').is_some_and(|name| name == "doc")
    }

    /// Where the tokens of a group stand that comes next.
    fn place_in(&self, place: Place) -> Place {
        match self.name('!').as_deref() {
            Some("include" | "include_str" | "include_bytes") => Place::Path,
            Some("concat") if place == Place::Path => Place::Path,
            Some("env" | "option_env") => Place::Variable {
                in_path: place == Place::Path,
            },
            _ => Place::Elsewhere,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(source: &str) -> bool {
        naming(source.as_bytes(), "OUT_DIR") == Naming::AsValue
    }

    #[test]
    fn including_is_not_a_use_of_the_value() {
        assert!(!uses(r#"include!(concat!(env!("OUT_DIR"), "/x.rs"));"#));
        assert!(!uses(
            r#"include_str! [ concat!(env!( "OUT_DIR" ), "/x") ]"#
        ));
        assert!(!uses(
            r#"mod m { include_bytes!(concat!(env!("OUT_DIR"), "/b")); }"#
        ));
        assert!(!uses("fn f() {}"));
    }

    #[test]
    fn everything_else_is() {
        assert!(uses(r#"const D: &str = env!("OUT_DIR");"#));
        assert!(uses(
            r#"include!("x"); const N: usize = env!("OUT_DIR").len();"#
        ));
        assert!(uses(
            r#"include!(concat!(env!("OUT_DIR"), "/x")); fn f() { env!("OUT_DIR"); }"#
        ));
        assert!(uses(r#"let include = !x; env!("OUT_DIR")"#));
        assert!(uses(r#"/* include!( */ env!("OUT_DIR")"#));
        assert!(uses(r#"not_include!(concat!(env!("OUT_DIR"), "/x"))"#));
        assert!(uses(r#"include!(other!(env!("OUT_DIR")))"#));
    }

    #[test]
    fn names_may_come_about_in_many_ways() {
        for source in [
            r#"env!(concat!("OUT", "_DIR"))"#,
            "env /* so */ ! (stringify!(X))",
            "get!(OUT_DIR)",
            r#"env!("OUT\x5fDIR")"#,
            r##"env!(r#"OUT_DIR"#)"##,
            r#"#[default = "env!(\"OUT_DIR\").len()"] struct S;"#,
            "macro_rules! get { ($name:expr) => { option_env!($name) } }",
            "OUT_DIR ' no tokens \"",
        ] {
            assert!(uses(source), "{source}");
        }
        assert_eq!(naming(b"env!(\"OTHER\") \xff", "OUT_DIR"), Naming::AsValue);
    }

    #[test]
    fn what_is_not_code_or_another_name_counts_for_nothing() {
        for source in [
            "// env!(\"OUT_DIR\")",
            "/// env!(\"OUT_DIR\")\nstruct S;",
            "#![doc = \"env!(\\\"OUT_DIR\\\")\"]",
            "env!(\"MY_OUT_DIR\")",
            "panic!(\"OUT_DIR is not set\")",
        ] {
            assert_eq!(naming(source.as_bytes(), "OUT_DIR"), Naming::No, "{source}");
        }
        let with_message = br#"include!(env!("OUT_DIR", "no OUT_DIR"))"#;
        assert_eq!(naming(with_message, "OUT_DIR"), Naming::ToInclude);
        let with_parameter =
            br#"macro_rules! m { ($f:literal) => { include!(concat!(env!("OUT_DIR"), $f)) } }"#;
        assert_eq!(naming(with_parameter, "OUT_DIR"), Naming::ToInclude);
    }
}
