"""Start-up times, interrupts, two kernels at once, and the end of a kernel."""

import contextlib
import glob
import http.server
import os
import signal
import tempfile
import threading
import time
import unittest

from client import FOLDER, Kernel, KernelTest, alive, descendants, eventually

# Counts until it is interrupted, as long calls of the library do.
POLLING = r"""
let mut steps = 0u64;
let path = std::env::var("QRNN_JUPYTER_INTERRUPTS")?;
fn count(path: &str) -> u64 { u64::from_le_bytes(std::fs::read(path).unwrap().try_into().unwrap()) }
let before = count(&path);
println!("started");
while count(&path) == before {
    steps += 1;
    std::thread::sleep(std::time::Duration::from_millis(20));
}
"""


class Trickle:
    """A web server with a large file, sent in pieces of 10 kB."""

    def __enter__(self):
        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", "100000000")
                self.end_headers()
                with contextlib.suppress(OSError):
                    while True:
                        self.wfile.write(bytes(10_000))
                        time.sleep(0.02)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}/archive.zip"

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def names_below(pid):
    names = []
    for process in descendants(pid):
        try:
            with open(f"/proc/{process}/comm") as comm:
                names.append(comm.read().strip())
        except FileNotFoundError:
            pass
    return names


def sessions():
    """The working folders of the kernels of these tests."""
    return set(glob.glob(os.path.join(FOLDER, f"qrnn-jupyter-{os.getuid()}", "*")))


class Ready(unittest.TestCase):
    def test_the_first_cell_and_a_later_one(self):
        """Offline and without a :dep line: 10 s for the first cell of a new kernel, 1 s for a later one."""
        # No registry can be reached.
        offline = {"CARGO_NET_OFFLINE": "true", "https_proxy": "http://127.0.0.1:9"}
        os.environ.update(offline)
        try:
            start = time.monotonic()
            with Kernel() as kernel:
                cell = kernel.run("use qrnn::prelude::*;")
                first = time.monotonic() - start
                self.assertEqual(cell.status, "ok", cell.traceback)
                cell = kernel.run("let config = LmConfig::paper(300, 1800);")
                self.assertEqual(cell.status, "ok", cell.traceback)
                later = sorted(kernel.run(f"1 + {n}").seconds for n in range(5))
        finally:
            for name in offline:
                del os.environ[name]
        print(f"\nfirst cell of a new kernel: {first:.2f} s; later cells: "
              f"{later[0]:.2f} to {later[-1]:.2f} s, median {later[2]:.2f} s")
        self.assertLess(first, 10)
        self.assertLess(later[2], 1)


class Interrupts(KernelTest):
    def interrupted(self, sent):
        """Interrupts the cell, and returns it with its duration after that."""
        self.kernel.interrupt()
        asked = time.monotonic()
        cell = self.kernel.collect(sent)
        return cell, time.monotonic() - asked

    def test_code_that_checks_for_interrupts_keeps_its_variables(self):
        self.assertEqual(self.kernel.run("let kept = vec![1, 2, 3];").status, "ok")
        # It returns what it has so far.
        sent = self.kernel.send(POLLING)
        self.kernel.await_stdout(sent, "started")
        time.sleep(0.5)
        cell, seconds = self.interrupted(sent)
        self.assertEqual(cell.status, "ok", cell.traceback)
        self.assertLess(seconds, 1)
        self.assertEqual(self.kernel.run("steps > 5 && kept.len() == 3").result, "true")
        # It returns an error, as `fit` may.
        failing = "{" + POLLING + '}\nErr::<(), String>("interrupted".into())?;'
        sent = self.kernel.send(failing)
        self.kernel.await_stdout(sent, "started")
        cell, seconds = self.interrupted(sent)
        self.assertEqual(cell.reply["status"], "error")
        self.assertEqual(cell.reply["ename"], "KeyboardInterrupt")
        self.assertLess(seconds, 1)
        self.assertEqual(self.kernel.run("kept.len()").result, "3")
        print(f"\nan interrupt of code that checks for it: {seconds:.2f} s")

    def test_interrupted_training_keeps_the_model(self):
        # One thread, because other tests may run at the same time.
        cell = self.kernel.run(
            "use qrnn::prelude::*; tch::set_num_threads(1); let corpus = Corpus::synthetic(); "
            "let config = LmConfig::paper(20, 40).bptt(20); "
            "let mut model = QrnnLm::new(&config, &corpus, Device::Cpu)?;"
        )
        self.assertEqual(cell.status, "ok", cell.traceback)
        sent = self.kernel.send(
            'println!("started"); let recipe = Recipe::paper().bptt(20).batch(6).epochs(500); '
            "let run = Trainer::new(recipe).fit(&mut model, &corpus)?;"
        )
        self.kernel.await_stdout(sent, "started")
        time.sleep(2)
        cell, seconds = self.interrupted(sent)
        self.assertEqual(cell.status, "ok", cell.traceback)
        self.assertLess(seconds, 1)
        print(f"\nan interrupt of training: {seconds:.2f} s")
        self.assertEqual(self.kernel.run("run.interrupted && run.losses.len() > 1").result, "true")
        # The perplexity of an untrained model is the vocabulary size, 4,132.
        learned = "evaluate(&model, &corpus, Split::Valid)?.ppl < 3500.0"
        self.assertEqual(self.kernel.run(learned).result, "true")

        # An interrupted evaluation returns what it has, like training.
        code = 'println!("started"); while !evaluate(&model, &corpus, Split::Test)?.interrupted {}'
        sent = self.kernel.send(code)
        self.kernel.await_stdout(sent, "started")
        time.sleep(1)
        cell, seconds = self.interrupted(sent)
        self.assertEqual(cell.status, "ok", cell.traceback)
        self.assertLess(seconds, 1)
        self.assertEqual(self.kernel.run(learned).result, "true")

        # An interrupt between two calls stops the next one, and only that.
        code = """println!("started"); std::thread::sleep(std::time::Duration::from_secs(2));
            let stopped = evaluate(&model, &corpus, Split::Test)?.interrupted;
            let next = evaluate(&model, &corpus, Split::Test)?.interrupted;"""
        sent = self.kernel.send(code)
        self.kernel.await_stdout(sent, "started")
        cell, _ = self.interrupted(sent)
        self.assertEqual(cell.status, "ok", cell.traceback)
        self.assertEqual(self.kernel.run("(stopped, next)").result, "(true, false)")

    def test_a_download_shows_its_progress_and_ends(self):
        with Trickle() as url, tempfile.TemporaryDirectory() as folder:
            code = """use qrnn::data::download::{Dataset, Fetch};
                println!("started");
                let fetch = Fetch::new(Dataset::named("wikitext-103")?, FOLDER).url(URL)?;
                let fetched = fetch.run(&mut *qrnn::view::progress::here())?;"""
            code = code.replace("FOLDER", f'"{folder}"').replace("URL", f'"{url}"')
            sent = self.kernel.send(code)
            self.kernel.await_stdout(sent, "started")
            time.sleep(2)
            cell, seconds = self.interrupted(sent)
            self.assertEqual(cell.reply.get("ename"), "KeyboardInterrupt", cell.traceback)
            self.assertLess(seconds, 1)
            shown = [m["data"]["text/plain"] for m in cell.of("display_data")]
            shown += [m["data"]["text/plain"] for m in cell.of("update_display_data")]
            self.assertRegex(shown[0], r"^downloading: \d+ %, [\d.]+ MB/s, .+ left$")
            kept = [os.path.getsize(p) for p in glob.glob(f"{folder}/*.part")]
            self.assertTrue(kept and kept[0] > 0, os.listdir(folder))

    def test_a_second_interrupt_ends_an_endless_loop(self):
        self.assertEqual(self.kernel.run("let lost = 1; fn stays() -> u8 { 2 }").status, "ok")
        sent = self.kernel.send('println!("started"); loop { std::hint::black_box(0); }')
        self.kernel.await_stdout(sent, "started")
        self.kernel.interrupt()
        time.sleep(1.5)
        cell, seconds = self.interrupted(sent)
        self.assertEqual(cell.reply["ename"], "KeyboardInterrupt")
        self.assertIn("variables are lost", cell.reply["evalue"])
        self.assertLess(seconds, 2)
        self.assertEqual(self.kernel.run("lost").reply["ename"], "CompileError")
        self.assertEqual(self.kernel.run("stays()").result, "2")

    def test_code_has_a_second_to_react_to_the_first_interrupt(self):
        sent = self.kernel.send(POLLING.replace("count(&path) == before", "count(&path) < before + 2"))
        self.kernel.await_stdout(sent, "started")
        self.kernel.interrupt()
        cell, _ = self.interrupted(sent)
        self.assertEqual(cell.status, "ok", cell.traceback)

    def test_a_compilation_is_interrupted(self):
        # Thousands of functions take long enough to compile.
        many = range(6000)
        code = "\n".join(f"fn f{n}(x: f64) -> f64 {{ (x + {n}.0).sin().powf(1.5) }}" for n in many)
        code += "\nlet v: Vec<f64> = vec![" + ", ".join(f"f{n}(1.0)" for n in many) + "];"
        with Kernel() as kernel:
            self.assertEqual(kernel.run("let kept = 4;").status, "ok")
            sent = kernel.send(code)
            self.assertTrue(eventually(lambda: "rustc" in names_below(kernel.pid)))
            kernel.interrupt()
            asked = time.monotonic()
            cell = kernel.collect(sent)
            self.assertEqual(cell.reply.get("ename"), "KeyboardInterrupt", cell.traceback[:500])
            self.assertLess(time.monotonic() - asked, 3)
            self.assertEqual(kernel.run("kept").result, "4")

    def test_an_interrupt_between_cells_does_nothing(self):
        reply = self.kernel.request("control", "interrupt_request", {})
        self.assertEqual(reply["content"], {"status": "ok"})
        self.assertEqual(self.kernel.run("3 + 3").result, "6")


class TwoKernels(unittest.TestCase):
    def test_two_kernels_at_once(self):
        with Kernel() as one, Kernel() as other:
            sent = [k.send(f"let mine = {n};") for n, k in enumerate((one, other))]
            for kernel, message in zip((one, other), sent):
                self.assertEqual(kernel.collect(message).status, "ok")
            sent = [k.send("mine") for k in (one, other)]
            results = [k.collect(m).result for k, m in zip((one, other), sent)]
            self.assertEqual(results, ["0", "1"])
            one.run("std::process::exit(1)")
            self.assertEqual(other.run("mine").result, "1")


class End(unittest.TestCase):
    def gone(self, processes, before):
        self.assertTrue(eventually(lambda: not any(map(alive, processes))),
                        [p for p in processes if alive(p)])
        self.assertTrue(eventually(lambda: sessions() <= before), sessions() - before)

    def test_a_killed_kernel_leaves_nothing(self):
        before = sessions()
        with Kernel() as kernel:
            kernel.run('std::process::Command::new("sleep").arg("600").spawn()?;')
            kernel.send("loop {}")
            time.sleep(2)
            self.assertEqual(len(sessions() - before), 1)
            processes = [kernel.pid, *descendants(kernel.pid)]
            # The child process, its `sleep` and the guard are among them.
            self.assertGreaterEqual(len(processes), 4)
            os.kill(kernel.pid, signal.SIGKILL)
            kernel.manager.provisioner.process.wait()
            self.gone(processes, before)

    def test_a_kernel_killed_at_its_start_leaves_nothing(self):
        before = sessions()
        for delay in (0.05, 0.3, 1):
            with Kernel() as kernel:
                time.sleep(delay)
                processes = [kernel.pid, *descendants(kernel.pid)]
                os.kill(kernel.pid, signal.SIGKILL)
                kernel.manager.provisioner.process.wait()
                self.gone(processes, before)

    def test_shutdown_and_restart(self):
        before = sessions()
        with Kernel() as kernel:
            kernel.run("let a = 1;")
            processes = [kernel.pid, *descendants(kernel.pid)]
            reply = kernel.request("control", "shutdown_request", {"restart": False})
            self.assertEqual(reply["content"], {"status": "ok", "restart": False})
            kernel.manager.provisioner.process.wait(timeout=10)
            self.gone(processes, before)
            kernel.manager.restart_kernel(now=True)
            kernel.client.wait_for_ready(timeout=60)
            self.assertEqual(kernel.run("a").reply["ename"], "CompileError")
            self.assertEqual(kernel.run("1 + 1").result, "2")


if __name__ == "__main__":
    unittest.main()
