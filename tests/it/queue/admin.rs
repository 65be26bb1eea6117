//! What operators see and change.

use std::time::Duration;

use postrider::message::{InboxEntry, MessageId, Recipient};
use postrider::outcome::{Outcome, Receipt};
use postrider::store::Store;
use postrider::store::admin::messages::{self, Changed};
use postrider::store::admin::{self, Preference, inbox, templates};
use uuid::Uuid;

use crate::rig::{
    Leases, Rig, TEMPLATE, acquire_one, deferred, failed, sent, settle, template, to_inbox,
};

const HOUR: Duration = Duration::from_hours(1);
const STATUSES: [&str; 8] = [
    "pending",
    "leased",
    "temporary_failure",
    "sent",
    "permanent_failure",
    "inhibited",
    "cancelled",
    "expired",
];

impl Rig {
    /// A message that is not due, and has this status.
    fn in_status(&mut self, status: &str) -> MessageId {
        let id = self.fill(1)[0];
        let outcome = match status {
            "pending" => Some(Outcome::Released { delay: HOUR }),
            "temporary_failure" => Some(deferred(HOUR)),
            "sent" => Some(sent()),
            "permanent_failure" => Some(failed()),
            "inhibited" => Some(Outcome::Inhibited),
            "expired" => Some(Outcome::Expired { counted: true, reason: "late".into() }),
            _ => None,
        };
        if status == "cancelled" {
            assert_eq!(self.cancel(id), Changed::Done);
        } else {
            let mut store = self.store();
            let lease = acquire_one(&mut store);
            if let Some(outcome) = outcome {
                store.commit(&settle(vec![lease], &outcome)).unwrap();
            }
        }
        assert_eq!(self.status(id), status);
        id
    }

    fn retry(&mut self, id: MessageId) -> Changed {
        messages::retry(&mut self.client, id.0).unwrap()
    }

    fn cancel(&mut self, id: MessageId) -> Changed {
        messages::cancel(&mut self.client, id.0).unwrap()
    }
}

#[test]
fn a_retry_makes_due_what_waits_and_what_ended_without_being_sent() {
    let mut rig = Rig::new();
    for status in STATUSES {
        let id = rig.in_status(status);
        let before = rig.picture(id);
        if ["leased", "sent"].contains(&status) {
            assert_eq!(rig.retry(id), Changed::Refused, "{status}");
            assert_eq!(rig.picture(id), before);
            continue;
        }
        assert_eq!(rig.retry(id), Changed::Done, "{status}");
        let lease = acquire_one(&mut rig.store());
        assert_eq!(lease.key().id, id, "{status}");
        let attempt = if status == "temporary_failure" { 2 } else { 1 };
        assert_eq!(lease.message().attempt, attempt, "{status}");
        let written = rig.store().commit(&settle(vec![lease], &sent())).unwrap();
        assert_eq!(written.len(), 1);
        assert_eq!(written[0].id, id);
    }
}

#[test]
fn a_finished_message_that_is_retried_keeps_what_it_was_enqueued_with() {
    let mut rig = Rig::new();
    let sql =
        "select (to_jsonb(m) - array['due_at', 'attempt', 'claim', 'lease_until', 'claimed_by',
                'last_error', 'expires_at', 'code'])::text from postrider.messages m";
    let id = rig.put(&postrider::enqueue::Notification {
        targets: vec!["t".into()],
        created_by: "billing".into(),
        priority: 2,
        max_attempts: Some(3),
        expires_at: Some(std::time::SystemTime::now() + HOUR),
        ..to_inbox()
    });
    let picture = |rig: &mut Rig| rig.client.query_one(sql, &[]).unwrap().get::<_, String>(0);
    let before = picture(&mut rig);
    let mut store = rig.store();
    let lease = acquire_one(&mut store);
    store.commit(&settle(vec![lease], &failed())).unwrap();
    assert_eq!(rig.retry(id), Changed::Done);
    assert_eq!(picture(&mut rig), before);
    assert_eq!(rig.count("history"), 0);
    assert_eq!(rig.status(id), "temporary_failure", "it still says why it failed");
}

#[test]
fn a_cancel_ends_what_waits_and_nothing_else() {
    let mut rig = Rig::new();
    for status in STATUSES {
        let id = rig.in_status(status);
        let before = rig.picture(id);
        if ["pending", "temporary_failure"].contains(&status) {
            assert_eq!(rig.cancel(id), Changed::Done, "{status}");
            assert_eq!(rig.status(id), "cancelled");
        } else {
            assert_eq!(rig.cancel(id), Changed::Refused, "{status}");
            assert_eq!(rig.picture(id), before);
        }
    }
    rig.expire_leases();
    let held = rig.client.query_one("select id from postrider.messages where claim <> 0", &[]);
    let id = MessageId(held.unwrap().get(0));
    assert_eq!(rig.cancel(id), Changed::Done, "its worker is gone");
}

#[test]
fn an_unknown_message_can_neither_be_retried_nor_cancelled_nor_shown() {
    let mut rig = Rig::new();
    let id = Uuid::new_v4();
    assert_eq!(rig.retry(MessageId(id)), Changed::Unknown);
    assert_eq!(rig.cancel(MessageId(id)), Changed::Unknown);
    assert!(messages::show(&mut rig.client, id).unwrap().is_none());
}

#[test]
fn messages_of_each_status_are_listed_and_counted_newest_first() {
    let mut rig = Rig::new();
    let mut all: Vec<_> = STATUSES.into_iter().map(|it| (rig.in_status(it).0, it)).collect();
    for (id, status) in &all {
        let found = messages::list(&mut rig.client, Some(status), 10).unwrap();
        assert_eq!(found.len(), 1, "{status}");
        assert_eq!((found[0].id, found[0].status.as_str()), (*id, *status));
    }
    all.reverse();
    let listed = messages::list(&mut rig.client, None, 5).unwrap();
    assert!(listed.iter().map(|it| it.id).eq(all.iter().take(5).map(|it| it.0)));

    let stats = admin::stats(&mut rig.client).unwrap();
    assert!(STATUSES.into_iter().all(|status| stats.by_status[status] == 1), "{stats:?}");
    assert_eq!(stats.by_status.len(), STATUSES.len());
}

#[test]
fn a_message_is_shown_with_its_attempts_the_unwritten_one_included() {
    let mut rig = Rig::new();
    let shown = |rig: &mut Rig, id: MessageId| {
        messages::show(&mut rig.client, id.0).unwrap().expect("it exists")
    };
    let pending = rig.in_status("pending");
    assert!(shown(&mut rig, pending).attempts.is_empty());

    let first_try = rig.in_status("sent");
    let detail = shown(&mut rig, first_try);
    assert_eq!(
        (detail.message.template.as_str(), detail.message.status.as_str()),
        (TEMPLATE, "sent")
    );
    assert_eq!(detail.payload.get("user_id"), Some("\"ada\""));
    let attempts: Vec<_> = detail.attempts.iter().map(|it| (it.attempt, &*it.outcome)).collect();
    assert_eq!(attempts, [(1, "sent")]);

    let second_try = rig.in_status("temporary_failure");
    rig.retry(second_try);
    let mut store = rig.store();
    let lease = acquire_one(&mut store);
    store.commit(&settle(vec![lease], &sent())).unwrap();
    let detail = shown(&mut rig, second_try);
    let attempts: Vec<_> = detail.attempts.iter().map(|it| (it.attempt, &*it.outcome)).collect();
    assert_eq!(attempts, [(1, "temporary_failure"), (2, "sent")]);
    assert_eq!(detail.attempts[0].detail.as_deref(), Some("try later"));
}

#[test]
fn stats_know_the_oldest_message_that_could_go_now() {
    let mut rig = Rig::new();
    let oldest = |rig: &mut Rig| admin::stats(&mut rig.client).unwrap().oldest_ready_seconds;
    rig.in_status("leased");
    rig.in_status("temporary_failure");
    assert_eq!(oldest(&mut rig), None);
    let ids = rig.fill(2);
    let sql = "update postrider.messages set due_at = now() - interval '5 min' where id = $1";
    rig.execute(sql, &[&ids[1].0]);
    let age = oldest(&mut rig).unwrap();
    assert!((300.0..400.0).contains(&age), "{age}");
    let stats = admin::stats(&mut rig.client).unwrap();
    assert!(!stats.paused);
    assert_eq!(stats.workers, 0);
}

#[test]
fn preferences_are_set_read_and_replaced() {
    let mut rig = Rig::new();
    rig.set_template(&template("alarm"));
    let mut set = |who: &str, template: &str, disabled: bool| {
        let preference =
            Preference { recipient_id: who.into(), template: template.into(), disabled };
        admin::set_preference(&mut rig.client, &preference).unwrap()
    };
    assert!(set("ada", TEMPLATE, true));
    assert!(set("ada", "alarm", true));
    assert!(set("bob", TEMPLATE, true));
    assert!(set("ada", TEMPLATE, false));
    assert!(!set("ada", "no such template", true));
    let mut read = |who: Option<&str>| {
        let found = admin::preferences(&mut rig.client, who).unwrap();
        let line = |it: Preference| format!("{} {} {}", it.recipient_id, it.template, it.disabled);
        found.into_iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(read(Some("ada")), ["ada alarm true", "ada greeting false"]);
    assert_eq!(read(None), ["ada alarm true", "ada greeting false", "bob greeting true"]);
}

#[test]
fn a_template_has_a_new_version_after_each_change_and_only_then() {
    let mut rig = Rig::new();
    let mut set = |body: &str| {
        let new = templates::NewTemplate { body: body.into(), ..template("t") };
        templates::set(&mut rig.client, &new).unwrap()
    };
    let first = set("a");
    assert_eq!((first.version, set("a").version), (1, 1));
    let second = set("b");
    assert_eq!((second.version, second.id), (2, first.id));
    let sql = "update postrider.templates set title = 'x', version = 1 where name = 't' returning version";
    let version: i32 = rig.client.query_one(sql, &[]).unwrap().get(0);
    assert_eq!(version, 3, "also by plain SQL");
}

#[test]
fn inbox_entries_are_read_by_their_recipient_alone_newest_first() {
    let mut rig = Rig::new();
    let bob = Recipient { id: "bob".into(), ..Recipient::default() };
    let ids = rig.fill(3);
    rig.put(&postrider::enqueue::Notification { recipient: bob, ..to_inbox() });
    let entry = InboxEntry { title: "t".into(), content: "c".into(), actions: Vec::new() };
    let boxed = Outcome::Sent(Receipt { inbox: Some(entry), ..Receipt::default() });
    let mut store = rig.store();
    let leases = store.leases(4, true);
    assert_eq!(store.commit(&settle(leases, &boxed)).unwrap().len(), 4);

    let mut read = |who: &str, unread: bool| {
        let found = inbox::list(&mut rig.client, who, unread, 10).unwrap();
        found.into_iter().map(|it| it.id).collect::<Vec<_>>()
    };
    assert_eq!(read("ada", false), [ids[2].0, ids[1].0, ids[0].0]);
    assert_eq!(read("bob", true).len(), 1);
    assert!(read("eve", false).is_empty());

    let mut mark = |who: &str, ids: &[Uuid]| inbox::mark_read(&mut rig.client, who, ids).unwrap();
    assert_eq!(mark("bob", &[ids[1].0]), 0, "it is not bob's");
    assert_eq!((mark("ada", &[ids[1].0]), mark("ada", &[ids[1].0])), (1, 0));
    let unread = inbox::list(&mut rig.client, "ada", true, 10).unwrap();
    assert!(unread.iter().map(|it| it.id).eq([ids[2].0, ids[0].0]));
    assert_eq!(inbox::mark_read(&mut rig.client, "ada", &[]).unwrap(), 2);
    assert_eq!(rig.number("select count(*) from postrider.inbox where read_at is null"), 1);
}
