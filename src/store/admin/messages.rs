//! Messages, live and finished.

use postgres::types::Json;
use postgres::{Client, Row};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{query, query_one};
use crate::payload::Payload;
use crate::store::StoreError;

/// A message as people see it. Times are RFC 3339.
#[derive(Debug, Clone, Serialize)]
pub struct MessageInfo {
    /// Id of the message.
    pub id: Uuid,
    /// Id shared by the messages of one notification.
    pub notification_id: Uuid,
    /// Name of the template, or its id if it was deleted.
    pub template: String,
    /// Transport.
    pub method: String,
    /// As in the README's table of statuses.
    pub status: String,
    /// Who.
    pub recipient_id: String,
    /// Attempts made.
    pub attempt: i32,
    /// Attempts allowed, where the message says so.
    pub max_attempts: Option<i32>,
    /// 0 goes first.
    pub priority: i16,
    /// Code of the last failure, or of the receipt.
    pub code: Option<String>,
    /// Why it has this status.
    pub reason: Option<String>,
    /// When it was enqueued.
    pub created_at: String,
    /// When it is due, for a live one.
    pub due_at: Option<String>,
    /// When it was finished, for one that is.
    pub finished_at: Option<String>,
}

/// One attempt at a message.
#[derive(Debug, Clone, Serialize)]
pub struct AttemptInfo {
    /// From 1. An attempt that was not charged to the message shares its number with the next.
    pub attempt: i32,
    /// `sent`, `temporary_failure`, ...
    pub outcome: String,
    /// The far end's code, or ours.
    pub code: Option<String>,
    /// What it said.
    pub detail: Option<String>,
    /// When it began, RFC 3339; not known of a success at the first try.
    pub started_at: Option<String>,
    /// When it ended, RFC 3339.
    pub finished_at: Option<String>,
}

/// All of a message.
#[derive(Debug, Clone, Serialize)]
pub struct MessageDetail {
    /// The message.
    #[serde(flatten)]
    pub message: MessageInfo,
    /// Payload document.
    pub payload: Payload,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptInfo>,
}

/// Newest first, of one status or of all.
///
/// # Errors
///
/// If the database does not answer.
pub fn list(
    client: &mut Client,
    status: Option<&str>,
    limit: i64,
) -> Result<Vec<MessageInfo>, StoreError> {
    let rows = query(client, include_str!("../sql/list_messages.sql"), &[&status, &limit])?;
    Ok(rows.iter().map(info).collect())
}

/// One message with its attempts, if it exists.
///
/// # Errors
///
/// If the database does not answer.
pub fn show(client: &mut Client, id: Uuid) -> Result<Option<MessageDetail>, StoreError> {
    let rows = query(client, include_str!("../sql/show_message.sql"), &[&id])?;
    let Some(row) = rows.first() else { return Ok(None) };
    let attempts = query(client, include_str!("../sql/list_attempts.sql"), &[&id])?;
    let attempt = |row: &Row| AttemptInfo {
        attempt: row.get("attempt"),
        outcome: row.get("outcome"),
        code: row.get("code"),
        detail: row.get("detail"),
        started_at: row.get("started_at"),
        finished_at: row.get("finished_at"),
    };
    Ok(Some(MessageDetail {
        message: info(row),
        payload: Payload::from(row.get::<_, Json<Box<RawValue>>>("payload").0),
        attempts: attempts.iter().map(attempt).collect(),
    }))
}

/// What became of an order to retry or to cancel a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// Done.
    Done,
    /// No such message.
    Unknown,
    /// It is being delivered, or its status does not allow it.
    Refused,
}

/// Makes a message due now: a waiting one ahead of its time, a finished one that was not sent
/// anew, under the same id and with all its attempts.
///
/// # Errors
///
/// If the database does not answer.
pub fn retry(client: &mut Client, id: Uuid) -> Result<Changed, StoreError> {
    change(client, include_str!("../sql/retry_message.sql"), id)
}

/// Ends a message that waits, as `cancelled`.
///
/// # Errors
///
/// If the database does not answer.
pub fn cancel(client: &mut Client, id: Uuid) -> Result<Changed, StoreError> {
    change(client, include_str!("../sql/cancel_message.sql"), id)
}

fn change(client: &mut Client, sql: &str, id: Uuid) -> Result<Changed, StoreError> {
    let row = query_one(client, sql, &[&id])?;
    Ok(match (row.get("done"), row.get("known")) {
        (true, _) => Changed::Done,
        (false, true) => Changed::Refused,
        (false, false) => Changed::Unknown,
    })
}

fn info(row: &Row) -> MessageInfo {
    MessageInfo {
        id: row.get("id"),
        notification_id: row.get("notification_id"),
        template: row.get("template"),
        method: row.get("method"),
        status: row.get("status"),
        recipient_id: row.get("recipient_id"),
        attempt: row.get("attempt"),
        max_attempts: row.get("max_attempts"),
        priority: row.get("priority"),
        code: row.get("code"),
        reason: row.get("reason"),
        created_at: row.get("created_at"),
        due_at: row.get("due_at"),
        finished_at: row.get("finished_at"),
    }
}
