//! The tokens of an item that determine memory layouts and the method tables behind `dyn Trait`.
//!
//! Comments, attributes without influence on layouts, and function bodies are left out.

use ra_ap_syntax::ast::{self, AstNode};
use ra_ap_syntax::{NodeOrToken, SyntaxKind, SyntaxNode, SyntaxToken};

pub type Element = NodeOrToken<SyntaxNode, SyntaxToken>;

/// Attributes that change neither layouts nor method tables. `derive` adds impls.
const NEUTRAL_ATTRIBUTES: &str = "derive doc allow warn deny forbid expect must_use deprecated \
    inline cold default track_caller test";

pub fn shape(node: &SyntaxNode) -> String {
    let mut tokens = vec![];
    visit(node, &mut |element| {
        if let NodeOrToken::Token(token) = element {
            // A trailing comma means nothing.
            if token.kind() == SyntaxKind::R_CURLY && tokens.last().is_some_and(|last| last == ",")
            {
                tokens.pop();
            }
            tokens.push(token.text().to_owned());
        }
    });
    tokens.join(" ")
}

/// Calls `seen` with every node and token of a shape.
pub fn visit(node: &SyntaxNode, seen: &mut impl FnMut(&Element)) {
    for child in node.children_with_tokens() {
        match &child {
            NodeOrToken::Token(token) if token.kind().is_trivia() => {}
            NodeOrToken::Token(_) => seen(&child),
            NodeOrToken::Node(inner) if is_left_out(inner) => {
                // A `Box<dyn Any>` may hold a value of a type that is local to a function.
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

fn is_left_out(node: &SyntaxNode) -> bool {
    if let Some(attribute) = ast::Attr::cast(node.clone()) {
        let name = attribute.simple_name();
        return name.is_some_and(|name| NEUTRAL_ATTRIBUTES.split(' ').any(|one| name == one));
    }
    // The body of a function; a const fn may compute an array's length.
    let function = node.parent().and_then(ast::Fn::cast);
    node.kind() == SyntaxKind::BLOCK_EXPR
        && function.is_some_and(|function| function.const_token().is_none())
}
