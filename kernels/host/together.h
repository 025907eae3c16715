// For kernels whose threads synchronize with each other: each thread of a block has a separate stack and
// runs until it reaches a barrier.

#pragma once

#include <ucontext.h>

#include <cstdlib>
#include <functional>
#include <vector>

#include "cuda_on_host.h"

// All threads of a block run on one host thread.
#define __shared__ static thread_local

struct Together {
  std::vector<ucontext_t> threads;
  std::vector<bool> waits;
  std::vector<float> lanes;
  ucontext_t host;
  std::function<void()> call;
};

inline thread_local Together* together = nullptr;

inline void __syncthreads() {
  const unsigned thread = threadIdx.x;
  together->waits[thread] = true;
  swapcontext(&together->threads[thread], &together->host);
}

// All threads of the block take part, so a barrier of the block also synchronizes the warp.
inline float __shfl_xor_sync(unsigned, float x, int mask) {
  const unsigned thread = threadIdx.x;
  together->lanes[thread] = x;
  __syncthreads();
  const float other = together->lanes[thread ^ static_cast<unsigned>(mask)];
  __syncthreads();
  return other;
}

inline void run_thread() { together->call(); }

inline void run_together(unsigned grid, unsigned block, const std::function<void()>& call) {
  constexpr std::size_t STACK = 64 << 10;
  Together all;
  all.threads.resize(block);
  all.lanes.resize(block);
  all.call = call;
  together = &all;
  std::vector<char> stacks(block * STACK);
  blockDim.x = block;
  gridDim.x = grid;
  for (blockIdx.x = 0; blockIdx.x < grid; ++blockIdx.x) {
    for (unsigned thread = 0; thread < block; ++thread) {
      ucontext_t& own = all.threads[thread];
      getcontext(&own);
      own.uc_stack.ss_sp = &stacks[thread * STACK];
      own.uc_stack.ss_size = STACK;
      own.uc_link = &all.host;
      makecontext(&own, run_thread, 0);
    }
    // Each round ends at the same barrier for all threads, or at the end of the kernel.
    bool more = true;
    while (more) {
      all.waits.assign(block, false);
      for (threadIdx.x = 0; threadIdx.x < block; ++threadIdx.x) {
        swapcontext(&all.host, &all.threads[threadIdx.x]);
      }
      more = all.waits[0];
      for (const bool waits : all.waits) {
        if (waits != more) std::abort();  // on a GPU: a deadlock
      }
    }
  }
  together = nullptr;
}
