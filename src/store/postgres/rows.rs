//! Rows of the hot statements as the types of the domain.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use postgres::Row;
use postgres::types::Json;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::endpoint::{ClientIdentity, EndpointSettings, EndpointTls, StoredKey};
use crate::lease::{Lease, LeaseKey, Message};
use crate::message::{Action, MailFields, MessageId};
use crate::store::{StoreError, TemplateRow};

/// Where a message stands in the queue: lane, due time, id.
pub(super) type Order = (i16, SystemTime, Uuid);

/// A leased message and its place.
pub(super) struct Acquired {
    pub(super) order: Order,
    pub(super) lease: Lease,
}

pub(super) fn acquired(row: &Row, began: Instant, until: Instant) -> Result<Acquired, StoreError> {
    let id: Uuid = row.get("id");
    let payload: Json<Box<RawValue>> = row.try_get("payload").map_err(|err| {
        StoreError::Unreadable(format!("the payload of message {id} cannot be read: {err}"))
    })?;
    let expires_in: Option<f64> = row.get("expires_in");
    let attempts = |number: i32| u32::try_from(number).unwrap_or(0);
    let message = Message {
        notification_id: row.get("notification_id"),
        template_id: row.get("template_id"),
        template_version: row.get("template_version"),
        method: row.get("method"),
        attempt: attempts(row.get("attempt")),
        max_attempts: row.get::<_, Option<i32>>("max_attempts").map(attempts),
        disabled: row.get("disabled"),
        suppressed: row.get("suppressed"),
        expires_in: expires_in.and_then(|left| seconds(left.max(0.0))),
        endpoint: row.get("endpoint"),
        endpoint_version: row.get("endpoint_version"),
        targets: row.get::<_, Vec<Option<String>>>("targets").into_iter().flatten().collect(),
        created_at: row.get("created_at"),
        payload: payload.0,
    };
    let key = LeaseKey { id: MessageId(id), claim: row.get("claim") };
    let order = (row.get("priority"), row.get("due_at"), id);
    let lease = Lease::new(key, until, message);
    let waited = seconds(row.get("waited")).unwrap_or_default();
    Ok(Acquired { order, lease: lease.with_wait(began, waited) })
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
