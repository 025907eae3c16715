//! Process-wide settings of libtorch and of the C library: threads, TF32, freed memory.

use std::ffi::c_char;
use std::num::NonZero;

use super::shim::check;
use crate::Result;

unsafe extern "C" {
    fn qrnn_keep_freed_memory();

    fn qrnn_allow_tf32(allowed: bool) -> *mut c_char;
}

/// Makes the C library keep freed memory for later allocations.
///
/// Every training step frees and allocates the same large blocks. By default glibc returns them to
/// the system, and clearing new pages takes several times as long as the arithmetic.
pub fn keep_freed_memory() {
    // SAFETY: mallopt may be called at any time, from any thread.
    unsafe { qrnn_keep_freed_memory() }
}

/// Sets whether cuBLAS may round fp32 operands to TF32 (`torch.backends.cuda.matmul.allow_tf32`).
///
/// # Errors
/// [`crate::Error::Torch`] if the precision was set through another interface before.
pub fn allow_tf32(allowed: bool) -> Result<()> {
    // SAFETY: sets a flag of libtorch's.
    unsafe { check(qrnn_allow_tf32(allowed)) }
}

/// Most threads per processor. More do not help, and torch needs a minute to start thousands.
const MAX_PER_PROCESSOR: usize = 4;

/// The result of [`set_threads`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadCount {
    /// Threads used.
    pub threads: usize,
    /// Processors that this process may use.
    pub processors: usize,
    /// The number in the environment, if it exceeds `threads`.
    pub too_many: Option<usize>,
}

/// Sets the number of threads of torch and of this crate's kernels, which share one pool.
///
/// The number is the smaller one of RAYON_NUM_THREADS and OMP_NUM_THREADS, at most four per
/// processor. Without them it is torch's default, at most the processors that this process may use
/// (by affinity and control group).
pub fn set_threads() -> ThreadCount {
    let torch = tch::get_num_threads().max(1) as usize;
    let variables = ["RAYON_NUM_THREADS", "OMP_NUM_THREADS"].map(|name| std::env::var(name).ok());
    let processors = std::thread::available_parallelism().map_or(torch, NonZero::get);
    let requested = requested_threads(variables.each_ref().map(Option::as_deref));
    let threads = threads(torch, processors, requested);
    tch::set_num_threads(threads as i32);
    let too_many = requested.filter(|&requested| requested > threads);
    ThreadCount { threads, processors, too_many }
}

/// As [`set_threads`], for one of several processes on this machine, which share its processors unless the environment
/// says how many threads each has or the launcher has bound each to processors of its own.
pub fn share_threads(processes: usize) -> ThreadCount {
    let count = set_threads();
    let variables = ["RAYON_NUM_THREADS", "OMP_NUM_THREADS"].map(|name| std::env::var(name).ok());
    let requested = requested_threads(variables.each_ref().map(Option::as_deref)).is_some();
    let online = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let online = online.lines().filter(|line| line.starts_with("processor")).count();
    if requested || count.processors < online || processes < 2 {
        let processors = count.processors.max(if requested { 0 } else { online });
        return ThreadCount { processors, ..count };
    }
    let threads = (count.threads / processes).max(1);
    tch::set_num_threads(threads as i32);
    ThreadCount { threads, ..count }
}

/// The smaller number in the variables. A value that is not a positive number is ignored.
fn requested_threads(variables: [Option<&str>; 2]) -> Option<usize> {
    let number = |text: &str| text.trim().parse().ok().filter(|&n: &usize| n > 0);
    variables.into_iter().flatten().filter_map(number).min()
}

/// The number of threads to use.
///
/// * `torch`: torch's default.
fn threads(torch: usize, processors: usize, requested: Option<usize>) -> usize {
    let max = processors.saturating_mul(MAX_PER_PROCESSOR);
    requested.map_or(torch.min(processors), |requested| requested.min(max)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_follow_the_environment_up_to_four_per_processor() {
        let threads = |torch, processors, variables| {
            super::threads(torch, processors, requested_threads(variables))
        };
        assert_eq!(threads(8, 8, [None, None]), 8);
        assert_eq!(threads(8, 2, [None, None]), 2);
        assert_eq!(threads(8, 8, [Some("3"), None]), 3);
        assert_eq!(threads(2, 8, [Some("6"), Some("4")]), 4);
        assert_eq!(threads(4, 8, [Some("0"), Some("many")]), 4);
        assert_eq!(threads(5000, 2, [None, Some("5000")]), 8);
    }
}
