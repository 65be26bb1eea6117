//! From lease to prepared message: decode the payload and render.

use std::panic::{self, AssertUnwindSafe};
use std::time::Instant;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::BrandingConfig;
use crate::lease::Lease;
use crate::library::Parts;
use crate::message::{Prepared, Recipient};
use crate::outcome::Failure;
use crate::payload::{Payload, Value};
use crate::render::{Context, Rendered, Template};

/// Version of the payload document, up to its last number, that this build reads.
const PAYLOAD_VERSION: &str = "1.";

/// Prepares the leased message with what it refers to, and takes its payload. Of the document only
/// the text is kept.
///
/// # Errors
///
/// It is the message's fault, or its template's, or a setting is missing, or the deadline has
/// passed.
pub(crate) fn prepare(
    lease: &mut Lease,
    parts: Parts,
    branding: &BrandingConfig,
    deadline: Instant,
) -> Result<Prepared, Failure> {
    let payload = lease.take_payload();
    let message = lease.message();
    let url = parts.url(message).map(str::to_owned);
    let Parts { template, endpoint } = parts;
    let Read { template_name, recipient, rendered } =
        panic::catch_unwind(AssertUnwindSafe(|| read(&payload, &template, branding, deadline)))
            .map_err(|text| Failure::panicked("template", text.as_ref()))??;
    let Rendered { title, body, actions, mail } = rendered;
    Ok(Prepared {
        id: lease.key().id,
        notification_id: message.notification_id,
        template_id: message.template_id,
        template_name,
        attempt: message.attempt,
        recipient,
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

/// What is kept of a document that was read.
struct Read {
    template_name: String,
    recipient: Recipient,
    rendered: Rendered,
}

fn read(
    payload: &Payload,
    template: &Template,
    branding: &BrandingConfig,
    deadline: Instant,
) -> Result<Read, Failure> {
    let document = decode(payload)?;
    let year = Timestamp::now().to_zoned_datetime(TimeZone::UTC).year();
    let context = Context { payload: &document, branding, year };
    let rendered = template.render(&context, deadline).map_err(|err| err.failure())?;
    let template_name = text(&document, "notification_name");
    Ok(Read { template_name, recipient: recipient(&document), rendered })
}

fn decode(payload: &Payload) -> Result<Value<'_>, Failure> {
    let failed = |reason: String| Failure::permanent("payload", reason);
    let document = payload.read().map_err(|err| failed(err.to_string()))?;
    match document.get("_version").and_then(Value::as_str) {
        Some(version) if version.starts_with(PAYLOAD_VERSION) => Ok(document),
        Some(version) => Err(failed(format!(
            "payload has version {version}, this worker reads {PAYLOAD_VERSION}x: upgrade it"
        ))),
        None => Err(failed("payload has no _version: enqueue with postrider.enqueue".into())),
    }
}

fn text(payload: &Value<'_>, field: &str) -> String {
    payload.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn recipient(payload: &Value<'_>) -> Recipient {
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
    use serde_json::value::RawValue;

    use super::*;

    fn refused(text: &str) -> String {
        let payload = Payload::from(RawValue::from_string(text.into()).unwrap());
        let failure = decode(&payload).unwrap_err();
        assert_eq!(failure.code, "payload");
        failure.reason
    }

    #[test]
    fn a_payload_of_another_major_version_is_refused_by_name() {
        assert!(refused(r#"{"_version": "2.0"}"#).contains("version 2.0"));
        assert!(refused("{}").contains("_version") && refused("[1]").contains("_version"));
        assert!(decode(&Payload::from(serde_json::json!({"_version": "1.2"}))).is_ok());
    }

    #[test]
    fn a_payload_beyond_a_limit_fails_alone() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(refused(&deep).contains("64 levels"));
        assert!(refused(&format!("[{}0]", "0,".repeat(20_200))).contains("20,000 values"));
        assert!(refused(&format!("\"{}\"", "x".repeat(1 << 20))).contains("1 MiB"));
    }
}
