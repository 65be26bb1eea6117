//! A flood of inbox messages, which goes without leases.

use super::*;

/// More than are leased at first.
const FLOOD: u128 = 8000;

/// As `messages`, for the inbox.
fn inbox(numbers: impl IntoIterator<Item = u128>) -> impl Iterator<Item = Entry> {
    numbers.into_iter().map(to_inbox)
}

fn to_inbox(number: u128) -> Entry {
    Entry { method: "inbox".into(), ..Entry::new(number, "ok") }
}

/// With the room of a worker as it is configured by default.
fn flood(entries: impl IntoIterator<Item = Entry>) -> Setup {
    setup(entries)
        .configured(|it| it.worker.in_flight_max = Some(2000))
        .until(Until::Empty(Duration::ZERO))
}

/// What `count` makes of each call, in all.
fn sum(calls: &[(Instant, Call)], count: impl Fn(Call) -> usize) -> usize {
    calls.iter().map(|(_, call)| count(*call)).sum()
}

fn acquired(call: Call) -> usize {
    if let Call::Acquire { got, .. } = call { got } else { 0 }
}

fn locked(call: Call) -> usize {
    if let Call::LockInbox(count) = call { count } else { 0 }
}

fn delivered(call: Call) -> usize {
    if let Call::DeliverInbox(count) = call { count } else { 0 }
}

/// Messages that were delivered while they were locked.
fn direct(state: &State) -> usize {
    sum(&state.calls, delivered)
}

fn distinct(state: &State) -> usize {
    state.outcomes.iter().map(|(id, _)| *id).collect::<HashSet<_>>().len()
}

#[test]
fn a_flood_goes_without_leases_once_so_many_were_leased_as_may_have_killed_the_last_worker() {
    let (tally, store) = flood(inbox(1..=FLOOD)).run();
    assert_eq!(tally, Tally { sent: 8000, ..Tally::default() });
    let state = store.state();
    assert_eq!((state.outcomes.len(), distinct(&state)), (8000, 8000));
    let is_lock = |(_, call): &(Instant, Call)| matches!(call, Call::LockInbox(_));
    let first = state.calls.iter().position(is_lock).unwrap();
    let at_first = sum(&state.calls[..first], acquired);
    assert!(2000 <= at_first, "{at_first} were leased before the first that were not");
    assert!(4000 <= direct(&state), "{} went without a lease", direct(&state));
    assert_eq!(direct(&state) + sum(&state.calls, acquired), 8000);
}

#[test]
fn what_is_no_plain_success_is_leased_and_ends_as_its_outcome_says() {
    let odd = |number: u128| match number {
        4500 => Entry { disabled: true, ..to_inbox(number) },
        5000 => Entry { template_id: WANTING, ..to_inbox(number) },
        5500 => Entry { template_id: BROKEN, ..to_inbox(number) },
        6000 => Entry { expires_in: Some(Duration::ZERO), ..to_inbox(number) },
        _ => to_inbox(number),
    };
    let (tally, store) = flood((1..=FLOOD).map(odd)).run();
    assert_eq!(tally, Tally { sent: 7996, ended: 4, ..Tally::default() });
    let state = store.state();
    assert_eq!(*state.outcome(4500), Outcome::Inhibited);
    assert_eq!(failed_code(state.outcome(5000)), "render");
    assert_eq!(failed_code(state.outcome(5500)), "template");
    assert!(matches!(state.outcome(6000), Outcome::Expired { .. }));
    assert!(2000 <= direct(&state));
}

#[test]
fn a_message_for_somebody_else_among_them_is_leased_in_its_turn() {
    let mixed =
        |number| if number % 1000 == 0 { Entry::new(number, "ok") } else { to_inbox(number) };
    let (tally, store) = flood((1..=FLOOD).map(mixed)).run();
    assert_eq!(tally.sent, 8000);
    assert_eq!(distinct(&store.state()), 8000);
}

#[test]
fn a_tried_message_is_leased_so_that_its_attempts_are_told() {
    let tried = inbox(1..=FLOOD).map(|it| Entry { attempt: u32::from(it.text == "ok"), ..it });
    let (tally, store) = flood(tried).run();
    assert_eq!((tally.sent, direct(&store.state())), (8000, 0));
}

#[test]
fn nothing_is_lost_or_repeated_when_the_database_goes_away_under_a_flood() {
    let (tally, store) =
        flood(inbox(1..=FLOOD)).with(|it| it.faults.inbox_errors.extend(unavailable(3))).run();
    assert_eq!(tally.sent, 8000);
    let state = store.state();
    assert_eq!((state.outcomes.len(), distinct(&state)), (8000, 8000));
    assert!(state.faults.inbox_errors.is_empty() && state.locked.is_empty());
}

#[test]
fn an_entry_that_cannot_be_stored_is_leased_and_fails_alone() {
    let bad = MessageId(Uuid::from_u128(5000));
    let entry = |outcome: &Outcome| outcome.inbox_entry().is_some();
    let setup = flood(inbox(1..=FLOOD));
    setup.store.state().faults.refused.insert(bad, entry);
    let (tally, store) = setup.run();
    assert_eq!(tally, Tally { sent: 7999, ended: 1, refused: 1, ..Tally::default() });
    assert_eq!(failed_code(store.state().outcome(5000)), "refused");
}

#[test]
fn after_trouble_that_is_no_outage_as_many_are_leased_as_at_the_start() {
    let refused = memory::refused("42501");
    let (tally, store) =
        flood(inbox(1..=3 * FLOOD)).with(|it| it.faults.inbox_errors.push_back(refused)).run();
    assert_eq!(tally.sent, 24_000);
    let state = store.state();
    let is_delivery = |(_, call): &(Instant, Call)| matches!(call, Call::DeliverInbox(_));
    let trouble = state.calls.iter().position(is_delivery).unwrap();
    let after = &state.calls[trouble..];
    let mut locks = (0..after.len()).filter(|at| matches!(after[*at].1, Call::LockInbox(_)));
    // Two were under way when it came.
    let next = locks.nth(2).unwrap();
    let count = sum(&after[..next], acquired);
    assert!(2000 <= count, "{count} were leased");
}

#[test]
fn a_flood_that_is_no_plain_success_is_not_locked_in_vain_for_long() {
    let unwanted = |number| Entry { disabled: true, ..to_inbox(number) };
    let (tally, store) = flood(inbox(1..=3000).chain((3001..=3 * FLOOD).map(unwanted))).run();
    assert_eq!(tally, Tally { sent: 3000, ended: 21_000, ..Tally::default() });
    let state = store.state();
    let in_vain = sum(&state.calls, locked) - direct(&state);
    // Three batches are under way when the first of them tells; then two thousand are leased.
    assert!(in_vain <= 18_000, "{in_vain} were locked in vain");
}

/// The stock inbox for messages that take long to render.
struct Slow;

impl Transport for Slow {
    fn deliver(&self, message: &Prepared, deadline: Deadline) -> Result<Receipt, Failure> {
        let end = Instant::now() + Duration::from_millis(5);
        while message.body == "slow" && Instant::now() < end {
            thread::yield_now();
        }
        Inbox.deliver(message, deadline)
    }

    fn is_local(&self) -> bool {
        true
    }
}

#[test]
fn what_takes_long_to_render_is_left_to_the_pool() {
    let slow = |number| Entry { method: "inbox".into(), ..Entry::new(number, "slow") };
    let mut setup = flood(inbox(1..=4000).chain((4001..=7000).map(slow)));
    setup.inbox = Arc::new(Slow);
    let (tally, store) = setup.run();
    assert_eq!(tally.sent, 7000);
    let state = store.state();
    // Two thousand of the others at most; then a tenth of a second is enough for twenty, three batches are under way at
    // a time, and there are not so many that trouble could come more than twice.
    let most = 2000 + 2 * 3 * 21;
    assert!(direct(&state) <= most, "{} went without a lease", direct(&state));
}

#[test]
fn a_flood_goes_on_while_a_slow_delivery_takes_the_last_of_the_room() {
    let gate = [Entry::new(FLOOD + 1, "gate")];
    let turning = flood(gate.into_iter().chain(inbox(1..=FLOOD)))
        .configured(|it| it.worker.in_flight_max = Some(500))
        .until(Until::Stopped)
        .start();
    turning.store.wait("all others are sent", |state| state.sent() == 8000);
    let (tally, _) = turning.stop();
    assert_eq!(tally.sent, 8001);
}

#[test]
fn a_panic_unlocks_what_was_locked_and_costs_no_thread() {
    let (tally, store) = flood(inbox(1..=FLOOD)).with(|it| it.faults.inbox_panics = true).run();
    assert_eq!(tally.sent, 8000);
    let state = store.state();
    assert!(!state.faults.inbox_panics && state.locked.is_empty());
}

#[test]
fn one_pass_leases_all() {
    let (tally, store) = flood(inbox(1..=FLOOD)).until(Until::Once).run();
    assert_eq!((tally.sent, direct(&store.state())), (8000, 0));
}

/// An inbox of somebody's own, which may well take its time.
struct OwnInbox;

impl Transport for OwnInbox {
    fn deliver(&self, message: &Prepared, deadline: Deadline) -> Result<Receipt, Failure> {
        Inbox.deliver(message, deadline)
    }
}

#[test]
fn another_inbox_than_the_stock_one_gets_leased_messages() {
    let mut setup = flood(inbox(1..=FLOOD));
    setup.inbox = Arc::new(OwnInbox);
    let (tally, store) = setup.run();
    assert_eq!((tally.sent, direct(&store.state())), (8000, 0));
}

#[test]
fn a_worker_whose_room_is_small_leases_all() {
    let setup = flood(inbox(1..=FLOOD)).configured(|it| it.worker.in_flight_max = Some(400));
    let (tally, store) = setup.run();
    assert_eq!((tally.sent, direct(&store.state())), (8000, 0));
}

#[test]
fn a_stop_waits_for_what_is_locked_and_leaves_the_rest() {
    let turning = flood(inbox(1..=100_000)).until(Until::Stopped).start();
    turning.store.wait("the flood goes without leases", |state| 1000 <= direct(state));
    let (tally, store) = turning.stop();
    let state = store.state();
    assert!(state.locked.is_empty() && state.leased.is_empty());
    let sent = state.sent();
    assert_eq!((tally.sent, sent + state.waiting.len()), (sent, 100_000));
    assert!(!state.waiting.is_empty());
}
