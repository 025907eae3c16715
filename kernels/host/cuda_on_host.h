// The part of CUDA that the kernels use, for a C++ compiler: tests run the same source on the CPU, one
// thread after the other. together.h is for kernels whose threads synchronize with each other.

#pragma once

#include <cmath>
#include <cstring>
#include <unordered_map>

#define __global__
#define __grid_constant__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict

using std::isfinite;

struct Dim {
  unsigned x;
};

inline thread_local Dim threadIdx, blockIdx, blockDim, gridDim;

inline float __uint_as_float(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

inline unsigned __float_as_uint(float x) {
  unsigned bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

// The reciprocal, rounded to nearest.
inline float __frcp_rn(float x) { return 1.0f / x; }

// Number of reads and writes of each address since the last launch began.
inline thread_local std::unordered_map<const void*, unsigned> loads, stores;

template <class T>
T __ldg(const T* at) {
  ++loads[at];
  return *at;
}

#define STORED(at) (++stores[at])
#define LOADED(at) (++loads[at])
