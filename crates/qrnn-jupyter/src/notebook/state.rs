//! What the notebook has defined so far.

use std::collections::{BTreeSet, HashMap};

use ra_ap_syntax::ast::{self, AstNode, HasName};

use crate::cells::insertions::Insertion;
use crate::cells::statements::{Binding, Statement, first_mention};
use crate::notebook::items::{self, Item, Name};

/// Variables and their types, as evcxr stores them.
pub type Variables = HashMap<String, String>;

/// Why a variable is lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LostBy {
    /// A cell moved its value.
    Move,
    /// The process that held it ended.
    ProcessEnd,
}

#[derive(Debug, Clone)]
pub struct LostVariable {
    pub by: LostBy,
    /// The number of the cell.
    pub cell: u64,
    ty: String,
    mutable: bool,
}

#[derive(Default)]
pub struct Notebook {
    pub items: HashMap<Name, Item>,
    /// The crates that `:dep` lines added.
    pub crates: BTreeSet<String>,
    mutable: HashMap<String, bool>,
    lost: HashMap<String, LostVariable>,
    impls: Vec<ImplBlock>,
}

/// An impl in a cell that does not define its type.
struct ImplBlock {
    head: String,
    names: BTreeSet<String>,
}

impl Notebook {
    /// Records what a cell has defined.
    pub fn define(&mut self, items: Vec<Item>, statements: &[Statement]) {
        for item in items {
            self.items.insert(item.name.clone(), item);
        }
        for (_, block) in standalone_impls(statements) {
            match self.impls.iter_mut().find(|known| known.is_same(&block)) {
                Some(known) => known.names.extend(block.names),
                None => self.impls.push(block),
            }
        }
    }

    /// Records the variables after a cell, and returns those that are lost. A failed cell has no
    /// bindings.
    pub fn record_variables(
        &mut self,
        bindings: &[Binding],
        before: &Variables,
        after: &Variables,
        by: LostBy,
        cell: u64,
    ) -> Vec<String> {
        let mut lost: Vec<String> =
            before.keys().filter(|name| !after.contains_key(*name)).cloned().collect();
        lost.sort();
        for name in &lost {
            let mutable = self.mutable.remove(name).unwrap_or(false);
            let ty = before[name].clone();
            self.lost.insert(name.clone(), LostVariable { by, cell, ty, mutable });
        }
        for binding in bindings {
            self.mutable.insert(binding.name.clone(), binding.mutable);
        }
        self.lost.retain(|name, _| !after.contains_key(name));
        lost
    }

    /// Whether an item or an import has this name.
    pub fn defines(&self, name: &str) -> bool {
        self.items.contains_key(&Name::Own(name.to_owned()))
    }

    pub fn lost(&self, name: &str) -> Option<&LostVariable> {
        self.lost.get(name)
    }

    pub fn is_mutable(&self, name: &str) -> bool {
        self.mutable.get(name).copied().unwrap_or(false)
    }

    /// `let mut x: T;` at the byte `at` for each moved variable that the cell assigns first.
    pub fn redeclarations(
        &self,
        assigned: &[(String, usize)],
        code: &str,
        at: usize,
    ) -> Vec<Insertion> {
        let mut names: Vec<&str> = vec![];
        let mut insertions = vec![];
        for (name, place) in assigned {
            let Some(lost) = self.lost.get(name).filter(|lost| lost.mutable) else { continue };
            if first_mention(code, name) == Some(*place) && !names.contains(&name.as_str()) {
                names.push(name);
                insertions.push(Insertion::before(at, format!("let mut {name}: {}; ", lost.ty)));
            }
        }
        insertions
    }

    /// A module before each impl of a type that the cell does not define. evcxr stores the impl with
    /// the item before it, and replaces both when the cell runs again; alone, an impl would be
    /// defined twice.
    pub fn impl_keys(&self, statements: &[Statement]) -> Vec<Insertion> {
        let mut next = self.impls.len();
        let found = standalone_impls(statements).into_iter().map(|(at, block)| {
            let known = self.impls.iter().position(|known| known.is_same(&block));
            let number = known.unwrap_or_else(|| {
                next += 1;
                next - 1
            });
            Insertion::before(at, format!("mod qrnn_jupyter_impl_{number} {{}} "))
        });
        found.collect()
    }
}

impl ImplBlock {
    /// Whether both have the same head, and are of a trait or define a name in common.
    fn is_same(&self, other: &Self) -> bool {
        self.head == other.head
            && (other.head.contains(" for ") || !self.names.is_disjoint(&other.names))
    }
}

/// The impls of types that the cell does not define, with their first bytes.
fn standalone_impls(statements: &[Statement]) -> Vec<(usize, ImplBlock)> {
    let own: BTreeSet<Name> = items::of(statements).into_iter().map(|item| item.name).collect();
    let blocks = statements.iter().filter_map(|s| Some((s, ast::Impl::cast(s.node.clone())?)));
    let foreign = blocks.filter(|(_, block)| {
        let types = block.self_ty().map(|ty| items::mentions(ty.syntax())).unwrap_or_default();
        !types.into_iter().any(|name| own.contains(&Name::Own(name)))
    });
    foreign
        .map(|(statement, block)| {
            let items = block.assoc_item_list().into_iter().flat_map(|list| list.assoc_items());
            let names =
                items.filter_map(|item| ast::AnyHasName::cast(item.syntax().clone())?.name());
            let names = names.map(|name| name.text().to_string()).collect();
            (statement.start, ImplBlock { head: items::head(&block), names })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::statements;

    impl Notebook {
        /// A notebook in which these cells have run.
        pub fn after(cells: &[&str]) -> Self {
            let mut notebook = Self::default();
            for cell in cells {
                let statements = statements::of(cell);
                notebook.define(items::of(&statements), &statements);
            }
            notebook
        }
    }

    #[test]
    fn an_impl_that_runs_again_has_the_same_key() {
        let notebook =
            Notebook::after(&["struct A;", "impl A { fn f() {} }", "impl A { fn g() {} }"]);
        let keys = |cell: &str| {
            let found = notebook.impl_keys(&statements::of(cell));
            found.into_iter().map(|insertion| insertion.text).collect::<Vec<_>>()
        };
        assert_eq!(keys("impl A { fn g() { 1 } fn h() {} }"), ["mod qrnn_jupyter_impl_1 {} "]);
        assert_eq!(keys("impl A { fn other() {} }"), ["mod qrnn_jupyter_impl_2 {} "]);
        assert!(keys("struct A; impl A { fn f() {} }").is_empty());
    }

    #[test]
    fn a_moved_variable_may_be_assigned() {
        let mut notebook = Notebook::after(&[]);
        let code = "let mut v = vec![1];";
        let before = Variables::from([("v".to_owned(), "Vec<i32>".to_owned())]);
        let bindings = statements::bindings(&statements::of(code));
        notebook.record_variables(&bindings, &Variables::new(), &before, LostBy::Move, 1);
        assert_eq!(
            notebook.record_variables(&[], &before, &Variables::new(), LostBy::Move, 2),
            ["v"]
        );
        let redeclared = |code: &str| {
            notebook.redeclarations(&statements::assignments(&statements::of(code)), code, 0).len()
        };
        assert_eq!((redeclared("v = vec![2];"), redeclared("f(v); v = vec![2];")), (1, 0));
        assert_eq!(notebook.lost("v").map(|lost| lost.cell), Some(2));
    }
}
