//! Reads from the tokens of a Rust file which modules it declares and which paths it names.
//!
//! Tokens, not a syntax tree: the arguments of macro calls are only tokens, so a syntax tree would
//! need this code as well. Test code is left out.

use std::collections::BTreeSet;
use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use Token::{Group, Literal, Sign, Word};

/// What a module declares and names.
#[derive(Debug, Default)]
pub struct Contents {
    pub children: Vec<Child>,
    pub uses: Vec<Use>,
    /// Paths of two segments or more, outside `use` declarations.
    pub paths: Vec<Mention>,
    /// Names of the items that are declared here.
    pub items: BTreeSet<String>,
}

/// `mod name;`, or `mod name { … }` with its contents.
#[derive(Debug)]
pub struct Child {
    pub name: String,
    /// The value of `#[path = "…"]`.
    pub path: Option<String>,
    pub inline: Option<Contents>,
}

/// One leaf of a `use` tree.
#[derive(Debug)]
pub struct Use {
    pub path: Vec<String>,
    /// The name that it brings into scope; `None` for `*`.
    pub name: Option<String>,
    /// Whether it has any `pub`.
    pub public: bool,
    pub line: usize,
}

#[derive(Debug)]
pub struct Mention {
    pub path: Vec<String>,
    pub line: usize,
}

/// Scans the text of a file.
///
/// # Errors
/// Where it is not Rust: the line, and what is wrong with it.
pub fn scan(text: &str) -> Result<Contents, (usize, String)> {
    let stream = TokenStream::from_str(text)
        .map_err(|error| (error.span().start().line, error.to_string()))?;
    let mut contents = Contents::default();
    contents.read(&tokens(text, stream), true);
    Ok(contents)
}

/// A token; words and literals have their line.
enum Token<'a> {
    /// An identifier without `r#`, or a keyword.
    Word(&'a str, usize),
    Sign(char),
    Literal(&'a str, usize),
    Group(Delimiter, Vec<Token<'a>>),
}

fn tokens(text: &str, stream: TokenStream) -> Vec<Token<'_>> {
    let token = |token: TokenTree| {
        let (source, line) = (token.span().byte_range(), token.span().start().line);
        match token {
            // The attribute that stands for a doc comment has the place of the comment.
            TokenTree::Ident(word) if word == "doc" => Word("doc", line),
            TokenTree::Ident(_) => Word(text[source].trim_start_matches("r#"), line),
            TokenTree::Punct(sign) => Sign(sign.as_char()),
            TokenTree::Literal(_) => Literal(&text[source], line),
            TokenTree::Group(group) => Group(group.delimiter(), tokens(text, group.stream())),
        }
    };
    stream.into_iter().map(token).collect()
}

/// Keywords that are followed by the name of the item that they declare.
const ITEMS: [&str; 9] =
    ["struct", "enum", "union", "trait", "type", "fn", "const", "static", "mod"];
/// Other words that an item can begin with.
const ITEM_STARTS: [&str; 7] =
    ["use", "impl", "extern", "unsafe", "async", "macro_rules", "default"];

impl Contents {
    /// `top`: whether the tokens are items of the module, not part of one of them.
    fn read(&mut self, all: &[Token<'_>], top: bool) {
        let (mut tokens, mut is_public, mut path) = (all, false, None);
        while !tokens.is_empty() {
            let public = std::mem::take(&mut is_public);
            tokens = match tokens {
                [Sign('#'), Sign('!'), Group(_, attribute), ..] if is_test(attribute) => return,
                [Sign('#'), Group(_, attribute), rest @ ..] if is_test(attribute) => {
                    after_item(rest)
                }
                [Sign('#'), Sign('!'), Group(_, attribute), rest @ ..]
                | [Sign('#'), Group(_, attribute), rest @ ..] => {
                    match &attribute[..] {
                        [Word("doc", _), ..] => {}
                        [Word("path", _), _, Literal(text, _)] => path = Some(unquoted(text)),
                        _ => {
                            self.read_strings(attribute);
                            self.read(attribute, false);
                        }
                    }
                    rest
                }
                [Word("pub", _), rest @ ..] => {
                    is_public = true;
                    match rest {
                        [Group(Delimiter::Parenthesis, place), rest @ ..] if is_place(place) => {
                            rest
                        }
                        _ => rest,
                    }
                }
                [Word("use", line), rest @ ..] if !matches!(rest, [Sign('<'), ..]) => {
                    let end = rest.iter().position(|token| matches!(token, Sign(';')));
                    let (tree, rest) = rest.split_at(end.unwrap_or(rest.len()));
                    self.read_use(tree, &[], public, *line);
                    rest
                }
                [Word("mod", _), Word(name, _), rest @ ..] => {
                    let inline = match rest {
                        [Group(_, body), ..] => {
                            let mut inline = Self::default();
                            inline.read(body, true);
                            Some(inline)
                        }
                        _ => None,
                    };
                    self.children.push(Child { name: (*name).into(), path: path.take(), inline });
                    rest.get(1..).unwrap_or_default()
                }
                [Word(keyword, _), Word(name, _), rest @ ..] if ITEMS.contains(keyword) => {
                    if top {
                        self.items.insert((*name).into());
                    }
                    // Of `const fn name` the first word is a keyword too.
                    if ITEMS.contains(name) { &tokens[1..] } else { rest }
                }
                [Word(first, line), rest @ ..] => {
                    self.read_path(&all[..all.len() - tokens.len()], first, rest, *line)
                }
                [Group(_, inner), rest @ ..] => {
                    self.read(inner, false);
                    rest
                }
                [_, rest @ ..] => rest,
                [] => return,
            };
        }
    }

    /// Reads the path that begins with `first`; returns the tokens after it.
    fn read_path<'t, 'a>(
        &mut self,
        before: &[Token<'_>],
        first: &str,
        mut tokens: &'t [Token<'a>],
        line: usize,
    ) -> &'t [Token<'a>] {
        let mut path = vec![first.to_owned()];
        // `a::<T>::b`, or `a::{…}` in a macro: the path ends before the separator.
        while let [Sign(':'), Sign(':'), Word(segment, _), rest @ ..] = tokens {
            path.push((*segment).into());
            tokens = rest;
        }
        let is_path = match before {
            [.., Sign('.'), Sign('.')] => true,
            // A method, a lifetime, or the rest of a path: `.f::<T>()`, `'a`, `<T as U>::f`.
            [.., Sign('.' | '\'')] | [.., Sign(':'), Sign(':')] => false,
            // A fragment of a macro.
            [.., Sign('$')] => first == "crate",
            _ => true,
        };
        if path.len() > 1 && is_path {
            self.paths.push(Mention { path, line });
        }
        tokens
    }

    /// Reads the paths in strings of an attribute: `#[serde(with = "crate::json::hex")]`.
    fn read_strings(&mut self, attribute: &[Token<'_>]) {
        for token in attribute {
            match token {
                Literal(text, line) if text.contains("::") => {
                    let text = unquoted(text);
                    if text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                        let path = text.split("::").map(str::to_owned).collect();
                        self.paths.push(Mention { path, line: *line });
                    }
                }
                Group(_, inner) => self.read_strings(inner),
                _ => {}
            }
        }
    }

    /// Reads a `use` tree, without its `;`, below the path `prefix`.
    fn read_use(&mut self, tree: &[Token<'_>], prefix: &[String], public: bool, mut line: usize) {
        let (mut path, mut name) = (prefix.to_vec(), None);
        for (i, token) in tree.iter().enumerate() {
            match token {
                Word("as", _) => {
                    if let Some(Word(given, _)) = tree.get(i + 1) {
                        name = Some((*given).to_owned());
                    }
                    break;
                }
                Word("self", _) if !path.is_empty() => {}
                Word(word, place) => {
                    line = *place;
                    path.push((*word).into());
                }
                Sign('*') => return self.uses.push(Use { path, name: None, public, line }),
                Group(_, branches) => {
                    for branch in branches.split(is_comma) {
                        self.read_use(branch, &path, public, line);
                    }
                    return;
                }
                _ => {}
            }
        }
        let name = name.or_else(|| path.last().cloned());
        if !tree.is_empty() && !path.is_empty() {
            self.uses.push(Use { path, name, public, line });
        }
    }
}

fn is_comma(token: &Token<'_>) -> bool {
    matches!(token, Sign(','))
}

/// Whether an attribute marks code that only tests have: `test`, `cfg(test)`, `cfg(all(…, test))`.
fn is_test(attribute: &[Token<'_>]) -> bool {
    match attribute {
        [Word("cfg", _), Group(_, condition)] => requires_test(condition),
        _ => matches!(attribute, [Word("test", _)]),
    }
}

fn requires_test(condition: &[Token<'_>]) -> bool {
    match condition {
        [Word("all", _), Group(_, parts)] => parts.split(is_comma).any(requires_test),
        _ => matches!(condition, [Word("test" | "doctest", _)]),
    }
}

/// The tokens after an item, field or variant, which may begin with further attributes.
fn after_item<'t, 'a>(mut tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
    while let [Sign('#'), _, rest @ ..] = tokens {
        tokens = rest;
    }
    let mut words = tokens.iter().filter_map(|token| match token {
        Word(word, _) if *word != "pub" => Some(word),
        _ => None,
    });
    let is_item = words.next().is_some_and(|it| ITEMS.contains(it) || ITEM_STARTS.contains(it));
    let is_end = |token: &Token<'_>| match token {
        Sign(',') => !is_item,
        _ => matches!(token, Sign(';') | Group(Delimiter::Brace, _)),
    };
    let end = tokens.iter().position(is_end).map_or(tokens.len(), |end| end + 1);
    &tokens[end..]
}

/// Whether this is what restricts a `pub`: `(crate)`, `(in crate::a)`.
fn is_place(group: &[Token<'_>]) -> bool {
    matches!(group, [Word("in" | "crate" | "self" | "super", _), ..])
}

/// The text of a string literal.
fn unquoted(literal: &str) -> String {
    literal.trim_matches('"').to_owned()
}
