//! Many notifications as the columns that the database takes: an array for each argument.

use std::time::SystemTime;

use postgres::types::{Json, ToSql, Type};
use serde_json::{Map, Value};

use super::check::check;
use super::{EnqueueError, Notification};
use crate::message::Recipient;

/// Most notifications of one statement.
const COUNT_MAX: usize = 10_000;
/// Most bytes of their arguments; the database takes a little more.
const BYTES_MAX: usize = 15 << 20;

/// A column; null where no notification has a value.
type Column<T> = Option<Vec<Option<T>>>;

/// As many notifications as go into one statement.
#[derive(Debug)]
pub(super) struct Columns<'a> {
    template: Vec<&'a str>,
    recipient: Vec<Json<&'a Recipient>>,
    labels: Column<Json<&'a Map<String, Value>>>,
    data: Column<Json<&'a Value>>,
    targets: Column<Json<&'a Vec<String>>>,
    created_by: Column<&'a str>,
    methods: Column<Json<&'a Vec<String>>>,
    priority: Column<i32>,
    schedule_at: Column<SystemTime>,
    expires_at: Column<SystemTime>,
    dedupe_key: Column<&'a str>,
    endpoint: Column<&'a str>,
    max_attempts: Column<i32>,
    /// Number of the first, from 1.
    first: i64,
}

impl<'a> Columns<'a> {
    /// Of the first of `notifications`; an error gives the number of the one at fault, counted
    /// from `first`.
    pub(super) fn of(all: &'a [Notification], first: usize) -> Result<Self, EnqueueError> {
        let mut bytes = 0;
        let mut count = 0;
        for (idx, notification) in all.iter().enumerate().take(COUNT_MAX) {
            bytes += check(notification).map_err(|err| err.of_many(first + idx))?;
            if BYTES_MAX < bytes && 0 < count {
                break;
            }
            count += 1;
        }
        let all = &all[..count];
        Ok(Self {
            template: all.iter().map(|it| it.template.as_str()).collect(),
            recipient: all.iter().map(|it| Json(&it.recipient)).collect(),
            labels: column(all, |it| (!it.labels.is_empty()).then_some(Json(&it.labels))),
            data: column(all, |it| it.data.as_ref().map(Json)),
            targets: column(all, |it| (!it.targets.is_empty()).then_some(Json(&it.targets))),
            created_by: column(all, |it| Some(it.created_by.as_str()).filter(|it| !it.is_empty())),
            methods: column(all, |it| (!it.methods.is_empty()).then_some(Json(&it.methods))),
            priority: column(all, |it| (it.priority != 1).then_some(it.priority.into())),
            schedule_at: column(all, |it| it.schedule_at),
            expires_at: column(all, |it| it.expires_at),
            dedupe_key: column(all, |it| it.dedupe_key.as_deref()),
            endpoint: column(all, |it| it.endpoint.as_deref()),
            max_attempts: column(all, Notification::attempts),
            first: i64::try_from(first).expect("no machine holds so many notifications"),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.template.len()
    }

    /// The parameters of the statement.
    pub(super) fn params(&self) -> [(&(dyn ToSql + Sync), Type); 14] {
        [
            (&self.template, Type::TEXT_ARRAY),
            (&self.recipient, Type::JSONB_ARRAY),
            (&self.labels, Type::JSONB_ARRAY),
            (&self.data, Type::JSONB_ARRAY),
            (&self.targets, Type::JSONB_ARRAY),
            (&self.created_by, Type::TEXT_ARRAY),
            (&self.methods, Type::JSONB_ARRAY),
            (&self.priority, Type::INT4_ARRAY),
            (&self.schedule_at, Type::TIMESTAMPTZ_ARRAY),
            (&self.expires_at, Type::TIMESTAMPTZ_ARRAY),
            (&self.dedupe_key, Type::TEXT_ARRAY),
            (&self.endpoint, Type::TEXT_ARRAY),
            (&self.max_attempts, Type::INT4_ARRAY),
            (&self.first, Type::INT8),
        ]
    }
}

fn column<'a, T>(
    all: &'a [Notification],
    value: impl Fn(&'a Notification) -> Option<T>,
) -> Column<T> {
    let values: Vec<Option<T>> = all.iter().map(value).collect();
    values.iter().any(Option::is_some).then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Notification {
        Notification::new("t", Recipient::default())
    }

    #[test]
    fn a_statement_has_a_bound_in_bytes_too() {
        let large = one().with_label("text", "x".repeat(BYTES_MAX / 4));
        assert_eq!(Columns::of(&vec![large; 9], 1).unwrap().len(), 3);
        let huge = one().with_label("text", "x".repeat(BYTES_MAX));
        assert_eq!(Columns::of(&vec![huge; 2], 1).unwrap().len(), 1, "the database refuses it");
    }

    #[test]
    fn values_that_take_more_room_in_the_database_than_as_text_are_counted_so() {
        let ones = Notification { data: Some(vec![1; 20_000].into()), ..one() };
        assert!(Columns::of(&vec![ones; 400], 1).unwrap().len() < 70);
    }

    #[test]
    fn a_column_without_values_is_not_sent() {
        let keyed = Notification { dedupe_key: Some("k".into()), ..one() };
        let all = [one(), keyed, one()];
        let columns = Columns::of(&all, 1).unwrap();
        assert_eq!(columns.dedupe_key, Some(vec![None, Some("k"), None]));
        assert_eq!((columns.schedule_at, columns.endpoint), (None, None));
    }
}
