//! A tree of values that borrows from the text.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::number;
use super::read::Reader;
use super::{PayloadError, SIZE_MAX};

/// A value of a payload document. Numbers are the text that is stored, so that no digit is lost.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number as it is written.
    Number(Cow<'a, str>),
    /// A string without its quotes and escapes.
    String(Cow<'a, str>),
    /// A list: its JSON text, and its elements.
    List(&'a str, Box<[Value<'a>]>),
    /// An object: its JSON text, and its members in the order of their names.
    Map(&'a str, Box<[(Cow<'a, str>, Value<'a>)]>),
}

impl<'a> Value<'a> {
    /// Reads a JSON text.
    ///
    /// # Errors
    ///
    /// It is no JSON, or more than a document may be.
    pub fn read(text: &'a str) -> Result<Self, PayloadError> {
        if SIZE_MAX < text.len() {
            return Err(PayloadError::Limit("1 MiB"));
        }
        Reader::new(text).whole()
    }

    /// A text as a value.
    pub fn string(text: impl Into<Cow<'a, str>>) -> Self {
        Self::String(text.into())
    }

    /// A member of an object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Map(_, members) = self else { return None };
        let found = members.binary_search_by(|(key, _)| key.as_ref().cmp(name));
        found.ok().map(|idx| &members[idx].1)
    }

    /// The string that this is.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// What a template shows: nothing for null, the JSON text of a list or an object.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Null => Cow::Borrowed(""),
            Self::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Self::Number(text) | Self::String(text) => Cow::Borrowed(text),
            Self::List(json, _) | Self::Map(json, _) => Cow::Borrowed(json),
        }
    }

    /// Bytes that looking at all of it costs.
    pub(crate) fn size(&self) -> usize {
        self.text().len()
    }

    /// Elements, members, or bytes of a string.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::List(_, items) => items.len(),
            Self::Map(_, members) => members.len(),
            Self::String(text) => text.len(),
            Self::Null | Self::Bool(_) | Self::Number(_) => 0,
        }
    }

    /// Whether a condition takes it for true; zero is false unless `zero` is true.
    pub(crate) fn is_true(&self, zero: bool) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(value) => *value,
            Self::Number(text) => zero || !number::is_zero(text),
            Self::String(_) | Self::List(..) | Self::Map(..) => 0 < self.len(),
        }
    }

    /// The place in a list that this number names.
    pub(crate) fn as_index(&self) -> Option<usize> {
        if let Self::Number(text) = self { text.parse().ok() } else { None }
    }

    /// Order of two numbers, strings or booleans; a string that spells a number is one beside a
    /// number.
    pub(crate) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => Some(number::compare(a, b)),
            (Self::String(a), Self::String(b)) => Some(a.cmp(b)),
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Number(a), Self::String(b)) if number::is_number(b) => {
                Some(number::compare(a, b))
            }
            (Self::String(a), Self::Number(b)) if number::is_number(a) => {
                Some(number::compare(a, b))
            }
            _ => None,
        }
    }

    /// The same as a value of `serde_json`.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(value) => (*value).into(),
            // Without all digits, a number that is too large for it stays a text.
            Self::Number(text) => {
                text.parse().map_or_else(|_| text.as_ref().into(), serde_json::Value::Number)
            }
            Self::String(text) => text.as_ref().into(),
            Self::List(_, items) => items.iter().map(Self::to_json).collect(),
            Self::Map(_, members) => {
                members.iter().map(|(key, value)| (key.as_ref(), value.to_json())).collect()
            }
        }
    }
}

/// Numbers are equal if they are worth the same: 1 and 1.0.
impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Number(a), Self::Number(b)) => number::compare(a, b).is_eq(),
            (Self::String(a), Self::String(b)) => a == b,
            (Self::List(_, a), Self::List(_, b)) => a == b,
            (Self::Map(_, a), Self::Map(_, b)) => a == b,
            _ => false,
        }
    }
}
