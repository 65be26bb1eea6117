//! Drives the whole ring on a store in memory and a scripted transport.

use std::collections::HashSet;
use std::panic;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use crossbeam_channel::Sender;

use super::ring::Ring;
use super::*;
use crate::config::{ByteSize, RetryConfig};
use crate::message::{MessageId, Prepared};
use crate::outcome::{Failure, Outcome, Receipt};
use crate::store::StoreError;
use crate::transport::Deadline;
use memory::{BROKEN, Call, Entry, MemStore, State, WANTING};

mod memory;
mod writer;

const THREADS: usize = 4;
const IN_FLIGHT_MAX: usize = 64;
/// Longer than any test: a message that a tick would have to find is not found.
const NEVER: Duration = Duration::from_hours(1);
const HOUR: Duration = Duration::from_hours(1);

/// Does what the body of the message says.
struct Script {
    /// Deliveries with the body `gate` wait until this is disconnected.
    gate: Receiver<Infallible>,
    begun: AtomicUsize,
    at_gate: AtomicUsize,
}

impl Transport for Script {
    fn deliver(&self, message: &Prepared, deadline: Deadline) -> Result<Receipt, Failure> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        match message.body.as_str() {
            // Past the hook, which would print it.
            "panic" => panic::resume_unwind(Box::new("scripted")),
            "451" => Err(Failure::temporary("451", "scripted")),
            "550" => Err(Failure::permanent("550", "scripted")),
            "gate" => {
                self.at_gate.fetch_add(1, Ordering::SeqCst);
                let left = deadline.remaining().unwrap_or_default();
                match self.gate.recv_timeout(left) {
                    Err(RecvTimeoutError::Disconnected) => Ok(Receipt::default()),
                    _ => Err(Failure::temporary("timeout", "nobody opened the gate")),
                }
            }
            _ => Ok(Receipt::default()),
        }
    }
}

/// A ring that is set up.
struct Setup {
    store: MemStore,
    script: Arc<Script>,
    open: Sender<Infallible>,
    config: Config,
    until: Until,
}

/// A ring that runs on a thread of its own.
struct Turning {
    store: MemStore,
    script: Arc<Script>,
    /// Dropped, it opens the gate.
    open: Sender<Infallible>,
    /// Dropped, it stops the ring.
    stop: Sender<Infallible>,
    wake: Sender<()>,
    /// The janitor's end.
    told: Receiver<()>,
    gauge: Arc<AtomicUsize>,
    ended: Receiver<Result<Tally, WorkerError>>,
}

/// Over these messages, without an end of its own.
fn setup(entries: impl IntoIterator<Item = Entry>) -> Setup {
    let (open, gate) = bounded(0);
    let script = Script { gate, begun: AtomicUsize::new(0), at_gate: AtomicUsize::new(0) };
    let mut config = Config::default();
    config.worker.threads = THREADS;
    config.worker.in_flight_max = Some(IN_FLIGHT_MAX);
    config.worker.fetch_interval = NEVER;
    config.retry = RetryConfig { schedule: Some(vec![HOUR; 4]), ..RetryConfig::default() };
    let store = MemStore::new(entries);
    Setup { store, script: Arc::new(script), open, config, until: Until::Stopped }
}

/// So many messages with this text.
fn messages(numbers: impl IntoIterator<Item = u128>, text: &str) -> Vec<Entry> {
    numbers.into_iter().map(|number| Entry::new(number, text)).collect()
}

impl Setup {
    fn until(mut self, until: Until) -> Self {
        self.until = until;
        self
    }

    fn with(self, change: impl FnOnce(&mut State)) -> Self {
        change(&mut self.store.state());
        self
    }

    fn configured(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    fn start(self) -> Turning {
        let Self { store, script, open, config, until } = self;
        let transports = Transports::from([("script".to_owned(), Arc::clone(&script) as _)]);
        let (stop_tx, stop) = bounded(0);
        let (wake_tx, wake) = bounded(1);
        let (overdue, told) = bounded(1);
        let (ended_tx, ended) = bounded(1);
        let gauge = Arc::default();
        let ring = Ring {
            limits: pace::Limits::new(&config, until, true),
            delivery: Arc::new(Delivery::new(&config, transports)),
            shutdown_timeout: config.worker.shutdown_timeout,
            stop,
            wake,
            overdue,
            gauge: Arc::clone(&gauge),
        };
        let stores = [store.clone(), store.clone()];
        thread::spawn(move || drop(ended_tx.send(ring.run(stores))));
        Turning { store, script, open, stop: stop_tx, wake: wake_tx, told, gauge, ended }
    }

    /// Runs until the ring ends by itself.
    fn run(self) -> (Tally, MemStore) {
        let turning = self.start();
        let tally = turning.end().unwrap();
        assert_eq!(turning.gauge.load(Ordering::SeqCst), 0, "no lease is out");
        assert!(turning.store.state().leased.is_empty());
        (tally, turning.store)
    }
}

impl Turning {
    /// What the ring returns; it must end soon.
    fn end(&self) -> Result<Tally, WorkerError> {
        self.ended.recv_timeout(Duration::from_secs(30)).expect("the ring ends")
    }

    fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Stops the ring and opens the gate for what is under way.
    fn stop(self) -> (Tally, MemStore) {
        drop((self.stop, self.open));
        let ended = self.ended.recv_timeout(Duration::from_secs(30)).expect("the ring ends");
        (ended.unwrap(), self.store)
    }

    /// Adds messages and rings the bell.
    fn enqueue(&self, entries: impl IntoIterator<Item = Entry>) {
        self.store.state().waiting.extend(entries);
        // Full: a wake-up is waiting, which is as good.
        let _ = self.wake.try_send(());
    }

    /// Waits until as many deliveries as there are threads wait at the gate.
    fn fill_gate(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.script.at_gate.load(Ordering::SeqCst) < THREADS {
            assert!(Instant::now() < end, "the threads never came to the gate");
            thread::yield_now();
        }
    }
}

fn unavailable(count: usize) -> impl Iterator<Item = StoreError> {
    std::iter::repeat_n(StoreError::Unavailable("scripted".into()), count)
}

fn failed_code(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Failed { code, .. } | Outcome::Deferred { code, .. } => code,
        _ => panic!("it is no failure: {outcome:?}"),
    }
}

#[test]
fn it_drains_everything_it_leased_and_stays_within_its_credit() {
    let (threads, in_flight_max) = (4, 8);
    let (tally, store) = setup(messages(1..=500, "ok"))
        .configured(|it| it.worker.in_flight_max = Some(in_flight_max))
        .until(Until::Empty(Duration::ZERO))
        .run();
    assert_eq!(tally, Tally { sent: 500, ..Tally::default() });
    let state = store.state();
    let ids: HashSet<MessageId> = state.outcomes.iter().map(|(id, _)| *id).collect();
    assert_eq!((ids.len(), state.outcomes.len()), (500, 500));
    let peak = state.marks.iter().map(|(leased, _)| *leased).max().unwrap();
    assert!((threads..=in_flight_max).contains(&peak), "{peak} leases were out");
}

#[test]
fn credit_comes_back_with_each_outcome_so_a_full_queue_is_fetched_ahead_to_its_end() {
    let total = 4000;
    let (tally, store) = setup(messages(1..=total, "ok")).until(Until::Empty(Duration::ZERO)).run();
    assert_eq!(tally.sent, 4000);
    let state = store.state();
    let last_quarter = state.marks.iter().filter(|(_, left)| (IN_FLIGHT_MAX..1000).contains(left));
    let peak = last_quarter.map(|(leased, _)| *leased).max().unwrap();
    assert!(4 * THREADS <= peak, "only {peak} leases were out");
}

#[test]
fn a_slow_transport_gets_no_messages_ahead() {
    let turning = setup(messages(1..=50, "gate"))
        .configured(|it| it.worker.fetch_interval = Duration::from_millis(20))
        .start();
    turning.fill_gate();
    let took = |turning: &Turning| turning.store.state().marks.len();
    let before = took(&turning);
    // Wake-ups ask for more; without room there is nothing to take.
    for _ in 0..3 {
        turning.wake.send_timeout((), Duration::from_secs(10)).unwrap();
    }
    assert_eq!(took(&turning), before);
    assert_eq!(turning.store.state().leased.len(), THREADS);
    let (tally, store) = turning.stop();
    assert_eq!(tally, Tally { sent: THREADS, ..Tally::default() });
    assert_eq!(store.state().waiting.len(), 50 - THREADS);
}

#[test]
fn a_panic_in_a_transport_costs_one_attempt_and_no_credit() {
    let (tally, store) = setup(messages(1..=50, "panic")).until(Until::Once).run();
    assert_eq!(tally, Tally { deferred: 50, ..Tally::default() });
    for (_, outcome) in &store.state().outcomes {
        let Outcome::Deferred { delay, counted, code, reason } = outcome else {
            panic!("{outcome:?}")
        };
        assert!(HOUR <= *delay && *counted);
        assert_eq!((code.as_str(), reason.as_str()), ("panic", "transport panicked: scripted"));
    }
    assert!(store.state().waiting.iter().all(|it| it.attempt == 1));
}

#[test]
fn a_message_that_cannot_be_prepared_fails_alone() {
    let broken = Entry { template_id: BROKEN, ..Entry::new(1, "ok") };
    let deleted = Entry { template_version: None, ..Entry::new(2, "ok") };
    let just_deleted = Entry { template_id: uuid::Uuid::from_u128(99), ..Entry::new(3, "ok") };
    let wanting = Entry { template_id: WANTING, ..Entry::new(4, "ok") };
    let alien = Entry { method: "pigeon".into(), ..Entry::new(5, "ok") };
    let bad = [broken, deleted, just_deleted, wanting, alien];
    let (tally, store) =
        setup(bad.into_iter().chain(messages(6..=25, "ok"))).until(Until::Once).run();
    assert_eq!(tally, Tally { sent: 20, ended: 5, ..Tally::default() });
    let state = store.state();
    let codes: Vec<&str> = (1..=5).map(|number| failed_code(state.outcome(number))).collect();
    let expected = ["template", "template_deleted", "template_deleted", "render", "unknown_method"];
    assert_eq!(codes, expected);
    let Outcome::Failed { reason, .. } = state.outcome(5) else { unreachable!() };
    assert_eq!(reason, "no transport for method `pigeon`; this worker has script");
}

#[test]
fn used_up_attempts_end_the_message_without_a_delivery() {
    let used_up = Entry { attempt: 5, ..Entry::new(1, "ok") }; // four delays, five attempts
    let own_limit = Entry { attempt: 2, max_attempts: Some(2), ..Entry::new(2, "ok") };
    let turning = setup([used_up, own_limit]).until(Until::Once).start();
    assert_eq!(turning.end().unwrap(), Tally { ended: 2, ..Tally::default() });
    assert_eq!(turning.script.begun.load(Ordering::SeqCst), 0);
    let state = turning.store.state();
    for (number, attempts) in [(1, "5"), (2, "2")] {
        let Outcome::Failed { counted, code, reason } = state.outcome(number) else { panic!() };
        assert!(!counted && code == "attempts_exhausted");
        assert!(reason.contains(attempts), "{reason}");
    }
}

#[test]
fn a_message_whose_leases_ran_out_too_often_ends_and_one_that_may_still_work_is_delivered() {
    let suspect = |number, lapses| Entry { suspect: true, lapses, ..Entry::new(number, "ok") };
    let (tally, store) = setup([suspect(1, 5), suspect(2, 4)]).until(Until::Once).run();
    assert_eq!(tally, Tally { sent: 1, ended: 1, ..Tally::default() });
    let state = store.state();
    let Outcome::Failed { counted, code, reason } = state.outcome(1) else { panic!() };
    assert!(*counted && code == "lease_expired" && reason.starts_with("5 leases"), "{reason}");
    assert!(matches!(state.outcome(2), Outcome::Sent(_)));
}

#[test]
fn suspects_are_delivered_one_at_a_time_while_others_go_on() {
    let suspects = |text| (1..=3).map(move |it| Entry { suspect: true, ..Entry::new(it, text) });
    let turning = setup(suspects("gate").chain(messages(4..=40, "ok"))).start();
    turning.store.wait("the others are sent", |state| state.sent() == 37);
    turning.store.wait("a suspect is leased", |state| !state.leased.is_empty());
    turning.store.wait("the poller rests", |state| 2 <= state.looks());
    assert_eq!(turning.store.state().leased.len(), 1);
    let (tally, store) = turning.stop();
    assert_eq!(tally, Tally { sent: 38, ..Tally::default() });
    assert_eq!(store.state().waiting.len(), 2);

    let (tally, _) = setup(suspects("ok")).until(Until::Empty(Duration::ZERO)).run();
    assert_eq!(tally, Tally { sent: 3, ..Tally::default() });
}

#[test]
fn a_message_that_was_held_for_too_long_ends_with_the_reason() {
    let day = Duration::from_hours(24);
    let held = |number, days| Entry { held_for: Some(day * days), ..Entry::new(number, "ok") };
    let (tally, store) = setup([held(1, 5), held(2, 4)]).until(Until::Once).run();
    assert_eq!(tally, Tally { sent: 1, ended: 1, ..Tally::default() });
    let state = store.state();
    let Outcome::Failed { code, reason, .. } = state.outcome(1) else { panic!() };
    assert!(code == "held" && reason.starts_with("held for 5d"), "{code}: {reason}");
}

#[test]
fn large_payloads_are_leased_as_far_as_there_is_memory() {
    let large = |text| (1..=40).map(move |it| Entry { size: 3 << 20, ..Entry::new(it, text) });
    let budget = |config: &mut Config| config.worker.memory_max = ByteSize(64 << 20);
    let turning = setup(large("gate")).configured(budget).start();
    turning.store.wait("what fits is leased", |state| state.leased.len() == 3);
    turning.wake.send_timeout((), Duration::from_secs(10)).unwrap();
    turning.wake.send_timeout((), Duration::from_secs(10)).unwrap();
    assert_eq!(turning.store.state().leased.len(), 3, "there are more threads");
    turning.stop();

    let setup = setup(large("ok")).configured(budget).until(Until::Empty(Duration::ZERO));
    assert_eq!(setup.run().0.sent, 40, "the memory comes back");
}

#[test]
fn what_is_over_or_not_wanted_any_more_ends_without_a_delivery() {
    let expired = Entry { expires_in: Some(Duration::ZERO), ..Entry::new(1, "ok") };
    let disabled = Entry { disabled: true, ..Entry::new(2, "ok") };
    let suppressed = Entry { suppressed: true, ..Entry::new(3, "ok") };
    let turning = setup([expired, disabled, suppressed]).until(Until::Once).start();
    assert_eq!(turning.end().unwrap(), Tally { ended: 3, ..Tally::default() });
    assert_eq!(turning.script.begun.load(Ordering::SeqCst), 0);
    let state = turning.store.state();
    assert!(matches!(state.outcome(1), Outcome::Expired { counted: false, .. }));
    assert_eq!(*state.outcome(2), Outcome::Inhibited);
    let Outcome::Failed { counted, code, reason } = state.outcome(3) else { panic!() };
    assert!(!counted && code == "suppressed" && reason.contains("remove ADDRESS"), "{reason}");
}

#[test]
fn the_transport_says_what_happened_and_the_policy_what_becomes_of_it() {
    let last = Entry { attempt: 4, ..Entry::new(3, "451") };
    let entries = [Entry::new(1, "451"), Entry::new(2, "550"), last];
    let (tally, store) = setup(entries).until(Until::Once).run();
    assert_eq!(tally, Tally { deferred: 1, ended: 2, ..Tally::default() });
    let state = store.state();
    assert!(matches!(state.outcome(1), Outcome::Deferred { counted: true, .. }));
    assert!(matches!(state.outcome(2), Outcome::Failed { code, .. } if code == "550"));
    let Outcome::Failed { reason, .. } = state.outcome(3) else { panic!() };
    assert_eq!(reason, "attempts exhausted (5): scripted");
}

#[test]
fn a_commit_that_fails_is_repeated_until_it_succeeds_and_nothing_is_lost() {
    // 50 ms, doubled five times: about three seconds.
    let (tally, store) = setup(messages(1..=20, "ok"))
        .with(|it| it.faults.commit_errors.extend(unavailable(6)))
        .until(Until::Empty(Duration::ZERO))
        .run();
    assert_eq!(tally, Tally { sent: 20, ..Tally::default() });
    let state = store.state();
    assert_eq!(state.sent(), 20);
    let at = |(at, call): &(Instant, Call)| matches!(call, Call::Commit(_)).then_some(*at);
    let commits: Vec<Instant> = state.calls.iter().filter_map(at).collect();
    assert!(Duration::from_millis(1500) < commits[6] - commits[0], "the pauses grow");
}

#[test]
fn a_commit_whose_lease_was_lost_is_counted_and_changes_nothing() {
    let turning = setup(messages(1..=THREADS as u128, "gate")).start();
    turning.fill_gate();
    let stolen = MessageId(uuid::Uuid::from_u128(1));
    // Another worker has acquired it meanwhile.
    turning.store.state().leased.get_mut(&stolen).unwrap().0 = 1000;
    let (tally, store) = turning.stop();
    assert_eq!(tally, Tally { sent: THREADS - 1, lost: 1, ..Tally::default() });
    assert!(store.state().leased.contains_key(&stolen));
}

#[test]
fn a_queue_that_cannot_be_read_is_tried_again_at_growing_pauses() {
    let (tally, store) = setup(messages(1..=10, "ok"))
        .with(|it| it.faults.acquire_errors.extend(unavailable(3)))
        .until(Until::Empty(Duration::ZERO))
        .run();
    assert_eq!(tally.sent, 10);
    let state = store.state();
    let at = |(at, call): &(Instant, Call)| matches!(call, Call::Acquire { .. }).then_some(*at);
    let acquires: Vec<Instant> = state.calls.iter().filter_map(at).collect();
    let pauses: Vec<Duration> = acquires.windows(2).take(3).map(|it| it[1] - it[0]).collect();
    for (pause, least) in pauses.iter().zip([80, 160, 320]) {
        assert!(Duration::from_millis(least) <= *pause, "{pauses:?}");
    }
}

#[test]
fn a_look_that_fails_is_followed_by_another_acquire() {
    let turning = setup([]).with(|it| it.faults.look_errors.extend(unavailable(1))).start();
    turning.store.wait("the worker is idle", |it| it.armed);
    turning.enqueue(messages(1..=1, "ok"));
    turning.store.wait("it is sent", |it| it.sent() == 1);
    turning.stop();
}

#[test]
fn a_template_that_cannot_be_read_now_costs_no_attempt() {
    let turning = setup(messages(1..=1, "ok"))
        .with(|it| it.faults.template_errors.extend(unavailable(1)))
        .start();
    turning.store.wait("it is sent", |it| it.sent() == 1);
    let (tally, store) = turning.stop();
    assert_eq!(tally, Tally { sent: 1, released: 1, ..Tally::default() });
    assert!(matches!(store.state().outcomes[0].1, Outcome::Released { .. }));
}

#[test]
fn a_delivery_that_would_outlast_its_lease_is_not_begun() {
    let turning = setup(messages(1..=1, "ok")).with(|it| it.faults.short_leases = 1).start();
    turning.store.wait("it is sent", |it| it.sent() == 1);
    assert_eq!(turning.script.begun.load(Ordering::SeqCst), 1);
    let (tally, _) = turning.stop();
    assert_eq!(tally, Tally { sent: 1, released: 1, ..Tally::default() });
}

#[test]
fn stop_gives_back_what_no_thread_has_begun_and_finishes_what_is_under_way() {
    let entries = messages(1..=400, "ok").into_iter().chain(messages(401..=600, "gate"));
    let turning = setup(entries).start();
    let behind = |it: &State| it.sent() == 400 && THREADS < it.leased.len();
    turning.store.wait("leases wait behind the threads", behind);
    // A thread that has not come so far would find its message given back.
    turning.fill_gate();
    let Turning { store, open, stop, ended, script, gauge, wake: _wake, .. } = turning;
    drop(stop);
    store.wait("what waits is given back", |it| it.leased.len() == THREADS);
    assert!(ended.is_empty(), "deliveries are under way");
    drop(open);
    let tally = ended.recv_timeout(Duration::from_secs(20)).unwrap().unwrap();
    let state = store.state();
    assert_eq!((tally.sent, tally.lost), (400 + THREADS, 0));
    assert!(0 < tally.released);
    assert_eq!(script.begun.load(Ordering::SeqCst), 400 + THREADS);
    assert_eq!(state.waiting.len(), 200 - THREADS);
    assert!(state.leased.is_empty() && state.waiting.iter().all(|it| it.attempt == 0));
    assert_eq!(gauge.load(Ordering::SeqCst), 0);
}

#[test]
fn stop_of_an_idle_ring_silences_the_bell_and_ends_at_once() {
    let turning = setup([]).start();
    turning.store.wait("the worker is idle", |it| it.armed);
    let began = Instant::now();
    let (tally, store) = turning.stop();
    assert_eq!(tally, Tally::default());
    assert!(!store.state().armed);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_drain_that_takes_too_long_is_given_up_and_says_how_many_leases_are_left() {
    let turning = setup(messages(1..=50, "gate"))
        .configured(|it| it.worker.shutdown_timeout = Duration::from_millis(50))
        .start();
    turning.fill_gate();
    let Turning { stop, ended, open: _open, .. } = turning;
    drop(stop);
    let err = ended.recv_timeout(Duration::from_secs(20)).unwrap().unwrap_err();
    let WorkerError::Shutdown { limit, leases } = err else { panic!("{err}") };
    assert_eq!((limit, leases), (Duration::from_millis(50), THREADS));
}

#[test]
fn a_drain_that_cannot_be_written_is_given_up_too() {
    let turning = setup(messages(1..=3, "ok"))
        .with(|it| it.faults.commit_errors.extend(unavailable(1000)))
        .configured(|it| it.worker.shutdown_timeout = Duration::from_millis(50))
        .start();
    turning
        .store
        .wait("a commit failed", |it| 0 < it.count(|call| matches!(call, Call::Commit(_))));
    let Turning { stop, ended, .. } = turning;
    drop(stop);
    let err = ended.recv_timeout(Duration::from_secs(20)).unwrap().unwrap_err();
    assert!(matches!(err, WorkerError::Shutdown { leases: 3, .. }), "{err}");
}

#[test]
fn a_dead_writer_stops_the_poller() {
    let turning =
        setup(messages(1..=10_000, "ok")).with(|it| it.faults.commit_panics = true).start();
    let err = turning.end().unwrap_err();
    let WorkerError::Writer { leases } = err else { panic!("{err}") };
    assert!((1..=IN_FLIGHT_MAX).contains(&leases));
    assert!(!turning.store.state().waiting.is_empty(), "the poller went on without a writer");
}

#[test]
fn until_empty_waits_for_the_leases_of_other_workers() {
    let turning =
        setup([]).with(|it| it.foreign_lease = true).until(Until::Empty(Duration::ZERO)).start();
    turning.store.wait("it looks again and again", |it| 5 < it.looks());
    assert!(!turning.has_ended());
    turning.store.state().foreign_lease = false;
    assert_eq!(turning.end().unwrap(), Tally::default());
}

#[test]
fn until_empty_waits_for_what_is_due_within_the_span_and_for_nothing_later() {
    let soon = Entry { due: Instant::now() + Duration::from_millis(300), ..Entry::new(1, "ok") };
    let later = Entry { due: Instant::now() + HOUR, ..Entry::new(2, "ok") };
    let (tally, store) = setup([soon, later]).until(Until::Empty(Duration::from_mins(10))).run();
    assert_eq!(tally, Tally { sent: 1, ..Tally::default() });
    assert_eq!(store.state().waiting.len(), 1);
}

#[test]
fn until_empty_with_no_span_leaves_what_is_due_later() {
    let soon = Entry { due: Instant::now() + Duration::from_mins(1), ..Entry::new(1, "ok") };
    let (tally, _) = setup([soon]).until(Until::Empty(Duration::ZERO)).run();
    assert_eq!(tally, Tally::default());
}

#[test]
fn until_empty_ends_while_deliveries_are_paused() {
    let (tally, store) = setup(messages(1..=5, "ok"))
        .with(|it| it.paused = true)
        .until(Until::Empty(Duration::ZERO))
        .run();
    assert_eq!(tally, Tally::default());
    assert_eq!(store.state().waiting.len(), 5);
}

#[test]
fn until_once_makes_one_pass_over_what_is_due() {
    let later = Entry { due: Instant::now() + HOUR, ..Entry::new(1000, "ok") };
    let entries = messages(1..=100, "ok").into_iter().chain(messages(101..=110, "451"));
    let (tally, store) = setup(entries.chain([later])).until(Until::Once).run();
    assert_eq!(tally, Tally { sent: 100, deferred: 10, ..Tally::default() });
    assert_eq!(store.state().waiting.len(), 11);
}

#[test]
fn until_once_ends_also_when_deliveries_take_longer_than_the_fetch_interval() {
    let turning = setup(messages(1..=THREADS as u128, "gate"))
        .configured(|it| it.worker.fetch_interval = Duration::from_millis(10))
        .until(Until::Once)
        .start();
    turning.fill_gate();
    // Some fetch intervals with every thread busy.
    let end = Instant::now() + Duration::from_millis(100);
    while Instant::now() < end {
        assert!(!turning.has_ended());
        thread::yield_now();
    }
    let Turning { open, ended, stop: _stop, .. } = turning;
    drop(open);
    let tally = ended.recv_timeout(Duration::from_secs(20)).expect("it ends by itself").unwrap();
    assert_eq!(tally.sent, THREADS);
}

#[test]
fn a_wake_up_is_answered_without_waiting_for_the_tick() {
    let turning = setup([]).start();
    // The ninth pause is longer than a second.
    turning.store.wait("the pauses have grown", |it| 8 < it.looks());
    let rung = Instant::now();
    turning.enqueue(messages(1..=1, "ok"));
    turning.store.wait("it is sent", |it| it.sent() == 1);
    assert!(rung.elapsed() < Duration::from_millis(700), "it came by a tick");
    turning.stop();
}

#[test]
fn a_deferred_message_is_taken_up_when_it_is_due_and_not_at_the_tick() {
    let turning = setup(messages(1..=1, "451"))
        .configured(|it| it.retry.schedule = Some(vec![Duration::from_millis(200); 2]))
        .start();
    turning.store.wait("all attempts are made", |it| it.outcomes.len() == 3);
    let (tally, _) = turning.stop();
    assert_eq!(tally, Tally { deferred: 2, ended: 1, ..Tally::default() });
}

#[test]
fn the_bell_is_disarmed_in_a_burst_and_armed_again_when_it_is_over() {
    let turning = setup([]).start();
    turning.store.wait("the worker is idle", |it| it.armed);
    turning.enqueue(messages(1..=1, "ok"));
    turning.store.wait("it is sent", |it| it.sent() == 1);
    let disarms = |it: &State| it.count(|call| call == Call::Disarm);
    assert_eq!(disarms(&turning.store.state()), 0, "one message is no burst");

    turning.enqueue(messages(2..=100, "ok"));
    turning.store.wait("all are sent", |it| it.sent() == 100);
    assert_eq!(disarms(&turning.store.state()), 1);
    turning.store.wait("the bell is armed again", |it| it.armed);
    turning.stop();
}

#[test]
fn messages_behind_the_point_that_acquires_have_reached_are_swept_up() {
    let turning = setup([]).start();
    turning.store.wait("the worker is idle", |it| it.armed);
    let (looks, late) = (turning.store.state().looks(), Entry::new(1, "ok"));
    turning.store.state().waiting.push_back(late);
    turning.store.wait("a look saw it", |it| looks < it.looks() && it.sent() == 1);
    let swept = |call| matches!(call, Call::Acquire { sweep: true, got: 1, .. });
    assert_eq!(turning.store.state().count(swept), 1);
    turning.stop();
}

#[test]
fn the_janitor_is_told_of_messages_whose_time_is_over() {
    let turning = setup([]).start();
    turning.store.wait("the worker is idle", |it| it.armed);
    assert!(turning.told.is_empty());
    turning.store.state().overdue = true;
    turning.told.recv_timeout(Duration::from_secs(20)).unwrap();
    turning.stop();
}

#[test]
fn nothing_is_asked_for_without_room() {
    let turning = setup(messages(1..=50, "gate"))
        .configured(|it| it.worker.fetch_interval = Duration::from_millis(10))
        .start();
    turning.fill_gate();
    let end = Instant::now() + Duration::from_millis(100);
    while Instant::now() < end {
        thread::yield_now();
    }
    let asked_for_none = |call| matches!(call, Call::Acquire { asked: 0, .. });
    assert_eq!(turning.store.state().count(asked_for_none), 0);
    turning.stop();
}
