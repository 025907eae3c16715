//! The calling convention of the C++ shims: null for success, or an error message.

use std::ffi::{CStr, c_char, c_void};

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use crate::Result;

unsafe extern "C" {
    fn free(pointer: *mut c_void);
}

/// Converts the return value of a shim to a result.
///
/// # Safety
/// `message` is null or a string allocated by `malloc`, which this function frees.
pub(crate) unsafe fn check(message: *mut c_char) -> Result<()> {
    // SAFETY: by this function's contract.
    unsafe { check_text(message) }.map_err(|text| TchError::Torch(text).into())
}

/// As [`check`], with the message alone.
///
/// # Safety
/// That of [`check`].
pub(crate) unsafe fn check_text(message: *mut c_char) -> Result<(), String> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: a C string by this function's contract, freed once and not used after.
    let text = unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        free(message.cast());
        text
    };
    Err(text)
}

/// The addresses of tensors, as arguments of the shims.
pub(crate) fn addresses<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Vec<*const C_tensor> {
    tensors.into_iter().map(Tensor::as_ptr).collect()
}
