//! The far end: answers as each message's fate wants it, and remembers every answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postrider::message::MessageId;
use postrider::sink::http::{Reply, Request, WebhookSink};
use serde_json::Value;

use crate::support::last;

/// How long a slow answer takes.
const SLOW: Duration = Duration::from_millis(300);

/// What a message meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// 200.
    Fine,
    /// 200, after a while.
    Slow,
    /// 503 twice, then 200.
    Flaky,
    /// 410.
    Gone,
}

impl Fate {
    /// Of message `number`.
    pub(crate) fn of(number: u64) -> Self {
        match number % 20 {
            0 => Self::Gone,
            1..=3 => Self::Flaky,
            4..=5 => Self::Slow,
            _ => Self::Fine,
        }
    }
}

/// What one message got for an answer, and how often.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Answers {
    pub(crate) accepted: u64,
    pub(crate) busy: u64,
    pub(crate) gone: u64,
}

impl Answers {
    /// All of them.
    pub(crate) fn total(self) -> u64 {
        self.accepted + self.busy + self.gone
    }
}

#[derive(Default)]
struct Seen {
    answers: HashMap<MessageId, Answers>,
    /// Highest number that was accepted.
    newest: u64,
}

/// A running peer.
pub(crate) struct Peer {
    pub(crate) sink: WebhookSink,
    seen: Arc<Mutex<Seen>>,
}

impl Peer {
    pub(crate) fn start() -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        let sink = WebhookSink::start(move |request| answer(&shared, request)).unwrap();
        Self { sink, seen }
    }

    /// Answers by message.
    pub(crate) fn answers(&self) -> HashMap<MessageId, Answers> {
        lock(&self.seen).answers.clone()
    }

    /// Highest number of a message that was accepted.
    pub(crate) fn newest(&self) -> u64 {
        lock(&self.seen).newest
    }
}

fn answer(seen: &Mutex<Seen>, request: &Request<'_>) -> Reply {
    let id: MessageId = MessageId(request.header("webhook-id").unwrap().parse().unwrap());
    let body: Value = serde_json::from_slice(request.body).unwrap();
    let number = body["payload"]["labels"]["number"].as_str().and_then(|it| it.parse().ok());
    let Some(number) = number else { return Reply::status(200) }; // a hostile one
    let fate = Fate::of(number);
    if fate == Fate::Slow {
        last(SLOW);
    }
    let mut seen = lock(seen);
    let answers = seen.answers.entry(id).or_default();
    match fate {
        Fate::Gone => {
            answers.gone += 1;
            Reply::status(410)
        }
        Fate::Flaky if answers.busy < 2 => {
            answers.busy += 1;
            Reply::status(503)
        }
        Fate::Fine | Fate::Slow | Fate::Flaky => {
            answers.accepted += 1;
            seen.newest = seen.newest.max(number);
            Reply::status(200)
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
