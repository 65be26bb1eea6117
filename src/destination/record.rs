//! How fast one place answers. Gets the time as a value.

use std::time::{Duration, Instant};

/// A delivery that takes longer is slow.
pub(super) const FAST: Duration = Duration::from_secs(2);
/// What happened longer ago says nothing about now.
const RECENT: Duration = Duration::from_mins(5);

/// What to expect of the next delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// An answer within [`FAST`].
    Fast,
    /// An answer, but later.
    Slow,
    /// No answer.
    Silent,
    /// Nobody has tried of late.
    Unknown,
}

/// How deliveries to one place ended. A failure that comes at once holds no thread, so it changes
/// nothing.
#[derive(Debug, Default)]
pub(super) struct Record {
    last: Option<(Instant, Pace)>,
    answered: Option<Instant>,
    /// When the first delivery began after the last one that ended.
    since: Option<Instant>,
}

impl Record {
    /// A delivery begins.
    pub(super) fn begins(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// A delivery that began at `began` ends, with an answer or without.
    pub(super) fn ends(&mut self, began: Instant, answered: bool, now: Instant) {
        self.since = None;
        if answered {
            self.answered = Some(now);
        }
        let is_fast = now.saturating_duration_since(began) <= FAST;
        let pace = match (is_fast, answered) {
            (true, true) => Pace::Fast,
            (false, true) => Pace::Slow,
            (false, false) => Pace::Silent,
            (true, false) => return,
        };
        self.last = Some((now, pace));
    }

    /// What to expect now. A place where nothing ends for longer than [`FAST`] is silent, unless it
    /// is known to take its time.
    pub(super) fn pace(&self, now: Instant) -> Pace {
        let last = self.last.filter(|(at, _)| is_recent(*at, now)).map(|(_, pace)| pace);
        let hangs = self.since.is_some_and(|since| FAST < now.saturating_duration_since(since));
        match last {
            Some(Pace::Slow) => Pace::Slow,
            _ if hangs => Pace::Silent,
            last => last.unwrap_or(Pace::Unknown),
        }
    }

    /// Whether any delivery was answered of late.
    pub(super) fn answers(&self, now: Instant) -> bool {
        self.answered.is_some_and(|at| is_recent(at, now))
    }
}

fn is_recent(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < RECENT
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A place where one delivery took so long, and when it ended.
    fn after_one(took: Duration, answered: bool) -> (Record, Instant) {
        let (mut record, began) = (Record::default(), Instant::now());
        record.begins(began);
        record.ends(began, answered, began + took);
        (record, began + took)
    }

    #[test]
    fn the_last_delivery_says_what_to_expect_for_five_minutes() {
        for (took, answered, pace) in [
            (1, true, Pace::Fast),
            (3, true, Pace::Slow),
            (3, false, Pace::Silent),
            (1, false, Pace::Unknown),
        ] {
            let (record, end) = after_one(SECOND * took, answered);
            assert_eq!(record.pace(end), pace, "{took} s, {answered}");
            assert_eq!(record.answers(end), answered);
            assert_eq!(record.pace(end + RECENT), Pace::Unknown);
            assert!(!record.answers(end + RECENT));
        }
    }

    #[test]
    fn a_place_that_was_fast_is_silent_once_nothing_has_ended_for_two_seconds() {
        let (mut record, now) = after_one(SECOND, true);
        record.begins(now);
        record.begins(now + SECOND);
        assert_eq!(record.pace(now + FAST), Pace::Fast);
        assert_eq!(record.pace(now + FAST + SECOND), Pace::Silent);
        record.ends(now + SECOND, true, now + SECOND * 2);
        assert_eq!(record.pace(now + FAST * 2), Pace::Fast, "one hangs, others are answered");
    }

    #[test]
    fn a_place_that_takes_its_time_is_not_silent_meanwhile() {
        let (mut record, now) = after_one(SECOND * 5, true);
        record.begins(now);
        assert_eq!(record.pace(now + SECOND * 4), Pace::Slow);
    }
}
