//! Many notifications by the function, which anybody may call who may enqueue.

use postgres::{GenericClient, Row};
use uuid::Uuid;

use super::columns::Columns;
use super::{EnqueueError, Enqueued, Notification, enqueue_error};
use crate::message::MessageId;

const BATCH: &str = include_str!("../store/sql/enqueue_batch.sql");

/// Enqueues many by the function, the numbers in errors being those after `before`.
pub(super) fn enqueue_many(
    client: &mut impl GenericClient,
    notifications: &[Notification],
    before: usize,
) -> Result<Vec<Enqueued>, EnqueueError> {
    let mut results = Vec::with_capacity(notifications.len());
    while results.len() < notifications.len() {
        let columns = Columns::of(&notifications[results.len()..], before + results.len() + 1)?;
        let row = columns
            .with_params(|params| client.query_typed_one(BATCH, params))
            .map_err(enqueue_error)?;
        results.extend(results_of(columns.len(), &row));
    }
    Ok(results)
}

/// Results of a batch, in its order.
fn results_of(count: usize, row: &Row) -> Vec<Enqueued> {
    let mut results = vec![Enqueued::Disabled; count];
    let place = |no: i32| usize::try_from(no - 1).expect("the database numbers from 1");
    let ids: Vec<Uuid> = row.get("message_ids");
    let nos: Option<Vec<i32>> = row.get("message_nos");
    let methods: Option<Vec<&str>> = row.get("message_methods");
    let duplicates: Option<Vec<i32>> = row.get("duplicates");
    let methods = methods.into_iter().flatten().map(str::to_owned);
    for ((id, no), method) in ids.into_iter().zip(nos.into_iter().flatten()).zip(methods) {
        let message = (MessageId(id), method);
        match &mut results[place(no)] {
            Enqueued::Enqueued { messages, .. } => messages.push(message),
            result => {
                *result = Enqueued::Enqueued { notification_id: id, messages: vec![message] };
            }
        }
    }
    for no in duplicates.into_iter().flatten() {
        results[place(no)] = Enqueued::Duplicate;
    }
    results
}
