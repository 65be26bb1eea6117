//! The transport against peers that play a script, and against the sink.

use std::time::{Duration, Instant, SystemTime};

use uuid::Uuid;

use super::*;
use crate::config::SmtpTls;
use crate::message::{MailFields, MessageId, Recipient};
use crate::outcome::Verdict;

mod auth;
mod hostile;
mod mails;
mod outcomes;
mod peer;
mod reuse;
mod table;
mod tls;

use self::peer::{Line, Peer};

/// Longer than any test takes that does not wait for its end.
const LONG: Duration = Duration::from_secs(20);

/// A message to `bob@example.com`.
pub(super) fn sample() -> Prepared {
    Prepared {
        id: MessageId(Uuid::now_v7()),
        notification_id: Uuid::now_v7(),
        template_id: Uuid::now_v7(),
        template_name: "sample".into(),
        attempt: 1,
        recipient: Recipient {
            id: "bob".into(),
            email: Some("bob@example.com".into()),
            name: Some("Bob".into()),
            username: None,
        },
        endpoint: None,
        endpoint_settings: None,
        title: "Hello".into(),
        body: "Hi there.\n".into(),
        actions: Vec::new(),
        mail: MailFields::default(),
        targets: Vec::new(),
        payload: serde_json::Value::Null.into(),
        created_at: SystemTime::now(),
    }
}

/// Settings for a relay on loopback, without TLS.
fn config(port: u16) -> SmtpConfig {
    SmtpConfig {
        host: Some("127.0.0.1".into()),
        port,
        tls: Some(SmtpTls::None),
        from: Some("Postrider <notify@example.com>".into()),
        hello: Some("worker.example.com".into()),
        ..SmtpConfig::default()
    }
}

fn smtp(config: &SmtpConfig) -> Smtp {
    Smtp::new(config, &BrandingConfig::default()).unwrap()
}

/// Delivers the sample to `peer` once.
fn deliver(peer: &Peer) -> Result<Receipt, Failure> {
    smtp(&config(peer.port())).deliver(&sample(), Deadline::after(LONG))
}

/// What may pass between a deadline and the return.
const SLACK: Duration = Duration::from_millis(250);

/// The failure of a delivery that ends by `limit`. Tries it three times, since a busy machine
/// can hold up any thread; what waits longer than its deadline is late each time.
fn in_time(limit: Duration, what: &str, deliver: impl Fn() -> Failure) -> Failure {
    let mut late = Vec::new();
    while late.len() < 3 {
        let begun = Instant::now();
        let failure = deliver();
        let took = begun.elapsed();
        if took < limit + SLACK {
            return failure;
        }
        late.push(took);
    }
    panic!("{what}: {late:?}, and {limit:?} was the limit");
}

/// `temporary`, `permanent` or `blocked`, for a table.
fn kind(failure: &Failure) -> &'static str {
    match failure.verdict {
        Verdict::Temporary { .. } => "temporary",
        Verdict::Permanent => "permanent",
        Verdict::Blocked { .. } => "blocked",
        Verdict::BadAddress => "bad address",
        Verdict::Held => "held",
    }
}

/// A relay that takes one mail, without extensions.
const PLAIN_RELAY: [Line; 6] = [
    ("", "220 relay.example.com"),
    ("EHLO", "250 relay.example.com"),
    ("MAIL", "250 ok"),
    ("RCPT", "250 ok"),
    ("DATA", "354 go"),
    (".", "250 2.0.0 taken"),
];

/// The same with pipelining.
const PIPELINING_RELAY: [Line; 6] = [
    ("", "220 relay.example.com"),
    ("EHLO", "250-relay.example.com\r\n250 PIPELINING"),
    ("MAIL", "250 ok"),
    ("RCPT", "250 ok"),
    ("DATA", "354 go"),
    (".", "250 2.0.0 taken"),
];

/// `script` up to the line that expects `command`, which is answered by `reply`.
fn up_to(script: &[Line], command: &str, reply: &'static str) -> Vec<Line> {
    let end = script.iter().position(|(expected, _)| *expected == command).unwrap();
    let mut script = script[..=end].to_vec();
    script[end].1 = reply;
    script
}
