//! One product of each precision on a device, compared with the CPU's.

use tch::{Device, Kind, Tensor};

use super::precision::Precision;
use super::torch::Added;
use crate::Result;
use crate::cuda::{assert_close, test_pattern};

/// A product of each format, held against one on the CPU.
///
/// # Errors
/// [`crate::Error::Unavailable`] where they disagree.
pub fn self_test(device: Device) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    let (a, b, bias) =
        (test_pattern(&[40, 72], 1.0)?, test_pattern(&[72, 56], 2.0)?, test_pattern(&[56], 1.0)?);
    let exact = a.f_mm(&b)?.f_add(&bias)?;
    for (precision, bound) in
        [(Precision::Single, 1e-5), (Precision::Tf32, 5e-3), (Precision::Bf16, 2e-2)]
    {
        let there = |tensor: &Tensor| tensor.f_to_device(device);
        let (a, b, bias) = (there(&a)?, there(&b)?, there(&bias)?);
        let (a, b) = (precision.operand(&a)?, precision.operand(&b)?);
        for kind in [Kind::Float, a.kind()] {
            let out = Tensor::f_empty(exact.size(), (kind, device))?;
            precision.multiply(&out, &a, &b, Added::Bias(&bias))?;
            assert_close(&format!("{precision:?} product"), &out, &exact, bound)?;
        }
    }
    Ok(())
}
