//! Transactions whose statements find nobody else's functions, operators and tables.
//!
//! Who may create in a schema that a session looks into (`public`, often) could stand in for what a
//! statement means. A session of ours looks into none of these. One that is lent to us, by
//! `PgBouncer` or by a caller, does, so a statement on it runs in a transaction that does not.

use postgres::{Client, Transaction};

/// Makes a session look into `pg_catalog` alone; what it finds there is PostgreSQL's own.
pub(super) const OF_SESSION: &str = "set search_path = pg_catalog, pg_temp";
/// The same for one transaction.
pub(super) const OF_TRANSACTION: &str = "set local search_path = pg_catalog, pg_temp";

/// Begins a transaction on a session of whatever settings.
pub(super) fn begin(client: &mut Client) -> Result<Transaction<'_>, postgres::Error> {
    let mut tx = client.transaction()?;
    tx.batch_execute(OF_TRANSACTION)?;
    Ok(tx)
}
