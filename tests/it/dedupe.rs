//! Duplicates: which enqueues count once, by what key, and for how long.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use postrider::config::Config;
use postrider::enqueue::{Enqueued, Notification, enqueue, enqueue_many};
use postrider::message::{MessageId, Recipient};
use postrider::store::Store;
use postrider::store::admin;
use postrider::store::admin::templates::{Dedupe, NewTemplate};
use serde_json::json;

use crate::rig::{
    LIMIT, Leases, Rig, TEMPLATE, boxed, failed, is_duplicate, keyed, only_id, settle, template,
    to_inbox, waiting,
};
use crate::roles::member_of;
use crate::support::{connect, wait_until};

fn bob() -> Recipient {
    Recipient { id: "bob".into(), email: Some("bob@example.com".into()), ..Recipient::default() }
}

/// A template whose notifications count once a day.
fn daily(name: &str) -> NewTemplate {
    NewTemplate { dedupe: Some(Dedupe::Day), ..template(name) }
}

impl Rig {
    #[track_caller]
    fn check_duplicate(&mut self, notification: &Notification, of: MessageId) {
        let earlier = Enqueued::Duplicate { notification_id: Some(of.0) };
        assert_eq!(enqueue(&mut self.client, notification).unwrap(), earlier);
        let many = enqueue_many(&mut self.client, std::slice::from_ref(notification)).unwrap();
        assert_eq!(many, [earlier]);
    }

    /// Ends a waiting message as a person does.
    fn end_undelivered(&mut self, id: MessageId) {
        let sql = "with gone as (delete from postrider.messages where id = $1 returning *)
            insert into postrider.history (id, notification_id, template_id, dedupe_key, claim, created_at, outcome,
                priority, attempt, method, recipient_id, created_by, targets, payload)
            select id, notification_id, template_id, dedupe_key, claim, created_at, 'cancelled',
                priority, attempt, method, recipient_id, created_by, targets, payload from gone";
        assert_eq!(self.execute(sql, &[&id.0]), 1);
    }
}

#[test]
fn without_a_key_every_enqueue_counts() {
    let mut rig = Rig::new();
    let notification = to_inbox();
    rig.put(&notification);
    rig.put(&notification);
    let none = Notification { dedupe_key: Some(String::new()), ..notification };
    rig.put(&none);
    rig.put(&none);
    let many = enqueue_many(&mut rig.client, &[none.clone(), none]).unwrap();
    assert!(!many.iter().any(is_duplicate));
    assert_eq!((rig.count("messages"), rig.count("dedupe")), (6, 0));
}

#[test]
fn a_key_holds_for_template_and_recipient_whatever_the_content_and_the_methods() {
    let mut rig = Rig::new();
    let first = rig.put(&keyed("order-1"));
    rig.check_duplicate(&keyed("order-1"), first);
    let by_mail = Notification { methods: vec!["smtp".into()], ..keyed("order-1") };
    rig.check_duplicate(&by_mail, first);
    rig.set_template(&template("other"));
    rig.put(&keyed("order-2"));
    rig.put(&Notification { recipient: bob(), ..keyed("order-1") });
    rig.put(&Notification { template: "other".into(), ..keyed("order-1") });
    assert_eq!((rig.count("messages"), rig.count("dedupe")), (4, 4));
}

#[test]
fn a_key_is_its_roles_own() {
    let mut rig = Rig::new();
    rig.put(&keyed("order-1"));
    let login = member_of(&mut rig, "postrider_enqueue");
    let mut client = connect(&login.url);
    let theirs = enqueue(&mut client, &keyed("order-1")).unwrap();
    let id = only_id(&theirs);
    let again = enqueue_many(&mut client, &[keyed("order-1")]).unwrap();
    assert_eq!(again, [Enqueued::Duplicate { notification_id: Some(id.0) }]);
}

#[test]
fn a_key_of_two_methods_is_free_once_both_ended_undelivered() {
    let mut rig = Rig::new();
    let both = Notification { methods: vec!["inbox".into(), "smtp".into()], ..keyed("order-1") };
    let Enqueued::Enqueued { notification_id, messages } = enqueue(&mut rig.client, &both).unwrap()
    else {
        panic!("not enqueued");
    };
    let first = MessageId(notification_id);
    rig.end_undelivered(messages[0].0);
    rig.check_duplicate(&both, first);
    rig.end_undelivered(messages[1].0);
    let second = rig.put(&keyed("order-1"));
    rig.check_duplicate(&both, second);
    // What ends late of the first one is no matter of the second one.
    rig.execute("update postrider.history set finished_at = finished_at", &[]);
    rig.check_duplicate(&both, second);
}

#[test]
fn a_key_stays_taken_once_something_of_it_was_sent_and_is_free_after_failures() {
    let mut rig = Rig::new();
    let (sent, lost) = (rig.put(&keyed("sent")), rig.put(&keyed("lost")));
    let mut store = rig.store();
    for lease in store.leases(10, true) {
        let outcome = if lease.key().id == sent { boxed() } else { failed() };
        store.commit(&settle(vec![lease], &outcome)).unwrap();
    }
    rig.check_duplicate(&keyed("sent"), sent);
    assert_ne!(rig.put(&keyed("lost")), lost);
}

#[test]
fn a_message_that_expired_frees_its_key() {
    let mut rig = Rig::new();
    let past = Some(std::time::SystemTime::now() - Duration::from_secs(1));
    rig.put(&Notification { expires_at: past, ..keyed("order-1") });
    assert_eq!(rig.number("select postrider.expire_messages(10)"), 1);
    rig.put(&keyed("order-1"));
}

#[test]
fn a_key_is_forgotten_after_the_time_that_was_published() {
    let mut rig = Rig::new();
    let in_days = "select round(extract(epoch from max(expires_at) - now()) / 86400)::bigint from postrider.dedupe";
    rig.put(&keyed("order-1"));
    assert_eq!(rig.number(in_days), 30);
    let mut config = Config::default();
    config.retention.dedupe = Some(Duration::from_hours(240));
    admin::publish_defaults(&mut rig.client, &config).unwrap();
    admin::publish_defaults(&mut rig.client, &Config::default()).unwrap();
    rig.execute("delete from postrider.dedupe", &[]);
    let second = rig.put(&keyed("order-1"));
    assert_eq!(rig.number(in_days), 10);
    rig.check_duplicate(&keyed("order-1"), second);
    rig.execute("update postrider.dedupe set expires_at = now() - interval '1 second'", &[]);
    rig.put(&keyed("order-1"));
    assert_eq!(rig.count("dedupe"), 1);
}

#[test]
fn where_the_template_says_so_the_same_content_counts_once_a_day() {
    let mut rig = Rig::new();
    rig.set_template(&daily(TEMPLATE));
    rig.set_template(&daily("other"));
    let notification = to_inbox();
    let first = rig.put(&notification);
    rig.check_duplicate(&notification, first);
    let mut others = vec![
        Notification { recipient: bob(), ..notification.clone() },
        Notification { template: "other".into(), ..notification.clone() },
        Notification { data: Some(json!(1)), ..notification.clone() },
        Notification { targets: vec!["t".into()], ..notification.clone() },
        Notification { methods: vec!["smtp".into()], ..notification.clone() },
        Notification { endpoint: Some("https://example.com".into()), ..notification.clone() },
        notification.clone().with_label("another", "label"),
    ];
    for other in &others {
        rig.put(other);
    }
    others.push(Notification { created_by: "else".into(), priority: 2, ..notification.clone() });
    for other in &others {
        assert!(is_duplicate(&enqueue(&mut rig.client, other).unwrap()), "{other:?}");
    }
    let at_midnight = "select count(*) from postrider.dedupe
        where expires_at = (date_trunc('day', now() at time zone 'UTC') + interval '1 day') at time zone 'UTC'";
    assert_eq!(rig.number(at_midnight), rig.count("dedupe"));
    rig.execute("update postrider.dedupe set expires_at = now()", &[]);
    rig.put(&notification);

    // A key goes before the rule of the template.
    rig.put(&Notification { dedupe_key: Some("a".into()), ..notification.clone() });
    rig.put(&Notification { dedupe_key: Some("b".into()), ..notification });
}

#[test]
fn of_identical_enqueues_at_once_one_wins_and_the_others_are_duplicates_of_it() {
    let mut rig = Rig::new();
    let methods = ["inbox", "smtp", "webhook"].map(str::to_owned).to_vec();
    let notification = Notification { methods, ..keyed("order-1") };
    let ready = Barrier::new(6);
    let results = thread::scope(|scope| {
        let race = |many: bool| {
            let (ready, db, notification) = (&ready, &rig.db, &notification);
            move || {
                let mut client = db.client();
                ready.wait();
                if many {
                    enqueue_many(&mut client, std::slice::from_ref(notification)).unwrap().remove(0)
                } else {
                    enqueue(&mut client, notification).unwrap()
                }
            }
        };
        let racers: Vec<_> = (0..6).map(|n| scope.spawn(race(n % 2 == 0))).collect();
        racers.into_iter().map(|it| it.join().unwrap()).collect::<Vec<_>>()
    });
    let winner = results.iter().find_map(|it| match it {
        Enqueued::Enqueued { notification_id, .. } => Some(*notification_id),
        _ => None,
    });
    let duplicate = Enqueued::Duplicate { notification_id: winner };
    assert!(winner.is_some());
    assert_eq!(results.iter().filter(|it| **it == duplicate).count(), 5, "{results:?}");
    assert_eq!((rig.count("messages"), rig.count("dedupe")), (3, 1));
}

/// What a second connection is told whose identical enqueue waits for `first` to end.
fn second_of_two(commit: bool) -> (Enqueued, Enqueued) {
    let mut rig = Rig::new();
    let notification = keyed("order-1");
    let mut client = rig.db.client();
    let mut first = client.transaction().unwrap();
    let earlier = enqueue(&mut first, &notification).unwrap();
    let second = thread::scope(|scope| {
        let second = scope.spawn(|| {
            enqueue_many(&mut rig.db.client(), std::slice::from_ref(&notification)).unwrap()
        });
        let client = &mut rig.client;
        wait_until(LIMIT, "the second waits for the first", || waiting(client) == 1);
        if commit {
            first.commit().unwrap();
        } else {
            first.rollback().unwrap();
        }
        second.join().unwrap().remove(0)
    });
    (earlier, second)
}

#[test]
fn an_enqueue_waits_for_an_identical_one_that_is_not_committed_yet() {
    let (first, second) = second_of_two(true);
    assert_eq!(second, Enqueued::Duplicate { notification_id: Some(only_id(&first).0) });
    assert!(matches!(second_of_two(false).1, Enqueued::Enqueued { .. }));
}

#[test]
fn of_many_with_the_same_key_the_first_counts_and_the_others_name_it() {
    let mut rig = Rig::new();
    let earlier = rig.put(&keyed("before"));
    let many = [keyed("a"), keyed("before"), keyed("a"), to_inbox(), keyed("b")];
    let results = enqueue_many(&mut rig.client, &many).unwrap();
    let duplicate = |of: MessageId| Enqueued::Duplicate { notification_id: Some(of.0) };
    let first = only_id(&results[0]);
    assert_eq!((&results[1], &results[2]), (&duplicate(earlier), &duplicate(first)));
    assert_ne!(only_id(&results[3]), only_id(&results[4]));
    assert_eq!((rig.count("messages"), rig.count("dedupe")), (4, 3));
}

#[test]
fn a_notification_that_nobody_wants_takes_no_key() {
    let mut rig = Rig::new();
    rig.set_template(&NewTemplate { enabled_by_default: false, ..template("quiet") });
    let quiet = Notification { template: "quiet".into(), ..keyed("order-1") };
    assert_eq!(enqueue(&mut rig.client, &quiet).unwrap(), Enqueued::Disabled);
    assert_eq!(enqueue_many(&mut rig.client, &[quiet]).unwrap(), [Enqueued::Disabled]);
    assert_eq!(rig.count("dedupe"), 0);
}
