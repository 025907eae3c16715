"""The installed program: kernelspec, doctor, uninstall."""

import json
import os
import subprocess
import tempfile
import unittest

from client import NAME
from jupyter_client.kernelspec import KernelSpecManager


def spec():
    return KernelSpecManager().get_kernel_spec(NAME)


def call(*args, env=None):
    return subprocess.run(
        [spec().argv[0], *args], capture_output=True, text=True, timeout=60,
        env={**os.environ, **(env or {})},
    )


def prefix():
    # PREFIX/share/jupyter/kernels/qrnn
    return os.path.normpath(os.path.join(spec().resource_dir, *[os.pardir] * 4))


class Installed(unittest.TestCase):
    def test_the_kernelspec(self):
        found = spec()
        self.assertEqual((found.language, found.interrupt_mode), ("rust", "message"))
        self.assertEqual(found.argv[1:], ["run", "{connection_file}"])
        self.assertTrue(os.path.isdir(found.env["LIBTORCH"]))

    def test_the_doctor_reports_a_good_installation(self):
        said = call("doctor", "--prefix", prefix())
        self.assertEqual(said.returncode, 0, said.stdout)
        for thing in ("rustc", "cargo", "kernel", "preloaded", "libtorch"):
            self.assertIn(f"good  {thing}: ", said.stdout)

    def test_the_doctor_says_how_to_repair(self):
        with tempfile.TemporaryDirectory() as empty:
            said = call("doctor", "--prefix", empty)
        self.assertEqual(said.returncode, 1)
        self.assertIn("BAD   kernel", said.stdout)
        self.assertIn("cargo xtask kernel", said.stdout)
        said = call("doctor", "--prefix", prefix(), env={"PATH": "/nonexistent"})
        self.assertEqual(said.returncode, 1)
        # rustc is found in the toolchain that built the kernel.
        self.assertIn("good  rustc", said.stdout)
        self.assertIn("BAD   linker", said.stdout)

    def test_a_wrong_connection_file_is_an_error(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "connection.json")
            said = call("run", path)
            self.assertEqual(said.returncode, 1)
            self.assertIn("cannot read", said.stderr)
            with open(path, "w") as file:
                json.dump({"ip": "127.0.0.1"}, file)
            said = call("run", path)
            self.assertEqual(said.returncode, 1)
            self.assertIn("is not a connection file", said.stderr)

    def test_nothing_to_remove(self):
        with tempfile.TemporaryDirectory() as empty:
            said = call("uninstall", "--prefix", empty)
        self.assertEqual((said.returncode, said.stdout), (0, "nothing was installed there\n"))


if __name__ == "__main__":
    unittest.main()
