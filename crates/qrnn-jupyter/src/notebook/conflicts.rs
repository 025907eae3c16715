//! New definitions that would make variables unreadable.

use std::collections::BTreeSet;

use crate::notebook::items::{Item, Name};
use crate::notebook::state::{Notebook, Variables};
use crate::notebook::type_dependencies::names_of;

/// A variable, and the item with a new definition that it depends on.
#[derive(Debug, PartialEq)]
pub struct Conflict<'a> {
    pub variable: String,
    pub item: &'a Item,
}

/// The conflicts of a cell's items, sorted by item.
pub fn find<'a>(notebook: &Notebook, new: &'a [Item], variables: &Variables) -> Vec<Conflict<'a>> {
    let (mut changed, mut fresh): (Vec<&Item>, Vec<&Item>) =
        new.iter().partition(|item| notebook.items.contains_key(&item.name));
    changed.retain(|item| notebook.items[&item.name].shape != item.shape);
    fresh.retain(|item| may_shadow(notebook, item));
    if changed.is_empty() && fresh.is_empty() {
        return vec![];
    }
    let mut conflicts = vec![];
    for (variable, ty) in variables {
        let reached = notebook.dependencies(ty);
        let is_changed = |item: &&&Item| reached.contains(item.name.text());
        let is_shadowed = |item: &&&Item| uses(notebook, ty, &reached, item.name.text());
        let item = changed.iter().find(is_changed).or_else(|| fresh.iter().find(is_shadowed));
        conflicts.extend(item.map(|&item| Conflict { variable: variable.clone(), item }));
    }
    conflicts.sort_by(|a, b| (a.item.at, &a.variable).cmp(&(b.item.at, &b.variable)));
    conflicts
}

/// Whether a new item may shadow a name of a glob import or of the prelude.
fn may_shadow(notebook: &Notebook, item: &Item) -> bool {
    let Name::Own(name) = &item.name else { return false };
    let first = |item: &Item| item.shape.split("::").next().map(str::to_owned);
    let from = first(item);
    let mut globs = notebook
        .items
        .values()
        .filter(|item| matches!(item.name, Name::Nameless(_)) && item.is_import);
    // An import from the crate of a glob import is assumed to be the glob's item.
    let same = from == Some("std".into()) || globs.any(|glob| first(glob) == from);
    !item.is_import || item.shape != *name && !same
}

/// Whether something that a type depends on is called by this name.
fn uses(notebook: &Notebook, ty: &str, reached: &BTreeSet<String>, name: &str) -> bool {
    let items = notebook.items.values().filter(|item| reached.contains(item.name.text()));
    let mut items = items.filter(|item| !item.inner_names.contains(name));
    reached.contains(name)
        && (items.any(|item| item.mentions.contains(name)) || names_of(ty).contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::statements;
    use crate::notebook::items;

    fn conflict(cells: &[&str], ty: &str, new: &str) -> Option<String> {
        let variables = Variables::from([("x".to_owned(), ty.to_owned())]);
        let items = items::of(&statements::of(new));
        let mut notebook = Notebook::after(cells);
        notebook.crates = ["a".to_owned(), "b".to_owned(), "other".to_owned()].into();
        let conflicts = find(&notebook, &items, &variables);
        conflicts.first().map(|conflict| conflict.item.name.text().to_owned())
    }

    #[test]
    fn a_changed_definition_conflicts_with_dependent_variables() {
        let exp = ["struct Inner { a: u8 }", "struct Exp { train: Inner }", "fn train() {}"];
        let inner = "struct Inner { a: u16 }";
        for ty in ["Exp", "std::vec::Vec<Exp>", "std::boxed::Box<dyn Fn(i32) -> Inner>"] {
            assert_eq!(conflict(&exp, ty, inner).as_deref(), Some("Inner"), "{ty}");
        }
        for (ty, new) in [
            ("Exp", "struct Inner { a: u8 }"),
            ("Exp", "#[derive(Clone)] struct Inner { a: u8 } impl Inner { fn f() {} }"),
            ("Exp", "fn train() { 1 }"),
            ("Exp", "struct Other { a: u16 }"),
            ("std::vec::Vec<u8>", inner),
            ("other::Inner", inner),
        ] {
            assert_eq!(conflict(&exp, ty, new), None, "{ty}, {new}");
        }
    }

    #[test]
    fn everything_that_determines_a_layout_is_followed() {
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
            assert!(conflict(&cells, ty, new).is_some(), "{new}");
        }
    }

    #[test]
    fn unrelated_names_do_not_conflict() {
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
            assert_eq!(conflict(&cells, ty, new), None, "{new}");
        }
    }

    #[test]
    fn trait_objects_may_be_downcast_by_their_supertraits() {
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
            assert!(conflict(&cells, ty, change).is_some(), "{ty}");
        }
        for (cells, ty) in [
            (vec!["struct S(u8);", "trait T: std::fmt::Debug {}"], "Box<dyn T>"),
            (vec!["struct S(u8);", "trait T: std::any::Any {} struct G<X: T>(X);"], "G<u8>"),
            (vec!["struct S(u8);", "use qrnn::prelude::*;"], "Box<dyn Observer>"),
            (vec!["struct S(u8);", "enum Error { A } struct R(Result<u8, Error>);"], "R"),
            (vec!["struct S(u8);"], "std::result::Result<qrnn::model::Lm, qrnn::error::Error>"),
        ] {
            assert_eq!(conflict(&cells, ty, change), None, "{ty}");
        }
    }
}
