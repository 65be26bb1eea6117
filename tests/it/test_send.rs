//! `test-send`: what it says when all is well, and what when it is not.

use std::process::Command;

use postrider::sink::http::{Reply, Request, Response, WebhookSink};
use postrider::sink::smtp::{SmtpSink, SmtpSinkOptions};
use serde_json::Value;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Runs it with these settings; exit code, the document, and the error line.
fn test_send(settings: &[String], args: &[&str]) -> (Option<i32>, Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postrider"));
    for setting in settings {
        command.args(["--set", setting]);
    }
    command.args(["test-send", "--json"]).args(args);
    command.env("POSTRIDER_WEBHOOK__SECRET", SECRET);
    command.env("POSTRIDER_WEBHOOK__ALLOW_PRIVATE", "true");
    let output = command.output().unwrap();
    let value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), value, String::from_utf8(output.stderr).unwrap())
}

/// What was told of each step of this name.
fn told<'a>(document: &'a Value, step: &str) -> Vec<&'a str> {
    let steps = document["steps"].as_array().unwrap().iter();
    steps.filter(|it| it["step"] == step).map(|it| it["what"].as_str().unwrap()).collect()
}

#[test]
fn a_webhook_is_followed_from_the_name_to_the_response_and_no_secret_is_shown() {
    let sink = WebhookSink::start(|request: &Request<'_>| {
        let signature = request.header("webhook-signature").unwrap();
        Response::new(200).header("x-trace", "t1 /m4rk3r").body(signature).into()
    });
    let sink = sink.unwrap();
    let (code, document, errors) = test_send(&[], &["--endpoint", &sink.url("/m4rk3r?k=m4rk3r")]);
    assert_eq!((code, &document["ok"]), (Some(0), &Value::Bool(true)), "{errors}");
    assert_eq!(document["code"], "200");
    assert_eq!(told(&document, "resolve"), ["127.0.0.1: [127.0.0.1]"]);
    assert_eq!(told(&document, "connect").len(), 1);
    let headers = told(&document, "request header");
    assert!(headers.contains(&"content-type: application/json"), "{headers:?}");
    assert!(headers.contains(&"webhook-signature: <secret>"), "{headers:?}");
    assert_eq!(told(&document, "response"), ["HTTP/1.1 200 OK"]);
    assert!(told(&document, "response header").contains(&"x-trace: t1 /..."), "{document}");
    let all = format!("{document}{errors}");
    assert!(!all.contains("m4rk3r") && !all.contains(&SECRET[6..]), "{all}");
}

#[test]
fn a_refusal_says_what_the_peer_said_and_what_to_do() {
    let sink = WebhookSink::start(|_: &Request<'_>| -> Reply {
        Response::new(403).body("who are you?").into()
    });
    let sink = sink.unwrap();
    let (code, document, errors) = test_send(&[], &["--endpoint", &sink.url("/")]);
    assert_eq!((code, &document["ok"]), (Some(1), &Value::Bool(false)));
    assert_eq!(told(&document, "response body"), ["who are you?"]);
    assert!(errors.contains("check the signing secret"), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

#[test]
fn a_mail_is_followed_reply_by_reply_and_the_password_is_not_shown() {
    let credentials = Some(("app".to_owned(), "m4rk3r".to_owned()));
    let sink = SmtpSink::start(SmtpSinkOptions { credentials, ..SmtpSinkOptions::default() });
    let sink = sink.unwrap();
    let settings = |password: &str| {
        [
            format!("smtp.host={}", sink.addr().ip()),
            format!("smtp.port={}", sink.addr().port()),
            "smtp.tls=opportunistic".into(),
            "smtp.from=app@example.com".into(),
            "smtp.username=app".into(),
            format!("smtp.password={password}"),
        ]
    };
    let (code, document, errors) = test_send(&settings("m4rk3r"), &["--to", "ada@example.com"]);
    assert_eq!((code, &document["ok"]), (Some(0), &Value::Bool(true)), "{errors}");
    assert_eq!(told(&document, "connect"), [format!("to {}", sink.addr())]);
    let said = told(&document, "we say").join("\n");
    for part in [
        "EHLO ",
        "AUTH <secret>",
        "MAIL FROM:<app@example.com>",
        "RCPT TO:<ada@example.com>",
        "octets",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(told(&document, "relay says").iter().any(|reply| reply.starts_with("354")));
    assert_eq!(sink.arrived(), 1);
    // "\0app\0m4rk3r", as PLAIN sends it.
    let encoded = "AGFwcABtNHJrM3I=";
    let all = format!("{document}{errors}");
    assert!(!all.contains("m4rk3r") && !all.contains(encoded), "{all}");

    let (code, document, errors) = test_send(&settings("0th3r"), &["--to", "ada@example.com"]);
    assert_eq!((code, &document["code"]), (Some(1), &Value::from("relay_auth")));
    assert!(errors.contains("check smtp.username"), "{errors}");
    assert!(!format!("{document}{errors}").contains("0th3r"));
}

#[test]
fn without_somebody_who_listens_it_says_which_setting_to_look_at() {
    let closed = WebhookSink::start(|_: &Request<'_>| Reply::status(200)).unwrap();
    let url = closed.url("/");
    closed.stop();
    let (code, document, errors) = test_send(&[], &["--endpoint", &url]);
    assert_eq!((code, &document["code"]), (Some(1), &Value::from("connect")));
    assert!(errors.contains("check host and port"), "{errors}");
    let (code, _, errors) = test_send(&[], &["--to", "ada@example.com"]);
    assert_eq!(code, Some(2));
    assert!(errors.contains("smtp.host"), "{errors}");
}
