//! What sources of a script make of paths, as far as names tell.
//!
//! Sources are read as statements: tokens between `;`, `{` and `}`. In some of them a path stands: they name a variable or
//! function that gives one, or something *that comes from one*, which is found out by going through all statements until
//! nothing new is found:
//!
//! | statement with a path in it | what comes from it |
//! |---|---|
//! | `let dir = …;`, `if let Some(dir) = … {`, `const DIR: … = …;` | the names on the left |
//! | `match … {` | names in the patterns of its arms |
//! | `\|dir\| …` | parameters of closures |
//! | `field: …`, `name = …`, `name.push(…)` | the field, or the name |
//! | `generate(…)` | the parameters of that function, if it is in these sources |
//! | the last one of a function, or `return …` | that function |
//!
//! But nothing comes from a statement that reads a file or runs a program ([`READS`]): that is what they hold or say, an input
//! by itself.
//!
//! What is a path itself ([plain]) is taken apart by every method that is not known to be harmless. What only comes from one is taken apart where a method of a list ([`TAKES_APART`]) is called on what comes from one, where it is sliced, or
//! its bytes are gone through.

use std::collections::BTreeMap;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::found;
use super::hashing;
use super::plain::{self, In};
use super::tokens::{
    Token, arguments, at_commas, bound, captured, declared, is_called_on, is_loop, is_of_value,
    names_any, names_before, patterns_of_arms, receiver, replaces_parts, single_equals,
};
use super::words::{ADDS, CHOOSES, ENDS, FUNCTIONS, GIVES_PARTS, READS, TAKES_APART};
use super::{INTERPRETERS, PROGRAMS, VARIABLES, in_text, measures_argument, measures_file};

/// In so many statements, by names alone, nearly everything comes from something that was given a path. There
/// only what is a path counts.
const MANY: usize = 1000;

/// Tokens between `;`, `{` and `}`.
#[derive(Debug, Default)]
pub(super) struct Statement {
    pub(super) tokens: Vec<Token>,
    /// The function that it is in.
    pub(super) function: Option<String>,
    /// Whether it is the last one of its block, and gives the block its value.
    pub(super) is_last: bool,
    /// The statement before the block that it is in.
    pub(super) head: Option<usize>,
    /// The statement that one before a block goes on with: that of `if`, where this is its `else`.
    pub(super) begins: Option<usize>,
}

/// Whether sources may compute something from the paths of the script's places, which some variables hold.
pub(crate) fn may_compute(sources: &[Vec<u8>], variables: &[String]) -> bool {
    let mut code = Code {
        variables: variables.to_vec(),
        ..Code::default()
    };
    for source in sources {
        let text = str::from_utf8(source).ok();
        // What the compiler did not refuse, and cannot be read here, may be anything.
        let Some(tokens) = text.and_then(|text| text.parse::<TokenStream>().ok()) else {
            return true;
        };
        code.read(tokens, None, None);
    }
    code.may_compute()
}

/// A name, and the function that it is known in if it is not known everywhere.
pub(super) type Name = (Option<String>, String);

/// `let name = |parameters| …`
#[derive(Debug)]
struct Closure {
    name: String,
    /// The function that it is in.
    function: Option<String>,
    parameters: Vec<String>,
}

impl Closure {
    /// That of a declaration.
    fn of(tokens: &[Token], function: Option<&str>) -> Option<Self> {
        let (left, right) = tokens.split_at_checked(single_equals(tokens)?)?;
        let [name] = <[String; 1]>::try_from(bound(left)?).ok()?;
        let is_start = |t: &&Token| t.is('=') || t.name() == Some("move");
        let start = right.iter().take_while(is_start).count();
        let rest = right.get(start..)?.strip_prefix(&[Token::Mark('|')])?;
        let end = rest.iter().position(|token| token.is('|'))?;
        let name_of = |part: &[Token]| {
            let mut names = part.iter().filter_map(Token::name);
            names
                .find(|name| is_of_value(name))
                .unwrap_or_default()
                .to_owned()
        };
        let parameters = at_commas(rest.get(..end)?)
            .into_iter()
            .map(name_of)
            .collect();
        Some(Self {
            name,
            function: function.map(str::to_owned),
            parameters,
        })
    }
}

#[derive(Debug, Default)]
pub(super) struct Code {
    pub(super) statements: Vec<Statement>,
    /// The parameters of its functions, in order.
    parameters: BTreeMap<String, Vec<String>>,
    closures: Vec<Closure>,
    /// Variables of the environment with paths, besides those of every script.
    pub(super) variables: Vec<String>,
    /// Names of what comes from paths, and whether from others than those that their function is given.
    paths: BTreeMap<Name, bool>,
}

impl Code {
    /// Reads the statements of a block.
    fn read(&mut self, tokens: TokenStream, function: Option<&str>, head: Option<usize>) {
        let mut current = Vec::new();
        self.read_into(tokens, &mut current, function, head);
        self.end(&mut current, function, head, true);
    }

    fn read_into(
        &mut self,
        tokens: TokenStream,
        current: &mut Vec<Token>,
        function: Option<&str>,
        head: Option<usize>,
    ) {
        let mut begins = None;
        for tree in tokens {
            match tree {
                TokenTree::Ident(name) => current.push(Token::Name(name.to_string())),
                TokenTree::Literal(literal) => current.push(Token::Literal(literal.to_string())),
                TokenTree::Punct(mark) if mark.as_char() == ';' => {
                    self.end(current, function, head, false);
                }
                TokenTree::Punct(mark) => current.push(Token::Mark(mark.as_char())),
                TokenTree::Group(group) => {
                    let (open, close) = match group.delimiter() {
                        Delimiter::Brace => {
                            let name = declared(current);
                            let function = name.as_deref().or(function);
                            // What `else` gives, is given to what `if` is.
                            let goes_on = current.first().and_then(Token::name) == Some("else");
                            let at = self.end(current, function, head, false);
                            if let Some(statement) = at.and_then(|at| self.statements.get_mut(at)) {
                                statement.begins = begins.filter(|_| goes_on).or(at);
                                begins = statement.begins;
                            }
                            self.read(group.stream(), function, at);
                            continue;
                        }
                        Delimiter::Bracket => ('[', ']'),
                        Delimiter::Parenthesis | Delimiter::None => ('(', ')'),
                    };
                    current.push(Token::Open(open));
                    self.read_into(group.stream(), current, function, head);
                    current.push(Token::Close(close));
                }
            }
        }
    }

    /// What a call in a statement may lead to: where its parameters are known, and which they are.
    pub(super) fn called<'a>(
        &'a self,
        name: &'a str,
        statement: &'a Statement,
    ) -> impl Iterator<Item = (Option<String>, &'a Vec<String>)> {
        let functions = self.parameters.get(name).into_iter();
        let functions = functions.map(|parameters| (Some(name.to_owned()), parameters));
        let closures = self.closures.iter();
        let closures = closures.filter(move |c| c.name == name && c.function == statement.function);
        functions.chain(closures.map(|c| (c.function.clone(), &c.parameters)))
    }

    fn is_variable(&self, name: &str) -> bool {
        VARIABLES.contains(&name) || self.variables.iter().any(|variable| variable == name)
    }

    /// Ends a statement; says which one it is.
    fn end(
        &mut self,
        tokens: &mut Vec<Token>,
        function: Option<&str>,
        head: Option<usize>,
        is_last: bool,
    ) -> Option<usize> {
        if tokens.is_empty() {
            return None;
        }
        let tokens = std::mem::take(tokens);
        self.closures.extend(Closure::of(&tokens, function));
        if let Some(name) = declared(&tokens) {
            let parameters = names_before(&tokens, ':');
            self.parameters.insert(name, parameters);
        }
        self.statements.push(Statement {
            tokens,
            function: function.map(str::to_owned),
            is_last,
            head,
            begins: None,
        });
        Some(self.statements.len() - 1)
    }

    fn may_compute(mut self) -> bool {
        let literals = || {
            let tokens = self.statements.iter().flat_map(|s| &s.tokens);
            tokens.filter_map(|token| match token {
                Token::Literal(text) => Some(text.as_str()),
                _ => None,
            })
        };
        let program = |text: &str| text.trim_matches('"').rsplit('/').next().map(str::to_owned);
        let tells_others = literals()
            .filter_map(program)
            .any(|program| INTERPRETERS.contains(&&*program));
        let mut texts = literals().map(str::as_bytes);
        if tells_others && texts.any(|text| in_text(text, &self.variables)) {
            return true;
        }
        let measures = |text: &[u8]| measures_file(text) || measures_argument(text);
        if literals().any(|text| measures(text.as_bytes())) {
            return true;
        }
        let mut all = self.statements.iter();
        // Any name may be put together for these.
        let reads = ["var", "var_os", "vars", "vars_os"];
        if !all.any(|s| self.has_path(s, &s.tokens) || names_any(&s.tokens, &reads)) {
            return false;
        }
        let runs = |tokens: &[Token]| {
            tokens.windows(3).any(|call| match call {
                [Token::Name(new), Token::Open('('), Token::Literal(text)] if new == "new" => {
                    program(text).is_some_and(|p| PROGRAMS.contains(&&*p) || p.ends_with("sum"))
                }
                _ => false,
            })
        };
        if self.statements.iter().any(|s| runs(&s.tokens)) {
            return true;
        }
        if hashing::may_hash(&self.statements) {
            return true;
        }
        if self.statements.len() < MANY {
            // The end of a path that something was added to is that of what was added.
            self.find_paths(&ADDS);
            if self.any_takes_apart(&ENDS) {
                return true;
            }
            self.find_paths(&[]);
            if self.any_takes_apart(&TAKES_APART) {
                return true;
            }
        }
        // The same two questions of what is a path.
        [true, false].into_iter().any(|ends| {
            let (known, variables) = (&found::names(&self, ends), &self.variables);
            let mut all = self.statements.iter();
            all.any(|statement| {
                let function = &statement.function;
                let scope = In {
                    known,
                    function,
                    ends,
                    variables,
                };
                let head = statement.head.and_then(|head| self.statements.get(head));
                plain::takes_apart(&statement.tokens, &scope)
                    || head.is_some_and(|head| {
                        plain::is_matched(&head.tokens, &statement.tokens, &scope)
                    })
            })
        })
    }

    /// Goes through all statements until nothing new comes from a path. Nothing comes from one that holds any of some
    /// words.
    fn find_paths(&mut self, but: &[&str]) {
        self.paths.clear();
        loop {
            let known = self.paths.clone();
            for at in 0..self.statements.len() {
                for (name, is_own) in self.comes_from(at, but) {
                    *self.paths.entry(name).or_default() |= is_own;
                }
            }
            if self.paths == known {
                return;
            }
        }
    }

    fn any_takes_apart(&self, methods: &[&str]) -> bool {
        let mut all = self.statements.iter();
        all.any(|statement| self.takes_apart(statement, methods))
    }

    /// What comes from a path in a statement, and whether from one that its function was not given.
    fn comes_from(&self, at: usize, but: &[&str]) -> Vec<(Name, bool)> {
        let Some(statement) = self.statements.get(at) else {
            return Vec::new();
        };
        let tokens = statement.tokens.as_slice();
        let ends_here = |tokens: &[Token]| names_any(tokens, &READS) || names_any(tokens, but);
        let (mut here, mut anywhere, mut found) = (Vec::new(), Vec::new(), Vec::new());
        let mut is_own = self.has_own_path(statement, tokens);
        let head = statement.head.and_then(|head| self.statements.get(head));
        let head = head.filter(|head| {
            let is_path = self.has_path(head, &head.tokens) && !ends_here(&head.tokens);
            is_path && names_any(&head.tokens, &["match"])
        });
        if let Some(head) = head {
            here.extend(patterns_of_arms(tokens, &[]));
            is_own |= self.has_own_path(head, &head.tokens);
        }
        if declared(tokens).is_none() && self.has_path(statement, tokens) {
            let given = self.parameters_of_called(statement, but);
            // A function that is given a path may add to it.
            let adds = !but.is_empty() && !given.is_empty();
            found.extend(given.into_iter().map(|parameter| (parameter, false)));
            if !ends_here(tokens) && !adds {
                let first = tokens.first().and_then(Token::name);
                // What a function makes of what it is given, its caller shows.
                if is_own && (statement.is_last || first == Some("return")) {
                    anywhere.extend(statement.function.clone());
                }
                here.extend(self.parameters_of_closures(statement));
                if let Some(left) = bound(tokens) {
                    here.extend(left);
                } else {
                    anywhere.extend(names_before(tokens, ':'));
                    here.extend(names_before(tokens, '='));
                    here.extend(first.filter(|_| is_called_on(tokens)).map(str::to_owned));
                }
            }
        }
        let here = here.into_iter();
        found.extend(here.map(|name| ((statement.function.clone(), name), is_own)));
        found.extend(anywhere.into_iter().map(|name| ((None, name), is_own)));
        found
    }

    /// Whether a path stands among tokens of a statement.
    fn has_path(&self, statement: &Statement, tokens: &[Token]) -> bool {
        self.has(statement, tokens, false)
    }

    /// The same, but for what comes from what its function was given.
    fn has_own_path(&self, statement: &Statement, tokens: &[Token]) -> bool {
        self.has(statement, tokens, true)
    }

    fn has(&self, statement: &Statement, tokens: &[Token], own: bool) -> bool {
        let is_known = |name: &str| {
            let mut places = [&statement.function, &None].into_iter();
            places.any(|place| {
                let known = self.paths.get(&(place.clone(), name.to_owned()));
                known.is_some_and(|is_own| *is_own || !own)
            })
        };
        tokens.iter().enumerate().any(|(at, token)| match token {
            Token::Name(name) => {
                let before = at.checked_sub(1).and_then(|before| tokens.get(before));
                let is_of_env = name == "args" && before.is_some_and(|t| t.is(':'));
                is_of_env || FUNCTIONS.contains(&name.as_str()) || is_known(name)
            }
            Token::Literal(text) => {
                self.is_variable(text.trim_matches('"')) || captured(text).any(is_known)
            }
            Token::Mark(_) | Token::Open(_) | Token::Close(_) => false,
        })
    }

    /// The parameters of functions that a path is given to.
    fn parameters_of_called(&self, statement: &Statement, but: &[&str]) -> Vec<Name> {
        let mut found = Vec::new();
        for (at, pair) in statement.tokens.windows(2).enumerate() {
            if let [Token::Name(name), Token::Open('(')] = pair
                && let Some(parameters) = self.parameters.get(name)
            {
                let given = arguments(&statement.tokens, at + 1);
                let given = at_commas(given);
                for (position, parameter) in parameters.iter().enumerate() {
                    // Where they do not match (patterns, the value that a method is called on), it may be any.
                    let matches = given.len() == parameters.len();
                    let mut given = given.iter().enumerate();
                    if given.any(|(n, tokens)| {
                        let may_be = !matches || n == position;
                        may_be && self.has_path(statement, tokens) && !names_any(tokens, but)
                    }) {
                        found.push((Some(name.clone()), parameter.clone()));
                    }
                }
            }
        }
        found
    }

    /// Parameters of closures that are given to a method of a path.
    fn parameters_of_closures(&self, statement: &Statement) -> Vec<String> {
        let tokens = statement.tokens.as_slice();
        let mut found = Vec::new();
        for (at, window) in tokens.windows(4).enumerate() {
            if let [Token::Mark('.'), Token::Name(_), Token::Open('('), first] = window
                && (first.is('|') || first.name() == Some("move"))
                && self.has_path(statement, receiver(tokens, at))
            {
                let mut parts = arguments(tokens, at + 2).split(|token| token.is('|'));
                let names = parts
                    .nth(1)
                    .unwrap_or_default()
                    .iter()
                    .filter_map(Token::name);
                found.extend(names.filter(|name| is_of_value(name)).map(str::to_owned));
            }
        }
        found
    }

    fn takes_apart(&self, statement: &Statement, methods: &[&str]) -> bool {
        let tokens = statement.tokens.as_slice();
        let on_path = |at| self.has_path(statement, receiver(tokens, at));
        let is_of = |list: &[&str], method: &str| list.contains(&method);
        (0..tokens.len()).any(|at| match tokens.get(at..at + 3) {
            Some([Token::Mark('.'), Token::Name(method), Token::Open('(')]) => {
                let counts = is_of(methods, method)
                    || (method == "replace" && replaces_parts(arguments(tokens, at + 2)))
                    || (is_of(&GIVES_PARTS, method) && is_loop(tokens))
                    || (is_of(&CHOOSES, method) && names_any(receiver(tokens, at), &GIVES_PARTS));
                counts && on_path(at)
            }
            Some([Token::Mark(':'), Token::Name(method), Token::Open('(')]) => {
                let given = arguments(tokens, at + 2);
                is_of(methods, method) && self.has_path(statement, given)
            }
            _ => {
                let inner = arguments(tokens, at);
                let is_range = inner.windows(2).any(|pair| pair.iter().all(|t| t.is('.')));
                let is_part = (is_range && inner.len() > 2) || matches!(inner, [Token::Literal(_)]);
                tokens.get(at) == Some(&Token::Open('[')) && is_part && on_path(at)
            }
        })
    }
}
