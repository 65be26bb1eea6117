//! What a migration finds before it runs anything: whether it may run here at all.
//!
//! Who migrates is often a superuser. So nothing of a schema is executed (its triggers, rules and
//! functions are, by whatever touches its tables) unless all of it belongs to the role of the
//! connection, or to one that has that role's rights anyway.

use postgres::error::SqlState;
use postgres::{Row, Transaction};

use super::MigrateError;
use super::patience::Trouble;

/// What is there.
pub(super) struct Ground {
    has_schema: bool,
    /// The table where applied migrations are noted.
    pub(super) has_notes: bool,
}

/// Looks, and refuses what is not to be touched.
pub(super) fn look(tx: &mut Transaction<'_>) -> Result<Ground, Trouble> {
    check_encoding(tx)?;
    let row = tx.query_typed_one(include_str!("../sql/ground.sql"), &[])?;
    if let Some(what) = row.get("what") {
        let (owner, user) = (row.get("owner"), row.get("user"));
        return Err(MigrateError::Foreign { what, owner, user }.into());
    }
    Ok(Ground { has_schema: row.get("has_schema"), has_notes: row.get("has_notes") })
}

/// Makes the schema and the table of migrations where they are missing, and only there: who may not create a
/// schema may have been given one.
pub(super) fn prepare(tx: &mut Transaction<'_>, ground: &Ground) -> Result<(), Trouble> {
    if !ground.has_schema {
        tx.batch_execute("create schema postrider").map_err(race)?;
    }
    if !ground.has_notes {
        tx.batch_execute(include_str!("../sql/migrations.sql")).map_err(race)?;
    }
    Ok(())
}

/// Somebody who made it at the same time has come first.
fn race(err: postgres::Error) -> Trouble {
    let lost = [SqlState::UNIQUE_VIOLATION, SqlState::DUPLICATE_SCHEMA, SqlState::DUPLICATE_TABLE];
    match err.code() {
        Some(code) if lost.contains(code) => Trouble::Busy(err),
        _ => err.into(),
    }
}

/// Refuses a database that cannot store every text: an outcome, or a message, would get stuck in it.
pub(super) fn check_encoding(tx: &mut Transaction<'_>) -> Result<(), Trouble> {
    let sql = "select current_database()::text, current_setting('server_encoding')";
    let row: Row = tx.query_typed_one(sql, &[])?;
    let (database, encoding): (String, String) = (row.get(0), row.get(1));
    if encoding == "UTF8" {
        return Ok(());
    }
    Err(MigrateError::Encoding { database, encoding }.into())
}
