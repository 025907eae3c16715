"""Programs that a cell has started end with the kernel."""

import contextlib
import os
import signal
import subprocess
import time
import unittest

from client import Kernel, alive, eventually

# Starts programs that outlive their parent: one in the group of the cell's process, one in another
# session, one whose parent ends at once, one without its environment.
LEAVING = r"""
use std::process::Command;
let mark = "MARK";
for start in ["sleep MARK & wait", "setsid sleep MARK & wait", "(setsid sleep MARK &)",
              "exec env -i setsid sleep MARK"] {
    Command::new("sh").args(["-c", start]).spawn()?;
}
std::thread::sleep(std::time::Duration::from_millis(700));
"""


def named(mark):
    """The processes of `sleep MARK`."""
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{process}/cmdline", errors="replace") as line:
            if line.read().split("\0")[:2] == ["sleep", mark] and alive(int(process)):
                found.append(int(process))
    return found


class LeftBehind(unittest.TestCase):
    """Programs end with the kernel, also if the process that started them ended before."""

    marks = 0

    def leaves(self, kernel, after):
        """Starts programs, runs `after`, and returns the mark of the programs."""
        LeftBehind.marks += 1
        mark = f"{700 + LeftBehind.marks}.{os.getpid()}"
        cell = kernel.run(LEAVING.replace("MARK", mark))
        self.assertEqual(cell.status, "ok", cell.traceback)
        self.assertEqual(len(named(mark)), 4)
        if after:
            self.assertEqual(kernel.run(after).reply["ename"], "ProcessEnded")
        return mark

    def ended(self, mark):
        self.assertTrue(eventually(lambda: not named(mark)), named(mark))

    def test_the_process_ended_before(self):
        overflow = "fn deep(n: u64) -> u64 { if n == 0 { 0 } else { 1 + deep(n + 1) * 2 } } deep(1)"
        for after in ("std::process::exit(3)", overflow, None):
            with self.subTest(after=after):
                with Kernel() as kernel:
                    mark = self.leaves(kernel, after)
                self.ended(mark)

    def test_the_kernel_is_killed(self):
        for after in ("std::process::exit(3)", None):
            with self.subTest(after=after), Kernel() as kernel:
                mark = self.leaves(kernel, after)
                os.kill(kernel.pid, signal.SIGKILL)
                kernel.manager.provisioner.process.wait()
                self.ended(mark)

    def test_the_kernel_is_killed_while_a_cell_runs(self):
        mark = f"799.{os.getpid()}"
        with Kernel() as kernel:
            start = f'std::process::Command::new("setsid").args(["sleep", "{mark}"]).spawn()?;'
            sent = kernel.send(start + 'println!("started"); loop {}')
            kernel.await_stdout(sent, "started")
            self.assertTrue(eventually(lambda: named(mark)))
            os.kill(kernel.pid, signal.SIGKILL)
            kernel.manager.provisioner.process.wait()
            self.ended(mark)

    def test_restart(self):
        for now in (False, True):
            with self.subTest(now=now), Kernel() as kernel:
                mark = self.leaves(kernel, "std::process::exit(3)")
                kernel.manager.restart_kernel(now=now)
                kernel.client.wait_for_ready(timeout=60)
                self.ended(mark)
                self.assertEqual(kernel.run("1 + 1").result, "2")

    def test_zombies_are_reaped(self):
        with Kernel() as kernel:
            kernel.run('std::process::Command::new("sh").args(["-c", "(setsid true &)"]).spawn()?;')
            time.sleep(0.3)
            kernel.run("1 + 1")
            said = subprocess.run(["ps", "-o", "stat=", "--ppid", str(kernel.pid)],
                                  capture_output=True, text=True)
            self.assertNotIn("Z", said.stdout)


if __name__ == "__main__":
    unittest.main()
