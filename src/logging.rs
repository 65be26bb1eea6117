//! Log lines: text for people or JSON for programs, on standard error.
//!
//! One event is one line, whatever its values hold: control characters are escaped, so nobody
//! outside can add a line. Other crates are heard from `warn` up only.

use std::io::{self, Write};
use std::time::SystemTime;

use env_logger::{Builder, Target, WriteStyle};
use log::kv::{self, Key, Value, VisitSource};
use log::{LevelFilter, Record, SetLoggerError};
use serde::Serializer as _;
use serde::ser::SerializeMap;

use crate::config::{LogConfig, LogFormat};

#[cfg(test)]
mod tests;

/// Fields of each JSON line.
const RESERVED: [&str; 4] = ["ts", "level", "msg", "target"];

/// Installs the logger of the process.
///
/// # Errors
///
/// There is one already.
pub fn init(config: &LogConfig) -> Result<(), SetLoggerError> {
    builder(config).try_init()
}

fn builder(config: &LogConfig) -> Builder {
    let write = match config.format {
        LogFormat::Text => write_text,
        LogFormat::Json => write_json,
    };
    let mut builder = Builder::new();
    builder
        .filter_level(config.level.min(LevelFilter::Warn))
        .filter_module(env!("CARGO_CRATE_NAME"), config.level)
        .target(Target::Stderr)
        .write_style(WriteStyle::Never)
        .format(move |out, record| write(out, SystemTime::now(), record));
    builder
}

/// `2026-01-31T12:00:00.000Z INFO  message key=value ...`
fn write_text(out: &mut dyn Write, now: SystemTime, record: &Record<'_>) -> io::Result<()> {
    let ts = humantime::format_rfc3339_millis(now);
    let message = escape(&record.args().to_string());
    let mut line = format!("{ts} {:<5} {message}", record.level());
    visit(record, |key, value| {
        line.push(' ');
        line.push_str(&escape(key.as_str()));
        line.push('=');
        line.push_str(&quote(&value.to_string()));
        Ok(())
    })?;
    line.push('\n');
    out.write_all(line.as_bytes())
}

/// `{"ts":"...","level":"info","msg":"...","target":"...","key":value,...}`
fn write_json(out: &mut dyn Write, now: SystemTime, record: &Record<'_>) -> io::Result<()> {
    let mut line = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut line);
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("ts", &humantime::format_rfc3339_millis(now).to_string())?;
    map.serialize_entry("level", &record.level().as_str().to_ascii_lowercase())?;
    map.serialize_entry("msg", &record.args().to_string())?;
    map.serialize_entry("target", record.target())?;
    visit(record, |key, value| {
        let mut key = key.to_string();
        if RESERVED.contains(&key.as_str()) {
            key.push('_');
        }
        Ok(map.serialize_entry(&key, &json(&value))?)
    })?;
    map.end()?;
    let line = String::from_utf8(line).map_err(io::Error::other)?;
    // What JSON leaves unescaped can only be inside its strings.
    let line = replace_hostile(&line, |c| format!("\\u{:04x}", u32::from(c)));
    writeln!(out, "{line}")
}

/// Calls `each` for the fields of a record, in their order.
fn visit(
    record: &Record<'_>,
    each: impl FnMut(Key<'_>, Value<'_>) -> io::Result<()>,
) -> io::Result<()> {
    struct Visitor<F>(F);

    impl<'kvs, F: FnMut(Key<'_>, Value<'_>) -> io::Result<()>> VisitSource<'kvs> for Visitor<F> {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
            (self.0)(key, value).map_err(kv::Error::from)
        }
    }

    record.key_values().visit(&mut Visitor(each)).map_err(io::Error::other)
}

fn json(value: &Value<'_>) -> serde_json::Value {
    if let Some(flag) = value.to_bool() {
        flag.into()
    } else if let Some(number) = value.to_u64() {
        number.into()
    } else if let Some(number) = value.to_i64() {
        number.into()
    } else if let Some(number) = value.to_f64() {
        number.into()
    } else {
        value.to_string().into()
    }
}

/// A value of text mode: in quotes unless it is one plain word.
fn quote(text: &str) -> String {
    let special = |c: char| c.is_whitespace() || matches!(c, '"' | '=' | '\\');
    if text.is_empty() || text.contains(special) {
        escape(&format!("{text:?}"))
    } else {
        escape(text)
    }
}

fn escape(text: &str) -> String {
    replace_hostile(text, |c| c.escape_default().to_string())
}

fn replace_hostile(text: &str, escape: fn(char) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hostile(c) {
            out.push_str(&escape(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// Whether a character can break a line, turn its direction or command a terminal.
fn is_hostile(c: char) -> bool {
    let turns_or_breaks =
        matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns_or_breaks
}
