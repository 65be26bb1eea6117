//! Connections that are used again, and those that must not be.

use super::*;
use crate::sink::smtp::{SmtpSink, SmtpSinkOptions};

/// What a relay says to a second mail on the same connection.
const SECOND: [Line; 5] = [
    ("RSET", "250 ok"),
    ("MAIL", "250 ok"),
    ("RCPT", "250 ok"),
    ("DATA", "354 go"),
    (".", "250 second"),
];

fn joined(parts: &[&[Line]]) -> Vec<Line> {
    parts.concat()
}

/// Delivers the sample twice on one transport; the results, and what was heard.
fn twice(scripts: Vec<Vec<Line>>) -> ([Result<Receipt, Failure>; 2], Vec<Vec<String>>) {
    let peer = Peer::play_all(scripts);
    let transport = smtp(&config(peer.port()));
    let results = [(), ()].map(|()| transport.deliver(&sample(), Deadline::after(LONG)));
    drop(transport);
    (results, peer.heard())
}

fn is_taken(result: &Result<Receipt, Failure>) -> bool {
    result.as_ref().is_ok_and(|receipt| receipt.code.as_deref() == Some("250"))
}

#[test]
fn a_connection_carries_many_mails() {
    for relay in [PLAIN_RELAY, PIPELINING_RELAY] {
        let (results, heard) = twice(vec![joined(&[&relay, &SECOND])]);
        assert!(results.iter().all(is_taken), "{results:?}");
        assert_eq!(heard[0].last().unwrap(), "QUIT");
        assert!(!heard[0].iter().any(|line| line == "NOOP"));
    }
}

#[test]
fn many_threads_open_no_more_connections_than_there_are_of_them() {
    let sink = SmtpSink::start(SmtpSinkOptions::default()).unwrap();
    let transport = smtp(&config(sink.addr().port()));
    let deliver_some = || {
        for _ in 0..5 {
            transport.deliver(&sample(), Deadline::after(LONG)).unwrap();
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(deliver_some);
        }
    });
    assert_eq!(sink.arrived(), 40);
    assert!(sink.connected() <= 8, "{} connections", sink.connected());
}

#[test]
fn c10_a_refused_recipient_spoils_nothing_for_the_next() {
    for relay in [PLAIN_RELAY, PIPELINING_RELAY] {
        let mut first = up_to(&relay, "RCPT", "550 5.1.1 no such user");
        if relay == PIPELINING_RELAY {
            first.push(("DATA", "554 5.5.1 no valid recipients"));
        }
        let (results, heard) = twice(vec![joined(&[&first, &SECOND])]);
        assert_eq!(results[0].as_ref().unwrap_err().code, "550");
        assert!(is_taken(&results[1]), "{results:?}");
        assert_eq!(heard.len(), 1);
    }
}

#[test]
fn c11_a_connection_that_died_while_idle_costs_nothing() {
    let ends: [&[Line]; 10] = [
        &[("RSET", "221 idle timeout"), ("", "<close>")],
        &[("RSET", "421 4.4.2 idle timeout"), ("", "<close>")],
        &[("", "<close>")],
        &[("", "421 4.4.2 idle timeout"), ("", "<close>")],
        &[("RSET", "250 ok"), ("MAIL", "421 4.4.2 closing"), ("", "<close>")],
        &[("RSET", "250 ok"), ("MAIL", "<close>")],
        &[("RSET", "502 what")],
        &[("RSET", "<flood>")],
        &[("RSET", "<half-close>")],
        &[("RSET", "\u{0}\u{ff}garbage")],
    ];
    for relay in [PLAIN_RELAY, PIPELINING_RELAY] {
        for end in ends {
            let (results, heard) = twice(vec![joined(&[&relay, end]), relay.to_vec()]);
            assert!(results.iter().all(is_taken), "{end:?}: {results:?}");
            let dots = heard[0].iter().filter(|line| *line == ".").count();
            assert_eq!(dots, 1, "{end:?}");
        }
    }
}

#[test]
fn c11_a_relay_that_recovers_needs_no_restart() {
    let reset = up_to(&PLAIN_RELAY, "MAIL", "<close>");
    let mut scripts = vec![reset; 5];
    scripts.push(PLAIN_RELAY.to_vec());
    let peer = Peer::play_all(scripts);
    let transport = smtp(&config(peer.port()));
    for _ in 0..5 {
        let failure = transport.deliver(&sample(), Deadline::after(LONG)).unwrap_err();
        assert_eq!(failure.code, "disconnected");
    }
    assert!(is_taken(&transport.deliver(&sample(), Deadline::after(LONG))));
}

#[test]
fn a_connection_is_left_after_421_and_after_nonsense() {
    for reply in ["421 4.3.2 closing", "what?", "250 ok\r\n250 and more"] {
        let first = up_to(&PLAIN_RELAY, ".", reply);
        let (results, heard) = twice(vec![first, PLAIN_RELAY.to_vec()]);
        assert!(is_taken(&results[1]), "{reply}: {results:?}");
        assert!(!heard[0].contains(&"RSET".to_owned()), "{reply}");
    }
}

#[test]
fn a_silent_connection_is_given_up_before_the_deadline() {
    let first = joined(&[&PLAIN_RELAY, &[("RSET", "<silence>")]]);
    let begun = Instant::now();
    let (results, _) = twice(vec![first, PLAIN_RELAY.to_vec()]);
    assert!(results.iter().all(is_taken), "{results:?}");
    assert!(begun.elapsed() < Duration::from_secs(8));
}

#[test]
fn c02_a_mail_that_the_relay_took_note_of_is_not_sent_again_at_once() {
    for relay in [PLAIN_RELAY, PIPELINING_RELAY] {
        for (command, code) in
            [("RCPT", "disconnected"), ("DATA", "disconnected"), (".", "uncertain")]
        {
            let first = joined(&[&relay, &up_to(&SECOND, command, "<close>")]);
            let (results, heard) = twice(vec![first, relay.to_vec()]);
            assert_eq!(results[1].as_ref().unwrap_err().code, code, "{command}");
            assert_eq!(heard.len(), 1, "{command}");
        }
    }
}
