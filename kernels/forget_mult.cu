// The forget-mult of pytorch-qrnn, forward and backward. Its inputs are the activated forget gate f and
// the activated candidate x.
//
//   h_t = f_t x_t + (1 - f_t) h_{t-1}
//
// Bradbury et al. 2016 (arXiv 1611.01576), f-pooling, equation 3 with f in place of 1 - f.
// Shapes, with seq T, batch B and hidden H: f, x and out (T, B, H), before (the initial state) (B, H).
// Tensors are stored as float or bf16; the state is float.
//
// Work partition: as in fo_pool.cu, a thread owns a column (b, h) for all time steps.
// Memory traffic, in passes over T·B·H elements: the forward reads f and x and writes out (3); the
// backward reads f, x, out and its gradient and writes two gradients (6). The backward reads h_{t-1} from
// `out`, where it is rounded to the storage type.

#include "column.cuh"

template <class T>
INLINE void forward(const T* __restrict__ f, const T* __restrict__ x,
                    const float* __restrict__ before, T* __restrict__ out, int seq, int batch,
                    int hidden) {
  const long long columns = static_cast<long long>(batch) * hidden, column = own_column();
  if (column >= columns) return;
  float h = load(before + column);
  f += column, x += column, out += column;

  T f_ahead[STEPS], x_ahead[STEPS];
#pragma unroll
  for (int k = 0; k < STEPS; ++k) {
    if (k < seq) f_ahead[k] = load(f + k * columns), x_ahead[k] = load(x + k * columns);
  }
  const auto stretch = [&](int t, auto whole) {
#pragma unroll
    for (int k = 0; k < STEPS; ++k) {
      if (!whole.value && t + k >= seq) break;
      const float gate = widen(f_ahead[k]), value = widen(x_ahead[k]);
      if (whole.value || t + k + STEPS < seq) {
        f_ahead[k] = load(f + (t + k + STEPS) * columns);
        x_ahead[k] = load(x + (t + k + STEPS) * columns);
      }
      h = fmaf(1.0f - gate, h, gate * value);
      store(out, h);
      out += columns;
    }
  };
  int t = 0;
  for (; t + 2 * STEPS <= seq; t += STEPS) stretch(t, Flag<true>());
  for (; t < seq; t += STEPS) stretch(t, Flag<false>());
}

template <class T>
INLINE void backward(const T* __restrict__ f, const T* __restrict__ x,
                     const float* __restrict__ before, const T* __restrict__ out,
                     const T* __restrict__ grad_out, T* __restrict__ grad_f, T* __restrict__ grad_x,
                     float* __restrict__ grad_before, int seq, int batch, int hidden) {
  const long long columns = static_cast<long long>(batch) * hidden, column = own_column();
  if (column >= columns) return;
  const float first = load(before + column);
  float carry = 0.0f;
  f += column, x += column, out += column, grad_out += column, grad_f += column, grad_x += column;

  // Time runs backward: element k of the prefetched arrays is step seq - 1 - k.
  T f_ahead[STEPS], x_ahead[STEPS], grad_ahead[STEPS], h_ahead[STEPS];
  const auto read = [&](int k, int t) {
    f_ahead[k] = load(f + t * columns), x_ahead[k] = load(x + t * columns);
    grad_ahead[k] = load(grad_out + t * columns);
    if (t > 0) h_ahead[k] = load(out + (t - 1) * columns);
  };
#pragma unroll
  for (int k = 0; k < STEPS; ++k) {
    if (k < seq) read(k, seq - 1 - k);
  }
  const auto stretch = [&](int last, auto whole) {
#pragma unroll
    for (int k = 0; k < STEPS; ++k) {
      const int t = last - k;
      if (!whole.value && t < 0) break;
      const float gate = widen(f_ahead[k]), value = widen(x_ahead[k]);
      const float h_before = t > 0 ? widen(h_ahead[k]) : first;
      const float grad = widen(grad_ahead[k]) + carry;
      if (whole.value || t - STEPS >= 0) read(k, t - STEPS);
      store(grad_f + t * columns, grad * (value - h_before));
      store(grad_x + t * columns, grad * gate);
      carry = grad * (1.0f - gate);
    }
  };
  int last = seq - 1;
  for (; last - 2 * STEPS >= 0; last -= STEPS) stretch(last, Flag<true>());
  for (; last >= 0; last -= STEPS) stretch(last, Flag<false>());
  store(grad_before + column, carry);
}

#define FORGET_MULT(name, T)                                                                        \
  extern "C" __global__ void __launch_bounds__(BLOCK) forget_mult_forward_##name(                   \
      const T* __restrict__ f, const T* __restrict__ x, const float* __restrict__ before,           \
      T* __restrict__ out, int seq, int batch, int hidden) {                                        \
    forward<T>(f, x, before, out, seq, batch, hidden);                                              \
  }                                                                                                 \
  extern "C" __global__ void __launch_bounds__(BLOCK) forget_mult_backward_##name(                  \
      const T* __restrict__ f, const T* __restrict__ x, const float* __restrict__ before,           \
      const T* __restrict__ out, const T* __restrict__ grad_out, T* __restrict__ grad_f,            \
      T* __restrict__ grad_x, float* __restrict__ grad_before, int seq, int batch, int hidden) {    \
    backward<T>(f, x, before, out, grad_out, grad_f, grad_x, grad_before, seq, batch, hidden);      \
  }

FORGET_MULT(f32, float)
FORGET_MULT(bf16, bf16)
