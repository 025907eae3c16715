//! Timeouts and retries of downloads.

use std::time::Duration;

use crate::interrupt::Interrupt;

/// Timeouts and limits after which a server is abandoned. The defaults suit 200 MB over any network.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// Timeout for establishing a connection.
    pub connect_timeout: Duration,
    /// Timeout without data from the server.
    pub read_timeout: Duration,
    /// Consecutive retries without new data.
    pub max_retries: u32,
    /// Delay before the first retry; doubled for each further one, up to 30 s.
    pub first_delay: Duration,
    /// Maximum number of redirects.
    pub max_redirects: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(15),
            read_timeout: Duration::from_secs(30),
            max_retries: 4,
            first_delay: Duration::from_secs(1),
            max_redirects: 10,
        }
    }
}

/// Upper limit of all delays, including those requested by a server.
const MAX_DELAY: Duration = Duration::from_secs(30);

impl RetryPolicy {
    /// The delay before retry number `retry`, counted from 1; `retry_after` is the delay requested by the
    /// server.
    pub(super) fn delay(&self, retry: u32, retry_after: Option<Duration>) -> Duration {
        let doubled = self.first_delay.saturating_mul(1 << retry.saturating_sub(1).min(16));
        doubled.max(retry_after.unwrap_or_default()).min(MAX_DELAY)
    }
}

/// Sleeps; returns `false` if interrupted.
pub(super) fn sleep(mut left: Duration, interrupt: &Interrupt) -> bool {
    const POLL_INTERVAL: Duration = Duration::from_millis(50);
    while !left.is_zero() && !interrupt.requested() {
        std::thread::sleep(left.min(POLL_INTERVAL));
        left = left.saturating_sub(POLL_INTERVAL);
    }
    !interrupt.requested()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_limit() {
        let policy = RetryPolicy::default();
        let seconds = |retry, retry_after| policy.delay(retry, retry_after).as_secs();
        assert_eq!([1, 2, 3, 4, 40].map(|retry| seconds(retry, None)), [1, 2, 4, 8, 30]);
        assert_eq!(seconds(1, Some(Duration::from_secs(7))), 7);
        assert_eq!(seconds(1, Some(Duration::from_secs(7000))), 30);
    }
}
