//! How far this machine's clock is from the database's, which is the one that counts.
//!
//! Leases and due times are the database's affair, so they are right in any case. But a signed
//! webhook carries a timestamp of ours, and receivers refuse one that is minutes off.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Beyond this, people are told.
const WARN: Duration = Duration::from_secs(5);
/// Beyond this, nothing is signed: receivers take five minutes at most for a repeat, some less.
const OFF: Duration = Duration::from_mins(2);

/// The difference as last measured, shared by who measures it and who goes by it.
#[derive(Debug, Clone, Default)]
pub struct Clock(Arc<AtomicI64>);

/// What a difference means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skew {
    /// Small enough for everything.
    Fine,
    /// Worth a warning: this machine is ahead by so many milliseconds, or behind if negative.
    Noticeable(i64),
    /// Too much to sign anything.
    Off(i64),
}

impl Clock {
    /// Notes that this machine is ahead by so many milliseconds, or behind if negative.
    pub fn set(&self, ahead_ms: i64) {
        self.0.store(ahead_ms, Ordering::Relaxed);
    }

    /// What was noted last; no difference at first.
    pub fn skew(&self) -> Skew {
        let ahead = self.0.load(Ordering::Relaxed);
        match Duration::from_millis(ahead.unsigned_abs()) {
            by if OFF < by => Skew::Off(ahead),
            by if WARN < by => Skew::Noticeable(ahead),
            _ => Skew::Fine,
        }
    }
}

/// A difference in words, such as `150.0 s ahead`.
pub fn in_words(ahead_ms: i64) -> String {
    let seconds = Duration::from_millis(ahead_ms.unsigned_abs()).as_secs_f64();
    let direction = if ahead_ms < 0 { "behind" } else { "ahead of" };
    format!("{seconds:.1} s {direction} the database's clock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_judged_alike_in_both_directions() {
        let judge = |ahead_ms| {
            let clock = Clock::default();
            clock.set(ahead_ms);
            clock.skew()
        };
        assert_eq!(judge(5_000), Skew::Fine);
        assert_eq!(judge(-5_001), Skew::Noticeable(-5_001));
        assert_eq!(judge(120_000), Skew::Noticeable(120_000));
        assert_eq!(judge(-120_001), Skew::Off(-120_001));
        assert_eq!(judge(i64::MIN), Skew::Off(i64::MIN));
        assert_eq!(in_words(-150_000), "150.0 s behind the database's clock");
    }
}
