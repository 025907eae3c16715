//! Which kernels compute a product.

use super::form::Form;
use super::instructions::Instructions;
use super::output::Epilogue;
use super::plain;
use super::product::Product;

/// Computes a product with these instructions, which are available.
pub(super) fn multiply<E: Epilogue>(
    form: &Form,
    instructions: Instructions,
    product: &Product<'_, E>,
) {
    #[cfg(target_arch = "x86_64")]
    {
        use super::{avx2, avx512};
        // SAFETY: the instructions are available.
        unsafe {
            match (instructions, form) {
                (Instructions::Avx512, Form::Bitmask(form)) => avx512::multiply(form, product),
                (Instructions::Avx512, Form::Codes4(form)) => avx512::multiply(form, product),
                (Instructions::Avx512, Form::Dense8(form)) => avx512::multiply(form, product),
                (Instructions::Avx2, Form::Bitmask(form)) => avx2::multiply(form, product),
                (Instructions::Avx2, Form::Codes4(form)) => avx2::multiply(form, product),
                (Instructions::Avx2, Form::Dense8(form)) => avx2::multiply(form, product),
                (Instructions::Plain, _) => plain::multiply(form, product),
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = instructions;
        plain::multiply(form, product);
    }
}
