// Shared by all kernels: the column (b, h) of a thread, which is a pair of batch column and feature, and
// storage as float or bfloat16 with all arithmetic in float.
//
// No CUDA headers are included: NVRTC provides none for bfloat16, and a host compiler has none.

#pragma once

#define INLINE __device__ __forceinline__

// Threads per block, as in crates/qrnn-ops/src/fo_pool/cuda, and the time steps that a thread prefetches.
constexpr int BLOCK = 64;
constexpr int STEPS = 8;

// Host builds count stores, loads through __ldg, and loads marked by LOADED; see host/cuda_on_host.h.
#ifndef STORED
#define STORED(at)
#define LOADED(at)
#endif

// The upper half of a float's bits.
struct bf16 {
  unsigned short bits;
};

INLINE float widen(float x) { return x; }
INLINE float widen(bf16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }

template <class T>
INLINE T narrow(float x);

template <>
INLINE float narrow<float>(float x) {
  return x;
}

// Rounds to nearest, ties to even; NaN stays NaN.
template <>
INLINE bf16 narrow<bf16>(float x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  bf16 out;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(out.bits) : "f"(x));
  return out;
#else
  const unsigned bits = __float_as_uint(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fff};
  return {static_cast<unsigned short>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
#endif
}

// For memory that no thread writes during the launch.
INLINE float load(const float* at) { return __ldg(at); }
INLINE bf16 load(const bf16* at) { return {__ldg(&at->bits)}; }

template <class T>
INLINE void store(T* at, float x) {
  *at = narrow<T>(x);
  STORED(at);
}

// Elements that one instruction loads or stores: at most 16 bytes, aligned to their total size.
template <class T, int SIZE>
struct alignas(SIZE * sizeof(T)) Pack {
  T at[SIZE];
};

// For memory that the same launch writes, which __ldg must not read.
template <class T, int SIZE>
INLINE Pack<T, SIZE> load_pack(const T* from) {
  for (int k = 0; k < SIZE; ++k) LOADED(from + k);
  return *reinterpret_cast<const Pack<T, SIZE>*>(from);
}

template <class T, int SIZE>
INLINE void store_pack(T* to, const Pack<T, SIZE>& pack) {
  *reinterpret_cast<Pack<T, SIZE>*>(to) = pack;
  for (int k = 0; k < SIZE; ++k) STORED(to + k);
}

constexpr float LOG2_E = 1.44269504f;

// Two instructions of the hardware, with --ftz=true and --prec-div=false, whose relative error is about
// 2^-22; beyond ±88 the result is 0 or 1.
INLINE float sigmoid(float x) { return 1.0f / (1.0f + exp2f(-LOG2_E * x)); }

// tanh, with an absolute error of about 2^-22; tanhf takes several times as many instructions.
INLINE float tanh_by_sigmoid(float x) { return fmaf(2.0f, sigmoid(2.0f * x), -1.0f); }

// Index of the column of this thread among the batch × hidden columns.
INLINE long long own_column() {
  return static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
}

// Compile-time flag: whether all steps of a group exist.
template <bool VALUE>
struct Flag {
  static constexpr bool value = VALUE;
};
