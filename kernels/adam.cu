// One step of Adam over all parameters of a model, after clipping the common norm of their gradients.
//
//   g ← g / max(1, (‖all g‖ + 1e-6) / clip) + weight_decay p
//   m ← β1 m + (1 - β1) g          v ← β2 v + (1 - β2) g²
//   p ← p - lr / (1 - β1^t) · m / (√v / √(1 - β2^t) + eps)
//
// Kingma and Ba 2015 (arXiv 1412.6980), algorithm 1, with L2 weight decay; clipping as in
// torch.nn.utils.clip_grad_norm_. The copy of p that the matrix products read is written in the same
// pass, rounded to its type. If the loss or the norm is not finite, this step and all later ones change
// nothing: `healthy` is 1 at first, and becomes 0. If the loss is finite and only its gradient is not, the
// loss is replaced by -infinity, which no cross entropy can be: the host sees it when it reads losses.
//
// Training that compresses a model adds two things. The gradient of an element that a mask prunes counts
// as 0, in the norm too: with moments and a parameter of 0 the element stays 0. And the copy may be rounded
// to a symmetric grid of integers q times a scale s,
//
//   q = clamp(rint(p / s), -largest, largest)          copy = q s
//
// with ties to even, so that matrix products and their gradients are those of the rounded weights
// (Bengio et al. 2013, arXiv 1308.3432: the straight-through estimator).
//
// Work partition: two launches, gradient_square_sums, then adam. Each block iterates over chunks of
// THREADS · width elements. The order of all sums depends on the shapes alone, so a step repeats to the
// bit.
// Memory traffic: gradient_square_sums reads each gradient. adam reads p, g, m and v and writes p, m, v
// and the copy: 30 bytes per parameter with a bf16 copy. Both read the mask, if there is one: 1 byte.

#include "block.cuh"

// Threads per block.
constexpr int THREADS = 256;

// Elements that a thread loads at once, if the rows of a tensor are aligned.
constexpr int WIDE = 4;

// Tensors per launch: they are passed by value, and CUDA limits arguments to 4 kB.
constexpr int MAX_TENSORS = 32;

// Type of the copy of a parameter that the matrix products read, if there is one.
enum CopyKind : int { NO_COPY = 0, FLOAT_COPY = 1, BF16_COPY = 2 };

// A parameter (rows, columns). p, m, v and the mask are contiguous; rows of g and of the copy may be padded
// to `gradient_row` and `copy_row` elements. All but the copy and the mask are float.
struct Tensor {
  float* parameter;
  const float* gradient;
  float* first_moment;
  float* second_moment;
  void* copy;
  // 0 where an element is pruned; null if none is.
  const unsigned char* mask;
  // The scale of the copy's grid, or one per row; null if the copy is not rounded to a grid.
  const float* scales;
  long long size;
  // Index of the first chunk of this tensor within the launch.
  long long first_chunk;
  long long columns;
  int gradient_row;
  int copy_row;
  int copy_kind;
  // Elements loaded at once: WIDE or 1.
  int width;
  // Scales from one row to the next: 0 or 1.
  int scale_step;
  // Largest integer of the copy's grid.
  int largest;
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

// Where the elements of a thread begin.
struct Place {
  // Index of the first one, its row, and its offsets in the gradient and in the copy.
  long long index, row, gradient, copy;
};

// For each chunk of this block, calls body(tensor, place) for the `width` elements of this thread.
template <class Body>
INLINE void for_each_pack(const Tensors& tensors, Body body) {
  int which = 0;
  for (long long chunk = blockIdx.x; chunk < tensors.chunks; chunk += gridDim.x) {
    while (which + 1 < tensors.count && chunk >= tensors.at[which + 1].first_chunk) ++which;
    const Tensor& tensor = tensors.at[which];
    const long long i =
        ((chunk - tensor.first_chunk) * THREADS + threadIdx.x) * static_cast<long long>(tensor.width);
    if (i >= tensor.size) continue;
    // A 32-bit division takes a fifth of the instructions of a 64-bit one.
    const bool few = tensor.size <= 0xffffffffll;
    const long long row = few ? static_cast<unsigned>(i) / static_cast<unsigned>(tensor.columns)
                              : i / tensor.columns;
    const long long column = i - row * tensor.columns;
    body(tensor, Place{i, row, row * tensor.gradient_row + column, row * tensor.copy_row + column});
  }
}

// The gradient of the elements of a thread, which is 0 where the mask prunes one.
template <int WIDTH>
INLINE Pack<float, WIDTH> load_gradient(const Tensor& tensor, const Place& place) {
  auto gradient = load_pack<float, WIDTH>(tensor.gradient + place.gradient);
  if (tensor.mask != nullptr) {
    const auto stays = load_pack<unsigned char, WIDTH>(tensor.mask + place.index);
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) gradient.at[k] = stays.at[k] ? gradient.at[k] : 0.0f;
  }
  return gradient;
}

// Sum of squares of the gradients of each block, into sums (blocks). If `counts` and the loss is finite,
// increments the step.
extern "C" __global__ void __launch_bounds__(THREADS)
    gradient_square_sums(const __grid_constant__ Tensors tensors, const float* __restrict__ loss,
                         const float* __restrict__ healthy, float* __restrict__ sums,
                         float* __restrict__ step, int counts) {
  Sum sum = {0.0f};
  for_each_pack(tensors, [&](const Tensor& tensor, const Place& place) {
    const auto add = [&](float g) { sum.value = fmaf(g, g, sum.value); };
    if (tensor.width == WIDE) {
      const auto pack = load_gradient<WIDE>(tensor, place);
#pragma unroll
      for (int k = 0; k < WIDE; ++k) add(pack.at[k]);
    } else {
      add(load_gradient<1>(tensor, place).at[0]);
    }
  });
  sum = over_block<THREADS>(sum);
  if (threadIdx.x != 0) return;
  store(sums + blockIdx.x, sum.value);
  if (counts && blockIdx.x == 0 && isfinite(load(loss)) && load(healthy) > 0.0f) *step += 1.0f;
}

// Factors that are the same for all elements of a step.
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
    // In double precision, because 1 - β^t has few significant digits at first.
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

// The values of the copy: those of the parameter, or the nearest of the copy's grid.
template <int WIDTH>
INLINE Pack<float, WIDTH> copied(const Tensor& tensor, const Place& place, Pack<float, WIDTH> values) {
  if (tensor.scales == nullptr) return values;
  const float scale = load(tensor.scales + place.row * tensor.scale_step);
  // Rounded to nearest, as on the CPU: --prec-div=false, with which the kernels are compiled, is less exact.
  const float inverse = __frcp_rn(scale);
  const float largest = static_cast<float>(tensor.largest);
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) {
    const float integer = rintf(values.at[k] * inverse);
    values.at[k] = fminf(fmaxf(integer, -largest), largest) * scale;
  }
  return values;
}

template <int WIDTH>
INLINE void update(const Step& step, const Tensor& tensor, const Place& place) {
  auto p = load_pack<float, WIDTH>(tensor.parameter + place.index);
  auto m = load_pack<float, WIDTH>(tensor.first_moment + place.index);
  auto v = load_pack<float, WIDTH>(tensor.second_moment + place.index);
  const auto g = load_gradient<WIDTH>(tensor, place);
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) step.update(p.at[k], g.at[k], m.at[k], v.at[k]);
  store_pack(tensor.parameter + place.index, p);
  store_pack(tensor.first_moment + place.index, m);
  store_pack(tensor.second_moment + place.index, v);
  if (tensor.copy_kind == NO_COPY) return;
  const auto values = copied(tensor, place, p);
  if (tensor.copy_kind == FLOAT_COPY) {
    store_pack(static_cast<float*>(tensor.copy) + place.copy, values);
  } else {
    Pack<bf16, WIDTH> copy;
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) copy.at[k] = narrow<bf16>(values.at[k]);
    store_pack(static_cast<bf16*>(tensor.copy) + place.copy, copy);
  }
}

// Updates all tensors, with the norm from the sums (blocks) of gradient_square_sums.
extern "C" __global__ void __launch_bounds__(THREADS)
    adam(const __grid_constant__ Tensors tensors, const __grid_constant__ Settings settings,
         float* loss, float* healthy, const float* __restrict__ sums, int blocks,
         const float* __restrict__ steps) {
  Sum square_sum = {0.0f};
  for (int i = threadIdx.x; i < blocks; i += THREADS) square_sum.value += load(sums + i);
  square_sum = over_block<THREADS>(square_sum);
  const bool first = blockIdx.x == 0 && threadIdx.x == 0;
  // Each block decides this from the sums, because the first block writes `healthy`.
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
  for_each_pack(tensors, [&](const Tensor& tensor, const Place& place) {
    if (tensor.width == WIDE) {
      update<WIDE>(step, tensor, place);
    } else {
      update<1>(step, tensor, place);
    }
  });
}
