//! Notifications as the JSON that the database takes.

use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::{EnqueueError, Notification};

/// Deepest nesting of `data` or of a label; `0008_depth.sql` refuses what is deeper, too.
const DEPTH_MAX: usize = 64;

/// Each notification as JSON; an error gives the number of the one at fault, counted from `first`.
pub(super) fn documents(
    notifications: &[Notification],
    first: usize,
) -> Result<Vec<Box<RawValue>>, EnqueueError> {
    let numbered = |(number, notification)| {
        document(notification).map_err(|err| match err {
            EnqueueError::InvalidPayload(text) => {
                EnqueueError::InvalidPayload(format!("notification {number}: {text}"))
            }
            err => err,
        })
    };
    (first..).zip(notifications).map(numbered).collect()
}

/// A notification as JSON. Finds what the database would refuse without saying where, or only after we
/// had recursed into it.
pub(super) fn document(notification: &Notification) -> Result<Box<RawValue>, EnqueueError> {
    let unwritable = |err| EnqueueError::InvalidPayload(format!("invalid payload: {err}"));
    if notification.data.iter().chain(notification.labels.values()).any(is_too_deep) {
        let reason = format!("invalid payload: it nests deeper than {DEPTH_MAX} levels");
        return Err(EnqueueError::InvalidPayload(reason));
    }
    let document = to_raw_value(notification).map_err(unwritable)?;
    // Almost none holds these six characters, which may also be an escaped backslash and a number.
    if document.get().contains("\\u0000") {
        let value = serde_json::to_value(notification).map_err(unwritable)?;
        if let Some(path) = nul_path(&value) {
            return Err(EnqueueError::InvalidPayload(format!(
                "invalid payload: {} holds a NUL character, which PostgreSQL cannot store",
                path.trim_start_matches('.')
            )));
        }
    }
    Ok(document)
}

/// Without recursion, which is what makes depth dangerous.
fn is_too_deep(value: &Value) -> bool {
    let mut left = vec![(value, 1)];
    while let Some((value, depth)) = left.pop() {
        if DEPTH_MAX < depth {
            return true;
        }
        match value {
            Value::Array(items) => left.extend(items.iter().map(|it| (it, depth + 1))),
            Value::Object(fields) => left.extend(fields.values().map(|it| (it, depth + 1))),
            _ => (),
        }
    }
    false
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
        let err = document(&notification).expect_err("a NUL must be refused").to_string();
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
        assert!(document(&notification).is_ok());
    }
}
