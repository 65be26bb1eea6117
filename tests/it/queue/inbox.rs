//! Inbox messages that are delivered without a lease.

use std::time::{Duration, SystemTime};

use postrider::enqueue::Notification;
use postrider::lease::Lease;
use postrider::message::{InboxEntry, MessageId};
use postrider::outcome::{Outcome, Receipt};
use postrider::store::admin::set_paused;
use postrider::store::postgres::PgStore;
use postrider::store::{Place, Store, StoreError};
use serde_json::{Value, json};

use crate::rig::{Rig, acquire_one, boxed, deferred, ids, settle, to_inbox};

/// Searches right after an acquire that read the whole queue, as one does at the latest each second.
fn find(store: &mut PgStore, limit: usize) -> Vec<Place> {
    assert!(store.acquire(0, true).unwrap().is_empty());
    store.find_inbox(limit, 0).unwrap()
}

/// Finds and locks the next messages.
#[track_caller]
fn lock(store: &mut PgStore, count: usize) -> Vec<Lease> {
    let places = find(store, count);
    assert_eq!(places.len(), count);
    store.lock_inbox(&places).unwrap()
}

fn to_webhook() -> Notification {
    let (methods, endpoint) = (vec!["webhook".into()], Some("https://hooks.example.com/1".into()));
    Notification { methods, endpoint, ..to_inbox() }
}

/// Ends the connections that have a transaction open.
fn end_open_transactions(rig: &mut Rig) {
    let sql = "select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and state = 'idle in transaction'";
    assert_eq!(rig.execute(sql, &[]), 1);
}

fn sorted(mut ids: Vec<MessageId>) -> Vec<MessageId> {
    ids.sort_unstable();
    ids
}

#[test]
fn they_are_found_if_the_next_ones_all_are_for_the_inbox_due_and_untried() {
    let mut rig = Rig::new();
    let mut store = rig.store();
    assert!(find(&mut store, 1).is_empty());
    rig.fill(5);
    assert_eq!(find(&mut store, 5).len(), 5);
    assert!(find(&mut store, 6).is_empty(), "there are but five");
    set_paused(&mut rig.client, true).unwrap();
    assert!(find(&mut store, 5).is_empty());
    set_paused(&mut rig.client, false).unwrap();

    rig.put(&Notification {
        schedule_at: Some(SystemTime::now() + Duration::from_hours(1)),
        ..to_inbox()
    });
    assert!(find(&mut store, 6).is_empty(), "one is not due");
    rig.put(&to_webhook());
    assert!(find(&mut store, 6).is_empty(), "one is for somebody else");
    assert_eq!(find(&mut store, 5).len(), 5, "which comes later");

    let tried = store.acquire(1, true).unwrap();
    store.commit(&settle(tried, &deferred(Duration::ZERO))).unwrap();
    assert_eq!(find(&mut store, 4).len(), 4);
    rig.execute("delete from postrider.messages where method = 'webhook'", &[]);
    assert!(find(&mut store, 5).is_empty(), "one was tried before");
    rig.execute("update postrider.messages set attempt = 0 where last_error is not null", &[]);
    assert!(find(&mut store, 5).is_empty(), "its attempts are told all the same");
    rig.execute("update postrider.messages set last_error = null", &[]);
    assert_eq!(find(&mut store, 5).len(), 5);
}

#[test]
fn large_ones_are_not_found_for_many_are_held_in_memory_at_a_time() {
    let mut rig = Rig::new();
    let mut store = rig.store();
    let like = |text: String| to_inbox().with_label("text", text);
    rig.put(&like("x".repeat(1000)));
    assert_eq!(find(&mut store, 1).len(), 1);
    let noise = |length| (0..length).map(|_| fastrand::alphanumeric()).collect();
    rig.put(&like(noise(3000)));
    assert_eq!(find(&mut store, 2).len(), 2, "it is no smaller compressed");
    rig.put(&like("x".repeat(100_000)));
    assert!(find(&mut store, 3).is_empty());
    rig.execute(
        "delete from postrider.messages where pg_column_compression(payload) is not null",
        &[],
    );
    assert_eq!(find(&mut store, 2).len(), 2);
    rig.put(&like(noise(9000)));
    assert!(find(&mut store, 3).is_empty());
}

#[test]
fn entries_are_not_written_over_another_connection_than_the_one_that_has_locked_the_messages() {
    let mut rig = Rig::new();
    rig.fill(2);
    let mut one = rig.store();
    let settled = settle(lock(&mut one, 2), &boxed());
    end_open_transactions(&mut rig);
    assert!(one.lock_inbox(&[]).is_err(), "the loss shows");
    assert!(one.look(None).is_ok(), "there is another connection");
    let err = one.deliver_inbox(&settled).unwrap_err();
    assert!(matches!(err, StoreError::Unavailable(_)), "{err}");
    assert_eq!((rig.count("inbox"), rig.count("history")), (0, 0));
    assert_eq!(lock(&mut rig.store(), 2).len(), 2);
}

#[test]
fn a_search_goes_on_behind_the_last_one() {
    let mut rig = Rig::new();
    let mut store = rig.store();
    rig.fill(6);
    let first = find(&mut store, 3);
    let second = store.find_inbox(3, 0).unwrap();
    assert!(second.len() == 3 && !second.iter().any(|place| first.contains(place)));
    assert!(store.find_inbox(1, 0).unwrap().is_empty());
}

#[test]
fn what_is_locked_is_nobody_elses_and_what_is_not_delivered_is_free_again() {
    let mut rig = Rig::new();
    let all = sorted(rig.fill(6));
    let (mut one, mut other) = (rig.store(), rig.store());
    let leases = lock(&mut one, 6);
    assert_eq!(sorted(ids(&leases)), all);
    assert!(lock(&mut other, 6).is_empty());
    assert!(other.acquire(6, true).unwrap().is_empty());
    assert_eq!(rig.status(all[0]), "pending");

    let settled = settle(leases.into_iter().take(4).collect(), &boxed());
    one.deliver_inbox(&settled).unwrap();
    let left = other.acquire(6, true).unwrap();
    assert_eq!((rig.count("inbox"), left.len()), (4, 2));
    for settled in &settled {
        assert_eq!(rig.status(settled.key.id), "sent");
        assert_eq!(rig.attempts(settled.key.id), 1);
    }
    assert!(left.iter().all(|lease| lease.message().attempt == 1));
}

/// What the tables say of a message but for its ids and times, and the lease.
fn picture(rig: &mut Rig, id: MessageId) -> Vec<Value> {
    let forget = |line: &str| {
        let mut row: Value = serde_json::from_str(line).unwrap();
        for key in ["id", "notification_id", "created_at", "finished_at", "claim", "payload"] {
            row.as_object_mut().unwrap().remove(key);
        }
        row
    };
    rig.picture(id).lines().filter(|line| !line.is_empty()).map(forget).collect()
}

#[test]
fn the_tables_say_the_same_as_after_a_delivery_with_a_lease() {
    let mut rig = Rig::new();
    let targets = ["plain", "a,b", "{c}", "\"d\\", "", "null"].map(str::to_owned);
    let notification = || Notification { targets: targets.to_vec(), ..to_inbox() };
    let mut store = rig.store();
    let leased = rig.put(&notification());
    let lease = acquire_one(&mut store);
    store.commit(&settle(vec![lease], &boxed())).unwrap();
    let direct = rig.put(&notification());
    let leases = lock(&mut store, 1);
    assert_eq!(leases[0].message().targets, targets);
    store.deliver_inbox(&settle(leases, &boxed())).unwrap();
    let wanted = picture(&mut rig, leased);
    assert_eq!(picture(&mut rig, direct), wanted);
    assert_eq!(wanted.len(), 2, "history and inbox");
    let actions = json!([{"label": "Open", "url": "https://app.example.com/"}]);
    assert_eq!((&wanted[1]["actions"], &wanted[1]["targets"]), (&actions, &json!(targets)));
    let sql =
        "select count(*) from postrider.inbox i join postrider.history h using (id, created_at)";
    assert_eq!(rig.number(sql), 2);
}

#[test]
fn one_entry_that_cannot_be_stored_writes_none_and_unlocks_all() {
    let mut rig = Rig::new();
    rig.fill(3);
    let mut store = rig.store();
    let mut settled = settle(lock(&mut store, 3), &boxed());
    let title = "a\0b".to_owned();
    let entry = InboxEntry { title, content: String::new(), actions: Vec::new() };
    settled[1].outcome = Outcome::Sent(Receipt { inbox: Some(entry), ..Receipt::default() });
    let err = store.deliver_inbox(&settled).unwrap_err();
    assert!(matches!(err, StoreError::Refused { .. }), "{err}");
    assert_eq!((rig.count("inbox"), rig.count("history")), (0, 0));
    assert_eq!(rig.store().acquire(3, true).unwrap().len(), 3);
}

#[test]
fn a_worker_that_dies_leaves_no_lock() {
    let mut rig = Rig::new();
    rig.fill(3);
    let (mut one, mut other) = (rig.store(), rig.store());
    let settled = settle(lock(&mut one, 3), &boxed());
    end_open_transactions(&mut rig);
    let err = one.deliver_inbox(&settled).unwrap_err();
    assert!(matches!(err, StoreError::Unavailable(_)), "{err}");
    assert_eq!((rig.count("inbox"), rig.count("history")), (0, 0));
    assert_eq!(lock(&mut other, 3).len(), 3);
}

/// Where the messages lie.
fn lie(rig: &mut Rig) -> Vec<String> {
    let sql = "select array_agg(ctid::text) from postrider.messages";
    rig.client.query_one(sql, &[]).unwrap().get(0)
}

/// Whether a message of this kind lies at one of these places.
fn lies_there(rig: &mut Rig, kind: &str, places: &[String]) -> bool {
    let sql = format!(
        "select exists (select from postrider.messages where {kind} and ctid = any ($1::text[]::tid[]))"
    );
    rig.client.query_one(&sql, &[&places]).unwrap().get(0)
}

#[test]
fn a_lease_that_lies_there_by_now_is_left_alone() {
    let mut rig = Rig::new();
    rig.fill(3);
    let (mut one, mut other) = (rig.store(), rig.store());
    let places = find(&mut one, 3);
    let lay = lie(&mut rig);
    let first = other.acquire(1, true).unwrap();
    other.commit(&settle(first, &boxed())).unwrap();
    rig.client.batch_execute("vacuum postrider.messages").unwrap();
    let second = other.acquire(1, true).unwrap();
    assert!(lies_there(&mut rig, "claim <> 0", &lay));
    let locked = one.lock_inbox(&places).unwrap();
    assert_eq!(locked.len(), 1, "the third");
    assert_ne!(locked[0].key().id, second[0].key().id);
}

#[test]
fn who_lies_there_by_now_is_locked_only_if_it_can_go_to_the_inbox_at_once() {
    let mut rig = Rig::new();
    rig.fill(4);
    let (mut one, mut other) = (rig.store(), rig.store());
    let places = find(&mut one, 4);
    let lay = lie(&mut rig);
    // One is leased and given back, so lies elsewhere; one is being delivered; one was finished.
    let mut leases = other.acquire(3, true).unwrap();
    let third = leases.pop().unwrap();
    other.commit(&settle(vec![third], &deferred(Duration::ZERO))).unwrap();
    let second = leases.pop().unwrap();
    other.commit(&settle(vec![second], &boxed())).unwrap();
    rig.client.batch_execute("vacuum postrider.messages").unwrap();
    for _ in 0..4 {
        rig.put(&to_webhook());
    }
    assert!(lies_there(&mut rig, "method = 'webhook'", &lay));
    let locked = one.lock_inbox(&places).unwrap();
    assert_eq!(locked.len(), 1);
    assert!(locked.iter().all(|lease| lease.message().method == "inbox"));
    one.deliver_inbox(&settle(locked, &boxed())).unwrap();
    assert_eq!(rig.count("inbox"), 2);
}

#[test]
fn a_recipient_who_turned_it_off_is_told_of() {
    let mut rig = Rig::new();
    rig.fill(2);
    rig.execute(
        "insert into postrider.preferences (recipient_id, template_id, disabled)
         select 'ada', id, true from postrider.templates",
        &[],
    );
    let mut store = rig.store();
    let leases = lock(&mut store, 2);
    assert!(leases.iter().all(|lease| lease.message().disabled && lease.waited().is_some()));
}
