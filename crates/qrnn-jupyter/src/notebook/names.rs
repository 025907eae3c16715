//! Names in syntax trees.

use std::collections::BTreeSet;

use ra_ap_syntax::ast::{self, AstNode, HasName};
use ra_ap_syntax::{SyntaxKind, SyntaxNode};

/// The names that are defined inside an item: generic parameters and nested items.
pub fn inner_names(node: &SyntaxNode) -> BTreeSet<String> {
    use SyntaxKind::{CONST, CONST_PARAM, ENUM, STRUCT, TRAIT, TYPE_ALIAS, TYPE_PARAM, UNION};
    let inner = node.descendants().skip(1).filter(|inner| {
        matches!(
            inner.kind(),
            CONST | CONST_PARAM | ENUM | STRUCT | TRAIT | TYPE_ALIAS | TYPE_PARAM | UNION
        )
    });
    let names = inner.filter_map(|inner| ast::AnyHasName::cast(inner)?.name());
    names.map(|name| name.text().to_string()).collect()
}

/// The names in a path, `["std", "vec", "Vec"]`.
pub fn segments(path: &ast::Path) -> Vec<String> {
    let names = path.segments().filter_map(|segment| segment.name_ref());
    names.map(|name| name.text().to_string()).collect()
}

/// The first name of a path that is not a keyword.
pub fn first_name(names: &[String]) -> Option<&String> {
    names.iter().find(|name| !matches!(&***name, "crate" | "self" | "super" | "Self"))
}
