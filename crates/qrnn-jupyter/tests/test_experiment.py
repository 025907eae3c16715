"""An experiment of several seeds: figures under the cell, an interrupt, and a restart of the kernel."""

import tempfile
import unittest

from client import Kernel

SETTINGS = """use qrnn::paper::experiment::{Experiment, Scale};
use qrnn::prelude::*;
tch::set_num_threads(1);
let corpus = Corpus::synthetic();
let experiment = Experiment::table(Scale::reduced(50.0)?, &["300-1500-140", "300-2000-140"])
    .seeds(2)
    .folder("FOLDER");
"""

RUN = "let results = experiment.run(&corpus)?; let missing = results.missing.len(); results"


class ExperimentTest(unittest.TestCase):
    def run_in(self, folder, on_message=None):
        """Runs the experiment in a new kernel; returns the cell and the number of missing runs."""
        with Kernel() as kernel:
            cell = kernel.run(SETTINGS.replace("FOLDER", folder))
            self.assertEqual(cell.status, "ok", cell.traceback)
            stop = (lambda message: on_message(kernel, message)) if on_message else None
            cell = kernel.collect(kernel.send(RUN), on_message=stop)
            self.assertEqual(cell.status, "ok", cell.traceback)
            return cell, int(kernel.run("missing").result)

    def test_an_interrupted_experiment_goes_on_after_a_restart(self):
        interrupted = []

        def interrupt_after_a_run(kernel, message):
            data = message["content"].get("data", {})
            if not interrupted and "test perplexity" in data.get("text/plain", ""):
                interrupted.append(True)
                kernel.interrupt()

        with tempfile.TemporaryDirectory() as folder:
            cell, missing = self.run_in(folder, interrupt_after_a_run)
            self.assertTrue(interrupted)
            self.assertIn(missing, (1, 2, 3))
            self.assertIn("Interrupted: ", str(cell.result))

            cell, left = self.run_in(folder)
            self.assertEqual(left, 0)
            self.assertIn(f"{4 - missing} of 4 runs are in {folder} already", cell.stderr)
            self.assertIn("±", str(cell.result))
            self.assertIn("stands out", str(cell.result))
            shown = [message["data"] for message in cell.of("display_data")]
            figures = [data for data in shown if data["text/plain"].startswith("figures: ")]
            self.assertEqual(len(figures), 1)
            updates = [message["data"] for message in cell.of("update_display_data")]
            last = [data for data in updates if data["text/plain"].startswith("figures: ")][-1]
            self.assertEqual(last["text/plain"], "figures: all runs are finished")
            self.assertIn("standard deviation over 2 seeds", last["text/html"])


if __name__ == "__main__":
    unittest.main()
