"""PyTorch to measure a card's work against: `reproduce bench` runs it.

Written for this project, from the equations and from the list of operations that the published code
runs; nothing of that code is in here. A training step of the entry's model (step.py), in three ways:

* published: eager, single precision. Elementwise operations one by one, a pooling kernel of the
  published design (recurrence.py), the words of each cluster picked by mask, the head's columns put
  together anew in every step, clipping and Adam as torch does them by default.
* tf32: the same with TF32 allowed in matrix products.
* tuned: what a careful user of torch 2.11 writes. bfloat16 by autocast, torch.compile, the same
  pooling kernel, words sorted by cluster on the host, fused Adam.

And fo-pooling by itself (pooling.py): in the published way, and around the kernels of two packages.

Argument: a folder with peer.json, {"work": "step", "mode", "device", "inputs", "splits", "batch",
"dropout", "clip"}, where inputs is a folder with model.safetensors and ids.bin (int32), or {"work": "pool",
"mode", "device"}. Commands come a JSON object a line, and each is answered with one; nothing touches the device before the first, which
is {"hello": true}: the versions of "torch" (null where there is none) and "device". A step knows

* {"reset": dropout}: weights, optimizer and state as at the beginning;
* {"lengths": [...], "rates": [...]} trains a step of each length and rate: their "losses", the
  "seconds" of all by the wall clock, each step's "step_seconds" by the device's, "peak_bytes";
* {"evaluate": window, "words": n} reads the first n ids, nothing dropped or learned: "loss_sum" and
  "seconds";

and pooling

* {"prepare": [seq, batch, hidden], "kind": "f32" or "bf16"} compiles, and compares with double
  precision: "variants", by name {"words": what it is, "off": distance} or {"failed": reason};
* {"runs": n} measures what was prepared: "variants", by name the "forward" and "both" seconds of each run
  by the device's clock.

What fails is answered with {"failed": reason}.
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
        # What takes long and needs no device is done while others are measured.
        try:
            self.prepare()
        except (ImportError, LeftOut) as error:
            self.missing = reason(error)

    def prepare(self):
        if self.config["mode"] not in ("published", "tf32"):
            import torch._inductor.compile_fx
        if self.config["work"] == "pool":
            import pooling

            self.method = pooling.METHODS[self.config["mode"]](self.config)
        else:
            import step

            self.method = step.Step

    def hello(self):
        device = torch.device(self.config["device"])
        name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
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
    # Whatever a package prints goes to standard error; answers have standard output to themselves.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    main(channel)
