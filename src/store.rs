//! The seam to the queue tables.

use std::time::Duration;

use uuid::Uuid;

use crate::endpoint::EndpointSettings;
use crate::lease::{Lease, LeaseKey, Settled};
use crate::message::{Action, MailFields};

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
    /// As for [`Store::acquire`].
    fn template(&mut self, id: Uuid) -> Result<Option<TemplateRow>, StoreError>;

    /// The endpoint of this name as it is now, if there is one.
    ///
    /// # Errors
    ///
    /// As for [`Store::acquire`]; [`StoreError::Data`] if its settings cannot be read.
    fn endpoint(&mut self, name: &str) -> Result<Option<EndpointSettings>, StoreError>;

    /// Writes a batch in one transaction and returns the leases whose outcomes were written. The
    /// others had run out, or were written by an earlier call whose answer was lost.
    ///
    /// # Errors
    ///
    /// [`StoreError::Data`] if a value in the batch cannot be stored: nothing was written.
    /// [`StoreError::Unavailable`]: whether it was written is not known; calling again is harmless.
    fn commit(&mut self, batch: &[Settled]) -> Result<Vec<LeaseKey>, StoreError>;

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
    /// [`StoreError::Data`] if an entry cannot be stored: nothing was written.
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

/// Why the store did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database is away, restarting, read-only, overloaded, or the statement met a deadlock.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A value cannot be stored.
    #[error("the database refused a value: {0}")]
    Data(String),
    /// A setting is missing or wrong.
    #[error("{0}")]
    Setting(String),
    /// The schema or the code is wrong.
    #[error("the database refused: {0}")]
    Refused(String),
}
