use super::*;

fn after(cells: &[&str]) -> NotebookText {
    let mut notebook = NotebookText::default();
    for cell in cells {
        notebook.define(cell);
    }
    notebook
}

#[test]
fn a_cell_is_in_the_text_unchanged() {
    let mut notebook = after(&["struct P { x: u8 }\nlet mut p = P { x: 1 };"]);
    notebook.set_variables(vec![("q".into(), "u8".into()), ("p".into(), "P".into())]);
    let cell = ":dep rand\nlet é = p.";
    let (text, start) = notebook.with_cell(cell);
    assert_eq!(&text[start..start + cell.len()], "         \nlet é = p.");
    assert!(text.contains("\nstruct P { x: u8 }\n"), "{text}");
    assert!(text.contains("async fn qrnn_jupyter_cell(mut p: P, q: u8) ->"), "{text}");
}

#[test]
fn the_last_definition_of_a_name_counts() {
    let notebook = after(&["fn f() -> u8 { 1 }", "const f: u8 = 1; fn g() {}", "fn f() {}"]);
    let (text, _) = notebook.with_cell("");
    assert_eq!(text.matches("fn f()").count(), 1, "{text}");
    assert!(text.contains("fn f() {}") && text.contains("fn g() {}"), "{text}");
}

#[test]
fn an_impl_is_replaced_with_its_item() {
    let notebook = after(&[
        "struct A; impl A { fn old(&self) {} }",
        "struct A(u8); impl A { fn new(&self) {} }",
        "impl A { fn more(&self) {} }",
        "impl A { fn more(&self) -> u8 { 1 } }",
    ]);
    let (text, _) = notebook.with_cell("");
    assert!(!text.contains("fn old") && text.contains("fn new"), "{text}");
    assert_eq!(text.matches("fn more").count(), 1, "{text}");
}

#[test]
fn imports_are_kept_name_by_name() {
    let notebook = after(&[
        "use std::{fmt::{self, Debug as D}, collections::*, io::Write as _};",
        "use core::fmt;",
        "use std::fmt::Debug;\nuse ::std::mem;",
    ]);
    let mut names: Vec<&str> = notebook.items.iter().map(|(_, text)| text.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "use ::std::mem;",
            "use core::fmt;",
            "use std::collections::*;",
            "use std::fmt::Debug as D;",
            "use std::fmt::Debug;",
            "use std::io::Write as _;",
        ]
    );
}

#[test]
fn clear_removes_the_items() {
    let notebook = after(&["fn f() {}", ":clear\nfn g() {}"]);
    let (text, _) = notebook.with_cell("");
    assert!(!text.contains("fn f") && text.contains("fn g"), "{text}");
}

#[test]
fn waiting_cells_come_before_this_one() {
    let mut notebook = NotebookText::default();
    notebook.add_waiting("1", "let a = 1;");
    notebook.add_waiting("2", "let open = \"");
    notebook.add_waiting("3", "fn late() {}");
    let (text, start) = notebook.with_cell("a.");
    assert!(text[..start].ends_with("let a = 1;\n;\nfn late() {}\n;\n"), "{text}");
    notebook.remove_waiting("1");
    assert!(!notebook.with_cell("").0.contains("let a"));
}

#[test]
fn invalid_cells_define_nothing() {
    let notebook = after(&["this is (not Rust", "}", "", ":vars"]);
    assert!(notebook.items.is_empty(), "{notebook:?}");
}

#[test]
fn documentation_stays_with_what_it_documents() {
    let notebook = after(&["/// How far it is.\nstruct Way;"]);
    assert!(notebook.with_cell("").0.contains("/// How far it is.\nstruct Way;"));
    assert_eq!(without_commands("// a\n:dep x\n//! b\nf();"), "// a\n      \n//! b\nf();");
}
