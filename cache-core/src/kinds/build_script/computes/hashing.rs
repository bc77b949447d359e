//! Whether sources hash anything.
//!
//! They do where they name a hash function, or give something to one (`x.hash(…)`). That a type *can* be hashed says nothing
//! (`impl Hash for …`): by that it is given to a hasher which somebody else has made. To import `Hasher` for it says no more,
//! unless a method is called that hashers have: one from elsewhere may be called anything.

use super::rust::Statement;
use super::tokens::{Token, declared, names_before};
use super::words::HASHES;

/// The trait of all hashers.
const HASHER: &str = "Hasher";

/// Whether any of some statements may hash something.
pub(super) fn may_hash(statements: &[Statement]) -> bool {
    let calls_hasher = || statements.iter().any(|s| calls_hasher(&s.tokens));
    let mut all = statements.iter();
    all.any(|statement| {
        let of_type = hasher_of_type(statements, statement);
        let tokens = statement.tokens.as_slice();
        let makes_hasher = |name: &str, next: Option<&Token>| {
            if name == HASHER {
                let is_import = tokens.first().and_then(Token::name) == Some("use")
                    || is_import(statements, statement);
                return !(is_import || of_type.is_some()) || calls_hasher();
            }
            HASHES.contains(&name) || (name == "hash" && next.is_some_and(|t| t.is('(')))
        };
        (0..tokens.len()).any(|at| {
            let name = tokens.get(at).and_then(Token::name);
            name.is_some_and(|name| {
                makes_hasher(name, tokens.get(at + 1))
                    && !of_type
                        .as_deref()
                        .is_some_and(|h| is_given_to(h, tokens, at))
            })
        })
    })
}

/// Whether a method is called that a hasher may have.
fn calls_hasher(tokens: &[Token]) -> bool {
    let is_of_hasher = |name: &str| {
        let mut starts = ["digest", "finali", "finish", "get_hash", "write_"].into_iter();
        starts.any(|start| name.starts_with(start)) && name != "write_str"
    };
    tokens.windows(3).any(|call| match call {
        [Token::Mark('.'), Token::Name(name), _] if name == "write" => true,
        [Token::Mark('.' | ':'), Token::Name(name), next] => {
            (next.is('(') || next.is(':')) && is_of_hasher(name)
        }
        _ => false,
    })
}

/// Whether a statement is what `use …::{…}` has in its braces.
fn is_import(statements: &[Statement], statement: &Statement) -> bool {
    let head = statement.head.and_then(|head| statements.get(head));
    head.is_some_and(|head| head.tokens.iter().any(|t| t.name() == Some("use")))
}

/// What the hasher is called that `impl Hash for …` is given, in a statement of such a block.
fn hasher_of_type(statements: &[Statement], statement: &Statement) -> Option<String> {
    let is_function = |s: &Statement| declared(&s.tokens).as_deref() == Some("hash");
    let head = |s: &Statement| s.head.and_then(|head| statements.get(head));
    let function = if is_function(statement) {
        statement
    } else {
        head(statement).filter(|head| is_function(head))?
    };
    let tokens = &head(function)?.tokens;
    let is_of_type = tokens.iter().any(|t| t.name() == Some("impl"))
        && tokens
            .windows(2)
            .any(|pair| pair.iter().map(Token::name).eq([Some("Hash"), Some("for")]));
    let hasher = names_before(&function.tokens, ':').pop();
    hasher.filter(|_| is_of_type)
}

/// Whether what stands at a position is `hash(hasher)`.
fn is_given_to(hasher: &str, tokens: &[Token], at: usize) -> bool {
    let call = tokens.get(at..at + 4);
    call.is_some_and(|call| {
        matches!(call, [Token::Name(hash), Token::Open('('), Token::Name(given), Token::Close(')')]
            if hash == "hash" && given == hasher)
    })
}
