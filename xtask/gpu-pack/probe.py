"""Measures matrix products of the entry's step in libtorch, and lists their kernels.

    probe.py FILE [small]   appends one JSON object a product to FILE

cuBLAS chooses a kernel by the sizes and the layout of its operands. Each product is measured with its own
sizes, and with those, or the layout, that our step uses.
"""

import json
import sys

import torch

RUNS = 20


def products(small):
    """The products by name: (tokens, classes or gates, features) of a linear map, and what is computed."""
    bf16, tf32 = torch.bfloat16, torch.float32
    # The head, a tail, the last layer; each with its own size and with multiples of 8.
    maps = [("head", 12_000, 2803, 304), ("last tail", 302, 191_735, 304), ("last layer", 12_000, 900, 1808)]
    wide = [("layer", 12_000, 5400, 1808), ("third tail", 536, 56_000, 304)]
    if small:
        maps, wide = [("head", 12, 23, 16)], [("layer", 12, 40, 24)]
    for name, tokens, outputs, features in maps:
        for rows, columns in ((tokens, outputs), (tokens, -(-outputs // 8) * 8)):
            yield f"{name} {(rows, columns, features)}: x Wᵀ", bf16, forward(rows, columns, features, bf16)
            yield f"{name} {(rows, columns, features)}: g W", bf16, of_inputs(rows, columns, features, bf16)
            yield f"{name} {(rows, columns, features)}: gᵀ x", bf16, of_weight(rows, columns, features, bf16)
    for name, *sizes in wide:
        for kind in (bf16, tf32):
            yield f"{name} {tuple(sizes)}: gᵀ x", kind, of_weight(*sizes, kind)
        yield f"{name} {tuple(sizes)}: gᵀ x, x transposed first", tf32, of_weight(*sizes, tf32, transposes=True)


def rows_of_16_bytes(rows, columns, kind):
    """A random matrix whose rows have a distance of a multiple of 16 bytes."""
    return torch.randn(rows, -(-columns // 8) * 8, device="cuda").to(kind)[:, :columns]


def forward(tokens, outputs, features, kind):
    x, weight = rows_of_16_bytes(tokens, features, kind), rows_of_16_bytes(outputs, features, kind)
    out = rows_of_16_bytes(tokens, outputs, kind)
    return lambda: torch.mm(x, weight.t(), out=out)


def of_inputs(tokens, outputs, features, kind):
    """The gradient of the inputs, in float."""
    g, weight = rows_of_16_bytes(tokens, outputs, kind), rows_of_16_bytes(outputs, features, kind)
    return lambda: torch.mm(g, weight, out_dtype=torch.float32)


def of_weight(tokens, outputs, features, kind, transposes=False):
    """The gradient of the weight, in float."""
    g, x = rows_of_16_bytes(tokens, outputs, kind), rows_of_16_bytes(tokens, features, kind)
    if transposes:
        return lambda: torch.mm(g.t(), x.t().contiguous().t())
    if kind == torch.float32:
        return lambda: torch.mm(g.t(), x)
    return lambda: torch.mm(g.t(), x, out_dtype=torch.float32)


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
    torch.backends.cuda.matmul.allow_tf32 = True
    device = torch.cuda.get_device_name()
    for what, kind, work in products(small):
        work()
        precision = "bf16" if kind == torch.bfloat16 else "tf32"
        record = {"bench": "probe", "device": device, "what": f"{precision} {what}", "seconds": seconds(work)}
        record["kernels"] = kernels(work)
        line = json.dumps(record, ensure_ascii=False)
        print(line, flush=True)
        with open(file, "a") as out:
            out.write(line + "\n")


if __name__ == "__main__":
    main(sys.argv[1], len(sys.argv) > 2)
