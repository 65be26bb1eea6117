//! Answers, from plain to absurd.

use postrider::outcome::REASON_MAX;
use postrider::sink::http::{Reply, Request, Response, WebhookSink};

use super::*;
use crate::webhook::peer::Peer;

#[test]
fn c44_statuses_end_in_the_class_that_the_table_says() {
    let sink = WebhookSink::start(|request: &Request<'_>| {
        Reply::status(request.path.trim_start_matches('/').parse().unwrap())
    });
    let (sink, webhook) = (sink.unwrap(), webhook());
    let deliver = |status: u16| {
        deliver_within(&webhook, &sink.url(&status.to_string()), Duration::from_secs(10))
    };
    for status in [200, 201, 202, 204, 205, 299] {
        assert_eq!(deliver(status).unwrap().code, Some(status.to_string()));
    }
    let client = [400, 401, 403, 404, 405, 408, 409, 413, 422, 423, 425, 429];
    let server = [300, 304, 500, 501, 502, 503, 504, 599, 999];
    for status in client.into_iter().chain(server) {
        assert_eq!(deliver(status).unwrap_err().verdict, RETRY, "{status}");
    }
    assert_eq!(deliver(410).unwrap_err().verdict, Verdict::Permanent);
}

#[test]
fn c38_a_redirect_is_a_failure_and_nobody_asks_the_new_place() {
    let new = WebhookSink::start(|_| Reply::status(200)).unwrap();
    let target = new.url("/new?m4rk3r");
    let old = WebhookSink::start(move |request: &Request<'_>| {
        let status = request.path.trim_start_matches('/').parse().unwrap();
        Response::new(status).header("Location", &target).into()
    });
    let old = old.unwrap();
    for status in ["301", "302", "303", "307", "308"] {
        let failure = deliver(&old.url(status)).unwrap_err();
        assert_eq!((failure.code.as_str(), &failure.verdict), ("redirect_not_followed", &RETRY));
        assert!(failure.reason.contains(status), "{failure}");
        assert!(failure.reason.contains("not followed"), "{failure}");
        assert!(!failure.reason.contains("m4rk3r"), "{failure}");
    }
    assert_eq!((old.arrivals().total(), new.arrivals().total()), (5, 0));
}

#[test]
fn c43_retry_after_and_the_explanation_survive() {
    let sink = WebhookSink::start(|_| {
        let response = Response::new(429).header("Retry-After", "7");
        response.body(r#"{"error":"slow down"}"#).into()
    });
    let failure = deliver(&sink.unwrap().url("/")).unwrap_err();
    let wait = Some(Duration::from_secs(7));
    assert_eq!(failure.verdict, Verdict::Temporary { retry_after: wait });
    assert!(failure.reason.contains("HTTP 429") && failure.reason.contains("slow down"));
}

#[test]
fn c40_a_2xx_is_sent_whatever_becomes_of_its_body() {
    let bodies = [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        "HTTP/1.1 202 Accepted\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>",
        "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ];
    for answer in bodies {
        let peer = Peer::answering(answer);
        let start = Instant::now();
        deliver(&peer.url("/")).unwrap_or_else(|failure| panic!("{answer}: {failure}"));
        assert!(start.elapsed() < Duration::from_secs(1), "{answer}");
        assert_eq!(peer.heard().len(), 1);
    }
    let kept_open = Peer::start(|line| {
        line.request();
        line.send("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n");
        line.hold();
    });
    let start = Instant::now();
    deliver(&kept_open.url("/")).unwrap();
    assert!(start.elapsed() < Duration::from_millis(500));
}

#[test]
fn c41_a_head_beyond_all_measure_is_a_failure_that_may_pass() {
    let large = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(200 << 10));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(300));
    let garbage = "220 mail.example.com ESMTP\r\n";
    for answer in [large.as_str(), &many, garbage] {
        let peer = Peer::answering(answer);
        let failure = deliver(&peer.url("/")).unwrap_err();
        assert_eq!(failure.verdict, RETRY, "{failure}");
    }
}

#[test]
fn c58_a_body_that_is_no_text_becomes_a_reason_that_can_be_stored() {
    let long = [b"a".repeat(499), "é".as_bytes().to_vec()].concat();
    for body in [b"a\x00b".to_vec(), b"\xff\xfeA".to_vec(), long, b"x".repeat(10 << 20)] {
        let sink = WebhookSink::start(move |_| Response::new(500).body(body.clone()).into());
        let reason = deliver(&sink.unwrap().url("/")).unwrap_err().reason;
        assert!(reason.starts_with("HTTP 500"), "{reason}");
        assert!(!reason.contains(char::is_control) && reason.len() <= REASON_MAX, "{reason}");
    }
}

#[test]
fn headers_that_are_no_text_do_no_harm() {
    let mut answer =
        b"HTTP/1.1 503 \xff\r\nretry-after: \xe9\r\nwebhook-delivery: \xff\r\n".to_vec();
    answer.extend_from_slice(b"content-length: 0\r\n\r\n");
    let failure = deliver(&Peer::answering(answer).url("/")).unwrap_err();
    assert_eq!(failure.verdict, RETRY, "{failure}");
}

#[test]
fn an_answer_that_never_came_may_have_been_given() {
    let closing = WebhookSink::start(|_| Reply::Close).unwrap();
    let failure = deliver(&closing.url("/m4rk3r")).unwrap_err();
    assert_eq!((failure.code.as_str(), &failure.verdict), ("connection_lost", &RETRY));
    assert!(failure.reason.contains("may have arrived"), "{failure}");
    assert!(!failure.reason.contains("m4rk3r"), "{failure}");
    assert_eq!(closing.arrivals().total(), 1);
}

#[test]
fn a_receiver_that_is_not_there_got_nothing() {
    let gone = Peer::start(|_| ());
    let url = gone.url("/m4rk3r");
    drop(gone);
    let failure = deliver(&url).unwrap_err();
    assert_eq!((failure.code.as_str(), &failure.verdict), ("connect", &RETRY));
    assert!(failure.reason.contains("refused"), "{failure}");
    assert!(!failure.reason.contains("m4rk3r"), "{failure}");
}
