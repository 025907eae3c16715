//! How many threads compute.

use std::num::NonZero;

use crate::terminal;

/// Threads for each processor that this process may use, at most. More of them only wait for each other:
/// torch needs a minute to start thousands.
const MOST: usize = 4;

/// Sets the number of threads for torch's operations and our kernels, which run on the same ones, and
/// returns it: RAYON_NUM_THREADS or OMP_NUM_THREADS where given, the smaller of both but at most four a
/// processor, else as many as torch would take. Torch's number is cut to the processors that this process may
/// use: its affinity and its control group's share.
pub fn set_threads() -> usize {
    let torch = tch::get_num_threads().max(1) as usize;
    let given = ["RAYON_NUM_THREADS", "OMP_NUM_THREADS"].map(|name| std::env::var(name).ok());
    let allowed = std::thread::available_parallelism().map_or(torch, NonZero::get);
    let asked = asked(given.each_ref().map(Option::as_deref));
    let threads = threads(torch, allowed, asked);
    if let Some(asked) = asked.filter(|&asked| asked > threads) {
        terminal::note(format_args!(
            "computing with {threads} threads, not {asked}: this process may use {allowed} processors"
        ));
    }
    tch::set_num_threads(threads as i32);
    threads
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
