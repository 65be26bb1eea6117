//! How far each lane of the queue has been read.
//!
//! Rows that were acquired and finished leave dead index entries at the front of their lane,
//! and an old snapshot anywhere in the database keeps them from being cleaned up. An acquire that starts
//! behind the last row seen does not wade through them. What can appear behind that floor
//! (an enqueue that committed late, a lease that ran out, a released message) is found by a
//! *sweep*, an acquire without the floor; it is made often, but never takes more than about
//! a twentieth of the time. Looks keep to such a share, too, once one takes long.

use std::time::{Duration, Instant, SystemTime};

use uuid::Uuid;

use super::rows::Order;

/// Priorities, 0 to 3.
pub(super) const LANES: usize = 4;
/// Their usual order.
pub(super) const LANES_IN_ORDER: [i16; LANES] = [0, 1, 2, 3];
/// How much longer than a sweep, or a look that takes long, the pause after it is.
const PAUSE_FACTOR: u32 = 20;
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A look that takes less may always be at the whole queue: what it finds late is late for somebody.
const LOOK_COST_FREE: Duration = Duration::from_millis(20);
/// Each how many acquires a lane that is not the most urgent goes first, in turn, so that none
/// starves.
const TURN_EACH: u32 = 8;
/// The turns of the lanes.
const TURNS: [[i16; LANES]; 3] = [[1, 0, 2, 3], [3, 0, 1, 2], [2, 0, 1, 3]];

/// The greatest (`due_at`, id) seen of each lane.
pub(super) type Seen = [(SystemTime, Uuid); LANES];

const NOTHING_SEEN: Seen = [(SystemTime::UNIX_EPOCH, Uuid::nil()); LANES];

/// What was seen, and when all of the queue last was.
#[derive(Debug)]
pub(super) struct Floors {
    seen: Seen,
    sweep: WholeRead,
    look: WholeRead,
    acquires: u32,
}

impl Default for Floors {
    fn default() -> Self {
        let (sweep, look) = (WholeRead::default(), WholeRead::default());
        Self { seen: NOTHING_SEEN, sweep, look, acquires: 0 }
    }
}

/// When the whole queue was last read in one way, and how long that took.
#[derive(Debug, Default)]
struct WholeRead {
    ended: Option<Instant>,
    cost: Duration,
}

impl WholeRead {
    fn began(began: Instant) -> Self {
        let now = Instant::now();
        Self { ended: Some(now), cost: now - began }
    }

    /// Whether the last one is at least `pause` ago.
    fn is_ago(&self, pause: Duration) -> bool {
        self.ended.is_none_or(|at| pause <= at.elapsed())
    }

    /// The pause that keeps such reads to their share of the time.
    fn pause(&self) -> Duration {
        self.cost * PAUSE_FACTOR
    }
}

impl Floors {
    /// The lanes in the order in which this acquire shall read them.
    pub(super) fn lanes(&mut self) -> [i16; LANES] {
        self.acquires = self.acquires.wrapping_add(1);
        if !self.acquires.is_multiple_of(TURN_EACH) {
            return LANES_IN_ORDER;
        }
        TURNS[(self.acquires / TURN_EACH) as usize % TURNS.len()]
    }

    /// The floors of `lanes`, as two columns.
    pub(super) fn of(&self, lanes: [i16; LANES]) -> (Vec<SystemTime>, Vec<Uuid>) {
        lanes.into_iter().map(|lane| self.seen[index(lane)]).unzip()
    }

    /// Notes that a message was seen.
    pub(super) fn raise(&mut self, (lane, due_at, id): Order) {
        let floor = &mut self.seen[index(lane)];
        *floor = (*floor).max((due_at, id));
    }

    /// Lets the next acquire read from the start; returns how far the lanes had been read.
    pub(super) fn lower(&mut self) -> Seen {
        std::mem::replace(&mut self.seen, NOTHING_SEEN)
    }

    /// Raises the floors to where they were, if they are lower.
    pub(super) fn raise_to(&mut self, before: Seen) {
        for (floor, before) in self.seen.iter_mut().zip(before) {
            *floor = (*floor).max(before);
        }
    }

    /// Notes a sweep that began at `began` and has just ended.
    pub(super) fn swept(&mut self, began: Instant) {
        self.sweep = WholeRead::began(began);
    }

    /// Whether it is time to sweep even while the lanes go on yielding.
    pub(super) fn sweep_is_due(&self) -> bool {
        self.sweep.is_ago(self.sweep.pause().clamp(PAUSE_MIN, PAUSE_MAX))
    }

    /// Whether a sweep now would keep to its share of the time.
    pub(super) fn sweep_is_cheap(&self) -> bool {
        self.sweep.is_ago(self.sweep.pause())
    }

    /// Notes a look at the whole queue that began at `began` and has just ended.
    pub(super) fn looked(&mut self, began: Instant) {
        self.look = WholeRead::began(began);
    }

    /// Whether a look at the whole queue would keep to its share of the time.
    pub(super) fn look_is_cheap(&self) -> bool {
        self.look.cost < LOOK_COST_FREE || self.look.is_ago(self.look.pause().min(PAUSE_MAX))
    }
}

fn index(lane: i16) -> usize {
    usize::try_from(lane).map_or(0, |lane| lane.min(LANES - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_only_rises_and_each_lane_has_its_own() {
        let mut floors = Floors::default();
        let at = |secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
        floors.raise((1, at(20), Uuid::max()));
        floors.raise((1, at(10), Uuid::max()));
        let (times, ids) = floors.of([0, 1, 2, 3]);
        assert_eq!((times[0], times[1]), (at(0), at(20)));
        assert_eq!((ids[0], ids[1]), (Uuid::nil(), Uuid::max()));
        let before = floors.lower();
        assert_eq!(floors.of([1, 0, 2, 3]).0[0], at(0));
        floors.raise((1, at(15), Uuid::nil()));
        floors.raise((2, at(30), Uuid::nil()));
        floors.raise_to(before);
        assert_eq!(floors.of([1, 2, 0, 3]).0[..2], [at(20), at(30)]);
    }

    #[test]
    fn each_lane_goes_first_now_and_then() {
        let mut floors = Floors::default();
        let first: Vec<i16> = (0..24).map(|_| floors.lanes()[0]).collect();
        let count = |lane| first.iter().filter(|&&it| it == lane).count();
        assert_eq!([count(0), count(1), count(2), count(3)], [21, 1, 1, 1]);
    }

    #[test]
    fn sweeps_keep_to_a_share_of_the_time() {
        let mut floors = Floors::default();
        assert!(floors.sweep_is_due(), "the first acquire reads everything");
        floors.swept(Instant::now().checked_sub(Duration::from_secs(3)).unwrap());
        assert!(!floors.sweep_is_due() && !floors.sweep_is_cheap());
        floors.swept(Instant::now());
        assert!(!floors.sweep_is_due());
    }

    #[test]
    fn looks_at_all_of_the_queue_keep_to_a_share_of_the_time_once_they_take_long() {
        let mut floors = Floors::default();
        let ago = |span| Instant::now().checked_sub(span).unwrap();
        assert!(floors.look_is_cheap());
        floors.looked(ago(LOOK_COST_FREE * 100));
        assert!(!floors.look_is_cheap());
        floors.looked(Instant::now());
        assert!(floors.look_is_cheap());
        let ended = Some(ago(PAUSE_MAX));
        floors.look = WholeRead { ended, cost: PAUSE_MAX };
        assert!(floors.look_is_cheap(), "none is put off for longer than that");
    }
}
