//! Custom differentiable operations for tch, forward and backward written in Rust.
//!
//! tch has no counterpart of `torch.autograd.Function`. This module is one: implement
//! [`Function`] for a type that holds the operation's settings, and [`apply`] it.
//!
//! ```no_run
//! use qrnn_ops::autograd::{self, Forward, Function};
//! use tch::Tensor;
//!
//! /// y = x², dy/dx = 2 x
//! struct Square;
//!
//! impl Function for Square {
//!     fn forward(&mut self, inputs: &[&Tensor]) -> qrnn_ops::Result<Forward> {
//!         Ok(Forward { outputs: vec![inputs[0].f_square()?], saved: vec![inputs[0].shallow_clone()] })
//!     }
//!
//!     fn backward(&self, call: autograd::Backward<'_>) -> qrnn_ops::Result<Vec<Option<Tensor>>> {
//!         let twice = call.saved[0].f_mul_scalar(2.0)?;
//!         Ok(vec![call.grads[0].as_ref().map(|grad| grad.f_mul(&twice)).transpose()?])
//!     }
//! }
//!
//! # fn main() -> qrnn_ops::Result<()> {
//! let x = Tensor::from_slice(&[1.0, 2.0, 3.0]).set_requires_grad(true);
//! let y = autograd::apply(Square, &[&x])?;
//! y[0].f_sum(tch::Kind::Double)?.f_backward()?;
//! println!("{}", x.grad()); // 2, 4, 6
//! # Ok(())
//! # }
//! ```

use std::ffi::{CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use tch::Tensor;
use torch_sys::C_tensor;

use crate::Result;
use crate::libtorch::shim::{addresses, check};

/// A differentiable operation: its settings, its forward and its backward.
///
/// It is moved into the autograd graph, and dropped with it; for CUDA tensors the backward runs on
/// a thread of libtorch's.
pub trait Function: Send + 'static {
    /// Computes the outputs, with gradients off. The outputs are new tensors: no inputs, and no
    /// views of them.
    fn forward(&mut self, inputs: &[&Tensor]) -> Result<Forward>;

    /// The gradient of each input, in the order of [`apply`]'s inputs; `None` where it is zero or
    /// not needed.
    fn backward(&self, call: Backward<'_>) -> Result<Vec<Option<Tensor>>>;
}

/// What [`Function::forward`] returns.
#[derive(Debug)]
pub struct Forward {
    /// The results.
    pub outputs: Vec<Tensor>,
    /// Inputs, outputs or others that the backward will want.
    pub saved: Vec<Tensor>,
}

/// What [`Function::backward`] is given.
#[derive(Debug)]
pub struct Backward<'a> {
    /// The tensors that the forward saved.
    pub saved: &'a [Tensor],
    /// The gradient of each output, `None` where it is zero.
    pub grads: &'a [Option<Tensor>],
    /// Whether each input's gradient is wanted.
    pub needed: &'a [bool],
}

/// Runs the forward and records the operation in the autograd graph.
///
/// # Errors
/// What the forward returns, or [`crate::Error::Torch`]. An error or a panic in the backward comes
/// back from [`Tensor::f_backward`].
pub fn apply<F: Function>(mut function: F, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
    let Forward { outputs, saved } = {
        let _no_grad = tch::no_grad_guard();
        function.forward(inputs)?
    };
    let state = Box::into_raw(Box::new(function)).cast();
    // SAFETY: the state is a boxed F, for which these two are made.
    unsafe { record(inputs, outputs, &saved, state, backward::<F>, drop_state::<F>) }
}

/// Records a call in the graph, and returns its outputs with their history. Not generic, so that a
/// program that loads this crate as a shared library needs no symbol of the shim's.
///
/// # Safety
/// The graph takes `state` over: `backward` must be right to call with it, any number of times, and
/// then `drop`, once.
unsafe fn record(
    inputs: &[&Tensor],
    outputs: Vec<Tensor>,
    saved: &[Tensor],
    state: *mut c_void,
    backward: BackwardFn,
    drop: DropFn,
) -> Result<Vec<Tensor>> {
    let inputs = addresses(inputs.iter().copied());
    let saved = addresses(saved);
    let mut results: Vec<_> = outputs.iter().map(|t| t.as_ptr().cast_mut()).collect();
    // SAFETY: all addresses are of live tensors, which C++ copies handles of; the rest is this
    // function's contract.
    unsafe {
        check(qrnn_autograd_record(
            inputs.as_ptr(),
            inputs.len(),
            results.as_mut_ptr(),
            results.len(),
            saved.as_ptr(),
            saved.len(),
            state,
            backward,
            drop,
        ))?;
    }
    // SAFETY: on success every entry was replaced by a fresh handle that is ours.
    Ok(results.into_iter().map(|pointer| unsafe { Tensor::from_ptr(pointer) }).collect())
}

type BackwardFn = unsafe extern "C" fn(
    *mut c_void,
    *const *const C_tensor,
    usize,
    *const *const C_tensor,
    usize,
    *const bool,
    *mut *mut C_tensor,
    usize,
) -> *mut c_char;

type DropFn = unsafe extern "C" fn(*mut c_void);

unsafe extern "C" {
    fn qrnn_autograd_record(
        inputs: *const *const C_tensor,
        n_inputs: usize,
        outputs: *mut *mut C_tensor,
        n_outputs: usize,
        saved: *const *const C_tensor,
        n_saved: usize,
        state: *mut c_void,
        backward: BackwardFn,
        drop: DropFn,
    ) -> *mut c_char;

    fn strdup(text: *const c_char) -> *mut c_char;
}

unsafe extern "C" fn drop_state<F: Function>(state: *mut c_void) {
    // SAFETY: `state` is the box made in `apply`, given back once. A panic in a drop must not cross.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(unsafe { Box::from_raw(state.cast::<F>()) })));
}

unsafe extern "C" fn backward<F: Function>(
    state: *mut c_void,
    saved: *const *const C_tensor,
    n_saved: usize,
    grads: *const *const C_tensor,
    n_grads: usize,
    needed: *const bool,
    inputs_grad: *mut *mut C_tensor,
    n_inputs: usize,
) -> *mut c_char {
    let call = AssertUnwindSafe(|| -> Result<(), String> {
        // SAFETY: the shim passes arrays of the stated lengths, of tensors that live during the
        // call; `clone_from_ptr` makes handles of our own. The state is the F made in `apply`.
        let (function, saved, grads, needed) = unsafe {
            let owned = |at: *const *const C_tensor, n: usize| -> Vec<Tensor> {
                (0..n).map(|i| Tensor::clone_from_ptr((*at.add(i)).cast_mut())).collect()
            };
            let grads: Vec<_> =
                owned(grads, n_grads).into_iter().map(|g| g.defined().then_some(g)).collect();
            let needed = match n_inputs {
                0 => &[],
                n => std::slice::from_raw_parts(needed, n),
            };
            (&*state.cast::<F>(), owned(saved, n_saved), grads, needed)
        };
        let _no_grad = tch::no_grad_guard();
        let call = Backward { saved: &saved, grads: &grads, needed };
        let result = function.backward(call).map_err(|error| error.to_string())?;
        if result.len() != n_inputs {
            return Err(format!(
                "a backward returned {} gradients for {n_inputs} inputs",
                result.len()
            ));
        }
        for (i, gradient) in result.into_iter().enumerate() {
            if let Some(mut gradient) = gradient {
                // SAFETY: `inputs_grad` has n_inputs places; the handle becomes the shim's.
                unsafe { *inputs_grad.add(i) = gradient.as_mut_ptr() };
                std::mem::forget(gradient);
            }
        }
        Ok(())
    });
    let message = match catch_unwind(call) {
        Ok(Ok(())) => return std::ptr::null_mut(),
        Ok(Err(message)) => message,
        Err(_) => "a Rust backward panicked".to_owned(),
    };
    let text = CString::new(message.replace('\0', " ")).unwrap_or_default();
    // SAFETY: a valid C string; the shim frees the copy.
    unsafe { strdup(text.as_ptr()) }
}

#[cfg(test)]
mod tests;
