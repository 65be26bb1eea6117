//! What an acquire leases, and in which order.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, SystemTime};

use postgres::{Client, IsolationLevel, Transaction};
use postrider::enqueue::{Notification, enqueue};
use postrider::lease::{Lease, Unreadable};
use postrider::message::{MessageId, Recipient};
use postrider::outcome::Outcome;
use postrider::store::admin::set_paused;
use postrider::store::postgres::PgStore;
use postrider::store::{Room, Store};
use uuid::Uuid;

use crate::rig::{
    LEASE, LIMIT, Leases, Rig, acquire_one, deferred, failed, ids, only_id, released, sent, settle,
    to_inbox,
};
use crate::support::wait_until;

/// Acquires without a look at what is behind the floor, unless it is time for that.
fn acquire(store: &mut PgStore, limit: usize) -> Vec<Lease> {
    store.leases(limit, false)
}

#[test]
fn no_more_than_the_limit_is_leased_and_each_message_once() {
    let mut rig = Rig::new();
    let all: BTreeSet<_> = rig.fill(25).into_iter().collect();
    let (mut one, mut other) = (rig.store(), rig.store());
    let mut seen = Vec::new();
    for (limit, expected) in [(10, 10), (1, 1), (10, 10), (10, 4), (10, 0)] {
        let leases = acquire(if seen.len() == 10 { &mut other } else { &mut one }, limit);
        assert_eq!(leases.len(), expected);
        seen.extend(ids(&leases));
    }
    assert_eq!(seen.len(), 25);
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), all);
    assert_eq!(rig.number("select count(*) from postrider.messages where claim <> 0"), 25);
}

#[test]
fn an_acquire_raises_the_claim_and_an_outcome_counts_the_attempt() {
    let mut rig = Rig::new();
    let id = rig.fill(1)[0];
    let mut store = rig.store();
    let mut last_claim = 0;
    for attempt in 1..=3 {
        let lease = acquire_one(&mut store);
        assert_eq!((lease.key().id, lease.message().attempt), (id, attempt));
        assert!(last_claim < lease.key().claim);
        last_claim = lease.key().claim;
        assert_eq!((rig.status(id).as_str(), rig.attempts(id)), ("leased", rig.attempts(id)));
        store.commit(&settle(vec![lease], &deferred(Duration::ZERO))).unwrap();
    }
    assert_eq!(rig.attempts(id), 3);
}

#[test]
fn a_lease_that_ran_out_costs_a_message_that_was_only_leased_nothing() {
    let mut rig = Rig::new();
    let id = rig.fill(1)[0];
    let lease = acquire_one(&mut rig.store());
    assert!(!lease.message().suspect);
    // Nobody ever acquires it as suspect, however often workers die.
    for _ in 0..20 {
        rig.expire_leases();
        assert!(rig.store().leases(1, true).is_empty());
    }
    let mut store = rig.store();
    let lease = store.suspects().remove(0);
    let message = lease.message();
    assert_eq!((lease.key().id, message.attempt, message.lapses), (id, 1, 0));
    assert!(message.suspect);
    store.commit(&settle(vec![lease], &sent())).unwrap();
    assert_eq!((rig.status(id).as_str(), rig.attempts(id)), ("sent", 1));
}

#[test]
fn a_lease_that_ran_out_while_the_message_was_delivered_alone_counts_as_a_lapse() {
    let mut rig = Rig::new();
    let id = rig.fill(1)[0];
    acquire_one(&mut rig.store()).key();
    rig.expire_leases();
    for lapses in 0..4 {
        let lease = rig.store().suspects().remove(0);
        assert_eq!((lease.message().lapses, lease.message().attempt), (lapses, 1));
        rig.expire_leases();
    }
    // An outcome shows that it can be delivered: it is suspect no more, and its lapses stay.
    let mut store = rig.store();
    let lease = store.suspects().remove(0);
    store.commit(&settle(vec![lease], &deferred(Duration::ZERO))).unwrap();
    let lease = store.leases(1, true).remove(0);
    let message = lease.message();
    assert_eq!((message.suspect, message.lapses, message.attempt), (false, 4, 2));
    assert_eq!(rig.attempts(id), 1);
}

#[test]
fn a_suspect_that_was_not_begun_stays_one() {
    let mut rig = Rig::new();
    rig.fill(1);
    acquire_one(&mut rig.store()).key();
    rig.expire_leases();
    let mut store = rig.store();
    let lease = store.suspects().remove(0);
    store.commit(&settle(vec![lease], &released())).unwrap();
    assert!(store.leases(1, true).is_empty());
    assert_eq!(store.suspects().remove(0).message().lapses, 0);
}

#[test]
fn an_acquire_stops_at_the_bytes_that_there_is_room_for() {
    let mut rig = Rig::new();
    for _ in 0..6 {
        rig.put(&to_inbox().with_label("text", "x".repeat(10_000)));
    }
    let mut store = rig.store();
    let mut acquire = |bytes| {
        let acquired = store.acquire(Room { messages: 10, bytes }, true).unwrap();
        (acquired.leases.len(), acquired.more)
    };
    assert_eq!(acquire(25_000), (3, true), "the one that reaches the limit is the last");
    assert_eq!(acquire(1), (1, true), "one always fits");
    assert_eq!(acquire(1 << 20), (2, false));
    assert_eq!(acquire(1 << 20), (0, false));
}

#[test]
fn a_worker_acquires_only_messages_of_methods_that_it_carries() {
    let mut rig = Rig::new();
    rig.fill(2);
    let to_webhook = Notification { methods: vec!["webhook".into()], ..to_inbox() };
    let webhook = rig.put(&to_webhook);
    let connector = rig.connector();
    let mut store = PgStore::new(connector, Uuid::new_v4(), LEASE, &["webhook".into()]);
    assert_eq!(ids(&store.leases(10, true)), [webhook]);
    let look = store.look(None).unwrap();
    assert!(!look.due, "what it does not carry is not due for it");
    assert_eq!(rig.store().leases(10, true).len(), 2);
}

#[test]
fn each_method_has_its_turn_while_the_others_are_never_empty() {
    let mut rig = Rig::new();
    rig.fill(30);
    let to_webhook = Notification { methods: vec!["webhook".into()], ..to_inbox() };
    let webhook = rig.put(&to_webhook);
    let mut store = rig.store();
    let turns: Vec<_> = (0..6).flat_map(|_| ids(&acquire(&mut store, 2))).collect();
    assert!(turns.contains(&webhook));
}

/// Names of the checks of the table of messages.
fn drop_checks(rig: &mut Rig) {
    let sql = "do $$ declare name text; begin
        for name in select conname from pg_constraint
                     where conrelid = 'postrider.messages'::regclass and contype = 'c' loop
            execute format('alter table postrider.messages drop constraint %I', name);
        end loop; end $$";
    rig.client.batch_execute(sql).unwrap();
}

#[test]
fn a_row_that_the_client_cannot_read_is_leased_with_the_others_and_says_so() {
    let mut rig = Rig::new();
    let all = rig.fill(11);
    // What the checks refuse, if somebody drops them.
    drop_checks(&mut rig);
    let sql = "update postrider.messages set targets = array[['a', 'b'], ['c', 'd']] where id = $1";
    rig.execute(sql, &[&all[4].0]);
    let mut store = rig.store();
    let leases = store.leases(20, true);
    assert_eq!(leases.len(), 11);
    for lease in &leases {
        let is_bad = matches!(lease.message().unreadable, Some(Unreadable::Row(_)));
        assert_eq!(is_bad, lease.key().id == all[4]);
    }
    assert_eq!(store.commit(&settle(leases, &failed())).unwrap().len(), 11);
}

/// Enqueues 20 mails, of which the server cannot read the one that is returned with them.
fn with_an_unreadable_row(rig: &mut Rig) -> (Vec<MessageId>, MessageId) {
    let by_mail = |n: usize| {
        let email = Some(format!("r{n}@example.com"));
        let recipient = Recipient { id: format!("r{n}"), email, ..Recipient::default() };
        Notification { recipient, methods: vec!["smtp".into()], ..to_inbox() }
    };
    let all: Vec<_> = (0..20).map(|n| rig.put(&by_mail(n))).collect();
    let sql = "insert into postrider.suppressions (address, code, reason)
            values ('r13@example.com', '550', '');
        create function public.readable(address text) returns boolean language plpgsql as $$ begin
            raise exception 'invalid byte sequence' using errcode = '22021';
        end $$;
        alter table postrider.suppressions rename to stored;
        create view postrider.suppressions as
            select * from postrider.stored where public.readable(address)";
    rig.client.batch_execute(sql).unwrap();
    let bad = all[13];
    (all, bad)
}

fn is_unreadable(lease: &Lease) -> bool {
    matches!(lease.message().unreadable, Some(Unreadable::Row(_)))
}

#[test]
fn a_row_that_the_server_cannot_send_is_found_and_the_others_are_leased() {
    let mut rig = Rig::new();
    let (_, bad) = with_an_unreadable_row(&mut rig);
    let mut store = rig.store();
    let mut seen = BTreeSet::new();
    while seen.len() < 20 {
        for lease in store.leases(20, true) {
            let id = lease.key().id;
            assert_eq!(is_unreadable(&lease), id == bad, "{:?}", lease.message().unreadable);
            assert!(seen.insert(id));
        }
    }
    let leases = rig.number("select count(*) from postrider.messages where claim <> 0");
    assert_eq!(leases, 20, "each is leased once");
}

#[test]
fn a_suspect_that_the_server_cannot_send_does_not_stand_before_the_others() {
    let mut rig = Rig::new();
    let (all, bad) = with_an_unreadable_row(&mut rig);
    rig.execute("update postrider.messages set suspect = true", &[]);
    let mut store = rig.store();
    let mut seen = BTreeSet::new();
    while let Some(lease) = store.acquire_suspect().unwrap() {
        assert_eq!(is_unreadable(&lease), lease.key().id == bad);
        assert!(seen.insert(lease.key().id));
    }
    assert_eq!(seen, all.into_iter().collect());
}

/// Delivers until nothing is due; returns the messages in order of delivery.
fn drain(mut store: PgStore) -> Vec<MessageId> {
    let mut seen = Vec::new();
    loop {
        let leases = acquire(&mut store, 7);
        if leases.is_empty() {
            return seen;
        }
        let written = store.commit(&settle(leases, &sent())).unwrap();
        seen.extend(written.into_iter().map(|key| key.id));
    }
}

#[test]
fn many_workers_at_once_lease_each_message_once() {
    let mut rig = Rig::new();
    let all = rig.fill(400);
    let mut seen: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let store = rig.store();
                scope.spawn(|| drain(store))
            })
            .collect();
        workers.into_iter().flat_map(|it| it.join().unwrap()).collect()
    });
    // What one had locked while another looked is left to the next look.
    seen.extend(drain(rig.store()));
    seen.sort_unstable();
    assert_eq!(seen, all);
    assert_eq!((rig.count("messages"), rig.count("history_sent")), (0, 400));
}

#[test]
fn lanes_come_first_then_due_times_then_ids() {
    let mut rig = Rig::new();
    let mut put = |priority: u8, minutes_ago: i32| {
        let id = rig.put(&Notification { priority, ..to_inbox() });
        let sql = "update postrider.messages set due_at = '2024-01-01Z'::timestamptz
                    - make_interval(mins => $2) where id = $1";
        rig.execute(sql, &[&id.0, &minutes_ago]);
        id
    };
    let expected = [put(0, 9), put(0, 5), put(0, 5), put(1, 30), put(2, 0), put(3, 99)];
    assert!(expected[1] < expected[2], "of two that are due together the older one goes first");
    let mut store = rig.store();
    let mut seen = ids(&store.leases(4, true));
    seen.extend(ids(&store.leases(4, true)));
    assert_eq!(seen, expected);
}

#[test]
fn each_lane_has_its_turn_while_the_first_is_never_empty() {
    let mut rig = Rig::new();
    let low = [1, 2, 3].map(|priority| rig.put(&Notification { priority, ..to_inbox() }));
    rig.fill(32);
    let mut store = rig.store();
    let turns: Vec<_> = (0..24).flat_map(|_| ids(&acquire(&mut store, 1))).collect();
    assert_eq!(turns.len(), 24);
    assert!(low.iter().all(|id| turns.contains(id)));
}

#[test]
fn a_scheduled_message_is_not_acquired_early() {
    let mut rig = Rig::new();
    let at = SystemTime::now() + Duration::from_hours(1);
    let later = rig.put(&Notification { schedule_at: Some(at), ..to_inbox() });
    let at = SystemTime::now() + Duration::from_millis(300);
    let id = rig.put(&Notification { schedule_at: Some(at), ..to_inbox() });
    let mut store = rig.store();
    let look = store.look(None).unwrap();
    if !look.due {
        assert!(look.next_due.unwrap() <= Duration::from_millis(300));
    }
    wait_until(LIMIT, "it is acquired", || !acquire(&mut store, 1).is_empty());
    let sql = "select count(*) from postrider.messages
                where lease_until - interval '600 seconds' >= due_at";
    assert_eq!(rig.number(sql), 1, "by the clock of the database");
    assert_eq!((rig.status(id).as_str(), rig.status(later).as_str()), ("leased", "pending"));
}

#[test]
fn c62_the_time_zone_of_the_database_moves_no_due_time_and_no_lease() {
    let mut rig = Rig::new();
    let name: String = rig.client.query_one("select current_database()::text", &[]).unwrap().get(0);
    rig.execute(&format!("alter database {name} set timezone = 'Asia/Kolkata'"), &[]);
    rig.client = rig.db.client();
    let hour = Duration::from_hours(1);
    rig.put(&Notification { schedule_at: Some(SystemTime::now() + hour), ..to_inbox() });
    let now = rig.put(&to_inbox());
    let mut store = rig.store();
    assert_eq!(acquire_one(&mut store).key().id, now);
    let look = store.look(None).unwrap();
    assert!(look.next_due.unwrap().abs_diff(hour) < Duration::from_secs(100), "{look:?}");
    let sql = "select count(*) from postrider.messages where claim <> 0 and due_at <= now()
                  and lease_until between now() + interval '500 s' and now() + interval '600 s'";
    assert_eq!(rig.number(sql), 1);
}

#[test]
fn c65_nothing_is_acquired_while_paused_not_even_what_a_dead_worker_held() {
    let mut rig = Rig::new();
    rig.fill(20);
    assert_eq!(acquire(&mut rig.store(), 5).len(), 5);
    let mut store = rig.store();
    rig.expire_leases();
    set_paused(&mut rig.client, true).unwrap();
    assert!(store.leases(20, true).is_empty());
    let look = store.look(None).unwrap();
    assert!(look.paused && look.due);
    assert!(rig.store().leases(20, true).is_empty(), "for all workers");
    assert!(rig.store().suspects().is_empty());
    set_paused(&mut rig.client, false).unwrap();
    assert!(!store.look(None).unwrap().paused);
    assert_eq!(store.leases(30, true).len(), 15);
    set_paused(&mut rig.client, true).unwrap();
    assert!(store.suspects().is_empty() && store.look(None).unwrap().suspect);
    set_paused(&mut rig.client, false).unwrap();
    assert_eq!(store.suspects().len(), 5);
}

#[test]
fn a_pause_that_cannot_be_read_holds() {
    let mut rig = Rig::new();
    rig.fill(1);
    let mut store = rig.store();
    for sql in [
        "update postrider.settings set value = '\"perhaps\"' where name = 'paused'",
        "update postrider.settings set value = 'null' where name = 'paused'",
        "delete from postrider.settings where name = 'paused'",
    ] {
        rig.execute(sql, &[]);
        assert!(store.leases(1, true).is_empty(), "{sql}");
        assert!(store.look(None).unwrap().paused, "{sql}");
        assert!(postrider::store::admin::stats(&mut rig.client).unwrap().paused, "{sql}");
    }
    set_paused(&mut rig.client, false).unwrap();
    acquire_one(&mut store).key();
}

#[test]
fn a_lease_that_ran_out_is_found_behind_the_floor() {
    let mut rig = Rig::new();
    let first = rig.fill(1)[0];
    let mut store = rig.store();
    assert_eq!(ids(&acquire(&mut store, 1)), [first]);
    rig.fill(3);
    assert_eq!(acquire(&mut store, 3).len(), 3);
    let sql = "update postrider.messages set lease_until = now() - interval '1 s' where id = $1";
    rig.execute(sql, &[&first.0]);
    assert!(store.look(None).unwrap().due);
    assert_eq!(ids(&store.suspects()), [first]);
}

/// Commits an enqueue only after later ones were acquired; returns its id.
fn commit_late(rig: &mut Rig, store: &mut PgStore) -> MessageId {
    let mut producer = rig.db.client();
    let mut tx = producer.transaction().unwrap();
    let late = only_id(&enqueue(&mut tx, &to_inbox()).unwrap());
    rig.fill(3);
    assert_eq!(acquire(store, 10).len(), 3);
    tx.commit().unwrap();
    let sql = "select count(*) from postrider.messages q
                where claim = 0 and due_at < all (select due_at from postrider.messages where claim <> 0)";
    assert_eq!(rig.number(sql), 1, "it is behind the floor");
    late
}

#[test]
fn what_was_leased_is_handed_out_though_the_look_behind_the_floor_fails() {
    let mut rig = Rig::new();
    // Fails where a first statement has leased something: in the second of one acquire.
    let sql = "create sequence failures;
        create function fail() returns trigger language plpgsql as $$ begin
            if exists (select from postrider.messages where claim <> 0) then
                perform nextval('public.failures');
                raise exception 'scripted';
            end if;
            return null;
        end $$;
        create trigger fail before update on postrider.messages execute function fail()";
    rig.client.batch_execute(sql).unwrap();
    let mut store = rig.store();
    wait_until(LIMIT * 3, "a second statement fails", || {
        rig.fill(2);
        assert_eq!(acquire(&mut store, 10).len(), 2);
        rig.execute("delete from postrider.messages", &[]);
        rig.number("select count(*) from failures where is_called") == 1
    });
    rig.execute("drop trigger fail on postrider.messages", &[]);
    rig.fill(2);
    assert_eq!(acquire(&mut store, 10).len(), 2);
}

/// A transaction with a snapshot, which keeps what dies from now on in place.
fn pinned(reader: &mut Client) -> Transaction<'_> {
    let repeatable = reader.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
    let mut pin = repeatable.start().unwrap();
    pin.query_one("select count(*) from postrider.messages", &[]).unwrap();
    pin
}

#[test]
fn sweeps_that_find_nothing_leave_the_floor_where_it_was() {
    let mut rig = Rig::new();
    let mut reader = rig.db.client();
    let _pin = pinned(&mut reader);
    let mut store = rig.store();
    rig.fill(4000);
    let leases = store.leases(5000, true);
    assert_eq!(store.commit(&settle(leases, &sent())).unwrap().len(), 4000);
    assert!(store.leases(10, true).is_empty());
    for _ in 0..100 {
        assert!(acquire(&mut store, 10).is_empty());
    }
    drop(store); // The session hands in its figures at its end.
    let sql = "select idx_tup_read from pg_stat_user_indexes where indexrelname = 'messages_due'";
    let read = || -> i64 { rig.db.client().query_one(sql, &[]).unwrap().get(0) };
    wait_until(LIMIT, "the figures are in", || 4000 <= read());
    // Each of the hundred would have read 4,000 entries that are dead.
    assert!(read() < 200_000, "{} index entries", read());
}

#[test]
fn a_producer_that_commits_late_is_found_by_a_sweep() {
    let mut rig = Rig::new();
    let mut store = rig.store();
    let late = commit_late(&mut rig, &mut store);
    assert!(store.look(None).unwrap().due);
    assert_eq!(ids(&store.leases(10, true)), [late]);
}

#[test]
fn a_producer_that_commits_late_is_found_though_the_queue_is_never_empty_and_nobody_asks() {
    let mut rig = Rig::new();
    let mut store = rig.store();
    let late = commit_late(&mut rig, &mut store);
    // A machine that is busy makes sweeps dear, and so rare: up to half a minute apart.
    wait_until(LIMIT * 3, "the late message is acquired", || {
        rig.fill(2);
        let leases = acquire(&mut store, 1);
        let found = ids(&leases) == [late];
        store.commit(&settle(leases, &sent())).unwrap();
        found
    });
}

#[test]
fn what_is_released_or_deferred_for_no_time_is_acquired_again_without_a_sweep() {
    let mut rig = Rig::new();
    rig.fill(3);
    let mut store = rig.store();
    for outcome in [released(), deferred(Duration::ZERO), released()] {
        let leases = acquire(&mut store, 3);
        assert_eq!(leases.len(), 3, "before {outcome:?}");
        assert_eq!(store.commit(&settle(leases, &outcome)).unwrap().len(), 3);
    }
}

#[test]
fn a_pinned_snapshot_keeps_nothing_from_being_delivered() {
    let mut rig = Rig::new();
    let mut reader = rig.db.client();
    let mut pin = pinned(&mut reader);
    let mut store = rig.store();
    for _ in 0..6 {
        rig.fill(100);
        let mut left = 100;
        while 0 < left {
            let leases = acquire(&mut store, 30);
            assert!(!leases.is_empty());
            left -= store.commit(&settle(leases, &sent())).unwrap().len();
        }
    }
    assert_eq!((rig.count("messages"), rig.count("history_sent")), (0, 600));
    let seen: i64 = pin.query_one("select count(*) from postrider.history", &[]).unwrap().get(0);
    assert_eq!(seen, 0, "the snapshot was held to the end");
}

#[test]
fn the_lease_carries_what_the_template_and_the_endpoint_are_now() {
    let mut rig = Rig::new();
    postrider::store::admin::set_endpoint(&mut rig.client, "ops", "https://example.com/1").unwrap();
    let id = rig.put(&Notification {
        methods: vec!["webhook".into()],
        endpoint: Some("ops".into()),
        ..to_inbox()
    });
    postrider::store::admin::set_endpoint(&mut rig.client, "ops", "https://example.com/2").unwrap();
    rig.execute("update postrider.templates set body = 'new'", &[]);
    let mut store = rig.store();
    let lease = acquire_one(&mut store);
    let message = lease.message();
    assert_eq!(lease.key().id, id);
    assert_eq!(message.endpoint.as_deref(), Some("ops"));
    let endpoint = store.endpoint("ops").unwrap().unwrap();
    assert_eq!(message.endpoint_version, Some(endpoint.version));
    assert_eq!(endpoint.url, "https://example.com/2");
    let template = store.template(message.template_id).unwrap().unwrap();
    assert_eq!(message.template_version, Some(template.version));
    assert_eq!((template.version, template.body.as_str()), (2, "new"));
    assert_eq!(store.template(Uuid::new_v4()).unwrap(), None);

    rig.execute("delete from postrider.endpoints", &[]);
    rig.expire_leases();
    let lease = acquire_one(&mut store);
    let message = lease.message();
    assert_eq!((message.endpoint.as_deref(), message.endpoint_version), (Some("ops"), None));
}

#[test]
fn time_that_is_over_is_known_at_the_acquire() {
    let mut rig = Rig::new();
    let past = SystemTime::now() - Duration::from_mins(1);
    rig.put(&Notification { expires_at: Some(past), ..to_inbox() });
    assert_eq!(acquire_one(&mut rig.store()).message().expires_in, Some(Duration::ZERO));
}

#[test]
fn what_a_stop_gives_back_is_not_held_and_what_is_put_off_is() {
    let mut rig = Rig::new();
    rig.fill(1);
    let held = |rig: &mut Rig| {
        rig.number("select count(*) from postrider.messages where held_since is not null")
    };
    let mut store = rig.store();
    let put_off = Outcome::Released { delay: Duration::from_millis(1) };
    for (outcome, expected) in
        [(released(), 0), (put_off, 1), (released(), 1), (deferred(Duration::ZERO), 0)]
    {
        let mut leases = Vec::new();
        wait_until(LIMIT, "it is due", || {
            leases = store.leases(1, true);
            !leases.is_empty()
        });
        store.commit(&settle(leases, &outcome)).unwrap();
        assert_eq!(held(&mut rig), expected, "{outcome:?}");
    }
}
