//! Enqueueing many at once: the same as one after the other, whatever they are.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, SystemTime};

use postgres::Transaction;
use postgres::error::SqlState;
use postrider::enqueue::{EnqueueError, Enqueued, Enqueuer, Notification, enqueue, enqueue_many};
use postrider::message::Recipient;
use postrider::store::admin::templates::{Dedupe, NewTemplate};
use postrider::store::admin::{self, Preference};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

use crate::rig::{Rig, TEMPLATE, ada, keyed, only_id, rings, template, to_inbox};

const CASES: u32 = 64;

fn recipient(id: &str, email: bool) -> Recipient {
    let email = email.then(|| format!("{id}@example.com"));
    Recipient { id: id.into(), email, ..Recipient::default() }
}

/// JSON that the database writes in another form, and some that only looks so.
fn odd() -> impl Strategy<Value = serde_json::Value> {
    let json = prop::sample::select(vec![
        "1.50",
        "-0",
        "-0.0",
        "-0.5",
        "1e3",
        "2.5E-7",
        "12345678901234567890.10",
        "true",
        "null",
        "[]",
        "{}",
        r#""é \"\/\b\f\n\r\t\u0001\u007f""#,
        r#"{"bb": 1, "a": [1, {"": null}], "ab": "x"}"#,
        r#"{"éa": 1, "abcd": 2, "abc": 3, "é": 4, "\n": 5}"#,
        r#"{"nested": {"é": [{"z": 1e0, "y": -0}]}}"#,
    ]);
    json.prop_map(|json| serde_json::from_str(json).expect(json))
}

/// Few values for each field, so that notifications often share a key or lack something.
fn notifications() -> impl Strategy<Value = Vec<Notification>> {
    let common = |common: Vec<&'static str>, rare: &'static str| prop_oneof![20 => prop::sample::select(common), 1 => Just(rare)];
    let whose = (
        common(vec![TEMPLATE, "daily", "quiet", "mail"], "unknown"),
        common(vec!["ada", "ada", "bob"], ""),
        prop::bool::weighted(0.9),
    );
    let content = (
        prop::collection::vec(
            prop_oneof![30 => prop::sample::select(vec!["inbox", "smtp", "webhook"]), 1 => Just("sms")],
            0..4,
        ),
        0..2_u8,
        prop::option::weighted(0.4, prop::sample::select(vec!["key", "other", ""])),
        prop::option::weighted(0.2, common(vec!["ops", "https://example.com"], "nowhere")),
        prop::option::weighted(0.4, odd()),
    );
    let later = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    let rest = (prop_oneof![20 => 0..4_u8, 1 => Just(4)], prop::option::weighted(0.2, 0..9_u32));
    let one = (whose, content, rest).prop_map(move |((template, id, email), content, rest)| {
        let (methods, label, dedupe_key, endpoint, data) = content;
        let later_on = data.as_ref().is_some_and(serde_json::Value::is_number);
        Notification {
            methods: methods.into_iter().map(str::to_owned).collect(),
            dedupe_key: dedupe_key.map(str::to_owned),
            endpoint: endpoint.map(str::to_owned),
            targets: if later_on { vec!["t".into(), "\"é\"".into()] } else { Vec::new() },
            priority: rest.0,
            max_attempts: rest.1.map(|n| n.saturating_sub(1)).filter(|n| label == 0 || *n != 0),
            schedule_at: later_on.then_some(later),
            expires_at: later_on.then_some(later + Duration::from_secs(1)),
            data,
            ..Notification::new(template, recipient(id, email)).with_label("n", label)
        }
    });
    prop::collection::vec(one, 1..12)
}

/// What an enqueue leaves behind, without ids and times that are never the same.
fn picture(tx: &mut Transaction<'_>) -> String {
    let sql = "select concat_ws(e'\\n',
        (select string_agg(m.row, e'\\n' order by m.id)
           from (select m.id, concat_ws(' ', to_jsonb(m) - '{id,notification_id,due_at,first_due_at,created_at}'::text[],
                                        case when m.due_at > now() then m.due_at end, m.first_due_at = m.due_at,
                                        dense_rank() over (order by m.notification_id)) as row
                   from postrider.messages m) m),
        (select string_agg(concat_ws(' ', d.key, d.messages, d.expires_at > now() + interval '29 days',
                                     (select count(*) from postrider.messages m
                                       where m.notification_id = d.notification_id and m.dedupe_key = d.key)),
                           e'\\n' order by d.key) from postrider.dedupe d))";
    tx.query_one(sql, &[]).unwrap().get(0)
}

/// The answers without their ids, or the error of the first that fails, with its number.
type Answers = Result<Vec<Option<Vec<String>>>, String>;

fn answer(enqueued: Enqueued) -> Option<Vec<String>> {
    match enqueued {
        Enqueued::Enqueued { messages, .. } => Some(messages.into_iter().map(|it| it.1).collect()),
        Enqueued::Duplicate { notification_id } => {
            assert!(notification_id.is_some());
            Some(Vec::new())
        }
        Enqueued::Disabled => None,
    }
}

fn one_by_one(tx: &mut Transaction<'_>, notifications: &[Notification]) -> Answers {
    let number = |(number, notification)| {
        let enqueued = enqueue(tx, notification);
        enqueued.map(answer).map_err(|err| format!("notification {number}: {err}"))
    };
    (1..).zip(notifications).map(number).collect()
}

fn prepared(tx: &mut Transaction<'_>, notifications: &[Notification]) -> Answers {
    let enqueuer = Enqueuer::prepare(tx).map_err(|err| err.to_string())?;
    let number = |(number, notification)| {
        let enqueued = enqueuer.enqueue(tx, notification);
        enqueued.map(answer).map_err(|err| format!("notification {number}: {err}"))
    };
    (1..).zip(notifications).map(number).collect()
}

fn at_once(tx: &mut Transaction<'_>, notifications: &[Notification]) -> Answers {
    let enqueued = enqueue_many(tx, notifications).map_err(|err| err.to_string())?;
    Ok(enqueued.into_iter().map(answer).collect())
}

#[test]
fn many_at_once_are_the_same_as_one_after_the_other() {
    let mut rig = Rig::new();
    let quiet = NewTemplate { enabled_by_default: false, ..template("quiet") };
    rig.set_template(&quiet);
    rig.set_template(&NewTemplate { method: Some("smtp".into()), ..template("mail") });
    rig.set_template(&NewTemplate { dedupe: Some(Dedupe::Day), ..template("daily") });
    admin::set_endpoint(&mut rig.client, "ops", "https://example.com/ops").unwrap();
    let preference =
        Preference { recipient_id: "ada".into(), template: "quiet".into(), disabled: false };
    assert!(admin::set_preference(&mut rig.client, &preference).unwrap());
    // One whose keys were there before.
    let before = Notification::new(TEMPLATE, recipient("ada", true));
    let (methods, dedupe_key) = (vec!["smtp".into()], Some("key".into()));
    rig.put(&Notification { methods, dedupe_key, ..before });

    let mut runner =
        TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let rig = std::cell::RefCell::new(rig);
    let result = runner.run(&notifications(), |notifications| {
        let client = &mut rig.borrow_mut().client;
        let mut outcome = |way: fn(&mut Transaction<'_>, &[Notification]) -> Answers| {
            let mut tx = client.transaction().unwrap();
            let answers = way(&mut tx, &notifications);
            let picture = answers.is_ok().then(|| picture(&mut tx));
            tx.rollback().unwrap();
            (answers, picture)
        };
        let expected = outcome(one_by_one);
        prop_assert_eq!(&expected, &outcome(prepared));
        prop_assert_eq!(&expected, &outcome(at_once));
        Ok(())
    });
    match result {
        Ok(()) => (),
        Err(TestError::Fail(why, case)) => panic!("{why}\n{case:#?}"),
        Err(err) => panic!("{err}"),
    }
}

#[test]
fn a_duplicate_is_found_whichever_way_each_of_the_two_came_in() {
    let mut rig = Rig::new();
    rig.set_template(&NewTemplate { dedupe: Some(Dedupe::Day), ..template("daily") });
    let ways: [fn(&mut Transaction<'_>, &[Notification]) -> Answers; 3] =
        [one_by_one, prepared, at_once];
    let mut runner =
        TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let client = std::cell::RefCell::new(&mut rig.client);
    let result = runner.run(&(odd(), odd(), any::<String>()), |(data, label, text)| {
        let text = text.replace('\0', "");
        let recipient = Recipient { name: Some(text.clone()), ..ada() };
        let notification = Notification {
            data: Some(data),
            targets: vec![text.clone()],
            methods: vec!["inbox".into()],
            ..Notification::new("daily", recipient).with_label(text, label)
        };
        for (first, way) in ways.iter().enumerate() {
            let mut client = client.borrow_mut();
            let mut tx = client.transaction().unwrap();
            let one = [notification.clone()];
            prop_assert_eq!(way(&mut tx, &one), Ok(vec![Some(vec!["inbox".to_owned()])]));
            for (then, way) in ways.iter().enumerate() {
                prop_assert_eq!(
                    way(&mut tx, &one),
                    Ok(vec![Some(Vec::new())]),
                    "{} {}",
                    first,
                    then
                );
            }
            tx.rollback().unwrap();
        }
        Ok(())
    });
    result.unwrap_or_else(|err| panic!("{err}"));
}

#[test]
fn the_one_at_fault_among_many_is_named_by_its_number() {
    let mut rig = Rig::new();
    let mut many: Vec<_> = (0..800).map(|_| to_inbox()).collect();
    many[700].template = "none".into();
    let mut tx = rig.client.transaction().unwrap();
    let err = enqueue_many(&mut tx, &many).unwrap_err();
    assert!(matches!(err, EnqueueError::UnknownTemplate(_)));
    assert!(err.to_string().starts_with("notification 701: unknown template 'none'"), "{err}");
    tx.rollback().unwrap();
    many[3].data = Some("\0".into());
    let err = enqueue_many(&mut rig.client, &many).unwrap_err().to_string();
    assert!(err.starts_with("notification 4: invalid payload: data holds a NUL"), "{err}");
    assert_eq!(rig.count("messages"), 0);
}

#[test]
fn plain_sql_takes_many_and_says_what_is_wrong_with_their_form() {
    let mut rig = Rig::new();
    let with = |field: &str| {
        format!(r#", {{"template": "greeting", "recipient": {{"id": "bob"}}, {field}}}"#)
    };
    let call = |more: &str| {
        format!(
            r#"select count(*) from postrider.enqueue_many('[{{"template": "greeting", "recipient": {{"id": "ada"}},
                "methods": ["inbox"], "targets": null, "data": null}}{more}]')"#
        )
    };
    for (more, text) in [
        (
            r#", {"template": "greeting", "recipent": {"id": "bob"}}"#,
            "notification 2: it has a field",
        ),
        (&with(r#""template": ["greeting"]"#), "notification 2: its template, created_by"),
        (
            &with(r#""priority": 1.5"#),
            "notification 2: its priority and max_attempts must be whole",
        ),
        (&with(r#""priority": 1e131071"#), "notification 2: invalid priority 2147483647"),
        (&with(r#""max_attempts": "2""#), "notification 2: its priority and max_attempts must be"),
        (&with(r#""schedule_at": 7"#), "notification 2: its schedule_at and expires_at must be"),
        (
            &with(r#""expires_at": "soon""#),
            "notification 2: its expires_at cannot be read: invalid",
        ),
        (&with(r#""targets": "t""#), "notification 2: invalid targets"),
        (&with(r#""targets": ["t", 1]"#), "notification 2: invalid targets"),
        (&with(r#""methods": {}"#), "notification 2: invalid methods"),
        (", 7", "notification 2: it must be an object, not number"),
    ] {
        let err = rig.client.query(&call(more), &[]).unwrap_err();
        assert_eq!(err.code().map(SqlState::code), Some("PR004"), "{more}");
        assert!(err.as_db_error().unwrap().message().starts_with(text), "{err:?}");
        assert_eq!((rig.count("messages"), rig.count("dedupe")), (0, 0));
    }
    assert_eq!(rig.number(&call("")), 1);
    assert_eq!(rig.number("select count(*) from postrider.enqueue_many('[]')"), 0);
    assert_eq!(rig.count("messages"), 1);
}

#[test]
fn producers_of_the_same_many_in_opposite_order_wait_for_each_other_and_end() {
    let mut rig = Rig::new();
    let forth: Vec<_> = (0..300).map(|no| keyed(&no.to_string())).collect();
    let back: Vec<_> = forth.iter().rev().cloned().collect();
    let ready = Barrier::new(4);
    thread::scope(|scope| {
        for n in 0..4 {
            let (ready, db, forth, back) = (&ready, &rig.db, &forth, &back);
            scope.spawn(move || {
                let mut client = db.client();
                ready.wait();
                enqueue_many(&mut client, if n % 2 == 0 { forth } else { back }).unwrap();
            });
        }
    });
    assert_eq!((rig.count("messages"), rig.count("dedupe")), (300, 300));
}

#[test]
fn a_prepared_enqueue_does_the_same_as_a_plain_one() {
    let mut rig = Rig::new();
    let enqueuer = Enqueuer::prepare(&mut rig.client).unwrap();
    let notification = keyed("order-1");
    let mut tx = rig.client.transaction().unwrap();
    let id = only_id(&enqueuer.enqueue(&mut tx, &notification).unwrap());
    tx.commit().unwrap();
    let again = enqueuer.enqueue(&mut rig.client, &notification).unwrap();
    assert_eq!(again, Enqueued::Duplicate { notification_id: Some(id.0) });
    assert_eq!(rig.count("messages"), 1);
}

#[test]
fn null_is_as_good_as_no_field_by_every_way() {
    let mut rig = Rig::new();
    let names = "labels data targets created_by priority schedule_at expires_at dedupe_key endpoint max_attempts";
    let list = format!(r#", "{}": null"#, names.replace(' ', r#"": null, ""#));
    let many = format!(
        r#"select count(*) from postrider.enqueue_many('[{{"template": "greeting", "methods": ["inbox"],
            "recipient": {{"id": 7, "email": null, "name": null, "username": null}}{list}}}]')"#
    );
    rig.number(&many);
    let one = |labels: &str| {
        format!(
            r#"select count(*) from postrider.enqueue('greeting', '{{"id": "7"}}', {labels}, null, null, null,
                '{{inbox}}', null, null, null, null, null, null)"#
        )
    };
    rig.number(&one("null"));
    rig.number(&one("'null'"));
    let sql = "select count(distinct to_jsonb(m) - '{id,notification_id,due_at,first_due_at,created_at}'::text[])
                 from postrider.messages m where payload->'labels' = '{}'";
    assert_eq!((rig.count("messages"), rig.number(sql)), (3, 1));
}

#[test]
fn notifications_that_grow_as_text_are_sent_in_several_statements() {
    let mut rig = Rig::new();
    let quotes = || to_inbox().with_label("text", "\"\n".repeat(200_000));
    let many: Vec<_> = (0..24).map(|_| quotes()).collect();
    assert_eq!(enqueue_many(&mut rig.client, &many).unwrap().len(), 24);
    let ones = || Notification { data: Some(vec![1; 19_000].into()), ..to_inbox() };
    let many: Vec<_> = (0..100).map(|_| ones()).collect();
    assert_eq!(enqueue_many(&mut rig.client, &many).unwrap().len(), 100);
    let many = vec![to_inbox(); 10_001];
    assert_eq!(enqueue_many(&mut rig.client, &many).unwrap().len(), 10_001);
}

#[test]
fn many_in_one_statement_ring_once() {
    let mut rig = Rig::new();
    rig.client
        .batch_execute(
            "insert into postrider.doorbell values (gen_random_uuid(), now() + interval '1 hour')",
        )
        .unwrap();
    let times = rings(&mut rig, |rig| {
        rig.fill(100);
    });
    assert_eq!(times, 1);
}
