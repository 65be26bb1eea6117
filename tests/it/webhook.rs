//! The webhook transport against real sockets: our sink, and peers that misbehave.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use postrider::config::{AllowPrivate, WebhookConfig};
use postrider::message::{MailFields, MessageId, Prepared, Recipient};
use postrider::outcome::{Failure, Receipt, Verdict};
use postrider::transport::webhook::Webhook;
use postrider::transport::{Deadline, Transport};
use serde_json::json;
use uuid::Uuid;

mod answers;
mod mtls;
mod peer;
mod requests;
mod stalls;
mod table;
mod tls;

/// What a delivery may take beyond its deadline.
const GRACE: Duration = Duration::from_millis(250);

const RETRY: Verdict = Verdict::Temporary { retry_after: None };

/// Settings that permit loopback.
fn config() -> WebhookConfig {
    WebhookConfig { allow_private: AllowPrivate::All, ..WebhookConfig::default() }
}

fn webhook() -> Webhook {
    Webhook::new(&config()).unwrap()
}

fn message(endpoint: impl Into<String>) -> Prepared {
    Prepared {
        id: MessageId(Uuid::now_v7()),
        notification_id: Uuid::now_v7(),
        template_id: Uuid::from_u128(3),
        template_name: "welcome".into(),
        attempt: 1,
        recipient: Recipient { id: "u1".into(), ..Recipient::default() },
        endpoint: Some(endpoint.into()),
        endpoint_settings: None,
        title: "Hello".into(),
        body: "A body".into(),
        actions: Vec::new(),
        mail: MailFields::default(),
        targets: Vec::new(),
        payload: json!({"_version": "1.2", "labels": {"name": "Ann"}}).into(),
        created_at: SystemTime::now(),
    }
}

/// Delivers within `limit`, and fails the test if that takes longer than the limit allows.
fn deliver_within(webhook: &Webhook, url: &str, limit: Duration) -> Result<Receipt, Failure> {
    deliver_message(webhook, &message(url), limit)
}

/// The same for any message. Tries it three times, since a busy machine can hold up any thread;
/// what waits longer than its deadline is late each time.
fn deliver_message(
    webhook: &Webhook,
    message: &Prepared,
    limit: Duration,
) -> Result<Receipt, Failure> {
    let mut late = Vec::new();
    while late.len() < 3 {
        let start = Instant::now();
        let result = webhook.deliver(message, Deadline::after(limit));
        let took = start.elapsed();
        if took < limit + GRACE {
            return result;
        }
        late.push((took, result));
    }
    panic!("took more than {limit:?}: {late:?}");
}

fn deliver(url: &str) -> Result<Receipt, Failure> {
    deliver_within(&webhook(), url, Duration::from_secs(10))
}

/// A list that many threads add to.
type Log<T> = Arc<std::sync::Mutex<Vec<T>>>;
