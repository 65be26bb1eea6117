//! The threads, and how many of them slow deliveries hold. Gets the time as a value.
//!
//! A delivery is *proven* if its destination answered fast a short while ago. Any other may hold
//! its thread until the deadline. So it starts only while such deliveries, together with all that
//! have run for longer than [`FAST`], hold less than half of the threads. Proven ones start always.
//!
//! One host takes a quarter of the threads in this way. Once slow deliveries hold a quarter, a host
//! that has not answered gets a sixteenth only, and one that is known to be silent nothing: what is
//! left of the half is for those that nobody has tried yet.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::record::{FAST, Pace};

/// How many threads slow deliveries may hold. Each is at least one, since all have to go somewhere:
/// one thread alone serves everything, and of two or three slow deliveries hold one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slow {
    half: usize,
    quarter: usize,
    sixteenth: usize,
}

impl Slow {
    pub(super) fn new(threads: usize) -> Self {
        let part = |divisor: usize| (threads / divisor).max(1);
        Self { half: part(2), quarter: part(4), sixteenth: part(16) }
    }
}

/// A delivery that asks for a thread.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guest {
    /// What is expected of it.
    pub(super) pace: Pace,
    /// Deliveries to its host that were not proven either.
    pub(super) others: usize,
    /// Whether its host answers.
    pub(super) answers: bool,
}

/// Knows what runs.
#[derive(Debug)]
pub(crate) struct Room {
    /// `None`: no limit.
    slow: Option<Slow>,
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    runs: Vec<Option<Run>>,
    /// Places in `runs` that hold none.
    free: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    began: Instant,
    /// As it was expected at the start.
    pace: Pace,
}

/// A thread that is held, until this is dropped.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    room: &'a Room,
    place: usize,
}

impl Room {
    pub(super) fn new(slow: Option<Slow>) -> Self {
        Self { slow, running: Mutex::default() }
    }

    /// Deliveries that one host may have at a time, about.
    pub(super) fn share(&self) -> u32 {
        let share = self.slow.map_or(1, |slow| slow.quarter);
        u32::try_from(share).unwrap_or(u32::MAX)
    }

    /// For a delivery that nothing limits, as it has no destination.
    pub(crate) fn hold(&self) -> Held<'_> {
        self.add(self.running(), Run { began: Instant::now(), pace: Pace::Fast })
    }

    /// `None` if there is no room.
    pub(super) fn enter(&self, guest: Guest, now: Instant) -> Option<Held<'_>> {
        let (running, pace) = (self.running(), guest.pace);
        let is_full = |slow: Slow| pace != Pace::Fast && running.is_full(guest, slow, now);
        if self.slow.is_some_and(is_full) {
            return None;
        }
        Some(self.add(running, Run { began: now, pace }))
    }

    fn add(&self, mut running: MutexGuard<'_, Running>, run: Run) -> Held<'_> {
        let place = running.free.pop().unwrap_or(running.runs.len());
        match running.runs.get_mut(place) {
            Some(free) => *free = Some(run),
            None => running.runs.push(Some(run)),
        }
        Held { room: self, place }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn is_full(&self, guest: Guest, slow: Slow, now: Instant) -> bool {
        let held = self.count(|run| run.is_slow(now));
        let may_spread = guest.answers || held < slow.quarter;
        let most = if may_spread { slow.quarter } else { slow.sixteenth };
        let too_silent = || slow.quarter <= self.count(|run| run.is_silent(now));
        slow.half <= held || most <= guest.others || (guest.pace == Pace::Silent && too_silent())
    }

    /// Goes through all of them, of which there are no more than threads.
    fn count(&self, which: impl Fn(&Run) -> bool) -> usize {
        self.runs.iter().flatten().filter(|run| which(run)).count()
    }
}

impl Run {
    fn is_late(&self, now: Instant) -> bool {
        FAST < now.saturating_duration_since(self.began)
    }

    fn is_slow(&self, now: Instant) -> bool {
        self.pace != Pace::Fast || self.is_late(now)
    }

    fn is_silent(&self, now: Instant) -> bool {
        self.pace == Pace::Silent || (self.pace == Pace::Unknown && self.is_late(now))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut running = self.room.running();
        running.runs[self.place] = None;
        running.free.push(self.place);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn room(threads: usize) -> Room {
        Room::new(Some(Slow::new(threads)))
    }

    /// One to a host without any others.
    fn guest(pace: Pace) -> Guest {
        Guest { pace, others: 0, answers: false }
    }

    /// As many as get in, each to a host of its own.
    fn fill(room: &Room, pace: Pace, now: Instant) -> Vec<Held<'_>> {
        std::iter::from_fn(|| room.enter(guest(pace), now)).take(1000).collect()
    }

    /// As many as get in to one host that answers, or does not.
    fn fill_host(room: &Room, answers: bool, now: Instant) -> Vec<Held<'_>> {
        let guest = |others| Guest { others, answers, ..guest(Pace::Unknown) };
        (0..1000).map_while(|others| room.enter(guest(others), now)).collect()
    }

    #[test]
    fn all_but_proven_ones_hold_half_of_the_threads() {
        let now = Instant::now();
        for (threads, half) in [(1, 1), (2, 1), (3, 1), (4, 2), (32, 16), (64, 32)] {
            for pace in [Pace::Unknown, Pace::Slow] {
                let room = room(threads);
                let held = fill(&room, pace, now);
                assert_eq!(held.len(), half, "{threads} threads");
                assert!(room.enter(guest(Pace::Fast), now).is_some());
                drop(held);
                assert!(room.enter(guest(pace), now).is_some());
            }
        }
    }

    #[test]
    fn a_proven_one_that_takes_long_counts_as_slow() {
        let (room, now) = (room(32), Instant::now());
        let _late: Vec<_> = (0..15).map(|_| room.enter(guest(Pace::Fast), now).unwrap()).collect();
        assert_eq!(fill(&room, Pace::Unknown, now).len(), 16);
        let later = now + FAST + Duration::from_millis(1);
        assert_eq!(fill(&room, Pace::Unknown, later).len(), 1);
        assert!(room.enter(guest(Pace::Fast), later).is_some());
    }

    #[test]
    fn one_host_takes_a_quarter_and_less_where_others_are_slow_as_well() {
        let now = Instant::now();
        for (answers, most) in [(false, 4), (true, 16)] {
            let room = room(64);
            let first = fill_host(&room, answers, now);
            assert_eq!(first.len(), 16);
            assert_eq!(fill_host(&room, answers, now).len(), most);
        }
    }

    #[test]
    fn places_known_to_be_silent_leave_room_to_those_that_nobody_has_tried() {
        let (room, now) = (room(32), Instant::now());
        let silent = fill(&room, Pace::Silent, now);
        assert_eq!((silent.len(), fill(&room, Pace::Unknown, now).len()), (8, 8));
        drop(silent);
        let _tried = fill(&room, Pace::Unknown, now).split_off(8);
        let later = now + FAST + Duration::from_millis(1);
        assert!(room.enter(guest(Pace::Silent), later).is_none(), "those were silent as well");
    }

    #[test]
    fn slow_answers_do_not_keep_silent_places_from_being_tried_again() {
        let (room, now) = (room(32), Instant::now());
        let slow = || room.enter(guest(Pace::Slow), now).unwrap();
        let _slow: Vec<_> = (0..8).map(|_| slow()).collect();
        assert_eq!(fill(&room, Pace::Silent, now).len(), 8);
    }

    #[test]
    fn without_a_limit_all_get_in() {
        let room = Room::new(None);
        assert_eq!(fill(&room, Pace::Silent, Instant::now()).len(), 1000);
        let running = room.running();
        assert_eq!((running.runs.len(), running.free.len()), (1000, 1000));
    }
}
