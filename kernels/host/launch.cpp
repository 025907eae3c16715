// Launches the kernels on the CPU as cuLaunchKernel launches them on a GPU: by name, with the addresses
// of the arguments. Only tests compile and load it, through crates/qrnn-ops/src/cuda/host_shim.rs.

#include "cuda_on_host.h"
#include "together.h"

#include "../block.cuh"
#include "../column.cuh"

// A namespace per source, because the sources define the same names.
namespace fo_pool {
#include "../fo_pool.cu"
}
namespace forget_mult {
#include "../forget_mult.cu"
}
namespace cross_entropy_rows {
#include "../cross_entropy.cu"
}
namespace adam_step {
#include "../adam.cu"
}
namespace dropout_masks {
#include "../dropout_mask.cu"
}

#include <string_view>
#include <tuple>
#include <utility>

namespace {

template <class... Args, std::size_t... I>
void call(void (*kernel)(Args...), void** args, std::index_sequence<I...>) {
  kernel(*static_cast<Args*>(args[I])...);
}

template <class... Args>
std::index_sequence_for<Args...> arguments_of(void (*)(Args...)) {
  return {};
}

template <class... Args>
void run(void (*kernel)(Args...), unsigned grid, unsigned block, void** args) {
  blockDim.x = block;
  gridDim.x = grid;
  for (blockIdx.x = 0; blockIdx.x < grid; ++blockIdx.x) {
    for (threadIdx.x = 0; threadIdx.x < block; ++threadIdx.x) {
      call(kernel, args, arguments_of(kernel));
    }
  }
}

}  // namespace

#define KERNEL(space, kernel)                      \
  if (std::string_view(name) == #kernel) {         \
    run(&space::kernel, grid, block, args);        \
    return true;                                   \
  }

#define KERNEL_TOGETHER(space, kernel)                                                \
  if (std::string_view(name) == #kernel) {                                            \
    run_together(grid, block, [&] {                                                   \
      call(&space::kernel, args, arguments_of(&space::kernel));                       \
    });                                                                               \
    return true;                                                                      \
  }

// Runs a kernel; returns false if no kernel has this name.
extern "C" bool qrnn_host_launch(const char* name, unsigned grid, unsigned block, void** args) {
  loads.clear();
  stores.clear();
  KERNEL(fo_pool, fo_pool_forward_f32)
  KERNEL(fo_pool, fo_pool_forward_bf16)
  KERNEL(fo_pool, fo_pool_forward_zoneout_f32)
  KERNEL(fo_pool, fo_pool_forward_zoneout_bf16)
  KERNEL(fo_pool, fo_pool_backward_f32)
  KERNEL(fo_pool, fo_pool_backward_bf16)
  KERNEL(fo_pool, fo_pool_backward_zoneout_f32)
  KERNEL(fo_pool, fo_pool_backward_zoneout_bf16)
  KERNEL(forget_mult, forget_mult_forward_f32)
  KERNEL(forget_mult, forget_mult_forward_bf16)
  KERNEL(forget_mult, forget_mult_backward_f32)
  KERNEL(forget_mult, forget_mult_backward_bf16)
  KERNEL(dropout_masks, dropout_mask_f32)
  KERNEL(dropout_masks, dropout_mask_bf16)
  KERNEL_TOGETHER(cross_entropy_rows, cross_entropy_f32_128)
  KERNEL_TOGETHER(cross_entropy_rows, cross_entropy_f32_256)
  KERNEL_TOGETHER(cross_entropy_rows, cross_entropy_f32_512)
  KERNEL_TOGETHER(cross_entropy_rows, cross_entropy_f32_1024)
  KERNEL_TOGETHER(cross_entropy_rows, cross_entropy_bf16_128)
  KERNEL_TOGETHER(cross_entropy_rows, cross_entropy_bf16_256)
  KERNEL_TOGETHER(cross_entropy_rows, cross_entropy_bf16_512)
  KERNEL_TOGETHER(cross_entropy_rows, cross_entropy_bf16_1024)
  KERNEL_TOGETHER(adam_step, gradient_square_sums)
  KERNEL_TOGETHER(adam_step, adam)
  return false;
}

// Number of writes (or reads, if not `written`) of `at` by the last launch on this thread.
extern "C" unsigned qrnn_host_count(const void* at, bool written) {
  const auto& counts = written ? stores : loads;
  const auto found = counts.find(at);
  return found == counts.end() ? 0 : found->second;
}

// Number of addresses that the last launch on this thread wrote (or read, if not `written`).
extern "C" std::size_t qrnn_host_places(bool written) {
  return written ? stores.size() : loads.size();
}
