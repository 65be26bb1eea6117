//! A circuit breaker: whether an endpoint is worth trying. Gets the time as a value.
//!
//! It opens after [`FAILURES`] deliveries in a row that blame the endpoint, over a time of at least
//! [`DOWN_MIN`]: a restart shall not open it; or when the endpoint asks for a pause. A failure that
//! held a thread for long counts as several. From then on messages are parked, and after a pause a
//! single one tries: if that is answered the breaker closes, if not the next pause is longer.

use std::time::{Duration, Instant};

use super::record::FAST;
use crate::telemetry;

/// Failures in a row that open it: more than chance makes of an endpoint that often fails.
const FAILURES: u32 = 10;
/// What one counts that took longer than [`FAST`]: few are made at a time, and each is dear.
const SLOW_FAILURE: u32 = 3;
/// Time from the beginning of the first of them to the end of the last.
const DOWN_MIN: Duration = Duration::from_secs(5);
/// Pauses before a try, doubled from the first to the last.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// Parked messages come back one after the other, not all at once; but none stays away longer.
const TURN: Duration = Duration::from_millis(2);
const PARKED_MAX: Duration = Duration::from_mins(5);
/// Longest pause that an endpoint gets when it asks.
const ASKED_MAX: Duration = Duration::from_hours(24);

/// What an event changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nobody but one shall try before `pause` is over.
    Opened {
        /// From now.
        pause: Duration,
    },
    /// The same, since the endpoint asked for it.
    Paused {
        /// From now.
        pause: Duration,
    },
    /// All may try again.
    Closed {
        /// When it had opened, or was last asked for a longer pause.
        since: Instant,
    },
}

/// What a delivery is to the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// One of many.
    Usual,
    /// The one that tries while it is open.
    Probe,
}

/// Closed at first.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    /// When the first of these began.
    since: Option<Instant>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    pause: Duration,
    /// When the next one may try.
    until: Instant,
    /// Somebody does.
    probing: bool,
    /// The endpoint asked for it: what was under way before may well be answered.
    asked: bool,
    /// When the next message that is parked comes back.
    turn: Instant,
    _counted: telemetry::Down,
}

impl Breaker {
    /// Leave to deliver, to one alone if it is open; or how long to stay away.
    pub(super) fn enter(&mut self, now: Instant) -> Result<Role, Duration> {
        if let Some(wait) = self.park(now) {
            return Err(wait);
        }
        let Some(open) = &mut self.open else { return Ok(Role::Usual) };
        open.probing = true;
        Ok(Role::Probe)
    }

    /// How long to stay away; `None` if it is worth to ask [`enter`](Self::enter).
    pub(super) fn park(&mut self, now: Instant) -> Option<Duration> {
        let open = self.open.as_mut()?;
        if !open.probing && open.until <= now {
            return None;
        }
        // While one tries, nobody knows for how long.
        let from = if open.probing { now + open.pause } else { open.until };
        let turn = open.turn.max(from).min(now + PARKED_MAX);
        open.turn = turn + TURN;
        telemetry::parked();
        Some(turn - now)
    }

    /// Whether little is lost with it: it is closed, or nobody has tried since all that was parked came back.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        self.open.as_ref().is_none_or(|open| !open.probing && open.until + PARKED_MAX < now)
    }

    /// A delivery that began at `began` failed, and the endpoint is to blame.
    pub(super) fn failed(&mut self, role: Role, began: Instant, now: Instant) -> Option<Change> {
        let is_fast = now.saturating_duration_since(began) <= FAST;
        self.failures = self.failures.saturating_add(if is_fast { 1 } else { SLOW_FAILURE });
        let since = *self.since.get_or_insert(began);
        match (&mut self.open, role) {
            (Some(open), Role::Probe) => {
                open.pause = (open.pause * 2).min(PAUSE_MAX);
                open.again(now);
                None
            }
            // It had begun before: there is nothing to learn.
            (Some(_), Role::Usual) => None,
            (None, _) if self.failures < FAILURES || now < since + DOWN_MIN => None,
            (None, _) => {
                self.open = Some(Open::new(now, PAUSE_MIN, false));
                Some(Change::Opened { pause: PAUSE_MIN })
            }
        }
    }

    /// The endpoint asked for a pause.
    pub(super) fn asked_to_wait(&mut self, pause: Duration, now: Instant) -> Option<Change> {
        let pause = pause.min(ASKED_MAX);
        let longer = self.open.as_ref().is_none_or(|open| open.probing || open.until < now + pause);
        let news = self.open.as_ref().is_none_or(|open| open.probing);
        if longer {
            self.open = Some(Open::new(now, pause, true));
        }
        news.then_some(Change::Paused { pause })
    }

    /// The endpoint gave an answer, to whatever effect.
    pub(super) fn answered(&mut self, role: Role) -> Option<Change> {
        (self.failures, self.since) = (0, None);
        let is_over = |open: &mut Open| !open.asked || role == Role::Probe;
        self.open.take_if(is_over).map(|open| Change::Closed { since: open.since })
    }

    /// A delivery ended before it had to do with the endpoint.
    pub(super) fn unsure(&mut self, role: Role, now: Instant) {
        if let (Some(open), Role::Probe) = (&mut self.open, role) {
            open.again(now);
        }
    }
}

impl Open {
    fn new(now: Instant, pause: Duration, asked: bool) -> Self {
        let until = now + pause;
        Self {
            since: now,
            pause: PAUSE_MIN,
            until,
            probing: false,
            asked,
            turn: until,
            _counted: telemetry::Down::new(),
        }
    }

    /// Lets another one try after the pause.
    fn again(&mut self, now: Instant) {
        (self.until, self.probing) = (now + self.pause, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// One that is open, and since when.
    fn opened() -> (Breaker, Instant) {
        let (began, mut breaker) = (Instant::now(), Breaker::default());
        let now = began + DOWN_MIN;
        breaker.failed(Role::Usual, began, began);
        let changes: Vec<_> =
            (1..FAILURES).map(|_| breaker.failed(Role::Usual, now, now)).collect();
        let opens = Some(Change::Opened { pause: SECOND });
        assert!(changes.iter().rev().skip(1).all(Option::is_none) && changes.ends_with(&[opens]));
        (breaker, now)
    }

    #[test]
    fn it_opens_after_failures_in_a_row_only() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for count in 0..10 * FAILURES {
            let now = now + DOWN_MIN * count;
            assert_eq!(breaker.failed(Role::Usual, now, now), None);
            if count % (FAILURES - 1) == FAILURES - 2 {
                assert_eq!(breaker.answered(Role::Usual), None);
            }
        }
        let (mut breaker, now) = opened();
        assert!(breaker.enter(now).is_err());
    }

    #[test]
    fn few_failures_open_it_that_each_took_long() {
        let (began, mut breaker) = (Instant::now(), Breaker::default());
        let now = began + DOWN_MIN;
        let changes: Vec<bool> =
            (0..4).map(|_| breaker.failed(Role::Usual, began, now).is_some()).collect();
        assert_eq!(changes, [false, false, false, true]);
    }

    #[test]
    fn many_failures_in_a_short_time_do_not_open_it() {
        let (now, mut breaker) = (Instant::now(), Breaker::default());
        for _ in 0..10 * FAILURES {
            assert_eq!(breaker.failed(Role::Usual, now, now + DOWN_MIN / 2), None);
        }
        assert!(breaker.failed(Role::Usual, now, now + DOWN_MIN).is_some());
    }

    #[test]
    fn one_alone_tries_after_each_pause_and_pauses_grow_to_a_limit() {
        let (mut breaker, mut now) = opened();
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            let early = now + (SECOND * pause).saturating_sub(TURN);
            assert!(breaker.enter(early).is_err(), "{pause}");
            now += SECOND * pause;
            assert_eq!((breaker.enter(now), breaker.enter(now).is_err()), (Ok(Role::Probe), true));
            assert_eq!(
                breaker.failed(Role::Usual, now, now + DOWN_MIN),
                None,
                "it had begun before"
            );
            assert!(breaker.enter(now).is_err());
            assert_eq!(breaker.failed(Role::Probe, now, now), None);
        }
    }

    #[test]
    fn one_answer_closes_it() {
        let (mut breaker, now) = opened();
        assert_eq!(breaker.enter(now + SECOND), Ok(Role::Probe));
        assert_eq!(breaker.answered(Role::Probe), Some(Change::Closed { since: now }));
        assert_eq!(
            (breaker.enter(now), breaker.failed(Role::Usual, now, now + DOWN_MIN)),
            (Ok(Role::Usual), None)
        );
    }

    #[test]
    fn a_pause_that_is_asked_for_holds_until_one_tries_again() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        let pause = SECOND * 7;
        assert_eq!(breaker.asked_to_wait(pause, now), Some(Change::Paused { pause }));
        assert_eq!(breaker.asked_to_wait(SECOND, now), None, "it was under way");
        assert_eq!(breaker.answered(Role::Usual), None, "so was this");
        assert!(breaker.enter(now + SECOND * 6).is_err());
        assert_eq!(breaker.enter(now + pause), Ok(Role::Probe));
        assert_eq!(breaker.asked_to_wait(pause, now), Some(Change::Paused { pause }));
        assert_eq!(breaker.enter(now + pause), Ok(Role::Probe));
        assert_eq!(breaker.answered(Role::Probe), Some(Change::Closed { since: now }));
    }

    #[test]
    fn a_try_that_says_nothing_lets_another_one_try() {
        let (mut breaker, now) = opened();
        assert_eq!(breaker.enter(now + SECOND), Ok(Role::Probe));
        breaker.unsure(Role::Probe, now + SECOND);
        assert!(breaker.enter(now + SECOND).is_err());
        assert_eq!(breaker.enter(now + SECOND * 2), Ok(Role::Probe));
    }

    #[test]
    fn it_is_idle_while_closed_or_when_nothing_waits_for_it_any_more() {
        let (mut breaker, now) = opened();
        assert!(Breaker::default().is_idle(now));
        assert!(!breaker.is_idle(now) && !breaker.is_idle(now + SECOND + PARKED_MAX));
        let later = now + SECOND * 2 + PARKED_MAX;
        assert!(breaker.is_idle(later));
        assert_eq!(breaker.enter(later), Ok(Role::Probe));
        assert!(!breaker.is_idle(later));
    }

    #[test]
    fn what_is_parked_comes_back_one_by_one_after_the_pause_and_in_time() {
        let (mut breaker, now) = opened();
        let waits: Vec<Duration> = (0..3).map(|_| breaker.park(now).unwrap()).collect();
        assert_eq!(waits, [SECOND, SECOND + TURN, SECOND + TURN * 2]);
        let longest = (0..200_000).map(|_| breaker.park(now).unwrap()).max().unwrap();
        assert_eq!(longest, PARKED_MAX);
    }
}
