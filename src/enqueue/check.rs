//! What the database cannot be told, or only after we had recursed into it.

use serde_json::Value;

use super::{EnqueueError, Notification};

/// Deepest nesting of `data` or of a label, as `postrider.payload_fault` says it.
const DEPTH_MAX: usize = 64;

/// Finds a NUL, which PostgreSQL does not store, and nesting that is too deep to write. Returns about how many
/// bytes labels and data have as text.
pub(super) fn check(notification: &Notification) -> Result<usize, EnqueueError> {
    let it = notification;
    let mut seen = Seen::default();
    for (name, value) in &it.labels {
        seen.text(name);
        seen.walk(value, 1)?;
    }
    it.data.iter().try_for_each(|data| seen.walk(data, 1))?;
    let bytes = seen.bytes;
    let recipient = &it.recipient;
    let optional =
        [&recipient.email, &recipient.name, &recipient.username, &it.dedupe_key, &it.endpoint];
    let always = [&it.template, &recipient.id, &it.created_by];
    let lists = it.targets.iter().chain(&it.methods);
    always
        .into_iter()
        .chain(optional.into_iter().flatten())
        .chain(lists)
        .for_each(|it| seen.text(it));
    if !seen.nul {
        return Ok(bytes);
    }
    let value = serde_json::to_value(notification);
    let path = value.ok().as_ref().and_then(nul_path).unwrap_or_default();
    Err(EnqueueError::InvalidPayload(format!(
        "invalid payload: {} holds a NUL character, which PostgreSQL cannot store",
        path.trim_start_matches('.')
    )))
}

/// What was met on the way through values.
#[derive(Default)]
struct Seen {
    nul: bool,
    bytes: usize,
}

impl Seen {
    fn text(&mut self, text: &str) {
        self.nul |= text.as_bytes().contains(&0);
        self.bytes += text.len();
    }

    /// Recurses no deeper than is allowed.
    fn walk(&mut self, value: &Value, depth: usize) -> Result<(), EnqueueError> {
        if DEPTH_MAX < depth {
            let reason = format!("invalid payload: it nests deeper than {DEPTH_MAX} levels");
            return Err(EnqueueError::InvalidPayload(reason));
        }
        self.bytes += 1;
        match value {
            Value::String(text) => self.text(text),
            Value::Number(number) => self.bytes += number.as_str().len(),
            Value::Array(items) => return items.iter().try_for_each(|it| self.walk(it, depth + 1)),
            Value::Object(fields) => {
                for (name, field) in fields {
                    self.text(name);
                    self.walk(field, depth + 1)?;
                }
            }
            Value::Null | Value::Bool(_) => (),
        }
        Ok(())
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
