//! The document of a notification as the database would write it, but for the template's id, which it knows.

use serde_json::{Map, Number, Value};

use super::Notification;
use super::document::check;

/// Digits of a number that PostgreSQL takes, and writes as they came.
const DIGITS_MAX: usize = 1000;

/// Most octets of a document.
pub(super) const DOCUMENT_MAX: usize = 1 << 20;

/// Writes the text as [`write_content`] does, and returns whether it will do: whether nothing is wrong with the
/// notification that can be told without the database, and the text is not rough. `mailed` is one that goes by mail.
pub(super) fn write_plain(notification: &Notification, mailed: bool, out: &mut String) -> bool {
    let recipient = &notification.recipient;
    let nobody = recipient.id.is_empty()
        || mailed && recipient.email.as_deref().unwrap_or_default().is_empty();
    !nobody && check(notification).is_ok() && !write_content(notification, out)
}

/// Writes the text up to the value of the last field. Returns whether it is rough: whether the database would
/// write the same JSON in another form. It sorts the fields of an object by length, then by octets.
///
/// Recurses as deep as values nest, which is checked before.
pub(super) fn write_content(notification: &Notification, out: &mut String) -> bool {
    let it = notification;
    let mut rough = false;
    out.push_str(r#"{"data": "#);
    match &it.data {
        Some(data) => write_value(data, out, &mut rough),
        None => out.push_str("null"),
    }
    out.push_str(r#", "labels": "#);
    write_object(&it.labels, out, &mut rough);
    out.push_str(r#", "actions": [], "targets": ["#);
    for (idx, target) in it.targets.iter().enumerate() {
        out.push_str(if idx == 0 { "" } else { ", " });
        write_string(target, out);
    }
    out.push(']');
    let username = it.recipient.username.as_deref().unwrap_or_default();
    let name = it.recipient.name.as_deref().filter(|name| !name.is_empty()).unwrap_or(username);
    for (field, text) in [
        ("user_id", &*it.recipient.id),
        ("_version", "1.2"),
        ("user_name", name),
        ("user_email", it.recipient.email.as_deref().unwrap_or_default()),
        ("user_username", username),
        ("notification_name", &it.template),
    ] {
        out.push_str(r#", ""#);
        out.push_str(field);
        out.push_str(r#"": "#);
        write_string(text, out);
    }
    out.push_str(r#", "notification_template_id": "#);
    rough
}

fn write_value(value: &Value, out: &mut String, rough: &mut bool) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => {
            *rough |= !is_plain(number);
            out.push_str(number.as_str());
        }
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (idx, item) in items.iter().enumerate() {
                out.push_str(if idx == 0 { "" } else { ", " });
                write_value(item, out, rough);
            }
            out.push(']');
        }
        Value::Object(fields) => write_object(fields, out, rough),
    }
}

fn write_object(object: &Map<String, Value>, out: &mut String, rough: &mut bool) {
    let mut fields: Vec<_> = object.iter().collect();
    fields.sort_unstable_by_key(|(name, _)| (name.len(), name.as_str()));
    out.push('{');
    for (idx, (name, value)) in fields.into_iter().enumerate() {
        // Their length is another one where the database is not in UTF-8.
        *rough |= !name.is_ascii();
        out.push_str(if idx == 0 { "" } else { ", " });
        write_string(name, out);
        out.push_str(": ");
        write_value(value, out, rough);
    }
    out.push('}');
}

/// The database escapes the same characters in the same way.
pub(super) fn write_string(text: &str, out: &mut String) {
    out.push_str(&serde_json::to_string(text).expect("a string makes JSON"));
}

/// Whether the database keeps its digits as they are: it writes exponents out, and knows no zero below zero.
fn is_plain(number: &Number) -> bool {
    let text = number.as_str();
    let below_zero = || text.contains(|c| ('1'..='9').contains(&c));
    text.len() <= DIGITS_MAX
        && !text.contains(['e', 'E'])
        && (!text.starts_with("-0") || below_zero())
}
