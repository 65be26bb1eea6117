//! The fence: whose outcome is recorded, and whose is not, in each state that the message may have come to.

use std::time::Duration;

use postrider::lease::Lease;
use postrider::message::{InboxEntry, MessageId};
use postrider::outcome::{Outcome, Receipt};
use postrider::store::admin::messages::{self, Changed};
use postrider::store::{Store, StoreError};

use crate::rig::{Leases, Rig, acquire_one, deferred, failed, released, sent, settle};

/// Each outcome, and the status to which it brings a message.
fn outcomes() -> [(Outcome, &'static str); 6] {
    [
        (sent(), "sent"),
        (deferred(Duration::from_hours(1)), "temporary_failure"),
        (failed(), "permanent_failure"),
        (Outcome::Released { delay: Duration::from_hours(1) }, "pending"),
        (Outcome::Inhibited, "inhibited"),
        (Outcome::Expired { counted: true, reason: "late".into() }, "expired"),
    ]
}

/// A message that is leased, and the lease.
fn leased(rig: &mut Rig) -> (MessageId, Lease) {
    let id = rig.fill(1)[0];
    let lease = acquire_one(&mut rig.store());
    assert_eq!(lease.key().id, id);
    (id, lease)
}

/// Commits the outcome twice: the first time it is recorded, the second time nothing happens.
#[track_caller]
fn check_recorded(rig: &mut Rig, lease: Lease, outcome: &Outcome, status: &str) {
    let id = lease.key().id;
    let batch = settle(vec![lease], outcome);
    assert_eq!(rig.store().commit(&batch).unwrap(), [batch[0].key], "{outcome:?}");
    assert_eq!(rig.status(id), status);
    check_ignored(rig, &batch, id);
}

/// Commits a batch twice: nothing happens.
#[track_caller]
fn check_ignored(rig: &mut Rig, batch: &[postrider::lease::Settled], id: MessageId) {
    let before = rig.picture(id);
    for _ in 0..2 {
        assert!(rig.store().commit(batch).unwrap().is_empty(), "{batch:?}");
        assert_eq!(rig.picture(id), before, "{batch:?}");
    }
}

#[test]
fn the_holder_of_a_valid_lease_records_its_outcome_once() {
    let mut rig = Rig::new();
    for (outcome, status) in outcomes() {
        let (_, lease) = leased(&mut rig);
        check_recorded(&mut rig, lease, &outcome, status);
    }
}

#[test]
fn the_holder_of_a_lease_that_ran_out_records_its_outcome_as_long_as_nobody_else_has_it() {
    let mut rig = Rig::new();
    for (outcome, status) in outcomes() {
        let (_, lease) = leased(&mut rig);
        rig.expire_leases();
        check_recorded(&mut rig, lease, &outcome, status);
    }
}

#[test]
fn c53_who_lost_a_lease_cannot_change_the_message_that_another_one_holds() {
    let mut rig = Rig::new();
    for (outcome, _) in outcomes() {
        let (id, lost) = leased(&mut rig);
        rig.expire_leases();
        let held = acquire_one(&mut rig.store());
        check_ignored(&mut rig, &settle(vec![lost], &outcome), id);
        check_recorded(&mut rig, held, &sent(), "sent");
    }
}

#[test]
fn c53_a_late_outcome_changes_no_final_state() {
    let mut rig = Rig::new();
    for (outcome, _) in outcomes() {
        for (end, status) in [(sent(), "sent"), (failed(), "permanent_failure")] {
            let (id, lost) = leased(&mut rig);
            rig.expire_leases();
            let held = acquire_one(&mut rig.store());
            check_recorded(&mut rig, held, &end, status);
            check_ignored(&mut rig, &settle(vec![lost], &outcome), id);
            assert_eq!(rig.status(id), status);
        }
    }
}

#[test]
fn c53_a_late_outcome_does_not_touch_a_message_that_waits_for_its_next_attempt() {
    let mut rig = Rig::new();
    for (outcome, _) in outcomes() {
        let (id, lost) = leased(&mut rig);
        rig.expire_leases();
        let held = acquire_one(&mut rig.store());
        check_recorded(&mut rig, held, &released_for_an_hour(), "pending");
        check_ignored(&mut rig, &settle(vec![lost], &outcome), id);
    }
}

fn released_for_an_hour() -> Outcome {
    Outcome::Released { delay: Duration::from_hours(1) }
}

#[test]
fn c53_a_late_outcome_does_not_revive_a_cancelled_message() {
    let mut rig = Rig::new();
    for (outcome, _) in outcomes() {
        let (id, lost) = leased(&mut rig);
        rig.expire_leases();
        assert_eq!(messages::cancel(&mut rig.client, id.0).unwrap(), Changed::Done);
        check_ignored(&mut rig, &settle(vec![lost], &outcome), id);
        assert_eq!(rig.status(id), "cancelled");
    }
}

#[test]
fn a_late_outcome_does_not_touch_a_message_that_an_operator_retries() {
    let mut rig = Rig::new();
    for (outcome, _) in outcomes() {
        let (id, lost) = leased(&mut rig);
        rig.expire_leases();
        let held = acquire_one(&mut rig.store());
        check_recorded(&mut rig, held, &failed(), "permanent_failure");
        assert_eq!(messages::retry(&mut rig.client, id.0).unwrap(), Changed::Done);
        check_ignored(&mut rig, &settle(vec![lost], &outcome), id);
        let again = acquire_one(&mut rig.store());
        check_recorded(&mut rig, again, &sent(), "sent");
    }
}

#[test]
fn a_claim_does_not_recur_when_an_attempt_number_does() {
    let mut rig = Rig::new();
    let (id, first) = leased(&mut rig);
    let (number, batch) = (first.message().attempt, settle(vec![first], &released()));
    assert_eq!(rig.store().commit(&batch).unwrap(), [batch[0].key]);
    let second = acquire_one(&mut rig.store());
    assert_eq!(second.message().attempt, number);
    check_ignored(&mut rig, &batch, id);
    check_recorded(&mut rig, second, &sent(), "sent");
}

#[test]
fn of_a_batch_only_the_outcomes_whose_lease_is_in_force_are_recorded() {
    let mut rig = Rig::new();
    rig.fill(10);
    let mut store = rig.store();
    let leases = store.leases(10, true);
    let stolen: Vec<_> = leases.iter().step_by(2).map(|lease| lease.key().id.0).collect();
    let sql =
        "update postrider.messages set lease_until = now() - interval '1 s' where id = any ($1)";
    rig.execute(sql, &[&stolen]);
    assert_eq!(rig.store().suspects().len(), 5);
    let written = store.commit(&settle(leases, &sent())).unwrap();
    assert_eq!(written.len(), 5);
    assert!(written.iter().all(|key| !stolen.contains(&key.id.0)));
    assert_eq!((rig.count("messages"), rig.count("history_sent")), (5, 5));
}

#[test]
fn of_two_leases_of_one_message_in_a_batch_the_one_in_force_counts() {
    let mut rig = Rig::new();
    for (outcome, status) in outcomes() {
        for later_first in [false, true] {
            let (id, lost) = leased(&mut rig);
            rig.expire_leases();
            let held = acquire_one(&mut rig.store());
            let mut batch = settle(vec![lost], &failed());
            batch.extend(settle(vec![held], &outcome));
            let in_force = batch[1].key;
            if later_first {
                batch.reverse();
            }
            assert_eq!(rig.store().commit(&batch).unwrap(), [in_force], "{outcome:?}");
            assert_eq!(rig.status(id), status);
            check_ignored(&mut rig, &batch, id);
        }
    }
}

fn boxed(title: &str) -> Outcome {
    let entry = InboxEntry { title: title.into(), content: "text".into(), actions: Vec::new() };
    Outcome::Sent(Receipt { inbox: Some(entry), ..Receipt::default() })
}

#[test]
fn an_inbox_entry_is_written_once_and_by_the_holder_of_the_lease_alone() {
    let mut rig = Rig::new();
    let (id, lost) = leased(&mut rig);
    rig.expire_leases();
    let held = acquire_one(&mut rig.store());
    check_ignored(&mut rig, &settle(vec![lost], &boxed("lost")), id);
    assert_eq!(rig.count("inbox"), 0);
    check_recorded(&mut rig, held, &boxed("held"), "sent");
    let sql =
        "select count(*) from postrider.inbox i join postrider.history h using (id, created_at)
                where i.title = 'held' and i.recipient_id = 'ada' and i.read_at is null";
    assert_eq!(rig.number(sql), 1);
}

#[test]
fn an_outcome_that_cannot_be_stored_spoils_its_batch_as_a_whole_and_no_part_of_it_is_written() {
    let mut rig = Rig::new();
    rig.fill(3);
    let mut store = rig.store();
    let mut leases = store.leases(3, true);
    let bad = Outcome::Failed { counted: true, code: "a\0b".into(), reason: String::new() };
    let mut batch = settle(vec![leases.pop().unwrap()], &bad);
    batch.extend(settle(leases, &boxed("fine")));
    let err = store.commit(&batch).unwrap_err();
    assert!(matches!(&err, StoreError::Refused { code, .. } if code == "22021"), "{err}");
    assert_eq!((rig.count("messages"), rig.count("history"), rig.count("inbox")), (3, 0, 0));
    assert_eq!(store.commit(&batch[1..]).unwrap().len(), 2);
}
