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
pub(crate) mod typed;
pub mod upkeep;

/// One connection to the queue, owned by one thread. It reconnects by itself: a call after a
/// lost connection makes a new one.
pub trait Store: Send {
    /// Leases up to `limit` due messages, most urgent and oldest first. Nothing while paused.
    ///
    /// `sweep` looks at the whole queue, also behind the point that earlier calls reached.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if the same call may succeed later.
    fn acquire(&mut self, limit: usize, sweep: bool) -> Result<Vec<Lease>, StoreError>;

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

    /// Finds the next `limit` due messages, if they are all for the inbox and were not tried before; otherwise
    /// none, and an acquire is the better call. The next call goes on behind them. The first `ahead` are left to other
    /// workers.
    ///
    /// # Errors
    ///
    /// As for [`Store::acquire`].
    fn find_inbox(&mut self, limit: usize, ahead: usize) -> Result<Vec<Place>, StoreError>;

    /// Locks those of the messages that nobody else has, until [`Store::deliver_inbox`]. A lease stands for each
    /// in what is common with others, but nobody else sees it, and it is not to be committed.
    ///
    /// # Errors
    ///
    /// As for [`Store::acquire`].
    fn lock_inbox(&mut self, places: &[Place]) -> Result<Vec<Lease>, StoreError>;

    /// Ends locked messages as sent, each with its inbox entry, all or none, and unlocks the others.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] if an entry cannot be stored: nothing was written.
    /// [`StoreError::Unavailable`]: whether they were written is not known; they are due or have ended.
    fn deliver_inbox(&mut self, settled: &[Settled]) -> Result<(), StoreError>;
}

/// Where the store has found a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(pub(crate) String);

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
