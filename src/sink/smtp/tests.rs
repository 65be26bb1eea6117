//! The sink, spoken to by hand.

use std::io::{BufRead, BufReader, Write};
use std::sync::mpsc;
use std::time::Instant;

use super::*;

/// A client that says `text` and gives everything that the sink answered until it closed.
fn converse(sink: &SmtpSink, text: &str) -> Vec<String> {
    let mut socket = TcpStream::connect(sink.addr()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.write_all(text.as_bytes()).unwrap();
    BufReader::new(socket).lines().map(Result::unwrap).collect()
}

fn codes(answers: &[String]) -> Vec<&str> {
    answers.iter().map(|line| &line[..4]).collect()
}

#[test]
fn a_pipelined_mail_is_handed_over_as_it_was_sent() {
    let (mails_tx, mails) = mpsc::channel();
    let mail: MailHandler = Box::new(move |mail| {
        mails_tx.send(mail.clone()).unwrap();
        SinkReply::new(250, "2.0.0 stored as 1")
    });
    let sink = SmtpSink::start(SmtpSinkOptions { mail, ..SmtpSinkOptions::default() }).unwrap();
    let answers = converse(
        &sink,
        "HELO x\r\nMAIL FROM:<a@example.com> SIZE=3\r\nRCPT TO:<b@example.com>\r\nDATA\r\n\
         Subject: x\r\n\r\n..a\r\n.\r\nQUIT\r\n",
    );
    assert_eq!(codes(&answers), ["220 ", "250 ", "250 ", "250 ", "354 ", "250 ", "221 "]);
    assert_eq!(answers[5], "250 2.0.0 stored as 1");
    let mail = mails.try_recv().unwrap();
    assert_eq!(mail.sender, "a@example.com");
    assert_eq!(mail.recipients, ["b@example.com"]);
    assert_eq!(mail.raw, b"Subject: x\r\n\r\n.a\r\n");
    assert_eq!((sink.arrived(), sink.connected()), (1, 1));
}

#[test]
fn one_recipient_can_be_refused() {
    let recipient: RecipientCheck = Box::new(|address| match address {
        "gone@example.com" => SinkReply::new(550, "5.1.1 no such user"),
        _ => SinkReply::accept(),
    });
    let options = SmtpSinkOptions { recipient, ..SmtpSinkOptions::default() };
    let sink = SmtpSink::start(options).unwrap();
    let answers = converse(
        &sink,
        "HELO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<gone@example.com>\r\nDATA\r\nRSET\r\n\
         MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nQUIT\r\n",
    );
    assert_eq!(answers[3], "550 5.1.1 no such user");
    assert_eq!(codes(&answers)[4..], ["503 ", "250 ", "250 ", "250 ", "221 "]);
    assert_eq!(sink.arrived(), 0);
}

#[test]
fn a_mail_that_the_handler_refuses_is_not_counted() {
    let mail: MailHandler = Box::new(|_| SinkReply::new(451, "4.3.0 later"));
    let sink = SmtpSink::start(SmtpSinkOptions { mail, ..SmtpSinkOptions::default() }).unwrap();
    let answers = converse(
        &sink,
        "HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n.\r\nQUIT\r\n",
    );
    assert_eq!(answers[5], "451 4.3.0 later");
    assert_eq!(sink.arrived(), 0);
}

#[test]
fn credentials_are_asked_for_where_they_are_set() {
    let credentials = Some(("ann".to_owned(), "sesame".to_owned()));
    let sink =
        SmtpSink::start(SmtpSinkOptions { credentials, ..SmtpSinkOptions::default() }).unwrap();
    let answers = converse(
        &sink,
        "EHLO x\r\nMAIL FROM:<>\r\nAUTH PLAIN AGFubgBubw==\r\nAUTH LOGIN\r\nYW5u\r\nc2VzYW1l\r\n\
         MAIL FROM:<>\r\nQUIT\r\n",
    );
    assert!(answers.contains(&"250 AUTH PLAIN LOGIN".to_owned()), "{answers:?}");
    let answers = codes(&answers);
    assert_eq!(answers[8..], ["530 ", "535 ", "334 ", "334 ", "235 ", "250 ", "221 "]);
}

#[test]
fn connections_beyond_the_limit_are_turned_away() {
    let sink =
        SmtpSink::start(SmtpSinkOptions { connections_max: 1, ..SmtpSinkOptions::default() })
            .unwrap();
    let first = TcpStream::connect(sink.addr()).unwrap();
    let mut greeting = String::new();
    BufReader::new(&first).read_line(&mut greeting).unwrap();
    assert_eq!(converse(&sink, ""), ["421 4.3.2 too many connections"]);
}

#[test]
fn a_stop_ends_open_connections_and_returns_at_once() {
    let sink = SmtpSink::start(SmtpSinkOptions::default()).unwrap();
    let mut idle = BufReader::new(TcpStream::connect(sink.addr()).unwrap());
    let mut greeting = String::new();
    idle.read_line(&mut greeting).unwrap();
    let begun = Instant::now();
    sink.stop();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(idle.read_line(&mut greeting).unwrap_or_default(), 0);
}
