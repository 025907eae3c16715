use super::*;

fn orders() -> Orders {
    let made = r#"{"made": [
        [["low", "beside"], "the floor"], [["middle"], "between"], [["middle::high"], "top"],
        [["crate"], ""]
    ]}"#;
    serde_json::from_str(made).unwrap()
}

/// The faults of a crate with these files below `src`, by that table or by none.
fn faults_of(files: &[(&str, &str)], orders: Orders) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join("src").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let root = folder.path().join("src/lib.rs");
    let mut layers = Workspace::read(folder.path(), &[("made".into(), root)]).unwrap();
    layers.orders = orders;
    layers.faults("made")
}

/// The circles alone.
fn circles(files: &[(&str, &str)]) -> Vec<String> {
    let mut faults = faults_of(files, Orders::new());
    faults.retain(|fault| fault.starts_with("circle"));
    faults
}

/// The faults beside missing rooms, by the table, of a crate with its four rooms.
fn upward(low: &str, beside: &str, middle: &str, high: &str) -> Vec<String> {
    let middle = format!("mod high;\n{middle}");
    let files = [
        ("lib.rs", "mod low;\nmod beside;\nmod middle;"),
        ("low.rs", low),
        ("beside/mod.rs", beside),
        ("middle/mod.rs", &middle),
        ("middle/high.rs", high),
    ];
    faults_of(&files, orders())
}

#[test]
fn a_circle_of_two_files_is_shown_with_all_its_lines() {
    let files = [
        ("lib.rs", "mod a;\nmod b;"),
        ("a.rs", "use crate::b::B;\npub struct A;\nfn f() { crate::b::f() }"),
        ("b.rs", "use super::a::{\n    self,\n    A,\n};\npub struct B(a::A);\npub fn f() {}"),
    ];
    let expected = "circle of 2: src/a.rs -> src/b.rs\n    \
                    src/a.rs:1: use crate::b::B\n    src/a.rs:3: crate::b::f\n    \
                    src/b.rs:3: use super::a::A\n    src/b.rs:5: a::A";
    assert_eq!(circles(&files), [expected]);
}

#[test]
fn a_circle_of_three_files_is_found_once() {
    let files = [
        ("lib.rs", "mod a;\nmod b;\nmod c;\nmod d;"),
        ("a.rs", "use crate::b;\npub fn f() { b::f() }"),
        ("b.rs", "pub fn f() { super::c::f() }"),
        ("c.rs", "use crate::{a::f as g};\npub fn f() { g() }"),
        ("d.rs", "use crate::a::f;\nuse crate::c::f as c;"),
    ];
    let found = circles(&files);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("circle of 3: src/a.rs -> src/b.rs -> src/c.rs\n"), "{found:?}");
}

#[test]
fn a_parent_and_its_child_make_a_circle() {
    let child = ("a/child.rs", "use super::S;\npub fn f(_: S) {}");
    for parent in [
        "mod child;\npub struct S;\nfn g() { child::f(S) }",
        "mod child;\npub use self::child::f;\npub struct S;",
    ] {
        let found = circles(&[("lib.rs", "mod a;"), ("a/mod.rs", parent), child]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("circle of 2: src/a/mod.rs -> src/a/child.rs"), "{found:?}");
    }
    // To declare a child, or to pass through the parent, is no import.
    let sibling =
        ("a/sibling.rs", "use super::child::f;\nuse crate::a::child;\nfn g() { child::f() }");
    let files = [
        ("lib.rs", "mod a;"),
        ("a/mod.rs", "mod child;\nmod sibling;\npub struct S;"),
        child,
        sibling,
    ];
    assert_eq!(circles(&files), Vec::<String>::new());
}

#[test]
fn a_re_export_counts_for_its_file_and_for_the_one_that_declares() {
    // a -> m/mod.rs -> m/inner.rs -> a, and a -> m/inner.rs -> a.
    for export in ["pub use inner::S;", "pub use inner::{S as S};", "pub use self::inner::*;"] {
        let parent = format!("mod inner;\n{export}");
        let files = [
            ("lib.rs", "mod a;\nmod m;"),
            ("a.rs", "use crate::m::S;\npub struct A(S);"),
            ("m/mod.rs", &*parent),
            ("m/inner.rs", "pub struct S;\nfn f(_: crate::a::A) {}"),
        ];
        let found = circles(&files);
        let starts: Vec<&str> = found.iter().filter_map(|circle| circle.lines().next()).collect();
        let expected = [
            "circle of 2: src/a.rs -> src/m/inner.rs",
            "circle of 3: src/a.rs -> src/m/mod.rs -> src/m/inner.rs",
        ];
        assert_eq!(starts, expected, "{export}");
    }
}

#[test]
fn an_upward_arrow_and_one_to_a_neighbour_name_their_lines() {
    let found =
        upward("\nuse crate::middle::M;", "use crate::low::L;", "pub struct M;", "use super::M;");
    assert_eq!(
        found,
        [
            "beside (the floor) imports low (the floor), a room beside it\n    \
             src/beside/mod.rs:1: use crate::low::L",
            "low (the floor) imports middle (between), a higher room\n    src/low.rs:2: use crate::middle::M"
        ]
    );
    let found = upward(
        "pub struct L;",
        "",
        "use crate::low::L;\nuse high::H;",
        "pub struct H(crate::low::L);",
    );
    assert_eq!(
        found,
        [
            "middle (between) imports middle::high (top), a higher room\n    src/middle/mod.rs:3: use high::H"
        ]
    );
}

#[test]
fn paths_in_macros_and_attributes_count_and_those_in_comments_do_not() {
    for (text, count) in [
        ("fn f() { println!(\"{}\", crate::middle::f(1)) }", 1),
        ("macro_rules! m { ($x:expr) => { $crate::middle::f($x) } }", 1),
        ("#[serde(with = \"crate::middle\")]\nstruct S;", 1),
        ("#[derive(crate::middle::D)]\nstruct S;", 1),
        ("fn f() -> Vec<crate::middle::S> {\n<crate::middle::S as T>::new() }", 2),
        ("fn f() -> usize { (0..crate::middle::N).sum() }", 1),
        ("fn f() { use crate::middle::{self as m};\nm::f::<u8>() }", 1),
        ("/// As [`crate::middle::f`].\n//! use crate::middle::f;\nfn f() {}", 0),
        ("fn f() -> &'static str { \"crate::middle::f\" }", 0),
        ("pub(in crate::middle) fn f() {}", 0),
        ("fn f() { let crate_ = std::middle::f(); x.middle::<u8>(); T::middle::f() }", 0),
    ] {
        let text = text.replace("//! use", "// use");
        assert_eq!(
            upward(&text, "", "", "").iter().map(|f| f.lines().count() - 1).sum::<usize>(),
            count,
            "{text}"
        );
    }
}

#[test]
fn test_code_is_left_out() {
    for text in [
        "#[cfg(test)]\nmod tests { use crate::middle::M; }",
        "#[cfg(test)]\nmod tests;",
        "#[cfg(all(unix, test))]\n#[allow(x)]\nfn f<A, B>(_: crate::middle::M) { crate::middle::f() }",
        "#[test]\nfn f() { crate::middle::f() }",
        "struct S { #[cfg(test)] x: crate::middle::M, y: u8 }",
        "#[cfg(test)]\nuse crate::middle::{M, f};",
        "#![cfg(test)]\nuse crate::middle::M;",
        "mod more_tests;",
    ] {
        let files = [
            ("lib.rs", "mod low;\nmod beside;\nmod middle;"),
            ("low.rs", text),
            ("low/tests.rs", "use crate::middle::M;"),
            ("low/more_tests.rs", "use crate::middle::M;"),
            ("beside.rs", ""),
            ("middle.rs", "mod high;"),
            ("middle/high.rs", ""),
        ];
        assert_eq!(faults_of(&files, orders()), Vec::<String>::new(), "{text}");
    }
    for text in [
        "#[cfg(not(test))]\nuse crate::middle::M;",
        "#[cfg(test)]\nfn f() {}\nuse crate::middle::M;",
    ] {
        assert_eq!(upward(text, "", "", "").len(), 1, "{text}");
    }
}

#[test]
fn a_room_and_the_table_must_know_each_other() {
    let files = [
        ("lib.rs", "mod low;\nmod beside;\nmod new;"),
        ("low.rs", ""),
        ("beside.rs", ""),
        ("new.rs", ""),
    ];
    let found = faults_of(&files, orders());
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("not in the table of made: new\n    give it a line"), "{found:?}");
    let gone = "in the table of made only: middle, middle::high\n    delete it";
    assert!(found[1].starts_with(gone), "{found:?}");
    assert!(faults_of(&files, Orders::new())[0].contains("made has no order"));
    assert!(faults_of(&[("lib.rs", "pub fn f() {}")], Orders::new()).is_empty());
}

#[test]
fn a_program_sees_its_library_and_modules_lie_where_rustc_finds_them() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        folder.path().join(name)
    };
    let lib = write("lib.rs", "pub mod a;\npub mod b { pub mod c; }");
    write("a.rs", "pub struct A;");
    write("b/c.rs", "pub struct C;");
    let bin =
        write("bin/p/main.rs", "mod x;\n#[path = \"../elsewhere.rs\"]\nmod y;\nuse the_lib::a::A;");
    write("bin/p/x.rs", "use the_lib::{b::c::C};\nuse crate::y;\nfn f() { y::f() }");
    write("bin/elsewhere.rs", "pub fn f() {}");
    let targets = [("the-lib".into(), lib), ("p".into(), bin)];
    let layers = Workspace::read(folder.path(), &targets).unwrap();
    let seen: Vec<String> = layers
        .arrows
        .iter()
        .map(|arrow| format!("{} -> {}", layers.line(arrow), layers.file(arrow.to)))
        .collect();
    assert_eq!(
        seen,
        [
            "bin/p/main.rs:4: use the_lib::a::A -> a.rs",
            "bin/p/x.rs:1: use the_lib::b::c::C -> b/c.rs",
            "bin/p/x.rs:3: y::f -> bin/elsewhere.rs",
        ]
    );
    assert_eq!(layers.list("p"), "p\n  y\n  x      y 1, the-lib 1\n  crate  the-lib 1");
    std::fs::remove_file(folder.path().join("a.rs")).unwrap();
    let error = Workspace::read(folder.path(), &targets).err().unwrap().to_string();
    assert!(error.contains("`mod a;` has no file"), "{error}");
}
