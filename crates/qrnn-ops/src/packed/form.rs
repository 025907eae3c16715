//! The forms of a matrix in memory.

use super::bitmask::Bitmask;
use super::codes4::Codes4;
use super::dense8::Dense8;
use super::instructions::Instructions;
use super::layout::Layout;
use super::output::Epilogue;
use super::plain;
use super::product::Product;

/// A matrix in memory.
#[derive(Debug, Clone)]
pub(super) enum Form {
    Bitmask(Bitmask),
    Codes4(Codes4),
    Dense8(Dense8),
}

impl Form {
    /// Expands a group into rows of `padded` signed codes, 0 after the last column: the reference.
    pub fn decode(&self, layout: Layout, group: usize, rows: &mut [i8]) {
        match self {
            Self::Bitmask(form) => form.decode(layout, group, rows),
            Self::Codes4(form) => form.decode(layout, group, rows),
            Self::Dense8(form) => form.decode(layout, group, rows),
        }
    }

    /// [`Form::decode`] of this matrix.
    fn decoder(&self) -> impl Fn(Layout, usize, &mut [i8]) {
        |layout, group, rows| self.decode(layout, group, rows)
    }

    /// Computes a product with these instructions, which are available.
    pub fn multiply<E: Epilogue>(&self, instructions: Instructions, product: &Product<'_, E>) {
        #[cfg(target_arch = "x86_64")]
        {
            use super::{avx2, avx512};
            // SAFETY: the instructions are available.
            unsafe {
                match (instructions, self) {
                    (Instructions::Avx512, Self::Bitmask(form)) => avx512::multiply(form, product),
                    (Instructions::Avx512, Self::Codes4(form)) => avx512::multiply(form, product),
                    (Instructions::Avx512, Self::Dense8(form)) => avx512::multiply(form, product),
                    (Instructions::Avx2, Self::Bitmask(form)) => avx2::multiply(form, product),
                    (Instructions::Avx2, Self::Codes4(form)) => avx2::multiply(form, product),
                    (Instructions::Avx2, Self::Dense8(form)) => avx2::multiply(form, product),
                    (Instructions::Plain, _) => plain::multiply(self.decoder(), product),
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = instructions;
            plain::multiply(self.decoder(), product);
        }
    }
}
