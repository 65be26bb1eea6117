//! The sink as a peer sees it.

use std::io::{Read, Write};
use std::time::Instant;

use uuid::Uuid;

use super::*;
use crate::message::MessageId;

fn connect(sink: &WebhookSink) -> TcpStream {
    let stream = TcpStream::connect(sink.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Sends a request and reads until the response's body is there.
fn exchange(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = Vec::new();
    let mut octet = [0];
    while !text.ends_with(b"\r\n\r\n") && stream.read(&mut octet).unwrap() == 1 {
        text.push(octet[0]);
    }
    String::from_utf8(text).unwrap()
}

fn post(id: u128, body: &str) -> String {
    let (id, length) = (Uuid::from_u128(id), body.len());
    format!("POST /hook HTTP/1.1\r\nX-Message-Id: {id}\r\nContent-Length: {length}\r\n\r\n{body}")
}

#[test]
fn a_connection_carries_many_requests_and_each_is_counted() {
    let sink = WebhookSink::start(|request| {
        assert_eq!((request.method, request.path), ("POST", "/hook"));
        Reply::status(if request.body == b"no" { 503 } else { 200 })
    });
    let sink = sink.unwrap();
    let mut stream = connect(&sink);
    assert!(exchange(&mut stream, &post(1, "a")).starts_with("HTTP/1.1 200"));
    assert!(exchange(&mut stream, &post(2, "no")).starts_with("HTTP/1.1 503"));
    assert!(exchange(&mut stream, &post(1, "")).starts_with("HTTP/1.1 200"));
    exchange(&mut stream, "POST /hook HTTP/1.1\r\n\r\n");
    let arrivals = sink.arrivals();
    assert_eq!((arrivals.total(), arrivals.distinct(), arrivals.duplicates()), (4, 2, 1));
    assert_eq!(arrivals.count(MessageId(Uuid::from_u128(1))), 2);
    assert_eq!(arrivals.count(MessageId(Uuid::from_u128(9))), 0);
}

#[test]
fn a_request_in_pieces_is_one_request() {
    let sink = WebhookSink::start(|request| {
        Response::new(200).header("x-length", &request.body.len().to_string()).into()
    });
    let sink = sink.unwrap();
    let mut stream = connect(&sink);
    let body = "x".repeat(3 << 20);
    let answer = exchange(&mut stream, &post(1, &body));
    assert!(answer.contains("x-length: 3145728"), "{answer}");
    for octet in post(2, "").as_bytes() {
        stream.write_all(&[*octet]).unwrap();
    }
    assert!(exchange(&mut stream, "").contains("x-length: 0"));
}

#[test]
fn requests_that_arrive_together_are_answered_one_by_one() {
    let sink = WebhookSink::start(|_| Reply::status(200)).unwrap();
    let mut stream = connect(&sink);
    let both = exchange(&mut stream, &format!("{}{}", post(1, "a"), post(2, "b")));
    assert!(both.starts_with("HTTP/1.1 200"), "{both}");
    assert!(exchange(&mut stream, "").starts_with("HTTP/1.1 200"));
    assert_eq!((sink.arrivals().total(), sink.arrivals().distinct()), (2, 2));
}

#[test]
fn what_it_cannot_read_it_refuses() {
    let sink = WebhookSink::start(|_| Reply::status(200)).unwrap();
    for (request, status) in [
        ("nonsense\r\n\r\n".to_owned(), "400"),
        ("POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n".to_owned(), "400"),
        ("POST / HTTP/1.1\r\nContent-Length: 4194305\r\n\r\n".to_owned(), "413"),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), "411"),
        (format!("POST / HTTP/1.1\r\nX: {}\r\n", "x".repeat(HEAD)), "431"),
    ] {
        let mut stream = connect(&sink);
        let answer = exchange(&mut stream, &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    assert_eq!(sink.arrivals().total(), 0);
}

/// More than a head may have, yet no more than is read of it.
const HEAD: usize = (64 << 10) - 21;

#[test]
fn close_and_silence_hold_up_nobody_else() {
    let sink = WebhookSink::start(|request| match request.body {
        b"close" => Reply::Close,
        b"silent" => Reply::Silent,
        _ => Reply::status(200),
    });
    let sink = sink.unwrap();
    let mut silent: Vec<_> = (0..20).map(|_| connect(&sink)).collect();
    for stream in &mut silent {
        stream.write_all(post(1, "silent").as_bytes()).unwrap();
    }
    assert_eq!(exchange(&mut connect(&sink), &post(2, "close")), "");
    assert!(exchange(&mut connect(&sink), &post(3, "ok")).starts_with("HTTP/1.1 200"));
    let start = Instant::now();
    sink.stop();
    assert!(start.elapsed() < Duration::from_secs(5));
    for mut stream in silent {
        // Ended, by an end of file or a reset; not by the limit of the read.
        let end = stream.read(&mut [0]).map_err(|error| error.kind());
        assert!(matches!(end, Ok(0) | Err(io::ErrorKind::ConnectionReset)), "{end:?}");
    }
}

#[test]
fn a_dripping_reply_comes_octet_by_octet_and_ends_with_the_sink() {
    let sink = WebhookSink::start(|_| Reply::Drip(Response::new(200))).unwrap();
    let mut stream = connect(&sink);
    stream.write_all(post(1, "").as_bytes()).unwrap();
    let mut octet = [0; 16];
    assert_eq!(stream.read(&mut octet).unwrap(), 1);
    let start = Instant::now();
    drop(sink);
    assert!(start.elapsed() < Duration::from_secs(5));
}
