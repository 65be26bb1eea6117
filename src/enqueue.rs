//! Enqueueing from Rust, in the caller's own connection or transaction.

use std::time::SystemTime;

use postgres::GenericClient;
use postgres::types::{Json, Type};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::message::{MessageId, Recipient};

mod timestamp;

/// Deepest nesting of `data` or of a label; `0006_depth.sql` refuses what is deeper, too.
const DEPTH_MAX: usize = 64;
/// Notifications sent to the database in one statement.
const CHUNK: usize = 500;

/// "Tell this recipient about this event."
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notification {
    /// Name of the template.
    pub template: String,
    /// Who is told.
    pub recipient: Recipient,
    /// Values for the template.
    #[serde(default)]
    pub labels: Map<String, Value>,
    /// More values, of any structure.
    #[serde(default)]
    pub data: Option<Value>,
    /// Ids of the objects involved.
    #[serde(default)]
    pub targets: Vec<String>,
    /// Who or what caused it, for people.
    #[serde(default)]
    pub created_by: String,
    /// Transports; empty: those of the template, else the default ones.
    #[serde(default)]
    pub methods: Vec<String>,
    /// 0 goes first, 3 last.
    #[serde(default)]
    pub priority: u8,
    /// Not before; RFC 3339 in JSON.
    #[serde(default, with = "timestamp")]
    pub schedule_at: Option<SystemTime>,
    /// Not after: what is not delivered by then ends as `expired`. RFC 3339 in JSON.
    #[serde(default, with = "timestamp")]
    pub expires_at: Option<SystemTime>,
    /// The same key for the same template, recipient and method is a duplicate; without one,
    /// the same content on the same UTC day is.
    #[serde(default)]
    pub dedupe_key: Option<String>,
    /// Where webhooks go: a URL, or the name of an endpoint.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Attempts allowed, at least 1; `None`: as the worker is configured.
    #[serde(default)]
    pub max_attempts: Option<u32>,
}

impl Notification {
    /// With nothing but its template and recipient.
    pub fn new(template: impl Into<String>, recipient: Recipient) -> Self {
        Self { template: template.into(), recipient, ..Self::default() }
    }

    /// Adds a label.
    #[must_use]
    pub fn with_label(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }
}

/// The answer to an enqueue. All but `Enqueued` leave the queue as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enqueued {
    /// A message for each method is in the queue once the transaction commits.
    Enqueued {
        /// Id that the messages share.
        notification_id: Uuid,
        /// Id and method of each.
        messages: Vec<(MessageId, String)>,
    },
    /// It is in the queue, or was delivered, already.
    Duplicate,
    /// The recipient, or the template's default, does not want it.
    Disabled,
}

/// Why nothing was enqueued.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// No template has this name.
    #[error("{0}; create it with `postrider template set`")]
    UnknownTemplate(String),
    /// The recipient has no id, or lacks what a method needs.
    #[error("{0}")]
    InvalidRecipient(String),
    /// The payload cannot be stored, or is larger than 1 MiB.
    #[error("{0}")]
    InvalidPayload(String),
    /// Another argument is out of its range.
    #[error("{0}")]
    InvalidArgument(String),
    /// The endpoint is neither a URL nor the name of one.
    #[error("{0}")]
    UnknownEndpoint(String),
    /// The database did not do it.
    #[error("enqueue: {}", .0.as_db_error().map_or_else(|| .0.to_string(), |db| db.message().to_owned()))]
    Database(#[source] postgres::Error),
}

/// Enqueues one notification. In a transaction it is delivered only if that commits.
///
/// # Errors
///
/// After an error the caller's transaction, if there is one, can only be rolled back.
pub fn enqueue(
    client: &mut impl GenericClient,
    notification: &Notification,
) -> Result<Enqueued, EnqueueError> {
    let mut results = enqueue_many(client, std::slice::from_ref(notification))?;
    Ok(results.pop().expect("each notification has one result"))
}

/// Enqueues many, in a statement for each few hundred; results are in the order given.
///
/// # Errors
///
/// As for [`enqueue`]. Outside a transaction, statements before the one that failed stay.
pub fn enqueue_many(
    client: &mut impl GenericClient,
    notifications: &[Notification],
) -> Result<Vec<Enqueued>, EnqueueError> {
    let mut results = Vec::with_capacity(notifications.len());
    for chunk in notifications.chunks(CHUNK) {
        chunk.iter().try_for_each(check)?;
        let rows = client
            .query_typed(include_str!("store/sql/enqueue.sql"), &[(&Json(chunk), Type::JSONB)])
            .map_err(enqueue_error)?;
        results.extend(rows.iter().map(result));
    }
    Ok(results)
}

/// Finds what the database would refuse without saying where, or only after we had recursed into it.
fn check(notification: &Notification) -> Result<(), EnqueueError> {
    if notification.data.iter().chain(notification.labels.values()).any(is_too_deep) {
        let reason = format!("invalid payload: it nests deeper than {DEPTH_MAX} levels");
        return Err(EnqueueError::InvalidPayload(reason));
    }
    let document = serde_json::to_value(notification)
        .map_err(|err| EnqueueError::InvalidPayload(format!("invalid payload: {err}")))?;
    match nul_path(&document) {
        Some(path) => Err(EnqueueError::InvalidPayload(format!(
            "invalid payload: {} holds a NUL character, which PostgreSQL cannot store",
            path.trim_start_matches('.')
        ))),
        None => Ok(()),
    }
}

/// Without recursion, which is what makes depth dangerous.
fn is_too_deep(value: &Value) -> bool {
    let mut left = vec![(value, 1)];
    while let Some((value, depth)) = left.pop() {
        if DEPTH_MAX < depth {
            return true;
        }
        match value {
            Value::Array(items) => left.extend(items.iter().map(|it| (it, depth + 1))),
            Value::Object(fields) => left.extend(fields.values().map(|it| (it, depth + 1))),
            _ => (),
        }
    }
    false
}

/// Path of the first key or string that holds a NUL.
fn nul_path(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(at, item)| nul_path(item).map(|rest| format!("[{at}]{rest}"))),
        Value::Object(fields) => fields.iter().find_map(|(name, field)| {
            let rest = if name.contains('\0') { Some(String::new()) } else { nul_path(field) };
            rest.map(|rest| format!(".{}{rest}", name.escape_default()))
        }),
        _ => None,
    }
}

fn result(row: &postgres::Row) -> Enqueued {
    match row.get("result") {
        "enqueued" => {
            let ids: Vec<Uuid> = row.get("message_ids");
            let methods: Vec<String> = row.get("message_methods");
            Enqueued::Enqueued {
                notification_id: row.get("notification_id"),
                messages: ids.into_iter().map(MessageId).zip(methods).collect(),
            }
        }
        "disabled" => Enqueued::Disabled,
        _ => Enqueued::Duplicate,
    }
}

fn enqueue_error(err: postgres::Error) -> EnqueueError {
    let Some(db) = err.as_db_error() else { return EnqueueError::Database(err) };
    let text = db.message().to_owned();
    match db.code().code() {
        "PR001" => EnqueueError::UnknownTemplate(text),
        "PR002" => EnqueueError::InvalidRecipient(text),
        "PR003" => EnqueueError::InvalidPayload(text),
        "PR004" => EnqueueError::InvalidArgument(text),
        "PR005" => EnqueueError::UnknownEndpoint(text),
        code if code.starts_with("22") => {
            EnqueueError::InvalidPayload(format!("invalid payload: {text}"))
        }
        _ => EnqueueError::Database(err),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check_nul(data: Value, expected: &str) {
        let recipient = Recipient { id: "1".into(), ..Recipient::default() };
        let notification = Notification { data: Some(data), ..Notification::new("t", recipient) };
        let err = check(&notification).expect_err("a NUL must be refused").to_string();
        assert!(err.contains(expected), "{err}");
    }

    #[test]
    fn c59_a_nul_is_refused_and_its_path_named() {
        check_nul(json!({"a": "x\0"}), "data.a holds");
        check_nul(json!({"a\0": 1}), "data.a\\u{0} holds");
        check_nul(json!({"a": [{"b": "\0"}]}), "data.a[0].b holds");
    }

    #[test]
    fn c59_a_lone_surrogate_is_no_json() {
        assert!(serde_json::from_str::<Value>(r#"{"a": "\ud800"}"#).is_err());
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        let line = r#"{"template": "t", "recipient": {"id": "1"}, "lables": {}}"#;
        let err = serde_json::from_str::<Notification>(line).unwrap_err().to_string();
        assert!(err.contains("unknown field `lables`"), "{err}");
    }
}
