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
    /// Number of this attempt, from 1.
    pub attempt: u32,
    /// Attempts allowed, where the message says so.
    pub max_attempts: Option<u32>,
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
        let Message { method, attempt, .. } = self.message;
        Settled { key: self.key, method, attempt, started, finished: Instant::now(), outcome }
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
    /// When the attempt began.
    pub started: Instant,
    /// When it ended.
    pub finished: Instant,
    /// What became of it.
    pub outcome: Outcome,
}
