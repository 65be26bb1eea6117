//! The queue in figures, for monitors.

use postgres::Client;

use super::StoreError;
use super::connect::store_error;
use super::transaction;

/// How the queue stands. Reads all of the live messages, so not to be asked often.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Not yet tried.
    pub pending: i64,
    /// Leased.
    pub leased: i64,
    /// Waiting for another attempt.
    pub temporary_failure: i64,
    /// Leases that ran out, and whose messages no worker has acquired again.
    pub lapsed: i64,
    /// Age of the oldest message that could be acquired; 0 without one.
    pub oldest_due_seconds: f64,
    /// Age of the oldest transaction that keeps dead rows alive, as far as the role may see it.
    pub oldest_snapshot_seconds: f64,
    /// The same in transactions begun since.
    pub oldest_snapshot_transactions: i32,
}

/// Reads the figures.
///
/// # Errors
///
/// If the database does not answer.
pub fn read(client: &mut Client) -> Result<Figures, StoreError> {
    let mut ask = || {
        let mut tx = transaction::begin(client)?;
        let row = tx.query_typed_one(include_str!("sql/figures.sql"), &[])?;
        tx.commit().map(|()| row)
    };
    let row = ask().map_err(|err| store_error(&err))?;
    Ok(Figures {
        pending: row.get("pending"),
        leased: row.get("leased"),
        temporary_failure: row.get("temporary_failure"),
        lapsed: row.get("lapsed"),
        oldest_due_seconds: row.get("oldest_due_seconds"),
        oldest_snapshot_seconds: row.get("oldest_snapshot_seconds"),
        oldest_snapshot_transactions: row.get("oldest_snapshot_transactions"),
    })
}
