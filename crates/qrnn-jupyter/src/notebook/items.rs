//! The items of a cell: what each defines, and which names it depends on.
//!
//! A variable of an earlier cell may be read with a new definition of its type only if both
//! definitions have the same [shape](crate::notebook::shape).

use std::collections::BTreeSet;

use ra_ap_syntax::ast::{self, AstNode, HasName};
use ra_ap_syntax::{NodeOrToken, SyntaxKind, SyntaxNode};

use crate::cells::statements::Statement;
use crate::notebook::marks::FILES;
use crate::notebook::names::{first_name, inner_names, segments};
use crate::notebook::shape::{Element, shape, visit};
use crate::notebook::type_erasure;

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Name {
    /// A type, a function, an import. A later item of this name replaces it.
    Own(String),
    /// An impl with associated types or constants: its text up to the braces.
    Impl(String),
    /// A glob import or a macro call, which may define any name. Later items do not replace it.
    Nameless(String),
}

impl Name {
    /// The text among the names that a type depends on.
    pub fn text(&self) -> &str {
        match self {
            Self::Own(name) | Self::Impl(name) | Self::Nameless(name) => name,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub name: Name,
    /// The first byte of the name in the cell, or of the item.
    pub at: usize,
    pub shape: String,
    /// Names of items and crates in the shape, and [marks](crate::notebook::marks).
    pub mentions: BTreeSet<String>,
    /// Of an impl: the names before its braces.
    pub head: BTreeSet<String>,
    /// Of a trait: marks for what an object of it may hold because of its supertraits.
    pub supertraits: BTreeSet<String>,
    pub is_import: bool,
    /// Names that are defined inside; `mentions` has them too.
    pub inner_names: BTreeSet<String>,
}

/// The items that a cell defines, in order.
pub fn of(statements: &[Statement]) -> Vec<Item> {
    let items = statements.iter().filter_map(|s| Some((s, ast::Item::cast(s.node.clone())?)));
    items.flat_map(|(statement, item)| describe(statement, &item)).collect()
}

fn describe(statement: &Statement, item: &ast::Item) -> Vec<Item> {
    let node = item.syntax();
    let make = |name, at| Item {
        name,
        at,
        shape: shape(node),
        mentions: mentions(node),
        head: BTreeSet::new(),
        supertraits: type_erasure::supertraits(node),
        is_import: false,
        inner_names: inner_names(node),
    };
    match item {
        ast::Item::Use(import) => {
            let mut items = vec![];
            if let Some(tree) = import.use_tree() {
                imports(&tree, &[], statement.start, &mut items);
            }
            items
        }
        ast::Item::Impl(block) => {
            let list = block.assoc_item_list();
            let mut inside = list.iter().flat_map(|list| list.assoc_items());
            if !inside.any(|item| !matches!(item, ast::AssocItem::Fn(_))) {
                return vec![];
            }
            let mut item = make(Name::Impl(head(block)), statement.start);
            let list = list.map(|list| list.syntax().clone());
            let outside = node.children().filter(|child| Some(child) != list.as_ref());
            item.head = outside.flat_map(|child| mentions(&child)).collect();
            vec![item]
        }
        ast::Item::ExternCrate(item) => {
            let Some(krate) = item.name_ref().map(|name| name.text().to_string()) else {
                return vec![];
            };
            let renamed = item.rename().and_then(|rename| rename.name());
            let own = renamed.map_or_else(|| krate.clone(), |name| name.text().to_string());
            let mut item = make(Name::Own(own), statement.start);
            item.mentions.insert(krate);
            item.is_import = true;
            vec![item]
        }
        _ => match ast::AnyHasName::cast(node.clone()) {
            Some(named) => named.name().map_or_else(Vec::new, |name| {
                let at = statement.byte(name.syntax().text_range().start());
                vec![make(Name::Own(name.text().to_string()), at)]
            }),
            None => vec![make(Name::Nameless(shape(node)), statement.start)],
        },
    }
}

/// Each name that a `use` imports, as an item.
fn imports(tree: &ast::UseTree, prefix: &[String], at: usize, items: &mut Vec<Item>) {
    let mut path = prefix.to_vec();
    if let Some(own) = tree.path() {
        let names = own.syntax().descendants().filter_map(ast::PathSegment::cast);
        path.extend(names.map(|segment| segment.syntax().text().to_string()));
    }
    if let Some(list) = tree.use_tree_list() {
        list.use_trees().for_each(|tree| imports(&tree, &path, at, items));
        return;
    }
    let renamed = tree.rename().and_then(|rename| rename.name());
    let last = path.iter().rev().find(|name| *name != "self").cloned();
    let shape = path.join("::");
    let name = match renamed.map(|name| name.text().to_string()).or(last) {
        Some(name) if tree.star_token().is_none() => Name::Own(name),
        _ => Name::Nameless(shape.clone()),
    };
    let erases = type_erasure::of_import(&path);
    let first = path.into_iter().find(|name| !matches!(&**name, "crate" | "self" | "super"));
    items.push(Item {
        name,
        at,
        shape,
        mentions: first.into_iter().chain(erases).collect(),
        head: BTreeSet::new(),
        supertraits: BTreeSet::new(),
        is_import: true,
        inner_names: BTreeSet::new(),
    });
}

/// The text of an impl before its braces.
pub fn head(block: &ast::Impl) -> String {
    let list = block.assoc_item_list().map(|list| list.syntax().text_range().start());
    let tokens = block.syntax().descendants_with_tokens().filter_map(NodeOrToken::into_token);
    let head = tokens.take_while(|token| Some(token.text_range().start()) != list);
    let head = head.filter(|token| !token.kind().is_trivia());
    head.map(|token| token.text().to_owned()).collect::<Vec<_>>().join(" ")
}

/// The first names of the paths in a shape, and marks.
pub fn mentions(node: &SyntaxNode) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut after_colons = false;
    let mut look = |element: &Element| match element {
        NodeOrToken::Node(node) => {
            if let Some(path) = ast::Path::cast(node.clone()) {
                names.extend(first_name(&segments(&path)).cloned());
            }
            names.extend(type_erasure::marks(node));
        }
        // The arguments of a macro are tokens without structure.
        NodeOrToken::Token(token) => {
            let in_macro = token.parent().is_some_and(|p| p.kind() == SyntaxKind::TOKEN_TREE);
            if in_macro && token.kind() == SyntaxKind::IDENT {
                if !after_colons {
                    names.insert(token.text().to_owned());
                }
                if type_erasure::reads_files(token.text()) {
                    names.insert(FILES.to_owned());
                }
            }
            after_colons = matches!(token.kind(), SyntaxKind::COLON2 | SyntaxKind::COLON)
                && token.text().ends_with(':')
                && (token.kind() == SyntaxKind::COLON2
                    || token.prev_token().is_some_and(|t| t.kind() == SyntaxKind::COLON));
        }
    };
    look(&NodeOrToken::Node(node.clone()));
    visit(node, &mut look);
    type_erasure::retain_foreign(node, &mut names);
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::statements;
    use crate::notebook::marks;

    fn only(code: &str) -> Item {
        let items = of(&statements::of(code));
        assert_eq!(items.len(), 1, "{code}");
        items.into_iter().next().unwrap()
    }

    #[test]
    fn shapes_leave_out_what_does_not_change_layouts() {
        let same = [
            "struct S { a: u8, b: Vec<T> }",
            "/// Words.\n#[derive(Debug, Clone)]\nstruct S {\n    a: u8, // one\n    b: Vec<T>,\n}",
            "#[allow(dead_code)] struct S { #[doc = \"x\"] a: u8, b: Vec<T> }",
        ];
        for code in same {
            assert_eq!(only(code).shape, only(same[0]).shape, "{code}");
        }
        for code in [
            "struct S { a: u16, b: Vec<T> }",
            "struct S { b: Vec<T>, a: u8 }",
            "#[repr(C)] struct S { a: u8, b: Vec<T> }",
            "#[wrapped] struct S { a: u8, b: Vec<T> }",
        ] {
            assert_ne!(only(code).shape, only(same[0]).shape, "{code}");
        }
        assert_eq!(only("fn f() { 1 }").shape, only("fn f() { 2 }").shape);
        assert_ne!(
            only("const fn f() -> usize { 1 }").shape,
            only("const fn f() -> usize { 2 }").shape
        );
        assert_ne!(
            only("fn f() { struct L(u8); 1 }").shape,
            only("fn f() { struct L(u16); 1 }").shape
        );
        assert_eq!(only("mod m { fn f() { 1 } }").shape, only("mod m { fn f() { 2 } }").shape);
    }

    #[test]
    fn mentions_are_first_names() {
        let names = |code: &str| only(code).mentions.into_iter().collect::<Vec<_>>();
        assert_eq!(
            names("struct S<T: Tr> { train: [f32; N], m: rand::rngs::StdRng, o: crate::Own<T> }"),
            ["N", "Own", "T", "Tr", "f32", "rand"]
        );
        assert!(
            names("enum E { A(Box<dyn std::any::Any>) }").contains(&marks::ANY_TYPE.to_owned())
        );
        assert!(names("struct F(make!(Inner, a::Outer));").contains(&"Inner".to_owned()));
        assert!(!names("struct F(make!(Inner, a::Outer));").contains(&"Outer".to_owned()));
    }

    #[test]
    fn every_item_has_a_name() {
        let items = of(&statements::of(
            "use a::{b::C, d as e, self}; use m::*; impl T for S { type Out = u8; } \
             impl S { fn f() {} } fn g() {} let x = 1; make!(X);",
        ));
        let names: Vec<Name> = items.into_iter().map(|item| item.name).collect();
        let own = |name: &str| Name::Own(name.into());
        assert_eq!(names[..3], [own("C"), own("e"), own("a")]);
        assert_eq!(names[3], Name::Nameless("m".into()));
        assert_eq!(names[4], Name::Impl("impl T for S".into()));
        assert_eq!(names[5], own("g"));
        assert_eq!(names.len(), 6);
    }
}
