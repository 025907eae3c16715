"""PyTorch training steps to measure a card's against: `reproduce bench` runs them.

Written for this project, from the equations and from the list of operations that the published code
runs; nothing of that code is in here. Three ways to do the same step:

* published: eager, single precision. Elementwise operations one by one, a pooling kernel of the
  published design (a thread a column, one dependent time step after another, activations, layout
  copies and the output gate outside of it), the words of each cluster picked by mask, the head's
  columns put together anew in every step, clipping and Adam as torch does them by default.
* tf32: the same with TF32 allowed in matrix products.
* tuned: what a careful user of torch 2.11 writes. bfloat16 by autocast, torch.compile, the same
  pooling kernel, words sorted by cluster on the host, fused Adam.

Argument: a folder with peer.json, {"mode", "device", "splits", "batch", "dropout", "clip"}, with
model.safetensors and with ids.bin (int32); for the mode "pool" the first alone. It then reads commands,
a JSON object a line, and answers each with one:

* {"lengths": [...], "rates": [...]} trains a step of each length and rate: their "losses", the
  "seconds" of all by the wall clock, each step's "step_seconds" by the device's, "peak_bytes";
* {"evaluate": window} reads all ids, nothing dropped or learned: "loss_sum" and "seconds";
* {"pool": [seq, batch, hidden], "runs": n}, in the mode "pool": the "forward" and "both" seconds of
  each run by the device's clock.
"""

import json
import pathlib
import struct
import sys
import time

KERNELS = r"""
extern "C" __global__ void pool_forward(const float* f, const float* x, float* states,
                                        int seq, int columns) {
  int column = blockIdx.x * blockDim.x + threadIdx.x;
  if (column >= columns) return;
  for (int t = 0; t < seq; t++) {
    int at = t * columns + column;
    states[at + columns] = f[at] * x[at] + (1.0f - f[at]) * states[at];
  }
}

extern "C" __global__ void pool_backward(const float* f, const float* x, const float* states,
                                         const float* grad, float* grad_f, float* grad_x,
                                         float* grad_first, int seq, int columns) {
  int column = blockIdx.x * blockDim.x + threadIdx.x;
  if (column >= columns) return;
  float running = 0.0f;
  for (int t = seq - 1; t >= 0; t--) {
    int at = t * columns + column;
    running += grad[at];
    grad_x[at] = f[at] * running;
    grad_f[at] = (x[at] - states[at]) * running;
    running *= 1.0f - f[at];
  }
  grad_first[column] = running;
}
"""
THREADS = 512  # of a block, as published


def load(path):
    """The tensors of a safetensors file (its format: a length, a JSON header, the numbers)."""
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(bytes(data[8 : 8 + length]))
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            numbers = torch.frombuffer(data, dtype=torch.float32, offset=start, count=(end - start) // 4)
            tensors[name] = numbers.view(entry["shape"]).clone()
    return tensors


class Pooling:
    """The recurrence c_t = f_t z_t + (1 - f_t) c_{t-1}, by kernels on a GPU, else by a loop."""

    def __init__(self, device):
        self.kernels = None
        if device.type == "cuda":
            compiled = torch.cuda._compile_kernel
            self.kernels = [compiled(KERNELS, name) for name in ("pool_forward", "pool_backward")]

    def forward(self, f, x, first):
        seq, columns = f.shape[0], first.numel()
        states = f.new_empty(seq + 1, *first.shape)
        states[0] = first
        if self.kernels:
            grid = ((columns + THREADS - 1) // THREADS, 1, 1)
            self.kernels[0](grid, (THREADS, 1, 1), (f, x, states, seq, columns))
        else:
            for t in range(seq):
                states[t + 1] = f[t] * x[t] + (1 - f[t]) * states[t]
        return states

    def backward(self, f, x, states, grad):
        seq, columns = f.shape[0], f[0].numel()
        grad_f, grad_x, grad_first = torch.empty_like(f), torch.empty_like(x), torch.empty_like(f[0])
        if self.kernels:
            grid = ((columns + THREADS - 1) // THREADS, 1, 1)
            arguments = (f, x, states, grad, grad_f, grad_x, grad_first, seq, columns)
            self.kernels[1](grid, (THREADS, 1, 1), arguments)
        else:
            running = torch.zeros_like(f[0])
            for t in reversed(range(seq)):
                running = running + grad[t]
                grad_x[t] = f[t] * running
                grad_f[t] = (x[t] - states[t]) * running
                running = running * (1 - f[t])
            grad_first.copy_(running)
        return grad_f, grad_x, grad_first


def eager_pool(pooling):
    class Pool(torch.autograd.Function):
        @staticmethod
        def forward(ctx, f, x, first):
            states = pooling.forward(f, x, first)
            ctx.save_for_backward(f, x, states)
            return states[1:]

        @staticmethod
        def backward(ctx, grad):
            f, x, states = ctx.saved_tensors
            return pooling.backward(f, x, states, grad.contiguous())

    return Pool.apply


def compiled_pool(pooling):
    """The same as an operation that torch.compile takes as it is."""

    @torch.library.custom_op("qrnn_peer::pool", mutates_args=())
    def pool(f: torch.Tensor, x: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
        return pooling.forward(f, x, first)

    @pool.register_fake
    def _(f, x, first):
        return f.new_empty(f.shape[0] + 1, *f.shape[1:])

    @torch.library.custom_op("qrnn_peer::pool_backward", mutates_args=())
    def pool_backward(
        f: torch.Tensor, x: torch.Tensor, states: torch.Tensor, grad: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return pooling.backward(f, x, states, grad.contiguous())

    @pool_backward.register_fake
    def _(f, x, states, grad):
        return torch.empty_like(f), torch.empty_like(x), torch.empty_like(f[0])

    def setup(ctx, inputs, output):
        ctx.save_for_backward(inputs[0], inputs[1], output)

    def backward(ctx, grad):
        f, x, states = ctx.saved_tensors
        return pool_backward(f, x, states, grad[1:])

    pool.register_autograd(backward, setup_context=setup)
    return lambda f, x, first: pool(f, x, first)[1:]


def gated(pool, gates, before):
    """fo-pooling around the recurrence, and the last state; that is in single precision always."""
    z, f, o = gates.chunk(3, dim=2)
    c = pool(f.sigmoid().float().contiguous(), z.tanh().float().contiguous(), before)
    return o.sigmoid() * c, c[-1].detach()


class Model:
    def __init__(self, weights, config, device):
        self.p = {name: tensor.to(device).requires_grad_(True) for name, tensor in weights.items()}
        self.layers = sum(name.endswith("linear.weight") for name in weights)
        self.splits, self.dropout = config["splits"], config["dropout"]
        self.tuned = config["mode"] == "tuned"
        pooling = Pooling(device)
        self.pool = compiled_pool(pooling) if self.tuned else eager_pool(pooling)

    def zero_state(self, batch):
        weight = self.p["encoder.weight"]
        widths = [self.p[f"rnns.{i}.linear.bias"].numel() // 3 for i in range(self.layers)]
        return [weight.new_zeros(batch, width) for width in widths], weight.new_zeros(
            batch, weight.shape[1]
        )

    def locked(self, x):
        if not self.dropout:
            return x
        mask = x.new_empty(1, *x.shape[1:]).bernoulli_(1 - self.dropout) / (1 - self.dropout)
        return mask * x

    def hidden(self, words, states, last):
        x = self.locked(F.embedding(words, self.p["encoder.weight"]))
        new_last, new_states = x[-1].detach(), []
        for i in range(self.layers):
            if i == 0:
                x = torch.cat([x, torch.cat([last.unsqueeze(0), x[:-1]])], dim=2)
            gates = F.linear(x, self.p[f"rnns.{i}.linear.weight"], self.p[f"rnns.{i}.linear.bias"])
            x, state = gated(self.pool, gates, states[i])
            new_states.append(state)
            x = self.locked(x)
        return x.flatten(0, 1), new_states, new_last

    def head(self):
        weight, bias, first = self.p["encoder.weight"], self.p["decoder.bias"], self.splits[0]
        return (
            torch.cat([weight[:first], self.p["criterion.tail_vectors"]]),
            torch.cat([bias[:first], self.p["criterion.tail_bias"]]),
        )

    def loss_by_mask(self, hidden, targets):
        """The mean cross entropy, each cluster's words picked by a mask: a synchronisation each."""
        weight, bias = self.p["encoder.weight"], self.p["decoder.bias"]
        if not self.splits:
            return -torch.log_softmax(F.linear(hidden, weight, bias), -1).gather(
                1, targets[:, None]
            ).mean()
        ends = self.splits + [len(bias)]
        masks = [targets < ends[0]]
        masks += [(targets >= start) & (targets < end) for start, end in zip(ends, ends[1:])]
        width = hidden.shape[1]
        rows = [hidden.masked_select(mask[:, None].expand_as(hidden)).view(-1, width) for mask in masks]
        words = [targets.masked_select(mask) for mask in masks]
        heads = torch.log_softmax(F.linear(torch.cat(rows), *self.head()), -1)
        total, at = 0.0, 0
        for k, (part, chosen) in enumerate(zip(rows, words)):
            if not len(part):
                continue
            head = heads[at : at + len(part)]
            at += len(part)
            if k == 0:
                entropy = -head.gather(1, chosen[:, None])
            else:
                start, end = ends[k - 1], ends[k]
                tail = torch.log_softmax(F.linear(part, weight[start:end], bias[start:end]), -1)
                entropy = -head[:, -k][:, None] - tail.gather(1, (chosen - start)[:, None])
            total = total + entropy.sum()
        return total / len(targets)

    def loss_sorted(self, hidden, head_targets, places, targets):
        """The same with the words of each cluster given: nothing is asked of the device."""
        weight, bias = self.p["encoder.weight"], self.p["decoder.bias"]
        head = self.head() if self.splits else (weight, bias)
        total = F.cross_entropy(F.linear(hidden, *head).float(), head_targets, reduction="sum")
        ends = self.splits + [len(bias)]
        for start, end, place, chosen in zip(ends, ends[1:], places, targets):
            logits = F.linear(hidden[place], weight[start:end], bias[start:end])
            total = total + F.cross_entropy(logits.float(), chosen, reduction="sum")
        return total / len(head_targets)

    def sorted_targets(self, targets, device):
        """Where each cluster's words are, told on the host, where the text is known."""
        first = self.splits[0] if self.splits else 0
        ends = self.splits + [self.p["decoder.bias"].numel()]
        head, places, chosen = targets.clone(), [], []
        for k, (start, end) in enumerate(zip(ends, ends[1:])):
            place = ((targets >= start) & (targets < end)).nonzero().squeeze(1)
            head[place] = first + len(self.splits) - 1 - k
            places.append(place)
            chosen.append(targets[place] - start)
        there = lambda tensor: (tensor.pin_memory() if device.type == "cuda" else tensor).to(
            device, non_blocking=True
        )
        return there(head), [there(place) for place in places], [there(words) for words in chosen]


class Clock:
    """Marks in a device's work, and the seconds between them."""

    def __init__(self, device):
        self.on_gpu, self.marks = device.type == "cuda", []

    def mark(self):
        if self.on_gpu:
            self.marks.append(torch.cuda.Event(enable_timing=True))
            self.marks[-1].record()
        else:
            self.marks.append(time.perf_counter())

    def wait(self):
        if self.on_gpu:
            torch.cuda.synchronize()

    def between(self):
        seconds = lambda a, b: a.elapsed_time(b) / 1e3 if self.on_gpu else b - a
        return [seconds(a, b) for a, b in zip(self.marks, self.marks[1:])]


class PoolAlone:
    """Pooling by itself, the published way."""

    def __init__(self, device):
        self.device, self.pool = device, eager_pool(Pooling(device))

    def measure(self, size, runs):
        seq, batch, hidden = size
        random = lambda *size: torch.randn(*size, device=self.device)
        # Two sets in turns: what a run reads is not what the last one left in the cache.
        sets = [(random(seq, batch, 3 * hidden), random(batch, hidden)) for _ in range(2)]
        weights = random(seq, batch, hidden)
        forward, both = Clock(self.device), Clock(self.device)
        for run in range(runs):
            gates, before = sets[run % 2]
            with torch.no_grad():
                forward.mark()
                gated(self.pool, gates, before)
                forward.mark()
            gates = gates.detach().requires_grad_(True)
            both.mark()
            output, _ = gated(self.pool, gates, before)
            output.backward(weights)
            both.mark()
        both.wait()
        return {"forward": forward.between()[::2], "both": both.between()[::2]}


class Step:
    def __init__(self, folder):
        config = json.loads((folder / "peer.json").read_text())
        self.device = torch.device(config["device"])
        self.mode, self.batch, self.clip = config["mode"], config["batch"], config["clip"]
        torch.backends.cuda.matmul.allow_tf32 = self.mode != "published"
        self.model = Model(load(folder / "model.safetensors"), config, self.device)
        ids = torch.frombuffer(bytearray((folder / "ids.bin").read_bytes()), dtype=torch.int32).long()
        self.rows = len(ids) // self.batch
        self.columns = ids[: self.rows * self.batch].view(self.batch, self.rows).t().contiguous()
        self.resident = self.columns.to(self.device)  # as the published code has it
        self.parameters = list(self.model.p.values())
        tuned = self.mode == "tuned"
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-3, fused=tuned or None)
        self.cast = torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=tuned)
        self.hidden, self.loss = self.model.hidden, self.model.loss_by_mask
        if tuned:
            # Without a GPU this is only tried, not measured: the same graphs, run as they are.
            backend = "inductor" if self.device.type == "cuda" else "aot_eager"
            compiled = lambda call: torch.compile(call, dynamic=True, backend=backend)
            self.hidden, self.loss = compiled(self.model.hidden), compiled(self.model.loss_sorted)
        self.restart()

    def restart(self):
        self.row, self.state, self.last = 0, *self.model.zero_state(self.batch)

    def mean_loss(self, length):
        here, after = slice(self.row, self.row + length), slice(self.row + 1, self.row + 1 + length)
        with self.cast:
            hidden, self.state, self.last = self.hidden(self.resident[here], self.state, self.last)
            if self.mode == "tuned":
                targets = self.model.sorted_targets(self.columns[after].flatten(), self.device)
            else:
                targets = (self.resident[after].flatten(),)
            loss = self.loss(hidden, *targets)
        self.row += length
        return loss

    def run(self, length, rate):
        if self.row + length >= self.rows:
            self.restart()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        loss = self.mean_loss(length)
        loss.backward()
        if self.clip:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step()
        return loss.detach()

    def all(self, lengths, rates):
        losses, clock = [], Clock(self.device)
        started = time.perf_counter()
        clock.mark()
        for length, rate in zip(lengths, rates):
            losses.append(self.run(length, rate))
            clock.mark()
        clock.wait()
        answer = {"seconds": time.perf_counter() - started, "step_seconds": clock.between()}
        if self.device.type == "cuda":
            answer["peak_bytes"] = torch.cuda.max_memory_allocated()
        return answer | {"losses": [loss.item() for loss in losses]}

    def evaluate(self, window):
        self.restart()
        started, total = time.perf_counter(), 0.0
        with torch.no_grad():
            while self.row < self.rows - 1:
                length = min(window, self.rows - 1 - self.row)
                total += self.mean_loss(length).item() * length * self.batch
        return {"loss_sum": total, "seconds": time.perf_counter() - started}


def main():
    folder = pathlib.Path(sys.argv[1])
    config = json.loads((folder / "peer.json").read_text())
    device = torch.device(config["device"])
    work = PoolAlone(device) if config["mode"] == "pool" else Step(folder)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    print(json.dumps({"torch": torch.__version__, "device": name}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        if "pool" in command:
            answer = work.measure(command["pool"], command["runs"])
        elif "evaluate" in command:
            answer = work.evaluate(command["evaluate"])
        else:
            answer = work.all(command["lengths"], command["rates"])
        print(json.dumps(answer), flush=True)


try:
    import torch
    import torch.nn.functional as F
except ImportError:
    print(json.dumps({"torch": None}), flush=True)
else:
    main()
