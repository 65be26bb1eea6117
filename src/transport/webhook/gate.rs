//! The limit of deliveries at a time to one endpoint, by this worker.
//!
//! Who finds no room does not wait in a thread that others need: the message is put off until
//! there should be room. Each one put off gets a turn of its own, so that a long line costs each
//! message in it one more acquire, not one a second.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Shortest and longest time that a message is put off.
const WAIT_MIN: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_mins(5);
/// What a delivery takes, until one has been seen.
const USUAL: Duration = Duration::from_millis(200);

/// Counts deliveries.
#[derive(Debug)]
pub(super) struct Gate {
    most: Option<u32>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    inside: u32,
    /// What a delivery usually takes.
    usual: Duration,
    /// The turn of the next one that is put off.
    turn: Instant,
}

/// The right to deliver, until it is dropped.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    began: Instant,
}

impl Gate {
    /// Lets in `most` at a time; `None`: all.
    pub(super) fn new(most: Option<u32>) -> Self {
        let state = State { inside: 0, usual: USUAL, turn: Instant::now() };
        Self { most, state: Mutex::new(state) }
    }

    /// A pass, or how long to stay away.
    pub(super) fn enter(&self, now: Instant) -> Result<Pass<'_>, Duration> {
        let mut state = self.state();
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
        state.usual = (state.usual * 7 + self.began.elapsed()) / 8;
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
}
