//! What a webhook carries: the body in the format of its endpoint, rendered once to octets.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::config::BrandingConfig;
use crate::endpoint::Format;
use crate::message::{MessageId, Prepared};
use crate::outcome::Failure;
use crate::render::markdown::to_plain;
use crate::render::{Context, JsonTemplate};
use crate::transport::webhook::target::Layout;

mod chat;

#[cfg(test)]
mod tests;

const JSON: &str = "application/json";
const CLOUD_EVENT: &str = "application/cloudevents+json; charset=utf-8";

/// Octets to sign and to send, and what they are.
pub(super) struct Encoded {
    pub(super) content_type: &'static str,
    pub(super) octets: Vec<u8>,
}

/// Encodes a message.
pub(super) fn encode(
    layout: &Layout,
    message: &Prepared,
    branding: &BrandingConfig,
) -> Result<Encoded, Failure> {
    let texts = Texts { title: to_plain(&message.title), body: to_plain(&message.body) };
    let json = |octets| Ok(Encoded { content_type: JSON, octets });
    match layout {
        Layout::Known(Format::CloudEvents) => {
            let octets = write(message, &Event::new(message, &texts))?;
            Ok(Encoded { content_type: CLOUD_EVENT, octets })
        }
        Layout::Known(Format::Slack) => json(write(message, &chat::slack(message, &texts))?),
        Layout::Known(Format::Teams) => json(write(message, &chat::teams(message, &texts))?),
        Layout::Known(Format::Discord) => json(write(message, &chat::discord(message, &texts))?),
        Layout::Known(_) => json(write(message, &Document::new(message, &texts))?),
        Layout::Template(template) => json(render(template, message, &texts, branding)?),
    }
}

/// Title and body as plain text.
struct Texts {
    title: String,
    body: String,
}

/// Our own document, schema 1.1. The order of the fields is the order on the wire.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "_version")]
    version: &'static str,
    msg_id: MessageId,
    payload: &'a Value,
    title: &'a str,
    body: &'a str,
    title_markdown: &'a str,
    body_markdown: &'a str,
}

impl<'a> Document<'a> {
    fn new(message: &'a Prepared, texts: &'a Texts) -> Self {
        Self {
            version: "1.1",
            msg_id: message.id,
            payload: &message.payload,
            title: &texts.title,
            body: &texts.body,
            title_markdown: &message.title,
            body_markdown: &message.body,
        }
    }
}

/// The envelope of `CloudEvents` 1.0, JSON format, "Structured Content Mode".
#[derive(Serialize)]
struct Event<'a> {
    specversion: &'static str,
    id: MessageId,
    source: &'static str,
    r#type: String,
    time: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    subject: &'a str,
    datacontenttype: &'static str,
    data: Document<'a>,
}

impl<'a> Event<'a> {
    fn new(message: &'a Prepared, texts: &'a Texts) -> Self {
        let time = Timestamp::try_from(message.created_at).unwrap_or(Timestamp::UNIX_EPOCH);
        Self {
            specversion: "1.0",
            id: message.id,
            source: "urn:postrider",
            r#type: format!("postrider.{}", message.template_name),
            time: time.to_string(),
            subject: &message.recipient.id,
            datacontenttype: JSON,
            data: Document::new(message, texts),
        }
    }
}

fn write(message: &Prepared, document: &impl Serialize) -> Result<Vec<u8>, Failure> {
    let texts = 2 * (message.title.len() + message.body.len());
    let mut octets = Vec::with_capacity(1024 + texts);
    serde_json::to_writer(&mut octets, document)
        .map_err(|error| Failure::permanent("encode", format!("encode the payload: {error}")))?;
    Ok(octets)
}

/// What the template of an endpoint yields. It sees the payload, its labels, and the fields of
/// our own document.
fn render(
    template: &JsonTemplate,
    message: &Prepared,
    texts: &Texts,
    branding: &BrandingConfig,
) -> Result<Vec<u8>, Failure> {
    let year = Timestamp::now().to_zoned_datetime(TimeZone::UTC).year();
    let context = Context { payload: &message.payload, branding, year };
    let fields = json!({
        "msg_id": message.id, "title": texts.title, "body": texts.body,
        "title_markdown": message.title, "body_markdown": message.body,
    });
    let fields = if let Value::Object(fields) = fields { fields } else { Map::new() };
    let rendered = template.render(&context, fields);
    rendered.map(String::into_bytes).map_err(|error| match error.setting {
        Some(_) => Failure::blocked("setting", error.to_string()),
        None => Failure::permanent("render", error.to_string()),
    })
}
