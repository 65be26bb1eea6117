//! The document that the names of a template start from.

use std::collections::BTreeMap;

use super::{Context, functions};
use crate::payload::Value;

/// What a message renders with: its payload, its labels where they hide no field, and what the
/// helpers without values say. All of it is borrowed.
pub(super) struct Root<'a> {
    payload: &'a Value<'a>,
    labels: Option<&'a Value<'a>>,
    globals: [(&'static str, Value<'a>); 4],
    /// Fields of other origin, which come before those of the payload.
    fields: &'a [(&'static str, Value<'a>)],
}

impl<'a> Root<'a> {
    pub(super) fn new(context: Context<'a>) -> Self {
        Self::with(context, &[])
    }

    pub(super) fn with(context: Context<'a>, fields: &'a [(&'static str, Value<'a>)]) -> Self {
        let Context { payload, branding, year } = context;
        let globals = functions::globals(branding, year);
        Self { payload, labels: payload.get("labels"), globals, fields }
    }

    /// The payload as a whole. Its members are looked up by [`Root::get`].
    pub(super) fn this(&self) -> &Value<'a> {
        self.payload
    }

    /// Whether a value is the payload as a whole.
    pub(super) fn is(&self, value: &Value<'_>) -> bool {
        std::ptr::eq(value, self.payload)
    }

    /// All names and their values, in the order of the names.
    pub(super) fn members(&self) -> BTreeMap<&str, &Value<'a>> {
        let of = |value: &'a Value<'a>| match value {
            Value::Map(_, members) => &**members,
            _ => &[],
        };
        let own = self.globals.iter().chain(self.fields).map(|(name, value)| (*name, value));
        let labels = self.labels.map_or(&[][..], of).iter().chain(of(self.payload));
        labels.map(|(name, value)| (&**name, value)).chain(own).collect()
    }

    /// The value of a name.
    pub(super) fn get(&self, name: &str) -> Option<&Value<'a>> {
        let mut named = self.fields.iter().chain(&self.globals);
        let label = || self.labels.and_then(|labels| labels.get(name));
        named
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
            .or_else(|| self.payload.get(name))
            .or_else(label)
    }

    /// What one of the helpers without values says.
    pub(super) fn global(&self, name: &str) -> &Value<'a> {
        let found = self.globals.iter().find(|(known, _)| *known == name);
        found.map_or(&Value::Null, |(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BrandingConfig;

    #[test]
    fn a_label_hides_no_field_and_nothing_hides_a_global() {
        let payload = Value::read(
            r#"{"user_id": "u", "base_url": "its own", "data": [1], "labels":
                {"user_id": "label", "app_name": "label", "x": 1, "base_url": 2}}"#,
        );
        let (payload, branding) = (payload.unwrap(), BrandingConfig::default());
        let context = Context { payload: &payload, branding: &branding, year: 2026 };
        let fields = [("data", Value::string("another"))];
        let root = Root::with(context, &fields);
        let said = |name: &str| root.get(name).unwrap().text().into_owned();
        assert_eq!((said("user_id"), said("x")), ("u".into(), "1".into()));
        assert_eq!((said("base_url"), said("current_year")), (String::new(), "2026".into()));
        assert_ne!(said("app_name"), "label");
        assert_eq!(said("data"), "another");
        assert!(root.get("gone").is_none());
    }
}
