//! The payload document of a message: its text, and how it is read.
//!
//! The text is kept as it is stored. A tree of it ([`Value`]) is made where something is rendered,
//! and lasts no longer. The reader is our own: `serde_json` takes some names of members for its
//! own, and makes a float of a number unless it is built to keep all digits for everybody.

mod number;
mod read;
mod value;

#[cfg(test)]
mod tests;

use std::ops::Range;

use serde::Serialize;
use serde_json::value::RawValue;

use read::Reader;

pub use value::Value;

/// Most bytes of a document.
pub const SIZE_MAX: usize = 1 << 20;
/// Most values of a document: lists, objects, and what is in them. Names of members do not count. Labels and
/// data may have 20,000; the rest is for the document's own fields and its targets.
pub const VALUES_MAX: usize = 20_200;
/// Most lists and objects around a value: the document itself, and the 64 levels that its fields
/// may have.
pub const DEPTH_MAX: usize = 65;

/// Why a document is not read. Shows no value of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// It is too much.
    #[error("the payload has more than {0}; put less data into the message")]
    Limit(&'static str),
    /// It is no JSON.
    #[error("the payload is no JSON at byte {0}")]
    Syntax(usize),
}

/// The payload document of a message, as text.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Payload(Box<RawValue>);

impl Payload {
    /// The whole document, JSON.
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// The JSON text of a field of the document, such as `labels` or `data`. Reads on until it
    /// finds it.
    pub fn get(&self, field: &str) -> Option<&str> {
        self.range(field).map(|range| &self.text()[range])
    }

    /// A label as text: a string without its quotes, a number or a boolean as it is written.
    pub fn label(&self, name: &str) -> Option<String> {
        let labels = self.get("labels")?;
        let label = &labels[Reader::new(labels).member(name)?];
        match Reader::new(label).whole().ok()? {
            Value::Null | Value::List(..) | Value::Map(..) => None,
            scalar => Some(scalar.text().into_owned()),
        }
    }

    /// The document as a value of `serde_json`, which takes many times the memory of the text.
    ///
    /// # Errors
    ///
    /// It is larger or deeper than a worker takes.
    pub fn to_value(&self) -> Result<serde_json::Value, PayloadError> {
        Ok(self.read()?.to_json())
    }

    /// Reads the document into a tree that borrows from the text.
    ///
    /// # Errors
    ///
    /// It has more than [`SIZE_MAX`] bytes or [`VALUES_MAX`] values, or is deeper than
    /// [`DEPTH_MAX`].
    pub fn read(&self) -> Result<Value<'_>, PayloadError> {
        Value::read(self.text())
    }

    /// The pieces of the document with `actions`, JSON, in the place of its own ones.
    pub(crate) fn with_actions<'a>(&'a self, actions: &'a str) -> [&'a str; 4] {
        let text = self.text();
        if let Some(Range { start, end }) = self.range("actions") {
            return [&text[..start], "", actions, &text[end..]];
        }
        match text.trim_end().strip_suffix('}') {
            Some(open) if open.trim() == "{" => [open, "\"actions\": ", actions, "}"],
            Some(open) => [open, ", \"actions\": ", actions, "}"],
            None => [text, "", "", ""],
        }
    }

    fn range(&self, field: &str) -> Option<Range<usize>> {
        Reader::new(self.text()).member(field)
    }
}

impl From<Box<RawValue>> for Payload {
    fn from(text: Box<RawValue>) -> Self {
        Self(text)
    }
}

impl From<serde_json::Value> for Payload {
    fn from(value: serde_json::Value) -> Self {
        Self(RawValue::from_string(value.to_string()).expect("a value makes JSON"))
    }
}
