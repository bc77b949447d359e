//! Sources as rows of tokens, and what stands where in them.

/// Words before which nothing is called or sliced.
const KEYWORDS: [&str; 9] = [
    "as", "else", "for", "if", "in", "match", "mut", "ref", "return",
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Name(String),
    /// As it stands in the source.
    Literal(String),
    Mark(char),
    Open(char),
    Close(char),
}

impl Token {
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            _ => None,
        }
    }

    pub(super) fn is(&self, mark: char) -> bool {
        matches!(self, Self::Mark(m) | Self::Open(m) | Self::Close(m) if *m == mark)
    }
}

/// The name of a function or macro, if tokens declare one.
pub(super) fn declared(tokens: &[Token]) -> Option<String> {
    if let [.., Token::Name(word), Token::Mark('!'), Token::Name(name)] = tokens
        && word == "macro_rules"
    {
        return Some(name.clone());
    }
    tokens.windows(2).find_map(|pair| match pair {
        [Token::Name(word), Token::Name(name)] if word == "fn" => Some(name.clone()),
        _ => None,
    })
}

pub(super) fn names_any(tokens: &[Token], words: &[&str]) -> bool {
    let mut names = tokens.iter().filter_map(Token::name);
    names.any(|name| words.contains(&name))
}

/// Whether a method of a variable is called.
pub(super) fn is_called_on(tokens: &[Token]) -> bool {
    matches!(tokens, [Token::Name(name), Token::Mark('.'), ..] if name != "self")
}

pub(super) fn is_loop(tokens: &[Token]) -> bool {
    tokens.first().and_then(Token::name) == Some("for")
}

/// Names that values are given: they begin with a small letter, as others do not.
pub(super) fn is_of_value(name: &str) -> bool {
    let begins = name.trim_start_matches('_').chars().next();
    begins.is_some_and(char::is_lowercase) && !KEYWORDS.contains(&name)
}

/// Names before a single mark.
pub(super) fn names_before(tokens: &[Token], mark: char) -> Vec<String> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let is_single = !tokens.get(at + 2).is_some_and(|t| t.is(mark) || t.is('>'));
        let follows = tokens.get(at + 1).is_some_and(|t| t.is(mark));
        if let Token::Name(name) = token
            && follows
            && is_single
            && is_of_value(name)
        {
            found.push(name.clone());
        }
    }
    found
}

/// Where the value of a declaration or an assignment begins, with the mark before it.
pub(super) fn single_equals(tokens: &[Token]) -> Option<usize> {
    let is = |at: usize, marks: &[char]| {
        let token = tokens.get(at);
        marks.iter().any(|mark| token.is_some_and(|t| t.is(*mark)))
    };
    // `let row: Vec<u8> = …`
    let compares: &[char] = if names_any(tokens, &["let", "const", "static"]) {
        &['=', '!']
    } else {
        &['=', '!', '<', '>']
    };
    (0..tokens.len()).find(|at| {
        let before = at.checked_sub(1);
        is(*at, &['=']) && !is(at + 1, &['=', '>']) && !before.is_some_and(|b| is(b, compares))
    })
}

/// The names that a declaration gives a value to; `None` if tokens are none.
pub(super) fn bound(tokens: &[Token]) -> Option<Vec<String>> {
    let declares = |t: &Token| {
        let name = t.name();
        name.is_some_and(|name| matches!(name, "let" | "const" | "static" | "for"))
    };
    let start = tokens.iter().position(declares)?;
    let left = tokens
        .get(start + 1..)?
        .iter()
        .take_while(|token| !token.is('=') && !token.is(':') && token.name() != Some("in"));
    let names = left.filter_map(Token::name);
    // Constants are called in capitals.
    let is_constant =
        |name: &str| name.contains(char::is_uppercase) && !name.contains(char::is_lowercase);
    let names = names.filter(|name| is_of_value(name) || is_constant(name));
    Some(names.map(str::to_owned).collect())
}

/// Names in the patterns of the arms of a `match`, but not in those that hold any of some words.
pub(super) fn patterns_of_arms(tokens: &[Token], but: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for at in (0..tokens.len()).filter(|at| is_arrow(tokens, *at)) {
        let before = tokens.get(..at).unwrap_or_default();
        let start = before.iter().rposition(|token| token.is(','));
        let pattern = before.get(start.map_or(0, |at| at + 1)..);
        let pattern = pattern.filter(|pattern| !names_any(pattern, but));
        let names = pattern.unwrap_or_default().iter().filter_map(Token::name);
        found.extend(names.filter(|name| is_of_value(name)).map(str::to_owned));
    }
    found
}

/// The pattern and the value of an arm; without an arrow, all is value.
pub(super) fn at_arrow(arm: &[Token]) -> (&[Token], &[Token]) {
    match (0..arm.len()).find(|at| is_arrow(arm, *at)) {
        Some(at) => (
            arm.get(..at).unwrap_or_default(),
            arm.get(at + 2..).unwrap_or_default(),
        ),
        None => (&[], arm),
    }
}

fn is_arrow(tokens: &[Token], at: usize) -> bool {
    matches!(tokens.get(at..at + 2), Some([first, second]) if first.is('=') && second.is('>'))
}

/// The tokens in the brackets that open at a position.
pub(super) fn arguments(tokens: &[Token], open: usize) -> &[Token] {
    let mut depth = 0_usize;
    let rest = tokens.get(open + 1..).unwrap_or_default();
    let end = rest.iter().position(|token| match token {
        Token::Open(_) => {
            depth += 1;
            false
        }
        Token::Close(_) if depth == 0 => true,
        Token::Close(_) => {
            depth -= 1;
            false
        }
        _ => false,
    });
    rest.get(..end.unwrap_or(rest.len())).unwrap_or_default()
}

/// Arguments one by one.
pub(super) fn at_commas(tokens: &[Token]) -> Vec<&[Token]> {
    let mut depth = 0_usize;
    let parts = tokens.split(|token| {
        match token {
            Token::Open(_) => depth += 1,
            // A block in brackets is a statement of its own, so that brackets need not match.
            Token::Close(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && token.is(',')
    });
    parts.filter(|part| !part.is_empty()).collect()
}

/// The tokens that make up what a method at a position is called on, or what is indexed there.
pub(super) fn receiver(tokens: &[Token], end: usize) -> &[Token] {
    let before = tokens.get(..end).unwrap_or_default();
    let mut depth = 0_usize;
    let start = before.iter().rposition(|token| match token {
        Token::Close(_) => {
            depth += 1;
            false
        }
        Token::Open(_) if depth == 0 => true,
        Token::Open(_) => {
            depth -= 1;
            false
        }
        Token::Mark(mark) => depth == 0 && !matches!(mark, '.' | ':' | '?' | '!' | '<' | '>'),
        Token::Name(name) => depth == 0 && KEYWORDS.contains(&name.as_str()),
        Token::Literal(_) => false,
    });
    before
        .get(start.map_or(0, |at| at + 1)..)
        .unwrap_or_default()
}

/// Whether what is replaced may be a part of a path: a mark that stands in paths. Words are those of somebody's
/// templates, and backslashes those of another system.
pub(super) fn replaces_parts(arguments: &[Token]) -> bool {
    match arguments.first() {
        Some(Token::Literal(text)) => {
            let text = text.trim_matches(['"', '\'']);
            text.contains('/') || (text.len() == 1 && text != "\\")
        }
        Some(token) => !token.is('&'),
        None => false,
    }
}

/// Names that a text takes in as `format!` does.
pub(super) fn captured(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        rest.get(..end.unwrap_or(rest.len())).unwrap_or_default()
    })
}
