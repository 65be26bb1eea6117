//! For connections that enqueue often: the statement prepared once.

use postgres::{GenericClient, Statement};

use super::{EnqueueError, Enqueued, Notification, ONE, ONE_TYPES, enqueue_error, one};

/// [`enqueue`](super::enqueue()) for connections that enqueue often: its statement is prepared once.
#[derive(Debug, Clone)]
pub struct Enqueuer(Statement);

impl Enqueuer {
    /// Prepares the statement on a connection, for as long as that lasts.
    ///
    /// # Errors
    ///
    /// [`EnqueueError::Database`].
    pub fn prepare(client: &mut impl GenericClient) -> Result<Self, EnqueueError> {
        client.prepare_typed(ONE, &ONE_TYPES).map(Self).map_err(enqueue_error)
    }

    /// Enqueues one notification on the same connection.
    ///
    /// # Errors
    ///
    /// As for [`enqueue`](super::enqueue()).
    pub fn enqueue(
        &self,
        client: &mut impl GenericClient,
        notification: &Notification,
    ) -> Result<Enqueued, EnqueueError> {
        one(notification, |params| {
            let values: Vec<_> = params.iter().map(|(value, _)| *value).collect();
            client.query(&self.0, &values)
        })
    }
}
