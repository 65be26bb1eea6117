//! Methods that an enqueue may name.

use postgres::Client;

use super::{execute, query};
use crate::store::StoreError;

/// Adds methods, unless they are known already. A worker does so with those that it has.
///
/// # Errors
///
/// [`StoreError::Refused`] if a name does not begin with a lower-case letter, has other characters than
/// those, digits, `_` and `-`, or is longer than 63.
pub fn add(client: &mut Client, names: &[&str]) -> Result<(), StoreError> {
    execute(client, include_str!("../sql/add_methods.sql"), &[&names.to_vec()]).map(|_| ())
}

/// All of them, by name.
///
/// # Errors
///
/// If the database does not answer.
pub fn list(client: &mut Client) -> Result<Vec<String>, StoreError> {
    let rows = query(client, "select name from postrider.methods order by name", &[])?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
