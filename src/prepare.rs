//! From lease to prepared message: decode the payload and render.

use std::panic::{self, AssertUnwindSafe};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::config::BrandingConfig;
use crate::lease::Lease;
use crate::library::Parts;
use crate::message::{Prepared, Recipient};
use crate::outcome::Failure;
use crate::render::{Context, RenderError, Rendered};

/// Version of the payload document, up to its last number, that this build reads.
const PAYLOAD_VERSION: &str = "1.";

/// Prepares the leased message with what it refers to.
///
/// # Errors
///
/// It is the message's fault, or its template's, or a setting is missing.
pub(crate) fn prepare(
    lease: &Lease,
    parts: Parts,
    branding: &BrandingConfig,
) -> Result<Prepared, Failure> {
    let message = lease.message();
    let url = parts.url(message).map(str::to_owned);
    let Parts { template, endpoint } = parts;
    let mut payload = decode(message.payload.get())?;
    let year = Timestamp::now().to_zoned_datetime(TimeZone::UTC).year();
    let context = Context { payload: &payload, branding, year };
    let Rendered { title, body, actions, mail } =
        panic::catch_unwind(AssertUnwindSafe(|| template.render(&context)))
            .map_err(|text| Failure::panicked("template", text.as_ref()))?
            .map_err(|err| render_failure(&err))?;
    payload["actions"] = serde_json::to_value(&actions).expect("two strings make JSON");
    Ok(Prepared {
        id: lease.key().id,
        notification_id: message.notification_id,
        template_id: message.template_id,
        template_name: text(&payload, "notification_name"),
        attempt: message.attempt,
        recipient: recipient(&payload),
        endpoint: url,
        endpoint_settings: endpoint,
        title,
        body,
        actions,
        mail,
        targets: message.targets.clone(),
        payload,
        created_at: message.created_at,
    })
}

fn render_failure(err: &RenderError) -> Failure {
    match err.setting {
        Some(_) => Failure::blocked("setting", err.to_string()),
        None => Failure::permanent("render", err.to_string()),
    }
}

fn decode(payload: &str) -> Result<Value, Failure> {
    let failed = |reason: String| Failure::permanent("payload", reason);
    let document: Value = serde_json::from_str(payload)
        .map_err(|err| failed(format!("payload cannot be read: {err}")))?;
    match document.get("_version").and_then(Value::as_str) {
        Some(version) if version.starts_with(PAYLOAD_VERSION) => Ok(document),
        Some(version) => Err(failed(format!(
            "payload has version {version}, this worker reads {PAYLOAD_VERSION}x: upgrade it"
        ))),
        None => Err(failed("payload has no _version: enqueue with postrider.enqueue".into())),
    }
}

fn text(payload: &Value, field: &str) -> String {
    payload.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn recipient(payload: &Value) -> Recipient {
    let filled = |field| Some(text(payload, field)).filter(|text| !text.is_empty());
    Recipient {
        id: text(payload, "user_id"),
        email: filled("user_email"),
        name: filled("user_name"),
        username: filled("user_username"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_of_another_major_version_is_refused_by_name() {
        let err = decode(r#"{"_version": "2.0"}"#).unwrap_err();
        assert!(err.reason.contains("version 2.0"), "{err}");
        assert!(decode("{}").is_err() && decode("[1]").is_err());
        assert!(decode(r#"{"_version": "1.2"}"#).is_ok());
    }

    #[test]
    fn a_payload_too_deep_to_read_fails_alone() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(decode(&deep).unwrap_err().reason.contains("recursion"));
    }
}
