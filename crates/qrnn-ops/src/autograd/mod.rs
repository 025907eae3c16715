//! Custom differentiable operations for tch, forward and backward written in Rust.
//!
//! The counterpart of `torch.autograd.Function`: implement [`Function`] for a type that holds the
//! operation's settings, and [`apply`] it.
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
/// It is moved into the autograd graph and dropped with it. For CUDA tensors the backward runs on a
/// thread of libtorch.
pub trait Function: Send + 'static {
    /// Computes the outputs, without recording gradients. The outputs must be new tensors: neither
    /// inputs nor views of them.
    fn forward(&mut self, inputs: &[&Tensor]) -> Result<Forward>;

    /// Returns the gradient of each input, in the order of [`apply`]'s inputs; `None` if it is zero
    /// or not needed.
    fn backward(&self, call: Backward<'_>) -> Result<Vec<Option<Tensor>>>;
}

/// The result of [`Function::forward`].
#[derive(Debug)]
pub struct Forward {
    /// The outputs of the operation.
    pub outputs: Vec<Tensor>,
    /// Tensors that the backward needs: inputs, outputs or others.
    pub saved: Vec<Tensor>,
}

/// The arguments of [`Function::backward`].
#[derive(Debug)]
pub struct Backward<'a> {
    /// The tensors that the forward saved.
    pub saved: &'a [Tensor],
    /// The gradient of each output; `None` if it is zero.
    pub grads: &'a [Option<Tensor>],
    /// Whether each input needs a gradient.
    pub needed: &'a [bool],
}

/// Runs the forward and records the operation in the autograd graph.
///
/// # Errors
/// Returns the errors of the forward, or [`crate::Error::Torch`]. [`Tensor::f_backward`] returns an
/// error or a panic of the backward.
pub fn apply<F: Function>(mut function: F, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
    let Forward { outputs, saved } = {
        let _no_grad = tch::no_grad_guard();
        function.forward(inputs)?
    };
    let state = Box::into_raw(Box::new(function)).cast();
    // SAFETY: the state is a boxed F, as both functions expect.
    unsafe { record(inputs, outputs, &saved, state, backward::<F>, drop_state::<F>) }
}

/// Records a call in the graph, and returns its outputs with their history. Not generic: a program
/// that loads this crate as a shared library then needs no symbol of the shim.
///
/// # Safety
/// The graph takes ownership of `state`: `backward` may be called with it any number of times, then
/// `drop` once.
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
    // SAFETY: all addresses are of live tensors, whose handles C++ copies; `state` by this function's
    // contract.
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
    // SAFETY: on success every entry was replaced by a new handle that we own.
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
    // SAFETY: `state` is the box created in `apply`, freed once. A panic must not cross into C++.
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
        // SAFETY: the shim passes arrays of these lengths, of tensors that live during the call;
        // `clone_from_ptr` creates handles that we own. The state is the F boxed in `apply`.
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
                // SAFETY: `inputs_grad` has n_inputs entries; the shim takes ownership of the handle.
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
