//! Values within a JSON document.

use serde::de::IgnoredAny;

use super::{mark, next_value};

/// What a mark begins with that is around a JSON document.
const DOCUMENT: char = '\u{3}';

/// A value in a JSON document, to be written by [`finish_json`].
pub(crate) fn json_value(value: &str) -> String {
    mark(&json_text(value))
}

/// A text as it stands within a string of JSON.
fn json_text(text: &str) -> String {
    let quoted = serde_json::to_string(text).expect("a string makes JSON");
    quoted[1..quoted.len() - 1].to_owned()
}

/// A list or an object in a JSON document, as its JSON text, to be written by [`finish_json`].
pub(crate) fn json_document(json: &str) -> String {
    mark(&format!("{DOCUMENT}{json}"))
}

/// Writes the values of a JSON document: within a string as a part of it, elsewhere as the list,
/// object, number, `true`, `false` or `null` that it is or spells, and else as a string. So no
/// value can end the string that it is in, nor add a member or an element.
///
/// # Errors
///
/// The result is no JSON. The message shows no value.
pub(crate) fn finish_json(text: &str) -> Result<String, String> {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    let mut cursor = JsonCursor::default();
    while let Some((before, (value, after))) = next_value(rest) {
        out.push_str(before);
        cursor.pass(before);
        if cursor.escaped {
            return Err("a backslash before a value would change it; remove it".into());
        }
        if let Some(document) = value.strip_prefix(DOCUMENT) {
            out.push_str(&if cursor.in_string { json_text(document) } else { document.into() });
        } else if cursor.in_string || is_json_scalar(value) {
            out.push_str(value);
        } else {
            out.extend(["\"", value, "\""]);
        }
        rest = after;
    }
    out.push_str(rest);
    match serde_json::from_str::<IgnoredAny>(&out) {
        Ok(IgnoredAny) => Ok(out),
        Err(err) => {
            let (line, column) = (err.line(), err.column());
            let what = if err.is_eof() { "it ends too early" } else { "a syntax error" };
            Err(format!(
                "this yields no JSON: {what}, in line {line}, column {column} of the result"
            ))
        }
    }
}

/// Whether a text that is being read is within a string.
#[derive(Default)]
struct JsonCursor {
    in_string: bool,
    /// After a backslash.
    escaped: bool,
}

impl JsonCursor {
    fn pass(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                _ if self.escaped => self.escaped = false,
                '\\' if self.in_string => self.escaped = true,
                '"' => self.in_string = !self.in_string,
                _ => (),
            }
        }
    }
}

fn is_json_scalar(value: &str) -> bool {
    let trimmed = value.trim() == value && !value.starts_with(['"', '[', '{']);
    trimmed && serde_json::from_str::<IgnoredAny>(value).is_ok()
}
