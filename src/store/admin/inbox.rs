//! The in-app inbox, as a recipient's application reads it.

use postgres::Client;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{execute, query};
use crate::store::StoreError;

/// An entry of the inbox.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Id of the message.
    pub id: Uuid,
    /// Who.
    pub recipient_id: String,
    /// Plain text.
    pub title: String,
    /// Plain text.
    pub content: String,
    /// Buttons.
    pub actions: Value,
    /// Ids of the objects involved.
    pub targets: Vec<String>,
    /// When the message was enqueued, RFC 3339.
    pub created_at: String,
    /// When it was read, RFC 3339.
    pub read_at: Option<String>,
}

/// Newest first.
///
/// # Errors
///
/// If the database does not answer.
pub fn list(
    client: &mut Client,
    recipient_id: &str,
    unread_only: bool,
    limit: i64,
) -> Result<Vec<Entry>, StoreError> {
    let sql = include_str!("../sql/list_inbox.sql");
    let rows = query(client, sql, &[&recipient_id, &unread_only, &limit])?;
    let entry = |row: &postgres::Row| Entry {
        id: row.get("id"),
        recipient_id: row.get("recipient_id"),
        title: row.get("title"),
        content: row.get("content"),
        actions: row.get("actions"),
        targets: row.get("targets"),
        created_at: row.get("created_at"),
        read_at: row.get("read_at"),
    };
    Ok(rows.iter().map(entry).collect())
}

/// Marks entries of a recipient as read, all of them where `ids` is empty, and returns how many were unread.
///
/// # Errors
///
/// If the database does not answer.
pub fn mark_read(client: &mut Client, recipient_id: &str, ids: &[Uuid]) -> Result<u64, StoreError> {
    execute(client, include_str!("../sql/read_inbox.sql"), &[&recipient_id, &ids])
}
