//! Nontemporal stores, which bypass the caches.

/// Bytes of the gates from which rows bypass the caches: they would be evicted before the next read, and a
/// cached store reads the line from memory first.
const LARGE: usize = 16 << 20;

/// How a kernel stores its rows.
#[derive(Debug, Clone, Copy)]
pub struct StorePolicy {
    nontemporal: bool,
}

impl StorePolicy {
    /// For gates of this size in bytes.
    pub fn of(bytes: usize) -> Self {
        Self { nontemporal: bytes >= LARGE && cfg!(target_arch = "x86_64") }
    }

    /// A row to store.
    pub fn row<S>(self, row: &mut [S]) -> Output<'_, S> {
        // The instruction stores aligned vectors of 16 bytes.
        Output { nontemporal: self.nontemporal && row.as_ptr().addr().is_multiple_of(16), row }
    }

    /// A store fence, required after a thread's last row.
    pub fn finish(self) {
        #[cfg(target_arch = "x86_64")]
        if self.nontemporal {
            // SAFETY: SSE, which every x86-64 has.
            unsafe { std::arch::x86_64::_mm_sfence() };
        }
    }
}

/// A row that is stored in groups; elements after the last full group are written to `row` directly.
#[derive(Debug)]
pub struct Output<'a, S> {
    /// The row.
    pub row: &'a mut [S],
    nontemporal: bool,
}

impl<S: Copy> Output<'_, S> {
    /// Stores group g of N elements.
    #[inline(always)]
    pub fn put<const N: usize>(&mut self, g: usize, group: &[S; N]) {
        let Some(destination) = self.row.as_chunks_mut::<N>().0.get_mut(g) else { return };
        #[cfg(target_arch = "x86_64")]
        if self.nontemporal && size_of::<[S; N]>().is_multiple_of(16) {
            use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_stream_si128};
            let from = group.as_ptr().cast::<__m128i>();
            let to = destination.as_mut_ptr().cast::<__m128i>();
            for i in 0..size_of::<[S; N]>() / 16 {
                // SAFETY: vector i of both lies inside; `to` is aligned because the row and the size of
                // groups are; every x86-64 has SSE2.
                unsafe { _mm_stream_si128(to.add(i), _mm_loadu_si128(from.add(i))) };
            }
            return;
        }
        *destination = *group;
    }
}
