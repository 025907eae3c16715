"""The Jupyter project's own tests of kernels (PyPI: jupyter_kernel_test), and more tests of the protocol."""

import json
import unittest

import jupyter_kernel_test as jkt
from client import NAME, KernelTest


class ProtocolTests(jkt.KernelTests):
    kernel_name = NAME
    language_name = "rust"
    file_extension = ".rs"
    code_hello_world = 'println!("hello, world");'
    code_stderr = 'eprintln!("an error");'
    completion_samples = [
        {"text": "let alpha_one = 1; let alpha_two = alpha_on", "matches": {"alpha_one"}},
        {"text": ":var", "matches": {":vars"}},
        {"text": "qrnn::prelude::Corp", "matches": {"Corpus"}},
    ]
    complete_code_samples = ["1 + 1", "let x = 1;", "fn f() -> u8 {\n    1\n}", "", "// nothing"]
    incomplete_code_samples = ["fn f() {", "let s = \"abc", "f(1,", "let x =", "/* open"]
    invalid_code_samples = ["let x = );", "}", "let let = 1;"]
    code_page_something = ":help"
    code_generate_error = 'panic!("on purpose")'
    code_execute_result = [
        {"code": "6 * 7", "result": "42"},
        {"code": '"a".repeat(3)', "result": '"aaa"'},
        {"code": "(1, 'x')", "result": "(1, 'x')"},
    ]
    code_display_data = [
        {
            "code": 'println!("EVCXR_BEGIN_CONTENT text/html\\n<b>x</b>\\nEVCXR_END_CONTENT");',
            "mime": "text/html",
        },
        {
            "code": r'println!("\u{1e}qrnn-jupyter {{\"msg_type\": \"display_data\", \"content\": '
            r'{{\"data\": {{\"image/svg+xml\": \"<svg/>\"}}, \"metadata\": {{}}}}}}");',
            "mime": "image/svg+xml",
        },
    ]
    code_history_pattern = "6 * ?"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "qrnn::prelude::Corpus"
    code_clear_output = (
        r'println!("\u{1e}qrnn-jupyter {{\"msg_type\": \"clear_output\", '
        r'\"content\": {{\"wait\": true}}}}");'
    )


class WelcomeTests(jkt.IopubWelcomeTests):
    kernel_name = NAME
    support_iopub_welcome = True


class OtherRequests(KernelTest):
    def test_there_are_no_comms(self):
        reply = self.kernel.request("shell", "comm_info_request", {})
        self.assertEqual(reply["content"], {"status": "ok", "comms": {}})

    def test_a_debugger_is_refused(self):
        content = {"type": "request", "seq": 7, "command": "initialize", "arguments": {}}
        reply = self.kernel.request("control", "debug_request", content)
        self.assertEqual(reply["msg_type"], "debug_reply")
        self.assertFalse(reply["content"]["success"])
        self.assertEqual(reply["content"]["request_seq"], 7)
        self.assertIn("no debugger", reply["content"]["message"])

    def test_an_unknown_request_is_refused(self):
        for channel in ("shell", "control"):
            reply = self.kernel.request(channel, "made_up_request", {})
            self.assertEqual(reply["msg_type"], "made_up_reply")
            self.assertEqual(reply["content"]["status"], "error")

    def test_a_request_without_its_content_is_refused(self):
        for kind in ("execute_request", "complete_request", "inspect_request", "history_request"):
            reply = self.kernel.request("shell", kind, {})
            self.assertEqual(reply["content"]["status"], "error", kind)
            self.assertTrue(reply["content"]["evalue"], kind)
        self.assertEqual(self.kernel.run("1 + 1").result, "2")

    def test_silent_cells_publish_nothing_and_are_not_counted(self):
        before = self.kernel.run("1").reply["execution_count"]
        silent = self.kernel.run('println!("quiet"); 3', silent=True)
        self.assertEqual({m["msg_type"] for m in silent.messages}, {"status"})
        self.assertEqual(self.kernel.run("2").reply["execution_count"], before + 1)

    def test_cells_after_a_failed_one_are_aborted(self):
        sent = [self.kernel.send(code) for code in ('panic!("first")', 'println!("second")')]
        first, second = (self.kernel.collect(one) for one in sent)
        self.assertEqual((first.status, second.status), ("error", "aborted"))
        self.assertEqual(second.stdout, "")
        self.assertEqual(self.kernel.run("1 + 2").result, "3")
        sent = [
            self.kernel.send(code, stop_on_error=False) for code in ('panic!("first")', "4 + 4")
        ]
        first, second = (self.kernel.collect(one) for one in sent)
        self.assertEqual((first.status, second.status), ("error", "ok"))

    def test_each_user_expression_is_refused(self):
        reply = self.kernel.run("1;", user_expressions={"a": "x", "b": "y"}).reply
        self.assertEqual(reply["status"], "ok")
        for name in ("a", "b"):
            self.assertEqual(reply["user_expressions"][name]["status"], "error")

    def test_inspection_of_nothing_finds_nothing(self):
        content = {"code": "   ", "cursor_pos": 2, "detail_level": 0}
        reply = self.kernel.request("shell", "inspect_request", content)
        self.assertEqual((reply["content"]["status"], reply["content"]["found"]), ("ok", False))

    def test_inspection_has_documentation(self):
        code = "qrnn::prelude::Corpus"
        content = {"code": code, "cursor_pos": len(code), "detail_level": 0}
        data = self.kernel.request("shell", "inspect_request", content)["content"]["data"]
        self.assertIn("struct Corpus", data["text/plain"])

    def test_positions_count_characters(self):
        self.kernel.run("let größe_eins = 1;")
        code = '"🦀"; größe_e'
        content = {"code": code, "cursor_pos": len(code)}
        reply = self.kernel.request("shell", "complete_request", content)["content"]
        self.assertEqual(reply["matches"], ["größe_eins"])
        self.assertEqual(code[reply["cursor_start"] : reply["cursor_end"]], "größe_e")


class Input(KernelTest):
    """The stdin channel."""

    def answered(self, code, answer, **kwargs):
        sent = self.kernel.send(code, allow_stdin=True, **kwargs)
        question = self.kernel.client.get_stdin_msg(timeout=30)
        self.assertEqual(question["msg_type"], "input_request")
        self.kernel.client.input(answer)
        return question["content"], self.kernel.collect(sent)

    def test_a_line_is_requested(self):
        question, cell = self.answered('qrnn_preload::input("name? ")?', "Ada é")
        self.assertEqual(question, {"prompt": "name? ", "password": False})
        self.assertEqual(cell.result, json.dumps("Ada é", ensure_ascii=False))

    def test_a_password_is_requested(self):
        question, cell = self.answered('qrnn_preload::password("word? ")?.len()', "secret")
        self.assertEqual(question, {"prompt": "word? ", "password": True})
        self.assertEqual(cell.result, "6")

    def test_a_direct_read_is_requested(self):
        code = (
            'print!("a number: "); let mut line = String::new(); '
            "std::io::stdin().read_line(&mut line)?; line.trim().parse::<i32>()? + 1"
        )
        _, cell = self.answered(code, "41")
        self.assertEqual(cell.result, "42")

    def test_an_interrupt_ends_the_wait(self):
        sent = self.kernel.send('qrnn_preload::input("n? ")?.parse::<i32>()?', allow_stdin=True)
        self.kernel.client.get_stdin_msg(timeout=30)
        self.kernel.interrupt()
        cell = self.kernel.collect(sent)
        self.assertEqual((cell.status, cell.reply["ename"]), ("error", "KeyboardInterrupt"))

    def test_a_front_end_without_input(self):
        cell = self.kernel.run('qrnn_preload::input("name? ")?', allow_stdin=False)
        self.assertEqual((cell.status, cell.result), ("ok", '""'))
        self.assertIn("takes no input", cell.stderr)


if __name__ == "__main__":
    unittest.main()
