//! Many notifications as the columns that the database takes: one text each, and once what many have in common.

use std::time::SystemTime;

use postgres::types::{Json, ToSql, Type};

use super::content::write_content;
use super::document::check;
use super::kind::InCommon;
use super::{EnqueueError, Notification};

/// Notifications sent to the database in one statement.
const COUNT_MAX: usize = 1000;
/// Text after which no other one is sent in the same statement.
const OCTETS_MAX: usize = 16 << 20;

/// As many notifications as go into one statement.
#[derive(Debug)]
pub(super) struct Columns<'a> {
    first: i64,
    in_common: InCommon<'a>,
    text: String,
    /// Of the contents in the text.
    ends: Vec<usize>,
    rough: Optional<bool>,
    schedule: Optional<Option<SystemTime>>,
    expiry: Optional<Option<SystemTime>>,
    dedupe_keys: Optional<Option<&'a str>>,
}

/// A column that is null as long as nothing else than its default was put into it.
type Optional<T> = Option<Vec<T>>;

impl<'a> Columns<'a> {
    /// Of the first of `notifications`; an error gives the number of the one at fault, counted from `first`.
    pub(super) fn of(
        notifications: &'a [Notification],
        first: usize,
    ) -> Result<Self, EnqueueError> {
        let mut columns = Self {
            first: i64::try_from(first).expect("no machine holds so many notifications"),
            in_common: InCommon::default(),
            text: String::new(),
            ends: Vec::with_capacity(COUNT_MAX.min(notifications.len())),
            rough: None,
            schedule: None,
            expiry: None,
            dedupe_keys: None,
        };
        for (idx, notification) in notifications.iter().enumerate().take(COUNT_MAX) {
            if OCTETS_MAX <= columns.text.len() {
                break;
            }
            check(notification).map_err(|err| match err {
                EnqueueError::InvalidPayload(text) => {
                    EnqueueError::InvalidPayload(format!("notification {}: {text}", first + idx))
                }
                err => err,
            })?;
            columns.push(notification);
        }
        Ok(columns)
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    fn push(&mut self, notification: &'a Notification) {
        self.in_common.push(notification);
        let before = self.ends.len();
        let rough = write_content(notification, &mut self.text);
        self.ends.push(self.text.len());
        put(&mut self.rough, rough, before);
        put(&mut self.schedule, notification.schedule_at, before);
        put(&mut self.expiry, notification.expires_at, before);
        put(&mut self.dedupe_keys, notification.dedupe_key.as_deref(), before);
    }

    /// Which kind each is, from 1.
    fn kind_nos(&self) -> Vec<i32> {
        let from_1 = |no: &usize| i32::try_from(no + 1).expect("a statement has few");
        self.in_common.nos.iter().map(from_1).collect()
    }

    /// Calls with the parameters of the statement.
    pub(super) fn with_params<T>(
        &self,
        call: impl FnOnce(&[(&(dyn ToSql + Sync), Type)]) -> T,
    ) -> T {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        let contents: Vec<&str> =
            starts.zip(&self.ends).map(|(start, &end)| &self.text[start..end]).collect();
        call(&[
            (&Json(&self.in_common.kinds), Type::JSONB),
            (&self.kind_nos(), Type::INT4_ARRAY),
            (&contents, Type::TEXT_ARRAY),
            (&self.rough, Type::BOOL_ARRAY),
            (&self.schedule, Type::TIMESTAMPTZ_ARRAY),
            (&self.expiry, Type::TIMESTAMPTZ_ARRAY),
            (&self.dedupe_keys, Type::TEXT_ARRAY),
            (&self.first, Type::INT8),
        ])
    }
}

/// Adds to a column that has `before` values.
fn put<T: Default + Clone + PartialEq>(column: &mut Optional<T>, value: T, before: usize) {
    match column {
        Some(values) => values.push(value),
        None if value == T::default() => (),
        None => {
            let mut values = vec![T::default(); before];
            values.push(value);
            *column = Some(values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Recipient;

    #[test]
    fn a_statement_has_a_bound_in_octets_too() {
        let large = Notification::new("t", Recipient::default())
            .with_label("text", "x".repeat(OCTETS_MAX / 4));
        let all = vec![large; 9];
        let columns = Columns::of(&all, 1).unwrap();
        assert_eq!(columns.len(), 4);
    }

    #[test]
    fn what_notifications_have_in_common_comes_once() {
        let one = |template| Notification::new(template, Recipient::default());
        let all = [one("a"), one("a"), one("b"), one("a"), one("a"), one("b")];
        let columns = Columns::of(&all, 1).unwrap();
        assert_eq!(columns.in_common.kinds.len(), 2);
        assert_eq!(columns.kind_nos(), [1, 1, 2, 1, 1, 2]);
    }

    #[test]
    fn a_column_without_values_is_not_sent() {
        let plain = Notification::new("t", Recipient::default());
        let keyed = Notification { dedupe_key: Some("k".into()), ..plain.clone() };
        let all = [plain.clone(), keyed, plain];
        let columns = Columns::of(&all, 1).unwrap();
        assert_eq!(columns.dedupe_keys, Some(vec![None, Some("k"), None]));
        assert_eq!((columns.rough, columns.schedule, columns.expiry), (None, None, None));
    }
}
