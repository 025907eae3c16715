//! torch's thread pool.

use std::ffi::{c_char, c_void};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use tch::TchError;

use super::shim::check;
use crate::Result;

unsafe extern "C" {
    fn qrnn_parallel_for(
        n: i64,
        grain: i64,
        context: *const c_void,
        body: extern "C" fn(*const c_void, i64, i64),
    ) -> *mut c_char;
}

/// Calls `body` on ranges that partition `0..n`, on torch's threads, and returns when all calls
/// have returned (`at::parallel_for`). Every range but the last has at least `grain` items.
///
/// # Errors
/// [`crate::Error::Torch`] if `body` panicked or libtorch failed.
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
    if context.panicked.into_inner() {
        return Err(TchError::Torch("a parallel kernel panicked".into()).into());
    }
    Ok(())
}

/// The non-generic part of [`parallel_for`]: a program that loads this crate as a shared library
/// then needs no symbol of the shim.
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
    unsafe { check(qrnn_parallel_for(n as i64, grain.max(1) as i64, context, body)) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn every_item_is_visited_once() {
        let visits: Vec<_> = (0..1003).map(|_| AtomicUsize::new(0)).collect();
        parallel_for(visits.len(), 7, |range| {
            for i in range {
                visits[i].fetch_add(1, Ordering::Relaxed);
            }
        })
        .unwrap();
        assert!(visits.iter().all(|n| n.load(Ordering::Relaxed) == 1));
    }

    #[test]
    fn a_panic_in_the_body_is_an_error() {
        let result = parallel_for(10, 1, |range| assert!(!range.contains(&3), "on purpose"));
        assert!(result.is_err());
    }
}
