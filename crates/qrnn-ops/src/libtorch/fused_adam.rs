//! libtorch's fused Adam kernel.

use std::ffi::c_char;

use tch::Tensor;
use torch_sys::C_tensor;

use super::shim::{addresses, check};
use crate::Result;

unsafe extern "C" {
    fn qrnn_fused_adam(
        parameters: *const *const C_tensor,
        grads: *const *const C_tensor,
        exp_avgs: *const *const C_tensor,
        exp_avg_sqs: *const *const C_tensor,
        steps: *const *const C_tensor,
        n: usize,
        lr: f64,
        beta1: f64,
        beta2: f64,
        eps: f64,
        weight_decay: f64,
        inverse_scale: *const C_tensor,
        skip: *const C_tensor,
    ) -> *mut c_char;
}

/// The settings of one Adam step (Kingma and Ba 2015, algorithm 1, with L2 weight decay).
#[derive(Debug, Clone, Copy)]
pub struct AdamStep {
    /// Step size.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the square root of the second moment.
    pub eps: f64,
    /// L2 penalty: times the parameter, added to its gradient.
    pub weight_decay: f64,
}

/// The tensors of one parameter in an Adam step.
#[derive(Debug)]
pub struct AdamTensors<'a> {
    /// Updated in place.
    pub parameter: &'a Tensor,
    /// Its gradient, of the same shape.
    pub grad: &'a Tensor,
    /// First moment, updated in place.
    pub exp_avg: &'a Tensor,
    /// Second moment, updated in place.
    pub exp_avg_sq: &'a Tensor,
    /// Number of steps taken, a scalar of kind Float, incremented.
    pub step: &'a Tensor,
}

/// One Adam step over all parameters (`torch.optim.Adam(fused=True)`).
///
/// * `inverse_scale`: a scalar of kind Float that divides the gradients (gradient clipping);
/// * `skip`: a scalar of kind Float; 1 skips the step. Neither is copied to the host.
///
/// # Errors
/// [`crate::Error::Torch`] if shapes, kinds or devices do not match.
pub fn fused_adam(
    tensors: &[AdamTensors<'_>],
    step: AdamStep,
    inverse_scale: Option<&Tensor>,
    skip: Option<&Tensor>,
) -> Result<()> {
    let parameters = addresses(tensors.iter().map(|t| t.parameter));
    let grads = addresses(tensors.iter().map(|t| t.grad));
    let exp_avgs = addresses(tensors.iter().map(|t| t.exp_avg));
    let exp_avg_sqs = addresses(tensors.iter().map(|t| t.exp_avg_sq));
    let steps = addresses(tensors.iter().map(|t| t.step));
    // SAFETY: each array holds tensors.len() addresses of live tensors, which C++ copies handles of.
    unsafe {
        check(qrnn_fused_adam(
            parameters.as_ptr(),
            grads.as_ptr(),
            exp_avgs.as_ptr(),
            exp_avg_sqs.as_ptr(),
            steps.as_ptr(),
            tensors.len(),
            step.lr,
            step.beta1,
            step.beta2,
            step.eps,
            step.weight_decay,
            inverse_scale.map_or(std::ptr::null(), Tensor::as_ptr),
            skip.map_or(std::ptr::null(), Tensor::as_ptr),
        ))
    }
}
