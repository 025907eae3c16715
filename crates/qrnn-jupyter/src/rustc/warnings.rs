//! rustc's warnings of the user's own code.
//!
//! rustc sees a cell's items and variables in a crate where nothing uses them yet, so what it says of
//! their use is left out at the cell's own level. Inside a function's body all of it holds.

use std::path::Path;

use ra_ap_syntax::ast::{self, AstNode};
use ra_ap_syntax::{SyntaxNode, TextSize};
use serde_json::Value;

use crate::cells::statements::{self, Statement};
use crate::protocol::cell_error::cell_name;
use crate::rustc::diagnostic::{Diagnostic, byte_range};
use crate::rustc::source_map::SourceMap;
use crate::rustc::type_probes::{self, Insertion};
use crate::rustc::wrapper;

/// Of a cell's own level: a later cell may use, change or import what this one does not.
const OF_LATER_CELLS: [&str; 8] = [
    "dead_code",
    "unused_imports",
    "unused_macros",
    "unused_mut",
    "unused_variables",
    "unused_assignments",
    "unused_features",
    "unused_extern_crates",
];
/// Nothing is public or private in a notebook.
const OF_NO_CONCERN: [&str; 2] = ["private_interfaces", "private_bounds"];

/// A cell that is compiled: what its places mean.
#[derive(Debug, Clone)]
pub struct Compiled {
    pub cell: String,
    /// As evcxr got it.
    pub compiled: String,
    pub insertions: Vec<Insertion>,
    pub count: u64,
}

/// The warnings of the last compilation, drawn; `folder` is evcxr's.
pub fn drawn(cell: &Compiled, folder: &Path) -> String {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    let said = read(wrapper::WARNINGS);
    if said.is_empty() {
        return String::new();
    }
    let messages: Vec<Value> =
        said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let found = of(cell, &messages, &read("src/lib.rs"));
    let name = cell_name(cell.count);
    found.iter().map(|warning| warning.render(&cell.cell, &name) + "\n\n").collect()
}

fn of(cell: &Compiled, messages: &[Value], file: &str) -> Vec<Diagnostic> {
    let map = SourceMap::new(&cell.compiled, file);
    let place = |line: usize, column: usize| {
        let byte = map.byte(line, column)?;
        (!type_probes::is_inserted(&cell.insertions, byte))
            .then(|| type_probes::original(&cell.insertions, byte).min(cell.cell.len()))
    };
    let statements = statements::of(&cell.cell);
    let mut found: Vec<Diagnostic> = vec![];
    for message in messages {
        let lint = message["code"]["code"].as_str().unwrap_or_default();
        let spans = message["spans"].as_array().into_iter().flatten();
        let primary: Vec<_> = spans.filter(|span| span["is_primary"] == true).collect();
        // About generated code, or about an earlier cell's, which has told it.
        let at = primary.first().and_then(|span| byte_range(span, &place));
        let Some(at) = at.filter(|_| !OF_NO_CONCERN.contains(&lint)) else { continue };
        if OF_LATER_CELLS.contains(&lint) && is_of_the_cell(&statements, at.start) {
            continue;
        }
        let warning = Diagnostic::from_rustc(message, place);
        if !found.contains(&warning) {
            found.push(warning);
        }
    }
    found.sort_by_key(|warning| warning.marks.iter().map(|mark| mark.range.start).min());
    found
}

/// Whether a byte lies outside of every body: in a pattern of the cell's own `let`, in an item's
/// head, among a type's fields or methods' names.
fn is_of_the_cell(statements: &[Statement], byte: usize) -> bool {
    let statement = statements.iter().find(|s| (s.start..s.end).contains(&byte));
    let Some(statement) = statement else { return true };
    if let Some(binding) = ast::LetStmt::cast(statement.node.clone()) {
        let pattern = binding.pat().map(|pattern| pattern.syntax().text_range());
        return pattern.is_some_and(|range| {
            (statement.byte(range.start())..statement.byte(range.end())).contains(&byte)
        });
    }
    if !ast::Item::can_cast(statement.node.kind()) {
        return false;
    }
    let within = |node: &SyntaxNode| {
        let at = |at: TextSize| statement.byte(at);
        let range = node.text_range();
        (at(range.start())..at(range.end())).contains(&byte)
    };
    let mut bodies =
        statement.node.descendants().filter_map(ast::Fn::cast).filter_map(|f| f.body());
    let mut parameters =
        statement.node.descendants().filter_map(ast::Fn::cast).filter_map(|f| f.param_list());
    !bodies.any(|body| within(body.syntax())) && !parameters.any(|list| within(list.syntax()))
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
            Compiled { cell: CELL.into(), compiled: CELL.into(), insertions: vec![], count: 1 };
        let function = "#[unsafe(no_mangle)]\npub extern \"C\" fn run_user_code_1(";
        let (items, rest) = CELL.split_at(CELL.find("let mut v").unwrap());
        let file = format!("fn old() {{\n    g();\n}}\n{items}{function}\n{rest}");
        of(&cell, &messages, &file).into_iter().map(|warning| warning.title).collect()
    }

    #[test]
    fn what_later_cells_may_use_is_not_told() {
        assert_eq!(titles(&[("dead_code", 4, 4), ("unused_mut", 10, 5)]), [""; 0]);
    }

    #[test]
    fn bodies_and_statements_are_told_once_and_in_order() {
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
    fn earlier_cells_and_generated_code_are_not_told() {
        assert_eq!(titles(&[("unused_must_use", 2, 5), ("unused_must_use", 99, 1)]), [""; 0]);
    }
}
