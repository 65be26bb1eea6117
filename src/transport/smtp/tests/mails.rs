//! The mail that arrives, as an independent parser reads it.

use crossbeam_channel::{Receiver, unbounded};
use mail_parser::MessageParser;

use super::*;
use crate::render::mail::Texts;
use crate::sink::smtp::{self as sink, SinkReply, SmtpSink, SmtpSinkOptions};

/// A sink, the mails that it took, and a transport to it.
fn post_office() -> (SmtpSink, Receiver<sink::Mail>, Smtp) {
    let (mails_tx, mails) = unbounded();
    let mail: sink::MailHandler = Box::new(move |mail| {
        mails_tx.send(mail.clone()).unwrap();
        SinkReply::accept()
    });
    let sink = SmtpSink::start(SmtpSinkOptions { mail, ..SmtpSinkOptions::default() }).unwrap();
    let transport = smtp(&config(sink.addr().port()));
    (sink, mails, transport)
}

/// What arrives when `message` is sent.
fn arrival(message: &Prepared) -> sink::Mail {
    let (_sink, mails, transport) = post_office();
    transport.deliver(message, Deadline::after(LONG)).unwrap();
    mails.try_recv().unwrap()
}

fn lines(text: &str) -> Vec<String> {
    text.trim_end().lines().map(str::to_owned).collect()
}

/// The text that a mail has to carry.
fn rendered_text(message: &Prepared) -> Vec<String> {
    let text = Texts::of(message).text(&BrandingConfig::default());
    lines(&text.replace("\r\n", "\n").replace('\r', "\n"))
}

fn header_count(mail: &sink::Mail, name: &str) -> usize {
    let raw = String::from_utf8(mail.raw.clone()).unwrap();
    let (head, _) = raw.split_once("\r\n\r\n").unwrap();
    head.lines().filter(|line| line.to_lowercase().starts_with(&name.to_lowercase())).count()
}

#[test]
fn c19_each_header_occurs_once_and_the_id_is_stable() {
    let message = sample();
    let (first, second, other) = (arrival(&message), arrival(&message), arrival(&sample()));
    let id = |mail: &sink::Mail| {
        MessageParser::default().parse(&mail.raw).unwrap().message_id().unwrap().to_owned()
    };
    assert_eq!(id(&first), format!("{}@example.com", message.id));
    assert_eq!(id(&first), id(&second));
    assert_ne!(id(&first), id(&other));
    for name in [
        "From:",
        "To:",
        "Subject:",
        "Date:",
        "Message-ID: <",
        "MIME-Version: 1.0",
        "Auto-Submitted: auto-generated",
        "X-Auto-Response-Suppress: All",
        "Content-Type: multipart/alternative",
    ] {
        assert_eq!(header_count(&first, name), 1, "{name}");
    }
    assert_eq!(first.sender, "notify@example.com");
    assert_eq!(first.recipients, ["bob@example.com"]);
}

#[test]
fn a_mail_has_text_first_then_html_both_as_utf_8() {
    let mut message = sample();
    message.body = "Grüße\n".into();
    let mail = arrival(&message);
    let parsed = MessageParser::default().parse(&mail.raw).unwrap();
    assert_eq!(parsed.parts.len(), 3);
    assert_eq!(lines(&parsed.body_text(0).unwrap()), rendered_text(&message));
    assert!(parsed.body_text(0).unwrap().contains("Grüße"));
    assert!(parsed.body_html(0).unwrap().contains("Grüße"));
    let raw = String::from_utf8(mail.raw).unwrap().to_lowercase();
    assert!(raw.find("text/plain; charset=utf-8") < raw.find("text/html; charset=utf-8"));
    assert_eq!(raw.matches("content-transfer-encoding: quoted-printable").count(), 2);
    assert!(raw.lines().all(|line| line.len() <= 78));
}

#[test]
fn c17_a_line_with_a_dot_does_not_end_the_message() {
    let mut message = sample();
    message.body = "a\n.\nMAIL FROM:<x@example.com>\n..b\r\n.\r\nend\rlast".into();
    let (sink, mails, transport) = post_office();
    transport.deliver(&message, Deadline::after(LONG)).unwrap();
    transport.deliver(&sample(), Deadline::after(LONG)).unwrap();
    assert_eq!((sink.arrived(), sink.connected()), (2, 1));
    let mail = mails.try_recv().unwrap();
    let parsed = MessageParser::default().parse(&mail.raw).unwrap();
    let arrived = lines(&parsed.body_text(0).unwrap());
    assert_eq!(arrived, rendered_text(&message));
    assert_eq!(arrived.iter().filter(|line| *line == ".").count(), 2);
    assert!(arrived.contains(&"..b".to_owned()) && arrived.contains(&"last".to_owned()));
    let without = String::from_utf8(mail.raw.clone()).unwrap().replace("\r\n", "");
    assert!(!without.contains(['\r', '\n']));
}

#[test]
fn c22_a_name_with_line_breaks_makes_no_header() {
    for end in ["\r\n", "\n", "\r", "\0"] {
        let mut message = sample();
        message.recipient.name = Some(format!("Ann{end}Bcc: v@example.com"));
        let mail = arrival(&message);
        assert_eq!(header_count(&mail, "Bcc:"), 0);
        assert_eq!(mail.recipients, ["bob@example.com"]);
        let parsed = MessageParser::default().parse(&mail.raw).unwrap();
        let to = parsed.to().unwrap().first().unwrap();
        assert_eq!(to.name(), Some("Ann Bcc: v@example.com"));
        assert_eq!(to.address(), Some("bob@example.com"));
    }
}

#[test]
fn names_of_all_kinds_read_back() {
    let long = "日本語の名前".repeat(12);
    for name in [
        "Bob",
        "O'Hara, Ann",
        r#"A "q" \ B"#,
        "Zoë <x@example.com>",
        "=?utf-8?q?x?=",
        "😀",
        "a@b, c",
        &long,
        &"n".repeat(150),
    ] {
        let mut message = sample();
        message.recipient.name = Some(name.to_owned());
        let mail = arrival(&message);
        let parsed = MessageParser::default().parse(&mail.raw).unwrap();
        let to = parsed.to().unwrap().first().unwrap();
        assert_eq!((to.name(), to.address()), (Some(name), Some("bob@example.com")));
        assert!(mail.raw.split(|octet| *octet == b'\n').all(|line| line.len() <= 79), "{name}");
    }
}

#[test]
fn a_user_name_stands_in_for_a_name() {
    let mut message = sample();
    message.recipient.name = None;
    message.recipient.username = Some("bobby".into());
    let mail = arrival(&message);
    let parsed = MessageParser::default().parse(&mail.raw).unwrap();
    assert_eq!(parsed.to().unwrap().first().unwrap().name(), Some("bobby"));
}

#[test]
fn c16_a_subject_arrives_exactly() {
    for subject in [
        "Dépêche reçue. Départ prévu\u{a0}: 3 août, 10h15",
        &"é".repeat(400),
        "😀 launch",
        &"x".repeat(1200),
        "=?UTF-8?Q?literal?=",
        "",
        "Re: a: b",
    ] {
        let mut message = sample();
        message.title = subject.to_owned();
        let mail = arrival(&message);
        let parsed = MessageParser::default().parse(&mail.raw).unwrap();
        // How long a subject may be is for the renderer to say.
        assert_eq!(parsed.subject().unwrap_or_default(), Texts::of(&message).subject());
    }
}

#[test]
fn c23_a_title_with_line_breaks_is_one_subject() {
    let mut message = sample();
    message.title = "Hi x\r\nBcc: v@example.com\r\n\r\nfake body\n".into();
    let mail = arrival(&message);
    let parsed = MessageParser::default().parse(&mail.raw).unwrap();
    assert_eq!(parsed.subject(), Some("Hi x Bcc: v@example.com  fake body"));
    assert_eq!(header_count(&mail, "Bcc:"), 0);
    assert_eq!(header_count(&mail, "Subject:"), 1);
    assert_eq!(lines(&parsed.body_text(0).unwrap()), rendered_text(&message));
}

#[test]
fn a_template_may_have_a_sender_of_its_own_and_the_envelope_keeps_the_one_that_the_relay_knows() {
    let mut message = sample();
    message.mail.from_address = Some("Bausteine & Söhne <bau@example.com>".into());
    message.mail.reply_to = Some("Help <help@example.com>".into());
    let mail = arrival(&message);
    assert_eq!(mail.sender, "notify@example.com");
    let parsed = MessageParser::default().parse(&mail.raw).unwrap();
    let from = parsed.from().unwrap().first().unwrap();
    assert_eq!((from.name(), from.address()), (Some("Bausteine & Söhne"), Some("bau@example.com")));
    let reply_to = parsed.reply_to().unwrap().first().unwrap();
    assert_eq!((reply_to.name(), reply_to.address()), (Some("Help"), Some("help@example.com")));
    let plain = arrival(&sample());
    for name in ["Reply-To:", "List-Unsubscribe", "References:", "In-Reply-To:", "DKIM-Signature:"]
    {
        assert_eq!(header_count(&plain, name), 0, "{name}");
    }
}

#[test]
fn a_sender_that_cannot_be_read_fails_the_message_and_says_where_it_is() {
    let mut message = sample();
    message.mail.reply_to = Some("Ann, Bob <a@example.com>".into());
    let failure = smtp(&config(1)).deliver(&message, Deadline::after(LONG)).unwrap_err();
    assert_eq!((kind(&failure), failure.code.as_str()), ("permanent", "bad_sender"));
    assert!(failure.reason.contains("template's reply_to"), "{}", failure.reason);
}

#[test]
fn a_mail_can_be_unsubscribed_from_by_one_post() {
    let mut message = sample();
    let url = format!("https://example.com/u/{}", "x".repeat(870));
    message.mail.unsubscribe_url = Some(url.clone());
    let mail = arrival(&message);
    let raw = String::from_utf8(mail.raw).unwrap();
    assert!(raw.contains(&format!("List-Unsubscribe:\r\n <{url}>\r\n")), "{raw}");
    assert!(raw.contains("\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"), "{raw}");
    assert!(raw.lines().all(|line| line.len() <= 998));
}

#[test]
fn mails_with_one_thread_key_answer_the_same_mail() {
    let root = |key: &str| {
        let mut message = sample();
        message.mail.thread_key = Some(key.into());
        let mail = arrival(&message);
        let parsed = MessageParser::default().parse(&mail.raw).unwrap();
        let root = parsed.in_reply_to().as_text().unwrap().to_owned();
        assert_eq!(parsed.references().as_text(), Some(root.as_str()));
        assert_ne!(parsed.message_id(), Some(root.as_str()));
        root
    };
    assert_eq!(root("build 7"), root("build 7"));
    assert_ne!(root("build 7"), root("build 8"));
    assert!(root("a\r\nBcc: v@example.com").ends_with("@example.com"));
}
