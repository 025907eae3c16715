//! The items of a cell: what each defines, and what its meaning depends on.
//!
//! A variable of an earlier cell may be read under a new compilation of its type's definition only
//! where both are the same: its layout, and the tables of methods behind `dyn Trait`. rustc's own
//! identity of a type does not tell (it leaves out the types of fields). So definitions are compared
//! here by their *shape*: their tokens without comments, attributes and bodies that change neither.

use std::collections::BTreeSet;

use ra_ap_syntax::ast::{self, AstNode, HasName};
use ra_ap_syntax::{NodeOrToken, SyntaxKind, SyntaxNode};

use crate::cells::statements::Statement;
use crate::notebook::type_erasure;

/// In [`Item::mentions`]: it may hide values of any type, and give them back by their identity.
pub const ANYTHING: &str = "any value";

/// In [`Item::mentions`]: it reads files or the environment when it is compiled.
pub const FILES: &str = "any file";

/// What an item is called, for the notebook.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Name {
    /// A type, a function, an import: a later item of this name takes its place.
    Own(String),
    /// An implementation that settles types or constants: its text up to the braces.
    Impl(String),
    /// A glob import or a macro's call: stays, and may define any name.
    Nameless(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub name: Name,
    /// The name's first byte in the cell; the item's, where it has none.
    pub at: usize,
    pub shape: String,
    /// Names of items and crates that the shape refers to.
    pub mentions: BTreeSet<String>,
    /// Of an implementation: what its head refers to.
    pub head: BTreeSet<String>,
    /// Of traits: what an object of one may hide beside.
    pub supertraits: BTreeSet<String>,
    pub is_import: bool,
    /// Names of its own: parameters, and what is defined inside of it. [`Item::mentions`] has them too.
    pub parameters: BTreeSet<String>,
}

/// The items that a cell defines, in its order.
pub fn of(statements: &[Statement]) -> Vec<Item> {
    let items = statements.iter().filter_map(|s| Some((s, ast::Item::cast(s.node.clone())?)));
    items.flat_map(|(statement, item)| described(statement, &item)).collect()
}

fn described(statement: &Statement, item: &ast::Item) -> Vec<Item> {
    let node = item.syntax();
    let make = |name, at| Item {
        name,
        at,
        shape: shape(node),
        mentions: mentions(node),
        head: BTreeSet::new(),
        supertraits: type_erasure::supertraits(node),
        is_import: false,
        parameters: parameters(node),
    };
    let named = |name: Option<ast::Name>| {
        name.map(|name| {
            let at = statement.byte(name.syntax().text_range().start());
            make(Name::Own(name.text().to_string()), at)
        })
    };
    match item {
        ast::Item::Use(import) => import.use_tree().map_or_else(Vec::new, |tree| {
            let mut items = vec![];
            imports(&tree, &[], statement.start, &mut items);
            items
        }),
        ast::Item::Impl(block) => {
            let settles = block.assoc_item_list().is_some_and(|list| {
                let mut items = list.assoc_items();
                items.any(|item| !matches!(item, ast::AssocItem::Fn(_)))
            });
            let mut item = make(Name::Impl(head(block)), statement.start);
            let list = block.assoc_item_list().map(|list| list.syntax().clone());
            let outside = node.children().filter(|child| Some(child) != list.as_ref());
            item.head = outside.flat_map(|child| mentions(&child)).collect();
            settles.then_some(item).into_iter().collect()
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
        ast::Item::Const(item) => named(item.name()).into_iter().collect(),
        ast::Item::Enum(item) => named(item.name()).into_iter().collect(),
        ast::Item::Fn(item) => named(item.name()).into_iter().collect(),
        ast::Item::MacroRules(item) => named(item.name()).into_iter().collect(),
        ast::Item::Module(item) => named(item.name()).into_iter().collect(),
        ast::Item::Static(item) => named(item.name()).into_iter().collect(),
        ast::Item::Struct(item) => named(item.name()).into_iter().collect(),
        ast::Item::Trait(item) => named(item.name()).into_iter().collect(),
        ast::Item::TypeAlias(item) => named(item.name()).into_iter().collect(),
        ast::Item::Union(item) => named(item.name()).into_iter().collect(),
        _ => vec![make(Name::Nameless(shape(node)), statement.start)],
    }
}

/// Each name that a `use` brings in, as an item of its own.
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
    let renamed =
        tree.rename().and_then(|rename| rename.name()).map(|name| name.text().to_string());
    let last = path.iter().rev().find(|name| *name != "self").cloned();
    let shape = path.join("::");
    let name = match renamed.or(last) {
        Some(name) if tree.star_token().is_none() => Name::Own(name),
        _ => Name::Nameless(shape.clone()),
    };
    let hides = type_erasure::of_import(&path);
    let first = path.into_iter().find(|name| !matches!(&**name, "crate" | "self" | "super"));
    items.push(Item {
        name,
        at,
        shape,
        mentions: first.into_iter().chain(hides).collect(),
        head: BTreeSet::new(),
        supertraits: BTreeSet::new(),
        is_import: true,
        parameters: BTreeSet::new(),
    });
}

/// An implementation's text up to its braces.
pub fn head(block: &ast::Impl) -> String {
    let list = block.assoc_item_list().map(|list| list.syntax().text_range().start());
    let tokens = block.syntax().descendants_with_tokens().filter_map(NodeOrToken::into_token);
    let head = tokens.take_while(|token| Some(token.text_range().start()) != list);
    let head = head.filter(|token| !token.kind().is_trivia());
    head.map(|token| token.text().to_owned()).collect::<Vec<_>>().join(" ")
}

/// The tokens that settle layout and tables of methods.
fn shape(node: &SyntaxNode) -> String {
    let mut tokens = vec![];
    visit(node, &mut |element| {
        if let NodeOrToken::Token(token) = element {
            // A comma behind the last field or variant means nothing.
            if token.kind() == SyntaxKind::R_CURLY && tokens.last().is_some_and(|last| last == ",")
            {
                tokens.pop();
            }
            tokens.push(token.text().to_owned());
        }
    });
    tokens.join(" ")
}

type Element = NodeOrToken<SyntaxNode, ra_ap_syntax::SyntaxToken>;

/// Calls `seen` with all that is part of a shape.
fn visit(node: &SyntaxNode, seen: &mut impl FnMut(&Element)) {
    for child in node.children_with_tokens() {
        match &child {
            NodeOrToken::Token(token) if token.kind().is_trivia() => {}
            NodeOrToken::Token(_) => seen(&child),
            NodeOrToken::Node(inner) if is_outside(inner) => {
                // A function's own types may lie in a `Box<dyn Any>` that a later cell gives it.
                for item in inner.descendants().filter(|node| is_type(node.kind())) {
                    seen(&NodeOrToken::Node(item.clone()));
                    visit(&item, seen);
                }
            }
            NodeOrToken::Node(inner) => {
                seen(&child);
                visit(inner, seen);
            }
        }
    }
}

fn is_type(kind: SyntaxKind) -> bool {
    use SyntaxKind::{ENUM, STRUCT, TYPE_ALIAS, UNION};
    matches!(kind, ENUM | STRUCT | TYPE_ALIAS | UNION)
}

fn is_outside(node: &SyntaxNode) -> bool {
    if let Some(attribute) = ast::Attr::cast(node.clone()) {
        return is_harmless(&attribute);
    }
    // What a function does; a constant one may settle a length.
    let function = node.parent().and_then(ast::Fn::cast);
    node.kind() == SyntaxKind::BLOCK_EXPR
        && function.is_some_and(|function| function.const_token().is_none())
}

/// Attributes that change neither layout nor tables; `derive` adds implementations.
fn is_harmless(attribute: &ast::Attr) -> bool {
    const HARMLESS: [&str; 14] = [
        "derive",
        "doc",
        "allow",
        "warn",
        "deny",
        "forbid",
        "expect",
        "must_use",
        "deprecated",
        "inline",
        "cold",
        "default",
        "track_caller",
        "test",
    ];
    attribute.simple_name().is_some_and(|name| HARMLESS.contains(&name.as_str()))
}

/// The names that paths and macros' tokens in a shape begin with.
pub fn mentions(node: &SyntaxNode) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut after_colons = false;
    let mut look = |element: &Element| match element {
        NodeOrToken::Node(node) => {
            if let Some(path) = ast::Path::cast(node.clone()) {
                first_name(&path).map(|name| names.insert(name));
            }
            names.extend(type_erasure::marks(node));
        }
        NodeOrToken::Token(token) => {
            let in_macro = token.parent().is_some_and(|p| p.kind() == SyntaxKind::TOKEN_TREE);
            if in_macro && token.kind() == SyntaxKind::IDENT {
                if !after_colons {
                    names.insert(token.text().to_owned());
                }
                if type_erasure::is_reader(token.text()) {
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

/// What a definition calls by a name that means something in it alone.
pub fn parameters(node: &SyntaxNode) -> BTreeSet<String> {
    let named = node.descendants().skip(1).filter_map(|inner| match inner.kind() {
        SyntaxKind::TYPE_PARAM => ast::TypeParam::cast(inner)?.name(),
        SyntaxKind::CONST_PARAM => ast::ConstParam::cast(inner)?.name(),
        SyntaxKind::CONST => ast::Const::cast(inner)?.name(),
        SyntaxKind::ENUM => ast::Enum::cast(inner)?.name(),
        SyntaxKind::STRUCT => ast::Struct::cast(inner)?.name(),
        SyntaxKind::TRAIT => ast::Trait::cast(inner)?.name(),
        SyntaxKind::TYPE_ALIAS => ast::TypeAlias::cast(inner)?.name(),
        SyntaxKind::UNION => ast::Union::cast(inner)?.name(),
        _ => None,
    });
    named.map(|name| name.text().to_string()).collect()
}

/// The first name of a path that is no part of a longer one.
fn first_name(path: &ast::Path) -> Option<String> {
    let names = path.segments().filter_map(|segment| segment.name_ref());
    let mut names = names.map(|name| name.text().to_string());
    names.find(|name| !matches!(&**name, "crate" | "self" | "super" | "Self"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::statements;

    fn only(code: &str) -> Item {
        let items = of(&statements::of(code));
        assert_eq!(items.len(), 1, "{code}");
        items.into_iter().next().unwrap()
    }

    #[test]
    fn shapes_leave_out_what_changes_no_layout() {
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
    fn mentions_are_what_a_definition_leads_to() {
        let names = |code: &str| only(code).mentions.into_iter().collect::<Vec<_>>();
        assert_eq!(
            names("struct S<T: Tr> { train: [f32; N], m: rand::rngs::StdRng, o: crate::Own<T> }"),
            ["N", "Own", "T", "Tr", "f32", "rand"]
        );
        assert!(names("enum E { A(Box<dyn std::any::Any>) }").contains(&ANYTHING.to_owned()));
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
