//! Values of path variables that are used other than for including files.
//!
//! `include!(concat!(env!("OUT_DIR"), "/x.rs"))` uses a path only to find a file, whose
//! content is an input; the result is the same wherever the directory is. But
//! `env!("OUT_DIR").len()` depends on the path, and the path itself is not to be found
//! in the output. So where a unit's own sources name such a variable outside of the
//! `include` macros, its result is bound to the place. The same where they do not name it
//! at all: then a macro of another crate read it, and nobody knows what for.
//!
//! This reads Rust only roughly: it looks for the quoted name, and whether the innermost
//! `include…!( … )` is still open there. Mistakes fall on the safe side: a name in a
//! comment binds a result that need not be.

use memchr::memmem;

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

/// How `source` names the variable as a string.
pub(crate) fn naming(source: &[u8], variable: &str) -> Naming {
    let quoted = format!("\"{variable}\"");
    memmem::find_iter(source, &quoted)
        .map(|at| {
            if inside_include(source.get(..at).unwrap_or_default()) {
                Naming::ToInclude
            } else {
                Naming::AsValue
            }
        })
        .max()
        .unwrap_or(Naming::No)
}

/// Whether an `include…!` macro is open at the end of `before`.
fn inside_include(before: &[u8]) -> bool {
    let macros: [&[u8]; 3] = [b"include!", b"include_str!", b"include_bytes!"];
    let last = macros
        .iter()
        .filter_map(|name| Some(memmem::rfind(before, name)? + name.len()))
        .max();
    let Some(start) = last else {
        return false;
    };
    let mut depth = 0_u32;
    let mut opened = false;
    for byte in before.get(start..).unwrap_or_default() {
        match byte {
            b'(' | b'[' | b'{' => {
                depth += 1;
                opened = true;
            }
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ if !opened => return false,
            _ => {}
        }
        if opened && depth == 0 {
            return false;
        }
    }
    opened
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
    }
}
