//! Named endpoints, from the table to the wire and back: settings, keys, formats, and their end.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use postrider::config::{AllowPrivate, Config, RetryConfig, Secret, WebhookConfig};
use postrider::endpoint::{EndpointSettings, Format, StoredKey};
use postrider::enqueue::Notification;
use postrider::message::MessageId;
use postrider::outcome::Outcome;
use postrider::sink::http::{Reply, Request, Response, WebhookSink};
use postrider::store::Store;
use postrider::store::admin::endpoints;
use postrider::transport::webhook::keep;
use postrider::vault::Vault;
use postrider::worker::{Until, Worker};
use serde_json::Value;
use uuid::Uuid;

use crate::rig::{Rig, TEMPLATE, acquire_one, ada};

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD_KEY: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// A queue with an endpoint `ops` that leads to a sink, which answers by script and records.
struct Ops {
    rig: Rig,
    sink: WebhookSink,
    heard: Arc<Mutex<Vec<Heard>>>,
}

/// A request: its headers that matter, and its body.
#[derive(Debug, Clone)]
struct Heard {
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Heard {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }
}

const HEARD: [&str; 5] =
    ["content-type", "webhook-id", "webhook-timestamp", "webhook-signature", "x-team"];

impl Ops {
    fn new(answer: impl Fn() -> Reply + Send + Sync + 'static) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&heard);
        let sink = WebhookSink::start(move |request: &Request<'_>| {
            let value = |name| (name, request.header(name).unwrap_or_default().to_owned());
            let body = String::from_utf8(request.body.to_vec()).unwrap();
            record.lock().unwrap().push(Heard { headers: HEARD.map(value).to_vec(), body });
            answer()
        });
        Self { rig: Rig::new(), sink: sink.unwrap(), heard }
    }

    fn settings(&self) -> EndpointSettings {
        EndpointSettings::new("ops", self.sink.url("/hook"))
    }

    fn save(&mut self, settings: &EndpointSettings) {
        assert!(endpoints::save(&mut self.rig.client, settings).unwrap());
    }

    fn put(&mut self) -> MessageId {
        let label = Uuid::new_v4().to_string();
        let notification = Notification::new(TEMPLATE, ada()).with_label("no", label);
        let methods = vec!["webhook".into()];
        self.rig.put(&Notification { methods, endpoint: Some("ops".into()), ..notification })
    }

    fn config(&self) -> Config {
        let schedule = Some(vec![Duration::from_hours(1)]);
        Config {
            database: self.rig.config(),
            webhook: WebhookConfig {
                allow_private: AllowPrivate::All,
                retry: RetryConfig { schedule, ..RetryConfig::default() },
                ..WebhookConfig::default()
            },
            ..Config::default()
        }
    }

    /// Delivers what is due.
    fn work(&self) {
        Self::work_with(self.config());
    }

    fn work_with(config: Config) {
        let (_stop, stopped) = crossbeam_channel::bounded(0);
        let worker = Worker::new(config).unwrap().until(Until::Empty(Duration::ZERO));
        worker.run(stopped).unwrap();
    }

    fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// Status, code and reason.
    fn fate(&mut self, id: MessageId) -> (String, String, String) {
        let sql = "select status::text, coalesce(code, ''), coalesce(reason, '')
                     from postrider.all_messages where id = $1";
        let row = self.rig.client.query_one(sql, &[&id.0]).unwrap();
        (row.get(0), row.get(1), row.get(2))
    }

    fn disabled(&mut self) -> Option<String> {
        endpoints::find(&mut self.rig.client, "ops").unwrap().unwrap().disabled
    }
}

fn ok() -> Reply {
    Reply::status(204)
}

fn key(key: &str, expires_at: Option<u64>) -> StoredKey {
    StoredKey { key: key.into(), expires_at }
}

#[test]
fn an_endpoint_sends_its_format_its_headers_and_the_signatures_of_its_live_keys() {
    let mut ops = Ops::new(ok);
    let mut settings = ops.settings();
    settings.format = Format::CloudEvents;
    settings.headers.insert("x-team".into(), "ops".into());
    settings.secrets =
        vec![key(KEY, None), key(OLD_KEY, Some(u64::from(u32::MAX))), key(OLD_KEY, Some(1))];
    ops.save(&settings);
    let id = ops.put();
    ops.work();
    let heard = ops.heard();
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].header("content-type"), "application/cloudevents+json; charset=utf-8");
    assert_eq!(heard[0].header("x-team"), "ops");
    assert_eq!(heard[0].header("webhook-signature").split(' ').count(), 2, "the expired key");
    let event: Value = serde_json::from_str(&heard[0].body).unwrap();
    assert_eq!(event["id"], id.to_string());
    assert_eq!(event["data"]["title"], "Hello");
    assert_eq!(ops.fate(id).0, "sent");
}

#[test]
fn a_change_of_an_endpoint_holds_for_the_next_delivery_of_a_worker_that_knows_it() {
    let mut ops = Ops::new(ok);
    let settings = ops.settings();
    ops.save(&settings);
    let running = Worker::new(ops.config()).unwrap().start().unwrap();
    for format in [Format::Standard, Format::Slack, Format::Discord] {
        let known = endpoints::find(&mut ops.rig.client, "ops").unwrap().unwrap();
        ops.save(&EndpointSettings { format, ..known });
        let id = ops.put();
        crate::support::wait_until(crate::rig::LIMIT, "it is sent", || ops.fate(id).0 == "sent");
    }
    running.stop().unwrap();
    let bodies: Vec<Value> =
        ops.heard().iter().map(|heard| serde_json::from_str(&heard.body).unwrap()).collect();
    assert_eq!(bodies[0]["_version"], "1.1");
    assert_eq!(bodies[1]["blocks"][0]["type"], "header");
    assert!(bodies[2]["embeds"].is_array());
}

#[test]
fn an_endpoint_that_is_gone_is_disabled_and_later_messages_end_until_it_is_enabled() {
    for gone in [Response::new(410), Response::new(503).header("webhook-delivery", "disable")] {
        let mut ops = Ops::new(move || gone.clone().into());
        let settings = ops.settings();
        ops.save(&settings);
        let first = ops.put();
        ops.work();
        let (status, code, reason) = ops.fate(first);
        assert_eq!(status, "permanent_failure");
        assert!(["http_410", "endpoint_disable"].contains(&&*code), "{code}");
        assert_eq!(ops.disabled(), Some(reason));

        let second = ops.put();
        ops.work();
        let (status, code, reason) = ops.fate(second);
        assert_eq!((&*status, &*code), ("permanent_failure", "endpoint_disabled"));
        assert!(reason.contains("postrider endpoint enable ops"), "{reason}");
        assert_eq!(ops.heard().len(), 1, "a disabled endpoint hears nothing");

        assert!(endpoints::set_disabled(&mut ops.rig.client, "ops", None).unwrap());
        ops.put();
        ops.work();
        assert_eq!(ops.heard().len(), 2);
    }
}

#[test]
fn a_url_that_is_no_named_endpoint_disables_nothing() {
    let mut ops = Ops::new(|| Reply::status(410));
    let settings = ops.settings();
    ops.save(&settings);
    let url = ops.sink.url("/hook");
    let notification = Notification { endpoint: Some(url), ..Notification::new(TEMPLATE, ada()) };
    let id = ops.rig.put(&Notification { methods: vec!["webhook".into()], ..notification });
    ops.work();
    assert_eq!(ops.fate(id).1, "http_410");
    assert_eq!(ops.disabled(), None);
}

#[test]
fn an_answer_to_what_was_sent_before_a_change_does_not_disable_the_changed_endpoint() {
    let mut ops = Ops::new(ok);
    let settings = ops.settings();
    ops.save(&settings);
    let gone = || Outcome::Failed { counted: true, code: "http_410".into(), reason: "gone".into() };
    let mut store = ops.rig.store();
    ops.put();
    let lease = acquire_one(&mut store);
    // Long enough ago for the clocks of a busy machine.
    let began = Instant::now().checked_sub(Duration::from_secs(5)).unwrap();
    let known = endpoints::find(&mut ops.rig.client, "ops").unwrap().unwrap();
    ops.save(&known);
    store.commit(&[lease.settle(began, gone())]).unwrap();
    assert_eq!(ops.disabled(), None);

    ops.put();
    let stale = acquire_one(&mut store);
    ops.rig.expire_leases();
    let lease = acquire_one(&mut ops.rig.store());
    store.commit(&[stale.settle(Instant::now(), gone())]).unwrap();
    assert_eq!(ops.disabled(), None, "nor does an attempt that lost its lease");
    store.commit(&[lease.settle(Instant::now(), gone())]).unwrap();
    assert_eq!(ops.disabled().as_deref(), Some("gone"));
}

#[test]
fn a_message_to_a_deleted_endpoint_fails_and_says_so() {
    let mut ops = Ops::new(ok);
    let settings = ops.settings();
    ops.save(&settings);
    let id = ops.put();
    assert!(endpoints::delete(&mut ops.rig.client, "ops").unwrap());
    ops.work();
    assert_eq!(ops.fate(id).1, "endpoint_deleted");
}

#[test]
fn a_4xx_ends_the_message_only_where_the_endpoint_fails_fast() {
    for (fail_fast_4xx, status) in [(false, "temporary_failure"), (true, "permanent_failure")] {
        let mut ops = Ops::new(|| Reply::status(404));
        let settings = EndpointSettings { fail_fast_4xx, ..ops.settings() };
        ops.save(&settings);
        let id = ops.put();
        ops.work();
        assert_eq!(ops.fate(id).0, status);
        assert_eq!(ops.disabled(), None);
    }
}

#[test]
fn an_endpoint_with_a_limit_has_no_more_deliveries_at_a_time_and_none_is_lost() {
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = (Arc::clone(&inside), Arc::clone(&most));
    let mut ops = Ops::new(move || {
        seen.1.fetch_max(seen.0.fetch_add(1, SeqCst) + 1, SeqCst);
        // Long enough that others come meanwhile; the result does not depend on it.
        std::thread::yield_now();
        seen.0.fetch_sub(1, SeqCst);
        ok()
    });
    let settings = EndpointSettings { max_concurrent: Some(2), ..ops.settings() };
    ops.save(&settings);
    let ids: Vec<MessageId> = (0..20).map(|_| ops.put()).collect();
    let running = Worker::new(ops.config()).unwrap().start().unwrap();
    crate::support::wait_until(crate::rig::LIMIT, "all are sent", || {
        ops.rig.number("select count(*) from postrider.history where outcome = 'sent'") == 20
    });
    running.stop().unwrap();
    assert!(most.load(SeqCst) <= 2, "{most:?} at a time");
    for id in ids {
        assert_eq!(ops.rig.attempts(id), 1, "to wait for room costs no attempt");
    }
}

#[test]
fn a_sealed_secret_signs_with_its_key_and_without_it_the_message_waits() {
    let mut ops = Ops::new(ok);
    let encryption_key = Secret::new(BASE64_STANDARD.encode([7; 32]));
    let vault = Vault::new(Some(&encryption_key)).unwrap();
    let mut settings = ops.settings();
    let sealed = keep::seal_secret(&settings, &vault, &Secret::new(KEY)).unwrap();
    settings.secrets = vec![key(&sealed, None)];
    let team = keep::seal_header(&settings, &vault, "x-team", "m4rk3r").unwrap();
    settings.headers.insert("x-team".into(), team);
    ops.save(&settings);
    let sql = "select count(*) from postrider.endpoints e where e::text ~ 'whsec|m4rk3r'";
    assert_eq!(ops.rig.number(sql), 0, "nothing of it is in the table");

    let id = ops.put();
    ops.work();
    let (status, _, reason) = ops.fate(id);
    assert_eq!((&*status, ops.rig.attempts(id)), ("temporary_failure", 0));
    assert!(reason.contains("webhook.encryption_key is not set"), "{reason}");

    ops.rig.execute("update postrider.messages set due_at = now()", &[]);
    let mut config = ops.config();
    config.webhook.encryption_key = Some(encryption_key);
    Ops::work_with(config);
    assert_eq!(ops.fate(id).0, "sent");
    assert!(ops.heard()[0].header("webhook-signature").starts_with("v1,"));
    assert_eq!(ops.heard()[0].header("x-team"), "m4rk3r");
}

/// A key, and an endpoint whose signing secret and header are sealed with it.
fn sealed(ops: &mut Ops) -> Secret {
    let encryption_key = Secret::new(BASE64_STANDARD.encode([7; 32]));
    let vault = Vault::new(Some(&encryption_key)).unwrap();
    let mut settings = ops.settings();
    let secret = keep::seal_secret(&settings, &vault, &Secret::new(KEY)).unwrap();
    settings.secrets = vec![key(&secret, None)];
    let team = keep::seal_header(&settings, &vault, "x-team", "m4rk3r").unwrap();
    settings.headers.insert("x-team".into(), team);
    ops.save(&settings);
    encryption_key
}

/// Tries a message with the key, and returns why it waits.
fn why_it_waits(ops: &mut Ops, encryption_key: Secret) -> String {
    let id = ops.put();
    let mut config = ops.config();
    config.webhook.encryption_key = Some(encryption_key);
    Ops::work_with(config);
    let (status, _, reason) = ops.fate(id);
    assert_eq!((&*status, ops.rig.attempts(id)), ("temporary_failure", 0), "{reason}");
    reason
}

#[test]
fn a_url_that_was_changed_by_sql_to_another_origin_gets_none_of_the_sealed_secrets() {
    let mut ops = Ops::new(ok);
    let encryption_key = sealed(&mut ops);
    let thief = WebhookSink::start(|_| Reply::status(200)).unwrap();
    ops.rig.execute("update postrider.endpoints set url = $1", &[&thief.url("/")]);
    let reason = why_it_waits(&mut ops, encryption_key);
    assert!(reason.contains("does not open it for this name and URL"), "{reason}");
    assert_eq!(thief.arrivals().total(), 0);
}

#[test]
fn a_text_put_by_sql_in_the_place_of_a_sealed_secret_is_refused() {
    let mut ops = Ops::new(ok);
    let encryption_key = sealed(&mut ops);
    let sql = "update postrider.endpoints set secrets = jsonb_build_array(jsonb_build_object('key', $1::text))";
    ops.rig.execute(sql, &[&OLD_KEY]);
    let reason = why_it_waits(&mut ops, encryption_key);
    assert!(reason.contains("its signing secret is stored as it is"), "{reason}");
    assert!(reason.contains("`postrider endpoint seal`"), "{reason}");
    assert!(ops.heard().is_empty());
}

#[test]
fn a_save_does_not_undo_what_somebody_else_changed_meanwhile() {
    let mut ops = Ops::new(ok);
    let settings = ops.settings();
    ops.save(&settings);
    let known = endpoints::find(&mut ops.rig.client, "ops").unwrap().unwrap();
    ops.save(&known);
    assert!(!endpoints::save(&mut ops.rig.client, &known).unwrap());
    let fresh = ops.settings();
    assert!(!endpoints::save(&mut ops.rig.client, &fresh).unwrap());
}

/// The public package of another language reads what we send.
#[test]
fn the_standardwebhooks_package_for_python_accepts_our_signatures() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/standardwebhooks/bin/python");
    if !python.is_file() {
        eprintln!("SKIPPED: no standardwebhooks package; .ci/run installs it under target/");
        return;
    }
    let mut ops = Ops::new(ok);
    let mut settings = ops.settings();
    settings.secrets = vec![key(KEY, None), key(OLD_KEY, Some(u64::from(u32::MAX)))];
    ops.save(&settings);
    ops.put();
    ops.work();
    let heard = &ops.heard()[0];
    let verify = |secret: &str, body: &str| {
        let program = "import sys; from standardwebhooks.webhooks import Webhook\n\
            names = ['webhook-id', 'webhook-timestamp', 'webhook-signature']\n\
            Webhook(sys.argv[1]).verify(sys.argv[2], dict(zip(names, sys.argv[3:])))";
        let mut command = Command::new(&python);
        command.args(["-c", program, secret, body]);
        command.args(HEARD[1..4].iter().map(|name| heard.header(name)));
        command.output().unwrap()
    };
    for secret in [KEY, OLD_KEY] {
        let Output { status, stderr, .. } = verify(secret, &heard.body);
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    }
    assert!(!verify(KEY, &format!("{} ", heard.body)).status.success());
}

/// Runs the binary on the database of the rig.
fn postrider(rig: &Rig, args: &[&str]) -> (Option<i32>, Value, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_postrider"))
        .env("POSTRIDER_DATABASE_URL", rig.db.url())
        .args(args)
        .arg("--json")
        .output()
        .unwrap();
    let value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), value, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_commands_make_change_rotate_and_delete_an_endpoint_and_show_a_secret_once() {
    let rig = Rig::new();
    let run = |args: &[&str]| {
        let (code, value, errors) = postrider(&rig, args);
        assert_eq!(code, Some(0), "{args:?}: {errors}");
        value
    };
    let set = ["endpoint", "set", "ops"];
    let made = run(&[&set[..], &["--url", "https://example.com/m4rk3r"]].concat());
    let first = made["secret"].as_str().unwrap().to_owned();
    assert!(first.starts_with("whsec_"), "{made}");
    let change = ["--format", "cloudevents", "--header", "X-Team: t0k3n", "--fail-fast-4xx"];
    assert_eq!(run(&[&set[..], &change].concat())["secret"], Value::Null);
    let rotated = run(&["endpoint", "rotate-secret", "ops"]);
    assert_ne!(rotated["secret"], first.as_str());

    let shown = run(&["endpoint", "show", "ops"]);
    assert_eq!(shown["url"], "https://example.com");
    assert_eq!(shown["format"], "cloudevents");
    assert_eq!(shown["headers"], serde_json::json!(["x-team"]));
    assert_eq!(shown["keys"].as_array().unwrap().len(), 2);
    assert_eq!(shown["fail_fast_4xx"], true);
    let all = format!("{shown}{}", run(&["endpoint", "list"]));
    assert!(!all.contains("whsec_") && !all.contains("m4rk3r") && !all.contains("t0k3n"), "{all}");

    run(&["endpoint", "disable", "ops", "--reason", "moved"]);
    assert_eq!(run(&["endpoint", "show", "ops"])["disabled"], "moved");
    run(&["endpoint", "enable", "ops"]);
    assert_eq!(run(&["endpoint", "show", "ops"])["disabled"], Value::Null);
    run(&["endpoint", "delete", "ops"]);
    let (code, _, errors) = postrider(&rig, &["endpoint", "show", "ops"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("no endpoint is named `ops`"), "{errors}");
}

#[test]
fn secrets_move_with_the_url_and_are_sealed_once_there_is_a_key() {
    let mut rig = Rig::new();
    let encryption_key = format!("webhook.encryption_key={}", BASE64_STANDARD.encode([7; 32]));
    let with_key = ["--set", &encryption_key];
    let run = |args: &[&str]| {
        let (code, value, errors) = postrider(&rig, args);
        assert_eq!(code, Some(0), "{args:?}: {errors}");
        value
    };
    let set = ["endpoint", "set", "ops"];
    run(&[&set[..], &["--url", "https://a.example.com", "--header", "X-Team: m4rk3r"]].concat());
    // Stored as it is: with a key it is not read before it is sealed.
    let fail_fast = [&set[..], &["--fail-fast-4xx"], &with_key].concat();
    let (code, _, errors) = postrider(&rig, &fail_fast);
    assert_eq!(code, Some(2));
    assert!(errors.contains("`postrider endpoint seal`"), "{errors}");
    let seal = [&["endpoint", "seal"][..], &with_key].concat();
    assert_eq!(run(&seal)["sealed"], serde_json::json!(["ops"]));
    assert_eq!(run(&seal)["sealed"], serde_json::json!([]));
    run(&fail_fast);

    let elsewhere = [&set[..], &["--url", "https://b.example.com"]].concat();
    let (code, _, errors) = postrider(&rig, &elsewhere);
    assert_eq!(code, Some(2));
    assert!(errors.contains("webhook.encryption_key is not set"), "{errors}");
    run(&[&elsewhere[..], &with_key].concat());
    run(&fail_fast);
    // What was changed by SQL is right again once the URL is.
    let stolen = "update postrider.endpoints set url = 'https://evil.example.com'";
    rig.db.client().batch_execute(stolen).unwrap();
    assert_eq!(postrider(&rig, &fail_fast).0, Some(2));
    run(&[&elsewhere[..], &with_key].concat());
    run(&fail_fast);
    assert_eq!(
        rig.number("select count(*) from postrider.endpoints e where e::text ~ 'm4rk3r'"),
        0
    );
}

#[test]
fn the_command_refuses_what_could_not_be_sent_and_keeps_nothing_of_it() {
    let mut rig = Rig::new();
    let bad = std::env::temp_dir().join(format!("postrider-template-{}", Uuid::new_v4()));
    std::fs::write(&bad, r#"{"text": {{labels.x}"#).unwrap();
    let template = bad.to_str().unwrap();
    for (args, complaint) in [
        (&["--format", "slack"][..], "--url"),
        (&["--url", "ftp://example.com"], "http"),
        (&["--url", "https://example.com", "--header", "Host: x"], "host"),
        (&["--url", "https://example.com", "--format", "template"], "template"),
        (
            &["--url", "https://example.com", "--format", "template", "--template-file", template],
            "template",
        ),
    ] {
        let (code, _, errors) = postrider(&rig, &[&["endpoint", "set", "ops"], args].concat());
        assert_eq!(code, Some(2), "{args:?}: {errors}");
        assert!(errors.contains(complaint), "{errors}");
    }
    std::fs::remove_file(bad).unwrap();
    assert_eq!(rig.count("endpoints"), 0);
}
