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

/// Priorities, 0 to 3. A lane is a method and a priority.
pub(super) const PRIORITIES: usize = 4;
/// Their usual order.
const IN_ORDER: [usize; PRIORITIES] = [0, 1, 2, 3];
/// How much longer than a sweep, or a look that takes long, the pause after it is.
const PAUSE_FACTOR: u32 = 20;
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A look that takes less may always be at the whole queue: what it finds late is late for somebody.
const LOOK_COST_FREE: Duration = Duration::from_millis(20);
/// Every 8th acquire starts with a priority that is not the most urgent, in rotation, so that none
/// starves.
const TURN_EACH: usize = 8;
/// The turns of the priorities.
const TURNS: [[usize; PRIORITIES]; 3] = [[1, 0, 2, 3], [3, 0, 1, 2], [2, 0, 1, 3]];

/// The greatest (`due_at`, id) seen of each lane.
pub(super) type Seen = Vec<(SystemTime, Uuid)>;

const NOTHING_SEEN: (SystemTime, Uuid) = (SystemTime::UNIX_EPOCH, Uuid::nil());

/// What was seen, and when all of the queue last was.
#[derive(Debug)]
pub(super) struct Floors {
    methods: Vec<String>,
    /// By method and priority.
    seen: Seen,
    sweep: WholeRead,
    look: WholeRead,
    acquires: usize,
}

/// Lanes in the order to read them, as the columns of a statement.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    pub(super) methods: Vec<String>,
    pub(super) priorities: Vec<i16>,
    pub(super) floor_at: Vec<SystemTime>,
    pub(super) floor_id: Vec<Uuid>,
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

impl Lanes {
    /// Lets them be read from the start.
    pub(super) fn without_floors(&mut self) {
        self.floor_at.fill(NOTHING_SEEN.0);
        self.floor_id.fill(NOTHING_SEEN.1);
    }
}

impl Floors {
    /// Of the lanes of these methods.
    pub(super) fn new(methods: &[String]) -> Self {
        let seen = vec![NOTHING_SEEN; methods.len() * PRIORITIES];
        let (sweep, look) = (WholeRead::default(), WholeRead::default());
        Self { methods: methods.to_vec(), seen, sweep, look, acquires: 0 }
    }

    /// The lanes in the order for the next acquire: by priority, and of one priority each method goes
    /// first in rotation.
    pub(super) fn turn(&mut self) -> Lanes {
        self.acquires = self.acquires.wrapping_add(1);
        let turn = self.acquires / TURN_EACH % TURNS.len();
        let usual = !self.acquires.is_multiple_of(TURN_EACH);
        self.lanes(if usual { IN_ORDER } else { TURNS[turn] })
    }

    /// The lanes in any order; the floors as they are.
    pub(super) fn all(&self) -> Lanes {
        self.lanes(IN_ORDER)
    }

    fn lanes(&self, priorities: [usize; PRIORITIES]) -> Lanes {
        let mut lanes = Lanes::default();
        let count = self.methods.len();
        for priority in priorities {
            for method in (0..count).map(|nth| (nth + self.acquires) % count) {
                let (floor_at, floor_id) = self.seen[method * PRIORITIES + priority];
                lanes.methods.push(self.methods[method].clone());
                lanes.priorities.push(i16::try_from(priority).expect("there are four"));
                lanes.floor_at.push(floor_at);
                lanes.floor_id.push(floor_id);
            }
        }
        lanes
    }

    /// Notes that a message was seen.
    pub(super) fn raise(&mut self, order: &Order) {
        let method = self.methods.iter().position(|it| *it == order.method);
        let lane = method.zip(usize::try_from(order.priority).ok());
        if let Some((method, priority)) = lane.filter(|lane| lane.1 < PRIORITIES) {
            let floor = &mut self.seen[method * PRIORITIES + priority];
            *floor = (*floor).max((order.due_at, order.id));
        }
    }

    /// Lets the next acquire read from the start; returns how far the lanes had been read.
    pub(super) fn lower(&mut self) -> Seen {
        let nothing = vec![NOTHING_SEEN; self.seen.len()];
        std::mem::replace(&mut self.seen, nothing)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn floors() -> Floors {
        Floors::new(&["inbox".into(), "smtp".into()])
    }

    fn seen(method: &str, priority: i16, secs: u64, id: Uuid) -> Order {
        let due_at = SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
        Order { method: method.into(), priority, due_at, id }
    }

    /// Seconds and id of the floor of a lane.
    fn floor(floors: &Floors, method: &str, priority: i16) -> (u64, Uuid) {
        let lanes = floors.all();
        let is = |&nth: &usize| lanes.methods[nth] == method && lanes.priorities[nth] == priority;
        let nth = (0..lanes.methods.len()).find(is).unwrap();
        let secs = lanes.floor_at[nth].duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        (secs, lanes.floor_id[nth])
    }

    #[test]
    fn a_floor_only_rises_and_each_lane_has_its_own() {
        let mut floors = floors();
        floors.raise(&seen("smtp", 1, 20, Uuid::max()));
        floors.raise(&seen("smtp", 1, 10, Uuid::max()));
        assert_eq!(floor(&floors, "smtp", 1), (20, Uuid::max()));
        assert_eq!(floor(&floors, "smtp", 0), (0, Uuid::nil()));
        assert_eq!(floor(&floors, "inbox", 1), (0, Uuid::nil()));
        let before = floors.lower();
        assert_eq!(floor(&floors, "smtp", 1), (0, Uuid::nil()));
        floors.raise(&seen("smtp", 1, 15, Uuid::nil()));
        floors.raise(&seen("inbox", 2, 30, Uuid::nil()));
        floors.raise_to(before);
        assert_eq!(floor(&floors, "smtp", 1), (20, Uuid::max()));
        assert_eq!(floor(&floors, "inbox", 2), (30, Uuid::nil()));
    }

    #[test]
    fn each_priority_and_each_method_goes_first_now_and_then() {
        let mut floors = floors();
        let lanes: Vec<Lanes> = (0..48).map(|_| floors.turn()).collect();
        let first = |priority| lanes.iter().filter(|it| it.priorities[0] == priority).count();
        assert_eq!([first(0), first(1), first(2), first(3)], [42, 2, 2, 2]);
        assert_eq!(lanes.iter().filter(|it| it.methods[0] == "smtp").count(), 24);
    }

    fn ago(span: Duration) -> Instant {
        Instant::now().checked_sub(span).unwrap()
    }

    #[test]
    fn sweeps_keep_to_a_share_of_the_time() {
        let mut floors = floors();
        assert!(floors.sweep_is_due(), "the first acquire reads everything");
        floors.swept(ago(Duration::from_secs(3)));
        assert!(!floors.sweep_is_due() && !floors.sweep_is_cheap());
        floors.swept(Instant::now());
        assert!(!floors.sweep_is_due());
    }

    #[test]
    fn looks_at_all_of_the_queue_keep_to_a_share_of_the_time_once_they_take_long() {
        let mut floors = floors();
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
