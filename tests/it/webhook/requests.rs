//! What a request looks like on the wire.

use std::sync::Mutex;

use postrider::config::Secret;
use postrider::sink::http::{Reply, Request, WebhookSink};
use serde_json::Value;

use super::*;
use crate::webhook::peer::Peer;

/// Headers of which a receiver makes something, in this order, then the body.
const HEADERS: [&str; 8] = [
    "content-type",
    "content-length",
    "user-agent",
    "x-message-id",
    "idempotency-key",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
];

fn recorder() -> (WebhookSink, Log<Vec<String>>) {
    let log = Log::default();
    let record = Arc::clone(&log);
    let sink = WebhookSink::start(move |request: &Request<'_>| {
        let value = |name: &&str| request.header(name).unwrap_or_default().to_owned();
        let mut entry: Vec<String> = HEADERS.iter().map(value).collect();
        entry.push(String::from_utf8(request.body.to_vec()).unwrap());
        record.lock().unwrap().push(entry);
        Reply::status(204)
    });
    (sink.unwrap(), log)
}

fn only<T: Clone>(log: &Mutex<Vec<T>>) -> T {
    let log = log.lock().unwrap();
    assert_eq!(log.len(), 1);
    log[0].clone()
}

#[test]
fn a_request_has_the_document_and_the_headers_that_are_promised() {
    let (sink, log) = recorder();
    let message = Prepared { title: "Grüße 😱".into(), ..message(sink.url("/hook?a=1")) };
    let receipt = webhook().deliver(&message, Deadline::after(Duration::from_secs(10))).unwrap();
    assert_eq!(receipt.code.as_deref(), Some("204"));
    let entry = only(&log);
    let id = message.id.to_string();
    assert_eq!(entry[0], "application/json");
    assert_eq!(entry[1], entry[8].len().to_string());
    assert_eq!(entry[2], concat!("postrider/", env!("CARGO_PKG_VERSION")));
    assert_eq!(entry[3..6], [id.as_str(), &id, &id]);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert!(now - entry[6].parse::<u64>().unwrap() < 60);
    assert_eq!(entry[7], "", "no secret, no signature");
    let document: Value = serde_json::from_str(&entry[8]).unwrap();
    assert_eq!(
        document,
        json!({
            "_version": "1.1",
            "msg_id": id,
            "payload": {"_version": "1.2", "labels": {"name": "Ann"}, "actions": []},
            "title": "Grüße 😱",
            "body": "A body",
            "title_markdown": "Grüße 😱",
            "body_markdown": "A body",
        })
    );
    assert_eq!(sink.arrivals().count(message.id), 1);
}

#[test]
fn the_signature_is_of_the_octets_that_arrive() {
    use base64::prelude::{BASE64_STANDARD, Engine};
    let (sink, log) = recorder();
    let key = [7; 32];
    let secret = Secret::new(format!("whsec_{}", BASE64_STANDARD.encode(key)));
    let webhook = Webhook::new(&WebhookConfig { secret: Some(secret), ..config() }).unwrap();
    deliver_within(&webhook, &sink.url("/"), Duration::from_secs(10)).unwrap();
    let entry = only(&log);
    let signed = format!("{}.{}.{}", entry[5], entry[6], entry[8]);
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
    let signature = BASE64_STANDARD.decode(entry[7].strip_prefix("v1,").unwrap()).unwrap();
    ring::hmac::verify(&key, signed.as_bytes(), &signature).unwrap();
}

#[test]
fn c52_every_attempt_of_a_message_carries_the_same_id() {
    let log: Log<String> = Log::default();
    let record = Arc::clone(&log);
    let sink = WebhookSink::start(move |request: &Request<'_>| {
        let id = |name| request.header(name).unwrap();
        let document: Value = serde_json::from_slice(request.body).unwrap();
        let ids = [id("webhook-id"), id("x-message-id"), id("idempotency-key")];
        let mut log = record.lock().unwrap();
        log.push(format!("{ids:?} {}", document["msg_id"]));
        if log.len() == 1 { Reply::Silent } else { Reply::status(200) }
    });
    let sink = sink.unwrap();
    let (webhook, message) = (webhook(), message(sink.url("/")));
    let first = webhook.deliver(&message, Deadline::after(Duration::from_millis(300)));
    let failure = first.unwrap_err();
    assert_eq!((failure.code.as_str(), &failure.verdict), ("timeout", &RETRY));
    assert!(failure.reason.contains("may have arrived"), "{}", failure.reason);
    let again = Prepared { attempt: 2, ..message.clone() };
    webhook.deliver(&again, Deadline::after(Duration::from_secs(10))).unwrap();
    let log = log.lock().unwrap();
    assert_eq!(log[0], log[1]);
    assert_eq!((sink.arrivals().count(message.id), sink.arrivals().duplicates()), (2, 1));
}

#[test]
fn c47_text_of_the_message_reaches_no_header() {
    let (sink, log) = recorder();
    let message = Prepared {
        title: "a\r\nX-Evil: 1".into(),
        template_name: "x\r\nX-Evil: 1".into(),
        body: "é😱\0".into(),
        ..message(sink.url("/"))
    };
    webhook().deliver(&message, Deadline::after(Duration::from_secs(10))).unwrap();
    let entry = only(&log);
    assert!(entry[..8].iter().all(|value| !value.contains("Evil")));
    let document: Value = serde_json::from_str(&entry[8]).unwrap();
    assert_eq!(document["body_markdown"], "é😱\0");
}

#[test]
fn c49_url_forms_reach_the_receiver_as_they_should() {
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let peer = Peer::answering(ok);
    let port = peer.address().port();
    for url in [
        format!("http://127.0.0.1:{port}/x?q=1#frag"),
        format!(" http://127.0.0.1:{port}/x?q=1 "),
        format!("HTTP://127.0.0.1:{port}/x?q=1"),
        format!("http://2130706433:{port}/x?q=1"),
    ] {
        deliver(&url).unwrap();
    }
    for request in peer.heard() {
        assert!(request.starts_with("POST /x?q=1 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("\r\nhost: 127.0.0.1:{port}\r\n")), "{request}");
    }
    let Ok(_) = std::net::TcpListener::bind("[::1]:0") else { return };
    let peer = Peer::listen("[::1]:0", move |line| {
        line.request();
        line.send(ok);
    });
    deliver(&peer.url("/x")).unwrap();
    let host = format!("\r\nhost: [::1]:{}\r\n", peer.address().port());
    assert!(peer.heard()[0].contains(&host), "{}", peer.heard()[0]);
}

#[test]
fn c50_a_proxy_is_used_if_it_is_set_and_its_trouble_is_ours() {
    let proxy = Peer::start(|line| {
        // CONNECT, then the request in the tunnel.
        if line.request() && line.send("HTTP/1.1 200 OK\r\n\r\n") && line.request() {
            line.send("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let through = |url: String| {
        let proxy = Some(Secret::new(url));
        Webhook::new(&WebhookConfig { proxy, ..config() }).unwrap()
    };
    let webhook = through(format!("http://u:m4rk3r@{}", proxy.address()));
    deliver_within(&webhook, "http://hooks.example.com/x", Duration::from_secs(5)).unwrap();
    let heard = proxy.heard();
    assert!(heard[0].starts_with("CONNECT hooks.example.com:80 HTTP/1.1"), "{}", heard[0]);
    assert!(heard[1].starts_with("POST /x HTTP/1.1"), "{}", heard[1]);

    let refusing = Peer::answering("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    let gone = Peer::start(|_| ());
    let address = gone.address();
    drop(gone);
    for url in [refusing.address(), address].map(|address| format!("http://u:m4rk3r@{address}")) {
        let result =
            deliver_within(&through(url), "http://hooks.example.com/", Duration::from_secs(5));
        let failure = result.unwrap_err();
        assert_eq!(failure.verdict, Verdict::Blocked { retry_after: None }, "{failure}");
        assert_eq!(failure.code, "proxy");
        assert!(!failure.reason.contains("m4rk3r"), "{failure}");
    }
}

#[test]
fn one_connection_carries_many_messages_and_a_stale_one_is_replaced() {
    let peer = Peer::start(|line| {
        for _ in 0..3 {
            if !line.request() || !line.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok") {
                return;
            }
        }
        // Closes without a word, as servers do with a connection that idles.
    });
    let webhook = webhook();
    for _ in 0..3 {
        deliver_within(&webhook, &peer.url("/"), Duration::from_secs(10)).unwrap();
    }
    // The close may still be on its way; a request that meets it fails and is tried again.
    let delivered = (0..10)
        .map(|_| deliver_within(&webhook, &peer.url("/"), Duration::from_secs(10)))
        .any(|result| result.is_ok());
    assert!(delivered);
    drop(webhook);
    assert_eq!(peer.connections(), 2);
}
