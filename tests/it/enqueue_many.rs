//! Enqueueing many at once: the same as one after the other, whatever they are.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use postgres::Transaction;
use postgres::error::SqlState;
use postrider::enqueue::{EnqueueError, Enqueued, Enqueuer, Notification, enqueue, enqueue_many};
use postrider::message::Recipient;
use postrider::store::Store;
use postrider::store::admin::templates::NewTemplate;
use postrider::store::admin::{self, Preference};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

use crate::rig::{
    LIMIT, Leases, Rig, TEMPLATE, ada, drop_functions, only_id, rings, template, to_inbox, waiting,
};
use crate::support::wait_until;

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
        common(vec![TEMPLATE, TEMPLATE, "quiet", "mail"], "unknown"),
        common(vec!["ada", "ada", "bob"], ""),
        prop::bool::weighted(0.9),
    );
    let content = (
        prop::collection::vec(prop::sample::select(vec!["inbox", "smtp", "webhook", "sms"]), 0..4),
        0..2_u8,
        prop::option::weighted(0.2, Just("key".to_owned())),
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
            dedupe_key,
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
pub(crate) fn picture(tx: &mut Transaction<'_>) -> String {
    let sql = "select concat_ws(e'\\n',
        (select string_agg(concat_ws(' ', to_jsonb(m) - '{id,notification_id,due_at,created_at}'::text[], case when m.due_at > now() then m.due_at end),
                           e'\\n' order by m.id) from postrider.messages m),
        (select string_agg(d.day || ' ' || d.key, e'\\n' order by d.day, d.key) from postrider.dedupe d))";
    tx.query_one(sql, &[]).unwrap().get(0)
}

/// The answers without their ids, or the error of the first that fails, with its number.
pub(crate) type Answers = Result<Vec<Option<Vec<String>>>, String>;

fn answer(enqueued: Enqueued) -> Option<Vec<String>> {
    match enqueued {
        Enqueued::Enqueued { messages, .. } => Some(messages.into_iter().map(|it| it.1).collect()),
        Enqueued::Duplicate => Some(Vec::new()),
        Enqueued::Disabled => None,
    }
}

pub(crate) fn one_by_one(tx: &mut Transaction<'_>, notifications: &[Notification]) -> Answers {
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

pub(crate) fn at_once(tx: &mut Transaction<'_>, notifications: &[Notification]) -> Answers {
    let enqueued = enqueue_many(tx, notifications).map_err(|err| err.to_string())?;
    Ok(enqueued.into_iter().map(answer).collect())
}

#[test]
fn many_at_once_are_the_same_as_one_after_the_other() {
    let mut rig = Rig::new();
    let quiet = NewTemplate { enabled_by_default: false, ..template("quiet") };
    rig.set_template(&quiet);
    rig.set_template(&NewTemplate { method: Some("smtp".into()), ..template("mail") });
    admin::set_endpoint(&mut rig.client, "ops", "https://example.com/ops").unwrap();
    let preference =
        Preference { recipient_id: "ada".into(), template: "quiet".into(), disabled: false };
    assert!(admin::set_preference(&mut rig.client, &preference).unwrap());
    // One whose keys were there before.
    let before = Notification::new(TEMPLATE, recipient("ada", true)).with_label("n", 0);
    rig.put(&Notification { methods: vec!["smtp".into()], ..before });

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
            ..Notification::new(TEMPLATE, recipient).with_label(text, label)
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
fn of_many_that_want_the_same_keys_the_first_gets_them_unless_it_is_refused() {
    let mut rig = Rig::new();
    let by = |methods: &[&str]| Notification {
        methods: methods.iter().map(ToString::to_string).collect(),
        ..Notification::new(TEMPLATE, ada())
    };
    let many = [by(&["smtp"]), by(&["inbox", "smtp"]), by(&["inbox"]), by(&["inbox"])];
    let results = enqueue_many(&mut rig.client, &many).unwrap();
    assert!(matches!(results[0], Enqueued::Enqueued { .. }));
    assert_eq!(results[1], Enqueued::Duplicate);
    assert!(matches!(results[2], Enqueued::Enqueued { .. }), "the second got no key to hold");
    assert_eq!(results[3], Enqueued::Duplicate);
    assert_eq!((rig.count("messages"), rig.count("dedupe")), (2, 2));

    // A third one's key is given back where another one of its keys is not to be had.
    let results = enqueue_many(&mut rig.client, &[by(&["inbox", "webhook"])]).unwrap();
    assert_eq!(results, [Enqueued::Duplicate]);
    assert_eq!((rig.count("messages"), rig.count("dedupe")), (2, 2));
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
    let forth: Vec<_> = (0..300).map(|_| to_inbox()).collect();
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
    let notification = to_inbox();
    let mut tx = rig.client.transaction().unwrap();
    only_id(&enqueuer.enqueue(&mut tx, &notification).unwrap());
    tx.commit().unwrap();
    let again = enqueuer.enqueue(&mut rig.client, &notification).unwrap();
    assert_eq!(again, Enqueued::Duplicate);
    assert_eq!(rig.count("messages"), 1);
}

#[test]
fn a_prepared_enqueue_of_the_owner_by_one_method_is_a_statement_that_rings() {
    let mut rig = Rig::new();
    rig.store().look(Some(Duration::from_mins(1))).unwrap();
    let enqueuer = Enqueuer::prepare(&mut rig.client).unwrap();
    let notification = Notification {
        schedule_at: Some(SystemTime::UNIX_EPOCH),
        endpoint: Some("https://example.com".into()),
        ..to_inbox()
    };
    let times = rings(&mut rig, |rig| {
        let mut tx = rig.client.transaction().unwrap();
        drop_functions(&mut tx, "enqueue, enqueue_result");
        let id = only_id(&enqueuer.enqueue(&mut tx, &notification).unwrap());
        let sql = "select due_at = now() and endpoint is null and notification_id = id
                     from postrider.messages where id = $1";
        assert!(tx.query_one(sql, &[&id.0]).unwrap().get::<_, bool>(0));
        tx.commit().unwrap();
    });
    assert_eq!(times, 1);
    let again = enqueuer.enqueue(&mut rig.client, &notification).unwrap();
    assert_eq!(again, Enqueued::Duplicate);

    let chosen = |key: &str| Notification { dedupe_key: Some(key.into()), ..to_inbox() };
    only_id(&enqueuer.enqueue(&mut rig.client, &chosen("é\"")).unwrap());
    let again = enqueuer.enqueue(&mut rig.client, &chosen("é\"")).unwrap();
    assert_eq!(again, Enqueued::Duplicate);
    assert_eq!(rig.number("select count(*) from postrider.dedupe where day = 'infinity'"), 1);
}

#[test]
fn a_prepared_enqueue_rings_for_who_came_to_wait_while_it_waited() {
    let mut rig = Rig::new();
    let notification = to_inbox();
    let mut other = rig.db.client();
    let mut held = other.transaction().unwrap();
    enqueue(&mut held, &notification).unwrap();
    let mut client = rig.db.client();
    let enqueuer = Enqueuer::prepare(&mut client).unwrap();
    let times = rings(&mut rig, |rig| {
        thread::scope(|scope| {
            let enqueueing = scope.spawn(|| enqueuer.enqueue(&mut client, &notification));
            wait_until(LIMIT, "it waits for the key", || waiting(&mut rig.client) == 1);
            rig.store().look(Some(Duration::from_mins(1))).unwrap();
            let began = Instant::now();
            wait_until(LIMIT, "it takes long", || Duration::from_millis(5) < began.elapsed());
            held.rollback().unwrap();
            only_id(&enqueueing.join().unwrap().unwrap());
        });
    });
    assert_eq!(times, 1);
}

#[test]
fn a_method_that_is_called_null_is_refused_by_every_way() {
    let mut rig = Rig::new();
    let null = Notification { methods: vec!["null".into()], ..to_inbox() };
    let enqueuer = Enqueuer::prepare(&mut rig.client).unwrap();
    for result in [
        enqueue(&mut rig.client, &null).map(drop),
        enqueuer.enqueue(&mut rig.client, &null).map(drop),
        enqueue_many(&mut rig.client, &vec![null; 100]).map(drop),
    ] {
        assert!(matches!(result, Err(EnqueueError::InvalidArgument(_))), "{result:?}");
    }
}

#[test]
fn a_text_that_says_less_of_itself_than_it_is_is_refused() {
    let mut rig = Rig::new();
    let call = |data: &str, email: &str, method: &str| {
        format!(
            r#"select count(*) from postrider.enqueue_batch('[{{"template": "greeting", "methods": ["{method}"]}}]', '{{1}}',
                array['{{"data": {data}, "labels": {{}}, "actions": [], "targets": [null], "user_id": "ada", "_version": "1.2",
                {email}"notification_name": "greeting", "notification_template_id": '], null, null, null, null, 1)"#
        )
    };
    let long = format!("[{}]", ["1e131071"; 20].join(","));
    let blank = format!("[{}]", " ".repeat(2 << 20));
    for (data, method, code) in
        [(long.as_str(), "inbox", "PR003"), (&blank, "inbox", "PR003"), ("null", "smtp", "PR002")]
    {
        let err = rig.client.query(&call(data, "", method), &[]).unwrap_err();
        assert_eq!(err.code().map(SqlState::code), Some(code), "{err:?}");
    }
    assert_eq!((rig.count("messages"), rig.count("dedupe")), (0, 0));
    rig.number(&call("null", "", "inbox"));
    // A target that is null is none, and harms no worker.
    assert_eq!(rig.store().leases(1, true)[0].message().targets, [""; 0]);
}

/// Asks for a batch of two in plain SQL, the second of which has `document` (up to the template's id).
fn batch_of_two(document: &str, kinds: &str, columns: &str) -> String {
    format!(
        "select cardinality(message_ids)::bigint from postrider.enqueue_batch('{kinds}', {}, 1)",
        columns.replace("DOCUMENTS", &format!("array['{}', '{document}']", document_of("bob", "")))
    )
}

/// A document as the client writes it. What is in `other` stands behind the fields that it repeats, and holds.
fn document_of(user: &str, other: &str) -> String {
    format!(
        r#"{{"data": null, "labels": {{}}, "actions": [], "targets": [], "user_id": "{user}", "_version": "1.2", "user_name": "", "user_email": "", "user_username": "", "notification_name": "greeting", {other}"notification_template_id": "#
    )
}

const KINDS: &str = r#"[{"template": "greeting", "methods": ["inbox"]}]"#;
const COLUMNS: &str = "'{1,1}', DOCUMENTS, null, null, null, null";

fn assert_batch_refused(rig: &mut Rig, sql: &str, code: &str, text: &str) {
    let err = rig.client.query(sql, &[]).err().unwrap_or_else(|| panic!("no error: {sql}"));
    assert_eq!(err.code().map(SqlState::code), Some(code), "{err:?}");
    let err = err.as_db_error().unwrap();
    assert!(err.message().starts_with(text), "{text}: {err:?}");
    assert!(err.hint().is_some(), "{err:?}");
    assert_eq!((rig.count("messages"), rig.count("dedupe")), (0, 0), "{sql}");
}

#[test]
fn columns_that_do_not_fit_together_are_refused() {
    let mut rig = Rig::new();
    let document = document_of("ada", "");
    let cases = [
        ("'{1}', DOCUMENTS, null, null, null, null", "invalid kind_nos"),
        ("'{1,1,1}', DOCUMENTS, null, null, null, null", "invalid kind_nos"),
        ("'[0:1]={1,1}', DOCUMENTS, null, null, null, null", "invalid kind_nos"),
        ("null, DOCUMENTS, null, null, null, null", "invalid kind_nos"),
        ("'{1,1}', null, null, null, null, null", "invalid kind_nos"),
        ("'{1,1}', '[0:1]={a,b}', null, null, null, null", "invalid contents"),
        ("'{1,1}', DOCUMENTS, '{f}', null, null, null", "invalid rough"),
        ("'{1,1}', DOCUMENTS, null, '{2100-01-01}', null, null", "invalid schedule"),
        ("'{1,1}', DOCUMENTS, null, '{{2100-01-01},{2100-01-01}}', null, null", "invalid schedule"),
        ("'{1,1}', DOCUMENTS, null, null, '{}', null", "invalid expiry"),
        ("'{1,1}', DOCUMENTS, null, null, null, '{k}'", "invalid dedupe_keys"),
        ("'{1,2}', DOCUMENTS, null, null, null, null", "notification 2: its kind is none of those"),
        ("'{1,0}', DOCUMENTS, null, null, null, null", "notification 2: its kind is none of those"),
        ("'{1,null}', DOCUMENTS, null, null, null, null", "notification 2: its kind is none"),
        ("'{1,1}', DOCUMENTS || null::text, null, null, null, null", "invalid kind_nos"),
        (
            "'{1,1,1}', DOCUMENTS || null::text, null, null, null, null",
            "notification 3: its content",
        ),
    ];
    for (columns, text) in cases {
        let sql = batch_of_two(&document, KINDS, columns);
        assert_batch_refused(&mut rig, &sql, "PR004", text);
    }
    let kinds = [
        (r#"{"template": "greeting"}"#, "invalid kinds: it must be an array, not object"),
        ("[7]", "notification 1: its kind must be an object, not number"),
        (
            r#"[{"template": "greeting", "method": "inbox"}]"#,
            "notification 1: its kind has a field",
        ),
        ("[]", "notification 1: its kind is none of those given"),
    ];
    for (kinds, text) in kinds {
        let sql = batch_of_two(&document, kinds, COLUMNS);
        assert_batch_refused(&mut rig, &sql, "PR004", text);
    }
    assert_eq!(rig.number(&batch_of_two(&document, KINDS, COLUMNS)), 2);
}

#[test]
fn documents_of_another_form_are_refused_also_where_nobody_wants_them() {
    let mut rig = Rig::new();
    let quiet = NewTemplate { enabled_by_default: false, ..template(TEMPLATE) };
    let cases = [
        (r#""user_id": 7"#, "PR002", "user_id must be a string, not number"),
        (r#""user_id": null"#, "PR002", "user_id must be a string, not null"),
        (r#""user_email": ["a"]"#, "PR002", "user_email must be a string, not array"),
        (r#""user_name": {}"#, "PR002", "user_name must be a string, not object"),
        (r#""user_username": true"#, "PR002", "user_username must be a string, not boolean"),
        (r#""labels": []"#, "PR003", "labels must be an object, not array"),
        (r#""targets": "t""#, "PR003", "targets must be an array, not string"),
        (r#""_version": "2.0""#, "PR003", r#"_version must be "1.2", not "2.0""#),
        (r#""_version": 1.2"#, "PR003", r#"_version must be "1.2", not 1.2"#),
        (r#""notification_name": "other""#, "PR003", r#"notification_name must be "greeting""#),
    ];
    for wanted in [true, false] {
        if !wanted {
            rig.set_template(&quiet);
        }
        for (field, code, text) in cases {
            let what = if code == "PR002" { "recipient" } else { "payload" };
            for rough in ["null", "'{f,t}'"] {
                let columns = COLUMNS.replacen("null", rough, 1);
                let sql = batch_of_two(&document_of("ada", &format!("{field}, ")), KINDS, &columns);
                let text = format!("notification 2: invalid {what}: {text}");
                assert_batch_refused(&mut rig, &sql, code, &text);
            }
        }
        // The end of the document is the place of the template's id.
        let other = document_of("ada", "").replace("notification_template_id", "other");
        let sql = batch_of_two(&other, KINDS, COLUMNS);
        let text = "notification 2: invalid payload: notification_template_id must be";
        assert_batch_refused(&mut rig, &sql, "PR003", text);
        let other = document_of("ada", "").replace(r#""labels": {}, "#, "");
        let sql = batch_of_two(&other, KINDS, COLUMNS);
        let text = "notification 2: invalid payload: labels must be an object, not missing";
        assert_batch_refused(&mut rig, &sql, "PR003", text);
    }
}
