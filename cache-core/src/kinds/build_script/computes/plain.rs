//! What *is* a path, or a text or row of bytes made of one, among what comes from one.
//!
//! Much comes from a path without being one: a builder that was given it, an iterator of files below it. What their methods do
//! cannot be known, and only some names tell. Of a path itself all methods are known: those of the standard library. So here it is the
//! harmless ones that are listed ([`KEEPS`]); every other one may measure the path or give a part of it.
//!
//! ```text
//! path   = head link*
//! head   = name of one | function that gives one | f("OUT_DIR") | env!("OUT_DIR") | format!(… path …)
//!        | PathBuf::from(path) | Some(path) | (path)
//! link   = ? | .field | .method(…), if it is harmless
//! ```

use std::collections::BTreeSet;

use super::VARIABLES;
use super::rust::Name;
use super::tokens::{
    Token, arguments, at_arrow, at_commas, captured, receiver, replaces_parts, single_equals,
};
use super::words::{ADDS, COMPARES, ENDS, FUNCTIONS, KEEPS, MEASURES, READS, WRAPS};

/// The names of paths, as they are known in a function.
pub(super) struct In<'a> {
    pub(super) known: &'a BTreeSet<Name>,
    pub(super) function: &'a Option<String>,
    /// Whether it is asked for the ends of paths: that of one which something was added to is what was added.
    pub(super) ends: bool,
    /// Variables of the environment with paths, besides those of every script.
    pub(super) variables: &'a [String],
}

impl In<'_> {
    /// Whether a variable is a path.
    fn variable(&self, name: &str) -> bool {
        let here = (self.function.clone(), name.to_owned());
        self.known.contains(&here) || self.anywhere(name)
    }

    /// Whether a field, a constant or a function gives a path.
    fn anywhere(&self, name: &str) -> bool {
        self.known.contains(&(None, name.to_owned()))
    }
}

/// Whether tokens, all of them, are an expression that gives a path.
pub(super) fn is_path(tokens: &[Token], known: &In<'_>) -> bool {
    let is_prefix = |t: &&Token| t.is('&') || t.is('*') || matches!(t.name(), Some("mut" | "ref"));
    let skipped = tokens.iter().take_while(is_prefix).count();
    let tokens = tokens.get(skipped..).unwrap_or_default();
    let Some((mut is_path, mut at)) = head(tokens, known) else {
        return false;
    };
    while let Some(token) = tokens.get(at) {
        at += 1;
        if token.is('?') {
            continue;
        }
        if *token == Token::Open('[') {
            let index = arguments(tokens, at - 1);
            is_path |= is_variable(index, known);
            at += index.len() + 1;
            continue;
        }
        if !token.is('.') {
            // A text that something is added to.
            return is_path && token.is('+');
        }
        let method = tokens.get(at).and_then(Token::name);
        at += 1;
        at += turbofish(tokens, at);
        if tokens.get(at) == Some(&Token::Open('(')) {
            let given = arguments(tokens, at);
            let looks_up = matches!(method, Some("get" | "remove" | "var" | "var_os"));
            let adds = known.ends && method.is_some_and(|m| ADDS.contains(&m));
            let keeps = !adds && method.is_some_and(|m| KEEPS.contains(&m) || ENDS.contains(&m));
            is_path = (is_path && keeps) || (looks_up && is_variable(given, known));
            at += given.len() + 2;
        } else if let Some(field) = method {
            is_path |= known.anywhere(field);
        }
    }
    is_path
}

/// What an expression begins with: whether it is a path, and its length.
fn head(tokens: &[Token], known: &In<'_>) -> Option<(bool, usize)> {
    if tokens.first() == Some(&Token::Open('(')) {
        let inner = arguments(tokens, 0);
        return Some((is_path(inner, known), inner.len() + 2));
    }
    let mut names = vec![tokens.first()?.name()?];
    let mut at = 1;
    while tokens.get(at).is_some_and(|t| t.is(':')) && tokens.get(at + 1).is_some_and(|t| t.is(':'))
    {
        match tokens.get(at + 2).and_then(Token::name) {
            Some(name) => {
                names.push(name);
                at += 3;
            }
            None => at += turbofish(tokens, at).max(2),
        }
    }
    let name = *names.last()?;
    let is_macro = tokens.get(at).is_some_and(|t| t.is('!'));
    at += usize::from(is_macro);
    if tokens.get(at) != Some(&Token::Open('(')) {
        let is_one = names.len() == 1 && known.variable(name);
        return (!is_macro).then_some((is_one || known.anywhere(name), at));
    }
    let given = arguments(tokens, at);
    let end = at + given.len() + 2;
    let parts = at_commas(given);
    let of = names.iter().rev().nth(1).copied().unwrap_or(name);
    let is_one = if is_macro {
        let is_text = matches!(name, "format" | "concat" | "env" | "option_env");
        let adds = known.ends && name != "env" && name != "option_env";
        known.anywhere(name) || (is_text && !adds && parts.iter().any(|part| holds(part, known)))
    } else {
        FUNCTIONS.contains(&name)
            || (name == "args" && names.len() > 1)
            || known.anywhere(name)
            || matches!(&*parts, [part] if is_variable(part, known))
            || (WRAPS.contains(&of) && parts.iter().any(|part| is_path(part, known)))
    };
    Some((is_one, end))
}

/// Whether an argument of a macro is a path, or a text that takes one in.
fn holds(part: &[Token], known: &In<'_>) -> bool {
    match part {
        [Token::Literal(text)] => {
            is_variable(part, known) || captured(text).any(|name| known.variable(name))
        }
        // `name = value`
        [Token::Name(_), Token::Mark('='), value @ ..] => is_path(value, known),
        _ => is_path(part, known),
    }
}

/// Whether tokens, all of them, are an expression that gives a list of paths, or all variables.
pub(super) fn is_list(tokens: &[Token], known: &In<'_>) -> bool {
    let skipped = tokens.iter().take_while(|t| t.is('&')).count();
    let tokens = tokens.get(skipped..).unwrap_or_default();
    let any = |open| {
        at_commas(arguments(tokens, open))
            .iter()
            .any(|part| is_path(part, known))
    };
    match tokens {
        [Token::Open('['), ..] => any(0),
        [Token::Name(name), Token::Mark('!'), Token::Open('['), ..] => name == "vec" && any(2),
        [Token::Name(name), ..] if known.variable(&list(name)) => true,
        _ => {
            let mut calls = tokens.windows(2);
            calls.any(|pair| match pair {
                [Token::Name(name), Token::Open('(')] => name == "vars" || name == "vars_os",
                _ => false,
            })
        }
    }
}

/// What a variable with a list of paths is known as.
pub(super) fn list(name: &str) -> String {
    format!("{name}[]")
}

/// Whether tokens name a variable that holds a path: as one text, in pieces, or by a name for that text.
pub(super) fn is_variable(tokens: &[Token], known: &In<'_>) -> bool {
    let skipped = tokens.iter().take_while(|t| t.is('&')).count();
    let tokens = tokens.get(skipped..).unwrap_or_default();
    let text = match tokens {
        [Token::Literal(text)] => text.trim_matches('"').to_owned(),
        [Token::Name(name)] => return known.variable(&text_of(name)),
        [Token::Name(name), Token::Mark('!'), Token::Open(_), ..] => put_together(name, tokens),
        _ => return false,
    };
    // Any name may be put together with such an end.
    text.ends_with("}_DIR") || VARIABLES.contains(&&*text) || known.variables.contains(&text)
}

/// What a macro makes of texts.
fn put_together(name: &str, tokens: &[Token]) -> String {
    let texts = tokens.iter().filter_map(|token| match token {
        Token::Literal(text) => Some(text.trim_matches('"')),
        _ => None,
    });
    let mut texts = texts.peekable();
    match name {
        "concat" => texts.collect(),
        "format" => {
            let pattern = texts.next().unwrap_or_default().to_owned();
            texts.fold(pattern, |so_far, text| so_far.replacen("{}", text, 1))
        }
        _ => String::new(),
    }
}

/// What a variable with the name of such a variable is known as.
pub(super) fn text_of(name: &str) -> String {
    format!("{name}$")
}

/// The length of `::<…>`.
fn turbofish(tokens: &[Token], at: usize) -> usize {
    let rest = tokens.get(at..).unwrap_or_default();
    if !matches!(
        rest,
        [Token::Mark(':'), Token::Mark(':'), Token::Mark('<'), ..]
    ) {
        return 0;
    }
    let mut depth = 0_usize;
    let end = rest.iter().position(|token| {
        depth += usize::from(token.is('<'));
        depth -= usize::from(token.is('>') && depth > 0);
        depth == 0 && token.is('>')
    });
    end.map_or(0, |end| end + 1)
}

/// Whether anything but harmless is done with a path in a row of tokens.
pub(super) fn takes_apart(tokens: &[Token], known: &In<'_>) -> bool {
    if known.ends {
        return calls_one_that_tells(tokens, known);
    }
    calls_one_that_tells(tokens, known)
        || is_gone_through(tokens, known)
        || is_measured_or_shown(tokens, known)
}

/// Whether these are arms of a `match` of a path, with a text that it may be.
pub(super) fn is_matched(head: &[Token], arms: &[Token], known: &In<'_>) -> bool {
    let start = head.iter().position(|t| t.name() == Some("match"));
    let matched = start.and_then(|start| head.get(start + 1..));
    matched.is_some_and(|matched| is_path(matched, known))
        && at_commas(arms)
            .into_iter()
            .any(|arm| has_text(at_arrow(arm).0))
}

fn has_text(pattern: &[Token]) -> bool {
    let mut pattern = pattern.iter();
    pattern.any(|token| matches!(token, Token::Literal(_)))
}

/// Whether a method of a path is called that tells something of it.
fn calls_one_that_tells(tokens: &[Token], known: &In<'_>) -> bool {
    (0..tokens.len()).any(|at| {
        let Some([Token::Mark('.'), Token::Name(method)]) = tokens.get(at..at + 2) else {
            return false;
        };
        let open = at + 2 + turbofish(tokens, at + 2);
        tokens.get(open) == Some(&Token::Open('('))
            && is_path(receiver(tokens, at), known)
            && tells(method, arguments(tokens, open), known)
    })
}

/// Whether a path is given to what measures it, shown as something else, compared or indexed.
fn is_measured_or_shown(tokens: &[Token], known: &In<'_>) -> bool {
    (0..tokens.len()).any(|at| match tokens.get(at..at + 2) {
        Some([Token::Name(function), Token::Open('(')]) => {
            let measures = MEASURES
                .iter()
                .any(|word| function.to_lowercase().contains(word));
            let before = at.checked_sub(3).and_then(|of| tokens.get(of)?.name());
            let given = at_commas(arguments(tokens, at + 1));
            let is_measured = measures
                || matches!(function.as_str(), "len" | "from_ref")
                || before == Some("Cursor");
            // How many bytes were copied or written is an answer.
            let is_method = at.checked_sub(1).and_then(|before| tokens.get(before));
            let counts =
                function == "copy" || (function == "write" && is_method.is_some_and(|t| t.is('.')));
            given
                .iter()
                .any(|part| is_path(part, known) && (is_measured || (counts && gives_bytes(part))))
        }
        Some([Token::Name(name), Token::Mark('!')]) if name == "matches" => {
            let given = at_commas(arguments(tokens, at + 2));
            let matched = given.split_first();
            matched.is_some_and(|(matched, patterns)| {
                is_path(matched, known) && patterns.iter().any(|pattern| has_text(pattern))
            })
        }
        Some([Token::Name(name), Token::Mark('!')]) => {
            let given = at_commas(arguments(tokens, at + 2));
            let is_text =
                matches!(given.as_slice(), [[Token::Literal(text)], ..] if has_width(text));
            let shows = |part: &&[Token]| is_path(part, known) && gives_bytes(part);
            let shows_bytes = name != "env" && given.iter().any(shows);
            (is_text && given.iter().any(|part| holds(part, known))) || shows_bytes
        }
        Some([Token::Name(name), second]) => is_compared(tokens, at, name, second, known),
        Some([_, Token::Open('[')]) => is_path(receiver(tokens, at + 1), known),
        _ => false,
    })
}

/// Whether a method of a path tells something of it.
fn tells(method: &str, given: &[Token], known: &In<'_>) -> bool {
    if known.ends {
        return ENDS.contains(&method);
    }
    match method {
        "replace" => replaces_parts(given),
        // Where something begins with a path of its own, it does so everywhere.
        "starts_with" | "strip_prefix" | "ends_with" | "contains" | "cmp" | "eq" | "ne" => {
            !is_told_by_key(given) && !is_path(given, known)
        }
        // Of a file, that is what it holds; of the bytes of a path, their number.
        "read" | "read_to_end" | "read_to_string" => true,
        _ => !KEEPS.contains(&method) && !READS.contains(&method) && !ENDS.contains(&method),
    }
}

/// Whether a text is one of a mark that shells treat as theirs: which of these are in the paths is part of the key. Backslashes
/// are of another system.
fn is_told_by_key(given: &[Token]) -> bool {
    let [Token::Literal(text)] = given else {
        return false;
    };
    let text = text.trim_matches(['"', '\'']);
    text.contains("\\\\") || matches!(text.as_bytes(), [mark] if super::is_special(*mark))
}

/// Whether a name stands beside an operator that compares, or in brackets.
fn is_compared(tokens: &[Token], at: usize, name: &str, second: &Token, known: &In<'_>) -> bool {
    if !known.variable(name) {
        return false;
    }
    let third = tokens.get(at + 2);
    let compares = match second {
        Token::Mark('=' | '!') => third.is_some_and(|t| t.is('=')),
        Token::Mark(mark) => COMPARES.contains(mark) && !third.is_some_and(|t| t.is('>')),
        Token::Open('[') => true,
        _ => false,
    };
    let before = at.checked_sub(1).and_then(|before| tokens.get(before));
    let is_another = before.is_some_and(|t| t.is('.') || t.is(':') || t.name() == Some("fn"));
    compares && !is_another
}

/// Whether a loop, or a pattern of a row, goes through a path.
fn is_gone_through(tokens: &[Token], known: &In<'_>) -> bool {
    let mut names = tokens.iter().map(Token::name);
    let first = names.next().flatten();
    match first {
        Some("for") => {
            let start = tokens.iter().position(|t| t.name() == Some("in"));
            let list = start.and_then(|start| tokens.get(start + 1..));
            list.is_some_and(|list| is_path(list, known))
        }
        Some("if" | "while" | "let") => {
            let Some(equals) = single_equals(tokens) else {
                return false;
            };
            let (left, right) = tokens.split_at(equals);
            let is_row = left
                .iter()
                .any(|t| *t == Token::Open('[') || t.name() == Some("u8"));
            is_row && is_path(right.get(1..).unwrap_or_default(), known)
        }
        _ => false,
    }
}

/// Whether a text for `format!` says how wide something is to be.
fn has_width(text: &str) -> bool {
    text.split('{').skip(1).any(|rest| {
        let rest = rest.split('}').next().unwrap_or_default();
        let shape = rest.split_once(':').map(|(_, shape)| shape);
        shape.is_some_and(|shape| {
            shape.contains(|c: char| c.is_ascii_digit() || c == '*' || c == '$')
        })
    })
}

/// Whether an expression ends with bytes.
fn gives_bytes(tokens: &[Token]) -> bool {
    let methods = ["as_bytes", "as_encoded_bytes", "into_bytes", "to_vec"];
    let mut names = tokens.iter().rev().filter_map(Token::name);
    names.next().is_some_and(|name| methods.contains(&name))
}
