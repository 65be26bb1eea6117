//! A lease: the right to work on one message for a while, and how it ends.

use std::time::{Duration, Instant, SystemTime};

use serde_json::value::RawValue;
use uuid::Uuid;

use crate::message::MessageId;
use crate::outcome::Outcome;
use crate::payload::Payload;

/// What the store needs to know that a lease is still ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseKey {
    /// Primary key of the message.
    pub id: MessageId,
    /// The fence: each acquire writes a higher number. Not the attempt, which recurs when a
    /// lease is released unused.
    pub claim: i64,
}

/// Why the row of a message cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// The row itself: it never can.
    Row(String),
    /// It could be read alone, so something else was in the way.
    Once(String),
}

/// A message as it was acquired.
#[derive(Debug)]
pub struct Message {
    /// Id shared by the messages of one notification.
    pub notification_id: Uuid,
    /// Id of its template.
    pub template_id: Uuid,
    /// Version of the template now; `None` if it was deleted since.
    pub template_version: Option<i32>,
    /// Name of the transport.
    pub method: String,
    /// Number of the attempt that this lease is for, from 1.
    pub attempt: u32,
    /// Attempts allowed, where the message says so.
    pub max_attempts: Option<u32>,
    /// A lease of it ran out before: it is delivered alone.
    pub suspect: bool,
    /// Leases that ran out while it was delivered alone.
    pub lapses: u32,
    /// How long it has been put off without an attempt, at the acquire; `None`: it is not.
    pub held_for: Option<Duration>,
    /// Code of its last failure.
    pub code: Option<String>,
    /// Reason of its last failure.
    pub last_error: Option<String>,
    /// Why its row cannot be read, if it cannot; then what may be unreadable is empty.
    pub unreadable: Option<Unreadable>,
    /// Bytes of the payload.
    pub size: usize,
    /// The recipient turned this notification off.
    pub disabled: bool,
    /// It is a mail to an address that was refused for good.
    pub suppressed: bool,
    /// Time until it expires, at the acquire; zero once that has passed.
    pub expires_in: Option<Duration>,
    /// URL of the webhook, or the name of an endpoint.
    pub endpoint: Option<String>,
    /// Version of that endpoint now; `None` for a URL, or a name that is no endpoint's any more.
    pub endpoint_version: Option<i32>,
    /// Ids of the objects involved.
    pub targets: Vec<String>,
    /// When it was enqueued.
    pub created_at: SystemTime,
    /// The payload document, not yet parsed.
    pub payload: Box<RawValue>,
}

#[cfg(test)]
impl Message {
    /// A message for a first attempt, without contents.
    pub(crate) fn sample(method: &str) -> Self {
        Self {
            notification_id: Uuid::from_u128(1),
            template_id: Uuid::from_u128(2),
            template_version: Some(1),
            method: method.into(),
            attempt: 1,
            max_attempts: None,
            suspect: false,
            lapses: 0,
            held_for: None,
            code: None,
            last_error: None,
            unreadable: None,
            size: 2,
            disabled: false,
            suppressed: false,
            expires_in: None,
            endpoint: None,
            endpoint_version: None,
            targets: Vec::new(),
            created_at: SystemTime::UNIX_EPOCH,
            payload: RawValue::from_string("{}".into()).expect("it is JSON"),
        }
    }
}

/// The right to work on one message until the store takes it back.
///
/// Neither `Clone` nor `Copy`: [`Lease::settle`] consumes it, so a lease is settled once or
/// not at all. One that is dropped instead runs out, and the message is delivered again.
#[must_use = "a lease that is not settled runs out and its message is delivered again"]
#[derive(Debug)]
pub struct Lease {
    key: LeaseKey,
    /// Where the lease ends by our own monotonic clock, counted from before the acquire was
    /// sent, so never later than by the database's clock.
    until: Instant,
    message: Message,
    /// Since when the lease holds, and how long the message had been due by then.
    waited: Option<(Instant, Duration)>,
}

impl Lease {
    /// For stores only: `key` must come from an acquire.
    pub fn new(key: LeaseKey, until: Instant, message: Message) -> Self {
        Self { key, until, message, waited: None }
    }

    /// With how long the message had been due at `since`, when it was leased.
    pub fn with_wait(mut self, since: Instant, waited: Duration) -> Self {
        self.waited = Some((since, waited));
        self
    }

    /// With why the row of the message cannot be read, if it cannot.
    pub fn with_unreadable(mut self, unreadable: Option<Unreadable>) -> Self {
        self.message.unreadable = unreadable.or(self.message.unreadable);
        self
    }

    /// How long the message has been due, where the store knows.
    pub fn waited(&self) -> Option<Duration> {
        self.waited.map(|(since, waited)| waited + since.elapsed())
    }

    /// Which lease this is.
    pub fn key(&self) -> LeaseKey {
        self.key
    }

    /// What to deliver.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Takes the payload out of the lease, so that there is one copy of it while the message is
    /// under way.
    pub(crate) fn take_payload(&mut self) -> Payload {
        let payload = &mut self.message.payload;
        std::mem::replace(payload, RawValue::NULL.to_owned()).into()
    }

    /// Whether the lease outlasts `span` from now.
    pub fn outlasts(&self, span: Duration) -> bool {
        span < self.until.saturating_duration_since(Instant::now())
    }

    /// Ends the lease: `outcome` is what became of the attempt that began at `started`.
    pub fn settle(self, started: Instant, outcome: Outcome) -> Settled {
        let Message { method, attempt, template_version, size, endpoint, .. } = self.message;
        let (key, finished) = (self.key, Instant::now());
        // Where a success went is of no interest, and there are many.
        let failed = !matches!(outcome, Outcome::Sent(_));
        let destination = failed.then(|| destination(&method, endpoint.as_deref())).flatten();
        Settled {
            key,
            method,
            attempt,
            template_version,
            size,
            destination,
            started,
            finished,
            outcome,
        }
    }
}

/// A lease together with what became of it. The only thing a store commits.
#[must_use = "an outcome that is not committed is lost"]
#[derive(Debug)]
pub struct Settled {
    /// Which lease this ends.
    pub key: LeaseKey,
    /// Name of the transport.
    pub method: String,
    /// Number of the attempt.
    pub attempt: u32,
    /// Version of the template, if there was one.
    pub template_version: Option<i32>,
    /// Bytes of the payload.
    pub size: usize,
    /// Where it did not get, in words for people: `relay`, `endpoint:NAME` or `url:ORIGIN`.
    pub destination: Option<String>,
    /// When the attempt began.
    pub started: Instant,
    /// When it ended.
    pub finished: Instant,
    /// What became of it.
    pub outcome: Outcome,
}

/// Where a message of a stock method goes, without what may be secret in a URL.
fn destination(method: &str, endpoint: Option<&str>) -> Option<String> {
    match (method, endpoint) {
        ("smtp", _) => Some("relay".into()),
        ("webhook", None) => Some("endpoint:default".into()),
        ("webhook", Some(endpoint)) => Some(match endpoint.split_once("://") {
            None => format!("endpoint:{endpoint}"),
            Some((scheme, rest)) => {
                let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
                let host = authority.rsplit('@').next().unwrap_or_default();
                format!("url:{scheme}://{host}")
            }
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_shows_the_origin_of_a_url_and_no_more() {
        let webhook = |endpoint| destination("webhook", endpoint).unwrap();
        assert_eq!(webhook(Some("ops")), "endpoint:ops");
        assert_eq!(webhook(None), "endpoint:default");
        let url = "https://user:secret@hooks.example.com:8443/token?key=1#x";
        assert_eq!(webhook(Some(url)), "url:https://hooks.example.com:8443");
        assert_eq!(destination("smtp", None).unwrap(), "relay");
        assert_eq!(destination("inbox", None), None);
    }
}
