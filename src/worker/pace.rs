//! How much the poller takes on, what it knows of the queue, and when it looks next.

use std::time::{Duration, Instant};

use crate::config::{ByteSize, Config, WorkerConfig};

/// First pause of an idle poller: finds enqueues whose transaction began before the doorbell
/// was armed.
const IDLE_PAUSE_MIN: Duration = Duration::from_millis(5);
/// Pause of a poller that finds messages at each look.
const BUSY_PAUSE: Duration = Duration::from_millis(2);
/// Pauses after failures, doubled from the first to the last: deliveries go on soon after the database
/// is back.
const FAILURE_PAUSE_MIN: Duration = Duration::from_millis(100);
const FAILURE_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Longest pause while waiting for an empty queue, which other workers may be about to leave.
const EMPTY_PAUSE_MAX: Duration = Duration::from_millis(200);
/// Added to a due time, so that the look comes after it.
const DUE_SLACK: Duration = Duration::from_millis(1);

/// Leases beyond the threads: four batches of the writer, so that while one is written others are delivered.
const PREFETCH_MAX: usize = 1936;

/// When the worker ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Only when it is stopped.
    Stopped,
    /// After one pass over what is due.
    Once,
    /// When no message is leased, due, or becomes due within this span; also while paused.
    Empty(Duration),
}

/// Sizes of the ring.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) threads: usize,
    pub(super) in_flight_max: usize,
    pub(super) memory_max: usize,
    pub(super) fetch_interval: Duration,
    /// Longest pause where no enqueue rings.
    pub(super) silent_interval: Duration,
    /// Somebody listens to the bell.
    pub(super) listens: bool,
    pub(super) until: Until,
}

impl Limits {
    /// As the settings say.
    pub(super) fn new(config: &Config, until: Until, listens: bool) -> Self {
        let WorkerConfig { threads, fetch_interval, silent_interval, .. } = config.worker;
        let ByteSize(memory_max) = config.worker.memory_max;
        let in_flight_max = config.worker.in_flight_max.unwrap_or(threads + PREFETCH_MAX);
        let in_flight_max = in_flight_max.max(threads);
        Self { threads, in_flight_max, memory_max, fetch_interval, silent_interval, listens, until }
    }
}

/// Whether the queue may hold more due messages than were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hunger {
    /// Not as far as is known.
    Sated,
    /// Most likely.
    Hungry,
    /// A look saw one, perhaps behind the point that acquires have reached.
    Sweep,
}

/// How much is left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    GoesOn,
    /// The one pass of [`Until::Once`] is made: what it leased is awaited, no more is taken.
    Passed,
    Done,
}

/// The time of the next look.
#[derive(Debug)]
pub(super) struct Pace {
    next: Instant,
    /// Longest pause of an idle poller, but for the jitter, where enqueues ring and where none does.
    longest: [Duration; 2],
    /// Enqueues ring, and somebody listens.
    hears: bool,
    listens: bool,
    idle: Duration,
    failure: Duration,
}

impl Pace {
    /// Of a worker that looks about once in a `fetch_interval`, or in a `silent_interval` where no enqueue
    /// wakes it.
    pub(super) fn new(limits: &Limits) -> Self {
        let Limits { fetch_interval, silent_interval, listens, .. } = *limits;
        let longest = match limits.until {
            Until::Empty(_) => EMPTY_PAUSE_MAX.min(fetch_interval),
            Until::Stopped | Until::Once => fetch_interval,
        };
        let longest = [longest, longest.min(silent_interval)];
        let (idle, failure) = (IDLE_PAUSE_MIN, FAILURE_PAUSE_MIN);
        Self { next: Instant::now(), longest, hears: listens, listens, idle, failure }
    }

    /// Whether enqueues ring.
    pub(super) fn hears(&mut self, rings: bool) {
        self.hears = self.listens && rings;
    }

    /// Time until the next look.
    pub(super) fn pause(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// The database answered; whether it had not before.
    pub(super) fn works(&mut self) -> bool {
        std::mem::replace(&mut self.failure, FAILURE_PAUSE_MIN) != FAILURE_PAUSE_MIN
    }

    /// Messages came; `soon` if nobody will ring for the next ones.
    pub(super) fn found(&mut self, soon: bool) {
        self.idle = IDLE_PAUSE_MIN;
        if soon {
            self.next = Instant::now() + BUSY_PAUSE;
        }
    }

    /// Something may be there that nobody will ring for.
    pub(super) fn look_soon(&mut self) {
        self.next = self.next.min(Instant::now() + IDLE_PAUSE_MIN);
    }

    /// A message becomes due after `delay`.
    pub(super) fn due_in(&mut self, delay: Duration) {
        self.next = self.next.min(Instant::now() + delay + DUE_SLACK);
    }

    /// Nothing came; the pause is longer than the last one, but ends when a message is due.
    pub(super) fn idle(&mut self, next_due: Option<Duration>) {
        // Workers that started together shall not look together for ever, nor any more than once an interval.
        let longest = self.longest[usize::from(!self.hears)];
        let pause = self.idle.min(longest).mul_f64(1.0 + 0.1 * fastrand::f64());
        self.next = Instant::now() + pause;
        self.idle = (self.idle * 2).min(longest);
        if let Some(delay) = next_due {
            self.due_in(delay);
        }
    }

    /// The database did not answer; returns the pause.
    pub(super) fn failed(&mut self) -> Duration {
        let pause = self.failure.mul_f64(0.8 + 0.4 * fastrand::f64());
        self.next = Instant::now() + pause;
        self.failure = (self.failure * 2).min(FAILURE_PAUSE_MAX);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_secs(15);

    fn pace() -> Pace {
        Pace::new(&Limits {
            threads: 1,
            in_flight_max: 1,
            memory_max: 0,
            fetch_interval: TICK,
            silent_interval: Duration::from_millis(500),
            listens: true,
            until: Until::Stopped,
        })
    }

    #[test]
    fn an_idle_poller_looks_less_and_less_often_up_to_the_interval() {
        let mut pace = pace();
        let pauses: Vec<Duration> = (0..20)
            .map(|_| {
                pace.idle(None);
                pace.pause()
            })
            .collect();
        assert!(pauses[0] < Duration::from_millis(6));
        assert!(pauses[0] < pauses[4] && pauses[4] < pauses[8]);
        assert!(pauses.iter().all(|pause| *pause <= TICK.mul_f64(1.1)));
        assert!(TICK.mul_f64(0.99) < pauses[19]);
    }

    #[test]
    fn a_poller_that_no_enqueue_wakes_looks_often() {
        let mut pace = pace();
        pace.hears(false);
        (0..20).for_each(|_| pace.idle(None));
        assert!(pace.pause() <= Duration::from_millis(550));
        pace.hears(true);
        (0..20).for_each(|_| pace.idle(None));
        assert!(TICK.mul_f64(0.99) < pace.pause());
    }

    #[test]
    fn a_due_message_ends_a_pause_early() {
        let mut pace = pace();
        (0..20).for_each(|_| pace.idle(Some(Duration::from_millis(300))));
        assert!(pace.pause() < Duration::from_millis(310));
        pace.due_in(Duration::ZERO);
        assert!(pace.pause() < Duration::from_millis(10));
    }

    #[test]
    fn failures_back_off_until_something_works() {
        let mut pace = pace();
        let _ = (0..20).map(|_| pace.failed()).last();
        assert!(FAILURE_PAUSE_MAX.mul_f64(0.7) < pace.pause());
        pace.works();
        assert!(pace.failed() < Duration::from_millis(130));
    }
}
