//! What is looked for in a notification before the database sees it.

use jiff::Timestamp;
use serde_json::Value;

use super::{EnqueueError, Notification};

/// Deepest nesting of `data` or of a label; `0008_depth.sql` refuses what is deeper, too.
const DEPTH_MAX: usize = 64;

/// Finds what the database would refuse without saying where, or only after we had recursed into it.
pub(super) fn check(notification: &Notification) -> Result<(), EnqueueError> {
    let it = notification;
    let unwritable = |err: &dyn std::error::Error| {
        EnqueueError::InvalidPayload(format!("invalid payload: {err}"))
    };
    let mut nul = false;
    for value in it.data.iter().chain(it.labels.values()) {
        if !walk(value, 1, &mut nul) {
            let reason = format!("invalid payload: it nests deeper than {DEPTH_MAX} levels");
            return Err(EnqueueError::InvalidPayload(reason));
        }
    }
    let recipient = &it.recipient;
    let optional =
        [&recipient.email, &recipient.name, &recipient.username, &it.dedupe_key, &it.endpoint];
    let always = [&it.template, &recipient.id, &it.created_by];
    let lists = it.targets.iter().chain(&it.methods).chain(it.labels.keys());
    let mut texts = always.into_iter().chain(optional.into_iter().flatten()).chain(lists);
    if nul || texts.any(|text| holds_nul(text)) {
        let value = serde_json::to_value(notification).map_err(|err| unwritable(&err))?;
        let path = nul_path(&value).unwrap_or_default();
        return Err(EnqueueError::InvalidPayload(format!(
            "invalid payload: {} holds a NUL character, which PostgreSQL cannot store",
            path.trim_start_matches('.')
        )));
    }
    for time in it.schedule_at.into_iter().chain(it.expires_at) {
        Timestamp::try_from(time).map_err(|err| unwritable(&err))?;
    }
    Ok(())
}

fn holds_nul(text: &str) -> bool {
    text.as_bytes().contains(&0)
}

/// Whether a value is no deeper than allowed, which is as deep as this recurses; tells of a NUL on its way.
fn walk(value: &Value, depth: usize, nul: &mut bool) -> bool {
    if DEPTH_MAX < depth {
        return false;
    }
    match value {
        Value::String(text) => *nul |= holds_nul(text),
        Value::Array(items) => return items.iter().all(|it| walk(it, depth + 1, nul)),
        Value::Object(fields) => {
            *nul |= fields.keys().any(|name| holds_nul(name));
            return fields.values().all(|it| walk(it, depth + 1, nul));
        }
        _ => (),
    }
    true
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
