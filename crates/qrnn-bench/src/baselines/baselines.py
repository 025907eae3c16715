"""PyTorch baselines; `cargo xtask bench` runs this program.

Written for this project, from the equations and from the list of operations that the published code
runs; it contains none of that code. step.py implements a training step of the entry's model in five modes:

* published: eager, fp32. Elementwise operations run one by one, with a pooling kernel of the published
  design (recurrence.py). The tokens of each cluster are selected by a mask, the head's weights are
  concatenated in every step, and clipping and Adam are torch's defaults.
* tf32: the same, with TF32 allowed in matrix products.
* fp32: eager, fp32, the recurrence as a loop over time that autograd differentiates, tokens sorted by cluster
  on the host, cross entropy and everything else as torch has it.
* bf16: the same, bfloat16 by autocast.
* tuned: an optimized program for torch 2.11: bfloat16 by autocast, torch.compile, the same pooling
  kernel, tokens sorted by cluster on the host, fused Adam.

pooling.py implements fo-pooling alone: in the published way, and with the kernels of two packages.

Argument: a folder with peer.json, which is {"work": "step", "mode", "device", "inputs", "splits", "batch",
"dropout", "clip"}, where inputs is a folder with model.safetensors and ids.bin (int32 tokens), or
{"work": "pool", "mode", "device"}.

The program reads commands, one JSON object per line, and answers each with one JSON object. The first
command is {"hello": true}, and nothing uses the device before it; the answer has the version of "torch"
(null if torch is not installed) and the name of the "device". Commands for a step:

* {"reset": dropout} restores weights, optimizer and state to their initial values.
* {"lengths": [...], "rates": [...]} trains one step for each length and learning rate. The answer has the
  "losses", the wall-clock "seconds" of all steps, the "step_seconds" of each step by the device's clock, and
  "peak_bytes".
* {"evaluate": window, "words": n} evaluates the first n tokens, without dropout and training. The answer has
  "loss_sum" and "seconds".

Commands for pooling:

* {"prepare": [seq, batch, hidden], "kind": "f32" or "bf16"} compiles, and compares with double precision.
  The answer has "variants", by name {"words": description, "off": relative error} or {"failed": reason}.
* {"runs": n} measures the prepared variants. The answer has "variants", by name the seconds of the "forward"
  and of "both" directions for each run, by the device's clock.

The answer to a command that fails is {"failed": reason}.
"""

import json
import os
import pathlib
import sys
import traceback

from reason import LeftOut, reason


class Peer:
    def __init__(self, folder):
        self.work, self.missing = None, None
        self.config = json.loads((folder / "peer.json").read_text())
        # Slow preparations that need no device run while other baselines are measured.
        try:
            self.prepare()
        except (ImportError, LeftOut) as error:
            self.missing = reason(error)

    def prepare(self):
        if self.config["mode"] in ("tuned", "hgrn", "scan"):
            import torch._inductor.compile_fx
        if self.config["work"] == "pool":
            import pooling

            self.method = pooling.METHODS[self.config["mode"]](self.config)
        else:
            import step

            self.method = step.Step

    def hello(self):
        device = torch.device(self.config["device"])
        threads = torch.get_num_threads()
        cpu = f"the CPU, {threads} thread{'' if threads == 1 else 's'}"
        name = torch.cuda.get_device_name() if device.type == "cuda" else cpu
        hello = {"torch": torch.__version__, "device": name}
        if self.missing:
            return hello | {"failed": self.missing}
        if self.config["work"] == "pool":
            from pooling import Bench

            self.work = Bench(self.method, device)
        else:
            self.work = self.method(self.config)
        return hello

    def answer(self, command):
        if "hello" in command:
            return self.hello()
        if "prepare" in command:
            return self.work.prepare(command["prepare"], command["kind"])
        if "runs" in command:
            return self.work.measure(command["runs"])
        if "reset" in command:
            return self.work.reset(command["reset"])
        if "evaluate" in command:
            return self.work.evaluate(command["evaluate"], command["words"])
        return self.work.all(command["lengths"], command["rates"])


def main(answers):
    def say(answer):
        try:
            line = json.dumps(answer, allow_nan=False)
        except ValueError:
            line = json.dumps({"failed": "its numbers are not finite"})
        print(line, file=answers, flush=True)

    peer = None if torch is None else Peer(pathlib.Path(sys.argv[1]))
    for line in sys.stdin:
        if peer is None:
            say({"torch": None})
            continue
        try:
            answer = peer.answer(json.loads(line))
        except Exception as error:
            traceback.print_exc()
            answer = {"failed": reason(error)}
        say(answer)


try:
    import torch
except ImportError:
    torch = None
if __name__ == "__main__":
    # Packages print to standard error, so standard output contains only the answers.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    main(channel)
