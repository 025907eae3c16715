//! What libtorch offers and tch does not bind: its thread pool, its fused Adam, copies to a card in the
//! background, TF32.
//!
//! Our CPU kernels run on torch's own threads, so that one setting (`OMP_NUM_THREADS`,
//! [`tch::set_num_threads`]) rules both and they never compete for the cores.

#[doc(hidden)] // for `reproduce`
pub mod brought;
pub(crate) mod pinned;
mod threads;
mod transfer;

use std::ffi::{CStr, c_char, c_void};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use tch::{TchError, Tensor};
pub use threads::set_threads;
use torch_sys::C_tensor;
pub use transfer::{download, host_tensor, upload, upload_with};

use crate::Result;

unsafe extern "C" {
    fn qrnn_parallel_for(
        n: i64,
        grain: i64,
        context: *const c_void,
        body: extern "C" fn(*const c_void, i64, i64),
    ) -> *mut c_char;

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

    fn qrnn_keep_freed_memory();

    fn qrnn_allow_tf32(allowed: bool) -> *mut c_char;

    fn free(pointer: *mut c_void);
}

/// Turns a shim's answer into a result.
///
/// # Safety
/// `message` is null or a string made by `malloc` that nobody else will free.
pub(crate) unsafe fn answer(message: *mut c_char) -> Result<()> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: a C string by this function's contract, freed once and not used after.
    let text = unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        free(message.cast());
        text
    };
    Err(TchError::Torch(text).into())
}

/// The addresses of tensors, as the shims take them.
pub(crate) fn addresses<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Vec<*const C_tensor> {
    tensors.into_iter().map(Tensor::as_ptr).collect()
}

/// Calls `body` on ranges that together cover `0..n`, on torch's threads, and returns when all are
/// done. A range holds at least `grain` items, but for the last.
///
/// # Errors
/// [`crate::Error::Torch`] where `body` panicked or libtorch failed.
pub fn parallel_for(n: usize, grain: usize, body: impl Fn(Range<usize>) + Sync) -> Result<()> {
    struct Context<F> {
        body: F,
        panicked: AtomicBool,
    }

    extern "C" fn trampoline<F: Fn(Range<usize>)>(context: *const c_void, begin: i64, end: i64) {
        // SAFETY: `context` is the `Context<F>` below, alive until qrnn_parallel_for returns.
        let context = unsafe { &*context.cast::<Context<F>>() };
        let call = AssertUnwindSafe(|| (context.body)(begin as usize..end as usize));
        // A panic must not cross into C++.
        if catch_unwind(call).is_err() {
            context.panicked.store(true, Ordering::Relaxed);
        }
    }

    fn instance<F: Fn(Range<usize>)>(_: &Context<F>) -> extern "C" fn(*const c_void, i64, i64) {
        trampoline::<F>
    }

    let context = Context { body, panicked: AtomicBool::new(false) };
    // SAFETY: the pointer is valid for the whole call, the body is Sync, and no panic escapes it.
    unsafe { on_threads(n, grain, (&raw const context).cast(), instance(&context))? };
    match context.panicked.into_inner() {
        true => Err(TchError::Torch("a parallel kernel panicked".into()).into()),
        false => Ok(()),
    }
}

/// The part of [`parallel_for`] that is not generic, so that a program that loads this crate as a
/// shared library needs no symbol of the shim's.
///
/// # Safety
/// `body` may be called with `context` from several threads at once until this returns.
unsafe fn on_threads(
    n: usize,
    grain: usize,
    context: *const c_void,
    body: extern "C" fn(*const c_void, i64, i64),
) -> Result<()> {
    // SAFETY: this function's contract.
    unsafe { answer(qrnn_parallel_for(n as i64, grain.max(1) as i64, context, body)) }
}

/// Lets the C library's allocator keep freed memory for the next allocation.
///
/// A step frees and takes the same large blocks over and over. By default glibc returns them to the
/// system each time, and clearing new pages then costs several times what the arithmetic does.
pub fn keep_freed_memory() {
    // SAFETY: mallopt may be called at any time, from any thread.
    unsafe { qrnn_keep_freed_memory() }
}

/// Says whether the matrix products of cards may round single-precision operands to TF32.
///
/// # Errors
/// [`crate::Error::Torch`] where somebody set the precision in another way before.
pub fn allow_tf32(allowed: bool) -> Result<()> {
    // SAFETY: sets a flag of libtorch's.
    unsafe { answer(qrnn_allow_tf32(allowed)) }
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
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Times the parameter, added to its gradient.
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
    /// Number of steps done, a scalar of kind Float, counted up.
    pub step: &'a Tensor,
}

/// One Adam step over all parameters in one pass. Two scalar tensors of kind Float, so that nothing
/// is copied to the host: `inverse_scale` divides the gradients first (gradient clipping), and where
/// `skip` is 1 everything stays as it was.
///
/// # Errors
/// [`crate::Error::Torch`] where shapes, kinds or devices do not agree.
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
        answer(qrnn_fused_adam(
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn every_item_is_visited_once() {
        let seen: Vec<_> = (0..1003).map(|_| AtomicUsize::new(0)).collect();
        parallel_for(seen.len(), 7, |range| {
            for i in range {
                seen[i].fetch_add(1, Ordering::Relaxed);
            }
        })
        .unwrap();
        assert!(seen.iter().all(|n| n.load(Ordering::Relaxed) == 1));
    }

    #[test]
    fn a_panic_in_the_body_is_an_error() {
        let result = parallel_for(10, 1, |range| assert!(!range.contains(&3), "on purpose"));
        assert!(result.is_err());
    }
}
