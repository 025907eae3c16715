"""A kernel with a client from jupyter_client, and a base class for tests."""

import atexit
import os
import re
import shutil
import tempfile
import time
import unittest
from dataclasses import dataclass, field
from queue import Empty

from jupyter_client.manager import KernelManager

NAME = "qrnn"

# The working folders of the kernels go here, apart from those of other kernels.
FOLDER = tempfile.mkdtemp(prefix="qrnn-kernel-tests-")
os.environ["TMPDIR"] = FOLDER
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def plain(text):
    """The text without ANSI colors."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@dataclass
class Cell:
    """An executed cell: the content of its reply, its IOPub messages, its duration."""

    reply: dict
    messages: list = field(default_factory=list)
    seconds: float = 0.0

    @property
    def status(self):
        return self.reply["status"]

    def of(self, kind):
        return [m["content"] for m in self.messages if m["msg_type"] == kind]

    def stream(self, name):
        return "".join(c["text"] for c in self.of("stream") if c["name"] == name)

    @property
    def stdout(self):
        return self.stream("stdout")

    @property
    def stderr(self):
        return self.stream("stderr")

    @property
    def result(self):
        results = self.of("execute_result")
        return results[0]["data"].get("text/plain", results[0]["data"]) if results else None

    @property
    def traceback(self):
        return plain("\n".join(self.reply.get("traceback", [])))


class Kernel:
    """A new kernel; `with Kernel() as kernel:` ends it."""

    def __init__(self, name=NAME, cwd=None):
        self.started = time.monotonic()
        self.manager = KernelManager(kernel_name=name)
        kwargs = {"cwd": cwd} if cwd else {}
        self.manager.start_kernel(**kwargs)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel(now=False)
        self.manager.cleanup_resources()

    @property
    def pid(self):
        return self.manager.provisioner.pid

    def send(self, code, **kwargs):
        return self.client.execute(code, **kwargs), time.monotonic()

    def collect(self, sent, timeout=120, on_message=None):
        msg_id, start = sent
        messages = []
        deadline = start + timeout
        while True:
            message = self.client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
            if message["parent_header"].get("msg_id") != msg_id:
                continue
            messages.append(message)
            if on_message:
                on_message(message)
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
        while True:
            reply = self.client.get_shell_msg(timeout=10)
            if reply["parent_header"].get("msg_id") == msg_id:
                return Cell(reply["content"], messages, time.monotonic() - start)

    def await_stdout(self, sent, text, timeout=60):
        """Waits until a cell has printed `text`."""
        deadline = time.monotonic() + timeout
        while True:
            left = max(0.1, deadline - time.monotonic())
            message = self.client.get_iopub_msg(timeout=left)
            if message["parent_header"].get("msg_id") != sent[0]:
                continue
            if message["msg_type"] == "stream" and text in message["content"]["text"]:
                return
            if message["msg_type"] == "error":
                raise AssertionError(plain("\n".join(message["content"]["traceback"])))

    def run(self, code, timeout=120, **kwargs):
        return self.collect(self.send(code, **kwargs), timeout)

    def interrupt(self):
        self.manager.interrupt_kernel()

    def request(self, channel, kind, content):
        """Sends a request on `shell` or `control`, and returns the reply."""
        message = self.client.session.msg(kind, content)
        socket = getattr(self.client, f"{channel}_channel")
        socket.send(message)
        while True:
            reply = socket.get_msg(timeout=30)
            if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                return reply


class KernelTest(unittest.TestCase):
    """Tests that share one kernel, so they use different names."""

    @classmethod
    def setUpClass(cls):
        cls.kernel = Kernel()

    @classmethod
    def tearDownClass(cls):
        cls.kernel.__exit__()

    def run_ok(self, code, **kwargs):
        cell = self.kernel.run(code, **kwargs)
        self.assertEqual(cell.status, "ok", cell.traceback)
        return cell

    def run_error(self, code, name):
        cell = self.kernel.run(code)
        self.assertEqual((cell.status, cell.reply.get("ename")), ("error", name), cell.traceback)
        return cell


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def descendants(pid):
    found = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except FileNotFoundError:
        return found
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children") as children:
                for child in children.read().split():
                    found += [int(child), *descendants(int(child))]
        except FileNotFoundError:
            pass
    return found


def eventually(condition, timeout=10):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


__all__ = ["Cell", "Empty", "FOLDER", "Kernel", "KernelTest", "NAME", "alive", "descendants", "eventually", "plain"]
