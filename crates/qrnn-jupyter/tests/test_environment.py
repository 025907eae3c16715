"""Interrupts before code runs, other toolchains, another torch, errors at the start."""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from client import Kernel
from jupyter_client.manager import KernelManager
from test_install import call, prefix, spec
from test_lifecycle import POLLING

# Seconds that an interrupt may take on a busy machine.
AT_ONCE = 1.5


@contextlib.contextmanager
def environment(**variables):
    """Sets environment variables; None removes one."""
    before = {name: os.environ.get(name) for name in variables}

    def change(values):
        for name, value in values.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    change(variables)
    try:
        yield
    finally:
        change(before)


@contextlib.contextmanager
def silent_server():
    """A server that accepts connections and never answers; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept = []

        def take():
            with contextlib.suppress(OSError):
                while True:
                    kept.append(server.accept()[0])

        threading.Thread(target=take, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        for connection in kept:
            connection.close()


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def make_crate(folder, name, code="pub fn seven() -> i32 { 7 }", build=None):
    """Makes a crate and returns its path."""
    path = os.path.join(folder, name)
    manifest = f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2024"\n[workspace]\n'
    write(f"{path}/Cargo.toml", manifest)
    write(f"{path}/src/lib.rs", code)
    if build:
        write(f"{path}/build.rs", build)
    return path


class EarlyInterrupts(unittest.TestCase):
    """Interrupts before the code of a cell starts."""

    def interrupted(self, kernel, sent, interrupt=None):
        """Interrupts the cell, which must end at once."""
        (interrupt or kernel.interrupt)()
        asked = time.monotonic()
        cell = kernel.collect(sent)
        seconds = time.monotonic() - asked
        self.assertEqual(cell.reply.get("ename"), "KeyboardInterrupt", cell.reply)
        self.assertLess(seconds, AT_ONCE)
        return cell

    def test_the_first_cell_of_a_fresh_kernel(self):
        by_signal = lambda kernel: lambda: os.killpg(kernel.pid, signal.SIGINT)
        # If the code is already running, it returns an error.
        code = "{" + POLLING + '}\nErr::<(), String>("noticed".into())?;'
        moments = [(0, None), (0, by_signal), (0.3, by_signal), (0.6, None), (1.5, None), (3, by_signal)]
        for delay, how in moments:
            with self.subTest(delay=delay, signal=bool(how)), Kernel() as kernel:
                sent = kernel.send(code)
                queued = [kernel.send("2 + 2"), kernel.send("3 + 3")]
                time.sleep(delay)
                self.interrupted(kernel, sent, how and how(kernel))
                for cell in queued:
                    self.assertEqual(kernel.collect(cell).status, "aborted")
                if delay > 1:
                    self.assertEqual(kernel.run("1 + 1").result, "2")

    def test_a_signal_while_the_kernel_starts(self):
        for delay in (0.3, 0.6, 1):
            with self.subTest(delay=delay):
                manager = KernelManager(kernel_name="qrnn")
                manager.start_kernel()
                time.sleep(delay)
                os.killpg(manager.provisioner.pid, signal.SIGINT)
                kernel = Kernel.__new__(Kernel)
                kernel.manager, kernel.client = manager, manager.client()
                kernel.client.start_channels()
                with kernel:
                    kernel.client.wait_for_ready(timeout=60)
                    self.assertEqual(kernel.run("1 + 1").result, "2")

    def test_a_dependency_that_is_being_resolved(self):
        with silent_server() as address, Kernel() as kernel:
            self.assertEqual(kernel.run("let kept = 5;").status, "ok")
            for how in (None, lambda: os.killpg(kernel.pid, signal.SIGINT)):
                sent = kernel.send(f':dep far = {{ git = "{address}/far" }}\nlet v = far::x();')
                queued = kernel.send("kept + 1")
                time.sleep(1)
                cell = self.interrupted(kernel, sent, how)
                self.assertIn("variables are kept", cell.reply["evalue"])
                self.assertEqual(kernel.collect(queued).status, "aborted")
            self.assertEqual(kernel.run("kept").result, "5")

    def test_a_dependency_that_is_being_built(self):
        slow = "fn main() { std::thread::sleep(std::time::Duration::from_secs(60)) }"
        with tempfile.TemporaryDirectory() as folder, Kernel() as kernel:
            path = make_crate(folder, "slow_crate", build=slow)
            self.assertEqual(kernel.run("let kept = 6;").status, "ok")
            for delay in (0.1, 0.5, 2, 4):
                with self.subTest(delay=delay):
                    sent = kernel.send(f':dep slow_crate = {{ path = "{path}" }}\nlet x = 1;')
                    time.sleep(delay)
                    self.interrupted(kernel, sent)
                    # The next cell does not wait for the build.
                    cell = kernel.run("kept")
                    self.assertEqual(cell.result, "6", cell.traceback)
                    self.assertLess(cell.seconds, 20)

    def test_a_shell_command(self):
        with Kernel() as kernel:
            self.assertEqual(kernel.run("1 + 1").result, "2")
            sent = kernel.send("!sleep 60")
            time.sleep(0.5)
            self.interrupted(kernel, sent)
            self.assertEqual(kernel.run("1 + 2").result, "3")


class Toolchains(unittest.TestCase):
    """Cells are compiled with the toolchain that built the kernel."""

    def works(self, folder, **variables):
        """A kernel in this folder runs cells, also with a dependency, and cells see the variables."""
        with environment(**variables), tempfile.TemporaryDirectory() as crates:
            with Kernel(cwd=folder) as kernel:
                cell = kernel.run("1 + 1")
                self.assertEqual(cell.result, "2", cell.traceback)
                path = make_crate(crates, "little")
                cell = kernel.run(f':dep little = {{ path = "{path}" }}\nlittle::seven()')
                self.assertEqual(cell.result, "7", cell.traceback)
                for name, value in variables.items():
                    cell = kernel.run(f'std::env::var("{name}").unwrap_or_default() == "{value}"')
                    self.assertEqual(cell.result, "true", name)
                cell = kernel.run("std::env::current_dir()?.canonicalize()?")
                self.assertEqual(cell.result, f'"{os.path.realpath(folder)}"')

    def test_files_next_to_the_notebook(self):
        wrong = {
            "rust-toolchain.toml": '[toolchain]\nchannel = "1.50.0"\n',
            ".cargo/config.toml": '[build]\nrustc-wrapper = "/bin/false"\ntarget = "wasm32-none"\n'
            'target-dir = "/proc"\nrustc = "/bin/false"\nrustc-workspace-wrapper = "/bin/false"\n'
            'rustflags = ["--no-such-flag"]\n',
            "evcxr.toml": '[evcxr]\ntmpdir = "/proc/nowhere"\nsccache = "/bin/false"\n',
        }
        with tempfile.TemporaryDirectory() as folder:
            for name, text in wrong.items():
                write(os.path.join(folder, name), text)
            self.works(folder)

    def test_invalid_files_next_to_the_notebook(self):
        for toolchain in ("rust-toolchain", "rust-toolchain.toml"):
            with self.subTest(toolchain), tempfile.TemporaryDirectory() as folder:
                for name in (toolchain, ".cargo/config.toml", "evcxr.toml"):
                    write(os.path.join(folder, name), "[[ this is not TOML\n")
                self.works(folder)

    def test_variables_of_the_user(self):
        wrong = "/bin/false"
        with tempfile.TemporaryDirectory() as folder:
            self.works(
                folder, RUSTUP_TOOLCHAIN="no-such-toolchain", RUSTC=wrong, CARGO=wrong,
                RUSTC_WRAPPER=wrong, RUSTC_WORKSPACE_WRAPPER=wrong, CARGO_BUILD_RUSTC=wrong,
            )
            self.works(
                folder, RUSTFLAGS="--no-such-flag", CARGO_ENCODED_RUSTFLAGS="--no-such-flag",
                CARGO_TARGET_DIR="/proc", CARGO_BUILD_TARGET="wasm32-none", CARGO_INCREMENTAL="0",
                CARGO_PROFILE_DEV_PANIC="abort", CARGO_PROFILE_DEV_LTO="fat",
            )

    def test_a_rustup_override(self):
        """A fake rustup on the PATH, which knows no toolchain."""
        with tempfile.TemporaryDirectory() as folder:
            for name in ("rustup", "cargo", "rustc"):
                program = os.path.join(folder, "bin", name)
                write(program, "#!/bin/sh\necho 'error: toolchain is not installed' >&2\nexit 1\n")
                os.chmod(program, 0o755)
            self.works(folder, PATH=f"{folder}/bin:{os.environ['PATH']}")


class StartupErrors(unittest.TestCase):
    """The reply to each cell explains why cells cannot run."""

    def reports(self, *words, **variables):
        with environment(**variables), Kernel() as kernel:
            for _ in range(2):
                cell = kernel.run("1 + 1")
                self.assertEqual(cell.reply["status"], "error")
                self.assertEqual(cell.reply["ename"], "KernelError")
                for word in words:
                    self.assertIn(word, cell.reply["evalue"])
                self.assertEqual(len(cell.of("error")), 1)
            self.assertTrue(kernel.manager.provisioner.process.poll() is None, "it has ended")

    def test_no_preloaded_library(self):
        self.reports("libqrnn_preload.so", "cargo xtask kernel",
                  QRNN_JUPYTER_PRELOAD_FOLDER="/nonexistent")

    def test_a_folder_that_is_not_writable(self):
        self.reports("/proc/nowhere", TMPDIR="/proc/nowhere")

    def test_no_linker(self):
        self.reports("linker", PATH="/nonexistent")


class Quit(unittest.TestCase):
    def test_the_kernel_ends_after_its_reply(self):
        for code in (":quit", "// bye\n  :quit\nlet a = 1;\na"):
            with self.subTest(code), Kernel() as kernel:
                kernel.run("1 + 1")
                cell = kernel.run(code, timeout=20)
                self.assertEqual(cell.status, "ok", cell.traceback)
                self.assertEqual(cell.reply["payload"], [{"source": "ask_exit", "keepkernel": False}])
                process = kernel.manager.provisioner.process
                self.assertEqual(process.wait(timeout=10), 0)
                # Jupyter's manager does this after a kernel has ended.
                kernel.manager.restart_kernel(now=True)
                kernel.client.wait_for_ready(timeout=60)
                self.assertEqual(kernel.run("2 + 2").result, "4")

    def test_a_cell_that_fails_does_not_quit(self):
        with Kernel() as kernel:
            self.assertEqual(kernel.run(":quit\nno_such_name").reply["ename"], "CompileError")
            self.assertEqual(kernel.run("2 + 2").result, "4")


class LibraryPath(unittest.TestCase):
    """Another torch on LD_LIBRARY_PATH is skipped."""

    def works(self, path):
        with environment(LD_LIBRARY_PATH=path), Kernel() as kernel:
            cell = kernel.run("use qrnn::prelude::*; Tensor::from_slice(&[1i64, 2]).sum(Kind::Int64).int64_value(&[])")
            self.assertEqual(cell.result, "3", cell.traceback)
            self.assertEqual(cell.stderr, "")
            cell = kernel.run('std::env::var("LD_LIBRARY_PATH").unwrap()')
            self.assertEqual(cell.result, f'"{path}"')

    def torch(self, folder, content, version=None):
        lib = os.path.join(folder, "torch/lib")
        os.makedirs(lib)
        for name in ("libtorch_cpu.so", "libc10.so"):
            with open(os.path.join(lib, name), "wb") as file:
                file.write(content)
        if version:
            write(os.path.join(folder, "torch/version.py"), f"__version__ = '{version}'\n")
        return lib

    def test_files_that_cannot_be_loaded(self):
        with tempfile.TemporaryDirectory() as folder:
            self.works(self.torch(folder, b"\x7fELF\x02\x01\x01 and no more"))

    def test_another_version(self):
        with tempfile.TemporaryDirectory() as folder:
            empty = os.path.join(folder, "empty.so")
            subprocess.run(["cc", "-shared", "-fPIC", "-o", empty, "-x", "c", "/dev/null"], check=True)
            with open(empty, "rb") as file:
                self.works(self.torch(folder, file.read(), "2.10.0+cpu"))

    def test_the_same_libtorch(self):
        self.works(os.path.join(spec().env["LIBTORCH"], "lib"))


class StockLine(unittest.TestCase):
    """`:dep qrnn` is for the stock kernel; nothing is built for it here."""

    def test_nothing_is_built_and_differences_are_noted(self):
        clone = os.path.realpath(os.path.join(os.path.dirname(__file__), "../../.."))
        with Kernel(cwd=os.path.join(clone, "notebooks")) as kernel:
            kernel.run("1 + 1")
            for line in ('qrnn = { path = ".." }', "qrnn = {path='..', features=[]}", f"{clone}", ".."):
                cell = kernel.run(f":dep {line}\nuse qrnn::prelude::*;\nLmConfig::paper(300, 1800).nhid")
                self.assertEqual(cell.status, "ok", cell.traceback)
                self.assertEqual(cell.stderr, "")
                self.assertLess(cell.seconds, 5)
            cell = kernel.run(':dep qrnn = { path = "/nonexistent", features = ["gpu"] }\n7')
            self.assertEqual(cell.result, "7", cell.traceback)
            self.assertIn(f"preloaded from {clone}; /nonexistent is not used", cell.stderr)
            self.assertIn("without its feature `gpu`", cell.stderr)


class Doctor(unittest.TestCase):
    def test_an_installed_program_knows_its_prefix_and_its_toolchain(self):
        with tempfile.TemporaryDirectory() as home:
            wrong = {"XDG_DATA_HOME": home, "RUSTUP_TOOLCHAIN": "no-such-toolchain"}
            said = call("doctor", env=wrong)
            self.assertEqual(said.returncode, 0, said.stdout)
            self.assertIn(f"good  kernel: {spec().resource_dir}/kernel.json", said.stdout)
            self.assertIn(f"good  preloaded: {prefix()}", said.stdout)
            self.assertIn("good  rustc: rustc ", said.stdout)


if __name__ == "__main__":
    unittest.main()
