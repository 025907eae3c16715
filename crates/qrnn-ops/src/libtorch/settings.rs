//! Process-wide settings of libtorch and of the C library: threads, TF32, freed memory.

use std::ffi::c_char;
use std::num::NonZero;

use super::shim::check;
use crate::Result;

unsafe extern "C" {
    fn qrnn_keep_freed_memory();

    fn qrnn_allow_tf32(allowed: bool) -> *mut c_char;
}

/// Lets the C library's allocator keep freed memory for the next allocation.
///
/// A step frees and takes the same large blocks over and over. By default glibc returns them to the
/// system each time, and clearing new pages then costs several times what the arithmetic does.
pub fn keep_freed_memory() {
    // SAFETY: mallopt may be called at any time, from any thread.
    unsafe { qrnn_keep_freed_memory() }
}

/// Says whether the matrix products of GPUs may round single-precision operands to TF32.
///
/// # Errors
/// [`crate::Error::Torch`] where somebody set the precision in another way before.
pub fn allow_tf32(allowed: bool) -> Result<()> {
    // SAFETY: sets a flag of libtorch's.
    unsafe { check(qrnn_allow_tf32(allowed)) }
}

/// Threads for each processor that this process may use, at most. More of them only wait for each other:
/// torch needs a minute to start thousands.
const MOST: usize = 4;

/// Threads that compute, as [`set_threads`] set them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadCount {
    /// Threads used.
    pub threads: usize,
    /// Processors that this process may use.
    pub processors: usize,
    /// What the environment asked for, where that was more than `threads`.
    pub too_many: Option<usize>,
}

/// Sets the number of threads of torch and of this crate's kernels, which share one pool.
///
/// The number is that of RAYON_NUM_THREADS or OMP_NUM_THREADS, the smaller of both and at most four per
/// processor. Without them it is torch's own choice, capped at the processors that this process may use
/// (its affinity and its control group's share).
pub fn set_threads() -> ThreadCount {
    let torch = tch::get_num_threads().max(1) as usize;
    let given = ["RAYON_NUM_THREADS", "OMP_NUM_THREADS"].map(|name| std::env::var(name).ok());
    let allowed = std::thread::available_parallelism().map_or(torch, NonZero::get);
    let asked = asked(given.each_ref().map(Option::as_deref));
    let threads = threads(torch, allowed, asked);
    tch::set_num_threads(threads as i32);
    ThreadCount { threads, processors: allowed, too_many: asked.filter(|&asked| asked > threads) }
}

/// What the variables ask for. A value that is no positive number says nothing.
fn asked(given: [Option<&str>; 2]) -> Option<usize> {
    let number = |text: &str| text.trim().parse().ok().filter(|&n: &usize| n > 0);
    given.into_iter().flatten().filter_map(number).min()
}

/// * `torch`: what torch would take;
/// * `allowed`: processors that may be used.
fn threads(torch: usize, allowed: usize, asked: Option<usize>) -> usize {
    let most = allowed.saturating_mul(MOST);
    asked.map_or(torch.min(allowed), |asked| asked.min(most)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_heard_and_nobody_takes_more_than_there_is() {
        let threads = |torch, allowed, given| threads(torch, allowed, asked(given));
        assert_eq!(threads(8, 8, [None, None]), 8);
        assert_eq!(threads(8, 2, [None, None]), 2);
        assert_eq!(threads(8, 8, [Some("3"), None]), 3);
        assert_eq!(threads(2, 8, [Some("6"), Some("4")]), 4);
        assert_eq!(threads(4, 8, [Some("0"), Some("many")]), 4);
        assert_eq!(threads(5000, 2, [None, Some("5000")]), 8);
    }
}
