"""Completion and inspection by rust-analyzer."""

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
import unittest

from analysis import BUSY, FIRST, LATER, MISSING, Analysis, Case, has_sources
from client import FOLDER, NAME, Kernel, descendants, eventually
from jupyter_client.kernelspec import KernelSpecManager


class FirstAnswer(unittest.TestCase):
    def test_it_comes_in_time(self):
        self.assertTrue(has_sources(), MISSING)
        ask = Analysis()
        try:
            found = ask.matches("let v = vec![1]; v.|")
            since = time.monotonic() - ask.ready
            print(f"\n  first completion {since:.2f} s after the first idle status")
            self.assertLess(since, FIRST)
            # A request waits up to 8 s for the standard library to be loaded.
            if since < 8:
                self.assertIn("push", found)
            self.assertLess(ask.seconds[0], 9)
        finally:
            ask.kernel.__exit__()

    def test_a_cell_does_not_wait_for_it(self):
        start = time.monotonic()
        with Kernel() as kernel:
            kernel.client.complete("let v = vec![1]; v.", 19)
            cell = kernel.run("use qrnn::prelude::*; 1 + 1")
            seconds = time.monotonic() - start
            print(f"\n  first cell {seconds:.2f} s after the kernel was started, asked meanwhile")
            self.assertEqual(cell.status, "ok", cell.traceback)
            self.assertLess(seconds, 5.0 * BUSY)


class StandardLibrary(Case):
    def test_methods_of_a_vector(self):
        found = self.ask.matches("let v = vec![1]; v.|")
        for name in ("push", "iter", "len", "sort", "is_empty"):
            self.assertIn(name, found)

    def test_the_start_of_a_name(self):
        reply = self.ask.complete('"a".to_s|')
        self.assertIn("to_string", reply["matches"])
        self.assertEqual((reply["cursor_start"], reply["cursor_end"]), (4, 8))
        self.assertTrue(all(name.startswith("to_s") for name in reply["matches"]))

    def test_associated_functions(self):
        found = self.ask.matches("String::|")
        self.assertIn("new", found)
        self.assertIn("with_capacity", found)
        self.assertIn("map", self.ask.matches("Iterator::ma|"))
        self.assertIn("MAX", self.ask.matches("u8::|"))

    def test_macros_modules_and_keywords(self):
        self.assertIn("println!", self.ask.matches("printl|"))
        self.assertIn("println", self.ask.matches('printl|!("a")'))
        self.assertIn("collections", self.ask.matches("use std::coll|"))
        self.assertIn("HashMap", self.ask.matches("let m = std::collections::Hash|"))
        self.assertIn("while", self.ask.matches("whil|"))

    def test_inside_macros_and_open_brackets(self):
        for code in ("let v = vec![1]; vec![v.|]", "let v = vec![1]; vec![1, v.|",
                     'let v = vec![1]; println!("{}", v.le|', "let v = vec![1]; f(g(v.|"):
            self.assertIn("len", self.ask.matches(code), code)
        reply = self.ask.complete("let v = vec![1]; vec![v.|]")
        self.assertEqual((reply["cursor_start"], reply["cursor_end"]), (24, 24))

    def test_patterns_are_names(self):
        for code in ("let o = Some(1); if let So|", "let o = Some(1); match o { So| }"):
            self.assertIn("Some", self.ask.matches(code), code)

    def test_matches_are_names_only(self):
        for code in ("let v = vec![1]; v.|", "String::|", "|", "std::|", "Some(1).|"):
            for name in self.ask.matches(code):
                self.assertRegex(name, r"^('|r#)?\w+!?$")

    def test_a_word_is_replaced_as_a_whole(self):
        reply = self.ask.complete('"é🦀"; let v = vec![1]; v.pu|sh(2);')
        self.assertIn("push", reply["matches"])
        self.assertEqual((reply["cursor_start"], reply["cursor_end"]), (25, 29))

    def test_kinds_and_signatures(self):
        types = self.ask.complete("let v = vec![1]; v.|")["metadata"][
            "_jupyter_types_experimental"
        ]
        push = next(one for one in types if one["text"] == "push")
        self.assertEqual(push["type"], "function")
        self.assertEqual(push["signature"], "(&mut self, value: T)")
        self.assertEqual(
            {one["type"] for one in self.ask.complete("std::vec|")["metadata"][
                "_jupyter_types_experimental"
            ]},
            {"module", "function"},
        )

    def test_chains_closures_and_results(self):
        self.assertIn("sum", self.ask.matches("vec![1].iter().map(u8::to_string).skip(1).|"))
        self.assertIn("unwrap_or_default", self.ask.matches('std::fs::read_to_string("a").unw|'))
        self.assertIn("entry", self.ask.matches(
            "let mut m = std::collections::HashMap::<String, u8>::new(); m.|"))

    def test_keys_and_values_of_maps(self):
        start = "let m = std::collections::HashMap::<String, i32>::new(); "
        self.assertIn("to_uppercase", self.ask.matches(start + "for (k, v) in &m { k.to_u| }"))
        self.assertIn("pow", self.ask.matches(start + "for (k, v) in m { v.po| }"))
        found = self.ask.plain(start + "let first = m.iter().next(); fir|st")
        self.assertIn("Option<(&String, &i32)>", found)

    def test_unstable_items_are_not_offered(self):
        self.assertNotIn("try_reserve_for_test", self.ask.matches("let v = vec![1]; v.try|"))
        self.assertNotIn("into_raw_parts_with_alloc", self.ask.matches("let v = vec![1]; v.into|"))

    def test_later_answers_are_fast(self):
        codes = ["let v = vec![1]; v.|", '"a".to_s|', "String::|", "printl|", "u8::|", "|"]
        for code in codes:
            self.ask.matches(code)
        self.ask.seconds.clear()
        for n in range(5):
            for code in codes:
                self.ask.matches(f"let n{n} = {n};\n{code}")
        median = statistics.median(self.ask.seconds)
        print(f"\n  a later completion: median {median:.3f} s, longest {max(self.ask.seconds):.3f} s")
        self.assertLess(median, LATER)


class Notebook(Case):
    def test_variables_of_earlier_cells(self):
        self.run_cell("let mut words = vec![String::from(\"a\")]; let corpus = Corpus::synthetic();")
        self.assertIn("push", self.ask.matches("words.|"))
        self.assertIn("to_uppercase", self.ask.matches("words[0].to_u|"))
        self.assertIn("words", self.ask.matches("wor|"))
        self.assertIn("mut words: Vec<String>", self.ask.plain("wor|ds"))
        found = self.ask.matches("corpus.|")
        self.assertIn("vocab", found)

    def test_private_fields_are_not_offered(self):
        self.run_cell("let mut whole = Corpus::synthetic();")
        found = self.ask.matches("whole.|")
        self.assertTrue(found)
        self.assertNotIn("text", found)
        self.run_cell("mod m { #[derive(Default)] pub struct S { pub a: u8, b: u8 } "
                      "impl S { pub fn open(&self) {} fn closed(&self) {} } }\n"
                      "let s = m::S::default();")
        found = self.ask.matches("s.|")
        self.assertTrue({"a", "open"} <= set(found), found)
        self.assertFalse({"b", "closed"} & set(found), found)

    def test_own_items(self):
        self.run_cell("/// How far it is.\nstruct Way { miles: f64 }\n"
                      "impl Way { fn double(&self) -> Way { Way { miles: 2.0 * self.miles } } }\n"
                      "fn shorter(way: &Way) -> bool { way.miles < 1.0 }")
        self.assertIn("shorter", self.ask.matches("short|"))
        found = self.ask.matches("let w = Way { miles: 1.0 }; w.double().|")
        self.assertTrue({"miles", "double"} <= set(found), found)
        self.assertIn("How far it is.", self.ask.plain("Wa|y"))

    def test_generated_names_are_not_offered(self):
        self.run_cell("let n = 1;")
        found = self.ask.matches("n.|") + self.ask.matches("|") + self.ask.matches("crate::|")
        for name in found:
            self.assertNotRegex(name, "evcxr|qrnn_jupyter|qrnn_ending")

    def test_a_cell_that_failed_defines_nothing(self):
        self.ask.kernel.run("struct Never; let x: u8 = \"no\";")
        self.assertNotIn("Never", self.ask.matches("Nev|"))

    def test_added_crates(self):
        # The folder has to stay, because every later cell is compiled with the crate.
        folder = f"{FOLDER}/little-one"
        os.makedirs(f"{folder}/src")
        with open(f"{folder}/Cargo.toml", "w") as file:
            file.write('[package]\nname = "little-one"\nversion = "0.1.0"\nedition = "2024"\n')
        with open(f"{folder}/src/lib.rs", "w") as file:
            file.write("/// Says nothing.\npub fn silence() {}\nfn secret() {}\n")
        self.run_cell(f':dep little-one = {{ path = "{folder}" }}\nlittle_one::silence();')
        self.assertTrue(eventually(lambda: self.ask.matches("little_one::|"), timeout=60))
        self.assertEqual(self.ask.matches("little_one::|"), ["silence"])
        self.assertIn("Says nothing.", self.ask.plain("little_one::sil|ence"))
        self.assertIn("push", self.ask.matches("let v = vec![1]; v.pu|"))
        self.assertIn("Trainer", self.ask.matches("qrnn::prelude::Train|"))

    def test_invalid_code_does_no_harm(self):
        for code in ("}}} |", "fn (|", "let s = \"open |", "/* |", "#[|", "'|", "é|é", "use |", "x.|"):
            self.ask.complete(code)
            self.ask.inspect(code)
        self.assertIn("push", self.ask.matches("fn open() { let v = vec![1]; v.pu|"))

    def test_commands(self):
        self.assertEqual(self.ask.matches(":hel|"), [":help"])
        self.assertIn(":dep", self.ask.matches(":|"))
        self.assertIn("push", self.ask.matches(":vars\nlet v = vec![1]; v.pu|"))


class WhileACellRuns(Case):
    def test_completion_answers(self):
        sent = self.ask.kernel.send(
            'let mut late = vec![1u8]; println!("begun"); '
            "std::thread::sleep(std::time::Duration::from_secs(8));"
        )
        self.ask.kernel.await_stdout(sent, "begun")
        start = time.monotonic()
        # The definitions of the running cell can be completed.
        self.assertIn("push", self.ask.matches("late.|"))
        self.assertIn("fn push", self.ask.plain("late.pu|sh"))
        seconds = time.monotonic() - start
        print(f"\n  completed and inspected in {seconds:.2f} s while a cell ran")
        self.assertLess(seconds, 7)
        cell = self.ask.kernel.collect(sent)
        self.assertEqual(cell.status, "ok")
        self.assertGreater(cell.seconds, 7.9)

    def test_the_kernel_is_still_busy_afterwards(self):
        sent = self.ask.kernel.send(
            'println!("begun"); std::thread::sleep(std::time::Duration::from_secs(2));'
        )
        self.ask.kernel.await_stdout(sent, "begun")
        self.ask.matches("String::|")
        states = []
        while not states or states[-1] != (sent[0], "idle"):
            message = self.ask.kernel.client.get_iopub_msg(timeout=10)
            if message["msg_type"] == "status":
                parent = message["parent_header"]["msg_id"]
                states.append((parent, message["content"]["execution_state"]))
        mine = [state for parent, state in states if parent == sent[0]]
        self.assertEqual(mine, ["busy", "idle"])
        self.assertEqual(states[-2], (sent[0], "busy"))
        self.ask.kernel.client.get_shell_msg(timeout=10)


class Inspection(Case):
    def test_macros(self):
        for code in ("vec|", "ve|c", "vec|![1]", "let v = vec!|[1];"):
            found = self.ask.plain(code)
            self.assertIn("macro_rules! vec", found)
            self.assertIn("Creates a Vec containing the arguments", found)

    def test_methods_have_a_signature_and_documentation(self):
        found = self.ask.plain("Iterator::map|")
        self.assertIn("fn map<B, F>(self, f: F) -> Map<Self, F>", found)
        self.assertIn("Takes a closure and creates an iterator", found)

    def test_types_of_the_library(self):
        found = self.ask.plain("Trainer|")
        self.assertIn("struct Trainer", found)
        self.assertIn("Trains models by a recipe.", found)

    def test_the_called_function(self):
        for code in ("let mut v = vec![1u8]; v.push(|", "let mut v = vec![1u8]; v.push(|);",
                     "let mut v = vec![1u8]; v.push(1|)"):
            found = self.ask.plain(code)
            self.assertIn("fn push(&mut self, value: u8)", found)
            self.assertIn("Appends an element to the back", found)

    def test_variables_have_their_types(self):
        found = self.ask.plain('let v = vec![1u8]; let w = v.iter().map(u8::to_string); w|')
        self.assertIn("Map<Iter<'_, u8>", found)
        self.assertNotIn("{unknown}", found)

    def test_more_detail_shows_the_source(self):
        little = self.ask.plain("Option::<u8>::is_some|")
        much = self.ask.plain("Option::<u8>::is_some|", detail_level=1)
        self.assertTrue(much.startswith(little))
        self.assertIn("matches!(*self, Some(_))", much)

    def test_white_space_has_no_documentation(self):
        for code in ("|", "  |  ", "let x = |", "no_such_name|", ":vars|"):
            reply = self.ask.inspect(code)
            self.assertEqual((reply["status"], reply["found"], reply["data"]), ("ok", False, {}))

    def test_documentation_opens_a_pager(self):
        cell = self.ask.kernel.run(":doc std::vec::Vec")
        self.assertEqual(cell.status, "ok", cell.traceback)
        page = cell.reply["payload"][0]
        self.assertEqual(page["source"], "page")
        self.assertIn("struct Vec", page["data"]["text/plain"])
        self.assertEqual(self.ask.kernel.run(":doc no_such_thing").status, "error")


class Doctor(unittest.TestCase):
    def doctor(self, program=None):
        program = program or KernelSpecManager().get_kernel_spec(NAME).argv[0]
        said = subprocess.run([program, "doctor"], capture_output=True, text=True, timeout=100)
        return next(line for line in said.stdout.splitlines() if "rust-src: " in line)

    def with_toolchain(self, folder):
        """A copy of the installed program, with this folder as its toolchain."""
        os.makedirs(f"{folder}/bin")
        rustc = f"{folder}/bin/rustc"
        with open(rustc, "w") as file:
            file.write(f"#!/bin/sh\necho {folder}\n")
        os.chmod(rustc, 0o755)
        installed = KernelSpecManager().get_kernel_spec(NAME).argv[0]
        home = os.path.dirname(os.path.dirname(installed))
        copy = f"{folder}/prefix/share/qrnn-jupyter"
        os.makedirs(f"{copy}/bin")
        os.makedirs(f"{copy}/preload")
        for name in os.listdir(f"{home}/preload"):
            os.symlink(f"{home}/preload/{name}", f"{copy}/preload/{name}")
        with open(f"{home}/preload/preload.json") as file:
            note = json.load(file)
        os.remove(f"{copy}/preload/preload.json")
        with open(f"{copy}/preload/preload.json", "w") as file:
            json.dump({**note, "sysroot": folder}, file)
        return shutil.copy(installed, f"{copy}/bin")

    def test_it_tries_a_completion(self):
        self.assertTrue(has_sources(), MISSING)
        # A busy machine may need another attempt.
        for _ in range(3):
            said = self.doctor()
            if "took longer than 30 s" not in said:
                break
        print(f"\n  {said}")
        self.assertRegex(said, "good .* completion knows the standard library")

    def test_it_reports_missing_sources(self):
        with tempfile.TemporaryDirectory() as folder:
            said = self.doctor(self.with_toolchain(folder))
        self.assertIn("note  rust-src: missing", said)

    def test_it_reports_empty_sources(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("core", "alloc", "std"):
                source = f"{folder}/lib/rustlib/src/rust/library/{name}/src"
                os.makedirs(source)
                open(f"{source}/lib.rs", "w").close()
            said = self.doctor(self.with_toolchain(folder))
        self.assertIn("BAD   rust-src: ", said)
        self.assertIn("does not offer `push`", said)


class Robust(Case):
    def test_rust_analyzer_may_crash(self):
        def engines():
            found = []
            for pid in descendants(self.ask.kernel.pid):
                try:
                    with open(f"/proc/{pid}/cmdline") as file:
                        if file.read().split("\0")[1:2] == ["analysis"]:
                            found.append(pid)
                except FileNotFoundError:
                    pass
            return found

        self.assertIn("push", self.ask.matches("let v = vec![1]; v.pu|"))
        (old,) = engines()
        os.kill(old, 9)
        self.assertTrue(eventually(lambda: old not in engines()))
        self.run_cell("let after = vec![1];")
        self.assertTrue(
            eventually(lambda: "push" in self.ask.matches("after.pu|"), timeout=60)
        )
        (new,) = engines()
        self.assertNotEqual(old, new)


if __name__ == "__main__":
    unittest.main()
