//! Many at once by COPY: the same as one after the other, also where some are refused.

use std::time::{Duration, SystemTime};

use postgres::{NoTls, Transaction};
use postrider::enqueue::{EnqueueError, Enqueued, Enqueuer, Notification, enqueue, enqueue_many};
use postrider::message::Recipient;
use postrider::store::Store;
use postrider::store::admin::templates::{self, NewTemplate};
use postrider::store::admin::{self, Preference};
use postrider::store::migrate::migrate;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use uuid::Uuid;

use crate::enqueue_many::{Answers, at_once, one_by_one, picture};
use crate::rig::{LIMIT, Rig, TEMPLATE, drop_functions, rings, template, to_inbox, waiting};
use crate::support::wait_until;

/// Enough that they go by COPY.
const MANY: usize = 100;

/// JSON that the database writes as it comes.
fn plain() -> impl Strategy<Value = serde_json::Value> {
    let json = prop::sample::select(vec![
        "1.50",
        "-0.5",
        "12345678901234567890.10",
        "[]",
        r#""é \"\/\b\f\n\r\t\u0001\u007f""#,
        r#"{"bb": 1, "a": [1, {"": null}], "ab": "x"}"#,
    ]);
    json.prop_map(|json| serde_json::from_str(json).expect(json))
}

/// Nothing is wrong with any, and all are different.
fn notifications() -> impl Strategy<Value = Vec<Notification>> {
    let text = || prop::sample::select(vec!["", "x", "é\"\\\n", "{}", "NULL", "a b,c"]);
    let often = prop::option::weighted::<Just<()>>;
    let whose = (
        prop::sample::select(vec![TEMPLATE, "quiet", "mail"]),
        prop::sample::select(vec!["ada", "bob", "é\"\\", "r1"]),
        prop::option::of(text()),
    );
    let how = (
        prop::collection::vec(prop::sample::select(vec!["inbox", "smtp", "webhook", "sms"]), 0..4),
        prop::option::weighted(0.3, prop::sample::select(vec!["ops", "https://example.com"])),
        0..4_u8,
        prop::option::weighted(0.2, 1..9_u32),
    );
    let what = (
        prop::option::weighted(0.5, plain()),
        prop::collection::vec(text(), 0..3),
        prop::option::weighted(0.3, text()),
        text(),
    );
    let when = (often(0.2, Just(())), often(0.2, Just(())), often(0.2, Just(())));
    let later = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    let one = (whose, how, what, when).prop_map(move |(whose, how, what, when)| {
        let recipient = Recipient {
            id: whose.1.into(),
            email: Some("ada@example.com".into()),
            name: whose.2.map(str::to_owned),
            username: Some("ada".into()),
        };
        Notification {
            methods: how.0.into_iter().map(str::to_owned).collect(),
            endpoint: how.1.map(str::to_owned),
            priority: how.2,
            max_attempts: how.3,
            data: what.0,
            targets: what.1.into_iter().map(str::to_owned).collect(),
            dedupe_key: what.2.map(str::to_owned),
            created_by: what.3.into(),
            schedule_at: when.0.map(|()| later).or(when.1.map(|()| SystemTime::UNIX_EPOCH)),
            expires_at: when.2.map(|()| later + Duration::from_micros(1_000_001)),
            ..Notification::new(whose.0, recipient)
        }
    });
    let numbered = |(no, mut it): (usize, Notification)| {
        it.labels.insert("no".into(), no.into());
        it.dedupe_key = it.dedupe_key.map(|key| format!("{key}{no}"));
        it
    };
    prop::collection::vec(one, MANY / 4).prop_map(move |all| {
        let repeated = std::iter::repeat_n(all, 4).flatten();
        repeated.enumerate().map(numbered).collect()
    })
}

/// A template that nobody gets unless he wants it, one by mail, an endpoint, and somebody's preferences.
fn set_up(rig: &mut Rig) {
    rig.set_template(&NewTemplate { enabled_by_default: false, ..template("quiet") });
    rig.set_template(&NewTemplate { method: Some("smtp".into()), ..template("mail") });
    admin::set_endpoint(&mut rig.client, "ops", "https://example.com/ops").unwrap();
    for (recipient_id, template, disabled) in
        [("ada", "quiet", false), ("ada", "mail", true), ("é\"\\", TEMPLATE, true)]
    {
        let preference =
            Preference { recipient_id: recipient_id.into(), template: template.into(), disabled };
        assert!(admin::set_preference(&mut rig.client, &preference).unwrap());
    }
}

#[test]
fn many_by_copy_are_the_same_as_one_after_the_other() {
    let mut rig = Rig::new();
    set_up(&mut rig);
    let config = Config { cases: 12, failure_persistence: None, ..Config::default() };
    let rig = std::cell::RefCell::new(rig);
    let result = TestRunner::new(config).run(&notifications(), |notifications| {
        let client = &mut rig.borrow_mut().client;
        let mut outcome = |way: fn(&mut Transaction<'_>, &[Notification]) -> Answers, by_copy| {
            let mut tx = client.transaction().unwrap();
            if by_copy {
                drop_functions(&mut tx, "enqueue_batch");
            }
            let answers = way(&mut tx, &notifications);
            let picture = answers.is_ok().then(|| picture(&mut tx));
            tx.rollback().unwrap();
            (answers, picture)
        };
        let expected = outcome(one_by_one, false);
        prop_assert!(expected.0.is_ok(), "{:?}", expected.0);
        prop_assert_eq!(&expected, &outcome(at_once, true));
        Ok(())
    });
    result.unwrap_or_else(|err| panic!("{err}"));
}

#[test]
fn what_was_enqueued_by_copy_is_a_duplicate_by_every_way_and_the_other_way_round() {
    let mut rig = Rig::new();
    set_up(&mut rig);
    let mut many: Vec<_> = (0..MANY).map(|_| to_inbox()).collect();
    many[7].dedupe_key = Some("é\"\\\n".into());
    many[8].data = Some(serde_json::json!({"bb": "é\u{1}", "a": [1, null]}));
    many[9].methods = vec!["webhook".into()];
    many[9].endpoint = Some("ops".into());
    let ways: [fn(&mut Transaction<'_>, &[Notification]) -> Answers; 2] = [one_by_one, at_once];
    let mut mixed = many.clone(); // One is of a form that the function alone can read.
    mixed[10].data = Some(serde_json::from_str("1e3").unwrap());
    for (first, then) in ways.iter().flat_map(|first| ways.iter().map(move |then| (first, then))) {
        for many in [&many, &mixed] {
            let mut tx = rig.client.transaction().unwrap();
            let one_each = |it: &Option<Vec<_>>| it.as_ref().is_some_and(|it| it.len() == 1);
            assert!(first(&mut tx, many).unwrap().iter().all(one_each));
            assert_eq!(then(&mut tx, many), Ok(vec![Some(Vec::new()); MANY]));
            tx.rollback().unwrap();
        }
    }
}

#[test]
fn duplicates_among_many_leave_the_others_as_they_are() {
    let mut rig = Rig::new();
    let mut many: Vec<_> = (0..6000).map(|_| to_inbox()).collect();
    many[17] = many[3].clone(); // in the first transaction
    many[5700] = many[1200].clone(); // in the second one
    rig.put(&many[4000]);
    let results = enqueue_many(&mut rig.client, &many).unwrap();
    let duplicates: Vec<_> =
        (0..many.len()).filter(|&no| results[no] == Enqueued::Duplicate).collect();
    assert_eq!(duplicates, [17, 4000, 5700]);
    assert_eq!((rig.count("messages"), rig.count("dedupe")), (5998, 5998));

    // All keys are taken, so the server ends the COPY while most are still on their way.
    let mut tx = rig.client.transaction().unwrap();
    let results = enqueue_many(&mut tx, &many).unwrap();
    assert!(results.iter().all(|it| *it == Enqueued::Duplicate));
    let one_more = enqueue_many(&mut tx, &[to_inbox()]).unwrap();
    assert!(matches!(one_more[..], [Enqueued::Enqueued { .. }]), "the transaction goes on");
    tx.commit().unwrap();
    assert_eq!((rig.count("messages"), rig.count("dedupe")), (5999, 5999));
}

#[test]
fn one_at_fault_among_many_is_named_and_takes_no_more_than_its_transaction_with_it() {
    let mut rig = Rig::new();
    let mut many: Vec<_> = (0..1500).map(|_| to_inbox()).collect();
    many[1400].template = "none".into();
    let err = enqueue_many(&mut rig.client, &many).unwrap_err();
    assert!(matches!(err, EnqueueError::UnknownTemplate(_)));
    assert!(err.to_string().starts_with("notification 1401: unknown template 'none'"), "{err}");
    assert_eq!(rig.count("messages"), 1000, "those of the transaction before it stay");

    many[1400] = Notification { methods: vec!["smtp".into()], ..to_inbox() };
    many[1400].recipient.email = None;
    let err = enqueue_many(&mut rig.client, &many).unwrap_err().to_string();
    assert!(err.starts_with("notification 1401: invalid recipient"), "{err}");
    many[1400] = Notification { data: Some("x".repeat(1 << 20).into()), ..to_inbox() };
    let err = enqueue_many(&mut rig.client, &many).unwrap_err().to_string();
    assert!(err.starts_with("notification 1401: invalid payload"), "{err}");
    many[1400] = Notification { max_attempts: Some(u32::MAX), ..to_inbox() };
    let err = enqueue_many(&mut rig.client, &many).unwrap_err().to_string();
    assert!(err.contains("4294967295"), "{err}");
    assert_eq!(rig.count("messages"), 1000);
}

#[test]
fn many_by_copy_wake_whoever_sleeps_once_a_transaction() {
    let mut rig = Rig::new();
    rig.store().look(Some(Duration::from_mins(1))).unwrap();
    let times = rings(&mut rig, |rig| {
        let mut tx = rig.client.transaction().unwrap();
        drop_functions(&mut tx, "enqueue_batch");
        enqueue_many(&mut tx, &some(MANY)).unwrap();
        tx.commit().unwrap();
    });
    assert_eq!(times, 1);
}

#[test]
fn ids_of_many_by_copy_rise_and_they_are_due_at_once() {
    let mut rig = Rig::new();
    let numbered = |no: u32| Notification {
        schedule_at: no.is_multiple_of(2).then_some(SystemTime::UNIX_EPOCH),
        ..to_inbox().with_label("no", no)
    };
    let many: Vec<_> = (0..3000).map(numbered).collect();
    enqueue_many(&mut rig.client, &many).unwrap();
    let wrong = "select count(*) from (
        select m.id, lag(m.id) over (order by (m.payload->'labels'->>'no')::int) before, m.created_at from postrider.messages m) m
         where m.id <= m.before or substr(m.id::text, 15, 1) <> '7' or substr(m.id::text, 20, 1) not in ('8', '9', 'a', 'b')
            or abs(('x' || translate(left(m.id::text, 13), '-', ''))::bit(48)::bigint / 1000.0
                   - extract(epoch from m.created_at)) > 1";
    assert_eq!(rig.number(wrong), 0);
    // Different ones also without their random bits.
    let times = "select count(distinct left(id::text, 18)) from postrider.messages";
    assert_eq!(rig.number(times), 3000);
    let early = "select count(*) from postrider.messages where due_at < created_at";
    assert_eq!(rig.number(early), 0, "a time long past means now");
}

/// Some that are like no others.
fn some(count: usize) -> Vec<Notification> {
    (0..count).map(|_| to_inbox()).collect()
}

#[test]
fn a_transaction_begun_by_hand_stays_the_callers() {
    let mut rig = Rig::new();
    rig.client.batch_execute("begin").unwrap();
    enqueue_many(&mut rig.client, &some(MANY)).unwrap();
    rig.client.batch_execute("rollback").unwrap();
    assert_eq!((rig.count("messages"), rig.count("dedupe")), (0, 0));

    rig.client.batch_execute("begin; create table public.mine ()").unwrap();
    let mut many = some(MANY);
    many[5] = many[4].clone();
    enqueue_many(&mut rig.client, &many).unwrap();
    rig.client.batch_execute("commit").unwrap();
    assert_eq!(rig.number("select count(*) from pg_class where relname = 'mine'"), 1);
    assert_eq!(rig.count("messages"), 99);
}

#[test]
fn after_an_error_of_the_database_a_transaction_can_only_be_rolled_back() {
    let mut rig = Rig::new();
    let many = some(2000);
    let mut other = rig.db.client();
    let mut held = other.transaction().unwrap();
    enqueue_many(&mut held, &many[1500..1501]).unwrap();
    rig.client.batch_execute("set lock_timeout = '50ms'").unwrap();
    let mut tx = rig.client.transaction().unwrap();
    enqueue_many(&mut tx, &many).unwrap_err();
    tx.batch_execute("select 1").unwrap_err();
    tx.commit().unwrap();
    held.rollback().unwrap();
    assert_eq!(rig.count("messages"), 0);
}

#[test]
fn a_connection_goes_on_after_what_forbids_to_write() {
    for table in ["messages", "dedupe"] {
        let mut rig = Rig::new();
        let mut other = rig.db.client();
        let mut held = other.transaction().unwrap();
        let lock = format!("lock table postrider.{table} in exclusive mode");
        held.batch_execute(&lock).unwrap();
        rig.client.batch_execute("set lock_timeout = '50ms'").unwrap();
        enqueue_many(&mut rig.client, &some(MANY)).unwrap_err();
        held.rollback().unwrap();
        assert_eq!(enqueue_many(&mut rig.client, &some(MANY)).unwrap().len(), MANY);
        rig.client.batch_execute("set default_transaction_read_only = on").unwrap();
        enqueue_many(&mut rig.client, &some(MANY)).unwrap_err();
        rig.client.batch_execute("set default_transaction_read_only = off").unwrap();
        assert_eq!(enqueue_many(&mut rig.client, &some(MANY)).unwrap().len(), MANY);
        assert_eq!(rig.count("messages"), 200);
    }
}

#[test]
fn a_template_deleted_in_the_midst_of_a_call_is_unknown_from_then_on() {
    let mut rig = Rig::new();
    let mut other = rig.db.client();
    let mut held = other.transaction().unwrap();
    held.batch_execute("lock table postrider.dedupe in exclusive mode").unwrap();
    let many = some(3000);
    let result = std::thread::scope(|scope| {
        let mut client = rig.db.client();
        let many = &many;
        let enqueueing = scope.spawn(move || enqueue_many(&mut client, many));
        wait_until(LIMIT, "it waits for the lock", || waiting(&mut rig.client) == 1);
        held.batch_execute("delete from postrider.templates").unwrap();
        held.commit().unwrap();
        enqueueing.join().unwrap()
    });
    let err = result.unwrap_err();
    assert!(err.to_string().starts_with("notification 1001: unknown template"), "{err}");
    assert_eq!(rig.count("messages"), 1000);
}

#[test]
fn times_that_the_database_does_not_know_are_refused() {
    let mut rig = Rig::new();
    let before_all = SystemTime::UNIX_EPOCH - Duration::from_secs(250_000_000_000);
    let mut many = some(MANY);
    many[50].schedule_at = Some(before_all);
    assert!(matches!(enqueue_many(&mut rig.client, &many), Err(EnqueueError::InvalidPayload(_))));
    many[50].schedule_at = None;
    many[50].expires_at = Some(before_all);
    assert!(matches!(enqueue_many(&mut rig.client, &many), Err(EnqueueError::InvalidPayload(_))));
    many[50].expires_at = Some(SystemTime::UNIX_EPOCH - Duration::from_nanos(1500));
    rig.put(&Notification { expires_at: many[50].expires_at, ..to_inbox() });
    enqueue_many(&mut rig.client, &many).unwrap();
    let times =
        "select count(distinct expires_at) from postrider.messages where expires_at is not null";
    assert_eq!(rig.number(times), 1);
}

#[test]
fn in_a_database_of_another_encoding_duplicates_are_found_by_every_way() {
    let mut rig = Rig::new();
    let name = format!("euc_{}", Uuid::new_v4().simple());
    let sql = format!("create database {name} encoding 'EUC_JP' locale 'C' template template0");
    rig.client.batch_execute(&sql).unwrap();
    let mut config: postgres::Config = rig.db.url().parse().unwrap();
    let mut client = config.dbname(&name).connect(NoTls).unwrap();
    migrate(&mut client).unwrap();
    templates::set(&mut client, &template(TEMPLATE)).unwrap();
    let mut many = some(MANY);
    for it in &mut many {
        it.data = Some("x\u{a6}".into()); // comes back as another character
    }
    enqueue_many(&mut client, &many).unwrap();
    let enqueuer = Enqueuer::prepare(&mut client).unwrap();
    for it in &many {
        assert_eq!(enqueue(&mut client, it).unwrap(), Enqueued::Duplicate);
        assert_eq!(enqueuer.enqueue(&mut client, it).unwrap(), Enqueued::Duplicate);
    }
    many[7].created_by = "\u{1f600}".into(); // has no place in it
    assert!(matches!(enqueue_many(&mut client, &many), Err(EnqueueError::InvalidPayload(_))));
    drop(client);
    rig.client.batch_execute(&format!("drop database {name}")).unwrap();
}
