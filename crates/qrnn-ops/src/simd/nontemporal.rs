//! Rows written past the caches.

/// Bytes of the gates from which on rows go past the caches: whoever reads them next would not find
/// them there, and a store into a cache reads the line from memory first.
const LARGE: usize = 16 << 20;

/// How a launch writes its rows.
#[derive(Debug, Clone, Copy)]
pub struct StorePolicy {
    past_caches: bool,
}

impl StorePolicy {
    /// For gates of so many bytes.
    pub fn of(bytes: usize) -> Self {
        Self { past_caches: bytes >= LARGE && cfg!(target_arch = "x86_64") }
    }

    /// A row to be written.
    pub fn row<S>(self, row: &mut [S]) -> Output<'_, S> {
        // The instruction wants whole pieces of 16 bytes.
        Output { past_caches: self.past_caches && row.as_ptr().addr().is_multiple_of(16), row }
    }

    /// After a thread's last row: what it wrote is there before the thread is seen to be done.
    pub fn finish(self) {
        #[cfg(target_arch = "x86_64")]
        if self.past_caches {
            // SAFETY: SSE, which every x86-64 has.
            unsafe { std::arch::x86_64::_mm_sfence() };
        }
    }
}

/// A row that is written group by group, and past the last whole group number by number.
#[derive(Debug)]
pub struct Output<'a, S> {
    /// The row.
    pub row: &'a mut [S],
    past_caches: bool,
}

impl<S: Copy> Output<'_, S> {
    /// Writes the g-th group of N numbers.
    #[inline(always)]
    pub fn put<const N: usize>(&mut self, g: usize, group: &[S; N]) {
        let Some(place) = self.row.as_chunks_mut::<N>().0.get_mut(g) else { return };
        #[cfg(target_arch = "x86_64")]
        if self.past_caches && size_of::<[S; N]>().is_multiple_of(16) {
            use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_stream_si128};
            let from = group.as_ptr().cast::<__m128i>();
            let to = place.as_mut_ptr().cast::<__m128i>();
            for i in 0..size_of::<[S; N]>() / 16 {
                // SAFETY: piece i of both lies inside, and `to` at a multiple of 16 bytes, as the row
                // and the groups' size are; SSE2 is there.
                unsafe { _mm_stream_si128(to.add(i), _mm_loadu_si128(from.add(i))) };
            }
            return;
        }
        *place = *group;
    }
}
