//! A limit of deliveries at a time, by this worker.
//!
//! Who finds no room may wait for it only while others leave so fast that the limit hardly slows the
//! worker down; a thread that waits serves nobody else. Otherwise the message is put off until there
//! should be room. Each one put off gets a turn of its own, so that a long line costs each message in it
//! one more acquire, not one a second.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Shortest and longest time that a message is put off.
const WAIT_MIN: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_mins(5);
/// What a delivery is taken to take, until one has been seen, by those who are put off.
const USUAL: Duration = Duration::from_millis(200);
/// Room is worth a wait where it comes at least that often, on average. At five hundred deliveries a second
/// all threads may wait: to put messages off would cost more, and others are hardly later than by the
/// worker's own speed. At a slower pace one endpoint with a backlog would hold up all.
const GAP_MAX: Duration = Duration::from_millis(2);

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
    /// What a delivery usually takes, once one has been seen.
    usual: Option<Duration>,
    /// The turn of the next one that is put off.
    turn: Instant,
    /// When a delivery was last answered.
    answered: Option<Instant>,
}

/// The right to deliver, until it is dropped.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    gate: &'a Gate,
    began: Instant,
    delivers: bool,
    answered: bool,
}

impl Pass<'_> {
    /// What it takes is the time of a delivery. Of one that came to none it says nothing.
    pub(crate) fn delivers(&mut self) {
        self.delivers = true;
    }

    /// The same of a delivery that did not fail for the far end's sake.
    pub(crate) fn is_answered(&mut self) {
        (self.delivers, self.answered) = (true, true);
    }
}

impl Gate {
    /// Lets in `most` at a time; `None`: all.
    pub(crate) fn new(most: Option<u32>) -> Self {
        let turn = Instant::now();
        let state = State {
            inside: 0,
            waiting: 0,
            stalled: false,
            left: 0,
            usual: None,
            turn,
            answered: None,
        };
        Self { most, state: Mutex::new(state), room: Condvar::new() }
    }

    /// A pass, or how long to stay away.
    pub(crate) fn enter(&self, now: Instant) -> Result<Pass<'_>, Duration> {
        self.pass(self.state(), now)
    }

    /// The same, but waits for room where it comes fast, or where nobody knows yet; as long as somebody
    /// leaves within each `patience`, and `longest` in all.
    pub(crate) fn enter_soon(
        &self,
        patience: Duration,
        longest: Duration,
    ) -> Result<Pass<'_>, Duration> {
        let end = Instant::now() + longest;
        let mut state = self.state();
        while self.is_worth_a_wait(&state) && Instant::now() < end {
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

    /// Whether there is no room, but soon will be.
    fn is_worth_a_wait(&self, state: &State) -> bool {
        let Some(most) = self.most.filter(|most| *most <= state.inside) else { return false };
        !state.stalled && state.usual.is_none_or(|usual| usual <= GAP_MAX * most)
    }

    /// Forgets what deliveries took, and the line, as from now on they are of another kind; unless some were
    /// answered since `down`: then all this is mostly theirs.
    pub(crate) fn begin_anew(&self, down: Instant) {
        let mut state = self.state();
        if state.answered.is_none_or(|at| at < down) {
            (state.usual, state.turn) = (None, Instant::now());
        }
    }

    fn pass(&self, mut state: MutexGuard<'_, State>, now: Instant) -> Result<Pass<'_>, Duration> {
        if let Some(most) = self.most.filter(|most| *most <= state.inside) {
            let turn = state.turn.max(now + WAIT_MIN).min(now + WAIT_MAX);
            state.turn = turn + state.usual.unwrap_or(USUAL) / most;
            return Err(turn - now);
        }
        state.inside += 1;
        Ok(Pass { gate: self, began: now, delivers: false, answered: false })
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
        if self.delivers {
            let took = self.began.elapsed();
            state.usual = Some(state.usual.map_or(took, |usual| (usual * 7 + took) / 8));
        }
        if self.answered {
            state.answered = Some(Instant::now());
        }
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

    const LONG: Duration = Duration::from_secs(20);

    fn ago(span: Duration) -> Instant {
        Instant::now().checked_sub(span).unwrap()
    }

    /// A gate for `most` of which one has left, after `took`.
    fn known(most: u32, took: Duration) -> Gate {
        let gate = Gate::new(Some(most));
        gate.enter(ago(took)).unwrap().delivers();
        gate
    }

    /// So many who have entered.
    fn fill(gate: &Gate, count: u32) -> Vec<Pass<'_>> {
        (0..count).map(|_| gate.enter(Instant::now()).unwrap()).collect()
    }

    /// Waits until so many threads wait for room.
    fn wait_for(gate: &Gate, waiting: u32) {
        let end = Instant::now() + LONG;
        while gate.state().waiting < waiting {
            assert!(Instant::now() < end, "not so many ever waited");
            std::thread::yield_now();
        }
    }

    /// Whether it puts off at once who comes now.
    fn puts_off(gate: &Gate) -> bool {
        let began = Instant::now();
        gate.enter_soon(LONG, LONG).is_err() && began.elapsed() < LONG / 2
    }

    #[test]
    fn threads_wait_for_room_that_comes_fast() {
        let gate = known(48, GAP_MAX);
        let mut inside = fill(&gate, 48);
        std::thread::scope(|scope| {
            let later = [(); 16].map(|()| scope.spawn(|| gate.enter_soon(LONG, LONG).is_ok()));
            wait_for(&gate, 16);
            inside.pop(); // and so do those who come in, one after the other
            assert!(later.into_iter().all(|it| it.join().unwrap()));
        });
    }

    #[test]
    fn no_thread_waits_where_deliveries_are_slow() {
        for (most, took) in [(48, 100), (48, 700), (12, 25), (12, 700)] {
            let gate = known(most, Duration::from_millis(took));
            let _inside = fill(&gate, most);
            assert!(puts_off(&gate), "{most} at a time, {took} ms each");
        }
    }

    #[test]
    fn who_comes_to_no_delivery_does_not_make_a_slow_one_seem_fast() {
        let gate = known(2, Duration::from_millis(700));
        (0..100).for_each(|_| drop(gate.enter(Instant::now()).unwrap()));
        let _inside = fill(&gate, 2);
        assert!(puts_off(&gate));
    }

    #[test]
    fn threads_wait_no_more_once_the_first_delivery_turns_out_slow() {
        let gate = Gate::new(Some(2));
        let mut first = gate.enter(ago(Duration::from_millis(700))).unwrap();
        first.delivers();
        let _second = gate.enter(Instant::now()).unwrap();
        std::thread::scope(|scope| {
            let third = scope.spawn(|| gate.enter_soon(LONG, LONG).map(std::mem::forget));
            wait_for(&gate, 1);
            drop(first);
            assert!(third.join().unwrap().is_ok(), "it was the room it waited for");
        });
        assert!(puts_off(&gate));
    }

    #[test]
    fn a_wait_ends_where_nobody_leaves_and_then_nobody_waits_until_one_does() {
        let gate = Gate::new(Some(1));
        let first = gate.enter(Instant::now()).unwrap();
        let began = Instant::now();
        assert!(gate.enter_soon(Duration::from_millis(20), LONG).is_err());
        assert!(began.elapsed() < LONG / 2);
        assert!(puts_off(&gate), "nobody has left since");
        drop(first);
        assert!(!gate.state().stalled);
    }

    #[test]
    fn a_gate_that_begins_anew_has_neither_line_nor_expectations() {
        let (gate, now) = (known(1, Duration::from_secs(6)), Instant::now());
        let _inside = gate.enter(now).unwrap();
        for _ in 0..3 {
            assert!(puts_off(&gate));
        }
        gate.begin_anew(now);
        assert_eq!(gate.enter(now).unwrap_err(), WAIT_MIN);
        assert_eq!(gate.enter(now).unwrap_err(), WAIT_MIN + USUAL);
    }

    #[test]
    fn a_gate_through_which_others_were_answered_meanwhile_does_not_begin_anew() {
        let (gate, down) = (known(1, Duration::from_secs(6)), ago(Duration::from_secs(1)));
        gate.enter(ago(Duration::from_secs(6))).unwrap().is_answered();
        gate.begin_anew(down);
        let _inside = gate.enter(Instant::now()).unwrap();
        let turns = [gate.enter(down).unwrap_err(), gate.enter(down).unwrap_err()];
        assert!(turns[0] + USUAL * 2 < turns[1], "{turns:?}");
    }

    #[test]
    fn a_wait_ends_however_many_leave() {
        let gate = known(1, Duration::ZERO);
        let _inside = gate.enter(Instant::now()).unwrap();
        assert!(gate.enter_soon(LONG, Duration::ZERO).is_err());
    }
}
