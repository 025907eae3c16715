//! rustc's warnings about the user's code.
//!
//! rustc compiles a cell's items and variables in a crate where nothing uses them yet. So warnings
//! about their use are dropped at the cell's top level, and kept inside function bodies.

use std::path::Path;

use ra_ap_syntax::SyntaxNode;
use ra_ap_syntax::ast::{self, AstNode};
use serde_json::Value;

use crate::cells::statements::{self, Statement};
use crate::rustc::compiled_cell::CompiledCell;
use crate::rustc::diagnostic::{Diagnostic, byte_range};
use crate::rustc::handoff;
use crate::rustc::source_map::SourceMap;

/// Lints about the use of names: a later cell may use them.
const USE_LINTS: &str = "dead_code unused_imports unused_macros unused_mut unused_variables \
    unused_assignments unused_features unused_extern_crates";
/// Lints about privacy, which a notebook does not have.
const PRIVACY_LINTS: &str = "private_interfaces private_bounds";

/// The warnings of the last compilation, drawn.
pub fn drawn(cell: &CompiledCell, workdir: &Path) -> String {
    let read = |name: &str| std::fs::read_to_string(workdir.join(name)).unwrap_or_default();
    let messages = read(handoff::WARNINGS);
    if messages.is_empty() {
        return String::new();
    }
    let messages: Vec<Value> =
        messages.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let found = find(cell, &messages, &read("src/lib.rs"));
    let name = cell.name();
    found.iter().map(|warning| warning.render(&cell.cell, &name) + "\n\n").collect()
}

fn find(cell: &CompiledCell, messages: &[Value], file: &str) -> Vec<Diagnostic> {
    let map = SourceMap::new(&cell.code, file);
    let place = |line: usize, column: usize| cell.byte_in_cell(map.byte(line, column)?);
    let has = |lints: &str, lint: &str| lints.split(' ').any(|one| one == lint);
    let statements = statements::of(&cell.cell);
    let mut found: Vec<Diagnostic> = vec![];
    for message in messages {
        let lint = message["code"]["code"].as_str().unwrap_or_default();
        let mut spans = message["spans"].as_array().into_iter().flatten();
        let primary = spans.find(|span| span["is_primary"] == true);
        // Warnings elsewhere are about generated code or earlier cells.
        let at = primary.and_then(|span| byte_range(span, &place));
        let Some(at) = at.filter(|_| !has(PRIVACY_LINTS, lint)) else { continue };
        if has(USE_LINTS, lint) && is_top_level(&statements, at.start) {
            continue;
        }
        let warning = Diagnostic::from_rustc(message, place);
        if !found.contains(&warning) {
            found.push(warning);
        }
    }
    found.sort_by_key(|warning| warning.annotations.iter().map(|a| a.range.start).min());
    found
}

/// Whether a byte is outside of every body: in the pattern of a `let`, in the head of an item, among
/// the fields or method names of a type.
fn is_top_level(statements: &[Statement], byte: usize) -> bool {
    let statement = statements.iter().find(|s| (s.start..s.end).contains(&byte));
    let Some(statement) = statement else { return true };
    let within = |part: &SyntaxNode| statement.bytes(part.text_range()).contains(&byte);
    if let Some(binding) = ast::LetStmt::cast(statement.node.clone()) {
        return binding.pat().is_some_and(|pattern| within(pattern.syntax()));
    }
    let mut functions = statement.node.descendants().filter_map(ast::Fn::cast);
    ast::Item::can_cast(statement.node.kind())
        && !functions.any(|function| {
            function.body().is_some_and(|body| within(body.syntax()))
                || function.param_list().is_some_and(|list| within(list.syntax()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const CELL: &str =
        "fn f(a: i32) -> i32 {\n    let mut b = 1;\n    2\n}\nlet mut v = vec![1];\ng();";

    fn titles(messages: &[(&str, usize, usize)]) -> Vec<String> {
        let messages: Vec<Value> = messages
            .iter()
            .map(|(lint, line, column)| {
                json!({
                    "level": "warning", "message": format!("{lint} {line}"),
                    "code": {"code": lint}, "children": [],
                    "spans": [{
                        "file_name": "src/lib.rs", "is_primary": true, "label": null,
                        "line_start": line, "column_start": column,
                        "line_end": line, "column_end": column + 1,
                    }],
                })
            })
            .collect();
        let cell =
            CompiledCell { cell: CELL.into(), code: CELL.into(), insertions: vec![], count: 1 };
        let function = "#[unsafe(no_mangle)]\npub extern \"C\" fn run_user_code_1(";
        let (items, rest) = CELL.split_at(CELL.find("let mut v").unwrap());
        let file = format!("fn old() {{\n    g();\n}}\n{items}{function}\n{rest}");
        find(&cell, &messages, &file).into_iter().map(|warning| warning.title).collect()
    }

    #[test]
    fn unused_names_at_top_level_give_no_warning() {
        assert_eq!(titles(&[("dead_code", 4, 4), ("unused_mut", 10, 5)]), [""; 0]);
    }

    #[test]
    fn warnings_come_once_and_in_order() {
        assert_eq!(
            titles(&[
                ("unused_must_use", 11, 1),
                ("unused_mut", 5, 9),
                ("unused_variables", 4, 6),
                ("unused_must_use", 11, 1),
            ]),
            ["unused_variables 4", "unused_mut 5", "unused_must_use 11"]
        );
    }

    #[test]
    fn earlier_cells_and_generated_code_give_no_warning() {
        assert_eq!(titles(&[("unused_must_use", 2, 5), ("unused_must_use", 99, 1)]), [""; 0]);
    }
}
