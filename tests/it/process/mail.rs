//! What operators say about e-mail: dead addresses, and the mail settings of a template.

use serde_json::{Value, json};

use crate::support::process::{Ended, run};
use crate::support::service::Service;

/// Runs a command with `--json`.
fn ended(service: &Service, args: &[&str]) -> Ended {
    run(&service.db.url(), &[args, &["--json"]].concat())
}

#[test]
fn a_mail_to_a_suppressed_address_ends_undelivered_and_says_how_to_undo_it() {
    let service = Service::new();
    let json = |args: &[&str]| ended(&service, args).json();
    json(&["template", "set", "note", "--title", "Hi", "--body", "Hi", "--method", "smtp"]);
    let added = json(&["suppression", "add", "Eve@example.com", "--reason", "complaint"]);
    assert_eq!(added, json!({"address": "eve@example.com", "result": "added"}));
    let listed = json(&["suppression", "list"]);
    assert_eq!(listed[0]["address"], "eve@example.com");
    assert_eq!(
        (&listed[0]["code"], &listed[0]["reason"]),
        (&json!("operator"), &json!("complaint"))
    );

    let enqueued = json(&["enqueue", "note", "--to", "EVE@example.com"]);
    let id = enqueued["messages"][0]["id"].as_str().unwrap();
    let worker = run(&service.db.url(), &["run", "--until-empty"]);
    assert!(worker.status.success(), "{}", worker.stderr);
    let message = json(&["message", "show", id]);
    assert_eq!(
        (&message["status"], &message["code"]),
        (&json!("permanent_failure"), &json!("suppressed"))
    );
    assert!(message["reason"].as_str().unwrap().contains("suppression remove"), "{message}");
    assert_eq!(message["attempts"], json!([]));

    assert_eq!(json(&["suppression", "remove", "eve@example.com"])["result"], "removed");
    let again = ended(&service, &["suppression", "remove", "eve@example.com"]);
    assert!(again.error(1).contains("postrider suppression list"), "{}", again.stderr);
    assert_eq!(ended(&service, &["suppression", "add", "eve"]).status.code(), Some(2));
}

#[test]
fn a_template_keeps_what_it_says_about_its_mails_and_a_change_of_it_is_a_new_version() {
    let service = Service::new();
    let set = |more: &[&str]| {
        let text = ["template", "set", "note", "--title", "Hi", "--body", "Hi"];
        ended(&service, &[&text[..], more].concat())
    };
    let fields = [
        ["--from", "Builds <builds@example.com>"],
        ["--reply-to", "help@example.com"],
        ["--unsubscribe-url", "https://example.com/u/{{user_id}}"],
        ["--thread-key", "{{notification_name}}"],
    ]
    .concat();
    let version = |ended: Ended| ended.json()["version"].as_i64().unwrap();
    let first = version(set(&fields));
    assert_eq!(version(set(&fields)), first);
    let shown: Value = ended(&service, &["template", "show", "note"]).json();
    for (name, value) in [
        ("from_address", fields[1]),
        ("reply_to", fields[3]),
        ("unsubscribe_url", fields[5]),
        ("thread_key", fields[7]),
    ] {
        assert_eq!(shown[name], value, "{name}");
    }
    assert_eq!(version(set(&[])), first + 1);
    let refused = set(&["--from", "nobody"]);
    assert!(refused.error(1).contains("from_address"), "{}", refused.stderr);
    let refused = set(&["--thread-key", "{{#if}}"]);
    assert!(refused.error(1).contains("thread_key"), "{}", refused.stderr);
}
