//! As many notifications as go into one transaction, prepared without the database.

use std::time::{Duration, SystemTime};

use ring::digest::{Context, SHA256};
use uuid::Uuid;

use super::kinds::{Kinds, Known};
use crate::enqueue::Notification;
use crate::enqueue::content::{DOCUMENT_MAX, write_plain, write_string};

/// Notifications of one transaction: the first ones are soon ready, and the others while those are written.
const FIRST_MAX: usize = 1000;
const COUNT_MAX: usize = 10_000;
/// Text after which no other one is taken.
const OCTETS_MAX: usize = 16 << 20;
/// Before 1970: PostgreSQL knows times from 4713 BC on.
const BEFORE_MAX: Duration = Duration::from_hours(6000 * 365 * 24);
/// What a jsonb begins with when it is sent in binary.
const JSONB_VERSION: char = '\u{1}';

/// Notifications in which nothing is wrong; whether their keys are free, the database knows.
#[derive(Debug)]
pub(super) struct Chunk<'k> {
    pub(super) kinds: Vec<&'k Known>,
    /// In the order in which all enqueues write them, so that none waits for another in a circle.
    pub(super) keys: Vec<Key>,
    documents: String,
    /// Of each document.
    ends: Vec<usize>,
}

/// That of a message.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) value: Uuid,
    /// By the caller.
    pub(super) chosen: bool,
    /// Of its notification.
    pub(super) no: usize,
}

impl<'k> Chunk<'k> {
    /// Of the notifications from `start` on, and where it ends; `None` if they do not fit.
    pub(super) fn of(
        notifications: &[Notification],
        kinds: &'k Kinds<'_>,
        start: usize,
    ) -> (usize, Option<Self>) {
        let these = &notifications[start..];
        let most = these.len().min(if start == 0 { FIRST_MAX } else { COUNT_MAX });
        let mut chunk = Self {
            kinds: Vec::with_capacity(most),
            keys: Vec::with_capacity(most),
            documents: String::new(),
            ends: Vec::with_capacity(most),
        };
        for (notification, kind) in these.iter().zip(kinds.from(start)).take(most) {
            if OCTETS_MAX <= chunk.documents.len() {
                break;
            }
            if !kind.is_some_and(|kind| chunk.push(notification, kind)) {
                return (start + most, None);
            }
        }
        chunk.keys.sort_unstable();
        (start + chunk.kinds.len(), Some(chunk))
    }

    /// The document of a notification, as a jsonb is sent.
    pub(super) fn document(&self, no: usize) -> &str {
        let start = no.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.documents[start..self.ends[no]]
    }

    /// Returns whether it fits.
    fn push(&mut self, notification: &Notification, kind: &'k Known) -> bool {
        let it = notification;
        let too_early = it.schedule_at.is_some_and(|at| at < SystemTime::UNIX_EPOCH - BEFORE_MAX);
        let start = self.documents.len();
        self.documents.push(JSONB_VERSION);
        if too_early || !write_plain(it, kind.mailed, &mut self.documents) {
            return false;
        }
        self.documents.push_str(&kind.tail);
        let content = &self.documents[start + JSONB_VERSION.len_utf8()..];
        if DOCUMENT_MAX < content.len() {
            return false;
        }
        for method in &kind.methods {
            let key = match &it.dedupe_key {
                Some(chosen) => chosen_key(kind.template_id, &it.recipient.id, method, chosen),
                None => digest(&[method, content, kind.endpoint.as_deref().unwrap_or_default()]),
            };
            self.keys.push(Key {
                value: key,
                chosen: it.dedupe_key.is_some(),
                no: self.kinds.len(),
            });
        }
        self.kinds.push(kind);
        self.ends.push(self.documents.len());
        true
    }
}

fn chosen_key(template_id: Uuid, recipient_id: &str, method: &str, key: &str) -> Uuid {
    let mut text = format!(r#"["{template_id}""#);
    for part in [recipient_id, method, key] {
        text.push_str(", ");
        write_string(part, &mut text);
    }
    text.push(']');
    digest(&[&text])
}

/// As `postrider.enqueue_key`: half of the SHA-256 of the parts, a line feed between each two.
fn digest(parts: &[&str]) -> Uuid {
    let mut context = Context::new(&SHA256);
    for (nth, part) in parts.iter().enumerate() {
        if 0 < nth {
            context.update(b"\n");
        }
        context.update(part.as_bytes());
    }
    Uuid::from_slice(&context.finish().as_ref()[..16]).expect("a digest has 32 octets")
}
