//! The document that the paths of a template start from.

use std::cell::OnceCell;

use serde_json::{Map, Value};

use super::{Context, helpers};

/// What a message renders with: its payload, its labels where they hide no field, and what the helpers without
/// parameters say. The document with all of them is made only if a part of the template needs it.
pub(super) struct Root<'a> {
    context: Context<'a>,
    /// Fields of other origin, which come before those of the payload.
    fields: Map<String, Value>,
    full: OnceCell<handlebars::Context>,
}

impl<'a> Root<'a> {
    pub(super) fn new(context: Context<'a>) -> Self {
        Self::with(context, Map::new())
    }

    pub(super) fn with(context: Context<'a>, fields: Map<String, Value>) -> Self {
        Self { context, fields, full: OnceCell::new() }
    }

    /// What the document is made of, if that is all there is to it.
    pub(super) fn context(&self) -> Option<&Context<'a>> {
        self.fields.is_empty().then_some(&self.context)
    }

    /// The whole document.
    pub(super) fn full(&self) -> &handlebars::Context {
        self.full.get_or_init(|| {
            let Context { payload, branding, year } = self.context;
            // What is no object counts as empty.
            let mut root = payload.as_object().cloned().unwrap_or_default();
            let labels = payload.get("labels").and_then(Value::as_object);
            for (name, value) in labels.into_iter().flatten() {
                if !root.contains_key(name) {
                    root.insert(name.clone(), value.clone());
                }
            }
            root.extend(helpers::globals(branding, year));
            root.extend(self.fields.clone());
            Value::Object(root).into()
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::BrandingConfig;

    #[test]
    fn a_label_hides_no_field_and_nothing_hides_a_global() {
        let payload = json!({
            "user_id": "u", "base_url": "its own", "data": [1],
            "labels": {"user_id": "label", "app_name": "label", "x": 1, "base_url": 2},
        });
        let branding = BrandingConfig::default();
        let context = Context { payload: &payload, branding: &branding, year: 2026 };
        let root = Root::with(context, Map::from_iter([("data".into(), json!("another"))]));
        let data = root.full().data();
        assert_eq!((&data["user_id"], &data["x"]), (&json!("u"), &json!(1)));
        assert_eq!((&data["base_url"], &data["current_year"]), (&json!(null), &json!(2026)));
        assert_ne!(data["app_name"], json!("label"));
        assert_eq!(data["data"], json!("another"));
    }
}
