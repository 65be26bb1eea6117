//! What a template can call, and what it is worth.
//!
//! - `lookup len eq ne lt gt lte gte and or not` take values.
//! - `base_url app_name logo_url current_year` take nothing.
//! - `date VALUE [FORMAT] [tz=ZONE]` prints an RFC 3339 time by a strftime format.
//! - `code VALUE` shows a value as code.
//! - `urlencode VALUE` makes a value a component of a link in a text.

use std::cmp::Ordering;

use jiff::fmt::{strtime, temporal::Pieces};
use jiff::tz::{Offset, TimeZone};

use crate::config::BrandingConfig;
use crate::payload::Value;

/// Functions that are called by their name alone.
pub(super) const GLOBALS: [&str; 4] = ["base_url", "app_name", "logo_url", "current_year"];

/// Functions that take values and print.
pub(super) const FUNCTIONS: [&str; 14] = [
    "code",
    "urlencode",
    "date",
    "lookup",
    "len",
    "eq",
    "ne",
    "lt",
    "gt",
    "lte",
    "gte",
    "and",
    "or",
    "not",
];

/// Format of `date` where it names none.
const DATE_FORMAT: &str = "%Y-%m-%d %H:%M %Z";
/// Longest format, in bytes: each of its parts can ask for a width of its own.
const DATE_MAX: usize = 256;

/// What a name calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    /// One of [`GLOBALS`].
    Global(&'static str),
    Code,
    UrlEncode,
    Date,
    Lookup,
    Len,
    Compare(Comparison),
    And,
    Or,
    Not,
}

/// A comparison of two values, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Eq,
    Ne,
    Lt,
    Gt,
    Lte,
    Gte,
}

impl Function {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "code" => Self::Code,
            "urlencode" => Self::UrlEncode,
            "date" => Self::Date,
            "lookup" => Self::Lookup,
            "len" => Self::Len,
            "eq" => Self::Compare(Comparison::Eq),
            "ne" => Self::Compare(Comparison::Ne),
            "lt" => Self::Compare(Comparison::Lt),
            "gt" => Self::Compare(Comparison::Gt),
            "lte" => Self::Compare(Comparison::Lte),
            "gte" => Self::Compare(Comparison::Gte),
            "and" => Self::And,
            "or" => Self::Or,
            "not" => Self::Not,
            _ => Self::Global(GLOBALS.into_iter().find(|it| *it == name)?),
        })
    }

    /// As an error calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Global(name) => name,
            Self::Code => "code",
            Self::UrlEncode => "urlencode",
            Self::Date => "date",
            Self::Lookup => "lookup",
            Self::Len => "len",
            Self::Compare(Comparison::Eq) => "eq",
            Self::Compare(Comparison::Ne) => "ne",
            Self::Compare(Comparison::Lt) => "lt",
            Self::Compare(Comparison::Gt) => "gt",
            Self::Compare(Comparison::Lte) => "lte",
            Self::Compare(Comparison::Gte) => "gte",
            Self::And => "and",
            Self::Or => "or",
            Self::Not => "not",
        }
    }

    /// Whether it opens a block, too.
    pub(super) fn is_condition(self) -> bool {
        matches!(self, Self::Compare(_) | Self::And | Self::Or | Self::Not)
    }
}

impl Comparison {
    pub(super) fn holds(self, a: &Value<'_>, b: &Value<'_>) -> bool {
        match self {
            Self::Eq => a == b,
            Self::Ne => a != b,
            Self::Lt => a.compare(b) == Some(Ordering::Less),
            Self::Gt => a.compare(b) == Some(Ordering::Greater),
            Self::Lte => a.compare(b).is_some_and(Ordering::is_le),
            Self::Gte => a.compare(b).is_some_and(Ordering::is_ge),
        }
    }
}

/// What the functions without values say.
pub(super) fn globals(branding: &BrandingConfig, year: i16) -> [(&'static str, Value<'_>); 4] {
    GLOBALS.map(|name| {
        let text = match name {
            "base_url" => Some(branding.base_url.trim_end_matches('/')),
            "app_name" => Some(&*branding.app_name),
            "logo_url" => branding.logo_url.as_deref(),
            _ => return (name, Value::Number(year.to_string().into())),
        };
        (name, text.filter(|text| !text.is_empty()).map_or(Value::Null, Value::string))
    })
}

/// A list's element or an object's member.
pub(super) fn lookup<'v, 'a>(of: &'v Value<'a>, key: &Value<'_>) -> Option<&'v Value<'a>> {
    match of {
        Value::List(_, items) => items.get(key.as_index()?),
        Value::Map(..) => of.get(key.as_str()?),
        _ => None,
    }
}

/// `{{date VALUE "FORMAT" tz="ZONE"}}`; nothing for null.
pub(super) fn date_of(
    value: &Value<'_>,
    format: Option<&str>,
    zone: Option<&str>,
) -> Result<Value<'static>, String> {
    match value {
        Value::Null => Ok(Value::Null),
        Value::String(text) => date(text, format.unwrap_or(DATE_FORMAT), zone).map(Value::string),
        _ => Err("a date must be a string such as \"2026-03-01T12:00:00Z\"".into()),
    }
}

/// Prints an RFC 3339 time in a zone of the IANA database, or with its own offset.
fn date(text: &str, format: &str, zone: Option<&str>) -> Result<String, String> {
    let not_a_date = || "the value is no RFC 3339 time such as 2026-03-01T12:00:00Z".to_owned();
    let pieces = Pieces::parse(text).map_err(|_| not_a_date())?;
    let (time, offset) = pieces.time().zip(pieces.to_numeric_offset()).ok_or_else(not_a_date)?;
    let instant = offset.to_timestamp(pieces.date().to_datetime(time)).map_err(|_| not_a_date())?;
    let zone = match zone {
        Some(name) => TimeZone::get(name)
            .map_err(|_| format!("unknown time zone {name:?}; write it as in Europe/Berlin"))?,
        None if offset == Offset::UTC => TimeZone::UTC,
        None => TimeZone::fixed(offset),
    };
    if DATE_MAX < format.len() {
        return Err(format!("a date format of more than {DATE_MAX} bytes; shorten it"));
    }
    strtime::format(format, &instant.to_zoned_datetime(zone))
        .map_err(|err| format!("date format {format:?}: {err}"))
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn a_date_is_printed_in_its_own_offset_or_in_a_zone() {
        let at = |text, format, zone| date(text, format, zone).unwrap();
        assert_eq!(at("2026-03-01T12:00:00Z", "%Y-%m-%d %H:%M %Z", None), "2026-03-01 12:00 UTC");
        assert_eq!(at("2026-03-01T12:00:00+05:30", "%H:%M %z", None), "12:00 +0530");
        assert_eq!(at("2026-07-01T12:00:00Z", "%H:%M %Z", Some("Europe/Berlin")), "14:00 CEST");
        assert_eq!(at("2026-03-01T12:00:00.25Z", "%-d %B %Y", None), "1 March 2026");
    }

    #[test]
    fn what_is_no_date_no_zone_or_no_format_is_an_error_that_says_so() {
        for text in ["", "yesterday", "2026-03-01", "2026-03-01T12:00:00", "2026-13-01T00:00:00Z"] {
            assert!(date(text, "%Y", None).unwrap_err().contains("RFC 3339"), "{text}");
        }
        let zone = date("2026-03-01T12:00:00Z", "%Y", Some("Mars/Base")).unwrap_err();
        assert!(zone.contains("Mars/Base"), "{zone}");
        assert!(date("2026-03-01T12:00:00Z", "%!", None).unwrap_err().contains("%!"));
    }
}
