//! Compares results of a device with the CPU's.

use tch::{Device, Kind, Tensor};

use crate::{Error, Result};

/// What to do about a device that computes wrong results.
pub const REMEDY: &str = "see what `nvidia-smi` says of the GPU and its driver, or use --device cpu; if it \
                      stays, report this";

/// Holds a result against the CPU's: ‖ours - theirs‖ / ‖theirs‖ must not be above `bound`.
///
/// # Errors
/// [`Error::Unavailable`] where it is, or is no number.
pub fn assert_close(what: &str, ours: &Tensor, theirs: &Tensor, bound: f64) -> Result<()> {
    let exact = |tensor: &Tensor| tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double);
    let (ours, theirs) = (exact(ours)?.f_detach()?, exact(theirs)?.f_detach()?);
    let off = ours.f_sub(&theirs)?.f_norm()?.f_div(&theirs.f_norm()?)?.f_double_value(&[])?;
    if off <= bound {
        return Ok(());
    }
    let problem =
        format!("the GPU computes wrongly: its {what} is {off:.1e} from the CPU's, not {bound:e}");
    Err(Error::unavailable("CUDA", problem, REMEDY))
}

/// Numbers within ±`size` that no random state is spent on, of kind Float on the CPU.
///
/// # Errors
/// [`Error::Torch`] where memory runs out.
pub fn test_pattern(shape: &[i64], size: f64) -> Result<Tensor> {
    let n: i64 = shape.iter().product();
    let places = Tensor::f_arange(n, (Kind::Float, Device::Cpu))?;
    Ok(places.f_mul_scalar(0.7)?.f_add_scalar(0.3)?.f_sin()?.f_mul_scalar(size)?.f_view(shape)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_never_agrees() {
        let one = test_pattern(&[3], 1.0).unwrap();
        assert_close("one", &one, &one, 0.0).unwrap();
        assert!(assert_close("one", &(&one * f64::NAN), &one, 1e9).is_err());
        assert!(assert_close("one", &(&one * 1.1), &one, 0.01).is_err());
    }
}
