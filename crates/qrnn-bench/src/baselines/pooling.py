"""fo-pooling alone, forward and backward: from gates (seq, batch, 3 hidden) and an initial state to the gated
output.

* published: eager, fp32, with the kernel of recurrence.py.
* hgrn: the two kernels for h_t = exp(g_t) h_{t-1} + x_t of flash-linear-attention (PyPI fla-core, Triton), on
  (batch, seq, hidden), which the library calls "fused_recurrent" and "chunk".
* scan: the kernels for x_t = a_t x_{t-1} + b_t of accelerated-scan (PyPI), on (batch, hidden, seq): "scalar"
  in Triton, and "warp" in CUDA if nvcc is installed, which requires sequence lengths that are powers of two.

The packages leave activations, layouts, padding, the initial state and the output gate to their user. These
operations are elementwise and compiled by torch.compile: one kernel before the recurrence and one after it,
in each direction.
"""

import importlib.metadata
import math
import os
import shutil
import threading

import torch
import torch.nn.functional as F

from clock import Clock
from reason import LeftOut, reason
from recurrence import Pooling, eager_pool, gated

# Approximate limit for building a CUDA extension, in seconds.
BUILD = 120
# Runs before the measurement, in which kernels are tuned.
WARM_UP = 3


def exact(gates, before, weights):
    """Output, and gradient of the gates, in double precision."""
    z, f, o = gates.double().chunk(3, dim=2)
    z, f, o, weights = z.tanh(), f.sigmoid(), o.sigmoid(), weights.double()
    seq, before = len(z), before.double()
    states = torch.empty(seq + 1, *before.shape, dtype=torch.double, device=z.device)
    states[0] = before
    for t in range(seq):
        torch.lerp(states[t], z[t], f[t], out=states[t + 1])
    output, carry = o * states[1:], weights * o
    keep = 1 - f
    for t in reversed(range(seq - 1)):
        carry[t].addcmul_(keep[t + 1], carry[t + 1])
    grads = [
        carry * f * (1 - z * z),
        carry * (z - states[:-1]) * f * keep,
        weights * states[1:] * o * (1 - o),
    ]
    return output, torch.cat(grads, dim=2)


def needs_gpu(config):
    # Triton's interpreter, which runs on the CPU, only tests the calls.
    if config["device"] != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise LeftOut("needs a GPU")


def compiled(call, device):
    if device.type != "cuda":
        return call  # only tested, not measured
    # One compilation per size, dtype and direction.
    torch._dynamo.config.recompile_limit = 64
    return torch.compile(call, dynamic=False)


def loop(keep, x, first):
    """h_t = keep_t h_{t-1} + x_t over the first dimension: replaces a package's kernel in tests."""
    states = []
    for t in range(len(x)):
        first = keep[t] * first + x[t]
        states.append(first)
    return torch.stack(states)


class Published:
    def __init__(self, config):
        self.kinds = ["f32"]

    def variants(self, device):
        pool = eager_pool(Pooling(device))
        words = "the published design, eager, fp32"
        return {"published": (words, lambda gates, before: gated(pool, gates, before)[0])}


class Around:
    """The operations before and after the kernel of a package."""

    def __init__(self, device):
        self.enter, self.leave = compiled(self.enter, device), compiled(self.leave, device)

    def around(self, kernel):
        def call(gates, before):
            # Computing the sigmoid of the output gate before the kernel stores one more tensor, but then
            # the backward does not have to combine two gradients of the gates.
            whole = gates.requires_grad and torch.is_grad_enabled()
            keep, x, o = self.enter(gates, before, whole)
            return self.leave(kernel(keep, x, before), o, whole)

        return call


class Hgrn:
    def __init__(self, config):
        self.kinds, self.plain = ["bf16", "f32"], config.get("plain")
        if self.plain:
            return
        needs_gpu(config)
        from fla.ops.hgrn import chunk_hgrn, fused_recurrent_hgrn

        self.kernels = {"fused_recurrent": fused_recurrent_hgrn, "chunk": chunk_hgrn}

    def variants(self, device):
        around = HgrnAround(device).around
        if self.plain:
            turned = lambda g, x, first: loop(g.exp().transpose(0, 1), x.transpose(0, 1), first)
            return {"plain": ("a loop", around(lambda *inputs: turned(*inputs).transpose(0, 1)))}
        name = f"HGRN of fla-core {importlib.metadata.version('fla-core')}"
        behind = lambda kernel: around(lambda g, x, first: kernel(x, g, initial_state=first)[0])
        return {form: (f"{name}, {form}", behind(kernel)) for form, kernel in self.kernels.items()}


class HgrnAround(Around):
    def enter(self, gates, before, whole):
        z, f, o = gates.transpose(0, 1).chunk(3, dim=2)
        g, x = F.logsigmoid(-f), f.sigmoid() * z.tanh()
        return g.contiguous(), x.contiguous(), o.sigmoid() if whole else o

    def leave(self, states, o, whole):
        return ((o if whole else o.sigmoid()) * states).transpose(0, 1)


class Scan:
    def __init__(self, config):
        self.kinds, self.plain = ["bf16", "f32"], config.get("plain")
        if self.plain:
            return
        needs_gpu(config)
        from accelerated_scan.scalar import scan

        self.scalar, self.warp, self.problem = scan, None, None
        self.building = threading.Thread(target=self.build, daemon=True)
        self.building.start()

    def build(self):
        if not shutil.which("nvcc"):
            self.problem = "its CUDA extension needs nvcc"
            return
        try:
            from accelerated_scan.warp import scan

            self.warp = scan
        except Exception as error:
            self.problem = f"its CUDA extension was not built: {reason(error)}"

    def variants(self, device):
        any_length, powers = ScanAround(device, False).around, ScanAround(device, True).around
        if self.plain:
            turned = lambda a, b: loop(a.permute(2, 0, 1), b.permute(2, 0, 1), torch.zeros_like(b[..., 0]))
            kernel = lambda a, b, _: turned(a, b).permute(1, 2, 0)
            return {"plain": ("a loop", any_length(kernel)), "padded": ("a loop", powers(kernel))}
        name = f"accelerated-scan {importlib.metadata.version('accelerated-scan')}"
        variants = {"scalar": (f"{name}, scalar", any_length(lambda a, b, _: self.scalar(a, b)))}
        self.building.join(BUILD)
        warp = powers(lambda a, b, _: self.warp(a, b)) if self.warp else self.problem
        variants["warp"] = (f"{name}, warp", warp or f"its CUDA extension was not built in {BUILD} s")
        return variants


class ScanAround(Around):
    def __init__(self, device, padded):
        self.padded = padded
        super().__init__(device)

    def enter(self, gates, before, whole):
        z, f, o = gates.chunk(3, dim=2)
        a, b = (-f).sigmoid(), f.sigmoid() * z.tanh()
        # The scan has no initial state, so the first input includes it.
        b = torch.cat([(b[0] + a[0] * before.to(b.dtype))[None], b[1:]])
        a, b = (tensor.permute(1, 2, 0) for tensor in (a, b))
        if self.padded:
            seq = a.shape[2]
            missing = max(32, 1 << (seq - 1).bit_length()) - seq
            a, b = F.pad(a, (0, missing)), F.pad(b, (0, missing))
        return a.contiguous(), b.contiguous(), o.sigmoid() if whole else o

    def leave(self, states, o, whole):
        return ((o if whole else o.sigmoid()) * states[:, :, : len(o)].permute(2, 0, 1)).contiguous()


METHODS = {"published": Published, "hgrn": Hgrn, "scan": Scan}


class Bench:
    """Measures all variants of a method on the same inputs."""

    def __init__(self, method, device):
        self.kinds, self.device, self.calls = method.kinds, device, method.variants(device)

    def prepare(self, size, kind):
        self.ready, variants = {}, {}
        if kind not in self.kinds:
            return {"variants": variants}
        seq, batch, hidden = size
        dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[kind]
        random = lambda *size, dtype=dtype: torch.randn(*size, device=self.device, dtype=dtype)
        state = lambda: random(batch, hidden, dtype=torch.float32)
        # Two alternating sets, so a run does not find its inputs in the cache.
        self.sets = [(random(seq, batch, 3 * hidden), state()) for _ in range(2)]
        self.weights = random(seq, batch, hidden)
        expected = exact(*self.sets[0], self.weights)
        for name, (words, call) in self.calls.items():
            variants[name] = {"words": words}
            if isinstance(call, str):
                variants[name]["failed"] = call
                continue
            try:
                variants[name]["off"] = self.off(call, expected)
                self.ready[name] = call
                self.time(name, WARM_UP)
            except Exception as error:
                self.ready.pop(name, None)
                variants[name]["failed"] = reason(error)
        return {"variants": variants}

    def off(self, call, expected):
        """Largest relative error ‖x - exact‖ / ‖exact‖ of output and gradient; None if not finite."""
        gates, before = self.sets[0]
        leaf = gates.detach().clone().requires_grad_(True)
        output = call(leaf, before)
        output.backward(self.weights)
        with torch.no_grad():
            apart = lambda a, b: ((a.double() - b).norm() / b.norm()).item()
            off = [apart(a, b) for a, b in zip((output, leaf.grad), expected)]
            return max(off) if all(map(math.isfinite, off)) else None

    def measure(self, runs):
        return {"variants": {name: self.time(name, runs) for name in self.ready}}

    def time(self, name, runs):
        call = self.ready[name]
        forward, both = Clock(self.device), Clock(self.device)
        self.run_ahead()
        for run in range(runs):
            gates, before = self.sets[run % 2]
            with torch.no_grad():
                forward.mark()
                call(gates, before)
                forward.mark()
        self.run_ahead()
        for run in range(runs):
            gates, before = self.sets[run % 2]
            leaf = gates.detach().requires_grad_(True)
            both.mark()
            call(leaf, before).backward(self.weights)
            both.mark()
        both.wait()
        return {"forward": forward.between()[::2], "both": both.between()[::2]}

    def run_ahead(self):
        """Keeps a GPU busy, so the following work is queued and timed without delays of the host."""
        if self.device.type == "cuda":
            matrix = torch.randn(8192, 8192, device=self.device)
            for _ in range(2):
                matrix @ matrix
