// Shared by kernels with one block per row: reductions over all threads of a block.

#pragma once

#include "column.cuh"

constexpr int WARP = 32;

// The value of the lane whose index differs in these bits.
INLINE float exchanged(float x, int lanes_away) {
  return __shfl_xor_sync(0xffffffffu, x, lanes_away);
}

// The values of all threads combined; every thread receives the result. All THREADS threads of the block
// must call it. It synchronizes the block, so writes before the call are visible after it.
template <int THREADS, class V>
INLINE V over_block(V value) {
  __shared__ V of_warps[THREADS / WARP];
  for (int away = WARP / 2; away > 0; away /= 2) value = value.joined(value.from(away));
  // Threads may still be reading the result of an earlier call.
  __syncthreads();
  if (threadIdx.x % WARP == 0) of_warps[threadIdx.x / WARP] = value;
  __syncthreads();
  value = of_warps[0];
  for (int warp = 1; warp < THREADS / WARP; ++warp) value = value.joined(of_warps[warp]);
  return value;
}
