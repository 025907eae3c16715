"""A kernel that is asked about code, as the tests of completion and inspection use it."""

import os
import subprocess
import time
import unittest

from client import Kernel, eventually

# A person waits three seconds for a first answer and three tenths for another. The machines of CI
# have two cores, and other work on them: what is computed takes several times as long there, so the
# limits are five times what the issue asks for, and the times are printed.
BUSY = 5
FIRST = 3.0 * BUSY
LATER = 0.3 * BUSY

MISSING = "rust-src is missing: rustup component add rust-src"


def has_sources():
    sysroot = subprocess.run(
        ["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return os.path.isfile(f"{sysroot}/lib/rustlib/src/rust/library/core/src/lib.rs")


class Analysis:
    """A kernel that is asked about code; `|` is the cursor."""

    def __init__(self):
        self.kernel = Kernel()
        self.ready = time.monotonic()
        self.seconds = []

    def request(self, kind, code, **content):
        cursor = code.index("|")
        code = code.replace("|", "", 1)
        start = time.monotonic()
        message = self.kernel.request(
            "shell", kind, {"code": code, "cursor_pos": cursor, **content}
        )
        self.seconds.append(time.monotonic() - start)
        return code, message["content"]

    def complete(self, code):
        """The reply; it is well-formed whatever is in it."""
        cursor = code.index("|")
        code, reply = self.request("complete_request", code)
        assert reply["status"] == "ok", reply
        assert reply["cursor_start"] <= cursor <= reply["cursor_end"] <= len(code), reply
        types = reply["metadata"]["_jupyter_types_experimental"]
        assert [one["text"] for one in types] == reply["matches"], reply
        for one in types:
            assert set(one) == {"start", "end", "text", "type", "signature"}, one
            assert (one["start"], one["end"]) == (reply["cursor_start"], reply["cursor_end"])
        return reply

    def matches(self, code):
        return self.complete(code)["matches"]

    def inspect(self, code, detail_level=0):
        return self.request("inspect_request", code, detail_level=detail_level)[1]

    def plain(self, code, detail_level=0):
        reply = self.inspect(code, detail_level)
        assert reply["status"] == "ok" and reply["found"], (code, reply)
        assert "text/markdown" in reply["data"], reply["data"].keys()
        return reply["data"]["text/plain"]


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not has_sources():
            raise AssertionError(MISSING)
        cls.ask = Analysis()
        cls.run_cell("use qrnn::prelude::*;")
        # How long that takes is FirstAnswer's matter.
        assert eventually(lambda: "push" in cls.ask.matches("vec![1].pu|"), timeout=120)

    @classmethod
    def tearDownClass(cls):
        cls.ask.kernel.__exit__()

    @classmethod
    def run_cell(cls, code):
        cell = cls.ask.kernel.run(code)
        assert cell.status == "ok", cell.traceback
        return cell
