"""The recurrence of a QRNN in PyTorch: as a loop of tensor operations, and as in the published code, with a
kernel of one thread per (batch, hidden) column, which runs the time steps in sequence. There, activations,
layout copies and the output gate are separate operations.

Written for this project, from the equations and from the published list of operations.
"""

import torch

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
THREADS = 512  # per block, as published


class Pooling:
    """The recurrence c_t = f_t z_t + (1 - f_t) c_{t-1}, by kernels on a GPU and by a loop on the CPU."""

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
    """The same as a custom operator, which torch.compile does not trace into."""

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


def loop(gates, before):
    """fo-pooling as a loop over time, which autograd differentiates: the output and the final state."""
    z, f, o = gates.chunk(3, dim=2)
    z, f, o = z.tanh(), f.sigmoid(), o.sigmoid()
    new, keep, c, states = f * z, 1 - f, before.to(z.dtype), []
    for t in range(len(z)):
        c = new[t] + keep[t] * c
        states.append(c)
    return o * torch.stack(states), c.detach()


def gated(pool, gates, before):
    """fo-pooling around the recurrence: the output and the final state, which is always fp32."""
    z, f, o = gates.chunk(3, dim=2)
    c = pool(f.sigmoid().float().contiguous(), z.tanh().float().contiguous(), before)
    return o.sigmoid() * c, c[-1].detach()
