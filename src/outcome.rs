//! What a delivery attempt came to. Plain data.

use std::any::Any;
use std::time::Duration;

use crate::message::InboxEntry;

/// Longest code that is stored, in octets.
const CODE_MAX: usize = 64;
/// Longest reason that is stored, in octets.
pub const REASON_MAX: usize = 512;

/// The far end took responsibility for the message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The far end's code, such as `200` or `250`.
    pub code: Option<String>,
    /// What it said, safe to store and show.
    pub detail: Option<String>,
    /// Entry that the commit of this outcome writes to the inbox.
    pub inbox: Option<InboxEntry>,
}

impl Receipt {
    /// The same with texts that can be stored.
    #[must_use]
    pub fn storable(self) -> Self {
        let inbox = self.inbox.map(|entry| InboxEntry {
            title: entry.title.replace('\0', ""),
            content: entry.content.replace('\0', ""),
            actions: entry.actions,
        });
        Self {
            code: self.code.map(|code| storable(&code, CODE_MAX)),
            detail: self.detail.map(|detail| storable(&detail, REASON_MAX)),
            inbox,
        }
    }
}

/// Whose fault a failure is, and so what it costs the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// May succeed later. Costs an attempt.
    Temporary {
        /// How long the far end asks us to wait.
        retry_after: Option<Duration>,
    },
    /// Never succeeds.
    Permanent,
    /// Never succeeds, nor does anything else to this address: it is written to no more.
    BadAddress,
    /// Our own trouble: the relay is down or refuses our password, a setting is missing.
    /// Costs no attempt; the message waits.
    Blocked {
        /// When to look again; the default pause where not given.
        retry_after: Option<Duration>,
    },
    /// It may have been delivered, and must not be twice: a person has to decide. Costs no
    /// attempt.
    Held,
}

/// Why a message was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct Failure {
    /// What to do about it.
    pub verdict: Verdict,
    /// Short and stable, for machines: `550`, `http_429`, `timeout`, `template`.
    pub code: String,
    /// For people: what was wrong and where. Safe to store and show; no secrets, at most
    /// [`REASON_MAX`] octets.
    pub reason: String,
    /// What it tells of the destination.
    pub destination: Health,
}

/// What a failure tells of the destination, whatever it means for the message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Health {
    /// Nothing: the delivery failed before it had to do with it.
    #[default]
    Unknown,
    /// It answers, so it is there for other messages.
    Answers,
    /// It is in trouble: some of these in a row, and its other messages wait until it is well again.
    Down,
    /// It asked to be left alone, with all its messages.
    Asks {
        /// For so long; more than zero.
        pause: Duration,
    },
}

impl Failure {
    /// A failure that may pass.
    pub fn temporary(code: impl AsRef<str>, reason: impl AsRef<str>) -> Self {
        Self::new(Verdict::Temporary { retry_after: None }, code.as_ref(), reason.as_ref())
    }

    /// A failure for good.
    pub fn permanent(code: impl AsRef<str>, reason: impl AsRef<str>) -> Self {
        Self::new(Verdict::Permanent, code.as_ref(), reason.as_ref())
    }

    /// A failure for good, of this message and all later ones to the address.
    pub fn bad_address(code: impl AsRef<str>, reason: impl AsRef<str>) -> Self {
        Self::new(Verdict::BadAddress, code.as_ref(), reason.as_ref())
    }

    /// Our own trouble.
    pub fn blocked(code: impl AsRef<str>, reason: impl AsRef<str>) -> Self {
        Self::new(Verdict::Blocked { retry_after: None }, code.as_ref(), reason.as_ref())
    }

    /// A panic, as a failure that may pass: a bug can depend on what happened around it.
    pub(crate) fn panicked(what: &str, payload: &(dyn Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        Self::temporary("panic", format!("{what} panicked: {text}"))
    }

    /// A failure after which the message waits until an operator retries or cancels it.
    pub fn held(code: impl AsRef<str>, reason: impl AsRef<str>) -> Self {
        Self::new(Verdict::Held, code.as_ref(), reason.as_ref())
    }

    /// Adds the wait that the far end asked for; a failure that waits for none has none.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        match &mut self.verdict {
            Verdict::Temporary { retry_after } | Verdict::Blocked { retry_after } => {
                *retry_after = wait;
            }
            Verdict::Permanent | Verdict::BadAddress | Verdict::Held => (),
        }
        self
    }

    /// Says that the destination answered.
    #[must_use]
    pub fn answered(self) -> Self {
        self.telling(Health::Answers)
    }

    /// Blames the destination.
    #[must_use]
    pub fn of_destination(self) -> Self {
        self.telling(Health::Down)
    }

    /// Says what is to be learnt of the destination; nothing, where this is not called.
    #[must_use]
    pub fn telling(self, destination: Health) -> Self {
        Self { destination, ..self }
    }

    fn new(verdict: Verdict, code: &str, reason: &str) -> Self {
        let (code, reason) = (storable(code, CODE_MAX), storable(reason, REASON_MAX));
        Self { verdict, code, reason, destination: Health::Unknown }
    }
}

/// Text as PostgreSQL and a terminal can take it: control characters become spaces, and it is
/// cut to `max` octets on a character boundary.
pub fn storable(text: &str, max: usize) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut out = String::with_capacity(text.len().min(max));
    for c in clean {
        if max < out.len() + c.len_utf8() {
            break;
        }
        out.push(c);
    }
    out
}

/// What becomes of the message.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Done.
    Sent(Receipt),
    /// To be tried again.
    Deferred {
        /// From the commit until it is due again.
        delay: Duration,
        /// Whether the attempt counts.
        counted: bool,
        /// As in [`Failure`].
        code: String,
        /// As in [`Failure`].
        reason: String,
    },
    /// Given up.
    Failed {
        /// Whether the attempt counts; not where none was made.
        counted: bool,
        /// As in [`Failure`].
        code: String,
        /// As in [`Failure`].
        reason: String,
    },
    /// Given up, and its address with it: later messages to it end without a delivery.
    BadAddress {
        /// As in [`Failure`].
        code: String,
        /// As in [`Failure`].
        reason: String,
    },
    /// The recipient turned this notification off after it was enqueued.
    Inhibited,
    /// `expires_at` came first.
    Expired {
        /// Whether the attempt counts; not where none was made.
        counted: bool,
        /// The last failure, if there was one.
        reason: String,
    },
    /// Given back unused; the attempt does not count.
    Released {
        /// From the commit until it is due again.
        delay: Duration,
    },
}

impl Outcome {
    /// The entry that goes to the inbox with it.
    pub fn inbox_entry(&self) -> Option<&InboxEntry> {
        match self {
            Self::Sent(receipt) => receipt.inbox.as_ref(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_text_has_no_controls_and_is_cut_between_characters() {
        assert_eq!(storable("a\0b\r\nc", 10), "a b  c");
        assert_eq!(storable("aéb", 2), "a");
        assert_eq!(storable("aéb", 3), "aé");
        let failure = Failure::temporary("x", "é".repeat(400));
        assert_eq!(failure.reason.len(), REASON_MAX);
    }
}
