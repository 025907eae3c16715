//! What a notebook has defined so far, and which variables depend on it.

use std::collections::{BTreeSet, HashMap};

use ra_ap_syntax::ast::{self, AstNode};

use crate::cells::statements::{Binding, Statement};
use crate::notebook::items::{self, Item, Name};
use crate::rustc::type_probes::Insertion;

/// Variables by name: their types, as evcxr keeps them.
pub type Variables = HashMap<String, String>;

/// How a variable went.
#[derive(Debug, Clone, PartialEq)]
pub enum How {
    /// A cell moved its value.
    Moved,
    /// The process that held it ended.
    Ended,
}

/// A variable that is no more.
#[derive(Debug, Clone)]
pub struct Gone {
    pub how: How,
    /// The number of the cell.
    pub cell: u64,
    ty: String,
    mutable: bool,
}

#[derive(Debug, Default)]
pub struct Notebook {
    pub items: HashMap<Name, Item>,
    /// Whether a variable is mutable.
    mutable: HashMap<String, bool>,
    gone: HashMap<String, Gone>,
    blocks: Vec<Block>,
    /// The crates that `:dep` lines have brought.
    pub crates: BTreeSet<String>,
}

/// An `impl` in a cell that does not define its type: evcxr keeps each for ever, so that a cell run
/// again would define everything twice.
#[derive(Debug)]
struct Block {
    head: String,
    names: BTreeSet<String>,
}

/// A variable that would be lost, and the item whose new definition it would be lost by.
#[derive(Debug, PartialEq)]
pub struct Loss<'a> {
    pub variable: String,
    pub item: &'a Item,
}

impl Notebook {
    /// What new definitions would do to the variables.
    pub fn losses<'a>(&self, new: &'a [Item], variables: &Variables) -> Vec<Loss<'a>> {
        let (known, fresh): (Vec<&Item>, Vec<&Item>) =
            new.iter().partition(|item| self.items.contains_key(&item.name));
        let mut changed = known;
        changed.retain(|item| self.items[&item.name].shape != item.shape);
        let fresh: Vec<&Item> = fresh.into_iter().filter(|item| self.may_shadow(item)).collect();
        if changed.is_empty() && fresh.is_empty() {
            return vec![];
        }
        let mut losses = vec![];
        for (variable, ty) in variables {
            let reached = self.reached(ty);
            let is_lost = |item: &&&Item| reached.contains(key(&item.name));
            let is_shadowed = |item: &&&Item| self.uses(ty, &reached, key(&item.name));
            let item = changed.iter().find(is_lost).or_else(|| fresh.iter().find(is_shadowed));
            losses.extend(item.map(|&item| Loss { variable: variable.clone(), item }));
        }
        losses.sort_by(|a, b| (a.item.at, &a.variable).cmp(&(b.item.at, &b.variable)));
        losses
    }

    /// A cell's definitions hold from now on.
    pub fn define(&mut self, items: Vec<Item>, statements: &[Statement]) {
        for item in items {
            self.items.insert(item.name.clone(), item);
        }
        for (_, head, names) in standalone(statements) {
            let known = self.blocks.iter_mut().find(|block| block.is(&head, &names));
            match known {
                Some(block) => block.names.extend(names),
                None => self.blocks.push(Block { head, names }),
            }
        }
    }

    /// Takes note of the variables that a cell left, and tells those that it lost. A cell that failed
    /// has bound none.
    pub fn settle(
        &mut self,
        bindings: &[Binding],
        before: &Variables,
        after: &Variables,
        how: &How,
        cell: u64,
    ) -> Vec<String> {
        let mut lost: Vec<String> =
            before.keys().filter(|name| !after.contains_key(*name)).cloned().collect();
        lost.sort();
        for name in &lost {
            let mutable = self.mutable.remove(name).unwrap_or(false);
            let ty = before[name].clone();
            self.gone.insert(name.clone(), Gone { how: how.clone(), cell, ty, mutable });
        }
        for binding in bindings {
            self.mutable.insert(binding.name.clone(), binding.mutable);
        }
        self.gone.retain(|name, _| !after.contains_key(name));
        lost
    }

    /// Takes note of the crates that cells are compiled against.
    pub fn know_crates(&mut self, crates: BTreeSet<String>) {
        self.crates = crates;
    }

    /// Whether an item or an import has this name.
    pub fn defines(&self, name: &str) -> bool {
        self.items.contains_key(&Name::Own(name.to_owned()))
    }

    /// Everything is gone: `:clear`.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    pub fn gone(&self, name: &str) -> Option<&Gone> {
        self.gone.get(name)
    }

    pub fn is_mutable(&self, name: &str) -> bool {
        self.mutable.get(name).copied().unwrap_or(false)
    }

    /// `let mut x: T;` for variables that were moved and are assigned anew, at `at`.
    pub fn revivals(&self, assigned: &[(String, usize)], code: &str, at: usize) -> Vec<Insertion> {
        let mut found: Vec<&str> = vec![];
        for (name, place) in assigned {
            let first = crate::cells::statements::first_mention(code, name) == Some(*place);
            if first
                && !found.contains(&name.as_str())
                && self.gone.get(name).is_some_and(|g| g.mutable)
            {
                found.push(name);
            }
        }
        let text = |name: &str| format!("let mut {name}: {}; ", self.gone[name].ty);
        found.into_iter().map(|name| Insertion { at, replaced: 0, text: text(name) }).collect()
    }

    /// A named item before each `impl` of a type that the cell does not define: evcxr keeps both
    /// under that name, and replaces them where the cell is run again.
    pub fn keyed_blocks(&self, statements: &[Statement]) -> Vec<Insertion> {
        let mut next = self.blocks.len();
        let found = standalone(statements).into_iter().map(|(at, head, names)| {
            let known = self.blocks.iter().position(|block| block.is(&head, &names));
            let number = known.unwrap_or_else(|| {
                next += 1;
                next - 1
            });
            Insertion { at, replaced: 0, text: format!("mod qrnn_jupyter_impl_{number} {{}} ") }
        });
        found.collect()
    }
}

impl Block {
    /// Of a trait, or with a name in common.
    fn is(&self, head: &str, names: &BTreeSet<String>) -> bool {
        self.head == head && (head.contains(" for ") || !self.names.is_disjoint(names))
    }
}

/// What an item is called among the names that a type leads to.
pub fn key(name: &Name) -> &str {
    match name {
        Name::Own(name) | Name::Impl(name) | Name::Nameless(name) => name,
    }
}

/// The `impl` blocks of types that the cell does not define: where, their heads, what they define.
fn standalone(statements: &[Statement]) -> Vec<(usize, String, BTreeSet<String>)> {
    let own: BTreeSet<Name> = items::of(statements).into_iter().map(|item| item.name).collect();
    let blocks = statements.iter().filter_map(|s| Some((s, ast::Impl::cast(s.node.clone())?)));
    let foreign = blocks.filter(|(_, block)| {
        let types = block.self_ty().map(|ty| items::mentions(ty.syntax())).unwrap_or_default();
        !types.into_iter().any(|name| own.contains(&Name::Own(name)))
    });
    foreign
        .map(|(statement, block)| {
            let items = block.assoc_item_list().into_iter().flat_map(|list| list.assoc_items());
            let names = items.filter_map(|item| match item {
                ast::AssocItem::Const(item) => ast::HasName::name(&item),
                ast::AssocItem::Fn(item) => ast::HasName::name(&item),
                ast::AssocItem::TypeAlias(item) => ast::HasName::name(&item),
                ast::AssocItem::MacroCall(_) => None,
            });
            let names = names.map(|name| name.text().to_string()).collect();
            (statement.start, items::head(&block), names)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::statements;
    use crate::rustc::build_inputs;

    fn notebook(cells: &[&str]) -> Notebook {
        let mut notebook = Notebook::default();
        for cell in cells {
            let statements = statements::of(cell);
            notebook.define(items::of(&statements), &statements);
        }
        notebook
    }

    fn lost(cells: &[&str], ty: &str, new: &str) -> Option<String> {
        let variables = Variables::from([("x".to_owned(), ty.to_owned())]);
        let items = items::of(&statements::of(new));
        let mut notebook = notebook(cells);
        notebook.know_crates(["a".to_owned(), "b".to_owned(), "other".to_owned()].into());
        let losses = notebook.losses(&items, &variables);
        losses.first().map(|loss| key(&loss.item.name).to_owned())
    }

    #[test]
    fn a_changed_definition_loses_what_leads_to_it() {
        let exp = ["struct Inner { a: u8 }", "struct Exp { train: Inner }", "fn train() {}"];
        let inner = "struct Inner { a: u16 }";
        for ty in ["Exp", "std::vec::Vec<Exp>", "std::boxed::Box<dyn Fn(i32) -> Inner>"] {
            assert_eq!(lost(&exp, ty, inner).as_deref(), Some("Inner"), "{ty}");
        }
        for (ty, new) in [
            ("Exp", "struct Inner { a: u8 }"),
            ("Exp", "#[derive(Clone)] struct Inner { a: u8 } impl Inner { fn f() {} }"),
            ("Exp", "fn train() { 1 }"),
            ("Exp", "struct Other { a: u16 }"),
            ("std::vec::Vec<u8>", inner),
            ("other::Inner", inner),
        ] {
            assert_eq!(lost(&exp, ty, new), None, "{ty}, {new}");
        }
    }

    #[test]
    fn whatever_settles_a_layout_is_followed() {
        for (cells, ty, new) in [
            (vec!["const N: usize = 2; struct A([u8; N]);"], "A", "const N: usize = 3;"),
            (
                vec!["trait T { fn f(&self); }"],
                "std::boxed::Box<dyn T>",
                "trait T { fn g(&self); fn f(&self); }",
            ),
            (vec!["type B = u8; struct A(B);"], "A", "type B = u16;"),
            (vec!["mod m { pub struct A(u8); }"], "m::A", "mod m { pub struct A(u16); }"),
            (vec!["mod m { pub struct A(u8); } use m::*;"], "A", "mod m { pub struct A(u16); }"),
            (
                vec!["macro_rules! make { () => { u8 } } struct A(make!());"],
                "A",
                "macro_rules! make { () => { u16 } }",
            ),
            (vec!["struct A(u8);"], "std::boxed::Box<dyn std::any::Any>", "struct A(u16);"),
            (vec!["use a::*; struct A(Part);"], "A", "struct Part(u16);"),
            (vec!["use a::*; struct A(Part);"], "A", "use b::Part;"),
            (vec!["struct A(Option<u8>);"], "A", "enum Option<T> { A(T), B(T) }"),
            (
                vec![
                    "trait T { type O; } struct W<X: T>(X::O); struct P;",
                    "impl T for P { type O = u8; }",
                ],
                "W<P>",
                "impl T for P { type O = u16; }",
            ),
        ] {
            assert!(lost(&cells, ty, new).is_some(), "{new}");
        }
    }

    #[test]
    fn a_new_name_for_something_else_loses_nothing() {
        for (cells, ty, new) in [
            (
                vec!["struct A<T, const N: usize>([T; N]);"],
                "A<u8, 3>",
                "struct T; const N: usize = 2;",
            ),
            (vec!["use qrnn::prelude::*; struct A(Corpus);"], "A", "use qrnn::corpus::Corpus;"),
            (vec!["use a::*; struct A(a::Part);"], "A", "use a; struct Part;"),
            (vec!["struct A(Vec<u8>);"], "A", "use std::vec::Vec; fn train() {}"),
            (vec!["use a::*; struct A(Part);"], "std::vec::Vec<u8>", "struct Part(u16);"),
        ] {
            assert_eq!(lost(&cells, ty, new), None, "{new}");
        }
    }

    #[test]
    fn objects_hide_what_their_supertraits_give_back() {
        let change = "struct S(u16);";
        for (cells, ty) in [
            (vec!["struct S(u8);", "trait T: std::any::Any {}"], "std::boxed::Box<dyn T>"),
            (vec!["struct S(u8);", "trait B: std::error::Error {} trait T: B {}"], "Box<dyn T>"),
            (vec!["struct S(u8);", "mod m { pub trait T: std::any::Any {} }"], "Box<dyn m::T>"),
            (
                vec!["struct S(u8);", "mod m { pub trait T: std::any::Any {} } use m::T;"],
                "Box<dyn T>",
            ),
            (vec!["struct S(u8);", "use other::T;"], "Box<dyn T>"),
            (vec!["struct S(u8);"], "Box<dyn other::T>"),
            (vec!["struct S(u8);"], "std::thread::JoinHandle<()>"),
            (vec!["struct S(u8);", "use std::io; struct R(io::Result<u8>);"], "R"),
        ] {
            assert!(lost(&cells, ty, change).is_some(), "{ty}");
        }
        for (cells, ty) in [
            (vec!["struct S(u8);", "trait T: std::fmt::Debug {}"], "Box<dyn T>"),
            (vec!["struct S(u8);", "trait T: std::any::Any {} struct G<X: T>(X);"], "G<u8>"),
            (vec!["struct S(u8);", "use qrnn::prelude::*;"], "Box<dyn Observer>"),
            (vec!["struct S(u8);", "enum Error { A } struct R(Result<u8, Error>);"], "R"),
            (vec!["struct S(u8);"], "std::result::Result<qrnn::model::Lm, qrnn::error::Error>"),
        ] {
            assert_eq!(lost(&cells, ty, change), None, "{ty}");
        }
    }

    #[test]
    fn crates_are_reached_through_items() {
        let reached = notebook(&["use rand::rngs::StdRng;", "struct A { r: StdRng }"]).reached("A");
        assert!(reached.contains("rand"), "{reached:?}");
        let glob = ["use rand::prelude::*;", "struct A { r: StdRng }", "struct B { n: Vec<u8> }"];
        assert!(notebook(&glob).reached("A").contains("rand"));
        assert!(!notebook(&glob).reached("B").contains("rand"));
        assert!(!notebook(&glob).reached("std::vec::Vec<f64>").contains("rand"));
        assert!(notebook(&[]).reached("Box<dyn std::error::Error>").contains(build_inputs::ALL));
    }

    #[test]
    fn an_impl_that_is_run_again_has_its_earlier_key() {
        let notebook = notebook(&["struct A;", "impl A { fn f() {} }", "impl A { fn g() {} }"]);
        let keys = |cell: &str| {
            let found = notebook.keyed_blocks(&statements::of(cell));
            found.into_iter().map(|insertion| insertion.text).collect::<Vec<_>>()
        };
        assert_eq!(keys("impl A { fn g() { 1 } fn h() {} }"), ["mod qrnn_jupyter_impl_1 {} "]);
        assert_eq!(keys("impl A { fn other() {} }"), ["mod qrnn_jupyter_impl_2 {} "]);
        assert!(keys("struct A; impl A { fn f() {} }").is_empty());
    }

    #[test]
    fn a_moved_variable_may_be_assigned() {
        let mut notebook = notebook(&[]);
        let code = "let mut v = vec![1];";
        let before = Variables::from([("v".to_owned(), "Vec<i32>".to_owned())]);
        let bindings = statements::bindings(&statements::of(code));
        notebook.settle(&bindings, &Variables::new(), &before, &How::Moved, 1);
        assert_eq!(notebook.settle(&[], &before, &Variables::new(), &How::Moved, 2), ["v"]);
        let revived = |code: &str| {
            notebook.revivals(&statements::assignments(&statements::of(code)), code, 0).len()
        };
        assert_eq!((revived("v = vec![2];"), revived("f(v); v = vec![2];")), (1, 0));
        assert_eq!(notebook.gone("v").map(|gone| gone.cell), Some(2));
    }
}
