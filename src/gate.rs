//! A limit of deliveries at a time, by this worker.
//!
//! Who finds no room does not wait long in a thread that others need: the message is put off until
//! there should be room. Each one put off gets a turn of its own, so that a long line costs each
//! message in it one more acquire, not one a second.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Shortest and longest time that a message is put off.
const WAIT_MIN: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_mins(5);
/// What a delivery takes, until one has been seen.
const USUAL: Duration = Duration::from_millis(200);

/// Counts deliveries.
#[derive(Debug)]
pub(crate) struct Gate {
    most: Option<u32>,
    state: Mutex<State>,
    room: Condvar,
}

#[derive(Debug)]
struct State {
    inside: u32,
    /// Threads that wait for room.
    waiting: u32,
    /// A thread has waited for nothing, and nobody has left since.
    stalled: bool,
    /// How many have left.
    left: u64,
    /// What a delivery usually takes.
    usual: Duration,
    /// The turn of the next one that is put off.
    turn: Instant,
}

/// The right to deliver, until it is dropped.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    gate: &'a Gate,
    began: Instant,
}

impl Gate {
    /// Lets in `most` at a time; `None`: all.
    pub(crate) fn new(most: Option<u32>) -> Self {
        let turn = Instant::now();
        let state = State { inside: 0, waiting: 0, stalled: false, left: 0, usual: USUAL, turn };
        Self { most, state: Mutex::new(state), room: Condvar::new() }
    }

    /// A pass, or how long to stay away.
    pub(crate) fn enter(&self, now: Instant) -> Result<Pass<'_>, Duration> {
        self.pass(self.state(), now)
    }

    /// The same, but waits for room as long as others leave, one within each `patience`: where deliveries
    /// are quick none need go back to the queue. `longest` in all.
    pub(crate) fn enter_soon(
        &self,
        patience: Duration,
        longest: Duration,
    ) -> Result<Pass<'_>, Duration> {
        let end = Instant::now() + longest;
        let mut state = self.state();
        while self.is_full(&state) && !state.stalled && Instant::now() < end {
            let left = state.left;
            state.waiting += 1;
            let nobody = |state: &mut State| state.left == left;
            let waited = self.room.wait_timeout_while(state, patience, nobody);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
            state.stalled |= state.left == left;
        }
        self.pass(state, Instant::now())
    }

    fn is_full(&self, state: &State) -> bool {
        self.most.is_some_and(|most| most <= state.inside)
    }

    fn pass(&self, mut state: MutexGuard<'_, State>, now: Instant) -> Result<Pass<'_>, Duration> {
        if let Some(most) = self.most.filter(|most| *most <= state.inside) {
            let turn = state.turn.max(now + WAIT_MIN).min(now + WAIT_MAX);
            state.turn = turn + state.usual / most;
            return Err(turn - now);
        }
        state.inside += 1;
        Ok(Pass { gate: self, began: now })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.inside -= 1;
        state.stalled = false;
        state.left += 1;
        state.usual = (state.usual * 7 + self.began.elapsed()) / 8;
        if 0 < state.waiting {
            self.gate.room.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_limit_are_inside_and_the_others_get_turns() {
        let (gate, now) = (Gate::new(Some(2)), Instant::now());
        let first = gate.enter(now).unwrap();
        let _second = gate.enter(now).unwrap();
        let waits: Vec<Duration> = (0..3).map(|_| gate.enter(now).unwrap_err()).collect();
        let step = USUAL / 2;
        assert_eq!(waits, [WAIT_MIN, WAIT_MIN + step, WAIT_MIN + 2 * step]);
        for _ in 0..10_000 {
            assert!(gate.enter(now).unwrap_err() <= WAIT_MAX);
        }
        drop(first);
        assert!(gate.enter(now).is_ok());
    }

    #[test]
    fn without_a_limit_all_are_let_in() {
        let gate = Gate::new(None);
        let passes: Vec<_> = (0..1000).map(|_| gate.enter(Instant::now()).unwrap()).collect();
        drop(passes);
        assert_eq!(gate.state().inside, 0);
    }

    #[test]
    fn a_thread_waits_for_room_as_long_as_others_leave() {
        const LONG: Duration = Duration::from_secs(20);
        let gate = Gate::new(Some(1));
        let first = gate.enter_soon(LONG, LONG).unwrap();
        let began = Instant::now();
        assert!(gate.enter_soon(Duration::from_millis(20), LONG).is_err());
        assert!(gate.enter_soon(LONG, LONG).is_err(), "nobody has left since");
        assert!(began.elapsed() < LONG / 2);
        drop(first);
        let second = gate.enter_soon(LONG, LONG).unwrap();
        std::thread::scope(|scope| {
            let third = scope.spawn(|| gate.enter_soon(LONG, LONG).is_ok());
            while gate.state().waiting == 0 {
                std::thread::yield_now();
            }
            drop(second);
            assert!(third.join().unwrap(), "the one that left makes room");
        });
        let _last = gate.enter_soon(LONG, LONG).unwrap();
        assert!(gate.enter_soon(LONG, Duration::ZERO).is_err(), "there is an end to waiting");
    }
}
