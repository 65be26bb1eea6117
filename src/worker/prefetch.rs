//! How many messages beyond the free threads are worth fetching.

use std::time::{Duration, Instant};

/// Time over which finished deliveries are remembered.
const WINDOW: Duration = Duration::from_millis(100);

/// As many as finished within the last tenth of a second, about: enough that no freed thread
/// waits for the database, and none at all while deliveries are slow, so that nothing is
/// leased that would only wait behind them.
#[derive(Debug)]
pub(super) struct Prefetch {
    recent: f64,
    at: Instant,
}

impl Prefetch {
    pub(super) fn new(now: Instant) -> Self {
        Self { recent: 0.0, at: now }
    }

    /// Notes deliveries that finished.
    pub(super) fn finished(&mut self, count: usize, now: Instant) {
        self.decay(now);
        self.recent += f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// The number worth fetching ahead.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and saturating is right"
    )]
    pub(super) fn count(&mut self, now: Instant) -> usize {
        self.decay(now);
        self.recent as usize
    }

    fn decay(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at);
        self.recent *= (-elapsed.as_secs_f64() / WINDOW.as_secs_f64()).exp();
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_pool_is_fed_ahead_and_a_stalled_one_is_not() {
        let start = Instant::now();
        let mut prefetch = Prefetch::new(start);
        assert_eq!(prefetch.count(start), 0);
        prefetch.finished(500, start);
        assert_eq!(prefetch.count(start), 500);
        assert!(prefetch.count(start + WINDOW) < 200);
        assert_eq!(prefetch.count(start + Duration::from_secs(2)), 0);
    }
}
