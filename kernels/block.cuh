// What kernels with a block a row share: sums over all threads of the block.

#pragma once

#include "column.cuh"

// Threads of a block that owns a row.
constexpr int ROW_THREADS = 256;

constexpr int WARP = 32;

// The value of the lane whose number differs by these bits.
INLINE float exchanged(float x, int lanes_away) {
  return __shfl_xor_sync(0xffffffffu, x, lanes_away);
}

// All threads' values joined, in each of them. Called by all threads of a block of ROW_THREADS; who
// reads after it what others wrote before it sees that.
template <class V>
INLINE V over_block(V value) {
  __shared__ V of_warps[ROW_THREADS / WARP];
  for (int away = WARP / 2; away > 0; away /= 2) value = value.joined(value.from(away));
  // Who comes from an earlier call may still be reading.
  __syncthreads();
  if (threadIdx.x % WARP == 0) of_warps[threadIdx.x / WARP] = value;
  __syncthreads();
  value = of_warps[0];
  for (int warp = 1; warp < ROW_THREADS / WARP; ++warp) value = value.joined(of_warps[warp]);
  return value;
}
