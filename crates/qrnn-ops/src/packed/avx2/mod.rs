//! Products with AVX2.
//!
//! `vpmaddubsw` multiplies unsigned by signed bytes and adds pairs with saturation. Given |x| and w
//! with the sign of x, a pair is at most 2 · 127², which does not saturate, so sums are exact.

#![expect(clippy::needless_range_loop, reason = "tiles of registers are indexed by row and token")]

mod few;
mod multiply_add;
mod window;
mod words;

use super::cursor::Packed;
use super::output::Epilogue;
use super::product::{Product, with_scratch};
use words::Words;

/// Tokens from which rearranging the weights pays.
const WINDOW: usize = 8;

/// Computes a product.
///
/// # Safety
/// The processor has [`Instructions::Avx2`](super::Instructions::Avx2).
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
