//! What is written of attempts and endings.

use std::time::{Duration, Instant};

use postrider::outcome::{Outcome, Receipt};
use postrider::store::Store;
use postrider::store::postgres::PgStore;
use uuid::Uuid;

use crate::rig::{LEASE, Rig, acquire_one, deferred, failed, released, sent, settle};

/// Leases the one due message and records `outcome`.
#[track_caller]
fn attempt(store: &mut PgStore, outcome: &Outcome) {
    let lease = acquire_one(store);
    assert_eq!(store.commit(&settle(vec![lease], outcome)).unwrap().len(), 1);
}

/// Rows of attempts, as `number outcome code detail`.
fn attempts(rig: &mut Rig) -> Vec<String> {
    let sql = "select concat_ws(' ', attempt, outcome, code, detail) from postrider.attempts order by claim";
    rig.client.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

/// Rows of history, as `attempt outcome code note`.
fn endings(rig: &mut Rig) -> Vec<String> {
    let sql = "select concat_ws(' ', attempt, outcome, code, note) from postrider.history";
    rig.client.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

#[test]
fn a_success_at_the_first_try_has_no_row_of_attempts() {
    let mut rig = Rig::new();
    let id = rig.fill(1)[0];
    let receipt = Receipt {
        code: Some("250".into()),
        detail: Some("queued as 1".into()),
        ..Receipt::default()
    };
    attempt(&mut rig.store(), &Outcome::Sent(receipt));
    assert_eq!(attempts(&mut rig), [""; 0]);
    assert_eq!(endings(&mut rig), ["1 sent 250 queued as 1"]);
    assert_eq!((rig.count("messages"), rig.status(id).as_str()), (0, "sent"));
}

#[test]
fn each_other_attempt_has_a_row() {
    let mut rig = Rig::new();
    rig.fill(1);
    let mut store = rig.store();
    attempt(&mut store, &deferred(Duration::ZERO));
    attempt(&mut store, &deferred(Duration::ZERO));
    attempt(&mut store, &sent());
    let waited = "temporary_failure 451 try later";
    assert_eq!(attempts(&mut rig), [format!("1 {waited}"), format!("2 {waited}"), "3 sent".into()]);
    assert_eq!(endings(&mut rig), ["3 sent"]);
}

#[test]
fn a_failure_for_good_says_why() {
    let mut rig = Rig::new();
    rig.fill(1);
    attempt(&mut rig.store(), &failed());
    assert_eq!(attempts(&mut rig), ["1 permanent_failure 550 no such user"]);
    assert_eq!(endings(&mut rig), ["1 permanent_failure 550 no such user"]);
}

#[test]
fn a_release_gives_the_attempt_back_and_leaves_no_trace() {
    let mut rig = Rig::new();
    let id = rig.fill(1)[0];
    let mut store = rig.store();
    for _ in 0..3 {
        attempt(&mut store, &released());
        assert_eq!((rig.attempts(id), rig.status(id).as_str()), (0, "pending"));
    }
    attempt(&mut store, &deferred(Duration::ZERO));
    attempt(&mut store, &released());
    assert_eq!((rig.attempts(id), rig.status(id).as_str()), (1, "temporary_failure"));
    assert_eq!(attempts(&mut rig), ["1 temporary_failure 451 try later"]);
}

#[test]
fn an_uncounted_deferral_gives_the_attempt_back_and_is_noted_once() {
    let mut rig = Rig::new();
    let id = rig.fill(1)[0];
    let mut store = rig.store();
    let blocked = Outcome::Deferred {
        delay: Duration::ZERO,
        counted: false,
        code: "relay".into(),
        reason: "relay is down".into(),
    };
    attempt(&mut store, &blocked);
    assert_eq!((rig.attempts(id), rig.status(id).as_str()), (0, "temporary_failure"));
    attempt(&mut store, &blocked);
    attempt(&mut store, &sent());
    let noted = "1 temporary_failure relay relay is down";
    assert_eq!(attempts(&mut rig), [noted]);
    assert_eq!(endings(&mut rig), ["1 sent"]);
}

#[test]
fn endings_without_a_delivery_count_no_attempt() {
    for (outcome, ending) in [
        (Outcome::Inhibited, "0 inhibited disabled by recipient"),
        (
            Outcome::Expired { counted: false, reason: "expired before an attempt".into() },
            "0 expired expired expired before an attempt",
        ),
        (
            Outcome::Failed { counted: false, code: "lease_expired".into(), reason: "x".into() },
            "0 permanent_failure lease_expired x",
        ),
    ] {
        let mut rig = Rig::new();
        rig.fill(1);
        attempt(&mut rig.store(), &outcome);
        assert_eq!(attempts(&mut rig), [""; 0]);
        assert_eq!(endings(&mut rig), [ending]);
    }
}

#[test]
fn a_deferral_is_due_after_its_delay_counted_from_the_commit() {
    let mut rig = Rig::new();
    rig.fill(1);
    attempt(&mut rig.store(), &deferred(Duration::from_millis(90_250)));
    let sql =
        "select (date_part('epoch', due_at - created_at) * 1000)::bigint from postrider.messages";
    let millis = rig.number(sql);
    assert!((90_250..120_000).contains(&millis), "{millis}");
    let sql = "select count(*) from postrider.messages
                where claim = 0 and lease_until is null and claimed_by is null";
    assert_eq!(rig.number(sql), 1);
}

#[test]
fn an_attempt_names_its_worker_and_when_it_began_and_ended() {
    let mut rig = Rig::new();
    rig.fill(1);
    let worker = Uuid::new_v4();
    let mut store = PgStore::new(rig.connector(), worker, LEASE, &["inbox".into()]);
    let lease = acquire_one(&mut store);
    let claimed_by: Uuid =
        rig.client.query_one("select claimed_by from postrider.messages", &[]).unwrap().get(0);
    assert_eq!(claimed_by, worker);
    let began = Instant::now().checked_sub(Duration::from_secs(20)).unwrap();
    assert_eq!(store.commit(&[lease.settle(began, failed())]).unwrap().len(), 1);
    let sql = "select notifier, date_part('epoch', finished_at - started_at),
                      date_part('epoch', now() - finished_at) from postrider.attempts";
    let row = rig.client.query_one(sql, &[]).unwrap();
    assert_eq!(row.get::<_, Uuid>(0), worker);
    let (lasted, ago): (f64, f64) = (row.get(1), row.get(2));
    assert!((20.0..21.0).contains(&lasted), "{lasted}");
    assert!((0.0..15.0).contains(&ago), "{ago}");
}
