//! How long a fetch bears with a server.

use std::time::Duration;

use crate::interrupt::Interrupt;

/// Times and counts after which a server is given up. The defaults suit 200 MB over any network.
#[derive(Debug, Clone)]
pub struct Patience {
    /// Until a connection stands.
    pub connect: Duration,
    /// Without a byte from the server.
    pub silence: Duration,
    /// Attempts in a row that bring nothing new, after the first.
    pub retries: u32,
    /// Before the first retry; doubled for each further one, up to 30 s.
    pub pause: Duration,
    /// Redirects followed.
    pub redirects: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            silence: Duration::from_secs(30),
            retries: 4,
            pause: Duration::from_secs(1),
            redirects: 10,
        }
    }
}

/// No pause is longer, whatever a server asks for.
const LONGEST: Duration = Duration::from_secs(30);

impl Patience {
    /// Before retry number `retry`, counted from 1; `asked` is what the server wants.
    pub(super) fn pause(&self, retry: u32, asked: Option<Duration>) -> Duration {
        let doubled = self.pause.saturating_mul(1 << retry.saturating_sub(1).min(16));
        doubled.max(asked.unwrap_or_default()).min(LONGEST)
    }
}

/// Sleeps; `false` where the user did not want to wait for the end.
pub(super) fn sleep(mut left: Duration, interrupt: &Interrupt) -> bool {
    const LOOK: Duration = Duration::from_millis(50);
    while !left.is_zero() && !interrupt.requested() {
        std::thread::sleep(left.min(LOOK));
        left = left.saturating_sub(LOOK);
    }
    !interrupt.requested()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        let patience = Patience::default();
        let seconds = |retry, asked| patience.pause(retry, asked).as_secs();
        assert_eq!([1, 2, 3, 4, 40].map(|retry| seconds(retry, None)), [1, 2, 4, 8, 30]);
        assert_eq!(seconds(1, Some(Duration::from_secs(7))), 7);
        assert_eq!(seconds(1, Some(Duration::from_secs(7000))), 30);
    }
}
