//! Addresses that no mail is sent to any more.

use postgres::Client;
use serde::Serialize;

use super::{execute, query};
use crate::store::StoreError;

/// An address that is not written to, as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suppression {
    /// In lower case.
    pub address: String,
    /// The relay's code, or `operator`.
    pub code: String,
    /// What the relay said, or what the operator gave as a reason.
    pub reason: String,
    /// Since when, RFC 3339.
    pub created_at: String,
}

/// The latest `limit` ones, newest first.
///
/// # Errors
///
/// If the database does not answer.
pub fn list(client: &mut Client, limit: i64) -> Result<Vec<Suppression>, StoreError> {
    let rows = query(client, include_str!("../sql/list_suppressions.sql"), &[&limit])?;
    let suppression = |row: &postgres::Row| Suppression {
        address: row.get("address"),
        code: row.get("code"),
        reason: row.get("reason"),
        created_at: row.get("created_at"),
    };
    Ok(rows.iter().map(suppression).collect())
}

/// Lets no more mail go to an address; `false` if none did already.
///
/// # Errors
///
/// If the database does not answer.
pub fn add(client: &mut Client, address: &str, reason: &str) -> Result<bool, StoreError> {
    let sql = include_str!("../sql/add_suppression.sql");
    Ok(0 < execute(client, sql, &[&address, &"operator", &reason])?)
}

/// Lets mail go to an address again; `false` if it did.
///
/// # Errors
///
/// If the database does not answer.
pub fn remove(client: &mut Client, address: &str) -> Result<bool, StoreError> {
    Ok(0 < execute(client, include_str!("../sql/remove_suppression.sql"), &[&address])?)
}
