//! For connections that enqueue often: statements prepared once.

use std::time::{Duration, Instant};

use postgres::types::{ToSql, Type};
use postgres::{GenericClient, Statement};

use super::content::{DOCUMENT_MAX, write_plain};
use super::{
    EnqueueError, Enqueued, Notification, ONE, ONE_TYPES, RING, enqueue_error, may_write, one,
};
use crate::config::is_method_name;
use crate::message::MessageId;

const PLAIN: &str = include_str!("../store/sql/enqueue_plain.sql");
const PLAIN_TYPES: [Type; 12] = [
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TIMESTAMPTZ,
    Type::TIMESTAMPTZ,
    Type::INT2,
    Type::INT4,
    Type::TEXT,
    Type::TEXT_ARRAY,
];
/// Age of a look at the doorbell after which a worker may have come to wait for it: a statement sees all as it was
/// when it began, and may have waited for another one's key.
const LOOK_AGE_MAX: Duration = Duration::from_millis(5);
/// Most octets of a document; some are left for the id that ends it.
const CONTENT_MAX: usize = DOCUMENT_MAX - 64;

/// [`enqueue`](super::enqueue()) for connections that enqueue often: the statements are prepared once. It is fastest
/// for who may write into the tables, as their owner may, and for notifications that name one method.
#[derive(Debug, Clone)]
pub struct Enqueuer {
    function: Statement,
    /// `None`: the caller may not write into the tables.
    plain: Option<Statement>,
}

impl Enqueuer {
    /// Prepares the statements on a connection, for as long as that lasts.
    ///
    /// # Errors
    ///
    /// [`EnqueueError::Database`].
    pub fn prepare(client: &mut impl GenericClient) -> Result<Self, EnqueueError> {
        let plain = may_write(client)
            .and_then(|may| may.map(|_| client.prepare_typed(PLAIN, &PLAIN_TYPES)).transpose())
            .map_err(EnqueueError::Database)?;
        let function = client.prepare_typed(ONE, &ONE_TYPES).map_err(EnqueueError::Database)?;
        Ok(Self { function, plain })
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
        if let Some(statement) = &self.plain
            && let Some(plain) = Plain::of(notification)
            && let Some(enqueued) = plain.enqueue(client, statement)?
        {
            return Ok(enqueued);
        }
        one(notification, |params| {
            let values: Vec<_> = params.iter().map(|(value, _)| *value).collect();
            client.query(&self.function, &values)
        })
    }
}

/// A notification by one method, in which nothing is wrong that can be told without the database.
struct Plain<'a> {
    notification: &'a Notification,
    method: &'a str,
    /// Up to the id of the template.
    content: String,
    priority: i16,
    max_attempts: Option<i32>,
}

impl<'a> Plain<'a> {
    fn of(notification: &'a Notification) -> Option<Self> {
        let it = notification;
        let [method] = &it.methods[..] else { return None };
        let mut content = String::new();
        let fits = is_method_name(method)
            && it.priority <= 3
            && it.max_attempts != Some(0)
            && write_plain(it, method == "smtp", &mut content)
            && content.len() <= CONTENT_MAX;
        fits.then_some(Self {
            notification,
            method,
            content,
            priority: it.priority.into(),
            max_attempts: it.max_attempts.map(i32::try_from).transpose().ok()?,
        })
    }

    /// `None` where the function has to say why not.
    fn enqueue(
        &self,
        client: &mut impl GenericClient,
        statement: &Statement,
    ) -> Result<Option<Enqueued>, EnqueueError> {
        let it = self.notification;
        let params: [&(dyn ToSql + Sync); 12] = [
            &it.template,
            &self.content,
            &it.recipient.id,
            &self.method,
            &it.endpoint,
            &it.dedupe_key,
            &it.schedule_at,
            &it.expires_at,
            &self.priority,
            &self.max_attempts,
            &it.created_by,
            &it.targets,
        ];
        let began = Instant::now();
        let row = client.query_opt(statement, &params).map_err(enqueue_error)?;
        if LOOK_AGE_MAX < began.elapsed() {
            client.query_typed(RING, &[]).map_err(EnqueueError::Database)?;
        }
        Ok(row.map(|row| match row.get("id") {
            Some(id) => Enqueued::Enqueued {
                notification_id: id,
                messages: vec![(MessageId(id), self.method.to_owned())],
            },
            None => Enqueued::Duplicate,
        }))
    }
}
