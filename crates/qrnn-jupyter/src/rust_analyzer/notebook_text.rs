//! What the notebook has defined, as one text that rust-analyzer can read.

use std::collections::HashSet;

use ra_ap_syntax::ast::{self, AstNode, HasModuleItem, HasName};
use ra_ap_syntax::{Edition, SourceFile};

use crate::cells::completeness::{self, Completeness};

/// The function that holds the cell.
const CELL: &str = "qrnn_jupyter_cell";

/// Whether this is a name of the text that is none of the user's.
pub fn is_generated(name: &str) -> bool {
    name == CELL
}

/// The definitions and variables of the cells that ran, and the cells that are to run.
#[derive(Debug, Default)]
pub struct Notebook {
    /// Names, and the items that they stand for; what has no name has the beginning of its text.
    items: Vec<(String, String)>,
    mutable: HashSet<String>,
    /// Names and types.
    variables: Vec<(String, String)>,
    /// Cells that run or wait, by their requests' ids.
    waiting: Vec<(String, String)>,
}

impl Notebook {
    /// A cell is going to run: what it defines can be completed as if it had run.
    pub fn expect(&mut self, id: &str, code: &str) {
        self.waiting.push((id.to_owned(), code.to_owned()));
    }

    /// It has been answered, one way or another.
    pub fn forget(&mut self, id: &str) {
        self.waiting.retain(|(other, _)| other != id);
    }

    /// The cell's items are defined from now on.
    pub fn define(&mut self, code: &str) {
        if code.lines().any(|line| line.trim() == ":clear") {
            self.items.clear();
            self.mutable.clear();
        }
        let file = SourceFile::parse(
            &format!("fn f(){{{}\n}}", without_commands(code)),
            Edition::Edition2024,
        );
        let Some(ast::Item::Fn(function)) = file.tree().items().next() else { return };
        let Some(list) = function.body().and_then(|body| body.stmt_list()) else { return };
        // What implements something goes with the item before it, and is replaced with it.
        let mut before: Option<String> = None;
        for node in list.syntax().children() {
            if let Some(statement) = ast::LetStmt::cast(node.clone()) {
                self.note_mutable(&statement);
            } else if let Some(item) = ast::Item::cast(node) {
                match (&item, name(&item)) {
                    (ast::Item::Use(import), _) => {
                        for (name, text) in imports(import) {
                            self.put(name, text);
                        }
                    }
                    (ast::Item::MacroCall(_), None) => {}
                    (_, Some(name)) => {
                        self.put(name.clone(), item.syntax().text().to_string());
                        before = Some(name);
                    }
                    (_, None) => {
                        let text = item.syntax().text().to_string();
                        let owner = before.as_ref().and_then(|name| {
                            self.items.iter_mut().find(|(other, _)| other == name)
                        });
                        match owner {
                            Some((_, whole)) => *whole += &format!("\n{text}"),
                            None => {
                                let head = text.split('{').next().unwrap_or(&text).to_owned();
                                self.put(head, text);
                            }
                        }
                    }
                }
            }
        }
    }

    fn put(&mut self, name: String, text: String) {
        self.items.retain(|(other, _)| *other != name);
        self.items.push((name, text));
    }

    fn note_mutable(&mut self, statement: &ast::LetStmt) {
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

    /// The variables that there are now.
    pub fn set_variables(&mut self, mut variables: Vec<(String, String)>) {
        variables.sort();
        self.variables = variables;
    }

    /// The whole as one file with the cell in it, and where in it the cell begins.
    pub fn with(&self, cell: &str) -> (String, usize) {
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
            // A cell that is not whole would swallow this one.
            if completeness::of(code) == Completeness::Complete {
                text += &format!("{}\n;\n", without_commands(code));
            }
        }
        let start = text.len();
        let code = without_commands(cell);
        text += &code;
        // An open bracket would swallow what stands behind it, a macro's call even what is before.
        text += &format!("\n{};Ok(())\n}}\n", completeness::closing(&code));
        (text, start)
    }
}

/// The code with its commands blanked out; comments stay, as they may document what follows.
pub fn without_commands(code: &str) -> String {
    let blank = completeness::without_commands(code);
    let lines = code.split_inclusive('\n').zip(blank.split_inclusive('\n'));
    let kept = lines.map(|(line, blank)| if line.starts_with("//") { line } else { blank });
    kept.collect()
}

fn name(item: &ast::Item) -> Option<String> {
    let name = match item {
        ast::Item::Const(item) => item.name(),
        ast::Item::Enum(item) => item.name(),
        ast::Item::Fn(item) => item.name(),
        ast::Item::MacroRules(item) => item.name(),
        ast::Item::MacroDef(item) => item.name(),
        ast::Item::Module(item) => item.name(),
        ast::Item::Static(item) => item.name(),
        ast::Item::Struct(item) => item.name(),
        ast::Item::Trait(item) => item.name(),
        ast::Item::TypeAlias(item) => item.name(),
        ast::Item::Union(item) => item.name(),
        ast::Item::ExternCrate(item) => return Some(item.name_ref()?.text().to_string()),
        _ => None,
    };
    name.map(|name| name.text().to_string())
}

/// Each name that a `use` brings in, and a `use` of it alone: a later cell may bring in one of them
/// from elsewhere.
fn imports(import: &ast::Use) -> Vec<(String, String)> {
    let mut found = vec![];
    if let Some(tree) = import.use_tree() {
        spread(&tree, "", &mut found);
    }
    found
}

fn spread(tree: &ast::UseTree, prefix: &str, found: &mut Vec<(String, String)>) {
    let path = tree.path().map(|path| path.syntax().text().to_string()).unwrap_or_default();
    let whole = match (prefix.is_empty(), path.is_empty()) {
        (true, _) => path.clone(),
        (false, true) => prefix.to_owned(),
        (false, false) => format!("{prefix}::{path}"),
    };
    if let Some(list) = tree.use_tree_list() {
        for tree in list.use_trees() {
            spread(&tree, &whole, found);
        }
        return;
    }
    if tree.star_token().is_some() {
        let text = format!("use {whole}::*;");
        found.push((text.clone(), text));
        return;
    }
    let whole = whole.strip_suffix("::self").unwrap_or(&whole);
    let Some(last) = whole.rsplit("::").next().filter(|last| !last.is_empty()) else { return };
    match tree.rename() {
        None => found.push((last.to_owned(), format!("use {whole};"))),
        Some(rename) => match rename.name() {
            Some(name) => {
                let name = name.text().to_string();
                found.push((name.clone(), format!("use {whole} as {name};")));
            }
            None => {
                let text = format!("use {whole} as _;");
                found.push((text.clone(), text));
            }
        },
    }
}

#[cfg(test)]
#[path = "notebook_text_tests.rs"]
mod tests;
