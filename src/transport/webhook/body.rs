//! What a webhook carries: the body in the format of its endpoint, rendered once to octets.

use std::time::Instant;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::config::BrandingConfig;
use crate::endpoint::Format;
use crate::message::{MessageId, Prepared};
use crate::outcome::Failure;
use crate::payload::Value;
use crate::render::markdown::to_plain;
use crate::render::{Context, JsonTemplate, TIME_MAX};
use crate::transport::Deadline;
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
    deadline: Deadline,
) -> Result<Encoded, Failure> {
    let texts = Texts { title: to_plain(&message.title), body: to_plain(&message.body) };
    let (content_type, octets) = match layout {
        Layout::Known(Format::CloudEvents) => (CLOUD_EVENT, event(message, &texts)),
        Layout::Known(Format::Slack) => (JSON, json(&chat::slack(message, &texts))),
        Layout::Known(Format::Teams) => (JSON, json(&chat::teams(message, &texts))),
        Layout::Known(Format::Discord) => (JSON, json(&chat::discord(message, &texts))),
        Layout::Known(_) => {
            let mut out = room_for(message);
            document(&mut out, message, &texts);
            (JSON, out)
        }
        Layout::Template(template) => {
            (JSON, render(template, message, &texts, (branding, deadline))?)
        }
    };
    Ok(Encoded { content_type, octets })
}

/// Title and body as plain text.
struct Texts {
    title: String,
    body: String,
}

/// Writes our own document, schema 1.1. The order of the fields is the order on the wire. The text
/// of the payload is copied as it is stored, with the rendered actions in it.
fn document(out: &mut Vec<u8>, message: &Prepared, texts: &Texts) {
    let actions = serde_json::to_string(&message.actions).expect("two strings make JSON");
    out.extend_from_slice(b"{\"_version\":\"1.1\",\"msg_id\":");
    write(out, &message.id);
    out.extend_from_slice(b",\"payload\":");
    for piece in message.payload.with_actions(&actions) {
        out.extend_from_slice(piece.as_bytes());
    }
    let fields = [
        ("title", &texts.title),
        ("body", &texts.body),
        ("title_markdown", &message.title),
        ("body_markdown", &message.body),
    ];
    for (name, text) in fields {
        out.push(b',');
        write(out, name);
        out.push(b':');
        write(out, text);
    }
    out.push(b'}');
}

/// The envelope of `CloudEvents` 1.0, JSON format, "Structured Content Mode", but for its `data`.
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
}

fn event(message: &Prepared, texts: &Texts) -> Vec<u8> {
    let time = Timestamp::try_from(message.created_at).unwrap_or(Timestamp::UNIX_EPOCH);
    let event = Event {
        specversion: "1.0",
        id: message.id,
        source: "urn:postrider",
        r#type: format!("postrider.{}", message.template_name),
        time: time.to_string(),
        subject: &message.recipient.id,
        datacontenttype: JSON,
    };
    let mut out = room_for(message);
    write(&mut out, &event);
    out.pop();
    out.extend_from_slice(b",\"data\":");
    document(&mut out, message, texts);
    out.push(b'}');
    out
}

/// Room for a document, so that a large one is not moved while it grows.
fn room_for(message: &Prepared) -> Vec<u8> {
    let texts = 2 * (message.title.len() + message.body.len());
    Vec::with_capacity(1024 + message.payload.text().len() + texts + texts / 4)
}

fn json(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, value);
    out
}

fn write(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(out, value).expect("texts and values of ours make JSON");
}

/// What the template of an endpoint yields. It sees the payload, its labels, and the fields of
/// our own document.
fn render(
    template: &JsonTemplate,
    message: &Prepared,
    texts: &Texts,
    (branding, deadline): (&BrandingConfig, Deadline),
) -> Result<Vec<u8>, Failure> {
    let payload = message.payload.read();
    let payload = payload.map_err(|err| Failure::permanent("payload", err.to_string()))?;
    let year = Timestamp::now().to_zoned_datetime(TimeZone::UTC).year();
    let context = Context { payload: &payload, branding, year };
    let fields = [
        ("msg_id", Value::string(message.id.to_string())),
        ("title", Value::string(&*texts.title)),
        ("body", Value::string(&*texts.body)),
        ("title_markdown", Value::string(&*message.title)),
        ("body_markdown", Value::string(&*message.body)),
    ];
    let left = deadline.at_most(TIME_MAX).remaining().unwrap_or_default();
    let rendered = template.render(&context, &fields, Instant::now() + left);
    rendered.map(String::into_bytes).map_err(|error| error.failure())
}
