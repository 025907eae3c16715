//! Compares results of a device with the CPU.

use tch::{Device, Kind, Tensor};

use crate::{Error, Result};

/// What to do about a device that computes wrong results.
pub const REMEDY: &str = "check the GPU and its driver with `nvidia-smi`, or use Device::Cpu; if it happens \
                      again, report this";

/// Checks that ‖ours - expected‖ / ‖expected‖ is at most `bound`; `what` names the result in the error.
///
/// # Errors
/// [`Error::Unavailable`] if it is larger, or NaN.
pub fn assert_close(what: &str, ours: &Tensor, expected: &Tensor, bound: f64) -> Result<()> {
    let exact = |tensor: &Tensor| tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double);
    let (ours, expected) = (exact(ours)?.f_detach()?, exact(expected)?.f_detach()?);
    let error = ours.f_sub(&expected)?.f_norm()?.f_div(&expected.f_norm()?)?.f_double_value(&[])?;
    if error <= bound {
        return Ok(());
    }
    let problem = format!(
        "the GPU computes wrong results: its {what} is {error:.1e} from the CPU's (bound {bound:e})"
    );
    Err(Error::unavailable("CUDA", problem, REMEDY))
}

/// Fixed values within ±`amplitude`, of kind Float on the CPU; uses no random state.
///
/// # Errors
/// [`Error::Torch`] if memory runs out.
pub fn test_pattern(shape: &[i64], amplitude: f64) -> Result<Tensor> {
    let n: i64 = shape.iter().product();
    let indices = Tensor::f_arange(n, (Kind::Float, Device::Cpu))?;
    Ok(indices
        .f_mul_scalar(0.7)?
        .f_add_scalar(0.3)?
        .f_sin()?
        .f_mul_scalar(amplitude)?
        .f_view(shape)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_is_never_close() {
        let one = test_pattern(&[3], 1.0).unwrap();
        assert_close("one", &one, &one, 0.0).unwrap();
        assert!(assert_close("one", &(&one * f64::NAN), &one, 1e9).is_err());
        assert!(assert_close("one", &(&one * 1.1), &one, 0.01).is_err());
    }
}
