//! What a relay says, and what becomes of the message.

use super::*;
use crate::message::Recipient;
use crate::outcome::Health;
use crate::sink::smtp::{SinkReply, SmtpSink, SmtpSinkOptions};

/// Delivers to a relay that answers `command` with `reply`, with and without pipelining.
fn answered(command: &str, reply: &'static str) -> Failure {
    let failures = [PLAIN_RELAY, PIPELINING_RELAY].map(|relay| {
        let mut script = up_to(&relay, command, reply);
        if relay == PIPELINING_RELAY {
            // What follows has been sent already, and a relay answers it.
            let rest = relay[script.len()..].iter().filter(|(command, _)| *command != ".");
            script.extend(rest.map(|(command, _)| (*command, "503 5.5.1 out of order")));
        }
        let peer = Peer::play(&script);
        let failure = deliver(&peer).unwrap_err();
        assert!(!peer.heard()[0].iter().any(|line| line == "." && command != "."));
        failure
    });
    assert_eq!(failures[0], failures[1], "{command}: {reply}");
    let [failure, _] = failures;
    failure
}

fn check(command: &str, reply: &'static str, verdict: &str, code: &str) {
    let failure = answered(command, reply);
    assert_eq!((kind(&failure), failure.code.as_str()), (verdict, code), "{command}: {reply}");
}

#[test]
fn a_mail_that_the_relay_takes_is_sent() {
    for relay in [PLAIN_RELAY, PIPELINING_RELAY] {
        let peer = Peer::play(&relay);
        let receipt = deliver(&peer).unwrap();
        assert_eq!(receipt.code.as_deref(), Some("250"));
        assert_eq!(receipt.detail.as_deref(), Some("2.0.0 taken"));
        let heard = &peer.heard()[0];
        assert_eq!(
            heard[..4],
            [
                "EHLO worker.example.com",
                "MAIL FROM:<notify@example.com>",
                "RCPT TO:<bob@example.com>",
                "DATA"
            ]
        );
        assert_eq!(heard[heard.len() - 2..], [".", "QUIT"]);
    }
}

#[test]
fn bounces_go_to_an_address_of_their_own_where_the_settings_name_one() {
    let peer = Peer::play(&PLAIN_RELAY);
    let bounces_to = Some("bounces@täst.example".into());
    let transport = smtp(&SmtpConfig { bounces_to, ..config(peer.port()) });
    transport.deliver(&sample(), Deadline::after(LONG)).unwrap();
    drop(transport);
    let heard = &peer.heard()[0];
    assert_eq!(heard[1], "MAIL FROM:<bounces@xn--tst-qla.example>");
    assert!(heard.iter().any(|line| line == " <notify@example.com>"), "{heard:?}");
}

#[test]
fn c01_the_reply_after_the_dot_decides() {
    let refused = "550-5.7.1 content refused\r\n550-5.7.1 policy 12\r\n\
                   550 5.7.1 see https://example.com/p";
    let failure = answered(".", refused);
    assert_eq!((kind(&failure), failure.code.as_str()), ("permanent", "550"));
    for part in ["550", "content refused", "policy 12", "see https://example.com/p"] {
        assert!(failure.reason.contains(part), "{}", failure.reason);
    }
    check(".", "452 4.3.1 disk full", "temporary", "452");
}

#[test]
fn c02_a_close_after_the_dot_is_uncertain_and_not_sent_again_at_once() {
    let scripts = vec![up_to(&PLAIN_RELAY, ".", "<close>"), PLAIN_RELAY.to_vec()];
    let peer = Peer::play_all(scripts);
    let smtp = smtp(&config(peer.port()));
    let message = sample();
    let failure = smtp.deliver(&message, Deadline::after(LONG)).unwrap_err();
    assert_eq!((kind(&failure), failure.code.as_str()), ("temporary", "uncertain"));
    smtp.deliver(&message, Deadline::after(LONG)).unwrap();
    drop(smtp);
    let ids: Vec<String> = peer
        .heard()
        .iter()
        .map(|lines| lines.iter().find(|line| line.starts_with("Message-ID:")).unwrap().clone())
        .collect();
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ids[0], format!("Message-ID: <{}@example.com>", message.id));
}

#[test]
fn c02_a_stall_after_the_dot_is_uncertain_at_the_deadline() {
    let peer = Peer::play(&up_to(&PLAIN_RELAY, ".", "<silence>"));
    let deadline = Deadline::after(Duration::from_millis(300));
    let failure = smtp(&config(peer.port())).deliver(&sample(), deadline).unwrap_err();
    assert_eq!((kind(&failure), failure.code.as_str()), ("temporary", "uncertain"));
    assert!(failure.reason.contains("end of message: timed out"), "{}", failure.reason);
}

#[test]
fn the_reply_to_the_final_dot_may_come_after_the_deadline() {
    let deadline = Deadline::after(Duration::from_secs(1));
    let later = Deadline::after(Duration::from_millis(1400));
    let late = move |_: &crate::sink::smtp::Mail| {
        while later.remaining().is_some() {
            std::thread::yield_now();
        }
        SinkReply::accept()
    };
    let options = SmtpSinkOptions { mail: Box::new(late), ..SmtpSinkOptions::default() };
    let sink = SmtpSink::start(options).unwrap();
    let config = SmtpConfig { final_reply_timeout: Some(LONG), ..config(sink.addr().port()) };
    smtp(&config).deliver(&sample(), deadline).unwrap();
}

#[test]
fn a_mail_that_may_have_arrived_is_held_where_the_operator_says_so() {
    let told = format!("421{}", " x".repeat(400)).leak();
    for (reply, code) in [("<close>", "uncertain"), ("354 go", "uncertain"), (&*told, "421")] {
        let peer = Peer::play(&up_to(&PLAIN_RELAY, ".", reply));
        let config = SmtpConfig { on_uncertain: OnUncertain::Hold, ..config(peer.port()) };
        let message = sample();
        let failure = smtp(&config).deliver(&message, Deadline::after(LONG)).unwrap_err();
        assert_eq!(failure.code, code);
        let is_held = code == "uncertain";
        assert_eq!(kind(&failure), if is_held { "held" } else { "temporary" });
        for way in ["retry", "cancel"] {
            let command = format!("`postrider message {way} {}`", message.id);
            assert_eq!(failure.reason.contains(&command), is_held, "{}", failure.reason);
        }
    }
}

#[test]
fn the_way_to_release_a_held_mail_is_told_however_long_the_reason() {
    let failure = held(MessageId(Uuid::nil()), &"x".repeat(REASON_MAX));
    assert_eq!(failure.reason.len(), REASON_MAX);
    assert!(failure.reason.ends_with(" ends it"), "{}", failure.reason);
}

#[test]
fn c04_text_that_is_not_utf_8_does_not_hide_the_code() {
    check("RCPT", "550 caf\u{e9}", "permanent", "550");
    let peer = Peer::play(&up_to(&PLAIN_RELAY, ".", "250 d\u{e9}j\u{e0} re\u{e7}u"));
    assert_eq!(deliver(&peer).unwrap().detail.as_deref(), Some("d\u{fffd}j\u{fffd} re\u{fffd}u"));
}

#[test]
fn c05_a_greeting_of_several_lines_is_a_greeting() {
    let mut script = PLAIN_RELAY;
    script[0].1 = "220-mx.example.com\r\n220-no bulk mail\r\n220 ";
    deliver(&Peer::play(&script)).unwrap();
}

#[test]
fn c05_a_greeting_that_refuses_costs_no_attempt_and_ends_the_session() {
    for (greeting, told) in [
        ("220-mx.example.com\r\n521 5.7.1 blocked", "521"),
        ("421-4.7.0 try later\r\n421 4.7.0 x", "421"),
        ("554 5.7.1 go away", "554"),
        ("HTTP/1.1 400 Bad Request\r\n", "HTTP/1.1 400 Bad Request"),
    ] {
        let peer = Peer::play(&[("", greeting)]);
        let failure = deliver(&peer).unwrap_err();
        assert_eq!(kind(&failure), "blocked", "{greeting}");
        assert!(failure.reason.contains(told), "{}", failure.reason);
        assert_eq!(peer.heard()[0], [""; 0], "{greeting}");
    }
}

#[test]
fn c08_the_first_digit_decides() {
    check("RCPT", "450 4.2.0 greylisted", "temporary", "450");
    check("MAIL", "422 4.2.2 later", "temporary", "422");
    check("RCPT", "451 4.7.1 try again", "temporary", "451");
    check("RCPT", "451 4.7.1 user unknown", "temporary", "451");
    let peer = Peer::play(&up_to(&PLAIN_RELAY, "DATA", "421 4.3.2 closing"));
    let failure = deliver(&peer).unwrap_err();
    assert_eq!((kind(&failure), failure.code.as_str()), ("temporary", "421"));
}

#[test]
fn a_greylisting_relay_says_when_to_come_back() {
    let failure = answered("RCPT", "451 4.7.1 greylisted, retry in 5 minutes");
    let wait = Some(Duration::from_mins(5));
    assert_eq!(failure.verdict, Verdict::Temporary { retry_after: wait });
}

#[test]
fn each_phase_has_its_verdict() {
    check("MAIL", "550 5.7.1 not your sender", "blocked", "relay_policy");
    check("MAIL", "552 5.3.4 too large", "permanent", "552");
    check("RCPT", "550 5.1.1 no such user", "bad address", "550");
    check("RCPT", "552 too many recipients", "temporary", "552");
    check("RCPT", "552 5.2.2 mailbox full", "temporary", "552");
    check("DATA", "554 5.5.1 no valid recipients", "permanent", "554");
    check(".", "554 5.7.1 spam", "permanent", "554");
    check(".", "550 5.7.0 too many emails per second", "temporary", "550");
}

#[test]
fn a_yes_to_another_question_is_no_success() {
    for (command, reply) in [("MAIL", "354 go"), ("RCPT", "354 go"), ("DATA", "250 ok")] {
        let peer = Peer::play(&up_to(&PLAIN_RELAY, command, reply));
        let failure = deliver(&peer).unwrap_err();
        assert_eq!((kind(&failure), failure.code.as_str()), ("temporary", "protocol"));
        assert!(!peer.heard()[0].contains(&"QUIT".to_owned()), "{command}");
    }
}

#[test]
fn no_message_follows_a_refused_envelope_though_the_relay_asks_for_one() {
    let mut script = PIPELINING_RELAY[..5].to_vec();
    script[3].1 = "550 5.1.1 no such user";
    let peer = Peer::play(&script);
    assert_eq!(deliver(&peer).unwrap_err().code, "550");
    assert_eq!(peer.heard()[0].last().unwrap(), "DATA");
}

#[test]
fn a_connection_that_breaks_in_the_envelope_is_temporary() {
    for command in ["MAIL", "RCPT", "DATA"] {
        check(command, "<close>", "temporary", "disconnected");
    }
}

#[test]
fn a_relay_that_does_not_listen_costs_no_attempt() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let failure = smtp(&config(free)).deliver(&sample(), Deadline::after(LONG)).unwrap_err();
    let wait = Some(Duration::from_secs(30));
    assert_eq!(failure.verdict, Verdict::Blocked { retry_after: wait });
    assert_eq!(failure.code, "relay_unavailable");
    assert!(failure.reason.contains(&format!("127.0.0.1:{free}")), "{}", failure.reason);
}

#[test]
fn a_relay_without_ehlo_is_greeted_by_helo() {
    let peer = Peer::play(&[
        PLAIN_RELAY[0],
        ("EHLO", "502 what"),
        ("HELO worker.example.com", "250 ok"),
        PLAIN_RELAY[2],
        PLAIN_RELAY[3],
        PLAIN_RELAY[4],
        PLAIN_RELAY[5],
    ]);
    deliver(&peer).unwrap();
    let peer = Peer::play(&up_to(&PLAIN_RELAY, "EHLO", "550 your name is bad"));
    let failure = deliver(&peer).unwrap_err();
    assert_eq!((kind(&failure), failure.code.as_str()), ("blocked", "relay_blocked"));
}

#[test]
fn a_message_above_the_size_limit_is_not_sent() {
    let mut script = PLAIN_RELAY[..2].to_vec();
    script[1].1 = "250-relay.example.com\r\n250 SIZE 100";
    let peer = Peer::play(&script);
    let failure = deliver(&peer).unwrap_err();
    assert_eq!((kind(&failure), failure.code.as_str()), ("permanent", "too_large"));
    assert!(failure.reason.contains("the relay takes 100"), "{}", failure.reason);
    assert_eq!(peer.heard()[0], ["EHLO worker.example.com", "QUIT"]);
}

#[test]
fn c20_a_local_part_beyond_ascii_needs_smtputf8() {
    let mut message = sample();
    message.recipient.email = Some("ä@exämple.com".into());
    let peer = Peer::play(&PLAIN_RELAY[..2]);
    let transport = smtp(&config(peer.port()));
    let failure = transport.deliver(&message, Deadline::after(LONG)).unwrap_err();
    assert_eq!((kind(&failure), failure.code.as_str()), ("permanent", "smtputf8"));
    assert!(failure.reason.contains("SMTPUTF8"), "{}", failure.reason);

    let mut script = PLAIN_RELAY;
    script[1].1 = "250-relay.example.com\r\n250-8BITMIME\r\n250 SMTPUTF8";
    let peer = Peer::play(&script);
    let transport = smtp(&config(peer.port()));
    transport.deliver(&message, Deadline::after(LONG)).unwrap();
    drop(transport);
    let heard = &peer.heard()[0];
    assert_eq!(heard[1], "MAIL FROM:<notify@example.com> BODY=8BITMIME SMTPUTF8");
    assert_eq!(heard[2], "RCPT TO:<ä@xn--exmple-cua.com>");
}

#[test]
fn c20_an_international_domain_goes_out_as_ascii() {
    let mut message = sample();
    message.recipient.email = Some("a@exämple.com".into());
    let peer = Peer::play(&PLAIN_RELAY);
    let sender = Some("n@täst.example".into());
    let transport = smtp(&SmtpConfig { from: sender, ..config(peer.port()) });
    transport.deliver(&message, Deadline::after(LONG)).unwrap();
    drop(transport);
    let heard = &peer.heard()[0];
    assert_eq!(heard[1], "MAIL FROM:<n@xn--tst-qla.example>");
    assert_eq!(heard[2], "RCPT TO:<a@xn--exmple-cua.com>");
}

#[test]
fn c22_a_bad_address_is_refused_without_a_connection() {
    let nobody = smtp(&config(1));
    for address in [None, Some("nobody"), Some("a@example.com\r\nRCPT TO:<v@example.com>")] {
        let mut message = sample();
        message.recipient.email = address.map(str::to_owned);
        let failure = nobody.deliver(&message, Deadline::after(LONG)).unwrap_err();
        assert_eq!((kind(&failure), failure.code.as_str()), ("permanent", "bad_address"));
        assert!(failure.reason.contains("address"), "{}", failure.reason);
    }
}

#[test]
fn a_reply_to_a_mail_is_an_answer_but_a_421_blames_the_relay() {
    for (command, reply, expected) in [
        ("RCPT", "550 5.1.1 no such user", Health::Answers),
        ("MAIL", "451 4.3.0 later", Health::Answers),
        ("MAIL", "421 4.3.2 closing", Health::Down),
    ] {
        assert_eq!(answered(command, reply).destination, expected, "{command}: {reply}");
    }
}

#[test]
fn a_mail_that_cannot_be_built_tells_nothing_of_the_relay() {
    let nobody = Recipient { email: None, ..sample().recipient };
    let failure = smtp(&config(9))
        .deliver(&Prepared { recipient: nobody, ..sample() }, Deadline::after(LONG));
    assert_eq!(failure.unwrap_err().destination, Health::Unknown);
}

#[test]
fn a_mail_that_is_not_made_in_time_has_made_an_attempt() {
    let failure = smtp(&config(9)).deliver(&sample(), Deadline::after(Duration::ZERO)).unwrap_err();
    assert_eq!((kind(&failure), failure.code.as_str()), ("temporary", "timeout"));
    assert_eq!(failure.destination, Health::Unknown);
}
