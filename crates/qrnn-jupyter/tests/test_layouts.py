"""No variable is read with another layout than it was made with, and the remedy in each refusal works."""

import os
import re
import tempfile
import unittest

from client import FOLDER, Kernel, KernelTest
from test_variables_and_errors import package


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def edit(folder, text):
    """Changes the source of a crate."""
    write(os.path.join(folder, "src", "lib.rs"), text)


def pair(first, second, make):
    """A type with two fields. Swapping their types swaps their places in memory."""
    return f"pub struct P {{ pub a: {first}, pub b: {second} }} pub fn p() -> P {{ P {{ {make} }} }}"


WHOLE = pair("u64", "f64", "a: 7, b: 1.5")
SWAPPED = pair("f64", "u64", "a: 7.5, b: 1")
SHOW = 'println!("{} {}", p.a, p.b);'


class Layouts(KernelTest):
    """Each test has its own kernel, because definitions of one would be refused in the next."""

    @classmethod
    def setUpClass(cls):
        pass

    @classmethod
    def tearDownClass(cls):
        pass

    def setUp(self):
        self.kernel = Kernel()

    def tearDown(self):
        self.kernel.__exit__()

    def refused(self, code, *parts):
        cell = self.run_error(code, "VariablesWouldBeLost")
        self.assertEqual(cell.stdout, "")
        for part in parts:
            self.assertIn(part, cell.reply["evalue"])
        return cell

    def advice(self, cell):
        """The cell that the refusal proposes."""
        return re.search("run `([^`]*)` in a cell", cell.reply["evalue"]).group(1)


class Crates(Layouts):
    def test_an_edited_path_dependency_is_refused(self):
        crate = package("edited_own", WHOLE)
        self.run_ok(
            f':dep edited_own = {{ path = "{crate}" }}\nlet p = edited_own::p();\n'
            "struct W { p: edited_own::P }\nlet w = W { p: edited_own::p() };\n"
            "let boxed = Box::new(edited_own::p());\nlet keep = vec![1, 2, 3];"
        )
        edit(crate, SWAPPED)
        cell = self.refused(SHOW, "`edited_own` was rebuilt", "from changed sources")
        self.assertNotIn("keep", cell.reply["evalue"])
        self.refused("1 + 1", "`boxed`, `p`, `w`")
        drops = self.advice(cell)
        self.assertEqual(drops, "drop(boxed); drop(p); drop(w);")
        # One by one, or as the message proposes.
        self.run_ok("drop(p);")
        self.refused("1 + 1", "`boxed`, `w`")
        self.run_error("p.a", "VariablesWouldBeLost")
        self.run_ok("drop(boxed); drop(w);")
        self.assertEqual(self.run_ok("keep.len()").result, "3")
        self.assertIn("was moved", self.run_error("p.a", "CompileError").traceback)
        self.run_ok("let p = edited_own::p();")
        self.assertEqual(self.run_ok(SHOW).stdout, "7.5 1\n")

    def test_an_edit_that_is_undone_or_has_no_effect_is_accepted(self):
        crate = package("undone_own", WHOLE)
        self.run_ok(f':dep undone_own = {{ path = "{crate}" }}\nlet p = undone_own::p();')
        edit(crate, WHOLE)
        self.assertEqual(self.run_ok(SHOW).stdout, "7 1.5\n")
        edit(crate, SWAPPED)
        self.refused(SHOW, "undo the change")
        edit(crate, WHOLE)
        self.assertEqual(self.run_ok(SHOW).stdout, "7 1.5\n")

    def test_a_changed_indirect_dependency_is_refused(self):
        base = package("below_base", WHOLE)
        over = package(
            "below_over", "pub use below_base::{P, p};",
            f'[dependencies]\nbelow_base = {{ path = "{base}" }}\n',
        )
        self.run_ok(f':dep below_over = {{ path = "{over}" }}\nlet p = below_over::p();')
        edit(base, SWAPPED)
        self.run_ok(self.advice(self.refused(SHOW, "`below_over`")))
        self.run_ok("let p = below_over::p();")
        self.assertEqual(self.run_ok(SHOW).stdout, "7.5 1\n")

    def test_a_changed_build_script_output_is_refused(self):
        crate = package("scripted_own", 'include!(concat!(env!("OUT_DIR"), "/p.rs"));')
        source = os.path.join(crate, "p.in")
        write(source, WHOLE)
        write(
            os.path.join(crate, "build.rs"),
            'fn main() { println!("cargo::rerun-if-changed=p.in");\n'
            'std::fs::copy("p.in", std::env::var("OUT_DIR").unwrap() + "/p.rs").unwrap(); }',
        )
        self.run_ok(f':dep scripted_own = {{ path = "{crate}" }}\nlet p = scripted_own::p();')
        write(source, SWAPPED)
        self.refused(SHOW, "`scripted_own`")

    def test_an_edited_procedural_macro_is_refused(self):
        macro = (
            "use proc_macro::TokenStream;\n#[proc_macro_attribute]\n"
            "pub fn typed(_: TokenStream, item: TokenStream) -> TokenStream {\n"
            'item.to_string().replace("A", "%s").replace("B", "%s").parse().unwrap() }'
        )
        crate = package("typing_macro", macro % ("u64", "f64"), "[lib]\nproc-macro = true\n")
        self.run_ok(
            f':dep typing_macro = {{ path = "{crate}" }}\n'
            "#[typing_macro::typed] struct Q { a: A, b: B }\nlet p = Q { a: 7 as _, b: 1 as _ };"
        )
        edit(crate, macro % ("f64", "u64"))
        self.run_ok(self.advice(self.refused(SHOW, "`typing_macro`")))

    def test_features_added_and_removed(self):
        crate = package(
            "there_own",
            'pub struct P { pub a: u64, #[cfg(feature = "x")] pub z: [u8; 100], pub b: f64 }\n'
            'pub fn p() -> P { P { a: 7, #[cfg(feature = "x")] z: [0; 100], b: 1.5 } }',
            "[features]\nx = []\n",
        )
        plain, more = (f':dep there_own = {{ path = "{crate}"{rest} }}\n'
                       for rest in ("", ', features = ["x"]'))
        self.run_ok(plain + "let p = there_own::p();")
        self.refused(more + SHOW, "`there_own`")
        # A cell that binds it again without reading it runs.
        self.run_ok(more + "let p = there_own::p();")
        self.assertEqual(self.run_ok("p.z.len()").result, "100")
        self.refused(plain + SHOW, "`there_own`")
        self.run_ok("drop(p);")
        self.run_ok(plain + "let p = there_own::p();")
        self.assertEqual(self.run_ok(SHOW).stdout, "7 1.5\n")

    def test_names_from_globs_aliases_and_extern_crate(self):
        crate = package("named_own", f"pub mod types {{ {WHOLE} pub type small = P; }}\npub use types::*;")
        self.run_ok(
            f':dep named_own = {{ path = "{crate}" }}\n'
            "extern crate named_own as other;\nuse named_own::*;\n"
            "#[allow(non_camel_case_types)] struct ByGlob(small);\nstruct ByModule(types::P);\n"
            "struct ByCrate(other::P);\ntype Alias = P;\nstruct ByAlias(Alias);\n"
            "struct ByDefault<T = P>(T);\nmod inner { use super::*; pub struct Deep(pub P); }"
        )
        make = {
            "a": "ByGlob(p())", "b": "ByModule(p())", "c": "ByCrate(p())", "d": "ByAlias(p())",
            "e": "ByDefault(p())", "f": "inner::Deep(p())",
        }
        self.run_ok("".join(f"let v{name} = {value};\n" for name, value in make.items()))
        edit(crate, f"pub mod types {{ {SWAPPED} pub type small = P; }}\npub use types::*;")
        self.refused("1 + 1", ", ".join(f"`v{name}`" for name in make))

    def test_a_new_item_that_shadows_one_of_a_crate(self):
        crate = package("shadowed_own", WHOLE)
        self.run_ok(
            f':dep shadowed_own = {{ path = "{crate}" }}\nuse shadowed_own::*;\n'
            "struct W { p: P }\nlet w = W { p: p() };"
        )
        own = "struct P { pub a: f64, pub b: u64 }"
        self.assertIn("drop(w);", self.run_error(own, "VariablesWouldBeLost").traceback)
        self.assertEqual(self.run_ok("w.p.a").result, "7")
        self.run_ok("drop(w);")
        self.run_ok(own + "let w = W { p: P { a: 7.5, b: 1 } };")
        self.assertEqual(self.run_ok("w.p.a").result, "7.5")

    def test_the_remedy_works_where_nothing_compiles(self):
        crate = package("broken_own", WHOLE)
        self.run_ok(
            f':dep broken_own = {{ path = "{crate}" }}\n'
            "struct Loud(broken_own::P);\n"
            'impl Drop for Loud { fn drop(&mut self) { println!("{} {}", self.0.a, self.0.b); } }\n'
            "fn read(p: &broken_own::P) -> u64 { p.a }\n"
            "let p = broken_own::p();\nlet loud = Loud(broken_own::p());\nlet keep = read(&p);"
        )
        # Fields of other names: neither `read` nor `drop` compiles, and rustc sees other types.
        edit(crate, "pub struct Z { pub z: u8 } pub fn p() -> Z { Z { z: 1 } }")
        cell = self.refused("1 + 1", "`loud`, `p`")
        dropped = self.run_ok(self.advice(cell))
        # Dropped by the code that made it.
        self.assertEqual(dropped.stdout, "7 1.5\n")
        self.run_ok("struct Loud;\nfn read(p: &broken_own::Z) -> u8 { p.z }")
        self.assertEqual(self.run_ok("keep + read(&broken_own::p()) as u64").result, "8")

    def test_a_failed_cell_does_not_restore_an_unreadable_value(self):
        crate = package("failing_own", WHOLE)
        self.run_ok(f':dep failing_own = {{ path = "{crate}" }}\nlet p = failing_own::p();')
        edit(crate, SWAPPED)
        cell = self.run_error('let p = { panic!("no"); failing_own::p() };', "Panic")
        self.assertIn("`p` is gone", cell.traceback)
        self.run_error(SHOW, "CompileError")
        self.run_ok("let p = failing_own::p();")
        self.assertEqual(self.run_ok(SHOW).stdout, "7.5 1\n")
        # Nor does a cell that does not compile.
        edit(crate, WHOLE)
        self.run_error("let p = failing_own::p(); no_such_function();", "CompileError")
        self.refused(SHOW, "`failing_own`")


class Files(Layouts):
    def file(self, text):
        path = os.path.join(tempfile.mkdtemp(prefix="read by cells-", dir=FOLDER), "m.rs")
        write(path, text)
        return path

    def test_a_module_in_a_file(self):
        path = self.file(WHOLE)
        self.run_ok(
            f'#[path = "{path}"] mod m;\nlet p = m::p();\nlet keep = vec![1, 2, 3];'
        )
        self.assertEqual(self.run_ok(SHOW).stdout, "7 1.5\n")
        write(path, SWAPPED)
        cell = self.refused(SHOW, f"the file {path}", "`p` may hold")
        self.assertNotIn("keep", cell.reply["evalue"])
        write(path, WHOLE)
        self.assertEqual(self.run_ok(SHOW).stdout, "7 1.5\n")
        write(path, SWAPPED)
        self.run_ok(self.advice(cell))
        self.assertEqual(self.run_ok("let p = m::p(); keep.len()").result, "3")
        self.assertEqual(self.run_ok(SHOW).stdout, "7.5 1\n")

    def test_fields_of_other_names(self):
        path = self.file(WHOLE)
        self.run_ok(f'#[path = "{path}"] mod m;\nlet p = m::p();')
        write(path, "pub struct P { pub x: String } pub fn p() -> P { P { x: String::new() } }")
        self.run_ok(self.advice(self.refused("1 + 1", f"the file {path}")))
        self.assertEqual(self.run_ok("m::p().x").result, '""')

    def test_included_text_and_numbers(self):
        path, size, text = self.file(WHOLE), self.file("2"), self.file("abc")
        self.run_ok(
            f'mod inc {{ include!("{path}"); }} use inc::*;\nconst N: usize = include!("{size}");\nstruct A([u64; N]);\n'
            f'const L: usize = include_str!("{text}").len();\nstruct B([u64; L]);\n'
            "let q = A([1; N]);\nlet r = B([2; L]);\nlet keep = vec![1.5];"
        )
        for changed, other, before in ((size, "4", "2"), (text, "abcde", "abc")):
            write(changed, other)
            cell = self.refused("println!(\"{}\", q.0.len() + r.0.len());", f"the file {changed}")
            self.assertNotIn("keep", cell.reply["evalue"])
            write(changed, before)
        self.assertEqual(self.run_ok("q.0.len() + r.0.len()").result, "5")
        self.run_ok("let p = p();")
        write(path, SWAPPED)
        self.refused(SHOW, f"the file {path}")

    def test_the_environment(self):
        self.run_ok(
            ':build_env QRNN_SIZE=2\n'
            'const N: usize = env!("QRNN_SIZE").len();\nstruct A([u64; N]);\nlet q = A([1; N]);'
        )
        self.assertEqual(self.run_ok("q.0.len()").result, "1")
        self.run_ok(self.advice(self.refused(":build_env QRNN_SIZE=234\nq.0.len()", "QRNN_SIZE")))

    def test_a_file_that_no_type_depends_on(self):
        path = self.file("hello")
        self.run_ok(
            f'fn text() -> &\'static str {{ include_str!("{path}") }}\nstruct S(u8);\n'
            "let s = S(1);\ntext()"
        )
        write(path, "good morning")
        self.assertEqual(self.run_ok("(s.0, text())").result, '(1, "good morning")')


class TypeErasure(Layouts):
    DEFINE = "#[derive(Debug, Default)] struct S { a: u64, c: f64 }"
    CHANGE = "#[derive(Debug, Default)] struct S { a: f64, c: u64 }"

    def refuses(self, define, make):
        self.run_ok(f"{self.DEFINE}\n{define}")
        self.run_ok(f"let held = {make};")
        cell = self.run_error(self.CHANGE, "VariablesWouldBeLost")
        self.assertIn("`held`", cell.traceback)
        self.run_ok("drop(held);")
        self.run_ok(self.CHANGE)
        self.run_ok(self.DEFINE)

    def test_types_that_may_hold_any_value_are_refused(self):
        self.refuses(
            "trait Shape: std::any::Any {} impl Shape for S {}",
            "Box::new(S::default()) as Box<dyn Shape>",
        )
        self.refuses(
            "trait Base: std::any::Any {} trait Over: Base {} impl Base for S {} impl Over for S {}",
            "vec![Box::new(S::default()) as Box<dyn Over>]",
        )
        self.refuses(
            "mod deep { pub trait T where Self: std::any::Any {} } impl deep::T for S {}",
            "Box::new(S::default()) as Box<dyn deep::T>",
        )
        self.refuses(
            "impl std::fmt::Display for S { fn fmt(&self, _: &mut std::fmt::Formatter) -> "
            "std::fmt::Result { Ok(()) } }\nimpl std::error::Error for S {}",
            "std::io::Error::other(S::default())",
        )
        self.refuses(
            "",
            "std::thread::spawn(|| -> () { std::panic::panic_any(S::default()) })",
        )
        self.refuses(
            "use std::any::Any as Whatever;", "Box::new(S::default()) as Box<dyn Whatever>"
        )
        self.refuses(
            "fn hidden() -> Box<dyn Kept> { Box::new(S::default()) }\n"
            "trait Kept { fn whole(self: Box<Self>) -> Box<dyn std::any::Any>; }\n"
            "impl Kept for S { fn whole(self: Box<Self>) -> Box<dyn std::any::Any> { self } }",
            "hidden()",
        )

    def test_other_types_are_kept(self):
        self.run_ok(
            f"use qrnn::prelude::*;\n{self.DEFINE}\n"
            "trait Says: std::fmt::Debug + Send { fn say(&self) -> u8; }\n"
            "#[derive(Debug)] struct Other;\nimpl Says for Other { fn say(&self) -> u8 { 3 } }\n"
            "trait Bound: std::any::Any {} impl Bound for Other {}\n"
            "struct Generic<T: Bound>(T);"
        )
        self.run_ok(
            "let says: Box<dyn Says> = Box::new(Other);\n"
            "let f: Box<dyn Fn(u8) -> u8> = Box::new(|x| x + 1);\n"
            "let show: Box<dyn std::fmt::Debug + Send> = Box::new(2);\n"
            "let read: Box<dyn std::io::Read> = Box::new(std::io::empty());\n"
            "let generic = Generic(Other);\nlet all = vec![Other];"
        )
        self.run_ok(self.CHANGE)
        self.assertEqual(self.run_ok("(f(says.say()), all.len())").result, "(4, 1)")


if __name__ == "__main__":
    unittest.main()
