//! How many threads compute.

use std::num::NonZero;

/// Sets the number of threads for torch's operations and our kernels, which run on the same ones, and
/// returns it: RAYON_NUM_THREADS or OMP_NUM_THREADS where given, the smaller of both, else as many as
/// torch would take. Torch's number is cut to the processors that this process may
/// use: its affinity and its control group's share.
pub fn set_threads() -> usize {
    let torch = tch::get_num_threads().max(1) as usize;
    let given = ["RAYON_NUM_THREADS", "OMP_NUM_THREADS"].map(|name| std::env::var(name).ok());
    let allowed = std::thread::available_parallelism().map_or(torch, NonZero::get);
    let threads = threads(torch, allowed, given.each_ref().map(Option::as_deref));
    tch::set_num_threads(threads as i32);
    threads
}

/// * `torch`: what torch would take;
/// * `allowed`: processors that may be used;
/// * `given`: the variables' values. One that is no positive number says nothing.
fn threads(torch: usize, allowed: usize, given: [Option<&str>; 2]) -> usize {
    let number = |text: &str| text.trim().parse().ok().filter(|&n: &usize| n > 0);
    let given = given.into_iter().flatten().filter_map(number).min();
    given.unwrap_or(torch.min(allowed)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_heard_and_nobody_takes_more_than_there_is() {
        assert_eq!(threads(8, 8, [None, None]), 8);
        assert_eq!(threads(8, 2, [None, None]), 2);
        assert_eq!(threads(8, 8, [Some("3"), None]), 3);
        assert_eq!(threads(2, 8, [Some("6"), Some("4")]), 4);
        assert_eq!(threads(4, 8, [Some("0"), Some("many")]), 4);
    }
}
