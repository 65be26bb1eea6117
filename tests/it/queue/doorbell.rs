//! The doorbell, and the look at how the queue stands.

use std::time::{Duration, Instant, SystemTime};

use postrider::enqueue::{Notification, enqueue};
use postrider::store::admin::{messages, set_paused};
use postrider::store::{Look, Store};

use crate::rig::{LEASE, LIMIT, Rig, acquire_one, deferred, rings, settle, to_inbox};
use crate::support::wait_until;

const MINUTE: Duration = Duration::from_mins(1);

fn enqueue_one(rig: &mut Rig) {
    rig.put(&to_inbox());
}

#[test]
fn enqueues_ring_only_while_a_worker_is_armed() {
    let mut rig = Rig::new();
    let mut store = rig.store();
    assert_eq!(rings(&mut rig, enqueue_one), 0);
    store.look(None).unwrap();
    assert_eq!(rings(&mut rig, enqueue_one), 0, "a mere look does not arm");
    store.look(Some(MINUTE)).unwrap();
    assert_eq!(rings(&mut rig, enqueue_one), 1);
    store.disarm().unwrap();
    assert_eq!(rings(&mut rig, enqueue_one), 0);
    store.look(Some(MINUTE)).unwrap();
    assert_eq!(rings(&mut rig, enqueue_one), 1, "armed once more");
    assert_eq!(rings(&mut rig, |rig| drop(rig.fill(7))), 1, "many at once ring once");
    rig.execute("update postrider.doorbell set armed_until = now()", &[]);
    assert_eq!(rings(&mut rig, enqueue_one), 0, "the worker may have died since");
}

#[test]
fn the_bell_of_one_worker_is_not_silenced_by_another() {
    let mut rig = Rig::new();
    let (mut one, mut other) = (rig.store(), rig.store());
    one.look(Some(MINUTE)).unwrap();
    other.look(Some(MINUTE)).unwrap();
    one.disarm().unwrap();
    assert_eq!(rings(&mut rig, enqueue_one), 1);
}

#[test]
fn a_transaction_rings_once_and_one_that_is_rolled_back_never() {
    let mut rig = Rig::new();
    rig.store().look(Some(MINUTE)).unwrap();
    assert_eq!(rings(&mut rig, |rig| drop(rig.fill(50))), 1);
    let roll_back = |rig: &mut Rig| {
        let mut tx = rig.client.transaction().unwrap();
        enqueue(&mut tx, &to_inbox()).unwrap();
        tx.rollback().unwrap();
    };
    assert_eq!(rings(&mut rig, roll_back), 0);
}

#[test]
fn a_pause_its_end_and_a_retry_wake_whoever_sleeps() {
    let mut rig = Rig::new();
    assert_eq!(rings(&mut rig, |rig| set_paused(&mut rig.client, true).unwrap()), 1);
    assert_eq!(rings(&mut rig, |rig| set_paused(&mut rig.client, false).unwrap()), 1);
    let id = rig.fill(1)[0].0;
    assert_eq!(rings(&mut rig, |rig| drop(messages::retry(&mut rig.client, id))), 1);
}

#[test]
fn a_look_tells_how_the_queue_stands() {
    let mut rig = Rig::new();
    let mut store = rig.store();
    assert_eq!(store.look(None).unwrap(), Look::default());

    rig.put(&to_inbox());
    assert_eq!(store.look(None).unwrap(), Look { due: true, ..Look::default() });

    let lease = acquire_one(&mut store);
    assert_eq!(store.look(None).unwrap(), Look { leased: true, ..Look::default() });
    assert_eq!(rig.store().look(None).unwrap(), Look { leased: true, ..Look::default() });

    rig.expire_leases();
    // On a slow machine a look may leave out what is behind the floor, for a while.
    let due = Look { due: true, ..Look::default() };
    wait_until(LIMIT, "it is due again", || store.look(None).unwrap() == due);

    store.commit(&settle(vec![lease], &deferred(MINUTE))).unwrap();
    let mut look = due;
    wait_until(LIMIT, "nothing is leased", || {
        look = store.look(None).unwrap();
        !look.due && !look.leased
    });
    assert!((MINUTE / 2..=MINUTE).contains(&look.next_due.unwrap()), "{look:?}");

    set_paused(&mut rig.client, true).unwrap();
    assert!(store.look(None).unwrap().paused);
}

#[test]
fn the_next_due_time_is_that_of_the_first_of_all_lanes() {
    let mut rig = Rig::new();
    for (priority, minutes) in [(0, 9), (1, 7), (2, 5), (3, 8), (2, 6)] {
        let at = SystemTime::now() + MINUTE * minutes;
        rig.put(&Notification { priority, schedule_at: Some(at), ..to_inbox() });
    }
    let next_due = rig.store().look(None).unwrap().next_due.unwrap();
    assert!((MINUTE * 4..=MINUTE * 5).contains(&next_due), "{next_due:?}");
}

#[test]
fn what_never_expires_is_acquired_like_any_other() {
    let mut rig = Rig::new();
    let sql = r#"select postrider.enqueue(template => 'greeting', recipient => '{"id": "a"}',
        methods => '{inbox}', schedule_at => 'now', expires_at => 'infinity')"#;
    rig.client.query(sql, &[]).unwrap();
    let mut store = rig.store();
    let lease = acquire_one(&mut store);
    assert_eq!(lease.message().expires_in, None);
    assert!(lease.outlasts(LEASE / 2));
}

#[test]
fn a_look_renews_a_bell_that_is_armed_and_arms_one_that_is_not_any_more() {
    let mut rig = Rig::new();
    let mut store = rig.store();
    let armed =
        "select count(*) from postrider.doorbell where now() + interval '5 minutes' < armed_until";
    store.look(Some(MINUTE)).unwrap();
    assert_eq!(rig.number(armed), 0);
    store.look(Some(MINUTE * 10)).unwrap();
    assert_eq!(rig.number(armed), 1);
    for sql in ["update postrider.doorbell set armed_until = now()", "truncate postrider.doorbell"]
    {
        rig.execute(sql, &[]);
        store.look(Some(MINUTE * 10)).unwrap();
        assert_eq!(rig.number(armed), 1, "after {sql}");
        assert_eq!(rings(&mut rig, enqueue_one), 1);
    }
}

#[test]
fn a_bell_that_is_about_to_fall_silent_is_armed_anew() {
    let mut rig = Rig::new();
    let count = "create sequence armings;
        create function count_arming() returns trigger language plpgsql as
            'begin perform nextval(''public.armings''); return new; end';
        create trigger count_arming before insert on postrider.doorbell
            for each row execute function count_arming()";
    rig.client.batch_execute(count).unwrap();
    let mut store = rig.store();
    store.look(Some(MINUTE)).unwrap();
    store.look(Some(MINUTE)).unwrap();
    assert_eq!(rig.number("select last_value from armings"), 1, "the second renews");
    // An enqueue that begins now may be asked about the bell when that is over.
    rig.execute("update postrider.doorbell set armed_until = now() + interval '1900 ms'", &[]);
    store.look(Some(MINUTE)).unwrap();
    assert_eq!(rig.number("select last_value from armings"), 2);
}

#[test]
fn a_look_after_the_bell_fell_silent_is_at_all_of_the_queue_however_long_that_takes() {
    let mut rig = Rig::new();
    // In place of the server's own, in this database: each look takes half a second.
    let slow = "create function public.slow_ne(jsonb, jsonb) returns boolean language plpgsql as
            'begin perform pg_sleep(0.5); return pg_catalog.jsonb_ne($1, $2); end';
        set allow_system_table_mods = on;
        update pg_operator set oprcode = 'public.slow_ne'::regproc where oid = '<>(jsonb,jsonb)'::regoperator";
    rig.client.batch_execute(slow).unwrap();
    rig.put(&to_inbox());
    let mut store = rig.store();
    let _lease = acquire_one(&mut store);
    let began = Instant::now();
    store.look(Some(MINUTE)).unwrap();
    assert!(Duration::from_millis(500) <= began.elapsed(), "it is slow");
    // Its transaction began before the message that was acquired, and was committed after the look.
    let late = rig.put(&to_inbox()).0;
    let sql = "update postrider.messages set due_at = now() - interval '1 hour' where id = $1";
    rig.execute(sql, &[&late]);
    rig.execute("update postrider.doorbell set armed_until = now()", &[]);
    assert!(store.look(Some(MINUTE)).unwrap().due);
}

#[test]
fn a_look_that_renews_tells_of_messages_whose_time_is_over() {
    let mut rig = Rig::new();
    let mut store = rig.store();
    let (now, later) = (SystemTime::now(), Some(SystemTime::now() + MINUTE));
    rig.put(&Notification { schedule_at: later, expires_at: later, ..to_inbox() });
    store.look(Some(MINUTE)).unwrap();
    assert!(!store.look(Some(MINUTE)).unwrap().overdue);
    rig.put(&Notification { schedule_at: later, expires_at: Some(now), ..to_inbox() });
    assert!(store.look(Some(MINUTE)).unwrap().overdue);
}
