//! The JSON document that a webhook carries, schema 1.1.

use serde::Serialize;
use serde_json::Value;

use crate::message::{MessageId, Prepared};
use crate::outcome::Failure;
use crate::render::markdown::to_plain;

/// What the receiver reads. The order of the fields is the order on the wire.
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

/// Encodes the document of one attempt: the octets that are signed and sent, UTF-8.
pub(super) fn encode(message: &Prepared) -> Result<Vec<u8>, Failure> {
    let (title, body) = (to_plain(&message.title), to_plain(&message.body));
    let document = Document {
        version: "1.1",
        msg_id: message.id,
        payload: &message.payload,
        title: &title,
        body: &body,
        title_markdown: &message.title,
        body_markdown: &message.body,
    };
    let texts = 2 * (message.title.len() + message.body.len());
    let mut octets = Vec::with_capacity(1024 + texts);
    serde_json::to_writer(&mut octets, &document)
        .map_err(|error| Failure::permanent("encode", format!("encode the payload: {error}")))?;
    Ok(octets)
}
