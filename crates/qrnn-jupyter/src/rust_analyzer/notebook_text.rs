//! What the notebook has defined, as one file for rust-analyzer.

use std::collections::HashSet;

use ra_ap_syntax::ast::{self, AstNode, HasName};

use crate::cells::completeness::{self, Completeness};
use crate::cells::{commands, statements};

/// The function with the cell in it.
const CELL: &str = "qrnn_jupyter_cell";

/// Whether a name in the text is not the user's.
pub fn is_generated(name: &str) -> bool {
    name == CELL
}

#[derive(Debug, Default)]
pub struct NotebookText {
    /// Names and items. An item without a name has the start of its text instead.
    items: Vec<(String, String)>,
    mutable: HashSet<String>,
    /// Names and types.
    variables: Vec<(String, String)>,
    /// Cells that run or wait: the ids of their requests, and their code.
    waiting: Vec<(String, String)>,
}

impl NotebookText {
    /// A cell will run. What it defines can be completed from now on.
    pub fn add_waiting(&mut self, id: &str, code: &str) {
        self.waiting.push((id.to_owned(), code.to_owned()));
    }

    pub fn remove_waiting(&mut self, id: &str) {
        self.waiting.retain(|(other, _)| other != id);
    }

    /// Records the items of a cell that has run.
    pub fn define(&mut self, code: &str) {
        if code.lines().any(|line| line.trim() == ":clear") {
            self.items.clear();
            self.mutable.clear();
        }
        // An impl belongs to the item before it, and is replaced with it.
        let mut owner: Option<String> = None;
        for node in statements::nodes(&without_commands(code)).0 {
            if let Some(statement) = ast::LetStmt::cast(node.clone()) {
                self.record_mutability(&statement);
                continue;
            }
            let Some(item) = ast::Item::cast(node) else { continue };
            let text = item.syntax().text().to_string();
            match (&item, name(&item)) {
                (ast::Item::Use(import), _) => {
                    for (name, text) in imports(import) {
                        self.set(name, text);
                    }
                }
                (ast::Item::MacroCall(_), None) => {}
                (_, Some(name)) => {
                    self.set(name.clone(), text);
                    owner = Some(name);
                }
                (_, None) => {
                    match self.items.iter_mut().find(|(name, _)| Some(name) == owner.as_ref()) {
                        Some((_, whole)) => *whole += &format!("\n{text}"),
                        None => {
                            let head = text.split('{').next().unwrap_or(&text).to_owned();
                            self.set(head, text);
                        }
                    }
                }
            }
        }
    }

    fn set(&mut self, name: String, text: String) {
        self.items.retain(|(other, _)| *other != name);
        self.items.push((name, text));
    }

    fn record_mutability(&mut self, statement: &ast::LetStmt) {
        let Some(pattern) = statement.pat() else { return };
        for binding in pattern.syntax().descendants().filter_map(ast::IdentPat::cast) {
            let Some(name) = binding.name().map(|name| name.text().to_string()) else { continue };
            if binding.mut_token().is_some() {
                self.mutable.insert(name);
            } else {
                self.mutable.remove(&name);
            }
        }
    }

    pub fn set_variables(&mut self, mut variables: Vec<(String, String)>) {
        variables.sort();
        self.variables = variables;
    }

    /// The file with a cell in it, and the byte where the cell starts.
    pub fn with_cell(&self, cell: &str) -> (String, usize) {
        let mut text = "#![allow(warnings)]\n".to_owned();
        for (_, item) in &self.items {
            text += item;
            text.push('\n');
        }
        let variables = self.variables.iter().map(|(name, ty)| {
            let keyword = if self.mutable.contains(name) { "mut " } else { "" };
            format!("{keyword}{name}: {ty}")
        });
        let variables = variables.collect::<Vec<_>>().join(", ");
        text +=
            &format!("async fn {CELL}({variables}) -> Result<(), Box<dyn std::error::Error>> {{\n");
        for (_, code) in &self.waiting {
            // An incomplete cell would swallow what follows.
            if completeness::of(code) == Completeness::Complete {
                text += &format!("{}\n;\n", without_commands(code));
            }
        }
        let start = text.len();
        let code = without_commands(cell);
        text += &code;
        // An open bracket would swallow the end of the function.
        text += &format!("\n{};Ok(())\n}}\n", completeness::closing(&code));
        (text, start)
    }
}

/// The code with its commands blanked out. Comments stay: they may document what follows.
pub fn without_commands(code: &str) -> String {
    let blank = commands::without_commands(code);
    let lines = code.split_inclusive('\n').zip(blank.split_inclusive('\n'));
    lines.map(|(line, blank)| if line.starts_with("//") { line } else { blank }).collect()
}

fn name(item: &ast::Item) -> Option<String> {
    if let ast::Item::ExternCrate(item) = item {
        return Some(item.name_ref()?.text().to_string());
    }
    let name = ast::AnyHasName::cast(item.syntax().clone())?.name()?;
    Some(name.text().to_string())
}

/// Each name that a `use` imports, with a `use` of it alone, because a later cell may import one of
/// them from elsewhere.
fn imports(import: &ast::Use) -> Vec<(String, String)> {
    let mut found = vec![];
    if let Some(tree) = import.use_tree() {
        collect_imports(&tree, "", &mut found);
    }
    found
}

fn collect_imports(tree: &ast::UseTree, prefix: &str, found: &mut Vec<(String, String)>) {
    let path = tree.path().map(|path| path.syntax().text().to_string()).unwrap_or_default();
    let separator = if prefix.is_empty() || path.is_empty() { "" } else { "::" };
    let path = format!("{prefix}{separator}{path}");
    if let Some(list) = tree.use_tree_list() {
        list.use_trees().for_each(|tree| collect_imports(&tree, &path, found));
        return;
    }
    if tree.star_token().is_some() {
        let text = format!("use {path}::*;");
        found.push((text.clone(), text));
        return;
    }
    let path = path.strip_suffix("::self").unwrap_or(&path);
    let Some(last) = path.rsplit("::").next().filter(|last| !last.is_empty()) else { return };
    match tree.rename() {
        None => found.push((last.to_owned(), format!("use {path};"))),
        Some(rename) => match rename.name() {
            Some(name) => found.push((name.text().to_string(), format!("use {path} as {name};"))),
            None => {
                let text = format!("use {path} as _;");
                found.push((text.clone(), text));
            }
        },
    }
}

#[cfg(test)]
#[path = "notebook_text_tests.rs"]
mod tests;
