//! Stores some lanes.

use std::arch::x86_64::*;

/// Stores the lanes that `lanes` selects.
///
/// # Safety
/// The processor has the instructions of this module. Selected lanes are writable from `to` on; `to`
/// may lie outside its allocation where lane 0 is not selected.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,avx512vnni,popcnt")]
pub(super) unsafe fn store<E>(to: *mut E, lanes: u16, elements: __m512i) {
    const { assert!(size_of::<E>() == 4) };
    // SAFETY: by this function's contract; other lanes are not accessed.
    unsafe {
        if lanes == u16::MAX {
            _mm512_storeu_si512(to.cast(), elements);
        } else {
            _mm512_mask_storeu_epi32(to.cast(), lanes, elements);
        }
    }
}
