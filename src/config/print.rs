//! The settings in force, for people and for programs. Secrets are not among them.

use serde_json::Value;

use super::Config;
use super::keys::{KEYS, Key};

impl Config {
    /// The settings in force as TOML, each with a comment that says where it comes from. A
    /// setting without a value is a comment that says what stands in for it.
    pub fn print(&self) -> String {
        let mut lines = Vec::new();
        let mut last = "";
        for key in KEYS {
            let (group, name) = key.name.rsplit_once('.').unwrap_or_default();
            if group != last {
                let gap = if last.is_empty() { "" } else { "\n" };
                lines.push(format!("{gap}[{group}]\n"));
                last = group;
            }
            lines.push(match ((key.get)(self), self.origins.get(key.name)) {
                (Some(value), Some(origin)) => format!("{name} = {value} # {origin}\n"),
                (Some(value), None) => format!("{name} = {value} # default\n"),
                (None, _) if key.default.is_empty() => format!("# {name}: not set\n"),
                (None, _) => format!("# {name}: {} (default)\n", key.default),
            });
        }
        lines.concat()
    }

    /// The settings in force as one object from key to value; null where there is none.
    pub fn to_json(&self) -> Value {
        let entry = |key: &Key| {
            let value = (key.get)(self).map_or(Value::Null, json);
            (key.name.to_owned(), value)
        };
        Value::Object(KEYS.iter().map(entry).collect())
    }
}

fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Array(items) => items.into_iter().map(json).collect(),
        // No setting is one, but if one were:
        toml::Value::Datetime(_) | toml::Value::Table(_) => value.to_string().into(),
    }
}
