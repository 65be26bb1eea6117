//! The document that the paths of a template start from.

use std::mem;

use serde_json::{Map, Value};

use super::helpers;
use crate::config::BrandingConfig;

/// The payload, its labels where they hide no field, and what the helpers without parameters
/// say. It takes the payload in and gives it back: a copy would cost more than most renders.
#[derive(Debug)]
pub struct Root {
    context: handlebars::Context,
    /// What was put in, and what it stood before.
    hidden: Vec<(String, Option<Value>)>,
}

impl Root {
    /// Of the payload document of a message; what is no object counts as empty.
    pub fn new(payload: Value, branding: &BrandingConfig, year: i16) -> Self {
        let mut root = if let Value::Object(map) = payload { map } else { Map::new() };
        let labels = root.get("labels").and_then(Value::as_object);
        let free = labels.into_iter().flatten().filter(|(name, _)| !root.contains_key(*name));
        let mut added: Vec<(String, Value)> =
            free.map(|(name, value)| (name.clone(), value.clone())).collect();
        added.extend(helpers::globals(branding, year));
        let mut hidden = Vec::with_capacity(added.len());
        for (name, value) in added {
            let before = root.insert(name.clone(), value);
            hidden.push((name, before));
        }
        Self { context: Value::Object(root).into(), hidden }
    }

    /// Puts in fields of other origin.
    pub(super) fn extend(&mut self, fields: Map<String, Value>) {
        if let Value::Object(root) = self.context.data_mut() {
            root.extend(fields);
        }
    }

    pub(super) fn context(&self) -> &handlebars::Context {
        &self.context
    }

    /// The payload as it came.
    pub fn into_payload(mut self) -> Value {
        let mut payload = mem::take(self.context.data_mut());
        if let Value::Object(root) = &mut payload {
            // Backwards: a global may stand where a label was put.
            for (name, before) in self.hidden.into_iter().rev() {
                match before {
                    Some(value) => root.insert(name, value),
                    None => root.remove(&name),
                };
            }
        }
        payload
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_payload_comes_back_as_it_went_in() {
        let payload = json!({
            "user_id": "u", "base_url": "its own", "data": [1],
            "labels": {"user_id": "label", "app_name": "label", "x": 1, "base_url": 2},
        });
        let root = Root::new(payload.clone(), &BrandingConfig::default(), 2026);
        let data = root.context().data();
        assert_eq!((&data["user_id"], &data["x"]), (&json!("u"), &json!(1)));
        assert_eq!((&data["base_url"], &data["current_year"]), (&json!(null), &json!(2026)));
        assert_ne!(data["app_name"], json!("label"));
        assert_eq!(root.into_payload(), payload);
    }
}
