//! Panics of the crate `parquet`, which it has for some damaged files: for example where a length in a page
//! exceeds the page.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// Whether this thread is in [`caught`].
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// Calls `work`; `None` if it panics. The panic is not reported on standard error, nor to a notebook: the
/// user learns of it by the error about the file. After a panic, nothing that `work` has changed may be
/// used again.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    HOOK.call_once(|| {
        // A thread that panics already must not change the hook.
        if !std::thread::panicking() {
            let previous = take_hook();
            set_hook(Box::new(move |panic| {
                if !CATCHING.try_with(Cell::get).unwrap_or(false) {
                    previous(panic);
                }
            }));
        }
    });
    CATCHING.set(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(false);
    result.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_and_the_next_is_not() {
        assert_eq!(caught(|| 1), Some(1));
        assert_eq!(caught(|| [1, 2][std::hint::black_box(2)]), None);
        assert!(!CATCHING.get());
        assert!(catch_unwind(|| panic!("reported")).is_err());
    }
}
