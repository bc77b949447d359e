//! Which names are paths: found out by going through all statements until no new one is found.

use std::collections::BTreeSet;

use super::plain::{In, is_list, is_path, is_variable, list, text_of};
use super::rust::{Code, Name, Statement};
use super::tokens::{
    Token, arguments, at_arrow, at_commas, bound, declared, is_of_value, patterns_of_arms,
    receiver, single_equals,
};

/// Methods whose closures are not given what they are called on.
const OF_OTHERS: [&str; 7] = [
    "inspect_err",
    "map_err",
    "map_or_else",
    "ok_or_else",
    "or_else",
    "unwrap_or_else",
    "with_context",
];

/// All names of paths in some code; with `ends`, of such as nothing was added to.
pub(super) fn names(code: &Code, ends: bool) -> BTreeSet<Name> {
    let mut known = BTreeSet::new();
    loop {
        let mut found = known.clone();
        for statement in &code.statements {
            found.extend(in_statement(code, statement, &known, ends));
        }
        if found == known {
            return known;
        }
        known = found;
    }
}

fn in_statement(
    code: &Code,
    statement: &Statement,
    known: &BTreeSet<Name>,
    ends: bool,
) -> Vec<Name> {
    let scope = In {
        known,
        function: &statement.function,
        ends,
        variables: &code.variables,
    };
    let tokens = statement.tokens.as_slice();
    let mut here = Vec::new();
    let mut found = given_to_called(code, statement, &scope);
    if declared(tokens).is_some() {
        return found;
    }
    let head = statement.head.and_then(|head| code.statements.get(head));
    if let Some(head) = head
        && let Some(at) = head.tokens.iter().position(|t| t.name() == Some("match"))
        && is_path(head.tokens.get(at + 1..).unwrap_or_default(), &scope)
    {
        here.extend(patterns_of_arms(tokens, &["Err"]));
    }
    // `let dir = if … { path } else { path }`, `match … { … => path }`
    let mut values = at_commas(tokens).into_iter().map(|arm| at_arrow(arm).1);
    let begins = head.and_then(|head| code.statements.get(head.begins?));
    if let Some(head) = begins
        && statement.is_last
        && single_equals(&head.tokens).is_some()
        && declared(&head.tokens).is_none()
        && (is_path(tokens, &scope) || values.any(|value| is_path(value, &scope)))
    {
        here.extend(bound(&head.tokens).unwrap_or_default());
    }
    here.extend(given_to_closures(tokens, &scope));
    here.extend(changed(tokens, &scope));
    found.extend(fields(tokens, &scope));
    let value = tokens.strip_prefix(&[Token::Name("return".into())]);
    let is_value = statement.is_last && is_path(tokens, &scope);
    if is_value || value.is_some_and(|value| is_path(value, &scope)) {
        found.extend(statement.function.clone().map(|name| (None, name)));
    }
    found.extend(
        here.into_iter()
            .map(|name| (statement.function.clone(), name)),
    );
    found
}

/// What a declaration or an assignment gives a path to, and a text or path that one is added to.
fn changed(tokens: &[Token], scope: &In<'_>) -> Vec<String> {
    if let [
        Token::Name(name),
        Token::Mark('.'),
        Token::Name(method),
        Token::Open('('),
        ..,
    ] = tokens
        && ["push_str", "insert_str"].contains(&method.as_str())
        && at_commas(arguments(tokens, 3))
            .iter()
            .any(|part| is_path(part, scope))
    {
        return vec![name.clone()];
    }
    if let Some(at) = tokens.iter().position(|t| t.name() == Some("in"))
        && tokens.first().and_then(Token::name) == Some("for")
        && is_list(tokens.get(at + 1..).unwrap_or_default(), scope)
    {
        return last_of_each(tokens.get(1..at).unwrap_or_default());
    }
    let Some(equals) = single_equals(tokens) else {
        return Vec::new();
    };
    let (left, right) = tokens.split_at(equals);
    let right = right.get(1..).unwrap_or_default();
    if is_variable(right, scope) {
        let names = bound(tokens).unwrap_or_default();
        return names.iter().map(|name| text_of(name)).collect();
    }
    if is_list(right, scope) {
        let names = bound(tokens).unwrap_or_default();
        return names.iter().map(|name| list(name)).collect();
    }
    if let (
        [
            ..,
            Token::Open('('),
            _,
            Token::Mark(','),
            _,
            Token::Close(')'),
        ],
        [Token::Open('('), ..],
    ) = (left, right)
    {
        let values = at_commas(arguments(right, 0)).into_iter();
        let names = bound(tokens).unwrap_or_default().into_iter().zip(values);
        let paths = names.filter(|(_, value)| is_path(value, scope));
        return paths.map(|(name, _)| name).collect();
    }
    // `if let Ok(dir) = env::var(…)`, with what follows `&&`.
    if !is_path(right, scope) && !is_path(until_and(right), scope) {
        return Vec::new();
    }
    match (bound(tokens), left) {
        (Some(names), _) => names,
        (None, [Token::Name(name), rest @ ..]) if rest.iter().all(|t| t.is('+')) => {
            vec![name.clone()]
        }
        _ => Vec::new(),
    }
}

/// Names in a pattern: of pairs, the second one, for that is what a variable is set to.
fn last_of_each(pattern: &[Token]) -> Vec<String> {
    let inner = match pattern {
        [
            prefix @ ..,
            Token::Open('('),
            _,
            Token::Mark(','),
            second,
            Token::Close(')'),
        ] if prefix.iter().all(|t| t.is('&')) => std::slice::from_ref(second),
        _ => pattern,
    };
    let names = inner
        .iter()
        .filter_map(Token::name)
        .filter(|name| is_of_value(name));
    names.map(str::to_owned).collect()
}

fn until_and(tokens: &[Token]) -> &[Token] {
    let end = tokens.iter().position(|t| t.is('&')).filter(|at| *at > 0);
    tokens
        .get(..end.unwrap_or(tokens.len()))
        .unwrap_or_default()
}

/// Fields that are given a path: `field: path`, `self.field = path`.
fn fields(tokens: &[Token], scope: &In<'_>) -> Vec<Name> {
    let mut found = Vec::new();
    for part in at_commas(tokens) {
        match part {
            [Token::Name(name), Token::Mark(':'), value @ ..] if is_path(value, scope) => {
                found.push((None, name.clone()));
            }
            // A variable of the field's name, or the value of the block.
            [Token::Name(name)] if part.len() < tokens.len() && is_path(part, scope) => {
                found.push((None, name.clone()));
            }
            _ => {}
        }
    }
    if let Some(equals) = single_equals(tokens)
        && let [.., Token::Mark('.'), Token::Name(name), Token::Mark('='), _] =
            tokens.get(..equals + 2).unwrap_or_default()
        && is_path(tokens.get(equals + 1..).unwrap_or_default(), scope)
    {
        found.push((None, name.clone()));
    }
    found
}

/// The parameters of functions and closures that a path is given to.
fn given_to_called(code: &Code, statement: &Statement, scope: &In<'_>) -> Vec<Name> {
    let tokens = statement.tokens.as_slice();
    let mut found = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        let [Token::Name(name), Token::Open('(')] = pair else {
            continue;
        };
        let is_declared = at.checked_sub(1).and_then(|b| tokens.get(b)?.name()) == Some("fn");
        if is_declared {
            continue;
        }
        let given = at_commas(arguments(tokens, at + 1));
        for (function, parameters) in code.called(name, statement) {
            if given.len() == parameters.len() {
                let both = parameters.iter().zip(&given);
                let paths = both.filter(|(_, part)| is_path(part, scope));
                found.extend(paths.map(|(parameter, _)| (function.clone(), parameter.clone())));
            }
        }
    }
    found
}

/// Parameters of closures that are given to a method of a path, or of a list of paths.
fn given_to_closures(tokens: &[Token], scope: &In<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for (at, window) in tokens.windows(4).enumerate() {
        if let [
            Token::Mark('.'),
            Token::Name(method),
            Token::Open('('),
            first,
        ] = window
            && (first.is('|') || first.name() == Some("move"))
            && !OF_OTHERS.contains(&method.as_str())
        {
            let mut parts = arguments(tokens, at + 2).split(|token| token.is('|'));
            let pattern = parts.nth(1).unwrap_or_default();
            let receiver = receiver(tokens, at);
            if is_path(receiver, scope) {
                let names = pattern.iter().filter_map(Token::name);
                found.extend(names.filter(|name| is_of_value(name)).map(str::to_owned));
            } else if is_list(receiver, scope) {
                found.extend(last_of_each(pattern));
            }
        }
    }
    found
}
