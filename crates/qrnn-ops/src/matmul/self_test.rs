//! Compares matrix products of a device with the CPU.

use tch::{Device, Kind, Tensor};

use super::precision::Precision;
use super::torch::Addend;
use crate::Result;
use crate::cuda::{assert_close, test_pattern};

/// Compares a product of each precision with the CPU.
///
/// # Errors
/// [`crate::Error::Unavailable`] if they differ.
pub fn self_test(device: Device) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    let (a, b, bias) =
        (test_pattern(&[40, 72], 1.0)?, test_pattern(&[72, 56], 2.0)?, test_pattern(&[56], 1.0)?);
    let exact = a.f_mm(&b)?.f_add(&bias)?;
    for (precision, bound) in
        [(Precision::Single, 1e-5), (Precision::Tf32, 5e-3), (Precision::Bf16, 2e-2)]
    {
        let to_device = |tensor: &Tensor| tensor.f_to_device(device);
        let (a, b, bias) = (to_device(&a)?, to_device(&b)?, to_device(&bias)?);
        let (a, b) = (precision.operand(&a)?, precision.operand(&b)?);
        for kind in [Kind::Float, a.kind()] {
            let out = Tensor::f_empty(exact.size(), (kind, device))?;
            precision.multiply(&out, &a, &b, Addend::Bias(&bias))?;
            assert_close(&format!("{precision:?} product"), &out, &exact, bound)?;
        }
    }
    Ok(())
}
