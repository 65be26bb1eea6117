//! What the database cannot be told: a NUL in a text, nesting that would end our own stack, and a
//! time out of all calendars. Every other rule stands in `migrations/0002_enqueue.sql`.

use jiff::Timestamp;
use serde_json::Value;

use super::{EnqueueError, Notification};

/// Deepest nesting of `data` or of a label that the database takes.
const DEPTH_MAX: usize = 64;
/// Bytes that a text, a value or the name of a field takes beside its own, at most.
const ENTRY: usize = 16;
/// Bytes that a notification takes beside its values.
const FRAME: usize = 512;

/// Finds what cannot be sent. Returns the bytes that a notification takes in the database, in memory
/// or as text, or a few more.
pub(super) fn check(notification: &Notification) -> Result<usize, EnqueueError> {
    let it = notification;
    let invalid = |what: String| EnqueueError::InvalidPayload(format!("invalid payload: {what}"));
    let mut seen = Seen { bytes: FRAME, nul: false };
    texts(it).for_each(|text| seen.text(text));
    for value in it.data.iter().chain(it.labels.values()) {
        if !seen.value(value, 1) {
            return Err(invalid(format!("it nests deeper than {DEPTH_MAX} levels")));
        }
    }
    for time in it.schedule_at.into_iter().chain(it.expires_at) {
        Timestamp::try_from(time).map_err(|err| invalid(err.to_string()))?;
    }
    if seen.nul {
        let value = serde_json::to_value(it).map_err(|err| invalid(err.to_string()))?;
        let path = nul_path(&value).unwrap_or_default();
        let path = path.trim_start_matches('.');
        return Err(invalid(format!(
            "{path} holds a NUL character, which PostgreSQL cannot store"
        )));
    }
    Ok(seen.bytes)
}

/// All texts but those inside of values.
fn texts(it: &Notification) -> impl Iterator<Item = &str> {
    let recipient = &it.recipient;
    let optional =
        [&recipient.email, &recipient.name, &recipient.username, &it.dedupe_key, &it.endpoint];
    let always = [&it.template, &recipient.id, &it.created_by];
    let lists = it.targets.iter().chain(&it.methods).chain(it.labels.keys());
    always.into_iter().chain(optional.into_iter().flatten()).chain(lists).map(String::as_str)
}

/// What was met on the way through a notification.
struct Seen {
    bytes: usize,
    nul: bool,
}

impl Seen {
    /// A text, as long as JSON writes it.
    fn text(&mut self, text: &str) {
        let escaped = |byte| match byte {
            0..=0x1f => 6,
            b'"' | b'\\' => 2,
            _ => 1,
        };
        self.bytes += ENTRY + text.bytes().map(escaped).sum::<usize>();
        self.nul |= text.as_bytes().contains(&0);
    }

    /// A number, as long as the database writes it: without an exponent.
    fn number(&mut self, text: &str) {
        let exponent = text.split_once(['e', 'E']).and_then(|(_, digits)| digits.parse().ok());
        self.bytes +=
            text.len() + exponent.map_or(0, |exponent: i32| exponent.unsigned_abs() as usize);
    }

    /// A value; `false` if it nests deeper than allowed, which is as deep as this recurses.
    fn value(&mut self, value: &Value, depth: usize) -> bool {
        self.bytes += ENTRY;
        match value {
            _ if DEPTH_MAX < depth => return false,
            Value::String(text) => self.text(text),
            Value::Number(number) => self.number(number.as_str()),
            Value::Array(items) => return items.iter().all(|it| self.value(it, depth + 1)),
            Value::Object(fields) => {
                return fields.iter().all(|(name, field)| {
                    self.text(name);
                    self.value(field, depth + 1)
                });
            }
            Value::Null | Value::Bool(_) => (),
        }
        true
    }
}

/// Path of the first key or string that holds a NUL.
fn nul_path(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(at, item)| nul_path(item).map(|rest| format!("[{at}]{rest}"))),
        Value::Object(fields) => fields.iter().find_map(|(name, field)| {
            let rest = if name.contains('\0') { Some(String::new()) } else { nul_path(field) };
            rest.map(|rest| format!(".{}{rest}", name.escape_default()))
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::message::Recipient;

    #[track_caller]
    fn check_nul(data: Value, expected: &str) {
        let recipient = Recipient { id: "1".into(), ..Recipient::default() };
        let notification = Notification { data: Some(data), ..Notification::new("t", recipient) };
        let err = check(&notification).expect_err("a NUL must be refused").to_string();
        assert!(err.contains(expected), "{err}");
    }

    #[test]
    fn c59_a_nul_is_refused_and_its_path_named() {
        check_nul(json!({"a": "x\0"}), "data.a holds");
        check_nul(json!({"a\0": 1}), "data.a\\u{0} holds");
        check_nul(json!({"a": [{"b": "\0"}]}), "data.a[0].b holds");
    }

    #[test]
    fn what_only_looks_like_a_nul_is_let_through() {
        let notification = Notification::new("t", Recipient::default()).with_label("a", "\\u0000");
        assert!(check(&notification).is_ok());
    }
}
