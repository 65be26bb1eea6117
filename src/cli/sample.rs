//! A message made of a saved template and sample values, for previews and tests.

use std::time::{Instant, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use postgres::Client;
use postrider::config::BrandingConfig;
use postrider::message::{MessageId, Prepared, Recipient};
use postrider::payload::Payload;
use postrider::render::{Context, TIME_MAX};
use postrider::store::TemplateRow;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::output::Failed;
use super::template::{compile, find};

/// Values for a template.
pub(super) struct Values {
    pub(super) labels: Map<String, Value>,
    pub(super) data: Option<Value>,
}

/// The saved template, rendered with values that stand for those of a real message.
pub(super) fn sample(
    client: &mut Client,
    branding: &BrandingConfig,
    name: &str,
) -> Result<Prepared, Failed> {
    let row = find(client, name)?;
    let texts = [&row.title, &row.body]
        .into_iter()
        .chain(row.actions.iter().flat_map(|action| [&action.label, &action.url]));
    let words =
        texts.flat_map(|text| text.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '.'));
    let named = words.filter_map(|word| word.strip_prefix("labels."));
    let labels = named.map(|label| (label.to_owned(), format!("<{label}>").into())).collect();
    render(row, branding, &Values { labels, data: None })
}

/// The template, rendered with these values.
pub(super) fn render(
    row: TemplateRow,
    branding: &BrandingConfig,
    values: &Values,
) -> Result<Prepared, Failed> {
    let (id, name) = (row.id, row.name.clone());
    let payload = sample_payload(&name, id, &values.labels, values.data.as_ref());
    let payload = Payload::from(payload);
    let now = Timestamp::now();
    let year = now.to_zoned_datetime(TimeZone::UTC).year();
    let rendered = {
        let document = payload.read().map_err(|err| Failed::new(err.to_string()))?;
        compile(&row.into())?
            .render(&Context { payload: &document, branding, year }, Instant::now() + TIME_MAX)
            .map_err(|err| Failed::new(err.to_string()))?
    };
    Ok(Prepared {
        id: MessageId(Uuid::nil()),
        notification_id: Uuid::nil(),
        template_id: id,
        template_name: name,
        attempt: 1,
        recipient: sample_recipient(),
        endpoint: None,
        endpoint_settings: None,
        title: rendered.title,
        body: rendered.body,
        actions: rendered.actions,
        mail: rendered.mail,
        targets: Vec::new(),
        payload,
        created_at: SystemTime::try_from(now).unwrap_or(SystemTime::UNIX_EPOCH),
    })
}

fn sample_recipient() -> Recipient {
    Recipient {
        id: "preview".into(),
        email: Some("ada@example.com".into()),
        name: Some("Ada Lovelace".into()),
        username: Some("ada".into()),
    }
}

fn sample_payload(
    name: &str,
    id: Uuid,
    labels: &Map<String, Value>,
    data: Option<&Value>,
) -> Value {
    let recipient = sample_recipient();
    json!({
        "_version": "1.2", "notification_name": name, "notification_template_id": id,
        "user_id": recipient.id, "user_email": recipient.email, "user_name": recipient.name,
        "user_username": recipient.username, "actions": [], "labels": labels, "data": data,
        "targets": []
    })
}
