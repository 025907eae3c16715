//! Reads from the tokens of a Rust file which modules it declares and which paths it names.
//!
//! Tokens, not a syntax tree: the arguments of macro calls are only tokens, so a syntax tree would
//! need this code as well. Test code is left out.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::FromStr;

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};

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
    let tokens = TokenStream::from_str(text)
        .map_err(|error| (error.span().start().line, error.to_string()))?;
    let mut contents = Contents::default();
    contents.read(tokens, true);
    Ok(contents)
}

/// Keywords that are followed by the name of the item that they declare.
const ITEMS: [&str; 9] =
    ["struct", "enum", "union", "trait", "type", "fn", "const", "static", "mod"];
/// Other words that an item can begin with.
const ITEM_STARTS: [&str; 7] =
    ["use", "impl", "extern", "unsafe", "async", "macro_rules", "default"];

impl Contents {
    /// `top`: whether the tokens are items of the module, not part of one of them.
    fn read(&mut self, tokens: TokenStream, top: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let (mut i, mut public, mut path_attribute) = (0, false, None);
        while let Some(token) = tokens.get(i) {
            match token {
                TokenTree::Punct(hash) if hash.as_char() == '#' => {
                    let inner = is_punct(tokens.get(i + 1), '!');
                    let Some(TokenTree::Group(attribute)) = tokens.get(i + 1 + usize::from(inner))
                    else {
                        i += 1;
                        continue;
                    };
                    i += 2 + usize::from(inner);
                    let attribute: Vec<TokenTree> = attribute.stream().into_iter().collect();
                    if is_test(&attribute) {
                        if inner {
                            return;
                        }
                        i = end_of_item(&tokens, i);
                    } else if is_word(attribute.first(), "path") {
                        path_attribute = attribute.get(2).map(unquoted);
                    } else if !is_word(attribute.first(), "doc") {
                        self.read_attribute(attribute);
                    }
                    continue;
                }
                TokenTree::Ident(word) => match (word.to_string().as_str(), tokens.get(i + 1)) {
                    ("pub", next) => {
                        public = true;
                        i += 1 + usize::from(is_restriction(next));
                        continue;
                    }
                    ("use", next) if !is_punct(next, '<') => {
                        let end = position(&tokens, i, ';');
                        let line = word.span().start().line;
                        self.read_use(&tokens[i + 1..end], &[], public, line);
                        i = end;
                    }
                    ("mod", Some(TokenTree::Ident(name))) => {
                        let inline = match tokens.get(i + 2) {
                            Some(TokenTree::Group(body)) => {
                                let mut inline = Self::default();
                                inline.read(body.stream(), true);
                                Some(inline)
                            }
                            _ => None,
                        };
                        let path = path_attribute.take();
                        self.children.push(Child { name: plain(name), path, inline });
                        i += 2;
                    }
                    (keyword, Some(TokenTree::Ident(name))) if ITEMS.contains(&keyword) => {
                        if top {
                            self.items.insert(plain(name));
                        }
                        // Of `const fn name` the first word is a keyword too.
                        i += usize::from(!ITEMS.contains(&plain(name).as_str()));
                    }
                    _ => i = self.read_path(&tokens, i, word),
                },
                TokenTree::Group(group) => self.read(group.stream(), false),
                _ => {}
            }
            public = false;
            i += 1;
        }
    }

    /// Reads the path that begins at token `i`; returns the index of its last token.
    fn read_path(&mut self, tokens: &[TokenTree], i: usize, first: &Ident) -> usize {
        let (mut path, mut last) = (vec![plain(first)], i);
        // `a::<T>::b`, or `a::{…}` in a macro: the path ends before the separator.
        while is_separator(tokens, last + 1)
            && let Some(TokenTree::Ident(segment)) = tokens.get(last + 3)
        {
            path.push(plain(segment));
            last += 3;
        }
        let before = |steps| i.checked_sub(steps).and_then(|before| tokens.get(before));
        // A method, a lifetime, or the rest of a path: `.f::<T>()`, `'a`, `<T as U>::f`.
        let is_continued = is_punct(before(1), '\'')
            || (is_punct(before(1), '.') && !is_punct(before(2), '.'))
            || (is_punct(before(1), ':') && is_punct(before(2), ':'));
        let is_fragment = is_punct(before(1), '$') && path[0] != "crate";
        if path.len() > 1 && !is_continued && !is_fragment {
            self.paths.push(Mention { path, line: first.span().start().line });
        }
        last
    }

    /// Paths in an attribute, those in strings too: `#[serde(with = "crate::json::hex")]`.
    fn read_attribute(&mut self, tokens: Vec<TokenTree>) {
        for token in &tokens {
            match token {
                TokenTree::Literal(_) => {
                    let text = unquoted(token);
                    let is_path = text.contains("::")
                        && text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == ':');
                    if is_path {
                        let path = text.split("::").map(str::to_owned).collect();
                        self.paths.push(Mention { path, line: token.span().start().line });
                    }
                }
                TokenTree::Group(group) => {
                    self.read_attribute(group.stream().into_iter().collect());
                }
                _ => {}
            }
        }
        let plain = tokens.into_iter().filter(|token| !matches!(token, TokenTree::Group(_)));
        self.read(plain.collect(), false);
    }

    /// Reads a `use` tree, without its `;`, below the path `prefix`.
    fn read_use(&mut self, tree: &[TokenTree], prefix: &[String], public: bool, line: usize) {
        let mut path = prefix.to_vec();
        let mut name = None;
        let mut line = line;
        let mut rest = tree.iter().peekable();
        while let Some(token) = rest.next() {
            match token {
                TokenTree::Ident(word) if *word == "as" => {
                    name = rest.next().map(ToString::to_string);
                }
                TokenTree::Ident(word) => {
                    line = word.span().start().line;
                    if *word != "self" || path.is_empty() {
                        path.push(plain(word));
                    }
                }
                TokenTree::Punct(star) if star.as_char() == '*' => {
                    self.uses.push(Use { path, name: None, public, line });
                    return;
                }
                TokenTree::Group(group) => {
                    let mut branches = group.stream().into_iter().peekable();
                    while let Some(branch) = next_branch(&mut branches) {
                        self.read_use(&branch, &path, public, line);
                    }
                    return;
                }
                _ => {}
            }
        }
        let name = name.or_else(|| path.last().cloned());
        if !path.is_empty() {
            self.uses.push(Use { path, name, public, line });
        }
    }
}

/// The tokens up to the next comma; `None` at the end.
fn next_branch(tokens: &mut Peekable<impl Iterator<Item = TokenTree>>) -> Option<Vec<TokenTree>> {
    tokens.peek()?;
    Some(tokens.take_while(|token| !is_punct(Some(token), ',')).collect())
}

/// Whether an attribute marks code that only tests have: `test`, `cfg(test)`, `cfg(all(…, test))`.
fn is_test(attribute: &[TokenTree]) -> bool {
    match attribute {
        [TokenTree::Ident(word)] => *word == "test",
        [TokenTree::Ident(word), TokenTree::Group(group)] => {
            *word == "cfg" && requires_test(group.stream())
        }
        _ => false,
    }
}

fn requires_test(condition: TokenStream) -> bool {
    match &condition.into_iter().collect::<Vec<_>>()[..] {
        [TokenTree::Ident(word)] => *word == "test" || *word == "doctest",
        [TokenTree::Ident(word), TokenTree::Group(group)] if *word == "all" => {
            let mut tokens = group.stream().into_iter().peekable();
            std::iter::from_fn(|| next_branch(&mut tokens))
                .any(|part| requires_test(part.into_iter().collect()))
        }
        _ => false,
    }
}

/// The index after the item, field or variant that begins at `i`, further attributes included.
fn end_of_item(tokens: &[TokenTree], mut i: usize) -> usize {
    while is_punct(tokens.get(i), '#') {
        i += 2;
    }
    let first = tokens[i..].iter().find_map(|token| match token {
        TokenTree::Ident(word) if *word != "pub" => Some(word.to_string()),
        _ => None,
    });
    let is_item = first.is_some_and(|first| {
        ITEMS.contains(&first.as_str()) || ITEM_STARTS.contains(&first.as_str())
    });
    let is_end = |token: &TokenTree| match token {
        TokenTree::Punct(sign) => sign.as_char() == ';' || (sign.as_char() == ',' && !is_item),
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        _ => false,
    };
    tokens[i..].iter().position(is_end).map_or(tokens.len(), |end| i + end + 1)
}

/// The index of the next such sign, or the end.
fn position(tokens: &[TokenTree], from: usize, sign: char) -> usize {
    let found = tokens[from..].iter().position(|token| is_punct(Some(token), sign));
    found.map_or(tokens.len(), |found| from + found)
}

/// Whether a token after `pub` restricts it: `(crate)`, `(in crate::a)`.
fn is_restriction(token: Option<&TokenTree>) -> bool {
    let Some(TokenTree::Group(group)) = token else { return false };
    let first = group.stream().into_iter().next();
    group.delimiter() == Delimiter::Parenthesis
        && ["in", "crate", "self", "super"].iter().any(|word| is_word(first.as_ref(), word))
}

fn is_separator(tokens: &[TokenTree], i: usize) -> bool {
    is_punct(tokens.get(i), ':') && is_punct(tokens.get(i + 1), ':')
}

fn is_punct(token: Option<&TokenTree>, sign: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
}

fn is_word(token: Option<&TokenTree>, word: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == word)
}

/// An identifier without `r#`.
fn plain(ident: &Ident) -> String {
    ident.to_string().trim_start_matches("r#").to_owned()
}

/// The text of a string literal.
fn unquoted(literal: &TokenTree) -> String {
    literal.to_string().trim_matches('"').to_owned()
}
