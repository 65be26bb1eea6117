//! Transactions that want strong locks, and let others pass while they wait for one.
//!
//! Whoever wants a table after one that waits for a stronger lock waits behind it, producers too. So
//! each wait is short, and after it the transaction starts again.

use std::thread;
use std::time::{Duration, Instant};

use postgres::error::SqlState;
use postgres::{Client, Transaction};

use super::MigrateError;
use crate::store::connect::store_error;
use crate::store::transaction;

/// How long it is tried.
const LIMIT: Duration = Duration::from_mins(1);
/// Time for those that came to wait behind it.
const PAUSE: Duration = Duration::from_millis(500);
/// What a caller may have set otherwise. Under a stricter isolation the work would not see what others did while
/// it waited for its turn.
const SETTINGS: &str = "set transaction isolation level read committed;
    set local lock_timeout = '1500ms'; set local statement_timeout = 0";

/// Why a transaction was not made.
pub(super) enum Trouble {
    /// Somebody else is at it; it may be made later.
    Busy(postgres::Error),
    /// It is not to be made.
    Final(MigrateError),
}

impl Trouble {
    /// For those who do not wait.
    pub(super) fn told(self) -> MigrateError {
        match self {
            Self::Busy(err) => store_error(&err).into(),
            Self::Final(err) => err,
        }
    }
}

impl From<postgres::Error> for Trouble {
    fn from(err: postgres::Error) -> Self {
        let busy = [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED];
        match err.code() {
            Some(code) if busy.contains(code) => Self::Busy(err),
            _ => Self::Final(store_error(&err).into()),
        }
    }
}

impl From<MigrateError> for Trouble {
    fn from(err: MigrateError) -> Self {
        Self::Final(err)
    }
}

/// Does `work` in a transaction, again and again as long as others hold what it needs.
pub(super) fn transaction<T>(
    client: &mut Client,
    mut work: impl FnMut(&mut Transaction<'_>) -> Result<T, Trouble>,
) -> Result<T, MigrateError> {
    let began = Instant::now();
    loop {
        let mut once = || {
            let mut tx = transaction::begin(client)?;
            tx.batch_execute(SETTINGS)?;
            let done = work(&mut tx)?;
            tx.commit()?;
            Ok(done)
        };
        match once() {
            Ok(done) => return Ok(done),
            Err(Trouble::Final(err)) => return Err(err),
            Err(Trouble::Busy(err)) if LIMIT <= began.elapsed() => {
                return Err(MigrateError::Busy(store_error(&err)));
            }
            Err(Trouble::Busy(_)) => thread::sleep(PAUSE),
        }
    }
}
