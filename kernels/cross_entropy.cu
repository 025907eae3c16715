// Softmax and cross entropy over rows of logits: the loss of each row and, in place, the gradient of the
// logits.
//
//   loss_r = log Σ_k exp(x_rk) - x_r,target
//   x_rk   ← scale · (exp(x_rk) / Σ_j exp(x_rj) - [k = target])
//
// Shapes: logits (rows, classes) with a stride of `stride` elements between rows; targets and losses
// (rows). Logits are stored as T (float or bf16); maximum, sum and loss are float.
//
// Work partition: one block of THREADS threads per row. Maximum and sum are computed in one read (Milakov and Gimelshein
// 2018, arXiv 1805.02867): each thread holds a pair of both and rescales its sum when its maximum grows.
// Rows are aligned to 16 bytes, and a thread loads 16 bytes at a time, which is a pack.
// Memory traffic: a row is read once and, if `gradient`, written once. A thread keeps its first KEPT packs
// in registers for the gradient; those of longer rows are read again.

#include "block.cuh"

// Packs that a thread keeps: rows of up to THREADS · KEPT packs are read once.
constexpr int KEPT = 4;

// exp(x - top). With --ftz=true, exp2f is one instruction, with a relative error of about 2^-22.
INLINE float exp_below(float x, float top) { return exp2f((x - top) * LOG2_E); }

// Maximum and Σ exp(x - maximum) of a set of logits. A NaN among them makes the sum NaN.
struct Mass {
  float top, sum;

  INLINE void add(float x) {
    const float new_top = fmaxf(top, x);
    sum = sum * exp_below(top, new_top) + exp_below(x, new_top);
    top = new_top;
  }

  // Rescales the sum once for the whole pack.
  template <class T, int SIZE>
  INLINE void add(const Pack<T, SIZE>& pack) {
    float x[SIZE], new_top = top;
#pragma unroll
    for (int k = 0; k < SIZE; ++k) x[k] = widen(pack.at[k]), new_top = fmaxf(new_top, x[k]);
    sum *= exp_below(top, new_top);
#pragma unroll
    for (int k = 0; k < SIZE; ++k) sum += exp_below(x[k], new_top);
    top = new_top;
  }

  INLINE Mass joined(const Mass& other) const {
    const float new_top = fmaxf(top, other.top);
    return {new_top, sum * exp_below(top, new_top) + other.sum * exp_below(other.top, new_top)};
  }

  INLINE Mass from(int lanes_away) const {
    return {exchanged(top, lanes_away), exchanged(sum, lanes_away)};
  }
};

// The gradient of the loss in a row's logits.
struct Gradient {
  float top, factor, scale;

  INLINE float of(float x, bool is_target) const {
    const float share = factor * exp_below(x, top);
    return is_target ? share - scale : share;
  }

  // `target`: its index relative to the pack.
  template <class T, int SIZE>
  INLINE Pack<T, SIZE> of(Pack<T, SIZE> pack, int target) const {
#pragma unroll
    for (int k = 0; k < SIZE; ++k) pack.at[k] = narrow<T>(of(widen(pack.at[k]), k == target));
    return pack;
  }
};

template <int THREADS, class T>
INLINE void cross_entropy(T* __restrict__ logits, const int* __restrict__ targets,
                          float* __restrict__ losses, float scale, int gradient, int classes,
                          long long stride) {
  constexpr int SIZE = 16 / sizeof(T);
  const int row = blockIdx.x, target = targets[row];
  logits += row * stride;
  Pack<T, SIZE>* packs = reinterpret_cast<Pack<T, SIZE>*>(logits);
  const int whole = classes / SIZE, rest = whole * SIZE + threadIdx.x;
  const int first = threadIdx.x, after_kept = first + KEPT * THREADS;

  // The lowest finite number: unlike for -infinity, the difference of two such is 0, not NaN.
  Mass mass = {-3.4028234e38f, 0.0f};
  Pack<T, SIZE> kept[KEPT];
#pragma unroll
  for (int k = 0; k < KEPT; ++k) {
    const int i = first + k * THREADS;
    if (i < whole) kept[k] = packs[i];
  }
#pragma unroll
  for (int k = 0; k < KEPT; ++k) {
    if (first + k * THREADS < whole) mass.add(kept[k]);
  }
  // Several loads at a time hide the latency of memory.
#pragma unroll 4
  for (int i = after_kept; i < whole; i += THREADS) mass.add(packs[i]);
  if (rest < classes) mass.add(widen(logits[rest]));
  // Read before the gradient overwrites it: `over_block` synchronizes all threads.
  const float at_target = widen(logits[target]);
  mass = over_block<THREADS>(mass);
  if (threadIdx.x == 0) store(losses + row, logf(mass.sum) + mass.top - at_target);
  if (!gradient) return;

  const Gradient of_row = {mass.top, scale / mass.sum, scale};
#pragma unroll
  for (int k = 0; k < KEPT; ++k) {
    const int i = first + k * THREADS;
    if (i < whole) packs[i] = of_row.of(kept[k], target - i * SIZE);
  }
#pragma unroll 4
  for (int i = after_kept; i < whole; i += THREADS) {
    packs[i] = of_row.of(packs[i], target - i * SIZE);
  }
  if (rest < classes) store(logits + rest, of_row.of(widen(logits[rest]), rest == target));
}

#define CROSS_ENTROPY(name, T, THREADS)                                                             \
  extern "C" __global__ void __launch_bounds__(THREADS) cross_entropy_##name##_##THREADS(           \
      T* __restrict__ logits, const int* __restrict__ targets, float* __restrict__ losses,          \
      float scale, int gradient, int classes, long long stride) {                                   \
    cross_entropy<THREADS>(logits, targets, losses, scale, gradient, classes, stride);              \
  }

// Long rows need more threads, and short ones fewer: crates/qrnn-ops/src/split_softmax/cuda.rs chooses.
CROSS_ENTROPY(f32, float, 128)
CROSS_ENTROPY(f32, float, 256)
CROSS_ENTROPY(f32, float, 512)
CROSS_ENTROPY(f32, float, 1024)
CROSS_ENTROPY(bf16, bf16, 128)
CROSS_ENTROPY(bf16, bf16, 256)
CROSS_ENTROPY(bf16, bf16, 512)
CROSS_ENTROPY(bf16, bf16, 1024)
