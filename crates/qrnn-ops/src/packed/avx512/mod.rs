//! Products with AVX-512: VNNI multiplies, VBMI and VBMI2 expand.

#![expect(clippy::needless_range_loop, reason = "tiles of registers are indexed by row and token")]

mod few;
mod store;
mod window;
mod words;

use super::cursor::Packed;
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
