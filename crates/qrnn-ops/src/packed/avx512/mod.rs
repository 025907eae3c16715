//! Products with AVX-512: VNNI multiplies, VBMI and VBMI2 expand.

#![expect(clippy::needless_range_loop, reason = "tiles of registers are indexed by row and token")]

mod few;
mod window;
mod words;

use std::arch::x86_64::*;

use super::form::Packed;
use super::output::Epilogue;
use super::product::{Product, with_scratch};
use words::Words;

/// Tokens from which rearranging the weights pays.
const WINDOW: usize = 12;

/// Computes a product.
///
/// # Safety
/// The processor has [`Instructions::Avx512`](super::Instructions::Avx512).
pub(super) unsafe fn multiply<F: Packed<Cursor: Words>, E: Epilogue>(
    form: &F,
    product: &Product<'_, E>,
) {
    // SAFETY: by this function's contract.
    unsafe {
        if product.x.tokens() < WINDOW {
            few::multiply(form, product);
        } else {
            with_scratch(|scratch| window::multiply(form, product, scratch));
        }
    }
}

/// Stores the lanes that `lanes` selects.
///
/// # Safety
/// The processor has the instructions of this module. Selected lanes are writable from `to` on; `to`
/// may lie outside its allocation where lane 0 is not selected.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,avx512vnni,popcnt")]
unsafe fn store<E>(to: *mut E, lanes: u16, elements: __m512i) {
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
