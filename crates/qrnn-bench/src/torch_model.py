"""The language model in plain PyTorch: the baseline of `cargo xtask bench step` and `evaluate` on the CPU.

Only the weights and the tokens come from the Rust program. The model consists of linear maps over whole
windows, a loop over time for the recurrence, cross entropy by cluster, autograd, and torch.optim.Adam.

Arguments: a folder with model.safetensors and ids.bin (int32 tokens), the splits (comma-separated or
empty), the number of batch columns, the window length, and the precision (fp32, or bf16 by autocast).
Commands are read from standard input, one per line: `step` trains one step and `evaluate` evaluates one
window, and each prints a line of JSON; `restart` returns to the first window.
"""

import json
import pathlib
import struct
import sys
import time


def load(path):
    """Tensors of a safetensors file: the length of the header, a JSON header, the values."""
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(bytes(data[8 : 8 + length]))
    out = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            numbers = torch.frombuffer(data, dtype=torch.float32, offset=start, count=(end - start) // 4)
            out[name] = numbers.view(entry["shape"]).clone()
    return out


class Model:
    def __init__(self, weights, splits):
        self.p = {name: tensor.requires_grad_(True) for name, tensor in weights.items()}
        self.layers = sum(name.endswith("linear.weight") for name in weights)
        self.splits = splits
        self.state = None

    def zero_state(self, batch):
        self.state = [None] * self.layers
        self.last = torch.zeros(batch, self.p["encoder.weight"].shape[1])

    def hidden(self, words):
        x = F.embedding(words, self.p["encoder.weight"])
        last, self.last = self.last, x[-1].detach()
        for i in range(self.layers):
            if i == 0:
                x = torch.cat([x, torch.cat([last.unsqueeze(0), x[:-1]])], dim=2)
            gates = F.linear(x, self.p[f"rnns.{i}.linear.weight"], self.p[f"rnns.{i}.linear.bias"])
            z, f, o = gates.chunk(3, dim=2)
            z, f, o = z.tanh(), f.sigmoid(), o.sigmoid()
            c = self.state[i] if self.state[i] is not None else torch.zeros_like(z[0])
            new = f * z
            keep = 1 - f
            states = []
            for t in range(x.shape[0]):
                c = new[t] + keep[t] * c
                states.append(c)
            self.state[i] = c.detach()
            x = o * torch.stack(states)
        return x

    def loss_sum(self, hidden, words):
        hidden, words = hidden.reshape(-1, hidden.shape[-1]), words.reshape(-1)
        weight, bias = self.p["encoder.weight"], self.p["decoder.bias"]

        def entropy(rows, weight, bias, targets):
            return F.cross_entropy(F.linear(rows, weight, bias).float(), targets, reduction="sum")

        if not self.splits:
            return entropy(hidden, weight, bias, words)
        first, tails = self.splits[0], len(self.splits)
        head_weight = torch.cat([weight[:first], self.p["criterion.tail_vectors"]])
        head_bias = torch.cat([bias[:first], self.p["criterion.tail_bias"]])
        targets, total = words.clone(), 0
        for k, (start, end) in enumerate(zip(self.splits, self.splits[1:] + [len(bias)])):
            places = ((words >= start) & (words < end)).nonzero().squeeze(1)
            targets[places] = first + tails - 1 - k
            if len(places):
                total = total + entropy(
                    hidden[places], weight[start:end], bias[start:end], words[places] - start)
        return total + entropy(hidden, head_weight, head_bias, targets)


def main():
    folder, splits, batch, window, kind = sys.argv[1:]
    folder, batch, window = pathlib.Path(folder), int(batch), int(window)
    splits = [int(border) for border in splits.split(",")] if splits else []
    model = Model(load(folder / "model.safetensors"), splits)
    ids = torch.frombuffer(bytearray((folder / "ids.bin").read_bytes()), dtype=torch.int32).long()
    rows = len(ids) // batch
    columns = ids[: rows * batch].view(batch, rows).t()
    parameters = list(model.p.values())
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    model.zero_state(batch)
    row = 0
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}), flush=True)
    for command in sys.stdin:
        if command.strip() == "restart":
            model.zero_state(batch)
            row = 0
            continue
        length = min(window, rows - 1 - row)
        started = time.perf_counter()
        words, targets = columns[row : row + length], columns[row + 1 : row + 1 + length]
        cast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind == "bf16")
        if command.strip() == "step":
            optimizer.zero_grad()
            with cast:
                loss = model.loss_sum(model.hidden(words), targets) / targets.numel()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 0.25)
            optimizer.step()
        else:
            with torch.no_grad(), cast:
                loss = model.loss_sum(model.hidden(words), targets)
        loss = loss.item()
        print(json.dumps({"seconds": time.perf_counter() - started, "loss": loss}), flush=True)
        row += length


try:
    import torch
    import torch.nn.functional as F
except ImportError:
    print(json.dumps({"torch": None}), flush=True)
else:
    main()
