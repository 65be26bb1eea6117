//! Many notifications as the columns that the database takes: an array for each argument.

use std::time::SystemTime;

use postgres::types::{Json, ToSql, Type};
use serde_json::{Map, Value};

use super::check::check;
use super::{EnqueueError, Notification};
use crate::message::Recipient;

/// Notifications sent to the database in one statement.
const COUNT_MAX: usize = 1000;
/// Bytes of labels and data after which no other one is sent in the same statement.
const BYTES_MAX: usize = 4 << 20;

/// As many notifications as go into one statement. A column is null where nothing was put into it.
#[derive(Debug, Default)]
pub(super) struct Columns<'a> {
    first: i64,
    templates: Vec<&'a str>,
    recipients: Vec<Json<&'a Recipient>>,
    labels: Vec<Json<&'a Map<String, Value>>>,
    data: Optional<Json<&'a Value>>,
    targets: Optional<Json<&'a [String]>>,
    created_by: Optional<&'a str>,
    methods: Optional<Json<&'a [String]>>,
    priorities: Vec<i32>,
    schedule: Optional<SystemTime>,
    expiry: Optional<SystemTime>,
    dedupe_keys: Optional<&'a str>,
    endpoints: Optional<&'a str>,
    max_attempts: Optional<i32>,
}

/// Values of a column as far as some were given.
#[derive(Debug)]
struct Optional<T>(Option<Vec<Option<T>>>);

impl<T> Default for Optional<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Optional<T> {
    /// Adds to a column that has `before` values.
    fn push(&mut self, value: Option<T>, before: usize) {
        if value.is_none() && self.0.is_none() {
            return;
        }
        let fill = || std::iter::repeat_with(|| None).take(before).collect();
        self.0.get_or_insert_with(fill).push(value);
    }
}

impl<'a> Columns<'a> {
    /// Of the first of `notifications`; an error gives the number of the one at fault, counted from `first`.
    pub(super) fn of(
        notifications: &'a [Notification],
        first: usize,
    ) -> Result<Self, EnqueueError> {
        let first_no = i64::try_from(first).expect("no machine holds so many notifications");
        let mut columns = Self { first: first_no, ..Self::default() };
        let mut bytes = 0;
        for (idx, notification) in notifications.iter().enumerate().take(COUNT_MAX) {
            if BYTES_MAX <= bytes {
                break;
            }
            bytes += check(notification).map_err(|err| err.of(first + idx))?;
            columns.push(notification);
        }
        Ok(columns)
    }

    pub(super) fn len(&self) -> usize {
        self.templates.len()
    }

    fn push(&mut self, it: &'a Notification) {
        let before = self.len();
        self.templates.push(&it.template);
        self.recipients.push(Json(&it.recipient));
        self.labels.push(Json(&it.labels));
        self.data.push(it.data.as_ref().map(Json), before);
        self.targets.push(list(&it.targets), before);
        self.created_by.push(Some(&*it.created_by).filter(|by| !by.is_empty()), before);
        self.methods.push(list(&it.methods), before);
        self.priorities.push(it.priority.into());
        self.schedule.push(it.schedule_at, before);
        self.expiry.push(it.expires_at, before);
        self.dedupe_keys.push(it.dedupe_key.as_deref(), before);
        self.endpoints.push(it.endpoint.as_deref(), before);
        let attempts = it.max_attempts.map(|most| i32::try_from(most).unwrap_or(i32::MAX));
        self.max_attempts.push(attempts, before);
    }

    /// The parameters of the statement with their types.
    pub(super) fn params(&self) -> [(&(dyn ToSql + Sync), Type); 14] {
        [
            (&self.templates, Type::TEXT_ARRAY),
            (&self.recipients, Type::JSONB_ARRAY),
            (&self.labels, Type::JSONB_ARRAY),
            (&self.data.0, Type::JSONB_ARRAY),
            (&self.targets.0, Type::JSONB_ARRAY),
            (&self.created_by.0, Type::TEXT_ARRAY),
            (&self.methods.0, Type::JSONB_ARRAY),
            (&self.priorities, Type::INT4_ARRAY),
            (&self.schedule.0, Type::TIMESTAMPTZ_ARRAY),
            (&self.expiry.0, Type::TIMESTAMPTZ_ARRAY),
            (&self.dedupe_keys.0, Type::TEXT_ARRAY),
            (&self.endpoints.0, Type::TEXT_ARRAY),
            (&self.max_attempts.0, Type::INT4_ARRAY),
            (&self.first, Type::INT8),
        ]
    }
}

fn list(texts: &[String]) -> Option<Json<&[String]>> {
    (!texts.is_empty()).then_some(Json(texts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_has_a_bound_in_bytes_too() {
        let large = Notification::new("t", Recipient::default())
            .with_label("text", "x".repeat(BYTES_MAX / 4));
        let all = vec![large; 9];
        assert_eq!(Columns::of(&all, 1).unwrap().len(), 4);
    }

    #[test]
    fn a_column_without_values_is_not_sent() {
        let plain = Notification::new("t", Recipient::default());
        let keyed = Notification { dedupe_key: Some("k".into()), ..plain.clone() };
        let all = [plain.clone(), keyed, plain];
        let columns = Columns::of(&all, 1).unwrap();
        assert_eq!(columns.dedupe_keys.0, Some(vec![None, Some("k"), None]));
        assert!(columns.schedule.0.is_none() && columns.data.0.is_none());
    }
}
