//! What the input says should become of its notifications.

use std::collections::BTreeMap;

use postrider::enqueue::{Enqueued, Notification};
use postrider::message::MessageId;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::enqueue::parse;

/// A line of the input.
pub(super) struct Line {
    pub(super) notification: Notification,
    pub(super) expect: Expect,
}

/// What should become of a notification.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Expect {
    /// Not enqueued: `duplicate` or `disabled`.
    Answer(String),
    /// The final status of its message, by method.
    Statuses(BTreeMap<String, String>),
}

impl Line {
    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let value: Value = serde_json::from_str(text)?;
        let expect = Expect::deserialize(value.get("expect").unwrap_or(&Value::Null))?;
        Ok(Self { notification: parse(text)?, expect })
    }
}

/// The expected status of each message, and how many answers were not the expected ones.
#[derive(Debug, Default)]
pub(super) struct Expectations {
    statuses: BTreeMap<MessageId, String>,
    wrong_answers: usize,
}

impl Expectations {
    /// Notes what a line expects, now that its answer is known.
    pub(super) fn note(&mut self, expect: &Expect, enqueued: &Enqueued) {
        match (expect, enqueued) {
            (Expect::Statuses(statuses), Enqueued::Enqueued { messages, .. })
                if statuses.len() == messages.len() =>
            {
                for (id, method) in messages {
                    let status = statuses.get(method).map_or("no such method", String::as_str);
                    self.statuses.insert(*id, status.to_owned());
                }
            }
            (Expect::Answer(answer), Enqueued::Duplicate { .. }) if answer == "duplicate" => (),
            (Expect::Answer(answer), Enqueued::Disabled) if answer == "disabled" => (),
            _ => self.wrong_answers += 1,
        }
    }

    pub(super) fn messages(&self) -> usize {
        self.statuses.len()
    }

    pub(super) fn status(&self, id: MessageId) -> Option<&str> {
        self.statuses.get(&id).map(String::as_str)
    }

    pub(super) fn wrong_answers(&self) -> usize {
        self.wrong_answers
    }
}
