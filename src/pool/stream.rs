//! Rows written past the caches.

/// Bytes of a tensor from which on its rows go past the caches: whoever reads it next would not find
/// them there, and a store into a cache reads the line from memory first.
const LARGE: usize = 16 << 20;

/// Writes a task's rows, which it computes in a place of its own, to a tensor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sink {
    past_caches: bool,
}

impl Sink {
    /// For a tensor of so many bytes.
    pub fn of(bytes: usize) -> Self {
        Self { past_caches: bytes >= LARGE && cfg!(target_arch = "x86_64") }
    }

    /// Computes a row in `staging`, or where it belongs.
    pub fn row<S: Copy>(self, staging: &mut [S], out: &mut [S], compute: impl FnOnce(&mut [S])) {
        if self.past_caches {
            compute(staging);
            copy_past_caches(staging, out);
        } else {
            compute(out);
        }
    }

    /// After a task's last row: what it wrote is there before the task is seen to be done.
    pub fn finish(self) {
        #[cfg(target_arch = "x86_64")]
        if self.past_caches {
            // SAFETY: SSE, which every x86-64 has.
            unsafe { std::arch::x86_64::_mm_sfence() };
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn copy_past_caches<S: Copy>(from: &[S], to: &mut [S]) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_stream_si128};
    const LANES: usize = 4;
    let size = size_of::<S>();
    let head = to.as_ptr().align_offset(64).min(to.len());
    to[..head].copy_from_slice(&from[..head]);
    let lines = (to.len() - head) * size / 64;
    let body = head + lines * 64 / size;
    for line in 0..lines {
        // SAFETY: line `line` of both lies inside, `to` at a multiple of 64 bytes; SSE2 is there.
        unsafe {
            let from = from.as_ptr().add(head).cast::<__m128i>().add(LANES * line);
            let to = to.as_mut_ptr().add(head).cast::<__m128i>().add(LANES * line);
            for i in 0..LANES {
                _mm_stream_si128(to.add(i), _mm_loadu_si128(from.add(i)));
            }
        }
    }
    to[body..].copy_from_slice(&from[body..]);
}

#[cfg(not(target_arch = "x86_64"))]
fn copy_past_caches<S: Copy>(from: &[S], to: &mut [S]) {
    to.copy_from_slice(from);
}
