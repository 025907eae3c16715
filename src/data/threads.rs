//! Threads that read a text.

/// Cores to read with.
pub(super) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What `work` makes of each item, each in a thread of its own where there are several.
pub(super) fn in_threads<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    if items.len() == 1 {
        return items.into_iter().map(work).collect();
    }
    std::thread::scope(|scope| {
        let work = &work;
        let working: Vec<_> =
            items.into_iter().map(|item| scope.spawn(move || work(item))).collect();
        let finished = working.into_iter().map(|thread| thread.join());
        finished
            .map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}
