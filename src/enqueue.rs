//! Enqueueing from Rust, in the caller's own connection or transaction.

use std::time::SystemTime;

use postgres::types::{Json, ToSql, Type};
use postgres::{GenericClient, Row};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::message::{MessageId, Recipient};

use check::check;
use columns::Columns;

mod check;
mod columns;
mod enqueuer;
mod timestamp;

pub use enqueuer::Enqueuer;

const ONE: &str = include_str!("store/sql/enqueue.sql");
const MANY: &str = include_str!("store/sql/enqueue_columns.sql");

/// "Tell this recipient about this event."
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notification {
    /// Name of the template.
    pub template: String,
    /// Who is told.
    pub recipient: Recipient,
    /// Values for the template.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub labels: Map<String, Value>,
    /// More values, of any structure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// Ids of the objects involved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// Who or what caused it, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Transports; empty: those of the template, else the default ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// 0 goes first, 3 last; 1 unless said otherwise.
    #[serde(default = "normal")]
    pub priority: u8,
    /// Not before; RFC 3339 in JSON.
    #[serde(default, with = "timestamp", skip_serializing_if = "Option::is_none")]
    pub schedule_at: Option<SystemTime>,
    /// Not after: what is not delivered by then ends as `expired`. RFC 3339 in JSON.
    #[serde(default, with = "timestamp", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<SystemTime>,
    /// A second one with the same key for the same template and recipient, by the same database
    /// role, is a duplicate. Empty: no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedupe_key: Option<String>,
    /// Where webhooks go: a URL, or the name of an endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Attempts allowed, at least 1; `None`: as the worker is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
}

impl Notification {
    /// With nothing but its template and recipient.
    pub fn new(template: impl Into<String>, recipient: Recipient) -> Self {
        Self {
            template: template.into(),
            recipient,
            labels: Map::new(),
            data: None,
            targets: Vec::new(),
            created_by: String::new(),
            methods: Vec::new(),
            priority: normal(),
            schedule_at: None,
            expires_at: None,
            dedupe_key: None,
            endpoint: None,
            max_attempts: None,
        }
    }

    /// Adds a label.
    #[must_use]
    pub fn with_label(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// As the database takes it, which refuses more than 1,000.
    fn attempts(&self) -> Option<i32> {
        self.max_attempts.map(|most| i32::try_from(most).unwrap_or(i32::MAX))
    }
}

impl Default for Notification {
    fn default() -> Self {
        Self::new("", Recipient::default())
    }
}

const fn normal() -> u8 {
    1
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
    Duplicate {
        /// Id of the earlier one; `None` if its key was just forgotten.
        notification_id: Option<Uuid>,
    },
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
    one(notification, |params| client.query_typed(ONE, params))
}

/// Enqueues many: per notification a fraction of what [`enqueue`] costs. Results are in the order
/// given, and as if each had been enqueued on its own. Outside of a transaction each statement of at
/// most 10,000 commits on its own. A `statement_timeout` must leave time for as many.
///
/// # Errors
///
/// As for [`enqueue`]; the text says which notification is at fault, counted from 1. Outside of a
/// transaction, the statements before it stay.
pub fn enqueue_many(
    client: &mut impl GenericClient,
    notifications: &[Notification],
) -> Result<Vec<Enqueued>, EnqueueError> {
    let mut results = Vec::with_capacity(notifications.len());
    while results.len() < notifications.len() {
        let columns = Columns::of(&notifications[results.len()..], results.len() + 1)?;
        let rows = client.query_typed(MANY, &columns.params()).map_err(enqueue_error)?;
        assert_eq!(rows.len(), columns.len(), "each notification has an answer");
        results.extend(rows.iter().map(result));
    }
    Ok(results)
}

/// Types of the arguments of one.
const ONE_TYPES: [Type; 13] = [
    Type::TEXT,
    Type::JSONB,
    Type::JSONB,
    Type::JSONB,
    Type::TEXT_ARRAY,
    Type::TEXT,
    Type::TEXT_ARRAY,
    Type::INT4,
    Type::TIMESTAMPTZ,
    Type::TIMESTAMPTZ,
    Type::TEXT,
    Type::TEXT,
    Type::INT4,
];

/// Enqueues one by `query`, which gets the arguments of the statement and their types.
fn one(
    notification: &Notification,
    query: impl FnOnce(&[(&(dyn ToSql + Sync), Type)]) -> Result<Vec<Row>, postgres::Error>,
) -> Result<Enqueued, EnqueueError> {
    check(notification)?;
    let it = notification;
    let values: [&(dyn ToSql + Sync); 13] = [
        &it.template,
        &Json(&it.recipient),
        &Json(&it.labels),
        &it.data.as_ref().map(Json),
        &it.targets,
        &it.created_by,
        &it.methods,
        &i32::from(it.priority),
        &it.schedule_at,
        &it.expires_at,
        &it.dedupe_key,
        &it.endpoint,
        &it.attempts(),
    ];
    let params: Vec<_> = values.into_iter().zip(ONE_TYPES).collect();
    let rows = query(&params).map_err(enqueue_error)?;
    Ok(rows.first().map(result).expect("a call has one result"))
}

fn result(row: &Row) -> Enqueued {
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
        _ => Enqueued::Duplicate { notification_id: row.get("notification_id") },
    }
}

fn enqueue_error(err: postgres::Error) -> EnqueueError {
    let Some(db) = err.as_db_error() else { return EnqueueError::Database(err) };
    let text = db.message().to_owned();
    match db.code().code() {
        "PR001" => EnqueueError::UnknownTemplate(text),
        "PR002" => EnqueueError::InvalidRecipient(text),
        "PR003" => EnqueueError::InvalidPayload(text),
        // The latter is the CHECK of a domain that an argument has.
        "PR004" | "23514" => EnqueueError::InvalidArgument(text),
        "PR005" => EnqueueError::UnknownEndpoint(text),
        code if code.starts_with("22") => {
            EnqueueError::InvalidPayload(format!("invalid payload: {text}"))
        }
        _ => EnqueueError::Database(err),
    }
}

impl EnqueueError {
    /// With the number of the notification among many.
    fn of_many(self, number: usize) -> Self {
        match self {
            Self::InvalidPayload(text) => {
                Self::InvalidPayload(format!("notification {number}: {text}"))
            }
            err => err,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
