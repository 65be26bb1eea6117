//! No text of a message adds a header, ends the headers, or ends the message.

#![no_main]

use std::time::SystemTime;

use libfuzzer_sys::fuzz_target;
use postrider::message::{Action, MailFields, MessageId, Prepared, Recipient};
use postrider::transport::smtp::seams;
use serde_json::json;
use uuid::Uuid;

const FIELDS: [&str; 10] = [
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Auto-Submitted",
    "X-Auto-Response-Suppress",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
];

fuzz_target!(|texts: (&str, &str, &str, &str)| {
    let (name, title, body, label) = texts;
    let message = Prepared {
        id: MessageId(Uuid::from_u128(1)),
        notification_id: Uuid::from_u128(2),
        template_id: Uuid::from_u128(3),
        template_name: "t".into(),
        attempt: 1,
        recipient: Recipient {
            id: "1".into(),
            email: Some("ada@example.com".into()),
            name: Some(name.into()),
            username: None,
        },
        endpoint: None,
        endpoint_settings: None,
        title: title.into(),
        body: body.into(),
        actions: vec![Action { label: label.into(), url: "https://example.com/".into() }],
        targets: Vec::new(),
        payload: json!({}).into(),
        mail: MailFields::default(),
        created_at: SystemTime::UNIX_EPOCH,
    };
    let data = seams::mail(&message, "App <app@example.com>").expect("both addresses are good");
    let text = String::from_utf8(data).expect("a mail is text");
    assert!(text.ends_with("\r\n.\r\n"));
    assert_eq!(text.matches("\r\n.\r\n").count(), 1, "one end");
    assert!(!text.replace("\r\n", "").contains(['\r', '\n', '\0']), "whole line ends only");
    let (head, _) = text.split_once("\r\n\r\n").expect("a head and a body");
    for line in head.split("\r\n") {
        assert!(line.len() <= 998 && line.is_ascii(), "{line:?}");
        let field = line.split_once(':').map(|(field, _)| field);
        let known = field.is_some_and(|field| FIELDS.contains(&field));
        assert!(line.starts_with([' ', '\t']) || known, "{line:?}");
    }
});
