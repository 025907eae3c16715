// fo-pooling including the activation of its gates, forward and backward, in one pass over the output of
// the linear map.
//
//   z = tanh(gates[t, b, h]), f = σ(gates[t, b, H + h]) · keep, o = σ(gates[t, b, 2 H + h])
//   c_t = f z + (1 - f) c_{t-1}
//   out_t = o c_t · dropout[b, h]
//
// Bradbury et al. 2016 (arXiv 1611.01576), equation 4; zoneout as in pytorch-qrnn: `keep` is element
// (t, b, h) of the zoneout mask, or a scalar.
// Shapes, with seq T, batch B and hidden H: gates (T, B, 3H), zoneout and out (T, B, H), before (the
// initial state), last (the final state) and dropout (B, H). Tensors are stored as float or bf16; states
// and their gradients are float.
// Rows of gates and of their gradient have `row` elements, 3H or more. The padding of the gates is not
// read; the backward writes zeros into that of their gradient, because matrix products read whole rows.
// Rows of `out` and of its gradient have `out_row` elements, H or more. The forward writes a 1 and then
// zeros into the padding of `out`, because the bias of the next linear map is a column of its weight; the
// backward does not read the padding.
//
// Work partition: a thread owns a column, which is a pair (b, h) of batch column and feature, for all time
// steps. Neighboring threads own neighboring h, so a warp reads whole cache lines. To hide memory latency,
// each thread prefetches STEPS time steps while it computes STEPS others.
//
// Memory traffic, in passes over T·B·H elements: the forward reads z, f, o and writes out; the backward
// reads z, f, o and the gradient of out, and writes three gradients. The forward saves c before every
// GROUP-th step only, in kept (ceil(T / GROUP), B, H), and the backward recomputes the states between from
// the gates, which it has to read anyway.

#include "column.cuh"

// Time steps between two saved states, which the backward processes together. With 8 it reads and writes
// less, and at the entry's sizes takes up to a tenth longer.
constexpr int GROUP = 4;
static_assert(STEPS % GROUP == 0, "the forward saves states at fixed places of its ring");

// Inputs of the forward at one step.
template <class T, bool ZONEOUT>
struct Read {
  T z, f, o;
  T keep;
};

template <class T>
struct Read<T, false> {
  T z, f, o;
};

// The activated gates of one step; `f` is the forget gate after zoneout, `open` before it.
struct Gates {
  float z, f, o;
  float open;
};

// Iterates over the gates of a column. Running addresses take fewer instructions than products of step
// and stride.
template <class T, bool ZONEOUT>
struct Walk {
  const T* gates;
  const T* zoneout;
  long long columns;
  // Distance between the gates of two steps, in elements; with 64 bits the backward spills registers.
  int stride;
  int hidden;

  INLINE Walk(const T* all_gates, const T* all_zoneout, long long column, int batch, int hidden,
              int row)
      : gates(all_gates + column / hidden * row + column % hidden),
        zoneout(ZONEOUT ? all_zoneout + column : nullptr),
        columns(static_cast<long long>(batch) * hidden),
        stride(batch * row),
        hidden(hidden) {}

  INLINE Read<T, ZONEOUT> next() {
    const T* z = gates;
    const T* f = z + hidden;
    gates += stride;
    if constexpr (ZONEOUT) {
      const T* mask = zoneout;
      zoneout += columns;
      return {load(z), load(f), load(f + hidden), load(mask)};
    } else {
      return {load(z), load(f), load(f + hidden)};
    }
  }

  INLINE void skip(int steps) {
    gates += static_cast<long long>(steps) * stride;
    if (ZONEOUT) zoneout += steps * columns;
  }
};

template <class T, bool ZONEOUT>
INLINE Gates activate(const Read<T, ZONEOUT>& raw, float keep) {
  if constexpr (ZONEOUT) keep = widen(raw.keep);
  const float open = sigmoid(widen(raw.f));
  return {tanh_by_sigmoid(widen(raw.z)), open * keep, sigmoid(widen(raw.o)), open};
}

INLINE float next_state(const Gates& gates, float c) {
  return fmaf(1.0f - gates.f, c, gates.f * gates.z);
}

// Writes `first` and then zeros after the first `width` elements of each row; the threads of all columns
// share the work.
template <class T>
INLINE void write_padding(T* rows, long long count, int width, int row, float first, long long columns) {
  const int padding = row - width;
  for (long long i = own_column(); i < count * padding; i += columns) {
    const long long of_row = i / padding;
    const int at = static_cast<int>(i - of_row * padding);
    store(rows + of_row * row + width + at, at == 0 ? first : 0.0f);
  }
}

template <class T, bool ZONEOUT>
INLINE void forward(const T* __restrict__ gates, const float* __restrict__ before,
                    const T* __restrict__ zoneout, float keep, const T* __restrict__ dropout,
                    T* __restrict__ out, float* __restrict__ last, float* __restrict__ kept, int seq,
                    int batch, int hidden, int row, int out_row) {
  const long long columns = static_cast<long long>(batch) * hidden, column = own_column();
  if (column >= columns) return;
  const long long rows = static_cast<long long>(seq) * batch;
  if (out_row > hidden) write_padding(out, rows, hidden, out_row, 1.0f, columns);
  Walk<T, ZONEOUT> walk(gates, zoneout, column, batch, hidden, row);
  const float scale = dropout ? widen(load(dropout + column)) : 1.0f;
  float c = load(before + column);
  const int out_stride = batch * out_row;
  out += column / hidden * out_row + column % hidden;
  if (kept) kept += column;

  Read<T, ZONEOUT> ahead[STEPS];
#pragma unroll
  for (int k = 0; k < STEPS; ++k) {
    if (k < seq) ahead[k] = walk.next();
  }
  // `whole`: these STEPS steps and the following STEPS steps all exist.
  const auto stretch = [&](int t, auto whole) {
#pragma unroll
    for (int k = 0; k < STEPS; ++k) {
      if (!whole.value && t + k >= seq) break;
      if (kept && k % GROUP == 0) {
        store(kept, c);
        kept += columns;
      }
      const Gates now = activate(ahead[k], keep);
      if (whole.value || t + k + STEPS < seq) ahead[k] = walk.next();
      c = next_state(now, c);
      store(out, now.o * c * scale);
      out += out_stride;
    }
  };
  int t = 0;
  for (; t + 2 * STEPS <= seq; t += STEPS) stretch(t, Flag<true>());
  for (; t < seq; t += STEPS) stretch(t, Flag<false>());
  store(last + column, c);
}

template <class T, bool ZONEOUT>
INLINE void backward(const T* __restrict__ gates, const T* __restrict__ zoneout, float keep,
                     const T* __restrict__ dropout, const float* __restrict__ kept,
                     const T* __restrict__ grad_out, const float* __restrict__ grad_last,
                     T* __restrict__ grad_gates, float* __restrict__ grad_before, int seq, int batch,
                     int hidden, int row, int out_row) {
  const long long columns = static_cast<long long>(batch) * hidden, column = own_column();
  if (column >= columns) return;
  const long long rows = static_cast<long long>(seq) * batch;
  if (row > 3 * hidden) write_padding(grad_gates, rows, 3 * hidden, row, 0.0f, columns);
  Walk<T, ZONEOUT> walk(gates, zoneout, column, batch, hidden, row);
  const float scale = dropout ? widen(load(dropout + column)) : 1.0f;
  // Gradient that the state after a step receives from later steps.
  float carry = grad_last ? load(grad_last + column) : 0.0f;
  // All pointers move to the first step of the last group of GROUP steps, which may be shorter.
  int start = (seq - 1) / GROUP * GROUP;
  walk.skip(start);
  grad_gates += walk.gates - gates;
  const int out_stride = batch * out_row;
  grad_out += column / hidden * out_row + column % hidden;
  grad_out += static_cast<long long>(start) * out_stride;
  kept += column + start / GROUP * columns;

  Read<T, ZONEOUT> ahead[GROUP];
  T grad_ahead[GROUP];
#pragma unroll
  for (int k = 0; k < GROUP; ++k) {
    if (start + k < seq) {
      ahead[k] = walk.next();
      grad_ahead[k] = load(grad_out + static_cast<long long>(k) * out_stride);
    }
  }
  walk.skip(start - seq);
  float c_ahead = load(kept);

  // One group of GROUP steps: forward, for the states and everything that does not depend on later
  // steps, then backward. `whole`: all of its steps exist.
  const auto stretch = [&](auto whole) {
    // d c_t = own[t] + carry, d z_t = by_z[t] d c_t, d f_t = by_f[t] d c_t (z, f before activation).
    float own[GROUP], by_z[GROUP], by_f[GROUP], forget[GROUP];
    float c = c_ahead;
    if (start > 0) {
      kept -= columns;
      c_ahead = load(kept);
      walk.skip(-GROUP);
      grad_out -= static_cast<long long>(GROUP) * out_stride;
    }
#pragma unroll
    for (int k = 0; k < GROUP; ++k) {
      if (whole.value || start + k < seq) {
        const Gates now = activate(ahead[k], keep);
        const float grad = widen(grad_ahead[k]) * scale;
        forget[k] = 1.0f - now.f;
        by_z[k] = now.f * (1.0f - now.z * now.z);
        by_f[k] = (now.z - c) * now.f * (1.0f - now.open);
        c = next_state(now, c);
        own[k] = grad * now.o;
        store(grad_gates + 2 * static_cast<long long>(hidden), own[k] * c * (1.0f - now.o));
        grad_gates += walk.stride;
      }
      if (start > 0) {
        ahead[k] = walk.next();
        grad_ahead[k] = load(grad_out + static_cast<long long>(k) * out_stride);
      }
    }
    if (start > 0) walk.skip(-GROUP);
#pragma unroll
    for (int k = GROUP - 1; k >= 0; --k) {
      if (!whole.value && start + k >= seq) continue;
      grad_gates -= walk.stride;
      const float grad_c = own[k] + carry;
      store(grad_gates, grad_c * by_z[k]);
      store(grad_gates + hidden, grad_c * by_f[k]);
      carry = grad_c * forget[k];
    }
    grad_gates -= static_cast<long long>(GROUP) * walk.stride;
    start -= GROUP;
  };
  stretch(Flag<false>());
  while (start >= 0) stretch(Flag<true>());
  store(grad_before + column, carry);
}

// __launch_bounds__ requests BLOCKS resident blocks per multiprocessor, which limits the registers. With
// nine, all 72,000 columns of the entry's layers (40 × 1800) are resident at once on 132 multiprocessors.
// The zoneout kernels read one more element per step, and would spill with nine.
#define FO_POOL(name, T, ZONEOUT, BLOCKS)                                                           \
  extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS) fo_pool_forward_##name(               \
      const T* __restrict__ gates, const float* __restrict__ before, const T* __restrict__ zoneout, \
      float keep, const T* __restrict__ dropout, T* __restrict__ out, float* __restrict__ last,     \
      float* __restrict__ kept, int seq, int batch, int hidden, int row, int out_row) {             \
    forward<T, ZONEOUT>(gates, before, zoneout, keep, dropout, out, last, kept, seq, batch, hidden, \
                        row, out_row);                                                              \
  }                                                                                                 \
  extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS) fo_pool_backward_##name(              \
      const T* __restrict__ gates, const T* __restrict__ zoneout, float keep,                       \
      const T* __restrict__ dropout, const float* __restrict__ kept,                                \
      const T* __restrict__ grad_out, const float* __restrict__ grad_last,                          \
      T* __restrict__ grad_gates, float* __restrict__ grad_before, int seq, int batch,              \
      int hidden, int row, int out_row) {                                                           \
    backward<T, ZONEOUT>(gates, zoneout, keep, dropout, kept, grad_out, grad_last, grad_gates,      \
                         grad_before, seq, batch, hidden, row, out_row);                            \
  }

FO_POOL(f32, float, false, 9)
FO_POOL(bf16, bf16, false, 9)
FO_POOL(zoneout_f32, float, true, 6)
FO_POOL(zoneout_bf16, bf16, true, 6)
