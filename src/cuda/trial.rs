//! A card's first work: small calls of each operation that a training step is made of, held against the
//! CPU's results, before the card is trusted with more.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::Launch;
use crate::{Error, Result, matmul, model, pool};

/// # Errors
/// [`Error::Unavailable`] naming the operation that failed or went wrong.
pub(super) fn check(launcher: &Arc<dyn Launch>, device: Device) -> Result<()> {
    let all = || {
        pool::try_card(launcher, device)?;
        model::try_card(launcher, device)?;
        matmul::try_card(device)
    };
    // Whoever asks for a device may have switched gradients off.
    tch::with_grad(all).map_err(|error| match error {
        wrong @ Error::Unavailable { .. } => wrong,
        failed => Error::unavailable("CUDA", format!("the card fails: {failed}"), REMEDY),
    })
}

const REMEDY: &str = "see what `nvidia-smi` says of the card and its driver, or use --device cpu; if it \
                      stays, report this";

/// Holds a result against the CPU's: ‖ours - theirs‖ / ‖theirs‖ must not be above `bound`.
///
/// # Errors
/// [`Error::Unavailable`] where it is, or is no number.
pub(crate) fn agree(what: &str, ours: &Tensor, theirs: &Tensor, bound: f64) -> Result<()> {
    let exact = |tensor: &Tensor| tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double);
    let (ours, theirs) = (exact(ours)?.f_detach()?, exact(theirs)?.f_detach()?);
    let off = ours.f_sub(&theirs)?.f_norm()?.f_div(&theirs.f_norm()?)?.f_double_value(&[])?;
    if off <= bound {
        return Ok(());
    }
    let problem =
        format!("the card computes wrongly: its {what} is {off:.1e} from the CPU's, not {bound:e}");
    Err(Error::unavailable("CUDA", problem, REMEDY))
}

/// Numbers within ±`size` that no random state is spent on, of kind Float on the CPU.
///
/// # Errors
/// [`Error::Torch`] where memory runs out.
pub(crate) fn numbers(shape: &[i64], size: f64) -> Result<Tensor> {
    let n: i64 = shape.iter().product();
    let places = Tensor::f_arange(n, (Kind::Float, Device::Cpu))?;
    Ok(places.f_mul_scalar(0.7)?.f_add_scalar(0.3)?.f_sin()?.f_mul_scalar(size)?.f_view(shape)?)
}

#[cfg(test)]
mod tests {
    use super::super::host::Host;
    use super::super::{Argument, Geometry, Kernel};
    use super::*;

    /// Changes the first number that a kernel is given by value: a factor.
    struct Spoiled(&'static str);

    impl Launch for Spoiled {
        unsafe fn launch(
            &self,
            kernel: Kernel,
            geometry: Geometry,
            arguments: &mut [Argument],
        ) -> Result<()> {
            if kernel.name == self.0 {
                for argument in arguments.iter_mut() {
                    if let Argument::Float(factor) = argument {
                        *factor *= 1.1;
                    }
                }
            }
            // SAFETY: by this function's contract; a factor may be any number.
            unsafe { Host::get().launch(kernel, geometry, arguments) }
        }
    }

    struct Failing;

    impl Launch for Failing {
        unsafe fn launch(&self, _: Kernel, _: Geometry, _: &mut [Argument]) -> Result<()> {
            let [what, problem, remedy] = ["a kernel", "no", "none"].map(String::from);
            Err(Error::Cuda { what, problem, remedy })
        }
    }

    #[test]
    fn kernels_that_are_right_pass_and_each_that_is_not_is_told_by_name() {
        let check = |launcher: Arc<dyn Launch>| super::check(&launcher, Device::Cpu);
        let _no_grad = tch::no_grad_guard();
        check(Host::get()).unwrap();
        for (kernel, what) in [
            ("fo_pool_forward_f32", "pooling in Float"),
            ("fo_pool_backward_f32", "gradient of pooling in Float"),
            ("fo_pool_forward_bf16", "pooling in BFloat16"),
            ("fo_pool_backward_bf16", "gradient of pooling in BFloat16"),
            ("dropout_mask_f32", "dropout mask in Float"),
            ("dropout_mask_bf16", "dropout mask in BFloat16"),
            ("cross_entropy_f32", "gradient of the cross entropy in Float"),
            ("cross_entropy_bf16", "gradient of the cross entropy in BFloat16"),
        ] {
            let error = check(Arc::new(Spoiled(kernel))).unwrap_err();
            assert_eq!(error.exit_status(), 2);
            assert!(error.to_string().contains(&format!("its {what} is")), "{kernel}: {error}");
        }
        let error = check(Arc::new(Failing)).unwrap_err();
        assert!(error.to_string().contains("the card fails: CUDA: a kernel"), "{error}");
    }

    #[test]
    fn what_is_no_number_never_agrees() {
        let one = numbers(&[3], 1.0).unwrap();
        agree("one", &one, &one, 0.0).unwrap();
        assert!(agree("one", &(&one * f64::NAN), &one, 1e9).is_err());
        assert!(agree("one", &(&one * 1.1), &one, 0.01).is_err());
    }

    #[test]
    #[ignore = "wants a GPU"]
    fn on_a_card_the_trial_passes_within_a_second() {
        super::super::device().unwrap(); // compiled
        let (card, started) = (super::super::Card::of(0).unwrap(), std::time::Instant::now());
        let launcher: Arc<dyn Launch> = card;
        check(&launcher, Device::Cuda(0)).unwrap();
        assert!(started.elapsed().as_secs_f64() < 1.0);
    }
}
