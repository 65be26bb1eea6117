//! A host: scheme, host and port. What all destinations on it may take together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::record::{Pace, Record};
use super::room::{Guest, Held, Room};
use crate::gate::Gate;

/// Shortest time that a message is put off, and longest while no others are in line before it.
const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(15);
/// Messages come back one after the other, as fast as the host took the last ones; but none stays
/// away longer than [`AWAY_MAX`].
const STEP_MIN: Duration = Duration::from_millis(2);
const STEP_MAX: Duration = Duration::from_millis(100);
const AWAY_MAX: Duration = Duration::from_mins(5);

#[derive(Debug)]
pub(super) struct Host {
    /// May be shown.
    pub(super) name: String,
    pub(super) gate: Gate,
    room: Arc<Room>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    record: Record,
    /// Deliveries under way that were not proven at their start.
    unproven: usize,
    line: Line,
}

/// One delivery, from its start until this is dropped.
#[derive(Debug)]
pub(super) struct Stay<'a> {
    host: &'a Host,
    /// Of its destination.
    record: &'a Mutex<Record>,
    began: Instant,
    proven: bool,
    /// Whether the far end answered.
    pub(super) answered: bool,
    _held: Held<'a>,
}

impl Host {
    pub(super) fn new(name: String, gate: Gate, room: Arc<Room>) -> Self {
        Self { name, gate, room, state: Mutex::default() }
    }

    /// The right to hold a thread for a destination with this `record`, or how long to stay away.
    pub(super) fn enter<'a>(
        &'a self,
        record: &'a Mutex<Record>,
        now: Instant,
    ) -> Result<Stay<'a>, Duration> {
        let known = lock(record).pace(now);
        let mut state = self.state();
        let answers = state.record.answers(now);
        let pace = match known {
            // What nobody has tried yet is as likely to answer as its host.
            Pace::Unknown if !answers && state.record.pace(now) == Pace::Silent => Pace::Silent,
            known => known,
        };
        let proven = pace == Pace::Fast;
        let held = self.room.enter(Guest { pace, others: state.unproven, answers }, now);
        let Some(held) = held else { return Err(state.line.put_off(now)) };
        state.unproven += usize::from(!proven);
        state.record.begins(now);
        lock(record).begins(now);
        Ok(Stay { host: self, record, began: now, proven, answered: false, _held: held })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        lock(self.record).ends(self.began, self.answered, now);
        let mut state = self.host.state();
        state.record.ends(self.began, self.answered, now);
        if !self.proven {
            state.unproven -= 1;
            state.line.step = (now - self.began) / self.host.room.share();
        }
        if self.answered {
            state.line.since = None;
        }
    }
}

/// Those who are put off.
#[derive(Debug, Default)]
struct Line {
    /// When the first one was put off since the last answer.
    since: Option<Instant>,
    /// Of the next one.
    turn: Option<Instant>,
    /// From one turn to the next.
    step: Duration,
}

impl Line {
    /// How long one stays away: half of the time for which nobody was answered. So messages to a new
    /// host come back sooner than those to one that has hung for long.
    fn put_off(&mut self, now: Instant) -> Duration {
        let since = *self.since.get_or_insert(now);
        let wait = (now.saturating_duration_since(since) / 2).clamp(WAIT_MIN, WAIT_MAX);
        let turn = self.turn.unwrap_or(now).max(now + wait).min(now + AWAY_MAX);
        self.turn = Some(turn + self.step.clamp(STEP_MIN, STEP_MAX));
        turn - now
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here is half-done between two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::Slow;
    use super::*;

    const LONG: Duration = Duration::from_secs(3);

    fn room(threads: usize) -> Arc<Room> {
        Arc::new(Room::new(Some(Slow::new(threads))))
    }

    fn host(room: &Arc<Room>) -> Host {
        Host::new("http://example.com".into(), Gate::new(None), Arc::clone(room))
    }

    fn ago(span: Duration) -> Instant {
        Instant::now().checked_sub(span).unwrap()
    }

    /// A delivery that took so long.
    fn deliver(host: &Host, record: &Mutex<Record>, took: Duration, answered: bool) {
        let mut stay = host.enter(record, ago(took)).unwrap();
        stay.answered = answered;
    }

    /// As many as get in, each to a destination of its own.
    fn fill<'a>(host: &'a Host, records: &'a [Mutex<Record>]) -> Vec<Stay<'a>> {
        let now = Instant::now();
        records.iter().filter_map(|record| host.enter(record, now).ok()).collect()
    }

    fn records() -> Vec<Mutex<Record>> {
        (0..100).map(|_| Mutex::default()).collect()
    }

    #[test]
    fn a_host_takes_a_quarter_of_the_threads_for_what_is_not_proven() {
        let (room, records) = (room(64), records());
        let host = host(&room);
        assert_eq!(fill(&host, &records).len(), 16);
        deliver(&host, &Mutex::default(), LONG, true);
        assert_eq!(fill(&host, &records).len(), 16);
    }

    #[test]
    fn a_destination_that_answers_fast_is_not_limited() {
        let (room, records) = (room(64), records());
        let host = host(&room);
        let fast = Mutex::default();
        deliver(&host, &fast, Duration::ZERO, true);
        let _others = fill(&host, &records);
        let stays: Vec<_> = (0..50).map(|_| host.enter(&fast, Instant::now()).unwrap()).collect();
        assert!(stays.iter().all(|stay| stay.proven));
    }

    #[test]
    fn hosts_known_to_be_silent_leave_room_to_a_new_one() {
        let (room, records) = (room(32), records());
        let silent: Vec<_> = (0..20).map(|_| host(&room)).collect();
        for host in &silent {
            deliver(host, &Mutex::default(), LONG, false);
        }
        let held: Vec<_> = silent.iter().flat_map(|host| fill(host, &records)).collect();
        assert_eq!(held.len(), 8);
        assert!(host(&room).enter(&records[0], Instant::now()).is_ok());
    }

    #[test]
    fn those_who_are_put_off_come_back_no_faster_than_their_host_takes_them() {
        let (room, records) = (room(64), records());
        let host = host(&room);
        deliver(&host, &Mutex::default(), Duration::from_secs(1), true);
        let _inside = fill(&host, &records);
        let put_off = || host.enter(&records[99], Instant::now()).unwrap_err();
        let (first, second) = (put_off(), put_off());
        assert!(first + Duration::from_millis(50) < second, "{first:?} {second:?}");
    }

    #[test]
    fn who_finds_no_room_stays_away_longer_the_longer_there_is_none() {
        let (mut line, now) = (Line::default(), Instant::now());
        let waits: Vec<Duration> = (0..3).map(|_| line.put_off(now)).collect();
        assert_eq!(waits, [WAIT_MIN, WAIT_MIN + STEP_MIN, WAIT_MIN + STEP_MIN * 2]);
        for (seconds, wait) in [(2, 1), (20, 10), (100, 15)] {
            let wait = Duration::from_secs(wait);
            assert_eq!(line.put_off(now + Duration::from_secs(seconds)), wait);
        }
        let longest = (0..200_000).map(|_| line.put_off(now)).max().unwrap();
        assert_eq!(longest, AWAY_MAX);
    }
}
