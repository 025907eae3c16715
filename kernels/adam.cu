// One step of Adam over all parameters of a model, after their gradients' common norm was clipped.
//
//   g ← g / max(1, (‖all g‖ + 1e-6) / clip) + weight_decay p
//   m ← β1 m + (1 - β1) g          v ← β2 v + (1 - β2) g²
//   p ← p - lr / (1 - β1^t) · m / (√v / √(1 - β2^t) + eps)
//
// Kingma and Ba 2015 (arXiv 1412.6980), algorithm 1, with L2 weight decay; the clip as in
// torch.nn.utils.clip_grad_norm_. The copy of p that the matrix products read is written in the same
// pass, rounded to its storage. Where the loss or the norm is not finite, nothing changes, and neither
// does it in any later step: `healthy`, 1 at first, is then 0. A loss whose gradient was at fault is
// replaced by -infinity, which no cross entropy is, so that the host learns of it when it reads losses.
//
// Two launches: gradient_square_sums, then adam. Each block walks over chunks of all tensors, in an
// order that depends on nothing but the shapes, so that a step repeats to the bit.

#include "block.cuh"

// Numbers that a thread moves at once, where a tensor's rows allow it.
constexpr int WIDE = 4;

// Tensors of a launch: they are passed by value, and CUDA passes at most 4 kB.
constexpr int MAX_TENSORS = 32;

// Where a parameter's copy for the matrix products lies, if anywhere.
enum CopyKind : int { NO_COPY = 0, FLOAT_COPY = 1, BF16_COPY = 2 };

// A parameter of rows × columns. p, m and v are contiguous; rows of g and of the copy may lie
// further apart. All but the copy are float.
struct Tensor {
  float* parameter;
  const float* gradient;
  float* first_moment;
  float* second_moment;
  void* copy;
  long long size;
  // The first of the launch's chunks that are this tensor's.
  long long first_chunk;
  long long columns;
  int gradient_row;
  int copy_row;
  int copy_kind;
  // WIDE numbers at once, or 1.
  int width;
};

struct Tensors {
  long long chunks;
  int count;
  Tensor at[MAX_TENSORS];
};

struct Settings {
  double lr, beta1, beta2, eps, weight_decay, clip;
};

struct Sum {
  float value;
  INLINE Sum joined(const Sum& other) const { return {value + other.value}; }
  INLINE Sum from(int lanes_away) const { return {exchanged(value, lanes_away)}; }
};

// The numbers that are this thread's in each chunk that is this block's: calls
// body(tensor, index of the first, offset of their row in the gradient, in the copy).
template <class Body>
INLINE void for_each_pack(const Tensors& tensors, Body body) {
  int which = 0;
  for (long long chunk = blockIdx.x; chunk < tensors.chunks; chunk += gridDim.x) {
    while (which + 1 < tensors.count && chunk >= tensors.at[which + 1].first_chunk) ++which;
    const Tensor& tensor = tensors.at[which];
    const long long i =
        ((chunk - tensor.first_chunk) * ROW_THREADS + threadIdx.x) * static_cast<long long>(tensor.width);
    if (i >= tensor.size) continue;
    // A division of 32 bits takes a fifth of the instructions of one of 64.
    const bool few = tensor.size <= 0xffffffffll;
    const long long row = few ? static_cast<unsigned>(i) / static_cast<unsigned>(tensor.columns)
                              : i / tensor.columns;
    const long long column = i - row * tensor.columns;
    body(tensor, i, row * tensor.gradient_row + column, row * tensor.copy_row + column);
  }
}

// Adds up the squares of each block's gradients, and counts the step.
extern "C" __global__ void __launch_bounds__(ROW_THREADS)
    gradient_square_sums(const __grid_constant__ Tensors tensors, const float* __restrict__ loss,
                         const float* __restrict__ healthy, float* __restrict__ sums,
                         float* __restrict__ step, int counts) {
  Sum sum = {0.0f};
  for_each_pack(tensors, [&](const Tensor& tensor, long long, long long at, long long) {
    const auto add = [&](float g) { sum.value = fmaf(g, g, sum.value); };
    if (tensor.width == WIDE) {
      const auto pack = load_pack<float, WIDE>(tensor.gradient + at);
#pragma unroll
      for (int k = 0; k < WIDE; ++k) add(pack.at[k]);
    } else {
      add(load(tensor.gradient + at));
    }
  });
  sum = over_block(sum);
  if (threadIdx.x != 0) return;
  store(sums + blockIdx.x, sum.value);
  if (counts && blockIdx.x == 0 && isfinite(load(loss)) && load(healthy) > 0.0f) *step += 1.0f;
}

// What is the same for all numbers of a step.
struct Step {
  float by_clip, weight_decay, beta1, beta2, gain1, gain2, rate, by_root, eps;

  INLINE Step(const Settings& settings, float square_sum, float steps)
      : by_clip(1.0f),
        weight_decay(static_cast<float>(settings.weight_decay)),
        beta1(static_cast<float>(settings.beta1)),
        beta2(static_cast<float>(settings.beta2)),
        gain1(static_cast<float>(1.0 - settings.beta1)),
        gain2(static_cast<float>(1.0 - settings.beta2)),
        eps(static_cast<float>(settings.eps)) {
    // In double precision: 1 - β^t has few digits left at first.
    const double correction1 = -expm1(steps * log(settings.beta1));
    const double correction2 = -expm1(steps * log(settings.beta2));
    rate = static_cast<float>(settings.lr / correction1);
    by_root = static_cast<float>(1.0 / sqrt(correction2));
    if (settings.clip > 0.0) {
      const float over = (sqrtf(square_sum) + 1e-6f) / static_cast<float>(settings.clip);
      by_clip = over <= 1.0f ? 1.0f : 1.0f / over;
    }
  }

  INLINE void update(float& p, float g, float& m, float& v) const {
    g = fmaf(weight_decay, p, g * by_clip);
    m = fmaf(beta1, m, gain1 * g);
    v = fmaf(beta2, v, gain2 * g * g);
    p -= rate * m / fmaf(sqrtf(v), by_root, eps);
  }
};

template <int WIDTH>
INLINE void update(const Step& step, const Tensor& tensor, long long i, long long gradient_at,
                   long long copy_at) {
  auto p = load_pack<float, WIDTH>(tensor.parameter + i);
  auto m = load_pack<float, WIDTH>(tensor.first_moment + i);
  auto v = load_pack<float, WIDTH>(tensor.second_moment + i);
  const auto g = load_pack<float, WIDTH>(tensor.gradient + gradient_at);
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) step.update(p.at[k], g.at[k], m.at[k], v.at[k]);
  store_pack(tensor.parameter + i, p);
  store_pack(tensor.first_moment + i, m);
  store_pack(tensor.second_moment + i, v);
  if (tensor.copy_kind == FLOAT_COPY) store_pack(static_cast<float*>(tensor.copy) + copy_at, p);
  if (tensor.copy_kind == BF16_COPY) {
    Pack<bf16, WIDTH> copy;
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) copy.at[k] = narrow<bf16>(p.at[k]);
    store_pack(static_cast<bf16*>(tensor.copy) + copy_at, copy);
  }
}

// Updates all tensors by the sums of `blocks` blocks of gradient_square_sums.
extern "C" __global__ void __launch_bounds__(ROW_THREADS)
    adam(const __grid_constant__ Tensors tensors, const __grid_constant__ Settings settings,
         float* loss, float* healthy, const float* __restrict__ sums, int blocks,
         const float* __restrict__ steps) {
  Sum square_sum = {0.0f};
  for (int i = threadIdx.x; i < blocks; i += ROW_THREADS) square_sum.value += load(sums + i);
  square_sum = over_block(square_sum);
  const bool first = blockIdx.x == 0 && threadIdx.x == 0;
  // Each block sees this for itself, so that none reads what the first one writes.
  if (!isfinite(square_sum.value)) {
    if (first && isfinite(load(loss)) && load(healthy) > 0.0f) store(loss, __uint_as_float(0xff800000u));
    if (first) store(healthy, 0.0f);
    return;
  }
  if (!isfinite(load(loss))) {
    if (first) store(healthy, 0.0f);
    return;
  }
  if (load(healthy) <= 0.0f) return;
  const Step step(settings, square_sum.value, load(steps));
  for_each_pack(tensors, [&](const Tensor& tensor, long long i, long long gradient_at,
                             long long copy_at) {
    if (tensor.width == WIDE) {
      update<WIDE>(step, tensor, i, gradient_at, copy_at);
    } else {
      update<1>(step, tensor, i, gradient_at, copy_at);
    }
  });
}
