"""A complete training step in PyTorch, in the modes that baselines.py describes."""

import functools
import json
import pathlib
import struct
import time

import torch
import torch.nn.functional as F

from clock import Clock
from recurrence import Pooling, compiled_pool, eager_pool, gated, loop

PLAIN = ("fp32", "bf16")  # modes without a kernel for the recurrence


def load(path):
    """Tensors of a safetensors file: the length of the header, a JSON header, the values."""
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


class Model:
    def __init__(self, weights, config, device):
        # Copies, also on the CPU, because `Step.reset` restores the weights.
        there = lambda tensor: tensor.to(device, copy=True).requires_grad_(True)
        self.p = {name: there(tensor) for name, tensor in weights.items()}
        self.layers = sum(name.endswith("linear.weight") for name in weights)
        self.splits, self.dropout = config["splits"], config["dropout"]
        self.pool = loop
        if config["mode"] not in PLAIN:
            pool = compiled_pool if config["mode"] == "tuned" else eager_pool
            self.pool = functools.partial(gated, pool(Pooling(device)))

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
            x, state = self.pool(gates, states[i])
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
        """Mean cross entropy. Tokens are selected by one mask per cluster, which synchronizes."""
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
        """The same, from targets that are already sorted by cluster: without synchronization."""
        weight, bias = self.p["encoder.weight"], self.p["decoder.bias"]
        head = self.head() if self.splits else (weight, bias)
        total = F.cross_entropy(F.linear(hidden, *head).float(), head_targets, reduction="sum")
        ends = self.splits + [len(bias)]
        for start, end, place, chosen in zip(ends, ends[1:], places, targets):
            logits = F.linear(hidden[place], weight[start:end], bias[start:end])
            total = total + F.cross_entropy(logits.float(), chosen, reduction="sum")
        return total / len(head_targets)

    def sorted_targets(self, targets, device):
        """Targets of the head, and positions and targets of each tail, computed on the host."""
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


class Step:
    def __init__(self, config):
        folder = pathlib.Path(config["inputs"])
        self.device = torch.device(config["device"])
        self.mode, self.batch, self.clip = config["mode"], config["batch"], config["clip"]
        torch.backends.cuda.matmul.allow_tf32 = self.mode not in ("published", "fp32")
        self.weights = load(folder / "model.safetensors")
        self.model = Model(self.weights, config, self.device)
        ids = torch.frombuffer(bytearray((folder / "ids.bin").read_bytes()), dtype=torch.int32).long()
        self.rows = len(ids) // self.batch
        self.columns = ids[: self.rows * self.batch].view(self.batch, self.rows).t().contiguous()
        self.resident = self.columns.to(self.device)  # as in the published code
        self.parameters = list(self.model.p.values())
        tuned = self.mode == "tuned"
        self.optimizer = self.adam()
        rounds = self.mode in ("tuned", "bf16")
        self.cast = torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=rounds)
        self.sorts = tuned or self.mode in PLAIN
        self.hidden = self.model.hidden
        self.loss = self.model.loss_sorted if self.sorts else self.model.loss_by_mask
        if tuned:
            # Without a GPU this is only tested, not measured: the same graphs, run without inductor.
            backend = "inductor" if self.device.type == "cuda" else "aot_eager"
            compiled = lambda call: torch.compile(call, dynamic=True, backend=backend)
            self.hidden, self.loss = compiled(self.model.hidden), compiled(self.model.loss_sorted)
        self.restart()

    def adam(self):
        fused = self.mode == "tuned" or None
        return torch.optim.Adam(self.parameters, lr=1e-3, fused=fused)

    def reset(self, dropout):
        """Restores weights, optimizer and state to their initial values, and sets the dropout."""
        with torch.no_grad():
            for name, tensor in self.weights.items():
                self.model.p[name].copy_(tensor)
        self.model.dropout, self.optimizer = dropout, self.adam()
        self.restart()
        return {"reset": dropout}

    def restart(self):
        self.row, self.state, self.last = 0, *self.model.zero_state(self.batch)

    def mean_loss(self, length):
        here, after = slice(self.row, self.row + length), slice(self.row + 1, self.row + 1 + length)
        with self.cast:
            hidden, self.state, self.last = self.hidden(self.resident[here], self.state, self.last)
            if self.sorts:
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

    def evaluate(self, window, words):
        self.restart()
        rows = min(self.rows, words // self.batch)
        started, total = time.perf_counter(), 0.0
        with torch.no_grad():
            while self.row < rows - 1:
                length = min(window, rows - 1 - self.row)
                total += self.mean_loss(length).item() * length * self.batch
        return {"loss_sum": total, "seconds": time.perf_counter() - started}
