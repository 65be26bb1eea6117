//! The seam to the far end: SMTP relays, webhook endpoints, the inbox.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::message::Prepared;
use crate::outcome::{Failure, Receipt};

mod certificate;
mod dial;
mod dns;
pub mod inbox;
pub mod smtp;
mod trace;
pub mod webhook;

pub use trace::Trace;

/// A way to carry prepared messages. Anyone may add one, under a method name of its own.
///
/// Called from many threads at once, and blocks. It does its own encoding (MIME, JSON,
/// signature) before it opens a connection, so that what cannot be encoded never goes half-way.
pub trait Transport: Send + Sync {
    /// Hands over one message. Returns once the far end has taken responsibility for it, or
    /// has not, and in any case by `deadline`: each wait inside must be cut to
    /// [`Deadline::remaining`].
    ///
    /// # Errors
    ///
    /// [`Verdict::Permanent`](crate::outcome::Verdict) only if the same message can never be
    /// accepted; `Blocked` for trouble of our own. Reasons hold no secret. A destination that is down counts
    /// as well again once a delivery succeeds, or fails with an [answer](Failure::answered).
    fn deliver(&self, message: &Prepared, deadline: Deadline) -> Result<Receipt, Failure>;

    /// Scheme, host and port that a message to `endpoint` goes to, which may be shown; `None` if it does not
    /// leave this process, or goes who knows where. Deliveries to one destination may not take all
    /// threads, those to destinations that do not answer fast hold half of the threads together, and
    /// while one is down its messages wait.
    ///
    /// `endpoint` is what [`Prepared::endpoint`] will be. Asked once for each endpoint that is worth
    /// remembering, before a message is rendered. It must not block.
    fn destination(&self, endpoint: Option<&str>) -> Option<String> {
        let _ = endpoint;
        None
    }

    /// How long a delivery may go on past its deadline, at most, to learn whether the far end
    /// has taken the message: giving up there makes copies. A lease is held for that long.
    fn overtime(&self) -> Duration {
        Duration::ZERO
    }
}

/// How long a message waits whose transport is not set up: settings change by a restart.
const NOT_SET_UP_PAUSE: Duration = Duration::from_mins(5);

/// The transports of a worker, by method.
pub type Transports = BTreeMap<String, Arc<dyn Transport>>;

/// The instant by which a delivery has ended, whatever the peer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// `limit` from now.
    pub fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    /// The earlier of this and `limit` from now.
    #[must_use]
    pub fn at_most(self, limit: Duration) -> Self {
        self.min(Self::after(limit))
    }

    /// The later of this and `limit` from now.
    #[must_use]
    pub fn at_least(self, limit: Duration) -> Self {
        self.max(Self::after(limit))
    }

    /// Time left; `None` once it has passed. Never zero, which sockets take for "no limit".
    pub fn remaining(self) -> Option<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

impl From<Instant> for Deadline {
    fn from(end: Instant) -> Self {
        Self(end)
    }
}

/// Stands for a transport whose settings are missing: its messages wait until they are there.
pub(crate) struct NotSetUp {
    /// The setting that is missing.
    pub(crate) setting: &'static str,
}

impl Transport for NotSetUp {
    fn deliver(&self, _: &Prepared, _: Deadline) -> Result<Receipt, Failure> {
        let reason = format!("{} is not set; the message waits until it is", self.setting);
        Err(Failure::blocked("not_set_up", reason).with_retry_after(Some(NOT_SET_UP_PAUSE)))
    }
}
