"""An independent PyTorch implementation of the model, which generates the expected values of the parity tests.

To run it again, install Python 3, torch==2.11.0 (CPU), numpy and safetensors:

    python3 tests/parity/reference.py

It writes text/, init.safetensors, weight_drop.safetensors, masks.safetensors and expected.json to the
folder of this script. Nothing is taken from the Rust implementation: the layer is a loop over time, the
softmax computes full log probabilities, gradients come from autograd, and the optimizers from torch.optim.
"""

import json
import math
import pathlib

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
EMSIZE, NHID, NLAYERS, BPTT, BATCH, STEPS = 8, 12, 4, 7, 3, 20
SPLITS = [20, 35, 50]
ALPHA, BETA = 2.0, 1.0
torch.set_num_threads(1)


def make_text(seed, lines):
    generator = torch.Generator().manual_seed(seed)
    weights = 1.0 / (torch.arange(70, dtype=torch.float64) + 2.0)
    out = []
    for i in range(lines):
        length = 0 if i % 5 == 4 else int(torch.randint(3, 12, (1,), generator=generator))
        words = torch.multinomial(weights, max(length, 1), True, generator=generator).tolist()
        out.append(" " + " ".join(f"w{w}" for w in words[:length]) + " \n" if length else " \n")
    return "".join(out)


class Text:
    def __init__(self, folder):
        self.ids = {}
        self.splits = {}
        for split in ("train", "valid", "test"):
            stream = []
            for line in (folder / f"{split}.txt").read_text().splitlines():
                for word in line.split() + ["<eos>"]:
                    stream.append(self.ids.setdefault(word, len(self.ids)))
            self.splits[split] = torch.tensor(stream)

    def columns(self, split, batch):
        stream = self.splits[split]
        rows = len(stream) // batch
        return stream[: rows * batch].view(batch, rows).t()  # (rows, batch)


def initial(vocab, seed=5):
    generator = torch.Generator().manual_seed(seed)

    def uniform(bound, *size):
        return (torch.rand(*size, generator=generator) * 2 - 1) * bound

    weights = {"encoder.weight": uniform(0.5, vocab, EMSIZE), "decoder.bias": uniform(0.1, vocab)}
    for i in range(NLAYERS):
        inputs = 2 * EMSIZE if i == 0 else NHID
        hidden = EMSIZE if i == NLAYERS - 1 else NHID
        bound = 2.0 / math.sqrt(inputs)
        weights[f"rnns.{i}.linear.weight"] = uniform(bound, 3 * hidden, inputs)
        weights[f"rnns.{i}.linear.bias"] = uniform(bound, 3 * hidden)
    weights["criterion.tail_vectors"] = uniform(0.3, len(SPLITS), EMSIZE)
    weights["criterion.tail_bias"] = uniform(0.3, len(SPLITS))
    return weights


class Model:
    def __init__(self, weights, splits):
        self.p = {k: v.clone().requires_grad_(True) for k, v in weights.items()}
        if not splits:
            del self.p["criterion.tail_vectors"], self.p["criterion.tail_bias"]
        self.splits = splits

    def zero_state(self, batch):
        widths = [NHID] * (NLAYERS - 1) + [EMSIZE]
        return [torch.zeros(batch, w) for w in widths], torch.zeros(batch, EMSIZE)

    def hidden(self, words, state, masks=None):
        states, last = state
        x = self.p["encoder.weight"][words]  # (T, B, E)
        if masks:
            x = x * masks["words"][words].unsqueeze(-1) * masks["input"]
        new_last = x[-1].detach()
        new_states = []
        for i in range(NLAYERS):
            weight, bias = self.p[f"rnns.{i}.linear.weight"], self.p[f"rnns.{i}.linear.bias"]
            if masks:
                weight = weight * masks[f"layers.{i}.weight"]
            c, out = states[i], []
            for t in range(x.shape[0]):
                inputs = x[t]
                if i == 0:
                    inputs = torch.cat([inputs, x[t - 1] if t > 0 else last], dim=1)
                z, f, o = (inputs @ weight.t() + bias).chunk(3, dim=1)
                z, f, o = torch.tanh(z), torch.sigmoid(f), torch.sigmoid(o)
                if masks:
                    f = f * masks[f"layers.{i}.zoneout"][t]
                c = f * z + (1 - f) * c
                out.append(o * c)
            new_states.append(c.detach())
            x = torch.stack(out)
            if masks:
                x = x * masks[f"layers.{i}.output"]
        return x, (new_states, new_last)

    def log_probabilities(self, hidden):
        weight, bias = self.p["encoder.weight"], self.p["decoder.bias"]
        if not self.splits:
            return torch.log_softmax(hidden @ weight.t() + bias, -1)
        first = self.splits[0]
        head_weight = torch.cat([weight[:first], self.p["criterion.tail_vectors"]])
        head_bias = torch.cat([bias[:first], self.p["criterion.tail_bias"]])
        head = torch.log_softmax(hidden @ head_weight.t() + head_bias, -1)
        parts = [head[..., :first]]
        ends = self.splits[1:] + [weight.shape[0]]
        for k, (start, end) in enumerate(zip(self.splits, ends), start=1):
            tail = torch.log_softmax(hidden @ weight[start:end].t() + bias[start:end], -1)
            parts.append(head[..., -k : head.shape[-1] - k + 1] + tail)
        return torch.cat(parts, -1)

    def loss(self, hidden, targets):
        log_p = self.log_probabilities(hidden)
        return -log_p.gather(-1, targets.unsqueeze(-1)).mean()


def train(weights, splits, text, optimizer, clip, alpha=0.0, beta=0.0):
    model = Model(weights, splits)
    columns = text.columns("train", BATCH)
    optimizer = optimizer(list(model.p.values()))
    losses, state, row = [], model.zero_state(BATCH), 0
    for _ in range(STEPS):
        length = min(BPTT, len(columns) - 1 - row)
        hidden, state = model.hidden(columns[row : row + length], state)
        loss = model.loss(hidden, columns[row + 1 : row + 1 + length])
        objective = loss + alpha * hidden.pow(2).mean()
        objective = objective + beta * (hidden[1:] - hidden[:-1]).pow(2).mean()
        optimizer.zero_grad()
        objective.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(list(model.p.values()), clip)
        optimizer.step()
        losses.append(loss.item())
        row += length
        assert row < len(columns) - 2
    if isinstance(optimizer, torch.optim.ASGD):
        mean = {k: optimizer.state[p]["ax"] for k, p in model.p.items()}
        return losses, evaluate(mean, splits, text, "valid", 10)["loss"]
    return losses


def draw_masks(vocab, seed=11):
    generator = torch.Generator().manual_seed(seed)

    def mask(p, *size, scaled=True):
        kept = (torch.rand(*size, generator=generator) >= p).float()
        return kept / (1 - p) if scaled else kept

    masks = {"words": mask(0.2, vocab), "input": mask(0.3, 1, BATCH, EMSIZE)}
    for i in range(NLAYERS):
        inputs = 2 * EMSIZE if i == 0 else NHID
        hidden = EMSIZE if i == NLAYERS - 1 else NHID
        masks[f"layers.{i}.weight"] = mask(0.5, 3 * hidden, inputs)
        masks[f"layers.{i}.zoneout"] = mask(0.3, BPTT, BATCH, hidden, scaled=False)
        masks[f"layers.{i}.output"] = mask(0.4, 1, BATCH, hidden)
    return masks


def masked_steps(weights, text, masks):
    """Losses of two windows with the same masks, and the norm of each parameter's gradient of their sum."""
    model = Model(weights, SPLITS)
    columns = text.columns("train", BATCH)
    state, losses = model.zero_state(BATCH), []
    for row in (0, BPTT):
        hidden, state = model.hidden(columns[row : row + BPTT], state, masks)
        losses.append(model.loss(hidden, columns[row + 1 : row + 1 + BPTT]))
    sum(losses).backward()
    norms = {name: p.grad.double().norm().item() for name, p in model.p.items()}
    return {"losses": [loss.item() for loss in losses], "gradient_norms": norms}


@torch.no_grad()
def evaluate(weights, splits, text, split, batch):
    model = Model(weights, splits)
    columns = text.columns(split, batch)
    hidden, _ = model.hidden(columns[:-1], model.zero_state(batch))
    loss = model.loss(hidden, columns[1:]).item()
    return {"loss": loss, "reference_loss": loss * (len(columns) - 1) / len(columns)}


def main():
    folder = HERE / "text"
    folder.mkdir(exist_ok=True)
    for seed, (split, lines) in enumerate([("train", 160), ("valid", 60), ("test", 40)]):
        (folder / f"{split}.txt").write_text(make_text(seed, lines))
    text = Text(folder)
    weights = initial(len(text.ids))
    save_file({k: v.contiguous() for k, v in weights.items()}, HERE / "init.safetensors")
    wrapped = {
        k.replace(".linear.weight", ".linear.module.weight_raw").replace(
            ".linear.bias", ".linear.module.bias"
        ): v.contiguous()
        for k, v in weights.items()
    }
    wrapped["decoder.weight"] = weights["encoder.weight"].clone()
    save_file(wrapped, HERE / "weight_drop.safetensors")

    masks = draw_masks(len(text.ids))
    save_file(masks, HERE / "masks.safetensors")

    def adam(lr=1e-2):
        return lambda params: torch.optim.Adam(params, lr=lr)

    averaged, averaged_valid_loss = train(
        weights, SPLITS, text,
        lambda params: torch.optim.ASGD(params, lr=1.0, t0=0, lambd=0.0), 0.25)
    expected = {
        "vocab": len(text.ids),
        "evaluate": {
            name: {split: evaluate(weights, splits, text, split, batch) for split, batch in
                   [("valid", 10), ("test", 1)]}
            for name, splits in [("split", SPLITS), ("plain", [])]
        },
        "train": {
            "adam": train(weights, SPLITS, text, adam(), 0),
            "adam_plain_softmax": train(weights, [], text, adam(), 0),
            "adam_clipped": train(weights, SPLITS, text, adam(), 0.05),
            "adam_regularised": train(weights, SPLITS, text, adam(), 0, ALPHA, BETA),
            "adam_decayed": train(
                weights, SPLITS, text,
                lambda params: torch.optim.Adam(params, lr=1e-2, weight_decay=1e-2), 0),
            "sgd": train(
                weights, SPLITS, text, lambda params: torch.optim.SGD(params, lr=1.0), 0.25),
            "averaged_sgd": averaged,
        },
        "averaged_valid_loss": averaged_valid_loss,
        "masked": masked_steps(weights, text, masks),
    }
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


main()
