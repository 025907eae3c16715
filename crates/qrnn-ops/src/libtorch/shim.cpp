// Functions of libtorch that tch does not bind: thread pool, fused Adam, transfers, TF32.

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/empty.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <malloc.h>

#include <optional>
#include <vector>

#include "guarded.h"

namespace {

std::vector<at::Tensor> copies(const at::Tensor* const* tensors, size_t n) {
  std::vector<at::Tensor> out;
  out.reserve(n);
  for (size_t i = 0; i < n; ++i) out.push_back(*tensors[i]);
  return out;
}

}  // namespace

// Calls body(context, begin, end) on ranges that partition 0..n, on torch's threads.
extern "C" char* qrnn_parallel_for(int64_t n, int64_t grain, const void* context,
                                   void (*body)(const void*, int64_t, int64_t)) {
  return guarded([&] {
    at::parallel_for(0, n, grain, [&](int64_t begin, int64_t end) { body(context, begin, end); });
  });
}

// One Adam step over all parameters (torch.optim.Adam(fused=True)). Gradients are divided by
// `inverse_scale`; a `skip` of 1 changes nothing; either may be null.
extern "C" char* qrnn_fused_adam(const at::Tensor* const* parameters, const at::Tensor* const* grads,
                                 const at::Tensor* const* exp_avgs,
                                 const at::Tensor* const* exp_avg_sqs,
                                 const at::Tensor* const* steps, size_t n, double lr, double beta1,
                                 double beta2, double eps, double weight_decay,
                                 const at::Tensor* inverse_scale, const at::Tensor* skip) {
  return guarded([&] {
    std::optional<at::Tensor> scale, found;
    if (inverse_scale) scale = *inverse_scale;
    if (skip) found = *skip;
    auto p = copies(parameters, n), g = copies(grads, n), m = copies(exp_avgs, n),
         v = copies(exp_avg_sqs, n), s = copies(steps, n);
    // The kernel expects steps counted from 1, and does not count.
    for (auto& step : s) found ? step.add_(found->logical_not()) : step.add_(1);
    at::_fused_adam_(p, g, m, v, {}, s, lr, beta1, beta2, weight_decay, eps, /*amsgrad=*/false,
                     /*maximize=*/false, scale, found);
  });
}

// Makes the C library keep freed memory instead of returning it to the system.
extern "C" void qrnn_keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_TOP_PAD, 64 << 20);
#endif
}

// Whether cuBLAS may round single-precision operands to TF32.
extern "C" char* qrnn_allow_tf32(bool allowed) {
  return guarded([&] { at::globalContext().setAllowTF32CuBLAS(allowed); });
}

// Creates an uninitialized tensor of `like`'s kind in page-locked host memory.
extern "C" char* qrnn_pinned_empty(const int64_t* sizes, size_t dims, const at::Tensor* like,
                                   at::Tensor** tensor) {
  return guarded([&] {
    const auto options = at::dtype(like->scalar_type()).pinned_memory(true);
    *tensor = new at::Tensor(at::empty(at::IntArrayRef(sizes, dims), options));
  });
}

// Copies `from` to a tensor on the host and synchronizes the stream of a GPU.
extern "C" char* qrnn_copy_and_wait(const at::Tensor* to, const at::Tensor* from) {
  return guarded([&] {
    to->copy_(*from, /*non_blocking=*/true);
    if (from->is_cuda()) {
      const c10::impl::VirtualGuardImpl cuda(c10::DeviceType::CUDA);
      cuda.synchronizeStream(cuda.getStream(from->device()));
    }
  });
}
