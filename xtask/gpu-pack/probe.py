"""Measures single operations of the entry's step in bf16 in libtorch, and lists their kernels.

    probe.py FILE [small]   appends one JSON object an operation to FILE

Which kernel cuBLAS takes for the long inner dimension of the last tail, and what a bias's gradient costs
as a product with ones and as a sum, cannot be told without a GPU.
"""

import json
import sys

import torch

RUNS = 20


def operations(small):
    """The operations by name."""
    device, kind = "cuda", torch.bfloat16
    tokens, gates, tail, rare, width = (120, 54, 1917, 3, 30) if small else (12_000, 5400, 191_735, 273, 300)

    def padded(rows, columns):
        """Pads rows to multiples of 16 bytes, as in a training step."""
        return torch.randn(rows, -(-columns // 8) * 8, device=device, dtype=kind)[:, :columns]

    grads, of_gates, weight = padded(rare, tail), padded(tokens, gates), padded(tail, width)
    ones = torch.ones(1, tokens, device=device, dtype=kind)
    return {
        f"product m{width} n{rare} k{tail}": lambda: grads @ weight,
        f"product with ones m{gates} n1 k{tokens}": lambda: ones @ of_gates,
        f"sum over {tokens} rows of {gates}": lambda: of_gates.sum(0, dtype=torch.float32),
    }


def seconds(work):
    """The median time of single runs, by CUDA events."""
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(RUNS + 1)]
    for mark in marks:
        work()
        mark.record()
    torch.cuda.synchronize()
    times = sorted(a.elapsed_time(b) / 1e3 for a, b in zip(marks, marks[1:]))
    return times[len(times) // 2]


def kernels(work):
    """The kernels of one run with their seconds."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        work()
        torch.cuda.synchronize()
    found = [(event.key, event.self_device_time_total / 1e6) for event in profile.key_averages()]
    return [(name, time) for name, time in found if time > 0]


def main(file, small):
    device = torch.cuda.get_device_name()
    for what, work in operations(small).items():
        work()
        record = {"bench": "probe", "device": device, "what": what, "seconds": seconds(work)}
        record["kernels"] = kernels(work)
        line = json.dumps(record)
        print(line, flush=True)
        with open(file, "a") as out:
            out.write(line + "\n")


if __name__ == "__main__":
    main(sys.argv[1], len(sys.argv) > 2)
