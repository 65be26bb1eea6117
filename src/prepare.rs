//! From lease to prepared message: decode the payload, find the template, render.

use std::panic::{self, AssertUnwindSafe};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use uuid::Uuid;

use crate::config::BrandingConfig;
use crate::delivery::panicked;
use crate::lease::Lease;
use crate::message::{Prepared, Recipient};
use crate::outcome::Failure;
use crate::render::{
    Cache, Context, RenderError, Rendered, Template, TemplateError, TemplateSource,
};
use crate::store::{Store, StoreError, TemplateRow};

/// Version of the payload document, up to its last number, that this build reads.
const PAYLOAD_VERSION: &str = "1.";

/// Renders messages; keeps compiled templates.
pub(crate) struct Preparer {
    branding: BrandingConfig,
    templates: Cache,
}

/// Why a message could not be prepared.
#[derive(Debug)]
pub(crate) enum Unprepared {
    /// It is the message's fault, or its template's, or a setting is missing.
    Failed(Failure),
    /// The template could not be read now.
    Unavailable(StoreError),
}

impl Preparer {
    pub(crate) fn new(branding: BrandingConfig) -> Self {
        Self { branding, templates: Cache::default() }
    }

    /// Prepares the leased message, reading its template from `store` if it is not known yet.
    pub(crate) fn prepare(
        &mut self,
        store: &mut impl Store,
        lease: &Lease,
    ) -> Result<Prepared, Unprepared> {
        let message = lease.message();
        let mut payload = decode(message.payload.get()).map_err(Unprepared::Failed)?;
        let id = message.template_id;
        let version = self.learn(store, id, message.template_version)?;
        let template = self.templates.get(id, version).expect("it was learnt above");
        let template = template.map_err(|err| Unprepared::Failed(template_failure(err)))?;
        let year = Timestamp::now().to_zoned_datetime(TimeZone::UTC).year();
        let context = Context { payload: &payload, branding: &self.branding, year };
        let Rendered { title, body, actions, mail } =
            panic::catch_unwind(AssertUnwindSafe(|| template.render(&context)))
                .map_err(|text| Unprepared::Failed(panicked("template", text.as_ref())))?
                .map_err(|err| Unprepared::Failed(render_failure(&err)))?;
        payload["actions"] = serde_json::to_value(&actions).expect("two strings make JSON");
        Ok(Prepared {
            id: lease.key().id,
            notification_id: message.notification_id,
            template_id: message.template_id,
            template_name: text(&payload, "notification_name"),
            attempt: message.attempt,
            recipient: recipient(&payload),
            endpoint: message.endpoint.clone(),
            title,
            body,
            actions,
            mail,
            targets: message.targets.clone(),
            payload,
            created_at: message.created_at,
        })
    }

    /// Sees to it that the template is among `templates`, and returns its version.
    fn learn(
        &mut self,
        store: &mut impl Store,
        id: Uuid,
        version: Option<i32>,
    ) -> Result<i32, Unprepared> {
        let deleted = || {
            let reason = format!("template {id} was deleted after this message was enqueued");
            Unprepared::Failed(Failure::permanent("template_deleted", reason))
        };
        let mut version = version.ok_or_else(deleted)?;
        if !self.templates.contains(id, version) {
            let row = store.template(id).map_err(|err| match err {
                StoreError::Data(reason) => {
                    Unprepared::Failed(Failure::permanent("template", reason))
                }
                err => Unprepared::Unavailable(err),
            })?;
            let row = row.ok_or_else(deleted)?;
            version = row.version; // It may have been edited since the acquire.
            let compiled = panic::catch_unwind(|| Template::compile(&source(row)))
                .map_err(|text| Unprepared::Failed(panicked("template", text.as_ref())))?;
            self.templates.insert(id, version, compiled);
        }
        Ok(version)
    }
}

fn source(row: TemplateRow) -> TemplateSource {
    let TemplateRow { title, body, actions, mail, .. } = row;
    TemplateSource { title, body, actions, mail }
}

fn template_failure(err: &TemplateError) -> Failure {
    Failure::permanent("template", err.to_string())
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
