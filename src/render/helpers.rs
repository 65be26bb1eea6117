//! What a template can call, and what it costs.
//!
//! - `if unless each with` open blocks; `lookup len eq ne lt gt lte gte and or not` take values.
//!   All are handlebars' own, but for `each`, which has a budget.
//! - `base_url app_name logo_url current_year` take nothing.
//! - `date VALUE [FORMAT] [tz=ZONE]` prints an RFC 3339 time by a strftime format.
//! - `code VALUE` shows a value as code.
//! - `urlencode VALUE` makes a value a component of a link in a text.

use std::sync::LazyLock;

use handlebars::{
    Handlebars, Helper, HelperDef, HelperResult, JsonRender as _, Output, RenderContext,
    RenderError, RenderErrorReason, ScopedJson,
};
use jiff::fmt::{strtime, temporal::Pieces};
use jiff::tz::{Offset, TimeZone};
use serde_json::Value;

use super::escape::{self, Place};
use crate::config::BrandingConfig;

/// Helpers that are called by their name alone.
pub(crate) const GLOBALS: [&str; 4] = ["base_url", "app_name", "logo_url", "current_year"];

/// Helpers that take parameters and print.
pub(crate) const FUNCTIONS: [&str; 14] = [
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

/// Helpers that open a block; the comparisons do too.
pub(crate) const BLOCKS: [&str; 13] =
    ["if", "unless", "each", "with", "eq", "ne", "lt", "gt", "lte", "gte", "and", "or", "not"];

/// Format of `date` where it names none.
const DATE_FORMAT: &str = "%Y-%m-%d %H:%M %Z";

/// Why one of our helpers refuses.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// A setting is missing.
    #[error("{0} is not set; set it in the configuration")]
    Setting(&'static str),
    /// Something is wrong with the value or the call.
    #[error("{0}")]
    Value(String),
}

impl From<Refusal> for RenderError {
    fn from(refusal: Refusal) -> Self {
        RenderErrorReason::NestedError(Box::new(refusal)).into()
    }
}

/// The registry for a place: the helpers and the escaping.
pub(crate) fn registry(place: Place) -> &'static Handlebars<'static> {
    static MARKDOWN: LazyLock<Handlebars<'static>> = LazyLock::new(|| {
        let mut registry = build(Place::Markdown.escape());
        registry.register_helper("code", Box::new(Direct(escape::code_value)));
        registry.register_helper("urlencode", Box::new(Direct(escape::markdown_url_component)));
        registry
    });
    static LABEL: LazyLock<Handlebars<'static>> = LazyLock::new(|| build(Place::Label.escape()));
    static URL: LazyLock<Handlebars<'static>> = LazyLock::new(|| build(Place::Url.escape()));
    static JSON: LazyLock<Handlebars<'static>> = LazyLock::new(|| build(Place::Json.escape()));
    match place {
        Place::Markdown => &MARKDOWN,
        Place::Label => &LABEL,
        Place::Url => &URL,
        Place::Json => &JSON,
    }
}

/// The registry of JSON documents, for which a value that is missing is an empty text.
pub(crate) fn lenient_json() -> &'static Handlebars<'static> {
    static LENIENT: LazyLock<Handlebars<'static>> = LazyLock::new(|| {
        let mut registry = build(escape::json_value);
        registry.set_strict_mode(false);
        registry.register_helper("helperMissing", Box::new(Blank));
        registry
    });
    &LENIENT
}

fn build(escape: fn(&str) -> String) -> Handlebars<'static> {
    let mut registry = Handlebars::new();
    registry.set_strict_mode(true);
    registry.register_escape_fn(escape);
    registry.unregister_helper("raw");
    registry.unregister_helper("log");
    for name in GLOBALS {
        registry.register_helper(name, Box::new(Global(name)));
    }
    registry.register_helper("date", Box::new(Date));
    // Only Markdown has code, and a URL is encoded anyway.
    registry.register_helper("code", Box::new(Direct(escape)));
    registry.register_helper("urlencode", Box::new(Direct(escape)));
    registry
}

/// What the helpers without parameters say, for the root document.
pub(crate) fn globals(branding: &BrandingConfig, year: i16) -> [(String, Value); 4] {
    GLOBALS.map(|name| {
        let value = match name {
            "current_year" => year.into(),
            name => global_text(name, branding).into(),
        };
        (name.to_owned(), value)
    })
}

/// What a helper without parameters says, if it says a text.
pub(crate) fn global_text<'a>(name: &str, branding: &'a BrandingConfig) -> Option<&'a str> {
    let text = match name {
        "base_url" => branding.base_url.trim_end_matches('/'),
        "app_name" => &branding.app_name,
        "logo_url" => branding.logo_url.as_deref()?,
        _ => return None,
    };
    Some(text).filter(|text| !text.is_empty())
}

/// A value of the root document that is reachable from within any block.
struct Global(&'static str);

impl HelperDef for Global {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        _: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc handlebars::Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let value = context.data().get(self.0).unwrap_or(&Value::Null);
        if self.0 == "base_url" && value.is_null() {
            // An empty address would make each link of the message a dead one.
            return Err(Refusal::Setting("branding.base_url").into());
        }
        Ok(ScopedJson::Derived(value.clone()))
    }
}

/// Stands for a value that is missing, in JSON.
struct Blank;

impl HelperDef for Blank {
    fn call<'reg: 'rc, 'rc>(
        &self,
        _: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc handlebars::Context,
        _: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        Ok(out.write(&escape::json_value(""))?)
    }
}

/// Prints one value with an escaping of its own.
struct Direct(fn(&str) -> String);

impl HelperDef for Direct {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc handlebars::Context,
        _: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let value = helper
            .param(0)
            .ok_or_else(|| Refusal::Value(format!("{} needs a value", helper.name())))?;
        if value.is_value_missing() {
            return Err(RenderError::strict_error(value.relative_path()));
        }
        Ok(out.write(&(self.0)(&value.value().render()))?)
    }
}

/// `{{date VALUE "FORMAT" tz="ZONE"}}`.
struct Date;

impl HelperDef for Date {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc handlebars::Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let value = helper.param(0).filter(|value| !value.is_value_missing());
        let value = value.ok_or(RenderErrorReason::ParamNotFoundForIndex("date", 0))?.value();
        if value.is_null() {
            return Ok(ScopedJson::Derived(Value::Null));
        }
        let text = value.as_str().ok_or_else(|| {
            Refusal::Value("a date must be a string such as \"2026-03-01T12:00:00Z\"".into())
        })?;
        let argument = |value: Option<&handlebars::PathAndJson<'rc>>| {
            value.and_then(|value| value.value().as_str().map(str::to_owned))
        };
        let format = argument(helper.param(1).or_else(|| helper.hash_get("format")));
        let zone = argument(helper.hash_get("tz"));
        let printed = date(text, format.as_deref().unwrap_or(DATE_FORMAT), zone.as_deref());
        Ok(ScopedJson::Derived(printed.map_err(Refusal::Value)?.into()))
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
