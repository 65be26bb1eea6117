//! The seam to the queue tables.

use std::time::Duration;

use uuid::Uuid;

use crate::endpoint::EndpointSettings;
use crate::lease::{Lease, LeaseKey, Settled};
use crate::message::{Action, MailFields, MessageId};

pub mod admin;
pub mod bench;
pub mod connect;
pub mod figures;
pub mod migrate;
pub mod pool;
pub mod postgres;
mod transaction;
pub(crate) mod typed;
pub mod upkeep;

/// One connection to the queue, owned by one thread. It reconnects by itself: a call after a
/// lost connection makes a new one.
pub trait Store: Send {
    /// Connects now, if it can, and not only at the first call: then there may be no file descriptor left
    /// for it. A failure is told by that call.
    fn open(&mut self) {}

    /// Leases due messages as far as there is room, most urgent and oldest first. Nothing while paused.
    ///
    /// Messages whose lease ran out are not leased, but made suspect. One whose row cannot be read is
    /// leased like any other, and says so. `sweep` looks at the whole queue, also behind the point that
    /// earlier calls reached.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if the same call may succeed later.
    fn acquire(&mut self, room: Room, sweep: bool) -> Result<Acquired, StoreError>;

    /// Leases a suspect message, if one is due. Its delivery is taken to begin now: if this lease runs
    /// out, that counts as a lapse.
    ///
    /// # Errors
    ///
    /// As for [`Store::acquire`].
    fn acquire_suspect(&mut self) -> Result<Option<Lease>, StoreError>;

    /// Tells how the queue stands, and asks enqueues to ring for `arm`; `None` leaves the bell alone.
    /// One statement if they are asked already.
    ///
    /// # Errors
    ///
    /// As for [`Store::acquire`].
    fn look(&mut self, arm: Option<Duration>) -> Result<Look, StoreError>;

    /// Asks enqueues to ring no more.
    ///
    /// # Errors
    ///
    /// As for [`Store::acquire`].
    fn disarm(&mut self) -> Result<(), StoreError>;

    /// The template with this id as it is now, if there is one.
    ///
    /// # Errors
    ///
    /// As for [`Store::acquire`]; [`StoreError::Unreadable`] if it cannot be read.
    fn template(&mut self, id: Uuid) -> Result<Option<TemplateRow>, StoreError>;

    /// The endpoint of this name as it is now, if there is one.
    ///
    /// # Errors
    ///
    /// As for [`Store::acquire`]; [`StoreError::Unreadable`] if its settings cannot be read.
    fn endpoint(&mut self, name: &str) -> Result<Option<EndpointSettings>, StoreError>;

    /// Writes a batch in one transaction and returns the leases whose outcomes were written. The
    /// others had run out, or were written by an earlier call whose answer was lost. Waits for a lock
    /// that somebody else has only for a moment.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`]: whether it was written is not known; calling again is harmless.
    /// [`StoreError::Busy`]: nothing was written; a smaller batch may be. If a lock is the reason
    /// ([`StoreError::is_lock_timeout`]), [`Store::locked`] tells which messages it may be.
    /// [`StoreError::Refused`]: nothing was written; one of the outcomes may be at fault.
    fn commit(&mut self, batch: &[Settled]) -> Result<Vec<LeaseKey>, StoreError>;

    /// Those of the messages whose rows somebody else has locked now. Waits for none of them.
    ///
    /// # Errors
    ///
    /// As for [`Store::acquire`].
    fn locked(&mut self, ids: &[MessageId]) -> Result<Vec<MessageId>, StoreError>;
}

/// How much an acquire may lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Most messages.
    pub messages: usize,
    /// Bytes of payload. The message that reaches this number is the last one.
    pub bytes: usize,
}

impl Room {
    /// For so many messages, of any size.
    pub fn of(messages: usize) -> Self {
        Self { messages, bytes: usize::MAX }
    }

    /// Whether there is none.
    pub fn is_none(self) -> bool {
        self.messages == 0 || self.bytes == 0
    }
}

/// What an acquire leased.
#[derive(Debug, Default)]
pub struct Acquired {
    /// In the order in which they are to be delivered.
    pub leases: Vec<Lease>,
    /// The room was used up, so there may be more.
    pub more: bool,
    /// At least one lease had run out, and its message is suspect now.
    pub lapsed: bool,
}

/// How the queue stands.
#[expect(clippy::struct_excessive_bools, reason = "answers to as many questions")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// Deliveries are paused, or the setting that says so cannot be read.
    pub paused: bool,
    /// At least one message may be acquired now.
    pub due: bool,
    /// Time until the next scheduled or deferred message is due.
    pub next_due: Option<Duration>,
    /// Leases may be out, of any worker.
    pub leased: bool,
    /// At least one suspect message may be acquired now.
    pub suspect: bool,
    /// No enqueue rings, whatever is armed.
    pub silent: bool,
    /// Messages wait whose time is over. Told only where the bell was armed before.
    pub overdue: bool,
}

/// A template as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateRow {
    /// Primary key.
    pub id: Uuid,
    /// Unique name.
    pub name: String,
    /// Raised by every edit.
    pub version: i32,
    /// Handlebars that yield Markdown.
    pub title: String,
    /// Handlebars that yield Markdown.
    pub body: String,
    /// Handlebars in label and URL.
    pub actions: Vec<Action>,
    /// What it says about its mails.
    pub mail: MailFields,
}

/// Why the store did not do as asked, sorted by what the caller does about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database is away, restarting or read-only, or the statement met a deadlock: make the same
    /// call again later.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The database is short of something, or a lock or the answer took too long: make the same call
    /// again later, or a smaller one.
    #[error("the database is busy: {text} (SQLSTATE {code})")]
    Busy {
        /// Its SQLSTATE.
        code: String,
        /// What the database said.
        text: String,
    },
    /// The database does not take it: a value, the schema or a right is wrong. Another try helps only if
    /// something is changed.
    #[error("the database refused: {text} (SQLSTATE {code})")]
    Refused {
        /// Its SQLSTATE.
        code: String,
        /// What the database said.
        text: String,
    },
    /// What was asked for is stored in a form that makes no sense, or is gone: only this is at fault.
    #[error("{0}")]
    Unreadable(String),
    /// A setting is missing or wrong.
    #[error("{0}")]
    Setting(String),
}

/// SQLSTATE `lock_not_available`.
const LOCK_NOT_AVAILABLE: &str = "55P03";

impl StoreError {
    /// The SQLSTATE of one that the database blames on the call.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Busy { code, .. } | Self::Refused { code, .. } => Some(code),
            Self::Unavailable(_) | Self::Unreadable(_) | Self::Setting(_) => None,
        }
    }

    /// Whether the same call may succeed later.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Busy { .. })
    }

    /// Whether somebody else has locked what the call needs.
    pub fn is_lock_timeout(&self) -> bool {
        self.code() == Some(LOCK_NOT_AVAILABLE)
    }
}
