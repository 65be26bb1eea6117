//! The writer alone, on a store in memory: no outcome holds up another one.

use std::thread::JoinHandle;

use super::super::writer::{Ends, Returned, Writer};
use super::memory::{busy, refused};
use super::*;
use crate::lease::{Lease, LeaseKey, Message, Settled};
use crate::message::InboxEntry;

/// A writer that runs on a thread of its own.
struct Desk {
    store: MemStore,
    outcomes: Sender<Settled>,
    credit: Receiver<Returned>,
    abandon: Sender<Infallible>,
    gauge: Arc<AtomicUsize>,
    writer: JoinHandle<Tally>,
}

/// Outcomes that are all in the channel when the writer starts.
fn desk(store: MemStore, outcomes: Vec<Settled>) -> Desk {
    let (outcomes_tx, outcomes_rx) = bounded(1000);
    let (credit_tx, credit) = bounded(1000);
    let (abandon, abandoned) = bounded(0);
    let gauge = Arc::new(AtomicUsize::new(0));
    let count = outcomes.len();
    gauge.fetch_add(count, Ordering::SeqCst);
    for settled in outcomes {
        outcomes_tx.send(settled).unwrap();
    }
    let (credit_end, gauge_end) = (credit_tx, Arc::clone(&gauge));
    let ends =
        Ends { outcomes: outcomes_rx, credit: credit_end, abandon: abandoned, gauge: gauge_end };
    let writer = Writer::new(store.clone(), ends);
    let writer = thread::spawn(move || writer.run());
    Desk { store, outcomes: outcomes_tx, credit, abandon, gauge, writer }
}

impl Desk {
    fn send(&self, settled: Settled) {
        self.gauge.fetch_add(1, Ordering::SeqCst);
        self.outcomes.send(settled).unwrap();
    }

    #[track_caller]
    fn wait_written(&self, count: usize) {
        self.store.wait("outcomes are written", |it| it.outcomes.len() == count);
    }

    /// Ends the writer when all is written; the tally, and the credit that came back.
    fn finish(self) -> (Tally, usize) {
        drop(self.outcomes);
        let tally = self.writer.join().unwrap();
        drop(self.abandon); // Until now there was time.
        (tally, self.credit.try_iter().map(|it| it.count).sum())
    }
}

fn id(number: u128) -> MessageId {
    MessageId(uuid::Uuid::from_u128(number))
}

/// The outcome of message `number`, which is leased in `store`.
fn settled(store: &MemStore, number: u128, outcome: Outcome) -> Settled {
    let entry = Entry::new(number, "ok");
    let key = LeaseKey { id: entry.id, claim: i64::try_from(number).unwrap() };
    store.state().leased.insert(entry.id, (key.claim, entry));
    let now = Instant::now();
    Lease::new(key, now, Message::sample("script")).settle(now, outcome)
}

fn sent() -> Outcome {
    let (code, detail) = (Some("250".into()), Some("thanks".into()));
    Outcome::Sent(Receipt { code, detail, inbox: None })
}

/// Outcomes of messages 1 to `count`, all sent.
fn all_sent(store: &MemStore, count: u128) -> Vec<Settled> {
    (1..=count).map(|number| settled(store, number, sent())).collect()
}

/// Sizes of the commits that were tried.
fn sizes(store: &MemStore) -> Vec<usize> {
    let size = |(_, call): &(Instant, Call)| match call {
        Call::Commit(size) => Some(*size),
        _ => None,
    };
    store.state().calls.iter().filter_map(size).collect()
}

fn has_note(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Sent(Receipt { detail: Some(note), .. }) if note == "thanks")
}

fn refuse(store: &MemStore, number: u128, refused: fn(&Outcome) -> bool) {
    store.state().faults.refused.insert(id(number), refused);
}

fn mend(store: &MemStore) {
    let mut state = store.state();
    state.faults.refused.clear();
    state.faults.rows_locked.clear();
}

#[test]
fn an_outcome_that_is_refused_is_found_by_halving_and_stays_sent_without_its_note() {
    let store = MemStore::new([]);
    refuse(&store, 11, has_note);
    let batch = all_sent(&store, 32);
    let (tally, credit) = desk(store.clone(), batch).finish();
    assert_eq!(tally, Tally { sent: 32, refused: 1, ..Tally::default() });
    assert_eq!(credit, 32);
    let note = "the database refused the note (SQLSTATE P0001)".to_owned();
    let (code, detail) = (Some("250".into()), Some(note));
    let expected = Outcome::Sent(Receipt { code, detail, inbox: None });
    assert_eq!(*store.state().outcome(11), expected);
    assert!((1..=32).filter(|it| *it != 11).all(|it| *store.state().outcome(it) == sent()));
    let tries = 1 + 2 * 5 + 2;
    assert_eq!(sizes(&store).len(), tries, "whole, two halves five times, again, without its note");
}

#[test]
fn a_deferred_outcome_that_is_refused_stays_deferred() {
    let store = MemStore::new([]);
    refuse(&store, 1, |it| matches!(it, Outcome::Deferred { code, .. } if code == "503"));
    let (delay, code, reason) = (HOUR, "503".to_owned(), "later".to_owned());
    let deferred = settled(&store, 1, Outcome::Deferred { delay, counted: true, code, reason });
    let (tally, _) = desk(store.clone(), vec![deferred]).finish();
    assert_eq!(tally, Tally { deferred: 1, refused: 1, ..Tally::default() });
    let state = store.state();
    let Outcome::Deferred { delay, counted: true, code, .. } = state.outcome(1) else { panic!() };
    assert_eq!((*delay, code.as_str()), (HOUR, "refused"));
}

#[test]
fn many_that_are_refused_spoil_no_other_one() {
    let store = MemStore::new([]);
    (1..=500).step_by(7).for_each(|number| refuse(&store, number, has_note));
    let batch = all_sent(&store, 500);
    let (tally, credit) = desk(store.clone(), batch).finish();
    assert_eq!(tally, Tally { sent: 500, refused: 72, ..Tally::default() });
    assert_eq!(credit, 500);
    let whole = store.state().outcomes.iter().filter(|(_, outcome)| has_note(outcome)).count();
    assert_eq!(whole, 428);
}

#[test]
fn a_refusal_that_came_from_the_session_costs_the_outcome_nothing() {
    let store = MemStore::new([]);
    store.state().faults.commit_errors.push_back(refused("26000"));
    let batch = all_sent(&store, 1);
    let (tally, _) = desk(store.clone(), batch).finish();
    assert_eq!(tally, Tally { sent: 1, ..Tally::default() });
    assert_eq!(*store.state().outcome(1), sent());
}

#[test]
fn one_that_is_refused_in_every_form_is_kept_while_the_others_go_on_and_written_whole_once_it_can_be()
 {
    let store = MemStore::new([]);
    refuse(&store, 3, |_| true);
    let batch = all_sent(&store, 8);
    let desk = desk(store.clone(), batch);
    desk.wait_written(7);
    for number in 9..=20 {
        desk.send(settled(&store, number, sent()));
        desk.wait_written(usize::try_from(number).unwrap() - 1);
    }
    let end = Instant::now() + Duration::from_secs(20);
    while desk.gauge.load(Ordering::SeqCst) != 1 {
        assert!(Instant::now() < end, "its credit alone is out");
        thread::yield_now();
    }
    mend(&store);
    desk.wait_written(20);
    let (tally, credit) = desk.finish();
    assert_eq!((tally, credit), (Tally { sent: 20, ..Tally::default() }, 20));
    assert_eq!(*store.state().outcome(3), sent(), "nothing of it is given up");
}

#[test]
fn where_all_are_refused_all_are_kept_and_soon_written_once_they_can_be() {
    let store = MemStore::new([]);
    (1..=200).for_each(|number| refuse(&store, number, |_| true));
    let batch = all_sent(&store, 200);
    let desk = desk(store.clone(), batch);
    // A second try of some: by then all are apart.
    let tries = |it: &State| it.count(|call| call == Call::Commit(1));
    store.wait("all were tried alone", |it| 200 * 5 < tries(it));
    mend(&store);
    let (mended, before) = (Instant::now(), sizes(&store).len());
    desk.wait_written(200);
    assert!(mended.elapsed() < Duration::from_secs(5), "{:?}", mended.elapsed());
    let commits = sizes(&store).len() - before;
    assert!(commits < 50, "the first that is written takes the others along: {commits}");
    let (tally, credit) = desk.finish();
    assert_eq!((tally, credit), (Tally { sent: 200, ..Tally::default() }, 200));
}

#[test]
fn a_busy_database_gets_the_batch_five_times_before_it_gets_halves() {
    for (faults, expected) in [(4, vec![8; 5]), (5, vec![8, 8, 8, 8, 8, 4, 4])] {
        let store = MemStore::new([]);
        let errors = std::iter::repeat_n(busy("53200"), faults);
        store.state().faults.commit_errors.extend(errors);
        let batch = all_sent(&store, 8);
        let (tally, credit) = desk(store.clone(), batch).finish();
        assert_eq!((tally, credit), (Tally { sent: 8, ..Tally::default() }, 8));
        assert_eq!(sizes(&store), expected);
    }
}

#[test]
fn one_for_which_the_database_is_always_too_busy_is_kept_while_the_others_go_on() {
    let store = MemStore::new([]);
    store.state().faults.too_much.insert(id(5));
    let batch = all_sent(&store, 8);
    let desk = desk(store.clone(), batch);
    desk.wait_written(7);
    desk.send(settled(&store, 9, sent()));
    desk.wait_written(8);
    store.state().faults.too_much.clear();
    desk.wait_written(9);
    assert_eq!(desk.finish(), (Tally { sent: 9, ..Tally::default() }, 9));
}

#[test]
fn rows_that_are_locked_wait_alone_and_are_not_tried_before_they_are_free() {
    let store = MemStore::new([]);
    store.state().faults.rows_locked.extend([id(2), id(7)]);
    let batch = all_sent(&store, 8);
    let desk = desk(store.clone(), batch);
    desk.wait_written(6);
    assert_eq!(sizes(&store), [8, 6], "the others follow at once");
    desk.send(settled(&store, 9, sent()));
    desk.wait_written(7);
    store
        .wait("it is asked for the locks again", |it| 4 < it.count(|call| call == Call::Locked(2)));
    assert_eq!(sizes(&store), [8, 6, 1]);
    mend(&store);
    let freed = Instant::now();
    desk.wait_written(9);
    assert!(freed.elapsed() < Duration::from_secs(2), "{:?}", freed.elapsed());
    assert_eq!(sizes(&store), [8, 6, 1, 2]);
    assert_eq!(desk.finish(), (Tally { sent: 9, ..Tally::default() }, 9));
}

#[test]
fn what_is_kept_is_tried_at_once_in_a_drain_and_on_until_the_time_for_it_is_up() {
    let store = MemStore::new([]);
    refuse(&store, 1, |_| true);
    let batch = all_sent(&store, 2);
    let Desk { outcomes, abandon, writer, gauge, .. } = desk(store.clone(), batch);
    let tries = |it: &State| it.count(|call| matches!(call, Call::Commit(_)));
    // Each time it is tried as it is, once more, without its note, and without note and code.
    store.wait("the pause is longer than three seconds", |it| 4 * 7 < tries(it));
    drop(outcomes);
    let (told, before) = (Instant::now(), sizes(&store).len());
    store.wait("it is tried", |it| before + 8 < tries(it));
    assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
    assert!(!writer.is_finished());
    drop(abandon);
    assert_eq!(writer.join().unwrap(), Tally { sent: 1, ..Tally::default() });
    assert_eq!(gauge.load(Ordering::SeqCst), 1, "its lease is left");
}

#[test]
fn a_batch_is_bounded_by_the_bytes_of_its_texts() {
    let store = MemStore::new([]);
    let boxed = |number| {
        let (title, content) = ("t".to_owned(), "c".repeat(1 << 20));
        let entry = InboxEntry { title, content, actions: Vec::new() };
        settled(&store, number, Outcome::Sent(Receipt { inbox: Some(entry), ..Receipt::default() }))
    };
    let batch = (1..=20).map(boxed).collect();
    assert_eq!(desk(store.clone(), batch).finish().0.sent, 20);
    assert_eq!(sizes(&store), [8, 8, 4]);
}
