"""Values, output, displays and errors of cells."""

import json
import os
import time
import unittest

from client import KernelTest, eventually


class Cells(KernelTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.kernel.run("use qrnn::prelude::*;")

    def run_error(self, code, name):
        cell = super().run_error(code, name)
        errors = cell.of("error")
        self.assertEqual(len(errors), 1)
        self.assertEqual(errors[0]["evalue"], cell.reply["evalue"])
        return cell

    # Variables

    def test_variables_of_any_type_are_kept(self):
        self.run_ok(
            "let v = vec![1, 2, 3]; let (a, mut b) = (0.5, String::from(\"é\")); "
            "let mut m = std::collections::HashMap::new(); m.insert(\"k\", Some(1u8)); "
            "let f: Box<dyn Fn(i32) -> i32> = Box::new(|x| x + 1);"
        )
        self.run_ok("b.push('!'); m.insert(\"l\", None);")
        self.assertEqual(self.run_ok('format!("{v:?} {a} {b} {} {}", m.len(), f(1))').result,
                         '"[1, 2, 3] 0.5 é! 2 2"')

    def test_the_library_and_tch_are_preloaded(self):
        self.run_ok("let corpus = Corpus::synthetic();")
        self.run_ok(
            "let mut model = QrnnLm::new(&LmConfig::paper(20, 40).bptt(23), &corpus, Device::Cpu)?;"
        )
        self.assertEqual(self.run_ok("let _ = &model; corpus.vocab().len() > 1000").result, "true")
        # Generic code of tch is compiled in the cell and calls C functions.
        self.run_ok("let t = tch::Tensor::from_slice(&[1.0f32, 2.0]);")
        self.assertEqual(self.run_ok("tch::Tensor::cat(&[&t, &t], 0).size()").result, "[4]")

    def test_a_custom_autograd_function_in_a_cell(self):
        # Its generic code is compiled in the cell and calls C functions of the library.
        self.run_ok("""use qrnn::ops::{self, autograd::{self, Backward, Forward, Function}};
            struct Square;
            impl Function for Square {
                fn forward(&mut self, inputs: &[&tch::Tensor]) -> ops::Result<Forward> {
                    let saved = vec![inputs[0].shallow_clone()];
                    Ok(Forward { outputs: vec![inputs[0].f_square()?], saved })
                }
                fn backward(&self, call: Backward<'_>) -> ops::Result<Vec<Option<tch::Tensor>>> {
                    let twice = call.saved[0].f_mul_scalar(2.0)?;
                    Ok(vec![call.grads[0].as_ref().map(|grad| grad.f_mul(&twice)).transpose()?])
                }
            }""")
        cell = self.run_ok("""let x = tch::Tensor::from_slice(&[1.0, 2.0]).set_requires_grad(true);
            autograd::apply(Square, &[&x])?[0].f_sum(tch::Kind::Double)?.f_backward()?;
            Vec::<f64>::try_from(x.grad())?""")
        self.assertEqual(cell.result, "[2.0, 4.0]")

    def test_lines_for_the_stock_kernel_are_ignored(self):
        self.assertEqual(self.run_ok(':dep qrnn = { path = ".." }\n:dep tch\n2 + 2').result, "4")

    def test_a_variable_of_a_nameless_type(self):
        cell = self.run_error("let it = (0..3).map(|x| x * 2);", "CompileError")
        self.assertIn("cannot be kept", cell.reply["evalue"])
        self.assertIn("cell [", cell.traceback)

    def test_a_cell_without_a_value_shows_nothing(self):
        for code in [
            "for _ in 0..3 {}",
            "let mut n = 0; while n < 2 { n += 1; }",
            'for _ in 0..2 { std::fs::metadata("/")?; }',
            "drop(1)",
            "()",
        ]:
            self.assertEqual(self.run_ok(code).of("execute_result"), [], code)
        self.assertEqual(self.run_ok("Some(())").result, "Some(())")

    # Output

    def test_output_is_sent_as_it_is_printed(self):
        times = []
        code = (
            'for i in 0..3 { println!("{i}"); '
            "std::thread::sleep(std::time::Duration::from_millis(400)); }"
        )
        sent = self.kernel.send(code)
        note = lambda m: times.append(time.monotonic()) if m["msg_type"] == "stream" else None
        cell = self.kernel.collect(sent, on_message=note)
        self.assertEqual((cell.stdout, cell.result), ("0\n1\n2\n", None))
        self.assertEqual(len(times), 3)
        self.assertGreater(times[2] - times[0], 0.5)

    def test_a_line_without_a_line_break_is_shown(self):
        cell = self.run_ok('print!("a"); eprint!("b"); print!("c");')
        self.assertEqual((cell.stdout, cell.stderr), ("ac", "b"))

    def test_output_stays_in_order_with_displays(self):
        code = (
            'println!("one"); println!("EVCXR_BEGIN_CONTENT text/html\\n<i>\\nEVCXR_END_CONTENT"); '
            'println!("two"); 5'
        )
        kinds = [m["msg_type"] for m in self.run_ok(code).messages]
        self.assertEqual(
            [k for k in kinds if k not in ("status", "execute_input")],
            ["stream", "display_data", "stream", "execute_result"],
        )

    def test_a_value_has_several_representations(self):
        self.run_ok(
            "struct Shown; impl Shown { fn evcxr_display(&self) { "
            'println!("EVCXR_BEGIN_CONTENT text/html\\n<b>s</b>\\nEVCXR_END_CONTENT"); '
            'println!("EVCXR_BEGIN_CONTENT text/plain\\ns\\nEVCXR_END_CONTENT"); } }'
        )
        results = self.run_ok("Shown").of("execute_result")
        self.assertEqual([r["data"] for r in results], [{"text/html": "<b>s</b>", "text/plain": "s"}])
        cell = self.run_ok("{ Shown.evcxr_display(); Shown.evcxr_display(); }")
        self.assertEqual((len(cell.of("display_data")), len(cell.of("execute_result"))), (2, 0))

    def test_a_slow_representation_stays_with_its_value(self):
        cell = self.run_ok(
            'print!("EVCXR_BEGIN_CONTENT text/html\\n<b>x</b>\\nEVCXR_END_CONTENT\\n'
            'EVCXR_BEGIN_CONTENT image/png\\n{}", "A".repeat(100_000)); '
            'std::io::Write::flush(&mut std::io::stdout())?; '
            'std::thread::sleep(std::time::Duration::from_millis(300)); '
            'println!("{}\\nEVCXR_END_CONTENT", "B".repeat(100_000));'
        )
        shown = cell.of("display_data")
        self.assertEqual([sorted(one["data"]) for one in shown], [["image/png", "text/html"]])
        self.assertEqual(len(shown[0]["data"]["image/png"]), 200_000)

    def test_a_display_is_updated(self):
        code = (
            'let say = |kind: &str, text: &str| println!("\\u{1e}qrnn-jupyter {}", format!('
            'r#"{{"msg_type": "{kind}", "content": {{"data": {{"text/plain": "{text}"}}, '
            '"metadata": {{}}, "transient": {{"display_id": "d1"}}}}}}"#)); '
            'print!("before "); say("display_data", "0 %"); say("update_display_data", "50 %");'
        )
        cell = self.run_ok("{" + code + "}")
        self.assertEqual(cell.stdout, "before ")
        shown, updated = cell.of("display_data"), cell.of("update_display_data")
        self.assertEqual(shown[0]["data"], {"text/plain": "0 %"})
        self.assertEqual(updated[0]["transient"], {"display_id": "d1"})

    def test_a_malformed_marker_is_text(self):
        cell = self.run_ok('println!("\\u{1e}qrnn-jupyter {{oops"); println!("\\u{1e}qrnn-jupyter {{}}");')
        self.assertEqual(cell.stdout, "\x1eqrnn-jupyter {oops\n\x1eqrnn-jupyter {}\n")

    def test_output_is_limited_with_a_note(self):
        code = 'let line = "x".repeat(999); for _ in 0..100_000 { println!("{line}"); }'
        cell = self.run_ok("{" + code + "}")
        self.assertLessEqual(len(cell.stdout), 1 << 20)
        self.assertGreater(len(cell.stdout), 900_000)
        self.assertIn("the cell printed 95.4 MiB", cell.stderr)
        self.assertLess(cell.seconds, 30)
        self.assertEqual(self.run_ok("1 + 1").result, "2")

    def test_bytes_that_are_not_text(self):
        code = 'use std::io::Write; std::io::stdout().write_all(b"a\\xff\\xfeb\\xf0\\x9f\\xa6\\x80\\n")?;'
        self.assertEqual(self.run_ok(code).stdout, "a\ufffd\ufffdb\U0001f980\n")

    # Errors

    def test_a_compile_error_is_drawn(self):
        cell = self.run_error('let ok = 1;\nlet n: i32 = "é" ;', "CompileError")
        for part in ("error[E0308]: mismatched types", "cell [", ":2:14", 'let n: i32 = "é" ;',
                     "expected `i32`, found `&str`", "^^^"):
            self.assertIn(part, cell.traceback)
        self.assertIn("\x1b[", cell.reply["traceback"][0])

    def test_a_borrow_error_is_drawn_at_its_place(self):
        cell = self.run_error(
            "let first = vec![1]; let second = first; println!(\"{first:?}\");", "CompileError"
        )
        self.assertIn("E0382", cell.traceback)
        self.assertIn("let first = vec![1]; let second = first;", cell.traceback)
        self.assertNotIn(": std::vec::Vec", cell.traceback)

    def test_a_syntax_error(self):
        cell = self.run_error("let x = ;", "CompileError")
        self.assertIn("expected expression", cell.traceback)

    def test_a_panic_is_an_error(self):
        self.run_ok("let kept = 5;")
        cell = self.run_error('let a = 1;\nif a == 1 {\n    panic!("oh no {}", a);\n}', "Panic")
        self.assertEqual(cell.reply["evalue"], "oh no 1")
        self.assertIn(":3:5", cell.traceback)
        self.assertEqual(self.run_ok("kept").result, "5")

    def test_a_caught_panic_is_not_an_error(self):
        cell = self.run_ok('std::panic::catch_unwind(|| panic!("inside")).is_err()')
        self.assertEqual(cell.result, "true")
        self.assertIn("inside", cell.stderr)

    def test_a_panic_of_a_thread_is_shown(self):
        cell = self.run_ok('std::thread::spawn(|| panic!("elsewhere")).join().is_err()')
        self.assertEqual(cell.result, "true")
        self.assertIn("elsewhere", cell.stderr)

    def test_a_question_mark_is_an_error(self):
        cell = self.run_error('let before = 1;\nlet n = "zz".parse::<i32>()?;', "ParseIntError")
        self.assertEqual(cell.reply["evalue"], "invalid digit found in string")
        self.assertIn(":2:9", cell.traceback)
        cell = self.run_error('std::fs::read("/no/such/file")?;', "Error")
        self.assertIn("No such file", cell.reply["evalue"])

    def test_a_cell_that_cannot_be_loaded(self):
        self.run_ok("let held = 8;")
        code = 'unsafe extern "C" { fn there_is_no_such_function(); }\nunsafe { there_is_no_such_function() }'
        cell = self.run_error(code, "LoadError")
        self.assertIn("there_is_no_such_function", cell.reply["evalue"])
        self.assertEqual(self.run_ok("held").result, "8")

    def test_the_process_may_exit(self):
        self.run_ok("let gone = 1;")
        cell = self.run_error('println!("last words"); std::process::exit(3)', "ProcessEnded")
        self.assertIn("exit status: 3", cell.reply["evalue"])
        self.assertIn("variables are lost", cell.reply["evalue"])
        self.assertEqual(cell.stdout, "last words\n")
        self.run_error("gone", "CompileError")
        self.assertEqual(self.run_ok("1 + 1").result, "2")

    def test_memory_may_run_out(self):
        code = "let huge: Vec<u8> = Vec::with_capacity(1 << 46); huge.len()"
        cell = self.run_error(code, "ProcessEnded")
        self.assertIn("memory", cell.reply["evalue"])
        self.assertIn("memory allocation of", cell.stderr)
        self.assertEqual(self.run_ok("1 + 1").result, "2")

    def test_the_system_may_kill_the_process(self):
        code = 'std::process::Command::new("kill").args(["-9", &std::process::id().to_string()]).status()?;'
        cell = self.run_error(code + " loop {}", "ProcessEnded")
        self.assertIn("SIGKILL", cell.reply["evalue"])
        self.assertEqual(self.run_ok("1 + 1").result, "2")

    def test_the_child_process_is_killed_first_if_memory_runs_out(self):
        cell = self.run_ok('std::fs::read_to_string("/proc/self/oom_score_adj")?.trim().to_owned()')
        self.assertEqual(cell.result, '"1000"')

    def test_a_stack_may_overflow(self):
        code = "fn deep(n: u64) -> u64 { if n == 0 { 0 } else { 1 + deep(std::hint::black_box(n + 1)) } }"
        self.run_error(code + " deep(1)", "ProcessEnded")
        self.assertEqual(self.run_ok("1 + 1").result, "2")

    def test_cells_do_not_see_private_environment_variables(self):
        # The user's variables stay; `cargo xtask kernel-test` sets CARGO.
        names = ["RUSTC_WRAPPER", "RUSTC", "RUSTUP_HOME", "CARGO", "EVCXR_TMPDIR"]
        for name in names:
            value = self.run_ok(f'std::env::var("{name}").unwrap_or_default()').result
            self.assertEqual(value, json.dumps(os.environ.get(name, "")), name)

    def test_a_variable_may_have_the_never_type(self):
        self.run_ok('let never = std::panic::catch_unwind(|| panic!("a"));')
        self.assertEqual(self.run_ok("never.is_err()").result, "true")
        self.run_ok("let other: Result<u8, std::convert::Infallible> = Ok(1); let f: fn() -> ! = || loop {};")
        self.assertEqual(self.run_ok("(other, never.is_err())").result, "(Ok(1), true)")

    def test_a_nameless_type_is_shown_without_generated_places(self):
        cell = self.run_error("let closure = || 1;", "CompileError")
        self.assertIn("it has type `{closure}`", cell.traceback)
        self.assertNotIn("lib.rs", cell.traceback)

    def test_cells_run_after_clear(self):
        self.run_ok("let cleared = 1;")
        self.assertIn("`cleared`", self.run_ok(":clear").result)
        self.assertEqual(self.run_ok("let y = 5; trait Tr { fn f(&self) -> i32; }\ny").result, "5")
        self.run_error('std::fs::read("/no/such")?;', "Error")
        self.run_error("cleared", "CompileError")
        self.run_ok("use qrnn::prelude::*;")

    def test_heartbeats_are_answered_during_a_cell(self):
        beats = self.kernel.client.hb_channel
        sent = self.kernel.send("std::thread::sleep(std::time::Duration::from_secs(3));")
        self.assertTrue(eventually(lambda: beats.is_beating(), 2))
        time.sleep(2)
        self.assertTrue(beats.is_beating())
        self.kernel.collect(sent)


if __name__ == "__main__":
    unittest.main()
