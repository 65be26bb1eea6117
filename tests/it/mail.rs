//! What the queue knows about e-mail: dead addresses, and mails that wait for an operator.

use postrider::config::Config;
use postrider::enqueue::Notification;
use postrider::message::{MessageId, Recipient};
use postrider::outcome::{Failure, Outcome};
use postrider::retry::{Attempted, RetryPolicy};
use postrider::store::Store;
use postrider::store::admin::messages::{self, Changed};
use postrider::store::admin::suppressions;
use postrider::store::postgres::PgStore;
use uuid::Uuid;

use crate::rig::{Leases, Rig, TEMPLATE, acquire_one, ada, failed, sent, settle};

/// Enqueues a message to `email` that is like no other.
fn put(rig: &mut Rig, method: &str, email: &str) -> MessageId {
    let recipient = Recipient { email: Some(email.into()), ..ada() };
    let unlike =
        Notification::new(TEMPLATE, recipient).with_label("no", Uuid::new_v4().to_string());
    rig.put(&Notification { methods: vec![method.into()], ..unlike })
}

/// Acquires the one message that is due, and ends it.
fn end(store: &mut PgStore, outcome: &Outcome) {
    let leases = vec![acquire_one(store)];
    assert_eq!(store.commit(&settle(leases, outcome)).unwrap().len(), 1);
}

fn refused() -> Outcome {
    let reason = "RCPT TO: 550 5.1.1 no such user".to_owned();
    Outcome::BadAddress { code: "550".into(), reason }
}

/// Whether the next message by `method` to `email` is kept back.
fn is_suppressed(rig: &mut Rig, store: &mut PgStore, method: &str, email: &str) -> bool {
    put(rig, method, email);
    let lease = acquire_one(store);
    let suppressed = lease.message().suppressed;
    store.commit(&settle(vec![lease], &failed())).unwrap();
    suppressed
}

#[test]
fn an_address_refused_for_good_gets_no_more_mail_until_an_operator_says_so() {
    let mut rig = Rig::new();
    let mut store = rig.store();
    let id = put(&mut rig, "smtp", "Bob@Example.com");
    end(&mut store, &refused());
    assert_eq!(rig.status(id), "permanent_failure");
    let list = suppressions::list(&mut rig.client, 10).unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!((&*list[0].address, &*list[0].code), ("bob@example.com", "550"));
    assert!(list[0].reason.contains("5.1.1"), "{list:?}");

    assert!(is_suppressed(&mut rig, &mut store, "smtp", "bob@EXAMPLE.com"));
    assert!(!is_suppressed(&mut rig, &mut store, "smtp", "eve@example.com"));
    assert!(!is_suppressed(&mut rig, &mut store, "webhook", "bob@example.com"));

    assert!(suppressions::remove(&mut rig.client, "BOB@example.com").unwrap());
    assert!(!suppressions::remove(&mut rig.client, "bob@example.com").unwrap());
    assert!(!is_suppressed(&mut rig, &mut store, "smtp", "bob@example.com"));
}

#[test]
fn other_failures_silence_no_address() {
    let mut rig = Rig::new();
    let mut store = rig.store();
    put(&mut rig, "smtp", "bob@example.com");
    end(&mut store, &failed());
    assert_eq!(rig.count("suppressions"), 0);
}

#[test]
fn a_mail_that_arrives_clears_its_address_and_no_other() {
    let mut rig = Rig::new();
    let mut store = rig.store();
    for address in ["bob@example.com", "eve@example.com"] {
        assert!(suppressions::add(&mut rig.client, address, "complaint").unwrap());
        assert!(!suppressions::add(&mut rig.client, address, "again").unwrap());
    }
    put(&mut rig, "webhook", "eve@example.com");
    end(&mut store, &sent());
    put(&mut rig, "smtp", "Bob@example.com");
    end(&mut store, &sent());
    let list = suppressions::list(&mut rig.client, 10).unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!((&*list[0].address, &*list[0].reason), ("eve@example.com", "complaint"));
}

#[test]
fn two_refusals_of_one_address_in_a_batch_are_one_entry() {
    let mut rig = Rig::new();
    let mut store = rig.store();
    put(&mut rig, "smtp", "bob@example.com");
    put(&mut rig, "smtp", "BOB@example.com");
    let leases = store.leases(10, true);
    assert_eq!(store.commit(&settle(leases, &refused())).unwrap().len(), 2);
    assert_eq!(rig.count("suppressions"), 1);
}

/// What becomes of a mail that the relay may have taken, with `smtp.on_uncertain = "hold"`.
fn held() -> Outcome {
    let policy = RetryPolicy::for_method(&Config::default(), "smtp");
    let attempted = Attempted { number: 1, max: 1, expires_in: None };
    policy.decide(attempted, Err(Failure::held("uncertain", "held")), 0.0)
}

#[test]
fn a_held_mail_waits_until_an_operator_retries_it_or_it_was_held_for_too_long() {
    let mut rig = Rig::new();
    let mut store = rig.store();
    let id = put(&mut rig, "smtp", "bob@example.com");
    end(&mut store, &held());
    assert_eq!(rig.status(id), "temporary_failure");
    assert!(store.leases(10, true).is_empty());
    let look = store.look(None).unwrap();
    let wait = Config::default().worker.hold_max;
    assert!(look.next_due.is_some_and(|due| wait / 2 < due && due <= wait));

    let detail = messages::show(&mut rig.client, id.0).unwrap().unwrap();
    assert_eq!(detail.message.reason.as_deref(), Some("held"));
    let attempt = &detail.attempts[0];
    assert_eq!((attempt.attempt, attempt.code.as_deref()), (1, Some("uncertain")));

    assert_eq!(messages::retry(&mut rig.client, id.0).unwrap(), Changed::Done);
    assert_eq!(acquire_one(&mut store).message().attempt, 1);
}

#[test]
fn a_held_mail_can_be_cancelled() {
    let mut rig = Rig::new();
    let mut store = rig.store();
    let id = put(&mut rig, "smtp", "bob@example.com");
    end(&mut store, &held());
    assert_eq!(messages::cancel(&mut rig.client, id.0).unwrap(), Changed::Done);
    assert_eq!(rig.status(id), "cancelled");
}
