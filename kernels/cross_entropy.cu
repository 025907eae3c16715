// Softmax and cross entropy over rows of logits: the loss of each row and, in place, the gradient of the
// logits.
//
//   loss_r = log Σ_k exp(x_rk) - x_r,target
//   x_rk   ← scale · (exp(x_rk) / Σ_j exp(x_rj) - [k = target])
//
// Shapes: logits (rows, classes) with a stride of `stride` elements between rows; targets and losses
// (rows). Logits are stored as T (float or bf16); maximum, sum and loss are float.
//
// Work partition: one block per row. Maximum and sum are computed in one read (Milakov and Gimelshein
// 2018, arXiv 1805.02867): each thread holds a pair of both and rescales its sum when its maximum grows.
// Memory traffic: a row is read twice and written once if `gradient`, otherwise read once. Rows are
// aligned to 16 bytes, and a thread loads 16 bytes at a time.

#include "block.cuh"

// Maximum and Σ exp(x - maximum) of a set of logits. A NaN among them makes the sum NaN.
struct Mass {
  float top, sum;

  INLINE void add(float x) {
    const float new_top = fmaxf(top, x);
    sum = sum * expf(top - new_top) + expf(x - new_top);
    top = new_top;
  }

  INLINE Mass joined(const Mass& other) const {
    const float new_top = fmaxf(top, other.top);
    return {new_top, sum * expf(top - new_top) + other.sum * expf(other.top - new_top)};
  }

  INLINE Mass from(int lanes_away) const {
    return {exchanged(top, lanes_away), exchanged(sum, lanes_away)};
  }
};

template <class T>
INLINE void cross_entropy(T* __restrict__ logits, const int* __restrict__ targets,
                          float* __restrict__ losses, float scale, int gradient, int classes,
                          long long stride) {
  constexpr int SIZE = 16 / sizeof(T);
  const int row = blockIdx.x, target = targets[row];
  logits += row * stride;
  Pack<T, SIZE>* packs = reinterpret_cast<Pack<T, SIZE>*>(logits);
  const int whole = classes / SIZE, rest = whole * SIZE + threadIdx.x;

  // The lowest finite number: unlike for -infinity, the difference of two such is 0, not NaN.
  Mass mass = {-3.4028234e38f, 0.0f};
  for (int i = threadIdx.x; i < whole; i += blockDim.x) {
    const Pack<T, SIZE> pack = packs[i];
    // One rescaling for the whole pack.
    float x[SIZE], top = mass.top;
#pragma unroll
    for (int k = 0; k < SIZE; ++k) x[k] = widen(pack.at[k]), top = fmaxf(top, x[k]);
    float sum = mass.sum * expf(mass.top - top);
#pragma unroll
    for (int k = 0; k < SIZE; ++k) sum += expf(x[k] - top);
    mass = {top, sum};
  }
  if (rest < classes) mass.add(widen(logits[rest]));
  // Read before the gradient overwrites it: `over_block` synchronizes all threads.
  const float at_target = widen(logits[target]);
  mass = over_block(mass);
  if (threadIdx.x == 0) store(losses + row, logf(mass.sum) + mass.top - at_target);
  if (!gradient) return;

  const float factor = scale / mass.sum;
  for (int i = threadIdx.x; i < whole; i += blockDim.x) {
    Pack<T, SIZE> pack = packs[i];
#pragma unroll
    for (int k = 0; k < SIZE; ++k) {
      const float share = factor * expf(widen(pack.at[k]) - mass.top);
      pack.at[k] = narrow<T>(i * SIZE + k == target ? share - scale : share);
    }
    packs[i] = pack;
  }
  if (rest < classes) {
    const float share = factor * expf(widen(logits[rest]) - mass.top);
    store(logits + rest, rest == target ? share - scale : share);
  }
}

#define CROSS_ENTROPY(name, T)                                                                      \
  extern "C" __global__ void __launch_bounds__(ROW_THREADS) cross_entropy_##name(                   \
      T* __restrict__ logits, const int* __restrict__ targets, float* __restrict__ losses,          \
      float scale, int gradient, int classes, long long stride) {                                   \
    cross_entropy<T>(logits, targets, losses, scale, gradient, classes, stride);                    \
  }

CROSS_ENTROPY(f32, float)
CROSS_ENTROPY(bf16, bf16)
