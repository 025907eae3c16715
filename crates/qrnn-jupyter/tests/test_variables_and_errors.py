"""A cell does what it means, or reports an error: no variable is lost, no code skipped, no output dropped."""

import os
import tempfile
import unittest

from client import FOLDER, Kernel, KernelTest


def package(name, source, rest=""):
    """Makes a crate and returns its path."""
    folder = tempfile.mkdtemp(prefix=f"{name}-", dir=FOLDER)
    os.mkdir(os.path.join(folder, "src"))
    with open(os.path.join(folder, "Cargo.toml"), "w") as manifest:
        manifest.write(f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2024"\n{rest}')
    with open(os.path.join(folder, "src", "lib.rs"), "w") as library:
        library.write(source)
    return folder


class Variables(KernelTest):
    def test_values_of_own_types_survive_a_new_dependency(self):
        self.run_ok(
            "use qrnn::prelude::*; use std::{cell::RefCell, collections::HashMap, rc::Rc};\n"
            "struct Exp { corpus: Corpus, ppl: f64 }\n"
            "enum Kind<T> { One(T), Two { name: String } }\n"
            "trait Says { fn say(&self) -> String; }\n"
            "impl Says for Exp { fn say(&self) -> String { format!(\"ppl {}\", self.ppl) } }\n"
            "struct Hook { f: Box<dyn Fn(&Exp) -> f64> }"
        )
        self.run_ok(
            "let exp = Exp { corpus: Corpus::synthetic(), ppl: 1.5 };\n"
            "let says: Box<dyn Says> = Box::new(Exp { corpus: Corpus::synthetic(), ppl: 2.5 });\n"
            "let shared = Rc::new(RefCell::new(Kind::One(7u8)));\n"
            'let two = Kind::<u8>::Two { name: "two".into() };\n'
            'let map = HashMap::from([("k".to_string(), Hook { f: Box::new(|exp| exp.ppl * 2.0) })]);'
        )
        first = package("added_first", "pub fn one() -> i32 { 1 }")
        cell = self.run_ok(f':dep added_first = {{ path = "{first}" }}')
        self.assertNotIn("lost", cell.stderr)
        show = (
            'format!("{} {} {} {} {} {}", added_first::one(), exp.corpus.vocab().len() > 1000, '
            'says.say(), matches!(*shared.borrow(), Kind::One(7)), '
            'matches!(&two, Kind::Two { name } if name == "two"), (map["k"].f)(&exp))'
        )
        self.assertEqual(self.run_ok(show).result, '"1 true ppl 2.5 true true 3"')
        for line in (":opt 1", "use std::fmt::Write as _;", "fn unrelated() -> i32 { 1 }",
                     "impl Exp { fn twice(&self) -> f64 { self.ppl * 2.0 } }", ":opt 2"):
            self.run_ok(line)
        self.assertEqual(self.run_ok("exp.twice()").result, "3.0")
        self.assertEqual(self.run_ok(show).result, '"1 true ppl 2.5 true true 3"')

    def test_running_a_definition_again_keeps_values(self):
        self.run_ok("struct Again { a: u8 }\nlet again = Again { a: 7 };")
        self.run_ok("/// Documented.\n#[derive(Debug, Clone)]\nstruct Again {\n    a: u8, // one\n}")
        self.assertEqual(self.run_ok("again.clone()").result, "Again { a: 7 }")
        self.run_ok("impl Again { fn b(&self) -> u8 { self.a } }")
        self.run_ok("impl Again { fn b(&self) -> u8 { self.a + 1 } }")
        self.assertEqual(self.run_ok("again.b()").result, "8")

    def test_a_changed_definition_is_refused(self):
        self.run_ok("struct Part { x: i32 } struct Whole { part: Part }\nlet w = Whole { part: Part { x: 7 } };")
        cell = self.run_error("println!(\"ran\");\nstruct Part { x: u64 }", "VariablesWouldBeLost")
        self.assertEqual(cell.stdout, "")
        for part in ("`w`", "drop(w);", ":2:8", "nothing was run"):
            self.assertIn(part, cell.traceback)
        self.assertEqual(self.run_ok("w.part.x").result, "7")
        # The remedy in the message works.
        self.run_ok("drop(w);")
        self.run_ok("struct Part { x: u64 }\nlet w = Whole { part: Part { x: 1 << 40 } };")
        self.assertEqual(self.run_ok("w.part.x").result, str(1 << 40))

    def test_everything_that_determines_a_layout_is_compared(self):
        for define, make, change in (
            ("const N: usize = 2; struct Array([u8; N]);", "Array([1; N])", "const N: usize = 3;"),
            ("type Num = u8; struct Named(Num);", "Named(1)", "type Num = u64;"),
            ("mod inner { pub struct Deep(pub u8); }", "inner::Deep(1)",
             "mod inner { pub struct Deep(pub u64); }"),
            ("trait Act { fn act(&self); } impl Act for u8 { fn act(&self) {} }",
             "Box::new(1u8) as Box<dyn Act>", "trait Act { fn before(&self); fn act(&self); }"),
        ):
            self.run_ok(define)
            self.run_ok(f"let held = {make};")
            self.run_error(change, "VariablesWouldBeLost")
            self.run_ok("drop(held);")

    def test_a_cell_that_rebinds_a_variable_may_redefine_its_type(self):
        self.run_ok("struct Point { x: i32 }\nlet point = Point { x: 1 };")
        self.run_ok("struct Point { x: i32, y: i32 }\nlet point = Point { x: 1, y: 2 };")
        self.assertEqual(self.run_ok("point.y").result, "2")
        self.run_error(
            "struct Point { x: i64 }\nlet point = Point { x: point.x as i64 };",
            "VariablesWouldBeLost",
        )
        self.assertEqual(self.run_ok("point.y").result, "2")

    def test_a_rebuilt_dependency_is_refused(self):
        base = package(
            "rebuilt_base",
            'pub struct Wide { pub a: u8, #[cfg(feature = "wide")] pub b: [u64; 9] }\n'
            'pub fn wide() -> Wide { Wide { a: 5, #[cfg(feature = "wide")] b: [7; 9] } }',
            "[features]\nwide = []\n",
        )
        over = package(
            "rebuilt_over", "pub fn two() -> i32 { 2 }",
            f'[dependencies]\nrebuilt_base = {{ path = "{base}", features = ["wide"] }}\n',
        )
        self.run_ok(
            f':dep rebuilt_base = {{ path = "{base}" }}\n'
            "struct Own { wide: rebuilt_base::Wide }\n"
            "let own = Own { wide: rebuilt_base::wide() };\nlet free = Some(1u8);"
        )
        add = f':dep rebuilt_over = {{ path = "{over}" }}'
        cell = self.run_error(add, "VariablesWouldBeLost")
        self.assertIn("`rebuilt_base`", cell.reply["evalue"])
        self.assertIn("drop(own);", cell.reply["evalue"])
        self.assertNotIn("free", cell.reply["evalue"])
        self.assertEqual(self.run_ok("own.wide.a").result, "5")
        self.run_ok("drop(own);")
        self.run_ok(add)
        self.assertEqual(self.run_ok("(rebuilt_over::two(), free)").result, "(2, Some(1))")

    def test_a_failed_binding_keeps_the_earlier_value(self):
        self.run_ok("let mut kept = vec![1];")
        self.run_error('let kept: i32 = "zz".parse()?;', "ParseIntError")
        self.run_error('let kept: i32 = panic!("no");', "Panic")
        self.run_ok("kept.push(2);")
        self.assertEqual(self.run_ok("kept.len()").result, "2")

    def test_a_return_before_a_binding_loses_no_other_variable(self):
        self.run_ok("let other = vec![1];")
        self.run_ok("if other.len() == 1 { return Ok(()); }\nlet never = 1;")
        self.assertEqual(self.run_ok("other.len()").result, "1")
        self.run_error("never", "CompileError")

    def test_a_restart_reports_lost_variables(self):
        with Kernel() as kernel:
            kernel.run("struct Kept { a: u8 }\nlet one = Kept { a: 1 }; let two = vec![2];")
            cell = kernel.run(":restart")
            self.assertEqual(cell.status, "ok", cell.traceback)
            self.assertIn("`one`, `two` are gone", cell.result)
            self.assertEqual(kernel.run("Kept { a: 3 }.a").result, "3")
            cell = kernel.run("one.a")
            self.assertIn("the variable `one` was lost", cell.reply["evalue"])


class SyntaxErrors(KernelTest):
    def test_errors_are_placed(self):
        for code, message, place in (
            ('}\nprintln!("executed");', "unexpected closing delimiter", ":1:1"),
            ('println!("executed");\n} else {', "unexpected closing delimiter", ":2:1"),
            ("} fn g() {", "unexpected closing delimiter", ":1:1"),
            ("let", "expected pattern", ":1:4"),
            ('let = 5;\nprintln!("executed");', "expected pattern, found `=`", ":1:5"),
            ("use std::", "expected identifier, found the end of the cell", ":1:10"),
            ("use", "expected identifier", ":1:4"),
            ("struct", "expected identifier", ":1:7"),
            ("pub", "visibility `pub` is not followed by an item", ":1:1"),
            ("impl", "expected", ":1:"),
            ("mod m {", "unclosed delimiter", ":1:"),
            ("fn f( {", "unclosed delimiter", ":1:"),
            ("match x {", "unclosed delimiter", ":1:"),
            ("{", "unclosed delimiter", ":1:"),
            (")", "unexpected closing delimiter", ":1:1"),
            ("let x = ", "expected expression, found the end of the cell", ":1:8"),
            ('let s = "abc', "unterminated double quote string", ":1:9"),
            ("1 /* abc", "unterminated block comment", ":1:3"),
            ('let r = r#"abc";', "unterminated raw string", ":1:9"),
            ("#[derive(Debug)]", "expected statement after outer attribute", ":1:1"),
            ("1 2", "found `2`", ":1:3"),
            ("let x = 'a;", "after a label", ":1:11"),
            ("let x\u00a0= 5;", "No-Break Space", ":1:6"),
            ("let x = 1;\n:dep rand", "before a cell's code", ":2:1"),
        ):
            with self.subTest(code):
                cell = self.run_error(code, "CompileError")
                self.assertIn(message, cell.traceback)
                self.assertIn(place, cell.traceback)
                self.assertEqual(cell.stdout, "")
                for generated in ("keyword `fn`", "evcxr", "Evcxr"):
                    self.assertNotIn(generated, cell.traceback)

    def test_unusual_valid_code_runs(self):
        for code in (";;", "// words", "/* a */", "", "::std::process::id();", "#[allow(dead_code)] struct Odd;"):
            with self.subTest(code):
                self.run_ok(code)


class Displays(KernelTest):
    def test_a_block_without_an_end_is_text(self):
        cell = self.run_ok(
            'println!("EVCXR_BEGIN_CONTENT text/html\\n<p>never ended</p>"); 5', timeout=30
        )
        self.assertEqual(cell.stdout, "EVCXR_BEGIN_CONTENT text/html\n<p>never ended</p>\n")
        self.assertEqual(cell.result, "5")
        cell = self.run_ok('print!("EVCXR_BEGIN_CONTENT text/html"); eprint!("EVCXR_BEGIN_CONTENT a/b");')
        self.assertIn("EVCXR_BEGIN_CONTENT text/html", cell.stdout)
        self.assertIn("EVCXR_BEGIN_CONTENT a/b", cell.stderr)

    def test_an_end_needs_no_line_break(self):
        cell = self.run_ok('print!("EVCXR_BEGIN_CONTENT text/html\\n<b>x</b>EVCXR_END_CONTENT"); 5')
        self.assertEqual(cell.of("display_data")[0]["data"], {"text/html": "<b>x</b>"})
        self.assertEqual((cell.result, cell.stdout), ("5", ""))

    def test_a_nested_block_ends_the_outer_one(self):
        cell = self.run_ok(
            'println!("EVCXR_BEGIN_CONTENT text/html\\n<p>open"); '
            'println!("EVCXR_BEGIN_CONTENT text/html\\n<i>1</i>\\nEVCXR_END_CONTENT"); '
            'println!("EVCXR_BEGIN_CONTENT image/png\\nAAAA\\nEVCXR_END_CONTENT"); '
            'println!("EVCXR_END_CONTENT");'
        )
        self.assertEqual(cell.stdout, "EVCXR_BEGIN_CONTENT text/html\n<p>open\nEVCXR_END_CONTENT\n")
        shown = cell.of("display_data")[0]["data"]
        self.assertEqual(shown, {"text/html": "<i>1</i>", "image/png": "AAAA"})

    def test_an_error_within_a_block_is_reported(self):
        cell = self.run_error(
            'println!("EVCXR_BEGIN_CONTENT text/html\\n<p>"); "zz".parse::<i32>()?;', "ParseIntError"
        )
        self.assertIn("<p>", cell.stdout)
        cell = self.run_error('println!("EVCXR_BEGIN_CONTENT text/html\\n<p>"); panic!("in it");', "Panic")
        self.assertEqual(cell.reply["evalue"], "in it")


class Results(KernelTest):
    def test_a_last_statement_that_moves_a_variable(self):
        self.run_ok(
            'let hs = vec![1]; let q = vec![2]; let s = String::from("ab"); '
            "let t = std::thread::spawn(|| 7); let o = Some(vec![3]);"
        )
        for code in ("for h in hs { assert_eq!(h, 1); }", "drop(q)"):
            cell = self.run_ok(code)
            self.assertEqual((cell.result, cell.of("display_data")), (None, []), code)
        for code, value in (("s.into_bytes()", "[97, 98]"), ("t.join().unwrap()", "7"),
                            ("o.unwrap()", "[3]")):
            cell = self.run_ok(code)
            self.assertEqual((cell.result, cell.of("display_data")), (value, []), code)

    def test_a_moved_value_is_displayed(self):
        self.run_ok(
            "struct Page(String); impl Page { fn evcxr_display(&self) { "
            'println!("EVCXR_BEGIN_CONTENT text/html\\n{}\\nEVCXR_END_CONTENT", self.0); } }\n'
            'let text = String::from("<b>p</b>");'
        )
        results = self.run_ok("Page(text)").of("execute_result")
        self.assertEqual([one["data"] for one in results], [{"text/html": "<b>p</b>"}])

    def test_a_value_that_cannot_be_shown_is_marked(self):
        cell = self.run_error("struct Mute;\nMute", "CompileError")
        self.assertIn("`Mute` doesn't implement `Debug`", cell.traceback)
        self.assertIn(":2:1", cell.traceback)


class Warnings(KernelTest):
    def test_an_unused_result_gives_one_warning(self):
        self.run_ok("use qrnn::prelude::*; let corpus = Corpus::synthetic();")
        cell = self.run_ok('let n = 1;\ncorpus.write_dir("/proc/nowhere");')
        self.assertEqual(cell.stderr.count("unused `Result`"), 1, cell.stderr)
        self.assertIn(":2:1", cell.stderr)
        self.assertEqual(self.run_ok("n + 1").stderr, "")

    def test_warnings_come_before_what_the_cell_prints(self):
        cell = self.run_ok('"5".parse::<i32>(); eprintln!("printed");')
        self.assertLess(cell.stderr.index("unused `Result`"), cell.stderr.index("printed"))

    def test_warnings_in_bodies_are_not_repeated_by_later_cells(self):
        cell = self.run_ok(
            "fn body(unused: i32) -> i32 {\n    let mut once = 1;\n    return once;\n    2\n}\n"
            "#[deprecated] fn old() {}\nold();"
        )
        for part in ("unused variable: `unused`", "does not need to be mutable", "unreachable_code",
                     "use of deprecated function"):
            self.assertEqual(cell.stderr.count(part), 1, cell.stderr)
        self.assertEqual(self.run_ok("body(1)").stderr, "")

    def test_top_level_names_give_no_warnings(self):
        cell = self.run_ok(
            "use std::collections::BTreeMap;\nstruct Later { field: i32 }\nfn later() {}\n"
            "impl Later { fn method(&self) {} }\nconst LATER: i32 = 1;\nmacro_rules! later { () => {} }\n"
            "let mut grown = vec![1]; let (one, mut two) = (1, 2);\nlet kept = Later { field: 1 };"
        )
        self.assertEqual(cell.stderr, "")
        self.assertEqual(self.run_ok("grown.push(one + two);").stderr, "")


class Messages(KernelTest):
    def test_a_moved_variable_is_named_and_may_be_assigned(self):
        self.run_ok("let moved = vec![1]; let mut again = vec![2];")
        cell = self.run_ok("drop(moved); drop(again);")
        cell = self.run_error("moved.len()", "CompileError")
        self.assertIn("the variable `moved` was moved by cell [", cell.reply["evalue"])
        self.assertIn("let moved = ..", cell.traceback)
        self.assertEqual(self.run_ok("again = vec![3, 4];").stderr, "")
        self.assertEqual(self.run_ok("again.len()").result, "2")

    def test_variables_moved_by_a_failed_cell_are_named(self):
        self.run_ok("let taken = vec![1];")
        cell = self.run_error('"zz".parse::<i32>()?; drop(taken);', "ParseIntError")
        self.assertIn("`taken` is gone", cell.traceback)

    def test_generated_code_is_not_named(self):
        cell = self.run_error("return 5;", "CompileError")
        self.assertNotIn("Evcxr", cell.traceback)

    def test_a_program_has_its_main_called(self):
        self.assertEqual(self.run_ok('fn main() { println!("hi {}", help()); }\nfn help() -> i32 { 3 }').stdout,
                         "hi 3\n")
        cell = self.run_error(
            'fn main() -> Result<(), std::num::ParseIntError> { "zz".parse::<i32>()?; Ok(()) }',
            "ParseIntError",
        )
        self.assertIn("invalid digit", cell.reply["evalue"])

    def test_an_import_is_proposed(self):
        cell = self.run_error("let map: BTreeMap<u8, u8> = Default::default();", "CompileError")
        self.assertIn("BTreeMap", cell.reply["evalue"])
        self.assertIn("use std::collections::BTreeMap;", cell.traceback)

    def test_types_are_shown_as_text(self):
        self.run_ok("let typed = vec![Some(1u8)];")
        data = self.run_ok(":type typed").of("execute_result")[0]["data"]
        self.assertEqual(data, {"text/plain": "typed: std::vec::Vec<std::option::Option<u8>>"})

    def test_a_resumed_panic_keeps_its_message(self):
        # As rayon does: it panics in another thread, and is resumed here without the panic hook.
        cell = self.run_error(
            'let result = std::thread::spawn(|| { if true { panic!("from {}", "inside") } }).join();\n'
            "if let Err(payload) = result { std::panic::resume_unwind(payload); }",
            "Panic",
        )
        self.assertEqual(cell.reply["evalue"], "from inside")
        self.assertIn(":1:", cell.traceback)
        cell = self.run_error('std::panic::resume_unwind(Box::new(String::from("quiet")));', "Panic")
        self.assertEqual(cell.reply["evalue"], "quiet")


if __name__ == "__main__":
    unittest.main()
