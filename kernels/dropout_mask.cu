// Dropout masks of a training step, equal to the CPU's: both sample from the same random stream.
//
//   mask_ri = 0 if 2^-24 ⌊w / 2^8⌋ < p, otherwise `kept`;  w is word first + r stride + i of the stream
//
// The stream is ChaCha with 8 rounds (Bernstein 2008, "ChaCha, a variant of Salsa20") and a 256-bit key:
// words 16 b to 16 b + 15 are the block function of RFC 8439, section 2.3, with 4 double rounds in place
// of 10; the last row of the state is a 64-bit counter b and a nonce of 64 zero bits.
// Shapes: mask (rows, n), contiguous and aligned to 16 bytes, stored as T (float or bf16). A mask whose words
// are contiguous is one row. Several rows are some columns of a (rows, batch, width) mask: n is the number of
// these columns times the width, and `stride` is batch × width. `dropped` is ⌈2^24 p⌉, which makes the
// comparison one of integers. The key is four 64-bit integers, low word first.
//
// Work partition: words do not depend on each other, so a row can begin at any word, and each thread
// generates one block of 16 words. A row has `blocks` threads, one more than some rows need, if rows begin at
// different words of a block.
// Memory traffic: the mask is written once; nothing is read.

#include "column.cuh"

// Threads per block. crates/qrnn-ops/src/dropout_mask/cuda.rs has the same value, and that of WORDS.
constexpr int MASK_THREADS = 128;

// Words per ChaCha block.
constexpr int WORDS = 16;

// Elements stored at once: 16 bytes of floats.
constexpr int SIDE_BY_SIDE = 4;

INLINE unsigned rotated(unsigned x, int bits) { return x << bits | x >> (32 - bits); }

INLINE void quarter_round(unsigned& a, unsigned& b, unsigned& c, unsigned& d) {
  a += b, d = rotated(d ^ a, 16);
  c += d, b = rotated(b ^ c, 12);
  a += b, d = rotated(d ^ a, 8);
  c += d, b = rotated(b ^ c, 7);
}

INLINE unsigned low(long long x) { return static_cast<unsigned>(x); }
INLINE unsigned high(long long x) { return static_cast<unsigned>(x >> 32); }

template <class T>
INLINE void dropout_mask(T* __restrict__ mask, int rows, int blocks, long long n, long long first,
                         long long stride, unsigned dropped, float kept, long long key_0,
                         long long key_1, long long key_2, long long key_3) {
  // The launch has fewer than 2^32 threads, and 32-bit integers divide fast.
  const unsigned thread = blockIdx.x * blockDim.x + threadIdx.x;
  const unsigned row = thread / static_cast<unsigned>(blocks);
  if (row >= static_cast<unsigned>(rows)) return;
  const long long begin = first + row * stride;
  const long long counter = begin / WORDS + (thread - row * static_cast<unsigned>(blocks));
  // Index in the row of the first word of this block; negative if the row begins within the block.
  const long long start = counter * WORDS - begin;
  if (start >= n) return;
  // Index in the mask of that word.
  const long long at = row * n + start;

  const unsigned state[WORDS] = {0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u,  // the constants
                                 low(key_0),  high(key_0), low(key_1),  high(key_1),
                                 low(key_2),  high(key_2), low(key_3),  high(key_3),
                                 low(counter), high(counter), 0, 0};
  unsigned x[WORDS];
#pragma unroll
  for (int k = 0; k < WORDS; ++k) x[k] = state[k];
#pragma unroll
  for (int twice = 0; twice < 4; ++twice) {
#pragma unroll
    for (int k = 0; k < 4; ++k) quarter_round(x[k], x[4 + k], x[8 + k], x[12 + k]);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      quarter_round(x[k], x[4 + (k + 1) % 4], x[8 + (k + 2) % 4], x[12 + (k + 3) % 4]);
    }
  }

  const T none = narrow<T>(0.0f), one = narrow<T>(kept);
  const auto number = [&](int k) { return (x[k] + state[k]) >> 8 < dropped ? none : one; };
  if (start >= 0 && start + WORDS <= n && at % SIDE_BY_SIDE == 0) {
#pragma unroll
    for (int k = 0; k < WORDS; k += SIDE_BY_SIDE) {
      const Pack<T, SIDE_BY_SIDE> pack = {{number(k), number(k + 1), number(k + 2), number(k + 3)}};
      store_pack(mask + at + k, pack);
    }
  } else {
#pragma unroll
    for (int k = 0; k < WORDS; ++k) {
      if (start + k < 0 || start + k >= n) continue;
      mask[at + k] = number(k);
      STORED(mask + at + k);
    }
  }
}

#define DROPOUT_MASK(name, T)                                                                        \
  extern "C" __global__ void __launch_bounds__(MASK_THREADS) dropout_mask_##name(                    \
      T* __restrict__ mask, int rows, int blocks, long long n, long long first, long long stride,    \
      int dropped, float kept, long long key_0, long long key_1, long long key_2, long long key_3) { \
    dropout_mask<T>(mask, rows, blocks, n, first, stride, dropped, kept, key_0, key_1, key_2,        \
                    key_3);                                                                          \
  }

DROPOUT_MASK(f32, float)
DROPOUT_MASK(bf16, bf16)
