//! Enqueueing: what is stored, what is answered, and what is refused.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use postgres::error::SqlState;
use postrider::config::Config;
use postrider::enqueue::{EnqueueError, Enqueued, Notification, enqueue, enqueue_many};
use postrider::message::{MessageId, Recipient};
use postrider::store::Store;
use postrider::store::admin::{self, Preference};
use postrider::transport::inbox::Inbox;
use postrider::worker::Worker;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::rig::{
    Leases, Rig, TEMPLATE, acquire_one, ada, deferred, keyed, only_id, settle, template, to_inbox,
};

impl Rig {
    fn enqueue(&mut self, notification: &Notification) -> Result<Enqueued, EnqueueError> {
        enqueue(&mut self.client, notification)
    }

    /// Methods of the messages that a notification becomes.
    fn methods_of(&mut self, notification: &Notification) -> Vec<String> {
        match self.enqueue(notification).unwrap() {
            Enqueued::Enqueued { messages, .. } => messages.into_iter().map(|it| it.1).collect(),
            other => panic!("not enqueued: {other:?}"),
        }
    }

    #[track_caller]
    fn check_refused(&mut self, notification: &Notification, text: &str) -> EnqueueError {
        let err = self.enqueue(notification).unwrap_err();
        assert!(err.to_string().contains(text), "{err}");
        self.check_untouched();
        err
    }

    #[track_caller]
    fn check_untouched(&mut self) {
        assert_eq!((self.count("messages"), self.count("dedupe")), (0, 0));
    }

    fn prefer(&mut self, disabled: bool) {
        let preference =
            Preference { recipient_id: "ada".into(), template: TEMPLATE.into(), disabled };
        assert!(admin::set_preference(&mut self.client, &preference).unwrap());
    }
}

fn by(methods: &[&str]) -> Notification {
    let methods = methods.iter().map(ToString::to_string).collect();
    Notification { methods, ..Notification::new(TEMPLATE, ada()) }
}

#[test]
fn what_is_rolled_back_was_never_enqueued() {
    let mut rig = Rig::new();
    let notification = to_inbox();
    let mut tx = rig.client.transaction().unwrap();
    assert!(matches!(enqueue(&mut tx, &notification).unwrap(), Enqueued::Enqueued { .. }));
    tx.rollback().unwrap();
    rig.check_untouched();
    assert!(rig.store().leases(1, true).is_empty());
    rig.put(&notification);
}

#[test]
fn what_is_committed_may_be_acquired() {
    let mut rig = Rig::new();
    let mut tx = rig.client.transaction().unwrap();
    let enqueued = enqueue(&mut tx, &to_inbox()).unwrap();
    tx.commit().unwrap();
    let lease = acquire_one(&mut rig.store());
    assert_eq!(only_id(&enqueued), lease.key().id);
}

#[test]
fn the_message_holds_all_that_was_said() {
    let mut rig = Rig::new();
    let sql =
        "insert into postrider.endpoints (name, url) values ('ops', 'https://example.com/ops')";
    rig.execute(sql, &[]);
    let number: Value = serde_json::from_str("1234567890.12345678901234567890").unwrap();
    let notification = Notification {
        data: Some(json!({"list": [1, number]})),
        targets: vec!["t1".into(), "t2".into()],
        created_by: "billing".into(),
        max_attempts: Some(7),
        priority: 2,
        endpoint: Some("ops".into()),
        expires_at: Some(SystemTime::now() + Duration::from_hours(1)),
        ..by(&["webhook"]).with_label("n", 1)
    };
    let id = rig.put(&notification);
    let lease = acquire_one(&mut rig.store());
    let message = lease.message();
    assert_eq!(lease.key().id, id);
    assert_eq!(message.endpoint.as_deref(), Some("ops"));
    assert!(message.endpoint_version.is_some());
    assert_eq!(message.targets, ["t1", "t2"]);
    assert_eq!((message.attempt, message.max_attempts), (1, Some(7)));
    let left = message.expires_in.unwrap().as_secs();
    assert!((3500..=3600).contains(&left), "{left}");
    let payload: Value = serde_json::from_str(message.payload.get()).unwrap();
    assert_eq!(payload["_version"], "1.2");
    assert_eq!(payload["notification_name"], TEMPLATE);
    assert_eq!(payload["user_name"], "Ada");
    assert_eq!(payload["user_email"], "ada@example.com");
    assert_eq!(payload["labels"], json!({"n": 1}));
    assert_eq!(payload["targets"], json!(["t1", "t2"]));
    assert!(message.payload.get().contains("1234567890.12345678901234567890"), "digits are kept");
    let sql =
        "select count(*) from postrider.messages where created_by = 'billing' and priority = 2";
    assert_eq!(rig.number(sql), 1);
}

#[test]
fn a_preference_of_the_recipient_decides_before_the_default_of_the_template() {
    let mut rig = Rig::new();
    rig.prefer(true);
    assert_eq!(rig.enqueue(&to_inbox()).unwrap(), Enqueued::Disabled);
    rig.check_untouched();
    let bob = Recipient { id: "bob".into(), ..Recipient::default() };
    rig.put(&Notification { recipient: bob.clone(), ..to_inbox() });
    rig.prefer(false);
    rig.put(&to_inbox());

    let off = admin::templates::NewTemplate { enabled_by_default: false, ..template(TEMPLATE) };
    rig.set_template(&off);
    let to_bob = Notification { recipient: bob, ..to_inbox() };
    assert_eq!(rig.enqueue(&to_bob).unwrap(), Enqueued::Disabled);
    rig.put(&to_inbox());
}

#[test]
fn a_preference_outlives_the_template() {
    let mut rig = Rig::new();
    rig.prefer(true);
    assert!(admin::templates::delete(&mut rig.client, TEMPLATE).unwrap());
    let preferences = admin::preferences(&mut rig.client, Some("ada")).unwrap();
    assert_eq!((preferences.len(), preferences[0].disabled), (1, true));
    rig.set_template(&template(TEMPLATE));
    assert_eq!(rig.enqueue(&to_inbox()).unwrap(), Enqueued::Disabled);
    let other = Preference {
        recipient_id: "ada".into(),
        template: "no such template".into(),
        disabled: true,
    };
    assert!(!admin::set_preference(&mut rig.client, &other).unwrap());
}

#[test]
fn priority_is_1_and_there_is_no_expiry_unless_it_is_said() {
    let mut rig = Rig::new();
    rig.put(&to_inbox());
    let sql = "select postrider.enqueue('greeting', '{\"id\": \"a\"}', methods => '{inbox}')";
    rig.client.query(sql, &[]).unwrap();
    let sql = sql.replace("methods", "priority => null, methods");
    rig.client.query(&sql, &[]).unwrap();
    let many = r#"select * from postrider.enqueue_many('[{"template": "greeting", "recipient": {"id": "a"},
                  "methods": ["inbox"]}]')"#;
    rig.client.query(many, &[]).unwrap();
    assert_eq!(rig.number("select count(*) from postrider.messages where priority = 1"), 4);
    assert_eq!(rig.number("select count(*) from postrider.messages where expires_at is null"), 4);
}

#[test]
fn methods_are_those_asked_for_else_the_templates_else_the_default_ones_and_the_inbox() {
    let mut rig = Rig::new();
    assert_eq!(rig.methods_of(&by(&[])), ["inbox", "smtp"]);
    assert_eq!(rig.methods_of(&by(&["webhook", "smtp", "webhook"])), ["smtp", "webhook"]);

    let mut config = Config::default();
    config.worker.default_methods = Some(vec!["webhook".into()]);
    config.inbox.enabled = Some(false);
    admin::publish_defaults(&mut rig.client, &config).unwrap();
    assert_eq!(rig.methods_of(&by(&[]).with_label("a", 1)), ["webhook"]);

    let mail = admin::templates::NewTemplate { method: Some("smtp".into()), ..template(TEMPLATE) };
    rig.set_template(&mail);
    assert_eq!(rig.methods_of(&by(&[]).with_label("a", 2)), ["smtp"]);
    assert_eq!(rig.methods_of(&by(&["inbox"]).with_label("a", 2)), ["inbox"]);
}

#[test]
fn a_method_is_known_once_it_was_added_or_a_worker_that_has_it_started() {
    let mut rig = Rig::new();
    let err = rig.check_refused(&by(&["webhook", "sms"]), "unknown method 'sms'");
    assert!(matches!(err, EnqueueError::InvalidArgument(_)), "{err:?}");
    let sql = "select postrider.enqueue('greeting', '{\"id\": \"a\"}', methods => '{sms}')";
    let err = rig.client.query(sql, &[]).unwrap_err();
    let hint = err.as_db_error().unwrap().hint().unwrap();
    assert!(hint.starts_with("Known are ") && hint.contains(", smtp, "), "{hint}");

    admin::methods::add(&mut rig.client, &["sms"]).unwrap();
    admin::methods::add(&mut rig.client, &["sms"]).unwrap();
    assert_eq!(rig.methods_of(&by(&["webhook", "sms"])), ["sms", "webhook"]);
    admin::methods::add(&mut rig.client, &["SMS"]).unwrap_err();

    let config = Config { database: rig.config(), ..Config::default() };
    let worker = Worker::new(config).unwrap().with_transport("pigeon", Arc::new(Inbox));
    worker.start().unwrap().stop().unwrap();
    assert_eq!(rig.methods_of(&by(&["pigeon"])), ["pigeon"]);
}

#[test]
fn the_messages_of_one_notification_share_its_id() {
    let mut rig = Rig::new();
    let Enqueued::Enqueued { notification_id, messages } = rig.enqueue(&by(&[])).unwrap() else {
        panic!("not enqueued");
    };
    let rows = rig
        .client
        .query("select id from postrider.messages where notification_id = $1", &[&notification_id])
        .unwrap();
    let stored: BTreeSet<_> = rows.iter().map(|row| MessageId(row.get(0))).collect();
    assert_eq!(messages.into_iter().map(|it| it.0).collect::<BTreeSet<_>>(), stored);
    assert_eq!(stored.len(), 2);
}

#[test]
fn an_unknown_template_is_named() {
    let mut rig = Rig::new();
    let unknown = Notification { template: "greting".into(), ..to_inbox() };
    let err = rig.check_refused(&unknown, "'greting'");
    assert!(matches!(err, EnqueueError::UnknownTemplate(_)));
}

#[test]
fn a_recipient_needs_an_id_and_for_mail_an_address() {
    let mut rig = Rig::new();
    let nobody = Notification { recipient: Recipient::default(), ..to_inbox() };
    let err = rig.check_refused(&nobody, "needs an id");
    assert!(matches!(err, EnqueueError::InvalidRecipient(_)));

    let recipient = Recipient { email: None, ..ada() };
    let err = rig.check_refused(&Notification { recipient, ..by(&["smtp"]) }, "needs an email");
    assert!(matches!(err, EnqueueError::InvalidRecipient(_)));
}

#[test]
fn a_payload_of_more_than_a_mebibyte_is_refused() {
    let mut rig = Rig::new();
    let large = to_inbox().with_label("text", "x".repeat(1 << 20));
    let err = rig.check_refused(&large, "more than 1 MiB");
    assert!(matches!(err, EnqueueError::InvalidPayload(_)));
    rig.put(&to_inbox().with_label("text", "x".repeat((1 << 20) - 2000)));
}

#[test]
fn arguments_out_of_range_are_refused() {
    let mut rig = Rig::new();
    for (notification, text) in [
        (Notification { priority: 4, ..to_inbox() }, "invalid priority 4"),
        (Notification { max_attempts: Some(0), ..to_inbox() }, "invalid max_attempts 0"),
        (by(&["SMTP"]), "unknown method 'SMTP'"),
        (by(&["inbox", ""]), "unknown method ''"),
        (by(&["null"]), "unknown method 'null'"),
    ] {
        let err = rig.check_refused(&notification, text);
        assert!(matches!(err, EnqueueError::InvalidArgument(_)), "{err:?}");
    }
    let mut config = Config::default();
    config.worker.default_methods = Some(Vec::new());
    config.inbox.enabled = Some(false);
    admin::publish_defaults(&mut rig.client, &config).unwrap();
    let err = rig.check_refused(&by(&[]), "one list of 1 to 16 names");
    assert!(matches!(err, EnqueueError::InvalidArgument(_)), "{err:?}");
}

#[test]
fn an_endpoint_is_a_url_or_a_name_that_is_known() {
    let mut rig = Rig::new();
    let to = |endpoint: &str| Notification { endpoint: Some(endpoint.into()), ..by(&["webhook"]) };
    let err = rig.check_refused(&to("ops"), "unknown endpoint 'ops'");
    assert!(matches!(err, EnqueueError::UnknownEndpoint(_)));
    rig.put(&to("https://example.com/hook"));
    admin::set_endpoint(&mut rig.client, "ops", "https://example.com/ops").unwrap();
    rig.put(&to("ops"));
}

#[test]
fn plain_sql_returns_the_ids() {
    let mut rig = Rig::new();
    let sql = r#"select postrider.enqueue(template => 'greeting',
                    recipient => '{"id": "ada", "email": "ada@example.com"}')"#;
    let rows = rig.client.query(sql, &[]).unwrap();
    let stored = rig.client.query("select id from postrider.messages order by id", &[]).unwrap();
    let ids = |rows: &[postgres::Row]| rows.iter().map(|it| it.get(0)).collect::<BTreeSet<Uuid>>();
    assert_eq!(ids(&rows), ids(&stored));
    assert_eq!(rows.len(), 2);
    let keyed = sql.replace("'greeting',", "'greeting', dedupe_key => 'k',");
    assert_eq!(rig.client.query(&keyed, &[]).unwrap().len(), 2);
    assert!(rig.client.query(&keyed, &[]).unwrap().is_empty(), "a duplicate has no messages");
}

#[test]
fn plain_sql_errors_have_codes_of_their_own() {
    let mut rig = Rig::new();
    for (arguments, code) in [
        (r#"template => 'x', recipient => '{"id": "a"}'"#, "PR001"),
        (r#"template => null, recipient => '{"id": "a"}'"#, "PR001"),
        ("template => 'greeting', recipient => '{}'", "PR002"),
        ("template => 'greeting', recipient => null", "PR002"),
        ("template => 'greeting', recipient => '[\"id\"]'", "PR002"),
        (r#"template => 'greeting', recipient => '{"id": "a"}', methods => '{smtp}'"#, "PR002"),
        (
            r#"template => 'greeting', recipient => '{"id": "a"}', methods => '{inbox}', labels => '[]'"#,
            "PR003",
        ),
        (r#"template => 'greeting', recipient => '{"id": "a"}', priority => -1"#, "PR004"),
        (r#"template => 'greeting', recipient => '{"id": "a"}', methods => '{null}'"#, "PR004"),
        (
            r#"template => 'greeting', recipient => '{"id": "a"}', methods => '{inbox}',
               endpoint => 'x'"#,
            "PR005",
        ),
    ] {
        let err = rig.client.query(&format!("select postrider.enqueue({arguments})"), &[]);
        let err = err.expect_err(arguments);
        assert_eq!(err.code().map(SqlState::code), Some(code), "{arguments}");
        rig.check_untouched();
    }
}

#[test]
fn results_of_many_are_in_the_order_given() {
    let mut rig = Rig::new();
    rig.prefer(true);
    let to = |n: usize| Recipient { id: format!("r{n}"), ..Recipient::default() };
    // More than fit in one statement; each third a duplicate, each seventh disabled.
    let notification = |n: usize| match n {
        _ if n.is_multiple_of(7) => to_inbox(),
        _ if n % 3 == 2 => Notification { recipient: to(1), ..keyed("same") },
        _ => Notification { recipient: to(n), ..to_inbox() },
    };
    let first = rig.put(&notification(2));
    let many: Vec<_> = (0..1201).map(notification).collect();
    let results = enqueue_many(&mut rig.client, &many).unwrap();
    assert_eq!(results.len(), many.len());
    for (n, (given, result)) in many.iter().zip(&results).enumerate() {
        match result {
            Enqueued::Disabled => assert!(n.is_multiple_of(7)),
            Enqueued::Duplicate { notification_id } => {
                assert!(n % 3 == 2);
                assert_eq!(*notification_id, Some(first.0));
            }
            Enqueued::Enqueued { messages, .. } => {
                let sql = "select recipient_id from postrider.messages where id = $1";
                let row = rig.client.query_one(sql, &[&messages[0].0.0]).unwrap();
                assert_eq!(row.get::<_, String>(0), given.recipient.id);
            }
        }
    }
}

#[test]
fn ids_of_one_transaction_rise_in_the_order_of_its_enqueues() {
    let mut rig = Rig::new();
    let ids = rig.fill(600);
    assert!(ids.is_sorted());
    assert!(ids.iter().all(|id| id.0.get_version_num() == 7));
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>().len(), 600);
}

#[test]
fn an_id_holds_the_time_at_which_it_was_made() {
    let mut rig = Rig::new();
    let sql = "select postrider.uuid_v7(), (date_part('epoch', clock_timestamp()) * 1000)::bigint";
    let row = rig.client.query_one(sql, &[]).unwrap();
    let (seconds, nanos) = row.get::<_, Uuid>(0).get_timestamp().unwrap().to_unix();
    let made = i64::try_from(seconds).unwrap() * 1000 + i64::from(nanos / 1_000_000);
    let now: i64 = row.get(1);
    assert!((now - 1000..=now).contains(&made), "{made} is not just before {now}");
}

#[test]
fn a_time_long_past_means_now() {
    let mut rig = Rig::new();
    for time in ["-infinity", "1960-01-01", "2000-01-01"] {
        let sql = format!(
            r#"select postrider.enqueue(template => 'greeting', recipient => '{{"id": "{time}"}}',
                methods => '{{inbox}}', schedule_at => '{time}')"#
        );
        rig.client.query(&sql, &[]).unwrap();
    }
    assert_eq!(rig.store().leases(10, true).len(), 3);
}

#[test]
fn c59_what_jsonb_cannot_hold_is_refused_with_its_path_and_nothing_is_stored() {
    let mut rig = Rig::new();
    for (data, path) in [
        (json!({"a": "x\0"}), "data.a holds a NUL"),
        (json!({"a\0": 1}), "data.a\\u{0} holds a NUL"),
        (json!({"a": [{"b": "\0"}]}), "data.a[0].b holds a NUL"),
    ] {
        let notification = Notification { data: Some(data), ..to_inbox() };
        let err = rig.check_refused(&notification, path);
        assert!(matches!(err, EnqueueError::InvalidPayload(_)));
    }
    let mut name = to_inbox();
    name.recipient.name = Some("A\0".into());
    rig.check_refused(&name, "recipient.name holds a NUL");

    for (data, code) in [(r#"{"a": "x\u0000"}"#, "22P05"), (r#"{"a": "\ud800"}"#, "22P02")] {
        let sql = format!(
            r#"select postrider.enqueue(template => 'greeting', recipient => '{{"id": "a"}}',
                data => '{data}')"#
        );
        let err = rig.client.query(&sql, &[]).unwrap_err();
        assert_eq!(err.code().map(SqlState::code), Some(code), "{data}");
        rig.check_untouched();
    }
}

#[test]
fn c64_who_opts_out_while_the_message_waits_is_known_at_the_acquire() {
    let mut rig = Rig::new();
    rig.put(&to_inbox());
    let mut store = rig.store();
    let first = acquire_one(&mut store);
    assert!(!first.message().disabled);
    // Between two attempts.
    rig.prefer(true);
    let written = store.commit(&settle(vec![first], &deferred(Duration::ZERO))).unwrap();
    assert_eq!(written.len(), 1);
    assert!(acquire_one(&mut store).message().disabled);
}

#[test]
fn c64_a_template_can_be_deleted_while_its_messages_wait() {
    let mut rig = Rig::new();
    rig.prefer(false);
    let id = rig.put(&to_inbox());
    assert_eq!(rig.execute("delete from postrider.templates", &[]), 1);
    let mut store = rig.store();
    let lease = acquire_one(&mut store);
    assert_eq!((lease.key().id, lease.message().template_version), (id, None));
    assert_eq!(store.template(lease.message().template_id).unwrap(), None);
    let shown = admin::messages::show(&mut rig.client, id.0).unwrap().unwrap();
    assert_eq!(shown.message.template, lease.message().template_id.to_string());
}
