//! From lease to prepared message: decode the payload, find the template, render.

use std::collections::HashMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use uuid::Uuid;

use crate::config::BrandingConfig;
use crate::delivery::panicked;
use crate::endpoint::EndpointSettings;
use crate::lease::{Lease, Message};
use crate::message::{Prepared, Recipient};
use crate::outcome::Failure;
use crate::render::{Cache, Context, RenderError, Rendered, Template, TemplateError};
use crate::store::{Store, StoreError};

/// Version of the payload document, up to its last number, that this build reads.
const PAYLOAD_VERSION: &str = "1.";

/// Most endpoints that are kept.
const ENDPOINTS_MAX: usize = 1024;

/// Renders messages; keeps compiled templates.
pub(crate) struct Preparer {
    branding: BrandingConfig,
    templates: Cache,
    /// Endpoints by name, each of the version that was asked for last.
    endpoints: HashMap<String, Arc<EndpointSettings>>,
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
        Self { branding, templates: Cache::default(), endpoints: HashMap::new() }
    }

    /// Prepares the leased message, reading its template from `store` if it is not known yet.
    pub(crate) fn prepare(
        &mut self,
        store: &mut impl Store,
        lease: &Lease,
    ) -> Result<Prepared, Unprepared> {
        let message = lease.message();
        let mut payload = decode(message.payload.get()).map_err(Unprepared::Failed)?;
        let endpoint = self.endpoint(store, message)?;
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
            endpoint: endpoint
                .as_ref()
                .map(|endpoint| endpoint.url.clone())
                .or_else(|| message.endpoint.clone()),
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

    /// The settings of the endpoint that the message names; none for a URL.
    fn endpoint(
        &mut self,
        store: &mut impl Store,
        message: &Message,
    ) -> Result<Option<Arc<EndpointSettings>>, Unprepared> {
        let Some(name) = message.endpoint.as_deref().filter(|text| !text.contains("://")) else {
            return Ok(None);
        };
        let deleted = || {
            let reason = format!("endpoint `{name}` was deleted after this message was enqueued");
            Unprepared::Failed(Failure::permanent("endpoint_deleted", reason))
        };
        let version = message.endpoint_version.ok_or_else(deleted)?;
        if self.endpoints.get(name).is_none_or(|known| known.version != version) {
            let found = store.endpoint(name).map_err(|err| unreadable("endpoint", err))?;
            let found = Arc::new(found.ok_or_else(deleted)?);
            if self.endpoints.len() == ENDPOINTS_MAX {
                self.endpoints.clear(); // Rarer than a better way would be worth.
            }
            self.endpoints.insert(name.to_owned(), found);
        }
        let endpoint = &self.endpoints[name];
        match &endpoint.disabled {
            Some(why) => Err(Unprepared::Failed(disabled(name, why))),
            None => Ok(Some(Arc::clone(endpoint))),
        }
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
            let row = store.template(id).map_err(|err| unreadable("template", err))?;
            let row = row.ok_or_else(deleted)?;
            version = row.version; // It may have been edited since the acquire.
            let compiled = panic::catch_unwind(|| Template::compile(&row.into()))
                .map_err(|text| Unprepared::Failed(panicked("template", text.as_ref())))?;
            self.templates.insert(id, version, compiled);
        }
        Ok(version)
    }
}

/// A row that the database did not give, or that makes no sense.
fn unreadable(code: &str, err: StoreError) -> Unprepared {
    match err {
        StoreError::Data(reason) => Unprepared::Failed(Failure::permanent(code, reason)),
        err => Unprepared::Unavailable(err),
    }
}

fn disabled(name: &str, why: &str) -> Failure {
    let reason = format!(
        "endpoint `{name}` is disabled; `postrider endpoint enable {name}`, then \
         `postrider message retry`, sends this after all ({why})"
    );
    Failure::permanent("endpoint_disabled", reason)
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
