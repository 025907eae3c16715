"""A kernel that completes and inspects code, for tests."""

import os
import subprocess
import time
import unittest

from client import Kernel, eventually

# A first answer should take at most 3 s, a later one 0.3 s. CI machines have two busy cores, so the limits
# are five times as long, and the times are printed.
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
    """A kernel that completes and inspects code; `|` is the cursor."""

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
        """The reply, which must be well-formed."""
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
        # FirstAnswer tests how long this takes.
        assert eventually(lambda: "push" in cls.ask.matches("vec![1].pu|"), timeout=120)

    @classmethod
    def tearDownClass(cls):
        cls.ask.kernel.__exit__()

    @classmethod
    def run_cell(cls, code):
        cell = cls.ask.kernel.run(code)
        assert cell.status == "ok", cell.traceback
        return cell
