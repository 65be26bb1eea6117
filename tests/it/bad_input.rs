//! Input that nobody should send: refused at each door with a reason, and if it comes in by a window
//! all the same, it hurts nobody but itself.

use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use postgres::error::SqlState;
use postrider::enqueue::{EnqueueError, enqueue};
use postrider::message::Recipient;
use postrider::sink::http::{Reply, WebhookSink};
use serde_json::{Value, json};

use crate::lifecycle::accepting;
use crate::support::process::{Process, postrider, run};
use crate::support::service::{Service, notification, webhook};

/// Arrays within each other, or objects.
fn nested(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

fn live(service: &mut Service) -> i64 {
    service.client.query_one("select count(*) from postrider.messages", &[]).unwrap().get(0)
}

/// JSON that is refused as data, and what SQL and the command line say of it.
fn bad_data() -> Vec<(String, &'static str, &'static str)> {
    vec![
        (r#"{"a": "x\u0000"}"#.into(), "22P05", "data.a holds a NUL"),
        (r#"{"a": "\ud800"}"#.into(), "22P02", "hex escape"),
        (format!(r#""{}""#, "x".repeat(1 << 20)), "PR003", "more than 1 MiB"),
        (nested(100), "PR003", "deeper than 64 levels"),
        (nested(10_000), "PR003", "recursion limit"),
        ("1e400000".into(), "22003", "overflows"),
    ]
}

#[test]
fn each_door_refuses_bad_data_with_a_reason_and_nothing_is_queued() {
    let mut service = Service::new();
    let url = service.db.url();
    for (data, code, words) in bad_data() {
        let start: String = data.chars().take(20).collect();
        let sql = "select postrider.enqueue('hello', '{\"id\": \"a\"}', data => $1::text::jsonb, methods => '{inbox}')";
        let err = service.client.query(sql, &[&data]).expect_err(&start);
        let said = err.code().map(SqlState::code);
        assert!(said == Some(code), "{start}: {err:?}");

        let line = format!(
            r#"{{"template": "hello", "recipient": {{"id": "a"}}, "methods": ["inbox"], "data": {data}}}"#
        );
        let mut command = postrider(&url, &["enqueue", "--from", "-", "--json"]);
        let mut process = Process::spawn(command.stdin(Stdio::piped()));
        process.feed(&line);
        let ended = process.wait();
        assert_eq!(ended.status.code(), Some(1), "{start}: {ended:?}");
        let failed = &ended.document()["failed"][0];
        assert_eq!(failed["line"], 1, "{start}: {ended:?}");
        let error = failed["error"].as_str().unwrap();
        assert!(error.contains(words) && error.len() < 500, "{start}: {error}");
        assert_eq!(live(&mut service), 0, "{start}");
    }
}

#[test]
fn rust_refuses_depth_that_would_end_its_stack() {
    let mut service = Service::new();
    let deep = |levels| (1..levels).fold(json!(1), |inner, _| Value::Array(vec![inner]));
    let mut put = |data: Value| {
        let mut notification = notification(1, "inbox");
        notification.data = Some(data);
        enqueue(&mut service.client, &notification)
    };
    for levels in [65, 100, 2_000] {
        let err = put(deep(levels)).unwrap_err();
        assert!(matches!(err, EnqueueError::InvalidPayload(_)), "{err}");
        assert!(err.to_string().contains("deeper than 64 levels"), "{err}");
    }
    put(deep(64)).unwrap();
}

#[test]
fn numbers_of_any_size_arrive_as_they_are_or_are_refused() {
    let mut service = Service::new();
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&bodies);
    let sink = WebhookSink::start(move |request| {
        seen.lock().unwrap().push(String::from_utf8(request.body.to_vec()).unwrap());
        Reply::status(200)
    })
    .unwrap();
    let huge = format!("1{}", "0".repeat(400));
    for data in [huge.as_str(), "123456789012345678901234567890.5", "-9223372036854775809"] {
        let sql = "select postrider.enqueue('hello', '{\"id\": \"a\"}', data => $1::text::jsonb,
                   labels => '{\"n\": 1}', methods => '{webhook}', endpoint => $2)";
        service.client.query(sql, &[&data, &sink.url("/")]).unwrap();
    }
    let ended = run(&service.db.url(), &["run", "--until-empty", "--json"]);
    assert_eq!(ended.json()["sent"], 3, "{ended:?}");
    assert!(bodies.lock().unwrap().iter().any(|body| body.contains(&huge)));
}

#[test]
fn a_recipient_without_an_id_is_refused_at_each_door() {
    let mut service = Service::new();
    let mut nobody = notification(1, "inbox");
    nobody.recipient = Recipient::default();
    let err = enqueue(&mut service.client, &nobody).unwrap_err();
    assert!(matches!(err, EnqueueError::InvalidRecipient(_)), "{err}");
    let sql = "select postrider.enqueue('hello', '{\"email\": \"ada@example.com\"}')";
    let err = service.client.query(sql, &[]).unwrap_err();
    assert_eq!(err.code().map(SqlState::code), Some("PR002"));
    let ended = run(&service.db.url(), &["enqueue", "hello"]);
    assert!(ended.error(2).contains("--to or --recipient-id"), "{ended:?}");
    assert_eq!(live(&mut service), 0);
}

/// Templates that would end a stack or a memory, and what is said of them.
fn bad_templates() -> Vec<(String, &'static str)> {
    let within =
        |open: &str, close: &str| format!("{}{}", open.repeat(10_000), close.repeat(10_000));
    vec![
        (within("{{#if n}}", "{{/if}}"), "16 KiB"),
        (format!("{}x{}", "{{#if n}}".repeat(500), "{{/if}}".repeat(500)), "deeper"),
        (format!("{{{{eq 1 {}1{}}}}}", "(not ".repeat(2_000), ")".repeat(2_000)), "parentheses"),
        ("{{> hello}}".into(), "partial"),
        ("{{#> hello}}{{/hello}}".into(), "partial"),
    ]
}

#[test]
fn templates_that_recurse_or_nest_without_end_are_refused_and_end_their_messages_alone() {
    let mut service = Service::new();
    let (url, sink) = (service.db.url(), accepting());
    for (at, (body, words)) in bad_templates().into_iter().enumerate() {
        let set = ["template", "set", "bad", "--title", "T", "--body-file", "/dev/stdin"];
        let mut process = Process::spawn(postrider(&url, &set).stdin(Stdio::piped()));
        process.feed(&body);
        let ended = process.wait();
        assert_eq!(ended.status.code(), Some(1), "{words}: {ended:?}");
        assert!(ended.stderr.contains(words) && ended.stderr.len() < 600, "{words}: {ended:?}");

        // By the window: straight into the table.
        let (name, at) = (format!("bad{at}"), at + 1000);
        service.template(&name, "T", "x");
        let sql = "update postrider.templates set body = $1 where name = $2";
        assert_eq!(service.client.execute(sql, &[&body, &name]).unwrap(), 1);
        let mut bad = webhook(at, &sink, "/");
        bad.template = name;
        service.enqueue(&bad);
    }
    bad_rest(&mut service, &sink);
}

/// A template whose output explodes, a payload without bottom, and one that is good.
fn bad_rest(service: &mut Service, sink: &WebhookSink) {
    service.template("wide", "T", "{{#each data}}{{#each @root.data}}{{this}}{{/each}}{{/each}}");
    let mut wide = webhook(2000, sink, "/");
    (wide.template, wide.data) = ("wide".into(), Some(json!((0..1000).collect::<Vec<_>>())));
    service.enqueue(&wide);
    let deep = service.enqueue(&webhook(2001, sink, "/"));
    let sql = "update postrider.messages set payload = jsonb_set(payload, '{data}', $1::text::jsonb) where id = $2";
    assert_eq!(service.client.execute(sql, &[&nested(3_000), &deep.0]).unwrap(), 1);
    service.enqueue(&webhook(2002, sink, "/"));

    let ended = run(&service.db.url(), &["run", "--until-empty", "--json"]);
    let bad = bad_templates().len() + 2;
    assert_eq!(
        (&ended.json()["sent"], &ended.json()["ended"]),
        (&json!(1), &json!(bad)),
        "{ended:?}"
    );
    assert_eq!(sink.arrivals().total(), 1);
    let sql = "select count(*) from postrider.history where outcome = 'permanent_failure'
                and code in ('template', 'render', 'payload') and attempt = 1 and note <> ''";
    let explained: i64 = service.client.query_one(sql, &[]).unwrap().get(0);
    assert_eq!(explained, i64::try_from(bad).unwrap());
}

#[test]
fn a_message_that_kills_its_worker_each_time_ends() {
    let mut service = Service::new();
    // Its peer ends whoever delivers it.
    let victim = Arc::new(AtomicU32::new(0));
    let pid = Arc::clone(&victim);
    let sink = WebhookSink::start(move |_| {
        let pid = pid.load(Ordering::SeqCst).to_string();
        std::process::Command::new("kill").args(["-KILL", &pid]).status().unwrap();
        Reply::Silent
    })
    .unwrap();
    let deadly = service.enqueue(&webhook(1, &sink, "/"));
    let url = service.db.url();
    let args = ["run", "--set=worker.lapses_max=2", "--set=worker.lease_period=2s"];
    let args = [&args[..], &["--set=worker.dispatch_timeout=1s"]].concat();
    for life in 1..=3 {
        let worker = Process::spawn(&mut postrider(&url, &args));
        victim.store(worker.id(), Ordering::SeqCst);
        assert!(!worker.wait().status.success());
        assert_eq!(sink.arrivals().total(), life);
    }
    let good = accepting();
    let healthy = service.enqueue(&webhook(2, &good, "/"));
    let worker = Process::spawn(&mut postrider(&url, &args));
    victim.store(worker.id(), Ordering::SeqCst);
    service.wait_for(healthy, "sent");
    service.wait_for(deadly, "permanent_failure");
    let message = service.message(deadly).message;
    assert_eq!((message.attempt, message.code.as_deref()), (1, Some("lease_expired")));
    worker.signal(&["TERM"]);
    assert!(worker.wait().status.success());
    assert_eq!(sink.arrivals().total(), 3);
}
