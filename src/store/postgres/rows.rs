//! Rows of the hot statements as the types of the domain.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use postgres::Row;
use postgres::types::Json;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::endpoint::{ClientIdentity, EndpointSettings, EndpointTls, StoredKey};
use crate::lease::{Lease, LeaseKey, Message, Unreadable};
use crate::message::{Action, MailFields, MessageId};
use crate::store::{StoreError, TemplateRow};

/// Where a message stands in the queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order {
    pub(super) priority: i16,
    pub(super) due_at: SystemTime,
    pub(super) id: Uuid,
    pub(super) method: String,
}

/// A row of an acquire.
pub(super) struct Acquired {
    pub(super) order: Order,
    /// The row came without its contents.
    pub(super) is_bare: bool,
    /// `None` if the message was given back as suspect.
    pub(super) lease: Option<Lease>,
}

/// Reads a row so that nothing in it can end more than its own message.
pub(super) fn acquired(
    row: &Row,
    began: Instant,
    until: Instant,
) -> Result<Acquired, postgres::Error> {
    let (id, claim): (Uuid, i64) = (row.try_get("id")?, row.try_get("claim")?);
    let (priority, due_at) = (row.try_get("priority")?, row.try_get("due_at")?);
    let order = Order { priority, due_at, id, method: row.try_get("method")? };
    if claim == 0 {
        return Ok(Acquired { order, is_bare: false, lease: None });
    }
    let mut message = fixed_part(row)?;
    if let Err(err) = read_rest(row, &mut message) {
        message.unreadable = Some(Unreadable::Row(err.to_string()));
    }
    let waited = row.try_get("waited").ok().and_then(seconds).unwrap_or_default();
    let lease = Lease::new(LeaseKey { id: MessageId(id), claim }, until, message);
    let (is_bare, lease) = (row.try_get("bare")?, lease.with_wait(began, waited));
    Ok(Acquired { order, is_bare, lease: Some(lease) })
}

/// What has a fixed width, or is short and plain by its CHECK.
fn fixed_part(row: &Row) -> Result<Message, postgres::Error> {
    let count = |number: i32| u32::try_from(number).unwrap_or(0);
    let expires_in: Option<f64> = row.try_get("expires_in")?;
    Ok(Message {
        notification_id: row.try_get("notification_id")?,
        template_id: row.try_get("template_id")?,
        template_version: row.try_get("template_version")?,
        method: row.try_get("method")?,
        attempt: count(row.try_get("attempt")?).saturating_add(1),
        max_attempts: row.try_get::<_, Option<i32>>("max_attempts")?.map(count),
        suspect: row.try_get("suspect")?,
        lapses: count(i32::from(row.try_get::<_, i16>("lapses")?)),
        held_for: row.try_get::<_, Option<f64>>("held_for")?.and_then(seconds),
        disabled: row.try_get("disabled")?,
        suppressed: row.try_get("suppressed")?,
        expires_in: expires_in.and_then(|left| seconds(left.max(0.0))),
        endpoint_version: row.try_get("endpoint_version")?,
        created_at: row.try_get("created_at")?,
        size: usize::try_from(row.try_get::<_, i32>("size")?).unwrap_or(0),
        endpoint: None,
        code: None,
        last_error: None,
        targets: Vec::new(),
        payload: Box::default(),
        unreadable: None,
    })
}

/// What may be anything that the column takes. All of it is absent where the acquire left it out.
fn read_rest(row: &Row, message: &mut Message) -> Result<(), postgres::Error> {
    message.endpoint = row.try_get("endpoint")?;
    message.code = row.try_get("code")?;
    message.last_error = row.try_get("last_error")?;
    let targets: Option<Vec<Option<String>>> = row.try_get("targets")?;
    message.targets = targets.into_iter().flatten().flatten().collect();
    if let Some(Json(payload)) = row.try_get::<_, Option<Json<Box<RawValue>>>>("payload")? {
        message.payload = payload;
    }
    Ok(())
}

/// A span as PostgreSQL gave it; `None` for one that never ends.
pub(super) fn seconds(span: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(span).ok()
}

pub(in crate::store) fn template_row(row: &Row) -> Result<TemplateRow, StoreError> {
    let Json(actions): Json<Vec<Action>> = row.try_get("actions").map_err(|_| {
        StoreError::Unreadable("template actions must be a list of {\"label\", \"url\"}".into())
    })?;
    Ok(TemplateRow {
        id: row.get("id"),
        name: row.get("name"),
        version: row.get("version"),
        title: row.get("title"),
        body: row.get("body"),
        actions,
        mail: MailFields {
            from_address: row.get("from_address"),
            reply_to: row.get("reply_to"),
            unsubscribe_url: row.get("unsubscribe_url"),
            thread_key: row.get("thread_key"),
        },
    })
}

pub(in crate::store) fn endpoint_settings(row: &Row) -> Result<EndpointSettings, StoreError> {
    let name: String = row.get("name");
    let bad = |column: &str| {
        StoreError::Unreadable(format!(
            "endpoint `{name}` has {column} that this build cannot read"
        ))
    };
    let format: String = row.get("format");
    let secrets: Json<Vec<StoredKey>> = row.try_get("secrets").map_err(|_| bad("secrets"))?;
    let headers: Json<BTreeMap<String, String>> =
        row.try_get("headers").map_err(|_| bad("headers"))?;
    let max_concurrent: Option<i32> = row.get("max_concurrent");
    let certificate: Option<String> = row.get("client_certificate");
    let identity = certificate.zip(row.get::<_, Option<String>>("client_key"));
    let identity = identity.map(|(certificate, key)| ClientIdentity { certificate, key });
    Ok(EndpointSettings {
        version: row.get("version"),
        url: row.get("url"),
        format: format.parse().map_err(|_| bad("a format"))?,
        template: row.get("template"),
        secrets: secrets.0,
        headers: headers.0,
        fail_fast_4xx: row.get("fail_fast_4xx"),
        max_concurrent: max_concurrent.and_then(|most| u32::try_from(most).ok()),
        tls: EndpointTls { authorities: row.get("authorities"), identity },
        disabled: row.get("disabled_reason"),
        name,
    })
}
